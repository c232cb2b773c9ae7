//! Typed HTTP client of Fleetfoot's public API.
//!
//! Responsible for talking to one server: paths, headers, problem mapping,
//! event streams that resume by themselves. It uses nothing that another
//! client could not use (promise 11), prints nothing, and never shows a token.

mod api;
mod config;
mod error;
mod follow;
mod hook;
mod http;
mod projects;
mod repos;
mod services;
mod sse;
mod users;

pub use api::{AuditQuery, LogPiece, RunQuery};
pub use config::{ClientConfig, DEFAULT_URL, Secret};
pub use error::{ClientError, ErrorKind, Unreachable};
pub use follow::{LogChunk, LogFollow, RunFollow};
pub use hook::Hook;
pub use http::Client;
pub use projects::{ApprovalQuery, SecretUseQuery};
pub use services::CacheQuery;
pub use sse::{SseError, SseEvent, SseParser};
