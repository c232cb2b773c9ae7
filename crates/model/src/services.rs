//! Artifacts and caches as the public API shows them.

use crate::ids::{JobId, RunId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An artifact of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactView {
    /// Its id.
    pub id: u64,
    /// Its name, unique within the run.
    pub name: String,
    /// The run.
    pub run: RunId,
    /// The job that made it.
    pub job: JobId,
    /// Project of the run.
    pub project: String,
    /// Bytes as stored.
    pub size: u64,
    /// `sha256:` and 64 digits; absent for an artifact of single files (protocol 3).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<String>,
    /// Media type of the download.
    pub media_type: String,
    /// Creation.
    pub created_at: Timestamp,
    /// When it is deleted.
    pub expires_at: Timestamp,
}

/// Artifacts of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactList {
    /// Oldest first.
    pub artifacts: Vec<ArtifactView>,
    /// Pass as `cursor` to get the next page, of a list over all runs; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CacheView {
    /// Its id.
    pub id: u64,
    /// Project.
    pub project: String,
    /// Repository.
    pub repository: String,
    /// The ref that saved it.
    #[serde(rename = "ref")]
    pub git_ref: String,
    /// Key.
    pub key: String,
    /// Hash of paths and compression, made by the client.
    pub version: String,
    /// Bytes.
    pub size: u64,
    /// Creation.
    pub created_at: Timestamp,
    /// Last restore.
    pub used_at: Timestamp,
}

/// A page of caches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CacheList {
    /// Newest first.
    pub caches: Vec<CacheView>,
    /// Pass it as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_cursor: Option<String>,
}
