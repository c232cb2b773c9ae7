//! One running guest: starts `runsc`, talks to process 1 inside, and ends it.
//! It must never wait without a deadline: a platform may hang, and a job may
//! have stopped process 1.

use crate::driver::{Network, Shared};
use crate::platform::Choice;
use crate::spec::{Bundle, Identity};
use crate::wire::{self, Reply, Spawn};
use fleetfoot_driver::{DriverError, DriverErrorKind, Exit};
use fleetfoot_driver_linux::cgroup::CommandGroup;
use fleetfoot_driver_linux::io::{c_path, c_string};
use fleetfoot_driver_linux::network::PrivateNetwork;
use fleetfoot_driver_linux::spawn::{self, Enter, Plan, STAGES, SpawnError, Stage};
use fleetfoot_driver_linux::tree::Tree;
use fleetfoot_driver_linux::{procfs, reaper};
use fleetfoot_model::sync::Usage;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// How long a guest may take to start, and process 1 for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long ended processes may take to be gone.
const END: Duration = Duration::from_secs(5);
/// Of what `runsc` says when it fails, this much is passed on.
const SAID: usize = 600;

type StartReply = Result<(), (Stage, i32)>;

/// A command that was asked for.
struct Entry {
    started: Option<oneshot::Sender<StartReply>>,
    exit: watch::Sender<Option<Exit>>,
    /// CPU time of the guest when it started, microseconds.
    cpu: (u64, u64),
}

#[derive(Default)]
struct Commands {
    next: u32,
    open: HashMap<u32, Entry>,
    gone: bool,
}

/// What the reader of answers, the handles and the cell share.
pub(crate) struct Link {
    socket: UnixStream,
    commands: Mutex<Commands>,
    group: CommandGroup,
    tree: Arc<Tree>,
}

/// A running guest; ended when dropped.
pub(crate) struct Guest {
    pub(crate) link: Arc<Link>,
    /// Of `runsc`, which leads a process group.
    pub(crate) pid: i32,
    pub(crate) start_ticks: u64,
    pidfd: OwnedFd,
    /// Ended with the guest.
    pub(crate) network: Option<PrivateNetwork>,
    /// Release of the kernel that the job sees.
    pub(crate) kernel: String,
}

impl Guest {
    /// Starts the guest of a bundle and waits until process 1 answers.
    pub(crate) fn start(
        shared: &Shared,
        bundle: &Bundle,
        tree: &Arc<Tree>,
        choice: &Choice,
        number: u32,
        patience: Duration,
    ) -> Result<Self, DriverError> {
        let group = tree
            .groups
            .make_command(number)
            .map_err(|e| DriverError::io("cannot make a control group for gVisor", e))?;
        let network = (shared.options.network == Network::Private)
            .then(PrivateNetwork::start)
            .transpose()
            .map_err(|e| DriverError::io("cannot connect the private network", e))?;
        let no_socket = |e| DriverError::io("cannot make a socket for gVisor", e);
        let (socket, theirs) = UnixStream::pair().map_err(no_socket)?;
        socket.set_write_timeout(Some(PATIENCE)).map_err(no_socket)?;
        let log_path = bundle.directory.join("runsc.log");
        let log = std::fs::File::create(&log_path)
            .map_err(|e| DriverError::io("cannot make the log of gVisor", e))?;
        let mut plan = plan(shared, bundle, tree, &group, choice, number, &theirs, &log)?;
        plan.enter.network = network.as_ref().map(|n| n.namespace().fd().as_raw_fd());
        let spawned = spawn::spawn(&plan).map_err(|e| {
            DriverError::io(format!("cannot start '{}' ({:?})", shared.runsc.display(), e.stage), e.source)
        })?;
        drop((theirs, log));
        tree.add_session(spawned.pid);
        let link = Arc::new(Link { socket, commands: Mutex::default(), group, tree: tree.clone() });
        let (sender, ready) = channel();
        let mut guest = Self {
            pid: spawned.pid,
            start_ticks: procfs::stat(spawned.pid).map_or(0, |s| s.start_ticks),
            pidfd: spawned.pidfd,
            network,
            kernel: String::new(),
            link: link.clone(),
        };
        let read = std::thread::Builder::new().name("fleetfoot-gvisor".into()).spawn(move || {
            match wire::receive(&link.socket) {
                Ok(Reply::Ready(kernel)) => drop(sender.send(kernel)),
                _ => drop(sender),
            }
            link.read();
        });
        read.map_err(|e| DriverError::io("cannot start a thread for gVisor", e))?;
        match ready.recv_timeout(patience) {
            Ok(kernel) => guest.kernel = kernel,
            Err(RecvTimeoutError::Timeout) => {
                let message = format!("no answer within {} s", patience.as_secs_f64());
                return Err(DriverError::new(DriverErrorKind::Unavailable, message));
            }
            Err(RecvTimeoutError::Disconnected) => return Err(said(&log_path)),
        }
        Ok(guest)
    }

    /// Whether it still answers.
    pub(crate) fn is_alive(&self) -> bool {
        !self.link.lock().gone
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one plan, used once")]
fn plan(
    shared: &Shared,
    bundle: &Bundle,
    tree: &Tree,
    group: &CommandGroup,
    choice: &Choice,
    number: u32,
    socket: &UnixStream,
    log: &std::fs::File,
) -> Result<Plan, DriverError> {
    let state = bundle.directory.join(format!("runsc-{number}"));
    // `host` is what `runsc` finds itself in: with a private network, the namespace of the cell.
    let network = if shared.options.network == Network::None { "none" } else { "host" };
    // It names a socket of the whole machine.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = format!("fleetfoot-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let argv = [
        "runsc".to_owned(),
        format!("--root={}", state.display()),
        format!("--platform={}", choice.platform),
        format!("--network={network}"),
        "--ignore-cgroups".to_owned(),
        "run".to_owned(),
        format!("--bundle={}", bundle.directory.display()),
        id,
    ];
    let mut envp = vec![c_string("PATH=/usr/sbin:/usr/bin:/sbin:/bin")?];
    for marker in &tree.markers {
        envp.push(c_string(marker)?);
    }
    let users = shared.users.as_ref().filter(|_| choice.identity == Identity::Mapped);
    let score = shared.options.oom_score_adj.map(|v| c_string(&v.to_string())).transpose()?;
    Ok(Plan {
        program: c_path(&shared.runsc)?,
        argv: argv.iter().map(|a| c_string(a)).collect::<Result<_, _>>()?,
        envp,
        directory: c_path(Path::new("/"))?,
        stdin: socket.as_raw_fd(),
        stdout: log.as_raw_fd(),
        stderr: log.as_raw_fd(),
        cgroup: match group.birth() {
            Some((fd, procs)) => Some((fd.as_raw_fd(), c_path(&procs)?)),
            None => None,
        },
        tasks: group.tasks().into_iter().chain(tree.groups.tasks()).map(|fd| fd.as_raw_fd()).collect(),
        rlimits: Vec::new(),
        enter: Enter { network: None, user: users.map(AsRawFd::as_raw_fd) },
        oom_score_adj: score,
    })
}

/// The end of what `runsc` said before it gave up.
fn said(log: &Path) -> DriverError {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it said nothing").trim();
    let short: String = line.chars().take(SAID).collect();
    // What its parser of flags does not know, no other user of it can have either.
    let unknown = text.contains("invalid platform") || text.contains("unknown platform");
    let kind = if unknown { DriverErrorKind::Unavailable } else { DriverErrorKind::Unsupported };
    DriverError::new(kind, format!("runsc ended: {short}"))
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, Commands> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a command; what became of the start, and of the command, come by the channels.
    pub(crate) fn spawn(
        &self,
        spawn: &Spawn,
        fds: [BorrowedFd<'_>; 3],
    ) -> io::Result<(u32, oneshot::Receiver<StartReply>, watch::Receiver<Option<Exit>>)> {
        let (started, will_start) = oneshot::channel();
        let (exit, will_exit) = watch::channel(None);
        // Held while it is sent: requests of two commands must not mix.
        let mut commands = self.lock();
        if commands.gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        commands.next += 1;
        let id = commands.next;
        let cpu = self.group.cpu().unwrap_or_default();
        commands.open.insert(id, Entry { started: Some(started), exit, cpu });
        if let Err(error) = wire::send_spawn(&self.socket, id, spawn, fds) {
            commands.open.remove(&id);
            return Err(error);
        }
        Ok((id, will_start, will_exit))
    }

    /// Signals the group of a command, or ends its tree.
    pub(crate) fn signal(&self, id: u32, signal: i32, tree: bool) {
        let commands = self.lock();
        if !commands.gone {
            let _ = wire::send_signal(&self.socket, id, signal, tree);
        }
    }

    /// Takes answers until nobody answers any more; whatever still ran was ended then.
    fn read(&self) {
        while let Ok(reply) = wire::receive(&self.socket) {
            self.take(&reply);
        }
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let mut commands = self.lock();
        commands.gone = true;
        let mut exit = Exit { signal: Some(libc::SIGKILL), ..Exit::default() };
        exit.out_of_memory = self.tree.ended_for_memory(&exit);
        for (_, entry) in commands.open.drain() {
            let usage = self.used(&entry, Usage::default());
            let _ = entry.exit.send(Some(Exit { usage, ..exit }));
        }
    }

    fn take(&self, reply: &Reply) {
        let mut commands = self.lock();
        match *reply {
            Reply::Ready(_) => {}
            Reply::Started { id } => {
                if let Some(started) = commands.open.get_mut(&id).and_then(|e| e.started.take()) {
                    let _ = started.send(Ok(()));
                }
            }
            Reply::Failed { id, stage, errno } => {
                let stage = STAGES.into_iter().find(|s| *s as i32 == stage).unwrap_or(Stage::Exec);
                if let Some(started) = commands.open.remove(&id).and_then(|e| e.started) {
                    let _ = started.send(Err((stage, errno)));
                }
            }
            Reply::Ended { id, status, user_us, system_us, max_rss_bytes } => {
                let Some(entry) = commands.open.remove(&id) else { return };
                let inside = Usage {
                    cpu_user_us: user_us,
                    cpu_system_us: system_us,
                    max_rss_bytes,
                    ..Usage::default()
                };
                let mut exit = Exit { usage: self.used(&entry, inside), ..Exit::default() };
                if libc::WIFSIGNALED(status) {
                    exit.signal = Some(libc::WTERMSIG(status));
                } else {
                    exit.code = Some(libc::WEXITSTATUS(status));
                }
                exit.out_of_memory = self.tree.ended_for_memory(&exit);
                let _ = entry.exit.send(Some(exit));
            }
        }
    }

    /// The guest's own work is part of what a command costs, so the group of the guest tells the CPU time;
    /// commands that run beside each other are both told all of it.
    fn used(&self, entry: &Entry, inside: Usage) -> Usage {
        let Some((user, system)) = self.group.cpu() else { return inside };
        Usage {
            cpu_user_us: inside.cpu_user_us.max(user.saturating_sub(entry.cpu.0)),
            cpu_system_us: inside.cpu_system_us.max(system.saturating_sub(entry.cpu.1)),
            ..inside
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Process 1 ends with its socket; the signals are for whatever does not listen.
        let _ = self.link.socket.shutdown(std::net::Shutdown::Both);
        let kill = rustix::process::Signal::KILL;
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, kill);
        self.link.group.end();
        let Some(pid) = rustix::process::Pid::from_raw(self.pid) else { return };
        let _ = rustix::process::kill_process_group(pid, kill);
        let deadline = Instant::now() + END;
        while let Ok(None) = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG) {
            if Instant::now() > deadline {
                tracing::error!(pid = self.pid, "runsc does not end: it waits inside the kernel");
                break;
            }
            let mut poll = [rustix::event::PollFd::new(&self.pidfd, rustix::event::PollFlags::IN)];
            let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            let _ = rustix::event::poll(&mut poll, Some(&pause));
        }
        reaper::release(self.pid);
    }
}

/// A failed start in the words of the other boundaries.
pub(crate) fn start_error(stage: Stage, errno: i32) -> SpawnError {
    SpawnError { stage, source: io::Error::from_raw_os_error(errno) }
}

impl Identity {
    /// For the record: who a job is inside, who its kernel is on the host (`own`), and whose its files are there.
    pub(crate) fn user(self, own: (u32, u32)) -> String {
        match self {
            Self::Mapped => format!("1000:1000 (host {}:{}, files 0:0)", own.0, own.1),
            Self::Same => "0:0".to_owned(),
        }
    }
}
