//! SIGTERM and SIGINT as stages of a shutdown: the first drains, the second
//! cancels, the third kills.

use crate::daemon::Stage;
use std::io;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Listens from now on, for the life of the process.
///
/// # Errors
/// If the handlers cannot be installed.
pub fn listen() -> io::Result<watch::Receiver<Stage>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, receiver) = watch::channel(Stage::Run);
    tokio::spawn(async move {
        for stage in [Stage::Drain, Stage::Cancel, Stage::Kill] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if sender.send(stage).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}
