//! Runs, jobs and reasons as text for people. Pure: what comes in goes out as
//! text, with the time as an argument.

use crate::style::{self, Style, headline, printable};
use fleetfoot_model::api::{JobView, RunView};
use fleetfoot_model::why::{Why, WhyReason};
use fleetfoot_model::{JobId, Timestamp};
use std::collections::HashMap;
use std::fmt::Write as _;

/// One line a run.
pub(crate) fn runs(runs: &[RunView], style: Style, now: Timestamp) -> String {
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            vec![
                style.mark(run.status, run.conclusion),
                run.id.to_string(),
                style.word(run.status, run.conclusion),
                printable(&run.title),
                printable(&run.event),
                printable(run.branch.as_deref().unwrap_or_default()),
                style::elapsed(run.started_at, run.finished_at, now),
                style::ago(run.created_at, now),
            ]
        })
        .collect();
    style::table(&["", "RUN", "STATUS", "TITLE", "EVENT", "BRANCH", "TIME", "CREATED"], &rows)
}

/// A run with its jobs and steps, the other ones among its attempts, and what isolation held for
/// those jobs of which it is known.
pub(crate) fn run(
    run: &RunView,
    attempts: &[RunView],
    boundaries: &HashMap<JobId, String>,
    style: Style,
    now: Timestamp,
) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} {} {} {}",
        style.mark(run.status, run.conclusion),
        style.bold(&format!("run {}", run.id)),
        printable(&run.title),
        style.word(run.status, run.conclusion)
    );
    let number = format!("{} #{}.{}", printable(&run.name), run.number, run.attempt);
    let _ = writeln!(
        out,
        "  {number} · {} · {} · created {}",
        printable(&run.event),
        style::elapsed(run.started_at, run.finished_at, now),
        run.created_at
    );
    if let Some(repository) = &run.repository {
        let git_ref = repository.git_ref.as_deref().map_or("", short_ref);
        let sha: String = repository.sha.as_deref().unwrap_or("").chars().take(10).collect();
        let _ = writeln!(out, "  {} {} {sha}", printable(&repository.url), printable(git_ref));
    }
    let others: Vec<String> = attempts
        .iter()
        .filter(|other| other.id != run.id)
        .map(|other| {
            let word = style.word(other.status, other.conclusion);
            format!("run {} (attempt {}, {word})", other.id, other.attempt)
        })
        .collect();
    if !others.is_empty() {
        let _ = writeln!(out, "  also: {}", others.join(", "));
    }
    for job in run.jobs.iter().flatten() {
        out.push('\n');
        write_job(&mut out, job, boundaries.get(&job.id), style, now);
    }
    out
}

/// A message over several lines, each of them indented.
fn lines(message: &str, indent: &str) -> String {
    let all: Vec<String> = message.lines().filter(|l| !l.trim().is_empty()).map(printable).collect();
    all.join(&format!("\n{indent}"))
}

fn write_job(out: &mut String, job: &JobView, boundary: Option<&String>, style: Style, now: Timestamp) {
    let runner = job.runner_name.as_deref().map(|r| format!(" on {}", printable(r))).unwrap_or_default();
    let again = job.attempt.filter(|a| *a > 1).map(|a| format!(", attempt {a}")).unwrap_or_default();
    let _ = writeln!(
        out,
        "{} {} {} {}{runner}{again} ({})",
        style.mark(job.status, job.conclusion),
        style.dim(&format!("job {}", job.id)),
        style.bold(&printable(&job.name)),
        style.word(job.status, job.conclusion),
        style::elapsed(job.started_at, job.finished_at, now),
    );
    if let Some(message) = &job.message {
        let _ = writeln!(out, "    {}", lines(message, "    "));
    }
    if let Some(boundary) = boundary {
        let _ = writeln!(out, "    {}", style.dim(&format!("boundary: {}", printable(boundary))));
    }
    for step in &job.steps {
        let code = step.exit_code.filter(|c| *c != 0).map(|c| format!(", exit code {c}")).unwrap_or_default();
        let _ = writeln!(
            out,
            "    {} {} ({}{code})",
            style.mark(step.status, step.conclusion),
            printable(&step.name),
            style::elapsed(step.started_at, step.finished_at, now),
        );
        if let Some(message) = &step.message {
            let _ = writeln!(out, "      {}", lines(message, "      "));
        }
    }
}

/// The jobs of a run in one table: the end of `fleetfoot run`.
pub(crate) fn result_table(run: &RunView, style: Style, now: Timestamp) -> String {
    let rows: Vec<Vec<String>> = run
        .jobs
        .iter()
        .flatten()
        .map(|job| {
            let code = job.exit_code.filter(|c| *c != 0).map(|c| format!("exit code {c}"));
            let note = code.or_else(|| job.message.as_deref().map(headline)).unwrap_or_default();
            vec![
                style.mark(job.status, job.conclusion),
                printable(&job.name),
                style.word(job.status, job.conclusion),
                style::elapsed(job.started_at, job.finished_at, now),
                note,
            ]
        })
        .collect();
    style::table(&["", "JOB", "RESULT", "TIME", ""], &rows)
}

/// Why a job waits.
pub(crate) fn why(why: &Why, style: Style) -> String {
    let mut out = format!("job {} is {}: {}\n", why.job, why.status, printable(&why.summary));
    for reason in &why.reasons {
        let _ = writeln!(out, "  {} {}", style.cyan("-"), reason_text(reason));
    }
    out
}

fn approval_text(environment: Option<&str>, reviewers: &[String], reason: Option<&str>) -> String {
    let what = match environment {
        Some(name) => format!("environment {}", printable(name)),
        None => "the run".to_owned(),
    };
    let who = match (reviewers, environment) {
        ([], None) => "a member".to_owned(),
        ([], Some(_)) => "an admin".to_owned(),
        (some, _) => printable(&some.join(" or ")),
    };
    let why = reason.map(|r| format!(" ({})", printable(r))).unwrap_or_default();
    format!("{what} must be approved by {who}{why}")
}

fn reason_text(reason: &WhyReason) -> String {
    let ids = |ids: &[fleetfoot_model::RunnerId]| {
        ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    match reason {
        WhyReason::Needs { jobs } => format!("it needs {}", printable(&jobs.join(", "))),
        WhyReason::NoRunnerOnline => "no runner is connected".to_owned(),
        WhyReason::QueueNotServed { queue } => {
            format!("no connected runner serves the queue {}", printable(queue))
        }
        WhyReason::LabelsNotOffered { nobody_offers, nearest } => {
            let mut text = match nobody_offers.is_empty() {
                true => "no single runner offers all its labels".to_owned(),
                false => format!("nobody offers {}", printable(&nobody_offers.join(", "))),
            };
            for near in nearest {
                let _ = write!(
                    text,
                    "\n    {} lacks {}",
                    printable(&near.name),
                    printable(&near.lacks.join(", "))
                );
            }
            text
        }
        WhyReason::BoundaryNotOffered { minimum, best } => match best {
            Some(best) => format!("it demands the boundary {minimum}; the strongest on offer is {best}"),
            None => format!("it demands the boundary {minimum}; nobody offers one"),
        },
        WhyReason::ContainersNotOffered { runners } => {
            format!(
                "it has a container or services; runners that match have no container engine ({})",
                ids(runners)
            )
        }
        WhyReason::LimitsNotAllowed { nearest } => {
            let mut text = "it asks for more than any matching runner allows".to_owned();
            for near in nearest {
                let (name, refused) = (printable(&near.name), printable(&near.lacks.join(", ")));
                let _ = write!(text, "\n    {name} is asked for {refused}");
            }
            text
        }
        WhyReason::RunnersBusy { runners, ahead } => {
            format!("runners that match are busy ({}); {ahead} jobs go first", ids(runners))
        }
        WhyReason::RunnersUnavailable { runners } => {
            format!("runners that match are draining or report an error ({})", ids(runners))
        }
        WhyReason::VersionTooOld { runners } => {
            format!("runners that match have a version too far from the server's ({})", ids(runners))
        }
        WhyReason::ConcurrencyGroup { group, holder_job, holder_run } => {
            let holder = match (holder_job, holder_run) {
                (Some(job), _) => format!("job {job}"),
                (None, Some(run)) => format!("run {run}"),
                (None, None) => "another member".to_owned(),
            };
            format!("the concurrency group {} is held by {holder}", printable(group))
        }
        WhyReason::MaxParallel { limit } => format!("{limit} legs of its matrix run already (max-parallel)"),
        WhyReason::RetryDelay { until } => format!("it is tried again at {until}"),
        WhyReason::Approval { environment, reviewers, reason } => {
            approval_text(environment.as_deref(), reviewers, reason.as_deref())
        }
        WhyReason::WaitTimer { environment, until } => {
            format!("the wait timer of environment {} ends at {until}", printable(environment))
        }
        WhyReason::Ready => "a runner is free and will take it any moment".to_owned(),
    }
}

/// `main` of `refs/heads/main`.
pub(crate) fn short_ref(git_ref: &str) -> &str {
    ["refs/heads/", "refs/tags/", "refs/"].iter().find_map(|p| git_ref.strip_prefix(p)).unwrap_or(git_ref)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::tests::{job, step, view};
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-11-20T18:02:00Z".parse().unwrap()
    }

    #[test]
    fn a_run_reads_well() {
        let jobs = json!([
            job(
                1,
                "test",
                "completed",
                Some("failure"),
                json!([
                    step(0, "Run make", Some("success"), Some(0)),
                    step(1, "Run make test", Some("failure"), Some(2))
                ])
            ),
            job(2, "lint", "queued", None, json!([])),
        ]);
        let view = view("completed", Some("failure"), jobs);
        let held = HashMap::from([(JobId(1), "sandbox (driver sandbox/0.1.0); no capabilities".to_owned())]);
        let again = RunView { id: fleetfoot_model::RunId(9), attempt: 2, ..view.clone() };
        let attempts = [again, view.clone()];
        insta::assert_snapshot!(run(&view, &attempts, &held, Style::PLAIN, now()), @r"
        ✗ run 7 CI failure
          CI #3.1 · push · 4.0s · created 2026-11-20T18:00:00.000000Z
          also: run 9 (attempt 2, failure)

        ✗ job 1 test failure on here (3.0s)
            boundary: sandbox (driver sandbox/0.1.0); no capabilities
            ✓ Run make (2.5s)
            ✗ Run make test (2.5s, exit code 2)

        · job 2 lint queued on here (-)
        ");
        insta::assert_snapshot!(runs(std::slice::from_ref(&view), Style::PLAIN, now()), @r"
           RUN  STATUS   TITLE  EVENT  BRANCH  TIME  CREATED
        ✗  7    failure  CI     push   main    4.0s  2m ago
        ");
        insta::assert_snapshot!(result_table(&view, Style::PLAIN, now()), @r"
           JOB   RESULT   TIME
        ✗  test  failure  3.0s
        ·  lint  queued   -
        ");
    }

    #[test]
    fn reasons_read_well() {
        let example: Why = serde_json::from_value(json!({
            "job": 4, "status": "queued", "summary": "no connected runner offers the label gpu",
            "reasons": [
                {"code": "labels_not_offered", "nobody_offers": ["gpu"],
                 "nearest": [{"runner": 1, "name": "here", "lacks": ["gpu"]}]},
                {"code": "runners_busy", "runners": [1, 2], "ahead": 3},
                {"code": "concurrency_group", "group": "deploy", "holder_job": null, "holder_run": 9},
            ],
        }))
        .unwrap();
        insta::assert_snapshot!(why(&example, Style::PLAIN), @r"
        job 4 is queued: no connected runner offers the label gpu
          - nobody offers gpu
            here lacks gpu
          - runners that match are busy (1, 2); 3 jobs go first
          - the concurrency group deploy is held by run 9
        ");
    }
}
