//! The state of the server itself: what it keeps and how it is.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What takes how much room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StorageView {
    /// When the sizes were measured; they are measured at most once a minute.
    pub measured_at: Timestamp,
    /// The database with its write-ahead log.
    pub database: Stock,
    /// Logs on the disk of the server.
    pub logs: Stock,
    /// Of these, logs that an object store has a copy of.
    pub archived_logs: u64,
    /// Artifacts.
    pub artifacts: Stock,
    /// Caches.
    pub caches: Stock,
    /// Bytes of the file system of the data directory.
    pub disk_total_bytes: u64,
    /// Of these, free ones.
    pub disk_free_bytes: u64,
    /// How long things are kept.
    pub retention: Retention,
}

/// How much there is of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stock {
    /// How many.
    pub count: u64,
    /// Bytes.
    pub bytes: u64,
}

/// How long things are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Retention {
    /// Completed runs with their logs; absent: for ever.
    pub runs_seconds: Option<u64>,
    /// Artifacts at most.
    pub artifacts_seconds: Option<u64>,
    /// Caches that nobody uses.
    pub caches_idle_seconds: Option<u64>,
    /// Bytes of caches that a repository may keep.
    pub caches_bytes_per_repository: Option<u64>,
}

/// Which audit entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Who (`token:3`), exactly.
    pub actor: Option<String>,
    /// What: exactly, or everything that begins with it if it ends with a dot (`token.`).
    pub action: Option<String>,
    /// On what (`job:12`), exactly.
    pub target: Option<String>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// Part of any of its words.
    pub text: Option<String>,
}

/// How the server is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthView {
    /// The worst state of its components.
    pub state: ComponentState,
    /// Version of the server.
    pub version: String,
    /// Version of the schema of the database.
    pub schema: u64,
    /// When it started.
    pub started_at: Timestamp,
    /// Seconds since then.
    pub uptime_seconds: u64,
    /// Transactions committed since then.
    pub commits: u64,
    /// Operations in them.
    pub operations: u64,
    /// Milliseconds that a commit with its flush took, on average since then.
    pub flush_ms: f64,
    /// Milliseconds that a commit takes now, measured with this request.
    pub flush_now_ms: Option<f64>,
    /// Its parts.
    pub components: Vec<ComponentHealth>,
}

/// How a part of the server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ComponentHealth {
    /// `store`, `scheduler`, `logs`, `disk`, `objects`, `runners`, `repositories`.
    pub name: String,
    /// How it is.
    pub state: ComponentState,
    /// In words.
    pub words: String,
}

/// States of a part of the server, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ComponentState {
    /// It does what it should.
    Ok,
    /// It is not set up.
    Off,
    /// It works, but somebody should look at it.
    Degraded,
    /// It does not work.
    Failing,
}
