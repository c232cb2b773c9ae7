//! The words of Fleetfoot as types: ids, states and their transitions, job
//! specifications, plans, the wire format between server and runner, and the
//! shapes of the public API.
//!
//! This crate knows nothing: no clock, no randomness, no network, no disk.
//! Time and ids come in as arguments. Every other crate may depend on it.

pub mod api;
pub mod boundary;
pub mod diagnostic;
pub mod event;
pub mod ids;
pub mod labels;
pub mod logs;
pub mod observe;
pub mod pattern;
pub mod plan;
pub mod problem;
pub mod projects;
pub mod repos;
pub mod services;
pub mod spec;
pub mod state;
pub mod sync;
pub mod time;
pub mod users;
pub mod version;
pub mod why;

pub use boundary::Boundary;
pub use diagnostic::{Diagnostic, Diagnostics, Severity, Source};
pub use ids::{AttemptNumber, AttemptRef, Epoch, JobId, RunId, RunnerId, TokenId, UserId};
pub use labels::{Label, LabelSet};
pub use problem::{Code, Problem};
pub use spec::JobSpec;
pub use state::{ApprovalState, Conclusion, JobState, Reason, RunnerState, Status};
pub use time::Timestamp;
