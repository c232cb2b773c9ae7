//! Repositories that start runs, end to end: a forge that signs its webhooks,
//! a server with a runner, and commits that show the result.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use fleetfoot_model::repos::ForgeKind;
use fleetfoot_testkit::{FORGE_TOKEN, FakeForge, Finished, MAINTAINER, STRANGER, TestServer, wait_until};
use serde_json::{Value, json};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_fleetfoot");
const LONG: Duration = Duration::from_secs(40);
const CI: &str = ".github/workflows/ci.yml";

/// A workflow with these triggers that says whether it was given the shared token or the job's own.
fn workflow(on: &str) -> String {
    format!(
        "name: CI\non:\n{on}\njobs:\n  build:\n    runs-on: ubuntu-latest\n    steps:\n      - env:\n          GIVEN: ${{{{ secrets.GITHUB_TOKEN }}}}\n        run: test ${{#GIVEN}} -eq {} && echo shared || echo own\n",
        FORGE_TOKEN.len()
    )
}

struct Stage {
    forge: FakeForge,
    id: u64,
    secret: String,
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Stage {
    /// A forge that the server knows, with these arguments of `repo add` beside the usual ones.
    fn new(server: &TestServer, kind: ForgeKind, on: &str, further: &[&str]) -> Self {
        Self::with_token(server, kind, on, further, FORGE_TOKEN)
    }

    fn with_token(
        server: &TestServer,
        kind: ForgeKind,
        on: &str,
        further: &[&str],
        token_text: &str,
    ) -> Self {
        let forge = FakeForge::new(kind);
        forge.work().write(CI, &workflow(on));
        forge.push("refs/heads/main", "begin");
        let token = forge.dir().join("token");
        std::fs::write(&token, format!("{token_text}\n")).unwrap();
        let (url, api, token) = (forge.clone_url(), forge.api_url(), token.display().to_string());
        let mut args =
            vec!["repo", "add", &url, "--forge", kind.as_str(), "--api-url", &api, "--token-file", &token];
        args.extend(["--name", "acme/app", "--output", "json"]);
        args.extend(further);
        let added = server.cli().run(&args);
        assert_eq!(added.code, 0, "{added:?}");
        let added = added.json();
        let stage = Self {
            id: added["repository"]["id"].as_u64().unwrap(),
            secret: added["webhook_secret"].as_str().unwrap().to_owned(),
            forge,
            http: reqwest::Client::new(),
            runtime: tokio::runtime::Runtime::new().unwrap(),
        };
        // The first look at the default branch ends before anything is counted.
        wait_until("the first look", LONG, || {
            stage.deliveries(server).iter().all(|d| d["outcome"] != "queued").then_some(())
        });
        stage
    }

    fn post(&self, server: &TestServer, headers: &[(String, String)], body: &[u8]) -> (u16, Value) {
        let mut request = self.http.post(format!("{}/hooks/{}", server.url(), self.id)).body(body.to_vec());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        self.runtime.block_on(async {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.json().await.unwrap())
        })
    }

    /// Delivers an event as the forge would; answers the number of the delivery.
    fn deliver(&self, server: &TestServer, (event, payload): &(String, Value)) -> u64 {
        let body = payload.to_string();
        let (status, answer) =
            self.post(server, &self.forge.headers(event, body.as_bytes(), &self.secret), body.as_bytes());
        assert_eq!(status, 202, "{answer}");
        answer["delivery"].as_u64().unwrap()
    }

    /// Commits, pushes, and tells the server.
    fn push(&self, server: &TestServer, file: &str, message: &str) -> (String, u64) {
        let before = self.forge.work().git(&["rev-parse", "HEAD"]);
        self.forge.work().write(file, message);
        let after = self.forge.push("refs/heads/main", message);
        let event = self.forge.push_event("refs/heads/main", Some(&before), &after);
        (after, self.deliver(server, &event))
    }

    fn deliveries(&self, server: &TestServer) -> Vec<Value> {
        let listed = server.cli().run(&["repo", "deliveries", &self.id.to_string(), "--output", "json"]);
        listed.json()["items"].as_array().unwrap().clone()
    }

    fn delivery(&self, server: &TestServer, id: u64) -> Option<Value> {
        self.deliveries(server).into_iter().find(|d| d["id"] == id)
    }

    /// A delivery that is not queued any more.
    fn outcome(&self, server: &TestServer, id: u64) -> Value {
        wait_until(&format!("delivery {id} to end"), LONG, || {
            self.delivery(server, id).filter(|d| d["outcome"] != "queued")
        })
    }

    fn states(&self, sha: &str, context: &str) -> Vec<String> {
        self.forge.states_of(sha, context)
    }

    /// Waits until a status is this one.
    fn shows(&self, sha: &str, context: &str, state: &str) {
        wait_until(&format!("{context} of {sha} to be {state}: {:?}", self.forge.statuses()), LONG, || {
            self.states(sha, context).last().filter(|s| *s == state).map(|_| ())
        });
    }
}

fn runs(server: &TestServer) -> Vec<Value> {
    server.cli().run(&["list", "--output", "json"]).json()["items"].as_array().unwrap().clone()
}

/// The log of the only job of a run that is over.
fn log_of(server: &TestServer, run: &Value) -> String {
    let cli = server.cli();
    let shown: Finished = cli.run(&["watch", &run.to_string()]);
    assert!(shown.code <= 1, "{shown:?}");
    let shown = cli.run(&["show", &run.to_string(), "--output", "json"]).json();
    cli.run(&["logs", &shown["jobs"][0]["id"].to_string()]).stdout
}

#[test]
fn a_push_at_every_forge_runs_and_its_commit_shows_it() {
    let server = TestServer::up(BINARY, &["--slots", "2"]);
    for kind in ForgeKind::ALL {
        let stage = Stage::new(&server, kind, "  push:\n  pull_request:", &["--share-token"]);
        let hooks: Vec<_> = stage.forge.seen().into_iter().filter(|s| s.line.ends_with("/hooks")).collect();
        assert_eq!(hooks.len(), 1, "the webhook is created at the forge");
        assert!(hooks[0].body.to_string().contains(&stage.secret));
        let (sha, delivery) = stage.push(&server, "a.txt", "change");
        let done = stage.outcome(&server, delivery);
        assert_eq!(done["outcome"], "started", "{done}");
        let run = &done["runs"][0];
        stage.shows(&sha, "fleetfoot / CI / build (push)", "success");
        let shown = server.cli().run(&["show", &run.to_string(), "--output", "json"]).json();
        assert_eq!((&shown["event"], &shown["actor"]), (&json!("push"), &json!(MAINTAINER.1)), "{kind}");
        assert_eq!(shown["repository"]["sha"], json!(sha));
        assert_eq!(shown["branch"], "main");
        let link = stage.forge.statuses().pop().unwrap().target_url;
        assert_eq!(link, format!("{}/runs/{run}", server.url()));
        assert!(log_of(&server, run).contains("shared"));
    }
    assert_eq!(runs(&server).len(), 4);
    let list = server.cli().run(&["repo", "list", "--output", "json"]);
    assert_eq!(list.json()["items"].as_array().unwrap().len(), 4);
    assert!(!list.stdout.contains(FORGE_TOKEN), "tokens are never shown");
}

#[test]
fn webhooks_that_do_not_count_have_their_own_refusals() {
    let server = TestServer::server(BINARY, &[]);
    let stage = Stage::new(&server, ForgeKind::Github, "  push:", &[]);
    let sha = stage.forge.work().git(&["rev-parse", "HEAD"]);
    let (event, payload) = stage.forge.push_event("refs/heads/main", None, &sha);
    let body = payload.to_string().into_bytes();
    let good = stage.forge.headers(&event, &body, &stage.secret);
    let code = |headers: &[(String, String)], body: &[u8]| {
        let (status, answer) = stage.post(&server, headers, body);
        (status, answer["code"].as_str().unwrap_or_default().to_owned())
    };
    let refused = |status, code: &str| (status, code.to_owned());
    let wrong = stage.forge.headers(&event, &body, "another secret");
    assert_eq!(code(&wrong, &body), refused(401, "bad_signature"));
    let unsigned: Vec<_> = good.iter().filter(|(n, _)| !n.contains("signature")).cloned().collect();
    assert_eq!(code(&unsigned, &body), refused(401, "bad_signature"));
    let mut bent = body.clone();
    bent.push(b' ');
    assert_eq!(code(&good, &bent), refused(401, "bad_signature"));

    let (status, first) = stage.post(&server, &good, &body);
    assert_eq!((status, &first["duplicate"]), (202, &json!(false)));
    let (status, again) = stage.post(&server, &good, &body);
    assert_eq!((status, &again["duplicate"], &again["delivery"]), (202, &json!(true), &first["delivery"]));
    let renamed = stage.forge.headers(&event, &body, &stage.secret);
    assert_eq!(code(&renamed, &body), refused(409, "replayed_delivery"));

    let mut old = payload;
    old["repository"]["pushed_at"] = json!(1_600_000_000);
    let old = old.to_string().into_bytes();
    assert_eq!(
        code(&stage.forge.headers(&event, &old, &stage.secret), &old),
        refused(401, "expired_delivery")
    );
    let not_json = b"{".to_vec();
    assert_eq!(
        code(&stage.forge.headers(&event, &not_json, &stage.secret), &not_json),
        refused(400, "bad_request")
    );

    let large = vec![b' '; (25 << 20) + 1];
    assert_eq!(code(&good, &large), refused(413, "too_large"));

    let done = stage.outcome(&server, first["delivery"].as_u64().unwrap());
    assert_eq!(done["runs"].as_array().unwrap().len(), 1, "{done}");
    assert_eq!(runs(&server).len(), 1);
    // Whoever wants it again says so.
    let (id, delivery) = (stage.id.to_string(), first["delivery"].to_string());
    let again = server.cli().run(&["repo", "redeliver", &id, &delivery, "--output", "json"]);
    assert_eq!(again.code, 0, "{again:?}");
    stage.outcome(&server, again.json()["id"].as_u64().unwrap());
    assert_eq!(runs(&server).len(), 2);
    let nobody = stage.runtime.block_on(async {
        stage.http.post(format!("{}/hooks/999", server.url())).body("{}").send().await.unwrap().status()
    });
    assert_eq!(nobody, 404);
}

#[test]
fn filters_decide_and_say_why() {
    let server = TestServer::server(BINARY, &[]);
    let on = "  push:\n    branches: [main]\n    tags: ['v*']\n    paths: ['src/**']";
    let stage = Stage::new(&server, ForgeKind::Gitea, on, &[]);
    let (_, docs) = stage.push(&server, "docs/a.md", "docs");
    let done = stage.outcome(&server, docs);
    assert_eq!(done["outcome"], "ignored");
    assert_eq!(
        done["notes"][0],
        ".github/workflows/ci.yml: the changed file 'docs/a.md' does not pass the filter of paths"
    );
    let (_, src) = stage.push(&server, "src/a.rs", "source");
    assert_eq!(stage.outcome(&server, src)["outcome"], "started");
    let (_, skipped) = stage.push(&server, "src/b.rs", "source [skip ci]");
    assert_eq!(stage.outcome(&server, skipped)["notes"][0], "push: the commit message asks for no runs");
    // A new branch, and a tag whose paths do not count.
    let sha = stage.forge.work().git(&["rev-parse", "HEAD~1"]);
    for (git_ref, outcome) in
        [("refs/heads/topic", "ignored"), ("refs/tags/v1", "started"), ("refs/tags/x", "ignored")]
    {
        stage.forge.work().git(&["push", "--quiet", "origin", &format!("{sha}:{git_ref}")]);
        let delivery = stage.deliver(&server, &stage.forge.push_event(git_ref, None, &sha));
        assert_eq!(stage.outcome(&server, delivery)["outcome"], outcome, "{git_ref}");
    }
    // A workflow that cannot be used shows at the commit.
    let broken = ".github/workflows/broken.yml";
    let before = stage.forge.work().git(&["rev-parse", "HEAD"]);
    stage.forge.work().write(broken, "on: push\njobs: 3\n");
    let sha = stage.forge.push("refs/heads/main", "break");
    stage.deliver(&server, &stage.forge.push_event("refs/heads/main", Some(&before), &sha));
    stage.shows(&sha, &format!("fleetfoot / {broken} (push)"), "error");
}

#[test]
fn pull_requests_of_forks_get_no_token() {
    let server = TestServer::up(BINARY, &["--slots", "2"]);
    for kind in [ForgeKind::Github, ForgeKind::Gitlab] {
        let further = ["--share-token", "--fork-approval", "never"];
        let stage = Stage::new(&server, kind, "  pull_request:\n  pull_request_target:", &further);
        let work = stage.forge.work();
        let base = work.git(&["rev-parse", "HEAD"]);
        // The fork changes the workflow too: its base's stays what it was.
        work.write(
            CI,
            &workflow("  pull_request:\n  pull_request_target:").replace("name: CI", "name: Forked"),
        );
        let head = work.commit("topic");
        let name = if kind == ForgeKind::Gitlab { "merge-requests" } else { "pull" };
        work.git(&["push", "--quiet", "origin", &format!("{head}:refs/{name}/5/head")]);
        work.git(&["checkout", "--quiet", "--detach", &base]);
        work.git(&["merge", "--quiet", "--no-ff", "--message", "merge", &head]);
        let merge = work.git(&["rev-parse", "HEAD"]);
        work.git(&["push", "--quiet", "origin", &format!("{merge}:refs/{name}/5/merge")]);
        work.git(&["checkout", "--quiet", "main"]);
        let event = stage.forge.pull_event("opened", 5, &head, &base, STRANGER, true);
        let done = stage.outcome(&server, stage.deliver(&server, &event));
        let [code, target] = &done["runs"].as_array().unwrap()[..] else { panic!("{done}") };
        let show = |run: &Value| server.cli().run(&["show", &run.to_string(), "--output", "json"]).json();
        let (of_code, of_base) = (show(code), show(target));
        assert_eq!((&of_code["name"], &of_code["event"]), (&json!("Forked"), &json!("pull_request")));
        assert_eq!(of_code["repository"]["sha"], json!(merge), "{kind}");
        assert_eq!((&of_base["name"], &of_base["event"]), (&json!("CI"), &json!("pull_request_target")));
        assert_eq!(of_base["repository"]["sha"], json!(base), "{kind}");
        let log = log_of(&server, code);
        assert!(log.contains("own"), "a fork gets no token: {log}");
        assert!(log_of(&server, target).contains("shared"));
        // Both show at the head, which is the commit that people look at.
        stage.shows(&head, "fleetfoot / Forked / build (pull_request)", "success");
        stage.shows(&head, "fleetfoot / CI / build (pull_request_target)", "success");
        // Running it again makes it no more trusted.
        let again = server.cli().run(&["rerun", &code.to_string(), "--output", "json"]).json();
        assert!(log_of(&server, &again["run"]).contains("own"));
    }
}

#[test]
fn killed_between_webhook_and_run_there_is_exactly_one() {
    let mut server = TestServer::server(BINARY, &[]);
    let stage = Stage::new(&server, ForgeKind::Forgejo, "  push:", &[]);
    // Out of reach, so that nothing can be created before the end.
    stage.forge.hide(true);
    let sha = stage.forge.work().commit("one");
    let event = stage.forge.push_event("refs/heads/main", None, &sha);
    let delivery = stage.deliver(&server, &event);
    let tried = wait_until("a try that failed", LONG, || {
        stage.delivery(&server, delivery).filter(|d| d["tries"].as_u64() > Some(0))
    });
    assert!(tried["error"].as_str().unwrap().starts_with("the forge "), "{tried}");
    assert_eq!(tried["outcome"], "queued");
    server.kill();
    stage.forge.hide(false);
    stage.forge.work().git(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
    server.restart();
    assert_eq!(stage.outcome(&server, delivery)["outcome"], "started");
    assert_eq!(runs(&server).len(), 1);
    // And killed at whatever point comes after the answer.
    let mut expected = 1;
    for n in 0..6_u64 {
        let (_, delivery) = stage.push(&server, "n.txt", &format!("change {n}"));
        std::thread::sleep(Duration::from_millis(n * 7));
        server.kill_and_restart();
        expected += 1;
        let done = stage.outcome(&server, delivery);
        assert_eq!(done["runs"].as_array().unwrap().len(), 1, "{done}");
        assert_eq!(runs(&server).len(), expected, "after kill {n}");
    }
}

#[test]
fn reports_are_tried_again_and_shown() {
    let server = TestServer::up(BINARY, &["--slots", "1"]);
    let stage = Stage::new(&server, ForgeKind::Gitea, "  push:", &[]);
    stage.forge.fail(&[503, 503]);
    let (sha, delivery) = stage.push(&server, "a.txt", "change");
    stage.outcome(&server, delivery);
    stage.shows(&sha, "fleetfoot / CI / build (push)", "success");
    // A state that the forge will never take is given up, and said.
    stage.forge.fail(&[422, 422, 422, 422, 422]);
    let (_, delivery) = stage.push(&server, "b.txt", "another");
    stage.outcome(&server, delivery);
    let id = stage.id.to_string();
    wait_until("the failure to show", LONG, || {
        let shown = server.cli().run(&["repo", "show", &id, "--output", "json"]).json();
        let reports = shown["reports"].as_array().unwrap().clone();
        reports.into_iter().find(|r| {
            r["error"].as_str().is_some_and(|e| e.contains("answered 422: asked to fail"))
                && r["next_try"].is_null()
        })
    });
}

#[test]
fn the_token_of_an_app_makes_check_runs() {
    let server = TestServer::up(BINARY, &["--slots", "1"]);
    let token = format!("ghs_{FORGE_TOKEN}");
    let stage = Stage::with_token(&server, ForgeKind::Github, "  push:", &[], &token);
    let (sha, _) = stage.push(&server, "a.txt", "change");
    stage.shows(&sha, "check fleetfoot / CI / build (push)", "success");
    let lines: Vec<String> = stage.forge.seen().into_iter().map(|s| s.line).collect();
    assert_eq!(
        lines.iter().filter(|l| l.starts_with("POST ") && l.ends_with("/check-runs")).count(),
        1,
        "{lines:?}"
    );
    assert!(!lines.iter().any(|l| l.contains("/statuses/")), "{lines:?}");
}

#[test]
fn polling_finds_pushes_new_tags_and_the_runs_that_they_start() {
    let server = TestServer::server(BINARY, &[]);
    let stage = Stage::new(&server, ForgeKind::Gitea, "  push:\n  create:", &["--poll", "5"]);
    let id = stage.id.to_string();
    assert!(runs(&server).is_empty(), "what was there before starts nothing");
    stage.forge.work().write("a.txt", "a");
    let sha = stage.forge.push("refs/heads/main", "found");
    stage.forge.work().git(&["push", "--quiet", "origin", &format!("{sha}:refs/tags/v1")]);
    let all = wait_until("the runs", LONG, || Some(runs(&server)).filter(|r| r.len() >= 3));
    let mut events: Vec<_> = all
        .iter()
        .map(|r| format!("{} {}", r["event"].as_str().unwrap(), r["branch"].as_str().unwrap()))
        .collect();
    events.sort();
    assert_eq!(events, ["create v1", "push main", "push v1"]);
    assert!(all.iter().any(|r| r["title"] == "found"), "the message of the commit is the title");
    let shown = server.cli().run(&["repo", "update", &id, "--poll", "0", "--output", "json"]).json();
    assert_eq!(shown["poll_seconds"], Value::Null);
}

#[test]
fn runs_by_hand_by_event_and_by_the_end_of_another() {
    let server = TestServer::up(BINARY, &["--slots", "2"]);
    let on = "  workflow_dispatch:\n    inputs:\n      count: {type: number, required: true}\n  repository_dispatch: {types: [rebuild]}";
    let stage = Stage::new(&server, ForgeKind::Github, on, &[]);
    let after =
        workflow("  workflow_run: {workflows: [CI], types: [completed]}").replace("name: CI", "name: After");
    stage.forge.work().write(".github/workflows/after.yml", &after);
    let before = stage.forge.work().git(&["rev-parse", "HEAD"]);
    let sha = stage.forge.push("refs/heads/main", "after");
    let pushed = stage.deliver(&server, &stage.forge.push_event("refs/heads/main", Some(&before), &sha));
    assert_eq!(stage.outcome(&server, pushed)["outcome"], "ignored");
    let cli = server.cli();
    let wrong = cli.run(&["repo", "dispatch", "acme/app", "ci.yml", "--input", "count=many"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.stderr.contains("is not a number"), "{wrong:?}");
    let unknown = cli.run(&["repo", "dispatch", "acme/app", "none.yml"]);
    assert_eq!(unknown.code, 4, "{unknown:?}");
    assert!(unknown.stderr.contains(CI), "{unknown:?}");
    let created = cli.run(&["repo", "dispatch", "acme/app", "CI", "--input", "count=3", "--output", "json"]);
    assert_eq!(created.code, 0, "{created:?}");
    stage.shows(&sha, "fleetfoot / CI / build (workflow_dispatch)", "success");
    let has = |name: &str, event: &str| {
        runs(&server).into_iter().find(|r| r["name"] == name && r["event"] == event)
    };
    wait_until("the run after it", LONG, || has("After", "workflow_run"));
    let sent = cli.run(&["repo", "dispatch", "acme/app", "--event", "rebuild", "--payload", "{\"a\": 1}"]);
    assert_eq!(sent.code, 0, "{sent:?}");
    wait_until("the run of the event", LONG, || has("CI", "repository_dispatch"));
    let removed = cli.run(&["repo", "remove", "acme/app"]);
    assert_eq!(removed.code, 0, "{removed:?}");
    assert_eq!(cli.run(&["repo", "show", "1"]).code, 4);
}

#[test]
fn adding_says_what_is_wrong_and_what_comes_next() {
    let server = TestServer::server(BINARY, &[]);
    let cli = server.cli();
    let gone = cli.run(&["repo", "add", "http://127.0.0.1:9/acme/app.git", "--forge", "gitea"]);
    assert_eq!(gone.code, 3, "{gone:?}");
    assert!(gone.stderr.contains("the forge is out of reach"), "{gone:?}");
    let unclear = cli.run(&["repo", "add", "https://git.example.org/acme/app"]);
    assert_eq!(unclear.code, 2, "{unclear:?}");
    assert!(unclear.stderr.contains("--forge"), "{unclear:?}");
    let forge = FakeForge::new(ForgeKind::Gitea);
    forge.work().write(CI, &workflow("  push:"));
    forge.push("refs/heads/main", "begin");
    let added = cli.run(&["repo", "add", &forge.clone_url(), "--forge", "gitea", "--name", "acme/app"]);
    assert_eq!(added.code, 0, "{added:?}");
    assert!(added.stdout.contains(&format!("{}/hooks/1", server.url())), "{added:?}");
    assert!(added.stdout.contains("secret") && added.stderr.contains("next:"), "{added:?}");
    let twice = cli.run(&["repo", "add", &forge.clone_url(), "--forge", "gitea", "--name", "acme/app"]);
    assert_eq!(twice.code, 5, "{twice:?}");
}
