//! Artifacts of protocol 3: an artifact is a container of files, each sent in ranges and possibly
//! compressed, each visible when its last range has arrived. Other jobs of the run may add files.

use crate::artifacts::no_artifact;
use crate::blobs::{Body, Content};
use crate::error::{Result, ServiceError};
use crate::grant::{Grant, Kind, encode};
use crate::job::{Gate, Job};
use crate::{Services, names};
use fleetfoot_model::time::Timestamp;
use fleetfoot_store::{ArtifactRow, BlobStatus, EntryStatus, FileRow, Guarded, NewFile};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::time::Duration;

/// A request for a container.
#[derive(Debug, Deserialize)]
pub struct CreateContainer {
    /// Name of the artifact.
    #[serde(rename = "Name")]
    pub name: String,
    /// Days for which it is kept.
    #[serde(rename = "RetentionDays", default)]
    pub retention_days: Option<u32>,
}

/// The end of an upload.
#[derive(Debug, Deserialize)]
pub struct PatchContainer {
    /// Bytes that the client sent.
    #[serde(rename = "Size")]
    pub size: u64,
}

/// A container as clients read it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    container_id: u64,
    size: i64,
    signed_content: Option<String>,
    /// Where files go and where they are listed.
    pub file_container_resource_url: String,
    r#type: &'static str,
    /// Name of the artifact.
    pub name: String,
    url: String,
}

/// Containers of a run.
#[derive(Debug, Serialize)]
pub struct Containers {
    count: usize,
    value: Vec<Container>,
}

/// A file as clients read it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerItem {
    container_id: u64,
    scope_identifier: &'static str,
    path: String,
    item_type: &'static str,
    status: &'static str,
    file_length: u64,
    file_encoding: u8,
    file_type: u8,
    date_created: String,
    date_last_modified: String,
    created_by: &'static str,
    last_modified_by: &'static str,
    item_location: String,
    content_location: String,
    content_id: &'static str,
}

/// Files of a container.
#[derive(Debug, Serialize)]
pub struct ContainerItems {
    count: usize,
    value: Vec<ContainerItem>,
}

/// `Content-Range` of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The bytes.
    pub range: Range<u64>,
    /// Length of the whole, if the client knows it.
    pub total: Option<u64>,
}

impl ContentRange {
    /// Reads `bytes FIRST-LAST/TOTAL`, with `*` for an unknown total. A client says `0--1/0` of a file
    /// without bytes.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(header: &str) -> Result<Self> {
        let bad = || ServiceError::invalid("the header Content-Range is not 'bytes FIRST-LAST/TOTAL'");
        let (range, total) = header.strip_prefix("bytes ").and_then(|h| h.split_once('/')).ok_or_else(bad)?;
        let total = match total.trim() {
            "*" => None,
            number => Some(number.parse().map_err(|_| bad())?),
        };
        let (first, last) = range.split_once('-').ok_or_else(bad)?;
        let first: u64 = first.trim().parse().map_err(|_| bad())?;
        let end = match last.trim() {
            "-1" if first == 0 && total == Some(0) => 0,
            last => last.parse::<u64>().ok().and_then(|l| l.checked_add(1)).ok_or_else(bad)?,
        };
        if first > end || total.is_some_and(|t| end > t) || (first == end && total != Some(0)) {
            return Err(bad());
        }
        Ok(Self { range: first..end, total })
    }
}

/// A file to be sent back.
pub struct FileContent {
    /// Its bytes as stored.
    pub content: Content,
    /// They are compressed with gzip.
    pub gzip: bool,
}

impl Services {
    /// Creates a container, or finds the one that another job of the run created.
    ///
    /// # Errors
    /// `Invalid` for a bad name, `Conflict` if there is an artifact of protocol 4 of this name.
    pub async fn create_container(
        &self,
        job: &Job,
        gate: &dyn Gate,
        request: &CreateContainer,
        base: &str,
        now: Timestamp,
    ) -> Result<Container> {
        names::artifact_name(&request.name)?;
        if let Some(there) = self.artifacts.store.artifact_named(job.run, &request.name).await?
            && there.protocol == 3
        {
            return Ok(container(&there, base));
        }
        let keep = request.retention_days.filter(|d| *d > 0);
        let keep = keep.map(|d| Duration::from_secs(u64::from(d) * 24 * 3600));
        let new = self.new_artifact(job, &request.name, 3, keep, now);
        let (id, _) = self.create_artifact(job, gate, new).await?;
        let made = self.artifacts.store.artifact(id).await?;
        Ok(container(&made.ok_or_else(|| no_artifact(&request.name))?, base))
    }

    /// Receives a range of a file; the last one completes it. `gzip` holds the length before
    /// compression.
    ///
    /// # Errors
    /// `Missing` if the container is not of this run, `Invalid` for a bad path, `Quota`.
    #[expect(clippy::too_many_arguments, reason = "the parts of one HTTP request")]
    pub async fn put_file(
        &self,
        job: &Job,
        container: u64,
        item_path: &str,
        range: &ContentRange,
        gzip: Option<u64>,
        body: Body,
        now: Timestamp,
    ) -> Result<()> {
        let artifact = self.container_of(job, container).await?;
        let path = path_within(&artifact, item_path)?;
        let total = range.total.ok_or_else(|| ServiceError::invalid("the length of the file is missing"))?;
        let blob = self.open_file(job, &artifact, &path, range, gzip, total, now).await?;
        let grant = Grant::write(Kind::Artifact, blob, job.attempt, now);
        self.put_range(&grant, range.range.clone(), body).await?;
        if range.range.end < total {
            return Ok(());
        }
        let (verified, _) = self.verify(Kind::Artifact, blob, total, false).await?;
        match self.artifacts.store.seal_blob(verified).await? {
            Guarded::Done(()) => Ok(()),
            Guarded::Refused => Err(ServiceError::conflict("the file changed while it was being completed")),
        }
    }

    /// The blob of a file that is being sent: a new one with its first range.
    #[expect(clippy::too_many_arguments, reason = "the parts of one HTTP request")]
    async fn open_file(
        &self,
        job: &Job,
        artifact: &ArtifactRow,
        path: &str,
        range: &ContentRange,
        gzip: Option<u64>,
        total: u64,
        now: Timestamp,
    ) -> Result<u64> {
        if range.range.start > 0 {
            let files = self.artifacts.store.files(artifact.id).await?;
            let file = files.into_iter().find(|f| f.path == path);
            let file = file.ok_or_else(|| ServiceError::invalid("the first range of the file is missing"))?;
            let blob = self.artifacts.store.blob(file.blob).await?;
            let open = blob.is_some_and(|b| b.status == BlobStatus::Open && b.attempt == job.attempt);
            return match open {
                true => Ok(file.blob),
                false => Err(ServiceError::conflict("the file is complete already")),
            };
        }
        let new = NewFile {
            artifact: artifact.id,
            attempt: job.attempt,
            path: path.to_owned(),
            gzip: gzip.is_some(),
            length: gzip.unwrap_or(total),
            at: now,
        };
        self.artifacts.store.add_file(new).await?.done().ok_or_else(|| no_artifact(&artifact.name))
    }

    /// Makes an artifact visible with the files that are complete.
    ///
    /// # Errors
    /// `Missing` if there is none.
    pub async fn patch_container(&self, job: &Job, name: &str, base: &str) -> Result<Container> {
        let found = self.artifacts.store.artifact_named(job.run, name).await?;
        let artifact = found.filter(|a| a.protocol == 3).ok_or_else(|| no_artifact(name))?;
        let finished = self.artifacts.store.finish_files(artifact.id).await?;
        finished.done().ok_or_else(|| no_artifact(name))?;
        Ok(container(&self.artifact(artifact.id).await?, base))
    }

    /// Artifacts of this protocol of a job's run.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn containers(&self, job: &Job, base: &str) -> Result<Containers> {
        let all = self.artifacts(job.run).await?;
        let value: Vec<_> = all.iter().filter(|a| a.protocol == 3).map(|a| container(a, base)).collect();
        Ok(Containers { count: value.len(), value })
    }

    /// Files of an artifact.
    ///
    /// # Errors
    /// `Missing` if the container is not of this run.
    pub async fn container_items(&self, job: &Job, id: u64, base: &str) -> Result<ContainerItems> {
        let artifact = self.container_of(job, id).await?;
        let files = self.artifacts.store.files(id).await?;
        let value: Vec<_> = match artifact.status {
            EntryStatus::Uploading => Vec::new(),
            EntryStatus::Ready => {
                files.iter().filter(|f| f.complete).map(|f| item(&artifact, f, base)).collect()
            }
        };
        Ok(ContainerItems { count: value.len(), value })
    }

    /// One file of an artifact.
    ///
    /// # Errors
    /// `Missing` if there is none in this run.
    pub async fn container_file(&self, job: &Job, id: u64, blob: u64) -> Result<FileContent> {
        let artifact = self.container_of(job, id).await?;
        let files = self.artifacts.store.files(id).await?;
        let file = files.into_iter().find(|f| f.blob == blob && f.complete);
        let ready = artifact.status == EntryStatus::Ready;
        let file = file.filter(|_| ready).ok_or_else(|| ServiceError::missing("there is no such file"))?;
        Ok(FileContent { content: self.content_of(Kind::Artifact, blob).await?, gzip: file.gzip })
    }

    async fn container_of(&self, job: &Job, id: u64) -> Result<ArtifactRow> {
        let found = self.artifacts.store.artifact(id).await?;
        found
            .filter(|a| a.protocol == 3 && a.run == job.run)
            .ok_or_else(|| ServiceError::missing(format!("there is no container {id} in this run")))
    }
}

/// The path of a file within its artifact: clients send it behind the artifact's name.
fn path_within(artifact: &ArtifactRow, item_path: &str) -> Result<String> {
    let inner = item_path.strip_prefix(&artifact.name).and_then(|p| p.strip_prefix('/'));
    let inner = inner.ok_or_else(|| {
        ServiceError::invalid("the path of the file does not begin with the artifact's name")
    })?;
    names::file_path(inner)?;
    Ok(inner.to_owned())
}

fn container(artifact: &ArtifactRow, base: &str) -> Container {
    let resource = format!("{base}_apis/resources/Containers/{}", artifact.id);
    let ready = artifact.status == EntryStatus::Ready;
    Container {
        container_id: artifact.id,
        size: if ready { artifact.size.cast_signed() } else { -1 },
        signed_content: None,
        file_container_resource_url: resource,
        r#type: "actions_storage",
        name: artifact.name.clone(),
        url: format!(
            "{base}_apis/pipelines/workflows/{}/artifacts?artifactName={}",
            artifact.run,
            encode(&artifact.name)
        ),
    }
}

fn item(artifact: &ArtifactRow, file: &FileRow, base: &str) -> ContainerItem {
    let resource = format!("{base}_apis/resources/Containers/{}", artifact.id);
    let path = format!("{}/{}", artifact.name, file.path);
    ContainerItem {
        container_id: artifact.id,
        scope_identifier: "00000000-0000-0000-0000-000000000000",
        item_location: format!("{resource}?itemPath={}", encode(&path)),
        content_location: format!("{resource}/files/{}", file.blob),
        path,
        item_type: "file",
        status: "created",
        file_length: file.length,
        file_encoding: 1,
        file_type: 1,
        date_created: artifact.created_at.to_string(),
        date_last_modified: artifact.created_at.to_string(),
        created_by: "00000000-0000-0000-0000-000000000000",
        last_modified_by: "00000000-0000-0000-0000-000000000000",
        content_id: "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let parse = |h: &str| ContentRange::parse(h).map(|r| (r.range, r.total)).ok();
        assert_eq!(parse("bytes 0-199/200"), Some((0..200, Some(200))));
        assert_eq!(parse("bytes 32-63/*"), Some((32..64, None)));
        assert_eq!(parse("bytes 0--1/0"), Some((0..0, Some(0))));
        for bad in [
            "",
            "bytes",
            "bytes 0-1",
            "bytes 5-3/9",
            "bytes 0-9/5",
            "bytes a-b/c",
            "bytes 0--1/5",
            "bytes -1-3/5",
            "bytes 0-18446744073709551615/*",
            "items 0-1/2",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
