//! `approvals`, `approve` and `reject`: what waits for somebody, and the word
//! that lets it go on or ends it.

use crate::clock;
use crate::connect::ServerArgs;
use crate::error::{Exit, Result};
use crate::output::{self, Format};
use crate::style::{self, printable};
use clap::{Args, Subcommand};
use fleetfoot_client::ApprovalQuery;
use fleetfoot_model::api::Page;
use fleetfoot_model::projects::{ApprovalView, Review};
use fleetfoot_model::{ApprovalState, JobId, RunId};

/// See what waits for approval
#[derive(Subcommand, Debug)]
pub(crate) enum ApprovalsCommand {
    List(ListArgs),
}

/// List runs and jobs that wait for approval
#[derive(Args, Debug)]
#[command(
    visible_alias = "ls",
    after_help = "Examples:\n  fleetfoot approvals list\n  fleetfoot approvals list --all --run 12\n\n\
    `fleetfoot approve` and `fleetfoot reject` decide."
)]
pub(crate) struct ListArgs {
    /// Also those that were decided
    #[arg(long)]
    all: bool,
    /// Only of this run
    #[arg(long, value_name = "RUN")]
    run: Option<RunId>,
    /// Only of runs of this project
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Approve a run, or jobs that wait for their environment
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  fleetfoot approve 12                     the run, or all of its jobs that wait\n  \
    fleetfoot approve --job 42 --comment \"looks good\""
)]
pub(crate) struct ApproveArgs {
    #[command(flatten)]
    review: ReviewArgs,
}

/// Reject a run (it is cancelled), or jobs that wait for their environment (they fail)
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  fleetfoot reject 12 --comment \"not on a Friday\"\n  fleetfoot reject --job 42"
)]
pub(crate) struct RejectArgs {
    #[command(flatten)]
    review: ReviewArgs,
}

/// What is decided about, and in which words.
#[derive(Args, Debug)]
pub(crate) struct ReviewArgs {
    /// The run
    #[arg(required_unless_present = "job")]
    run: Option<RunId>,
    /// This job only
    #[arg(long, value_name = "JOB", conflicts_with = "run")]
    job: Option<JobId>,
    /// In words, kept with the decision
    #[arg(long, short = 'm')]
    comment: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(command: ApprovalsCommand, format: Format) -> Result {
    let ApprovalsCommand::List(args) = command;
    let which = ApprovalQuery {
        state: (!args.all).then_some(ApprovalState::Pending),
        run: args.run,
        project: args.project,
        limit: Some(200),
        ..ApprovalQuery::default()
    };
    let page = args.server.client()?.approvals(&which).await?;
    match format {
        Format::Json => output::json(&page)?,
        Format::Text => output::print(&table(&page.items, clock::now()))?,
    }
    Ok(Exit::Ok)
}

fn table(items: &[ApprovalView], now: fleetfoot_model::Timestamp) -> String {
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|a| {
            let job = a.job.map(|job| match &a.job_name {
                Some(name) => format!("{job} {}", printable(name)),
                None => job.to_string(),
            });
            let about = a.environment.as_deref().or(a.reason.as_deref()).unwrap_or_default();
            let who = a.decided_by.clone().unwrap_or_else(|| a.reviewers.join(", "));
            vec![
                a.run.to_string(),
                job.unwrap_or_default(),
                printable(about),
                a.state.to_string(),
                style::ago(a.created_at, now),
                printable(&who),
            ]
        })
        .collect();
    style::table(&["RUN", "JOB", "ENVIRONMENT OR REASON", "STATE", "SINCE", "BY"], &rows)
}

pub(crate) async fn approve(args: ApproveArgs, format: Format) -> Result {
    decide(args.review, true, format).await
}

pub(crate) async fn reject(args: RejectArgs, format: Format) -> Result {
    decide(args.review, false, format).await
}

async fn decide(args: ReviewArgs, approve: bool, format: Format) -> Result {
    let client = args.server.client()?;
    let review = Review { comment: args.comment };
    let items = match (args.job, args.run) {
        (Some(job), _) => vec![client.review_job(job, approve, &review).await?],
        (None, Some(run)) => client.review_run(run, approve, &review).await?.items,
        (None, None) => Vec::new(),
    };
    if format == Format::Json {
        output::json(&Page { items, next_cursor: None })?;
        return Ok(Exit::Ok);
    }
    for decided in items {
        let what = match decided.job {
            Some(job) => format!("job {job}"),
            None => format!("run {}", decided.run),
        };
        let waits = decided.due.filter(|due| approve && *due > clock::now());
        let then = waits.map(|due| format!("; its wait timer ends at {due}")).unwrap_or_default();
        output::say(&format!("{what} is {}{then}", decided.state));
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approvals_for_people() {
        let at = fleetfoot_model::Timestamp(1_760_000_000_000_000);
        let job = ApprovalView {
            id: 2,
            run: RunId(12),
            job: Some(JobId(42)),
            job_name: Some("deploy".to_owned()),
            project: "web".to_owned(),
            environment: Some("production".to_owned()),
            reason: None,
            state: ApprovalState::Pending,
            reviewers: vec!["alice".to_owned(), "bob".to_owned()],
            due: None,
            created_at: at,
            decided_at: None,
            decided_by: None,
            comment: None,
        };
        let run = ApprovalView {
            job: None,
            job_name: None,
            environment: None,
            reason: Some("it comes from a fork".to_owned()),
            state: ApprovalState::Approved,
            decided_by: Some("carol (token:3)".to_owned()),
            ..job.clone()
        };
        insta::assert_snapshot!(table(&[job, run], at), @r"
        RUN  JOB        ENVIRONMENT OR REASON  STATE     SINCE   BY
        12   42 deploy  production             pending   0s ago  alice, bob
        12              it comes from a fork   approved  0s ago  carol (token:3)
        ");
    }
}
