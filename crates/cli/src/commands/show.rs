//! `show` and `why`: one run, and the reasons of a job that waits.

use crate::clock;
use crate::connect::ServerArgs;
use crate::error::{Exit, Result};
use crate::output::{self, Format};
use crate::render;
use crate::style::Style;
use clap::Args;
use fleetfoot_model::{JobId, RunId};

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
    let run = args.server.client()?.run(args.run).await?;
    match format {
        Format::Json => output::json(&run)?,
        Format::Text => output::print(&render::run(&run, Style::stdout(), clock::now()))?,
    }
    Ok(Exit::Ok)
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
