//! Decides; never acts. Which job goes to which runner, who may run beside
//! whom, when a lease has expired, whether an attempt is repeated, which nodes
//! of a run's graph are next, and why a job still waits.
//!
//! Everything here is pure: no clock, no randomness, no network, no disk. Time,
//! ids and chance come in as arguments; decisions go out as values, and the
//! control plane makes them durable. Nothing in this crate may keep a job from
//! ending, or give one attempt away twice.

pub mod gates;
pub mod graph;
pub mod retry;
pub mod scheduler;

pub use gates::{Demand, Gate, Gates, Shut};
pub use graph::Graph;
pub use retry::{Cause, Decision, decide};
pub use scheduler::{
    Action, Ceiling, ClaimError, Config, Load, Parallel, QueueLoad, QueuedJob, RunnerOffer, Scheduler,
    Statistics, why_in_words, why_needs,
};
