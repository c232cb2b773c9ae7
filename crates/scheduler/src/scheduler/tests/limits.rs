//! Concurrency groups, `max-parallel`, retry delays and queue timeouts.

use super::*;

fn max(name: &str) -> Concurrency {
    Concurrency { queue: ConcurrencyQueue::Max, ..group(name) }
}

fn cancelling(name: &str) -> Concurrency {
    Concurrency { cancel_in_progress: true, ..group(name) }
}

fn fleet() -> Scheduler {
    let mut s = new();
    s.runner_seen(runner(1, 1000), T0);
    s
}

#[test]
fn one_member_of_a_group_runs_and_the_newest_waits() {
    let mut s = fleet();
    assert_eq!(s.enqueue(in_group(1, group("deploy")), T0), []);
    assert_eq!(dispatch(&mut s, T0), [(1, 1)]);
    assert_eq!(s.enqueue(in_group(2, group("Deploy")), T0), []);
    assert_eq!(s.status(JobId(2)), Some(Status::Waiting));
    assert_eq!(dispatch(&mut s, T0), [], "the case of the name does not matter");
    let actions = s.enqueue(in_group(3, group("deploy")), T0);
    assert!(is_completed(&actions, 2, Reason::Superseded), "{actions:?}");
    assert_eq!(s.status(JobId(2)), None);
    let released = s.finish(JobId(1), false, T0);
    assert_eq!(released, [Action::ReleaseJob { job: JobId(3), run: RunId(3) }]);
    assert_eq!(dispatch(&mut s, T0), [(3, 1)]);
}

#[test]
fn groups_belong_to_a_project() {
    let mut s = fleet();
    s.enqueue(in_group(1, group("g")), T0);
    s.enqueue(QueuedJob { project: Arc::from("q"), ..in_group(2, group("g")) }, T0);
    assert_eq!(dispatch(&mut s, T0), [(1, 1), (2, 1)]);
}

#[test]
fn a_group_lines_up_with_queue_max() {
    let mut s = fleet();
    for id in 0..=ConcurrencyQueue::MAX_PENDING as u64 {
        assert_eq!(s.enqueue(in_group(id, max("g")), T0), []);
    }
    let actions = s.enqueue(in_group(999, max("g")), T0);
    assert!(is_completed(&actions, 999, Reason::LimitExceeded), "{actions:?}");
    assert_eq!(drain(&mut s), (0..=ConcurrencyQueue::MAX_PENDING as u64).collect::<Vec<_>>());
}

#[test]
fn a_newcomer_cancels_what_is_in_progress() {
    let mut s = fleet();
    s.enqueue(in_group(1, cancelling("g")), T0);
    dispatch(&mut s, T0);
    let actions = s.enqueue(in_group(2, cancelling("g")), T0);
    assert_eq!(actions, [Action::CancelJob { job: JobId(1), run: RunId(1), reason: Reason::Superseded }]);
    assert_eq!(dispatch(&mut s, T0), [], "it waits until the other has ended");
    let actions = s.enqueue(in_group(3, cancelling("g")), T0);
    assert!(is_completed(&actions, 2, Reason::Superseded));
    s.finish(JobId(1), false, T0);
    // 3 holds the group, but has no runner yet: it ends where it stands.
    let actions = s.enqueue(in_group(4, cancelling("g")), T0);
    assert!(is_completed(&actions, 3, Reason::Superseded), "{actions:?}");
    assert_eq!(dispatch(&mut s, T0), [(4, 1)]);
}

#[test]
fn a_retry_keeps_its_group() {
    let mut s = fleet();
    s.enqueue(in_group(1, group("g")), T0);
    dispatch(&mut s, T0);
    s.enqueue(in_group(2, group("g")), T0);
    assert_eq!(s.finish(JobId(1), true, T0), []);
    s.check();
    assert_eq!(dispatch(&mut s, T0), []);
    let again = QueuedJob { next_attempt: 2, not_before: Some(T0 + secs(9)), ..in_group(1, group("g")) };
    assert_eq!(s.enqueue(again, T0), []);
    assert_eq!(s.status(JobId(1)), Some(Status::Waiting));
    assert_eq!(dispatch(&mut s, T0), []);
    let now = T0 + secs(9);
    assert_eq!(s.tick(now), [Action::ReleaseJob { job: JobId(1), run: RunId(1) }]);
    let given = s.dispatch(now, &mut |_| 0, 9);
    assert!(matches!(given[..], [Action::Assign { job: JobId(1), attempt: 2, .. }]), "{given:?}");
    s.finish(JobId(1), false, now);
    assert_eq!(dispatch(&mut s, now), [(2, 1)]);
}

#[test]
fn a_job_that_was_to_be_cancelled_is_not_retried() {
    let mut s = fleet();
    s.enqueue(in_group(1, group("g")), T0);
    dispatch(&mut s, T0);
    s.enqueue(in_group(2, cancelling("g")), T0);
    let actions = s.finish(JobId(1), true, T0);
    assert!(is_completed(&actions, 1, Reason::Superseded), "{actions:?}");
    assert_eq!(dispatch(&mut s, T0), [(2, 1)]);
}

#[test]
fn removing_a_member_frees_its_place() {
    let mut s = fleet();
    (1..=3).for_each(|id| drop(s.enqueue(in_group(id, max("g")), T0)));
    assert_eq!(s.remove(JobId(2), T0), []);
    assert_eq!(s.remove(JobId(1), T0), [Action::ReleaseJob { job: JobId(3), run: RunId(3) }]);
    assert_eq!(dispatch(&mut s, T0), [(3, 1)]);
    s.remove(JobId(3), T0);
    assert_eq!(s.groups.iter().count(), 0);
}

#[test]
fn runs_are_held_released_superseded_and_cancelled() {
    let mut s = new();
    let g = group("deploy");
    assert_eq!(s.admit_run(RunId(1), "p", &g, T0), (true, vec![]));
    assert_eq!(s.admit_run(RunId(2), "p", &g, T0), (false, vec![]));
    assert_eq!(s.admit_run(RunId(2), "p", &g, T0), (false, vec![]), "asking again changes nothing");
    assert_eq!(s.admit_run(RunId(9), "other", &g, T0), (true, vec![]));
    let superseded = |run| Action::CancelRun { run: RunId(run), reason: Reason::Superseded };
    assert_eq!(s.admit_run(RunId(3), "p", &g, T0), (false, vec![superseded(2)]));
    assert_eq!(s.run_ended(RunId(2), T0), []);
    assert_eq!(s.run_ended(RunId(1), T0), [Action::ReleaseRun { run: RunId(3) }]);
    let (started, actions) = s.admit_run(RunId(4), "p", &cancelling("deploy"), T0);
    assert!(!started);
    assert_eq!(actions, [superseded(3)]);
    assert_eq!(s.run_ended(RunId(3), T0), [Action::ReleaseRun { run: RunId(4) }]);
    s.run_ended(RunId(4), T0);
    s.run_ended(RunId(9), T0);
    assert_eq!(s.groups.iter().count(), 0);
}

#[test]
fn jobs_and_runs_share_the_names_of_groups() {
    let mut s = fleet();
    s.admit_run(RunId(50), "p", &group("g"), T0);
    s.enqueue(in_group(1, group("g")), T0);
    assert_eq!(dispatch(&mut s, T0), []);
    s.run_ended(RunId(50), T0);
    assert_eq!(dispatch(&mut s, T0), [(1, 1)]);
    // A job in the group of its own run would wait for ever.
    s.admit_run(RunId(60), "p", &group("h"), T0);
    let actions = s.enqueue(QueuedJob { run: RunId(60), ..in_group(2, group("H")) }, T0);
    assert!(is_completed(&actions, 2, Reason::BadSpecification), "{actions:?}");
    s.check();
}

#[test]
fn a_run_that_finds_the_line_full_is_cancelled() {
    let mut s = new();
    for id in 0..=ConcurrencyQueue::MAX_PENDING as u64 {
        assert_eq!(s.admit_run(RunId(id), "p", &max("g"), T0), (id == 0, vec![]));
    }
    let refused = Action::CancelRun { run: RunId(777), reason: Reason::LimitExceeded };
    assert_eq!(s.admit_run(RunId(777), "p", &max("g"), T0), (false, vec![refused]));
    assert_eq!(s.run_ended(RunId(777), T0), []);
}

#[test]
fn what_a_group_holds_does_not_block_others() {
    let mut s = fleet();
    (1..=50).for_each(|id| drop(s.enqueue(in_group(id, max("g")), T0)));
    s.enqueue(job(100), T0);
    assert_eq!(dispatch(&mut s, T0), [(1, 1), (100, 1)]);
}

#[test]
fn max_parallel_legs_run_in_order() {
    let mut s = fleet();
    (1..=5).for_each(|id| drop(s.enqueue(leg(id, 2), T0)));
    s.enqueue(QueuedJob { run: RunId(2), ..job(100) }, T0);
    assert_eq!(dispatch(&mut s, T0), [(1, 1), (2, 1), (100, 1)]);
    s.finish(JobId(2), false, T0);
    assert_eq!(dispatch(&mut s, T0), [(3, 1)]);
    s.remove(JobId(4), T0);
    s.finish(JobId(1), false, T0);
    s.finish(JobId(3), true, T0);
    assert_eq!(dispatch(&mut s, T0), [(5, 1)]);
    s.enqueue(QueuedJob { next_attempt: 2, ..leg(3, 2) }, T0);
    assert_eq!(dispatch(&mut s, T0), [(3, 1)]);
}

#[test]
fn a_leg_that_nobody_takes_does_not_hold_up_its_siblings() {
    let mut s = fleet();
    s.enqueue(QueuedJob { labels: labels("macos"), ..leg(1, 1) }, T0);
    s.enqueue(leg(2, 1), T0);
    assert_eq!(dispatch(&mut s, T0), [(2, 1)]);
    s.runner_seen(RunnerOffer { labels: labels("macos"), ..runner(2, 1) }, T0);
    assert_eq!(dispatch(&mut s, T0), []);
    s.finish(JobId(2), false, T0);
    assert_eq!(dispatch(&mut s, T0), [(1, 2)]);
}

#[test]
fn a_claim_respects_max_parallel() {
    let mut s = fleet();
    (1..=3).for_each(|id| drop(s.enqueue(leg(id, 1), T0)));
    assert!(s.claim(RunnerId(1), Some(JobId(2)), T0).is_ok(), "it is not the first in line, but may start");
    s.check();
    assert_eq!(s.claim(RunnerId(1), Some(JobId(1)), T0), Err(ClaimError::Held(JobId(1))));
    s.unassign(JobId(2), T0);
    assert_eq!(drain(&mut s), [1, 2, 3]);
}

#[test]
fn a_queue_timeout_ends_what_nobody_took() {
    let mut s = new();
    let late = |id| QueuedJob { queue_deadline: Some(T0 + secs(60)), ..job(id) };
    s.enqueue(late(1), T0);
    s.enqueue(late(2), T0);
    s.enqueue(QueuedJob { concurrency: Some(group("g")), ..job(3) }, T0);
    s.enqueue(QueuedJob { concurrency: Some(group("g")), ..late(4) }, T0);
    assert_eq!(s.next_deadline(), Some(T0 + secs(60)));
    s.runner_seen(runner(1, 1), T0);
    dispatch(&mut s, T0);
    let holding = s.jobs_of(RunnerId(1));
    s.heartbeat(RunnerId(1), &holding, T0 + secs(50));
    assert_eq!(s.tick(T0 + secs(59)), []);
    let actions = s.tick(T0 + secs(60));
    assert_eq!(actions.len(), 2, "{actions:?}");
    assert!(is_completed(&actions, 2, Reason::QueueTimeout));
    assert!(is_completed(&actions, 4, Reason::QueueTimeout), "also while its group holds it");
    assert_eq!(s.status(JobId(1)), Some(Status::Running));
    s.check();
}
