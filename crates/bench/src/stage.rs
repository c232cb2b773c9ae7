//! What rows have in common: servers and runners as processes, the socket
//! that steps report to, percentiles, waiting for jobs to be done.

use anyhow::{Context as _, bail};
use fleetfoot_client::Client;
use fleetfoot_model::api::{CreateBatch, CreateRun, JobView, RunView};
use fleetfoot_model::{JobId, RunId, Status};
use fleetfoot_testkit::TestServer;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::net::UnixDatagram;

/// A plain job of one step.
pub(crate) fn job(shell: Option<&str>, script: &str, label: Option<&str>) -> CreateRun {
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let label = label.map(|l| format!("runs-on: {}\n", quote(l))).unwrap_or_default();
    let shell = shell.map(|s| format!("\n    shell: {}", quote(s))).unwrap_or_default();
    let document = format!("{label}steps:\n  - run: {}{shell}\n", quote(script));
    CreateRun { kind: "job".to_owned(), document, ..CreateRun::default() }
}

/// As many of the same.
pub(crate) fn batch(run: &CreateRun, n: u64) -> CreateBatch {
    CreateBatch { runs: (0..n).map(|_| run.clone()).collect() }
}

/// Where steps tell their times.
pub(crate) struct Inbox {
    socket: UnixDatagram,
    path: String,
    _dir: tempfile::TempDir,
}

impl Inbox {
    pub(crate) fn open() -> anyhow::Result<Self> {
        // Not in the state directory: the path of a socket is at most 107 bytes long.
        let dir = tempfile::Builder::new().prefix("ffb").tempdir_in("/tmp")?;
        let path = dir.path().join("s").display().to_string();
        Ok(Self { socket: UnixDatagram::bind(&path)?, path, _dir: dir })
    }

    /// Its path, for the script of a step.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The next time that a step told.
    pub(crate) async fn receive(&self) -> anyhow::Result<u64> {
        let mut bytes = [0; 8];
        let n = tokio::time::timeout(Duration::from_secs(30), self.socket.recv(&mut bytes))
            .await
            .context("no step reported within 30 s")??;
        if n != bytes.len() {
            bail!("a report of {n} bytes");
        }
        Ok(u64::from_le_bytes(bytes))
    }
}

/// Waits until a run is over.
pub(crate) async fn ended(client: &Client, run: RunId) -> anyhow::Result<RunView> {
    let mut follow = client.follow_run(run);
    while let Some(view) = follow.next().await? {
        if view.status == Status::Completed {
            return Ok(view);
        }
    }
    Ok(client.run(run).await?)
}

/// Waits until a job is over, looking now and then: for long steps that nothing should disturb.
pub(crate) async fn job_ended(client: &Client, job: JobId) -> anyhow::Result<JobView> {
    loop {
        let view = client.job(job).await?;
        if view.status == Status::Completed {
            return Ok(view);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The sum of a metric over its labels.
pub(crate) async fn metric(client: &Client, name: &str) -> anyhow::Result<f64> {
    let text = client.metrics().await?;
    let mut sum = 0.0;
    for line in text.lines().filter(|l| l.starts_with(name)) {
        if line[name.len()..].starts_with(['{', ' ']) {
            sum += line.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok()).unwrap_or(0.0);
        }
    }
    Ok(sum)
}

/// Waits until that many jobs have ended since the server started.
pub(crate) async fn jobs_ended(client: &Client, n: u64) -> anyhow::Result<()> {
    let limit = Instant::now() + Duration::from_secs(600);
    while metric(client, "fleetfoot_jobs_completed_total").await? < n as f64 {
        if Instant::now() > limit {
            bail!("{n} jobs did not end within 10 minutes");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// A server on a fresh directory.
pub(crate) fn server(binary: &str) -> TestServer {
    TestServer::server(binary, &[])
}

/// The value below which this share of the samples lies.
pub(crate) fn percentile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let last = samples.len().saturating_sub(1);
    samples.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// Milliseconds.
pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Binary megabytes.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Whether a directory is on a file system that forgets (measurements of durability would be void).
pub(crate) fn on_tmpfs(dir: &Path) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    rustix::fs::statfs(dir).is_ok_and(|s| u64::try_from(s.f_type).unwrap_or(0) == TMPFS)
}
