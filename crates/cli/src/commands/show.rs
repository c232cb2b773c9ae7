//! `show` and `why`: one run, and the reasons of a job that waits.

use crate::clock;
use crate::connect::ServerArgs;
use crate::error::{Exit, Result};
use crate::output::{self, Format};
use crate::render;
use crate::style::Style;
use clap::Args;
use fleetfoot_client::Client;
use fleetfoot_model::api::RunView;
use fleetfoot_model::{JobId, RunId};
use futures_util::future::{join, join_all};
use std::collections::HashMap;

/// More jobs than this are shown without what isolation held: each is a request of its own.
const MAX_BOUNDARIES: usize = 20;

/// Show a run with its jobs and steps
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot show 12\n  fleetfoot show 12 --output json | jq .conclusion")]
pub(crate) struct ShowArgs {
    /// The run
    run: RunId,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(args: ShowArgs, format: Format) -> Result {
    let client = args.server.client()?;
    let run = client.run(args.run).await?;
    match format {
        Format::Json => output::json(&run)?,
        Format::Text => {
            let (held, attempts) = join(boundaries(&client, &run), client.run_attempts(run.id)).await;
            // The same: an older server does not know the question.
            let attempts = attempts.map(|page| page.items).unwrap_or_default();
            output::print(&render::run(&run, &attempts, &held, Style::stdout(), clock::now()))?;
        }
    }
    Ok(Exit::Ok)
}

/// What isolation held for the last attempts of the jobs that ended. Best effort: a run reads well without.
async fn boundaries(client: &Client, run: &RunView) -> HashMap<JobId, String> {
    let ended = run.jobs.iter().flatten().filter(|j| j.attempt.is_some() && j.conclusion.is_some());
    let asked = ended.take(MAX_BOUNDARIES).map(async |job| {
        let attempt = client.job(job.id).await.ok()?.attempts?.into_iter().max_by_key(|a| a.attempt)?;
        // A driver that says nothing never made a place for the job.
        let record = attempt.boundary.filter(|b| !b.driver.is_empty())?;
        Some((job.id, record.in_words()))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Say why a job waits
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot why 42\n  fleetfoot why 42 --output json")]
pub(crate) struct WhyArgs {
    /// The job
    job: JobId,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn why(args: WhyArgs, format: Format) -> Result {
    let why = args.server.client()?.why(args.job).await?;
    match format {
        Format::Json => output::json(&why)?,
        Format::Text => output::print(&render::why(&why, Style::stdout()))?,
    }
    Ok(Exit::Ok)
}
