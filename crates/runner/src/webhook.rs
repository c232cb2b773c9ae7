//! Notices to an autoscaler: one small POST each, in order, in the background.
//! Never holds up a job, never tries again, and carries no credentials.

use crate::notice::Notice;
use fleetfoot_client::{ClientConfig, ClientError, Hook};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How long the receiver may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Notices that wait; more are dropped.
const WAITING: usize = 256;

/// The sender of notices.
#[derive(Clone, Debug)]
pub(crate) struct Webhook {
    queue: mpsc::Sender<Value>,
    runner: String,
}

impl Webhook {
    /// Begins to send to `url`. The task ends when every clone of the sender is gone and the queue is empty.
    pub(crate) fn start(
        url: &str,
        runner: &str,
        connection: ClientConfig,
    ) -> Result<(Self, JoinHandle<()>), ClientError> {
        let hook = Hook::new(url, &ClientConfig { timeout: PATIENCE, ..connection })?;
        let (queue, mut notices) = mpsc::channel::<Value>(WAITING);
        let task = tokio::spawn(async move {
            while let Some(notice) = notices.recv().await {
                if let Err(error) = hook.send(&notice).await {
                    tracing::warn!(%error, "a webhook notice was not delivered");
                }
            }
        });
        Ok((Self { queue, runner: runner.to_owned() }, task))
    }

    fn send(&self, event: &str, mut notice: Value) {
        notice["event"] = event.into();
        notice["runner"] = self.runner.clone().into();
        notice["time"] = crate::clock::now().to_string().into();
        if self.queue.try_send(notice).is_err() {
            tracing::warn!(event, "too many webhook notices wait; one was dropped");
        }
    }

    /// What the receiver wants to know of a notice.
    pub(crate) fn tell(&self, notice: &Notice) {
        match notice {
            Notice::Connected { .. } => self.send("runner.started", json!({})),
            Notice::JobStarted { attempt, name, .. } => {
                self.send("job.started", json!({"job": attempt.job, "attempt": attempt.attempt, "name": name}));
            }
            Notice::JobFinished { attempt, name, conclusion, .. } => self.send(
                "job.finished",
                json!({"job": attempt.job, "attempt": attempt.attempt, "name": name, "conclusion": conclusion}),
            ),
            _ => {}
        }
    }

    /// The runner ends.
    pub(crate) fn finished(&self, ending: &str) {
        self.send("runner.finished", json!({"ending": ending}));
    }
}
