//! The language between the runner and process 1 of a cell (`inside/init.rs`).
//! It must never wait without a deadline, and never believe a number from the
//! inside to be more than a number: a job may have taken process 1 over.

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

const SPAWN: u32 = 1;
const SIGNAL: u32 = 2;
const READY: u32 = 1;
const STARTED: u32 = 2;
const FAILED: u32 = 3;
const ENDED: u32 = 4;
/// Bytes of an answer.
const REPLY: usize = 96;
/// No kernel takes more arguments and environment than this.
const MAX_BYTES: usize = 64 << 20;

/// A command to start; its standard descriptors go with it.
#[derive(Debug)]
pub(crate) struct Spawn {
    /// Tried in order.
    pub(crate) programs: Vec<String>,
    pub(crate) argv: Vec<String>,
    pub(crate) envp: Vec<Vec<u8>>,
    pub(crate) directory: String,
}

/// What process 1 tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It lives; release of the kernel that it sees.
    Ready(String),
    Started {
        id: u32,
    },
    /// Stage and error number.
    Failed {
        id: u32,
        stage: i32,
        errno: i32,
    },
    /// Status as `wait` gives it; what the command used.
    Ended {
        id: u32,
        status: i32,
        user_us: u64,
        system_us: u64,
        max_rss_bytes: u64,
    },
}

fn frame(kind: u32, body: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_BYTES);
    let length = length.ok_or_else(|| io::Error::from_raw_os_error(libc::E2BIG))?;
    let mut frame = Vec::with_capacity(body.len() + 8);
    frame.extend_from_slice(&length.to_ne_bytes());
    frame.extend_from_slice(&kind.to_ne_bytes());
    frame.extend_from_slice(body);
    Ok(frame)
}

/// Asks for a command.
pub(crate) fn send_spawn(
    socket: &UnixStream,
    id: u32,
    spawn: &Spawn,
    fds: [BorrowedFd<'_>; 3],
) -> io::Result<()> {
    let mut body = Vec::new();
    let counts = [spawn.programs.len(), spawn.argv.len(), spawn.envp.len()];
    body.extend_from_slice(&id.to_ne_bytes());
    for count in counts {
        let count = u32::try_from(count).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
        body.extend_from_slice(&count.to_ne_bytes());
    }
    let words = std::iter::once(&spawn.directory).chain(&spawn.programs).chain(&spawn.argv);
    for text in words.map(String::as_bytes).chain(spawn.envp.iter().map(Vec::as_slice)) {
        body.extend_from_slice(text);
        body.push(0);
    }
    let frame = frame(SPAWN, &body)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let sent = sendmsg(socket, &[IoSlice::new(&frame)], &mut ancillary, SendFlags::NOSIGNAL)?;
    let mut socket = socket;
    socket.write_all(&frame[sent..])
}

/// Asks to signal the group of a command, or to end its whole tree.
pub(crate) fn send_signal(socket: &UnixStream, id: u32, signal: i32, tree: bool) -> io::Result<()> {
    let mut body = Vec::with_capacity(12);
    body.extend_from_slice(&id.to_ne_bytes());
    body.extend_from_slice(&signal.to_ne_bytes());
    body.extend_from_slice(&u32::from(tree).to_ne_bytes());
    let frame = frame(SIGNAL, &body)?;
    let sent =
        sendmsg(socket, &[IoSlice::new(&frame)], &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)?;
    let mut socket = socket;
    socket.write_all(&frame[sent..])
}

/// Takes one answer; an error when nobody is there any more.
pub(crate) fn receive(mut socket: &UnixStream) -> io::Result<Reply> {
    let mut bytes = [0_u8; REPLY];
    socket.read_exact(&mut bytes)?;
    parse(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse(bytes: &[u8; REPLY]) -> Option<Reply> {
    let word = |at: usize| <[u8; 4]>::try_from(&bytes[at..at + 4]).ok();
    let long = |at: usize| Some(u64::from_ne_bytes(<[u8; 8]>::try_from(&bytes[at..at + 8]).ok()?));
    let id = u32::from_ne_bytes(word(4)?);
    let (a, b) = (i32::from_ne_bytes(word(8)?), i32::from_ne_bytes(word(12)?));
    Some(match u32::from_ne_bytes(word(0)?) {
        READY => {
            let text = bytes[40..].split(|b| *b == 0).next()?;
            Reply::Ready(text.iter().filter(|b| b.is_ascii_graphic()).map(|b| char::from(*b)).collect())
        }
        STARTED => Reply::Started { id },
        FAILED => Reply::Failed { id, stage: a, errno: b },
        ENDED => Reply::Ended {
            id,
            status: a,
            user_us: long(16)?,
            system_us: long(24)?,
            max_rss_bytes: long(32)?.saturating_mul(1024),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_nonsense_is_not() {
        let mut bytes = [0_u8; REPLY];
        for (at, value) in [(0, ENDED), (4, 7), (8, 15), (16, 3), (24, 4), (32, 5)] {
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        let ended = Reply::Ended { id: 7, status: 15, user_us: 3, system_us: 4, max_rss_bytes: 5120 };
        assert_eq!(parse(&bytes), Some(ended));
        bytes[0] = READY as u8;
        bytes[40..45].copy_from_slice(b"4.4.0");
        assert_eq!(parse(&bytes), Some(Reply::Ready("4.4.0".into())));
        bytes[0] = 99;
        assert_eq!(parse(&bytes), None);
    }
}
