//! Ten thousand runners that wait for work: connections that do nothing but
//! sync, written by hand so that this side does not become the bottleneck.

use crate::report::{Measure, Target};
use crate::stage::{mib, server};
use crate::{Setting, host};
use anyhow::{Context as _, bail};
use fleetfoot_model::api::{CreateRunner, Registered};
use fleetfoot_model::version::VERSION;
use fleetfoot_testkit::resident_bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How long each sync lets the server wait: what a real runner asks for.
const WAIT_MS: u64 = 50_000;

pub(super) async fn measure(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    // This process and the server each need a descriptor a connection, and some more.
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let n = setting.amount(10_000).min(files.saturating_sub(500));
    let server = server(&setting.fleetfoot);
    let before = resident_bytes(server.pid());
    let begun = Instant::now();
    let mut making: JoinSet<anyhow::Result<Registered>> = JoinSet::new();
    let gate = Arc::new(Semaphore::new(64));
    for i in 0..n {
        let (client, gate) = (server.client(), gate.clone());
        making.spawn(async move {
            let _permit = gate.acquire().await?;
            let name = Some(format!("idle-{i}"));
            Ok(client.create_runner(&CreateRunner { name, ..CreateRunner::default() }).await?)
        });
    }
    let mut registered = Vec::new();
    while let Some(made) = making.join_next().await {
        registered.push(made??);
    }
    let created = begun.elapsed();

    let address: Arc<str> = server.url().trim_start_matches("http://").into();
    let connected = Arc::new(AtomicU64::new(0));
    let mut connections = JoinSet::new();
    let begun = Instant::now();
    for runner in registered {
        connections.spawn(idle(address.clone(), runner, connected.clone()));
    }
    // A runner is connected when its first sync was answered.
    while connected.load(Ordering::Relaxed) < n {
        if let Some(ended) = connections.try_join_next() {
            ended??;
        }
        anyhow::ensure!(begun.elapsed() < Duration::from_secs(120), "not all runners came up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let up = begun.elapsed();
    let (window, cpu) = (Duration::from_secs(60), host::cpu_time(server.pid())?);
    tokio::time::sleep(window).await;
    let used = host::cpu_time(server.pid())?.saturating_sub(cpu);
    let share = used.as_secs_f64() / window.as_secs_f64() * 100.0;
    if let Some(ended) = connections.try_join_next() {
        ended??;
    }
    let resident = resident_bytes(server.pid());
    Ok(vec![
        Measure::info("runners connected", "runners", n as f64),
        Measure::new("memory of the server", "MiB", Target::AtMost(300.0), mib(resident)),
        Measure::info("memory a runner", "KiB", resident.saturating_sub(before) as f64 / 1024.0 / n as f64),
        Measure::info("most memory of the server", "MiB", mib(host::peak_bytes(server.pid()))),
        Measure::new("CPU of the server over 60 s", "% of a core", Target::AtMost(5.0), share),
        Measure::info("creating them all", "s", created.as_secs_f64()),
        Measure::info("first sync of them all", "s", up.as_secs_f64()),
    ])
}

async fn idle(address: Arc<str>, runner: Registered, connected: Arc<AtomicU64>) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(&*address).await?;
    let mut sequence = 0_u64;
    loop {
        sequence += 1;
        let wait = if sequence == 1 { 0 } else { WAIT_MS };
        let body = format!(
            r#"{{"version":"{VERSION}","instance":"i{}","sequence":{sequence},"slots":1,"attempts":[],"wait_ms":{wait}}}"#,
            runner.id
        );
        let head = format!(
            "POST /api/v1/runners/{}/sync HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            runner.id,
            runner.token,
            body.len(),
        );
        stream.write_all((head + &body).as_bytes()).await?;
        answer(&mut stream).await?;
        if sequence == 1 {
            connected.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Reads one answer with a length.
async fn answer(stream: &mut TcpStream) -> anyhow::Result<()> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            bail!("the server closed the connection of an idle runner");
        }
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&bytes[..end])?.to_ascii_lowercase();
        anyhow::ensure!(head.starts_with("http/1.1 200"), "{}", String::from_utf8_lossy(&bytes));
        let length = head.lines().find_map(|l| l.strip_prefix("content-length:")).context("no length")?;
        let length: usize = length.trim().parse()?;
        if bytes.len() >= end + 4 + length {
            return Ok(());
        }
    }
}
