//! Artifacts and caches with the JavaScript clients of first-party actions, unpatched, against a real
//! server, on the services block of a real assignment. Installed by `scripts/npm-tools.sh`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking and say why they skip"
)]

use fleetfoot_model::api::CreateRun;
use fleetfoot_model::spec::Repository;
use fleetfoot_model::sync::{Assignment, JobServices};
use fleetfoot_testkit::{HoldingRunner, TestServer};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_fleetfoot");
const DOCUMENT: &str = "on: push\njobs:\n  build:\n    runs-on: held\n    steps:\n      - run: 'true'\n";

/// Where the clients are; `None` if they are not installed.
fn clients() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let dir = workspace.join("target/npm");
    if dir.join("installed.json").exists() && Command::new("node").arg("--version").output().is_ok() {
        return Some(dir);
    }
    eprintln!("skipped: no JavaScript clients in target/npm; scripts/npm-tools.sh installs them");
    None
}

/// A server, a runner that holds what it gets, and jobs on it.
struct Stage {
    server: TestServer,
    runner: HoldingRunner,
}

impl Stage {
    async fn new() -> Self {
        let server = TestServer::server(BINARY, &["--lease", "600"]);
        let runner = HoldingRunner::register(&server.client(), &["held"]).await.unwrap();
        Self { server, runner }
    }

    /// A running job of a new run on this ref.
    async fn job(&mut self, git_ref: &str) -> Assignment {
        let repository = Repository {
            url: "https://forge.example/octo/app".to_owned(),
            name: Some("octo/app".to_owned()),
            git_ref: Some(git_ref.to_owned()),
            sha: Some("0123456789012345678901234567890123456789".to_owned()),
        };
        let event = json!({"name": "push", "payload": {"repository": {"default_branch": "main"}}});
        let run = json!({"kind": "workflow", "document": DOCUMENT, "repository": repository, "event": event});
        let run: CreateRun = serde_json::from_value(run).unwrap();
        self.server.client().create_run(&run, None).await.unwrap();
        self.runner.take().await.unwrap()
    }
}

/// One call of a client in the environment of a job.
struct Caller {
    clients: PathBuf,
    workspace: PathBuf,
    env: Vec<(&'static str, String)>,
}

impl Caller {
    fn new(clients: &Path, workspace: &Path, assignment: &Assignment) -> Self {
        let services: &JobServices = assignment.services.as_ref().expect("the services are offered");
        let temp = workspace.join("temp");
        std::fs::create_dir_all(&temp).unwrap();
        let env = vec![
            ("ACTIONS_RUNTIME_URL", services.runtime_url.clone()),
            ("ACTIONS_RESULTS_URL", services.results_url.clone()),
            ("ACTIONS_CACHE_URL", services.cache_url.clone()),
            ("ACTIONS_RUNTIME_TOKEN", services.runtime_token.clone()),
            ("GITHUB_RUN_ID", assignment.run.to_string()),
            ("GITHUB_SERVER_URL", "https://github.com".to_owned()),
            ("GITHUB_WORKSPACE", workspace.display().to_string()),
            ("RUNNER_TEMP", temp.display().to_string()),
            ("HOME", workspace.display().to_string()),
            ("PATH", std::env::var("PATH").unwrap_or_default()),
            ("CLIENTS", clients.display().to_string()),
        ];
        Self { clients: clients.to_owned(), workspace: workspace.to_owned(), env }
    }

    fn call(&self, client: &str, command: &str, args: &Value) -> Value {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../services/tests/npm/client.mjs");
        let mut node = Command::new("timeout");
        node.args(["60", "node"]).arg(script).args([client, command, &args.to_string()]);
        node.current_dir(&self.workspace).env_clear().envs(self.env.iter().map(|(k, v)| (*k, v)));
        if client == "cache-v2" {
            node.env("ACTIONS_CACHE_SERVICE_V2", "True");
        }
        let output = node.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let result = text.lines().rev().find_map(|l| l.strip_prefix("RESULT "));
        let result = result.unwrap_or_else(|| {
            panic!("no result of {client} {command}: {text}\n{}", String::from_utf8_lossy(&output.stderr))
        });
        let value: Value = serde_json::from_str(result).unwrap();
        assert!(self.clients.exists());
        if value["ok"].is_null() && value["error"].is_string() {
            eprintln!("{text}");
        }
        value
    }

    /// The same; it must succeed.
    fn ok(&self, client: &str, command: &str, args: &Value) -> Value {
        let mut value = self.call(client, command, args);
        assert!(value["error"].is_null(), "{client} {command}: {value}");
        value["ok"].take()
    }
}

/// Files to upload: a small one, one in a directory, and one of several blocks that does not compress.
fn files(workspace: &Path) -> Vec<String> {
    let root = workspace.join("files");
    std::fs::create_dir_all(root.join("deep/er")).unwrap();
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    })
    .take(20 << 20)
    .collect();
    let all = [("a.txt", b"hello\n".to_vec()), ("deep/er/b c.bin", noise), ("empty", Vec::new())];
    all.iter()
        .map(|(name, bytes)| {
            let path = root.join(name);
            std::fs::write(&path, bytes).unwrap();
            path.display().to_string()
        })
        .collect()
}

fn same(workspace: &Path, got: &Path) {
    for name in ["a.txt", "deep/er/b c.bin", "empty"] {
        let expected = std::fs::read(workspace.join("files").join(name)).unwrap();
        let found = std::fs::read(got.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(expected == found, "{name} differs");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn artifacts_of_protocol_4() {
    let Some(clients) = clients() else { return };
    let mut stage = Stage::new().await;
    let assignment = stage.job("refs/heads/main").await;
    let other = stage.job("refs/heads/main").await;
    let dir = tempfile::tempdir().unwrap();
    let (caller, stranger) =
        (Caller::new(&clients, dir.path(), &assignment), Caller::new(&clients, dir.path(), &other));
    let (files, root) = (files(dir.path()), dir.path().join("files"));
    for client in ["artifact-v4", "artifact-v4-cjs"] {
        let name = format!("dist of {client}");
        let upload = json!({"name": name, "files": files, "root": root, "options": {"retentionDays": 3}});
        let made = caller.ok(client, "upload", &upload);
        assert!(made["size"].as_u64().unwrap() > 20 << 20, "{made}");
        let id = made["id"].clone();

        let listed = caller.ok(client, "list", &json!({}));
        assert_eq!(listed["artifacts"][0]["id"], id, "{listed}");
        let digest = format!("sha256:{}", made["digest"].as_str().unwrap());
        assert_eq!(listed["artifacts"][0]["digest"], json!(digest), "{listed}");
        assert_eq!(caller.ok(client, "get", &json!({"name": name}))["artifact"]["id"], id);
        assert_eq!(
            stranger.ok(client, "list", &json!({}))["artifacts"],
            json!([]),
            "another run sees nothing"
        );
        assert!(stranger.call(client, "get", &json!({"name": name}))["error"].is_string());

        let to = dir.path().join(format!("got-{client}"));
        caller.ok(client, "download", &json!({"id": id, "path": to, "hash": digest}));
        same(dir.path(), &to);

        let again = caller.call(client, "upload", &upload);
        assert!(again["error"].as_str().unwrap().contains("already exists"), "{again}");
        let gone = caller.ok(client, "delete", &json!({"name": name}));
        assert_eq!(gone["id"], id);
        assert_eq!(caller.ok(client, "list", &json!({}))["artifacts"], json!([]));
        caller.ok(client, "upload", &upload);
        caller.ok(client, "delete", &json!({"name": name}));
    }
    // A file as it is, without a ZIP around it.
    let raw = json!({"name": "x", "files": [files[0]], "root": root, "options": {"skipArchive": true}});
    let made = caller.ok("artifact-v4", "upload", &raw);
    let to = dir.path().join("raw");
    caller.ok("artifact-v4", "download", &json!({"id": made["id"], "path": to}));
    assert_eq!(std::fs::read(to.join("a.txt")).unwrap(), b"hello\n");

    stage.runner.finish(assignment.attempt).await.unwrap();
    let late = caller.call("artifact-v4", "list", &json!({}));
    assert!(late["error"].as_str().unwrap().contains("over"), "the token ended with its attempt: {late}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn artifacts_of_protocol_3() {
    let Some(clients) = clients() else { return };
    let mut stage = Stage::new().await;
    let assignment = stage.job("refs/heads/main").await;
    let dir = tempfile::tempdir().unwrap();
    let caller = Caller::new(&clients, dir.path(), &assignment);
    let (files, root) = (files(dir.path()), dir.path().join("files"));
    let upload = json!({"name": "dist", "files": files, "root": root, "options": {"retentionDays": 3}});
    let made = caller.ok("artifact-v3", "upload", &upload);
    assert_eq!((&made["artifactName"], &made["failedItems"]), (&json!("dist"), &json!([])), "{made}");
    caller.ok("artifact-v3", "download", &json!({"name": "dist", "path": dir.path().join("one")}));
    same(dir.path(), &dir.path().join("one"));
    caller.ok("artifact-v3", "downloadAll", &json!({"path": dir.path().join("all")}));
    same(dir.path(), &dir.path().join("all/dist"));

    // The same as a user of the command line.
    let run = assignment.run.to_string();
    let cli = stage.server.cli().within(dir.path());
    let listed = cli.run(&["artifact", "list", &run, "--output", "json"]).json();
    assert_eq!(listed["artifacts"][0]["name"], "dist", "{listed}");
    let done = cli.run(&["artifact", "download", &run, "dist", "-d", "cli"]);
    assert_eq!(done.code, 0, "{done:?}");
    same(dir.path(), &dir.path().join("cli"));
    let id = listed["artifacts"][0]["id"].to_string();
    let http = reqwest::Client::new();
    let delete = http.delete(format!("{}/api/v1/artifacts/{id}", stage.server.url()));
    let status = delete.bearer_auth(stage.server.admin_token()).send().await.unwrap().status();
    assert_eq!(status, 204);
    let missing =
        caller.call("artifact-v3", "download", &json!({"name": "dist", "path": dir.path().join("two")}));
    assert!(missing["error"].is_string(), "{missing}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caches_of_both_versions() {
    let Some(clients) = clients() else { return };
    let mut stage = Stage::new().await;
    let main = stage.job("refs/heads/main").await;
    let topic = stage.job("refs/heads/topic").await;
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    for client in ["cache-v1", "cache-v2"] {
        let on_main = Caller::new(&clients, dir.path(), &main);
        let on_topic = Caller::new(&clients, dir.path(), &topic);
        let paths = json!(["files"]);
        let key = |n: u32| format!("{client}-deps-{n}");
        let restore = |c: &Caller, key: &str, more: Value| {
            c.ok(client, "restore", &json!({"paths": paths, "key": key, "restoreKeys": more}))
        };
        assert_eq!(restore(&on_main, &key(1), json!([client])), Value::Null, "nothing is there");
        let saved = on_main.ok(client, "save", &json!({"paths": paths, "key": key(1)}));
        assert_ne!(saved, json!(-1), "{saved}");
        let again = on_main.ok(client, "save", &json!({"paths": paths, "key": key(1)}));
        assert_eq!(again, json!(-1), "an entry never changes");

        let before = std::fs::read(dir.path().join("files/deep/er/b c.bin")).unwrap();
        std::fs::remove_dir_all(dir.path().join("files")).unwrap();
        assert_eq!(restore(&on_main, &key(1), json!([])), json!(key(1)));
        assert!(std::fs::read(dir.path().join("files/deep/er/b c.bin")).unwrap() == before);
        assert_eq!(
            restore(&on_topic, &key(2), json!([format!("{client}-deps-")])),
            json!(key(1)),
            "by its beginning"
        );
        assert_eq!(restore(&on_topic, "other", json!([])), Value::Null);

        // What a branch saves, the default branch does not see.
        on_topic.ok(client, "save", &json!({"paths": paths, "key": key(9)}));
        assert_eq!(restore(&on_topic, &key(9), json!([])), json!(key(9)));
        assert_eq!(restore(&on_main, &key(9), json!([])), Value::Null);
    }
    let cli = stage.server.cli();
    let listed = cli.run(&["cache", "list", "--key", "cache-v1", "--output", "json"]).json();
    assert_eq!(listed["caches"].as_array().unwrap().len(), 2, "{listed}");
    assert_eq!(listed["caches"][0]["ref"], "refs/heads/topic");
    let deleted = cli.run(&["cache", "delete", "cache-v1-deps-9", "--output", "json"]).json();
    assert_eq!(deleted["caches"].as_array().unwrap().len(), 1, "{deleted}");
    let one = listed["caches"][1]["id"].to_string();
    assert_eq!(cli.run(&["cache", "delete", "--id", &one]).code, 0);
    let left = cli.run(&["cache", "list", "--key", "cache-v1", "--output", "json"]).json();
    assert_eq!(left["caches"], json!([]));
}

/// SIGKILL while blocks arrive: nothing of it is seen afterwards, and the upload can be done again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_survives_nothing_half() {
    let mut stage = Stage::new().await;
    let assignment = stage.job("refs/heads/main").await;
    let services = assignment.services.clone().unwrap();
    let http = reqwest::Client::new();
    let call = |base: String, method: &'static str, more: Value| {
        let mut body = json!({"workflow_run_backend_id": assignment.run.to_string(),
            "workflow_job_run_backend_id": assignment.attempt.to_string(), "name": "big", "version": 7});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let url = format!("{base}twirp/github.actions.results.api.v1.ArtifactService/{method}");
        let request = http.post(url).bearer_auth(&services.runtime_token).json(&body);
        async move {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.json::<Value>().await.unwrap())
        }
    };
    let base = services.results_url.clone();
    let (status, made) = call(base.clone(), "CreateArtifact", json!({})).await;
    assert_eq!(status, 200, "{made}");
    let url = made["signed_upload_url"].as_str().unwrap().to_owned();
    let put = |id: &'static str, bytes: reqwest::Body| {
        http.put(format!("{url}&comp=block&blockid={id}")).body(bytes).send()
    };
    assert_eq!(put("YQ", vec![1_u8; 1 << 20].into()).await.unwrap().status(), 201);
    // A block that never ends, cut by the kill.
    let (first, sent) = tokio::sync::oneshot::channel();
    let mut first = Some(first);
    let endless = futures_util::stream::unfold(0_u64, move |n| {
        if let (20, Some(first)) = (n, first.take_if(|_| n == 20)) {
            let _ = first.send(());
        }
        async move { Some((Ok::<_, std::io::Error>(vec![2_u8; 1 << 20]), n + 1)) }
    });
    let dying = tokio::spawn(put("Yg", reqwest::Body::wrap_stream(endless)));
    sent.await.unwrap();
    stage.server.kill_and_restart();
    assert!(dying.await.unwrap().is_err());

    let listed = call(base.clone(), "ListArtifacts", json!({"name": ""})).await;
    assert_eq!(listed, (200, json!({"artifacts": []})), "nothing half is seen");
    let api = format!("{}/api/v1/runs/{}/artifacts", stage.server.url(), assignment.run);
    let shown = http.get(api).bearer_auth(stage.server.admin_token()).send().await.unwrap();
    assert_eq!(shown.json::<Value>().await.unwrap(), json!({"artifacts": []}));
    let list = |ids: &str| format!("<BlockList>{ids}</BlockList>");
    let commit = |xml: String| http.put(format!("{url}&comp=blocklist")).body(xml).send();
    let refused = commit(list("<Latest>YQ</Latest><Latest>Yg</Latest>")).await.unwrap();
    assert_eq!(refused.status(), 400, "the block that was cut is not there");
    assert_eq!(commit(list("<Latest>YQ</Latest>")).await.unwrap().status(), 201, "the acknowledged one is");
    let (status, done) = call(base.clone(), "FinalizeArtifact", json!({"size": (1 << 20).to_string()})).await;
    assert_eq!(status, 200, "{done}");
}
