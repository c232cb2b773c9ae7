//! Measures the numbers that this project promises, with real processes, and
//! prints a table of target and truth. It judges nothing but the table: a row
//! that misses its target is a line in it, not a failed command. Never part
//! of the product, never run by the tests.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

mod host;
mod programs;
mod report;
mod rows;
mod stage;

use clap::{Parser, Subcommand};
use report::Report;
use std::path::{Path, PathBuf};

/// That of the product: one row measures the control plane in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Fleetfoot.
#[derive(Parser)]
#[command(name = "bench")]
struct Args {
    #[command(subcommand)]
    program: Option<Program>,
    /// Rows to measure; none means all.
    #[arg(long = "row", value_delimiter = ',')]
    rows: Vec<String>,
    /// The binary to measure; default: the one beside this program.
    #[arg(long)]
    fleetfoot: Option<PathBuf>,
    /// Directory for the state of the measured processes, on a real disk; default: beside this program.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where the JSON goes.
    #[arg(long, default_value = "bench-results/bench.json")]
    json: PathBuf,
    /// Divides the number of samples, jobs and bytes, for a quick look.
    #[arg(long, default_value_t = 1)]
    shrink: u64,
}

/// What this program is when a measured step runs it.
#[derive(Subcommand)]
enum Program {
    /// Tells the time at which it runs to the socket named in FILE.
    #[command(hide = true)]
    Stamp { file: PathBuf },
    /// Waits for an interrupt and tells the time of it to the socket named in FILE.
    #[command(hide = true)]
    Trap { file: PathBuf },
    /// Prints as many lines of 80 bytes as FILE says.
    #[command(hide = true)]
    Lines { file: PathBuf },
    /// Works with the processor and nothing else, and tells how long that took, in nanoseconds.
    #[command(hide = true)]
    Spin { rounds: u64 },
}

/// What every row needs to know.
pub(crate) struct Setting {
    /// This program.
    pub(crate) own: PathBuf,
    /// The measured binary.
    pub(crate) fleetfoot: String,
    /// Divides the amounts.
    pub(crate) shrink: u64,
}

impl Setting {
    /// An amount, divided; at least 1.
    pub(crate) fn amount(&self, full: u64) -> u64 {
        (full / self.shrink).max(1)
    }

    /// The shell template that makes one of our programs the step's own process.
    pub(crate) fn shell(&self, program: &str) -> String {
        format!("{} {program} {{0}}", self.own.display())
    }
}

fn main() -> anyhow::Result<()> {
    // First of all: a stamp is worth less with every instruction before it.
    let started = host::wall_ns();
    let args = Args::parse();
    match args.program {
        Some(Program::Stamp { file }) => programs::stamp(&file, started),
        Some(Program::Trap { file }) => programs::trap(&file),
        Some(Program::Lines { file }) => programs::lines(&file),
        Some(Program::Spin { rounds }) => programs::spin(rounds),
        None => tokio::runtime::Runtime::new()?.block_on(measure(args)),
    }
}

async fn measure(args: Args) -> anyhow::Result<()> {
    let own = std::env::current_exe()?;
    let beside = own.parent().unwrap_or(Path::new(".")).to_owned();
    let fleetfoot = args.fleetfoot.unwrap_or_else(|| beside.join("fleetfoot")).canonicalize()?;
    let dir = args.dir.unwrap_or_else(|| beside.join("bench-state"));
    std::fs::create_dir_all(&dir)?;
    // A second bench process beside this one sets the same; the first one in this process wins.
    let _ = tempfile::env::override_temp_dir(&dir.canonicalize()?);
    host::raise_file_limit()?;
    let setting = Setting { own, fleetfoot: fleetfoot.display().to_string(), shrink: args.shrink.max(1) };

    let mut report = Report::new(setting.shrink);
    for row in rows::chosen(&args.rows)? {
        eprintln!("bench: {row} (load {})", host::load());
        let load = host::load();
        match rows::measure(row, &setting).await {
            Ok(measures) => report.add(row, &load, measures),
            Err(e) => report.failed(row, &load, &format!("{e:#}")),
        }
        report.write(&args.json)?;
    }
    println!("{}", report.table());
    Ok(())
}
