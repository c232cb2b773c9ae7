//! What tests of several crates need: real processes of the binary that end
//! with the test, git repositories, conditions with a deadline, and a runner
//! that answers at once. Nothing in the product depends on it.

mod git;
mod wait;

pub use git::GitRepository;
pub use wait::{wait_until, wait_until_async};
