//! One cell: the commands of one attempt, the groups that hold them, and the
//! ways to find what slipped out. It must never end a process that does not
//! carry the marker of this attempt and this runner or descend from one of its
//! commands.

use crate::cgroup::{CellGroup, Cgroups};
use crate::driver::Options;
use crate::handle::ProcessHandle;
use crate::procfs::{self, Stat};
use crate::reaper;
use crate::spawn::{self, Plan, SpawnError, Stage};
use async_trait::async_trait;
use fleetfoot_driver::{Cell, CellRequest, Command, DriverError, DriverErrorKind, Exit, Running};
use fleetfoot_model::boundary::{Boundary, BoundaryRecord};
use rustix::fs::{Mode, OFlags};
use std::collections::HashSet;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Pipes of this size let a step run ahead of the reader; the kernel may grant less.
const PIPE_BYTES: usize = 1 << 20;
/// How long ended processes may take to go before we say so.
const END_DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct ProcessCell {
    shared: Arc<Shared>,
    options: Arc<Options>,
    containment: &'static str,
    next_command: AtomicU32,
    torn_down: AtomicBool,
    _awake: reaper::Awake,
}

/// What a cell and the handles of its commands share.
pub(crate) struct Shared {
    pub(crate) groups: CellGroup,
    markers: Vec<String>,
    /// Sessions of the commands, for machines without groups.
    sessions: Mutex<HashSet<i32>>,
    oom_seen: AtomicU64,
    /// Limits that hold by resource limits of the process instead.
    rlimits: Vec<(libc::__rlimit_resource_t, u64)>,
}

/// `NAME=VALUE` entries that every process of an attempt is started with.
pub(crate) fn markers(tag: &str, attempt: &str) -> Vec<String> {
    vec![format!("FLEETFOOT_ATTEMPT={attempt}"), format!("FLEETFOOT_RUNNER_TAG={tag}")]
}

impl ProcessCell {
    pub(crate) fn new(
        options: Arc<Options>,
        cgroups: &Cgroups,
        request: &CellRequest,
    ) -> Result<Self, DriverError> {
        let mut limits = request.limits.clone();
        limits.pids = limits.pids.or(options.default_pids);
        let name = request.attempt.to_string();
        let awake = reaper::Awake::new();
        let mut groups = cgroups
            .make_cell(&name, &limits)
            .map_err(|e| DriverError::io("cannot make the control groups of the job", e))?;
        let mut rlimits = Vec::new();
        if let Some(pids) = limits.pids
            && !groups.in_force.contains_key("pids")
        {
            rlimits.push((libc::RLIMIT_NPROC, pids));
            groups.in_force.insert("pids".into(), format!("{pids} (rlimit)"));
        }
        if let Some(bytes) = limits.memory_bytes
            && !groups.in_force.contains_key("memory_bytes")
        {
            rlimits.push((libc::RLIMIT_DATA, bytes));
            groups.in_force.insert("memory_bytes".into(), format!("{bytes} (rlimit)"));
        }
        let oom_seen = groups.oom_kills().unwrap_or_else(procfs::machine_oom_kills);
        let shared = Shared {
            groups,
            markers: markers(&options.tag, &name),
            sessions: Mutex::default(),
            oom_seen: AtomicU64::new(oom_seen),
            rlimits,
        };
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
            envp: self.environment(command)?,
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
            oom_score_adj: self.options.oom_score_adj.clone(),
        };
        let spawned = spawn::spawn(&plan).map_err(|e| explain(&e, command, &program))?;
        self.shared.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(spawned.pid);
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

    fn environment(&self, command: &Command) -> Result<Vec<CString>, DriverError> {
        let mut envp = Vec::with_capacity(command.env.len() + self.shared.markers.len());
        let own: Vec<&str> =
            self.shared.markers.iter().map(|m| m.split_once('=').map_or("", |(name, _)| name)).collect();
        for (name, value) in &command.env {
            if name.is_empty() || name.contains('=') {
                let message = format!("'{name}' cannot be the name of an environment variable");
                return Err(DriverError::new(DriverErrorKind::Other, message));
            }
            if own.contains(&name.as_str()) {
                continue;
            }
            let mut entry = String::with_capacity(name.len() + value.len() + 2);
            entry.push_str(name);
            entry.push('=');
            entry.push_str(value);
            envp.push(CString::new(entry).map_err(|_| {
                let message = format!("the value of the environment variable {name} contains a NUL byte");
                DriverError::new(DriverErrorKind::Other, message)
            })?);
        }
        for marker in &self.shared.markers {
            envp.push(c_string(marker)?);
        }
        Ok(envp)
    }
}

impl Shared {
    /// Whether the kernel ended a process for memory since the last look.
    pub(crate) fn ended_for_memory(&self, exit: &Exit) -> bool {
        if let Some(now) = self.groups.oom_kills() {
            return now > self.oom_seen.swap(now, Ordering::Relaxed);
        }
        // Without a group only the machine-wide counter is left: believed for commands that
        // died as the kernel's victims do.
        let victim = exit.signal == Some(libc::SIGKILL) || exit.code == Some(128 + libc::SIGKILL);
        victim && {
            let now = procfs::machine_oom_kills();
            now > self.oom_seen.swap(now, Ordering::Relaxed)
        }
    }

    /// Ends the processes of one command without the help of a group.
    pub(crate) fn end_session(&self, session: i32) {
        for process in self.escaped(&HashSet::from([session])) {
            procfs::kill_exactly(&process);
        }
    }

    /// Living processes of these sessions, their descendants, and whoever carries the marker.
    fn escaped(&self, sessions: &HashSet<i32>) -> Vec<Stat> {
        let me = rustix::process::getpid().as_raw_nonzero().get();
        let all = procfs::all();
        let mut ours: HashSet<i32> = all
            .iter()
            .filter(|p| {
                p.pid != me && (sessions.contains(&p.session) || procfs::has_markers(p.pid, &self.markers))
            })
            .map(|p| p.pid)
            .collect();
        loop {
            let before = ours.len();
            let children: Vec<i32> =
                all.iter().filter(|p| ours.contains(&p.parent) && p.pid != me).map(|p| p.pid).collect();
            ours.extend(children);
            if ours.len() == before {
                break;
            }
        }
        all.into_iter().filter(|p| ours.contains(&p.pid) && !p.is_dead()).collect()
    }

    async fn end_all(&self) {
        let deadline = Instant::now() + END_DEADLINE;
        let mut pause = Duration::from_micros(500);
        loop {
            let alive = if self.groups.contains() {
                self.groups.populated() && {
                    self.groups.end();
                    true
                }
            } else {
                let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let escaped = self.escaped(&sessions);
                escaped.iter().for_each(procfs::kill_exactly);
                !escaped.is_empty()
            };
            if !alive {
                break;
            }
            if Instant::now() > deadline {
                tracing::error!("processes of the job do not end: they wait inside the kernel");
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
        reaper::reap_adopted();
    }
}

/// Ends every process that carries the markers, wherever it is.
pub(crate) async fn end_marked(markers: &[String]) -> Result<(), DriverError> {
    let deadline = Instant::now() + END_DEADLINE;
    loop {
        let left: Vec<Stat> = procfs::all()
            .into_iter()
            .filter(|p| !p.is_dead() && procfs::has_markers(p.pid, markers))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let message = format!("{} processes of an old attempt do not end", left.len());
            return Err(DriverError::new(DriverErrorKind::Other, message));
        }
        left.iter().for_each(procfs::kill_exactly);
        tokio::time::sleep(Duration::from_millis(2)).await;
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
            if self.shared.groups.contains() {
                self.shared.groups.end();
            } else {
                let sessions = self.shared.sessions.lock().unwrap_or_else(PoisonError::into_inner).clone();
                self.shared.escaped(&sessions).iter().for_each(procfs::kill_exactly);
            }
            let _ = self.shared.groups.remove();
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), DriverError> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|e| DriverError::io("cannot make a pipe", e.into()))?;
    let _ = rustix::pipe::fcntl_setpipe_size(&read, PIPE_BYTES);
    Ok((read, write))
}

fn receiver(fd: OwnedFd) -> Result<tokio::net::unix::pipe::Receiver, DriverError> {
    tokio::net::unix::pipe::Receiver::from_owned_fd(fd)
        .map_err(|e| DriverError::io("cannot read from the command", e))
}

/// A file without a name that holds `bytes`, positioned at its beginning.
fn memory_file(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    use std::io::{Seek, Write};
    let fd = rustix::fs::memfd_create("stdin", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// Opens `/dev/null` for reading.
pub(crate) fn open_null() -> std::io::Result<OwnedFd> {
    Ok(rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

fn c_string(text: &str) -> Result<CString, DriverError> {
    CString::new(text)
        .map_err(|_| DriverError::new(DriverErrorKind::Other, "an argument contains a NUL byte"))
}

fn c_path(path: &Path) -> Result<CString, DriverError> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| DriverError::new(DriverErrorKind::Other, "a path contains a NUL byte"))
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

fn explain(error: &SpawnError, command: &Command, program: &Path) -> DriverError {
    let source = std::io::Error::from_raw_os_error(error.source.raw_os_error().unwrap_or(0));
    let message = match error.stage {
        Stage::Fork => "cannot start another process".to_owned(),
        Stage::Session => "cannot start a session for the command".to_owned(),
        Stage::Descriptors => "cannot connect the command's output".to_owned(),
        Stage::Cgroup => "cannot put the command into its control group".to_owned(),
        Stage::Limits => "cannot set the resource limits of the command".to_owned(),
        Stage::Directory => {
            format!("cannot enter the working directory '{}'", command.working_directory.display())
        }
        Stage::Exec if !command.program.contains('/') => {
            format!("cannot execute '{}' ({})", command.program, program.display())
        }
        Stage::Exec => format!("cannot execute '{}'", command.program),
    };
    DriverError::io(message, source)
}
