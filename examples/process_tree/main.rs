//! What a wrapper leaves behind, and how much of it each containment tier ends: a stubborn server, a double-forked daemon, an
//! escapee with a session of its own, a small fork bomb, a grandchild that holds the standard output. All of them are
//! this program, started again in a role; they are counted by their own pidfds, not by what the library says.
//!
//! ```sh
//! cargo run --example process_tree
//! cargo run --example process_tree -- /sys/fs/cgroup/delegated    # where cgroups may be made
//! ```
//!
//! What the weakest tier leaves, as it says that it does, this program ends itself. The exit code is 1 if anything is
//! left after that, or if a tier left what its report says is gone.
//!
//! Linux alone has pidfds to count by: elsewhere it says so.
#![expect(clippy::print_stdout, reason = "an example that is there to be read")]

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux::main;

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("This example counts by pidfds, which only Linux has.");
}
