//! Samples, rows of the table, and what the kernel says about a process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One row of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) measure: String,
    /// What is wanted, in words.
    pub(crate) wanted: String,
    /// What was found, in words.
    pub(crate) found: String,
    /// Whether that is good enough.
    pub(crate) met: bool,
    /// The numbers behind it.
    pub(crate) numbers: serde_json::Value,
}

/// The rows as Markdown.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut out = String::from("| measure | wanted | found | met |\n|---|---|---|---|\n");
    for row in rows {
        let met = if row.met { "yes" } else { "no" };
        let _ = writeln!(out, "| {} | {} | {} | {met} |", row.measure, row.wanted, row.found);
    }
    out
}

/// Times of one kind.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// The sample below which this share of all lies, in milliseconds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        let at = (share * last as f64).round() as usize;
        sorted.get(at).map_or(f64::NAN, |d| d.as_secs_f64() * 1e3)
    }

    pub(crate) fn summary(&self) -> serde_json::Value {
        serde_json::json!({
            "samples": self.0.len(), "p50_ms": self.quantile(0.5), "p90_ms": self.quantile(0.9),
            "p99_ms": self.quantile(0.99), "max_ms": self.quantile(1.0),
        })
    }
}

/// CPU time of a process so far, user and system.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Fields 14 and 15, counted after the name in parentheses, which may contain anything.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// Ten thousand connections need as many descriptors, here and in the server.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// A named pipe: a step that opens it for writing wakes whoever waits here.
pub(crate) struct Gate {
    path: PathBuf,
}

impl Gate {
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        let path = dir.join(name);
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.is_ok_and(|s| s.success()), "mkfifo {}", path.display());
        Self { path }
    }

    pub(crate) fn path(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// When somebody opened it for writing.
    pub(crate) fn opened(&self) -> tokio::task::JoinHandle<std::time::Instant> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || {
            // Opening for reading blocks until there is a writer.
            let file = std::fs::File::open(path).expect("the pipe");
            let now = std::time::Instant::now();
            drop(file);
            now
        })
    }
}

/// The value of an environment variable as a number, for shorter trial runs.
pub(crate) fn size(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}
