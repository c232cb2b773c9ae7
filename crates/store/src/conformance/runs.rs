//! Cases about whole runs: create, list, cancel, complete, delete.

use super::Harness;
use super::fixtures::*;
use crate::{NewRun, Op, OpError, RunRow};
use fleetfoot_model::api::RunFilter;
use fleetfoot_model::ids::{JobId, RunId};
use fleetfoot_model::state::{Conclusion, Status};

/// Runs all cases of this part.
pub async fn all(h: &dyn Harness) {
    created_run_reads_back(h).await;
    empty_values_read_back(h).await;
    run_ids_are_unique(h).await;
    impossible_rows_are_refused(h).await;
    release_and_cancel_of_runs(h).await;
    run_completes_once_and_after_its_jobs(h).await;
    only_completed_runs_are_deleted(h).await;
    shared_contents_survive_their_first_user(h).await;
    runs_are_listed_newest_first(h).await;
    attempts_of_a_run_have_its_number(h).await;
    runs_are_filtered(h).await;
    open_runs_come_in_pages(h).await;
    finished_runs_come_oldest_first(h).await;
}

/// Every field of a new run, its payload and its jobs is kept as it was given.
pub async fn created_run_reads_back(h: &dyn Harness) {
    let store = h.fresh().await;
    let mut new = new_run(1, &[10, 11]);
    new.jobs[1] = (placeholder(11, 1), None);
    done(&*store, Op::CreateRun(Box::new(new.clone()))).await;
    assert_eq!(run_of(&*store, 1).await, new.row);
    let payload = store.run_payload(RunId(1)).await.expect("reads work");
    assert_eq!(payload.as_ref(), Some(&new.payload));
    let contexts = serde_json::to_string(&payload.expect("checked").contexts).expect("JSON");
    assert_eq!(contexts, r#"{"github":{"b":1,"a":2}}"#, "the order of keys is kept");
    let jobs = store.run_jobs(RunId(1), None).await.expect("reads work");
    assert_eq!(jobs, [new.jobs[0].0.clone(), new.jobs[1].0.clone()]);
    assert_eq!(store.job_payload(JobId(10)).await.expect("reads work"), new.jobs[0].1);
    assert_eq!(store.job_payload(JobId(11)).await.expect("reads work"), None);
    assert_eq!(store.run(RunId(2)).await.expect("reads work"), None);
    assert_eq!(store.run_payload(RunId(2)).await.expect("reads work"), None);
    assert_eq!(store.job(JobId(12)).await.expect("reads work"), None);
}

/// Absent and empty values come back absent and empty.
pub async fn empty_values_read_back(h: &dyn Harness) {
    let store = h.fresh().await;
    let row = RunRow {
        path: None,
        actor: None,
        branch: None,
        rerun_of: None,
        concurrency: None,
        nodes: Vec::new(),
        title: String::new(),
        ..run_row(1)
    };
    let payload = crate::RunPayload {
        document: "".into(),
        params: Default::default(),
        contexts: Default::default(),
        sealed_secrets: Vec::new(),
    };
    let mut job = job_payload("");
    job.needs = None;
    let new = NewRun { row, payload, jobs: vec![(job_row(10, 1), Some(job))] };
    done(&*store, Op::CreateRun(Box::new(new.clone()))).await;
    assert_eq!(run_of(&*store, 1).await, new.row);
    assert_eq!(store.run_payload(RunId(1)).await.expect("reads work"), Some(new.payload));
    assert_eq!(store.job_payload(JobId(10)).await.expect("reads work"), new.jobs[0].1);
}

/// A second run or job with the same id is refused whole.
pub async fn run_ids_are_unique(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, create(5, &[50])).await;
    conflict(&*store, create(5, &[51])).await;
    conflict(&*store, create(6, &[60, 50])).await;
    conflict(&*store, create(4, &[50])).await;
    for run in [4, 6] {
        assert_eq!(store.run(RunId(run)).await.expect("reads work"), None);
        assert!(store.run_jobs(RunId(run), None).await.expect("reads work").is_empty());
    }
    assert_eq!(store.job(JobId(60)).await.expect("reads work"), None, "nothing of a refused run is left");
    assert_eq!(run_of(&*store, 5).await, new_run(5, &[50]).row);
}

/// Rows that no transition leads to are refused, and nothing of them is left.
pub async fn impossible_rows_are_refused(h: &dyn Harness) {
    let store = h.fresh().await;
    let mut completed_without_conclusion = new_run(1, &[10]);
    completed_without_conclusion.row.status = Status::Completed;
    let mut conclusion_without_end = new_run(1, &[10]);
    conclusion_without_end.row.conclusion = Some(Conclusion::Success);
    let mut running_without_runner = new_run(1, &[10]);
    running_without_runner.jobs[0].0.status = Status::Running;
    let mut job_of_another = new_run(1, &[10]);
    job_of_another.jobs[0].0.run = RunId(2);
    for bad in [completed_without_conclusion, conclusion_without_end, running_without_runner, job_of_another]
    {
        let answer = apply(&*store, Op::CreateRun(Box::new(bad))).await;
        assert!(matches!(answer, Err(OpError::Failed(_))), "{answer:?}");
        assert_eq!(store.run(RunId(1)).await.expect("reads work"), None);
        assert_eq!(store.job(JobId(10)).await.expect("reads work"), None);
    }
    done(&*store, create(1, &[10])).await;
}

/// A held run is released once; a cancellation is noted once and only while the run is open.
pub async fn release_and_cancel_of_runs(h: &dyn Harness) {
    let store = h.fresh().await;
    let mut held = new_run(1, &[]);
    held.row.status = Status::Waiting;
    done(&*store, Op::CreateRun(Box::new(held))).await;
    let release = |run| Op::ReleaseRun { run: RunId(run), change: 50 };
    let cancel = |run, change| Op::RequestRunCancel { run: RunId(run), change };
    done(&*store, release(1)).await;
    let run = run_of(&*store, 1).await;
    assert_eq!((run.status, run.change), (Status::Queued, 50));
    conflict(&*store, release(1)).await;
    missing(&*store, release(2)).await;
    done(&*store, cancel(1, 51)).await;
    unchanged(&*store, cancel(1, 52)).await;
    let run = run_of(&*store, 1).await;
    assert_eq!((run.cancel_requested, run.change), (true, 51));
    missing(&*store, cancel(2, 53)).await;
    done(&*store, complete_run(1)).await;
    conflict(&*store, cancel(1, 54)).await;
    conflict(&*store, release(1)).await;
}

/// A run reaches one conclusion, and not before its jobs.
pub async fn run_completes_once_and_after_its_jobs(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, create(1, &[10, 11])).await;
    done(&*store, complete(10, Conclusion::Skipped)).await;
    conflict(&*store, complete_run(1)).await;
    assert_eq!(run_of(&*store, 1).await.status, Status::Queued);
    done(&*store, complete(11, Conclusion::Failure)).await;
    done(&*store, complete_run(1)).await;
    let run = run_of(&*store, 1).await;
    assert_eq!(
        (run.status, run.conclusion, run.finished_at, run.change),
        (Status::Completed, Some(Conclusion::Success), Some(at(15)), 4000)
    );
    let again = Op::CompleteRun { run: RunId(1), conclusion: Conclusion::Failure, at: at(99), change: 9 };
    conflict(&*store, again).await;
    assert_eq!(run_of(&*store, 1).await, run, "the conclusion stays");
    missing(&*store, complete_run(2)).await;
    conflict(&*store, Op::AddJobs { run: RunId(1), jobs: vec![(job_row(12, 1), None)], change: 1 }).await;
}

/// A completed run is deleted with everything that belongs to it.
pub async fn only_completed_runs_are_deleted(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, create(1, &[10])).await;
    conflict(&*store, Op::DeleteRun(RunId(1))).await;
    done(&*store, lease(1, 10, 1, 100)).await;
    conflict(&*store, Op::DeleteRun(RunId(1))).await;
    done(&*store, end(10, 1, 100)).await;
    done(&*store, complete(10, Conclusion::Success)).await;
    done(&*store, complete_run(1)).await;
    done(&*store, Op::DeleteRun(RunId(1))).await;
    unchanged(&*store, Op::DeleteRun(RunId(1))).await;
    assert_eq!(store.run(RunId(1)).await.expect("reads work"), None);
    assert_eq!(store.run_payload(RunId(1)).await.expect("reads work"), None);
    assert_eq!(store.job(JobId(10)).await.expect("reads work"), None);
    assert_eq!(store.job_payload(JobId(10)).await.expect("reads work"), None);
    assert!(store.attempts(JobId(10)).await.expect("reads work").is_empty());
}

/// Contents that several runs share stay as long as one of them does, and can come back.
pub async fn shared_contents_survive_their_first_user(h: &dyn Harness) {
    let store = h.fresh().await;
    let finish = async |run: u64, job: u64| {
        done(&*store, complete(job, Conclusion::Success)).await;
        done(&*store, complete_run(run)).await;
        done(&*store, Op::DeleteRun(RunId(run))).await;
    };
    done(&*store, create(1, &[10])).await;
    done(&*store, create(2, &[20])).await;
    finish(1, 10).await;
    let expected = new_run(2, &[20]);
    assert_eq!(store.run_payload(RunId(2)).await.expect("reads work"), Some(expected.payload));
    assert_eq!(store.job_payload(JobId(20)).await.expect("reads work"), expected.jobs[0].1);
    assert_eq!(job_of(&*store, 20).await, expected.jobs[0].0);
    finish(2, 20).await;
    done(&*store, create(3, &[30])).await;
    let expected = new_run(3, &[30]);
    assert_eq!(store.run_payload(RunId(3)).await.expect("reads work"), Some(expected.payload));
    assert_eq!(store.job_payload(JobId(30)).await.expect("reads work"), expected.jobs[0].1);
    assert_eq!(job_of(&*store, 30).await, expected.jobs[0].0);
}

/// Newest first, before the cursor, no more than the limit.
pub async fn runs_are_listed_newest_first(h: &dyn Harness) {
    let store = h.fresh().await;
    store.apply((1..=9).map(|id| create(id, &[])).collect()).await.expect("the store takes writes");
    let list = async |cursor: Option<u64>, limit| {
        let all = store.list_runs(&RunFilter::default(), cursor.map(RunId), limit).await;
        ids(&all.expect("reads work"))
    };
    assert_eq!(list(None, 4).await, [9, 8, 7, 6]);
    assert_eq!(list(Some(6), 4).await, [5, 4, 3, 2]);
    assert_eq!(list(Some(2), 4).await, [1]);
    assert!(list(Some(1), 4).await.is_empty());
    assert_eq!(list(None, 100).await.len(), 9);
}

/// Project, name and number together say which runs are attempts of the same one.
pub async fn attempts_of_a_run_have_its_number(h: &dyn Harness) {
    let store = h.fresh().await;
    let change: [fn(&mut RunRow); 6] = [
        |_| (),
        |r| r.attempt = 2,
        |r| r.number += 1,
        |r| r.project = "docs".to_owned(),
        |r| r.name = "lint".to_owned(),
        |r| r.attempt = 3,
    ];
    let mut ops = Vec::new();
    for (id, change) in (1..).zip(change) {
        let mut new = new_run(id, &[]);
        new.row.number = 7;
        change(&mut new.row);
        ops.push(Op::CreateRun(Box::new(new)));
    }
    store.apply(ops).await.expect("the store takes writes");
    let row = run_of(&*store, 1).await;
    let list = async |number, cursor: Option<u64>, limit| {
        let numbered = (row.project.as_str(), row.name.as_str(), number);
        ids(&store.run_attempts(numbered, cursor.map(RunId), limit).await.expect("reads work"))
    };
    assert_eq!(list(7, None, 100).await, [6, 2, 1]);
    assert_eq!(list(7, None, 2).await, [6, 2]);
    assert_eq!(list(7, Some(2), 2).await, [1]);
    assert_eq!(list(8, None, 100).await, [3]);
    assert!(list(9, None, 100).await.is_empty());
}

/// Each filter alone, and all of them together.
pub async fn runs_are_filtered(h: &dyn Harness) {
    let store = h.fresh().await;
    let change: [fn(&mut RunRow); 6] = [
        |r| r.kind = "job".to_owned(),
        |r| r.project = "docs".to_owned(),
        |r| r.name = "lint".to_owned(),
        |r| r.branch = Some("feature".to_owned()),
        |r| r.actor = None,
        |r| r.event = "schedule".to_owned(),
    ];
    let mut ops = vec![create(1, &[])];
    for (id, change) in (2..).zip(change) {
        let mut new = new_run(id, &[]);
        change(&mut new.row);
        ops.push(Op::CreateRun(Box::new(new)));
    }
    store.apply(ops).await.expect("the store takes writes");
    done(&*store, complete_run(1)).await;
    let list = async |filter: RunFilter| ids(&store.list_runs(&filter, None, 100).await.expect("reads work"));
    let none = RunFilter::default();
    let text = |s: &str| Some(s.to_owned());
    assert_eq!(list(RunFilter { kind: text("job"), ..none.clone() }).await, [2]);
    assert_eq!(list(RunFilter { project: text("docs"), ..none.clone() }).await, [3]);
    assert_eq!(list(RunFilter { name: text("lint"), ..none.clone() }).await, [4]);
    assert_eq!(list(RunFilter { branch: text("feature"), ..none.clone() }).await, [5]);
    assert_eq!(list(RunFilter { actor: text("alice"), ..none.clone() }).await, [7, 5, 4, 3, 2, 1]);
    assert_eq!(list(RunFilter { event: text("schedule"), ..none.clone() }).await, [7]);
    assert_eq!(list(RunFilter { status: Some(Status::Completed), ..none.clone() }).await, [1]);
    assert_eq!(list(RunFilter { status: Some(Status::Queued), ..none.clone() }).await, [7, 6, 5, 4, 3, 2]);
    assert_eq!(list(RunFilter { conclusion: Some(Conclusion::Success), ..none.clone() }).await, [1]);
    assert!(list(RunFilter { conclusion: Some(Conclusion::Failure), ..none.clone() }).await.is_empty());
    assert!(list(RunFilter { name: text("%"), ..none.clone() }).await.is_empty());
    let everything = RunFilter {
        status: Some(Status::Completed),
        conclusion: Some(Conclusion::Success),
        kind: text("workflow"),
        project: text("core"),
        name: text("build"),
        branch: text("main"),
        actor: text("alice"),
        event: text("push"),
    };
    assert_eq!(list(everything.clone()).await, [1]);
    assert!(list(RunFilter { status: Some(Status::Running), ..everything }).await.is_empty());
}

/// Open runs come oldest first with all their jobs; completed ones do not.
pub async fn open_runs_come_in_pages(h: &dyn Harness) {
    let store = h.fresh().await;
    let ops = (1..=7).map(|id| create(id, &[id * 10, id * 10 + 1])).collect();
    store.apply(ops).await.expect("the store takes writes");
    done(&*store, complete(10, Conclusion::Success)).await;
    for job in [30, 31] {
        done(&*store, complete(job, Conclusion::Success)).await;
    }
    done(&*store, complete_run(3)).await;
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store.open_runs(after, 2).await.expect("reads work");
        assert!(page.len() <= 2);
        let Some((last, _)) = page.last() else { break };
        after = Some(last.id);
        found.extend(page);
    }
    assert_eq!(found.iter().map(|(r, _)| r.id.0).collect::<Vec<_>>(), [1, 2, 4, 5, 6, 7]);
    for (run, jobs) in &found {
        assert_eq!(jobs, &store.run_jobs(run.id, None).await.expect("reads work"));
        assert_eq!(jobs.len(), 2, "completed jobs of an open run are among them");
        assert_eq!(run, &run_of(&*store, run.id.0).await);
    }
}

/// Retention sees completed runs in the order in which they ended.
pub async fn finished_runs_come_oldest_first(h: &dyn Harness) {
    let store = h.fresh().await;
    for (run, end) in [(1, 30), (2, 10), (3, 20), (4, 40)] {
        done(&*store, create(run, &[])).await;
        let op = Op::CompleteRun { run: RunId(run), conclusion: Conclusion::Failure, at: at(end), change: 1 };
        done(&*store, op).await;
    }
    done(&*store, create(5, &[])).await;
    let before = async |t, limit| {
        let all = store.runs_finished_before(at(t), limit).await.expect("reads work");
        all.into_iter().map(|r| r.0).collect::<Vec<_>>()
    };
    assert_eq!(before(40, 10).await, [2, 3, 1]);
    assert_eq!(before(41, 2).await, [2, 3]);
    assert!(before(10, 10).await.is_empty());
}
