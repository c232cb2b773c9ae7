//! The zygote: enters the namespaces, has process 1 build the root, gives up
//! what it does not need, then makes commands on request until its socket
//! closes. It is single-threaded, keeps no secret longer than a request, and
//! must never execute anything of the job with a privilege left.

use super::{child, root};
use crate::wire::{self, Ask, Mapped, Reply, Setup};
use crate::{landlock, sys};
use fleetfoot_driver_linux::network;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// What failed, and how.
pub(super) struct Failure {
    pub(super) what: String,
    pub(super) source: io::Error,
}

/// Names what was tried.
pub(super) trait Doing<T> {
    fn doing(self, what: impl Into<String>) -> Result<T, Failure>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|source| Failure { what: what.into(), source })
    }
}

impl Failure {
    fn reply(self) -> Reply {
        Reply::Failed {
            errno: self.source.raw_os_error().unwrap_or(0),
            what: if self.source.raw_os_error().is_some() {
                self.what
            } else {
                format!("{}: {}", self.what, self.source)
            },
        }
    }
}

/// The zygote from beginning to end.
pub(super) fn main() {
    // SAFETY: the runner gives us the socket as standard input; nothing else in this process uses it.
    #[expect(unsafe_code, reason = "taking over an inherited descriptor")]
    let socket = unsafe { UnixStream::from_raw_fd(0) };
    let _ = serve(&socket);
    sys::exit_now(0);
}

fn serve(socket: &UnixStream) -> io::Result<()> {
    let Some((setup, fds)) = wire::receive::<Setup>(socket)? else { return Ok(()) };
    let filter = child::Filter::new(&setup.seccomp);
    // The writing end of the pipe on which process 1 waits: it dies with us.
    let _lifeline = match build(socket, &setup, fds.first(), &filter) {
        Ok(lifeline) => lifeline,
        Err(failure) => return wire::send(socket, &failure.reply(), &[]),
    };
    drop(fds);
    let failed =
        |what: &str, e: io::Error| Reply::Failed { what: what.into(), errno: e.raw_os_error().unwrap_or(0) };
    while let Some((ask, fds)) = wire::receive::<Ask>(socket)? {
        match ask {
            Ask::Start(request) => {
                let reply = match child::start(&setup, &request, &fds, &filter) {
                    Ok(pid) => Reply::Started { pid },
                    Err(e) => failed("fork", e),
                };
                wire::send(socket, &reply, &[])?;
            }
            Ask::Listen(port) => match network::listen_on_loopback(port) {
                Ok(sockets) => {
                    let fds: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
                    wire::send(socket, &Reply::Listening, &fds)?;
                }
                Err(e) => wire::send(socket, &failed("listen", e), &[])?,
            },
        }
    }
    Ok(())
}

fn build(
    socket: &UnixStream,
    setup: &Setup,
    id_map: Option<&OwnedFd>,
    filter: &child::Filter,
) -> Result<OwnedFd, Failure> {
    if let Some(value) = &setup.oom_score_adj {
        let _ = std::fs::write("/proc/self/oom_score_adj", value);
    }
    let early = if setup.privileged { Some(root::take_sources(setup, id_map)?) } else { None };
    if setup.privileged {
        sys::drop_groups().doing("give up supplementary groups")?;
    }
    enter_namespaces(setup)?;
    wire::send(socket, &Reply::MapIds, &[]).doing("ask for the ids")?;
    wire::receive::<Mapped>(socket).doing("wait for the ids")?.ok_or_else(|| Failure {
        what: "wait for the ids".into(),
        source: io::ErrorKind::UnexpectedEof.into(),
    })?;
    // From now on nobody may look into this memory or that of process 1, not even with our user's id.
    sys::prctl(libc::PR_SET_DUMPABLE, 0).doing("hide the memory")?;
    let sources = match early {
        Some(sources) => sources,
        None => {
            sys::make_private().doing("leave the mounts of the host")?;
            root::take_sources(setup, None)?
        }
    };
    if setup.isolate_network {
        network::loopback_up().doing("start the loopback device")?;
        if setup.name_server.is_some() {
            connect(socket)?;
        }
    }
    let (lifeline, missing) = start_init(setup, sources, filter)?;
    let rlimits = give_up(setup)?;
    let landlock_abi = landlock::abi();
    if landlock_abi > 0 {
        let writable: Vec<_> = setup.writable.iter().map(|w| &w.inside).collect();
        landlock::enter(&writable).map_err(|e| Failure {
            what: "enter the Landlock rules".into(),
            source: io::Error::other(e.to_string()),
        })?;
    }
    // Becoming the user of the commands, and listening on low ports for services of the job, is all that
    // is left to do with privileges.
    const NET_BIND_SERVICE: u64 = 1 << 10;
    const SETGID: u64 = 1 << 6;
    const SETUID: u64 = 1 << 7;
    sys::set_capabilities(SETGID | SETUID | NET_BIND_SERVICE).doing("give up capabilities")?;
    wire::send(socket, &Reply::Ready { landlock_abi, rlimits, missing }, &[]).doing("report")?;
    Ok(lifeline)
}

/// Closes the ways to private networks and has the runner connect the rest.
fn connect(socket: &UnixStream) -> Result<(), Failure> {
    network::refused::close().doing("close the ways to private networks")?;
    let open = |kind: &str| std::fs::File::open(format!("/proc/self/ns/{kind}"));
    let user = open("user").doing("open the namespaces")?;
    let net = open("net").doing("open the namespaces")?;
    wire::send(socket, &Reply::Connect, &[user.as_fd(), net.as_fd()]).doing("ask for the network")?;
    let gone =
        || Failure { what: "wait for the network".into(), source: io::ErrorKind::UnexpectedEof.into() };
    wire::receive::<Mapped>(socket).doing("wait for the network")?.ok_or_else(gone).map(drop)
}

fn enter_namespaces(setup: &Setup) -> Result<(), Failure> {
    let mut flags = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    if setup.isolate_network {
        flags |= libc::CLONE_NEWNET;
    }
    sys::unshare(flags).doing("enter new namespaces")
}

/// Gives up what can be given up once for all commands. Returns the limits that hold.
fn give_up(setup: &Setup) -> Result<Vec<(u32, u64)>, Failure> {
    let mut held = Vec::new();
    for (resource, wanted) in &setup.rlimits {
        held.push((*resource, sys::limit_resource(*resource, *wanted).doing("set a resource limit")?));
    }
    sys::empty_bounding_set().doing("empty the bounding set")?;
    // NOROOT, NO_CAP_AMBIENT_RAISE and their locks: user 0 is nobody special, for good.
    const SECUREBITS: libc::c_ulong = 0b1100_0011;
    sys::prctl(libc::PR_SET_SECUREBITS, SECUREBITS).doing("set the secure bits")?;
    sys::prctl_no_new_privs().doing("forbid new privileges")?;
    Ok(held)
}

/// Makes process 1, which builds the root. Returns when it is built.
fn start_init(
    setup: &Setup,
    sources: root::Sources,
    filter: &child::Filter,
) -> Result<(OwnedFd, Vec<String>), Failure> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(io::Error::from);
    let (life, lifeline) = pipe().doing("make a pipe")?;
    let (report, report_write) = UnixStream::pair().doing("make a socket")?;
    if sys::fork().doing("make process 1")?.is_none() {
        drop((lifeline, report));
        let outcome = root::build(setup, sources);
        let built = outcome.is_ok();
        let reply = match outcome {
            Ok(missing) => Reply::Ready { landlock_abi: 0, rlimits: Vec::new(), missing },
            Err(failure) => failure.reply(),
        };
        let _ = wire::send(&report_write, &reply, &[]);
        if built {
            be_init(&life, filter);
        }
        sys::exit_now(1);
    }
    drop((life, report_write));
    let died = || Failure { what: "start process 1".into(), source: io::ErrorKind::UnexpectedEof.into() };
    match wire::receive::<Reply>(&report).doing("hear from process 1")?.ok_or_else(died)?.0 {
        Reply::Ready { missing, .. } => Ok((lifeline, missing)),
        Reply::Failed { what, errno } => Err(Failure {
            what,
            source: if errno == 0 { io::Error::other("") } else { io::Error::from_raw_os_error(errno) },
        }),
        Reply::MapIds | Reply::Connect | Reply::Listening | Reply::Started { .. } => Err(died()),
    }
}

/// The life of process 1: orphans are collected by the kernel, because it ignores their end; when the
/// zygote is gone it ends, and with it everything in its namespace.
fn be_init(life: &OwnedFd, filter: &child::Filter) {
    sys::ignore(libc::SIGCHLD);
    let keep = life.as_raw_fd().cast_unsigned();
    sys::close_range(0, keep.saturating_sub(1));
    sys::close_range(keep + 1, u32::MAX);
    let _ = rustix::thread::set_name(c"sandbox-init");
    let fenced = sys::empty_bounding_set()
        .and_then(|()| sys::set_capabilities(0))
        .and_then(|()| sys::prctl_no_new_privs())
        .and_then(|()| filter.install());
    if fenced.is_err() {
        return;
    }
    let mut byte = [0];
    while matches!(rustix::io::read(life.as_fd(), &mut byte), Err(rustix::io::Errno::INTR) | Ok(1)) {}
}
