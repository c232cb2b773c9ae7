//! What tests of several crates need: real processes of the binary that end
//! with the test, git repositories, conditions with a deadline, and a runner
//! that answers at once. Nothing in the product depends on it.

mod engines;
mod fake_forge;
mod fake_oidc;
mod fake_runner;
mod git;
mod holding_runner;
mod process;
mod registry;
mod roots;
mod users;
mod wait;

pub use engines::{EngineKind, FULL_IMAGE, PrivateEngine, SMALL_IMAGE, engine_missing};
pub use fake_forge::{FORGE_TOKEN, FakeForge, MAINTAINER, REPOSITORY, STRANGER, Seen, SentStatus};
pub use fake_oidc::{FakeOidc, Lie, OIDC_CLIENT, OIDC_SECRET};
pub use fake_runner::FakeRunner;
pub use git::GitRepository;
pub use holding_runner::HoldingRunner;
pub use process::{Finished, Fleetfoot, TestRunner, TestServer, resident_bytes};
pub use registry::FakeRegistry;
pub use users::User;
pub use wait::{wait_until, wait_until_async};
