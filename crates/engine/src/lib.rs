//! Runs one attempt of a job: steps in order inside a boundary, the files and
//! output lines through which steps speak to the runner, masking, timeouts,
//! cancellation, and a workspace of which nothing remains.
//!
//! It knows a boundary only through [`fleetfoot_driver`] and the outside only
//! through [`Sink`]. It must never talk to a server, and never print a secret.

mod clock;
pub mod command;
pub mod config;
pub mod envfile;
pub mod mask;
