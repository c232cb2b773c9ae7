//! Forges that cannot reach us: their refs are listed now and then and
//! compared with what was seen last. Every difference is a delivery, stored
//! in the transaction that remembers the new refs.

use super::process::{self, SCAN};
use super::repositories::rest_after;
use super::{Trouble, pause};
use crate::Control;
use fleetfoot_model::Timestamp;
use fleetfoot_store::{NewDelivery, RepositoryRow};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tracing::{debug, warn};

const ZERO: &str = "0000000000000000000000000000000000000000";
/// More changes at once than this are a mirror that was filled anew: they start nothing.
const MOST: usize = 100;

/// What changed between two looks: event and payload.
pub(super) fn differences(
    row: &RepositoryRow,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> Vec<(String, &'static str, Value)> {
    let mut all = Vec::new();
    for (name, sha) in new {
        let before = old.get(name);
        if before == Some(sha) {
            continue;
        }
        let before_sha = before.map_or(ZERO, String::as_str);
        if before.is_none() {
            let fields = json!({ "ref": short(name), "ref_type": kind(name), "sha": sha });
            all.push((format!("create:{name}:{sha}"), "create", process::made_of(row, fields)));
        }
        let fields = json!({
            "ref": name, "before": before_sha, "after": sha, "created": before.is_none(), "deleted": false,
            "forced": false, "commits": [], "pusher": { "name": "" },
        });
        all.push((format!("push:{name}:{before_sha}..{sha}"), "push", process::made_of(row, fields)));
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        let fields = json!({ "ref": short(name), "ref_type": kind(name) });
        all.push((format!("delete:{name}:{}", old[name]), "delete", process::made_of(row, fields)));
    }
    all
}

fn short(name: &str) -> &str {
    name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/")).unwrap_or(name)
}

fn kind(name: &str) -> &'static str {
    if name.starts_with("refs/tags/") { "tag" } else { "branch" }
}

/// One look at one repository.
async fn look(control: &Control, row: &RepositoryRow) -> Result<(), Trouble> {
    let inner = &control.inner;
    let mirror = inner.mirror_of(row)?;
    let refs = {
        let lock = inner.lock_of(row.id);
        let _alone = lock.lock().await;
        mirror.prepare().await?;
        mirror.remote_refs().await?
    };
    if row.error.is_some() || refs.default_branch != row.default_branch {
        inner.store.note_repository(row.id, refs.default_branch.clone(), None).await?;
    }
    if row.refs.as_ref() == Some(&refs.refs) {
        return Ok(());
    }
    let now = inner.clock.wall();
    let changes = match &row.refs {
        // The first look is where counting begins.
        None => Vec::new(),
        Some(old) => differences(row, old, &refs.refs),
    };
    let deliveries: Vec<NewDelivery> = if changes.len() > MOST || row.refs.is_none() {
        vec![control.new_made(row.id, &format!("scan:{}", now.0), SCAN, &json!({}))]
    } else {
        let named = |(name, event, payload): &(String, &str, Value)| {
            control.new_made(row.id, &format!("poll:{}:{name}", now.0), event, payload)
        };
        changes.iter().map(named).collect()
    };
    if inner.store.move_refs(row.id, row.refs.clone(), refs.refs, deliveries).await? {
        inner.triggers.deliveries.notify_one();
    }
    Ok(())
}

/// Looks at every repository at its interval, until the server stops.
pub(super) async fn work(control: Control) {
    let inner = &control.inner;
    // When each is due by the steady clock, and how often it failed since.
    let mut due: HashMap<u64, (Timestamp, u32)> = HashMap::new();
    loop {
        let woken = inner.triggers.polls.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        let rows = match inner.store.repositories().await {
            Ok(rows) => rows,
            Err(e) => {
                warn!(error = %e, "repositories cannot be read, trying again later");
                Vec::new()
            }
        };
        due.retain(|id, _| rows.iter().any(|r| r.id == *id && r.poll_seconds.is_some()));
        let now = inner.clock.steady();
        let ready = rows.iter().filter(|r| r.poll_seconds.is_some());
        let ready = ready.filter(|r| due.get(&r.id).is_none_or(|(at, _)| *at <= now));
        let looks = ready.map(|row| {
            let control = &control;
            async move {
                let result = tokio::select! {
                    result = look(control, row) => result,
                    () = control.inner.stopping.cancelled() => Ok(()),
                };
                (row, result)
            }
        });
        for (row, result) in futures_util::future::join_all(looks).await {
            let interval = Duration::from_secs(row.poll_seconds.unwrap_or(60).into());
            let failures = due.get(&row.id).map_or(0, |(_, n)| *n);
            let (rest, failures) = match result {
                Ok(()) => (interval, 0),
                Err(e) => {
                    debug!(repository = row.id, error = e.message, "a look at a forge failed");
                    if let Err(e) = inner.store.note_repository(row.id, None, Some(e.message)).await {
                        warn!(error = %e, "the state of a repository cannot be noted");
                    }
                    (interval.max(rest_after(failures)), failures + 1)
                }
            };
            due.insert(row.id, (inner.clock.steady() + rest, failures));
        }
        let rest = due.values().map(|(at, _)| at.since(inner.clock.steady())).min();
        let until = rest.map(|rest| inner.clock.wall() + rest);
        if !pause(inner, woken, until).await {
            return;
        }
    }
}
