//! Background duties: idempotent passes without input, by period. A pass that
//! fails is logged and repeated with the next.

use crate::Inner;
use fleetfoot_store::{Op, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// Time between passes.
const PERIOD: Duration = Duration::from_secs(30);
/// How long the answer to a create is kept for its idempotency key.
const IDEMPOTENCY: Duration = Duration::from_secs(24 * 3600);
/// How long the log of uses of secrets goes back.
const SECRET_USES: Duration = Duration::from_secs(365 * 24 * 3600);
/// Entries of that log forgotten in one pass at most.
const FORGOTTEN: usize = 10_000;
/// Passes between two looks at artifacts and caches.
const SERVICES_TURN: u64 = 10;
/// Runs deleted in one pass at most.
const RETIRED: usize = 500;

pub(crate) async fn run(inner: Arc<Inner>) {
    for turn in 0_u64.. {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = inner.stopping.cancelled() => return,
        }
        if let Err(e) = pass(&inner).await {
            warn!(error = %e, "housekeeping failed, trying again later");
        }
        if turn.is_multiple_of(SERVICES_TURN) {
            crate::Control::sweep_services(&inner).await;
        }
    }
}

async fn pass(inner: &Inner) -> Result<(), StoreError> {
    let now = inner.clock.wall();
    let mut ops = vec![Op::ForgetIdempotent { before: now - IDEMPOTENCY }];
    let used = inner.tokens.take_used();
    if !used.is_empty() {
        ops.push(Op::TouchTokens(used));
    }
    inner.store.apply(ops).await?;
    crate::sessions::tidy(inner, now).await?;
    inner.store.forget_secret_uses(now - SECRET_USES, FORGOTTEN).await?;
    retire(inner).await
}

/// Deletes runs beyond their retention, logs first.
async fn retire(inner: &Inner) -> Result<(), StoreError> {
    let Some(retention) = inner.options.retention else { return Ok(()) };
    let before = inner.clock.wall() - retention;
    let runs = inner.store.runs_finished_before(before, RETIRED).await?;
    for run in &runs {
        for job in inner.store.run_jobs(*run, None).await? {
            for attempt in inner.store.attempts(job.id).await? {
                if let Err(e) = inner.logs.remove(attempt.id).await {
                    warn!(attempt = %attempt.id, error = %e, "cannot remove a log");
                }
            }
        }
    }
    if !runs.is_empty() {
        info!(runs = runs.len(), "deleted runs beyond their retention");
        inner.store.apply(runs.iter().copied().map(Op::DeleteRun).collect()).await?;
        inner.observe.changes.note(runs);
    }
    Ok(())
}
