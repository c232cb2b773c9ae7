//! Deliveries: a webhook is verified, stored, and only then answered; a worker
//! looks at what is stored, one delivery of a repository at a time, and again
//! later where a forge was out of reach.

use super::repositories::WEBHOOK_SECRET;
use super::{PULSE, Trouble, backoff, pause, process, reports};
use crate::actor::store_problem;
use crate::{Control, Permission, Principal};
use fleetfoot_forge::webhook::{self, Rejected};
use fleetfoot_model::api::Page;
use fleetfoot_model::repos::{AcceptedDelivery, DeliveryOutcome, DeliveryView};
use fleetfoot_model::{Code, Problem};
use fleetfoot_store::{Accepted, DeliveryEnd, DeliveryRow, DeliverySource, NewDelivery};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

/// A signed webhook counts for this long after the event.
const WINDOW: Duration = Duration::from_secs(24 * 3600);
/// A clock that is ahead of ours by less is no reason to refuse.
const SKEW: Duration = Duration::from_secs(300);
/// A delivery is tried for this long: shorter than the answer to a create is kept for its key.
const PATIENCE: Duration = Duration::from_secs(20 * 3600);
/// Deliveries looked at in one round, and repositories at the same time.
const ROUND: usize = 256;
const ABREAST: usize = 8;
/// Payloads and rows are kept this long; a body cannot come again before its row is gone, and later
/// than [`WINDOW`] it does not count where the forge says when it happened.
const PAYLOADS: Duration = Duration::from_secs(30 * 24 * 3600);
const ROWS: Duration = Duration::from_secs(180 * 24 * 3600);
const PRUNE: Duration = Duration::from_secs(3600);
/// Entries of a page at most.
const MAX_PAGE: usize = 200;

/// A webhook as it arrived.
#[derive(Debug)]
pub struct Webhook<'a> {
    /// Headers by name in lower case.
    pub headers: &'a [(String, String)],
    /// The raw body.
    pub body: &'a [u8],
}

impl Webhook<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

impl Control {
    /// Takes a webhook: verified, stored, answered. What it starts is decided afterwards.
    ///
    /// # Errors
    /// `not_found`, `bad_signature`, `expired_delivery`, `replayed_delivery`, `bad_request`.
    pub async fn receive_webhook(
        &self,
        repository: u64,
        webhook: &Webhook<'_>,
    ) -> Result<AcceptedDelivery, Problem> {
        let row = self.repository_row(repository).await?;
        let secret = self.inner.vault.open_text(WEBHOOK_SECRET, &row.webhook_secret);
        let secret = secret.map_err(|e| Problem::new(Code::Internal, e.to_string()))?;
        let header = |name: &str| webhook.header(name);
        let incoming =
            webhook::verify(row.forge, secret.as_bytes(), header, webhook.body).map_err(|e| match e {
                Rejected::NoEvent(_) => Problem::new(Code::BadRequest, e.to_string()),
                _ => Problem::new(Code::BadSignature, e.to_string())
                    .with_hint("set the secret that `fleetfoot repo add` printed at the forge"),
            })?;
        let payload = webhook::json_of(webhook.body, webhook.header("content-type"))
            .ok_or_else(|| Problem::new(Code::BadRequest, "the webhook is not JSON"))?;
        let now = self.inner.clock.wall();
        if let Some(at) = webhook::happened_at(row.forge, &incoming.event, &payload)
            && (now.since(at) > WINDOW || at.since(now) > SKEW)
        {
            return Err(Problem::new(
                Code::ExpiredDelivery,
                format!(
                    "the webhook tells of an event at {at}; it counts within {} hours",
                    WINDOW.as_secs() / 3600
                ),
            )
            .with_hint("push again, or start the workflow with `fleetfoot repo dispatch`"));
        }
        let signed = webhook::signs_the_body(row.forge);
        let hash = || {
            let mut hasher = blake3::Hasher::new();
            hasher.update(incoming.event.as_bytes()).update(&[0]).update(webhook.body);
            *hasher.finalize().as_bytes()
        };
        let new = NewDelivery {
            repository,
            delivery: incoming.delivery,
            body_hash: signed.then(hash),
            source: DeliverySource::Webhook,
            event: incoming.event,
            payload: payload.to_string(),
            received_at: now,
        };
        match self.inner.store.accept_delivery(new).await.map_err(|e| store_problem(&e))? {
            Accepted::New(delivery) => {
                self.inner.triggers.deliveries.notify_one();
                Ok(AcceptedDelivery { delivery, duplicate: false })
            }
            Accepted::Duplicate(delivery) => Ok(AcceptedDelivery { delivery, duplicate: true }),
            Accepted::Replayed(delivery) => Err(Problem::new(
                Code::ReplayedDelivery,
                format!("the body of this webhook came before, as delivery {delivery}"),
            )
            .with_hint(format!("`fleetfoot repo redeliver {repository} {delivery}` carries it out again"))),
        }
    }

    /// Stores a delivery that was made here; one of the same name is there already, then.
    pub(super) async fn made(
        &self,
        repository: u64,
        delivery: &str,
        event: &str,
        payload: &Value,
    ) -> Result<u64, Problem> {
        let new = self.new_made(repository, delivery, event, payload);
        let accepted = self.inner.store.accept_delivery(new).await.map_err(|e| store_problem(&e))?;
        self.inner.triggers.deliveries.notify_one();
        match accepted {
            Accepted::New(id) | Accepted::Duplicate(id) | Accepted::Replayed(id) => Ok(id),
        }
    }

    pub(super) fn new_made(
        &self,
        repository: u64,
        delivery: &str,
        event: &str,
        payload: &Value,
    ) -> NewDelivery {
        NewDelivery {
            repository,
            delivery: delivery.to_owned(),
            body_hash: None,
            source: DeliverySource::Made,
            event: event.to_owned(),
            payload: payload.to_string(),
            received_at: self.inner.clock.wall(),
        }
    }

    /// Deliveries of a repository, newest first.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `bad_request` for a cursor that is not ours.
    pub async fn deliveries(
        &self,
        who: &Principal,
        repository: u64,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<DeliveryView>, Problem> {
        who.require(Permission::Read)?;
        self.repository_row(repository).await?;
        let cursor = cursor.map(str::parse).transpose();
        let cursor = cursor
            .map_err(|_| Problem::new(Code::BadRequest, "the cursor is not one that this server gave"))?;
        let limit = limit.clamp(1, MAX_PAGE);
        let rows = self.inner.store.deliveries(repository, cursor, limit + 1).await;
        let mut rows = rows.map_err(|e| store_problem(&e))?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = more.then(|| rows.last().map(|r| r.id.to_string())).flatten();
        Ok(Page { items: rows.into_iter().map(view).collect(), next_cursor })
    }

    /// Carries a delivery out again, as a new one.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `conflict` while it is queued or when its payload is gone.
    pub async fn redeliver(
        &self,
        who: &Principal,
        repository: u64,
        id: u64,
    ) -> Result<DeliveryView, Problem> {
        who.require(Permission::Write)?;
        self.repository_row(repository).await?;
        let fail = |e| store_problem(&e);
        let row = self.inner.store.delivery(id).await.map_err(fail)?.filter(|d| d.repository == repository);
        let row = row.ok_or_else(|| {
            Problem::new(Code::NotFound, format!("repository {repository} has no delivery {id}"))
                .with_hint(format!("`fleetfoot repo deliveries {repository}` shows them"))
        })?;
        let payload = match (row.outcome, row.payload) {
            (DeliveryOutcome::Queued, _) => {
                return Err(Problem::new(
                    Code::Conflict,
                    format!("delivery {id} is still to be carried out"),
                ));
            }
            (_, None) => {
                return Err(Problem::new(
                    Code::Conflict,
                    format!("the payload of delivery {id} is not kept any more"),
                ));
            }
            (_, Some(payload)) => payload,
        };
        let now = self.inner.clock.wall();
        let new = NewDelivery {
            repository,
            delivery: format!("redelivery:{id}:{}", now.0),
            body_hash: None,
            source: row.source,
            event: row.event,
            payload,
            received_at: now,
        };
        let accepted = self.inner.store.accept_delivery(new).await.map_err(fail)?;
        let (Accepted::New(new) | Accepted::Duplicate(new) | Accepted::Replayed(new)) = accepted;
        self.inner.triggers.deliveries.notify_one();
        let row = self.inner.store.delivery(new).await.map_err(fail)?;
        row.map(view).ok_or_else(|| Problem::new(Code::NotFound, format!("delivery {new} is gone")))
    }
}

fn view(row: DeliveryRow) -> DeliveryView {
    DeliveryView {
        id: row.id,
        delivery: row.delivery,
        event: row.event,
        received_at: row.received_at,
        outcome: row.outcome,
        runs: row.runs,
        notes: row.notes,
        error: row.error,
        tries: row.tries,
        next_try: row.next_try,
    }
}

/// Carries out what is stored, until the server stops.
pub(super) async fn work(control: Control) {
    let inner = &control.inner;
    let busy: Arc<Mutex<HashSet<u64>>> = Arc::default();
    let places = Arc::new(Semaphore::new(ABREAST));
    let mut pruned = tokio::time::Instant::now();
    loop {
        // Enabled before the look, so that nothing falls between.
        let woken = inner.triggers.deliveries.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        let next = match inner.store.due_deliveries(inner.clock.wall(), ROUND).await {
            Ok((due, next)) => {
                for delivery in due {
                    if !busy.lock().insert(delivery.repository) {
                        continue;
                    }
                    let (control, busy, places) = (control.clone(), busy.clone(), places.clone());
                    inner.tasks.spawn(async move {
                        let repository = delivery.repository;
                        if let Ok(_place) = places.acquire().await {
                            carry_out(&control, delivery).await;
                        }
                        busy.lock().remove(&repository);
                        control.inner.triggers.deliveries.notify_one();
                    });
                }
                next
            }
            Err(e) => {
                warn!(error = %e, "deliveries cannot be read, trying again later");
                None
            }
        };
        if pruned.elapsed() >= PRUNE {
            pruned = tokio::time::Instant::now();
            let now = inner.clock.wall();
            if let Err(e) = inner.store.prune_deliveries(now - PAYLOADS, now - ROWS).await {
                warn!(error = %e, "old deliveries cannot be pruned");
            }
        }
        if !pause(inner, woken, next).await {
            return;
        }
    }
}

/// One try of one delivery. It ends with a row that says what became of it.
async fn carry_out(control: &Control, delivery: DeliveryRow) {
    let inner = &control.inner;
    let id = delivery.id;
    let result = tokio::select! {
        result = process::process(control, &delivery) => result,
        // Nothing was promised yet: it is carried out after the start.
        () = inner.stopping.cancelled() => return,
    };
    let now = inner.clock.wall();
    let end = match result {
        Ok(done) => DeliveryEnd {
            outcome: if done.runs.is_empty() { DeliveryOutcome::Ignored } else { DeliveryOutcome::Started },
            runs: done.runs,
            notes: done.notes,
            error: None,
            next_try: None,
        },
        Err(trouble) => {
            debug!(delivery = id, error = trouble.message, "a delivery could not be carried out");
            if trouble.forge {
                let noted =
                    inner.store.note_repository(delivery.repository, None, Some(trouble.message.clone()));
                if let Err(e) = noted.await {
                    warn!(error = %e, "the state of a repository cannot be noted");
                }
            }
            failed(&delivery, trouble, now)
        }
    };
    let runs = end.runs.clone();
    match inner.store.end_delivery(id, end).await {
        Ok(true) => runs.into_iter().for_each(|run| reports::follow(control, run)),
        Ok(false) => debug!(delivery = id, "a delivery had ended already"),
        Err(e) => {
            warn!(delivery = id, error = %e, "the end of a delivery cannot be stored, trying again");
            tokio::time::sleep(PULSE.min(Duration::from_secs(1))).await;
        }
    }
}

fn failed(delivery: &DeliveryRow, trouble: Trouble, now: fleetfoot_model::Timestamp) -> DeliveryEnd {
    let again = now + backoff(delivery.tries);
    let keep_on = trouble.passing && again.since(delivery.received_at) < PATIENCE;
    DeliveryEnd {
        outcome: if keep_on { DeliveryOutcome::Queued } else { DeliveryOutcome::Failed },
        runs: Vec::new(),
        notes: Vec::new(),
        error: Some(trouble.message),
        next_try: keep_on.then_some(again),
    }
}
