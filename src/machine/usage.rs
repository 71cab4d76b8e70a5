//! What the processes of a session have used.

use std::time::Duration;

use crate::exit::{SessionUsage, Usage};

/// The sum of what exits have told, if any has told something. It is never complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used(Option<SessionUsage>);

impl Used {
    /// One more exit. What it used includes what its own children used that it has waited for, so nobody is counted twice.
    pub(crate) fn add(&mut self, usage: Option<Usage>) {
        if let Some(usage) = usage {
            self.add_cpu(usage.user.saturating_add(usage.system));
        }
    }

    pub(crate) fn join(&mut self, other: &Self) {
        if let Some(other) = other.0 {
            self.add_cpu(other.cpu);
        }
    }

    fn add_cpu(&mut self, cpu: Duration) {
        let sum = self.0.get_or_insert_default();
        sum.cpu = sum.cpu.saturating_add(cpu);
    }

    /// What a report says. `inside`: what a cgroup has counted, and with `whole` that is all there was.
    pub(crate) fn told(&self, inside: Option<SessionUsage>, whole: bool) -> Option<SessionUsage> {
        let Some(inside) = inside else {
            return self.0;
        };
        // Who has left the cgroup, or came into it late, has used something outside of it.
        let outside = self.0.map_or(Duration::ZERO, |sum| sum.cpu);
        Some(SessionUsage {
            cpu: inside.cpu.max(outside),
            complete: whole,
            ..inside
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(user: u64) -> Usage {
        Usage {
            user: Duration::from_secs(user),
            system: Duration::from_secs(1),
            max_rss_bytes: Some(1),
        }
    }

    #[test]
    fn exits_are_added_up_and_never_called_complete() {
        let mut used = Used::default();
        used.add(None);
        assert_eq!(used.told(None, true), None);
        used.add(Some(second(1)));
        used.add(None);
        used.add(Some(second(2)));
        let told = used.told(None, true).expect("two have told");
        assert_eq!((told.cpu, told.complete), (Duration::from_secs(5), false));
    }

    #[test]
    fn what_an_earlier_life_has_used_is_added() {
        let (mut earlier, mut used) = (Used::default(), Used::default());
        used.join(&earlier);
        assert_eq!(used.told(None, false), None);
        earlier.add(Some(second(1)));
        used.join(&earlier);
        used.join(&earlier);
        let told = used.told(None, false).expect("one has told");
        assert_eq!(told.cpu, Duration::from_secs(4));
    }

    #[test]
    fn a_cgroup_counts_more_than_the_exits_and_is_believed() {
        let mut used = Used::default();
        used.add(Some(second(1)));
        let inside = SessionUsage {
            cpu: Duration::from_secs(9),
            oom_kills: Some(1),
            ..SessionUsage::default()
        };
        for whole in [true, false] {
            let told = used.told(Some(inside), whole).expect("it was counted");
            assert_eq!((told.cpu, told.complete), (Duration::from_secs(9), whole));
            assert_eq!(told.oom_kills, Some(1));
        }
        used.add(Some(second(10)));
        let told = used.told(Some(inside), true).expect("it was counted");
        assert_eq!(told.cpu, Duration::from_secs(13), "some of it outside");
    }
}
