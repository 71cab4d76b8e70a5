//! The invariants of the machine, in one place: they serve the debug build, the explorer, the properties and the
//! fuzzer alike.

use super::deadlines::Wake;
use super::engine::Machine;
use super::member::Sight;
use super::search::Established;

/// Above this the debug build does not check: it would cost more than what it checks.
const CHECKED_MEMBERS: usize = 16;

impl Machine {
    /// Panics in a debug build where an invariant does not hold.
    pub(super) fn debug_check(&self) {
        if self.members.len() <= CHECKED_MEMBERS {
            if let Err(broken) = self.check() {
                debug_assert!(false, "{broken}");
            }
        }
    }

    /// Says which invariant does not hold. To be asked between inputs, when no effect is waiting to be polled.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.check_members()?;
        self.check_lives()?;
        if !self.deadlines.is_consistent() {
            return Err("the two views of the deadlines differ".into());
        }
        self.check_deadlines()
    }

    /// Every member belongs to exactly one life, and holds its pid.
    fn check_members(&self) -> Result<(), String> {
        let mut listed = 0;
        for (life, state) in &self.lives {
            listed += state.members.len();
            for process in &state.members {
                let Some(member) = self.members.get(process) else {
                    return Err(format!("{process:?} of {life:?} is no member"));
                };
                if member.life != *life {
                    return Err(format!(
                        "{process:?} is listed in {life:?} and says {:?}",
                        member.life
                    ));
                }
            }
        }
        if listed != self.members.len() {
            return Err(format!(
                "{} members, {listed} listed in lives",
                self.members.len()
            ));
        }
        for (pid, process) in &self.by_pid {
            match self.members.get(process) {
                Some(member) if member.facts.pid == *pid => {}
                Some(_) | None => return Err(format!("pid {pid} is said to be {process:?}")),
            }
        }
        Ok(())
    }

    /// A number has one life; a life that lingers has something to linger for; an end that has nothing to wait for is
    /// over.
    fn check_lives(&self) -> Result<(), String> {
        for (session, life) in &self.current {
            match self.lives.get(life) {
                Some(state) if state.session == *session && !state.lingers => {}
                other => {
                    return Err(format!(
                        "{session:?} is said to live as {life:?}: {other:?}"
                    ));
                }
            }
        }
        for (session, lives) in &self.lingering {
            for life in lives {
                match self.lives.get(life) {
                    Some(state) if state.session == *session && state.lingers => {}
                    other => return Err(format!("{life:?} is said to linger: {other:?}")),
                }
            }
        }
        for (life, state) in &self.lives {
            if state.lingers && ((state.is_empty() && !state.unsettled) || state.end.is_some()) {
                return Err(format!("{life:?} lingers for nothing"));
            }
            if let Some(end) = &state.end {
                if state.is_empty() && end.established() != Established::Nothing {
                    return Err(format!("the end of {life:?} waits for nothing"));
                }
            }
            if !state.lingers && self.current.get(&state.session) != Some(life) {
                return Err(format!("{life:?} neither lives nor lingers"));
            }
        }
        Ok(())
    }

    /// Every ladder has its next deadline set, and nothing else has one.
    fn check_deadlines(&self) -> Result<(), String> {
        for (life, state) in &self.lives {
            let wanted = state.end.as_ref().and_then(|end| match &end.inspection {
                Some(inspection) => inspection.until,
                None => end.ladder.next_deadline(),
            });
            let set = self.deadlines.of(Wake::End(*life));
            let search = state.end.as_ref().and_then(|end| end.search.as_ref());
            let searching = search.is_some_and(|search| {
                set.is_some() && (set == search.last_until || set == search.survey_until)
            });
            if set != wanted && !searching {
                return Err(format!("{life:?} waits until {wanted:?}, which is not set"));
            }
        }
        for (process, member) in self.members.iter() {
            let set = self.deadlines.of(Wake::Stop(*process));
            match &member.stop {
                Some(stop) if stop.inspecting => {}
                Some(stop) if stop.ladder.next_deadline() == set => {}
                None if set.is_none() => {}
                Some(_) | None => {
                    return Err(format!(
                        "{process:?} has the wrong deadline for its stop: {set:?}"
                    ));
                }
            }
            let looks = self.deadlines.of(Wake::Look(*process)).is_some();
            if looks != (member.sight != Sight::Alive) {
                return Err(format!(
                    "{process:?} is {:?}, and its look is set: {looks}",
                    member.sight
                ));
            }
        }
        if self.deadlines.of(Wake::Pass) != self.passes.deadline() {
            return Err("the next pass is not the one that is waited for".into());
        }
        for (wake, _) in self.deadlines.iter() {
            let known = match wake {
                Wake::Pass => true,
                Wake::End(life) => self
                    .lives
                    .get(&life)
                    .is_some_and(|state| state.end.is_some()),
                Wake::Stop(process) | Wake::Look(process) | Wake::ProcessLimit(process) => {
                    self.members.contains_key(&process)
                }
                Wake::TimeLimit(life) | Wake::IdleLimit(life) => self.open_life(life).is_some(),
            };
            if !known {
                return Err(format!("a deadline for nobody: {wake:?}"));
            }
        }
        Ok(())
    }
}
