//! System calls that a filter of the kernel's answers with an errno.

#![allow(
    unsafe_code,
    reason = "no safe crate installs the filter, which is to break what runs under it"
)]

use std::io;

use libc::{c_int, c_long, sock_filter};

/// One system call that fails.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    call: c_long,
    errno: c_int,
    when: When,
    /// And all that are numbered above it.
    and_newer: bool,
    /// Whoever listens decides.
    elsewhere: bool,
}

/// For which of its calls.
#[derive(Clone, Copy, Debug)]
enum When {
    Always,
    /// This argument's lower half, under a mask, has a value.
    Is {
        argument: u32,
        mask: u32,
        value: u32,
    },
    /// This argument's lower half has any of these bits.
    HasAny {
        argument: u32,
        bits: u32,
    },
}

impl Refusal {
    pub(crate) const fn always(call: c_long, errno: c_int) -> Self {
        Self {
            call,
            errno,
            when: When::Always,
            and_newer: false,
            elsewhere: false,
        }
    }

    /// This call is decided about by whoever listens.
    pub(super) const fn decided_elsewhere(call: c_long) -> Self {
        Self {
            elsewhere: true,
            ..Self::always(call, 0)
        }
    }

    /// This call, and all that came after it.
    pub(super) const fn from(call: c_long, errno: c_int) -> Self {
        Self {
            and_newer: true,
            ..Self::always(call, errno)
        }
    }

    /// This call with any of these flags, as by a kernel that does not know them.
    pub(super) const fn of_flags(call: c_long, argument: u32, bits: u32) -> Self {
        Self::of_flags_with(call, libc::EINVAL, argument, bits)
    }

    pub(super) const fn of_flags_with(
        call: c_long,
        errno: c_int,
        argument: u32,
        bits: u32,
    ) -> Self {
        Self {
            when: When::HasAny { argument, bits },
            ..Self::always(call, errno)
        }
    }

    /// This call with an argument that has this value under a mask.
    pub(super) const fn of_value(
        call: c_long,
        errno: c_int,
        argument: u32,
        mask: u32,
        value: u32,
    ) -> Self {
        let when = When::Is {
            argument,
            mask,
            value,
        };
        Self {
            when,
            ..Self::always(call, errno)
        }
    }

    /// Nobody may change the groups that they are in.
    pub(crate) const fn of_groups(errno: c_int) -> Self {
        Self::always(libc::SYS_setgroups, errno)
    }

    /// The part of the filter that sees to this one. Jumps count the instructions that they skip.
    fn program(self) -> Vec<sock_filter> {
        let number = u32::try_from(self.call).expect("numbers of system calls are small");
        let errno = u32::try_from(self.errno).expect("errnos are positive");
        let verdict = if self.elsewhere {
            libc::SECCOMP_RET_USER_NOTIF
        } else {
            libc::SECCOMP_RET_ERRNO | errno
        };
        let refuse = instruction(libc::BPF_RET | libc::BPF_K, 0, 0, verdict);
        let mut rest = match self.when {
            When::Always => Vec::new(),
            When::Is {
                argument,
                mask,
                value,
            } => vec![
                load(lower_half(argument)),
                instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, mask),
                jump_if_equal(value, 0, 1),
            ],
            When::HasAny { argument, bits } => vec![
                load(lower_half(argument)),
                instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, bits),
                jump_if_equal(0, 1, 0),
            ],
        };
        rest.push(refuse);
        let length = u8::try_from(rest.len()).expect("four at most");
        // The number is the first field of what the filter sees.
        let is_it = if self.and_newer {
            instruction(
                libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K,
                0,
                length,
                number,
            )
        } else {
            jump_if_equal(number, 0, length)
        };
        let mut program = vec![load(0), is_it];
        program.append(&mut rest);
        program
    }
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    let code = u16::try_from(code).expect("codes have 16 bits");
    sock_filter { code, jt, jf, k }
}

fn load(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
}

fn jump_if_equal(value: u32, then: u8, otherwise: u8) -> sock_filter {
    instruction(
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
        then,
        otherwise,
        value,
    )
}

/// Where the lower half of an argument is in what the filter sees: after a number, an architecture and an address.
fn lower_half(argument: u32) -> u32 {
    16 + 8 * argument + if cfg!(target_endian = "big") { 4 } else { 0 }
}

/// Refuses system calls of the calling thread, and of all that it starts from now on; with `all_threads`, of every
/// thread there is. There is no way back.
pub(crate) fn refuse(refusals: &[Refusal], all_threads: bool) {
    let flags = if all_threads {
        libc::SECCOMP_FILTER_FLAG_TSYNC
    } else {
        0
    };
    assert_eq!(install(refusals, flags), 0);
}

/// Installs the filter. Returns what the kernel does.
pub(super) fn install(refusals: &[Refusal], flags: libc::c_ulong) -> c_long {
    let parts = refusals.iter().flat_map(|refusal| refusal.program());
    let mut program: Vec<_> = parts.collect();
    program.push(instruction(
        libc::BPF_RET | libc::BPF_K,
        0,
        0,
        libc::SECCOMP_RET_ALLOW,
    ));
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("a few instructions"),
        filter: program.as_mut_ptr(),
    };
    if !rustix::process::geteuid().is_root() {
        // Without this only the super-user may install a filter.
        rustix::thread::set_no_new_privs(true).expect("no_new_privs can be set");
    }
    // SAFETY: the program and its instructions are valid for the call, which copies them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    assert!(result >= 0, "{}", io::Error::last_os_error());
    result
}
