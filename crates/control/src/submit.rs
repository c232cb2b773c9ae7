//! From a create request to a run that is planned and ready to be stored.
//! Everything here happens before the actor hears of it.

use crate::actor::{PreparedRun, RunSource};
use crate::{Inner, Principal};
use fleetfoot_model::api::{CreateRun, Created, CreatedJob};
use fleetfoot_model::ids::{JobId, RunId};
use fleetfoot_model::plan::{
    Document, NeedResult, Plan, PlanNode, PlannedJob, Resolution, ResolveArgs, RunInfo, RunParams,
};
use fleetfoot_model::projects::check_title;
use fleetfoot_model::spec::Deployment;
use fleetfoot_model::state::{Conclusion, Reason, Status};
use fleetfoot_model::{Code, Diagnostic, Diagnostics, Problem, Source, Timestamp};
use fleetfoot_scheduler::Graph;
use fleetfoot_store::{JobPayload, JobRow, NewRun, RunPayload, RunRow};
use indexmap::IndexMap;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// Largest number of jobs in one request.
pub(crate) const MAX_JOBS: usize = 50_000;
/// Largest number of secrets in one run.
const MAX_SECRETS: usize = 1_000;

/// What a re-run takes over from the run that it repeats.
#[derive(Default)]
pub(crate) struct Carry {
    pub(crate) rerun_of: Option<RunId>,
    pub(crate) number: Option<u64>,
    pub(crate) attempt: u32,
    /// Jobs of nodes that need not run again, by key.
    pub(crate) done: HashMap<String, Vec<JobRow>>,
    /// Where it comes from.
    pub(crate) provenance: Provenance,
}

/// What only the control plane says about a run, never its submitter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Provenance {
    /// The account that caused it; absent means the caller.
    pub(crate) actor: Option<String>,
    /// See [`RunParams::untrusted`].
    pub(crate) untrusted: bool,
    /// See [`RunParams::awaits_approval`].
    pub(crate) awaits_approval: Option<String>,
}

impl Provenance {
    /// That of an earlier run: running it again makes it no more trusted.
    pub(crate) fn of(params: &RunParams) -> Self {
        Self {
            actor: params.actor.clone(),
            untrusted: params.untrusted,
            awaits_approval: params.awaits_approval.clone(),
        }
    }

    fn apply(&self, params: &mut RunParams) {
        params.untrusted = self.untrusted;
        params.awaits_approval.clone_from(&self.awaits_approval);
        if let Some(actor) = &self.actor {
            params.actor = Some(actor.clone());
        }
    }
}

/// A run of which everything is known that has to be asked for: planning it takes nothing but time.
pub(crate) struct Begun {
    request: CreateRun,
    carry: Carry,
    document: Arc<dyn Document>,
    info: RunInfo,
    name: String,
    /// The run's own variables under those of its project and of everybody.
    vars: IndexMap<String, String>,
}

/// Plans one run.
pub(crate) async fn prepare(
    inner: &Inner,
    who: &Principal,
    request: CreateRun,
    carry: Carry,
) -> Result<(PreparedRun, Created), Problem> {
    plan(inner, begin(inner, who, request, carry).await?)
}

/// Looks up what planning needs, and gives the run its id and number.
pub(crate) async fn begin(
    inner: &Inner,
    who: &Principal,
    request: CreateRun,
    carry: Carry,
) -> Result<Begun, Problem> {
    if request.secrets.len() > MAX_SECRETS {
        return Err(Problem::new(Code::BadRequest, format!("a run takes at most {MAX_SECRETS} secrets")));
    }
    let path = request.path.clone().unwrap_or_else(|| format!("<{}>", request.kind));
    let mut params = params(who, &request);
    carry.provenance.apply(&mut params);
    let document =
        crate::loader::parse(inner, &request.kind, &path, &request.document, &mut params.files).await?;
    let project = request.project.clone().unwrap_or_else(|| "default".to_owned());
    check_title("a project", &project).map_err(|e| Problem::new(Code::BadRequest, e))?;
    inner.ensure_project(&project).await?;
    let name = document.name().map_or_else(|| path.clone(), str::to_owned);
    let number = match carry.number {
        Some(number) => number,
        None => inner.run_number(&project, &name).await?,
    };
    let vars = inner.run_variables(&project, &params.vars).await?;
    let info = RunInfo {
        id: inner.ids.next_run(),
        number,
        attempt: carry.attempt.max(1),
        created_at: inner.clock.wall(),
        project,
        workflow_path: request.path.clone(),
        server_url: inner.options.server_url.clone(),
        params,
    };
    Ok(Begun { request, carry, document, info, name, vars })
}

/// Works out the jobs. Takes a tenth of a millisecond and more: of thousands of runs, not on the
/// thread that answers others.
pub(crate) fn plan(inner: &Inner, begun: Begun) -> Result<(PreparedRun, Created), Problem> {
    let Begun { request, carry, document, mut info, name, vars } = begun;
    let id = info.id;
    // The contexts see all variables; what is kept as the run's own stays its own, for a re-run.
    let own = std::mem::replace(&mut info.params.vars, vars);
    let contexts = document.contexts(&info).map_err(bad_document)?;
    info.params.vars = own;
    let plan = document.plan(&contexts, &info.params).map_err(bad_document)?;
    let source = Arc::new(RunSource { document: document.clone(), contexts, params: info.params.clone() });
    let sealed_secrets =
        inner.vault.seal(id, &request.secrets).map_err(|e| Problem::new(Code::Internal, e.to_string()))?;
    let row = run_row(&info, &request, &plan, name, &carry);
    let mut draft = Draft { inner, row, source, jobs: Vec::new(), graph: None };
    draft.build(&plan, &carry.done)?;
    let Draft { mut row, source, jobs, graph, .. } = draft;
    row.jobs = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
    let created = Created {
        run: id,
        jobs: jobs
            .iter()
            .map(|(j, _)| CreatedJob { id: j.id, name: j.name.clone(), key: j.key.clone() })
            .collect(),
        warnings: document.warnings().to_vec(),
    };
    let payload = RunPayload {
        document: request.document.into(),
        params: info.params,
        contexts: source.contexts.clone(),
        sealed_secrets,
    };
    let keep_source = graph.is_some().then(|| source.clone());
    let new = Box::new(NewRun { row, payload, jobs });
    Ok((PreparedRun { new, graph, source: keep_source }, created))
}

/// Reads the source of a stored run.
pub(crate) async fn load_source(inner: &Inner, run: RunId) -> Result<Arc<RunSource>, Problem> {
    let store = |e| crate::actor::store_problem(&e);
    let row = inner.store.run(run).await.map_err(store)?;
    let payload = inner.store.run_payload(run).await.map_err(store)?;
    let (Some(row), Some(payload)) = (row, payload) else {
        return Err(Problem::new(Code::NotFound, format!("run {run} is gone")));
    };
    let path = row.path.unwrap_or_else(|| format!("<{}>", row.kind));
    let document = inner.documents.parse(&row.kind, &path, &payload.document, &payload.params.files)?;
    Ok(Arc::new(RunSource { document, contexts: payload.contexts, params: payload.params }))
}

/// A request that creates the same run again.
pub(crate) fn request_of(row: &RunRow, payload: &RunPayload, secrets: IndexMap<String, String>) -> CreateRun {
    let params = payload.params.clone();
    CreateRun {
        kind: row.kind.clone(),
        document: payload.document.to_string(),
        path: row.path.clone(),
        event: Some(serde_json::json!({ "name": params.event_name, "payload": params.event })),
        inputs: params.inputs,
        secrets,
        vars: params.vars,
        env: params.env,
        project: Some(row.project.clone()),
        repository: params.repository,
        jobs: params.jobs,
        matrix: params.matrix,
        queue: params.queue,
        priority: (params.priority != 0).then_some(params.priority),
        files: params.files,
    }
}

fn params(who: &Principal, request: &CreateRun) -> RunParams {
    let (event_name, event) = match &request.event {
        None => (String::new(), Value::Null),
        Some(Value::String(name)) => (name.clone(), Value::Null),
        Some(Value::Object(map)) if map.contains_key("name") || map.contains_key("payload") => (
            map.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
            map.get("payload").cloned().unwrap_or(Value::Null),
        ),
        Some(payload) => (String::new(), payload.clone()),
    };
    let event_name = if event_name.is_empty() { "workflow_dispatch".to_owned() } else { event_name };
    let actor = match who {
        Principal::System => None,
        other => Some(other.audit_name()),
    };
    RunParams {
        event_name,
        event,
        inputs: request.inputs.clone(),
        vars: request.vars.clone(),
        env: request.env.clone(),
        actor,
        repository: request.repository.clone(),
        jobs: request.jobs.clone(),
        matrix: request.matrix.clone(),
        queue: request.queue.clone(),
        priority: request.priority.unwrap_or(0),
        files: request.files.clone(),
        untrusted: false,
        awaits_approval: None,
    }
}

fn run_row(info: &RunInfo, request: &CreateRun, plan: &Plan, name: String, carry: &Carry) -> RunRow {
    let branch = request
        .repository
        .as_ref()
        .and_then(|r| r.git_ref.as_deref())
        .map(|r| r.trim_start_matches("refs/heads/").trim_start_matches("refs/tags/").to_owned());
    let solo = matches!(plan.nodes.as_slice(), [node] if node.needs.is_empty() && node.names.len() == 1);
    RunRow {
        id: info.id,
        number: info.number,
        attempt: info.attempt,
        kind: request.kind.clone(),
        title: if plan.title.is_empty() { name.clone() } else { plan.title.clone() },
        name,
        project: info.project.clone(),
        path: request.path.clone(),
        event: info.params.event_name.clone(),
        actor: info.params.actor.clone(),
        branch,
        status: Status::Queued,
        conclusion: None,
        cancel_requested: false,
        created_at: info.created_at,
        started_at: None,
        finished_at: None,
        rerun_of: carry.rerun_of,
        concurrency: plan.concurrency.clone(),
        nodes: if solo { Vec::new() } else { plan.nodes.clone() },
        jobs: 0,
        change: 0,
    }
}

/// A run while its jobs are being worked out.
struct Draft<'a> {
    inner: &'a Inner,
    row: RunRow,
    source: Arc<RunSource>,
    jobs: Vec<(JobRow, Option<JobPayload>)>,
    graph: Option<Graph>,
}

impl Draft<'_> {
    fn build(&mut self, plan: &Plan, done: &HashMap<String, Vec<JobRow>>) -> Result<(), Problem> {
        if plan.nodes.iter().map(|n| n.names.len()).sum::<usize>() > MAX_JOBS {
            return Err(Problem::new(Code::BadRequest, format!("a run has at most {MAX_JOBS} jobs")));
        }
        if self.row.nodes.is_empty() {
            return match plan.nodes.first() {
                Some(node) => self.solo(node),
                None => Err(Problem::new(Code::BadDocument, "the document has no jobs")),
            };
        }
        let mut graph = Graph::new(&plan.nodes);
        for node in &plan.nodes {
            let ids = self.placeholders(node);
            graph.set_jobs(&node.key, &ids);
        }
        for (key, rows) in done {
            self.carry_over(&mut graph, key, rows);
        }
        // Nodes that need nothing (or only what is over already) are decided now.
        loop {
            let ready: Vec<String> = graph.ready().into_iter().map(str::to_owned).collect();
            if ready.is_empty() {
                break;
            }
            for key in ready {
                self.decide(&mut graph, &key);
            }
        }
        self.graph = Some(graph);
        Ok(())
    }

    /// One job that needs nothing: no graph to keep. It becomes an ordinary graph if its matrix surprises.
    fn solo(&mut self, node: &PlanNode) -> Result<(), Problem> {
        match self.resolve(&node.key, &IndexMap::new(), &IndexMap::new()) {
            Ok(Resolution::Run { jobs, fail_fast, max_parallel }) if jobs.len() == 1 => {
                let id = self.inner.ids.next_job();
                for job in jobs {
                    self.push_leg(id, &node.key, 0, job, (fail_fast, max_parallel), None);
                }
            }
            Ok(Resolution::Run { jobs, fail_fast, max_parallel }) => {
                let mut graph = Graph::new(std::slice::from_ref(node));
                let mut ids = Vec::new();
                for (leg, job) in jobs.into_iter().enumerate() {
                    let id = self.inner.ids.next_job();
                    ids.push(id);
                    self.push_leg(id, &node.key, leg, job, (fail_fast, max_parallel), None);
                }
                graph.set_jobs(&node.key, &ids);
                graph.resolved(&node.key, &ids, fail_fast);
                self.row.nodes = vec![node.clone()];
                self.graph = Some(graph);
            }
            Ok(Resolution::Skip) => {
                self.placeholders(node);
                self.end_jobs(&node.key, Conclusion::Skipped, None, None);
            }
            Err(diagnostic) => return Err(bad_document(Diagnostics(vec![diagnostic]))),
        }
        Ok(())
    }

    fn placeholders(&mut self, node: &PlanNode) -> Vec<JobId> {
        let mut ids = Vec::with_capacity(node.names.len());
        for (leg, name) in node.names.iter().enumerate() {
            let id = self.inner.ids.next_job();
            ids.push(id);
            let mut row = job_row(id, self.row.id, &node.key, leg, &self.row.project, self.row.created_at);
            row.name.clone_from(name);
            self.jobs.push((row, None));
        }
        ids
    }

    fn resolve(
        &self,
        key: &str,
        needs: &IndexMap<String, NeedResult>,
        ancestors: &IndexMap<String, NeedResult>,
    ) -> Result<Resolution, Diagnostic> {
        let args = ResolveArgs {
            contexts: &self.source.contexts,
            params: &self.source.params,
            needs,
            ancestors,
            cancelled: false,
        };
        self.source.document.resolve(key, &args)
    }

    fn decide(&mut self, graph: &mut Graph, key: &str) {
        let (needs, ancestors) = (graph.needs(key), graph.ancestors(key));
        let context = (!needs.is_empty()).then(|| crate::views::needs_context(&needs));
        let ended = match self.resolve(key, &needs, &ancestors) {
            Ok(Resolution::Run { jobs, fail_fast, max_parallel }) => {
                let at = self.jobs.iter().position(|(j, _)| j.key == key).unwrap_or(self.jobs.len());
                let old: Vec<JobId> =
                    self.jobs.iter().filter(|(j, _)| j.key == key).map(|(j, _)| j.id).collect();
                let tail = self.jobs.split_off(at);
                let mut ids = Vec::new();
                for (leg, job) in jobs.into_iter().enumerate() {
                    let id = old.get(leg).copied().unwrap_or_else(|| self.inner.ids.next_job());
                    ids.push(id);
                    self.push_leg(id, key, leg, job, (fail_fast, max_parallel), context.clone());
                }
                self.jobs.extend(tail.into_iter().filter(|(j, _)| j.key != key));
                graph.set_jobs(key, &ids);
                graph.resolved(key, &ids, fail_fast);
                return;
            }
            Ok(Resolution::Skip) => (Conclusion::Skipped, None, None),
            Err(d) => (Conclusion::Failure, Some(Reason::BadSpecification), Some(d.to_string())),
        };
        let (conclusion, reason, message) = ended;
        graph.failed(key, conclusion);
        self.end_jobs(key, conclusion, reason, message);
    }

    fn push_leg(
        &mut self,
        id: JobId,
        key: &str,
        leg: usize,
        job: PlannedJob,
        limits: (bool, Option<u32>),
        needs: Option<Value>,
    ) {
        let mut row = job_row(id, self.row.id, key, leg, &self.row.project, self.row.created_at);
        fill(&mut row, &job, Some(&self.source), limits);
        row.status = Status::Queued;
        row.queued_at = Some(self.row.created_at);
        self.jobs.push((row, Some(JobPayload { spec: job.spec, needs })));
    }

    fn end_jobs(
        &mut self,
        key: &str,
        conclusion: Conclusion,
        reason: Option<Reason>,
        message: Option<String>,
    ) {
        let at = self.row.created_at;
        for (row, _) in self.jobs.iter_mut().filter(|(j, _)| j.key == key) {
            row.status = Status::Completed;
            row.conclusion = Some(conclusion);
            row.reason = reason;
            row.message.clone_from(&message);
            row.finished_at = Some(at);
        }
    }

    /// Jobs that a re-run of the failed ones does not repeat keep their outcome.
    fn carry_over(&mut self, graph: &mut Graph, key: &str, old: &[JobRow]) {
        let Some(at) = self.jobs.iter().position(|(j, _)| j.key == key) else { return };
        let tail = self.jobs.split_off(at);
        let mut ids = Vec::new();
        for row in old {
            let id = self.inner.ids.next_job();
            ids.push(id);
            let row =
                JobRow { id, run: self.row.id, attempt: 0, runner: None, started_at: None, ..row.clone() };
            self.jobs.push((row, None));
        }
        self.jobs.extend(tail.into_iter().filter(|(j, _)| j.key != key));
        graph.set_jobs(key, &ids);
        graph.resolved(key, &ids, false);
        for (id, row) in ids.iter().zip(old) {
            let conclusion = row.conclusion.unwrap_or(Conclusion::Success);
            graph.job_ended(*id, conclusion, row.continue_on_error, &row.outputs);
        }
    }
}

/// An empty row of a waiting job.
pub(crate) fn job_row(id: JobId, run: RunId, key: &str, leg: usize, project: &str, at: Timestamp) -> JobRow {
    JobRow {
        id,
        run,
        key: key.to_owned(),
        leg: u32::try_from(leg).unwrap_or(u32::MAX),
        name: key.to_owned(),
        project: project.to_owned(),
        status: Status::Waiting,
        conclusion: None,
        reason: None,
        message: None,
        exit_code: None,
        continue_on_error: false,
        attempt: 0,
        runner: None,
        cancel_requested: false,
        created_at: at,
        queued_at: None,
        started_at: None,
        finished_at: None,
        not_before: None,
        outputs: IndexMap::new(),
        change: 0,
        placement: None,
        max_parallel: None,
        fail_fast: false,
    }
}

/// Fills in what is known once a node is resolved.
pub(crate) fn fill(
    row: &mut JobRow,
    job: &PlannedJob,
    source: Option<&RunSource>,
    (fail_fast, max_parallel): (bool, Option<u32>),
) {
    row.name.clone_from(&job.spec.name);
    row.continue_on_error = job.spec.continue_on_error;
    row.fail_fast = fail_fast;
    row.max_parallel = max_parallel;
    let mut placement = job.placement.clone();
    if let Some(source) = source {
        if placement.queue.is_none() {
            placement.queue.clone_from(&source.params.queue);
        }
        placement.priority = placement.priority.saturating_add(source.params.priority).clamp(-1000, 1000);
    }
    let repository = source.and_then(|s| s.params.repository.as_ref());
    placement.deployment = job.spec.environment.as_ref().map(|environment| Deployment {
        environment: environment.name.clone(),
        git_ref: repository.and_then(|r| r.git_ref.clone()),
    });
    row.placement = Some(Arc::new(placement));
}

/// Findings in a document as a problem.
pub(crate) fn bad_document(findings: Diagnostics) -> Problem {
    let detail = findings.0.first().map_or_else(
        || "the document has errors".to_owned(),
        |d| format!("{}:{}:{}: {}", d.file, d.line, d.column, d.message),
    );
    Problem { errors: findings.0, ..Problem::new(Code::BadDocument, detail) }
}

/// Parsed documents by content (with what they call): equal documents are parsed once.
pub(crate) struct Documents {
    dialects: Vec<Arc<dyn fleetfoot_model::plan::Dialect>>,
    parsed: parking_lot::Mutex<IndexMap<[u8; 32], Arc<dyn Document>>>,
}

/// Parsed documents kept.
const PARSED: usize = 256;

impl Documents {
    pub(crate) fn new(dialects: Vec<Arc<dyn fleetfoot_model::plan::Dialect>>) -> Self {
        Self { dialects, parsed: parking_lot::Mutex::default() }
    }

    pub(crate) fn parse(
        &self,
        kind: &str,
        path: &str,
        text: &str,
        files: &IndexMap<String, String>,
    ) -> Result<Arc<dyn Document>, Problem> {
        let mut hasher = blake3::Hasher::new();
        let files_too = files.iter().flat_map(|(reference, text)| [reference.as_str(), text]);
        for part in [kind, path, text].into_iter().chain(files_too) {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        let hash = *hasher.finalize().as_bytes();
        if let Some(document) = self.parsed.lock().get(&hash) {
            return Ok(document.clone());
        }
        let dialect = self.dialects.iter().find(|d| d.kind() == kind).ok_or_else(|| {
            let known: Vec<&str> = self.dialects.iter().map(|d| d.kind()).collect();
            Problem::new(Code::BadRequest, format!("there is no kind '{kind}'"))
                .with_hint(format!("use one of: {}", known.join(", ")))
        })?;
        let document =
            dialect.parse_with(&Source::new(path, text.as_bytes()), files).map_err(bad_document)?;
        let mut parsed = self.parsed.lock();
        if parsed.len() >= PARSED {
            parsed.shift_remove_index(0);
        }
        parsed.insert(hash, document.clone());
        Ok(document)
    }
}
