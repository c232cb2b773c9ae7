//! One cell: its bundle, its groups and its guest, and how commands are
//! started. Ending everything ends the guest too; the next command starts a new
//! one, with a fresh `/tmp`.

use crate::driver::{Network, Shared};
use crate::guest::{Guest, PATIENCE, start_error};
use crate::handle::GvisorHandle;
use crate::platform::Choice;
use crate::spec::{Bundle, HOME};
use crate::wire::Spawn;
use async_trait::async_trait;
use fleetfoot_driver::{Cell, CellRequest, Command, DriverError, DriverErrorKind, Running};
use fleetfoot_driver_linux::cgroup::Cgroups;
use fleetfoot_driver_linux::io::{environment, memory_file, pipe, receiver};
use fleetfoot_driver_linux::lookup::{not_started, path_text, programs};
use fleetfoot_driver_linux::network::{Forwards, PrivateNetwork};
use fleetfoot_driver_linux::reaper;
use fleetfoot_driver_linux::tree::Tree;
use fleetfoot_model::boundary::{Boundary, BoundaryRecord};
use fleetfoot_model::spec::Limits;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What gVisor itself may use on top of the job's memory, bytes.
const OWN_MEMORY: u64 = 128 << 20;
/// Tasks of the host that gVisor itself may have, and how many a process of the job can cost.
const OWN_TASKS: u64 = 512;
const TASKS_PER_PROCESS: u64 = 4;

/// A limit that would not hold is refused.
const NO_MEMORY_LIMIT: &str = "the memory of a gVisor cell can be limited by control groups only: delegate \
     them to the runner (`Delegate=yes` in its systemd unit), or take the memory limit from the job";

pub(crate) struct GvisorCell {
    inner: Arc<Inner>,
    record: BoundaryRecord,
    torn_down: AtomicBool,
    _awake: reaper::Awake,
}

/// What a new guest is made from.
struct Inner {
    shared: Arc<Shared>,
    tree: Arc<Tree>,
    bundle: Bundle,
    choice: Choice,
    /// Environment of the image.
    env: Vec<(String, String)>,
    writable: Vec<PathBuf>,
    guest: Mutex<Option<Guest>>,
    /// Ports of services that the guest reaches through its private network.
    forwards: Forwards,
    next_guest: AtomicU32,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Option<Guest>> {
        self.guest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a guest if none lives.
    fn ensure(&self, patience: Duration) -> Result<(), DriverError> {
        let mut guest = self.lock();
        if !guest.as_ref().is_some_and(Guest::is_alive) {
            *guest = None;
            let number = self.next_guest.fetch_add(1, Ordering::Relaxed);
            let made = Guest::start(&self.shared, &self.bundle, &self.tree, &self.choice, number, patience)?;
            if let Some(network) = &made.network {
                self.forwards.resume(network.namespace())?;
            }
            *guest = Some(made);
        }
        Ok(())
    }

    fn reach(&self, port: u16) -> Result<(), DriverError> {
        let guest = self.lock();
        let network = guest.as_ref().filter(|g| g.is_alive()).and_then(|g| g.network.as_ref());
        self.forwards.add(port, network.map(PrivateNetwork::namespace))
    }

    /// Takes the guest away, to be ended by being dropped.
    fn take(&self) -> Option<Guest> {
        self.forwards.pause();
        self.lock().take()
    }
}

impl GvisorCell {
    pub(crate) fn new(
        shared: Arc<Shared>,
        cgroups: &Cgroups,
        request: &CellRequest,
        choice: Choice,
        patience: Duration,
    ) -> Result<Self, DriverError> {
        let awake = reaper::Awake::new();
        let limits = &request.limits;
        let pids = limits.pids.or(shared.options.default_pids);
        let host = Limits {
            pids: pids.map(|n| n.saturating_mul(TASKS_PER_PROCESS).saturating_add(OWN_TASKS)),
            memory_bytes: limits.memory_bytes.map(|n| n.saturating_add(OWN_MEMORY)),
            ..limits.clone()
        };
        let tree = Arc::new(Tree::new(cgroups, &shared.tag, request.attempt, &host, None)?);
        // Processes are counted inside, exactly and for all of them, as they belong to one user; process 1
        // is one of them. Memory can be limited by groups alone: gVisor holds no process to its share.
        let mut rlimits = vec![(libc::RLIMIT_NOFILE, shared.options.open_files), (libc::RLIMIT_CORE, 0)];
        rlimits.extend(pids.map(|n| (libc::RLIMIT_NPROC, n.saturating_add(1))));
        if limits.memory_bytes.is_some() && tree.rlimits.iter().any(|(r, _)| *r == libc::RLIMIT_DATA) {
            let _ = tree.groups.remove();
            return Err(DriverError::new(DriverErrorKind::Unsupported, NO_MEMORY_LIMIT));
        }
        let directory = shared.state.join(request.attempt.to_string());
        let mut writable = vec![request.workspace.clone(), request.temp.clone()];
        writable.extend(request.mounts.iter().filter(|m| m.writable).map(|m| m.inside.clone()));
        let made = Bundle::make(&shared, request, &rlimits, choice.identity, directory.clone());
        let bundle = made.inspect_err(|_| {
            let _ = crate::spec::remove(&directory);
            let _ = tree.groups.remove();
        })?;
        let mut cell = Self {
            inner: Arc::new(Inner {
                shared,
                tree,
                bundle,
                choice,
                env: request.root.as_ref().map(|r| r.env.clone()).unwrap_or_default(),
                writable,
                guest: Mutex::new(None),
                forwards: Forwards::default(),
                next_guest: AtomicU32::new(0),
            }),
            record: BoundaryRecord::default(),
            torn_down: AtomicBool::new(false),
            _awake: awake,
        };
        // Failing here drops the cell, which leaves nothing.
        cell.inner.ensure(patience)?;
        cell.record = cell.describe(request, pids);
        Ok(cell)
    }

    fn describe(&self, request: &CellRequest, pids: Option<u64>) -> BoundaryRecord {
        let inner = &self.inner;
        let options = &inner.shared.options;
        let mut namespaces = vec!["mount", "pid", "ipc", "uts"];
        if inner.choice.identity == crate::spec::Identity::Mapped {
            namespaces.insert(0, "user");
        }
        if options.network != Network::Host {
            namespaces.push("net");
        }
        let mut limits = inner.tree.groups.in_force.clone();
        let host_pids = limits.shift_remove("pids").filter(|_| inner.tree.groups.contains());
        limits.shift_remove("memory_bytes");
        let mut put = |name: &str, value: String| limits.insert(name.to_owned(), value);
        if let Some(pids) = pids {
            put("pids", pids.to_string());
        }
        if let Some(host) = host_pids {
            put("gvisor_host_tasks", host);
        }
        if let Some(bytes) = request.limits.memory_bytes {
            put("memory_bytes", bytes.to_string());
            put("gvisor_own_memory_bytes", OWN_MEMORY.to_string());
        }
        put("tmp_bytes", options.tmp_bytes.to_string());
        put("shm_bytes", options.shm_bytes.to_string());
        put("open_files", options.open_files.to_string());
        let version = &inner.shared.version;
        let platform = &inner.choice.platform;
        BoundaryRecord {
            boundary: Boundary::Gvisor,
            driver: format!("gvisor/{} (runsc {version}, {platform})", env!("CARGO_PKG_VERSION")),
            namespaces: namespaces.into_iter().map(str::to_owned).collect(),
            capabilities: Some(Vec::new()),
            seccomp: None,
            landlock_abi: None,
            containment: inner.shared.containment.to_owned(),
            limits,
            user: inner.choice.identity.user(inner.shared.options.host_ids),
            network: options.network.as_str().to_owned(),
            kernel: inner.lock().as_ref().map_or_else(String::new, |g| g.kernel.clone()),
            image: request.root.as_ref().map(|r| r.image.clone()),
        }
    }

    fn spawn_request(&self, command: &Command) -> Result<Spawn, DriverError> {
        let nul = |text: &String| text.contains('\0');
        if nul(&command.program) || command.args.iter().any(nul) {
            return Err(DriverError::new(DriverErrorKind::Other, "an argument contains a NUL byte"));
        }
        let mut env = command.env.clone();
        for (name, value) in &self.inner.env {
            env.entry(name.clone()).or_insert_with(|| value.clone());
        }
        // The home of the runner is not there.
        if let Some(value) = env.get_mut("HOME")
            && !self.inner.writable.iter().any(|w| Path::new(&**value).starts_with(w))
        {
            *value = HOME.to_owned();
        }
        let changed = Command { env, ..command.clone() };
        let envp = environment(&changed, &self.inner.tree.markers)?;
        Ok(Spawn {
            programs: programs(&changed)?,
            argv: std::iter::once(&command.program).chain(&command.args).cloned().collect(),
            envp: envp.into_iter().map(std::ffi::CString::into_bytes).collect(),
            directory: path_text(&command.working_directory)?,
        })
    }

    async fn start_command(&self, command: &Command) -> Result<Running, DriverError> {
        let request = self.spawn_request(command)?;
        if !self.inner.lock().as_ref().is_some_and(Guest::is_alive) {
            let inner = self.inner.clone();
            let made = tokio::task::spawn_blocking(move || inner.ensure(PATIENCE));
            made.await.map_err(|_| DriverError::new(DriverErrorKind::Other, "the runner is stopping"))??;
        }
        let (stdout, stdout_write) = pipe()?;
        let (stderr, stderr_write) = match command.merge_output {
            true => (None, None),
            false => pipe().map(|(read, write)| (Some(read), Some(write)))?,
        };
        let stdin = if command.stdin.is_empty() {
            self.inner.shared.null.try_clone()
        } else {
            memory_file(&command.stdin)
        }
        .map_err(|e| DriverError::io("cannot prepare standard input", e))?;
        let fds =
            [stdin.as_fd(), stdout_write.as_fd(), stderr_write.as_ref().unwrap_or(&stdout_write).as_fd()];
        let (pid, start_ticks, link) = match self.inner.lock().as_ref() {
            Some(guest) => (guest.pid, guest.start_ticks, guest.link.clone()),
            None => return Err(gone()),
        };
        let (id, started, exit) = link.spawn(&request, fds).map_err(|_| gone())?;
        drop((stdout_write, stderr_write, stdin));
        let shown = request.programs.last().map_or_else(PathBuf::new, PathBuf::from);
        match tokio::time::timeout(PATIENCE, started).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err((stage, errno)))) => {
                return Err(not_started(&start_error(stage, errno), command, &shown));
            }
            Ok(Err(_)) => return Err(gone()),
            Err(_) => {
                let message = "process 1 of the gVisor guest does not answer";
                return Err(DriverError::new(DriverErrorKind::Unavailable, message));
            }
        }
        Ok(Running {
            pid: pid.cast_unsigned(),
            start_ticks,
            stdout: Box::new(receiver(stdout)?),
            stderr: match stderr {
                Some(stderr) => Box::new(receiver(stderr)?),
                None => Box::new(tokio::io::empty()),
            },
            handle: Box::new(GvisorHandle { link, id, exit }),
        })
    }

    /// Ends the guest, and with it everything inside.
    fn end_guest(&self) {
        drop(self.inner.take());
    }
}

fn gone() -> DriverError {
    DriverError::new(DriverErrorKind::Other, "the gVisor guest ended before the command started")
}

#[async_trait]
impl Cell for GvisorCell {
    fn record(&self) -> BoundaryRecord {
        self.record.clone()
    }

    fn inside(&self, host: &Path) -> PathBuf {
        host.to_path_buf()
    }

    async fn reach(&self, port: u16) -> Result<(), DriverError> {
        let inner = self.inner.clone();
        match inner.shared.options.network {
            Network::Host => Ok(()),
            // The socket is made by a thread of its own; nobody else shall wait with it.
            Network::Private => tokio::task::spawn_blocking(move || inner.reach(port))
                .await
                .map_err(|_| DriverError::new(DriverErrorKind::Other, "the runner is stopping"))?,
            Network::None => {
                let message = format!(
                    "a gVisor cell without a network cannot reach port {port} of a service: set \
                     `gvisor_network` to `private`"
                );
                Err(DriverError::new(DriverErrorKind::Unsupported, message))
            }
        }
    }

    async fn start(&self, command: Command) -> Result<Running, DriverError> {
        self.start_command(&command).await
    }

    async fn kill_all(&self) {
        let guest = self.inner.take();
        // Its end is waited for, and nobody else shall wait with it.
        let _ = tokio::task::spawn_blocking(move || drop(guest)).await;
        self.inner.tree.end_all().await;
    }

    async fn tear_down(&self) -> Result<(), DriverError> {
        self.kill_all().await;
        let groups = self.inner.tree.groups.remove();
        groups.map_err(|e| DriverError::io("cannot remove the control groups of the job", e))?;
        let bundle = self.inner.bundle.remove();
        bundle.map_err(|e| DriverError::io("cannot remove the bundle of the job", e))?;
        self.torn_down.store(true, Ordering::Release);
        Ok(())
    }
}

impl Drop for GvisorCell {
    /// Whoever drops a cell in the middle (a runtime that shuts down) leaves no processes either.
    fn drop(&mut self) {
        if !self.torn_down.load(Ordering::Acquire) {
            self.end_guest();
            self.inner.tree.end_now();
            let _ = self.inner.bundle.remove();
        }
    }
}
