//! Leases, heartbeats and runners that go silent.

use super::*;
use fleetfoot_model::RunnerState;

/// One runner with one job under a lease.
fn busy() -> Scheduler {
    let mut s = new();
    s.runner_seen(runner(1, 1), T0);
    s.enqueue(job(1), T0);
    assert_eq!(dispatch(&mut s, T0), [(1, 1)]);
    s
}

fn expired(job: u64, runner: u64) -> Action {
    Action::LeaseExpired { attempt: reference(job, 1), runner: RunnerId(runner) }
}

fn offline(runner: u64) -> Action {
    Action::RunnerOffline { runner: RunnerId(runner) }
}

#[test]
fn a_heartbeat_that_lists_the_attempt_extends_its_lease() {
    let mut s = busy();
    for n in 1..=10 {
        let now = T0 + secs(10 * n);
        assert_eq!(s.tick(now), []);
        s.heartbeat(RunnerId(1), &[reference(1, 1)], now);
    }
    assert_eq!(s.tick(T0 + secs(114)), []);
    assert_eq!(s.tick(T0 + secs(115)), [offline(1), expired(1, 1)]);
}

#[test]
fn an_attempt_that_is_not_listed_runs_out_although_its_runner_lives() {
    let mut s = busy();
    let stale = AttemptRef { epoch: Epoch(7), ..reference(1, 1) };
    s.heartbeat(RunnerId(1), &[stale], T0 + secs(14));
    assert_eq!(s.tick(T0 + secs(15)), [expired(1, 1)]);
    assert_eq!(s.runner_state(RunnerId(1)), Some(RunnerState::Busy));
    s.heartbeat(RunnerId(1), &[reference(1, 1)], T0 + secs(16));
    assert_eq!(s.tick(T0 + secs(29)), [], "what expired is not extended");
    assert_eq!(s.tick(T0 + secs(30)), [expired(1, 1)], "and said again, should nobody have listened");
    s.finish(JobId(1), false, T0 + secs(30));
    assert_eq!(s.tick(T0 + secs(60)), []);
}

#[test]
fn time_in_which_nobody_could_be_heard_does_not_count_as_silence() {
    let mut s = busy();
    // Paused from second 5 to 65; the lease has ten seconds left.
    s.deaf_for(secs(60));
    assert_eq!(s.tick(T0 + secs(74)), []);
    assert_eq!(s.tick(T0 + secs(75)), [offline(1), expired(1, 1)]);
}

#[test]
fn a_runner_that_let_a_lease_run_out_is_given_nothing_until_it_is_heard() {
    let mut s = busy();
    let now = T0 + secs(15);
    assert_eq!(s.tick(now), [offline(1), expired(1, 1)]);
    s.finish(JobId(1), false, now);
    s.enqueue(job(2), now);
    assert_eq!(dispatch(&mut s, now), []);
    assert_eq!(s.runner_state(RunnerId(1)), Some(RunnerState::Offline));
    s.heartbeat(RunnerId(1), &[], now + secs(1));
    assert_eq!(dispatch(&mut s, now + secs(1)), [(2, 1)]);
}

#[test]
fn an_idle_runner_that_is_not_heard_is_offline() {
    let mut s = new();
    s.runner_seen(runner(1, 1), T0);
    s.heartbeat(RunnerId(1), &[], T0 + secs(60));
    assert_eq!(s.next_deadline(), Some(T0 + secs(90)), "early, but never late");
    assert_eq!(s.tick(T0 + secs(90)), []);
    assert_eq!(s.next_deadline(), Some(T0 + secs(150)));
    assert_eq!(s.tick(T0 + secs(150)), [offline(1)]);
    assert_eq!(s.tick(T0 + secs(999)), []);
    s.runner_seen(runner(1, 1), T0 + secs(1000));
    assert_eq!(s.runner_state(RunnerId(1)), Some(RunnerState::Idle));
}

#[test]
fn a_broken_connection_shortens_everything_to_the_grace() {
    let mut s = busy();
    s.heartbeat(RunnerId(1), &[reference(1, 1)], T0 + secs(1));
    s.runner_disconnected(RunnerId(1), T0 + secs(2));
    s.check();
    assert_eq!(s.tick(T0 + secs(11)), []);
    assert_eq!(s.tick(T0 + secs(12)), [offline(1), expired(1, 1)]);
}

#[test]
fn a_runner_that_left_is_offline_at_once_and_may_come_back() {
    let mut s = new();
    s.runner_seen(runner(1, 2), T0);
    s.runner_left(RunnerId(1), T0 + secs(2));
    s.check();
    assert_eq!(s.tick(T0 + secs(2)), [offline(1)]);
    s.enqueue(job(1), T0 + secs(3));
    assert_eq!(dispatch(&mut s, T0 + secs(3)), []);
    s.heartbeat(RunnerId(1), &[], T0 + secs(4));
    assert_eq!(dispatch(&mut s, T0 + secs(4)), [(1, 1)]);

    // A lease that was on its way when it left is not lost with it.
    let mut s = busy();
    s.runner_left(RunnerId(1), T0 + secs(2));
    s.check();
    assert_eq!(s.tick(T0 + secs(2)), []);
    assert_eq!(s.tick(T0 + secs(12)), [offline(1), expired(1, 1)]);
}

#[test]
fn a_runner_that_comes_back_within_the_grace_keeps_its_jobs() {
    let mut s = busy();
    s.runner_seen(runner(1, 2), T0);
    s.runner_disconnected(RunnerId(1), T0 + secs(2));
    s.enqueue(job(2), T0 + secs(3));
    assert_eq!(dispatch(&mut s, T0 + secs(3)), [], "an assignment would not reach it");
    s.runner_seen(runner(1, 2), T0 + secs(4));
    s.heartbeat(RunnerId(1), &[reference(1, 1)], T0 + secs(4));
    assert_eq!(dispatch(&mut s, T0 + secs(4)), [(2, 1)]);
    assert_eq!(s.tick(T0 + secs(18)), []);
}

#[test]
fn an_assignment_without_an_epoch_does_not_expire() {
    let mut s = new();
    s.runner_seen(runner(1, 1), T0);
    s.enqueue(job(1), T0);
    s.dispatch(T0, &mut |_| 0, 1);
    assert_eq!(s.jobs_of(RunnerId(1)), []);
    assert!(!s.tick(T0 + secs(15)).contains(&expired(1, 1)));
    s.leased(reference(1, 1));
    assert_eq!(s.jobs_of(RunnerId(1)), [reference(1, 1)]);
    assert_eq!(s.runner_of(JobId(1)), Some(RunnerId(1)));
    assert!(s.tick(T0 + secs(30)).contains(&expired(1, 1)));
}

#[test]
fn deleting_a_runner_ends_its_leases_at_once() {
    let mut s = new();
    s.runner_seen(runner(1, 2), T0);
    s.enqueue(job(1), T0);
    dispatch(&mut s, T0);
    s.enqueue(job(2), T0);
    s.dispatch(T0, &mut |_| 0, 1);
    assert_eq!(s.runner_removed(RunnerId(1), T0 + secs(1)), [expired(1, 1)]);
    s.check();
    assert_eq!(s.runner_state(RunnerId(1)), None);
    s.finish(JobId(1), false, T0 + secs(1));
    s.leased(reference(2, 1));
    assert_eq!(s.tick(T0 + secs(1)), [expired(2, 1)], "its lease was being persisted meanwhile");
    s.finish(JobId(2), false, T0 + secs(1));
    s.check();
    assert_eq!(s.next_deadline(), None);
    s.runner_seen(runner(1, 2), T0 + secs(2));
    assert_eq!(s.free_slots(RunnerId(1)), Some(2), "a new one of the same number starts afresh");
}

#[test]
fn after_a_restart_running_jobs_have_a_full_lease_and_keep_their_limits() {
    let mut s = new();
    let running = QueuedJob { concurrency: Some(group("g")), ..leg(1, 1) };
    s.restore_running(running, reference(1, 3), RunnerId(1), T0);
    s.enqueue(in_group(2, group("g")), T0);
    s.enqueue(leg(3, 1), T0);
    s.check();
    assert_eq!(s.runner_state(RunnerId(1)), Some(RunnerState::Offline));
    s.heartbeat(RunnerId(1), &[reference(1, 3)], T0 + secs(10));
    s.runner_seen(runner(1, 2), T0 + secs(10));
    assert_eq!(s.jobs_of(RunnerId(1)), [reference(1, 3)]);
    assert_eq!(s.free_slots(RunnerId(1)), Some(1));
    assert_eq!(dispatch(&mut s, T0 + secs(10)), []);
    assert_eq!(s.tick(T0 + secs(24)), []);
    s.finish(JobId(1), false, T0 + secs(24));
    assert_eq!(dispatch(&mut s, T0 + secs(24)), [(2, 1), (3, 1)]);
}

#[test]
fn a_runner_that_does_not_come_back_after_a_restart_loses_its_job() {
    let mut s = new();
    s.restore_running(job(1), reference(1, 1), RunnerId(1), T0);
    assert_eq!(s.next_deadline(), Some(T0 + secs(15)));
    assert_eq!(s.tick(T0 + secs(15)), [expired(1, 1)]);
}
