//! Measures the store on this machine: `cargo run --release -p
//! fleetfoot-store-sqlite --example commit [DIR]`. Durable commits, one
//! process; the numbers that the control plane can build on.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use fleetfoot_model::ids::{JobId, RunId};
use fleetfoot_model::state::Conclusion;
use fleetfoot_store::conformance::fixtures::{complete_run, create, end, lease, new_run};
use fleetfoot_store::{JobEnd, JobPayload, NewRun, Op, Store};
use fleetfoot_store_sqlite::{Options, SqliteStore};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error>;

/// Applies and insists that everything took effect.
async fn all(store: &SqliteStore, ops: Vec<Op>) -> Result<(), Failure> {
    for answer in store.apply(ops).await? {
        answer?;
    }
    Ok(())
}

fn rate(n: u64, took: Duration) -> f64 {
    n as f64 / took.as_secs_f64()
}

/// Runs with one job each and the same document and specification, as a batch submit makes them.
fn batch(first: u64, n: u64, template: &NewRun, payload: &JobPayload) -> Vec<Op> {
    (first..first + n)
        .map(|id| {
            let mut new = template.clone();
            new.row.id = RunId(id);
            new.row.change = id;
            new.jobs[0].0.id = JobId(id);
            new.jobs[0].0.run = RunId(id);
            new.jobs[0].0.change = id;
            new.jobs[0].1 = Some(payload.clone());
            Op::CreateRun(Box::new(new))
        })
        .collect()
}

fn complete_plain(job: u64) -> Op {
    let end = JobEnd {
        conclusion: Conclusion::Success,
        reason: None,
        message: None,
        exit_code: Some(0),
        outputs: Default::default(),
        at: fleetfoot_store::conformance::fixtures::at(14),
    };
    Op::CompleteJob { job: JobId(job), end: Box::new(end), change: job }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let kept: Option<PathBuf> = std::env::args_os().nth(1).map(Into::into);
    let temporary = tempfile::tempdir()?;
    let dir = kept.unwrap_or_else(|| temporary.path().join("store"));
    let store = Arc::new(SqliteStore::open(&dir, Options::default())?);
    let mut next = store.high_water().await?.run + 1;

    let mut template = new_run(1, &[1]);
    template.payload.document = "x".repeat(1500).into();
    template.row.nodes = Vec::new();
    template.row.concurrency = None;
    let payload = template.jobs[0].1.clone().ok_or("a payload")?;
    let payload = JobPayload { needs: None, ..payload };
    for _ in 0..5 {
        let ops = batch(next, 10_000, &template, &payload);
        let begun = Instant::now();
        all(&store, ops).await?;
        let took = begun.elapsed();
        println!("batch create 10,000 runs in one call: {:>9.0} runs/s", rate(10_000, took));
        next += 10_000;
    }

    for (size, rounds) in [(64, 300), (1, 1000)] {
        let begun = Instant::now();
        for _ in 0..rounds {
            let ids = next..next + size;
            next += size;
            all(&store, batch(ids.start, size, &template, &payload)).await?;
            all(&store, ids.clone().map(|id| lease(id, id, 1, id)).collect()).await?;
            let ends = ids.flat_map(|id| [end(id, 1, id), complete_plain(id), complete_run(id)]);
            all(&store, ends.collect()).await?;
        }
        println!(
            "cycle, one caller, {size:>2} jobs a call:       {:>9.0} jobs/s",
            rate(rounds * size, begun.elapsed())
        );
    }

    let begun = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..64 {
        let store = store.clone();
        let first = next + caller * 200;
        callers.spawn(async move {
            for id in first..first + 200 {
                all(&store, vec![create(id, &[id])]).await.map_err(|e| e.to_string())?;
                all(&store, vec![lease(id, id, 1, id)]).await.map_err(|e| e.to_string())?;
                let ops = vec![end(id, 1, id), complete_plain(id), complete_run(id)];
                all(&store, ops).await.map_err(|e| e.to_string())?;
            }
            Ok::<_, String>(())
        });
    }
    for done in callers.join_all().await {
        done?;
    }
    println!("cycle, 64 callers, 1 job a call:      {:>9.0} jobs/s", rate(64 * 200, begun.elapsed()));

    let mut latencies = Vec::new();
    for i in 0..5_000 {
        let begun = Instant::now();
        store.job(JobId(1 + i * 7)).await?.ok_or("the job exists")?;
        latencies.push(begun.elapsed());
    }
    latencies.sort_unstable();
    println!("point read: p50 {:?}, p99 {:?}", latencies[2_500], latencies[4_950]);

    let begun = Instant::now();
    let (mut after, mut open) = (None, 0);
    loop {
        let page = store.open_runs(after, 1000).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.id);
        open += page.len();
    }
    println!("read {open} open runs at start:       {:?}", begun.elapsed());

    let ids: Vec<_> = (1..=10_000)
        .flat_map(|id| [complete_plain(id), complete_run(id), Op::DeleteRun(RunId(id))])
        .collect();
    let begun = Instant::now();
    let answers = store.apply(ids).await?;
    let deleted = answers.chunks(3).filter(|c| c[2].is_ok()).count();
    println!("complete and delete runs:             {:>9.0} runs/s", rate(deleted as u64, begun.elapsed()));

    let backup = temporary.path().join("backup");
    let begun = Instant::now();
    store.backup(&backup).await?;
    println!("backup of {} MiB: {:?}", std::fs::metadata(&backup)?.len() >> 20, begun.elapsed());
    println!("{:?}", store.statistics());
    Ok(())
}
