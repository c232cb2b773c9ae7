//! The engine as the daemon's executor: the only file that knows engine and
//! driver. It adds what a crash leaves to neither of them: the directories of
//! attempts of a dead process.

use crate::config::RunnerConfig;
use crate::executor::{AttemptSink, Executor};
use crate::identity::Identity;
use async_trait::async_trait;
use bytes::Bytes;
use fleetfoot_driver::{Driver, DriverError};
use fleetfoot_driver_process::{ProcessDriver, ProcessOptions};
use fleetfoot_engine::{Engine, EngineConfig, Fence, Sink};
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::ids::AttemptRef;
use fleetfoot_model::logs::Stream;
use fleetfoot_model::sync::{Assignment, AttemptResult, StepReport};
use fleetfoot_model::time::Timestamp;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Executes attempts with an engine inside the boundary of a driver.
pub struct EngineExecutor {
    engine: Engine,
    driver: Arc<dyn Driver>,
}

impl EngineExecutor {
    /// From its parts.
    #[must_use]
    pub fn new(engine: Engine, driver: Arc<dyn Driver>) -> Self {
        Self { engine, driver }
    }

    /// As the configuration of a runner says, with the process boundary.
    ///
    /// # Errors
    /// If the boundary cannot be made on this machine.
    pub fn process(config: &RunnerConfig, identity: &Identity) -> Result<Self, DriverError> {
        let options = ProcessOptions { tag: tag(identity), ..ProcessOptions::default() };
        Ok(Self::new(
            Engine::new(engine_config(config, &identity.name)),
            Arc::new(ProcessDriver::new(options)?),
        ))
    }
}

/// Tells this runner's processes from those of others on the machine; the same after a restart.
fn tag(identity: &Identity) -> String {
    // The id comes first: the tag is cut at 64 characters, and a long address must not swallow it.
    let host = identity.server.split("://").last().unwrap_or_default();
    format!("r{}-{host}", identity.id)
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
        self.driver.boundary()
    }

    async fn run(
        &self,
        assignment: Arc<Assignment>,
        sink: Arc<dyn AttemptSink>,
        cancel: CancellationToken,
        kill: CancellationToken,
    ) -> AttemptResult {
        let sink = Arc::new(Adapter(sink));
        Box::pin(self.engine.run(&assignment, &Fence::of(self.driver.clone()), sink, cancel, kill)).await
    }

    async fn sweep(&self, attempt: AttemptRef) -> Result<(), String> {
        self.driver.sweep(attempt).await.map_err(|e| e.to_string())?;
        let dir = self.engine.config().work_dir.join(attempt.to_string());
        let shown = dir.display().to_string();
        tokio::task::spawn_blocking(move || remove(&dir))
            .await
            .map_err(io::Error::other)
            .flatten()
            .map_err(|e| format!("{shown} cannot be removed: {e}"))
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
