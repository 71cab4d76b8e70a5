//! [`Registry`]'s calls for what nobody needs any more, and for what nobody owns.

#[expect(unused_imports, reason = "the docs link to it")]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::orphan_rule::OrphanRule;
use crate::reaper::{Reaper, ReaperOptions};
use crate::recovery::{self, RecoveryPolicy};
use crate::registry::Registry;
use crate::report::{RecoveryReport, SweepReport};
use crate::session::SessionId;
use crate::sweep::Sweep;

/// # Orphans
impl Registry {
    /// Ends, now and from time to time, the sessions that the host does not name as active.
    ///
    /// The first pass begins at once, the others at each interval after it, by the monotonic clock, without drift. Passes do
    /// not overlap: one that takes longer than an interval has those that fell into it left out. Between two passes nothing
    /// wakes up. In each pass, in this order:
    ///
    /// 1. The sessions that live are listed.
    /// 2. `active` is called, on a thread of the reaper's own, and names the sessions that are needed. One that began after
    ///    the list was made is not on it: it is not stale, whatever `active` says.
    /// 3. What is on the list and was not named is ended, all at once, with [`Reason::Reaper`](crate::Reason::Reaper), by the policy of the
    ///    options, or else the session's, or else the registry's. An end that is under way already is joined as it is.
    /// 4. If there is a rule, orphans are [swept](Self::sweep).
    /// 5. An [`EventKind::ReaperPassed`](crate::EventKind::ReaperPassed) tells what came of it, and so does the log.
    ///
    /// `active` says `None` if it does not know, as when the host's own table cannot be read: the pass is skipped, and so
    /// it is if `active` panics. If it blocks, the passes that fall due meanwhile are skipped, and when it returns its answer
    /// is taken for the pass that asked; the sweep is made all the same. A skipped pass says
    /// [why](crate::ReaperReport::skip_reason).
    ///
    /// *Name a session before you begin it*: a session that is begun, listed, and not yet in the host's table when `active`
    /// looks there is a session that nobody needs.
    ///
    /// The reaper does not keep the registry alive. A `Registry` that `active` captures does, for as long as the reaper
    /// runs: capture what [`downgrade`](Self::downgrade) gives instead.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::HashSet;
    /// use std::sync::{Arc, Mutex};
    /// use std::time::Duration;
    /// use procession::Registry;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let registry = Registry::new()?;
    /// let conversations: Arc<Mutex<HashSet<u64>>> = Arc::default();
    ///
    /// let table = Arc::clone(&conversations);
    /// let reaper = registry.start_reaper(Duration::from_secs(30), move || {
    ///     // A table that is poisoned says nothing: nobody is ended for that.
    ///     Some(table.lock().ok()?.clone())
    /// })?;
    ///
    /// conversations.lock().unwrap().insert(7);
    /// registry.spawn(7, std::process::Command::new("sleep").arg("60"))?;
    /// assert_eq!(reaper.run_now()?.ended(), 0);
    ///
    /// conversations.lock().unwrap().remove(&7);
    /// let report = reaper.run_now()?;
    /// assert_eq!(report.ended(), 1);
    /// println!("{report}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// * [`InvalidInput`](ErrorKind::InvalidInput): an interval of zero.
    /// * [`System`](ErrorKind::System): no thread is to be had.
    /// * [`ShutDown`](ErrorKind::ShutDown), [`ReactorGone`](ErrorKind::ReactorGone).
    pub fn start_reaper<I>(
        &self,
        options: impl Into<ReaperOptions>,
        active: impl FnMut() -> Option<I> + Send + 'static,
    ) -> Result<Reaper>
    where
        I: IntoIterator,
        I::Item: Into<SessionId>,
    {
        Reaper::start(&self.0.shared, self.0.thread_name(), options.into(), active)
    }

    /// Ends the processes of the system that a rule takes for orphans, and says what was found, what was ended, and what was
    /// left alone.
    ///
    /// Each is read after its identity was pinned by a pidfd, and that pidfd is what its signals go through: a pid that is
    /// reused meanwhile is nobody's concern. It is then ended as a session is, in one of its own with the label `sweep`
    /// that no [`Limits`](crate::Limits) count: the ladder of the rule's policy, or else of the registry's, with SIGKILL and
    /// confirmation at its end. Only confirmed deaths are [counted](SweepReport::ended). A process is ended alone: its
    /// children are matched on their own, or not.
    ///
    /// What a rule never matches is said at [`OrphanRule`]; beside that what carries the mark of a session that lives or
    /// is in its cgroup, of this registry or of another program that does, is left alone and listed.
    ///
    /// All processes are seen, however many there are. One pass takes some tens of milliseconds where there are
    /// thousands. Where the descriptors do not suffice for all that were found they are ended in several batches, each with
    /// its own grace.
    ///
    /// Reading about a process can hang, and so can a predicate. What takes longer than two seconds is left behind, listed,
    /// and the sweep goes on; after the third the rest is [not looked at](SweepReport::not_looked_at).
    ///
    /// To find out who takes in orphans, the first sweep of a registry makes one: two processes that are gone within
    /// microseconds. Where the one who takes it in never waits for its children, as some programs do that run as the first
    /// process of a container, one zombie stays there.
    ///
    /// # Errors
    ///
    /// * [`System`](ErrorKind::System): no `/proc`, or it belongs to another pid namespace; no descriptor or thread for the
    ///   sweep itself.
    /// * [`ShutDown`](ErrorKind::ShutDown), [`ReactorGone`](ErrorKind::ReactorGone).
    pub fn sweep(&self, rule: &OrphanRule) -> Result<SweepReport> {
        Sweep::new(&self.0.shared, self.0.thread_name(), rule).run()
    }

    /// Finds what an earlier run of this program left behind, and ends it, see
    /// [`recover_with`](Self::recover_with).
    ///
    /// # Errors
    ///
    /// Those of `recover_with`.
    ///
    /// # Examples
    ///
    /// ```
    /// use procession::Registry;
    ///
    /// # let ledger = std::env::temp_dir().join(format!("procession-doc-{}", std::process::id()));
    /// let registry = Registry::builder()
    ///     .owner_name("agent-host")
    ///     .ledger(&ledger)
    ///     .build()?;
    /// let report = registry.recover()?;
    /// if !report.is_clean() {
    ///     eprintln!("{report}");
    /// }
    /// # std::fs::remove_file(&ledger)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recover(&self) -> Result<RecoveryReport> {
        self.recover_with(RecoveryPolicy::End)
    }

    /// Finds what an earlier run of this program left behind, and ends it or takes it over.
    ///
    /// Earlier runs are registries with this one's [`owner_name`](crate::Builder::owner_name) whose program is dead: its number,
    /// its start and where the kernel has one the inode of its pidfd say so, in this boot and this pid namespace. Their
    /// processes are known by the variable in their environment; by the cgroup that the registry made for their session; by
    /// their limit mark where that is tied to such a registry by the [`ledger`](crate::Builder::ledger), by a cgroup or by another
    /// process; or by the ledger alone. Neither needs privileges, nor does recovery need a ledger. What was spawned under
    /// [`Subreaper`](crate::Containment::Subreaper) is known as under `Group`: its orphans went elsewhere when the program died, and one
    /// that has taken off every mark is not found.
    ///
    /// Nothing is done to this program, to those that it descends from, or to anything that another program has that
    /// lives. Whatever leaves doubt is left alone, and reported: an owner in another pid namespace, a limit mark of which
    /// nothing says whose it is.
    ///
    /// What is ended is ended by this registry's [`StopPolicy`](crate::StopPolicy), all at once, or in several batches where the
    /// descriptors do not suffice for all of it, in a session of a number that the registry picks, with [`Reason::Recovery`](crate::Reason::Recovery) and events like any other. What it forks in the meantime is found as at every end
    /// of a session. A cgroup that has nobody in it but what is to be ended is killed as a whole at the last rung, and removed,
    /// if this program may do that. What is taken over lives in sessions of the numbers that it had, until they are ended.
    ///
    /// None of these sessions is the host's before this returns: neither a reaper nor
    /// [`retain_sessions`](Self::retain_sessions) ends one of them. From then on a reaper ends what was taken over and is not
    /// named by `active`: take over before it is started, or by numbers that are named already.
    ///
    /// It blocks: a pass over all processes takes some ten milliseconds where there are thousands, and an end takes what
    /// its policy says. It reads the environment of every process. One whose memory is locked in the kernel, so that
    /// reading about it does not return, is given up after two seconds: it is left alone and listed, unless the ledger says
    /// that it is ours. Call it before the first spawn, or at any other time. A second call waits until the first is over, and
    /// then sees what that has left.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) if `/proc` belongs to another pid namespace;
    /// [`System`](ErrorKind::System) if it cannot be read, or no descriptor is to be had: each process that is taken over costs
    /// one. [`InvalidInput`](ErrorKind::InvalidInput) from within [`spare`](crate::Builder::spare)'s predicate, which a recovery
    /// asks. [`ShutDown`](ErrorKind::ShutDown), [`ReactorGone`](ErrorKind::ReactorGone). What was found before is in its
    /// session all the same.
    pub fn recover_with(&self, policy: RecoveryPolicy) -> Result<RecoveryReport> {
        recovery::recover(&self.0.shared, policy)
    }
}
