//! Cgroups (version 2): a leaf for each life of a session, from which a member cannot hide.
//!
//! A leaf is a directory below one that this program may write to. Processes enter it by writing to its `cgroup.procs`: a
//! native launch does so between clone and exec, what std has started is moved a moment later. `CLONE_INTO_CGROUP` is
//! not used: a clone into a cgroup that was killed before is born killed, and so it is if the *calling* process sits in one
//! (Linux 6.6 and later). A write has no such trap.
//!
//! Everything here may take its time: the kernel moves and kills under a lock that a move can hold for a tenth of a
//! second. So nothing but [`Leaf::events`] is for the reactor.
//!
//! See `Documentation/admin-guide/cgroup-v2.rst` of the kernel. `cgroup.kill` came with Linux 5.14.

mod leaf;
mod names;
mod place;

pub(crate) use leaf::Leaf;
pub(crate) use place::Cgroups;
pub(super) use place::Mounts;
