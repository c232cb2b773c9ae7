//! One attempt from the outside: set up, run, clean up, report. Whatever
//! happens inside, the result is an [`AttemptResult`] and nothing of the
//! attempt remains on the machine.

use crate::attempt::{Attempt, Verdict};
use crate::clock;
use crate::config::EngineConfig;
use crate::environment::Environment;
use crate::mask::Masker;
use crate::outcome::{driver_message, driver_reason};
use crate::output::Log;
use crate::sink::Sink;
use crate::workspace::{self, Workspace};
use fleetfoot_driver::{CellRequest, Driver};
use fleetfoot_model::boundary::BoundaryRecord;
use fleetfoot_model::spec::Limits;
use fleetfoot_model::state::{Conclusion, Reason};
use fleetfoot_model::sync::{Assignment, AttemptResult};
use std::io;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Runs attempts. One engine serves all slots of a runner.
#[derive(Clone, Debug)]
pub struct Engine {
    config: Arc<EngineConfig>,
}

impl Engine {
    /// An engine with this configuration.
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        Self { config: Arc::new(config) }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Runs an attempt to its end.
    ///
    /// `cancel` ends the current step by the ladder; steps whose condition
    /// holds then still run. `kill` (the attempt is fenced) ends everything at
    /// once. The answer comes in bounded time after either.
    pub async fn run(
        &self,
        assignment: &Assignment,
        driver: &dyn Driver,
        sink: Arc<dyn Sink>,
        cancel: CancellationToken,
        kill: CancellationToken,
    ) -> AttemptResult {
        let started = clock::now();
        let masker = Arc::new(Masker::new(assignment.secrets.values().map(String::as_str)));
        masker.add(&assignment.job_token);
        let log = Arc::new(Log::new(sink.clone(), masker, self.config.max_log_bytes));
        let mut boundary = BoundaryRecord::default();
        let verdict =
            Box::pin(self.in_workspace(assignment, driver, &sink, &log, cancel, kill, &mut boundary)).await;
        AttemptResult {
            conclusion: verdict.conclusion,
            reason: verdict.reason,
            message: verdict.message,
            exit_code: verdict.exit_code,
            outputs: verdict.outputs,
            annotations: verdict.annotations,
            summaries: verdict.summaries,
            log_bytes: log.written(),
            started_at: Some(started),
            finished_at: Some(clock::now()),
            boundary,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the two halves of one function")]
    async fn in_workspace(
        &self,
        assignment: &Assignment,
        driver: &dyn Driver,
        sink: &Arc<dyn Sink>,
        log: &Arc<Log>,
        cancel: CancellationToken,
        kill: CancellationToken,
        boundary: &mut BoundaryRecord,
    ) -> Verdict {
        let name = assignment.attempt.to_string();
        let workspace = match Workspace::create(&self.config.work_dir, &name) {
            Ok(workspace) => workspace,
            Err(e) => return Verdict::failure(io_reason(&e), format!("cannot make the workspace: {e}")),
        };
        if let Err(e) = std::fs::create_dir_all(&self.config.tool_cache) {
            tracing::warn!(error = %e, "cannot make the tool cache");
        }
        let request = CellRequest {
            attempt: assignment.attempt,
            workspace: workspace.workspace.clone(),
            temp: workspace.temp.clone(),
            limits: capped(&assignment.spec.limits, &self.config.limits_cap),
        };
        let verdict = match driver.prepare(request).await {
            Err(e) => Verdict::failure(
                driver_reason(&e),
                format!("cannot prepare the boundary: {}", driver_message(&e)),
            ),
            Ok(cell) => {
                *boundary = cell.record();
                let environment = Environment::new(&self.config, assignment, &workspace, &*cell);
                let mut attempt = Attempt::new(
                    &self.config,
                    assignment,
                    &*cell,
                    sink.clone(),
                    log.clone(),
                    &workspace,
                    environment,
                    cancel,
                    kill,
                );
                let mut verdict = attempt.run().await;
                cell.kill_all().await;
                attempt.close_leaks().await;
                if let Err(e) = cell.tear_down().await {
                    let message = driver_message(&e);
                    tracing::error!(attempt = %name, %message, "the cell could not be removed");
                    log.say(verdict.last_step, &format!("Warning: {message}")).await;
                }
                verdict.annotations.append(&mut attempt.take_annotations());
                verdict
            }
        };
        let root = workspace.root.clone();
        match tokio::task::spawn_blocking(move || workspace::remove(&root)).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => {
                let message = format!("cannot remove '{}': {e}", workspace.root.display());
                tracing::error!(attempt = %name, %message);
                log.say(verdict.last_step, &format!("Warning: {message}")).await;
            }
            Err(e) => {
                tracing::error!(attempt = %name, error = %e, "the removal of the workspace was cut short")
            }
        }
        verdict
    }
}

fn io_reason(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Reason::DiskFull,
        _ => Reason::SetUpFailed,
    }
}

/// What is in force: what was asked for, or the most that the runner allows. A job that asks for more
/// is not given to this runner; if it comes nevertheless (the configuration changed meanwhile), it gets
/// what is allowed, and the record of its boundary says so.
fn capped(asked: &Limits, cap: &Limits) -> Limits {
    fn least<T: PartialOrd>(asked: Option<T>, cap: Option<T>) -> Option<T> {
        match (asked, cap) {
            (Some(a), Some(c)) => Some(if a < c { a } else { c }),
            (a, c) => a.or(c),
        }
    }
    Limits {
        cpus: least(asked.cpus, cap.cpus),
        memory_bytes: least(asked.memory_bytes, cap.memory_bytes),
        pids: least(asked.pids, cap.pids),
    }
}

impl Verdict {
    /// The attempt did not even begin.
    fn failure(reason: Reason, message: String) -> Self {
        Self { reason: Some(reason), message: Some(message), ..Self::new(Conclusion::Failure) }
    }
}
