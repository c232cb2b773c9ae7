//! The process boundary: commands run as ordinary processes of the runner's
//! user, each in a session of its own, held together by cgroups where the
//! machine has them.
//!
//! Responsible for starting, signalling, measuring and ending processes, and
//! for leaving none behind. It knows nothing of steps, logs or the server, and
//! it must never touch a process or a cgroup that does not carry the tag of
//! its own runner.

mod cell;
mod driver;

pub use driver::{ProcessDriver, ProcessOptions};
