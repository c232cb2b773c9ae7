//! `watch`: a run as it goes on, pushed by the server.

use crate::clock;
use crate::connect::ServerArgs;
use crate::error::{Exit, Result};
use crate::live::{self, OnInterrupt, Options, Remote};
use crate::output::{self, Format};
use crate::style::{self, Style};
use clap::Args;
use fleetfoot_model::RunId;
use std::sync::Arc;

/// Follow a run until it ends
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot watch 12\n  fleetfoot watch 12 --exit-status --compact\n  \
    fleetfoot watch 12 --output json      one JSON object a change")]
pub(crate) struct WatchArgs {
    /// The run
    run: RunId,
    /// Mirror the conclusion in the exit code: 1 if it failed, 130 if it was cancelled
    #[arg(long)]
    exit_status: bool,
    /// Show jobs, running steps and failed steps only
    #[arg(long)]
    compact: bool,
    /// An interrupt cancels the run at once
    #[arg(long)]
    cancel_on_interrupt: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(args: WatchArgs, format: Format) -> Result {
    let client = args.server.client()?;
    // Asked first, so that an unknown run or a wrong token is an error at once and not an outage.
    client.run(args.run).await?;
    let options = Options {
        logs: None,
        always_prefix: false,
        compact: args.compact,
        format,
        print_changes: true,
        on_interrupt: if args.cancel_on_interrupt { OnInterrupt::Cancel } else { OnInterrupt::Offer },
        quiet: false,
    };
    let run = live::follow(Arc::new(Remote(client)), args.run, options).await?;
    if format == Format::Text {
        let style = Style::stdout();
        let time = style::elapsed(run.started_at, run.finished_at, clock::now());
        output::line(&format!(
            "{} run {}: {} ({time})",
            style.mark(run.status, run.conclusion),
            run.id,
            style.word(run.status, run.conclusion)
        ))?;
    }
    Ok(if args.exit_status { Exit::of(run.conclusion) } else { Exit::Ok })
}
