//! An artifact of 1 GiB as the JavaScript client moves it: blocks of 8 MiB,
//! five at a time, then one download. From the first request to the answer
//! that it is durable and verified, and from the address to the last byte.

use crate::report::{Measure, Target};
use crate::stage::{job, mib};
use crate::{Setting, host};
use anyhow::{Context as _, ensure};
use fleetfoot_model::sync::Assignment;
use fleetfoot_testkit::{HoldingRunner, TestServer};
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Client;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::Instant;

/// Bytes of a block, as the client sends them.
const BLOCK: usize = 8 << 20;
/// Blocks at the same time, the client's default.
const PARALLEL: usize = 5;

pub(super) async fn measure(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    let blocks = setting.amount((1 << 30) / BLOCK as u64);
    // The runner says nothing while it uploads.
    let server = TestServer::server(&setting.fleetfoot, &["--lease", "3600"]);
    let client = server.client();
    let mut runner = HoldingRunner::register(&client, &["artifact"]).await?;
    client.create_run(&job(None, "true", Some("artifact")), None).await?;
    let caller = Caller { http: Client::new(), assignment: runner.take().await? };

    let digest = (0..blocks).fold(Sha256::new(), |digest, n| digest.chain_update(block(n)));
    let digest: String = digest.finalize().iter().map(|b| format!("{b:02x}")).collect();
    let bytes = blocks * BLOCK as u64;
    let (mut up, mut down) = (f64::INFINITY, f64::INFINITY);
    for round in 0..2 {
        let name = format!("round-{round}");
        up = up.min(upload(&caller, &name, blocks, &digest).await?);
        down = down.min(download(&caller, &name, bytes).await?);
        caller.call("DeleteArtifact", json!({ "name": name })).await?;
    }
    let mb = bytes as f64 / 1e6;
    Ok(vec![
        Measure::new("upload, durable and verified", "MB/s", Target::AtLeast(300.0), mb / up),
        Measure::new("download, verified", "MB/s", Target::AtLeast(300.0), mb / down),
        Measure::info("most memory of the server", "MiB", mib(host::peak_bytes(server.pid()))),
    ])
}

struct Caller {
    http: Client,
    assignment: Assignment,
}

impl Caller {
    async fn call(&self, method: &str, mut body: Value) -> anyhow::Result<Value> {
        let services = self.assignment.services.as_ref().context("the services are offered")?;
        body["workflow_run_backend_id"] = json!(self.assignment.run.to_string());
        body["workflow_job_run_backend_id"] = json!(self.assignment.attempt.to_string());
        let url =
            format!("{}twirp/github.actions.results.api.v1.ArtifactService/{method}", services.results_url);
        let answer = self.http.post(url).bearer_auth(&services.runtime_token).json(&body).send().await?;
        let status = answer.status();
        let value: Value = answer.json().await?;
        ensure!(status.is_success(), "{method}: {value}");
        Ok(value)
    }
}

/// A block that does not compress and is like no other.
fn block(n: u64) -> Vec<u8> {
    let mut state = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(BLOCK);
    while bytes.len() < BLOCK {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

async fn upload(caller: &Caller, name: &str, blocks: u64, digest: &str) -> anyhow::Result<f64> {
    let all: Vec<Vec<u8>> = (0..blocks).map(block).collect();
    let begun = Instant::now();
    let made = caller.call("CreateArtifact", json!({ "name": name, "version": 7 })).await?;
    let url = made["signed_upload_url"].as_str().context("an address")?;
    let sent = stream::iter(all.into_iter().enumerate()).map(|(n, block)| async move {
        let put = caller.http.put(format!("{url}&comp=block&blockid={n:06}")).body(block).send().await?;
        ensure!(put.status() == 201, "a block was refused: {}", put.text().await?);
        Ok(())
    });
    sent.buffer_unordered(PARALLEL).try_collect::<()>().await?;
    let list: String = (0..blocks).map(|n| format!("<Latest>{n:06}</Latest>")).collect();
    let list = format!("<BlockList>{list}</BlockList>");
    let put = caller.http.put(format!("{url}&comp=blocklist")).body(list).send().await?;
    ensure!(put.status() == 201, "the list was refused: {}", put.text().await?);
    let size = (blocks * BLOCK as u64).to_string();
    let hash = format!("sha256:{digest}");
    caller.call("FinalizeArtifact", json!({ "name": name, "size": size, "hash": hash })).await?;
    Ok(begun.elapsed().as_secs_f64())
}

async fn download(caller: &Caller, name: &str, bytes: u64) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let found = caller.call("GetSignedArtifactURL", json!({ "name": name })).await?;
    let url = found["signed_url"].as_str().context("an address")?;
    let mut answer = caller.http.get(url).send().await?;
    let mut received = 0;
    while let Some(piece) = answer.chunk().await? {
        received += piece.len() as u64;
    }
    ensure!(received == bytes, "{received} of {bytes} bytes came");
    Ok(begun.elapsed().as_secs_f64())
}
