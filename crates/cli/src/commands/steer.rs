//! `cancel` and `rerun`: what a person may do to a run that exists.

use crate::commands::submit;
use crate::connect::ServerArgs;
use crate::error::{Exit, Result};
use crate::live::OnInterrupt;
use crate::output::{self, Format};
use clap::Args;
use fleetfoot_model::api::{CancelRun, Rerun};
use fleetfoot_model::{JobId, RunId};

/// Cancel a run, or one job of it
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  fleetfoot cancel 12\n  fleetfoot cancel 12 --message \"wrong branch\"\n  fleetfoot cancel --job 42"
)]
pub(crate) struct CancelArgs {
    /// The run
    #[arg(required_unless_present = "job")]
    run: Option<RunId>,
    /// Cancel this job only
    #[arg(long, value_name = "JOB", conflicts_with = "run")]
    job: Option<JobId>,
    /// In words, shown with the run
    #[arg(long, short)]
    message: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn cancel(args: CancelArgs, format: Format) -> Result {
    let client = args.server.client()?;
    let request = CancelRun { message: args.message };
    if let Some(job) = args.job {
        let view = client.cancel_job(job, &request).await?;
        match format {
            Format::Json => output::json(&view)?,
            Format::Text => output::say(&format!("job {job}: cancellation requested ({})", view.status)),
        }
    } else if let Some(run) = args.run {
        let view = client.cancel_run(run, &request).await?;
        match format {
            Format::Json => output::json(&view)?,
            Format::Text => {
                output::say(&format!("run {run}: cancellation requested\n  next: `fleetfoot watch {run}`"));
            }
        }
    }
    Ok(Exit::Ok)
}

/// Run it again, as a new run
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot rerun 12\n  fleetfoot rerun 12 --failed --wait")]
pub(crate) struct RerunArgs {
    /// The run
    run: RunId,
    /// Only jobs that did not succeed, and what depends on them
    #[arg(long)]
    failed: bool,
    /// Wait for its end, and mirror the conclusion in the exit code
    #[arg(long)]
    wait: bool,
    /// Wait, and stream the logs
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn rerun(args: RerunArgs, format: Format) -> Result {
    let client = args.server.client()?;
    let created = client.rerun(args.run, &Rerun { failed_only: args.failed, debug: false }).await?;
    submit::announce(&created, format, args.wait || args.watch)?;
    if args.wait || args.watch {
        return submit::wait(client, created.run, args.watch, format, OnInterrupt::Offer).await;
    }
    Ok(Exit::Ok)
}
