//! What a launch by `posix_spawn` has no attribute for. Pure: orders in, the step that cannot be taken out.

use crate::sys::orders::{Grouping, Orders, Step};

/// What one system has beyond the attributes that both have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sys) struct Extensions {
    /// A session of its own.
    pub(in crate::sys) session: bool,
    /// All other descriptors are closed.
    pub(in crate::sys) close_others: bool,
}

/// The first step that nothing takes here, if there is one: then nothing is tried.
pub(super) fn refused(orders: &Orders, has: Extensions) -> Option<Step> {
    let own_session = orders.grouping == Grouping::OwnSession;
    let wanted = [
        (own_session && !has.session, Step::Session),
        (orders.nice.is_some(), Step::Nice),
        (!orders.limits.is_empty(), Step::Limits),
        (orders.umask.is_some(), Step::Umask),
        (orders.cgroup.is_some(), Step::Cgroup),
        (orders.groups.is_some() || orders.drop_groups, Step::Groups),
        (orders.gid.is_some(), Step::Gid),
        (orders.uid.is_some(), Step::Uid),
        (orders.parent_death_signal.is_some(), Step::DeathSignal),
        (orders.close_others && !has.close_others, Step::CloseOthers),
    ];
    let refused = wanted.into_iter().find(|(wanted, _)| *wanted);
    refused.map(|(_, step)| step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Limit;

    const ALL: Extensions = Extensions {
        session: true,
        close_others: true,
    };
    const NONE: Extensions = Extensions {
        session: false,
        close_others: false,
    };

    #[test]
    fn what_posix_spawn_has_attributes_for_is_refused_nowhere() {
        for grouping in [Grouping::Inherit, Grouping::Own, Grouping::Join(7)] {
            let orders = Orders {
                directory: Some(c"/".into()),
                reset_ignored: true,
                grouping,
                ..Orders::default()
            };
            assert_eq!(refused(&orders, NONE), None);
        }
    }

    #[test]
    fn what_only_one_system_has_is_refused_by_the_other() {
        let session = Orders {
            grouping: Grouping::OwnSession,
            ..Orders::default()
        };
        assert_eq!(refused(&session, NONE), Some(Step::Session));
        assert_eq!(refused(&session, ALL), None);
        let closing = Orders {
            close_others: true,
            ..Orders::default()
        };
        assert_eq!(refused(&closing, NONE), Some(Step::CloseOthers));
        assert_eq!(refused(&closing, ALL), None);
    }

    #[test]
    fn what_a_child_would_have_to_do_itself_is_refused_by_its_step() {
        let limit = Limit {
            resource: 0,
            soft: 1,
            hard: 1,
        };
        let orders = Orders::default;
        let cases = [
            (
                Orders {
                    nice: Some(1),
                    ..orders()
                },
                Step::Nice,
            ),
            (
                Orders {
                    limits: vec![limit],
                    ..orders()
                },
                Step::Limits,
            ),
            (
                Orders {
                    umask: Some(0),
                    ..orders()
                },
                Step::Umask,
            ),
            (
                Orders {
                    groups: Some(Vec::new()),
                    ..orders()
                },
                Step::Groups,
            ),
            (
                Orders {
                    drop_groups: true,
                    ..orders()
                },
                Step::Groups,
            ),
            (
                Orders {
                    gid: Some(0),
                    ..orders()
                },
                Step::Gid,
            ),
            (
                Orders {
                    uid: Some(0),
                    ..orders()
                },
                Step::Uid,
            ),
            (
                Orders {
                    parent_death_signal: Some(9),
                    ..orders()
                },
                Step::DeathSignal,
            ),
        ];
        for (orders, step) in cases {
            assert_eq!(refused(&orders, ALL), Some(step));
        }
    }
}
