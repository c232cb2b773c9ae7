//! Actions of GitHub's kind, everything but running them: what `uses:` refers
//! to, what `action.yml` says, the cache that fetches actions by git, and the
//! problem matchers that actions register.
//!
//! The crate starts no program but git, evaluates no expression (templates of
//! a manifest stay text), and never runs anything that came with an action.

mod cache;
mod error;
mod files;
pub mod manifest;
pub mod matcher;
pub mod reference;

pub use cache::{ActionCache, CacheConfig, Fetched};
pub use error::{ActionError, ActionErrorKind};
pub use manifest::{Manifest, ManifestInput, ManifestOutput, Runs};
pub use matcher::{Match, MatchSeverity, MatcherError, Matchers};
pub use reference::{Reference, ReferenceError, RemoteReference};
