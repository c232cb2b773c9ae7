//! Stored secrets and variables: precedence, trust, the access log, rotation,
//! and that no value is anywhere but where it must be.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use fleetfoot_control::Principal;
use fleetfoot_model::Code;
use fleetfoot_model::api::{CreateRun, CreateToken, Rerun, TokenKind};
use fleetfoot_model::projects::{CreateEnvironment, MAX_VALUE, Scope, SetValue};
use fleetfoot_model::state::Conclusion;
use indexmap::IndexMap;
use std::path::Path;
use support::{ADMIN, Bench};

const DEPLOY: &str = "
on: push
jobs:
  build:
    runs-on: linux
    steps:
      - run: echo ${{ secrets.A }} ${{ secrets.B }} ${{ secrets.C }} ${{ vars.A }}
  deploy:
    needs: build
    runs-on: linux
    environment: Production
    steps:
      - run: echo ${{ secrets.a }} ${{ secrets.B }} ${{ secrets.C }} ${{ secrets.D }}
";

fn project(name: &str) -> Scope {
    Scope::Project(name.to_owned())
}

fn environment(project: &str, environment: &str) -> Scope {
    Scope::Environment { project: project.to_owned(), environment: environment.to_owned() }
}

fn value(text: &str) -> SetValue {
    SetValue { value: text.to_owned() }
}

fn map(pairs: &[(&str, &str)]) -> IndexMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn request(document: &str) -> CreateRun {
    CreateRun {
        kind: "workflow".to_owned(),
        document: document.to_owned(),
        project: Some("web".to_owned()),
        ..CreateRun::default()
    }
}

impl Bench {
    async fn secret(&self, scope: &Scope, name: &str, text: &str) {
        self.control.set_secret(&ADMIN, scope.clone(), name, value(text)).await.unwrap();
    }

    async fn variable(&self, scope: &Scope, name: &str, text: &str) {
        self.control.set_variable(&ADMIN, scope.clone(), name, value(text)).await.unwrap();
    }

    async fn environment(&self, project: &str, name: &str) {
        let new = CreateEnvironment {
            project: project.to_owned(),
            name: name.to_owned(),
            ..CreateEnvironment::default()
        };
        self.control.create_environment(&ADMIN, new).await.unwrap();
    }

    async fn principal(&self, kind: TokenKind) -> Principal {
        let request = CreateToken {
            kind,
            name: String::new(),
            expires_in_seconds: None,
            max_uses: None,
            labels: Vec::new(),
            queue: None,
        };
        let token = self.control.create_token(&ADMIN, request).await.unwrap().token;
        self.control.authenticate(&token).await.unwrap()
    }
}

/// Whether these bytes are in any file below.
fn found(dir: &Path, needle: &str) -> bool {
    std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).any(|path| {
        if path.is_dir() {
            return found(&path, needle);
        }
        std::fs::read(&path).unwrap().windows(needle.len()).any(|w| w == needle.as_bytes())
    })
}

#[tokio::test]
async fn the_narrower_scope_wins_and_the_run_wins_over_all() {
    let bench = Bench::new().await;
    bench.environment("web", "production").await;
    bench.environment("other", "production").await;
    let scopes =
        [Scope::Global, project("web"), environment("web", "production"), environment("other", "production")];
    // A everywhere, B up to the project, C global only; all of them with the run, once.
    for (level, scope) in scopes.iter().enumerate() {
        bench.secret(scope, "a", &format!("secret-a-{level}")).await;
        bench.variable(scope, "a", &format!("var-a-{level}")).await;
    }
    for (level, scope) in scopes.iter().take(2).enumerate() {
        bench.secret(scope, "B", &format!("secret-b-{level}")).await;
        bench.variable(scope, "B", &format!("var-b-{level}")).await;
    }
    bench.secret(&Scope::Global, "C", "secret-c-0").await;
    bench.secret(&Scope::Global, "UNUSED", "secret-unused").await;
    let created = bench.create(request(DEPLOY)).await.unwrap();
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let build = runner.take().await;
    let all = [("A", "secret-a-1"), ("B", "secret-b-1"), ("C", "secret-c-0")];
    assert_eq!(build.secrets, map(&all), "only what is mentioned");
    assert_eq!(build.contexts["vars"]["A"], "var-a-1");
    assert_eq!(build.contexts["vars"]["B"], "var-b-1");
    runner.finish(build.attempt, Conclusion::Success).await;
    let deploy = runner.take().await;
    assert_eq!(deploy.secrets["A"], "secret-a-2");
    assert_eq!(deploy.secrets["B"], "secret-b-1");
    assert_eq!(deploy.secrets.get("D"), None);
    assert_eq!(deploy.contexts["vars"]["A"], "var-a-2");
    assert_eq!(deploy.contexts["vars"]["B"], "var-b-1");
    runner.finish(deploy.attempt, Conclusion::Success).await;

    let own = CreateRun {
        secrets: map(&[("A", "own-secret"), ("EXTRA", "own-extra")]),
        vars: map(&[("a", "own-var")]),
        ..request(DEPLOY)
    };
    let second = bench.create(own).await.unwrap();
    let build = runner.take().await;
    assert_eq!((&*build.secrets["A"], &*build.secrets["EXTRA"]), ("own-secret", "own-extra"));
    assert_eq!(build.contexts["vars"]["A"], "own-var");
    runner.finish(build.attempt, Conclusion::Success).await;
    let deploy = runner.take().await;
    assert_eq!(deploy.secrets["A"], "own-secret");
    assert_eq!(deploy.contexts["vars"]["A"], "own-var", "also over the environment's");
    runner.finish(deploy.attempt, Conclusion::Success).await;

    // A re-run keeps what was the run's own, and takes the rest as it is now.
    bench.variable(&project("web"), "B", "newer").await;
    bench.control.rerun(&ADMIN, second.run, Rerun::default()).await.unwrap();
    let build = runner.take().await;
    assert_eq!(build.contexts["vars"]["A"], "own-var");
    assert_eq!(build.contexts["vars"]["B"], "newer");

    // Everything that left is in the log, once, and nothing else.
    let uses = bench.control.secret_uses(&ADMIN, None, None, None, 100).await.unwrap().items;
    let first: Vec<(&str, &str, Option<&str>)> = uses
        .iter()
        .rev()
        .filter(|u| u.run == created.run)
        .map(|u| (u.name.as_str(), u.scope.as_str(), u.environment.as_deref()))
        .collect();
    let production = Some("Production");
    assert_eq!(
        first,
        [
            ("A", "project", None),
            ("B", "project", None),
            ("C", "global", None),
            ("A", "environment", production),
            ("B", "project", production),
            ("C", "global", production),
        ]
    );
    assert!(uses.iter().any(|u| u.run == second.run && u.name == "EXTRA" && u.scope == "run"));
    assert!(!uses.iter().any(|u| u.name == "UNUSED"));
}

#[tokio::test]
async fn a_run_that_nobody_trusts_gets_no_stored_secret() {
    let bench = Bench::new().await;
    bench.secret(&Scope::Global, "A", "secret-a").await;
    bench.variable(&Scope::Global, "A", "var-a").await;
    let created = bench.control.create_run_for(&ADMIN, request(DEPLOY), true, None).await.unwrap();
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let build = runner.take().await;
    assert_eq!(build.secrets, map(&[]));
    assert_eq!(build.contexts["vars"]["A"], "var-a");
    runner.finish(build.attempt, Conclusion::Failure).await;
    bench.ended(created.run).await;
    // Repeated by somebody who may, it is as little trusted.
    let again = bench.control.rerun(&ADMIN, created.run, Rerun::default()).await.unwrap();
    let build = runner.take().await;
    assert_eq!((build.run, build.secrets), (again.run, map(&[])));
    assert_eq!(bench.control.secret_uses(&ADMIN, None, None, None, 9).await.unwrap().items, []);
}

#[tokio::test]
async fn a_value_is_nowhere_but_at_the_runner() {
    const VALUE: &str = "correct-horse-battery-staple";
    let bench = Bench::new().await;
    bench.secret(&project("web"), "A", VALUE).await;
    bench.secret(&project("web"), "A", &format!("{VALUE}-2")).await;
    let own = CreateRun { secrets: map(&[("B", &format!("{VALUE}-3"))]), ..request(DEPLOY) };
    bench.create(own).await.unwrap();
    let mut runner = bench.runner("r", &["linux"], 1).await;
    let build = runner.take().await;
    assert_eq!(build.secrets["A"], format!("{VALUE}-2"));
    let listed = bench.control.secrets(&ADMIN, &project("web")).await.unwrap();
    assert_eq!((listed.len(), &*listed[0].name, &*listed[0].updated_by), (1, "A", "system"));
    let audit = bench.control.audit(&ADMIN, None, 100).await.unwrap();
    assert!(audit.items.iter().any(|e| e.action == "secret.set" && e.subject == "secret:A"));
    let uses = bench.control.secret_uses(&ADMIN, None, None, None, 9).await.unwrap();
    assert!(!serde_json::to_string(&(listed, audit, uses)).unwrap().contains(VALUE));
    let refused = bench.control.set_secret(&ADMIN, project("web"), "1A", value(VALUE)).await.unwrap_err();
    assert!(!format!("{refused:?}").contains(VALUE));
    assert!(!found(bench.dir.path(), VALUE), "a value is on the disk in clear");
    bench.control.shut_down().await;
    assert!(!found(bench.dir.path(), VALUE), "a value is on the disk in clear");
}

#[tokio::test]
async fn bad_names_values_and_callers_are_refused() {
    let bench = Bench::new().await;
    let member = bench.principal(TokenKind::Member).await;
    let reader = bench.principal(TokenKind::ReadOnly).await;
    bench.environment("web", "production").await;
    let set = async |who: &Principal, scope: Scope, name: &str, text: &str| {
        let done = bench.control.set_secret(who, scope, name, value(text)).await;
        done.err().map(|p| p.code)
    };
    for name in ["", "1A", "A-B", "GITHUB_TOKEN", "github_x"] {
        assert_eq!(set(&ADMIN, Scope::Global, name, "x").await, Some(Code::BadRequest), "{name}");
    }
    assert_eq!(set(&ADMIN, Scope::Global, "A", "").await, Some(Code::BadRequest));
    assert_eq!(set(&ADMIN, Scope::Global, "A", &"x".repeat(MAX_VALUE)).await, None);
    assert_eq!(set(&ADMIN, Scope::Global, "A", &"x".repeat(MAX_VALUE + 1)).await, Some(Code::TooLarge));
    assert_eq!(set(&ADMIN, environment("web", "staging"), "A", "x").await, Some(Code::NotFound));
    assert_eq!(set(&ADMIN, project(""), "A", "x").await, Some(Code::BadRequest));
    assert_eq!(set(&member, project("web"), "A", "x").await, None);
    assert_eq!(set(&member, Scope::Global, "A", "x").await, Some(Code::Forbidden));
    assert_eq!(set(&member, environment("web", "production"), "A", "x").await, Some(Code::Forbidden));
    assert_eq!(set(&reader, project("web"), "A", "x").await, Some(Code::Forbidden));
    let delete = bench.control.delete_secret(&member, &Scope::Global, "A").await.unwrap_err();
    assert_eq!(delete.code, Code::Forbidden);
    assert_eq!(bench.control.secrets(&reader, &project("web")).await.unwrap_err().code, Code::Forbidden);
    bench.control.delete_secret(&member, &project("web"), "a").await.unwrap();
    let gone = bench.control.delete_secret(&member, &project("web"), "a").await.unwrap_err();
    assert_eq!(gone.code, Code::NotFound);
    let rotate = bench.control.rotate_key(&member).await.unwrap_err();
    assert_eq!(rotate.code, Code::Forbidden);
}

#[tokio::test]
async fn rotation_keeps_everything_readable() {
    let mut bench = Bench::new().await;
    bench.secret(&project("web"), "A", "before").await;
    let own = CreateRun { secrets: map(&[("B", "of-the-run")]), ..request(DEPLOY) };
    bench.create(own.clone()).await.unwrap();
    let mut runner = bench.runner("r", &["linux"], 2).await;
    let first = runner.take().await;
    let key = std::fs::read(bench.dir.path().join("secret.key")).unwrap();
    bench.create(own).await.unwrap();
    let done = bench.control.rotate_key(&ADMIN).await.unwrap();
    assert!(done.data_keys >= 3, "{done:?}");
    assert_ne!(std::fs::read(bench.dir.path().join("secret.key")).unwrap(), key);
    assert!(bench.control.authenticate(&first.job_token).await.is_ok(), "a job keeps its token");
    bench.secret(&project("web"), "C", "after").await;
    bench.secret(&project("new"), "C", "other").await;
    bench = bench.restart(&mut runner).await;
    assert!(bench.control.authenticate(&first.job_token).await.is_ok(), "also over a restart");
    let second = runner.take().await;
    let expected = [("A", "before"), ("B", "of-the-run"), ("C", "after")];
    let sorted: std::collections::BTreeMap<_, _> = second.secrets.into_iter().collect();
    let expected: std::collections::BTreeMap<_, _> = map(&expected).into_iter().collect();
    assert_eq!(sorted, expected);
    let again = bench.control.rotate_key(&ADMIN).await.unwrap();
    assert_ne!(again.master_key, done.master_key);
    let audit = bench.control.audit(&ADMIN, None, 9).await.unwrap();
    assert_eq!(audit.items[0].action, "secret.rotate_key");
}

#[tokio::test]
async fn a_row_moved_in_the_database_is_not_opened() {
    let bench = Bench::new().await;
    bench.secret(&project("web"), "OTHER", "for-somebody-else").await;
    let db = rusqlite::Connection::open(bench.dir.path().join("fleetfoot.db")).unwrap();
    db.execute("UPDATE secrets SET name = 'A' WHERE name = 'OTHER'", []).unwrap();
    drop(db);
    let created = bench.create(request(DEPLOY)).await.unwrap();
    let mut runner = bench.runner("r", &["linux"], 1).await;
    assert_eq!(runner.sync(0).await.assignments, [], "a lease without its secrets is not given out");
    let ended = bench.ended(created.run).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Failure));
    let job = bench.job(created.jobs[0].id).await;
    let message = job.message.unwrap_or_default();
    assert!(message.contains("secret A") && message.contains("set it again"), "{message}");
    bench.create(request(DEPLOY)).await.unwrap();
    bench.secret(&project("web"), "A", "right").await;
    assert_eq!(runner.take().await.secrets, map(&[("A", "right")]));
}
