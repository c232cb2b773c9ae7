//! The services that actions speak to: artifacts (protocols 3 and 4), caches (1 and 2), identity
//! tokens. Protocols and rules over [`fleetfoot_store::ServiceStore`] and
//! [`fleetfoot_objects::Objects`]; time comes in as an argument.
//!
//! It decides what a job may read and write, by what its token says. It must never speak HTTP
//! itself, start a task that outlives its caller's request, or show a job what is not its run's or
//! its cache scope's.

mod archive;
mod artifacts;
mod azure;
mod blobs;
mod cache_v1;
mod caches;
mod error;
mod grant;
mod housekeeping;
mod job;
mod names;
mod oidc;
mod running;
mod token;
mod twirp;
mod v3;

pub use archive::zip_of_files;
pub use artifacts::{Download, Packed};
pub use azure::{BlobRequest, block_list};
pub use blobs::{Body, Content};
pub use cache_v1::{CacheEntry, CacheList, CommitCache, ReserveCache, ReservedCache};
pub use error::{ErrorKind, ServiceError};
pub use grant::{Access, Grant};
pub use housekeeping::Swept;
pub use job::{CacheScopes, Gate, IdentityClaims, Job};
pub use names::{artifact_name, cache_key, file_path};
pub use oidc::{Discovery, Issuer, Jwk, Jwks};
pub use token::{Keys, RuntimeClaims};
pub use twirp::{ARTIFACT_SERVICE, CACHE_SERVICE, TwirpError};
pub use v3::{
    Container, ContainerItem, ContainerItems, Containers, ContentRange, CreateContainer, FileContent,
    PatchContainer,
};

use fleetfoot_objects::Objects;
use fleetfoot_store::ServiceStore;
use std::sync::Arc;
use std::time::Duration;

/// What jobs may use at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one artifact (or one file of it) or one cache.
    pub blob_bytes: u64,
    /// Bytes of all artifacts and caches of a project.
    pub project_bytes: u64,
    /// Bytes of the caches of one repository; beyond it the least recently used go.
    pub cache_bytes: u64,
    /// How long an artifact is kept if its job does not say.
    pub retention: Duration,
    /// The longest that a job may ask for.
    pub max_retention: Duration,
    /// How long a cache is kept without being used.
    pub cache_idle: Duration,
    /// How long an upload may stay unfinished.
    pub unfinished: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Default for Limits {
    fn default() -> Self {
        Self {
            blob_bytes: 32 << 30,
            project_bytes: 256 << 30,
            cache_bytes: 10 << 30,
            retention: DAY * 90,
            max_retention: DAY * 400,
            cache_idle: DAY * 7,
            unfinished: DAY,
        }
    }
}

/// Rows and bytes of one kind of entry.
#[derive(Clone)]
pub struct Shelf {
    /// What is known.
    pub store: Arc<dyn ServiceStore>,
    /// The bytes.
    pub objects: Objects,
}

/// The services; one per control plane.
pub struct Services {
    artifacts: Shelf,
    caches: Shelf,
    keys: Keys,
    limits: Limits,
    running: running::Running,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Services {
    /// Services over these shelves; both may be the same.
    #[must_use]
    pub fn new(artifacts: Shelf, caches: Shelf, keys: Keys, limits: Limits) -> Self {
        Self { artifacts, caches, keys, limits, running: running::Running::default() }
    }

    /// The keys, for tokens.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}
