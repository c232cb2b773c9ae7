//! The boundary trait: the engine knows this and nothing below it.
//!
//! A driver prepares a *cell* (the place where one attempt lives), runs
//! commands in it with streamed output, signals them, reports what they used,
//! and tears the cell down so that nothing remains. One crate per boundary
//! implements it under `drivers/`.

pub mod containers;

use async_trait::async_trait;
use fleetfoot_model::boundary::{Boundary, BoundaryRecord};
use fleetfoot_model::ids::AttemptRef;
use fleetfoot_model::spec::Limits;
use fleetfoot_model::sync::Usage;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use thiserror::Error;
use tokio::io::AsyncRead;

/// Makes cells of one kind of boundary.
#[async_trait]
pub trait Driver: Send + Sync {
    /// The kind of boundary.
    fn boundary(&self) -> Boundary;

    /// Prepares a cell. The directories in `request` exist and belong to this attempt alone.
    ///
    /// # Errors
    /// If the boundary cannot be made as asked; nothing is left behind then.
    async fn prepare(&self, request: CellRequest) -> Result<Box<dyn Cell>, DriverError>;

    /// Ends and removes everything that an attempt of this runner left behind
    /// (after a crash of the runner). Idempotent; an unknown attempt is fine.
    ///
    /// # Errors
    /// If something could not be removed; the message says what.
    async fn sweep(&self, attempt: AttemptRef) -> Result<(), DriverError>;
}

/// What a cell is for.
#[derive(Clone, Debug)]
pub struct CellRequest {
    /// The attempt, used as label on everything that the driver makes.
    pub attempt: AttemptRef,
    /// Working directory of the job on the host.
    pub workspace: PathBuf,
    /// Temporary directory of the job on the host (scripts, environment files).
    pub temp: PathBuf,
    /// Limits in force.
    pub limits: Limits,
    /// Further files and directories of the host that the job may see (hooks, tool cache, actions).
    /// A boundary without a file system of its own ignores them.
    pub mounts: Vec<Mount>,
    /// The root of the job, for boundaries that can have one; absent means the driver's own choice.
    pub root: Option<Root>,
}

impl CellRequest {
    /// A request for these directories, without limits, further directories or a root.
    #[must_use]
    pub fn new(attempt: AttemptRef, workspace: PathBuf, temp: PathBuf) -> Self {
        Self { attempt, workspace, temp, limits: Limits::default(), mounts: Vec::new(), root: None }
    }
}

/// A file or directory of the host that a job may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is on the host; exists.
    pub host: PathBuf,
    /// Where it is inside; most boundaries keep the host's name.
    pub inside: PathBuf,
    /// Whether the job may change it.
    pub writable: bool,
}

impl Mount {
    /// Under the same name inside, not to be changed.
    #[must_use]
    pub fn read_only(host: impl Into<PathBuf>) -> Self {
        let host = host.into();
        Self { inside: host.clone(), host, writable: false }
    }

    /// Under the same name inside, to be changed.
    #[must_use]
    pub fn writable(host: impl Into<PathBuf>) -> Self {
        Self { writable: true, ..Self::read_only(host) }
    }
}

/// A file system that takes the place of the host's (an unpacked image).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its directory on the host; never changed.
    pub directory: PathBuf,
    /// Digest or id of the image, for the record.
    pub image: String,
    /// Environment that the image sets; the variables of a command win.
    pub env: Vec<(String, String)>,
}

/// The place where one attempt lives.
#[async_trait]
pub trait Cell: Send + Sync {
    /// What really holds.
    fn record(&self) -> BoundaryRecord;

    /// How a path of the host (inside workspace or temp) is called inside the cell.
    fn inside(&self, host: &Path) -> PathBuf;

    /// What the container engine calls the cell (`job.container.id`), if the cell is a container.
    fn id(&self) -> Option<String> {
        None
    }

    /// Makes what listens on a TCP port of the host's loopback (a service of the job) reachable at the
    /// same port of the cell's own loopback. Without a network of its own there is nothing to do.
    ///
    /// # Errors
    /// If this boundary cannot do it.
    async fn reach(&self, _port: u16) -> Result<(), DriverError> {
        Ok(())
    }

    /// Starts a command. It leads a process group of its own.
    ///
    /// # Errors
    /// [`DriverError`] with kind `NotFound` if the program does not exist.
    async fn start(&self, command: Command) -> Result<Running, DriverError>;

    /// Ends every process of the cell, whatever it did to get away, and waits until none is left.
    async fn kill_all(&self);

    /// Removes the cell. Called once, after the last command; idempotent.
    ///
    /// # Errors
    /// If something could not be removed.
    async fn tear_down(&self) -> Result<(), DriverError>;
}

/// A command to run in a cell. Values never pass through a shell.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// Program: a path, or a name looked up in `env["PATH"]`.
    pub program: String,
    /// Arguments after the program's name.
    pub args: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: HashMap<String, String>,
    /// Working directory, a path of the host inside the workspace.
    pub working_directory: PathBuf,
    /// Bytes for standard input; empty means `/dev/null`.
    pub stdin: Vec<u8>,
    /// Standard error goes into standard output, as a terminal would show both: nothing else keeps
    /// their order. [`Running::stderr`] is empty then.
    pub merge_output: bool,
}

/// A started command. Dropping it does not end the process.
pub struct Running {
    /// Process id on the host; also the process group.
    pub pid: u32,
    /// Start time of the process in clock ticks since boot (field 22 of
    /// `/proc/PID/stat`): with the pid it names a process beyond reuse.
    pub start_ticks: u64,
    /// Standard output.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// Standard error.
    pub stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// Waiting and signalling.
    pub handle: Box<dyn Handle>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// Waiting for and signalling a started command.
#[async_trait]
pub trait Handle: Send + Sync {
    /// Waits for the leader to end. May be called again; gives the same answer.
    async fn wait(&self) -> Exit;

    /// Sends a signal to the process group of the command.
    fn signal(&self, signal: Signal);

    /// Ends the whole tree of this command at once (cgroup where there is one, process group otherwise).
    fn kill_tree(&self);
}

/// Signals of the kill ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, if it exited.
    pub code: Option<i32>,
    /// Signal, if one ended it.
    pub signal: Option<i32>,
    /// The kernel ended a process of the tree for memory.
    pub out_of_memory: bool,
    /// What the tree used.
    pub usage: Usage,
}

/// What went wrong in a driver.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct DriverError {
    /// For decisions.
    pub kind: DriverErrorKind,
    /// For people; never repeats the source.
    pub message: String,
    /// The cause.
    #[source]
    pub source: Option<std::io::Error>,
}

impl DriverError {
    /// An error without a cause.
    pub fn new(kind: DriverErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// An error from an I/O error; a full disk and a missing file are recognised.
    pub fn io(message: impl Into<String>, source: std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::NotFound => DriverErrorKind::NotFound,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => DriverErrorKind::DiskFull,
            std::io::ErrorKind::PermissionDenied => DriverErrorKind::Denied,
            _ => DriverErrorKind::Other,
        };
        Self { kind, message: message.into(), source: Some(source) }
    }
}

/// Kinds of [`DriverError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriverErrorKind {
    /// The program (or directory, or image) does not exist.
    NotFound,
    /// The operating system, or a registry, refused.
    Denied,
    /// The disk is full.
    DiskFull,
    /// This machine cannot make the boundary.
    Unsupported,
    /// The request asks for more than allowed.
    LimitExceeded,
    /// The job wrote something that can never work (a malformed port, an option that is not allowed).
    Invalid,
    /// A helper outside the runner does not answer (container engine, registry).
    Unavailable,
    /// Anything else.
    Other,
}
