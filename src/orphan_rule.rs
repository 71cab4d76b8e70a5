//! [`OrphanRule`]: which processes of the system are orphans to be ended.

use std::borrow::Cow;
use std::fmt;
use std::ops::Not;
use std::sync::Arc;

use crate::contain::contain;
use crate::stop::StopPolicy;
use crate::system_process::SystemProcess;

/// Which processes of the system are orphans to be ended, and how.
///
/// For what carries no mark, or the mark of a program that is gone: what an earlier run of this program left behind, or a
/// session that is over. [`Registry::sweep`](crate::Registry::sweep) goes over all processes with it.
///
/// # What a rule never matches
///
/// This process, its ancestors, pid 1, the kernel's threads, what is registered, and, unless
/// [`any_user`](Self::any_user) says so, other users' processes. What carries the mark of a session that is not over, of
/// this registry or of another program that lives, is left alone and listed.
///
/// Where `/proc` hides other users' processes (`hidepid`) and the kernel is older than 6.13, an ancestor beyond a hidden one
/// is not known as such.
///
/// # What cannot be told
///
/// A predicate that panics has not said yes, and where [`SystemProcess::is_reparented`] is `None`, `reparented()` has not
/// either; nor does `!` turn it into a yes. A process is matched only if the rule says so whatever the answer might
/// have been.
///
/// # Examples
///
/// The servers of an earlier run of this host: their parent is gone, and they are what this host starts.
///
/// ```
/// use procession::{OrphanRule, StopPolicy, SystemProcess};
///
/// let ours = OrphanRule::matching("our server", |process| {
///     // By arguments, each as a whole: a search in the command line would find every editor that has the file open.
///     let args = process.args();
///     args.len() == 3 && args[0] == "/opt/agent/server" && args[1] == "--session"
/// });
/// let rule = OrphanRule::reparented().and(ours).stop_policy(StopPolicy::stdio_server());
///
/// let args = ["/opt/agent/server", "--session", "7"].map(Into::into);
/// let orphan = SystemProcess::from_parts(4711, args.to_vec()).with_reparented(true);
/// assert!(rule.matches(&orphan));
/// assert!(!rule.matches(&orphan.with_reparented(false)));
/// ```
#[derive(Clone)]
#[must_use]
pub struct OrphanRule {
    node: Arc<Node>,
    any_user: bool,
    stop_policy: Option<StopPolicy>,
    dry_run: bool,
}

type Predicate = dyn Fn(&SystemProcess) -> bool + Send + Sync;

enum Node {
    Matching(String, Box<Predicate>),
    Reparented,
    /// For a part that is not to reach as far as the rest of a rule does.
    OwnUser(Arc<Self>),
    /// In a row, not one inside of the other: a rule of ten thousand parts would go deeper than the stack does.
    Several(Joint, Vec<Arc<Self>>),
    Not(Arc<Self>),
}

/// What makes one of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joint {
    And,
    Or,
}

/// What a rule says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    /// It is one, by the rules of these names.
    Yes(Cow<'a, str>),
    No,
    /// It cannot be told. `panicked`: a predicate that would have had to say.
    Unknown {
        panicked: bool,
    },
}

/// What is known of a process before anything that can hang is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outline {
    pub(crate) reparented: Option<bool>,
    pub(crate) own_user: bool,
}

impl OrphanRule {
    /// What a predicate says. The name stands in reports, for people: `our server`.
    ///
    /// The predicate gets what was read of a process after its identity was pinned. It runs on a thread of the library's,
    /// for one process after the other. A panic is no match; one that does not return for two seconds is not waited for,
    /// and is no match either: both are told in the report.
    pub fn matching(
        name: impl Into<String>,
        predicate: impl Fn(&SystemProcess) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::of(Node::Matching(name.into(), Box::new(predicate)))
    }

    /// Those whose parent is gone, so that another process has taken them in: pid 1, or a subreaper between it and them
    /// (`systemd --user`, `tini`). See [`SystemProcess::is_reparented`] for what is known and what is not.
    pub fn reparented() -> Self {
        Self::of(Node::Reparented)
    }

    fn of(node: Node) -> Self {
        Self {
            node: Arc::new(node),
            any_user: false,
            stop_policy: None,
            dry_run: false,
        }
    }

    /// Those that both match. Of the other rule's policy, scope and dry run, what is not said here is taken over.
    pub fn and(self, other: Self) -> Self {
        Self {
            node: Node::join(Joint::And, self.node, other.node),
            any_user: self.any_user || other.any_user,
            stop_policy: self.stop_policy.or(other.stop_policy),
            dry_run: self.dry_run || other.dry_run,
        }
    }

    /// Those that one of the two matches, each among the users that it was made for. There is one policy for all of them:
    /// this one's, or else the other's; and if one is a dry run, all of it is.
    pub fn or(self, other: Self) -> Self {
        let any_user = self.any_user || other.any_user;
        let scoped = |rule: Self| {
            if any_user && !rule.any_user {
                Arc::new(Node::OwnUser(rule.node))
            } else {
                rule.node
            }
        };
        let stop_policy = self.stop_policy.clone().or(other.stop_policy.clone());
        let dry_run = self.dry_run || other.dry_run;
        Self {
            node: Node::join(Joint::Or, scoped(self), scoped(other)),
            any_user,
            stop_policy,
            dry_run,
        }
    }

    /// Other users' processes too. Without it only those are looked at whose real user is the one that this program runs
    /// as.
    pub fn any_user(self) -> Self {
        Self {
            any_user: true,
            ..self
        }
    }

    /// How what matches is ended. Without it, by the registry's policy.
    ///
    /// An orphan's standard input is not held by anybody who could close it: such a rung is a wait here.
    pub fn stop_policy(self, policy: StopPolicy) -> Self {
        Self {
            stop_policy: Some(policy),
            ..self
        }
    }

    /// Ends nothing: the report says what would be ended, and why.
    pub fn dry_run(self) -> Self {
        Self {
            dry_run: true,
            ..self
        }
    }

    /// Whether the rule matches this process, for a host's tests. Its user is not looked at, nor anything else that a
    /// sweep leaves alone.
    pub fn matches(&self, process: &SystemProcess) -> bool {
        matches!(self.judge(process, true), Verdict::Yes(_))
    }

    pub(crate) fn reaches_any_user(&self) -> bool {
        self.any_user
    }

    pub(crate) fn policy(&self) -> Option<&StopPolicy> {
        self.stop_policy.as_ref()
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Whether the rule could still match what looks like this from afar.
    pub(crate) fn can_match(&self, outline: Outline) -> bool {
        self.node.prospects(outline).yes
    }

    /// Calls the predicates, in the order in which they stand, as far as it takes.
    pub(crate) fn judge(&self, process: &SystemProcess, own_user: bool) -> Verdict<'_> {
        self.node.judge(process, own_user)
    }
}

impl Not for OrphanRule {
    type Output = Self;

    /// Those that it does not match. What the rule says besides (users, policy, dry run) stays.
    ///
    /// `!` comes last: `!a.or(b)` is `!(a.or(b))`.
    fn not(self) -> Self {
        Self {
            node: Arc::new(Node::Not(self.node)),
            ..self
        }
    }
}

/// What can still come of a part of a rule.
#[derive(Clone, Copy)]
struct Prospects {
    yes: bool,
    no: bool,
}

impl Node {
    fn join(joint: Joint, first: Arc<Self>, other: Arc<Self>) -> Arc<Self> {
        let parts = |node: Arc<Self>| match Arc::try_unwrap(node) {
            Ok(Self::Several(its, parts)) if its == joint => parts,
            Ok(single) => vec![Arc::new(single)],
            Err(shared) => {
                if let Self::Several(its, parts) = &*shared {
                    if *its == joint {
                        return parts.clone();
                    }
                }
                vec![shared]
            }
        };
        let mut all = parts(first);
        all.extend(parts(other));
        Arc::new(Self::Several(joint, all))
    }

    fn prospects(&self, outline: Outline) -> Prospects {
        match self {
            Self::Matching(..) => Prospects {
                yes: true,
                no: true,
            },
            Self::Reparented => Prospects {
                yes: outline.reparented == Some(true),
                no: outline.reparented == Some(false),
            },
            Self::OwnUser(_) if !outline.own_user => Prospects {
                yes: false,
                no: true,
            },
            Self::OwnUser(inner) => inner.prospects(outline),
            Self::Several(joint, parts) => {
                let mut all = Prospects {
                    yes: *joint == Joint::And,
                    no: *joint == Joint::Or,
                };
                for part in parts {
                    let part = part.prospects(outline);
                    match joint {
                        Joint::And => {
                            all.yes &= part.yes;
                            all.no |= part.no;
                        }
                        Joint::Or => {
                            all.yes |= part.yes;
                            all.no &= part.no;
                        }
                    }
                }
                all
            }
            Self::Not(inner) => {
                let Prospects { yes, no } = inner.prospects(outline);
                Prospects { yes: no, no: yes }
            }
        }
    }

    fn judge(&self, process: &SystemProcess, own_user: bool) -> Verdict<'_> {
        match self {
            Self::Matching(name, predicate) => {
                // The host's code: a panic is its own affair.
                match contain(|| predicate(process)) {
                    Some(true) => Verdict::Yes(Cow::Borrowed(name)),
                    Some(false) => Verdict::No,
                    None => Verdict::Unknown { panicked: true },
                }
            }
            Self::Reparented => match process.is_reparented() {
                Some(true) => Verdict::Yes(Cow::Borrowed("reparented")),
                Some(false) => Verdict::No,
                None => Verdict::Unknown { panicked: false },
            },
            Self::OwnUser(_) if !own_user => Verdict::No,
            Self::OwnUser(inner) => inner.judge(process, own_user),
            Self::Several(joint, parts) => {
                let verdicts = parts.iter().map(|part| part.judge(process, own_user));
                match joint {
                    Joint::And => Verdict::of_all(verdicts),
                    Joint::Or => Verdict::of_any(verdicts),
                }
            }
            Self::Not(inner) => match inner.judge(process, own_user) {
                Verdict::Yes(_) => Verdict::No,
                Verdict::No => Verdict::Yes(format!("not {}", Within(inner)).into()),
                unknown @ Verdict::Unknown { .. } => unknown,
            },
        }
    }
}

impl<'a> Verdict<'a> {
    /// As soon as one says no nobody else is asked.
    fn of_all(verdicts: impl Iterator<Item = Self>) -> Self {
        let mut whys: Vec<Cow<'a, str>> = Vec::new();
        let mut unknown = None;
        for verdict in verdicts {
            match verdict {
                Self::No => return Self::No,
                Self::Yes(why) => whys.push(why),
                Self::Unknown { panicked } => unknown = Some(panicked || unknown == Some(true)),
            }
        }
        match unknown {
            Some(panicked) => Self::Unknown { panicked },
            None => Self::Yes(whys.join(" and ").into()),
        }
    }

    /// As soon as one says yes nobody else is asked.
    fn of_any(verdicts: impl Iterator<Item = Self>) -> Self {
        let mut unknown = None;
        for verdict in verdicts {
            match verdict {
                Self::Yes(why) => return Self::Yes(why),
                Self::No => {}
                Self::Unknown { panicked } => unknown = Some(panicked || unknown == Some(true)),
            }
        }
        unknown.map_or(Self::No, |panicked| Self::Unknown { panicked })
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matching(name, _) => f.write_str(name),
            Self::Reparented => f.write_str("reparented"),
            Self::OwnUser(inner) => inner.fmt(f),
            Self::Several(joint, parts) => {
                let between = match joint {
                    Joint::And => " and ",
                    Joint::Or => " or ",
                };
                for (at, part) in parts.iter().enumerate() {
                    let between = if at > 0 { between } else { "" };
                    write!(f, "{between}{}", Within(part))?;
                }
                Ok(())
            }
            Self::Not(inner) => write!(f, "not {}", Within(inner)),
        }
    }
}

/// A part of a rule, in parentheses if it has parts itself.
struct Within<'a>(&'a Node);

impl fmt::Display for Within<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Node::Several(..) => write!(f, "({})", self.0),
            Node::Matching(..) | Node::Reparented | Node::OwnUser(_) | Node::Not(_) => {
                self.0.fmt(f)
            }
        }
    }
}

impl fmt::Display for OrphanRule {
    /// The names of its parts: `reparented and our server`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.fmt(f)
    }
}

impl fmt::Debug for OrphanRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrphanRule")
            .field("rule", &self.node.to_string())
            .field("any_user", &self.any_user)
            .field("stop_policy", &self.stop_policy)
            .field("dry_run", &self.dry_run)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(name: &str, answer: bool) -> OrphanRule {
        OrphanRule::matching(name, move |_| answer)
    }

    fn panics() -> OrphanRule {
        OrphanRule::matching("broken", |_| panic!("on purpose"))
    }

    fn process() -> SystemProcess {
        SystemProcess::from_parts(4711, vec!["server".into()])
    }

    fn why(rule: &OrphanRule, process: &SystemProcess) -> Option<String> {
        match rule.judge(process, true) {
            Verdict::Yes(why) => Some(why.into_owned()),
            Verdict::No | Verdict::Unknown { .. } => None,
        }
    }

    #[test]
    fn a_match_names_the_rules_that_made_it() {
        let orphan = process().with_reparented(true);
        let rule = OrphanRule::reparented().and(says("a", false).or(says("b", true)));
        assert_eq!(why(&rule, &orphan).as_deref(), Some("reparented and b"));
        let rule = says("a", true).and((!says("b", false)).or(says("c", false)));
        assert_eq!(why(&rule, &orphan).as_deref(), Some("a and not b"));
        assert_eq!(rule.to_string(), "a and (not b or c)");
    }

    /// One for each of many known programs, say. It is judged on a thread with a small stack.
    #[test]
    fn a_rule_of_very_many_parts_is_no_deeper_than_one_of_two() {
        let many = |joined: fn(OrphanRule, OrphanRule) -> OrphanRule, answer| {
            let parts = (0..100_000).map(|_| says("part", answer));
            parts.reduce(joined).expect("there are some")
        };
        let any = many(OrphanRule::or, false);
        let all = many(OrphanRule::and, true);
        let shared = any.clone().or(says("the last", true));
        let small = std::thread::Builder::new().stack_size(128 << 10);
        let judged = small.spawn(move || {
            assert_eq!(why(&any, &process()), None);
            assert_eq!(why(&shared, &process()).as_deref(), Some("the last"));
            assert!(all.matches(&process()));
            assert!(any.to_string().starts_with("part or part or part"));
        });
        judged.expect("a thread").join().expect("it comes back");
    }

    #[test]
    fn what_cannot_be_told_is_no_match_and_its_opposite_is_none_either() {
        for unknown in [panics(), OrphanRule::reparented()] {
            assert!(!unknown.matches(&process()));
            assert!(!(!unknown.clone()).matches(&process()));
            assert!(!unknown.clone().and(says("a", true)).matches(&process()));
            assert!(!(!unknown.clone().or(says("a", false))).matches(&process()));
            // Whatever it had said.
            assert!(unknown.clone().or(says("a", true)).matches(&process()));
            assert!((!unknown.and(says("a", false))).matches(&process()));
        }
    }

    #[test]
    fn a_panic_is_told_apart_from_what_the_system_does_not_say() {
        let verdict = |rule: &OrphanRule| match rule.judge(&process(), true) {
            Verdict::Unknown { panicked } => Some(panicked),
            Verdict::Yes(_) | Verdict::No => None,
        };
        assert_eq!(verdict(&panics()), Some(true));
        assert_eq!(verdict(&OrphanRule::reparented()), Some(false));
        assert_eq!(verdict(&OrphanRule::reparented().and(panics())), Some(true));
        assert_eq!(verdict(&panics().and(says("a", false))), None);
    }

    #[test]
    fn predicates_are_not_asked_where_the_parent_decides() {
        let mut outline = Outline {
            reparented: Some(false),
            own_user: true,
        };
        let rule = says("a", true).and(OrphanRule::reparented());
        assert!(!rule.can_match(outline));
        assert!((!rule.clone()).can_match(outline));
        assert!(rule.clone().or(says("b", true)).can_match(outline));
        outline.reparented = None;
        assert!(!rule.can_match(outline));
        assert!((!rule).can_match(outline), "the other part may say no");
        outline.reparented = Some(true);
        assert!(OrphanRule::reparented().can_match(outline));
    }

    #[test]
    fn a_part_for_this_user_alone_stays_that_beside_one_for_any_user() {
        let rule = says("mine", true).or(says("anybody's", true).any_user());
        assert!(rule.reaches_any_user());
        let named = |own_user| match rule.judge(&process(), own_user) {
            Verdict::Yes(why) => why.into_owned(),
            Verdict::No | Verdict::Unknown { .. } => String::new(),
        };
        assert_eq!(named(true), "mine");
        assert_eq!(named(false), "anybody's");
    }

    #[test]
    fn one_dry_run_makes_all_of_a_rule_one() {
        assert!(says("a", true).and(says("b", true).dry_run()).is_dry_run());
        assert!(says("a", true).dry_run().or(says("b", true)).is_dry_run());
        assert!((!says("a", true).dry_run()).is_dry_run());
    }
}
