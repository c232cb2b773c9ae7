//! The containers of one attempt: the group that they form (opened when the
//! first one is needed, so that a job without containers pays nothing), its
//! images, and its end. Where the job itself runs is decided in `place`. It
//! must never leave a group open, whatever was given up in the middle.

mod place;
mod progress;

pub(crate) use place::Asked;

use crate::attempt::{Attempt, Leash};
use crate::config::EngineConfig;
use crate::outcome::Outcome;
use crate::output::Log;
use crate::process;
use crate::reports::Entry;
use crate::workspace::Workspace;
use fleetfoot_driver::containers::{Containers, Group, GroupRequest, Image, ImageSource};
use fleetfoot_driver::{CellRequest, DriverError, DriverErrorKind, Mount};
use fleetfoot_model::state::Conclusion;
use progress::Progress;
use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, OnceCell};

/// `HOME` inside containers, as at GitHub.
pub(crate) const HOME: &str = "/github/home";
/// Where the node of the runner is shown in containers.
pub(crate) const NODE: &str = "/__fleetfoot/node";
/// How long the removal of all containers may take; the runner sweeps later what was not removed by then.
const REMOVAL: Duration = Duration::from_secs(120);
/// How long reading the output of services may take.
const SERVICE_LOGS: Duration = Duration::from_secs(10);

/// The containers of one attempt.
pub(crate) struct JobContainers {
    engine: Option<Arc<dyn Containers>>,
    request: CellRequest,
    progress: Arc<Progress>,
    group: OnceCell<Arc<dyn Group>>,
    /// Something may be there, even if the opening was given up.
    opened: AtomicBool,
    /// Also sees to it that one image is made at a time: their lines would mix.
    images: Mutex<HashMap<String, Image>>,
}

impl JobContainers {
    /// Opens nothing yet. `request` is what every container of the job is given.
    pub(crate) fn new(engine: Option<Arc<dyn Containers>>, request: CellRequest) -> Self {
        Self {
            engine,
            request,
            progress: Arc::default(),
            group: OnceCell::new(),
            opened: AtomicBool::new(false),
            images: Mutex::default(),
        }
    }

    /// The group, opened if it is not; `what` needs it.
    pub(crate) async fn group(&self, what: &str) -> Result<&Arc<dyn Group>, DriverError> {
        let Some(engine) = &self.engine else {
            let message = format!(
                "{what} needs containers, and this runner offers none: install Docker or Podman on its machine \
                 (setting 'container_engine'; 'fleetfoot runner validate' says what is missing), or give the \
                 job to another runner"
            );
            return Err(DriverError::new(DriverErrorKind::Unsupported, message));
        };
        self.group
            .get_or_try_init(|| {
                self.opened.store(true, Ordering::Release);
                engine.open(GroupRequest { cell: self.request.clone(), notes: self.progress.notes() })
            })
            .await
    }

    /// Makes an image available, once per `key`; its progress goes to the log of a step.
    pub(crate) async fn image(
        &self,
        group: &Arc<dyn Group>,
        (log, step): (&Log, u16),
        key: &str,
        source: &ImageSource,
    ) -> Result<Image, DriverError> {
        let mut images = self.images.lock().await;
        if let Some(known) = images.get(key) {
            return Ok(known.clone());
        }
        let image = self.progress.along(log, step, group.image(source)).await?;
        images.insert(key.to_owned(), image.clone());
        Ok(image)
    }

    /// Replaces a path of the host at the beginning of a value by its name inside containers.
    pub(crate) fn translate(&self, group: &dyn Group, value: &str) -> Option<String> {
        let shown = [&self.request.workspace, &self.request.temp];
        let mounted = self.request.mounts.iter().map(|m| &m.host);
        shown.into_iter().chain(mounted).find_map(|host| {
            let rest = value.strip_prefix(host.to_str()?)?;
            let whole = rest.is_empty() || rest.starts_with('/');
            whole.then(|| format!("{}{rest}", group.inside(host).to_string_lossy()))
        })
    }

    /// Whether there is something to remove.
    fn is_open(&self) -> bool {
        self.opened.load(Ordering::Acquire)
    }

    async fn remove(&self, failed: bool) -> Result<(), DriverError> {
        let removal = async {
            match (self.group.get(), &self.engine) {
                (Some(group), _) => group.tear_down(failed).await,
                (None, Some(engine)) => engine.sweep(self.request.attempt).await,
                (None, None) => Ok(()),
            }
        };
        tokio::time::timeout(REMOVAL, removal).await.unwrap_or_else(|_| {
            let message = "the removal of the containers takes too long: they are removed later";
            Err(DriverError::new(DriverErrorKind::Unavailable, message))
        })
    }
}

impl Attempt<'_> {
    /// Does something that is no command within the time that a step has.
    pub(crate) async fn bounded<T>(
        &self,
        leash: &Leash,
        work: impl Future<Output = Result<T, DriverError>> + Send,
    ) -> Result<T, Box<Outcome>> {
        match process::until(&self.watch(leash), work).await {
            Ok(done) => done.map_err(|e| Box::new(Outcome::driver(&e))),
            Err(stop) => {
                let timed_out = self.look_around().timed_out;
                Err(Box::new(Outcome::stopped(stop, &self.timeouts(leash), timed_out)))
            }
        }
    }

    /// Ends all containers of the job, and shows what the services said. Called when no command runs any more.
    pub(crate) async fn stop_containers(&self, failed: bool) {
        if !self.containers.is_open() {
            return;
        }
        let entry = Entry::Stop;
        self.reports().push(entry, "__stop_containers".into(), "Stop containers".into());
        let index = self.begin(entry, None);
        if let Some(group) = self.containers.group.get().filter(|_| !self.kill.is_cancelled()) {
            let logs = tokio::time::timeout(SERVICE_LOGS, group.service_logs()).await.unwrap_or_default();
            for (name, bytes) in logs {
                let text = String::from_utf8_lossy(&bytes);
                let lines: Vec<String> = text.lines().map(str::to_owned).collect();
                self.say_group(index, &format!("Output of the service '{name}'"), &lines).await;
            }
        }
        let outcome = match self.containers.remove(failed).await {
            Ok(()) => Outcome::plain(Conclusion::Success),
            Err(e) => {
                let outcome = Outcome::driver(&e);
                tracing::error!(attempt = %self.assignment.attempt, message = ?outcome.message, "containers remain");
                self.say_why(index, &outcome).await;
                outcome
            }
        };
        self.complete(entry, outcome.conclusion, &outcome);
    }
}

/// What jobs may see of this machine besides workspace and temporary directory. `in_image` if they see
/// the file system of an image and not that of the host.
pub(crate) fn mounts(
    config: &EngineConfig,
    workspace: &Workspace,
    node: Option<&Path>,
    in_image: bool,
) -> Vec<Mount> {
    let mut mounts = vec![Mount::writable(&config.tool_cache)];
    mounts.extend(hooks(config).map(Mount::read_only));
    if let Ok(actions) = config.actions.cache.dir.canonicalize() {
        mounts.push(Mount::read_only(actions));
    }
    if let Some(node) = node.and_then(|node| node.canonicalize().ok()) {
        let inside = if in_image { PathBuf::from(NODE) } else { node.clone() };
        mounts.push(Mount { host: node, inside, writable: false });
    }
    if in_image {
        mounts.push(Mount { host: workspace.home(), inside: HOME.into(), writable: true });
    }
    mounts.retain(|mount| mount.host.exists());
    mounts
}

fn hooks(config: &EngineConfig) -> impl Iterator<Item = &PathBuf> {
    [&config.job_started_hook, &config.job_completed_hook].into_iter().flatten()
}
