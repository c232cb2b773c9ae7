//! The answer to the final report is lost on the way (promises 1 and 3).

use crate::support::*;
use fleetfoot_model::state::Conclusion;
use fleetfoot_testkit::{TestRunner, TestServer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const FINAL: &[u8] = b"\"phase\":\"finished\"";

/// Forwards connections, and cuts the first `cuts` of them that carry a final
/// report: when the server begins to answer it, so that it has surely acted.
struct Proxy {
    url: String,
    left: Arc<AtomicU32>,
    _runtime: Runtime,
}

impl Proxy {
    fn start(server: &str, cuts: u32) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let left = Arc::new(AtomicU32::new(cuts));
        let (target, cuts) = (server.trim_start_matches("http://").to_owned(), left.clone());
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, cuts) = (target.clone(), cuts.clone());
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(target).await {
                        let _ = forward(client, server, &cuts).await;
                    }
                });
            }
        });
        Self { url, left, _runtime: runtime }
    }
}

async fn forward(mut client: TcpStream, mut server: TcpStream, cuts: &AtomicU32) -> std::io::Result<()> {
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    // The end of what was seen: the mark may lie across two pieces.
    let mut seen: Vec<u8> = Vec::new();
    let mut cut = false;
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let piece = &up[..read?];
                if piece.is_empty() {
                    return Ok(());
                }
                seen.extend_from_slice(piece);
                if seen.windows(FINAL.len()).any(|w| w == FINAL) {
                    seen.clear();
                    cut |= cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
                }
                let keep = seen.len().saturating_sub(FINAL.len());
                seen.drain(..keep);
                server.write_all(piece).await?;
            }
            read = server.read(&mut down) => {
                let piece = &down[..read?];
                // Dropping both ends is the cut.
                if piece.is_empty() || cut {
                    return Ok(());
                }
                client.write_all(piece).await?;
            }
        }
    }
}

#[test]
fn a_lost_answer_to_the_final_report_changes_nothing() {
    let server = TestServer::server(BINARY, &[]);
    let proxy = Proxy::start(server.url(), 3);
    let mut runner = TestRunner::start_at(&server, &proxy.url, None, "unlucky", 1, &["--label", "linux"]);
    let api = Api::of(&server);
    let dir = tempfile::tempdir().unwrap();
    let executed = dir.path().join("executed");
    let fails = api.submit(&one_step(&format!("echo once >> {}; echo out; exit 3", executed.display())));
    let ended = api.ended_job(&fails, LONG);
    let succeeds = api.submit(&one_step(&format!("echo once >> {}; echo out", executed.display())));
    succeeded(&api.ended_job(&succeeds, LONG));
    wait_for("the answers to be cut", LONG, || (proxy.left.load(Ordering::SeqCst) == 0).then_some(()));

    // The slot is free again: the runner heard at last that its reports are durable.
    let last = api.submit(&one_step("echo last"));
    succeeded(&api.ended_job(&last, LONG));
    assert_eq!((ended.conclusion, ended.exit_code), (Some(Conclusion::Failure), Some(3)));
    let after = api.job(fails.jobs[0].id);
    assert_eq!((after.change, after.finished_at), (ended.change, ended.finished_at), "final is final");
    for created in [&fails, &succeeds] {
        assert_eq!(api.job(created.jobs[0].id).attempts.unwrap().len(), 1);
        assert_eq!(api.log_text(created.jobs[0].id), "out\n");
    }
    assert_eq!(std::fs::read_to_string(&executed).unwrap(), "once\nonce\n");
    let mut counted = api.completed("unlucky");
    counted.sort();
    assert_eq!(counted, [("failure".to_owned(), 1), ("success".to_owned(), 2)], "each end counts once");
    assert_eq!(runner.stop().code(), Some(0));
}
