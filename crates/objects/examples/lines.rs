//! Measures reading, outlining and searching a long log by lines:
//! `cargo run --release -p fleetfoot-objects --example lines [DIRECTORY] [MIB]`.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use bytes::Bytes;
use fleetfoot_model::logs::{Stream, frame_header};
use fleetfoot_model::{AttemptRef, Epoch, JobId, Timestamp};
use fleetfoot_objects::{LineRange, LogOptions, LogPattern, LogStore};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ID: AttemptRef = AttemptRef { job: JobId(1), attempt: 1, epoch: Epoch(1) };

#[tokio::main]
async fn main() -> Result<()> {
    let parent = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let mib: u64 = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(1024);
    let dir = Path::new(&parent).join(format!("lines-{}", std::process::id()));
    let done = measure(&dir, mib).await;
    std::fs::remove_dir_all(&dir)?;
    done
}

async fn measure(dir: &Path, mib: u64) -> Result<()> {
    let options = || LogOptions { durable: false, ..LogOptions::default() };
    let store = LogStore::open(dir, options())?;
    let mut payload = Vec::new();
    let mut n = 0_u64;
    while payload.len() < (1 << 20) - 100 {
        payload.extend_from_slice(
            format!("{n:>12} a line of a log, of the usual length: it says little\n").as_bytes(),
        );
        n += 1;
    }
    let mut body = frame_header(payload.len() as u32, Stream::Stdout, 0, Timestamp(1)).to_vec();
    body.extend_from_slice(&payload);
    let body = Bytes::from(body);
    let begun = Instant::now();
    for i in 0..mib {
        store.append(ID, i * payload.len() as u64, body.clone()).await?;
    }
    let mb = (mib * payload.len() as u64) as f64 / 1e6;
    println!("append: {:.0} MB/s", mb / begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    store.close(ID).await?;
    let outline = store.outline(ID).await?;
    println!("outline of {} lines: {:?}", outline.total_lines, begun.elapsed());

    let store = LogStore::open(dir, options())?;
    let begun = Instant::now();
    let tail = store.lines(ID, LineRange::Last(500), 500, 512 << 10).await?;
    println!("cold, the last {} lines: {:?}", tail.lines.len(), begun.elapsed());
    let begun = Instant::now();
    let middle = store.lines(ID, LineRange::From(tail.total / 2), 500, 512 << 10).await?;
    println!("{} lines in the middle: {:?}", middle.lines.len(), begun.elapsed());
    for (name, asked, regex, case) in [
        ("text", "nowhere to be found", false, true),
        ("text in any case", "nowhere to be found", false, false),
        ("text that is everywhere", "usual", false, true),
        ("pattern", r"err(or)?\s+\d+", true, false),
    ] {
        let (begun, mut after, mut count) = (Instant::now(), 0, 0);
        loop {
            let pattern = LogPattern::new(asked, regex, case)?;
            let found = store.search(ID, pattern, after, 200, Duration::from_secs(60)).await?;
            count += found.count;
            match found.next {
                Some(next) if !found.complete => after = next,
                _ => break,
            }
        }
        println!("search for a {name}: {count} lines, {:.0} MB/s", mb / begun.elapsed().as_secs_f64());
    }
    Ok(())
}
