//! One step that prints 1 GiB: alone, with a follower, with a follower that
//! does not read.

use crate::report::{Measure, Target};
use crate::stage::{job, job_ended, mib, server};
use crate::{Setting, host, programs};
use anyhow::Context as _;
use fleetfoot_client::Client;
use fleetfoot_model::api::{CreateRun, JobView};
use fleetfoot_model::{Conclusion, JobId};
use fleetfoot_testkit::{TestRunner, TestServer};
use sha2::{Digest, Sha256};
use std::time::Instant;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

pub(super) async fn measure(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    let count = setting.amount((1 << 30) / programs::LINE as u64 + 1);
    let bytes = count * programs::LINE as u64;
    let expected = programs::lines_digest(count)?;
    let server = server(&setting.fleetfoot);
    let runner = TestRunner::start(&server, "log", 1, &[]);
    let client = server.client();
    let run = job(Some(&setting.shell("lines")), &count.to_string(), None);

    // Alone and stalled in turns, the better of two each: the difference is to be a small one.
    let (mut alone, mut stalled) = (Vec::new(), Vec::new());
    let mut cpu = 0.0;
    let peak_alone = {
        let before = host::cpu_time(server.pid())? + host::cpu_time(runner.pid())?;
        alone.push(plain(&client, &run).await?);
        cpu += (host::cpu_time(server.pid())? + host::cpu_time(runner.pid())? - before).as_secs_f64();
        host::peak_bytes(server.pid())
    };
    stalled.push(with_stalled(&server, &client, &run).await?);
    alone.push(plain(&client, &run).await?);
    stalled.push(with_stalled(&server, &client, &run).await?);
    let peak_stalled = host::peak_bytes(server.pid());
    let best = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);

    let created = client.create_run(&run, None).await?;
    let id = created.jobs.first().context("a job")?.id;
    let (follower, view) = tokio::try_join!(follow(&client, id), async { job_ended(&client, id).await })?;
    let (digest, received, seconds) = follower;
    anyhow::ensure!(received == bytes, "the follower got {received} of {bytes} bytes");
    let same = if digest == expected { 1.0 } else { 0.0 };
    let mb = bytes as f64 / 1e6;
    Ok(vec![
        Measure::new(
            "durable at the server, nobody follows",
            "MB/s",
            Target::AtLeast(150.0),
            mb / best(&alone),
        ),
        Measure::info("CPU of server and runner together", "s/GB", cpu / mb * 1e3),
        Measure::info("durable at the server, one follows", "MB/s", mb / took(&view)?),
        Measure::new("received by the follower", "MB/s", Target::AtLeast(100.0), mb / seconds),
        Measure::new("the follower's SHA-256 is right", "(1 = yes)", Target::AtLeast(1.0), same),
        Measure::new(
            "slower with a stalled follower",
            "%",
            Target::AtMost(5.0),
            (best(&stalled) / best(&alone) - 1.0) * 100.0,
        ),
        Measure::info("most memory of the server, nobody follows", "MiB", mib(peak_alone)),
        Measure::new(
            "most memory of the server, stalled follower",
            "MiB",
            Target::AtMost(256.0),
            mib(peak_stalled),
        ),
        Measure::info("most memory of the runner", "MiB", mib(host::peak_bytes(runner.pid()))),
    ])
}

/// Seconds from the start of the step until the server had all of it on disk and its result.
fn took(view: &JobView) -> anyhow::Result<f64> {
    anyhow::ensure!(view.conclusion == Some(Conclusion::Success), "the step failed: {:?}", view.message);
    let began = view.steps.first().and_then(|s| s.started_at).context("the step has no start")?;
    let ended = view.finished_at.context("the job has no end")?;
    Ok((ended.0 - began.0) as f64 / 1e6)
}

async fn plain(client: &Client, run: &CreateRun) -> anyhow::Result<f64> {
    let created = client.create_run(run, None).await?;
    took(&job_ended(client, created.jobs.first().context("a job")?.id).await?)
}

/// With a connection that asks for the stream and never reads.
async fn with_stalled(server: &TestServer, client: &Client, run: &CreateRun) -> anyhow::Result<f64> {
    let created = client.create_run(run, None).await?;
    let id = created.jobs.first().context("a job")?.id;
    let address = server.url().trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).await?;
    let request = format!(
        "GET /api/v1/jobs/{id}/log HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\nAuthorization: Bearer {}\r\n\r\n",
        server.admin_token(),
    );
    connection.write_all(request.as_bytes()).await?;
    let seconds = took(&job_ended(client, id).await?)?;
    drop(connection);
    Ok(seconds)
}

/// Digest, bytes and seconds from the first chunk to the last.
async fn follow(client: &Client, job: JobId) -> anyhow::Result<(Vec<u8>, u64, f64)> {
    let mut follow = client.follow_log(job, None, 0);
    let (mut digest, mut bytes, mut begun) = (Sha256::new(), 0, None);
    while let Some(chunk) = follow.next().await? {
        begun.get_or_insert_with(Instant::now);
        bytes += chunk.bytes.len() as u64;
        digest.update(&chunk.bytes);
    }
    let seconds = begun.map_or(f64::NAN, |b| b.elapsed().as_secs_f64());
    Ok((digest.finalize().to_vec(), bytes, seconds))
}
