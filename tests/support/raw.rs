//! What the tests need of the C library: the dispositions, forks, tracers and refusals that break supervisors.

#![allow(
    unsafe_code,
    reason = "no safe crate has these calls, which exist to misbehave"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use libc::{c_int, c_void};

/// Ignores a signal, for good.
pub(crate) fn ignore_signal(signal: c_int) {
    // SAFETY: SIG_IGN runs no code of ours.
    let before = unsafe { libc::signal(signal, libc::SIG_IGN) };
    assert_ne!(before, libc::SIG_ERR, "{}", io::Error::last_os_error());
}

/// Blocks a signal on this thread, for good.
pub(crate) fn block_signal(signal: c_int) {
    // SAFETY: all zeros is a valid set, and the empty one.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid for the call.
    unsafe { libc::sigaddset(&raw mut set, signal) };
    // SAFETY: the set is valid for the call, and the old mask is not asked for.
    let result =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    assert_eq!(result, 0);
}

/// Lets a signal through again on this thread.
pub(crate) fn unblock_signal(signal: c_int) {
    // SAFETY: all zeros is a valid set, and the empty one.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is valid for the call.
    unsafe { libc::sigaddset(&raw mut set, signal) };
    // SAFETY: the set is valid for the call, and the old mask is not asked for.
    let result =
        unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) };
    assert_eq!(result, 0);
}

/// The session of this process; 0 if its leader is in another pid namespace.
pub(crate) fn own_session() -> c_int {
    // SAFETY: the call takes a number and touches no memory.
    unsafe { libc::getsid(0) }
}

/// Sets a variable of this process, while other threads read them.
pub(crate) fn set_variable(name: &str, value: &str) {
    // SAFETY: whoever reads the environment in these tests does so by way of std, which has a lock for it. What the C library
    // reads of it by itself (where programs are, for posix_spawn) is not what is changed.
    unsafe { std::env::set_var(name, value) };
}

/// Lets the kernel reap all children of this process, by SA_NOCLDWAIT instead of an ignored SIGCHLD.
pub(crate) fn ignore_children() {
    // SAFETY: all zeros is a valid sigaction: the default disposition, no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = libc::SIG_DFL;
    action.sa_flags = libc::SA_NOCLDWAIT;
    // SAFETY: both pointers are valid for the call, the second may be null.
    let result = unsafe { libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut()) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Answers a signal with a handler that never returns.
pub(crate) fn never_finish_handling(signal: c_int) {
    extern "C" fn forever(_: c_int) {
        loop {
            // SAFETY: pause is safe to call in a signal handler.
            unsafe { libc::pause() };
        }
    }
    let handler: extern "C" fn(c_int) = forever;
    // SAFETY: the handler calls nothing but pause, which is async-signal-safe.
    let before = unsafe { libc::signal(signal, handler as *const () as libc::sighandler_t) };
    assert_ne!(before, libc::SIG_ERR, "{}", io::Error::last_os_error());
}

/// What became of a forked copy of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forked {
    Exited(i32),
    Killed(i32),
}

/// Forks without exec, runs something in the copy, and waits for the copy.
pub(crate) fn run_in_fork(run: impl FnOnce()) -> Forked {
    // SAFETY: the tests that do this have no thread at work that could hold a lock which the copy needs: the library's
    // own are asleep, which is the state that the test is about.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "{}", io::Error::last_os_error());
    if pid == 0 {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        // SAFETY: _exit ends this copy and touches nothing that it shares with the original.
        unsafe { libc::_exit(i32::from(caught.is_err())) };
    }
    let mut status = 0;
    // SAFETY: the pointer is valid for the call, and the child is ours.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid, "{}", io::Error::last_os_error());
    if libc::WIFEXITED(status) {
        Forked::Exited(libc::WEXITSTATUS(status))
    } else {
        Forked::Killed(libc::WTERMSIG(status))
    }
}

/// Puts another environment in the place of this process's own. Before there is a second thread.
pub(crate) fn replace_environment(variables: impl IntoIterator<Item = String>) {
    unsafe extern "C" {
        static mut environ: *const *const libc::c_char;
    }
    let strings = variables.into_iter().map(|variable| {
        let string = std::ffi::CString::new(variable).expect("no NUL");
        string.into_raw().cast_const()
    });
    let list: Vec<_> = strings.chain([std::ptr::null()]).collect();
    // SAFETY: nobody else reads or changes it at this moment; the list and its strings are there for good.
    unsafe { environ = list.leak().as_ptr() };
}

/// Makes the spawn of this command hang between fork and exec until there is a byte in the pipe.
pub(crate) fn hold_before_exec(command: &mut Command, pipe: File) {
    let hold = move || {
        let mut byte = 0_u8;
        // SAFETY: one byte is there to be written to; read is async-signal-safe.
        unsafe { libc::read(pipe.as_raw_fd(), (&raw mut byte).cast::<c_void>(), 1) };
        Ok(())
    };
    // SAFETY: the closure calls nothing but read.
    unsafe { command.pre_exec(hold) };
}

/// More than a test has open.
const HIGHEST: c_int = 1024;

/// Closes all descriptors but the standard streams.
pub(crate) fn close_inherited() {
    for descriptor in 3..HIGHEST {
        // SAFETY: nothing in a role that asks for this uses it any more.
        unsafe { libc::close(descriptor) };
    }
}

/// What this command starts inherits every descriptor. The one by which std hears of the exec is among them: the spawn returns
/// when it is closed.
pub(crate) fn inherit_everything(command: &mut Command) {
    let inherit = || {
        for descriptor in 3..HIGHEST {
            // SAFETY: fcntl is async-signal-safe, and this changes a flag of the descriptor alone.
            unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) };
        }
        Ok(())
    };
    // SAFETY: the closure calls nothing but fcntl.
    unsafe { command.pre_exec(inherit) };
}

/// Interrupts whatever system call the receiver of a signal is in, from now until the returned value is dropped.
pub(crate) struct Interrupting(c_int);

impl Interrupting {
    pub(crate) fn by(signal: c_int) -> Self {
        extern "C" fn nothing(_: c_int) {}
        let handler: extern "C" fn(c_int) = nothing;
        // SAFETY: all zeros is a valid sigaction: no SA_RESTART, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        // SAFETY: both pointers are valid for the call, the second may be null; the handler does nothing.
        let result = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        Self(signal)
    }
}

impl Drop for Interrupting {
    fn drop(&mut self) {
        // SAFETY: SIG_DFL runs no code of ours.
        let before = unsafe { libc::signal(self.0, libc::SIG_DFL) };
        assert_ne!(before, libc::SIG_ERR, "{}", io::Error::last_os_error());
    }
}
