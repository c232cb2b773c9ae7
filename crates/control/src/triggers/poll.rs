//! Forges that cannot reach us: their refs are listed now and then and
//! compared with what was seen last. Every difference is a delivery, stored
//! in the transaction that remembers the new refs.

use super::process::{self, SCAN};
use super::{Trouble, backoff, pause};
use crate::Control;
use fleetfoot_model::Timestamp;
use fleetfoot_store::{NewDelivery, RepositoryRow};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
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

/// When a repository is looked at next, by the steady clock.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// Absent while it is being looked at.
    due: Option<Timestamp>,
    /// Looks that failed since the last that did not.
    failures: u32,
}

/// Looks at every repository at its interval, until the server stops. A forge that does not answer
/// keeps no other waiting.
pub(super) async fn work(control: Control) {
    let inner = &control.inner;
    let turns: Arc<Mutex<HashMap<u64, Turn>>> = Arc::default();
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
        let now = inner.clock.steady();
        let ready: Vec<RepositoryRow> = {
            let mut turns = turns.lock();
            turns.retain(|id, turn| {
                turn.due.is_none() || rows.iter().any(|r| r.id == *id && r.poll_seconds.is_some())
            });
            let polled = rows.into_iter().filter(|r| r.poll_seconds.is_some());
            polled
                .filter(|row| {
                    let turn = turns.entry(row.id).or_insert(Turn { due: Some(now), failures: 0 });
                    let ready = turn.due.is_some_and(|at| at <= now);
                    if ready {
                        turn.due = None;
                    }
                    ready
                })
                .collect()
        };
        for row in ready {
            let (control, turns) = (control.clone(), turns.clone());
            inner.tasks.spawn(async move {
                let failed = tokio::select! {
                    result = look(&control, &row) => result.err(),
                    () = control.inner.stopping.cancelled() => None,
                };
                if let Some(e) = &failed {
                    debug!(repository = row.id, error = e.message, "a look at a forge failed");
                    let noted = control.inner.store.note_repository(row.id, None, Some(e.message.clone()));
                    if let Err(e) = noted.await {
                        warn!(error = %e, "the state of a repository cannot be noted");
                    }
                }
                if let Some(turn) = turns.lock().get_mut(&row.id) {
                    let interval = Duration::from_secs(row.poll_seconds.unwrap_or(60).into());
                    let rest = if failed.is_some() { interval.max(backoff(turn.failures)) } else { interval };
                    turn.failures = if failed.is_some() { turn.failures.saturating_add(1) } else { 0 };
                    turn.due = Some(control.inner.clock.steady() + rest);
                }
                control.inner.triggers.polls.notify_one();
            });
        }
        let rest = turns.lock().values().filter_map(|t| t.due).map(|at| at.since(inner.clock.steady())).min();
        let until = rest.map(|rest| inner.clock.wall() + rest);
        if !pause(inner, woken, until).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetfoot_model::repos::{ForgeKind, ForkApproval};
    use proptest::prelude::*;

    fn row() -> RepositoryRow {
        RepositoryRow {
            id: 1,
            forge: ForgeKind::Gitea,
            name: "o/r".to_owned(),
            url: "https://x/o/r".to_owned(),
            api_url: String::new(),
            web_url: String::new(),
            project: String::new(),
            default_branch: Some("main".to_owned()),
            webhook_secret: Vec::new(),
            token: None,
            share_token: false,
            poll_seconds: Some(60),
            fork_approval: ForkApproval::default(),
            refs: None,
            error: None,
            created_at: Timestamp(0),
        }
    }

    fn refs(all: &[(&str, u8)]) -> BTreeMap<String, String> {
        all.iter().map(|(name, n)| ((*name).to_owned(), format!("{n:040x}"))).collect()
    }

    #[test]
    fn every_kind_of_difference() {
        let old = refs(&[("refs/heads/main", 1), ("refs/heads/gone", 1), ("refs/tags/v1", 1)]);
        let new = refs(&[("refs/heads/main", 2), ("refs/tags/v1", 1), ("refs/tags/v2", 2)]);
        let all = differences(&row(), &old, &new);
        let told: Vec<_> =
            all.iter().map(|(_, event, p)| format!("{event} {}", p["ref"].as_str().unwrap())).collect();
        assert_eq!(told, ["push refs/heads/main", "create v2", "push refs/tags/v2", "delete gone"]);
        assert_eq!(all[0].2["before"], format!("{:040x}", 1));
        assert_eq!(all[2].2["before"], ZERO);
    }

    proptest! {
        /// What a poll makes is understood, and equal refs make nothing.
        #[test]
        fn what_is_told_is_understood(
            old in prop::collection::btree_map("refs/(heads|tags)/[a-z]{1,3}", 1_u8..4, 0..6),
            new in prop::collection::btree_map("refs/(heads|tags)/[a-z]{1,3}", 1_u8..4, 0..6),
        ) {
            let shas = |m: &BTreeMap<String, u8>| m.iter().map(|(k, n)| (k.clone(), format!("{n:040x}"))).collect::<BTreeMap<_, _>>();
            let (old, new) = (shas(&old), shas(&new));
            let all = differences(&row(), &old, &new);
            prop_assert_eq!(all.is_empty(), old == new);
            for (_, event, payload) in all {
                prop_assert!(fleetfoot_forge::normalise(ForgeKind::Github, event, &payload).is_ok());
            }
        }
    }
}
