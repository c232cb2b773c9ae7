//! Containers as the workflow syntax knows them, beside the boundaries: the
//! container of a job, its services, and actions that are containers. A
//! container engine (Docker, Podman) implements [`Containers`]; the engine of
//! the runner knows only these traits.
//!
//! All containers of one attempt form a [`Group`] on a private network of
//! their own. Values of a job never become options of the container engine:
//! what may be chosen is a field here, or stands on the allow-list of the
//! implementation.

use crate::{Cell, CellRequest, DriverError, Mount, Running};
use async_trait::async_trait;
use fleetfoot_model::boundary::BoundaryRecord;
use fleetfoot_model::ids::AttemptRef;
use fleetfoot_model::time::Timestamp;
use indexmap::IndexMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Takes lines for people (progress of a pull, output of a build) while something takes long.
pub type Notes = Arc<dyn Fn(&str) + Send + Sync>;

/// A container engine.
#[async_trait]
pub trait Containers: Send + Sync {
    /// Opens the containers of an attempt: its network and its labels. Pulls nothing yet.
    ///
    /// # Errors
    /// If the engine does not answer or refuses.
    async fn open(&self, request: GroupRequest) -> Result<Arc<dyn Group>, DriverError>;

    /// Removes everything that an attempt of this runner left, also after a crash of the runner. Idempotent.
    ///
    /// # Errors
    /// If something could not be removed; the message says what.
    async fn sweep(&self, attempt: AttemptRef) -> Result<(), DriverError>;

    /// Removes everything of this runner that belongs to none of `living` and is not kept for
    /// inspection; never what is another runner's. Applies the policy of what is kept.
    /// Answers what was removed, in words.
    ///
    /// # Errors
    /// If the engine does not answer.
    async fn sweep_except(&self, living: &[AttemptRef]) -> Result<Vec<String>, DriverError>;

    /// Finished containers that were kept for inspection, newest first.
    ///
    /// # Errors
    /// If the engine does not answer.
    async fn kept(&self) -> Result<Vec<Kept>, DriverError>;

    /// Removes kept containers by id.
    ///
    /// # Errors
    /// If the engine does not answer or one cannot be removed.
    async fn remove_kept(&self, ids: &[String]) -> Result<(), DriverError>;

    /// The runner ends: waits for what is removed behind attempts, and removes what was made for attempts to
    /// come. What is not done then is left to the sweep of the next start.
    async fn close(&self) {}
}

/// What the containers of one attempt have in common.
#[derive(Clone)]
pub struct GroupRequest {
    /// Attempt, directories, limits and further directories, as for a cell without containers.
    pub cell: CellRequest,
    /// Where progress goes.
    pub notes: Notes,
}

impl std::fmt::Debug for GroupRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupRequest").field("cell", &self.cell).finish_non_exhaustive()
    }
}

/// The containers of one attempt.
#[async_trait]
pub trait Group: Send + Sync {
    /// Name of the private network, as the engine knows it (`job.container.network`).
    fn network(&self) -> String;

    /// Makes an image available: pulls it, or builds it. Progress goes to the notes of the group.
    ///
    /// # Errors
    /// `NotFound` if there is no such image, `Denied` for wrong credentials.
    async fn image(&self, source: &ImageSource) -> Result<Image, DriverError>;

    /// The file system of an image as a read-only directory of the host, made once per image: the
    /// root for boundaries that need no engine to run (gVisor).
    ///
    /// # Errors
    /// If it cannot be unpacked.
    async fn unpack(&self, image: &Image) -> Result<PathBuf, DriverError>;

    /// Starts the container of the job. Commands of the cell run in it, until it is torn down.
    ///
    /// # Errors
    /// If the container is refused or does not start.
    async fn cell(&self, container: Container) -> Result<Box<dyn Cell>, DriverError>;

    /// Starts a service, reachable in the group by `name`, and does not wait until it is healthy.
    ///
    /// # Errors
    /// If the container is refused or does not start.
    async fn service(&self, name: &str, container: Container) -> Result<Service, DriverError>;

    /// Waits until a service is healthy, or runs if it has no health check.
    ///
    /// # Errors
    /// If it becomes unhealthy, or ends; the message carries its last output.
    async fn wait_healthy(&self, service: &Service) -> Result<(), DriverError>;

    /// Runs a container to its end (an action that is a container), in the network of the group.
    /// Output, signals and end are those of a command.
    ///
    /// # Errors
    /// If the container is refused or does not start.
    async fn run(&self, container: Container) -> Result<Running, DriverError>;

    /// How a path of the host (inside workspace, temp or a mount) is called inside the containers of this group.
    fn inside(&self, host: &Path) -> PathBuf;

    /// What holds for the containers of this group.
    fn record(&self) -> BoundaryRecord;

    /// Output of the services until now, for the log, at most the last 256 KiB of each: name and bytes.
    async fn service_logs(&self) -> Vec<(String, Vec<u8>)>;

    /// Ends all containers, keeping those that the policy keeps, and gives the files of the directories back
    /// to the runner's user: nothing of the attempt runs any more. Containers and network are removed, though
    /// an engine that does that by itself may still be at it for a moment. Idempotent.
    ///
    /// # Errors
    /// If something could not be removed.
    async fn tear_down(&self, failed: bool) -> Result<(), DriverError>;
}

/// Where an image comes from.
#[derive(Clone, Debug)]
pub enum ImageSource {
    /// A reference, as at the command line of the engine, without `docker://`.
    Reference {
        /// `alpine:3`, `ghcr.io/o/i@sha256:...`.
        reference: String,
        /// For its registry; absent means what the runner has.
        credentials: Option<Credentials>,
    },
    /// A `Dockerfile` of the host, with its context.
    Build {
        /// Directory that the build sees.
        context: PathBuf,
        /// The file, inside the context.
        dockerfile: PathBuf,
    },
}

/// Who we are at a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User.
    pub username: String,
    /// Password or token.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// An image that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Id in the engine; containers are started by it, so that a moved tag changes nothing.
    pub id: String,
    /// As it was asked for.
    pub reference: String,
    /// `sha256:...` in its registry, if it came from one.
    pub digest: Option<String>,
    /// Environment that the image sets.
    pub env: Vec<(String, String)>,
    /// User that the image names; empty means root.
    pub user: String,
}

/// A container to start. All values have been evaluated.
#[derive(Clone, Debug)]
pub struct Container {
    /// The image.
    pub image: Image,
    /// Environment on top of the image's.
    pub env: IndexMap<String, String>,
    /// `HOST:CONTAINER/PROTOCOL`; checked here.
    pub ports: Vec<String>,
    /// `SOURCE:DESTINATION:MODE`; checked here against what the operator allows.
    pub volumes: Vec<String>,
    /// Options in the engine's words; only those of the allow-list are taken.
    pub options: String,
    /// Replaces the entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the command.
    pub command: Option<Vec<String>>,
    /// Directories of the host for this container alone.
    pub mounts: Vec<Mount>,
    /// Working directory, a path inside; absent means the image's.
    pub working_directory: Option<PathBuf>,
}

/// A running service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name in the workflow, also its host name in the group.
    pub name: String,
    /// Id of the container.
    pub id: String,
    /// Port of the host by port of the container (`80` or `53/udp`), as `job.services.<name>.ports` has them.
    pub ports: IndexMap<String, u16>,
}

/// A finished container that was kept for inspection.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Kept {
    /// Id in the engine.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The attempt that it belonged to.
    pub attempt: AttemptRef,
    /// Its image, as asked for.
    pub image: String,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Its exit code.
    pub exit_code: i64,
    /// Whether its attempt failed.
    pub failed: bool,
}
