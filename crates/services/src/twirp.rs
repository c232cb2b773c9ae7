//! The services that newer clients call as Twirp with JSON: artifacts (protocol 4) and caches
//! (version 2). Names of fields are those of the protocol buffers; a 64-bit number may be a string.

use crate::Services;
use crate::artifacts::hex;
use crate::error::{ErrorKind, Result, ServiceError};
use crate::grant::{Grant, Kind};
use crate::job::{Gate, Job};
use fleetfoot_model::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

/// Name of the service for artifacts.
pub const ARTIFACT_SERVICE: &str = "github.actions.results.api.v1.ArtifactService";
/// Name of the service for caches.
pub const CACHE_SERVICE: &str = "github.actions.results.api.v1.CacheService";

/// An error as Twirp writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TwirpError {
    /// `invalid_argument`, `not_found`, …
    pub code: &'static str,
    /// For people.
    pub msg: String,
    /// HTTP status that belongs to the code.
    #[serde(skip)]
    pub status: u16,
}

impl From<&ServiceError> for TwirpError {
    fn from(error: &ServiceError) -> Self {
        let (code, status) = match error.kind {
            ErrorKind::Invalid => ("invalid_argument", 400),
            ErrorKind::Unauthenticated => ("unauthenticated", 401),
            ErrorKind::Denied | ErrorKind::Quota => ("permission_denied", 403),
            ErrorKind::Missing => ("not_found", 404),
            ErrorKind::Conflict => ("already_exists", 409),
            ErrorKind::TooLarge => ("out_of_range", 400),
            ErrorKind::Full | ErrorKind::Internal => ("internal", 500),
            ErrorKind::Unavailable => ("unavailable", 503),
        };
        Self { code, msg: error.message.clone(), status }
    }
}

/// A 64-bit number, as JSON number or string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Int64(u64);

impl<'de> Deserialize<'de> for Int64 {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let value = Value::deserialize(d)?;
        let number = match &value {
            Value::Number(n) => n.as_u64(),
            Value::String(s) => s.parse().ok(),
            _ => None,
        };
        number.map(Self).ok_or_else(|| serde::de::Error::custom(format!("'{value}' is not a number")))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ArtifactRequest {
    workflow_run_backend_id: String,
    workflow_job_run_backend_id: String,
    name: String,
    expires_at: Option<String>,
    version: i64,
    mime_type: Option<String>,
    size: Int64,
    hash: Option<String>,
    name_filter: Option<String>,
    id_filter: Option<Int64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CacheRequest {
    key: String,
    version: String,
    size_bytes: Int64,
    restore_keys: Vec<String>,
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body)
        .map_err(|e| ServiceError::invalid(format!("the body is not what this reads: {e}")))
}

impl Services {
    /// Answers a call. `base` is the address of these services as the job reaches them, with a slash
    /// at the end.
    ///
    /// # Errors
    /// What the service refuses; `Missing` for an unknown service or method.
    pub async fn twirp(
        &self,
        job: &Job,
        gate: &dyn Gate,
        call: (&str, &str),
        body: &[u8],
        base: &str,
        now: Timestamp,
    ) -> Result<Value> {
        match call {
            (ARTIFACT_SERVICE, method) => {
                let request: ArtifactRequest = read(body)?;
                // Reads name the job that made the artifact, as the list told it.
                let own_job = request.workflow_job_run_backend_id == job.job_id()
                    || !matches!(method, "CreateArtifact" | "FinalizeArtifact");
                if request.workflow_run_backend_id != job.run_id() || !own_job {
                    let message = "the ids of run and job are not those of the token";
                    return Err(ServiceError::new(ErrorKind::Denied, message));
                }
                self.artifact_call(job, gate, method, request, base, now).await
            }
            (CACHE_SERVICE, method) => self.cache_call(job, gate, method, read(body)?, base, now).await,
            (service, _) => {
                Err(ServiceError::missing(format!("there is no service '{}'", service.escape_debug())))
            }
        }
    }

    async fn artifact_call(
        &self,
        job: &Job,
        gate: &dyn Gate,
        method: &str,
        request: ArtifactRequest,
        base: &str,
        now: Timestamp,
    ) -> Result<Value> {
        match method {
            "CreateArtifact" => {
                if request.version < 4 {
                    return Err(ServiceError::invalid("only versions from 4 on are created this way"));
                }
                let keep = request.expires_at.as_deref().map(|at| remaining(at, now)).transpose()?;
                let mut new = self.new_artifact(job, &request.name, 4, keep, now);
                if let Some(media_type) = request.mime_type {
                    new.media_type = media_type_of(&media_type)?;
                }
                let (_, blob) = self.create_artifact(job, gate, new).await?;
                let grant = Grant::write(Kind::Artifact, blob, job.attempt, now);
                Ok(json!({ "ok": true, "signed_upload_url": grant.url(&self.keys, base) }))
            }
            "FinalizeArtifact" => {
                let digest = request.hash.as_deref().map(digest).transpose()?;
                let id = self.finalize_artifact(job, &request.name, request.size.0, digest).await?;
                Ok(json!({ "ok": true, "artifact_id": id.to_string() }))
            }
            "ListArtifacts" => self.list_call(job, &request).await,
            "GetSignedArtifactURL" => {
                let url = self.artifact_address(job, &request.name, base, now).await?;
                Ok(json!({ "name": request.name, "signed_url": url }))
            }
            "DeleteArtifact" => {
                let artifact = self.artifact_of(job, &request.name).await?;
                self.delete_artifact(artifact.id).await?;
                Ok(json!({ "ok": true, "artifact_id": artifact.id.to_string() }))
            }
            other => Err(ServiceError::missing(format!("there is no method '{}'", other.escape_debug()))),
        }
    }

    async fn list_call(&self, job: &Job, request: &ArtifactRequest) -> Result<Value> {
        let mut all = self.artifacts(job.run).await?;
        all.retain(|a| {
            a.protocol == 4
                && request.name_filter.as_ref().is_none_or(|n| *n == a.name)
                && request.id_filter.is_none_or(|id| id.0 == a.id)
        });
        let artifacts: Vec<_> = all
            .iter()
            .map(|a| {
                json!({
                    "workflow_run_backend_id": job.run_id(),
                    "workflow_job_run_backend_id": a.attempt.to_string(),
                    "database_id": a.id.to_string(),
                    "name": a.name,
                    "size": a.size.to_string(),
                    "created_at": a.created_at.to_string(),
                    "digest": a.sha256.map(|s| format!("sha256:{}", hex(&s))),
                })
            })
            .collect();
        Ok(json!({ "artifacts": artifacts }))
    }

    async fn cache_call(
        &self,
        job: &Job,
        gate: &dyn Gate,
        method: &str,
        request: CacheRequest,
        base: &str,
        now: Timestamp,
    ) -> Result<Value> {
        match method {
            "CreateCacheEntry" => {
                match self.reserve_cache(job, gate, &request.key, &request.version, now).await {
                    Ok((_, blob)) => {
                        let grant = Grant::write(Kind::Cache, blob, job.attempt, now);
                        Ok(json!({ "ok": true, "signed_upload_url": grant.url(&self.keys, base) }))
                    }
                    // Expected in ordinary life: the client reads a message and goes on.
                    Err(e) if matches!(e.kind, ErrorKind::Conflict | ErrorKind::Denied) => {
                        Ok(json!({ "ok": false, "message": e.message }))
                    }
                    Err(e) => Err(e),
                }
            }
            "FinalizeCacheEntryUpload" => {
                let cache = self.reserved(job, &request.key, &request.version).await?;
                match self.finalize_cache(&cache, request.size_bytes.0, now).await {
                    Ok(id) => Ok(json!({ "ok": true, "entry_id": id.to_string() })),
                    Err(e) if matches!(e.kind, ErrorKind::Conflict | ErrorKind::Quota) => {
                        Ok(json!({ "ok": false, "message": e.message }))
                    }
                    Err(e) => Err(e),
                }
            }
            "GetCacheEntryDownloadURL" => {
                let mut keys = vec![request.key];
                keys.extend(request.restore_keys);
                match self.find_cache(job, &keys, &request.version, now).await? {
                    None => Ok(json!({ "ok": false })),
                    Some(cache) => Ok(json!({
                        "ok": true,
                        "signed_download_url": self.cache_address(job, &cache, base, now),
                        "matched_key": cache.key,
                    })),
                }
            }
            other => Err(ServiceError::missing(format!("there is no method '{}'", other.escape_debug()))),
        }
    }
}

/// From now to a time in RFC 3339.
fn remaining(at: &str, now: Timestamp) -> Result<Duration> {
    let at: Timestamp =
        at.parse().map_err(|_| ServiceError::invalid("'expires_at' is not a time in RFC 3339"))?;
    Ok(at.since(now))
}

/// `sha256:` and 64 digits.
fn digest(text: &str) -> Result<[u8; 32]> {
    let bad = || ServiceError::invalid("'hash' is not sha256 and 64 hexadecimal digits");
    let digits = text.strip_prefix("sha256:").filter(|d| d.len() == 64).ok_or_else(bad)?;
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(digits.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
    }
    Ok(out)
}

/// A media type that is safe in a header.
fn media_type_of(text: &str) -> Result<String> {
    let good = text.len() <= 127
        && text.split('/').count() == 2
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/+-._;= ".contains(&b));
    if good { Ok(text.to_owned()) } else { Err(ServiceError::invalid("'mime_type' is not a media type")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_as_numbers_or_strings() {
        let request: ArtifactRequest = read(br#"{"size":"12","id_filter":7,"unknown":[]}"#).unwrap();
        assert_eq!((request.size, request.id_filter), (Int64(12), Some(Int64(7))));
        assert!(read::<ArtifactRequest>(br#"{"size":"-1"}"#).is_err());
        assert!(read::<ArtifactRequest>(br#"{"size":[]}"#).is_err());
    }

    #[test]
    fn digests_and_media_types() {
        assert_eq!(digest(&format!("sha256:{}", "0f".repeat(32))).unwrap(), [15; 32]);
        for bad in ["", "sha256:", "md5:00", &format!("sha256:{}", "0g".repeat(32)), &"ü".repeat(35)] {
            assert!(digest(bad).is_err(), "{bad}");
        }
        assert!(media_type_of("text/plain; charset=utf-8").is_ok());
        for bad in ["", "text", "a/b/c", "text/html\r\nx: y", "a/\"b\""] {
            assert!(media_type_of(bad).is_err(), "{bad:?}");
        }
    }
}
