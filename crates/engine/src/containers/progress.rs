//! Lines about something that takes long (a pull, a build) on their way to the
//! log of the step that waits for it. A container engine says them whenever it
//! likes; they are written in order, masked, and never held back until the end.

use crate::output::Log;
use fleetfoot_driver::containers::Notes;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Bytes that may wait for the log; what comes on top is left out, and the log says so.
const MAX_WAITING: usize = 4 << 20;

/// Lines that are to be written.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    text: String,
    left_out: usize,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a container engine says its lines.
    pub(crate) fn notes(self: &Arc<Self>) -> Notes {
        let progress = self.clone();
        Arc::new(move |line: &str| progress.add(line))
    }

    fn add(&self, line: &str) {
        let mut waiting = self.lock();
        if waiting.text.len() + line.len() > MAX_WAITING {
            waiting.left_out += 1;
        } else {
            waiting.text.push_str(line.trim_end_matches(['\n', '\r']));
            waiting.text.push('\n');
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Waits for something while its lines go to the log of a step.
    pub(crate) async fn along<F: Future>(&self, log: &Log, step: u16, work: F) -> F::Output {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                output = &mut work => {
                    self.write(log, step).await;
                    return output;
                }
                () = self.arrived.notified() => self.write(log, step).await,
            }
        }
    }

    async fn write(&self, log: &Log, step: u16) {
        let Waiting { mut text, left_out } = std::mem::take(&mut *self.lock());
        if left_out > 0 {
            text += &format!("[{left_out} lines are left out]\n");
        }
        if let Some(text) = text.strip_suffix('\n') {
            log.say(step, text).await;
        }
    }
}
