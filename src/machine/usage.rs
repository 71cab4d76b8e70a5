//! What the processes of a session have used.

use crate::exit::{SessionUsage, Usage};

/// The sum of what exits have told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    sum: SessionUsage,
    /// Of how many exits it is the sum, and how many told nothing.
    told: u64,
    silent: u64,
}

impl Used {
    /// One more exit. What it used includes what its own children used that it has waited for, so nobody is counted twice.
    pub(crate) fn add(&mut self, usage: Option<Usage>) {
        match usage {
            Some(usage) => {
                let cpu = usage.user.saturating_add(usage.system);
                self.sum.cpu = self.sum.cpu.saturating_add(cpu);
                self.told += 1;
            }
            None => self.silent += 1,
        }
    }

    pub(crate) fn join(&mut self, other: &Self) {
        self.sum.cpu = self.sum.cpu.saturating_add(other.sum.cpu);
        self.told += other.told;
        self.silent += other.silent;
    }

    /// What a report says. `inside`: what a cgroup has counted, and with `whole` that is all there was.
    pub(crate) fn told(&self, inside: Option<SessionUsage>, whole: bool) -> Option<SessionUsage> {
        if let Some(inside) = inside {
            // Who has left the cgroup, or came into it late, has used something outside of it.
            let cpu = inside.cpu.max(self.sum.cpu);
            return Some(SessionUsage {
                cpu,
                complete: whole,
                ..inside
            });
        }
        (self.told > 0).then_some(SessionUsage {
            complete: false,
            ..self.sum
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        assert_eq!(used.told(None, true), None);
        used.add(Some(second(1)));
        used.add(None);
        used.add(Some(second(2)));
        let told = used.told(None, true).expect("two have told");
        assert_eq!((told.cpu, told.complete), (Duration::from_secs(5), false));
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
        let told = used.told(Some(inside), true).expect("it was counted");
        assert_eq!((told.cpu, told.complete), (Duration::from_secs(9), true));
        assert_eq!(told.oom_kills, Some(1));
    }
}
