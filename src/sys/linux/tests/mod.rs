//! Tests of the back end on the real kernel. Each ends what it started.

mod foster;
mod launch;
mod look;
mod poller;
mod probe;
mod procfs;
mod reuse;
mod sanitized;
mod signals;
mod support;
mod traced;
mod waits;
