//! Rows as the public API shows them.

use crate::actor::LiveRunner;
use fleetfoot_model::api::{AttemptView, JobView, RunView, RunnerView, TokenView};
use fleetfoot_model::plan::{NeedResult, PlanNode};
use fleetfoot_model::spec::DEFAULT_QUEUE;
use fleetfoot_model::{Conclusion, Label, RunnerId};
use fleetfoot_store::{AttemptRow, JobRow, RunPayload, RunRow, RunnerRow, TokenRow};
use indexmap::IndexMap;
use serde_json::{Value, json};
use std::collections::HashMap;

/// The `needs` context: results and outputs of the jobs that a job needs.
pub(crate) fn needs_context(needs: &IndexMap<String, NeedResult>) -> Value {
    needs
        .iter()
        .map(|(key, need)| {
            (key.clone(), json!({ "result": need.result.as_result(), "outputs": need.outputs }))
        })
        .collect::<serde_json::Map<String, Value>>()
        .into()
}

pub(crate) fn run_view(row: RunRow, payload: Option<&RunPayload>) -> RunView {
    RunView {
        id: row.id,
        number: row.number,
        attempt: row.attempt,
        kind: row.kind,
        name: row.name,
        title: row.title,
        project: row.project,
        path: row.path,
        event: row.event,
        actor: row.actor,
        branch: row.branch,
        repository: payload.and_then(|p| p.params.repository.clone()),
        status: row.status,
        conclusion: row.conclusion,
        created_at: row.created_at,
        started_at: row.started_at,
        finished_at: row.finished_at,
        rerun_of: row.rerun_of,
        change: row.change,
        sha: payload.and_then(|p| p.params.repository.as_ref()).and_then(|r| r.sha.clone()),
        job_counts: None,
        inputs: payload.map(|p| p.params.inputs.clone()).unwrap_or_default(),
        cancel_requested: row.cancel_requested,
        jobs: None,
    }
}

/// A job with the steps of its latest attempt.
pub(crate) fn job_view(
    row: JobRow,
    nodes: &[PlanNode],
    latest: Option<&AttemptRow>,
    runners: &HashMap<RunnerId, String>,
) -> JobView {
    let needs = nodes.iter().find(|n| n.key == row.key).map(|n| n.needs.clone()).unwrap_or_default();
    let placement = row.placement.as_deref();
    JobView {
        id: row.id,
        run: row.run,
        key: row.key,
        name: row.name,
        needs,
        matrix: None,
        labels: placement.map(|p| p.labels.clone()).unwrap_or_default(),
        queue: placement.and_then(|p| p.queue.clone()).unwrap_or_else(|| DEFAULT_QUEUE.to_owned()),
        priority: placement.map_or(0, |p| p.priority),
        status: row.status,
        conclusion: row.conclusion,
        reason: row.reason,
        message: row.message,
        created_at: row.created_at,
        queued_at: row.queued_at,
        started_at: row.started_at,
        finished_at: row.finished_at,
        attempt: (row.attempt > 0).then_some(row.attempt),
        runner: row.runner,
        runner_name: row.runner.and_then(|r| runners.get(&r).cloned()),
        exit_code: row.exit_code,
        outputs: row.outputs,
        cancel_requested: row.cancel_requested,
        change: row.change,
        steps: latest.map(|a| a.steps.as_ref().clone()).unwrap_or_default(),
        attempts: None,
    }
}

pub(crate) fn attempt_view(row: AttemptRow) -> AttemptView {
    let (annotations, summaries) =
        row.result.as_ref().map(|r| (r.annotations.clone(), r.summaries.clone())).unwrap_or_default();
    AttemptView {
        environment_url: row.result.as_ref().and_then(|r| r.environment_url.clone()),
        attempt: row.id.attempt,
        runner: row.runner,
        finished: row.finished_at.is_some(),
        conclusion: row.conclusion,
        reason: row.reason,
        message: row.message,
        leased_at: row.leased_at,
        started_at: row.steps.iter().filter_map(|s| s.started_at).min(),
        finished_at: row.finished_at,
        log_bytes: row.log_bytes,
        steps: row.steps.as_ref().clone(),
        annotations,
        summaries,
        boundary: row.boundary,
    }
}

/// Labels of its own and those fixed at registration.
pub(crate) fn labels(row: &RunnerRow) -> Vec<Label> {
    let mut all = row.info.labels.clone();
    for label in &row.fixed_labels {
        if !all.contains(label) {
            all.push(label.clone());
        }
    }
    all
}

pub(crate) fn runner_view(live: LiveRunner, completed: Vec<(Conclusion, u64)>) -> RunnerView {
    let mut row = live.row;
    if let Some(queue) = &row.fixed_queue {
        row.info.queues = vec![queue.clone()];
    }
    RunnerView {
        id: row.id,
        labels: labels(&row),
        name: row.name,
        description: row.description,
        state: live.state,
        error: live.error,
        drain: row.drain,
        version_too_far: !crate::actor::version_fits(&row.version),
        version: row.version,
        slots: row.slots,
        info: row.info,
        resources: live.resources,
        jobs: live.jobs,
        created_at: row.created_at,
        last_seen_at: live.seen_at,
        completed: completed.into_iter().map(|(c, n)| (c.as_str().to_owned(), n)).collect(),
    }
}

pub(crate) fn token_view(row: TokenRow) -> TokenView {
    TokenView {
        id: row.id,
        kind: row.kind,
        name: row.name,
        prefix: row.prefix,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
        uses_left: row.uses_left,
        labels: row.labels,
        queue: row.queue,
        runner: row.runner,
    }
}
