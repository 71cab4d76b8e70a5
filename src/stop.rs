//! [`StopPolicy`]: the ladder by which a process is ended, as data.

use std::fmt;
use std::time::Duration;

use crate::signal::Signal;

/// How long an end waits for confirmation after SIGKILL, unless said otherwise.
const CONFIRM: Duration = Duration::from_secs(5);

/// The ladder by which a process or a session is ended.
///
/// Each rung is done, then given its time; whoever is gone by then is not troubled further. The
/// times are absolute, measured from the start of the end, on the monotonic clock, and shared by
/// all that is ended together: a hundred stubborn processes cost one grace time.
///
/// SIGKILL is always the last rung, said or not. After it comes the confirmation: the end waits
/// until the kernel says that the process is dead, at most [`confirm_within`](Self::confirm_within)
/// long, 5 s unless said otherwise.
///
/// Every [`Duration`] is legal: zero means at once, [`Duration::MAX`] never. A rung whose time is
/// `MAX` is the last one that is reached, and the end waits for ever if need be.
///
/// `Display` prints the ladder: `close stdin 2s, SIGTERM 2s, SIGKILL, confirm within 5s`.
///
/// # Examples
///
/// ```
/// use procession::{Signal, StopPolicy};
/// use std::time::Duration;
///
/// let policy = StopPolicy::new()
///     .close_stdin(Duration::from_secs(2))
///     .signal(Signal::TERM, Duration::from_secs(5))
///     .kill();
/// assert_eq!(policy.to_string(), "close stdin 2s, SIGTERM 5s, SIGKILL, confirm within 5s");
/// assert_eq!(policy.longest(), Duration::from_secs(12));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct StopPolicy {
    /// Never contains a kill: that is what comes after the last step.
    steps: Vec<Step>,
    confirm: Duration,
    /// The least total that was asked for. Later rungs are held to it as well.
    total: Duration,
    /// `kill` was said: what is added later is never reached.
    complete: bool,
}

/// One rung, and how long it lasts before the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Step {
    pub(crate) rung: Rung,
    pub(crate) lasts: Duration,
}

/// One rung of a ladder, as it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rung {
    /// The process's stdin is closed, so that a program that reads it meets its end.
    CloseStdin,
    /// Nothing is done: the process has time to end by itself.
    Wait,
    /// A signal is sent.
    Signal(Signal),
    /// SIGKILL is sent.
    Kill,
}

impl StopPolicy {
    /// An empty ladder, which is SIGKILL at once: the same as [`immediate`](Self::immediate).
    pub const fn new() -> Self {
        Self {
            steps: Vec::new(),
            confirm: CONFIRM,
            total: Duration::MAX,
            complete: false,
        }
    }

    /// Adds a rung: close stdin, then wait up to `grace`.
    ///
    /// It closes what [`Process::stdin`](crate::Process::stdin) writes to. A process without a
    /// piped stdin, or whose pipe was taken out, skips the rung but not its time.
    pub fn close_stdin(self, grace: Duration) -> Self {
        self.rung(Rung::CloseStdin, grace)
    }

    /// Adds a rung: wait up to `grace` for the process to end by itself.
    pub fn wait(self, grace: Duration) -> Self {
        self.rung(Rung::Wait, grace)
    }

    /// Adds a rung: send `signal`, then wait up to `grace`.
    ///
    /// SIGCONT follows the signal, so that a stopped process can act on it. [`Signal::KILL`] is
    /// [`kill`](Self::kill).
    pub fn signal(self, signal: Signal, grace: Duration) -> Self {
        if signal == Signal::KILL {
            self.kill()
        } else {
            self.rung(Rung::Signal(signal), grace)
        }
    }

    /// Says that SIGKILL comes now. It would anyway, after the last rung; what is added after this
    /// is never reached, and dropped.
    pub fn kill(mut self) -> Self {
        self.complete = true;
        self
    }

    /// How long to wait after SIGKILL for the kernel's word that the process is dead.
    ///
    /// What is still alive then (a process in uninterruptible sleep, one that its tracer holds) is
    /// reported as a survivor, and is still watched. Zero reports at once what is known.
    pub fn confirm_within(mut self, time: Duration) -> Self {
        self.confirm = time;
        self.fit()
    }

    /// Shortens the ladder so that it takes at most `total`, its confirmation included.
    ///
    /// The confirmation keeps its time as far as `total` has it; of the rest the first rungs keep
    /// theirs, and the last ones are shortened, to nothing if need be (they are still done, and
    /// followed at once by the next). A host with three seconds left therefore also says how much
    /// of them the confirmation may have:
    ///
    /// ```
    /// use procession::StopPolicy;
    /// use std::time::Duration;
    ///
    /// let left = Duration::from_secs(3);
    /// let policy = StopPolicy::stdio_server()
    ///     .confirm_within(Duration::from_millis(500))
    ///     .within(left);
    /// assert_eq!(policy.to_string(), "close stdin 2s, SIGTERM 500ms, SIGKILL, confirm within 500ms");
    /// assert_eq!(policy.longest(), left);
    /// ```
    ///
    /// It binds what is added later as well. Of several, the shortest counts.
    pub fn within(mut self, total: Duration) -> Self {
        self.total = self.total.min(total);
        self.fit()
    }

    /// The longest that an end by this ladder can take: all rungs and the confirmation.
    /// [`Duration::MAX`] stands for ever.
    pub fn longest(&self) -> Duration {
        self.steps
            .iter()
            .fold(self.confirm, |sum, step| sum.saturating_add(step.lasts))
    }

    /// SIGTERM, 5 s, SIGKILL. The default.
    pub fn graceful() -> Self {
        Self::new().signal(Signal::TERM, Duration::from_secs(5))
    }

    /// SIGKILL at once.
    pub fn immediate() -> Self {
        Self::new()
    }

    /// Up to `grace` to end by itself, then SIGKILL.
    pub fn wait_then_kill(grace: Duration) -> Self {
        Self::new().wait(grace)
    }

    /// For servers that speak over stdin and stdout: close stdin, 2 s, SIGTERM, 2 s, SIGKILL.
    pub fn stdio_server() -> Self {
        let grace = Duration::from_secs(2);
        Self::new().close_stdin(grace).signal(Signal::TERM, grace)
    }

    /// The rungs before SIGKILL.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How long SIGKILL is given to be confirmed.
    pub(crate) fn confirm(&self) -> Duration {
        self.confirm
    }

    fn rung(mut self, rung: Rung, lasts: Duration) -> Self {
        if !self.complete {
            self.steps.push(Step { rung, lasts });
        }
        self.fit()
    }

    /// Cuts the confirmation to the total, and the rungs to what that leaves, the last ones first.
    fn fit(mut self) -> Self {
        if self.total == Duration::MAX {
            return self;
        }
        self.confirm = self.confirm.min(self.total);
        let mut left = self.total - self.confirm;
        for step in &mut self.steps {
            step.lasts = step.lasts.min(left);
            left -= step.lasts;
        }
        self
    }
}

impl Default for StopPolicy {
    /// [`graceful`](Self::graceful).
    fn default() -> Self {
        Self::graceful()
    }
}

/// Two policies are equal if they do the same, however they were built.
impl PartialEq for StopPolicy {
    fn eq(&self, other: &Self) -> bool {
        self.steps == other.steps && self.confirm == other.confirm
    }
}

impl Eq for StopPolicy {}

impl fmt::Display for StopPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Step { rung, lasts } in &self.steps {
            write!(f, "{rung} {}, ", Lasts(*lasts))?;
        }
        match self.confirm {
            Duration::MAX => write!(f, "SIGKILL, confirm without limit"),
            confirm => write!(f, "SIGKILL, confirm within {confirm:?}"),
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CloseStdin => f.pad("close stdin"),
            Self::Wait => f.pad("wait"),
            Self::Signal(signal) => signal.fmt(f),
            Self::Kill => f.pad("SIGKILL"),
        }
    }
}

/// A rung's time as a person says it.
struct Lasts(Duration);

impl fmt::Display for Lasts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Duration::MAX => f.write_str("for ever"),
            time => write!(f, "{time:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn lasts(policy: &StopPolicy) -> Vec<Duration> {
        policy.steps().iter().map(|step| step.lasts).collect()
    }

    #[test]
    fn the_presets_are_what_they_say() {
        let text = |policy: StopPolicy| policy.to_string();
        assert_eq!(
            text(StopPolicy::graceful()),
            "SIGTERM 5s, SIGKILL, confirm within 5s"
        );
        assert_eq!(text(StopPolicy::immediate()), "SIGKILL, confirm within 5s");
        assert_eq!(
            text(StopPolicy::wait_then_kill(Duration::from_millis(1500))),
            "wait 1.5s, SIGKILL, confirm within 5s"
        );
        assert_eq!(
            text(StopPolicy::stdio_server()),
            "close stdin 2s, SIGTERM 2s, SIGKILL, confirm within 5s"
        );
        assert_eq!(StopPolicy::default(), StopPolicy::graceful());
    }

    #[test]
    fn a_policy_can_be_a_constant() {
        const POLICY: StopPolicy = StopPolicy::new();
        assert_eq!(POLICY, StopPolicy::immediate());
    }

    #[test]
    fn what_stands_after_the_kill_is_never_reached() {
        let said = StopPolicy::new()
            .wait(secs(1))
            .kill()
            .signal(Signal::TERM, secs(9));
        let signalled = StopPolicy::new()
            .wait(secs(1))
            .signal(Signal::KILL, secs(3))
            .wait(secs(9));
        let unsaid = StopPolicy::new().wait(secs(1));
        assert_eq!(said, unsaid);
        assert_eq!(signalled, unsaid);
        assert_eq!(unsaid.longest(), secs(6));
    }

    #[test]
    fn the_last_rungs_are_shortened_first_and_still_done() {
        let policy = StopPolicy::new()
            .close_stdin(secs(2))
            .signal(Signal::INT, secs(2))
            .signal(Signal::TERM, secs(2))
            .confirm_within(secs(1))
            .within(secs(4));
        assert_eq!(lasts(&policy), [secs(2), secs(1), secs(0)]);
        assert_eq!(policy.confirm(), secs(1));
        assert_eq!(policy.longest(), secs(4));
    }

    #[test]
    fn a_total_shorter_than_the_confirmation_cuts_the_confirmation_too() {
        let policy = StopPolicy::graceful().within(secs(3));
        assert_eq!(lasts(&policy), [secs(0)]);
        assert_eq!(policy.confirm(), secs(3));
    }

    #[test]
    fn a_total_binds_what_is_added_later() {
        let policy = StopPolicy::new()
            .within(secs(10))
            .within(secs(20))
            .wait(secs(60))
            .confirm_within(secs(60));
        assert_eq!(policy.longest(), secs(10));
    }

    #[test]
    fn for_ever_is_legal_and_has_a_name() {
        let policy = StopPolicy::new().wait(Duration::MAX).wait(secs(1));
        assert_eq!(policy.longest(), Duration::MAX);
        assert_eq!(
            policy.confirm_within(Duration::MAX).to_string(),
            "wait for ever, wait 1s, SIGKILL, confirm without limit"
        );
        assert_eq!(
            StopPolicy::wait_then_kill(Duration::MAX)
                .within(secs(7))
                .longest(),
            secs(7)
        );
    }

    fn any_duration() -> impl Strategy<Value = Duration> {
        prop_oneof![
            Just(Duration::ZERO),
            Just(Duration::MAX),
            (0..20_000_u64).prop_map(Duration::from_millis),
            (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(s, n)| Duration::new(s, n)),
        ]
    }

    /// One call on a policy: which, and its time.
    fn build(calls: &[(u8, Duration)]) -> StopPolicy {
        let call = |policy: StopPolicy, (which, time): &(u8, Duration)| match which {
            0 => policy.close_stdin(*time),
            1 => policy.wait(*time),
            2 => policy.signal(Signal::TERM, *time),
            3 => policy.confirm_within(*time),
            4 => policy.within(*time),
            5 => policy.signal(Signal::KILL, *time),
            _ => policy.kill(),
        };
        calls.iter().fold(StopPolicy::new(), call)
    }

    fn any_calls(which: std::ops::Range<u8>) -> impl Strategy<Value = Vec<(u8, Duration)>> {
        prop::collection::vec((which, any_duration()), 0..12)
    }

    proptest! {
        #[test]
        fn any_calls_make_a_policy_that_holds_its_shortest_total(calls in any_calls(0..7)) {
            let policy = build(&calls);
            let totals = calls.iter().filter(|(which, _)| *which == 4);
            if let Some((_, least)) = totals.min_by_key(|(_, time)| *time) {
                prop_assert!(policy.longest() <= *least);
            }
            let kills = |step: &Step| matches!(step.rung, Rung::Kill | Rung::Signal(Signal::KILL));
            prop_assert!(!policy.steps().iter().any(kills));
            prop_assert!(policy.to_string().contains("SIGKILL"));
        }

        #[test]
        fn a_total_only_shortens_and_takes_no_rung_away(calls in any_calls(0..4), total in any_duration()) {
            let free = build(&calls);
            let held = free.clone().within(total);
            prop_assert!(held.longest() <= total);
            prop_assert_eq!(held.steps().len(), free.steps().len());
            for (held, free) in held.steps().iter().zip(free.steps()) {
                prop_assert_eq!(held.rung, free.rung);
                prop_assert!(held.lasts <= free.lasts);
            }
            if free.longest() <= total {
                prop_assert_eq!(held, free);
            }
        }

        #[test]
        fn a_shortened_rung_has_only_empty_ones_behind_it(calls in any_calls(0..4), total in any_duration()) {
            let free = build(&calls);
            let held = free.clone().within(total);
            let pairs = held.steps().iter().zip(free.steps());
            let shortened = pairs.clone().position(|(held, free)| held.lasts < free.lasts);
            if let Some(first) = shortened {
                prop_assert!(pairs.skip(first + 1).all(|(held, _)| held.lasts.is_zero()));
            }
        }
    }
}
