//! Streams: following a run and a log, resuming, places, and how they end.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fleetfoot_server::ServerOptions;
use serde_json::json;
use support::{Bench, Events, PATIENCE};

async fn append(bench: &Bench, runner: &(u64, String), attempt: &str, text: &str) {
    let request = bench
        .request("POST", &format!("/runners/{}/log?attempt={attempt}&stream=stderr&step=1", runner.0))
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

#[tokio::test]
async fn a_log_is_followed_from_before_its_first_attempt_to_its_end() {
    let bench = Bench::new().await;
    let (_, job) = bench.submit().await;
    let path = format!("/api/v1/jobs/{job}/log");
    let mut events = follow(&bench, &path, None).await;
    let raw = tokio::spawn({
        let request = bench.admin("GET", &format!("{path}?follow=true"));
        async move { request.send().await.unwrap().bytes().await.unwrap() }
    });
    let runner = bench.runner("one").await;
    let (attempt, _) = bench.claim(runner.0, &runner.1).await;
    append(&bench, &runner, &attempt, "hello\n").await;
    let first = events.next().await.unwrap();
    assert_eq!((first.name.as_str(), first.id.as_deref()), ("log", Some("6")));
    assert_eq!(first.data["offset"], 0);
    assert_eq!(first.data["marks"][0]["stream"], "stderr");
    assert_eq!(STANDARD.decode(first.data["data"].as_str().unwrap()).unwrap(), b"hello\n");
    drop(events);

    append(&bench, &runner, &attempt, "world\n").await;
    let mut resumed = follow(&bench, &path, Some("6")).await;
    let second = resumed.next().await.unwrap();
    assert_eq!(second.data["offset"], 6);
    assert_eq!(STANDARD.decode(second.data["data"].as_str().unwrap()).unwrap(), b"world\n");
    complete(&bench, &runner, job).await;
    let end = resumed.next().await.unwrap();
    assert_eq!((end.name.as_str(), &end.data), ("end", &json!({"attempt": 1, "offset": 12})));
    assert!(resumed.next().await.is_none());
    assert_eq!(raw.await.unwrap(), "hello\nworld\n");

    let part = bench.admin("GET", &format!("{path}?offset=3&limit=5")).send().await.unwrap();
    let headers = part.headers().clone();
    assert_eq!(headers["fleetfoot-log-offset"], "3");
    assert_eq!(headers["fleetfoot-log-end"], "12");
    assert_eq!(headers["fleetfoot-log-closed"], "true");
    assert_eq!(headers["content-length"], "5");
    assert_eq!(headers["content-type"], "application/octet-stream");
    assert_eq!(part.bytes().await.unwrap(), "lo\nwo");
    let beyond = bench.admin("GET", &format!("{path}?offset=99")).send().await.unwrap();
    assert_eq!(beyond.bytes().await.unwrap(), "");
    let marks = bench.json(bench.admin("GET", &format!("{path}/marks?offset=2&limit=100")), 200).await;
    assert_eq!(
        (&marks["end"], &marks["closed"], &marks["marks"][0]["step"]),
        (&json!(12), &json!(true), &json!(1))
    );
    bench.problem(bench.admin("GET", &format!("{path}?attempt=2")), 404).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_log_of_many_chunks_arrives_whole() {
    let bench = Bench::new().await;
    let (_, job) = bench.submit().await;
    let runner = bench.runner("one").await;
    let (attempt, _) = bench.claim(runner.0, &runner.1).await;
    let piece: String = (0..100_000).map(|n| format!("line {n} of a long log\n")).collect();
    for _ in 0..3 {
        append(&bench, &runner, &attempt, &piece).await;
    }
    complete(&bench, &runner, job).await;
    let whole = piece.repeat(3);
    let path = format!("/api/v1/jobs/{job}/log");
    let read = bench.admin("GET", &path).send().await.unwrap();
    assert_eq!(read.content_length(), Some(whole.len() as u64));
    assert!(read.text().await.unwrap() == whole);
    let mut events = follow(&bench, &path, None).await;
    let mut followed = Vec::new();
    while let Some(event) = events.next().await {
        if event.name == "log" {
            assert_eq!(event.data["offset"], followed.len());
            followed.extend(STANDARD.decode(event.data["data"].as_str().unwrap()).unwrap());
        }
    }
    assert!(followed == whole.as_bytes());
    bench.stop().await;
}

#[tokio::test]
async fn a_run_is_followed_to_its_end_and_resumed() {
    let bench = Bench::new().await;
    let (run, job) = bench.submit().await;
    let path = format!("/api/v1/runs/{run}/events");
    let mut events = follow(&bench, &path, None).await;
    let first = events.next().await.unwrap();
    assert_eq!((first.name.as_str(), &first.data["status"]), ("run", &json!("queued")));
    assert_eq!(first.data["jobs"][0]["id"], job);
    let runner = bench.runner("one").await;
    bench.claim(runner.0, &runner.1).await;
    let mut last = first.id;
    complete(&bench, &runner, job).await;
    loop {
        let event = events.next().await.unwrap();
        if event.name == "end" {
            assert_eq!(event.data["conclusion"], "success");
            break;
        }
        assert!(event.id.as_ref().unwrap().parse::<u64>().unwrap() > last.unwrap().parse().unwrap());
        last = event.id;
    }
    assert!(events.next().await.is_none());
    // Who saw everything gets at most the final state again, and the end.
    let mut resumed = follow(&bench, &path, last.as_deref()).await;
    let mut names = Vec::new();
    while let Some(event) = resumed.next().await {
        names.push(event.name);
    }
    assert_eq!(names.last().map(String::as_str), Some("end"));
    bench.stop().await;
}

#[tokio::test]
async fn shutdown_ends_streams_and_waits_at_once_and_leaves_followers_to_come_back() {
    let bench = Bench::new().await;
    let (run, job) = bench.submit().await;
    let mut run_events = follow(&bench, &format!("/api/v1/runs/{run}/events"), None).await;
    assert_eq!(run_events.next().await.unwrap().name, "run");
    let mut log_events = follow(&bench, &format!("/api/v1/jobs/{job}/log"), None).await;
    let mut raw = bench.admin("GET", &format!("/api/v1/jobs/{job}/log?follow=true")).send().await.unwrap();
    let (id, token) = bench.runner("waiting").await;
    bench.admin("POST", &format!("/runners/{id}/drain")).send().await.unwrap();
    let sync = |wait: u64, sequence: u64| {
        bench
            .request("POST", &format!("/api/v1/runners/{id}/sync"))
            .bearer_auth(&token)
            .json(&json!({"version": env!("CARGO_PKG_VERSION"), "instance": "i", "sequence": sequence, "slots": 1, "wait_ms": wait}))
    };
    bench.json(sync(0, 1), 200).await;
    let waiting = tokio::spawn(sync(60_000, 2).send());
    let other = bench.token(fleetfoot_model::api::TokenKind::ReadOnly).await;
    assert!(!other.token.is_empty());
    let begun = std::time::Instant::now();
    bench.stop().await;
    assert!(begun.elapsed() < PATIENCE, "the drain time was used up");
    assert!(run_events.next().await.is_none(), "no `end`: the run goes on");
    assert!(log_events.next().await.is_none());
    assert!(raw.chunk().await.is_err(), "a cut body must not look complete");
    match waiting.await.unwrap() {
        Ok(answer) => assert!(matches!(answer.status().as_u16(), 200 | 503)),
        Err(e) => assert!(e.is_request() || e.is_connect(), "{e}"),
    }
}

#[tokio::test]
async fn places_are_limited_and_come_back() {
    let bench = Bench::with(ServerOptions { max_streams: 1, ..ServerOptions::default() }).await;
    let (run, _) = bench.submit().await;
    let path = format!("/api/v1/runs/{run}/events");
    let held = follow(&bench, &path, None).await;
    let refused = bench.admin("GET", &path).send().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "1");
    support::problem(refused, 503).await;
    drop(held);
    let again = async {
        // The server notices the lost connection on its own time.
        while bench.admin("GET", &path).send().await.unwrap().status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("the place did not come back");
    bench.stop().await;
}
