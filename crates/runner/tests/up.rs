//! A whole runner over HTTP, with the engine and real processes.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use fleetfoot_client::Secret;
use fleetfoot_model::api::{Appended, RegisterRunner, Registered};
use fleetfoot_model::ids::{AttemptRef, RunnerId};
use fleetfoot_model::problem::{Code, Problem};
use fleetfoot_model::spec::{JobSpec, StepAction, StepSpec};
use fleetfoot_model::state::Conclusion;
use fleetfoot_model::sync::{SyncRequest, SyncResponse};
use fleetfoot_runner::config::PartialConfig;
use fleetfoot_runner::daemon::{Ending, Stage};
use fleetfoot_runner::engine::EngineExecutor;
use fleetfoot_runner::identity::{Identity, load_or_register, register, unregister};
use fleetfoot_runner::transport::{ControlPlane, TransportError};
use fleetfoot_runner::{CheckStatus, RunnerConfig, http_transport, up, validate};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use support::{Plane, until};
use tokio::sync::watch;

/// A server with one script that every job runs.
struct Server {
    plane: Plane,
    script: String,
    registrations: Mutex<u64>,
    removed: Mutex<Vec<u64>>,
    hooks: Mutex<Vec<serde_json::Value>>,
}

fn refused(error: TransportError) -> Response {
    let problem = match error {
        TransportError::Stale => Problem::new(Code::StaleAttempt, "stale"),
        TransportError::Gap { expected } => {
            Problem { expected_offset: Some(expected), ..Problem::new(Code::OffsetGap, "gap") }
        }
        other => Problem::new(Code::Overloaded, other.to_string()),
    };
    (StatusCode::from_u16(problem.status).unwrap(), Json(problem)).into_response()
}

fn token(headers: &HeaderMap) -> &str {
    headers["authorization"].to_str().unwrap()
}

async fn registration(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    Json(body): Json<RegisterRunner>,
) -> Response {
    if token(&headers) != "Bearer ffreg_good" {
        let problem = Problem::new(Code::Unauthorized, "unknown registration token");
        return (StatusCode::UNAUTHORIZED, Json(problem)).into_response();
    }
    let mut n = server.registrations.lock();
    *n += 1;
    Json(Registered { id: RunnerId(*n), name: body.name.unwrap(), token: format!("ffrun_{n}") })
        .into_response()
}

async fn sync(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    Json(request): Json<SyncRequest>,
) -> Response {
    assert!(token(&headers).starts_with("Bearer ffrun_"));
    match server.plane.sync(request).await {
        Ok(SyncResponse { mut assignments, .. }) if !assignments.is_empty() => {
            for assignment in &mut assignments {
                let step = StepSpec {
                    id: "__run".into(),
                    name: None,
                    condition: None,
                    env: Default::default(),
                    continue_on_error: None,
                    timeout_minutes: None,
                    action: StepAction::Run {
                        script: server.script.clone(),
                        shell: Some("sh".into()),
                        working_directory: None,
                    },
                    background: false,
                    line: 1,
                };
                let spec = JobSpec {
                    key: "job".into(),
                    name: "job".into(),
                    steps: vec![step],
                    timeout_seconds: 60,
                    cancel_timeout_seconds: 5,
                    ..JobSpec::default()
                };
                assignment.spec = Arc::new(spec);
            }
            Json(SyncResponse {
                version: "0.1.0".into(),
                lease_ms: 15_000,
                assignments,
                ..SyncResponse::default()
            })
            .into_response()
        }
        Ok(response) => Json(response).into_response(),
        Err(error) => refused(error),
    }
}

async fn append(
    State(server): State<Arc<Server>>,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Response {
    let attempt: AttemptRef = query["attempt"].parse().unwrap();
    match server.plane.append_log(attempt, query["offset"].parse().unwrap(), body).await {
        Ok(offset) => Json(Appended { offset }).into_response(),
        Err(error) => refused(error),
    }
}

async fn remove(State(server): State<Arc<Server>>, Path(id): Path<u64>) -> StatusCode {
    server.removed.lock().push(id);
    StatusCode::NO_CONTENT
}

async fn hook(State(server): State<Arc<Server>>, headers: HeaderMap, Json(notice): Json<serde_json::Value>) {
    assert!(headers.get("authorization").is_none(), "no credentials in a webhook");
    server.hooks.lock().push(notice);
}

async fn serve(script: &str) -> (Arc<Server>, String) {
    let server = Arc::new(Server {
        plane: Plane::default(),
        script: script.into(),
        registrations: Mutex::default(),
        removed: Mutex::default(),
        hooks: Mutex::default(),
    });
    let router = Router::new()
        .route("/api/v1/runners/register", post(registration))
        .route("/api/v1/runners/{id}/sync", post(sync))
        .route("/api/v1/runners/{id}/log", post(append).layer(axum::extract::DefaultBodyLimit::max(8 << 20)))
        .route("/api/v1/runners/{id}", delete(remove))
        .route("/readyz", get(|| async { "ok" }))
        .route("/hook", post(hook))
        .with_state(server.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (server, url)
}

fn config(dir: &tempfile::TempDir, url: &str) -> RunnerConfig {
    PartialConfig {
        server: Some(url.into()),
        token: Some(Secret::new("ffreg_good")),
        work_dir: Some(dir.path().join("work")),
        name: Some("one".into()),
        slots: Some(2),
        webhook: Some(Secret::new(format!("{url}/hook?key=1"))),
        ..PartialConfig::default()
    }
    .resolve()
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_one_off_runner_from_registration_to_its_end() {
    let (server, url) = serve("echo hello from $RUNNER_NAME").await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir, &url);
    config.one_off = true;
    let identity = load_or_register(&config).await.unwrap();
    assert_eq!(load_or_register(&config).await.unwrap(), identity, "registered once");
    let attempt = server.plane.submit(1, "ignored");

    let transport = Arc::new(http_transport(&config, &identity).unwrap());
    let executor = Arc::new(EngineExecutor::of_runner(&config, &identity).unwrap());
    let (_stage, shutdown) = watch::channel(Stage::Run);
    let ending =
        up(config.clone(), identity, transport, executor, Arc::new(|_: &_| {}), shutdown).await.unwrap();
    assert_eq!(ending, Ending::OneOff);
    {
        let world = server.plane.world.lock();
        assert_eq!(world.results[&attempt].conclusion, Conclusion::Success, "{:?}", world.results[&attempt]);
        let log = String::from_utf8_lossy(&world.logs[&attempt]).into_owned();
        assert!(log.contains("hello from one\n"), "{log}");
    }
    assert_eq!(*server.removed.lock(), [1]);
    assert!(!config.token_file.exists());
    let jobs = std::fs::read_dir(config.work_dir.join("jobs")).unwrap().count();
    let journal = std::fs::read_dir(config.work_dir.join("journal")).unwrap().count();
    assert_eq!((jobs, journal), (0, 0), "nothing remains");
    let events: Vec<String> =
        server.hooks.lock().iter().map(|n| n["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(events, ["runner.started", "job.started", "job.finished", "runner.finished"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_arrive_after_the_first_exchange() {
    let (server, url) = serve("true").await;
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir, &url);
    let identity = register(&config, None).await.unwrap();
    let transport = Arc::new(http_transport(&config, &identity).unwrap());
    let executor = Arc::new(EngineExecutor::of_runner(&config, &identity).unwrap());
    let (stage, shutdown) = watch::channel(Stage::Run);
    let runner = tokio::spawn(up(config, identity, transport, executor, Arc::new(|_: &_| {}), shutdown));
    let last_info = || server.plane.world.lock().info.clone();
    until("detected tools", || last_info().is_some_and(|i| i.capabilities.contains_key("git"))).await;
    assert!(last_info().unwrap().system.cpus > 0);
    stage.send(Stage::Drain).unwrap();
    assert_eq!(runner.await.unwrap().unwrap(), Ending::Drained);
}

#[tokio::test]
async fn registering_again_replaces_the_token_and_leaving_removes_it() {
    let (server, url) = serve("true").await;
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir, &url);
    let bad = register(&config, Some(Secret::new("ffreg_bad"))).await.unwrap_err();
    assert!(bad.to_string().contains("unknown registration token") && bad.hint().is_some());
    assert!(!config.token_file.exists());

    let first = register(&config, None).await.unwrap();
    let second = register(&config, None).await.unwrap();
    assert_ne!(first.token, second.token);
    assert_eq!(Identity::load(&config.token_file).unwrap(), second);
    unregister(&config, &second).await.unwrap();
    assert!(!config.token_file.exists());
    assert_eq!(*server.removed.lock(), [2]);
}

#[tokio::test]
async fn validation_says_what_is_wrong_and_what_to_do() {
    let (_server, url) = serve("true").await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir, &url);
    config.job_started_hook = Some(dir.path().join("missing"));
    let checks = validate(&config).await;
    let status = |name: &str| checks.checks.iter().find(|c| c.name == name).map(|c| c.status);
    assert_eq!(status("server"), Some(CheckStatus::Ok));
    assert_eq!(status("work_dir"), Some(CheckStatus::Ok));
    assert_eq!(status("token"), Some(CheckStatus::Failed));
    assert_eq!(status("job_started_hook"), Some(CheckStatus::Failed));
    assert!(checks.checks.iter().all(|c| c.status == CheckStatus::Ok || c.fix.is_some()), "{checks:?}");
}
