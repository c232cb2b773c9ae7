//! Cases about repositories, deliveries, schedules and reports.

use super::Harness;
use super::fixtures::at;
use crate::{
    Accepted, DeliveryEnd, DeliverySource, NewDelivery, NewReport, ReportTry, RepositoryRow, ScheduleRow,
    Store, TriggerRun,
};
use fleetfoot_model::ids::RunId;
use fleetfoot_model::repos::{DeliveryOutcome, ForgeKind, ForkApproval};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Runs all cases of this part.
pub async fn all(h: &dyn Harness) {
    repositories_read_back(h).await;
    removed_repositories_leave_nothing(h).await;
    deliveries_are_stored_once(h).await;
    deliveries_end_once(h).await;
    refs_move_by_compare_and_set(h).await;
    schedules_move_by_compare_and_set(h).await;
    the_latest_state_is_reported(h).await;
    an_older_run_does_not_overrule(h).await;
    ends_of_runs_are_told_once(h).await;
}

fn row(url: &str) -> RepositoryRow {
    RepositoryRow {
        id: 0,
        forge: ForgeKind::Forgejo,
        name: "o/r".to_owned(),
        url: url.to_owned(),
        api_url: "https://x/api/v1".to_owned(),
        web_url: "https://x/o/r".to_owned(),
        project: "core".to_owned(),
        default_branch: Some("main".to_owned()),
        webhook_secret: vec![1, 2],
        token: Some(vec![3]),
        share_token: true,
        poll_seconds: Some(60),
        fork_approval: ForkApproval::Always,
        refs: None,
        error: None,
        created_at: at(1),
    }
}

async fn with_repository(h: &dyn Harness) -> (Arc<dyn Store>, u64) {
    let store = h.fresh().await;
    let id = store.add_repository(row("https://x/o/r")).await.expect("writes work").expect("it is new");
    (store, id)
}

fn delivery(repository: u64, id: &str, hash: Option<u8>) -> NewDelivery {
    NewDelivery {
        repository,
        delivery: id.to_owned(),
        body_hash: hash.map(|n| [n; 32]),
        source: DeliverySource::Webhook,
        event: "push".to_owned(),
        payload: "{}".to_owned(),
        received_at: at(5),
    }
}

fn end(outcome: DeliveryOutcome, runs: Vec<TriggerRun>, again: Option<i64>) -> DeliveryEnd {
    DeliveryEnd {
        outcome,
        runs,
        notes: vec!["why".to_owned()],
        error: again.map(|_| "out of reach".to_owned()),
        next_try: again.map(at),
    }
}

fn trigger_run(repository: u64, run: u64) -> TriggerRun {
    TriggerRun { run: RunId(run), repository, sha: "a".to_owned(), event: "push".to_owned(), depth: 1 }
}

/// Every field is kept; what may change changes; a project has an address once.
pub async fn repositories_read_back(h: &dyn Harness) {
    let (store, id) = with_repository(h).await;
    let mut expected = RepositoryRow { id, ..row("https://x/o/r") };
    assert_eq!(store.repository(id).await.expect("reads work").as_ref(), Some(&expected));
    assert_eq!(store.add_repository(row("https://x/o/r")).await.expect("writes work"), None);
    let other = RepositoryRow { project: "other".to_owned(), ..row("https://x/o/r") };
    let second = store.add_repository(other).await.expect("writes work").expect("another project");
    assert!(second > id);
    expected.token = None;
    expected.poll_seconds = None;
    expected.fork_approval = ForkApproval::Never;
    expected.project = "moved".to_owned();
    assert!(store.update_repository(expected.clone()).await.expect("writes work"));
    store.note_repository(id, None, Some("gone".to_owned())).await.expect("writes work");
    expected.error = Some("gone".to_owned());
    assert_eq!(store.repositories().await.expect("reads work")[0], expected);
    assert!(!store.update_repository(RepositoryRow { id: 99, ..expected }).await.expect("writes work"));
}

/// What belongs to a repository goes with it, and its id never comes again.
pub async fn removed_repositories_leave_nothing(h: &dyn Harness) {
    let (store, id) = with_repository(h).await;
    store.accept_delivery(delivery(id, "d", None)).await.expect("writes work");
    store.add_contributor(id, 42).await.expect("writes work");
    assert!(store.is_contributor(id, 42).await.expect("reads work"));
    assert!(store.remove_repository(id).await.expect("writes work"));
    assert!(!store.remove_repository(id).await.expect("writes work"));
    assert_eq!(store.due_deliveries(at(100), 10).await.expect("reads work"), (Vec::new(), None));
    let next =
        store.add_repository(row("https://x/o/r")).await.expect("writes work").expect("it is new again");
    assert!(next > id);
    assert!(!store.is_contributor(next, 42).await.expect("reads work"));
}

/// An id comes once, a hashed body too.
pub async fn deliveries_are_stored_once(h: &dyn Harness) {
    let (store, id) = with_repository(h).await;
    let accept = async |new| store.accept_delivery(new).await.expect("writes work");
    let Accepted::New(first) = accept(delivery(id, "a", Some(1))).await else { panic!("it is new") };
    assert_eq!(accept(delivery(id, "a", Some(2))).await, Accepted::Duplicate(first));
    assert_eq!(accept(delivery(id, "b", Some(1))).await, Accepted::Replayed(first));
    assert!(matches!(accept(delivery(id, "b", None)).await, Accepted::New(_)));
    assert!(matches!(accept(delivery(id, "c", None)).await, Accepted::New(_)));
    let listed = store.deliveries(id, None, 2).await.expect("reads work");
    let names: Vec<&str> = listed.iter().map(|d| d.delivery.as_str()).collect();
    assert_eq!(names, ["c", "b"]);
    assert_eq!(store.deliveries(id, Some(listed[1].id), 2).await.expect("reads work")[0].id, first);
    assert_eq!(
        store.delivery(first).await.expect("reads work").expect("it is kept").payload.as_deref(),
        Some("{}")
    );
}

/// A queued delivery ends once; its payload goes after a while, and then the row.
pub async fn deliveries_end_once(h: &dyn Harness) {
    let (store, id) = with_repository(h).await;
    let Accepted::New(one) = store.accept_delivery(delivery(id, "a", None)).await.expect("writes work")
    else {
        panic!("it is new")
    };
    assert_eq!(store.due_deliveries(at(4), 10).await.expect("reads work"), (Vec::new(), Some(at(5))));
    let retry = end(DeliveryOutcome::Queued, Vec::new(), Some(9));
    assert!(store.end_delivery(one, retry).await.expect("writes work"));
    assert_eq!(store.due_deliveries(at(8), 10).await.expect("reads work").1, Some(at(9)));
    let (due, _) = store.due_deliveries(at(9), 10).await.expect("reads work");
    assert_eq!((due.len(), due[0].tries, due[0].error.as_deref()), (1, 1, Some("out of reach")));
    let done = end(DeliveryOutcome::Started, vec![trigger_run(id, 7)], None);
    assert!(store.end_delivery(one, done.clone()).await.expect("writes work"));
    assert!(!store.end_delivery(one, done).await.expect("writes work"));
    let row = store.delivery(one).await.expect("reads work").expect("it is kept");
    assert_eq!((row.outcome, row.runs, row.tries), (DeliveryOutcome::Started, vec![RunId(7)], 2));
    assert_eq!((row.notes, row.error, row.next_try), (vec!["why".to_owned()], None, None));
    assert_eq!(store.trigger_runs().await.expect("reads work"), [trigger_run(id, 7)]);
    store.prune_deliveries(at(6), at(2)).await.expect("writes work");
    assert_eq!(store.delivery(one).await.expect("reads work").expect("it is kept").payload, None);
    store.prune_deliveries(at(6), at(6)).await.expect("writes work");
    assert_eq!(store.delivery(one).await.expect("reads work"), None);
}

/// Of two looks at the same refs one counts.
pub async fn refs_move_by_compare_and_set(h: &dyn Harness) {
    let (store, id) = with_repository(h).await;
    let refs = |sha: &str| BTreeMap::from([("refs/heads/main".to_owned(), sha.to_owned())]);
    let change = |old: Option<&str>, new: &str, name: &str| {
        store.move_refs(id, old.map(refs), refs(new), vec![delivery(id, name, None)])
    };
    assert!(change(None, "1", "a").await.expect("writes work"));
    assert!(!change(None, "1", "b").await.expect("writes work"));
    assert!(change(Some("1"), "2", "c").await.expect("writes work"));
    assert!(!change(Some("1"), "3", "d").await.expect("writes work"));
    assert_eq!(store.repository(id).await.expect("reads work").expect("it is there").refs, Some(refs("2")));
    let names: Vec<String> =
        store.deliveries(id, None, 9).await.expect("reads work").into_iter().map(|d| d.delivery).collect();
    assert_eq!(names, ["c", "a"]);
}

fn schedule(repository: u64, cron: &str, next: i64) -> ScheduleRow {
    ScheduleRow {
        id: 0,
        repository,
        workflow: "w.yml".to_owned(),
        cron: cron.to_owned(),
        timezone: String::new(),
        next_at: Some(at(next)),
        last_at: None,
        note: None,
    }
}

/// A schedule that stays keeps its times, and fires once.
pub async fn schedules_move_by_compare_and_set(h: &dyn Harness) {
    let (store, id) = with_repository(h).await;
    let set = async |rows| store.set_schedules(id, rows).await.expect("writes work");
    set(vec![schedule(id, "a", 10), schedule(id, "b", 20)]).await;
    let rows = store.schedules(Some(id)).await.expect("reads work");
    assert_eq!(rows.iter().map(|r| r.cron.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let moved = ScheduleRow { next_at: Some(at(30)), last_at: Some(at(10)), ..rows[0].clone() };
    let fire =
        |expected| store.move_schedule(moved.clone(), Some(at(expected)), Some(delivery(id, "s", None)));
    assert!(fire(10).await.expect("writes work"));
    assert!(!fire(10).await.expect("writes work"));
    assert_eq!(store.deliveries(id, None, 9).await.expect("reads work").len(), 1);
    set(vec![schedule(id, "a", 11), schedule(id, "c", 40)]).await;
    let rows = store.schedules(None).await.expect("reads work");
    let times: Vec<_> = rows.iter().map(|r| (r.cron.as_str(), r.next_at, r.last_at)).collect();
    assert_eq!(times, [("a", Some(at(30)), Some(at(10))), ("c", Some(at(40)), None)]);
}

fn report(repository: u64, run: u64, state: &str, t: i64) -> NewReport {
    NewReport {
        repository,
        sha: "a".to_owned(),
        context: "build".to_owned(),
        run: Some(RunId(run)),
        state: state.to_owned(),
        text: state.to_owned(),
        at: at(t),
    }
}

/// States that nobody sent yet are overtaken by later ones; the same state again is nothing.
pub async fn the_latest_state_is_reported(h: &dyn Harness) {
    let (store, id) = with_repository(h).await;
    let want = async |state, t| store.want_reports(vec![report(id, 1, state, t)]).await.expect("writes work");
    let due = async |t| store.due_reports(at(t), 9).await.expect("reads work");
    want("pending", 1).await;
    let (first, _) = due(1).await;
    want("running", 2).await;
    store.end_report(&first[0], ReportTry::Sent { check_run: Some(5) }).await.expect("writes work");
    let (second, _) = due(2).await;
    assert_eq!(
        (second.len(), second[0].state.as_str(), second[0].sent.as_deref()),
        (1, "running", Some("pending"))
    );
    assert_eq!(second[0].check_run, Some(5));
    let failed = ReportTry::Failed { error: "503".to_owned(), next_try: Some(at(7)) };
    store.end_report(&second[0], failed).await.expect("writes work");
    assert_eq!(due(6).await, (Vec::new(), Some(at(7))));
    let (third, _) = due(7).await;
    assert_eq!((third[0].tries, third[0].error.as_deref()), (1, Some("503")));
    store.end_report(&third[0], ReportTry::Sent { check_run: None }).await.expect("writes work");
    want("running", 8).await;
    assert_eq!(due(100).await, (Vec::new(), None));
    let shown = store.reports(id, 9).await.expect("reads work");
    assert_eq!((shown[0].sent.as_deref(), shown[0].check_run, shown[0].tries), (Some("running"), Some(5), 0));
}

/// A commit shows its newest run.
pub async fn an_older_run_does_not_overrule(h: &dyn Harness) {
    let (store, id) = with_repository(h).await;
    for (run, state) in [(2, "pending"), (1, "failure"), (2, "success"), (1, "success")] {
        store.want_reports(vec![report(id, run, state, 3)]).await.expect("writes work");
    }
    let shown = store.reports(id, 9).await.expect("reads work");
    assert_eq!((shown[0].run, shown[0].state.as_str(), shown.len()), (Some(RunId(2)), "success", 1));
}

/// The end of a run means one delivery.
pub async fn ends_of_runs_are_told_once(h: &dyn Harness) {
    let (store, id) = with_repository(h).await;
    let Accepted::New(one) = store.accept_delivery(delivery(id, "a", None)).await.expect("writes work")
    else {
        panic!("it is new")
    };
    let done = end(DeliveryOutcome::Started, vec![trigger_run(id, 7), trigger_run(id, 8)], None);
    store.end_delivery(one, done).await.expect("writes work");
    for name in ["x", "y"] {
        let told = Some(delivery(id, name, None));
        store.end_trigger_run(RunId(7), told).await.expect("writes work");
    }
    assert_eq!(store.trigger_runs().await.expect("reads work"), [trigger_run(id, 8)]);
    let names: Vec<String> =
        store.deliveries(id, None, 9).await.expect("reads work").into_iter().map(|d| d.delivery).collect();
    assert_eq!(names, ["x", "a"]);
}
