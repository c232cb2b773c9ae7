//! Artifacts and caches: what is known of them beside their bytes, which are objects.
//!
//! A *blob* is bytes that arrive in parts. Each part is an object of its own and is never written
//! twice; what a reader sees is the list of parts that was fixed when the blob was sealed. An
//! artifact has one blob (protocol 4) or one per file (protocol 3), a cache has one. Nothing here
//! moves bytes: whoever removes an entry *condemns* its blobs, and a later pass deletes the objects
//! and then the rows, so that a crash between the two loses nothing.

use crate::StoreError;
use async_trait::async_trait;
use fleetfoot_model::ids::{AttemptRef, RunId};
use fleetfoot_model::time::Timestamp;

/// How far a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobStatus {
    /// Parts arrive.
    Open,
    /// It will not change any more.
    Sealed,
    /// Nobody needs it: its objects may be deleted.
    Condemned,
}

/// One part of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRow {
    /// Name of its object within the blob; never used twice.
    pub object: String,
    /// What the client calls it; a later part of the same name replaces it.
    pub block: String,
    /// Its place among the committed parts, ascending; absent while it is only staged.
    pub position: Option<u64>,
    /// Bytes.
    pub size: u64,
}

/// A blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobRow {
    /// Its id.
    pub id: u64,
    /// Project that pays for its bytes.
    pub project: String,
    /// Who writes it.
    pub attempt: AttemptRef,
    /// How far it is.
    pub status: BlobStatus,
    /// Counts every change of its parts.
    pub generation: u64,
    /// Committed parts in order, then staged ones.
    pub parts: Vec<PartRow>,
}

impl BlobRow {
    /// The parts of its content, in order.
    pub fn committed(&self) -> impl Iterator<Item = &PartRow> {
        self.parts.iter().filter(|p| p.position.is_some())
    }

    /// Length of its content in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.committed().map(|p| p.size).sum()
    }
}

/// How far an artifact or a cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryStatus {
    /// Its bytes arrive; nobody else sees it.
    Uploading,
    /// Complete.
    Ready,
}

/// An artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactRow {
    /// Its id.
    pub id: u64,
    /// Project of the run.
    pub project: String,
    /// The run.
    pub run: RunId,
    /// Who made it.
    pub attempt: AttemptRef,
    /// Its name, unique within the run.
    pub name: String,
    /// 3 (a list of files) or 4 (one blob).
    pub protocol: u8,
    /// How far it is.
    pub status: EntryStatus,
    /// Media type of its only blob.
    pub media_type: String,
    /// Bytes as stored; 0 until it is ready.
    pub size: u64,
    /// SHA-256 of its only blob, known when it is ready.
    pub sha256: Option<[u8; 32]>,
    /// Creation.
    pub created_at: Timestamp,
    /// When it may be deleted.
    pub expires_at: Timestamp,
}

/// An artifact to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewArtifact {
    /// Project of the run.
    pub project: String,
    /// The run.
    pub run: RunId,
    /// Who makes it.
    pub attempt: AttemptRef,
    /// Its name.
    pub name: String,
    /// 3 or 4.
    pub protocol: u8,
    /// Media type.
    pub media_type: String,
    /// Now.
    pub created_at: Timestamp,
    /// When it may be deleted.
    pub expires_at: Timestamp,
    /// An artifact of the same name that makes room, decided by the caller.
    pub replaces: Option<u64>,
}

/// A file of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRow {
    /// The artifact.
    pub artifact: u64,
    /// Path within it; empty for the only blob of protocol 4.
    pub path: String,
    /// Its bytes.
    pub blob: u64,
    /// The bytes are compressed with gzip.
    pub gzip: bool,
    /// Bytes before compression, as the client said.
    pub length: u64,
    /// Bytes as stored.
    pub stored: u64,
    /// Whether the blob is sealed.
    pub complete: bool,
}

/// A file to add to an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// The artifact.
    pub artifact: u64,
    /// Who writes it.
    pub attempt: AttemptRef,
    /// Path within it.
    pub path: String,
    /// The bytes are compressed with gzip.
    pub gzip: bool,
    /// Bytes before compression.
    pub length: u64,
    /// Now.
    pub at: Timestamp,
}

/// A cache entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRow {
    /// Its id.
    pub id: u64,
    /// Project.
    pub project: String,
    /// Repository that it belongs to.
    pub repository: String,
    /// Ref that may write it and below which it is found.
    pub git_ref: String,
    /// Key.
    pub key: String,
    /// Hash of paths and compression, made by the client.
    pub version: String,
    /// Who made it.
    pub attempt: AttemptRef,
    /// How far it is.
    pub status: EntryStatus,
    /// Its bytes.
    pub blob: u64,
    /// Bytes; 0 until it is ready.
    pub size: u64,
    /// Reservation.
    pub created_at: Timestamp,
    /// Last download, or when it became ready.
    pub used_at: Timestamp,
}

/// A cache entry to reserve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCache {
    /// Project.
    pub project: String,
    /// Repository.
    pub repository: String,
    /// Ref.
    pub git_ref: String,
    /// Key.
    pub key: String,
    /// Version.
    pub version: String,
    /// Who makes it.
    pub attempt: AttemptRef,
    /// Now.
    pub created_at: Timestamp,
    /// An abandoned reservation that makes room, decided by the caller.
    pub replaces: Option<u64>,
}

/// Which cache entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheFilter {
    /// Of this project.
    pub project: Option<String>,
    /// Of this repository.
    pub repository: Option<String>,
    /// Of this ref.
    pub git_ref: Option<String>,
    /// Whose key begins like this.
    pub key_prefix: Option<String>,
    /// Whose key is exactly this.
    pub key: Option<String>,
}

/// What was made, with the blob for its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Artifact or cache.
    pub id: u64,
    /// Its blob; 0 for an artifact of protocol 3, which has one per file.
    pub blob: u64,
}

/// What became of a change that expects something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guarded<T> {
    /// It took effect.
    Done(T),
    /// The state is not the expected one (any more); nothing changed.
    Refused,
}

impl<T> Guarded<T> {
    /// The value, if it took effect.
    pub fn done(self) -> Option<T> {
        match self {
            Self::Done(value) => Some(value),
            Self::Refused => None,
        }
    }
}

/// A blob as it was verified, to be sealed if it is still that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The blob.
    pub blob: u64,
    /// Its generation when it was read.
    pub generation: u64,
    /// Its length in bytes.
    pub size: u64,
}

/// The part of a store that keeps artifacts and caches.
///
/// Every call that writes is one transaction and durable when it returns.
#[async_trait]
pub trait ServiceStore: Send + Sync + 'static {
    // -- blobs ---------------------------------------------------------------

    /// One blob with its parts.
    async fn blob(&self, id: u64) -> Result<Option<BlobRow>, StoreError>;

    /// Adds a part; one with the same block name that is there already goes away, and the name of its
    /// object is the answer. Refused unless the blob is open.
    async fn stage_part(&self, blob: u64, part: PartRow) -> Result<Guarded<Option<String>>, StoreError>;

    /// Makes exactly these blocks, in this order, the content; all others are dropped, and the names of
    /// their objects are the answer. Refused unless the blob is open and has every block.
    async fn commit_parts(&self, blob: u64, blocks: Vec<String>) -> Result<Guarded<Vec<String>>, StoreError>;

    /// Seals a file's blob (protocol 3). Refused if it changed since it was read.
    async fn seal_blob(&self, verified: Verified) -> Result<Guarded<()>, StoreError>;

    /// Bytes of all blobs of a project that are not condemned.
    async fn project_bytes(&self, project: &str) -> Result<u64, StoreError>;

    /// Blobs whose objects may be deleted.
    async fn condemned_blobs(&self, limit: usize) -> Result<Vec<u64>, StoreError>;

    /// Forgets a condemned blob after its objects were deleted.
    async fn forget_blob(&self, id: u64) -> Result<(), StoreError>;

    // -- artifacts -----------------------------------------------------------

    /// Creates an artifact; refused if the run has one of this name that it does not replace.
    async fn create_artifact(&self, new: NewArtifact) -> Result<Guarded<Made>, StoreError>;

    /// Adds a file to an artifact of protocol 3, in place of one with the same path; answers its blob.
    /// Refused if the artifact is gone.
    async fn add_file(&self, new: NewFile) -> Result<Guarded<u64>, StoreError>;

    /// Makes an artifact of protocol 4 visible and seals its blob. Refused if it is not uploading or
    /// the blob changed since it was verified.
    async fn finish_artifact(
        &self,
        id: u64,
        verified: Verified,
        sha256: [u8; 32],
    ) -> Result<Guarded<()>, StoreError>;

    /// Makes an artifact of protocol 3 visible; its size becomes that of its complete files. Files that
    /// are not complete are dropped. Refused if there is no such artifact.
    async fn finish_files(&self, id: u64) -> Result<Guarded<()>, StoreError>;

    /// One artifact.
    async fn artifact(&self, id: u64) -> Result<Option<ArtifactRow>, StoreError>;

    /// The artifact of this name in a run, whatever its state.
    async fn artifact_named(&self, run: RunId, name: &str) -> Result<Option<ArtifactRow>, StoreError>;

    /// Artifacts of a run that are ready, oldest first.
    async fn artifacts(&self, run: RunId) -> Result<Vec<ArtifactRow>, StoreError>;

    /// Files of an artifact by path.
    async fn files(&self, artifact: u64) -> Result<Vec<FileRow>, StoreError>;

    /// Deletes an artifact and condemns its blobs; answers whether there was one.
    async fn delete_artifact(&self, id: u64) -> Result<bool, StoreError>;

    /// Artifacts to delete: expired, of runs that are gone, or created before `unfinished_before` and
    /// never finished.
    async fn stale_artifacts(
        &self,
        now: Timestamp,
        unfinished_before: Timestamp,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError>;

    // -- caches --------------------------------------------------------------

    /// Reserves an entry; refused if there is one with this key, version and scope that it does not
    /// replace.
    async fn reserve_cache(&self, new: NewCache) -> Result<Guarded<Made>, StoreError>;

    /// Makes an entry visible and seals its blob. Refused if it is not uploading or the blob changed.
    async fn finish_cache(
        &self,
        id: u64,
        verified: Verified,
        at: Timestamp,
    ) -> Result<Guarded<()>, StoreError>;

    /// One entry.
    async fn cache(&self, id: u64) -> Result<Option<CacheRow>, StoreError>;

    /// The entry with exactly this key, version and scope, whatever its state.
    async fn cache_exact(
        &self,
        project: &str,
        repository: &str,
        git_ref: &str,
        key: &str,
        version: &str,
    ) -> Result<Option<CacheRow>, StoreError>;

    /// The newest ready entry of this version and scope whose key begins with `prefix`.
    async fn cache_by_prefix(
        &self,
        project: &str,
        repository: &str,
        git_ref: &str,
        prefix: &str,
        version: &str,
    ) -> Result<Option<CacheRow>, StoreError>;

    /// Notes that an entry was used.
    async fn touch_cache(&self, id: u64, at: Timestamp) -> Result<(), StoreError>;

    /// Ready entries, newest first, with ids below `cursor`.
    async fn caches(
        &self,
        filter: &CacheFilter,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<Vec<CacheRow>, StoreError>;

    /// Deletes an entry and condemns its blob; answers whether there was one.
    async fn delete_cache(&self, id: u64) -> Result<bool, StoreError>;

    /// Entries to delete: not used since `idle_before`, or reserved before `unfinished_before` and never
    /// finished.
    async fn stale_caches(
        &self,
        idle_before: Timestamp,
        unfinished_before: Timestamp,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError>;

    /// Entries to delete so that each repository keeps at most `quota` bytes: the least recently used.
    async fn surplus_caches(&self, quota: u64, limit: usize) -> Result<Vec<u64>, StoreError>;
}
