//! What a dashboard asks for: searching runs, samples, the audit log.

use super::Harness;
use super::fixtures::{at, done, job_payload, job_row, lease, new_run, placement, run_row};
use crate::{Op, SampleRow, Store};
use fleetfoot_model::api::RunFilter;
use fleetfoot_model::ids::RunId;
use fleetfoot_model::observe::{AuditFilter, JobCounts, RunSearch};
use fleetfoot_model::state::Status;
use serde_json::json;
use std::sync::Arc;

/// Every case of this file.
pub async fn all(harness: &dyn Harness) {
    searches_combine(&*harness.fresh().await).await;
    samples_are_kept_and_forgotten(&*harness.fresh().await).await;
    audit_is_searched(&*harness.fresh().await).await;
}

async fn searches_combine(store: &dyn Store) {
    for id in 1..=6_u64 {
        let mut run = new_run(id, &[]);
        run.row = run_row(id);
        run.row.name = if id % 2 == 0 { "Lint Ünï" } else { "build" }.to_owned();
        run.row.title = format!("Change number {id}");
        if let Some(repository) = &mut run.payload.params.repository {
            repository.sha = Some(format!("abcdef{id}"));
        }
        let mut job = job_row(id * 10, id);
        job.placement = Some(Arc::new(placement(if id < 4 { "linux" } else { "gpu" })));
        let mut other = job_row(id * 10 + 1, id);
        other.status = Status::Waiting;
        run.jobs = vec![(job, Some(job_payload("true"))), (other, None)];
        run.row.jobs = 2;
        done(store, Op::CreateRun(Box::new(run))).await;
    }
    let find = async |search: &RunSearch| -> Vec<u64> {
        store
            .search_runs(search, None, 10)
            .await
            .expect("the store answers")
            .iter()
            .map(|s| s.row.id.0)
            .collect()
    };
    let text = |t: &str| RunSearch { text: Some(t.to_owned()), ..RunSearch::default() };
    assert_eq!(find(&RunSearch::default()).await, [6, 5, 4, 3, 2, 1]);
    assert_eq!(find(&text("lint")).await, [6, 4, 2], "in any case");
    assert_eq!(find(&text("ÜNÏ")).await, [6, 4, 2]);
    assert_eq!(find(&text("NUMBER 3")).await, [3]);
    assert_eq!(find(&text("#105")).await, [5]);
    assert_eq!(find(&text("%")).await, [0_u64; 0]);
    let label = |l: &str| RunSearch { label: Some(l.to_owned()), ..RunSearch::default() };
    let other = RunSearch { label: Some("gpu".to_owned()), ..text("lint") };
    assert_eq!(find(&label("gpu")).await, [6, 5, 4]);
    assert_eq!(find(&other).await, [6, 4]);
    assert_eq!(find(&label("nobody")).await, [0_u64; 0]);
    let filter = RunFilter { name: Some("build".to_owned()), ..RunFilter::default() };
    assert_eq!(find(&RunSearch { filter, ..label("gpu") }).await, [5]);

    done(store, lease(3, 30, 1, 500)).await;
    let runner = RunSearch { runner: Some("5".to_owned()), ..RunSearch::default() };
    assert_eq!(find(&runner).await, [3]);
    assert_eq!(
        find(&RunSearch { runner: Some("unknown".to_owned()), ..RunSearch::default() }).await,
        [0_u64; 0]
    );
    let page = store.search_runs(&RunSearch::default(), Some(RunId(4)), 2).await.expect("the store answers");
    assert_eq!(page.iter().map(|s| s.row.id.0).collect::<Vec<_>>(), [3, 2]);
    let counts = JobCounts { total: 2, running: 1, waiting: 1, ..JobCounts::default() };
    assert_eq!(page[0].jobs, counts);
    let these = store.run_summaries(vec![RunId(2), RunId(77), RunId(5)]).await.expect("the store answers");
    assert_eq!(these.iter().map(|s| s.row.id.0).collect::<Vec<_>>(), [5, 2]);
    assert!(store.run_summaries(Vec::new()).await.expect("the store answers").is_empty());

    let facets = store.run_facets(10).await.expect("the store answers");
    assert_eq!(facets.workflows, ["Lint Ünï", "build"]);
    assert_eq!((facets.labels, facets.truncated), (vec!["gpu".to_owned(), "linux".to_owned()], false));
    assert!(store.run_facets(1).await.expect("the store answers").truncated);
}

async fn samples_are_kept_and_forgotten(store: &dyn Store) {
    let row = |series: &str, level, at, a| SampleRow {
        series: series.to_owned(),
        level,
        at,
        values: [Some(a), None, Some(0.5), None, None],
    };
    let first = vec![row("fleet", 0, 10, 1.0), row("fleet", 0, 20, 2.0), row("queue:x", 0, 10, 3.0)];
    store.add_samples(first).await.expect("the store answers");
    store
        .add_samples(vec![row("fleet", 0, 20, 5.0), row("fleet", 1, 0, 9.0)])
        .await
        .expect("the store answers");
    let found = store.samples("fleet", 0, 10, 20).await.expect("the store answers");
    assert_eq!(found, [row("fleet", 0, 10, 1.0), row("fleet", 0, 20, 5.0)], "the later one counts");
    assert_eq!(store.samples("fleet", 0, 11, 19).await.expect("the store answers"), []);
    assert_eq!(store.series_names().await.expect("the store answers"), ["fleet", "queue:x"]);
    store.forget_samples(0, 20).await.expect("the store answers");
    assert_eq!(
        store.samples("fleet", 0, 0, 99).await.expect("the store answers"),
        [row("fleet", 0, 20, 5.0)]
    );
    assert_eq!(store.samples("fleet", 1, 0, 99).await.expect("the store answers").len(), 1, "another level");
    assert_eq!(store.series_names().await.expect("the store answers"), ["fleet"]);
}

async fn audit_is_searched(store: &dyn Store) {
    let entry = |n: i64, actor: &str, action: &str, subject: &str| Op::Audit {
        at: at(n),
        actor: actor.to_owned(),
        action: action.to_owned(),
        subject: subject.to_owned(),
        detail: json!({ "name": format!("Detail {n}") }),
    };
    done(store, entry(1, "token:1", "token.create", "token:2")).await;
    done(store, entry(2, "token:2", "run.cancel", "run:7")).await;
    done(store, entry(3, "token:1", "token.revoke", "token:2")).await;
    let find = async |filter: AuditFilter| -> Vec<u64> {
        store.search_audit(&filter, None, 10).await.expect("the store answers").iter().map(|e| e.id).collect()
    };
    let none = AuditFilter::default;
    assert_eq!(find(none()).await, [3, 2, 1]);
    assert_eq!(find(AuditFilter { actor: Some("token:1".to_owned()), ..none() }).await, [3, 1]);
    assert_eq!(find(AuditFilter { action: Some("token.".to_owned()), ..none() }).await, [3, 1]);
    assert_eq!(find(AuditFilter { action: Some("token".to_owned()), ..none() }).await, [0_u64; 0]);
    assert_eq!(find(AuditFilter { target: Some("run:7".to_owned()), ..none() }).await, [2]);
    assert_eq!(find(AuditFilter { from: Some(at(2)), to: Some(at(3)), ..none() }).await, [2]);
    assert_eq!(find(AuditFilter { text: Some("DETAIL 3".to_owned()), ..none() }).await, [3]);
    assert_eq!(store.search_audit(&none(), Some(3), 1).await.expect("the store answers")[0].id, 2);
    assert!(store.stocks().await.expect("the store answers").database.bytes > 0);
    assert_eq!(store.pending_approvals().await.expect("the store answers"), 0);
    assert!(store.schema_version().await.expect("the store answers") > 0);
}
