//! Forges: webhooks in, statuses out. What GitHub, Gitea, Forgejo and GitLab
//! say, in one language: GitHub's, because workflows are written in it.
//!
//! [`webhook`], [`event`] and [`status`] are pure. [`api`] speaks HTTP to a
//! forge, [`mirror`] runs git. Nothing here decides what a delivery starts,
//! and no credential ever reaches a command line, a file or a message.

pub mod api;
mod event;
pub mod mirror;
pub mod status;
pub mod webhook;

pub use event::{Account, Change, Happening, NotAnEvent, Place, normalise};
