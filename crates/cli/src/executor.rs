//! The engine with the process boundary as the executor of a runner. Maps one
//! trait to the other and decides nothing.

use crate::error::{CliError, Result};
use async_trait::async_trait;
use bytes::Bytes;
use fleetfoot_driver::Driver;
use fleetfoot_driver_process::{ProcessDriver, ProcessOptions};
use fleetfoot_engine::{Engine, EngineConfig, Sink};
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::logs::Stream;
use fleetfoot_model::sync::{Assignment, AttemptResult, StepReport};
use fleetfoot_model::{AttemptRef, Timestamp};
use fleetfoot_runner::executor::{AttemptSink, Executor};
use fleetfoot_runner::{Identity, RunnerConfig};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Runs attempts as processes of this user.
pub(crate) struct EngineExecutor {
    engine: Engine,
    driver: ProcessDriver,
}

impl EngineExecutor {
    /// As the configuration of a runner says.
    pub(crate) fn for_runner(config: &RunnerConfig, identity: &Identity) -> Result<Self> {
        let host = identity.server.split("://").last().unwrap_or_default();
        let mut engine = EngineConfig::new(config.work_dir.join("jobs"));
        engine.tool_cache = config.work_dir.join("tools");
        engine.runner_name.clone_from(&identity.name);
        engine.max_log_bytes = config.max_log_bytes;
        engine.job_started_hook.clone_from(&config.job_started_hook);
        engine.job_completed_hook.clone_from(&config.job_completed_hook);
        engine.limits_cap = config.limits.clone();
        Self::new(engine, format!("r{}-{host}", identity.id))
    }

    /// `tag` tells the processes of this runner from those of others, also after a restart.
    pub(crate) fn new(config: EngineConfig, tag: String) -> Result<Self> {
        let driver = ProcessDriver::new(ProcessOptions { tag, ..ProcessOptions::default() })
            .map_err(|e| CliError::machine("jobs cannot be run as processes here").because(&e))?;
        Ok(Self { engine: Engine::new(config), driver })
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
        Box::pin(self.engine.run(&assignment, &self.driver, Arc::new(Passed(sink)), cancel, kill)).await
    }

    async fn sweep(&self, attempt: AttemptRef) -> Result<(), String> {
        self.driver.sweep(attempt).await.map_err(|e| e.to_string())
    }
}

/// The runner's sink as the engine's.
struct Passed(Arc<dyn AttemptSink>);

#[async_trait]
impl Sink for Passed {
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
