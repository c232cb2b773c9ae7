//! The runner's side of the keeper (`keeper/main.rs` says what that is): puts
//! the program and a socket where a container finds them, waits for the keeper
//! to connect, and asks it for commands. It must never believe more of its
//! answers than concerns the attempt itself: a job might have taken it over.

mod handle;
mod plan;

use handle::CommandHandle;
pub(crate) use handle::SharedHandle;

use crate::memory::OomCounter;
use fleetfoot_driver::{Command, DriverError, DriverErrorKind, Running};
use fleetfoot_driver_linux::io::{memory_file, open_null, pipe, receiver};
use fleetfoot_driver_linux::procfs;
use rustix::fs::Mode;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;

/// The program; empty where it could not be made for this processor.
static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/keeper"));
/// Where the container sees it.
pub(crate) const INSIDE: &str = "/.fleetfoot";
/// How long a keeper may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of a message of a report.
pub(crate) const MESSAGE: usize = 64;
/// An environment is not larger than the kernel takes.
const LARGEST_ENVIRONMENT: u32 = 16 << 20;

/// A directory that a container mounts, with program and socket.
pub(crate) struct Nest {
    directory: PathBuf,
    listener: Option<tokio::net::UnixListener>,
}

impl Nest {
    pub(crate) fn make(directory: PathBuf) -> Result<Self, DriverError> {
        if PROGRAM.is_empty() {
            let message = "commands in containers are not supported on this processor";
            return Err(DriverError::new(DriverErrorKind::Unsupported, message));
        }
        let listener = prepare(&directory)
            .map_err(|e| DriverError::io(format!("cannot prepare '{}'", directory.display()), e))?;
        Ok(Self { directory, listener: Some(listener) })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Waits for the keeper of a container that has been started, while `ended` waits for the container's end.
    pub(crate) async fn connected(
        &mut self,
        ended: impl Future<Output = DriverError>,
    ) -> Result<Keeper, DriverError> {
        let lost = |e| DriverError::io("cannot wait for the container", e);
        let Some(listener) = self.listener.take() else {
            return Err(DriverError::new(DriverErrorKind::Other, "the container was waited for already"));
        };
        let late = || {
            let message =
                "the container does not answer: it started, but nothing in it connects to the runner";
            DriverError::new(DriverErrorKind::Unavailable, message)
        };
        let (mut stream, _) = tokio::select! {
            accepted = listener.accept() => accepted.map_err(lost)?,
            error = ended => return Err(error),
            () = tokio::time::sleep(PATIENCE) => return Err(late()),
        };
        // Nobody else ever connects.
        drop(listener);
        let _ = std::fs::remove_file(self.directory.join("socket"));
        let peer = stream.peer_cred().map_err(lost)?;
        let hello = async {
            let root = stream.read_u64_le().await?;
            let length = stream.read_u32_le().await?;
            if length > LARGEST_ENVIRONMENT {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            let mut bytes = vec![0; length as usize];
            stream.read_exact(&mut bytes).await?;
            Ok((root, bytes))
        };
        let (root, bytes) = tokio::time::timeout(PATIENCE, hello).await.map_err(|_| late())?.map_err(lost)?;
        let environment = bytes
            .split(|b| *b == 0)
            .filter_map(|entry| {
                let entry = String::from_utf8_lossy(entry);
                entry.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))
            })
            .collect();
        let pid = peer.pid().unwrap_or(0);
        Ok(Keeper {
            oom: Arc::new(OomCounter::of(pid)),
            control: stream,
            asking: tokio::sync::Mutex::new(()),
            environment,
            root,
            user: (peer.uid(), peer.gid()),
        })
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn prepare(directory: &Path) -> std::io::Result<tokio::net::UnixListener> {
    let _ = std::fs::remove_dir_all(directory);
    std::fs::create_dir_all(directory)?;
    // The user of a container is nobody that we know. The directory above is closed to others.
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o711))?;
    let program = directory.join("keeper");
    std::fs::write(&program, PROGRAM)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    // The name of a socket may have 107 bytes, the name of a directory more.
    let handle = std::fs::File::open(directory)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}/socket", handle.as_raw_fd()));
    let listener = tokio::net::UnixListener::bind(&short)?;
    std::fs::set_permissions(directory.join("socket"), std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// A container in which commands can be started. Dropping it ends everything in the container.
pub(crate) struct Keeper {
    control: UnixStream,
    /// Held by whoever waits for an answer.
    asking: tokio::sync::Mutex<()>,
    /// What the container has as environment: the image's, the container's, and the engine's.
    environment: HashMap<String, String>,
    /// The kind of file system that the container has as its root.
    pub(crate) root: u64,
    /// User and group of the host that processes of the container start as.
    pub(crate) user: (u32, u32),
    pub(crate) oom: Arc<OomCounter>,
}

impl Keeper {
    async fn send(&self, word: [u8; 2], fds: &[BorrowedFd<'_>]) -> std::io::Result<()> {
        self.control
            .async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !fds.is_empty() {
                    control.push(SendAncillaryMessage::ScmRights(fds));
                }
                rustix::net::sendmsg(
                    &self.control,
                    &[IoSlice::new(&word)],
                    &mut control,
                    SendFlags::NOSIGNAL,
                )?;
                Ok(())
            })
            .await
    }

    /// Ends every process but the keeper, and waits until none is left; `false` if that cannot be said.
    pub(crate) async fn end_everything(&self) -> bool {
        let _turn = self.asking.lock().await;
        let ask = async {
            self.send([b'K', 0], &[]).await?;
            let mut answer = [0];
            self.control
                .async_io(Interest::READABLE, || match self.control.try_read(&mut answer) {
                    Ok(0) => Err(std::io::ErrorKind::UnexpectedEof.into()),
                    other => other,
                })
                .await
        };
        match tokio::time::timeout(PATIENCE, ask).await {
            Ok(answer) => answer.is_ok(),
            Err(_) => {
                tracing::error!("processes of a container do not end: they wait inside the kernel");
                false
            }
        }
    }

    /// Ends the container with this exit code.
    pub(crate) fn finish(&self, code: u8) {
        let _ = self.control.try_write(&[b'E', code]);
    }

    /// The variables that a command gets: those of the container below its own.
    pub(crate) fn environment(&self, own: &HashMap<String, String>) -> HashMap<String, String> {
        let mut all = self.environment.clone();
        all.extend(own.iter().map(|(k, v)| (k.clone(), v.clone())));
        all
    }

    /// Starts a command; its directory and its program are paths inside.
    pub(crate) async fn start(&self, command: &Command) -> Result<(Running, SharedHandle), DriverError> {
        let command = Command { env: self.environment(&command.env), ..command.clone() };
        let request = plan::lay_out(&command)?;
        let broken = |e| DriverError::io("cannot prepare the command", e);
        let request = memory_file(&request).map_err(broken)?;
        let (stdout, stdout_write) = pipe()?;
        let (stderr, stderr_write) = match command.merge_output {
            true => (None, None),
            false => pipe().map(|(read, write)| (Some(read), Some(write)))?,
        };
        let stdin = if command.stdin.is_empty() { open_null() } else { memory_file(&command.stdin) }
            .map_err(broken)?;
        // Programs open /dev/stdout by name, and the user inside is not ours.
        let mut open = vec![&stdout_write];
        open.extend(&stderr_write);
        open.extend((!command.stdin.is_empty()).then_some(&stdin));
        for fd in open {
            let _ = rustix::fs::fchmod(fd, Mode::from_raw_mode(0o666));
        }
        let (report, theirs) = UnixStream::pair().map_err(broken)?;
        rustix::net::sockopt::set_socket_passcred(&report, true).map_err(|e| broken(e.into()))?;
        let theirs = blocking(theirs).map_err(broken)?;
        let error_output = stderr_write.as_ref().unwrap_or(&stdout_write);
        let fds =
            [request.as_fd(), stdin.as_fd(), stdout_write.as_fd(), error_output.as_fd(), theirs.as_fd()];
        self.send([b'R', 0], &fds).await.map_err(|_| gone())?;
        drop((theirs, stdout_write, stderr_write));
        let pid = match tokio::time::timeout(PATIENCE, started(&report, &command)).await {
            Ok(started) => started?,
            Err(_) => {
                return Err(DriverError::new(DriverErrorKind::Unavailable, "the container does not answer"));
            }
        };
        let start_ticks = procfs::stat(pid).map_or(0, |s| s.start_ticks);
        let handle = SharedHandle(Arc::new(CommandHandle::new(report, self.oom.clone())));
        let running = Running {
            pid: pid.unsigned_abs(),
            start_ticks,
            stdout: Box::new(receiver(stdout)?),
            stderr: match stderr {
                Some(stderr) => Box::new(receiver(stderr)?),
                None => Box::new(tokio::io::empty()),
            },
            handle: Box::new(handle.clone()),
        };
        Ok((running, handle))
    }
}

fn blocking(stream: UnixStream) -> std::io::Result<OwnedFd> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream.into())
}

fn gone() -> DriverError {
    DriverError::new(
        DriverErrorKind::Unavailable,
        "the container has ended, so that nothing can be started in it",
    )
}

/// Reads the report until the command runs; answers its pid on this side.
async fn started(report: &UnixStream, command: &Command) -> Result<i32, DriverError> {
    let mut pid = 0;
    loop {
        let mut message = [0u8; MESSAGE];
        let (got, sender) = report
            .async_io(Interest::READABLE, || receive(report, &mut message))
            .await
            .map_err(|_| gone())?;
        if got < MESSAGE {
            return Err(gone());
        }
        match message[0] {
            b'H' => pid = sender.unwrap_or(0),
            b'S' => return Ok(pid),
            what => return Err(plan::not_started(what, number(&message), command)),
        }
    }
}

/// The number of a message.
fn number(message: &[u8; MESSAGE]) -> i32 {
    i32::from_le_bytes([message[4], message[5], message[6], message[7]])
}

/// One message, with the pid of whoever sent it, in our own numbers.
fn receive(report: &UnixStream, message: &mut [u8; MESSAGE]) -> std::io::Result<(usize, Option<i32>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got =
        rustix::net::recvmsg(report, &mut [IoSliceMut::new(message)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let sender = control.drain().find_map(|m| match m {
        RecvAncillaryMessage::ScmCredentials(who) => Some(who.pid.as_raw_nonzero().get()),
        _ => None,
    });
    Ok((got.bytes, sender))
}
