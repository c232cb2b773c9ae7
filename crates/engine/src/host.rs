//! A cell that is none: commands of the runner itself, for what must not run
//! where the job could get at it (git, when the job's boundary has files of
//! its own). It must never start anything that a job chose, nor run in a
//! directory that a job has changed.

use async_trait::async_trait;
use fleetfoot_driver::{Cell, Command, DriverError, Exit, Handle, Running, Signal};
use fleetfoot_model::boundary::BoundaryRecord;
use rustix::process::{Pid, kill_process_group};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::sync::watch;

/// The machine as the runner sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HostCell;

#[async_trait]
impl Cell for HostCell {
    fn record(&self) -> BoundaryRecord {
        BoundaryRecord::default()
    }

    fn inside(&self, host: &Path) -> PathBuf {
        host.to_path_buf()
    }

    /// Standard input is empty, and the two outputs stay apart.
    async fn start(&self, command: Command) -> Result<Running, DriverError> {
        let mut child = tokio::process::Command::new(&command.program)
            .args(&command.args)
            .env_clear()
            .envs(&command.env)
            .current_dir(&command.working_directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| DriverError::io(format!("cannot start '{}'", command.program), e))?;
        let raw = child.id().unwrap_or_default();
        let pid = i32::try_from(raw).ok().and_then(Pid::from_raw);
        let nothing = || Box::new(tokio::io::empty());
        let stdout = child.stdout.take().map_or_else(|| nothing() as _, |s| Box::new(s) as _);
        let stderr = child.stderr.take().map_or_else(|| nothing() as _, |s| Box::new(s) as _);
        let (sender, ended) = watch::channel(None);
        tokio::spawn(async move {
            let exit = match child.wait().await {
                Ok(status) => Exit { code: status.code(), signal: status.signal(), ..Exit::default() },
                Err(_) => Exit::default(),
            };
            let _ = sender.send(Some(exit));
        });
        let start_ticks = start_ticks(raw);
        Ok(Running { pid: raw, start_ticks, stdout, stderr, handle: Box::new(HostHandle { pid, ended }) })
    }

    /// Every command is seen to its end by who started it.
    async fn kill_all(&self) {}

    async fn tear_down(&self) -> Result<(), DriverError> {
        Ok(())
    }
}

struct HostHandle {
    pid: Option<Pid>,
    ended: watch::Receiver<Option<Exit>>,
}

#[async_trait]
impl Handle for HostHandle {
    async fn wait(&self) -> Exit {
        let mut ended = self.ended.clone();
        let exit = ended.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        exit.unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let signal = match signal {
            Signal::Interrupt => rustix::process::Signal::INT,
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Kill => rustix::process::Signal::KILL,
        };
        // A leader that has ended may have given its number away.
        if let Some(pid) = self.pid.filter(|_| self.ended.borrow().is_none()) {
            let _ = kill_process_group(pid, signal);
        }
    }

    fn kill_tree(&self) {
        self.signal(Signal::Kill);
    }
}

/// Field 22 of `/proc/PID/stat`.
fn start_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    fields.split_whitespace().nth(19).and_then(|ticks| ticks.parse().ok()).unwrap_or_default()
}
