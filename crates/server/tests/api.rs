//! What clients rely on: creating and reading runs, the management API of
//! runners, problems, limits.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod support;

use fleetfoot_model::Code;
use fleetfoot_server::ServerOptions;
use serde_json::json;
use support::{Bench, DOCUMENT, PATIENCE, problem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn create_list_show_cancel() {
    let bench = Bench::new().await;
    let (run, job) = bench.submit().await;
    let listed = bench.json(bench.admin("GET", "/api/v1/runs?status=queued&limit=10"), 200).await;
    assert_eq!(listed["items"][0]["id"], run);
    let shown = bench.json(bench.admin("GET", &format!("/api/v1/runs/{run}")), 200).await;
    assert_eq!(shown["jobs"][0]["id"], job);
    let why = bench.json(bench.admin("GET", &format!("/api/v1/jobs/{job}/why")), 200).await;
    assert_eq!(why["job"], job);
    let cancelled = bench.admin("POST", &format!("/api/v1/runs/{run}/cancel"));
    bench.json(cancelled, 202).await;
    let shown = bench.json(bench.admin("GET", &format!("/api/v1/jobs/{job}")), 200).await;
    assert_eq!(shown["conclusion"], "cancelled");
    bench.problem(bench.admin("POST", &format!("/api/v1/runs/{run}/cancel")), 409).await;
    bench.stop().await;
}

#[tokio::test]
async fn an_idempotency_key_answers_the_same_run() {
    let bench = Bench::new().await;
    let create = |document: &str| {
        let body = json!({"kind": "workflow", "document": document});
        bench.admin("POST", "/api/v1/runs").header("Idempotency-Key", "k-1").json(&body)
    };
    let first = bench.json(create(DOCUMENT), 201).await;
    assert_eq!(bench.json(create(DOCUMENT), 201).await, first);
    let other = bench.problem(create(&DOCUMENT.replace("hello", "bye")), 409).await;
    assert_eq!(other.code, Code::IdempotencyMismatch);

    // A form has a new boundary with every try; what it says is the same.
    let form = |boundary: &str| {
        let body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"document\"; filename=\"ci.yml\"\r\n\r\n{DOCUMENT}\r\n--{boundary}--\r\n"
        );
        bench
            .admin("POST", "/api/v1/runs")
            .header("Idempotency-Key", "k-2")
            .header("content-type", format!("multipart/form-data; boundary={boundary}"))
            .body(body)
    };
    let first = bench.json(form("aaaa"), 201).await;
    assert_eq!(bench.json(form("bbbb"), 201).await, first);
    let shown = bench.json(bench.admin("GET", &format!("/api/v1/runs/{}", first["run"])), 200).await;
    assert_eq!(shown["path"], "ci.yml");
    bench.stop().await;
}

#[tokio::test]
async fn a_batch_is_all_or_nothing() {
    let bench = Bench::new().await;
    let runs = |n: usize, last: &str| {
        let mut runs = vec![json!({"kind": "workflow", "document": DOCUMENT}); n];
        runs.push(json!({"kind": "workflow", "document": last}));
        bench.admin("POST", "/api/v1/runs/batch").json(&json!({ "runs": runs }))
    };
    let bad = bench.problem(runs(3, "on: push\njobs: {}\nnonsense: 1\n"), 422).await;
    assert!(!bad.errors.is_empty());
    let none = bench.json(bench.admin("GET", "/api/v1/runs"), 200).await;
    assert_eq!(none["items"], json!([]));
    let created = bench.json(runs(3, DOCUMENT), 201).await;
    assert_eq!(created["runs"].as_array().unwrap().len(), 4);
    bench.stop().await;
}

#[tokio::test]
async fn the_management_api_works_without_the_prefix() {
    let bench = Bench::new().await;
    let (_, job) = bench.submit().await;
    let registration = bench.token(fleetfoot_model::api::TokenKind::Registration).await;
    let body = json!({"registrationToken": registration.token, "name": "plain", "description": "by hand", "labels": ["TEST"]});
    let registered = bench.json(bench.request("POST", "/runners/register").json(&body), 201).await;
    let (id, token) = (registered["id"].as_u64().unwrap(), registered["token"].as_str().unwrap());
    let post = |what: &str, body: serde_json::Value| {
        bench
            .request("POST", &format!("/runners/{id}/{what}"))
            .bearer_auth(token)
            .json(&body)
            .timeout(PATIENCE)
    };
    let view = bench.json(post("status", json!({"status": "idle"})), 200).await;
    assert_eq!(view["state"], "idle");
    let assigned = bench.json(post("assign-job", json!({"jobId": job})), 200).await;
    assert_eq!(assigned["job"]["attempt"]["job"], job);
    assert_eq!(bench.json(post("heartbeat", json!({})), 200).await["state"], "busy");
    let attempt = &assigned["job"]["attempt"];
    let attempt = format!("{}.{}.{}", attempt["job"], attempt["attempt"], attempt["epoch"]);
    let log = bench
        .request("POST", &format!("/runners/{id}/log?attempt={attempt}"))
        .bearer_auth(token)
        .header("content-type", "text/plain")
        .body("hello\n");
    assert_eq!(bench.json(log, 200).await["offset"], 6);
    let done = json!({"jobId": job, "status": "success", "outputs": {"a": "b"}});
    let ended = bench.json(post("complete-job", done.clone()), 200).await;
    assert_eq!((&ended["conclusion"], &ended["attempts"][0]["log_bytes"]), (&json!("success"), &json!(6)));
    // A job has one end: the same report again is a repetition, another one is a conflict.
    assert_eq!(bench.json(post("complete-job", done), 200).await["conclusion"], "success");
    bench.problem(post("complete-job", json!({"jobId": job, "status": "failure"})), 409).await;
    assert_eq!(bench.json(post("assign-job", json!({})), 200).await, json!({"job": null}));
    let listed = bench.json(bench.admin("GET", "/runners"), 200).await;
    assert_eq!(listed["items"][0]["description"], "by hand");
    let drained = bench.json(bench.admin("POST", &format!("/runners/{id}/drain")), 200).await;
    assert_eq!(drained["drain"], true);
    bench.json(bench.admin("DELETE", &format!("/runners/{id}")), 204).await;
    bench.problem(bench.admin("GET", &format!("/runners/{id}")), 404).await;
    bench.stop().await;
}

#[tokio::test]
async fn bad_requests_are_problems() {
    let bench = Bench::new().await;
    let create = || bench.admin("POST", "/api/v1/runs");
    let typed = |t: &str, body: &str| create().header("content-type", t).body(body.to_owned());
    for (request, status, code) in [
        (typed("application/json", "{"), 400, Code::BadRequest),
        (typed("application/json", "{\"kind\":\"workflow\",\"document\":\"on: [\"}"), 422, Code::BadDocument),
        (typed("application/json", "{\"kind\":\"nonsense\",\"document\":\"\"}"), 400, Code::BadRequest),
        (typed("text/yaml", "on: push"), 415, Code::UnsupportedMediaType),
        (typed("application/json", &"x".repeat(9 << 20)), 413, Code::TooLarge),
        (create().header("Idempotency-Key", "").json(&json!({})), 400, Code::BadRequest),
        (bench.admin("GET", "/api/v1/runs?limit=0"), 400, Code::BadRequest),
        (bench.admin("GET", "/api/v1/runs?cursor=x%27--"), 400, Code::BadRequest),
        (bench.admin("GET", "/api/v1/runs?colour=red"), 400, Code::BadRequest),
        (bench.admin("GET", "/api/v1/runs/x"), 404, Code::NotFound),
        (bench.admin("GET", "/api/v1/jobs/..%2f..%2fetc%2fpasswd/log"), 404, Code::NotFound),
        (bench.admin("GET", "/api/v1/jobs/999999/log"), 404, Code::NotFound),
        (bench.admin("GET", "/api/v1/nowhere"), 404, Code::NotFound),
        (bench.admin("PUT", "/api/v1/runs"), 405, Code::MethodNotAllowed),
        (bench.admin("POST", "/api/v1/backup").json(&json!({"path": "relative"})), 400, Code::BadRequest),
        (create().header("Origin", "http://evil.example").json(&json!({})), 403, Code::Forbidden),
        (bench.admin("GET", "/api/v1/runs").header("Host", "evil.example"), 403, Code::Forbidden),
    ] {
        let shown = format!("{:?}", request.try_clone());
        let response = request.send().await.unwrap();
        assert!(response.headers().contains_key("x-request-id"), "{shown}");
        assert_eq!(problem(response, status).await.code, code, "{shown}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn it_says_what_it_is() {
    let bench = Bench::new().await;
    assert_eq!(bench.json(bench.request("GET", "/healthz"), 200).await["status"], "ok");
    assert_eq!(bench.json(bench.request("GET", "/readyz"), 200).await["status"], "ready");
    assert_eq!(
        bench.json(bench.request("GET", "/api/v1/version"), 200).await["version"],
        env!("CARGO_PKG_VERSION")
    );
    let api = bench.request("GET", "/api/openapi.json").send().await.unwrap().text().await.unwrap();
    assert_eq!(api, fleetfoot_server::openapi());
    let page = bench.request("GET", "/").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("The dashboard is at"));
    let metrics = bench.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("fleetfoot_http_requests_total"), "{metrics}");
    assert_eq!(metrics.matches("# EOF").count(), 1);
    bench.stop().await;

    let closed = Bench::with(ServerOptions { open_metrics: Some(false), ..ServerOptions::default() }).await;
    closed.problem(closed.request("GET", "/metrics"), 401).await;
    assert_eq!(closed.admin("GET", "/metrics").send().await.unwrap().status(), 200);
    closed.stop().await;
}

#[tokio::test]
async fn too_much_at_once_is_refused_with_a_time_to_come_back() {
    let bench =
        Bench::with(ServerOptions { max_requests: 0, max_streams: 0, ..ServerOptions::default() }).await;
    let refused = bench.admin("GET", "/api/v1/runs").send().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(problem(refused, 503).await.code, Code::Overloaded);
    // Probes are not requests that wait in line.
    bench.json(bench.request("GET", "/healthz"), 200).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut() {
    let options =
        ServerOptions { header_timeout: std::time::Duration::from_millis(200), ..ServerOptions::default() };
    let bench = Bench::with(options).await;
    let mut slow = TcpStream::connect(bench.url.strip_prefix("http://").unwrap()).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, slow.read_to_end(&mut rest)).await.expect("still open").unwrap();
    bench.stop().await;
}

/// A client that writes its whole request before it reads must get the answer and no broken pipe.
#[tokio::test]
async fn a_body_that_is_too_large_is_read_before_it_is_refused() {
    let bench = Bench::new().await;
    let mut stream = TcpStream::connect(bench.url.trim_start_matches("http://")).await.unwrap();
    let body = vec![b' '; 24 << 20];
    let head = format!(
        "POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        bench.admin,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("too_large"), "{answer}");
    bench.stop().await;
}

#[tokio::test]
async fn the_attempts_of_a_run_are_a_list_from_wherever_one_asks() {
    let bench = Bench::new().await;
    let (first, _) = bench.submit().await;
    let (other, _) = bench.submit().await;
    let path = |run: u64| format!("/api/v1/runs/{run}/attempts");
    let again = async |run: u64| {
        bench.json(bench.admin("POST", &format!("/api/v1/runs/{run}/cancel")), 202).await;
        bench.json(bench.admin("POST", &format!("/api/v1/runs/{run}/rerun")), 201).await["run"]
            .as_u64()
            .unwrap()
    };
    let second = again(first).await;
    let third = again(second).await;
    for run in [first, second, third] {
        let page = bench.json(bench.admin("GET", &path(run)), 200).await;
        let items = page["items"].as_array().unwrap();
        let seen: Vec<_> = items.iter().map(|r| (r["id"].as_u64(), r["attempt"].as_u64())).collect();
        assert_eq!(seen, [(Some(third), Some(3)), (Some(second), Some(2)), (Some(first), Some(1))]);
        assert_eq!(page.get("next_cursor"), None);
    }
    let page = bench.json(bench.admin("GET", &format!("{}?limit=2", path(first))), 200).await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = bench.json(bench.admin("GET", &format!("{}?limit=2&cursor={cursor}", path(first))), 200).await;
    assert_eq!((rest["items"][0]["id"].as_u64(), rest["items"].as_array().unwrap().len()), (Some(first), 1));
    let alone = bench.json(bench.admin("GET", &path(other)), 200).await;
    assert_eq!(alone["items"].as_array().unwrap().len(), 1);
    bench.problem(bench.admin("GET", &path(99)), 404).await;
    bench.problem(bench.admin("GET", &format!("{}?cursor=x", path(first))), 400).await;
    bench.stop().await;
}
