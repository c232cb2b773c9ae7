//! Who gets what, and in which order.

use super::*;
use fleetfoot_model::spec::Limits;

#[test]
fn first_in_first_out() {
    let mut s = new();
    s.runner_seen(runner(1, 1), T0);
    for id in [3, 1, 2] {
        s.enqueue(job(id), T0);
    }
    assert_eq!(drain(&mut s), [3, 1, 2]);
}

#[test]
fn a_higher_priority_goes_first_across_label_sets() {
    let mut s = new();
    s.runner_seen(runner(1, 1), T0);
    s.enqueue(QueuedJob { priority: -1, ..with_labels(1, "linux") }, T0);
    s.enqueue(QueuedJob { priority: 0, ..job(2) }, T0);
    s.enqueue(QueuedJob { priority: 7, ..with_labels(3, "x64") }, T0);
    s.enqueue(QueuedJob { priority: 7, ..job(4) }, T0);
    assert_eq!(drain(&mut s), [3, 4, 2, 1]);
}

#[test]
fn projects_take_turns_however_many_jobs_one_has() {
    let mut s = new();
    s.runner_seen(runner(1, 1), T0);
    for id in 1..=1000 {
        s.enqueue(of_project(id, "big"), T0);
    }
    assert_eq!(dispatch(&mut s, T0), [(1, 1)]);
    s.enqueue(of_project(2001, "small"), T0);
    s.enqueue(of_project(3001, "tiny"), T0);
    s.enqueue(of_project(2002, "small"), T0);
    s.finish(JobId(1), false, T0);
    assert_eq!(drain(&mut s)[..6], [2, 2001, 3001, 3, 2002, 4]);
}

#[test]
fn a_project_that_always_has_just_one_job_does_not_overtake_for_ever() {
    let mut s = new();
    s.runner_seen(runner(1, 1), T0);
    for id in 1..=10 {
        s.enqueue(of_project(id, "steady"), T0);
    }
    let mut served = Vec::new();
    for round in 0..10 {
        s.enqueue(of_project(100 + round, "one-at-a-time"), T0);
        let given = dispatch_at_most(&mut s, T0, 1);
        served.push(given[0].0);
        s.finish(JobId(given[0].0), false, T0);
    }
    assert!(served.iter().filter(|id| **id <= 10).count() >= 5, "{served:?}");
}

#[test]
fn turns_count_across_label_sets_of_one_runner() {
    let mut s = new();
    s.runner_seen(runner(1, 1), T0);
    for id in 1..=3 {
        s.enqueue(QueuedJob { labels: labels("linux"), ..of_project(id, "a") }, T0);
        s.enqueue(QueuedJob { labels: labels("x64"), ..of_project(10 + id, "a") }, T0);
    }
    s.enqueue(of_project(100, "b"), T0);
    s.enqueue(of_project(101, "b"), T0);
    assert_eq!(drain(&mut s), [1, 100, 11, 101, 2, 12, 3, 13]);
}

#[test]
fn labels_match_as_a_subset_whatever_the_case() {
    let mut s = new();
    s.runner_seen(RunnerOffer { labels: labels("Linux GPU"), ..runner(1, 9) }, T0);
    s.enqueue(with_labels(1, "LINUX gpu"), T0);
    s.enqueue(with_labels(2, "gPu"), T0);
    s.enqueue(job(3), T0);
    s.enqueue(with_labels(4, "linux arm64"), T0);
    assert_eq!(dispatch(&mut s, T0), [(1, 1), (2, 1), (3, 1)]);
    s.runner_seen(RunnerOffer { labels: labels("linux arm64"), ..runner(2, 1) }, T0);
    assert_eq!(dispatch(&mut s, T0), [(4, 2)], "a runner that comes later finds what waits");
}

#[test]
fn a_runner_whose_labels_change_takes_other_jobs() {
    let mut s = new();
    s.runner_seen(runner(1, 9), T0);
    s.enqueue(with_labels(1, "gpu"), T0);
    assert_eq!(dispatch(&mut s, T0), []);
    s.runner_seen(RunnerOffer { labels: labels("gpu"), ..runner(1, 9) }, T0);
    s.enqueue(with_labels(2, "linux"), T0);
    assert_eq!(dispatch(&mut s, T0), [(1, 1)]);
}

#[test]
fn a_runner_serves_its_queues_only() {
    let mut s = new();
    s.runner_seen(runner(1, 9), T0);
    s.runner_seen(
        RunnerOffer { queues: vec!["fast".into(), "slow".into(), "fast".into()], ..runner(2, 9) },
        T0,
    );
    for (id, queue) in [(1, "default"), (2, "fast"), (3, "slow"), (4, "other")] {
        s.enqueue(QueuedJob { queue: Arc::from(queue), ..job(id) }, T0);
    }
    assert_eq!(dispatch(&mut s, T0), [(1, 1), (2, 2), (3, 2)]);
}

#[test]
fn a_boundary_is_a_minimum() {
    let mut s = new();
    s.runner_seen(RunnerOffer { boundary: Boundary::Sandbox, ..runner(1, 9) }, T0);
    for (id, min_boundary) in [(1, Boundary::Container), (2, Boundary::Sandbox), (3, Boundary::Process)] {
        s.enqueue(QueuedJob { min_boundary, ..job(id) }, T0);
    }
    assert_eq!(dispatch(&mut s, T0), [(2, 1), (3, 1)]);
}

fn cpus(cpus: f64) -> Limits {
    Limits { cpus: Some(cpus), ..Limits::default() }
}

#[test]
fn who_asks_for_more_than_a_runner_allows_goes_elsewhere_or_waits() {
    let mut s = new();
    s.runner_seen(RunnerOffer { limits: Ceiling::allowed(&cpus(2.0)), ..runner(1, 9) }, T0);
    for (id, asked) in [(1, 2.0), (2, 2.001), (3, 64.0)] {
        s.enqueue(QueuedJob { limits: Ceiling::asked(&cpus(asked)), ..job(id) }, T0);
    }
    s.enqueue(job(4), T0);
    assert_eq!(dispatch(&mut s, T0), [(1, 1), (4, 1)]);
    s.runner_seen(RunnerOffer { limits: Ceiling::allowed(&cpus(4.0)), ..runner(2, 9) }, T0);
    assert_eq!(dispatch(&mut s, T0), [(2, 2)]);
    // A runner may come to allow more.
    s.runner_seen(runner(1, 9), T0);
    assert_eq!(dispatch(&mut s, T0), [(3, 1)]);
}

#[test]
fn slots_are_not_exceeded_and_come_back() {
    let mut s = new();
    s.runner_seen(runner(1, 2), T0);
    (1..=4).for_each(|id| drop(s.enqueue(job(id), T0)));
    assert_eq!(dispatch(&mut s, T0), [(1, 1), (2, 1)]);
    assert_eq!(s.free_slots(RunnerId(1)), Some(0));
    s.finish(JobId(2), false, T0);
    assert_eq!(dispatch(&mut s, T0), [(3, 1)]);
    s.runner_seen(runner(1, 1), T0);
    s.finish(JobId(1), false, T0);
    assert_eq!(dispatch(&mut s, T0), [], "it has fewer slots now");
}

#[test]
fn the_idlest_runner_is_chosen_then_chance_decides() {
    let mut s = new();
    s.runner_seen(runner(1, 4), T0);
    s.runner_seen(runner(2, 2), T0);
    s.runner_seen(RunnerOffer { labels: labels("linux x64 more"), ..runner(3, 1) }, T0);
    (1..=4).for_each(|id| drop(s.enqueue(with_labels(id, "linux"), T0)));
    let mut asked = Vec::new();
    let actions = s.dispatch(
        T0,
        &mut |n| {
            asked.push(n);
            n - 1
        },
        9,
    );
    let mut runners: Vec<u64> = actions
        .iter()
        .map(|a| match a {
            Action::Assign { runner, .. } => runner.0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(asked, [3, 2], "three idle ones, then two, then nothing to choose");
    assert_eq!(runners.pop(), Some(1), "3 of 4 slots free beats 1 of 2");
    runners.sort_unstable();
    assert_eq!(runners, [1, 2, 3]);
}

#[test]
fn every_idle_runner_can_be_chosen_among_very_many_kinds() {
    let mut s = new();
    for id in 0..1000 {
        s.runner_seen(RunnerOffer { labels: labels(&format!("linux host-{id}")), ..runner(id, 1) }, T0);
    }
    let mut chosen = BTreeSet::new();
    for id in 0..1000 {
        s.enqueue(with_labels(id, "linux"), T0);
        let actions = s.dispatch(T0, &mut |n| (id as usize * 7919) % n, 9);
        let [Action::Assign { runner, .. }] = actions[..] else { panic!("{actions:?}") };
        chosen.insert(runner);
        s.finish(JobId(id), false, T0);
    }
    assert!(chosen.len() > 500, "{}", chosen.len());
    s.check();
}

#[test]
fn who_drains_is_in_error_or_too_old_takes_nothing() {
    let mut s = new();
    s.enqueue(job(1), T0);
    for (offer, state) in [
        (RunnerOffer { draining: true, ..runner(1, 1) }, RunnerStateOf::Draining),
        (RunnerOffer { error: true, ..runner(2, 1) }, RunnerStateOf::Error),
        (RunnerOffer { version_ok: false, ..runner(3, 1) }, RunnerStateOf::Error),
    ] {
        let id = offer.id;
        s.runner_seen(offer, T0);
        assert_eq!(dispatch(&mut s, T0), []);
        assert!(s.claim(id, None, T0).is_err());
        assert_eq!(s.runner_state(id), Some(state));
    }
    s.runner_seen(runner(1, 1), T0);
    assert_eq!(dispatch(&mut s, T0), [(1, 1)]);
}
use fleetfoot_model::RunnerState as RunnerStateOf;

#[test]
fn a_one_off_runner_takes_one_job_in_its_life() {
    let mut s = new();
    s.runner_seen(RunnerOffer { one_off: true, ..runner(1, 4) }, T0);
    s.enqueue(job(1), T0);
    s.enqueue(job(2), T0);
    let given = s.dispatch(T0, &mut |_| 0, 9);
    assert_eq!(given.len(), 1);
    s.unassign(JobId(1), T0);
    assert_eq!(dispatch(&mut s, T0), [(1, 1)], "it did not get the first one after all");
    s.finish(JobId(1), false, T0);
    assert_eq!(dispatch(&mut s, T0), []);
    assert_eq!(s.claim(RunnerId(1), None, T0), Err(ClaimError::OneOffUsed(RunnerId(1))));
}

#[test]
fn a_job_that_was_unassigned_goes_to_the_front() {
    let mut s = new();
    s.runner_seen(runner(1, 1), T0);
    s.enqueue(of_project(1, "a"), T0);
    s.enqueue(of_project(2, "b"), T0);
    s.enqueue(of_project(3, "a"), T0);
    assert_eq!(s.dispatch(T0, &mut |_| 0, 1).len(), 1);
    s.unassign(JobId(1), T0);
    s.check();
    assert_eq!(drain(&mut s), [1, 2, 3]);
    // An attempt that has its lease is not taken back.
    s.enqueue(job(9), T0);
    dispatch(&mut s, T0);
    s.unassign(JobId(9), T0);
    assert_eq!(s.status(JobId(9)), Some(Status::Running));
}

#[test]
fn a_claim_takes_the_named_or_the_next_job() {
    let mut s = new();
    s.runner_seen(runner(1, 2), T0);
    (1..=3).for_each(|id| drop(s.enqueue(job(id), T0)));
    let assign = |id| Action::Assign { job: JobId(id), run: RunId(id), runner: RunnerId(1), attempt: 1 };
    assert_eq!(s.claim(RunnerId(1), Some(JobId(2)), T0), Ok(assign(2)));
    assert_eq!(s.claim(RunnerId(1), None, T0), Ok(assign(1)));
    assert_eq!(s.claim(RunnerId(1), None, T0), Err(ClaimError::NoFreeSlot(RunnerId(1))));
    s.finish(JobId(1), false, T0);
    assert_eq!(s.claim(RunnerId(1), Some(JobId(2)), T0), Err(ClaimError::NotQueued(JobId(2))));
    assert_eq!(s.claim(RunnerId(1), Some(JobId(1)), T0), Err(ClaimError::NotQueued(JobId(1))));
    s.check();
}

#[test]
fn a_claim_that_is_refused_says_why() {
    let mut s = new();
    s.runner_seen(runner(1, 5), T0);
    s.enqueue(with_labels(1, "linux gpu"), T0);
    s.enqueue(QueuedJob { queue: Arc::from("other"), ..job(2) }, T0);
    s.enqueue(QueuedJob { min_boundary: Boundary::Microvm, ..job(3) }, T0);
    s.enqueue(in_group(4, group("g")), T0);
    s.enqueue(in_group(5, group("g")), T0);
    let mut refused = |job: Option<u64>| s.claim(RunnerId(1), job.map(JobId), T0).unwrap_err().to_string();
    insta::assert_snapshot!(refused(Some(1)), @"runner 1 lacks labels of job 1: gpu");
    insta::assert_snapshot!(refused(Some(2)), @"runner 1 does not serve queue 'other'");
    insta::assert_snapshot!(refused(Some(3)), @"the job demands boundary microvm, runner 1 offers process");
    insta::assert_snapshot!(refused(Some(5)), @"job 5 is held back by a limit");
    assert!(s.claim(RunnerId(1), None, T0).is_ok());
    let mut refused = |id| s.claim(RunnerId(id), None, T0).unwrap_err().to_string();
    insta::assert_snapshot!(refused(1), @"nothing that runner 1 could take is waiting");
    insta::assert_snapshot!(refused(7), @"runner 7 is not known");
    s.runner_seen(RunnerOffer { draining: true, ..runner(1, 1) }, T0);
    let refused = s.claim(RunnerId(1), None, T0).unwrap_err().to_string();
    insta::assert_snapshot!(refused, @"runner 1 takes no jobs: it is draining");
}

#[test]
fn who_claims_only_is_given_nothing_unasked() {
    let mut s = new();
    s.runner_seen(runner(1, 1), T0);
    s.set_claims_only(RunnerId(1), true);
    s.enqueue(job(1), T0);
    assert_eq!(dispatch(&mut s, T0), []);
    assert!(s.claim(RunnerId(1), None, T0).is_ok());
}

#[test]
fn what_was_removed_is_not_given_away() {
    let mut s = new();
    s.runner_seen(runner(1, 9), T0);
    (1..=3).for_each(|id| drop(s.enqueue(job(id), T0)));
    s.remove(JobId(2), T0);
    assert_eq!(dispatch(&mut s, T0), [(1, 1), (3, 1)]);
    assert_eq!(s.status(JobId(2)), None);
    s.remove(JobId(1), T0);
    assert_eq!(s.free_slots(RunnerId(1)), Some(8), "removing a running job frees its slot");
}

#[test]
fn enqueueing_twice_changes_nothing() {
    let mut s = new();
    s.runner_seen(runner(1, 9), T0);
    s.enqueue(job(1), T0);
    s.enqueue(job(1), T0);
    assert_eq!(dispatch(&mut s, T0), [(1, 1)]);
    s.enqueue(job(1), T0);
    assert_eq!(dispatch(&mut s, T0), []);
}

#[test]
fn statistics_count_all_that_waits() {
    let mut s = new();
    s.runner_seen(runner(1, 1), T0);
    s.runner_seen(RunnerOffer { draining: true, ..runner(2, 1) }, T0);
    (1..=3).for_each(|id| drop(s.enqueue(job(id), T0)));
    s.enqueue(QueuedJob { queue: Arc::from("gpu"), not_before: Some(T0 + secs(5)), ..job(4) }, T0);
    dispatch(&mut s, T0);
    let statistics = s.statistics();
    assert_eq!(
        statistics.queues.iter().map(|(q, n)| (&**q, *n)).collect::<Vec<_>>(),
        [("default", 2), ("gpu", 1)]
    );
    assert_eq!((statistics.held, statistics.running), (1, 1));
    let runners: Vec<_> = statistics.runners.into_iter().collect();
    assert_eq!(runners, [(RunnerStateOf::Busy, 1), (RunnerStateOf::Draining, 1)]);
}

#[test]
fn names_and_label_sets_that_nobody_uses_any_more_go() {
    let mut s = new();
    s.runner_seen(runner(1, 1), T0);
    for id in 1..=5000 {
        let queue = Arc::from(format!("queue-{id}"));
        s.runner_seen(RunnerOffer { labels: labels(&format!("l{id}")), ..runner(2, 1) }, T0);
        s.enqueue(
            QueuedJob { queue, labels: labels(&format!("l{id}")), ..of_project(id, &format!("p{id}")) },
            T0,
        );
        s.remove(JobId(id), T0);
    }
    s.check();
    let kept = s.index.classes().count();
    assert!(kept < 300, "{kept} label sets are kept");
    assert!(s.queues.len() < 600 && s.projects.len() < 300, "{} {}", s.queues.len(), s.projects.len());
}
