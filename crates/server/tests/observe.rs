//! What a dashboard asks for, over real HTTP: lines of a log and following
//! them, lists with filters and their changes, the fleet, storage, health, and
//! the export of the audit log.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod support;

use fleetfoot_control::{Control, Options};
use fleetfoot_objects::{LogOptions, LogStore};
use fleetfoot_server::ServerOptions;
use fleetfoot_store_sqlite::SqliteStore;
use fleetfoot_workflow::{JobDialect, WorkflowDialect};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use support::{Bench, Events, PATIENCE};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

async fn append(bench: &Bench, runner: &(u64, String), attempt: &str, step: u16, text: &str) {
    let request = bench
        .request("POST", &format!("/runners/{}/log?attempt={attempt}&stream=stdout&step={step}", runner.0))
        .bearer_auth(&runner.1)
        .header("content-type", "text/plain")
        .body(text.to_owned());
    bench.json(request, 200).await;
}

async fn complete(bench: &Bench, runner: &(u64, String), job: u64) {
    let request =
        bench.request("POST", &format!("/runners/{}/complete-job", runner.0)).bearer_auth(&runner.1);
    bench.json(request.json(&json!({"job_id": job, "conclusion": "success"})), 200).await;
}

async fn follow(bench: &Bench, path: &str, last: Option<&str>) -> Events {
    let mut request =
        bench.request("GET", path).bearer_auth(&bench.admin).header("accept", "text/event-stream");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    Events::new(request.send().await.unwrap())
}

fn texts(answer: &Value) -> Vec<(u64, String)> {
    let lines = answer["lines"].as_array().unwrap();
    lines.iter().map(|l| (l["n"].as_u64().unwrap(), l["text"].as_str().unwrap().to_owned())).collect()
}

#[tokio::test]
async fn a_log_is_read_outlined_and_searched_by_lines() {
    let bench = Bench::new().await;
    let (_, job) = bench.submit().await;
    let path = format!("/api/v1/jobs/{job}/log");
    let none = bench.json(bench.admin("GET", &format!("{path}/lines")), 200).await;
    assert_eq!((&none["total"], &none["attempt"], &none["lines"]), (&json!(0), &Value::Null, &json!([])));
    let runner = bench.runner("one").await;
    let (attempt, _) = bench.claim(runner.0, &runner.1).await;
    append(&bench, &runner, &attempt, 0, "::group::Set up\none\n::endgroup::\n").await;
    append(&bench, &runner, &attempt, 1, "two\n::error::it broke\nthr").await;
    let open = bench.json(bench.admin("GET", &format!("{path}/lines?tail=2")), 200).await;
    assert_eq!(texts(&open), [(4, "two".to_owned()), (5, "::error::it broke".to_owned())]);
    assert_eq!((&open["total"], &open["complete"]), (&json!(5), &json!(false)));
    assert_eq!((&open["partial"]["n"], &open["partial"]["text"]), (&json!(6), &json!("thr")));
    append(&bench, &runner, &attempt, 1, "ee").await;
    complete(&bench, &runner, job).await;
    // The log is closed in the background.
    let done = async {
        loop {
            let all = bench.json(bench.admin("GET", &format!("{path}/lines?from=4&count=9")), 200).await;
            if all["complete"] == true {
                return all;
            }
            tokio::task::yield_now().await;
        }
    };
    let all = tokio::time::timeout(PATIENCE, done).await.unwrap();
    assert_eq!(texts(&all)[2], (6, "three".to_owned()));
    assert_eq!((&all["lines"][0]["step"], &all["lines"][0]["stream"]), (&json!(1), &json!("stdout")));
    let outline = bench.json(bench.admin("GET", &format!("{path}/outline")), 200).await;
    assert_eq!(
        outline["steps"],
        json!([{"index": 0, "first_line": 1, "last_line": 3},
        {"index": 1, "first_line": 4, "last_line": 6}])
    );
    assert_eq!(outline["groups"], json!([{"from": 1, "to": 3, "title": "Set up", "step": 0}]));
    assert_eq!(outline["first_error"], 5);
    let found = bench.json(bench.admin("GET", &format!("{path}/search?q=T[hw]&regex=true")), 200).await;
    assert_eq!(
        found["matches"],
        json!([{"line": 4, "step": 1, "at": [[0, 2]]}, {"line": 6, "step": 1, "at": [[0, 2]]}])
    );
    for bad in ["search?q=", "search?q=(&regex=true", "lines?tail=3&from=1"] {
        bench.problem(bench.admin("GET", &format!("{path}/{bad}")), 400).await;
    }
    bench.problem(bench.admin("GET", "/api/v1/jobs/999/log/lines"), 404).await;
    bench.problem(bench.request("GET", &format!("{path}/lines")), 401).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_log_is_followed_by_lines_from_anywhere() {
    let bench = Bench::new().await;
    let (_, job) = bench.submit().await;
    let path = format!("/api/v1/jobs/{job}/log/follow");
    // From before the first attempt.
    let mut early = follow(&bench, &path, None).await;
    let runner = bench.runner("one").await;
    let (attempt, _) = bench.claim(runner.0, &runner.1).await;
    append(&bench, &runner, &attempt, 0, "one\ntwo\npart").await;
    let mut seen = Vec::new();
    let mut partial = Value::Null;
    while seen.len() < 2 || partial.is_null() {
        let event = early.next().await.unwrap();
        assert_eq!(event.name, "lines");
        seen.extend(texts(&event.data));
        partial = event.data["partial"]["text"].clone();
        assert_eq!(event.id.unwrap(), seen.last().unwrap().0.to_string());
    }
    assert_eq!(seen, [(1, "one".to_owned()), (2, "two".to_owned())]);
    assert_eq!(partial, "part");
    let mut late = follow(&bench, &format!("{path}?from_line=2"), None).await;
    assert_eq!(texts(&late.next().await.unwrap().data), [(2, "two".to_owned())]);
    append(&bench, &runner, &attempt, 0, "ly\nlast").await;
    complete(&bench, &runner, job).await;
    for events in [&mut early, &mut late] {
        let mut rest = Vec::new();
        loop {
            let event = events.next().await.unwrap();
            if event.name == "end" {
                assert_eq!(event.data, json!({"attempt": 1, "total": 4}));
                break;
            }
            rest.extend(texts(&event.data));
        }
        assert_eq!(rest, [(3, "partly".to_owned()), (4, "last".to_owned())]);
        assert!(events.next().await.is_none());
    }
    let mut resumed = follow(&bench, &path, Some("4")).await;
    assert_eq!(resumed.next().await.unwrap().name, "end");
    bench.stop().await;
}

/// A server that can be started again over the same directory and address.
async fn serve(
    dir: &Path,
    address: &str,
) -> (Control, CancellationToken, tokio::task::JoinHandle<()>, String) {
    let store = Arc::new(SqliteStore::open(dir, Default::default()).unwrap());
    let logs = LogStore::open(&dir.join("logs"), LogOptions::default()).unwrap();
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let address = listener.local_addr().unwrap().to_string();
    let options = Options::new(dir, format!("http://{address}"));
    let control = Control::start(store, logs, vec![Arc::new(WorkflowDialect), Arc::new(JobDialect)], options)
        .await
        .unwrap();
    let shutdown = CancellationToken::new();
    let (serving, ending) = (control.clone(), shutdown.clone());
    let task = tokio::spawn(async move {
        fleetfoot_server::serve(serving, listener, ServerOptions::default(), ending).await.unwrap();
    });
    (control, shutdown, task, address)
}

#[tokio::test]
async fn a_follower_resumes_after_a_restart_without_gap_or_repeat() {
    let dir = tempfile::tempdir().unwrap();
    let (control, shutdown, task, address) = serve(dir.path(), "127.0.0.1:0").await;
    let admin = control.bootstrap_admin().await.unwrap().unwrap().token;
    let http = reqwest::Client::new();
    let url = format!("http://{address}");
    let post = |path: String, token: &str, body: Value| {
        http.post(format!("{url}{path}")).bearer_auth(token).json(&body).timeout(PATIENCE).send()
    };
    let document = json!({"kind": "workflow", "document": support::DOCUMENT});
    let created = support::json(post("/api/v1/runs".into(), &admin, document).await.unwrap(), 201).await;
    let job = created["jobs"][0]["id"].as_u64().unwrap();
    let made = support::json(
        post("/runners".into(), &admin, json!({"name": "r", "labels": ["test"]})).await.unwrap(),
        201,
    )
    .await;
    let (id, token) = (made["id"].as_u64().unwrap(), made["token"].as_str().unwrap().to_owned());
    support::json(
        post(format!("/runners/{id}/status"), &token, json!({"status": "idle"})).await.unwrap(),
        200,
    )
    .await;
    let assigned =
        support::json(post(format!("/runners/{id}/assign-job"), &token, json!({})).await.unwrap(), 200).await;
    let a = &assigned["job"]["attempt"];
    let attempt = format!("{}.{}.{}", a["job"], a["attempt"], a["epoch"]);
    let say = async |from: u64, to: u64| {
        let text: String = (from..=to).map(|n| format!("line {n}\n")).collect();
        let request = http
            .post(format!("{url}/runners/{id}/log?attempt={attempt}&stream=stdout&step=0"))
            .bearer_auth(&token)
            .header("content-type", "text/plain")
            .timeout(PATIENCE)
            .body(text);
        support::json(request.send().await.unwrap(), 200).await;
    };
    let watch = async |last: Option<String>| {
        let mut request = http.get(format!("{url}/api/v1/jobs/{job}/log/follow")).bearer_auth(&admin);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        Events::new(request.send().await.unwrap())
    };
    say(1, 300).await;
    let mut seen: Vec<(u64, String)> = Vec::new();
    let mut last = None;
    let mut events = watch(None).await;
    while seen.len() < 300 {
        let event = events.next().await.unwrap();
        seen.extend(texts(&event.data));
        last = event.id;
    }
    // Half of a line stands there when the server goes.
    let half = http
        .post(format!("{url}/runners/{id}/log?attempt={attempt}&stream=stdout&step=0"))
        .bearer_auth(&token)
        .header("content-type", "text/plain")
        .body("line ");
    support::json(half.send().await.unwrap(), 200).await;
    shutdown.cancel();
    while let Some(event) = events.next().await {
        assert_ne!(event.name, "end", "the log is not over");
        seen.extend(texts(&event.data));
        last = event.id;
    }
    task.await.unwrap();
    control.shut_down().await;
    drop(control);
    let (control, shutdown, task, _) = serve(dir.path(), &address).await;
    let mut events = watch(last).await;
    let rest: String = (302..=900).map(|n| format!("line {n}\n")).collect();
    let request = http
        .post(format!("{url}/runners/{id}/log?attempt={attempt}&stream=stdout&step=0"))
        .bearer_auth(&token)
        .header("content-type", "text/plain")
        .body(format!("301\n{rest}"));
    support::json(request.send().await.unwrap(), 200).await;
    while seen.len() < 900 {
        seen.extend(texts(&events.next().await.unwrap().data));
    }
    let expected: Vec<(u64, String)> = (1..=900).map(|n| (n, format!("line {n}"))).collect();
    assert_eq!(seen, expected);
    shutdown.cancel();
    task.await.unwrap();
    control.shut_down().await;
}

#[tokio::test]
async fn many_followers_share_what_is_read_and_a_fast_log_may_be_skipped() {
    let bench = Bench::new().await;
    let (_, job) = bench.submit().await;
    let runner = bench.runner("one").await;
    let (attempt, _) = bench.claim(runner.0, &runner.1).await;
    append(&bench, &runner, &attempt, 0, "begin\n").await;
    let path = format!("/api/v1/jobs/{job}/log/follow");
    let mut all = Vec::new();
    for _ in 0..20 {
        let mut events = follow(&bench, &path, None).await;
        assert_eq!(texts(&events.next().await.unwrap().data)[0].0, 1);
        all.push(events);
    }
    let mut skipping = follow(&bench, &format!("{path}?skip=true&from_line=2"), None).await;
    let before = bench.control.logs().statistics().read_bytes;
    let text = "a line that everybody reads\n".repeat(100);
    append(&bench, &runner, &attempt, 0, &text).await;
    for events in &mut all {
        let mut n = 1;
        while n < 101 {
            for (line, _) in texts(&events.next().await.unwrap().data) {
                assert_eq!(line, n + 1);
                n = line;
            }
        }
    }
    let read = bench.control.logs().statistics().read_bytes - before;
    assert!(read < 6 * text.len() as u64, "{read} bytes were read for {} bytes of log", text.len());
    while texts(&skipping.next().await.unwrap().data).last().is_none_or(|l| l.0 < 101) {}
    append(&bench, &runner, &attempt, 0, &"x\n".repeat(50_000)).await;
    let (mut next, mut skipped) = (102, 0);
    while next <= 50_101 {
        let data = skipping.next().await.unwrap().data;
        for (line, _) in texts(&data) {
            if line != next {
                skipped += line - next;
            }
            next = line + 1;
        }
    }
    assert!(skipped > 40_000, "{skipped}");
    bench.stop().await;
}

#[tokio::test]
async fn lists_are_filtered_and_live() {
    let bench = Bench::new().await;
    let mut events = follow(&bench, "/api/v1/events", None).await;
    let first = events.next().await.unwrap();
    assert_eq!((first.name.as_str(), &first.data), ("reset", &json!({"change": "reset"})));
    let (run, job) = bench.submit().await;
    let (row, last) = loop {
        let event = events.next().await.unwrap();
        if event.name == "run" {
            break (event.data["run"].clone(), event.id);
        }
    };
    assert_eq!((&row["id"], &row["job_counts"]["queued"]), (&json!(run), &json!(1)));
    let runner = bench.runner("one").await;
    bench.claim(runner.0, &runner.1).await;
    let mut resumed = follow(&bench, "/api/v1/events", last.as_deref()).await;
    let (mut running, mut appeared) = (false, false);
    while !running || !appeared {
        let event = resumed.next().await.unwrap();
        assert_ne!(event.name, "reset", "nothing was missed");
        running |= event.name == "run" && event.data["run"]["job_counts"]["running"] == 1;
        appeared |= event.name == "runner" && event.data["runner"]["name"] == "one";
    }
    let mut stale = follow(&bench, "/api/v1/events", Some("17")).await;
    assert_eq!(stale.next().await.unwrap().name, "reset");

    let list = async |query: &str| {
        let page = bench.json(bench.admin("GET", &format!("/api/v1/runs?{query}")), 200).await;
        page["items"].as_array().unwrap().len()
    };
    for (query, expected) in [
        ("label=test", 1),
        ("label=other", 0),
        ("runner=one", 1),
        ("runner=two", 0),
        ("status=running&event=workflow_dispatch", 1),
        ("status=completed", 0),
        ("text=%231", 1),
        ("text=nothing", 0),
    ] {
        assert_eq!(list(query).await, expected, "{query}");
    }
    let facets = bench.json(bench.admin("GET", "/api/v1/runs/facets"), 200).await;
    assert_eq!((&facets["labels"], &facets["events"]), (&json!(["test"]), &json!(["workflow_dispatch"])));
    complete(&bench, &runner, job).await;
    let report = bench.json(bench.admin("GET", &format!("/api/v1/runs/{run}/report")), 200).await;
    assert_eq!(report["annotations"], json!([]));
    bench.stop().await;
}

#[tokio::test]
async fn the_fleet_and_the_server_say_how_they_are() {
    let bench = Bench::new().await;
    let (_, job) = bench.submit().await;
    let empty = bench.json(bench.admin("GET", "/api/v1/fleet"), 200).await;
    assert_eq!((&empty["jobs_waiting"], &empty["queues"][0]["waiting"]), (&json!(1), &json!(1)));
    assert_eq!(empty["oldest_waiting"]["job"], job);
    assert_eq!(empty["labels"], json!([{"label": "test", "waiting": 1, "runners": 0}]));
    let body = json!({"name": "wrong", "labels": ["elsewhere"]});
    let made = bench.json(bench.admin("POST", "/runners").json(&body), 201).await;
    // Nothing is known of a runner that was never heard.
    let status = bench.request("POST", &format!("/runners/{}/status", made["id"]));
    let status = status.bearer_auth(made["token"].as_str().unwrap()).json(&json!({"status": "idle"}));
    bench.json(status, 200).await;
    let why = bench.json(bench.admin("GET", &format!("/api/v1/jobs/{job}/why")), 200).await;
    assert_eq!(why["nearest"][0]["name"], "wrong");
    assert_eq!(why["nearest"][0]["lacks"][0], json!({"kind": "labels", "words": ["test"]}));
    let id = made["id"].as_u64().unwrap();
    let runner = bench.runner("one").await;
    bench.claim(runner.0, &runner.1).await;
    let busy = bench.json(bench.admin("GET", "/api/v1/fleet"), 200).await;
    assert_eq!(
        (&busy["slots_busy"], &busy["jobs_running"], &busy["jobs_waiting"]),
        (&json!(1), &json!(1), &json!(0))
    );

    let series = bench.json(bench.admin("GET", "/api/v1/series?name=fleet&points=60"), 200).await;
    let points = series["at"].as_array().unwrap().len();
    assert!((55..=62).contains(&points), "{points}");
    assert_eq!(series["values"]["busy"].as_array().unwrap().len(), points);
    bench.problem(bench.admin("GET", "/api/v1/series?name=nonsense"), 404).await;
    bench.problem(bench.admin("GET", "/api/v1/series?name=fleet&from=9&to=3"), 400).await;

    let storage = bench.json(bench.admin("GET", "/api/v1/storage"), 200).await;
    assert!(
        storage["database"]["bytes"].as_u64().unwrap() > 0
            && storage["disk_total_bytes"].as_u64().unwrap() > 0
    );
    assert_eq!(storage["retention"]["runs_seconds"], 90 * 24 * 3600);
    let health = bench.json(bench.admin("GET", "/api/v1/health"), 200).await;
    assert!(
        health["components"].as_array().unwrap().iter().any(|c| c["name"] == "store" && c["state"] == "ok")
    );
    let artifacts = bench.json(bench.admin("GET", "/api/v1/artifacts"), 200).await;
    assert_eq!(artifacts["artifacts"], json!([]));

    let audit = bench.json(bench.admin("GET", &format!("/api/v1/audit?target=runner:{id}")), 200).await;
    let entries = audit["items"].as_array().unwrap();
    assert!(!entries.is_empty());
    let csv = bench.admin("GET", "/api/v1/audit?format=csv&action=runner.").send().await.unwrap();
    assert_eq!(csv.headers()["content-type"], "text/csv; charset=utf-8");
    let csv = csv.text().await.unwrap();
    assert!(csv.starts_with("id,at,actor,action,subject,detail\r\n") && csv.contains("\"runner."), "{csv}");
    let ndjson =
        bench.admin("GET", "/api/v1/audit?format=ndjson").send().await.unwrap().text().await.unwrap();
    assert!(ndjson.lines().all(|l| serde_json::from_str::<Value>(l).is_ok()) && ndjson.lines().count() > 1);
    let reader = bench.token(fleetfoot_model::api::TokenKind::ReadOnly).await;
    for path in ["/api/v1/storage", "/api/v1/audit"] {
        bench.problem(bench.request("GET", path).bearer_auth(&reader.token), 403).await;
    }
    bench.stop().await;
}
