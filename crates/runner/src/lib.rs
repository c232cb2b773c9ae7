//! The runner: an agent with slots that takes attempts from a control plane,
//! has them executed, and reports what happened.
//!
//! Responsible for the sync loop, slots, journal, log upload, clean-up after a
//! crash, registration and configuration. It knows no steps, shells or
//! documents, decides nothing about jobs (the server says what should be), and
//! prints nothing: words for people go through a callback.

mod backoff;
pub mod boundaries;
pub mod capabilities;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod engine;
pub mod executor;
mod files;
pub mod identity;
pub mod journal;
mod log;
pub mod notice;
pub mod signals;
pub mod system;
pub mod transport;
mod up;
mod validate;
mod webhook;

pub use config::{PartialConfig, RunnerConfig};
pub use daemon::{Ending, Stage};
pub use identity::Identity;
pub use notice::{Notice, NoticeFn};
pub use up::{UpError, WorkDirLock, http_transport, lock_work_dir, up};
pub use validate::{Check, CheckStatus, Findings, validate};

/// A systemd unit for a runner that was registered with the configuration file that it names.
pub const SYSTEMD_UNIT: &str = include_str!("../../../docs/systemd/fleetfoot-runner.service");
