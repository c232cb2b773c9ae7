//! The services for jobs (artifacts, caches, identity tokens) as part of the control plane: whether
//! they are offered and where, who holds a runtime token, and what users may see and delete. The
//! rules of the services themselves are in `fleetfoot_services`.

use crate::actor::store_problem;
use crate::{Control, Permission, Principal};
use async_trait::async_trait;
use fleetfoot_model::ids::{AttemptRef, RunId};
use fleetfoot_model::plan::RunParams;
use fleetfoot_model::services::{ArtifactView, CacheList, CacheView};
use fleetfoot_model::spec::{Contexts, JobSpec, StepAction};
use fleetfoot_model::sync::JobServices;
use fleetfoot_model::{Code, Problem};
use fleetfoot_objects::Objects;
use fleetfoot_services::{
    CacheScopes, Discovery, Download, Gate, IdentityClaims, Issuer, Job, Jwks, Limits, ServiceError,
    Services, Shelf,
};
use fleetfoot_store::{ArtifactRow, CacheFilter, CacheRow, RunPayload, ServiceStore};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use tokio::sync::OnceCell;
use tracing::{info, warn};

/// Runtime tokens that are remembered; beyond it the memory starts afresh.
const REMEMBERED: usize = 4096;
/// A runtime token lives this much longer than its job may run, in seconds: for the start and the end.
const GRACE: u64 = 3600;
/// Where identity keys are kept within the data directory.
const KEYS: &str = "oidc";

/// What is needed to offer services.
pub struct ServiceSetup {
    /// The bytes of artifacts, and of caches if they have no shelf of their own.
    pub objects: Objects,
    /// Caches that outlive this control plane (local runs).
    pub caches: Option<Shelf>,
    /// What jobs may use.
    pub limits: Limits,
    /// Address of this server as jobs reach it.
    pub url: String,
}

/// Starts the services when the first job needs them (local runs).
#[async_trait]
pub trait ServicesOnDemand: Send + Sync {
    /// Calls [`Control::offer_services`] and makes them reachable.
    ///
    /// # Errors
    /// In words; the job then runs without services.
    async fn start(&self, control: &Control) -> Result<(), String>;
}

/// What the control plane holds of the services.
#[derive(Default)]
pub(crate) struct Offered {
    services: OnceLock<Running>,
    on_demand: OnceLock<Arc<dyn ServicesOnDemand>>,
    asked: OnceCell<()>,
    jobs: Mutex<HashMap<AttemptRef, Arc<Job>>>,
}

struct Running {
    services: Arc<Services>,
    issuer: Arc<Issuer>,
    /// With a slash at the end.
    base: String,
}

fn not_offered() -> Problem {
    Problem::new(Code::NotFound, "this server offers no artifacts and caches")
}

fn refused(e: ServiceError) -> Problem {
    e.problem()
}

#[async_trait]
impl Gate for Control {
    async fn is_open(&self, attempt: AttemptRef) -> bool {
        self.holds(attempt, None).await.unwrap_or(false)
    }
}

impl Control {
    /// Offers the services to jobs from now on. A second call changes nothing.
    ///
    /// # Errors
    /// If the keys for identity tokens cannot be read.
    pub fn offer_services(&self, setup: ServiceSetup) -> Result<(), Problem> {
        let store: Arc<dyn ServiceStore> = self.inner.store.clone();
        let artifacts = Shelf { store, objects: setup.objects };
        let caches = setup.caches.unwrap_or_else(|| artifacts.clone());
        let keys = fleetfoot_services::Keys::derive(&self.inner.vault.derived("services"));
        let issuer = Issuer::open(&self.inner.options.data_dir.join(KEYS), &setup.url).map_err(refused)?;
        let running = Running {
            services: Arc::new(Services::new(artifacts, caches, keys, setup.limits)),
            issuer: Arc::new(issuer),
            base: format!("{}/", setup.url.trim_end_matches('/')),
        };
        let _ = self.inner.offered.services.set(running);
        Ok(())
    }

    /// Offers the services when the first job has an action.
    pub fn offer_services_on_demand(&self, starter: Arc<dyn ServicesOnDemand>) {
        let _ = self.inner.offered.on_demand.set(starter);
    }

    /// The services.
    ///
    /// # Errors
    /// `not_found` if none are offered.
    pub fn services(&self) -> Result<&Arc<Services>, Problem> {
        self.inner.offered.services.get().map(|r| &r.services).ok_or_else(not_offered)
    }

    /// Address of the services as jobs reach them, with a slash at the end.
    #[must_use]
    pub fn services_url(&self) -> &str {
        self.inner.offered.services.get().map_or("", |r| r.base.as_str())
    }

    /// What an assignment says about the services.
    pub(crate) async fn job_services(
        &self,
        attempt: AttemptRef,
        run: RunId,
        (project, params, contexts): (&str, &RunParams, &Contexts),
        spec: &JobSpec,
    ) -> Result<Option<JobServices>, Problem> {
        let offered = &self.inner.offered;
        if let (None, Some(starter)) = (offered.services.get(), offered.on_demand.get()) {
            if !needs_services(spec) {
                return Ok(None);
            }
            offered
                .asked
                .get_or_init(|| async {
                    if let Err(reason) = starter.start(self).await {
                        warn!(reason, "jobs run without artifacts and caches");
                    }
                })
                .await;
        }
        let Some(running) = offered.services.get() else { return Ok(None) };
        let caches = CacheScopes::of(params, contexts);
        let job = Job { attempt, run, project: project.to_owned(), caches };
        let life = spec.timeout_seconds.saturating_add(spec.cancel_timeout_seconds).saturating_add(GRACE);
        let base = &running.base;
        Ok(Some(JobServices {
            runtime_url: base.clone(),
            results_url: base.clone(),
            cache_url: base.clone(),
            runtime_token: running.services.keys().runtime_token(&job, life).map_err(refused)?,
            id_token_url: may_identify(spec, params)
                .then(|| format!("{base}_services/oidc/token?api-version=2.0")),
        }))
    }

    /// The job that holds a runtime token. It is good only while its attempt is.
    ///
    /// # Errors
    /// `unauthorized`, `not_found` if no services are offered.
    pub async fn job_of_token(&self, token: &str) -> Result<Arc<Job>, Problem> {
        let services = self.services()?;
        let (attempt, run) = services.keys().runtime_claims(token, self.now()).map_err(refused)?;
        if !self.holds(attempt, None).await? {
            return Err(Problem::new(Code::Unauthorized, "the attempt of this token is over"));
        }
        if let Some(known) = self.inner.offered.jobs.lock().get(&attempt) {
            return Ok(known.clone());
        }
        let (project, payload) = self.run_with_payload(run).await?;
        let caches = CacheScopes::of(&payload.params, &payload.contexts);
        let job = Arc::new(Job { attempt, run, project, caches });
        let mut jobs = self.inner.offered.jobs.lock();
        if jobs.len() >= REMEMBERED {
            jobs.clear();
        }
        jobs.insert(attempt, job.clone());
        Ok(job)
    }

    async fn run_with_payload(&self, run: RunId) -> Result<(String, RunPayload), Problem> {
        let fail = |e| store_problem(&e);
        let gone = || Problem::new(Code::NotFound, format!("there is no run {run}"));
        let row = self.inner.store.run(run).await.map_err(fail)?.ok_or_else(gone)?;
        Ok((row.project, self.inner.store.run_payload(run).await.map_err(fail)?.ok_or_else(gone)?))
    }

    /// An identity token for a job that may have one.
    ///
    /// # Errors
    /// `forbidden` without `id-token: write` or for a run from outside.
    pub async fn identity_token(&self, job: &Job, audience: Option<String>) -> Result<String, Problem> {
        let running = self.inner.offered.services.get().ok_or_else(not_offered)?;
        let (_, payload) = self.run_with_payload(job.run).await?;
        let fail = |e| store_problem(&e);
        let spec = self.inner.store.job_payload(job.attempt.job).await.map_err(fail)?;
        let spec = spec.ok_or_else(|| Problem::new(Code::NotFound, "the job is gone"))?.spec;
        if !may_identify(&spec, &payload.params) {
            return Err(Problem::new(Code::Forbidden, "the job may not ask for identity tokens")
                .with_hint("give it the permission `id-token: write`; runs from forks never get one"));
        }
        let environment = spec.environment.as_ref().map(|e| e.name.clone());
        let claims = IdentityClaims::of(job.run, &payload.contexts, environment.as_deref());
        let (issuer, now) = (running.issuer.clone(), self.now());
        // Signing, and now and then making a key, takes its time.
        let signed = tokio::task::spawn_blocking(move || issuer.token(&claims, audience.as_deref(), now));
        let token =
            signed.await.map_err(|e| Problem::new(Code::Internal, e.to_string()))?.map_err(refused)?;
        let who = Principal::Job { attempt: job.attempt };
        let audit =
            self.audit_op(&who, "identity_token.issue", &format!("job:{}", job.attempt.job), json!({}));
        self.apply(vec![audit]).await?;
        Ok(token)
    }

    /// What verifiers of identity tokens read first.
    ///
    /// # Errors
    /// `not_found` if no services are offered.
    pub fn identity_discovery(&self) -> Result<Discovery, Problem> {
        Ok(self.inner.offered.services.get().ok_or_else(not_offered)?.issuer.discovery())
    }

    /// The keys with which identity tokens are verified.
    ///
    /// # Errors
    /// `not_found` if no services are offered.
    pub async fn identity_keys(&self) -> Result<Jwks, Problem> {
        let issuer = self.inner.offered.services.get().ok_or_else(not_offered)?.issuer.clone();
        let now = self.now();
        let keys = tokio::task::spawn_blocking(move || issuer.jwks(now));
        keys.await.map_err(|e| Problem::new(Code::Internal, e.to_string()))?.map_err(refused)
    }

    /// One pass of the housekeeping.
    pub(crate) async fn sweep_services(inner: &crate::Inner) {
        let Some(running) = inner.offered.services.get() else { return };
        match running.services.sweep(inner.clock.wall()).await {
            Ok(swept) if swept.artifacts + swept.caches > 0 => {
                info!(artifacts = swept.artifacts, caches = swept.caches, "deleted old artifacts and caches");
            }
            Ok(_) => {}
            Err(e) => warn!(error = %e, "cannot delete old artifacts and caches, trying again later"),
        }
    }

    // -- for users --------------------------------------------------------------

    /// Artifacts of a run.
    ///
    /// # Errors
    /// `not_found` if there is no such run.
    pub async fn artifacts(&self, who: &Principal, run: RunId) -> Result<Vec<ArtifactView>, Problem> {
        who.require(Permission::Read)?;
        if self.inner.store.run(run).await.map_err(|e| store_problem(&e))?.is_none() {
            return Err(Problem::new(Code::NotFound, format!("there is no run {run}")));
        }
        let rows = self.services()?.artifacts(run).await.map_err(refused)?;
        Ok(rows.into_iter().map(artifact_view).collect())
    }

    /// One artifact.
    ///
    /// # Errors
    /// `not_found` if there is none.
    pub async fn artifact(&self, who: &Principal, id: u64) -> Result<ArtifactView, Problem> {
        who.require(Permission::Read)?;
        Ok(artifact_view(self.services()?.artifact(id).await.map_err(refused)?))
    }

    /// One artifact with its bytes.
    ///
    /// # Errors
    /// `not_found` if there is none.
    pub async fn download_artifact(&self, who: &Principal, id: u64) -> Result<Download, Problem> {
        who.require(Permission::Read)?;
        self.services()?.download(id).await.map_err(refused)
    }

    /// Deletes an artifact.
    ///
    /// # Errors
    /// `not_found` if there is none.
    pub async fn delete_artifact(&self, who: &Principal, id: u64) -> Result<(), Problem> {
        who.require(Permission::Write)?;
        let artifact = self.services()?.artifact(id).await.map_err(refused)?;
        let detail = json!({ "name": artifact.name, "run": artifact.run });
        self.services()?.delete_artifact(id).await.map_err(refused)?;
        self.apply(vec![self.audit_op(who, "artifact.delete", &format!("artifact:{id}"), detail)]).await
    }

    /// Caches, newest first.
    ///
    /// # Errors
    /// `not_found` if no services are offered.
    pub async fn caches(
        &self,
        who: &Principal,
        filter: &CacheFilter,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<CacheList, Problem> {
        who.require(Permission::Read)?;
        let rows = self.services()?.caches(filter, cursor, limit).await.map_err(refused)?;
        let next_cursor = (rows.len() == limit).then(|| rows.last().map(|c| c.id.to_string())).flatten();
        Ok(CacheList { caches: rows.into_iter().map(cache_view).collect(), next_cursor })
    }

    /// Deletes a cache.
    ///
    /// # Errors
    /// `not_found` if there is none.
    pub async fn delete_cache(&self, who: &Principal, id: u64) -> Result<(), Problem> {
        who.require(Permission::Write)?;
        self.services()?.delete_cache(id).await.map_err(refused)?;
        self.apply(vec![self.audit_op(who, "cache.delete", &format!("cache:{id}"), json!({}))]).await
    }

    /// Deletes every cache with this key.
    ///
    /// # Errors
    /// `bad_request` without a key.
    pub async fn delete_caches(
        &self,
        who: &Principal,
        filter: &CacheFilter,
    ) -> Result<Vec<CacheView>, Problem> {
        who.require(Permission::Write)?;
        let Some(key) = filter.key.clone() else {
            return Err(Problem::new(Code::BadRequest, "name the key of the caches to delete"));
        };
        let deleted = self.services()?.delete_caches(filter).await.map_err(refused)?;
        let detail = json!({ "count": deleted.len() });
        self.apply(vec![self.audit_op(who, "cache.delete", &format!("cache:{key}"), detail)]).await?;
        Ok(deleted.into_iter().map(cache_view).collect())
    }
}

/// Only actions speak to the services, and the built-in checkout does not.
fn needs_services(spec: &JobSpec) -> bool {
    spec.steps.iter().any(|step| match &step.action {
        StepAction::Uses { uses, .. } => !uses.to_ascii_lowercase().starts_with("actions/checkout@"),
        _ => false,
    })
}

/// Whether a job may ask for identity tokens.
fn may_identify(spec: &JobSpec, params: &RunParams) -> bool {
    let granted = spec.permissions.as_ref().and_then(|p| p.get("id-token")).map(String::as_str);
    granted == Some("write") && !params.untrusted
}

pub(crate) fn artifact_view(row: ArtifactRow) -> ArtifactView {
    let digest = row.sha256.map(|s| {
        let digits: String = s.iter().map(|b| format!("{b:02x}")).collect();
        format!("sha256:{digits}")
    });
    ArtifactView {
        id: row.id,
        name: row.name,
        run: row.run,
        job: row.attempt.job,
        project: row.project,
        size: row.size,
        digest,
        media_type: row.media_type,
        created_at: row.created_at,
        expires_at: row.expires_at,
    }
}

fn cache_view(row: CacheRow) -> CacheView {
    CacheView {
        id: row.id,
        project: row.project,
        repository: row.repository,
        git_ref: row.git_ref,
        key: row.key,
        version: row.version,
        size: row.size,
        created_at: row.created_at,
        used_at: row.used_at,
    }
}
