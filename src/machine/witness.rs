//! Who is a descendant: what has to be known of a process before it is ended with a session.
//!
//! Being in a member's group, being a living member's child, or carrying the variable in its environment is enough. The
//! limit mark alone is not: any process can put it on another one of its user. So what has nothing but that mark has to
//! look like an orphan of the session in all other ways too, or it is a *claim*, which is reported and left alone.

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
    /// Its environment names the life; `None` where that was not looked at.
    pub(crate) variable: Option<bool>,
    /// It is no older than the life, whose first process started before it.
    pub(crate) young_enough: bool,
    /// Its parent is one that orphans of the session come to, or a member.
    pub(crate) parent_fits: bool,
    /// It is in the host's own group, or that of one of its ancestors, where no member can get by itself.
    pub(crate) in_hosts_group: bool,
    /// A known member has run as this user.
    pub(crate) user_known: bool,
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
        if self.in_group || self.child || self.ours || self.variable == Some(true) {
            return Verdict::Member;
        }
        if !self.marked {
            return Verdict::Stranger;
        }
        let plausible =
            self.young_enough && self.parent_fits && !self.in_hosts_group && self.user_known;
        match (plausible, self.variable) {
            (true, _) => Verdict::Member,
            (false, None) => Verdict::AskVariable,
            (false, Some(_)) => Verdict::Claim,
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
        variable: None,
        young_enough: true,
        parent_fits: true,
        in_hosts_group: false,
        user_known: true,
    };

    #[test]
    fn an_orphan_with_the_mark_alone_is_a_member() {
        assert_eq!(ORPHAN.judge(), Verdict::Member);
    }

    #[test]
    fn a_mark_on_what_cannot_be_an_orphan_of_the_session_needs_a_second_witness() {
        let unlikely = [
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
        for sighting in unlikely {
            let told = |variable| {
                Sighting {
                    variable,
                    ..sighting
                }
                .judge()
            };
            assert_eq!(told(None), Verdict::AskVariable, "{sighting:?}");
            assert_eq!(told(Some(false)), Verdict::Claim, "{sighting:?}");
            assert_eq!(told(Some(true)), Verdict::Member, "{sighting:?}");
            assert_eq!(
                Sighting {
                    in_group: true,
                    ..sighting
                }
                .judge(),
                Verdict::Member
            );
            assert_eq!(
                Sighting {
                    child: true,
                    ..sighting
                }
                .judge(),
                Verdict::Member
            );
        }
    }

    #[test]
    fn without_mark_group_and_parent_it_is_a_stranger() {
        let stranger = Sighting {
            marked: false,
            ..ORPHAN
        };
        assert_eq!(stranger.judge(), Verdict::Stranger);
        assert_eq!(
            Sighting {
                variable: Some(false),
                ..stranger
            }
            .judge(),
            Verdict::Stranger
        );
    }
}
