//! The runner's side of a zygote: starts it, writes its ids, asks it for
//! commands, and ends it. It must never wait for it without a deadline.

use crate::inside;
use crate::wire::{self, Ask, Mapped, Reply, Request, Setup};
use fleetfoot_driver::{DriverError, DriverErrorKind};
use fleetfoot_driver_linux::cgroup::CommandGroup;
use fleetfoot_driver_linux::io::c_path;
use fleetfoot_driver_linux::network::{Listen, Slirp};
use fleetfoot_driver_linux::reaper;
use fleetfoot_driver_linux::spawn::{self, Enter, Plan};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long the zygote may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A living zygote.
pub(crate) struct Zygote {
    socket: UnixStream,
    pub(crate) pid: i32,
    pidfd: OwnedFd,
    /// Ended with the zygote.
    network: Option<Slirp>,
    /// What it told when it was ready.
    pub(crate) landlock_abi: u32,
    pub(crate) rlimits: Vec<(u32, u64)>,
    pub(crate) missing: Vec<String>,
}

/// Ids of the runner's side that the ids inside stand for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostIds {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Zygote {
    /// Starts one and has it build its cell.
    pub(crate) fn start(
        setup: &Setup,
        ids: HostIds,
        id_map: Option<BorrowedFd<'_>>,
        group: &CommandGroup,
        null: BorrowedFd<'_>,
    ) -> Result<Self, DriverError> {
        let (socket, theirs) =
            UnixStream::pair().map_err(|e| DriverError::io("cannot make a socket for the sandbox", e))?;
        if !inside::is_linked() {
            let message = "this program was linked without the entry of the sandbox";
            return Err(DriverError::new(DriverErrorKind::Unsupported, message));
        }
        let birth = match group.birth() {
            Some((fd, procs)) => Some((fd.as_raw_fd(), c_path(&procs)?)),
            None => None,
        };
        let plan = Plan {
            program: c_path(Path::new("/proc/self/exe"))?,
            argv: vec![inside::NAME.to_owned()],
            // No markers: they are for finding what outlives the runner, and this does not.
            envp: Vec::new(),
            directory: c_path(Path::new("/"))?,
            stdin: theirs.as_raw_fd(),
            stdout: null.as_raw_fd(),
            stderr: null.as_raw_fd(),
            cgroup: birth,
            tasks: group.tasks().iter().map(AsRawFd::as_raw_fd).collect(),
            rlimits: Vec::new(),
            enter: Enter::default(),
            oom_score_adj: None,
        };
        let spawned = spawn::spawn(&plan)
            .map_err(|e| DriverError::io(format!("cannot start the sandbox ({:?})", e.stage), e.source))?;
        drop(theirs);
        let mut zygote = Self {
            socket,
            pid: spawned.pid,
            pidfd: spawned.pidfd,
            network: None,
            landlock_abi: 0,
            rlimits: Vec::new(),
            missing: Vec::new(),
        };
        zygote.build(setup, ids, id_map)?;
        Ok(zygote)
    }

    fn build(
        &mut self,
        setup: &Setup,
        ids: HostIds,
        id_map: Option<BorrowedFd<'_>>,
    ) -> Result<(), DriverError> {
        let talk = |e| DriverError::io("the sandbox does not answer", e);
        self.socket.set_read_timeout(Some(PATIENCE)).map_err(talk)?;
        self.socket.set_write_timeout(Some(PATIENCE)).map_err(talk)?;
        let fds: Vec<BorrowedFd<'_>> = id_map.into_iter().collect();
        wire::send(&self.socket, setup, &fds).map_err(talk)?;
        loop {
            let (reply, fds) = self.answer().map_err(talk)?;
            match reply {
                Reply::Connect => {
                    let [user, net] = fds.as_slice() else {
                        return Err(talk(io::ErrorKind::InvalidData.into()));
                    };
                    let network = Slirp::start(Some(user.as_fd()), net.as_fd())
                        .map_err(|e| DriverError::io("cannot connect the private network", e))?;
                    self.network = Some(network);
                    wire::send(&self.socket, &Mapped, &[]).map_err(talk)?;
                }
                Reply::MapIds => {
                    self.write_ids(setup, ids)
                        .map_err(|e| DriverError::io("cannot map the user of the sandbox", e))?;
                    wire::send(&self.socket, &Mapped, &[]).map_err(talk)?;
                }
                Reply::Ready { landlock_abi, rlimits, missing } => {
                    self.landlock_abi = landlock_abi;
                    self.rlimits = rlimits;
                    self.missing = missing;
                    return Ok(());
                }
                Reply::Failed { what, errno } => return Err(explain(&what, errno)),
                Reply::Started { .. } | Reply::Listening => {
                    return Err(talk(io::ErrorKind::InvalidData.into()));
                }
            }
        }
    }

    fn answer(&self) -> io::Result<(Reply, Vec<OwnedFd>)> {
        Ok(wire::receive(&self.socket)?.ok_or(io::ErrorKind::UnexpectedEof)?)
    }

    fn write_ids(&self, setup: &Setup, ids: HostIds) -> io::Result<()> {
        let of = |name: &str| format!("/proc/{}/{name}", self.pid);
        // Without this the kernel lets nobody but root write a table of groups.
        fs::write(of("setgroups"), "deny")?;
        fs::write(of("uid_map"), format!("{} {} 1", setup.uid, ids.uid))?;
        fs::write(of("gid_map"), format!("{} {} 1", setup.gid, ids.gid))
    }

    /// Makes a command; returns its pid, registered as ours.
    pub(crate) fn spawn(&self, request: Request, fds: &[BorrowedFd<'_>]) -> Result<i32, DriverError> {
        let talk = |e| DriverError::io("the sandbox does not answer", e);
        let ask = Ask::Start(request);
        reaper::register(|| {
            wire::send(&self.socket, &ask, fds).map_err(talk)?;
            match self.answer().map_err(talk)?.0 {
                Reply::Started { pid } => Ok(pid),
                Reply::Failed { errno, .. } => {
                    Err(DriverError::io("cannot start another process", io::Error::from_raw_os_error(errno)))
                }
                Reply::MapIds | Reply::Connect | Reply::Listening | Reply::Ready { .. } => {
                    Err(talk(io::ErrorKind::InvalidData.into()))
                }
            }
        })
    }

    /// Whether it still lives; a job cannot end it, but the kernel can, for memory.
    pub(crate) fn is_alive(&self) -> bool {
        let mut poll = [rustix::event::PollFd::new(&self.pidfd, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(rustix::event::poll(&mut poll, Some(&now)), Ok(0))
    }
}

impl Listen for Zygote {
    fn listen(&self, port: u16) -> Result<Vec<OwnedFd>, DriverError> {
        let talk = |e| DriverError::io("the sandbox does not answer", e);
        wire::send(&self.socket, &Ask::Listen(port), &[]).map_err(talk)?;
        match self.answer().map_err(talk)? {
            (Reply::Listening, sockets) => Ok(sockets),
            (Reply::Failed { errno, .. }, _) => {
                let message = format!("port {port} of the sandbox cannot be listened on");
                Err(DriverError::io(message, io::Error::from_raw_os_error(errno)))
            }
            _ => Err(talk(io::ErrorKind::InvalidData.into())),
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid) {
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        }
        reaper::release(self.pid);
    }
}

/// Says what could not be built, and what usually helps.
fn explain(what: &str, errno: i32) -> DriverError {
    let source = (errno != 0).then(|| io::Error::from_raw_os_error(errno));
    let kind = match errno {
        libc::ENOENT => DriverErrorKind::NotFound,
        libc::EPERM | libc::EINVAL | libc::ENOSYS | libc::ENOSPC | libc::EUSERS | libc::ENODEV => {
            DriverErrorKind::Unsupported
        }
        _ => DriverErrorKind::Other,
    };
    let hint = crate::probe::fix(what, errno).map_or_else(String::new, |fix| format!("; {fix}"));
    DriverError { kind, message: format!("cannot {what}{hint}"), source }
}

impl std::fmt::Debug for Zygote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Zygote").field("pid", &self.pid).finish_non_exhaustive()
    }
}
