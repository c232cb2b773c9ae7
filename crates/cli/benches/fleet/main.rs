//! `make bench`: every row of the table of numbers, with real processes of the
//! release binary. Prints a table and writes JSON; asserts nothing, since a
//! busy machine is no bug. `make bench ROW=dispatch` measures one row.

mod control;
mod fleet;
mod logs;
mod measure;
mod speed;

use measure::{Row, table};
use std::path::Path;

/// Path of the binary under measurement.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_fleetfoot");

type Measurement = fn() -> std::pin::Pin<Box<dyn Future<Output = Vec<Row>>>>;

/// Names and what they measure, in the order of the table.
const ROWS: &[(&str, Measurement)] = &[
    ("dispatch", || Box::pin(speed::dispatch())),
    ("noop", || Box::pin(speed::noop())),
    ("control", || Box::pin(control::alone())),
    ("batch", || Box::pin(speed::batch())),
    ("log", || Box::pin(logs::durable())),
    ("follower", || Box::pin(logs::follower())),
    ("stalled", || Box::pin(logs::stalled())),
    ("cancel", || Box::pin(speed::cancel())),
    ("idle-runners", || Box::pin(fleet::idle_runners())),
    ("unmatched", || Box::pin(fleet::unmatched())),
    ("memory", || Box::pin(fleet::memory())),
    ("start", || Box::pin(fleet::start())),
    ("local", || Box::pin(fleet::local())),
];

fn main() {
    // cargo adds `--bench`; everything else names rows.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    if let Some(unknown) = wanted.iter().find(|w| ROWS.iter().all(|(name, _)| name != w)) {
        let names: Vec<&str> = ROWS.iter().map(|(name, _)| *name).collect();
        say(&format!("there is no row {unknown}; there are: {}", names.join(", ")));
        return;
    }
    measure::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut rows = Vec::new();
    for (name, measure) in
        ROWS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name))
    {
        say(&format!("measuring {name} …"));
        let measured = runtime.block_on(measure());
        for row in &measured {
            say(&format!("  {}: {}", row.measure, row.found));
        }
        rows.extend(measured);
    }
    print(&table(&rows));
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench-results");
    let name = if wanted.is_empty() { "all".to_owned() } else { wanted.join("-") };
    let file = directory.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(&rows).expect("JSON");
    std::fs::create_dir_all(&directory)
        .and_then(|()| std::fs::write(&file, text))
        .expect("the results are written");
    say(&format!("written to bench-results/{name}.json"));
}

#[allow(clippy::print_stderr, reason = "progress of a benchmark")]
fn say(text: &str) {
    eprintln!("{text}");
}

#[allow(clippy::print_stdout, reason = "the result of a benchmark")]
fn print(text: &str) {
    println!("{text}");
}
