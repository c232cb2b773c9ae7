//! Measures lists of runs: `cargo run --release -p fleetfoot-store-sqlite --example lists [DIRECTORY] [RUNS]`.
//! Every filter, one that matches the newest runs and one that matches few or none.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use fleetfoot_model::api::RunFilter;
use fleetfoot_model::observe::RunSearch;
use fleetfoot_model::state::{Conclusion, Status};
use fleetfoot_store::conformance::fixtures::{complete, complete_run, end, lease, new_run, placement};
use fleetfoot_store::{ObserveStore, Op, Store};
use fleetfoot_store_sqlite::SqliteStore;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let parent = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let runs: u64 = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let dir = Path::new(&parent).join(format!("lists-{}", std::process::id()));
    let done = measure(&dir, runs).await;
    std::fs::remove_dir_all(&dir)?;
    done
}

/// One run of three jobs; all but the newest have ended.
fn run(id: u64, open: u64) -> Vec<Op> {
    let jobs = [id * 4, id * 4 + 1, id * 4 + 2];
    let mut new = new_run(id, &jobs);
    new.row.name = format!("workflow {}", id % 40);
    new.row.title = format!("Change {id} of something in the product");
    new.row.branch = Some(format!("feature/{}", id % 500));
    new.row.actor = Some(format!("person{}", id % 60));
    new.row.project = format!("project{}", id % 10);
    new.row.event = if id == 7 { "schedule" } else { "push" }.to_owned();
    new.row.kind = if id == 9 { "job" } else { "workflow" }.to_owned();
    if let Some(repository) = &mut new.payload.params.repository {
        repository.sha = Some(format!("{id:040x}"));
    }
    let label = if id % 1000 == 1 { "rare" } else { "linux" };
    for (job, _) in &mut new.jobs {
        job.placement = Some(Arc::new(placement(label)));
    }
    let mut ops = vec![Op::CreateRun(Box::new(new))];
    if id > open {
        return ops;
    }
    let conclusion = if id % 5000 == 2 { Conclusion::TimedOut } else { Conclusion::Success };
    for job in jobs {
        ops.extend([lease(id, job, 1, job + 1), end(job, 1, job + 1), complete(job, conclusion)]);
    }
    ops.push(complete_run(id));
    ops
}

async fn measure(dir: &Path, runs: u64) -> Result<()> {
    let store = SqliteStore::open_scratch(dir)?;
    let begun = Instant::now();
    for first in (1..=runs).step_by(500) {
        let ops = (first..(first + 500).min(runs + 1)).flat_map(|id| run(id, runs - 200)).collect();
        for result in store.apply(ops).await? {
            result?;
        }
    }
    println!("{runs} runs stored in {:?}", begun.elapsed());
    let text = |t: &str| Some(t.to_owned());
    let of = |filter: RunFilter| RunSearch { filter, ..RunSearch::default() };
    let none = RunFilter::default;
    let searches = [
        ("none", RunSearch::default()),
        ("status queued", of(RunFilter { status: Some(Status::Queued), ..none() })),
        ("status waiting (none)", of(RunFilter { status: Some(Status::Waiting), ..none() })),
        ("status completed", of(RunFilter { status: Some(Status::Completed), ..none() })),
        ("conclusion success", of(RunFilter { conclusion: Some(Conclusion::Success), ..none() })),
        ("conclusion timed_out (none)", of(RunFilter { conclusion: Some(Conclusion::TimedOut), ..none() })),
        ("kind job (1)", of(RunFilter { kind: text("job"), ..none() })),
        ("project", of(RunFilter { project: text("project3"), ..none() })),
        ("workflow", of(RunFilter { name: text("workflow 7"), ..none() })),
        ("branch", of(RunFilter { branch: text("feature/77"), ..none() })),
        ("actor", of(RunFilter { actor: text("person5"), ..none() })),
        ("event schedule (1)", of(RunFilter { event: text("schedule"), ..none() })),
        ("label of most", RunSearch { label: text("linux"), ..RunSearch::default() }),
        ("label of few", RunSearch { label: text("rare"), ..RunSearch::default() }),
        ("runner of most", RunSearch { runner: text("5"), ..RunSearch::default() }),
        ("runner of none", RunSearch { runner: text("77"), ..RunSearch::default() }),
        ("text of most", RunSearch { text: text("product"), ..RunSearch::default() }),
        ("text of none", RunSearch { text: text("nowhere"), ..RunSearch::default() }),
        (
            "text of a commit",
            RunSearch { text: text("0000000000000000000000000000000000012"), ..RunSearch::default() },
        ),
        (
            "text, label and branch",
            RunSearch {
                filter: RunFilter { branch: text("feature/1"), ..none() },
                label: text("linux"),
                text: text("change 1"),
                ..RunSearch::default()
            },
        ),
    ];
    for (name, search) in searches {
        let begun = Instant::now();
        let found = store.search_runs(&search, None, 51).await?;
        println!("{:>9.1} ms  {:>3} rows  {name}", begun.elapsed().as_secs_f64() * 1e3, found.len());
    }
    let begun = Instant::now();
    let facets = store.run_facets(200).await?;
    println!("{:>9.1} ms  facets, {} branches", begun.elapsed().as_secs_f64() * 1e3, facets.branches.len());
    Ok(())
}
