//! Schedules: those of the default branch, each fired exactly once for each
//! time that falls due. The firing is a delivery, stored in the transaction
//! that moves the schedule on: neither a crash nor a second look repeats it.

use super::cron::Cron;
use super::process::{self, KIND, OWN};
use super::{Trouble, directories, pause};
use crate::Control;
use fleetfoot_forge::mirror::Mirror;
use fleetfoot_model::Timestamp;
use fleetfoot_store::{NewDelivery, RepositoryRow, ScheduleRow};
use indexmap::IndexMap;
use serde_json::json;
use std::time::Duration;
use tracing::warn;

/// A time that passed while the server was down counts for this long.
const LATE: Duration = Duration::from_secs(3600);

/// What is to be done about a schedule now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing.
    Wait,
    /// Its next time is another one: the clock was set back.
    Correct(Option<Timestamp>),
    /// It fires for this time; then comes the other.
    Fire(Timestamp, Option<Timestamp>),
    /// This time passed too long ago; then comes the other.
    Skip(Timestamp, Option<Timestamp>),
}

/// Decides, from nothing but the row and the time.
pub(super) fn decide(row: &ScheduleRow, cron: &Cron, now: Timestamp) -> Decision {
    let Some(next) = row.next_at else { return Decision::Wait };
    if next <= now {
        let after = cron.next(now);
        return if now.since(next) <= LATE {
            Decision::Fire(next, after)
        } else {
            Decision::Skip(next, after)
        };
    }
    // A clock that ran ahead for a while moved the next time away with it. What fired already for a
    // later time never fires for it again.
    let fresh = cron.next(row.last_at.map_or(now, |last| last.max(now)));
    if fresh.is_some_and(|fresh| fresh < next) { Decision::Correct(fresh) } else { Decision::Wait }
}

/// Reads the schedules of a commit of the default branch.
pub(super) async fn scan(
    control: &Control,
    row: &RepositoryRow,
    mirror: &Mirror,
    sha: &str,
) -> Result<(), Trouble> {
    let now = control.inner.clock.wall();
    let mut rows = Vec::new();
    for file in mirror.workflows(sha, directories(row.forge)).await? {
        // A document with errors has no schedule; its author sees that elsewhere.
        let Ok(document) = control.inner.documents.parse(KIND, &file.path, &file.text, &IndexMap::new())
        else {
            continue;
        };
        for spec in document.schedules() {
            let timezone = spec.timezone.unwrap_or_default();
            let (next_at, note) = match Cron::parse(&spec.cron, &timezone) {
                Ok(cron) => (cron.next(now), None),
                Err(problem) => (None, Some(problem)),
            };
            rows.push(ScheduleRow {
                id: 0,
                repository: row.id,
                workflow: file.path.clone(),
                cron: spec.cron,
                timezone,
                next_at,
                last_at: None,
                note,
            });
        }
    }
    control.inner.store.set_schedules(row.id, rows).await?;
    control.inner.triggers.schedules.notify_one();
    Ok(())
}

/// Looks at every schedule once; answers when the next one is due.
pub(super) async fn pass(control: &Control, now: Timestamp) -> Result<Option<Timestamp>, Trouble> {
    let mut soonest: Option<Timestamp> = None;
    for mut row in control.inner.store.schedules(None).await? {
        let Ok(cron) = Cron::parse(&row.cron, &row.timezone) else { continue };
        let expected = row.next_at;
        let delivery = match decide(&row, &cron, now) {
            Decision::Wait => {
                soonest = earlier(soonest, row.next_at);
                continue;
            }
            Decision::Correct(next) => {
                row.next_at = next;
                None
            }
            Decision::Fire(at, next) => {
                row.last_at = Some(at);
                row.next_at = next;
                row.note = None;
                firing(control, &row, at).await?
            }
            Decision::Skip(at, next) => {
                row.next_at = next;
                row.note =
                    Some(format!("{at} passed while the server was down, more than an hour ago: skipped"));
                None
            }
        };
        let fires = delivery.is_some();
        soonest = earlier(soonest, row.next_at);
        if control.inner.store.move_schedule(row, expected, delivery).await? && fires {
            control.inner.triggers.deliveries.notify_one();
        }
    }
    Ok(soonest)
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

async fn firing(control: &Control, row: &ScheduleRow, at: Timestamp) -> Result<Option<NewDelivery>, Trouble> {
    let Some(repository) = control.inner.store.repository(row.repository).await? else { return Ok(None) };
    let fields = json!({ "schedule": row.cron, "workflow": row.workflow, OWN: { "workflow": row.workflow } });
    let payload = process::made_of(&repository, fields);
    let name = format!("schedule:{}:{}", row.id, at.0);
    Ok(Some(control.new_made(row.repository, &name, "schedule", &payload)))
}

/// Fires what falls due, until the server stops.
pub(super) async fn work(control: Control) {
    let inner = &control.inner;
    loop {
        let woken = inner.triggers.schedules.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        let next = match pass(&control, inner.clock.wall()).await {
            Ok(next) => next,
            Err(e) => {
                warn!(error = e.message, "schedules cannot be looked at, trying again later");
                None
            }
        };
        if !pause(inner, woken, next).await {
            return;
        }
    }
}
