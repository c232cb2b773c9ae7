//! The daemon between a control plane and an executor that misbehave.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use fleetfoot_model::ids::{AttemptRef, Epoch, JobId};
use fleetfoot_model::state::{Conclusion, Reason};
use fleetfoot_runner::daemon::{DaemonError, Ending, Stage};
use fleetfoot_runner::journal::Journal;
use fleetfoot_runner::notice::Notice;
use std::sync::Arc;
use std::time::Duration;
use support::{Faults, Options, Rig, start, text, until};

fn rig(slots: usize) -> (tempfile::TempDir, Rig) {
    let dir = tempfile::tempdir().unwrap();
    let rig = start(dir.path(), Options { slots, one_off: false }, Arc::default(), Arc::default());
    (dir, rig)
}

fn journal_is_empty(dir: &tempfile::TempDir) -> bool {
    std::fs::read_dir(dir.path().join("journal")).unwrap().count() == 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_run_once_and_their_logs_are_complete_before_the_result() {
    let (dir, rig) = rig(8);
    let attempts: Vec<AttemptRef> =
        (1..=200).map(|n| rig.plane.submit(n, if n % 3 == 0 { "log 5000" } else { "noop" })).collect();
    until("all results", || attempts.iter().all(|a| rig.plane.has_result(*a))).await;
    assert!(*rig.hands.most.lock() <= 8 && rig.plane.world.lock().most_held <= 8);
    assert!(rig.hands.executions.lock().values().all(|n| *n == 1));
    for attempt in attempts.iter().filter(|a| a.job.0 % 3 == 0) {
        let world = rig.plane.world.lock();
        assert_eq!(world.logs[attempt], text(attempt.job, 5000));
        assert_eq!(world.log_at_result[attempt], 5000);
        assert_eq!(world.results[attempt].log_bytes, 5000);
    }
    assert_eq!(
        rig.notices.lock()[0],
        Notice::Connected { url: "http://fake".into() },
        "the first words are those that others look for"
    );
    assert_eq!(rig.stop().await, Ending::Drained);
    assert!(journal_is_empty(&dir));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_job_sends_no_log() {
    let (_dir, rig) = rig(1);
    let attempt = rig.plane.submit(1, "noop");
    until("the result", || rig.plane.has_result(attempt)).await;
    assert_eq!(rig.plane.world.lock().appends, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_and_repeated_answers_change_nothing() {
    let (dir, rig) = rig(4);
    rig.plane.change(|w| w.faults = Faults { lose_every: Some(3), repeat_old: true, ..Faults::default() });
    let attempts: Vec<AttemptRef> = (1..=40).map(|n| rig.plane.submit(n, "log 3000")).collect();
    until("all results", || attempts.iter().all(|a| rig.plane.has_result(*a))).await;
    rig.plane.change(|w| w.faults = Faults::default());
    for attempt in &attempts {
        assert_eq!(rig.hands.executions.lock()[attempt], 1);
        assert_eq!(rig.plane.world.lock().logs[attempt], text(attempt.job, 3000));
    }
    assert!(rig.plane.world.lock().repeated_results > 0, "the faults did happen");
    assert_eq!(rig.stop().await, Ending::Drained);
    assert!(journal_is_empty(&dir));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_disturbs_no_job() {
    let (dir, rig) = rig(2);
    let waits = rig.plane.submit(1, "wait");
    let talks = rig.plane.submit(2, "log 30000000 then wait");
    until("both run", || *rig.hands.running.lock() == 2).await;
    rig.plane.change(|w| w.faults.down = true);
    // Everything that the job prints meanwhile goes to the spool: it is more than memory holds.
    until("the spool is used", || {
        std::fs::read_dir(dir.path().join("journal"))
            .unwrap()
            .any(|e| e.unwrap().path().extension().is_some_and(|x| x == "spool"))
    })
    .await;
    rig.hands.go.cancel();
    until("both ended", || *rig.hands.running.lock() == 0).await;
    assert!(!rig.plane.has_result(waits));
    until("somebody is told", || {
        rig.notices.lock().iter().any(|n| matches!(n, Notice::ConnectionLost { .. }))
    })
    .await;
    rig.plane.change(|w| w.faults.down = false);
    until("both results", || rig.plane.has_result(waits) && rig.plane.has_result(talks)).await;
    assert!(rig.plane.world.lock().logs[&talks] == text(JobId(2), 30_000_000));
    assert_eq!(rig.plane.world.lock().log_at_result[&talks], 30_000_000);
    assert_eq!(rig.stop().await, Ending::Drained);
    assert!(journal_is_empty(&dir));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_attempt_is_killed_and_forgotten() {
    let (dir, rig) = rig(1);
    let attempt = rig.plane.submit(1, "log 100 then wait");
    until("it runs", || *rig.hands.running.lock() == 1).await;
    rig.plane.change(|w| {
        w.leased.remove(&attempt);
    });
    // The slot is free again as soon as it is dead.
    let next = rig.plane.submit(2, "noop");
    until("the next", || rig.plane.has_result(next)).await;
    assert_eq!(*rig.hands.killed.lock(), [attempt]);
    assert!(!rig.plane.has_result(attempt));
    assert_eq!(*rig.hands.most.lock(), 1);
    assert_eq!(rig.stop().await, Ending::Drained);
    assert!(journal_is_empty(&dir));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lost_log_bytes_gets_the_rest_at_their_offsets() {
    let (_dir, rig) = rig(1);
    let attempt = rig.plane.submit(1, "log 5000 then log");
    until("the first half", || rig.plane.world.lock().logs.get(&attempt).is_some_and(|l| l.len() == 5000))
        .await;
    // As after a restored backup.
    rig.plane.change(|w| w.logs.get_mut(&attempt).unwrap().truncate(1000));
    rig.hands.go.cancel();
    until("the result", || rig.plane.has_result(attempt)).await;
    let half = text(JobId(1), 5000);
    let log = rig.plane.world.lock().logs[&attempt].clone();
    assert_eq!((log.len(), &log[..1000], &log[5000..]), (10_000, &half[..1000], &half[..]));
    assert!(String::from_utf8_lossy(&log[1000..5000]).contains("the server lost this part of the log"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_reaches_the_job_fast_and_is_reported() {
    let (_dir, rig) = rig(1);
    let attempt = rig.plane.submit(1, "wait");
    until("it runs", || *rig.hands.running.lock() == 1).await;
    let asked = std::time::Instant::now();
    rig.plane.change(|w| w.leased.get_mut(&attempt).unwrap().cancel = true);
    until("the result", || rig.plane.has_result(attempt)).await;
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(rig.plane.world.lock().results[&attempt].conclusion, Conclusion::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_finishes_what_runs_and_takes_nothing_new() {
    let (_dir, rig) = rig(2);
    let first = rig.plane.submit(1, "wait");
    until("it runs", || *rig.hands.running.lock() == 1).await;
    rig.stage.send(Stage::Drain).unwrap();
    until("the server knows", || rig.plane.world.lock().last.as_ref().is_some_and(|r| r.draining)).await;
    let second = rig.plane.submit(2, "noop");
    rig.hands.go.cancel();
    let plane = rig.plane.clone();
    assert_eq!(rig.end().await, Ending::Drained);
    assert!(plane.has_result(first) && !plane.has_result(second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_signal_cancels_and_reports() {
    let (_dir, rig) = rig(1);
    let attempt = rig.plane.submit(1, "wait");
    until("it runs", || *rig.hands.running.lock() == 1).await;
    rig.stage.send(Stage::Cancel).unwrap();
    let plane = rig.plane.clone();
    assert_eq!(rig.end().await, Ending::Drained);
    assert_eq!(plane.world.lock().results[&attempt].conclusion, Conclusion::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_third_signal_kills_even_if_the_server_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let rig = start(dir.path(), Options { slots: 1, one_off: false }, Arc::default(), Arc::default());
    let attempt = rig.plane.submit(1, "wait");
    until("it runs", || *rig.hands.running.lock() == 1).await;
    rig.plane.change(|w| w.faults.down = true);
    rig.stage.send(Stage::Kill).unwrap();
    let (plane, hands) = (rig.plane.clone(), rig.hands.clone());
    assert_eq!(rig.end().await, Ending::Killed);
    assert_eq!(*hands.killed.lock(), [attempt]);
    // Its next start reports what this one could not.
    plane.change(|w| w.faults.down = false);
    let rig = start(dir.path(), Options { slots: 1, one_off: false }, plane, hands);
    until("the result", || rig.plane.has_result(attempt)).await;
    assert_eq!(rig.plane.world.lock().results[&attempt].conclusion, Conclusion::Cancelled);
    assert_eq!(rig.hands.executions.lock()[&attempt], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_one_off_runner_takes_one_job() {
    let dir = tempfile::tempdir().unwrap();
    let rig = start(dir.path(), Options { slots: 4, one_off: true }, Arc::default(), Arc::default());
    let attempts: Vec<AttemptRef> = (1..=3).map(|n| rig.plane.submit(n, "noop")).collect();
    let plane = rig.plane.clone();
    assert_eq!(rig.end().await, Ending::OneOff);
    assert_eq!(attempts.iter().filter(|a| plane.has_result(**a)).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_runner_kills_and_ends() {
    let (_dir, rig) = rig(1);
    let attempt = rig.plane.submit(1, "wait");
    until("it runs", || *rig.hands.running.lock() == 1).await;
    rig.plane.change(|w| w.shut_down = true);
    let hands = rig.hands.clone();
    assert_eq!(rig.end().await, Ending::Removed);
    assert_eq!(*hands.killed.lock(), [attempt]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_and_a_version_too_far_end_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let plane = Arc::<support::Plane>::default();
    plane.change(|w| w.unauthorized = true);
    let rig = start(dir.path(), Options { slots: 1, one_off: false }, plane.clone(), Arc::default());
    let error = rig.daemon.await.unwrap().unwrap_err();
    assert!(matches!(error, DaemonError::Unauthorized(_)), "{error}");

    plane.change(|w| {
        w.unauthorized = false;
        w.version = Some("0.9.0".into());
    });
    let rig = start(dir.path(), Options { slots: 1, one_off: false }, plane, Arc::default());
    let error = rig.daemon.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("upgrade the runner"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_the_engine_costs_one_job() {
    let (_dir, rig) = rig(1);
    let bad = rig.plane.submit(1, "panic");
    let good = rig.plane.submit(2, "noop");
    until("both results", || rig.plane.has_result(bad) && rig.plane.has_result(good)).await;
    assert_eq!(rig.plane.world.lock().results[&bad].reason, Some(Reason::SetUpFailed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_cleans_up_and_reports_after_a_dead_one() {
    let dir = tempfile::tempdir().unwrap();
    let plane = Arc::<support::Plane>::default();
    let rig = start(dir.path(), Options { slots: 2, one_off: false }, plane.clone(), Arc::default());
    let lost = plane.submit(1, "log 20000000 then wait");
    until("it runs", || *rig.hands.running.lock() == 1 && rig.plane.world.lock().logs.contains_key(&lost))
        .await;
    plane.change(|w| w.faults.down = true);
    // Dies as by kill -9: nothing of it runs any more.
    rig.daemon.abort();
    let _ = rig.daemon.await;

    // Another attempt was finished, but its result never arrived; and a process of it is still there.
    let done = AttemptRef { job: JobId(7), attempt: 1, epoch: Epoch(70) };
    plane.change(|w| {
        w.leased.insert(done, Default::default());
        w.faults.down = false;
    });
    let journal = Journal::open(&dir.path().join("journal"), "fake/1".into()).unwrap();
    let entry = journal.begin(done).unwrap();
    let mut child = std::process::Command::new("setsid").args(["sleep", "1000"]).spawn().unwrap();
    let ticks = fleetfoot_runner::journal::start_ticks(child.id()).unwrap();
    entry.started(child.id(), ticks).unwrap();
    entry.finished(&support::result(Conclusion::Success, None)).unwrap();
    // And one is of another server: nothing to report, only to clean up.
    let foreign = AttemptRef { job: JobId(9), attempt: 1, epoch: Epoch(90) };
    Journal::open(&dir.path().join("journal"), "other/1".into()).unwrap().begin(foreign).unwrap();

    let rig = start(dir.path(), Options { slots: 2, one_off: false }, plane, Arc::default());
    until("both results", || rig.plane.has_result(lost) && rig.plane.has_result(done)).await;
    until("all swept", || rig.hands.swept.lock().len() == 3).await;
    {
        let world = rig.plane.world.lock();
        assert_eq!(world.results[&lost].reason, Some(Reason::RunnerLost));
        assert_eq!(world.results[&done].conclusion, Conclusion::Success);
        assert!(!world.results.contains_key(&foreign));
        // What the server has is a prefix of what was printed.
        assert!(text(JobId(1), 20_000_000).starts_with(&world.logs[&lost]));
    }
    assert!(!child.wait().unwrap().success(), "the orphan was killed");
    assert_eq!(rig.stop().await, Ending::Drained);
    assert!(journal_is_empty(&dir));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_runner_asks_rarely() {
    let (_dir, rig) = rig(4);
    until("connected", || rig.notices.lock().len() >= 2).await;
    let attempt = rig.plane.submit(1, "noop");
    until("the result", || rig.plane.has_result(attempt)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = rig.plane.world.lock().syncs;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(rig.plane.world.lock().syncs <= before + 1, "an idle runner must not turn in circles");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_runner_tries_again_after_its_only_exchange_broke() {
    let (_dir, rig) = rig(1);
    until("it waits for news", || rig.plane.world.lock().last.as_ref().is_some_and(|r| r.wait_ms > 10_000))
        .await;
    rig.plane.change(|w| w.faults.down = true);
    // Nothing here shows that the exchange broke: that is the point.
    tokio::time::sleep(Duration::from_millis(30)).await;
    rig.plane.change(|w| w.faults.down = false);
    let attempt = rig.plane.submit(1, "noop");
    until("the result", || rig.plane.has_result(attempt)).await;
    assert_eq!(rig.stop().await, Ending::Drained);
}
