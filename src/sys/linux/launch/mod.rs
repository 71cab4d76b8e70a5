//! Starts a process: `clone` with a pidfd, and the child's way to exec.
//!
//! [`launch`] borrows its memory to the child (`CLONE_VM`) and sleeps until the child has become another program or has
//! ended (`CLONE_VFORK`), so that the cost does not grow with the memory of the host, and so that what the child is told
//! need not be copied. The kernel hands out the pidfd with the child (`CLONE_PIDFD`): where there is no descriptor for it
//! there is no child either.
//!
//! # What the child may do
//!
//! It runs in the memory of a process with other threads, which go on: a lock may be held by one of them for ever, as far
//! as the child can see, and whatever it changes is changed for them. So between clone and exec there are raw system
//! calls on memory that was prepared before, and nothing else: no allocation, no lock, no panic, no code of the host.
//! A handler of the host would be such code, so all signals are blocked from before the clone until, in the child, no
//! handler is left.
//!
//! # The order
//!
//! `orders::Step` lists the steps. Limits come before the user changes, who might not raise them; the directory after it,
//! for it is the user's rights that count; the parent-death signal after it as well, since a change of the user clears
//! it; and the signal mask last, so that a signal from outside finds the child with all that it will have.
//!
//! # Without `CLONE_VM`
//!
//! A child that shares our memory and changes its user would make *this* process non-dumpable. Such a launch copies the
//! page tables, as fork does, and costs what they cost: about 10 ms for each 256 MiB that the host has in use.
//!
//! # Files
//!
//! `unborn` is what both sides, and whoever wants to end the launch, can see of it; `script` is what is prepared for
//! the child; `child` its steps; `clone` the parent's side.

mod child;
mod clone;
mod script;
mod unborn;

pub(super) use clone::AllBlocked;
pub(crate) use clone::{is_first_thread, launch, signal_mask};
pub(crate) use unborn::Unborn;
