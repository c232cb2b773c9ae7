//! A control plane and a runner in this process, for runs without a server:
//! no sockets, no tokens, nothing that outlives the run.

use crate::environment;
use crate::error::{CliError, Result};
use crate::live::{Changes, LogBytes, Piece, Source};
use crate::local_runner::no_processes;
use crate::local_services::{self, LocalServices};
use crate::wiring::{self, PlaneOptions};
use async_trait::async_trait;
use bytes::Bytes;
use fleetfoot_actions::CacheConfig;
use fleetfoot_control::{Control, Principal, RunWatcher, SignInOptions};
use fleetfoot_engine::{Engine, EngineConfig};
use fleetfoot_model::api::{CancelRun, CreateRun, Created, RegisterRunner, RunView};
use fleetfoot_model::plan::{Dialect, Document, Plan, Resolution, ResolveArgs, RunInfo, RunParams};
use fleetfoot_model::spec::{ContainerSpec, Contexts};
use fleetfoot_model::sync::{ResourceSample, RunnerInfo, SyncRequest, SyncResponse};
use fleetfoot_model::{
    AttemptNumber, AttemptRef, Boundary, Code, Diagnostic, Diagnostics, JobId, Label, Problem, RunId,
    RunnerId, Source as Text,
};
use fleetfoot_objects::LogFollower;
use fleetfoot_runner::boundaries::{Boundaries, BoundaryPlan, Memory};
use fleetfoot_runner::config::BoundaryConfig;
use fleetfoot_runner::daemon::{self, Setup, Stage};
use fleetfoot_runner::engine::EngineExecutor;
use fleetfoot_runner::journal::Journal;
use fleetfoot_runner::transport::{ControlPlane, TransportError};
use indexmap::IndexMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long what still runs may take to end when the program leaves.
const LEAVE: Duration = Duration::from_secs(12);

/// How jobs are fenced off, as the command line says.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// Boundaries of all jobs.
    pub(crate) boundaries: BoundaryConfig,
    /// Image of jobs with this label that have no container of their own.
    pub(crate) images: Vec<(Label, String)>,
}

/// Control plane, runner and the directory in which they live.
pub(crate) struct Local {
    control: Control,
    stage: watch::Sender<Stage>,
    daemon: JoinHandle<()>,
    directory: TempDir,
    services: Arc<LocalServices>,
}

impl Local {
    /// Starts both. `overlay` is the working tree that `actions/checkout` gives to jobs, `actions` where
    /// other actions and workflows come from.
    pub(crate) async fn start(
        slots: u32,
        overlay: Option<PathBuf>,
        actions: CacheConfig,
        place: Place,
    ) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("fleetfoot-run-")
            .tempdir()
            .map_err(|e| CliError::machine("no temporary directory can be made").because(&e))?;
        let plane = PlaneOptions {
            data: directory.path().join("state"),
            url: String::new(),
            lease: Duration::from_secs(3600),
            retention: None,
            durable: false,
            objects: None,
            actions: actions.clone(),
            sign_in: SignInOptions::default(),
        };
        let dialects = wiring::dialects()
            .into_iter()
            .map(|inner| {
                let here = Here { overlay: overlay.clone(), images: place.images.clone() };
                Arc::new(HereDialect { inner, here: Arc::new(here) }) as Arc<dyn Dialect>
            })
            .collect();
        let control = wiring::control(&plane, dialects).await?;
        let services =
            LocalServices::new(directory.path().join("artifacts"), environment::default_cache_dir());
        control.offer_services_on_demand(services.clone());
        let request = RegisterRunner {
            name: Some("local".to_owned()),
            slots: Some(slots),
            ..RegisterRunner::default()
        };
        let registered = control.register_runner(&Principal::System, request).await?;
        let (stage, shutdown) = watch::channel(Stage::Run);
        let setup = runner(&control, registered.id, slots, directory.path(), actions, place.boundaries)?;
        let daemon = tokio::spawn(async move {
            if let Err(error) = daemon::run(setup, shutdown).await {
                crate::output::say(&format!("warning: the local runner ended: {error}"));
            }
        });
        Ok(Self { control, stage, daemon, directory, services })
    }

    /// Where the run can be followed.
    pub(crate) fn source(&self) -> Arc<dyn Source> {
        Arc::new(InProcess(self.control.clone()))
    }

    /// Creates runs, all or nothing.
    pub(crate) async fn submit(&self, runs: Vec<CreateRun>) -> Result<Vec<Created>> {
        Ok(self.control.create_runs(&Principal::System, runs, None).await?)
    }

    /// Unpacks the artifacts of finished runs below `dir`; answers how many there were.
    pub(crate) async fn export(&self, runs: &[(RunId, String)], dir: &Path) -> Result<usize> {
        local_services::export(&self.control, runs, dir).await
    }

    /// Ends everything and removes the directory.
    pub(crate) async fn finish(self, at_once: bool) {
        let _ = self.stage.send(if at_once { Stage::Kill } else { Stage::Drain });
        let mut daemon = self.daemon;
        if tokio::time::timeout(LEAVE, &mut daemon).await.is_err() {
            let _ = self.stage.send(Stage::Kill);
            let _ = tokio::time::timeout(LEAVE, daemon).await;
        }
        self.services.stop().await;
        self.control.shut_down().await;
        drop(self.control);
        if let Err(error) = self.directory.close() {
            crate::output::say(&format!("warning: the temporary directory could not be removed: {error}"));
        }
    }
}

fn runner(
    control: &Control,
    id: RunnerId,
    slots: u32,
    directory: &Path,
    actions: CacheConfig,
    boundaries: BoundaryConfig,
) -> Result<Setup> {
    let journal = Journal::open(&directory.join("journal"), "local".to_owned())
        .map_err(|e| CliError::machine("the journal of the local runner cannot be made").because(&e))?;
    // The process id tells this run's processes from those of another one at the same time.
    let tag = format!("run-{}", std::process::id());
    let mut config =
        EngineConfig { runner_name: "local".to_owned(), ..EngineConfig::new(directory.join("work")) };
    // What actions install lies beside what they are, and survives the run like that.
    config.tool_cache = actions.dir.with_file_name("tools");
    config.actions.cache = actions;
    let directory = directory.to_owned();
    let plan = BoundaryPlan { config: boundaries, tag, directory, memory: Memory::None };
    let executor = EngineExecutor::new(Engine::new(config), Boundaries::new(plan).map_err(no_processes)?);
    // A boundary is tried when the first job asks for it. Whoever asked in vain is told what is missing
    // here: nobody else will ever come to take the job.
    let everything = RunnerInfo { boundary: Boundary::Microvm, containers: true, ..RunnerInfo::default() };
    let (_, info) = watch::channel(everything);
    Ok(Setup {
        url: String::new(),
        slots: slots as usize,
        one_off: false,
        info,
        sample: Box::new(|| (ResourceSample::default(), None)),
        journal,
        transport: Arc::new(InProcessPlane { control: control.clone(), runner: id }),
        executor: Arc::new(executor),
        notices: Arc::new(|_| {}),
    })
}

/// The control plane as the runner sees it, without a network between.
struct InProcessPlane {
    control: Control,
    runner: RunnerId,
}

fn transport_error(problem: Problem) -> TransportError {
    match problem.code {
        Code::StaleAttempt => TransportError::Stale,
        Code::OffsetGap => match problem.expected_offset {
            Some(expected) => TransportError::Gap { expected },
            None => TransportError::Rejected(problem.detail),
        },
        Code::VersionSkew => TransportError::VersionSkew(problem.detail),
        Code::Unauthorized | Code::Forbidden | Code::NotFound => TransportError::Unauthorized(problem.detail),
        Code::TooLarge => TransportError::TooLarge(problem.detail),
        Code::Overloaded | Code::Internal | Code::DiskFull => TransportError::unavailable(problem.detail),
        _ => TransportError::Rejected(problem.detail),
    }
}

#[async_trait]
impl ControlPlane for InProcessPlane {
    async fn sync(&self, request: SyncRequest) -> Result<SyncResponse, TransportError> {
        self.control.sync(&Principal::System, self.runner, request).await.map_err(transport_error)
    }

    async fn append_log(
        &self,
        attempt: AttemptRef,
        offset: u64,
        frames: Bytes,
    ) -> Result<u64, TransportError> {
        let appended =
            self.control.append_log(&Principal::System, self.runner, attempt, offset, frames).await;
        appended.map(|a| a.offset).map_err(transport_error)
    }
}

/// Follows runs of this process.
struct InProcess(Control);

#[async_trait]
impl Source for InProcess {
    async fn changes(&self, run: RunId) -> Result<Box<dyn Changes>> {
        Ok(Box::new(InProcessChanges(self.0.watch_run(&Principal::System, run, None).await?)))
    }

    async fn log(&self, job: JobId, attempt: AttemptNumber) -> Result<Box<dyn LogBytes>> {
        let found = self.0.log_of(&Principal::System, job, Some(attempt)).await?;
        Ok(Box::new(InProcessLog(found.map(|attempt| self.0.logs().follow(attempt, 0)))))
    }

    async fn cancel(&self, run: RunId) -> Result<()> {
        match self.0.cancel_run(&Principal::System, run, CancelRun::default()).await {
            // It ended while somebody pressed the key.
            Err(problem) if problem.code == Code::Conflict => Ok(()),
            other => other.map(drop).map_err(CliError::from),
        }
    }
}

struct InProcessChanges(RunWatcher);

#[async_trait]
impl Changes for InProcessChanges {
    async fn next(&mut self) -> Result<Option<RunView>> {
        Ok(self.0.next().await?)
    }
}

struct InProcessLog(Option<LogFollower>);

#[async_trait]
impl LogBytes for InProcessLog {
    async fn next(&mut self) -> Result<Option<Piece>> {
        let Some(follower) = &mut self.0 else { return Ok(None) };
        let chunk = follower
            .next()
            .await
            .map_err(|e| CliError::machine("the log of a local run cannot be read").because(&e))?;
        Ok(chunk.map(|c| Piece { offset: c.offset, marks: c.marks, bytes: c.bytes }))
    }
}

/// A dialect whose jobs run here: any label will do, and the checkout is the working tree.
struct HereDialect {
    inner: Arc<dyn Dialect>,
    here: Arc<Here>,
}

/// What is different here.
#[derive(Debug)]
struct Here {
    overlay: Option<PathBuf>,
    images: Vec<(Label, String)>,
}

impl Dialect for HereDialect {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn parse(&self, source: &Text) -> Result<Arc<dyn Document>, Diagnostics> {
        let inner = self.inner.parse(source)?;
        Ok(Arc::new(HereDocument { inner, here: self.here.clone() }))
    }

    fn parse_with(
        &self,
        source: &Text,
        files: &IndexMap<String, String>,
    ) -> Result<Arc<dyn Document>, Diagnostics> {
        let inner = self.inner.parse_with(source, files)?;
        Ok(Arc::new(HereDocument { inner, here: self.here.clone() }))
    }
}

#[derive(Debug)]
struct HereDocument {
    inner: Arc<dyn Document>,
    here: Arc<Here>,
}

impl Document for HereDocument {
    fn name(&self) -> Option<&str> {
        self.inner.name()
    }

    fn missing(&self) -> Vec<String> {
        self.inner.missing()
    }

    fn warnings(&self) -> &[Diagnostic] {
        self.inner.warnings()
    }

    fn contexts(&self, run: &RunInfo) -> Result<Contexts, Diagnostics> {
        let mut contexts = self.inner.contexts(run)?;
        if let Some(overlay) = &self.here.overlay {
            contexts.insert("fleetfoot".to_owned(), serde_json::json!({ "overlay": overlay }));
        }
        Ok(contexts)
    }

    fn plan(&self, contexts: &Contexts, params: &RunParams) -> Result<Plan, Diagnostics> {
        self.inner.plan(contexts, params)
    }

    fn resolve(&self, node: &str, args: &ResolveArgs<'_>) -> Result<Resolution, Diagnostic> {
        let mut resolution = self.inner.resolve(node, args)?;
        if let Resolution::Run { jobs, .. } = &mut resolution {
            for job in jobs {
                let labels = &job.placement.labels;
                let image = self.here.images.iter().find(|(label, _)| labels.contains(label));
                if let (Some((_, image)), None) = (image, &job.spec.container) {
                    let container = ContainerSpec { image: image.clone(), ..ContainerSpec::default() };
                    Arc::make_mut(&mut job.spec).container = Some(container);
                    job.placement.containers = true;
                }
                job.placement.labels.clear();
                job.placement.queue = None;
            }
        }
        Ok(resolution)
    }
}
