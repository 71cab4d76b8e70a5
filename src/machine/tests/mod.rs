//! The machine in a simulated world.
