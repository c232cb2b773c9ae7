//! One attempt from the outside: set up, run, clean up, report. Whatever
//! happens inside, the result is an [`AttemptResult`] and nothing of the
//! attempt remains on the machine.

use crate::actions::{self, Actions};
use crate::attempt::{Attempt, Parts};
use crate::clock;
use crate::config::EngineConfig;
use crate::containers::{self, Asked, JobContainers};
use crate::environment::Environment;
use crate::fence::Fence;
use crate::flow::{Flow, Verdict};
use crate::frame::Frame;
use crate::host::HostCell;
use crate::mask::Masker;
use crate::outcome::{Outcome, driver_message};
use crate::output::Log;
use crate::secrets;
use crate::sink::Sink;
use crate::workspace::{self, Workspace};
use fleetfoot_actions::ActionCache;
use fleetfoot_driver::CellRequest;
use fleetfoot_model::boundary::{Boundary, BoundaryRecord};
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
        let config = self.config_for(place.assignment, place.secrets);
        let (name, log) = (place.assignment.attempt.to_string(), place.log);
        let workspace = match Workspace::create(&self.config.work_dir, &name) {
            Ok(workspace) => workspace,
            Err(e) => return Verdict::failure(io_reason(&e), format!("cannot make the workspace: {e}")),
        };
        let verdict = Box::pin(self.in_place(place, &config, &workspace, cancel, kill, boundary)).await;
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

    /// Makes the place where the job runs, runs it there, and removes the place.
    async fn in_place(
        &self,
        place: Place<'_>,
        config: &EngineConfig,
        workspace: &Workspace,
        cancel: CancellationToken,
        kill: CancellationToken,
        boundary: &mut BoundaryRecord,
    ) -> Verdict {
        let Place { assignment, secrets, fence, sink, log } = place;
        let spec = &assignment.spec;
        let boundary_of_driver = fence.driver.boundary();
        let with_containers = spec.container.is_some() || !spec.services.is_empty() || fence.image.is_some();
        let actions = Actions::new(&config.actions, &self.actions);
        let node = actions.may_use_node(&spec.steps).then(|| actions::node(config).ok()).flatten();
        let uses_actions = actions.uses_any(&spec.steps);
        let needs_home = uses_actions || with_containers || boundary_of_driver == Boundary::Container;
        if let Err(e) = prepare_directories(config, workspace, uses_actions, needs_home) {
            return Verdict::failure(io_reason(&e), format!("cannot make the directories of the job: {e}"));
        }
        let request = CellRequest {
            limits: capped(&spec.limits, &self.config.limits_cap),
            ..CellRequest::new(assignment.attempt, workspace.workspace.clone(), workspace.temp.clone())
        };
        // What the containers of the job see; none is made before one is needed.
        let seen = CellRequest {
            mounts: containers::mounts(config, workspace, node.as_deref(), true),
            ..request.clone()
        };
        let request = CellRequest {
            mounts: match boundary_of_driver {
                Boundary::Process => Vec::new(),
                other => containers::mounts(config, workspace, node.as_deref(), other == Boundary::Container),
            },
            ..request
        };
        // Until there is a cell, the job is seen from outside.
        let mut environment = match with_containers {
            true => Environment::new(config, assignment, secrets, workspace, &HostCell, None),
            false => Environment::default(),
        };
        let mut frame = Frame::new(std::mem::take(&mut environment.contexts), assignment.env.clone());
        let attempt = Attempt::new(Parts {
            config,
            assignment,
            secrets,
            cell: &HostCell,
            sink: sink.clone(),
            log: log.clone(),
            workspace,
            environment,
            actions,
            containers: JobContainers::new(fence.containers.clone(), seen),
            cancel,
            kill,
        });
        let asked = match with_containers {
            true => attempt.evaluate_env(&mut frame).and_then(|()| attempt.asked(fence, &frame)),
            false => Ok(Asked::default()),
        };
        let placed = match asked {
            Ok(asked) => match attempt.plan(!asked.is_empty()) {
                Ok(()) => attempt.place(fence, asked, request, node.as_deref()).await,
                Err(message) => Err(Box::new(Outcome::failure(Reason::BadSpecification, message))),
            },
            Err(outcome) => Err(outcome),
        };
        let placed = match placed {
            Ok(placed) => placed,
            Err(outcome) => {
                attempt.skip_all();
                attempt.stop_containers(true).await;
                return attempt.not_begun(*outcome);
            }
        };
        let cell = placed.cell;
        *boundary = cell.record();
        // A driver may have an image of its own, whose variables it does not tell.
        let image_env = placed.image_env.or_else(|| boundary.image.as_ref().map(|_| Vec::new()));
        let image_env = image_env.as_deref();
        let mut environment = Environment::new(config, assignment, secrets, workspace, &*cell, image_env);
        environment.contexts.insert("job".into(), placed.job.into());
        let frame = Frame::new(std::mem::take(&mut environment.contexts), assignment.env.clone());
        let attempt = attempt.settled(&*cell, environment, image_env.is_some());
        let verdict = Box::pin(Flow::new(&attempt, frame).run()).await;
        cell.kill_all().await;
        attempt.close_leaks().await;
        if let Err(e) = cell.tear_down().await {
            let message = driver_message(&e);
            tracing::error!(attempt = %assignment.attempt, %message, "the cell could not be removed");
            log.say(verdict.last_step, &format!("Warning: {message}")).await;
        }
        attempt.stop_containers(!verdict.conclusion.is_ok()).await;
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

/// Makes what the job and its containers are to see, as far as this job may need it.
fn prepare_directories(
    config: &EngineConfig,
    workspace: &Workspace,
    uses_actions: bool,
    needs_home: bool,
) -> io::Result<()> {
    if let Err(e) = std::fs::create_dir_all(&config.tool_cache) {
        tracing::warn!(error = %e, "cannot make the tool cache");
    }
    if uses_actions && let Err(e) = std::fs::create_dir_all(&config.actions.cache.dir) {
        tracing::warn!(error = %e, "cannot make the cache of actions");
    }
    if needs_home { workspace.create_home() } else { Ok(()) }
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
        read_bytes_per_second: least(asked.read_bytes_per_second, cap.read_bytes_per_second),
        write_bytes_per_second: least(asked.write_bytes_per_second, cap.write_bytes_per_second),
    }
}

impl Verdict {
    /// The attempt did not even begin.
    fn failure(reason: Reason, message: String) -> Self {
        Self { reason: Some(reason), message: Some(message), ..Self::new(Conclusion::Failure) }
    }
}
