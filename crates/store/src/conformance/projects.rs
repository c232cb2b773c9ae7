//! Cases about secrets, variables, environments, the log of uses and approvals.

use super::Harness;
use super::fixtures::*;
use crate::{
    ApprovalDecision, ApprovalFilter, ApprovalRow, DataKeyRow, EnvironmentRow, Op, OpError, SecretRow, Store,
    Stored, VariableRow, WrappedKey,
};
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId, RunId};
use fleetfoot_model::projects::{EnvironmentRules, Scope};
use fleetfoot_model::state::{ApprovalState, Conclusion};

const WORKS: &str = "the store works";

/// Runs all cases of this part.
pub async fn all(h: &dyn Harness) {
    projects_are_known_from_first_use(h).await;
    data_keys_are_wrapped_again(h).await;
    secrets_belong_to_their_scope(h).await;
    variables_belong_to_their_scope(h).await;
    a_scope_is_bounded(h).await;
    environments_are_told_apart_without_case(h).await;
    uses_are_logged_once(h).await;
    approvals_are_decided_once(h).await;
    approvals_go_with_their_run(h).await;
    approvals_by_filter(h).await;
}

fn project(name: &str) -> Scope {
    Scope::Project(name.to_owned())
}

fn environment(project: &str, environment: &str) -> Scope {
    Scope::Environment { project: project.to_owned(), environment: environment.to_owned() }
}

fn data_key(id: u64) -> DataKeyRow {
    DataKeyRow {
        id,
        purpose: "secret".to_owned(),
        project: "core".to_owned(),
        master: [7; 8],
        sealed: vec![1, 2, 0, 255],
        created_at: at(4),
    }
}

fn secret(scope: Scope, name: &str, sealed: &[u8]) -> SecretRow {
    SecretRow {
        scope,
        name: name.to_owned(),
        key: 3,
        sealed: sealed.to_vec(),
        updated_at: at(1),
        updated_by: "token:1".to_owned(),
    }
}

fn variable(scope: Scope, name: &str, value: &str) -> VariableRow {
    VariableRow {
        scope,
        name: name.to_owned(),
        value: value.to_owned(),
        updated_at: at(1),
        updated_by: "token:1".to_owned(),
    }
}

fn environment_row(project: &str, name: &str) -> EnvironmentRow {
    EnvironmentRow {
        project: project.to_owned(),
        name: name.to_owned(),
        rules: EnvironmentRules {
            reviewers: vec!["alice".to_owned()],
            wait_minutes: 5,
            branches: vec!["main".to_owned()],
            prevent_self_review: true,
        },
        created_at: at(1),
        updated_at: at(2),
        updated_by: "token:1".to_owned(),
    }
}

/// A pending approval.
fn held(run: u64, job: Option<u64>) -> ApprovalRow {
    ApprovalRow {
        id: 0,
        run: RunId(run),
        job: job.map(JobId),
        job_name: None,
        project: "core".to_owned(),
        environment: job.map(|_| "Production".to_owned()),
        reason: job.is_none().then(|| "it comes from a fork".to_owned()),
        state: ApprovalState::Pending,
        reviewers: vec!["alice".to_owned(), "bob".to_owned()],
        due: job.map(|_| at(90)),
        created_at: at(5),
        decided_at: None,
        decided_by: None,
        comment: None,
    }
}

fn decision(run: u64, job: Option<u64>, state: ApprovalState) -> Op {
    Op::DecideApproval(Box::new(ApprovalDecision {
        run: RunId(run),
        job: job.map(JobId),
        state,
        at: at(9),
        by: "alice (token:3)".to_owned(),
        comment: Some("fine".to_owned()),
    }))
}

async fn with_data_key(store: &dyn Store) {
    store.add_data_keys(vec![data_key(3)]).await.expect(WORKS);
}

/// `default` is there from the beginning; another comes with the first thing in it, or by itself.
pub async fn projects_are_known_from_first_use(h: &dyn Harness) {
    let store = h.fresh().await;
    assert_eq!(store.projects().await.expect(WORKS), ["default"]);
    store.ensure_project("zoo", at(1)).await.expect(WORKS);
    store.ensure_project("zoo", at(2)).await.expect(WORKS);
    store.set_variable(variable(project("core"), "A", "1"), 10).await.expect(WORKS);
    store.set_variable(variable(Scope::Global, "A", "1"), 10).await.expect(WORKS);
    assert!(store.create_environment(environment_row("deep", "x")).await.expect(WORKS));
    assert_eq!(store.projects().await.expect(WORKS), ["core", "deep", "default", "zoo"]);
}

/// Only fingerprint and sealed bytes change; all rows of a call or none.
pub async fn data_keys_are_wrapped_again(h: &dyn Harness) {
    let store = h.fresh().await;
    store.add_data_keys(vec![data_key(3), data_key(u64::MAX >> 1)]).await.expect(WORKS);
    assert!(store.add_data_keys(vec![data_key(4), data_key(3)]).await.is_err(), "an id is used once");
    assert_eq!(store.data_keys().await.expect(WORKS), [data_key(3), data_key(u64::MAX >> 1)]);
    store.wrap_data_keys(vec![WrappedKey { id: 3, master: [8; 8], sealed: vec![9] }]).await.expect(WORKS);
    let first = store.data_keys().await.expect(WORKS).remove(0);
    assert_eq!(first, DataKeyRow { master: [8; 8], sealed: vec![9], ..data_key(3) });
}

/// Equal names in several scopes are several secrets; environments do not care about case.
pub async fn secrets_belong_to_their_scope(h: &dyn Harness) {
    let store = h.fresh().await;
    with_data_key(&*store).await;
    let env = environment("core", "Production");
    assert_eq!(
        store.set_secret(secret(env.clone(), "A", b"0"), 10).await.expect(WORKS),
        Stored::NoEnvironment
    );
    store.create_environment(environment_row("core", "production")).await.expect(WORKS);
    for (scope, bytes) in [(Scope::Global, b"1"), (project("core"), b"2"), (env.clone(), b"3")] {
        assert_eq!(store.set_secret(secret(scope, "A", bytes), 10).await.expect(WORKS), Stored::Created);
    }
    let again = secret(environment("core", "PRODUCTION"), "A", b"4");
    assert_eq!(store.set_secret(again.clone(), 10).await.expect(WORKS), Stored::Replaced);
    assert_eq!(store.secrets(Some(&env)).await.expect(WORKS), [again]);
    assert_eq!(
        store.secrets(Some(&project("core"))).await.expect(WORKS),
        [secret(project("core"), "A", b"2")]
    );
    assert_eq!(store.secrets(Some(&project("other"))).await.expect(WORKS), []);
    assert_eq!(store.secrets(None).await.expect(WORKS).len(), 3);
    assert!(store.delete_secret(&env, "A").await.expect(WORKS));
    assert!(!store.delete_secret(&env, "A").await.expect(WORKS));
    assert_eq!(store.secrets(None).await.expect(WORKS).len(), 2);
}

/// The same for variables.
pub async fn variables_belong_to_their_scope(h: &dyn Harness) {
    let store = h.fresh().await;
    let env = environment("core", "Production");
    assert_eq!(
        store.set_variable(variable(env.clone(), "A", ""), 10).await.expect(WORKS),
        Stored::NoEnvironment
    );
    store.create_environment(environment_row("core", "production")).await.expect(WORKS);
    for scope in [Scope::Global, project("core"), env.clone()] {
        assert_eq!(store.set_variable(variable(scope, "A", "x"), 10).await.expect(WORKS), Stored::Created);
    }
    store.set_variable(variable(Scope::Global, "A", "ünï\0code"), 10).await.expect(WORKS);
    let global = store.variables(Some(&Scope::Global)).await.expect(WORKS);
    assert_eq!(global, [variable(Scope::Global, "A", "ünï\0code")]);
    assert_eq!(store.variables(None).await.expect(WORKS).len(), 3);
    assert!(store.delete_variable(&Scope::Global, "A").await.expect(WORKS));
    assert!(!store.delete_variable(&Scope::Global, "A").await.expect(WORKS));
}

/// One more than the limit is refused; a change of one that is there is not.
pub async fn a_scope_is_bounded(h: &dyn Harness) {
    let store = h.fresh().await;
    with_data_key(&*store).await;
    for name in ["A", "B"] {
        assert_eq!(
            store.set_secret(secret(Scope::Global, name, b"1"), 2).await.expect(WORKS),
            Stored::Created
        );
    }
    assert_eq!(store.set_secret(secret(Scope::Global, "C", b"1"), 2).await.expect(WORKS), Stored::Full);
    assert_eq!(store.set_secret(secret(Scope::Global, "B", b"2"), 2).await.expect(WORKS), Stored::Replaced);
    assert_eq!(store.set_secret(secret(project("p"), "C", b"1"), 2).await.expect(WORKS), Stored::Created);
    assert_eq!(store.secrets(Some(&Scope::Global)).await.expect(WORKS).len(), 2);
}

/// A name is there once; deletion takes secrets and variables along.
pub async fn environments_are_told_apart_without_case(h: &dyn Harness) {
    let store = h.fresh().await;
    with_data_key(&*store).await;
    let row = environment_row("core", "Production");
    assert!(store.create_environment(row.clone()).await.expect(WORKS));
    assert!(!store.create_environment(environment_row("core", "production")).await.expect(WORKS));
    assert!(store.create_environment(environment_row("other", "production")).await.expect(WORKS));
    assert_eq!(store.environments(Some("core")).await.expect(WORKS), std::slice::from_ref(&row));
    assert_eq!(store.environments(None).await.expect(WORKS).len(), 2);
    let changed = EnvironmentRow { rules: EnvironmentRules::default(), updated_at: at(7), ..row };
    let lower = EnvironmentRow { name: "production".to_owned(), ..changed.clone() };
    assert!(store.update_environment(lower).await.expect(WORKS));
    assert_eq!(store.environments(Some("core")).await.expect(WORKS), [changed]);
    assert!(!store.update_environment(environment_row("core", "staging")).await.expect(WORKS));
    let (core, other) = (environment("core", "production"), environment("other", "production"));
    for scope in [&core, &other] {
        store.set_secret(secret(scope.clone(), "A", b"1"), 9).await.expect(WORKS);
        store.set_variable(variable(scope.clone(), "A", "1"), 9).await.expect(WORKS);
    }
    assert!(store.delete_environment("core", "PRODUCTION").await.expect(WORKS));
    assert!(!store.delete_environment("core", "production").await.expect(WORKS));
    assert_eq!(store.secrets(Some(&core)).await.expect(WORKS), []);
    assert_eq!(store.variables(Some(&core)).await.expect(WORKS), []);
    assert_eq!(store.secrets(Some(&other)).await.expect(WORKS).len(), 1);
}

/// The same attempt and name again is no second use; old uses are forgotten in bounded steps.
pub async fn uses_are_logged_once(h: &dyn Harness) {
    let store = h.fresh().await;
    let attempt = |epoch| AttemptRef { job: JobId(10), attempt: 1, epoch: Epoch(epoch) };
    let used =
        |names: &[&str]| names.iter().map(|n| ("project".to_owned(), (*n).to_owned())).collect::<Vec<_>>();
    for names in [&["A"][..], &["A", "B"]] {
        let uses = store.record_secret_uses(attempt(100), RunId(1), "core", Some("prod"), used(names), at(1));
        uses.await.expect(WORKS);
    }
    store.record_secret_uses(attempt(101), RunId(1), "zoo", None, used(&["A"]), at(5)).await.expect(WORKS);
    let all = store.secret_uses(None, None, None, 10).await.expect(WORKS);
    let short: Vec<_> = all.iter().map(|u| (u.name.as_str(), u.project.as_str(), u.at)).collect();
    assert_eq!(short, [("A", "zoo", at(5)), ("B", "core", at(1)), ("A", "core", at(1))]);
    assert_eq!((all[1].run, all[1].job, all[1].attempt), (RunId(1), JobId(10), 1));
    assert_eq!((all[1].scope.as_str(), all[1].environment.as_deref()), ("project", Some("prod")));
    assert_eq!(store.secret_uses(Some("core"), Some("A"), None, 10).await.expect(WORKS).len(), 1);
    assert_eq!(store.secret_uses(None, None, Some(all[0].id), 1).await.expect(WORKS), all[1..2]);
    assert_eq!(store.forget_secret_uses(at(5), 1).await.expect(WORKS), 1);
    assert_eq!(store.forget_secret_uses(at(5), 9).await.expect(WORKS), 1);
    assert_eq!(store.secret_uses(None, None, None, 10).await.expect(WORKS), all[..1]);
}

/// A run and each of its jobs are held at most once, and decided once.
pub async fn approvals_are_decided_once(h: &dyn Harness) {
    let store = h.fresh().await;
    done(&*store, create(1, &[10])).await;
    for job in [None, Some(10)] {
        done(&*store, Op::HoldForApproval(Box::new(held(1, job)))).await;
        let again = store.apply(vec![Op::HoldForApproval(Box::new(held(1, job)))]).await.expect(WORKS);
        assert!(matches!(again[0], Err(OpError::Conflict(_))), "{again:?}");
    }
    let open = store.open_approvals().await.expect(WORKS);
    assert_eq!(open.len(), 2);
    assert_eq!(open[0], ApprovalRow { id: open[0].id, ..held(1, None) });
    let name = open[1].job_name.clone();
    assert!(name.is_some(), "the name comes with the job");
    assert_eq!(open[1], ApprovalRow { id: open[1].id, job_name: name, ..held(1, Some(10)) });
    done(&*store, decision(1, Some(10), ApprovalState::Approved)).await;
    let row = store.approval(RunId(1), Some(JobId(10))).await.expect(WORKS).expect("it is there");
    assert_eq!((row.state, row.decided_at), (ApprovalState::Approved, Some(at(9))));
    assert_eq!((row.decided_by.as_deref(), row.comment.as_deref()), (Some("alice (token:3)"), Some("fine")));
    let ops = vec![
        decision(1, Some(10), ApprovalState::Rejected),
        decision(1, Some(99), ApprovalState::Rejected),
        decision(1, None, ApprovalState::Rejected),
    ];
    let answers = store.apply(ops).await.expect(WORKS);
    assert!(matches!(answers[0], Err(OpError::Conflict(_))), "{answers:?}");
    assert!(matches!(answers[1], Err(OpError::Missing(_))), "{answers:?}");
    let run = store.approval(RunId(1), None).await.expect(WORKS).expect("it is there");
    assert_eq!(run.state, ApprovalState::Rejected);
}

/// Nothing is held that does not exist; a deleted run leaves nothing; a completed one is not open.
pub async fn approvals_go_with_their_run(h: &dyn Harness) {
    let store = h.fresh().await;
    let stray = store.apply(vec![Op::HoldForApproval(Box::new(held(1, None)))]).await.expect(WORKS);
    assert!(stray[0].is_err(), "{stray:?}");
    done(&*store, create(1, &[10])).await;
    done(&*store, Op::HoldForApproval(Box::new(held(1, Some(10))))).await;
    let twice =
        store.apply(vec![create(1, &[11]), Op::HoldForApproval(Box::new(held(1, None)))]).await.expect(WORKS);
    assert!(matches!(twice[1], Err(OpError::Failed(_))), "it builds on the create: {twice:?}");
    done(&*store, complete(10, Conclusion::Success)).await;
    done(&*store, complete_run(1)).await;
    assert_eq!(store.open_approvals().await.expect(WORKS), []);
    assert_eq!(store.approvals(&ApprovalFilter::default(), None, 9).await.expect(WORKS).len(), 1);
    done(&*store, Op::DeleteRun(RunId(1))).await;
    assert_eq!(store.approvals(&ApprovalFilter::default(), None, 9).await.expect(WORKS), []);
}

/// State, run and project filter; pages go on below the cursor.
pub async fn approvals_by_filter(h: &dyn Harness) {
    let store = h.fresh().await;
    for run in 1..=3 {
        done(&*store, create(run, &[run * 10])).await;
        done(&*store, Op::HoldForApproval(Box::new(held(run, None)))).await;
    }
    done(&*store, decision(2, None, ApprovalState::Approved)).await;
    let list = async |filter: ApprovalFilter, cursor| {
        let rows = store.approvals(&filter, cursor, 2).await.expect(WORKS);
        rows.into_iter().map(|a| (a.run.0, a.id)).unzip::<_, _, Vec<_>, Vec<_>>()
    };
    let pending = || ApprovalFilter { state: Some(ApprovalState::Pending), ..ApprovalFilter::default() };
    assert_eq!(list(pending(), None).await.0, [3, 1]);
    let (first, ids) = list(ApprovalFilter::default(), None).await;
    assert_eq!(first, [3, 2]);
    assert_eq!(list(ApprovalFilter::default(), ids.last().copied()).await.0, [1]);
    assert_eq!(list(ApprovalFilter { run: Some(RunId(2)), ..ApprovalFilter::default() }, None).await.0, [2]);
    let none = ApprovalFilter { project: Some("other".to_owned()), ..ApprovalFilter::default() };
    assert!(list(none, None).await.0.is_empty());
}
