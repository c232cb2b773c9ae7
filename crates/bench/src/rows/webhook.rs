//! The webhook of a push to the first step's process running, one after the
//! other, with a repository on this machine: git is part of the time, the
//! network is not.

use crate::report::{Measure, Target};
use crate::stage::{Inbox, ended, percentile, server};
use crate::{Setting, host};
use anyhow::Context as _;
use fleetfoot_client::Client;
use fleetfoot_model::RunId;
use fleetfoot_model::repos::{AddRepository, ForgeKind};
use fleetfoot_testkit::{FakeForge, TestRunner};
use std::time::{Duration, Instant};

/// The run of a delivery that started one.
async fn run_of(client: &Client, repository: u64, delivery: u64) -> anyhow::Result<RunId> {
    let begun = Instant::now();
    loop {
        let page = client.deliveries(repository, None, Some(1)).await?;
        let found = page.items.iter().find(|d| d.id == delivery).and_then(|d| d.runs.first());
        if let Some(run) = found {
            return Ok(*run);
        }
        anyhow::ensure!(begun.elapsed() < Duration::from_secs(30), "no run within 30 s: {page:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the repository was looked at.
async fn scanned(client: &Client, repository: u64) -> anyhow::Result<()> {
    let begun = Instant::now();
    while client.deliveries(repository, None, Some(1)).await?.items.iter().any(|d| d.next_try.is_some()) {
        anyhow::ensure!(begun.elapsed() < Duration::from_secs(30), "the first look took more than 30 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

pub(super) async fn measure(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    let server = server(&setting.fleetfoot);
    let _runner = TestRunner::start(&server, "webhook", 2, &["bench"]);
    let (client, inbox) = (server.client(), Inbox::open()?);
    let forge = FakeForge::new(ForgeKind::Github);
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let workflow = format!(
        "on: push\njobs:\n  first:\n    runs-on: bench\n    steps:\n      - run: {}\n        shell: {}\n",
        quote(inbox.path()),
        quote(&setting.shell("stamp"))
    );
    forge.work().write(".github/workflows/ci.yml", &workflow);
    let mut before = forge.push("refs/heads/main", "begin");
    let add = AddRepository {
        url: forge.clone_url(),
        forge: Some(ForgeKind::Github),
        name: Some("acme/app".to_owned()),
        ..AddRepository::default()
    };
    let added = client.add_repository(&add).await?;
    scanned(&client, added.repository.id).await?;
    let http = reqwest::Client::new();
    let mut samples = Vec::new();
    for n in 0..setting.amount(100) {
        forge.work().write("n.txt", &n.to_string());
        let after = forge.push("refs/heads/main", &format!("change {n}"));
        let (event, payload) = forge.push_event("refs/heads/main", Some(&before), &after);
        before = after;
        let body = payload.to_string();
        let mut request =
            http.post(format!("{}/hooks/{}", server.url(), added.repository.id)).body(body.clone());
        for (name, value) in forge.headers(&event, body.as_bytes(), &added.webhook_secret) {
            request = request.header(name, value);
        }
        let begun = host::wall_ns();
        let answer: serde_json::Value = request.send().await?.error_for_status()?.json().await?;
        let running = inbox.receive().await?;
        samples.push(running.saturating_sub(begun) as f64 / 1e6);
        let delivery = answer["delivery"].as_u64().context("a delivery")?;
        ended(&client, run_of(&client, added.repository.id, delivery).await?).await?;
    }
    Ok(vec![
        Measure::new(
            "push webhook to first step running, p50",
            "ms",
            Target::AtMost(300.0),
            percentile(&mut samples, 0.5),
        ),
        Measure::info("push webhook to first step running, p99", "ms", percentile(&mut samples, 0.99)),
        Measure::info("push webhook to first step running, max", "ms", percentile(&mut samples, 1.0)),
    ])
}
