//! The fleet at this moment.

use crate::actor::{Command, FleetLoad, LiveRunner, version_fits};
use crate::{Control, Permission, Principal, Problem};
use fleetfoot_model::observe::{FleetView, LabelDepth, OldestWaiting, QueueDepth, VersionSkew};
use fleetfoot_model::state::RunnerState;
use fleetfoot_model::version::VERSION;
use tokio::sync::oneshot;

/// Labels and runners with another version that are told.
const NAMED: usize = 100;

/// Slots of connected runners: all, and those with a job.
pub(super) fn slots(runners: &[LiveRunner]) -> (u64, u64) {
    let online = runners.iter().filter(|r| r.state != RunnerState::Offline);
    online.fold((0, 0), |(all, busy), r| (all + u64::from(r.row.slots), busy + r.jobs.len() as u64))
}

impl Control {
    /// Asks the actor who is there and what waits.
    pub(super) async fn look_at_fleet(&self) -> Result<(Vec<LiveRunner>, FleetLoad), Problem> {
        let (reply, runners) = oneshot::channel();
        self.send(Command::Runners { reply }).await?;
        let (reply, load) = oneshot::channel();
        self.send(Command::Load { reply }).await?;
        let runners = runners.await.map_err(|_| crate::stopping())?;
        Ok((runners, load.await.map_err(|_| crate::stopping())?))
    }

    /// The fleet at this moment.
    ///
    /// # Errors
    /// `forbidden`, `overloaded`.
    pub async fn fleet(&self, who: &Principal) -> Result<FleetView, Problem> {
        who.require(Permission::Read)?;
        let (runners, FleetLoad { load, oldest }) = self.look_at_fleet().await?;
        let (slots_total, slots_busy) = slots(&runners);
        let mut view = FleetView {
            at: self.inner.clock.wall(),
            server_version: VERSION.to_owned(),
            slots_total,
            slots_busy,
            #[expect(clippy::cast_precision_loss, reason = "a share of slots")]
            utilisation: if slots_total == 0 { 0.0 } else { slots_busy as f64 / slots_total as f64 },
            jobs_running: load.queues.values().map(|q| q.running).sum(),
            jobs_waiting: load.queues.values().map(|q| q.waiting).sum(),
            ..FleetView::default()
        };
        for state in RunnerState::ALL {
            let n = runners.iter().filter(|r| r.state == *state).count();
            view.runners.insert(state.as_str().to_owned(), n as u64);
        }
        for (name, queue) in &load.queues {
            let oldest_since = oldest.get(name).map(|(_, since)| *since);
            view.queues.push(QueueDepth {
                queue: name.to_string(),
                waiting: queue.waiting,
                held: queue.held,
                running: queue.running,
                oldest_since,
            });
        }
        view.oldest_waiting =
            oldest.iter().min_by_key(|(_, (_, since))| *since).map(|(queue, (job, since))| OldestWaiting {
                job: *job,
                queue: queue.to_string(),
                since: *since,
            });
        view.labels = load
            .labels
            .iter()
            .take(NAMED)
            .map(|(label, waiting)| LabelDepth {
                label: label.clone(),
                waiting: *waiting,
                runners: load.offering.get(label).copied().unwrap_or(0),
            })
            .collect();
        view.skew = runners
            .iter()
            .filter(|r| !r.row.version.is_empty() && r.row.version != VERSION)
            .take(NAMED)
            .map(|r| VersionSkew {
                runner: r.row.id,
                name: r.row.name.clone(),
                version: r.row.version.clone(),
                too_far: !version_fits(&r.row.version),
            })
            .collect();
        Ok(view)
    }
}
