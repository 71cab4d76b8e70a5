//! What the fuzz targets drive. Only there with `--cfg fuzzing`, and no part of the API.
//!
//! Every parser of bytes that others have written is here once, by what it reads. Each is held against more than "does not
//! panic": a second parser that is written in the plainest way, or a writer that writes as the kernel does.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::mark;
use crate::session::{Life, SessionId};

/// Runs the machine in its simulated world, by operations that are read off the bytes.
pub fn machine(data: &[u8]) {
    crate::machine::drive(data);
}

/// Reads any bytes as a ledger: none panic, what was understood is written and read again, and a beginning of them means
/// what the whole has begun with.
pub fn ledger(data: &[u8]) {
    crate::ledger::fuzz(data);
}

/// Reads any bytes as a mark; what is read is written as it was, and a token that is nested into it is found again.
pub fn mark(data: &[u8]) {
    let parsed = mark::Mark::parse(data);
    let written = parsed.encode();
    assert_eq!(
        mark::Mark::parse(written.as_bytes()),
        parsed,
        "what is written is read again"
    );
    let token = mark::Token {
        owner_name: "fuzz".to_owned(),
        pid: 1,
        start: 2,
        inode: 3,
        boot: 4,
        pid_namespace: 5,
        registry: 6,
        life: Life(7),
        session: SessionId(8),
    };
    let nested = mark::nest(Some(OsStr::from_bytes(data)), &token);
    let read = mark::Mark::parse(nested.as_bytes());
    assert_eq!(
        read.tokens().last(),
        Some(&token),
        "ours is the innermost, whatever stands before it"
    );
}

/// Reads what `/proc` says of processes and of the machine: `stat`, `status`, `limits`, `children`, `loadavg`, the boot's
/// id, the names of directories. The first byte says which.
pub fn proc_files(data: &[u8]) {
    crate::sys::fuzz::proc_files(data);
}

/// Reads what tells of cgroups: `/proc/PID/cgroup`, `/proc/self/mountinfo`, the files in a cgroup, the names of leaves. The
/// first byte says which.
pub fn cgroup_files(data: &[u8]) {
    crate::sys::fuzz::cgroup_files(data);
}

/// Reads lists of strings, in which arguments and environments are told: Linux's, FreeBSD's and macOS's. The first byte says
/// which.
pub fn strings(data: &[u8]) {
    crate::sys::fuzz::strings(data);
}

/// Reads in which ways kernels tell how a process ended: a word, a siginfo, what a pidfd knows. All say the same.
pub fn exits(data: &[u8]) {
    crate::sys::fuzz::exits(data);
}

/// Reads limits as marks, and marks in them.
pub fn limit_mark(data: &[u8]) {
    crate::limit_mark::fuzz(data);
}

/// Reads any text as the name of a signal.
pub fn signal(data: &[u8]) {
    crate::signal::fuzz(data);
}

/// Values that are read off the fuzzer's bytes; zeros where these have come to their end.
#[derive(Clone, Debug)]
pub(crate) struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) fn i32(&mut self) -> i32 {
        i32::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// So many bytes as the first of them says, and no more than `most`.
    pub(crate) fn bytes(&mut self, most: usize) -> &'a [u8] {
        let length = usize::from(self.byte()).min(most).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let length = N.min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        array[..length].copy_from_slice(bytes);
        self.0 = rest;
        array
    }
}
