//! What commits show: each job of a run of a repository is a status. Runs are
//! followed; the latest state of each job is stored as what the commit is to
//! show, and sent until the forge has it, or a day is over.

use super::process::{self, KIND, OWN};
use super::{Trouble, backoff, directories, pause};
use crate::{Control, Principal};
use fleetfoot_forge::api::{ApiErrorKind, Report};
use fleetfoot_forge::status::{State, context};
use fleetfoot_model::api::RunView;
use fleetfoot_model::event::{ChangedPaths, EventFacts, Matching};
use fleetfoot_model::state::Status;
use fleetfoot_model::{Code, Timestamp};
use fleetfoot_store::{NewDelivery, NewReport, ReportRow, ReportTry, RepositoryRow, TriggerRun};
use indexmap::IndexMap;
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, warn};

/// A report is tried for this long.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// Reports looked at in one round.
const ROUND: usize = 64;
/// Runs that start one another by their ends.
const CHAIN: u32 = 3;

/// Follows a run until its end was told. Again for the same run is nothing.
pub(super) fn follow(control: &Control, run: TriggerRun) {
    if !control.inner.triggers.followed.lock().insert(run.run) {
        return;
    }
    let control = control.clone();
    control.inner.tasks.clone().spawn(async move {
        if let Err(e) = follow_to_the_end(&control, &run).await {
            warn!(run = %run.run, error = e.message, "the end of a run cannot be told; it is after the next start");
        }
        control.inner.triggers.followed.lock().remove(&run.run);
    });
}

async fn follow_to_the_end(control: &Control, run: &TriggerRun) -> Result<(), Trouble> {
    let inner = &control.inner;
    let mut watcher = match control.watch_run(&Principal::System, run.run, None).await {
        Ok(watcher) => watcher,
        Err(e) if e.code == Code::NotFound => return Ok(inner.store.end_trigger_run(run.run, None).await?),
        Err(e) => return Err(e.into()),
    };
    let mut asked = false;
    while let Some(view) = watcher.next().await? {
        let Some(repository) = inner.store.repository(run.repository).await? else { return Ok(()) };
        if repository.token.is_some() {
            let reports = reports_of(&view, run, inner.clock.wall());
            inner.store.want_reports(reports).await?;
            inner.triggers.reports.notify_one();
        }
        let over = view.status == Status::Completed;
        if !asked && let Some(delivery) = run_event(control, &repository, run, &view, "requested").await? {
            inner.store.accept_delivery(delivery).await?;
            inner.triggers.deliveries.notify_one();
        }
        asked = true;
        if over {
            let delivery = run_event(control, &repository, run, &view, "completed").await?;
            inner.store.end_trigger_run(run.run, delivery).await?;
            inner.triggers.deliveries.notify_one();
            return Ok(());
        }
    }
    Ok(())
}

fn reports_of(view: &RunView, run: &TriggerRun, at: Timestamp) -> Vec<NewReport> {
    let workflow = match view.path.as_deref() {
        Some(path) if path == view.name => file_stem(path),
        _ => view.name.as_str(),
    };
    let jobs = view.jobs.iter().flatten();
    jobs.map(|job| {
        let state = State::of(job.status, job.conclusion);
        let text = match (&job.message, job.started_at, job.finished_at) {
            (Some(message), ..) => message.clone(),
            (None, Some(begun), Some(ended)) => {
                format!("{} after {} s", capital(state.as_str()), ended.since(begun).as_secs())
            }
            _ => capital(state.as_str()),
        };
        NewReport {
            repository: run.repository,
            sha: run.sha.clone(),
            context: context(workflow, &job.name, &run.event),
            run: Some(run.run),
            state: state.as_str().to_owned(),
            text,
            at,
        }
    })
    .collect()
}

fn file_stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// A workflow that cannot be used shows at the commit that has it.
pub(super) async fn broken(
    control: &Control,
    repository: &RepositoryRow,
    sha: &str,
    path: &str,
    event: &str,
    problem: &str,
) -> Result<(), Trouble> {
    if repository.token.is_none() {
        return Ok(());
    }
    let report = NewReport {
        repository: repository.id,
        sha: sha.to_owned(),
        context: context("", path, event),
        run: None,
        state: State::Error.as_str().to_owned(),
        text: problem.to_owned(),
        at: control.inner.clock.wall(),
    };
    control.inner.store.want_reports(vec![report]).await?;
    control.inner.triggers.reports.notify_one();
    Ok(())
}

/// The `workflow_run` event of a run, if a workflow of the default branch waits for it.
async fn run_event(
    control: &Control,
    repository: &RepositoryRow,
    run: &TriggerRun,
    view: &RunView,
    action: &str,
) -> Result<Option<NewDelivery>, Trouble> {
    let (Some(branch), true) = (&repository.default_branch, run.depth < CHAIN) else { return Ok(None) };
    let head = view.branch.clone().unwrap_or_default();
    let facts = EventFacts {
        name: "workflow_run".to_owned(),
        action: Some(action.to_owned()),
        git_ref: Some(format!("refs/heads/{head}")),
        paths: ChangedPaths::Unknown,
        workflow: Some(view.name.clone()),
    };
    let mirror = control.inner.mirror_of(repository)?;
    let files = {
        let lock = control.inner.lock_of(repository.id);
        let _alone = lock.lock().await;
        match mirror.resolve(&format!("refs/heads/{branch}")).await? {
            Some(tip) => mirror.workflows(&tip, directories(repository.forge)).await?,
            None => Vec::new(),
        }
    };
    let waits = files.iter().any(|file| {
        let document = control.inner.documents.parse(KIND, &file.path, &file.text, &IndexMap::new());
        document.is_ok_and(|d| d.matches(&facts) == Matching::Yes)
    });
    if !waits {
        return Ok(None);
    }
    let url = run_url(control, run.run);
    let fields = json!({
        "action": action,
        "workflow": { "name": view.name, "path": view.path },
        "workflow_run": {
            "id": run.run, "name": view.name, "path": view.path, "display_title": view.title,
            "head_branch": head, "head_sha": run.sha, "event": run.event, "run_number": view.number,
            "run_attempt": view.attempt, "status": if action == "completed" { "completed" } else { "queued" },
            "conclusion": view.conclusion, "html_url": url, "actor": { "login": view.actor },
            "head_repository": { "full_name": repository.name }, "created_at": view.created_at,
        },
        OWN: { "depth": run.depth + 1 },
    });
    let payload = process::made_of(repository, fields);
    let name = format!("run:{}:{action}", run.run);
    Ok(Some(control.new_made(repository.id, &name, "workflow_run", &payload)))
}

fn run_url(control: &Control, run: fleetfoot_model::RunId) -> String {
    format!("{}/runs/{run}", control.inner.options.server_url.trim_end_matches('/'))
}

/// Sends what is due, until the server stops.
pub(super) async fn work(control: Control) {
    let inner = &control.inner;
    // One try at a time of each status, so that an older state never overtakes a newer one.
    let flying: Arc<Mutex<HashSet<(u64, String, String)>>> = Arc::default();
    loop {
        let woken = inner.triggers.reports.notified();
        tokio::pin!(woken);
        woken.as_mut().enable();
        let next = match inner.store.due_reports(inner.clock.wall(), ROUND).await {
            Ok((due, next)) => {
                for report in due {
                    let key = (report.repository, report.sha.clone(), report.context.clone());
                    if flying.lock().len() >= ROUND || !flying.lock().insert(key.clone()) {
                        continue;
                    }
                    let (control, flying) = (control.clone(), flying.clone());
                    inner.tasks.spawn(async move {
                        tokio::select! {
                            () = send(&control, &report) => {}
                            () = control.inner.stopping.cancelled() => {}
                        }
                        flying.lock().remove(&key);
                        control.inner.triggers.reports.notify_one();
                    });
                }
                next
            }
            Err(e) => {
                warn!(error = %e, "reports cannot be read, trying again later");
                None
            }
        };
        if !pause(inner, woken, next).await {
            return;
        }
    }
}

async fn send(control: &Control, report: &ReportRow) {
    let inner = &control.inner;
    let end = match try_to_send(control, report).await {
        Ok(check_run) => ReportTry::Sent { check_run },
        Err((error, may_pass, wait)) => {
            debug!(context = report.context, error, "a report was not taken");
            let now = inner.clock.wall();
            let again = now + wait.unwrap_or_default().max(backoff(report.tries));
            let keep_on = may_pass && again.since(report.changed_at) < PATIENCE;
            ReportTry::Failed { error, next_try: keep_on.then_some(again) }
        }
    };
    if let Err(e) = inner.store.end_report(report, end).await {
        warn!(error = %e, "how a report ended cannot be stored");
        // Without the row it would be tried again at once.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

type NotSent = (String, bool, Option<Duration>);

async fn try_to_send(control: &Control, report: &ReportRow) -> Result<Option<u64>, NotSent> {
    let inner = &control.inner;
    let trouble = |t: Trouble| (t.message, t.passing, None);
    let row = inner.store.repository(report.repository).await.map_err(|e| trouble(e.into()))?;
    let row = row.ok_or_else(|| ("the repository was removed".to_owned(), false, None))?;
    let remote = inner.remote_of(&row).map_err(trouble)?;
    if remote.token.is_none() || remote.api_url.is_empty() {
        let hint = "no access token or API address is stored: see `fleetfoot repo update`";
        return Err((hint.to_owned(), false, None));
    }
    let client = inner.forge_client().map_err(trouble)?;
    let url = report.run.map(|run| run_url(control, run));
    let state = State::parse(&report.state).unwrap_or(State::Error);
    let said = Report {
        sha: &report.sha,
        context: &report.context,
        state,
        description: &report.text,
        target_url: url.as_deref(),
        check_run: report.check_run,
    };
    client.report(&remote, &said).await.map_err(|e| {
        let may_pass = e.may_pass() && e.kind != ApiErrorKind::Refused;
        (e.message.clone(), may_pass, e.retry_after)
    })
}
