//! How fast log bytes travel, and that a slow viewer slows nobody.

use crate::BINARY;
use crate::measure::{Row, size};
use crate::speed::{ended, job};
use fleetfoot_client::Client;
use fleetfoot_model::JobId;
use fleetfoot_testkit::{TestRunner, TestServer, resident_bytes};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// One line of 80 bytes with its end.
const LINE: &str = "0123456789012345678901234567890123456789012345678901234567890123456789012345678";

fn bytes() -> u64 {
    size("BENCH_LOG_BYTES", 1 << 30) / 80 * 80
}

/// Prints exactly this many bytes, quicker than anybody can read them.
fn script(bytes: u64) -> String {
    format!("yes {LINE} | head -c {bytes}")
}

/// Runs it; answers how long the step took, with everything durable at its end.
async fn printed(client: &Client, bytes: u64) -> (JobId, Duration) {
    let created = client.create_run(&job("bench", &script(bytes)), None).await.expect("a run");
    ended(client, created.run).await;
    let id = created.jobs[0].id;
    let view = client.job(id).await.expect("the job");
    let attempt = &view.attempts.expect("attempts")[0];
    assert_eq!(attempt.log_bytes, bytes, "every byte is durable");
    let step = &view.steps[0];
    let (start, end) = (step.started_at.expect("a start"), view.finished_at.expect("an end"));
    (id, end.since(start))
}

fn rate(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64()
}

pub(crate) async fn durable() -> Vec<Row> {
    let server = TestServer::server(BINARY, &[]);
    let _runner = TestRunner::start(&server, "bench", 1, &["bench"]);
    let bytes = bytes();
    let (_, time) = printed(&server.client(), bytes).await;
    let found = rate(bytes, time);
    vec![Row {
        measure: format!("one step printing {} MiB of 80-byte lines, durable at the server", bytes >> 20),
        wanted: "150 MB/s".to_owned(),
        found: format!("{found:.0} MB/s"),
        met: found >= 150.0,
        numbers: json!({ "bytes": bytes, "seconds": time.as_secs_f64() }),
    }]
}

/// The command line follows from the first byte; what it prints is hashed here.
pub(crate) async fn follower() -> Vec<Row> {
    let server = TestServer::server(BINARY, &[]);
    let client = server.client();
    let _runner = TestRunner::start(&server, "bench", 1, &["bench"]);
    let bytes = bytes();
    let created = client.create_run(&job("bench", &script(bytes)), None).await.expect("a run");
    let id = created.jobs[0].id.to_string();
    let begin = Instant::now();
    let mut child = server
        .cli()
        .command(&["logs", &id, "--follow"])
        .stderr(Stdio::inherit())
        .spawn()
        .expect("a follower");
    let mut stdout = child.stdout.take().expect("its output");
    let read = tokio::task::spawn_blocking(move || {
        let mut hash = Sha256::new();
        let (mut buffer, mut total) = (vec![0; 1 << 20], 0_u64);
        loop {
            let n = stdout.read(&mut buffer).expect("the follower's output");
            if n == 0 {
                return (total, hash.finalize());
            }
            hash.update(&buffer[..n]);
            total += n as u64;
        }
    });
    let (total, hash) = read.await.expect("the reader");
    let time = begin.elapsed();
    let _ = child.wait();
    let same = total == bytes && hash == expected(bytes);
    let found = rate(total, time);
    vec![Row {
        measure: "a follower of that step".to_owned(),
        wanted: "100 MB/s, same SHA-256".to_owned(),
        found: format!("{found:.0} MB/s, {}", if same { "same SHA-256" } else { "DIFFERENT BYTES" }),
        met: found >= 100.0 && same,
        numbers: json!({ "bytes": total, "seconds": time.as_secs_f64(), "same": same }),
    }]
}

fn expected(bytes: u64) -> sha2::digest::Output<Sha256> {
    let line = format!("{LINE}\n");
    let block = line.repeat(10_000);
    let mut hash = Sha256::new();
    let mut left = usize::try_from(bytes).expect("a size");
    while left > 0 {
        let n = left.min(block.len());
        hash.update(&block.as_bytes()[..n]);
        left -= n;
    }
    hash.finalize()
}

/// Followers that read nothing, against none; alternating, so that drift of the machine hits both.
pub(crate) async fn stalled() -> Vec<Row> {
    let server = TestServer::server(BINARY, &[]);
    let client = server.client();
    let _runner = TestRunner::start(&server, "bench", 1, &["bench"]);
    let bytes = bytes() / 4;
    let (mut alone, mut watched, mut most) = (Vec::new(), Vec::new(), 0);
    printed(&client, bytes).await;
    for _ in 0..3 {
        alone.push(printed(&client, bytes).await.1);
        let created = client.create_run(&job("bench", &script(bytes)), None).await.expect("a run");
        let id = created.jobs[0].id;
        let _stalled: Vec<TcpStream> = (0..4).map(|_| open_stream(&server, id)).collect();
        let mut end = Box::pin(ended(&client, created.run));
        loop {
            most = most.max(resident_bytes(server.pid()));
            tokio::select! {
                () = &mut end => break,
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
        let view = client.job(id).await.expect("the job");
        let (start, end) = (view.steps[0].started_at.expect("a start"), view.finished_at.expect("an end"));
        watched.push(end.since(start));
    }
    let best = |times: &[Duration]| times.iter().min().copied().unwrap_or_default().as_secs_f64();
    let slower = (best(&watched) / best(&alone) - 1.0) * 100.0;
    let mib = most >> 20;
    vec![Row {
        measure: "stalled followers of a step".to_owned(),
        wanted: "slow it by less than 5 %, server memory bounded".to_owned(),
        found: format!("{slower:+.1} %, server at most {mib} MiB"),
        met: slower < 5.0 && mib < 300,
        numbers: json!({ "alone_seconds": best(&alone), "watched_seconds": best(&watched), "server_rss_bytes": most }),
    }]
}

/// Asks for the stream and never reads it.
fn open_stream(server: &TestServer, job: JobId) -> TcpStream {
    let address = server.url().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("a connection");
    let request = format!(
        "GET /api/v1/jobs/{job}/log?offset=0 HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\nAuthorization: Bearer {}\r\n\r\n",
        server.admin_token()
    );
    stream.write_all(request.as_bytes()).expect("a request");
    stream
}
