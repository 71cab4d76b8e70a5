//! [`Resource`]: what can be limited.

/// What [`Command::rlimit`](crate::Command::rlimit) limits. See `getrlimit(2)` for what each means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// `RLIMIT_AS`: bytes of address space.
    AddressSpace,
    /// `RLIMIT_CORE`: bytes of a core dump.
    CoreSize,
    /// `RLIMIT_CPU`: seconds of processor time.
    CpuSeconds,
    /// `RLIMIT_DATA`: bytes of data segment, private mappings included.
    DataSize,
    /// `RLIMIT_FSIZE`: bytes of a file that is written.
    FileSize,
    /// `RLIMIT_MEMLOCK`: bytes that are locked in memory.
    LockedMemory,
    /// `RLIMIT_NOFILE`: one more than the highest descriptor. It is in force before
    /// [passed descriptors](crate::Command::descriptor) get their numbers.
    Descriptors,
    /// `RLIMIT_NPROC`: processes and threads of the user.
    Processes,
    /// `RLIMIT_RTPRIO`: the highest real-time priority.
    RealTimePriority,
    /// `RLIMIT_SIGPENDING`: signals that are queued for the user.
    PendingSignals,
    /// `RLIMIT_STACK`: bytes of the first thread's stack; a quarter of it bounds arguments and environment.
    StackSize,
}

impl Resource {
    /// What Linux calls it, on the architectures whose numbers are the common ones.
    pub(super) fn code(self) -> u32 {
        match self {
            Self::CpuSeconds => 0,
            Self::FileSize => 1,
            Self::DataSize => 2,
            Self::StackSize => 3,
            Self::CoreSize => 4,
            Self::Processes => 6,
            Self::Descriptors => 7,
            Self::LockedMemory => 8,
            Self::AddressSpace => 9,
            Self::PendingSignals => 11,
            Self::RealTimePriority => 14,
        }
    }
}
