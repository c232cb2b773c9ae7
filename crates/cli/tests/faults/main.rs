//! Faults with real processes: servers and runners that die, stop, lose
//! answers or run out of disk, and jobs that misbehave. Every test has its own
//! server, directories and deadline, and ends only processes that it started.

mod cancel;
mod disk;
mod output;
mod processes;

mod proxy;
mod runner;
mod server;
mod support;
