//! The machine in a simulated world: a kernel, a gate and a clock that are as good as real to it.
//!
//! `world` is what is there, `steps` what can happen, `kernel` carries out what the machine wants and asserts what is promised. On them stand the `explorer`, which tries every
//! order of everything in small worlds, `kqueue`, which does so where exits are announced as xnu does, the `properties`, which try long random runs, `transitions`, which
//! shows that these come through every cell of the table, the `scenarios`, which have names, and the fuzzer, which comes in by [`drive`].
//!
//! `by_hand` is the machine without a world, for what such a kernel does not do: each outcome is said by the test. On it stand `births`, `searches`, `departures` and
//! `asked`, which name what the machine decides, one decision at a time.

mod bytes;
mod descendants;
mod kernel;
mod steps;
mod world;

#[cfg(test)]
mod asked;
#[cfg(test)]
mod births;
#[cfg(test)]
mod by_hand;
#[cfg(test)]
mod departures;
#[cfg(test)]
mod detached;
#[cfg(test)]
mod explorer;
#[cfg(test)]
mod kqueue;
#[cfg(test)]
mod ladders;
#[cfg(test)]
mod late_passes;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod searches;
#[cfg(test)]
mod throughput;
#[cfg(test)]
mod transitions;

#[cfg(fuzzing)]
pub(crate) use self::bytes::drive;
