//! One cell of the process boundary: how its commands are started. What holds
//! them and what finds those that slipped out is shared with other boundaries.

use crate::driver::Options;
use async_trait::async_trait;
use fleetfoot_driver::{Cell, CellRequest, Command, DriverError, DriverErrorKind, Running};
use fleetfoot_driver_linux::cgroup::Cgroups;
use fleetfoot_driver_linux::handle::ProcessHandle;
use fleetfoot_driver_linux::io::{c_path, c_string, environment, memory_file, pipe, receiver};
use fleetfoot_driver_linux::spawn::{self, Enter, Plan};
use fleetfoot_driver_linux::tree::Tree;
use fleetfoot_driver_linux::{procfs, reaper};
use fleetfoot_model::boundary::{Boundary, BoundaryRecord};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

pub(crate) struct ProcessCell {
    shared: Arc<Tree>,
    options: Arc<Options>,
    containment: &'static str,
    next_command: AtomicU32,
    torn_down: AtomicBool,
    _awake: reaper::Awake,
}

impl ProcessCell {
    pub(crate) fn new(
        options: Arc<Options>,
        cgroups: &Cgroups,
        request: &CellRequest,
    ) -> Result<Self, DriverError> {
        let awake = reaper::Awake::new();
        let shared =
            Tree::new(cgroups, &options.tag, request.attempt, &request.limits, options.default_pids)?;
        Ok(Self {
            shared: Arc::new(shared),
            options,
            containment: cgroups.containment(),
            next_command: AtomicU32::new(0),
            torn_down: AtomicBool::new(false),
            _awake: awake,
        })
    }

    fn start_command(&self, command: &Command) -> Result<Running, DriverError> {
        let program = find_program(command)?;
        let number = self.next_command.fetch_add(1, Ordering::Relaxed);
        let group = self
            .shared
            .groups
            .make_command(number)
            .map_err(|e| DriverError::io("cannot make a control group for the command", e))?;
        let (stdout, stdout_write) = pipe()?;
        let (stderr, stderr_write) = match command.merge_output {
            true => (None, None),
            false => pipe().map(|(read, write)| (Some(read), Some(write)))?,
        };
        let stdin = if command.stdin.is_empty() {
            self.options.null.as_fd().try_clone_to_owned()
        } else {
            memory_file(&command.stdin)
        }
        .map_err(|e| DriverError::io("cannot prepare standard input", e))?;
        let birth = match group.birth() {
            Some((fd, procs)) => Some((fd.as_raw_fd(), c_path(&procs)?)),
            None => None,
        };
        let plan = Plan {
            argv: std::iter::once(command.program.as_str())
                .chain(command.args.iter().map(String::as_str))
                .map(c_string)
                .collect::<Result<_, _>>()?,
            envp: environment(command, &self.shared.markers)?,
            program: c_path(&program)?,
            directory: c_path(&command.working_directory)?,
            stdin: stdin.as_raw_fd(),
            stdout: stdout_write.as_raw_fd(),
            stderr: stderr_write.as_ref().unwrap_or(&stdout_write).as_raw_fd(),
            cgroup: birth,
            tasks: group
                .tasks()
                .into_iter()
                .chain(self.shared.groups.tasks())
                .map(|fd| fd.as_raw_fd())
                .collect(),
            rlimits: self.shared.rlimits.clone(),
            enter: Enter::default(),
            oom_score_adj: self.options.oom_score_adj.clone(),
        };
        let spawned = spawn::spawn(&plan).map_err(|e| e.explain(command, &program))?;
        self.shared.add_session(spawned.pid);
        let start_ticks = procfs::stat(spawned.pid).map_or(0, |s| s.start_ticks);
        let handle = ProcessHandle::new(spawned.pid, spawned.pidfd, group, self.shared.clone())
            .map_err(|e| DriverError::io("cannot watch the command", e))?;
        Ok(Running {
            pid: spawned.pid.cast_unsigned(),
            start_ticks,
            stdout: Box::new(receiver(stdout)?),
            stderr: match stderr {
                Some(stderr) => Box::new(receiver(stderr)?),
                None => Box::new(tokio::io::empty()),
            },
            handle: Box::new(handle),
        })
    }
}

#[async_trait]
impl Cell for ProcessCell {
    fn record(&self) -> BoundaryRecord {
        let uname = rustix::system::uname();
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        BoundaryRecord {
            boundary: Boundary::Process,
            driver: concat!("process/", env!("CARGO_PKG_VERSION")).to_owned(),
            containment: self.containment.to_owned(),
            limits: self.shared.groups.in_force.clone(),
            user: format!("{}:{}", uid.as_raw(), gid.as_raw()),
            network: "host".to_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
            ..BoundaryRecord::default()
        }
    }

    fn inside(&self, host: &Path) -> PathBuf {
        host.to_path_buf()
    }

    async fn start(&self, command: Command) -> Result<Running, DriverError> {
        self.start_command(&command)
    }

    async fn kill_all(&self) {
        self.shared.end_all().await;
    }

    async fn tear_down(&self) -> Result<(), DriverError> {
        self.shared.end_all().await;
        self.shared
            .groups
            .remove()
            .map_err(|e| DriverError::io("cannot remove the control groups of the job", e))?;
        self.torn_down.store(true, Ordering::Release);
        Ok(())
    }
}

impl Drop for ProcessCell {
    /// Whoever drops a cell in the middle (a runtime that shuts down) leaves no processes either.
    fn drop(&mut self) {
        if !self.torn_down.load(Ordering::Acquire) {
            self.shared.end_now();
        }
    }
}

/// Resolves a name in the `PATH` of the command, as a shell would.
fn find_program(command: &Command) -> Result<PathBuf, DriverError> {
    if command.program.contains('/') {
        return Ok(command.working_directory.join(&command.program));
    }
    let path = command.env.get("PATH").map_or("/usr/local/bin:/usr/bin:/bin", String::as_str);
    let mut denied = false;
    for directory in path.split(':').filter(|_| !command.program.is_empty()) {
        let candidate = command.working_directory.join(directory).join(&command.program);
        match rustix::fs::access(&candidate, rustix::fs::Access::EXEC_OK) {
            Ok(()) if candidate.is_file() => return Ok(candidate),
            Err(rustix::io::Errno::ACCESS) => denied = true,
            _ => {}
        }
    }
    let (kind, why) = if denied {
        (DriverErrorKind::Denied, "is not executable for this user")
    } else {
        (DriverErrorKind::NotFound, "was not found in PATH")
    };
    Err(DriverError::new(kind, format!("the program '{}' {why}", command.program)))
}
