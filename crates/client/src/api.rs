//! One method an endpoint. Bodies and answers are the types of `model::api`
//! and `model::sync`; nothing here decides anything.

use crate::error::ClientError;
use crate::follow::{LogFollow, RunFollow};
use crate::http::Client;
use bytes::Bytes;
use fleetfoot_model::api::{
    Appended, AuditEntry, CancelRun, CreateBatch, CreateRun, CreateRunner, CreateToken, Created,
    CreatedBatch, CreatedToken, JobView, Page, RegisterRunner, Registered, Rerun, RunFilter, RunView,
    RunnerView, TokenView, UpdateRunner,
};
use fleetfoot_model::ids::{AttemptNumber, AttemptRef, JobId, RunId, RunnerId, TokenId};
use fleetfoot_model::logs::FRAMES_MEDIA_TYPE;
use fleetfoot_model::sync::{SyncRequest, SyncResponse};
use fleetfoot_model::why::Why;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Which runs to list.
#[derive(Clone, Debug, Default)]
pub struct RunQuery {
    /// Filters.
    pub filter: RunFilter,
    /// Where the last page ended.
    pub cursor: Option<String>,
    /// Runs on a page; the server has a default and a maximum.
    pub limit: Option<u32>,
}

/// Which audit entries to list.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Where the last page ended.
    pub cursor: Option<String>,
    /// Entries on a page.
    pub limit: Option<u32>,
}

/// A piece of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPiece {
    /// Offset of the first byte.
    pub offset: u64,
    /// The bytes.
    pub bytes: Bytes,
    /// Length of the log at the time of the answer.
    pub end: u64,
    /// Nothing will be appended any more.
    pub closed: bool,
}

impl Client {
    /// Submits a run. With an idempotency key, the same call again answers the same run.
    ///
    /// # Errors
    /// [`ClientError`]; code `bad_document` lists findings.
    pub async fn create_run(
        &self,
        run: &CreateRun,
        idempotency_key: Option<&str>,
    ) -> Result<Created, ClientError> {
        let mut request =
            self.request(Method::POST, self.api(&["runs"], &[])).json(run).timeout(self.timeout);
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        self.json(self.send(request).await?).await
    }

    /// Submits many runs, all or nothing.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_batch(
        &self,
        batch: &CreateBatch,
        idempotency_key: Option<&str>,
    ) -> Result<CreatedBatch, ClientError> {
        // 50,000 jobs in one transaction take longer than an ordinary request may.
        let timeout = self.timeout.max(Duration::from_secs(120));
        let mut request =
            self.request(Method::POST, self.api(&["runs", "batch"], &[])).json(batch).timeout(timeout);
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        self.json(self.send(request).await?).await
    }

    /// Lists runs, newest first, one page.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn runs(&self, query: &RunQuery) -> Result<Page<RunView>, ClientError> {
        let filter = &query.filter;
        let mut pairs: Vec<(&str, String)> = Vec::new();
        let mut add = |name, value: Option<String>| pairs.extend(value.map(|v| (name, v)));
        add("status", filter.status.map(|s| s.to_string()));
        add("conclusion", filter.conclusion.map(|c| c.to_string()));
        add("kind", filter.kind.clone());
        add("project", filter.project.clone());
        add("name", filter.name.clone());
        add("branch", filter.branch.clone());
        add("actor", filter.actor.clone());
        add("event", filter.event.clone());
        add("cursor", query.cursor.clone());
        add("limit", query.limit.map(|l| l.to_string()));
        self.get(self.api(&["runs"], &pairs)).await
    }

    /// One run with its jobs.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn run(&self, run: RunId) -> Result<RunView, ClientError> {
        self.get(self.api(&["runs", &run.to_string()], &[])).await
    }

    /// The newest attempts of a run: the run itself, those that it repeats, and those that repeat it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn run_attempts(&self, run: RunId) -> Result<Page<RunView>, ClientError> {
        self.get(self.api(&["runs", &run.to_string(), "attempts"], &[])).await
    }

    /// Asks to cancel a run.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cancel_run(&self, run: RunId, cancel: &CancelRun) -> Result<RunView, ClientError> {
        self.call(Method::POST, self.api(&["runs", &run.to_string(), "cancel"], &[]), cancel).await
    }

    /// Runs it again, as a new run.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rerun(&self, run: RunId, rerun: &Rerun) -> Result<Created, ClientError> {
        self.call(Method::POST, self.api(&["runs", &run.to_string(), "rerun"], &[]), rerun).await
    }

    /// Follows the state of a run until it ends. Nothing is sent before the first `next`.
    #[must_use]
    pub fn follow_run(&self, run: RunId) -> RunFollow {
        RunFollow::new(self.clone(), run)
    }

    /// One job with its attempts.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn job(&self, job: JobId) -> Result<JobView, ClientError> {
        self.get(self.api(&["jobs", &job.to_string()], &[])).await
    }

    /// Why a job waits.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn why(&self, job: JobId) -> Result<Why, ClientError> {
        self.get(self.api(&["jobs", &job.to_string(), "why"], &[])).await
    }

    /// Asks to cancel one job.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn cancel_job(&self, job: JobId, cancel: &CancelRun) -> Result<JobView, ClientError> {
        self.call(Method::POST, self.api(&["jobs", &job.to_string(), "cancel"], &[]), cancel).await
    }

    /// A piece of a log: at most `limit` bytes from `offset`; the current or last attempt if none is named.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn job_log(
        &self,
        job: JobId,
        attempt: Option<AttemptNumber>,
        offset: u64,
        limit: Option<u64>,
    ) -> Result<LogPiece, ClientError> {
        let mut query = vec![("offset", offset.to_string())];
        query.extend(attempt.map(|a| ("attempt", a.to_string())));
        query.extend(limit.map(|l| ("limit", l.to_string())));
        let url = self.api(&["jobs", &job.to_string(), "log"], &query);
        let request = self.request(Method::GET, url).header(ACCEPT, "application/octet-stream");
        let response = self.send(request.timeout(self.timeout.max(Duration::from_secs(120)))).await?;
        let headers = response.headers().clone();
        let bytes = self.body(response, 256 << 20).await?;
        let offset = number(&headers, "fleetfoot-log-offset").unwrap_or(offset);
        let end = number(&headers, "fleetfoot-log-end").unwrap_or(offset + bytes.len() as u64);
        let closed = headers
            .get("fleetfoot-log-closed")
            .is_some_and(|v| v.as_bytes() == b"true" || v.as_bytes() == b"1");
        Ok(LogPiece { offset, bytes, end, closed })
    }

    /// Follows a log from `offset` until it is closed. Nothing is sent before the first `next`.
    #[must_use]
    pub fn follow_log(&self, job: JobId, attempt: Option<AttemptNumber>, offset: u64) -> LogFollow {
        LogFollow::new(self.clone(), job, attempt, offset)
    }

    /// Lists runners.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn runners(&self) -> Result<Page<RunnerView>, ClientError> {
        self.get(self.api(&["runners"], &[])).await
    }

    /// One runner.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn runner(&self, runner: RunnerId) -> Result<RunnerView, ClientError> {
        self.get(self.api(&["runners", &runner.to_string()], &[])).await
    }

    /// Creates a runner (admin).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_runner(&self, runner: &CreateRunner) -> Result<Registered, ClientError> {
        self.call(Method::POST, self.api(&["runners"], &[]), runner).await
    }

    /// Becomes a runner; the registration token is this client's token or in the body.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn register_runner(&self, runner: &RegisterRunner) -> Result<Registered, ClientError> {
        self.call(Method::POST, self.api(&["runners", "register"], &[]), runner).await
    }

    /// Changes a runner.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn update_runner(
        &self,
        runner: RunnerId,
        update: &UpdateRunner,
    ) -> Result<RunnerView, ClientError> {
        self.call(Method::PATCH, self.api(&["runners", &runner.to_string()], &[]), update).await
    }

    /// Removes a runner.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_runner(&self, runner: RunnerId) -> Result<(), ClientError> {
        self.done(self.request(Method::DELETE, self.api(&["runners", &runner.to_string()], &[]))).await
    }

    /// Gives a runner a new token; the old one ends at once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rotate_runner_token(&self, runner: RunnerId) -> Result<Registered, ClientError> {
        let url = self.api(&["runners", &runner.to_string(), "rotate-token"], &[]);
        self.call(Method::POST, url, &json!({})).await
    }

    /// The exchange between runner and server; waits up to `request.wait_ms`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sync(&self, runner: RunnerId, request: &SyncRequest) -> Result<SyncResponse, ClientError> {
        let url = self.api(&["runners", &runner.to_string(), "sync"], &[]);
        let timeout = self.timeout + Duration::from_millis(request.wait_ms);
        let response = self.send(self.request(Method::POST, url).json(request).timeout(timeout)).await?;
        self.json(response).await
    }

    /// Appends frames to the log of an attempt; answers the offset before which everything is durable.
    ///
    /// # Errors
    /// [`ClientError`]; codes `stale_attempt` and `offset_gap` are for the caller to act on.
    pub async fn append_log(
        &self,
        runner: RunnerId,
        attempt: AttemptRef,
        offset: u64,
        frames: Bytes,
    ) -> Result<Appended, ClientError> {
        let query = [("attempt", attempt.to_string()), ("offset", offset.to_string())];
        let url = self.api(&["runners", &runner.to_string(), "log"], &query);
        let request = self.request(Method::POST, url).header(CONTENT_TYPE, FRAMES_MEDIA_TYPE).body(frames);
        self.json(self.send(request.timeout(self.timeout)).await?).await
    }

    /// Creates a token; the answer is the only time it is shown.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn create_token(&self, token: &CreateToken) -> Result<CreatedToken, ClientError> {
        self.call(Method::POST, self.api(&["tokens"], &[]), token).await
    }

    /// Lists tokens, without their secrets.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tokens(&self) -> Result<Page<TokenView>, ClientError> {
        self.get(self.api(&["tokens"], &[])).await
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke_token(&self, token: TokenId) -> Result<(), ClientError> {
        self.done(self.request(Method::DELETE, self.api(&["tokens", &token.to_string()], &[]))).await
    }

    /// The audit log, newest first, one page.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn audit(&self, query: &AuditQuery) -> Result<Page<AuditEntry>, ClientError> {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        pairs.extend(query.cursor.clone().map(|c| ("cursor", c)));
        pairs.extend(query.limit.map(|l| ("limit", l.to_string())));
        self.get(self.api(&["audit"], &pairs)).await
    }

    /// Writes a backup to a path on the server's machine (admin).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn backup(&self, path: &Path) -> Result<(), ClientError> {
        // A copy of a large database takes its time; the server works on while it is made.
        let request = self.request(Method::POST, self.api(&["backup"], &[])).json(&json!({ "path": path }));
        self.send(request.timeout(self.timeout.max(Duration::from_secs(3600)))).await.map(drop)
    }

    /// Whether the server's process is alive.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn healthz(&self) -> Result<(), ClientError> {
        self.done(self.request(Method::GET, self.root(&["healthz"], &[]))).await
    }

    /// Whether the server can take requests.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn readyz(&self) -> Result<(), ClientError> {
        self.done(self.request(Method::GET, self.root(&["readyz"], &[]))).await
    }

    /// Metrics in the text format of Prometheus.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn metrics(&self) -> Result<String, ClientError> {
        let response =
            self.send(self.request(Method::GET, self.root(&["metrics"], &[])).timeout(self.timeout)).await?;
        let bytes = self.body(response, 64 << 20).await?;
        String::from_utf8(bytes.into())
            .map_err(|e| ClientError::protocol("the metrics are not text").with_source(e))
    }

    /// The OpenAPI document.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn openapi(&self) -> Result<Value, ClientError> {
        self.get(self.root(&["api", "openapi.json"], &[])).await
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
