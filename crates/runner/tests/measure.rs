//! How much a runner can do when nobody holds it up: not a test of speed, but
//! the numbers behind one. Run with `--release -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use async_trait::async_trait;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use fleetfoot_client::{Client, ClientConfig, Secret};
use fleetfoot_model::api::Appended;
use fleetfoot_model::ids::{AttemptRef, RunnerId};
use fleetfoot_model::sync::{SyncRequest, SyncResponse};
use fleetfoot_runner::transport::{ControlPlane, HttpTransport, TransportError};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use support::{Options, Plane, start_with, until};

/// Counts log bytes instead of keeping them.
struct Counting {
    plane: Arc<Plane>,
    ends: parking_lot::Mutex<HashMap<AttemptRef, u64>>,
}

#[async_trait]
impl ControlPlane for Counting {
    async fn sync(&self, request: SyncRequest) -> Result<SyncResponse, TransportError> {
        self.plane.sync(request).await
    }

    async fn append_log(&self, attempt: AttemptRef, offset: u64, body: Bytes) -> Result<u64, TransportError> {
        let n: u64 = fleetfoot_model::logs::frames(&body).map(|f| f.unwrap().bytes.len() as u64).sum();
        let mut ends = self.ends.lock();
        let end = ends.entry(attempt).or_default();
        assert_eq!(*end, offset);
        *end += n;
        Ok(*end)
    }
}

async fn sync(State(plane): State<Arc<Counting>>, Json(request): Json<SyncRequest>) -> Response {
    Json(plane.sync(request).await.unwrap()).into_response()
}

async fn append(
    State(plane): State<Arc<Counting>>,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Response {
    let attempt = query["attempt"].parse().unwrap();
    let offset = plane.append_log(attempt, query["offset"].parse().unwrap(), body).await.unwrap();
    Json(Appended { offset }).into_response()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn over_http_on_loopback() {
    let plane = Arc::<Plane>::default();
    let counting = Arc::new(Counting { plane: plane.clone(), ends: parking_lot::Mutex::default() });
    let router = Router::new()
        .route("/api/v1/runners/{id}/sync", post(sync))
        .route("/api/v1/runners/{id}/log", post(append).layer(axum::extract::DefaultBodyLimit::max(8 << 20)))
        .with_state(counting.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Without it, Nagle's algorithm adds 40 ms to some answers.
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = Client::new(ClientConfig::new(url, Some(Secret::new("x")))).unwrap();
    let transport = Arc::new(HttpTransport::new(client, RunnerId(1)));
    let dir = tempfile::tempdir().unwrap();
    let options = Options { slots: 8, one_off: false };
    let rig = start_with(dir.path(), options, plane.clone(), transport, Arc::default());

    const JOBS: u64 = 10_000;
    let started = Instant::now();
    for job in 1..=JOBS {
        plane.world.lock().queue.push_back((support::attempt(job), "noop".into()));
    }
    plane.change(|_| {});
    until("all results", || plane.world.lock().results.len() as u64 == JOBS).await;
    let seconds = started.elapsed().as_secs_f64();
    let syncs = plane.world.lock().syncs;
    println!(
        "no-op jobs: {:.0} a second, {:.2} exchanges each",
        JOBS as f64 / seconds,
        syncs as f64 / JOBS as f64
    );

    let mut latencies: Vec<f64> = Vec::new();
    for job in 0..1000 {
        let started = Instant::now();
        let attempt = plane.submit(JOBS + 10 + job, "noop");
        while !rig.hands.executions.lock().contains_key(&attempt) {
            tokio::task::yield_now().await;
        }
        latencies.push(started.elapsed().as_secs_f64() * 1e3);
        until("its result", || plane.has_result(attempt)).await;
    }
    latencies.sort_by(f64::total_cmp);
    println!("submit to execution: p50 {:.2} ms, p99 {:.2} ms", latencies[500], latencies[990]);

    const LOG: u64 = 512 << 20;
    let started = Instant::now();
    let attempt = plane.submit(JOBS * 10, &format!("repeat {LOG}"));
    until("the result", || plane.has_result(attempt)).await;
    assert_eq!(counting.ends.lock()[&attempt], LOG);
    println!("log: {:.0} MB/s", LOG as f64 / 1e6 / started.elapsed().as_secs_f64());
    rig.stop().await;
}
