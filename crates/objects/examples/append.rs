//! Measures the log store on a directory of the disk that will hold it:
//! `cargo run --release -p fleetfoot-objects --example append [DIRECTORY]`.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use bytes::Bytes;
use fleetfoot_model::logs::{Stream, frame_header};
use fleetfoot_model::{AttemptRef, Epoch, JobId, Timestamp};
use fleetfoot_objects::{LogOptions, LogStore};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn id(job: u64) -> AttemptRef {
    AttemptRef { job: JobId(job), attempt: 1, epoch: Epoch(1) }
}

fn body(length: usize, frames: usize) -> Bytes {
    let payload: Vec<u8> = (0..length / frames).map(|i| b"0123456789abcde\n"[i % 16]).collect();
    let mut out = Vec::new();
    for time in 0..frames {
        let time = Timestamp(time as i64 * 5_000);
        out.extend_from_slice(&frame_header(payload.len() as u32, Stream::Stdout, 0, time));
        out.extend_from_slice(&payload);
    }
    out.into()
}

/// `writers` tasks, each with its own attempt, `appends` bodies each.
async fn appends(
    store: &LogStore,
    first: u64,
    writers: u64,
    appends: u64,
    body: &Bytes,
    length: u64,
) -> Result<f64> {
    let begin = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|w| {
            let (store, body) = (store.clone(), body.clone());
            tokio::spawn(async move {
                for n in 0..appends {
                    store.append(id(first + w), n * length, body.clone()).await?;
                }
                Ok::<_, fleetfoot_objects::AppendError>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(begin.elapsed().as_secs_f64())
}

#[tokio::main]
async fn main() -> Result<()> {
    let parent = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let dir = Path::new(&parent).join(format!("throughput-{}", std::process::id()));
    let store = LogStore::open(&dir, LogOptions::default())?;
    let measured = measure(&store).await;
    std::fs::remove_dir_all(&dir)?;
    measured
}

async fn measure(store: &LogStore) -> Result<()> {
    const MIB: u64 = 1 << 20;
    let large = body(MIB as usize, 64);
    for writers in [1, 4] {
        let seconds = appends(store, writers * 10, writers, 512 / writers, &large, MIB).await?;
        println!("1 MiB appends, {writers} writers: {:.0} MB/s durable", 512.0 * 1.048576 / seconds);
    }

    let small = body(100, 1);
    let fresh = 5_000;
    let seconds = {
        let begin = Instant::now();
        let mut next = 0;
        let mut tasks = tokio::task::JoinSet::new();
        while next < fresh || !tasks.is_empty() {
            while next < fresh && tasks.len() < 256 {
                let (store, small) = (store.clone(), small.clone());
                tasks.spawn(async move { store.append(id(1_000 + next), 0, small).await });
                next += 1;
            }
            if let Some(done) = tasks.join_next().await {
                done??;
            }
        }
        begin.elapsed().as_secs_f64()
    };
    println!("100 B appends that begin {fresh} new logs: {:.0}/s", fresh as f64 / seconds);
    for writers in [1_u64, 16, 256] {
        let each = (16_000 / writers).min(2_000);
        let seconds = appends(store, 100_000 * writers, writers, each, &small, 100).await?;
        println!("100 B appends, {writers} logs: {:.0}/s durable", (writers * each) as f64 / seconds);
    }

    for followers in [1_u64, 4] {
        store.close(id(10)).await?;
        let begin = Instant::now();
        let tasks: Vec<_> = (0..followers)
            .map(|_| {
                let mut follower = store.follow(id(10), 0);
                tokio::spawn(async move {
                    let mut seen = 0;
                    while let Some(chunk) = follower.next().await? {
                        seen += chunk.bytes.len();
                    }
                    Ok::<_, fleetfoot_objects::ObjectError>(seen)
                })
            })
            .collect();
        let mut seen = 0;
        for task in tasks {
            seen += task.await??;
        }
        let rate = seen as f64 / 1e6 / begin.elapsed().as_secs_f64();
        println!("following from the page cache, {followers} followers: {rate:.0} MB/s");
    }
    println!("{:?}", store.statistics());
    Ok(())
}
