//! One cell: its zygote, the groups that hold everything, and how commands are
//! started. Ending everything ends the zygote too; the next command makes a
//! new one, with a fresh `/tmp`.

use crate::driver::{self, Root, Shared};
use crate::sys;
use crate::volume::Volume;
use crate::wire::{Request, Setup, Shown};
use crate::zygote::{HostIds, Zygote};
use async_trait::async_trait;
use fleetfoot_driver::{Cell, CellRequest, Command, DriverError, DriverErrorKind, Running};
use fleetfoot_driver_linux::cgroup::Cgroups;
use fleetfoot_driver_linux::handle::ProcessHandle;
use fleetfoot_driver_linux::io::{environment, memory_file, pipe, receiver};
use fleetfoot_driver_linux::lookup::{not_started, not_text, path_text, programs};
use fleetfoot_driver_linux::network::{Forwards, NAME_SERVER};
use fleetfoot_driver_linux::spawn::{await_program, open_pidfd};
use fleetfoot_driver_linux::tree::Tree;
use fleetfoot_driver_linux::{procfs, reaper};
use fleetfoot_model::boundary::{Boundary, BoundaryRecord};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) struct SandboxCell {
    shared: Arc<Shared>,
    tree: Arc<Tree>,
    setup: Setup,
    host_ids: HostIds,
    zygote: Mutex<Option<Zygote>>,
    /// The workspace, where its size is limited.
    volume: Mutex<Option<Volume>>,
    /// The image that is the root, and what it sets.
    image: Option<String>,
    image_env: Vec<(String, String)>,
    forwards: Forwards,
    record: BoundaryRecord,
    next_command: AtomicU32,
    torn_down: AtomicBool,
    _awake: reaper::Awake,
}

impl SandboxCell {
    pub(crate) fn new(
        shared: Arc<Shared>,
        cgroups: &Cgroups,
        request: &CellRequest,
        volume: Option<Volume>,
    ) -> Result<Self, DriverError> {
        let awake = reaper::Awake::new();
        let setup = setup(&shared, request);
        let host_ids = if setup.id_mapped || !shared.privileged {
            shared.host_ids
        } else {
            // The files are root's, and only root can work with them.
            HostIds { uid: 0, gid: 0 }
        };
        let pids = shared.options.default_pids;
        let tree = Tree::new(cgroups, &shared.tag, request.attempt, &request.limits, pids)?;
        let mut cell = Self {
            tree: Arc::new(tree),
            setup,
            host_ids,
            zygote: Mutex::new(None),
            volume: Mutex::new(volume),
            image: request.root.as_ref().map(|r| r.image.clone()),
            image_env: request.root.as_ref().map_or_else(Vec::new, |r| r.env.clone()),
            forwards: Forwards::default(),
            record: BoundaryRecord::default(),
            next_command: AtomicU32::new(0),
            torn_down: AtomicBool::new(false),
            shared,
            _awake: awake,
        };
        let zygote = cell.make_zygote()?;
        cell.record = cell.describe(&zygote);
        cell.zygote = Mutex::new(Some(zygote));
        Ok(cell)
    }

    fn make_zygote(&self) -> Result<Zygote, DriverError> {
        let number = self.next_command.fetch_add(1, Ordering::Relaxed);
        let group = self
            .tree
            .groups
            .make_command(number)
            .map_err(|e| DriverError::io("cannot make a control group for the sandbox", e))?;
        let id_map = self.shared.id_map.as_ref().filter(|_| self.setup.id_mapped);
        let zygote = Zygote::start(
            &self.setup,
            self.host_ids,
            id_map.map(AsFd::as_fd),
            &group,
            self.shared.null.as_fd(),
        )?;
        Ok(zygote)
    }

    fn describe(&self, zygote: &Zygote) -> BoundaryRecord {
        let mut namespaces: Vec<String> =
            ["user", "mount", "pid", "ipc", "uts", "cgroup"].iter().map(|s| (*s).to_owned()).collect();
        if self.setup.isolate_network {
            namespaces.push("net".into());
        }
        let mut limits = self.tree.groups.in_force.clone();
        limits.insert("tmp_bytes".into(), self.setup.tmp_bytes.to_string());
        limits.insert("shm_bytes".into(), self.setup.shm_bytes.to_string());
        if let Some(bytes) = self.shared.options.workspace_bytes {
            limits.insert("workspace_bytes".into(), bytes.to_string());
        }
        for (resource, value) in &zygote.rlimits {
            if *resource == libc::RLIMIT_NOFILE {
                limits.insert("open_files".into(), value.to_string());
            }
        }
        if !zygote.missing.is_empty() {
            tracing::debug!(missing = ?zygote.missing, "the sandbox is without some parts");
        }
        let (inside, host) = ((self.setup.uid, self.setup.gid), (self.host_ids.uid, self.host_ids.gid));
        let user = if inside == host {
            format!("{}:{}", inside.0, inside.1)
        } else {
            format!("{}:{} (host {}:{})", inside.0, inside.1, host.0, host.1)
        };
        BoundaryRecord {
            boundary: Boundary::Sandbox,
            driver: concat!("sandbox/", env!("CARGO_PKG_VERSION")).to_owned(),
            namespaces,
            capabilities: Some(Vec::new()),
            seccomp: Some(self.shared.profile.hash.clone()),
            landlock_abi: (zygote.landlock_abi > 0)
                .then(|| zygote.landlock_abi.min(crate::landlock::NEWEST_NUMBER)),
            containment: self.shared.containment.to_owned(),
            limits,
            user,
            network: self.shared.options.network.as_str().to_owned(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            image: self.image.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Zygote>> {
        self.zygote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_command(&self, command: &Command) -> Result<Running, DriverError> {
        let programs = programs(command)?;
        let request = self.request(command, &programs)?;
        let number = self.next_command.fetch_add(1, Ordering::Relaxed);
        let group = self
            .tree
            .groups
            .make_command(number)
            .map_err(|e| DriverError::io("cannot make a control group for the command", e))?;
        let (stdout, stdout_write) = pipe()?;
        let (stderr, stderr_write) = match command.merge_output {
            true => (None, None),
            false => pipe().map(|(read, write)| (Some(read), Some(write)))?,
        };
        let stdin =
            if command.stdin.is_empty() { self.shared.null.try_clone() } else { memory_file(&command.stdin) }
                .map_err(|e| DriverError::io("cannot prepare standard input", e))?;
        let (report, report_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|e| DriverError::io("cannot make a pipe", e.into()))?;
        let mut fds: Vec<BorrowedFd<'_>> = vec![
            stdin.as_fd(),
            stdout_write.as_fd(),
            stderr_write.as_ref().unwrap_or(&stdout_write).as_fd(),
            report_write.as_fd(),
        ];
        let birth = group.birth();
        fds.extend(birth.iter().map(|(fd, _)| *fd));
        fds.extend(group.tasks());
        fds.extend(self.tree.groups.tasks());
        let request = Request { cgroup: birth.is_some(), ..request };
        let pid = self.spawn(request, &fds)?;
        drop((stdout_write, stderr_write, report_write));
        let shown = programs.last().map_or_else(PathBuf::new, PathBuf::from);
        let pidfd = open_pidfd(pid).map_err(|e| e.explain(command, &shown))?;
        if let Err(error) = await_program(&report) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            }
            reaper::release(pid);
            return Err(not_started(&error, command, &shown));
        }
        self.tree.add_session(pid);
        let start_ticks = procfs::stat(pid).map_or(0, |s| s.start_ticks);
        let handle = ProcessHandle::new(pid, pidfd, group, self.tree.clone())
            .map_err(|e| DriverError::io("cannot watch the command", e))?;
        Ok(Running {
            pid: pid.cast_unsigned(),
            start_ticks,
            stdout: Box::new(receiver(stdout)?),
            stderr: match stderr {
                Some(stderr) => Box::new(receiver(stderr)?),
                None => Box::new(tokio::io::empty()),
            },
            handle: Box::new(handle),
        })
    }

    /// Has the zygote make a process; a new one is made if none lives.
    fn spawn(&self, request: Request, fds: &[BorrowedFd<'_>]) -> Result<i32, DriverError> {
        let mut zygote = self.lock();
        if let Some(zygote) = zygote.as_ref().filter(|z| z.is_alive()) {
            return zygote.spawn(request, fds);
        }
        *zygote = None;
        let fresh = self.make_zygote()?;
        self.forwards.resume(&fresh)?;
        zygote.insert(fresh).spawn(request, fds)
    }

    fn request(&self, command: &Command, programs: &[String]) -> Result<Request, DriverError> {
        let nul = |text: &String| text.contains('\0');
        if nul(&command.program) || command.args.iter().any(nul) {
            return Err(DriverError::new(DriverErrorKind::Other, "an argument contains a NUL byte"));
        }
        let mut command_env = command.env.clone();
        for (name, value) in &self.image_env {
            command_env.entry(name.clone()).or_insert_with(|| value.clone());
        }
        // The home of the runner is not there.
        if let Some(value) = command_env.get_mut("HOME")
            && !self.setup.writable.iter().any(|w| Path::new(&**value).starts_with(&w.inside))
        {
            *value = driver::home().display().to_string();
        }
        let changed = Command { env: command_env, ..command.clone() };
        let envp = environment(&changed, &self.tree.markers)?;
        let text = |c: CString| c.into_string().map_err(|_| not_text());
        Ok(Request {
            programs: programs.to_vec(),
            argv: std::iter::once(&command.program).chain(&command.args).cloned().collect(),
            envp: envp.into_iter().map(text).collect::<Result<_, _>>()?,
            directory: path_text(&command.working_directory)?,
            cgroup: false,
            rlimits: self.tree.rlimits.clone(),
        })
    }

    /// Ends zygote and process 1, and with process 1 everything in the namespace.
    fn end_zygote(&self) {
        self.forwards.pause();
        self.lock().take();
    }
}

/// What the zygote is to build.
fn setup(shared: &Shared, request: &CellRequest) -> Setup {
    let options = &shared.options;
    let (read_only, writable) = shown(request);
    Setup {
        privileged: shared.privileged,
        id_mapped: shared.id_map.as_ref().is_some_and(|map| can_map(&writable, map.as_fd())),
        uid: shared.inside_ids.0,
        gid: shared.inside_ids.1,
        base: match (&request.root, &options.root) {
            (Some(root), _) => root.directory.clone(),
            (None, Root::Host) => "/".into(),
            (None, Root::Directory(path)) => path.clone(),
        },
        image: request.root.is_some() || options.root != Root::Host,
        read_only,
        writable,
        isolate_network: options.network != driver::Network::Host,
        name_server: (options.network == driver::Network::Private).then(|| NAME_SERVER.to_owned()),
        tmp_bytes: options.tmp_bytes,
        shm_bytes: options.shm_bytes,
        rlimits: vec![
            (libc::RLIMIT_NOFILE, options.open_files),
            (libc::RLIMIT_CORE, 0),
            (libc::RLIMIT_NICE, 0),
            (libc::RLIMIT_RTPRIO, 0),
        ],
        oom_score_adj: options.oom_score_adj.map(|v| v.to_string()),
        seccomp: shared.profile.filter.clone(),
    }
}

/// What the job sees beside its root: for reading, for writing; parents first, each place once.
fn shown(request: &CellRequest) -> (Vec<Shown>, Vec<Shown>) {
    let same = |path: &PathBuf| Shown { inside: path.clone(), host: path.clone(), own: false };
    let asked = |writable: bool| {
        request.mounts.iter().filter(move |m| m.writable == writable).map(|m| Shown {
            inside: m.inside.clone(),
            host: m.host.clone(),
            own: true,
        })
    };
    let mut writable = vec![same(&request.workspace), same(&request.temp)];
    writable.extend(asked(true));
    let mut read_only: Vec<Shown> = asked(false).collect();
    for list in [&mut read_only, &mut writable] {
        list.sort();
        list.dedup_by(|a, b| a.inside == b.inside);
    }
    // What may be written somewhere is not also shown for reading there.
    read_only.retain(|r| !writable.iter().any(|w| w.inside == r.inside));
    (read_only, writable)
}

/// Whether the owners of these directories can be shown as somebody else.
fn can_map(shown: &[Shown], map: BorrowedFd<'_>) -> bool {
    shown.iter().all(|one| {
        sys::clone_tree(&one.host, false)
            .and_then(|tree| sys::set_attributes(tree.as_fd(), false, 0, Some(map)))
            .is_ok()
    })
}

#[async_trait]
impl Cell for SandboxCell {
    fn record(&self) -> BoundaryRecord {
        self.record.clone()
    }

    fn inside(&self, host: &Path) -> PathBuf {
        // Workspace and temporary directory have the host's names; mounts may have others.
        let places = self.setup.read_only.iter().chain(&self.setup.writable);
        places
            .filter(|one| one.inside != one.host)
            .filter_map(|one| {
                let rest = host.strip_prefix(&one.host).ok()?;
                Some((one.host.as_os_str().len(), one.inside.join(rest)))
            })
            .max_by_key(|(length, _)| *length)
            .map_or_else(|| host.to_path_buf(), |(_, inside)| inside)
    }

    async fn reach(&self, port: u16) -> Result<(), DriverError> {
        if !self.setup.isolate_network {
            return Ok(());
        }
        let zygote = self.lock();
        self.forwards.add(port, zygote.as_ref().filter(|z| z.is_alive()))
    }

    async fn start(&self, command: Command) -> Result<Running, DriverError> {
        self.start_command(&command)
    }

    async fn kill_all(&self) {
        self.end_zygote();
        self.tree.end_all().await;
    }

    async fn tear_down(&self) -> Result<(), DriverError> {
        self.kill_all().await;
        self.tree
            .groups
            .remove()
            .map_err(|e| DriverError::io("cannot remove the control groups of the job", e))?;
        let volume = self.volume.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut volume) = volume {
            volume.remove().map_err(|e| DriverError::io("cannot remove the volume of the workspace", e))?;
        }
        self.torn_down.store(true, Ordering::Release);
        Ok(())
    }
}

impl Drop for SandboxCell {
    /// Whoever drops a cell in the middle (a runtime that shuts down) leaves no processes either.
    fn drop(&mut self) {
        if !self.torn_down.load(Ordering::Acquire) {
            self.end_zygote();
            self.tree.end_now();
        }
    }
}
