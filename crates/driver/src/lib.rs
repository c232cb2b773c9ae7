//! The boundary trait: the engine knows this and nothing below it.
//!
//! A driver prepares a *cell* (the place where one attempt lives), runs
//! commands in it with streamed output, signals them, reports what they used,
//! and tears the cell down so that nothing remains. One crate per boundary
//! implements it under `drivers/`.

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
}

/// The place where one attempt lives.
#[async_trait]
pub trait Cell: Send + Sync {
    /// What really holds.
    fn record(&self) -> BoundaryRecord;

    /// How a path of the host (inside workspace or temp) is called inside the cell.
    fn inside(&self, host: &Path) -> PathBuf;

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
    /// The operating system refused.
    Denied,
    /// The disk is full.
    DiskFull,
    /// This machine cannot make the boundary.
    Unsupported,
    /// The request asks for more than allowed.
    LimitExceeded,
    /// Anything else.
    Other,
}
