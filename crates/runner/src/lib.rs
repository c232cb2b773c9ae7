//! The runner: an agent with slots that takes attempts from a control plane,
//! has them executed, and reports what happened.
//!
//! Responsible for the sync loop, slots, journal, log upload, clean-up after a
//! crash, registration and configuration. It knows no steps, shells or
//! documents, decides nothing about jobs (the server says what should be), and
//! prints nothing: words for people go through a callback.

mod backoff;
pub mod clock;
pub mod daemon;
pub mod executor;
pub mod journal;
mod log;
pub mod notice;
pub mod transport;
