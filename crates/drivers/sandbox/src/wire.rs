//! What runner and zygote say to each other over their socket: a length, JSON,
//! and descriptors beside the length. The zygote trusts the runner; the runner
//! trusts nothing that could come from a job, and no job ever holds this socket.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// Descriptors in one message, at most.
const MAX_FDS: usize = 24;
/// Longer messages than any environment that the kernel accepts are a mistake.
const MAX_BYTES: u32 = 64 << 20;

/// First message of the runner: the cell to build. The descriptor of the user
/// namespace for id-mapped mounts comes with it if `id_mapped`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// The runner is root: sources are taken before the namespaces are entered.
    pub(crate) privileged: bool,
    /// Writable directories are mounted with their owner mapped.
    pub(crate) id_mapped: bool,
    /// User and group of the commands, inside.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// `/`, or the root of an image.
    pub(crate) base: PathBuf,
    /// Everything below `base` is shown, not only programs and libraries.
    pub(crate) image: bool,
    /// Further files and directories of the host.
    pub(crate) read_only: Vec<Shown>,
    /// Directories of the job.
    pub(crate) writable: Vec<Shown>,
    /// Own network namespace.
    pub(crate) isolate_network: bool,
    /// It is connected to a private network, with this name server; otherwise it has loopback only.
    pub(crate) name_server: Option<String>,
    pub(crate) tmp_bytes: u64,
    pub(crate) shm_bytes: u64,
    pub(crate) rlimits: Vec<(u32, u64)>,
    pub(crate) oom_score_adj: Option<String>,
    /// The filter for system calls, one instruction a number.
    pub(crate) seccomp: Vec<u64>,
}

/// A file or directory of the host, and where it is inside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Shown {
    pub(crate) inside: PathBuf,
    pub(crate) host: PathBuf,
    /// It is the runner's own, and shown as the job's.
    pub(crate) own: bool,
}

/// What the runner asks a built cell for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// A command.
    Start(Request),
    /// Sockets that listen on this port of the cell's own loopback.
    Listen(u16),
}

/// A command. Beside it: standard input, output, error, the report pipe, then
/// the directory of the v2 group if `cgroup`, then the v1 `tasks` files.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Tried in order.
    pub(crate) programs: Vec<String>,
    pub(crate) argv: Vec<String>,
    pub(crate) envp: Vec<String>,
    pub(crate) directory: String,
    pub(crate) cgroup: bool,
    pub(crate) rlimits: Vec<(u32, u64)>,
}

/// Answers of the zygote.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The namespaces are there; the ids of its user namespace are to be written.
    MapIds,
    /// The network namespace waits to be connected; beside it the user and the network namespace.
    Connect,
    /// The cell is built.
    Ready {
        landlock_abi: u32,
        rlimits: Vec<(u32, u64)>,
        /// Parts that this machine does not have and that weaken nothing.
        missing: Vec<String>,
    },
    /// A command was made.
    Started { pid: i32 },
    /// The listening sockets are beside it.
    Listening,
    /// It did not work.
    Failed { what: String, errno: i32 },
}

/// The runner has done what it was asked for: written the ids, connected the network.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Mapped;

/// Sends one message.
pub(crate) fn send<T: Serialize>(socket: &UnixStream, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - 4).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    frame[..4].copy_from_slice(&length.to_ne_bytes());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let sent = sendmsg(socket, &[IoSlice::new(&frame)], &mut ancillary, SendFlags::NOSIGNAL)?;
    let mut socket = socket;
    socket.write_all(&frame[sent..])
}

/// Receives one message; `None` if the other side is gone.
pub(crate) fn receive<T: DeserializeOwned>(socket: &UnixStream) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut length = [0_u8; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        let buffers = &mut [IoSliceMut::new(&mut length)];
        match recvmsg(socket, buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?.bytes,
        }
    };
    if got == 0 {
        return Ok(None);
    }
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    let mut socket = socket;
    socket.read_exact(&mut length[got..])?;
    let length = u32::from_ne_bytes(length);
    if length > MAX_BYTES {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let mut body = vec![0; length as usize];
    socket.read_exact(&mut body)?;
    Ok(Some((serde_json::from_slice(&body)?, fds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn messages_and_descriptors_arrive() {
        let (one, two) = UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        let text = "long ".repeat(100_000);
        let sender = std::thread::spawn({
            let text = text.clone();
            move || send(&one, &text, &[file.as_fd(), file.as_fd()])
        });
        let (got, fds) = receive::<String>(&two).unwrap().unwrap();
        sender.join().unwrap().unwrap();
        assert_eq!((got.len(), fds.len()), (text.len(), 2));
        assert!(receive::<String>(&two).unwrap().is_none(), "the end is told apart");
    }
}
