//! Waiting for and signalling one command in a container, through its
//! supervisor there. It must never hang when the container is gone: the end of
//! the connection is the end of the command.

use super::MESSAGE;
use crate::memory::OomCounter;
use async_trait::async_trait;
use fleetfoot_driver::{Exit, Handle, Signal};
use fleetfoot_model::sync::Usage;
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::sync::OnceCell;

const SIGKILL: i32 = 9;

/// Waits for one command and signals it.
pub(crate) struct CommandHandle {
    report: UnixStream,
    oom: Arc<OomCounter>,
    exit: OnceCell<Exit>,
}

impl CommandHandle {
    pub(super) fn new(report: UnixStream, oom: Arc<OomCounter>) -> Self {
        Self { report, oom, exit: OnceCell::new() }
    }

    async fn read_end(&self) -> Exit {
        loop {
            let mut message = [0u8; MESSAGE];
            let got = match self.report.readable().await {
                Ok(()) => self.report.try_read(&mut message),
                Err(error) => Err(error),
            };
            match got {
                // The kernel hands a message of this size over in one piece.
                Ok(MESSAGE) if message[0] == b'X' => {
                    let _ = self.report.try_write(b"D\0");
                    return exit_of(&message);
                }
                Ok(MESSAGE) => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                // The supervisor is gone, and with it everything else.
                Ok(_) | Err(_) => return Exit { signal: Some(SIGKILL), ..Exit::default() },
            }
        }
    }
}

/// Status as `wait4` gives it, then user and system time in microseconds, memory in KiB, blocks of 512 bytes.
fn exit_of(message: &[u8; MESSAGE]) -> Exit {
    let status = super::number(message);
    let word = |i: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&message[8 + i * 8..16 + i * 8]);
        u64::from_le_bytes(bytes)
    };
    let usage = Usage {
        cpu_user_us: word(0),
        cpu_system_us: word(1),
        max_rss_bytes: word(2).saturating_mul(1024),
        read_bytes: word(3).saturating_mul(512),
        write_bytes: word(4).saturating_mul(512),
    };
    let signal = status & 0x7f;
    if signal == 0 {
        Exit { code: Some((status >> 8) & 0xff), usage, ..Exit::default() }
    } else {
        Exit { signal: Some(signal), usage, ..Exit::default() }
    }
}

/// The same handle for whoever started the command and for whoever ends its container.
#[derive(Clone)]
pub(crate) struct SharedHandle(pub(super) Arc<CommandHandle>);

#[async_trait]
impl Handle for SharedHandle {
    async fn wait(&self) -> Exit {
        let handle = &self.0;
        *handle
            .exit
            .get_or_init(|| async {
                let mut exit = handle.read_end().await;
                exit.out_of_memory = handle.oom.has_grown();
                exit
            })
            .await
    }

    fn signal(&self, signal: Signal) {
        let number = match signal {
            Signal::Interrupt => 2,
            Signal::Terminate => 15,
            Signal::Kill => 9,
        };
        let _ = self.0.report.try_write(&[b'G', number]);
    }

    fn kill_tree(&self) {
        let _ = self.0.report.try_write(b"T\0");
    }
}
