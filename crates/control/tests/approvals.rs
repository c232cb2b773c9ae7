//! Environments whose rules hold jobs, runs that wait for approval, and that
//! nothing is given to a runner before somebody lets it, whatever happens.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use fleetfoot_control::{ApprovalFilter, Principal};
use fleetfoot_model::api::{CancelRun, CreateRun, Created, TokenKind};
use fleetfoot_model::ids::{JobId, RunId};
use fleetfoot_model::projects::{
    ApprovalView, CreateEnvironment, EnvironmentRules, Review, UpdateEnvironment,
};
use fleetfoot_model::spec::Repository;
use fleetfoot_model::state::{ApprovalState, Conclusion, Reason, Status};
use fleetfoot_model::why::WhyReason;
use fleetfoot_model::{Code, Problem, Timestamp};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};
use support::{ADMIN, Bench, Hand};

const DEPLOY: &str = "
on: push
jobs:
  build:
    runs-on: linux
    steps:
      - run: make
  deploy:
    needs: build
    environment: production
    runs-on: linux
    steps:
      - run: make deploy
";

const SOLO: &str = "on: push\njobs:\n  deploy:\n    environment: production\n    runs-on: linux\n    steps:\n      - run: make\n";

fn rules(reviewers: &[&str]) -> EnvironmentRules {
    EnvironmentRules {
        reviewers: reviewers.iter().map(|r| (*r).to_owned()).collect(),
        ..EnvironmentRules::default()
    }
}

fn request(document: &str) -> CreateRun {
    CreateRun { kind: "workflow".to_owned(), document: document.to_owned(), ..CreateRun::default() }
}

fn review(comment: &str) -> Review {
    Review { comment: Some(comment.to_owned()) }
}

impl Bench {
    async fn production(&self, rules: EnvironmentRules) {
        let name = "production".to_owned();
        let new = CreateEnvironment { project: String::new(), name, rules };
        self.control.create_environment(&ADMIN, new).await.unwrap();
    }

    async fn named(&self, kind: TokenKind, name: &str) -> Principal {
        let request = fleetfoot_model::api::CreateToken {
            kind,
            name: name.to_owned(),
            expires_in_seconds: None,
            max_uses: None,
            labels: Vec::new(),
            queue: None,
        };
        let token = self.control.create_token(&ADMIN, request).await.unwrap().token;
        self.control.authenticate(&token).await.unwrap()
    }

    async fn pending(&self) -> Vec<ApprovalView> {
        let filter = ApprovalFilter { state: Some(ApprovalState::Pending), ..ApprovalFilter::default() };
        self.control.approvals(&ADMIN, &filter, None, 200).await.unwrap().items
    }

    async fn approve(&self, who: &Principal, job: JobId) -> Result<ApprovalView, Problem> {
        self.control.review_job(who, job, true, Review::default()).await
    }

    async fn why_now(&self, job: JobId) -> (String, Vec<WhyReason>) {
        let why = self.control.why(&ADMIN, job).await.unwrap();
        (why.summary, why.reasons)
    }

    async fn unapproved(&self, document: &str) -> Created {
        let reason = Some("it comes from a fork".to_owned());
        self.control.create_run_for(&ADMIN, request(document), true, reason).await.unwrap()
    }

    /// Nothing comes to the runner, however often it asks.
    async fn nothing_for(&self, runner: &mut Hand) {
        for _ in 0..5 {
            runner.sync(0).await;
            tokio::task::yield_now().await;
        }
        assert!(runner.inbox.is_empty(), "{:?}", runner.inbox);
    }
}

#[tokio::test]
async fn a_job_waits_for_a_reviewer_over_restarts() {
    let mut bench = Bench::new().await;
    bench.production(rules(&["alice", "bob"])).await;
    let alice = bench.named(TokenKind::Member, "Alice").await;
    let admin = bench.named(TokenKind::Admin, "root").await;
    let reader = bench.named(TokenKind::ReadOnly, "alice").await;
    let created = bench.submit(DEPLOY).await;
    let (build, deploy) = (created.jobs[0].id, created.jobs[1].id);
    let refused = bench.approve(&alice, deploy).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict, "not before its needs ended: {refused:?}");
    let mut runner = bench.runner("r", &["linux"], 2).await;
    let first = runner.take().await;
    assert_eq!(first.attempt.job, build);
    assert_eq!(bench.pending().await, []);
    runner.finish(first.attempt, Conclusion::Success).await;
    bench.nothing_for(&mut runner).await;
    for _ in 0..2 {
        assert_eq!(bench.job(deploy).await.status, Status::Waiting);
        let (summary, reasons) = bench.why_now(deploy).await;
        assert_eq!(summary, "It waits for approval of environment production by alice or bob.");
        assert!(
            matches!(&reasons[..], [WhyReason::Approval { environment: Some(e), .. }] if e == "production")
        );
        let pending = bench.pending().await;
        assert_eq!(pending.len(), 1);
        assert_eq!((pending[0].run, pending[0].job), (created.run, Some(deploy)));
        assert_eq!((pending[0].job_name.as_deref(), &*pending[0].project), (Some("deploy"), "default"));
        bench = bench.restart(&mut runner).await;
        bench.nothing_for(&mut runner).await;
    }
    for stranger in [&admin, &reader] {
        assert_eq!(bench.approve(stranger, deploy).await.unwrap_err().code, Code::Forbidden);
    }
    let approved = bench.control.review_job(&alice, deploy, true, review("looks good")).await.unwrap();
    assert_eq!((approved.state, approved.comment.as_deref()), (ApprovalState::Approved, Some("looks good")));
    assert!(approved.decided_by.unwrap().starts_with("Alice (token:"));
    let second = runner.take().await;
    assert_eq!(second.attempt.job, deploy);
    assert_eq!(bench.approve(&alice, deploy).await.unwrap_err().code, Code::Conflict);
    runner.finish(second.attempt, Conclusion::Success).await;
    assert_eq!(bench.ended(created.run).await.conclusion, Some(Conclusion::Success));
    let audit = bench.control.audit(&ADMIN, None, 5).await.unwrap().items;
    assert!(audit.iter().any(|e| e.action == "job.approve" && e.subject == format!("job:{deploy}")));
}

#[tokio::test]
async fn rejection_fails_the_job_and_says_who_and_why() {
    let bench = Bench::new().await;
    bench.production(rules(&["bob"])).await;
    let bob = bench.named(TokenKind::Member, "bob").await;
    let created = bench.submit(SOLO).await;
    assert_eq!(bench.job(created.jobs[0].id).await.status, Status::Waiting);
    let done = bench.control.review_run(&bob, created.run, false, review("not on a Friday")).await.unwrap();
    assert_eq!(done[0].state, ApprovalState::Rejected);
    let run = bench.ended(created.run).await;
    assert_eq!(run.conclusion, Some(Conclusion::Failure));
    let job = &run.jobs.unwrap()[0];
    assert_eq!((job.conclusion, job.reason), (Some(Conclusion::Failure), Some(Reason::Rejected)));
    let message = job.message.as_deref().unwrap();
    assert!(message.contains("bob") && message.ends_with(": not on a Friday"), "{message}");
    let again = bench.control.review_run(&bob, created.run, true, Review::default()).await.unwrap_err();
    assert_eq!(again.code, Code::Conflict);
}

#[tokio::test]
async fn who_caused_a_run_may_be_kept_from_approving_it() {
    let bench = Bench::new().await;
    bench.production(EnvironmentRules { prevent_self_review: true, ..rules(&["alice", "bob"]) }).await;
    let alice = bench.named(TokenKind::Member, "alice").await;
    let laptop = bench.named(TokenKind::Member, "alice").await;
    let bob = bench.named(TokenKind::Member, "bob").await;
    let job = bench.control.create_runs(&alice, vec![request(SOLO)], None).await.unwrap()[0].jobs[0].id;
    for own in [&alice, &laptop] {
        let refused = bench.approve(own, job).await.unwrap_err();
        assert_eq!(refused.code, Code::Forbidden);
        assert!(refused.detail.contains("caused"), "{refused:?}");
    }
    bench.approve(&bob, job).await.unwrap();
    assert_eq!(bench.job(job).await.status, Status::Queued);
}

#[tokio::test]
async fn only_refs_that_the_rules_let_in() {
    let bench = Bench::new().await;
    bench.production(EnvironmentRules { branches: vec!["main".to_owned()], ..rules(&[]) }).await;
    let on = |git_ref: Option<&str>, document: &str| CreateRun {
        repository: git_ref.map(|r| Repository { git_ref: Some(r.to_owned()), ..Repository::default() }),
        ..request(document)
    };
    let good = bench.create(on(Some("refs/heads/main"), SOLO)).await.unwrap();
    assert_eq!(bench.job(good.jobs[0].id).await.status, Status::Queued);
    for bad in [Some("refs/heads/feature"), Some("refs/tags/main"), None] {
        let created = bench.create(on(bad, SOLO)).await.unwrap();
        let run = bench.ended(created.run).await;
        let job = &run.jobs.unwrap()[0];
        assert_eq!(
            (run.conclusion, job.reason),
            (Some(Conclusion::Failure), Some(Reason::EnvironmentProtected))
        );
        assert!(job.message.as_deref().unwrap().contains("takes jobs of main only"), "{job:?}");
    }
    // Where the job comes later, after a restart: the ref is still known.
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let solo = runner.take().await;
    runner.finish(solo.attempt, Conclusion::Success).await;
    let later = bench.create(on(Some("refs/heads/main"), DEPLOY)).await.unwrap();
    let build = runner.take().await;
    let bench = bench.restart(&mut runner).await;
    runner.finish(build.attempt, Conclusion::Success).await;
    let deploy = runner.take().await;
    assert_eq!((deploy.run, &*deploy.spec.key), (later.run, "deploy"));
    drop(bench);
}

/// Pretends that the timer was set some time ago.
fn move_due(bench_dir: &std::path::Path, due: Timestamp) {
    let db = rusqlite::Connection::open(bench_dir.join("fleetfoot.db")).unwrap();
    let n = db.execute("UPDATE approvals SET due = ?1", [due.0]).unwrap();
    assert!(n > 0);
}

#[tokio::test]
async fn the_wait_timer_runs_by_the_wall_clock_over_restarts() {
    let mut bench = Bench::new().await;
    bench.production(EnvironmentRules { wait_minutes: 5, ..rules(&["alice"]) }).await;
    let created = bench.submit(SOLO).await;
    let job = created.jobs[0].id;
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let (_, reasons) = bench.why_now(job).await;
    assert!(matches!(&reasons[..], [WhyReason::Approval { .. }, WhyReason::WaitTimer { .. }]), "{reasons:?}");
    let approved = bench.approve(&ADMIN, job).await.unwrap();
    let due = approved.due.unwrap();
    assert!(due > bench.control.now());
    bench.nothing_for(&mut runner).await;
    let (summary, _) = bench.why_now(job).await;
    assert_eq!(summary, format!("It waits until {due} (wait timer of environment production)."));
    // Two seconds before its end: it is still held after the start, and goes on by itself.
    let soon = bench.control.now() + std::time::Duration::from_secs(2);
    move_due(bench.dir.path(), soon);
    bench = bench.restart(&mut runner).await;
    assert_eq!(bench.job(job).await.status, Status::Waiting);
    let taken = runner.take().await;
    assert_eq!(taken.attempt.job, job);
    assert!(bench.control.now() >= soon, "not before its time");
    runner.finish(taken.attempt, Conclusion::Success).await;
    assert_eq!(bench.ended(created.run).await.conclusion, Some(Conclusion::Success));

    // A timer alone asks nobody; one that ended while the server was down opens at the start.
    let change = UpdateEnvironment { reviewers: Some(Vec::new()), ..UpdateEnvironment::default() };
    bench.control.update_environment(&ADMIN, "default", "Production", change).await.unwrap();
    let job = bench.submit(SOLO).await.jobs[0].id;
    assert_eq!(bench.pending().await, []);
    assert_eq!(bench.approve(&ADMIN, job).await.unwrap_err().code, Code::Conflict);
    bench.nothing_for(&mut runner).await;
    move_due(bench.dir.path(), bench.control.now());
    let _bench = bench.restart(&mut runner).await;
    assert_eq!(runner.take().await.attempt.job, job);
}

#[tokio::test]
async fn reviewers_can_be_changed_while_a_job_waits() {
    let bench = Bench::new().await;
    bench.production(rules(&["alice"])).await;
    let bob = bench.named(TokenKind::Member, "bob").await;
    let admin = bench.named(TokenKind::Admin, "").await;
    let first = bench.submit(SOLO).await.jobs[0].id;
    let second = bench.submit(SOLO).await.jobs[0].id;
    let update = async |reviewers: &[&str]| {
        let reviewers = Some(reviewers.iter().map(|r| (*r).to_owned()).collect());
        let change = UpdateEnvironment { reviewers, ..UpdateEnvironment::default() };
        bench.control.update_environment(&ADMIN, "default", "production", change).await.unwrap();
    };
    assert_eq!(bench.approve(&bob, first).await.unwrap_err().code, Code::Forbidden);
    update(&["BOB"]).await;
    bench.approve(&bob, first).await.unwrap();
    update(&[]).await;
    assert_eq!(
        bench.approve(&bob, second).await.unwrap_err().code,
        Code::Forbidden,
        "without reviewers an admin"
    );
    bench.approve(&admin, second).await.unwrap();
    // The environment is gone: what waits is still decided by whom it named.
    update(&["bob"]).await;
    let third = bench.submit(SOLO).await.jobs[0].id;
    bench.control.delete_environment(&ADMIN, "default", "production").await.unwrap();
    assert_eq!(bench.approve(&admin, third).await.unwrap_err().code, Code::Forbidden);
    bench.approve(&bob, third).await.unwrap();
    let free = bench.submit(SOLO).await.jobs[0].id;
    assert_eq!(bench.job(free).await.status, Status::Queued);
}

const GROUP: &str = "
on: push
concurrency: {group: release, cancel-in-progress: true}
jobs:
  a:
    runs-on: linux
    steps:
      - run: 'true'
  always:
    needs: a
    if: always()
    runs-on: linux
    steps:
      - run: 'true'
";

#[tokio::test]
async fn an_unapproved_run_starts_nothing_and_enters_no_group() {
    let mut bench = Bench::new().await;
    let trusted = bench.submit(GROUP).await;
    let mut runner = bench.runner("r", &["linux"], 4).await;
    let running = runner.take().await;
    let fork = bench.unapproved(GROUP).await;
    for _ in 0..2 {
        assert_eq!(runner.sync(0).await.cancel, [], "it cancels nobody before it is approved");
        bench.nothing_for(&mut runner).await;
        let view = bench.run(fork.run).await;
        assert_eq!(
            (view.status, bench.job(fork.jobs[0].id).await.status),
            (Status::Waiting, Status::Waiting)
        );
        let (summary, _) = bench.why_now(fork.jobs[1].id).await;
        assert_eq!(summary, "Its run waits for approval by a member (it comes from a fork).");
        bench = bench.restart(&mut runner).await;
    }
    let reader = bench.named(TokenKind::ReadOnly, "r").await;
    let member = bench.named(TokenKind::Member, "m").await;
    let refused = bench.control.review_run(&reader, fork.run, true, Review::default()).await.unwrap_err();
    assert_eq!(refused.code, Code::Forbidden);
    let done = bench.control.review_run(&member, fork.run, true, review("fine")).await.unwrap();
    assert_eq!((done.len(), done[0].job, done[0].state), (1, None, ApprovalState::Approved));
    // Now it is in the group, and takes the place of the one before it.
    assert_eq!(runner.sync(1_000).await.cancel, [running.attempt]);
    runner.finish(running.attempt, Conclusion::Cancelled).await;
    let mut keys = Vec::new();
    for _ in 0..3 {
        let next = runner.take().await;
        keys.push((next.run == fork.run, next.spec.key.clone()));
        runner.finish(next.attempt, Conclusion::Success).await;
    }
    assert!(
        keys.contains(&(true, "a".to_owned())) && keys.contains(&(true, "always".to_owned())),
        "{keys:?}"
    );
    assert_eq!(bench.ended(fork.run).await.conclusion, Some(Conclusion::Success));
    assert_eq!(bench.ended(trusted.run).await.conclusion, Some(Conclusion::Cancelled));
}

#[tokio::test]
async fn a_rejected_or_cancelled_run_ends_without_running_anything() {
    let bench = Bench::new().await;
    let mut runner = bench.runner("r", &["linux"], 4).await;
    for document in [GROUP, SOLO] {
        let rejected = bench.unapproved(document).await;
        bench.control.review_run(&ADMIN, rejected.run, false, review("spam")).await.unwrap();
        let run = bench.ended(rejected.run).await;
        assert_eq!(run.conclusion, Some(Conclusion::Cancelled));
        for job in run.jobs.unwrap() {
            assert_eq!((job.conclusion, job.reason), (Some(Conclusion::Cancelled), Some(Reason::Rejected)));
            assert_eq!(job.message.as_deref(), Some("system rejected the run: spam"));
        }
        let cancelled = bench.unapproved(document).await;
        bench.control.cancel_run(&ADMIN, cancelled.run, CancelRun::default()).await.unwrap();
        assert_eq!(bench.ended(cancelled.run).await.conclusion, Some(Conclusion::Cancelled));
        let states = ApprovalFilter { run: Some(cancelled.run), ..ApprovalFilter::default() };
        let states = bench.control.approvals(&ADMIN, &states, None, 9).await.unwrap().items;
        assert_eq!(states[0].state, ApprovalState::Cancelled);
    }
    assert_eq!(bench.pending().await, []);
    bench.nothing_for(&mut runner).await;
}

#[tokio::test]
async fn cancelling_a_held_job_withdraws_its_approval() {
    let bench = Bench::new().await;
    bench.production(rules(&["alice"])).await;
    let created = bench.submit(SOLO).await;
    bench.control.cancel_job(&ADMIN, created.jobs[0].id).await.unwrap();
    assert_eq!(bench.ended(created.run).await.conclusion, Some(Conclusion::Cancelled));
    assert_eq!(bench.pending().await, []);
    let late = bench.approve(&ADMIN, created.jobs[0].id).await.unwrap_err();
    assert_eq!(late.code, Code::Conflict);
}

// -- whatever happens ------------------------------------------------------------

#[derive(Clone, Debug)]
enum Event {
    Submit { fork: bool, document: usize },
    Decide { which: usize, approve: bool },
    Cancel { which: usize },
    Finish { success: bool },
    Pause,
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let one = prop_oneof![
        3 => (any::<bool>(), 0..4_usize).prop_map(|(fork, document)| Event::Submit { fork, document }),
        3 => (0..8_usize, any::<bool>()).prop_map(|(which, approve)| Event::Decide { which, approve }),
        2 => (0..4_usize).prop_map(|which| Event::Cancel { which }),
        3 => any::<bool>().prop_map(|success| Event::Finish { success }),
        2 => Just(Event::Pause),
        1 => Just(Event::Restart),
    ];
    proptest::collection::vec(one, 1..40)
}

const MATRIX: &str = "
on: push
jobs:
  deploy:
    environment: production
    runs-on: linux
    strategy:
      matrix:
        n: [1, 2, 3]
    steps:
      - run: 'true'
  after:
    needs: deploy
    if: always()
    environment: production
    runs-on: linux
    steps:
      - run: 'true'
";

/// What the world outside saw.
#[derive(Default)]
struct Seen {
    runs: Vec<RunId>,
    unapproved: HashSet<RunId>,
    approved: HashSet<JobId>,
    leased: BTreeMap<JobId, RunId>,
}

impl Seen {
    /// Whatever came to the runner was allowed to.
    fn look_at(&mut self, runner: &mut Hand) {
        for a in &runner.inbox {
            assert!(!self.unapproved.contains(&a.run), "a job of a run that nobody approved was leased");
            let job = a.attempt.job;
            assert!(
                a.spec.environment.is_none() || self.approved.contains(&job),
                "job {job} was not approved"
            );
            self.leased.insert(job, a.run);
        }
        runner.inbox.clear();
    }
}

async fn play(events: Vec<Event>) {
    let documents = [DEPLOY, SOLO, GROUP, MATRIX];
    let mut bench = Bench::new().await;
    bench.production(rules(&["alice"])).await;
    let mut runner = bench.runner("r", &["linux"], 3).await;
    let mut seen = Seen::default();
    for event in events {
        match event {
            Event::Submit { fork: true, document } => {
                let created = bench.unapproved(documents[document]).await;
                seen.unapproved.insert(created.run);
                seen.runs.push(created.run);
            }
            Event::Submit { fork: false, document } => {
                seen.runs.push(bench.submit(documents[document]).await.run);
            }
            Event::Decide { which, approve } => decide(&bench, &mut seen, which, approve).await,
            Event::Cancel { which } => {
                if let Some(run) = seen.runs.get(which) {
                    let _ = bench.control.cancel_run(&ADMIN, *run, CancelRun::default()).await;
                }
            }
            Event::Finish { success } => {
                if let Some(attempt) = runner.reports.first().map(|r| r.attempt) {
                    let end = if success { Conclusion::Success } else { Conclusion::Failure };
                    runner.finish(attempt, end).await;
                }
            }
            Event::Pause => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
            Event::Restart => bench = bench.restart(&mut runner).await,
        }
        // What a task outside the actor decided needs a moment to come back.
        tokio::task::yield_now().await;
        runner.sync(0).await;
        seen.look_at(&mut runner);
    }
    // And nothing is held for ever: with every approval given, every run ends.
    let begun = std::time::Instant::now();
    loop {
        for _ in 0..8 {
            decide(&bench, &mut seen, 0, true).await;
        }
        runner.sync(0).await;
        seen.look_at(&mut runner);
        let held: Vec<_> = runner.reports.iter().map(|r| r.attempt).collect();
        for attempt in held {
            runner.finish(attempt, Conclusion::Success).await;
            seen.look_at(&mut runner);
        }
        let mut open = false;
        for run in &seen.runs {
            open |= bench.run(*run).await.status != Status::Completed;
        }
        if !open {
            break;
        }
        assert!(begun.elapsed().as_secs() < 20, "a run does not end");
    }
    assert_eq!(bench.pending().await, []);
    bench.control.shut_down().await;
}

async fn decide(bench: &Bench, seen: &mut Seen, which: usize, approve: bool) {
    let pending = bench.pending().await;
    let Some(about) = pending.get(which % pending.len().max(1)) else { return };
    // Noted before: the answer comes after the job may have gone out.
    if approve {
        match about.job {
            Some(job) => drop(seen.approved.insert(job)),
            None => drop(seen.unapproved.remove(&about.run)),
        }
    }
    let done = match about.job {
        Some(job) => bench.control.review_job(&ADMIN, job, approve, Review::default()).await.map(drop),
        None => bench.control.review_run(&ADMIN, about.run, approve, Review::default()).await.map(drop),
    };
    done.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// No job behind a gate is ever leased before its approval.
    #[test]
    fn nothing_is_leased_before_its_approval(events in events()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(play(events));
    }
}
