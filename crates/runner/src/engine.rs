//! The engine as the daemon's executor: the only file that knows the
//! engine. It adds what a crash leaves to neither of them: the directories of
//! attempts of a dead process.

use crate::boundaries::{Boundaries, BoundaryPlan, Offer, Refused};
use crate::config::RunnerConfig;
use crate::executor::{AttemptSink, Executor};
use crate::identity::Identity;
use async_trait::async_trait;
use bytes::Bytes;
use fleetfoot_driver::DriverError;
use fleetfoot_engine::{Engine, EngineConfig, Sink};
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::ids::AttemptRef;
use fleetfoot_model::logs::Stream;
use fleetfoot_model::state::{Conclusion, Reason};
use fleetfoot_model::sync::{Assignment, AttemptResult, StepReport};
use fleetfoot_model::time::Timestamp;
use std::collections::HashSet;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long the removal of what belongs to nobody may hold up new jobs.
const TIDY_PATIENCE: Duration = Duration::from_secs(10);

/// Executes attempts with an engine, each inside the boundary that is chosen for it.
pub struct EngineExecutor {
    engine: Engine,
    boundaries: Arc<Boundaries>,
    /// Attempts under way. Whoever removes what belongs to nobody holds it meanwhile, so that no
    /// container is made in between that would look like nobody's.
    living: Mutex<HashSet<AttemptRef>>,
}

impl EngineExecutor {
    /// From its parts.
    #[must_use]
    pub fn new(engine: Engine, boundaries: Boundaries) -> Self {
        Self { engine, boundaries: Arc::new(boundaries), living: Mutex::default() }
    }

    /// As the configuration of a runner says.
    ///
    /// # Errors
    /// If not even processes can be started on this machine.
    pub fn of_runner(config: &RunnerConfig, identity: &Identity) -> Result<Self, DriverError> {
        let boundaries = Boundaries::new(BoundaryPlan::of_runner(config, identity))?;
        Ok(Self::new(Engine::new(engine_config(config, &identity.name)), boundaries))
    }

    /// Whether jobs that ask for nothing can be run.
    ///
    /// # Errors
    /// [`Refused`] with what is missing.
    pub async fn ready(&self) -> Result<(), Refused> {
        self.boundaries.ready().await
    }

    async fn run_within(
        &self,
        assignment: &Assignment,
        sink: Arc<dyn AttemptSink>,
        cancel: CancellationToken,
        kill: CancellationToken,
    ) -> AttemptResult {
        match self.boundaries.choose(&assignment.spec).await {
            Ok(fence) => {
                Box::pin(self.engine.run(assignment, &fence, Arc::new(Adapter(sink)), cancel, kill)).await
            }
            Err(refused) => AttemptResult {
                reason: Some(Reason::SetUpFailed),
                message: Some(refused.message),
                ..AttemptResult::new(Conclusion::Failure)
            },
        }
    }
}

/// What the engine needs of a runner's configuration.
#[must_use]
pub fn engine_config(config: &RunnerConfig, runner_name: &str) -> EngineConfig {
    let mut engine = EngineConfig::new(config.work_dir.join("jobs"));
    engine.tool_cache = config.work_dir.join("tools");
    runner_name.clone_into(&mut engine.runner_name);
    engine.max_log_bytes = config.max_log_bytes;
    engine.job_started_hook.clone_from(&config.job_started_hook);
    engine.job_completed_hook.clone_from(&config.job_completed_hook);
    engine.limits_cap = config.limits.clone();
    engine.separate_stderr = config.separate_stderr;
    engine.node.clone_from(&config.node);
    engine.actions.builtin_checkout = !config.fetch_checkout;
    let cache = &mut engine.actions.cache;
    cache.dir.clone_from(&config.action_cache);
    cache.mirror.clone_from(&config.action_mirror);
    if let Some(url) = &config.action_url {
        cache.base_url.clone_from(url);
    }
    cache.allowed_owners.clone_from(&config.action_owners);
    cache.sha_only = config.action_sha_only;
    cache.env = proxy_variables();
    if let Some(proxy) = &config.proxy {
        cache.git_config.push(("http.proxy".to_owned(), proxy.clone()));
    }
    for name in &config.pass_env {
        if let Ok(value) = std::env::var(name)
            && !engine.passed_env.iter().any(|(known, _)| known == name)
        {
            engine.passed_env.push((name.clone(), value));
        }
    }
    engine
}

/// The variables by which git finds its way out of a closed network.
#[must_use]
pub fn proxy_variables() -> Vec<(String, String)> {
    let names = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"];
    names
        .iter()
        .flat_map(|name| [(*name).to_owned(), name.to_ascii_lowercase()])
        .filter_map(|name| Some((name.clone(), std::env::var(&name).ok()?)))
        .collect()
}

struct Adapter(Arc<dyn AttemptSink>);

#[async_trait]
impl Sink for Adapter {
    async fn log(&self, step: u16, stream: Stream, time: Timestamp, bytes: Bytes) {
        self.0.log(step, stream, time, bytes).await;
    }

    fn steps(&self, steps: &[StepReport]) {
        self.0.steps(steps);
    }

    fn started(&self, pid: u32, start_ticks: u64) {
        self.0.started(pid, start_ticks);
    }
}

#[async_trait]
impl Executor for EngineExecutor {
    fn boundary(&self) -> Boundary {
        self.boundaries.offer().borrow().boundary
    }

    fn offer(&self) -> Option<watch::Receiver<Offer>> {
        Some(self.boundaries.offer())
    }

    async fn discover(&self) {
        Box::pin(self.boundaries.discover()).await;
    }

    async fn tidy(&self) -> Vec<String> {
        self.boundaries.look_again().await;
        let Some(engine) = self.boundaries.containers().await else { return Vec::new() };
        let living = self.living.lock().await;
        let attempts: Vec<AttemptRef> = living.iter().copied().collect();
        // New jobs wait meanwhile: an engine that hangs must not hold them up for long.
        match timeout(TIDY_PATIENCE, engine.sweep_except(&attempts)).await {
            Ok(Ok(removed)) => removed,
            Ok(Err(error)) => {
                let error = crate::boundaries::words(&error);
                tracing::warn!(%error, "containers that belong to nobody cannot be removed");
                Vec::new()
            }
            Err(_) => {
                tracing::warn!("the container engine takes too long to remove what belongs to nobody");
                Vec::new()
            }
        }
    }

    async fn leave(&self) {
        self.boundaries.leave().await;
    }

    async fn run(
        &self,
        assignment: Arc<Assignment>,
        sink: Arc<dyn AttemptSink>,
        cancel: CancellationToken,
        kill: CancellationToken,
    ) -> AttemptResult {
        self.living.lock().await.insert(assignment.attempt);
        let result = Box::pin(self.run_within(&assignment, sink, cancel, kill)).await;
        self.living.lock().await.remove(&assignment.attempt);
        result
    }

    async fn sweep(&self, attempt: AttemptRef) -> Result<(), String> {
        self.boundaries.sweep(attempt).await?;
        let dir = self.engine.config().work_dir.join(attempt.to_string());
        let shown = dir.display().to_string();
        tokio::task::spawn_blocking(move || remove(&dir))
            .await
            .map_err(io::Error::other)
            .flatten()
            .map_err(|e| format!("{shown} cannot be removed: {e}"))
    }

    async fn close(&self) {
        self.boundaries.close().await;
    }

    fn leftovers(&self) -> Vec<AttemptRef> {
        let Ok(entries) = std::fs::read_dir(&self.engine.config().work_dir) else { return Vec::new() };
        entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect()
    }
}

/// Removes a directory also where a job forbade it by modes. Links are not followed.
fn remove(path: &Path) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    gone(std::fs::remove_dir_all(path)).or_else(|_| {
        let mut open = vec![path.to_owned()];
        while let Some(dir) = open.pop() {
            if std::fs::symlink_metadata(&dir).is_ok_and(|m| m.is_dir()) {
                let _ = std::fs::set_permissions(&dir, Permissions::from_mode(0o700));
                let entries = std::fs::read_dir(&dir).into_iter().flatten().filter_map(Result::ok);
                open.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
            }
        }
        gone(std::fs::remove_dir_all(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PartialConfig;

    #[test]
    fn settings_of_actions_reach_the_engine() {
        let set = [
            ("WORK_DIR", "/var/lib/r"),
            ("ACTION_MIRROR", "/srv/actions"),
            ("ACTION_URL", "https://forge.example.com"),
            ("ACTION_OWNERS", "actions, octo-org/deploy"),
            ("ACTION_SHA_ONLY", "yes"),
            ("NODE", "/opt/node"),
            ("SEPARATE_STDERR", "true"),
        ];
        let read = |name: &str| {
            let short = name.strip_prefix("FLEETFOOT_RUNNER_")?;
            set.iter().find(|(n, _)| *n == short).map(|(_, value)| (*value).to_owned())
        };
        let config = PartialConfig::from_env(read).unwrap().resolve().unwrap();
        let engine = engine_config(&config, "r");
        let cache = &engine.actions.cache;
        assert_eq!(cache.dir, std::path::Path::new("/var/lib/r/_actions"));
        assert_eq!(cache.mirror.as_deref(), Some("/srv/actions"));
        assert_eq!(cache.base_url, "https://forge.example.com");
        assert_eq!(cache.allowed_owners, ["actions", "octo-org/deploy"]);
        assert!(cache.sha_only && engine.separate_stderr);
        assert_eq!(engine.node.as_deref(), Some(std::path::Path::new("/opt/node")));
    }
}
