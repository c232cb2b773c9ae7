//! Faults with real processes: servers and runners that die, stop, lose
//! answers or run out of disk, and jobs that misbehave. Every test has its own
//! server, directories and deadline, and ends only processes that it started.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking and say why they skip"
)]

mod cancel;
mod disk;
mod output;
mod processes;

mod proxy;
mod runner;
mod server;
mod support;
