//! What a dashboard asks for beside the things themselves: facets and changes
//! of lists, the fleet at this moment and over time, storage, health, and the
//! export of the audit log.

use super::runs::page_limit;
use crate::app::App;
use crate::auth::{Admin, Proof, Reader};
use crate::error::{Answer, Failure};
use crate::extract::{Id, Json, Query};
use crate::{sse, streams};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fleetfoot_control::{AuditExport, ListWatcher, Permission};
use fleetfoot_model::api::{AuditEntry, Page};
use fleetfoot_model::observe::{
    AuditFilter, FleetView, HealthView, ListChange, RunFacets, RunReport, Series, SeriesNames, StorageView,
    WorkflowList,
};
use fleetfoot_model::services::ArtifactList;
use fleetfoot_model::{RunId, Timestamp};
use futures_util::{Stream, stream};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Entries of a page of artifacts.
const ARTIFACTS: usize = 100;
const ARTIFACTS_MAX: usize = 1000;

/// The quick ones.
pub(super) fn quick() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(facets))
        .routes(routes!(report))
        .routes(routes!(workflows))
        .routes(routes!(fleet))
        .routes(routes!(series))
        .routes(routes!(series_names))
        .routes(routes!(storage))
        .routes(routes!(health))
        .routes(routes!(artifacts))
        .routes(routes!(super::lines::lines))
        .routes(routes!(super::lines::outline))
        .routes(routes!(super::lines::search))
}

/// Those that bound themselves.
pub(super) fn free() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(events))
        .routes(routes!(audit))
        .routes(routes!(super::lines::follow))
}

/// Values that the list of runs can be filtered by.
#[utoipa::path(get, path = "/runs/facets", operation_id = "run_facets", tag = "runs",
    responses((status = 200, body = RunFacets)))]
pub(super) async fn facets(State(app): State<App>, Reader(who): Reader) -> Answer<Json<RunFacets>> {
    Ok(Json(app.control.run_facets(&who).await?))
}

/// Annotations and summaries of all jobs of a run.
#[utoipa::path(get, path = "/runs/{id}/report", operation_id = "run_report", tag = "runs",
    params(("id" = u64, Path, description = "The run")), responses((status = 200, body = RunReport)))]
pub(super) async fn report(
    State(app): State<App>,
    Reader(who): Reader,
    id: Id<RunId>,
) -> Answer<Json<RunReport>> {
    Ok(Json(app.control.run_report(&who, id.0).await?))
}

/// Where to look for workflows.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WorkflowsQuery {
    /// A branch, a tag or a full ref; the default branch if absent.
    #[serde(rename = "ref")]
    #[param(rename = "ref")]
    git_ref: Option<String>,
}

/// Workflows of a repository and what they take when they are started by hand.
#[utoipa::path(get, path = "/repos/{id}/workflows", operation_id = "list_workflows", tag = "repositories",
    params(("id" = u64, Path, description = "The repository"), WorkflowsQuery),
    responses((status = 200, body = WorkflowList)))]
pub(super) async fn workflows(
    State(app): State<App>,
    Reader(who): Reader,
    id: Id<u64>,
    Query(query): Query<WorkflowsQuery>,
) -> Answer<Json<WorkflowList>> {
    Ok(Json(app.control.workflows(&who, id.0, query.git_ref.as_deref()).await?))
}

/// Follow the changes of every list, as server-sent events.
///
/// The name of an event is the `change` of its data. The first event is `reset`, and whenever changes
/// were left out: read the lists again then. `Last-Event-ID` goes on where a stream broke, if that is
/// still known. Runners and approvals are looked at once a second. The event `error` carries a problem
/// and is the last one: the session or token has ended. A stream that ends without it was interrupted,
/// or the role of the caller has changed: connect again.
#[utoipa::path(get, path = "/events", operation_id = "follow_lists", tag = "runs",
    params(("Last-Event-ID" = Option<u64>, Header, description = "Go on behind this change")),
    responses((status = 200, description = "Events", content_type = "text/event-stream", body = ListChange)))]
pub(super) async fn events(
    State(app): State<App>,
    Reader(who): Reader,
    proof: Proof,
    headers: HeaderMap,
) -> Answer<Response> {
    let since = streams::last_event_id(&headers)?;
    let place = app.admit_stream()?;
    let watcher = app.control.watch_lists(&who, since)?;
    let standing = proof.standing(&app, &who, Permission::Read);
    Ok(streams::events(&app, place, standing, list_events(watcher)))
}

fn list_events(watcher: ListWatcher) -> impl Stream<Item = Answer<Bytes>> + Send + 'static {
    stream::unfold(watcher, async |mut watcher| {
        let change = watcher.next().await?;
        let event = change.encoded(|change| {
            let name = match &change.change {
                ListChange::Run { .. } => "run",
                ListChange::RunDeleted { .. } => "run_deleted",
                ListChange::Runner { .. } => "runner",
                ListChange::RunnerDeleted { .. } => "runner_deleted",
                ListChange::Approvals { .. } => "approvals",
                ListChange::Reset => "reset",
            };
            // Strings and numbers always serialise.
            sse::json_event(name, Some(change.id), &change.change).unwrap_or_default()
        });
        Some((Ok(event), watcher))
    })
}

/// The fleet at this moment.
#[utoipa::path(get, path = "/fleet", operation_id = "get_fleet", tag = "runners",
    responses((status = 200, body = FleetView)))]
pub(super) async fn fleet(State(app): State<App>, Reader(who): Reader) -> Answer<Json<FleetView>> {
    Ok(Json(app.control.fleet(&who).await?))
}

/// Which numbers.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SeriesQuery {
    /// `fleet`, `runner:ID`, `queue:NAME` or `label:NAME`.
    name: String,
    /// Seconds since the Unix epoch; an hour before `to` if absent.
    from: Option<i64>,
    /// Seconds since the Unix epoch; now if absent.
    to: Option<i64>,
    /// Points at most, up to 5,000; 300 if absent.
    points: Option<u64>,
}

/// Numbers over time, in columns.
#[utoipa::path(get, path = "/series", operation_id = "get_series", tag = "runners", params(SeriesQuery),
    responses((status = 200, body = Series)))]
pub(super) async fn series(
    State(app): State<App>,
    Reader(who): Reader,
    Query(query): Query<SeriesQuery>,
) -> Answer<Json<Series>> {
    Ok(Json(app.control.series(&who, &query.name, query.from, query.to, query.points).await?))
}

/// Names of the series that have points.
#[utoipa::path(get, path = "/series/names", operation_id = "list_series", tag = "runners",
    responses((status = 200, body = SeriesNames)))]
pub(super) async fn series_names(State(app): State<App>, Reader(who): Reader) -> Answer<Json<SeriesNames>> {
    Ok(Json(app.control.series_names(&who).await?))
}

/// What takes how much room, and how long it is kept.
#[utoipa::path(get, path = "/storage", operation_id = "get_storage", tag = "administration",
    responses((status = 200, body = StorageView)))]
pub(super) async fn storage(State(app): State<App>, Admin(who): Admin) -> Answer<Json<StorageView>> {
    Ok(Json(app.control.storage(&who).await?))
}

/// How the server and its parts are.
#[utoipa::path(get, path = "/health", operation_id = "get_health", tag = "administration",
    responses((status = 200, body = HealthView)))]
pub(super) async fn health(State(app): State<App>, Reader(who): Reader) -> Answer<Json<HealthView>> {
    Ok(Json(app.control.health(&who).await?))
}

/// Which artifacts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ArtifactsQuery {
    /// Project.
    project: Option<String>,
    /// Part of the name.
    name: Option<String>,
    /// Where the previous page ended.
    cursor: Option<u64>,
    /// Entries of a page, 1 to 1000; 100 if absent.
    limit: Option<usize>,
}

/// Artifacts of all runs, newest first.
#[utoipa::path(get, path = "/artifacts", operation_id = "list_all_artifacts", tag = "artifacts",
    params(ArtifactsQuery), responses((status = 200, body = ArtifactList)))]
pub(super) async fn artifacts(
    State(app): State<App>,
    Reader(who): Reader,
    Query(query): Query<ArtifactsQuery>,
) -> Answer<Json<ArtifactList>> {
    let limit = query.limit.unwrap_or(ARTIFACTS);
    if !(1..=ARTIFACTS_MAX).contains(&limit) {
        return Err(Failure::bad_request(format!("limit must be 1 to {ARTIFACTS_MAX}")));
    }
    let (project, name) = (query.project.as_deref(), query.name.as_deref());
    Ok(Json(app.control.all_artifacts(&who, project, name, query.cursor, limit).await?))
}

/// In which form to export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum AuditFormat {
    /// A page as JSON.
    Json,
    /// All entries, one JSON object a line.
    Ndjson,
    /// All entries as a table.
    Csv,
}

/// Which audit entries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Who (`token:3`), exactly.
    actor: Option<String>,
    /// What: exactly, or everything that begins with it if it ends with a dot (`token.`).
    action: Option<String>,
    /// On what (`job:12`), exactly.
    target: Option<String>,
    /// Not before this moment.
    from: Option<Timestamp>,
    /// Before this moment.
    to: Option<Timestamp>,
    /// Part of any of its words.
    text: Option<String>,
    /// `json` (a page) if absent; `ndjson` and `csv` are all entries that match, as a stream.
    #[param(inline)]
    format: Option<AuditFormat>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Entries on the page, at most 200; 50 if absent.
    limit: Option<usize>,
}

/// The audit log, newest first: a page, or all of it as a file.
#[utoipa::path(get, path = "/audit", operation_id = "list_audit", tag = "administration", params(AuditQuery),
    responses((status = 200, description = "Entries", content(
        (Page<AuditEntry> = "application/json"), (String = "application/x-ndjson"), (String = "text/csv")))))]
pub(super) async fn audit(
    State(app): State<App>,
    Admin(who): Admin,
    proof: Proof,
    Query(query): Query<AuditQuery>,
) -> Answer<Response> {
    let filter = AuditFilter {
        actor: query.actor,
        action: query.action,
        target: query.target,
        from: query.from,
        to: query.to,
        text: query.text,
    };
    let csv = match query.format.unwrap_or(AuditFormat::Json) {
        AuditFormat::Json => {
            let limit = page_limit(query.limit)?;
            let page = app.control.search_audit(&who, &filter, query.cursor.as_deref(), limit).await?;
            return Ok(Json(page).into_response());
        }
        AuditFormat::Ndjson => false,
        AuditFormat::Csv => true,
    };
    if query.cursor.is_some() || query.limit.is_some() {
        return Err(Failure::bad_request(
            "an export has neither `cursor` nor `limit`: narrow it with filters",
        ));
    }
    let place = app.admit_stream()?;
    let export = app.control.export_audit(&who, filter)?;
    let standing = proof.standing(&app, &who, Permission::Administer);
    let mut response = streams::bytes(&app, place, Some(standing), exported(export, csv)).into_response();
    let (media_type, name) = match csv {
        true => ("text/csv; charset=utf-8", "attachment; filename=\"audit.csv\""),
        false => ("application/x-ndjson", "attachment; filename=\"audit.ndjson\""),
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(name));
    Ok(response)
}

fn exported(export: AuditExport, csv: bool) -> impl Stream<Item = Answer<Bytes>> + Send + 'static {
    stream::unfold((export, true), move |(mut export, first)| async move {
        let entries = match export.next().await {
            Ok(Some(entries)) => entries,
            Ok(None) if first && csv => Vec::new(),
            Ok(None) => return None,
            Err(problem) => return Some((Err(problem.into()), (export, false))),
        };
        let mut text = String::new();
        if first && csv {
            text.push_str("id,at,actor,action,subject,detail\r\n");
        }
        for entry in &entries {
            if csv {
                let detail = if entry.detail.is_null() { String::new() } else { entry.detail.to_string() };
                let cells = [&entry.actor, &entry.action, &entry.subject, &detail].map(|c| cell(c));
                text.push_str(&format!("{},{},{}\r\n", entry.id, entry.at, cells.join(",")));
            } else if let Ok(line) = serde_json::to_string(entry) {
                text.push_str(&line);
                text.push('\n');
            }
        }
        Some((Ok(Bytes::from(text)), (export, false)))
    })
}

/// A cell of a table. A text that a spreadsheet would calculate is quoted so that it does not.
fn cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stay_cells() {
        assert_eq!(cell("a,b"), "\"a,b\"");
        assert_eq!(cell("say \"x\"\r\n"), "\"say \"\"x\"\"\r\n\"");
        assert_eq!(cell("=HYPERLINK(1)"), "\"'=HYPERLINK(1)\"");
    }
}
