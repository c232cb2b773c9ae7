//! Requests to end: SIGTERM and interrupts count the same, and each further
//! one is more urgent.

use crate::error::{CliError, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both signals.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the process does not end by itself at these signals.
    pub(crate) fn listen() -> Result<Self> {
        let failed = |e: std::io::Error| CliError::machine("signals cannot be received").because(&e);
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
        })
    }

    /// The next request to end. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
