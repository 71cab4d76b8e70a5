//! How a process ended, in each way in which that is told.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::exit::Status;
use crate::fuzzing::Source;
use crate::signal::Signal;
use crate::sys::linux::info::{self, PidfdInfo};
use crate::sys::linux::procfs::since_boot_of;
use crate::sys::linux::wait::status_of_code;
use crate::sys::unix::status_of_word;

/// A word is what `wait(2)` gives, and what a pidfd knows; a siginfo says the same in two numbers.
pub(crate) fn exits(data: &[u8]) {
    let mut source = Source::new(data);
    let word = source.i32();
    let status = status_of_word(word);
    assert_eq!(status, plain(word));
    assert_eq!(status, Status::from(ExitStatus::from_raw(word)));
    if let Ok(written) = ExitStatus::try_from(status) {
        assert_eq!(Status::from(written), status);
    }
    let (code, value) = siginfo(word);
    assert_eq!(status_of_code(code, value), status);
    let (code, value) = (source.i32(), source.i32());
    if !(libc::CLD_EXITED..=libc::CLD_DUMPED).contains(&code) {
        assert_eq!(status_of_code(code, value), Status::Unknown, "of a stop");
    }
    pidfd_info(&mut source, word);
    start(&mut source);
}

/// Low seven bits: the signal, 0 for none, all of them for what is no end. The eighth: a core. Then the code.
fn plain(word: i32) -> Status {
    match word & 0x7f {
        0 => Status::Code(word >> 8 & 0xff),
        0x7f => Status::Unknown,
        signal => Status::Signal {
            signal: Signal(signal),
            core_dumped: word & 0x80 != 0,
        },
    }
}

/// As the kernel makes it of a word (`wait_task_zombie`); of what is no end, that of a stop.
fn siginfo(word: i32) -> (i32, i32) {
    match word & 0x7f {
        0 => (libc::CLD_EXITED, word >> 8 & 0xff),
        0x7f => (libc::CLD_STOPPED, word >> 8 & 0xff),
        signal if word & 0x80 != 0 => (libc::CLD_DUMPED, signal),
        signal => (libc::CLD_KILLED, signal),
    }
}

/// What the mask does not name is not told, whatever stands there; what it names is told as it stands.
fn pidfd_info(source: &mut Source<'_>, word: i32) {
    let (mask, cgroup, parent) = (source.u64(), source.u64(), source.u32());
    let (real, effective) = (source.u32(), source.u32());
    let mut info = PidfdInfo {
        mask,
        cgroup_id: cgroup,
        parent,
        exit_code: word,
        ..PidfdInfo::default()
    };
    (info.credentials[0], info.credentials[2]) = (real, effective);
    let told = |bits: u64| mask & bits == bits;
    assert_eq!(info.exit_status(), told(info::EXIT).then(|| plain(word)));
    assert_eq!(info.cgroup(), told(1 << 2).then_some(cgroup));
    assert_eq!(info.parent(), told(1).then_some(parent));
    assert_eq!(info.real_user(), told(1 << 1).then_some(real));
    let both = told(0b11).then_some((parent, effective));
    assert_eq!(info.parent_and_user(), both);
}

/// The start, which is told in ticks.
fn start(source: &mut Source<'_>) {
    let (ticks, per_second) = (source.u64(), u64::from(source.u32() % 10_000 + 1));
    let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(per_second);
    assert_eq!(since_boot_of(ticks, per_second).as_nanos(), nanos);
}
