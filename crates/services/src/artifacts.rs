//! Artifacts of protocol 4: one blob under a name, immutable once it is finalized; and what the
//! public API shows of all artifacts.

use crate::blobs::Content;
use crate::error::{ErrorKind, Result, ServiceError};
use crate::grant::{Grant, Kind};
use crate::job::{Gate, Job};
use crate::{Services, names};
use fleetfoot_model::ids::RunId;
use fleetfoot_model::time::Timestamp;
use fleetfoot_store::{ArtifactRow, EntryStatus, FileRow, Guarded, NewArtifact};
use std::time::Duration;

/// Media type of what clients pack.
pub(crate) const ZIP: &str = "application/zip";

/// An artifact to be sent to somebody.
pub struct Download {
    /// What is known of it.
    pub artifact: ArtifactRow,
    /// Its only blob, or its files for protocol 3.
    pub content: Packed,
}

/// What an artifact consists of.
pub enum Packed {
    /// Protocol 4.
    One(Content),
    /// Protocol 3.
    Files(Vec<(FileRow, Content)>),
}

impl Services {
    /// Creates an artifact; the answer is its blob.
    pub(crate) async fn create_artifact(
        &self,
        job: &Job,
        gate: &dyn Gate,
        new: NewArtifact,
    ) -> Result<(u64, u64)> {
        names::artifact_name(&new.name)?;
        let taken = || {
            ServiceError::conflict(format!(
                "an artifact with the name '{}' already exists on the workflow run",
                new.name
            ))
        };
        let mut new = new.clone();
        if let Some(there) = self.artifacts.store.artifact_named(job.run, &new.name).await? {
            let mine = there.attempt.job == job.attempt.job;
            let free = match there.status {
                // A retry of a job does again what the attempt before it did.
                EntryStatus::Ready => mine && there.attempt != job.attempt,
                EntryStatus::Uploading => mine || !gate.is_open(there.attempt).await,
            };
            if !free {
                return Err(taken());
            }
            new.replaces = Some(there.id);
        }
        match self.artifacts.store.create_artifact(new.clone()).await? {
            Guarded::Done(made) => Ok((made.id, made.blob)),
            Guarded::Refused => Err(taken()),
        }
    }

    /// An artifact of a job's own run, with fields that are the same for both protocols.
    pub(crate) fn new_artifact(
        &self,
        job: &Job,
        name: &str,
        protocol: u8,
        keep: Option<Duration>,
        now: Timestamp,
    ) -> NewArtifact {
        let keep = keep.unwrap_or(self.limits.retention).min(self.limits.max_retention);
        NewArtifact {
            project: job.project.clone(),
            run: job.run,
            attempt: job.attempt,
            name: name.to_owned(),
            protocol,
            media_type: ZIP.to_owned(),
            created_at: now,
            expires_at: now + keep.max(Duration::from_secs(60)),
            replaces: None,
        }
    }

    /// Finishes an upload: size and digest must be those of the bytes that arrived.
    pub(crate) async fn finalize_artifact(
        &self,
        job: &Job,
        name: &str,
        size: u64,
        sha256: Option<[u8; 32]>,
    ) -> Result<u64> {
        let found = self.artifacts.store.artifact_named(job.run, name).await?;
        let artifact = found.filter(|a| a.attempt == job.attempt && a.protocol == 4);
        let artifact = artifact.ok_or_else(|| no_artifact(name))?;
        if artifact.status == EntryStatus::Ready {
            return repeated(&artifact, size, sha256);
        }
        let files = self.artifacts.store.files(artifact.id).await?;
        let blob = files.first().ok_or_else(|| no_artifact(name))?.blob;
        let verified = self.verify(Kind::Artifact, blob, size, true).await;
        let (verified, digest) = match verified {
            Ok(verified) => verified,
            Err(e) if e.kind == ErrorKind::Conflict => {
                return self.after_race(artifact.id, size, sha256).await;
            }
            Err(e) => return Err(e),
        };
        if sha256.is_some_and(|expected| expected != digest) {
            return Err(ServiceError::invalid(format!(
                "the digest of what arrived is sha256:{} and not the one that was stated",
                hex(&digest)
            )));
        }
        match self.artifacts.store.finish_artifact(artifact.id, verified, digest).await? {
            Guarded::Done(()) => {
                self.running.forget(Kind::Artifact, blob);
                Ok(artifact.id)
            }
            Guarded::Refused => self.after_race(artifact.id, size, sha256).await,
        }
    }

    /// Somebody else finished it meanwhile, or it changed while it was read.
    async fn after_race(&self, id: u64, size: u64, sha256: Option<[u8; 32]>) -> Result<u64> {
        match self.artifacts.store.artifact(id).await? {
            Some(now) if now.status == EntryStatus::Ready => repeated(&now, size, sha256),
            _ => Err(ServiceError::conflict("the artifact changed while it was being finalized")),
        }
    }

    /// A finished artifact of protocol 4 of a job's own run.
    pub(crate) async fn artifact_of(&self, job: &Job, name: &str) -> Result<ArtifactRow> {
        let found = self.artifacts.store.artifact_named(job.run, name).await?;
        found.filter(|a| a.status == EntryStatus::Ready).ok_or_else(|| no_artifact(name))
    }

    /// A signed address of an artifact of protocol 4.
    pub(crate) async fn artifact_address(
        &self,
        job: &Job,
        name: &str,
        base: &str,
        now: Timestamp,
    ) -> Result<String> {
        let artifact = self.artifact_of(job, name).await?;
        let files = self.artifacts.store.files(artifact.id).await?;
        let blob = files.iter().find(|f| f.path.is_empty()).ok_or_else(|| no_artifact(name))?.blob;
        let grant = Grant::read(Kind::Artifact, blob, job.attempt, now);
        Ok(grant.named(&artifact.media_type, file_name(&artifact)).url(&self.keys, base))
    }

    // -- for the public API ---------------------------------------------------

    /// Finished artifacts of a run.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn artifacts(&self, run: RunId) -> Result<Vec<ArtifactRow>> {
        Ok(self.artifacts.store.artifacts(run).await?)
    }

    /// One finished artifact.
    ///
    /// # Errors
    /// `Missing` if there is none.
    pub async fn artifact(&self, id: u64) -> Result<ArtifactRow> {
        let found = self.artifacts.store.artifact(id).await?;
        found
            .filter(|a| a.status == EntryStatus::Ready)
            .ok_or_else(|| ServiceError::missing(format!("there is no artifact {id}")))
    }

    /// One finished artifact with its bytes.
    ///
    /// # Errors
    /// `Missing` if there is none.
    pub async fn download(&self, id: u64) -> Result<Download> {
        let artifact = self.artifact(id).await?;
        let mut files = Vec::new();
        for file in self.artifacts.store.files(id).await?.into_iter().filter(|f| f.complete) {
            let content = self.content_of(Kind::Artifact, file.blob).await?;
            if artifact.protocol == 4 {
                return Ok(Download { artifact, content: Packed::One(content) });
            }
            files.push((file, content));
        }
        Ok(Download { artifact, content: Packed::Files(files) })
    }

    /// Deletes an artifact.
    ///
    /// # Errors
    /// `Missing` if there is none.
    pub async fn delete_artifact(&self, id: u64) -> Result<()> {
        if !self.artifacts.store.delete_artifact(id).await? {
            return Err(ServiceError::missing(format!("there is no artifact {id}")));
        }
        self.sweep_blobs(&self.artifacts).await
    }
}

/// The name under which an artifact is saved.
pub(crate) fn file_name(artifact: &ArtifactRow) -> String {
    let zip = artifact.media_type == ZIP && !artifact.name.to_ascii_lowercase().ends_with(".zip");
    if zip { format!("{}.zip", artifact.name) } else { artifact.name.clone() }
}

/// A finalize that was answered already; the answer may have been lost.
fn repeated(artifact: &ArtifactRow, size: u64, sha256: Option<[u8; 32]>) -> Result<u64> {
    if artifact.size == size && sha256.is_none_or(|s| artifact.sha256 == Some(s)) {
        return Ok(artifact.id);
    }
    Err(ServiceError::conflict(format!("the artifact '{}' is finalized already", artifact.name)))
}

pub(crate) fn no_artifact(name: &str) -> ServiceError {
    ServiceError::missing(format!("there is no artifact '{}' in this run", name.escape_debug()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
