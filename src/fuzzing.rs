//! What the fuzz targets drive. Only there with `--cfg fuzzing`, and no part of the API.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::mark;
use crate::session::{Life, SessionId};

/// Runs the machine in its simulated world, by operations that are read off the bytes.
pub fn machine(data: &[u8]) {
    crate::machine::drive(data);
}

/// Reads any bytes as a ledger: none panic, what was understood is written and read again, and a beginning of them says
/// no more than all of them.
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
