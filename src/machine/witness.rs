//! Who is a descendant: what has to be known of a process before it is ended with a session.
//!
//! Being in a member's group, or being a living member's child, is enough. The variable in its environment, or that the kernel
//! keeps whom it descends from, is enough where its parent is a member, or one that orphans of the session come to: what a living stranger has started is that one's,
//! whatever it was told to put there. The limit mark alone is not: any process can put it on another one of its user. So what
//! has nothing but that mark has to look like an orphan of the session in all other ways too, and must not say in its
//! environment that it is another session's. Else it is a *claim*, which is reported and left alone.

/// What is known of a process that may belong to a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    /// It has the limit mark of the life.
    pub(crate) marked: bool,
    /// It is in the group of a member.
    pub(crate) in_group: bool,
    /// Its parent is a member that lives.
    pub(crate) child: bool,
    /// It is an orphan that has come to this process, and no other session is there that it could be of.
    pub(crate) ours: bool,
    /// The kernel says that it descends from one of the session's processes.
    pub(crate) descends: bool,
    pub(crate) variable: Says,
    /// It is no older than the life, whose first process started before it.
    pub(crate) young_enough: bool,
    /// Its parent is one that orphans of the session come to, or a member.
    pub(crate) parent_fits: bool,
    /// It is in the host's own group, or that of one of its ancestors, where no member can get by itself.
    pub(crate) in_hosts_group: bool,
    /// A known member has run as this user.
    pub(crate) user_known: bool,
}

/// What the environment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// It was not looked at.
    Unread,
    /// There is no mark of ours in it, or it cannot be read.
    Nothing,
    /// It names the life.
    Ours,
    /// It names another life.
    Others,
    /// It is executing another program, and has no environment this moment.
    NotYet,
}

/// What it is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Member,
    /// Look at its environment, and ask again.
    AskVariable,
    /// Marked, and not believed.
    Claim,
    /// Nothing speaks for it.
    Stranger,
}

impl Sighting {
    pub(crate) fn judge(self) -> Verdict {
        if self.in_group || self.child || self.ours {
            return Verdict::Member;
        }
        if self.descends {
            return if self.parent_fits {
                Verdict::Member
            } else {
                Verdict::Claim
            };
        }
        let plausible =
            self.young_enough && self.parent_fits && !self.in_hosts_group && self.user_known;
        match self.variable {
            Says::Unread if self.marked => Verdict::AskVariable,
            Says::NotYet => Verdict::AskVariable,
            Says::Unread | Says::Others => Verdict::Stranger,
            Says::Nothing if !self.marked => Verdict::Stranger,
            Says::Nothing if plausible => Verdict::Member,
            Says::Ours if self.parent_fits => Verdict::Member,
            Says::Nothing | Says::Ours => Verdict::Claim,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A daemon that has left everything but its limit behind.
    const ORPHAN: Sighting = Sighting {
        marked: true,
        in_group: false,
        child: false,
        ours: false,
        descends: false,
        variable: Says::Nothing,
        young_enough: true,
        parent_fits: true,
        in_hosts_group: false,
        user_known: true,
    };

    /// In one way each it does not look like an orphan of the session.
    const UNLIKELY: [Sighting; 4] = [
        Sighting {
            young_enough: false,
            ..ORPHAN
        },
        Sighting {
            parent_fits: false,
            ..ORPHAN
        },
        Sighting {
            in_hosts_group: true,
            ..ORPHAN
        },
        Sighting {
            user_known: false,
            ..ORPHAN
        },
    ];

    fn judged(sighting: Sighting, variable: Says) -> Verdict {
        Sighting {
            variable,
            ..sighting
        }
        .judge()
    }

    #[test]
    fn an_orphan_with_the_mark_alone_is_a_member() {
        assert_eq!(ORPHAN.judge(), Verdict::Member);
        assert_eq!(judged(ORPHAN, Says::Unread), Verdict::AskVariable);
    }

    /// Who is between two programs may be anybody's, and is neither ended nor passed over for that.
    #[test]
    fn who_has_no_environment_this_moment_is_asked_again() {
        for sighting in UNLIKELY.into_iter().chain([ORPHAN]) {
            for marked in [true, false] {
                let silent = Sighting { marked, ..sighting };
                assert_eq!(judged(silent, Says::NotYet), Verdict::AskVariable);
            }
            let in_group = Sighting {
                in_group: true,
                ..sighting
            };
            assert_eq!(judged(in_group, Says::NotYet), Verdict::Member);
        }
    }

    #[test]
    fn a_mark_on_what_cannot_be_an_orphan_of_the_session_needs_a_second_witness() {
        for sighting in UNLIKELY {
            assert_eq!(judged(sighting, Says::Nothing), Verdict::Claim);
            let witnesses = [
                Sighting {
                    in_group: true,
                    ..sighting
                },
                Sighting {
                    child: true,
                    ..sighting
                },
            ];
            assert_eq!(witnesses.map(Sighting::judge), [Verdict::Member; 2]);
        }
    }

    #[test]
    fn what_is_another_sessions_by_its_environment_is_nobodys_by_its_mark() {
        for sighting in UNLIKELY.into_iter().chain([ORPHAN]) {
            assert_eq!(judged(sighting, Says::Others), Verdict::Stranger);
        }
    }

    #[test]
    fn the_variable_is_believed_where_a_member_or_nobody_else_is_the_parent() {
        for marked in [true, false] {
            let named = Sighting {
                marked,
                young_enough: false,
                user_known: false,
                variable: Says::Ours,
                ..ORPHAN
            };
            assert_eq!(named.judge(), Verdict::Member);
            let others_child = Sighting {
                parent_fits: false,
                ..named
            };
            assert_eq!(others_child.judge(), Verdict::Claim);
        }
    }

    /// What a member that is to be left alone has started is that one's, as long as it lives.
    #[test]
    fn who_descends_from_a_member_is_one_unless_somebody_else_is_its_parent() {
        let descends = Sighting {
            marked: false,
            young_enough: false,
            user_known: false,
            in_hosts_group: true,
            descends: true,
            variable: Says::Unread,
            ..ORPHAN
        };
        assert_eq!(descends.judge(), Verdict::Member);
        let others_child = Sighting {
            parent_fits: false,
            ..descends
        };
        assert_eq!(others_child.judge(), Verdict::Claim);
    }

    #[test]
    fn without_mark_group_and_parent_it_is_a_stranger() {
        let stranger = Sighting {
            marked: false,
            ..ORPHAN
        };
        for variable in [Says::Unread, Says::Nothing, Says::Others] {
            assert_eq!(judged(stranger, variable), Verdict::Stranger);
        }
    }
}
