//! What the server keeps, what was done with it, and how it is.

use crate::actor::store_problem;
use crate::services::artifact_view;
use crate::{Control, Permission, Principal};
use fleetfoot_model::api::{AuditEntry, Page};
use fleetfoot_model::observe::{
    AuditFilter, ComponentHealth, ComponentState, HealthView, Retention, Stock, StorageView,
};
use fleetfoot_model::services::ArtifactList;
use fleetfoot_model::version::VERSION;
use fleetfoot_model::{Code, Problem};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Sizes are measured again after this long.
const FRESH: Duration = Duration::from_secs(60);
/// Entries of a page at most.
const MAX_PAGE: usize = 500;
/// Entries of an export that are read at once.
const EXPORTED: usize = 2_000;
/// A disk with less than this share free is told.
const SCARCE: u64 = 10;
/// A write of samples that takes longer than this is told.
const SLOW_FLUSH: f64 = 500.0;

/// Bytes of the file system, and free ones of them.
fn disk(dir: &Path) -> (u64, u64) {
    rustix::fs::statvfs(dir).map_or((0, 0), |s| (s.f_blocks * s.f_frsize, s.f_bavail * s.f_frsize))
}

/// Reads the audit log to its end, in pages.
#[derive(Debug)]
pub struct AuditExport {
    control: Control,
    filter: AuditFilter,
    cursor: Option<u64>,
    over: bool,
}

impl AuditExport {
    /// The next entries, newest first; `None` at the end.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn next(&mut self) -> Result<Option<Vec<AuditEntry>>, Problem> {
        if self.over {
            return Ok(None);
        }
        let store = &self.control.inner.store;
        let found = store.search_audit(&self.filter, self.cursor, EXPORTED).await;
        let found = found.map_err(|e| store_problem(&e))?;
        self.over = found.len() < EXPORTED;
        self.cursor = found.last().map(|e| e.id);
        Ok((!found.is_empty()).then_some(found))
    }
}

impl Control {
    /// What takes how much room.
    ///
    /// # Errors
    /// `forbidden`, or if the store or the log store fails.
    pub async fn storage(&self, who: &Principal) -> Result<StorageView, Problem> {
        who.require(Permission::Administer)?;
        let now = self.inner.clock.wall();
        // One at a time measures; the others wait for what it finds.
        let mut known = self.inner.observe.storage.lock().await;
        if let Some(view) = known.as_ref().filter(|v| now.since(v.measured_at) < FRESH) {
            return Ok(view.clone());
        }
        let stocks = self.inner.store.stocks().await.map_err(|e| store_problem(&e))?;
        let logs = self.inner.logs.stored().await.map_err(|e| super::lines::log_problem(&e))?;
        let (total, free) = disk(&self.inner.options.data_dir);
        let limits = self.services().ok().map(|s| *s.limits());
        let view = StorageView {
            measured_at: now,
            database: stocks.database,
            logs: Stock { count: logs.len() as u64, bytes: logs.iter().map(|l| l.disk_bytes).sum() },
            archived_logs: logs.iter().filter(|l| l.archived).count() as u64,
            artifacts: stocks.artifacts,
            caches: stocks.caches,
            disk_total_bytes: total,
            disk_free_bytes: free,
            retention: Retention {
                runs_seconds: self.inner.options.retention.map(|d| d.as_secs()),
                artifacts_seconds: limits.as_ref().map(|l| l.max_retention.as_secs()),
                caches_idle_seconds: limits.as_ref().map(|l| l.cache_idle.as_secs()),
                caches_bytes_per_repository: limits.as_ref().map(|l| l.cache_bytes),
            },
        };
        *known = Some(view.clone());
        Ok(view)
    }

    /// Audit entries that match, newest first.
    ///
    /// # Errors
    /// `forbidden`, `bad_request` for a cursor that is not ours.
    pub async fn search_audit(
        &self,
        who: &Principal,
        filter: &AuditFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<AuditEntry>, Problem> {
        who.require(Permission::Administer)?;
        let cursor = cursor
            .map(str::parse::<u64>)
            .transpose()
            .map_err(|_| Problem::new(Code::BadRequest, "the cursor is not one that this server gave"))?;
        let limit = limit.clamp(1, MAX_PAGE);
        let found = self.inner.store.search_audit(filter, cursor, limit + 1).await;
        let mut items = found.map_err(|e| store_problem(&e))?;
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = more.then(|| items.last().map(|e| e.id.to_string())).flatten();
        Ok(Page { items, next_cursor })
    }

    /// All audit entries that match, newest first, page by page.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn export_audit(&self, who: &Principal, filter: AuditFilter) -> Result<AuditExport, Problem> {
        who.require(Permission::Administer)?;
        Ok(AuditExport { control: self.clone(), filter, cursor: None, over: false })
    }

    /// Artifacts of all runs, newest first.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn all_artifacts(
        &self,
        who: &Principal,
        project: Option<&str>,
        name: Option<&str>,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<ArtifactList, Problem> {
        who.require(Permission::Read)?;
        let found = self.inner.store.all_artifacts(project, name, cursor, limit).await;
        let rows = found.map_err(|e| store_problem(&e))?;
        let next_cursor = (rows.len() == limit).then(|| rows.last().map(|a| a.id.to_string())).flatten();
        Ok(ArtifactList { artifacts: rows.into_iter().map(artifact_view).collect(), next_cursor })
    }

    /// How the server is.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn health(&self, who: &Principal) -> Result<HealthView, Problem> {
        who.require(Permission::Read)?;
        let inner = &self.inner;
        let now = inner.clock.wall();
        let statistics = inner.store.statistics();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds for people")]
        let flush_ms = match statistics.commits {
            0 => 0.0,
            commits => statistics.commit_micros as f64 / commits as f64 / 1e3,
        };
        #[expect(clippy::cast_precision_loss, reason = "milliseconds for people")]
        let flush_now_ms = match inner.observe.flush.load(Relaxed) {
            0 => None,
            micros => Some(micros as f64 / 1e3),
        };
        let schema = inner.store.schema_version().await;
        let components = self.components(schema.is_ok(), flush_now_ms).await;
        Ok(HealthView {
            state: components
                .iter()
                .map(|c| c.state)
                .filter(|s| *s != ComponentState::Off)
                .max()
                .unwrap_or(ComponentState::Ok),
            version: VERSION.to_owned(),
            schema: schema.unwrap_or(0),
            started_at: inner.observe.started_at,
            uptime_seconds: now.since(inner.observe.started_at).as_secs(),
            commits: statistics.commits,
            operations: statistics.operations,
            flush_ms,
            flush_now_ms,
            components,
        })
    }

    async fn components(&self, store: bool, flush: Option<f64>) -> Vec<ComponentHealth> {
        use ComponentState::{Degraded, Failing, Off, Ok};
        let mut all = Vec::new();
        let mut say = |name: &str, state, words: String| {
            all.push(ComponentHealth { name: name.to_owned(), state, words });
        };
        match (store, flush) {
            (false, _) => say("store", Failing, "the database does not answer".to_owned()),
            (true, Some(ms)) if ms > SLOW_FLUSH => {
                say("store", Degraded, format!("a write takes {ms:.0} ms: the disk is slow or busy"));
            }
            (true, _) => say("store", Ok, "the database answers".to_owned()),
        }
        let fleet = self.look_at_fleet().await;
        match &fleet {
            Err(problem) => say("scheduler", Failing, problem.detail.clone()),
            std::result::Result::Ok((_, load)) => {
                let waiting: u64 = load.load.queues.values().map(|q| q.waiting).sum();
                let running: u64 = load.load.queues.values().map(|q| q.running).sum();
                say("scheduler", Ok, format!("{waiting} jobs wait, {running} run"));
            }
        }
        let statistics = self.inner.logs.statistics();
        match statistics.corrupt {
            0 => say("logs", Ok, "every log that was read was whole".to_owned()),
            n => {
                say("logs", Degraded, format!("{n} reads of logs found damage: the server's log names them"))
            }
        }
        let (total, free) = disk(&self.inner.options.data_dir);
        match free.saturating_mul(100).checked_div(total) {
            None => say("disk", Degraded, "the size of the disk is not known".to_owned()),
            Some(share) if share < SCARCE => {
                say("disk", Degraded, format!("{share} % of the disk is free: make room before it is full"));
            }
            Some(share) => say("disk", Ok, format!("{share} % of the disk is free")),
        }
        match self.services() {
            Err(_) => say("objects", Off, "this server offers no artifacts and caches".to_owned()),
            std::result::Result::Ok(_) => say("objects", Ok, "artifacts and caches are offered".to_owned()),
        }
        if let std::result::Result::Ok((runners, _)) = &fleet {
            let online = runners.iter().filter(|r| r.state != fleetfoot_model::RunnerState::Offline).count();
            let errors = runners.iter().filter(|r| r.state == fleetfoot_model::RunnerState::Error).count();
            let words = format!("{online} of {} runners are connected", runners.len());
            match errors {
                _ if runners.is_empty() => say("runners", Off, "there are no runners yet".to_owned()),
                0 if online == 0 => say("runners", Degraded, "no runner is connected".to_owned()),
                0 => say("runners", Ok, words),
                n => say("runners", Degraded, format!("{words}, {n} report an error")),
            }
        }
        if let std::result::Result::Ok(rows) = self.inner.store.repositories().await {
            let broken: Vec<&str> =
                rows.iter().filter(|r| r.error.is_some()).map(|r| r.name.as_str()).take(5).collect();
            match broken.is_empty() {
                _ if rows.is_empty() => say("repositories", Off, "no repository is connected".to_owned()),
                true => say("repositories", Ok, format!("{} repositories are connected", rows.len())),
                false => say("repositories", Degraded, format!("cannot be reached: {}", broken.join(", "))),
            }
        }
        all
    }
}
