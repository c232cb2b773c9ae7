//! The client against a small real HTTP server: how answers become values or
//! errors, and that streams go on where they were cut.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fleetfoot_client::{Client, ClientConfig, ErrorKind, RunQuery, Secret, Unreachable};
use fleetfoot_model::api::RunFilter;
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId, RunId, RunnerId};
use fleetfoot_model::logs::{FRAMES_MEDIA_TYPE, Stream};
use fleetfoot_model::problem::{Code, PROBLEM_MEDIA_TYPE, Problem};
use fleetfoot_model::state::Status;
use fleetfoot_model::sync::{SyncRequest, SyncResponse};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

async fn serve(router: Router) -> Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Client::new(ClientConfig::new(url, Some(Secret::new("ffa_secret")))).unwrap()
}

fn problem(problem: Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap();
    (status, [("content-type", PROBLEM_MEDIA_TYPE), ("retry-after", "7")], Json(problem)).into_response()
}

#[tokio::test]
async fn problems_keep_code_hint_and_delay() {
    let router = Router::new().route(
        "/api/v1/runs/{id}",
        get(|Path(id): Path<u64>| async move {
            match id {
                1 => problem(Problem::new(Code::NotFound, "no run 1").with_hint("list them")),
                2 => problem(Problem::new(Code::Overloaded, "too much")),
                3 => (StatusCode::BAD_GATEWAY, "<html>a proxy</html>").into_response(),
                4 => (StatusCode::IM_A_TEAPOT, "short and stout").into_response(),
                _ => "not json".into_response(),
            }
        }),
    );
    let client = serve(router).await;

    let error = client.run(RunId(1)).await.unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), (Some(Code::NotFound), "no run 1"));
    assert_eq!(error.hint().as_deref(), Some("list them"));
    assert!(!error.is_transient());

    let error = client.run(RunId(2)).await.unwrap_err();
    assert_eq!((error.code(), error.retry_after), (Some(Code::Overloaded), Some(Duration::from_secs(7))));
    assert!(error.is_transient());

    let error = client.run(RunId(3)).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Overloaded), "{error}");

    for id in [4, 5] {
        let error = client.run(RunId(id)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Protocol);
        assert!(error.hint().unwrap().contains("Fleetfoot server"));
    }
}

#[tokio::test]
async fn nobody_there_says_how_to_start_a_server() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Client::new(ClientConfig::new(url, None)).unwrap().healthz().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable(Unreachable::Refused), "{error:?}");
    assert!(error.hint().unwrap().contains("`fleetfoot up`"));

    let error = Client::new(ClientConfig::new("http://no-such-host.invalid", None))
        .unwrap()
        .healthz()
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable(Unreachable::UnknownHost), "{error:?}");
}

#[tokio::test]
async fn plain_http_behind_https_is_a_tls_error() {
    let client = serve(Router::new()).await;
    let url = client.server().replace("http://", "https://");
    let error = Client::new(ClientConfig::new(url, None)).unwrap().healthz().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable(Unreachable::Tls), "{error:?}");
}

#[tokio::test]
async fn requests_look_as_the_api_says() {
    async fn echo(headers: HeaderMap, Query(query): Query<HashMap<String, String>>) -> Json<Value> {
        assert_eq!(headers["authorization"], "Bearer ffa_secret");
        assert_eq!(query["status"], "queued");
        assert_eq!(query["name"], "a b&c");
        Json(json!({"items": [], "next_cursor": "x"}))
    }
    async fn sync(Path(id): Path<u64>, Json(request): Json<SyncRequest>) -> Json<SyncResponse> {
        Json(SyncResponse { version: format!("{id}-{}", request.sequence), ..SyncResponse::default() })
    }
    async fn append(
        headers: HeaderMap,
        Query(query): Query<HashMap<String, String>>,
        body: Bytes,
    ) -> Response {
        assert_eq!(headers["content-type"], FRAMES_MEDIA_TYPE);
        assert_eq!(query["attempt"], "4.1.99");
        let offset: u64 = query["offset"].parse().unwrap();
        if offset > 10 {
            let mut gap = Problem::new(Code::OffsetGap, "gap");
            gap.expected_offset = Some(10);
            return problem(gap);
        }
        Json(json!({"offset": offset + body.len() as u64})).into_response()
    }
    let router = Router::new()
        .route("/api/v1/runs", get(echo))
        .route("/api/v1/runners/{id}/sync", post(sync))
        .route("/api/v1/runners/{id}/log", post(append));
    let client = serve(router).await;

    let filter =
        RunFilter { status: Some(Status::Queued), name: Some("a b&c".into()), ..RunFilter::default() };
    let page = client.runs(&RunQuery { filter, ..RunQuery::default() }).await.unwrap();
    assert_eq!(page.next_cursor.as_deref(), Some("x"));

    let request = SyncRequest { sequence: 5, ..SyncRequest::default() };
    assert_eq!(client.sync(RunnerId(3), &request).await.unwrap().version, "3-5");

    let attempt = AttemptRef { job: JobId(4), attempt: 1, epoch: Epoch(99) };
    let body = Bytes::from_static(b"12345");
    assert_eq!(client.append_log(RunnerId(3), attempt, 5, body.clone()).await.unwrap().offset, 10);
    let error = client.append_log(RunnerId(3), attempt, 11, body).await.unwrap_err();
    assert_eq!((error.code(), error.problem().unwrap().expected_offset), (Some(Code::OffsetGap), Some(10)));
}

#[tokio::test]
async fn a_piece_of_a_log_comes_with_its_place() {
    let router = Router::new().route(
        "/api/v1/jobs/{id}/log",
        get(|Query(query): Query<HashMap<String, String>>| async move {
            assert_eq!((query["offset"].as_str(), query["limit"].as_str()), ("3", "4"));
            (
                [
                    ("Fleetfoot-Log-Offset", "3"),
                    ("Fleetfoot-Log-End", "100"),
                    ("Fleetfoot-Log-Closed", "true"),
                ],
                "defg",
            )
        }),
    );
    let piece = serve(router).await.job_log(JobId(1), None, 3, Some(4)).await.unwrap();
    assert_eq!((piece.offset, piece.end, piece.closed, &piece.bytes[..]), (3, 100, true, &b"defg"[..]));
}

const LOG: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Every connection delivers a few bytes, beginning up to 3 bytes too early, and is then cut in the middle of an event.
async fn flaky_log(
    State(connections): State<Arc<AtomicUsize>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    if connections.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
        return problem_without_delay(Problem::new(Code::Overloaded, "restarting"));
    }
    let asked: usize = query["offset"].parse().unwrap();
    let from = asked.saturating_sub(3);
    let to = (asked + 7).min(LOG.len());
    let event = |from: usize, to: usize| {
        let marks = json!([{"offset": from, "time": "2026-11-20T18:00:00Z", "step": 0, "stream": "stdout"}]);
        let data = json!({"offset": from, "marks": marks, "data": STANDARD.encode(&LOG[from..to])});
        format!("event: log\nid: {to}\ndata: {data}\n\n")
    };
    let mut text = format!(": hello\n\n{}", event(from, to));
    text += if to == LOG.len() { "event: end\ndata: {}\n\n" } else { "event: log\ndata: {\"offset\":" };
    ([("content-type", "text/event-stream")], text).into_response()
}

fn problem_without_delay(body: Problem) -> Response {
    (StatusCode::from_u16(body.status).unwrap(), [("content-type", PROBLEM_MEDIA_TYPE)], Json(body))
        .into_response()
}

#[tokio::test]
async fn a_followed_log_resumes_without_loss_or_repetition() {
    let connections = Arc::new(AtomicUsize::new(0));
    let router = Router::new().route("/api/v1/jobs/{id}/log", get(flaky_log)).with_state(connections.clone());
    let mut follow = serve(router).await.follow_log(JobId(1), None, 2);
    let mut seen = Vec::new();
    while let Some(chunk) = follow.next().await.unwrap() {
        assert_eq!(chunk.offset as usize, 2 + seen.len());
        assert!(chunk.marks[0].offset <= chunk.offset);
        assert_eq!(chunk.marks[0].stream, Stream::Stdout);
        seen.extend_from_slice(&chunk.bytes);
    }
    assert_eq!(seen, &LOG[2..]);
    assert!(connections.load(Ordering::SeqCst) >= 5);
}

#[tokio::test]
async fn a_stream_gives_up_after_its_patience_and_at_once_on_a_refusal() {
    let router = Router::new()
        .route(
            "/api/v1/jobs/1/log",
            get(|| async { problem_without_delay(Problem::new(Code::Overloaded, "busy")) }),
        )
        .route(
            "/api/v1/jobs/2/log",
            get(|| async { problem_without_delay(Problem::new(Code::NotFound, "no job 2")) }),
        );
    let client = serve(router).await;
    let mut follow = client.follow_log(JobId(1), None, 0).with_patience(Duration::from_millis(250));
    assert_eq!(follow.next().await.unwrap_err().code(), Some(Code::Overloaded));
    let mut follow = client.follow_log(JobId(2), None, 0);
    assert_eq!(follow.next().await.unwrap_err().code(), Some(Code::NotFound));
}

#[tokio::test]
async fn run_events_resume_by_last_id() {
    async fn events(headers: HeaderMap) -> Response {
        let view = |title: &str| {
            json!({"id": 1, "number": 1, "attempt": 1, "kind": "workflow", "name": "n", "title": title, "project": "p",
                "path": null, "event": "push", "actor": null, "status": "running", "conclusion": null,
                "created_at": "2026-11-20T18:00:00Z", "started_at": null, "finished_at": null, "change": 9})
        };
        let text = match headers.get("last-event-id").map(|v| v.as_bytes()) {
            None => format!("event: run\nid: 9\ndata: {}\n\n", view("first")),
            Some(b"9") => {
                format!("event: run\nid: 10\ndata: {}\n\nevent: end\ndata: {{}}\n\n", view("second"))
            }
            other => panic!("{other:?}"),
        };
        ([("content-type", "text/event-stream")], text).into_response()
    }
    let mut follow =
        serve(Router::new().route("/api/v1/runs/1/events", get(events))).await.follow_run(RunId(1));
    let mut titles = Vec::new();
    while let Some(run) = follow.next().await.unwrap() {
        titles.push(run.title);
    }
    assert_eq!(titles, ["first", "second"]);
}
