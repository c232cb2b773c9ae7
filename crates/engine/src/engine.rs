//! One attempt from the outside: set up, run, clean up, report. Whatever
//! happens inside, the result is an [`AttemptResult`] and nothing of the
//! attempt remains on the machine.

use crate::actions::Actions;
use crate::attempt::{Attempt, Parts};
use crate::clock;
use crate::config::EngineConfig;
use crate::environment::Environment;
use crate::fence::Fence;
use crate::flow::{Flow, Verdict};
use crate::frame::Frame;
use crate::mask::Masker;
use crate::outcome::{driver_message, driver_reason};
use crate::output::Log;
use crate::secrets;
use crate::sink::Sink;
use crate::workspace::{self, Workspace};
use fleetfoot_actions::ActionCache;
use fleetfoot_driver::CellRequest;
use fleetfoot_model::boundary::BoundaryRecord;
use fleetfoot_model::spec::Limits;
use fleetfoot_model::state::{Conclusion, Reason};
use fleetfoot_model::sync::{Assignment, AttemptResult};
use indexmap::IndexMap;
use std::io;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Asks for debug messages of steps.
const STEP_DEBUG: &str = "ACTIONS_STEP_DEBUG";

/// Runs attempts. One engine serves all slots of a runner.
#[derive(Clone)]
pub struct Engine {
    config: Arc<EngineConfig>,
    actions: ActionCache,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine with this configuration.
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        let actions = ActionCache::new(config.actions.cache.clone());
        Self { config: Arc::new(config), actions }
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
        fence: &Fence,
        sink: Arc<dyn Sink>,
        cancel: CancellationToken,
        kill: CancellationToken,
    ) -> AttemptResult {
        let started = clock::now();
        let masker = Arc::new(Masker::new(assignment.secrets.values().map(String::as_str)));
        masker.add(&assignment.job_token);
        if let Some(services) = &assignment.services {
            masker.add(&services.runtime_token);
        }
        let secrets = secrets::visible(assignment);
        // The secrets of the run are masked above even where the job sees others made of them: a part of
        // what it sees may be one of those.
        for secret in secrets.iter().flat_map(IndexMap::values) {
            masker.add(secret);
        }
        let log = Arc::new(Log::new(sink.clone(), masker, self.config.max_log_bytes));
        let mut boundary = BoundaryRecord::default();
        let verdict = match &secrets {
            Ok(secrets) => {
                let place = Place { assignment, secrets, fence, sink: &sink, log: &log };
                Box::pin(self.in_workspace(place, cancel, kill, &mut boundary)).await
            }
            Err(message) => Verdict::failure(Reason::BadSpecification, message.clone()),
        };
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
            environment_url: verdict.environment_url,
        }
    }

    /// The configuration for one job: it may ask for debug messages as at GitHub, by a secret or variable.
    fn config_for(&self, assignment: &Assignment, secrets: &IndexMap<String, String>) -> Arc<EngineConfig> {
        let variable = assignment.contexts.get("vars").and_then(|v| v.get(STEP_DEBUG)?.as_str());
        let asked = secrets.get(STEP_DEBUG).map(String::as_str).or(variable);
        if self.config.debug || asked.is_none_or(|a| !a.eq_ignore_ascii_case("true")) {
            return self.config.clone();
        }
        Arc::new(EngineConfig { debug: true, ..(*self.config).clone() })
    }

    async fn in_workspace(
        &self,
        place: Place<'_>,
        cancel: CancellationToken,
        kill: CancellationToken,
        boundary: &mut BoundaryRecord,
    ) -> Verdict {
        let Place { assignment, secrets, fence, sink, log } = place;
        let config = self.config_for(assignment, secrets);
        let name = assignment.attempt.to_string();
        let workspace = match Workspace::create(&self.config.work_dir, &name) {
            Ok(workspace) => workspace,
            Err(e) => return Verdict::failure(io_reason(&e), format!("cannot make the workspace: {e}")),
        };
        if let Err(e) = std::fs::create_dir_all(&self.config.tool_cache) {
            tracing::warn!(error = %e, "cannot make the tool cache");
        }
        let request = CellRequest {
            limits: capped(&assignment.spec.limits, &self.config.limits_cap),
            ..CellRequest::new(assignment.attempt, workspace.workspace.clone(), workspace.temp.clone())
        };
        let verdict = match fence.driver.prepare(request).await {
            Err(e) => Verdict::failure(
                driver_reason(&e),
                format!("cannot prepare the boundary: {}", driver_message(&e)),
            ),
            Ok(cell) => {
                *boundary = cell.record();
                let mut environment = Environment::new(&config, assignment, secrets, &workspace, &*cell);
                let frame = Frame::new(std::mem::take(&mut environment.contexts), assignment.env.clone());
                let attempt = Attempt::new(Parts {
                    config: &config,
                    assignment,
                    secrets,
                    cell: &*cell,
                    sink: sink.clone(),
                    log: log.clone(),
                    workspace: &workspace,
                    environment,
                    actions: Actions::new(&config.actions, &self.actions),
                    cancel,
                    kill,
                });
                let verdict = Box::pin(Flow::new(&attempt, frame).run()).await;
                cell.kill_all().await;
                attempt.close_leaks().await;
                if let Err(e) = cell.tear_down().await {
                    let message = driver_message(&e);
                    tracing::error!(attempt = %name, %message, "the cell could not be removed");
                    log.say(verdict.last_step, &format!("Warning: {message}")).await;
                }
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

/// What one attempt is about, and where it goes.
#[derive(Clone, Copy)]
struct Place<'a> {
    assignment: &'a Assignment,
    secrets: &'a IndexMap<String, String>,
    fence: &'a Fence,
    sink: &'a Arc<dyn Sink>,
    log: &'a Arc<Log>,
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
