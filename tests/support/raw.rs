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

use libc::{c_int, c_long, c_void};

/// Lets nothing that this process has inherited, the standard streams aside, go on to what it starts.
pub(crate) fn keep_inherited_descriptors() {
    // SAFETY: the call marks descriptors, and closes none.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

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

/// Takes a lease on a file of our own that nobody has open: until it is given up, and for 45 seconds at most, whoever
/// opens it hangs. A child that hangs in it has inherited it: closing it here is not enough.
pub(crate) fn lease(file: &File) {
    /// `F_SETSIG`, which the libc crate lacks.
    const SET_SIGNAL: c_int = 10;
    // The holder is told by a signal, which is to be one that does nothing.
    control(file, SET_SIGNAL, libc::SIGURG);
    control(file, libc::F_SETLEASE, libc::F_WRLCK);
}

/// Gives it up.
pub(crate) fn end_lease(file: &File) {
    control(file, libc::F_SETLEASE, libc::F_UNLCK);
}

fn control(file: &File, call: c_int, argument: c_int) {
    // SAFETY: no memory is involved.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), call, argument) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
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

/// Traces a process without ever waiting for it: what it dies of, its parent does not hear while we live. With
/// `before_exit` it does not even finish dying.
pub(crate) fn seize(pid: i32, before_exit: bool) {
    let options: c_long = if before_exit {
        c_long::from(libc::PTRACE_O_TRACEEXIT)
    } else {
        0
    };
    // SAFETY: PTRACE_SEIZE takes no address, and its options by value.
    let result = unsafe {
        libc::ptrace(
            libc::PTRACE_SEIZE,
            pid,
            std::ptr::null_mut::<c_void>(),
            options,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Starts a child that shares our memory, as vfork does, and returns when it has let go of it: when its standard input
/// has ended. Until then the calling thread is in state D.
pub(crate) fn be_a_vfork_parent() {
    extern "C" fn until_end_of_input(_: *mut c_void) -> c_int {
        let mut byte = 0_u8;
        loop {
            // SAFETY: one byte is there to be written to.
            let read = unsafe { libc::read(0, (&raw mut byte).cast::<c_void>(), 1) };
            if read <= 0 {
                return 0;
            }
        }
    }
    const STACK: usize = 64 * 1024;
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let top = stack.as_mut_ptr_range().end.cast::<c_void>();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack outlives the child's use of our memory, since CLONE_VFORK holds us here until that is over; it
    // is aligned to 16 bytes, and the child's function needs a few hundred.
    let pid = unsafe { libc::clone(until_end_of_input, top, flags, std::ptr::null_mut()) };
    assert!(pid > 0, "{}", io::Error::last_os_error());
    // SAFETY: a null status pointer is allowed.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
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

/// Moves the machine's wall clock by so many seconds.
pub(crate) fn move_wall_clock(seconds: i64) {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is valid for the call.
    let read = unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    assert_eq!(read, 0, "{}", io::Error::last_os_error());
    time.tv_sec += seconds;
    // SAFETY: the pointer is valid for the call.
    let set = unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}
