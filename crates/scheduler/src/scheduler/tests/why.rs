//! Why a job waits: structure and sentence.

use super::*;
use fleetfoot_model::why::WhyReason;

#[test]
fn a_container_needs_an_engine() {
    let mut s = new();
    s.runner_seen(RunnerOffer { boundary: Boundary::Sandbox, ..runner(1, 2) }, T0);
    s.enqueue(QueuedJob { containers: true, ..job(1) }, T0);
    assert!(s.dispatch(T0, &mut |_| 0, 9).is_empty());
    assert_eq!(told(&s, 1).1, [WhyReason::ContainersNotOffered { runners: vec![RunnerId(1)] }]);
    insta::assert_snapshot!(told(&s, 1).0, @"It has a container or services; no matching runner has a container engine.");
    let refused = s.claim(RunnerId(1), Some(JobId(1)), T0).unwrap_err();
    assert_eq!(refused, ClaimError::NoContainers(RunnerId(1)));
    s.runner_seen(RunnerOffer { boundary: Boundary::Container, containers: true, ..runner(1, 2) }, T0);
    assert_eq!(s.dispatch(T0, &mut |_| 0, 9).len(), 1, "it is given as soon as an engine is there");
}

fn told(s: &Scheduler, id: u64) -> (String, Vec<WhyReason>) {
    let why = s.why(JobId(id), T0).unwrap();
    assert_eq!(why.job, JobId(id));
    (why.summary, why.reasons)
}

#[test]
fn nobody_there_nobody_serves_nobody_offers() {
    let mut s = new();
    s.enqueue(with_labels(1, "linux gpu arm64"), T0);
    s.enqueue(QueuedJob { queue: Arc::from("night"), ..job(2) }, T0);
    s.enqueue(QueuedJob { min_boundary: Boundary::Gvisor, ..job(3) }, T0);
    s.enqueue(with_labels(4, "gpu"), T0);
    assert_eq!(told(&s, 1), ("No runner is connected.".to_owned(), vec![WhyReason::NoRunnerOnline]));
    s.runner_seen(runner(1, 1), T0);
    s.runner_seen(RunnerOffer { labels: labels("linux arm64"), ..runner(2, 1) }, T0);
    s.runner_seen(RunnerOffer { labels: labels("linux"), queues: vec!["day".into()], ..runner(3, 1) }, T0);
    insta::assert_debug_snapshot!(told(&s, 1), @r#"
    (
        "No connected runner offers label 'gpu'.",
        [
            LabelsNotOffered {
                nobody_offers: [
                    "gpu",
                ],
                nearest: [
                    NearRunner {
                        runner: RunnerId(
                            2,
                        ),
                        name: "r2",
                        lacks: [
                            "gpu",
                        ],
                    },
                    NearRunner {
                        runner: RunnerId(
                            1,
                        ),
                        name: "r1",
                        lacks: [
                            "arm64",
                            "gpu",
                        ],
                    },
                ],
            },
        ],
    )
    "#);
    insta::assert_snapshot!(told(&s, 2).0, @"No connected runner serves queue 'night'.");
    assert_eq!(told(&s, 2).1, [WhyReason::QueueNotServed { queue: "night".to_owned() }]);
    insta::assert_snapshot!(told(&s, 3).0, @"It demands boundary 'gvisor'; matching runners offer 'process' at most.");
    s.runner_seen(RunnerOffer { labels: labels("gpu"), ..runner(4, 1) }, T0);
    insta::assert_snapshot!(told(&s, 1).0, @"No connected runner offers all of its labels; 'r2' comes nearest and lacks gpu.");
    assert_eq!(told(&s, 4).1, [WhyReason::Ready]);
}

#[test]
fn busy_draining_too_old() {
    let mut s = new();
    s.runner_seen(runner(1, 1), T0);
    s.runner_seen(RunnerOffer { draining: true, ..runner(2, 1) }, T0);
    s.runner_seen(RunnerOffer { version_ok: false, ..runner(3, 1) }, T0);
    (1..=4).for_each(|id| drop(s.enqueue(job(id), T0)));
    s.enqueue(QueuedJob { priority: 1, ..job(5) }, T0);
    assert_eq!(told(&s, 4).1, [WhyReason::Ready]);
    assert_eq!(dispatch(&mut s, T0), [(5, 1)]);
    assert_eq!(told(&s, 5), ("It is with runner 1.".to_owned(), vec![]));
    assert_eq!(
        told(&s, 3).1,
        [
            WhyReason::RunnersBusy { runners: vec![RunnerId(1)], ahead: 2 },
            WhyReason::RunnersUnavailable { runners: vec![RunnerId(2)] },
            WhyReason::VersionTooOld { runners: vec![RunnerId(3)] },
        ]
    );
    // Jobs for other runners are in nobody's way.
    (6..=9).for_each(|id| {
        s.enqueue(QueuedJob { priority: 1, ..with_labels(id, "gpu") }, T0);
    });
    insta::assert_snapshot!(told(&s, 3).0, @"1 matching runner is busy; 2 jobs go first.");
    insta::assert_snapshot!(told(&s, 1).0, @"1 matching runner is busy; it is next.");
    s.runner_removed(RunnerId(1), T0);
    insta::assert_snapshot!(told(&s, 1).0, @"1 runner matches, but takes no jobs now (draining, in error or disconnected).");
    s.runner_removed(RunnerId(2), T0);
    insta::assert_snapshot!(told(&s, 1).0, @"1 runner matches, but its version is too far from the server's.");
}

#[test]
fn held_back() {
    let mut s = new();
    s.runner_seen(runner(1, 9), T0);
    s.admit_run(RunId(70), "p", &group("release"), T0);
    s.enqueue(in_group(1, group("Deploy")), T0);
    s.enqueue(QueuedJob { labels: labels("gpu"), ..in_group(2, group("deploy")) }, T0);
    s.enqueue(in_group(3, group("release")), T0);
    s.enqueue(leg(4, 1), T0);
    s.enqueue(leg(5, 1), T0);
    s.enqueue(QueuedJob { not_before: Some(T0 + secs(30)), ..job(6) }, T0);
    dispatch(&mut s, T0);
    insta::assert_snapshot!(told(&s, 2).0, @"Job 1 holds its concurrency group 'Deploy'.");
    assert_eq!(told(&s, 2).1.len(), 2, "and nobody offers its label");
    insta::assert_snapshot!(told(&s, 3).0, @"Run 70 holds its concurrency group 'release'.");
    assert_eq!(told(&s, 3).1.len(), 1);
    insta::assert_snapshot!(told(&s, 5).0, @"1 leg runs of its matrix, which is all that max-parallel allows.");
    assert_eq!(told(&s, 5).1, [WhyReason::MaxParallel { limit: 1 }]);
    insta::assert_snapshot!(told(&s, 6).0, @"It is tried again at 1970-01-01T00:17:10.000000Z.");
    s.finish(JobId(4), true, T0);
    assert_eq!(told(&s, 4).1, [WhyReason::RetryDelay { until: T0 }]);
    assert_eq!(s.why(JobId(99), T0), None);
}

#[test]
fn before_a_job_comes_here() {
    let mut s = new();
    s.admit_run(RunId(1), "p", &group("release"), T0);
    s.admit_run(RunId(2), "p", &group("Release"), T0);
    assert_eq!(s.why_run(JobId(10), RunId(1)), None);
    let why = s.why_run(JobId(20), RunId(2)).unwrap();
    insta::assert_snapshot!(why.summary, @"Its run waits: run 1 holds its concurrency group 'release'.");
    assert_eq!((why.job, why.status, why.reasons.len()), (JobId(20), Status::Waiting, 1));
    let why = why_needs(JobId(3), vec!["build".to_owned(), "lint".to_owned()]);
    insta::assert_snapshot!(why.summary, @"It needs jobs that have not ended: build, lint.");
}

#[test]
fn a_job_that_asks_for_too_much_says_what_is_allowed() {
    use fleetfoot_model::spec::Limits;
    let mut s = new();
    let allowed = Limits { cpus: Some(1.5), memory_bytes: Some(1 << 30), ..Limits::default() };
    s.runner_seen(RunnerOffer { limits: Ceiling::allowed(&allowed), ..runner(1, 1) }, T0);
    let asked =
        Limits { cpus: Some(8.0), memory_bytes: Some(2 << 30), pids: Some(1 << 40), ..Limits::default() };
    s.enqueue(QueuedJob { limits: Ceiling::asked(&asked), ..job(1) }, T0);
    insta::assert_snapshot!(told(&s, 1).0, @"It asks for more than any matching runner allows: 'r1' is asked for 8 CPUs (allows 1.5), 2048 MiB of memory (allows 1024).");
}
