//! Runs one attempt of a job: steps in order inside a boundary, the files and
//! output lines through which steps speak to the runner, masking, timeouts,
//! cancellation, and a workspace of which nothing remains.
//!
//! It knows a boundary only through [`fleetfoot_driver`] and the outside only
//! through [`Sink`]. It must never talk to a server, and never print a secret.

mod actions;
mod attempt;
mod background;
mod checkout;
mod clock;
pub mod command;
pub mod config;
mod containers;
mod engine;
pub mod envfile;
mod environment;
mod fence;
mod flow;
mod frame;
mod hash_files;
mod held;
mod host;
mod interpret;
pub mod mask;
mod matching;
mod outcome;
mod output;
mod overlay;
mod prepare;
mod process;
mod reports;
mod scan;
mod scope;
mod secrets;
mod shell;
mod sink;
mod step;
mod step_files;
mod workspace;

pub use config::{ActionsConfig, EngineConfig, KillLadder};
pub use engine::Engine;
pub use fence::Fence;
pub use fleetfoot_actions::CacheConfig;
pub use sink::Sink;
