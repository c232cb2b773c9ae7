//! From a document to planned jobs: contexts, graph, conditions, legs,
//! specifications.

#![allow(clippy::unwrap_used, reason = "tests")]

use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::diagnostic::{Diagnostic, Diagnostics, Source};
use fleetfoot_model::ids::RunId;
use fleetfoot_model::plan::{
    Dialect, Document, NeedResult, Plan, PlannedJob, Resolution, ResolveArgs, RunInfo, RunParams,
};
use fleetfoot_model::spec::{Concurrency, ConcurrencyQueue, Contexts, Repository, StepAction};
use fleetfoot_model::state::Conclusion;
use fleetfoot_workflow::{JobDialect, WorkflowDialect, WorkflowDocument};
use indexmap::IndexMap;
use serde_json::{Value, json};
use std::sync::Arc;

fn parse(text: &str) -> Arc<dyn Document> {
    WorkflowDialect.parse(&Source::new("ci.yml", text.as_bytes().to_vec())).unwrap_or_else(|e| panic!("{e}"))
}

/// A workflow of one job whose body is given, indented by four.
fn job(body: &str) -> Arc<dyn Document> {
    parse(&format!(
        "on: push\njobs:\n  before: {{runs-on: x, steps: [{{run: a}}]}}\n  job:\n    needs: before\n{body}    steps: [{{run: make}}]\n"
    ))
}

fn info(params: RunParams) -> RunInfo {
    RunInfo {
        id: RunId(77),
        number: 5,
        attempt: 1,
        workflow_path: Some(".github/workflows/ci.yml".to_owned()),
        server_url: "http://fleet.example".to_owned(),
        params,
        ..RunInfo::default()
    }
}

struct Case {
    contexts: Contexts,
    params: RunParams,
    needs: IndexMap<String, NeedResult>,
    ancestors: IndexMap<String, NeedResult>,
    cancelled: bool,
}

impl Case {
    fn new(document: &dyn Document, params: RunParams) -> Self {
        let contexts = document.contexts(&info(params.clone())).unwrap_or_else(|e| panic!("{e}"));
        Self { contexts, params, needs: IndexMap::new(), ancestors: IndexMap::new(), cancelled: false }
    }

    fn need(mut self, key: &str, result: Conclusion, outputs: &[(&str, &str)]) -> Self {
        let outputs = outputs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.needs.insert(key.to_owned(), NeedResult { result, outputs });
        self.ancestors.clone_from(&self.needs);
        self
    }

    fn plan(&self, document: &dyn Document) -> Plan {
        document.plan(&self.contexts, &self.params).unwrap_or_else(|e| panic!("{e}"))
    }

    fn resolve(&self, document: &dyn Document, node: &str) -> Result<Resolution, Diagnostic> {
        let args = ResolveArgs {
            contexts: &self.contexts,
            params: &self.params,
            needs: &self.needs,
            ancestors: &self.ancestors,
            cancelled: self.cancelled,
        };
        document.resolve(node, &args)
    }

    fn jobs(&self, document: &dyn Document, node: &str) -> Vec<PlannedJob> {
        match self.resolve(document, node).unwrap_or_else(|e| panic!("{e}")) {
            Resolution::Run { jobs, .. } => jobs,
            Resolution::Skip => Vec::new(),
        }
    }
}

fn ready(document: &dyn Document) -> Case {
    Case::new(document, RunParams::default()).need("before", Conclusion::Success, &[("list", "[1, 2]")])
}

fn labels(job: &PlannedJob) -> Vec<String> {
    job.placement.labels.iter().map(|l| l.0.clone()).collect()
}

#[test]
fn a_whole_specification() {
    let document = parse(
        "name: Build
on: push
env: {LEVEL: workflow, TARGET: '${{ github.ref_name }}'}
defaults: {run: {shell: bash, working-directory: src}}
jobs:
  build:
    name: Build it
    runs-on: [self-hosted, Linux]
    timeout-minutes: 5
    cancel-timeout-minutes: 0.5
    continue-on-error: true
    env: {LEVEL: job, NUMBER: 3.10, YES: true, NOTHING: }
    defaults: {run: {working-directory: sub}}
    outputs: {hash: '${{ steps.h.outputs.hash }}'}
    concurrency: {group: 'g-${{ github.run_id }}', cancel-in-progress: true, queue: max}
    queue: big
    priority: -7
    queue-timeout-minutes: 10
    idle-timeout-minutes: 2
    min-boundary: sandbox
    retry: {max-attempts: 3, on: [lost-runner], exit-codes: [75], backoff-seconds: 2, backoff-cap-seconds: 60}
    limits: {cpus: 1.5, memory: 512MiB, pids: 100}
    steps:
      - uses: actions/checkout@v4
        with: {fetch-depth: 0}
      - id: h
        name: Hash
        if: always()
        shell: sh
        working-directory: deep
        timeout-minutes: 1
        continue-on-error: ${{ true }}
        env: {A: '${{ secrets.A }}'}
        run: |
          echo hash=1 >> $GITHUB_OUTPUT
      - run: make
",
    );
    let params = RunParams {
        env: [("GIVEN".to_owned(), "it's ${{ raw }}".to_owned())].into(),
        ..RunParams::default()
    };
    let case = Case::new(&*document, params);
    let planned = case.jobs(&*document, "build").remove(0);
    assert_eq!(
        planned.placement.concurrency,
        Some(Concurrency {
            group: "g-77".to_owned(),
            cancel_in_progress: true,
            queue: ConcurrencyQueue::Max
        })
    );
    assert_eq!(planned.placement.min_boundary, Boundary::Sandbox);
    insta::assert_json_snapshot!("placement", planned.placement);
    insta::assert_json_snapshot!("spec", &*planned.spec);
    // The engine reads templates: what was given must come out as it went in.
    let given = fleetfoot_expr::Template::parse(&planned.spec.env[0]["GIVEN"]).unwrap();
    assert_eq!(given.evaluate_string(&fleetfoot_expr::MapScope::new()).unwrap(), "it's ${{ raw }}");
    // The same document gives the same specification in every run.
    let other = document.contexts(&RunInfo { id: RunId(9), ..info(case.params.clone()) }).unwrap();
    let args = ResolveArgs {
        contexts: &other,
        params: &case.params,
        needs: &IndexMap::new(),
        ancestors: &IndexMap::new(),
        cancelled: false,
    };
    let Ok(Resolution::Run { jobs, .. }) = document.resolve("build", &args) else { panic!() };
    assert_eq!(jobs[0].spec, planned.spec);
}

#[test]
fn the_graph_and_its_names() {
    let document = parse(
        "run-name: Deploy ${{ inputs.where }} by ${{ github.actor }}
on: {workflow_dispatch: {inputs: {where: {default: staging}}}}
concurrency: deploy-${{ inputs.where }}
jobs:
  list: {runs-on: x, steps: [{run: a}]}
  static:
    name: Literal
    runs-on: x
    strategy: {matrix: {os: [a, b], v: [1.10, {deep: yes}]}}
    steps: [{run: a}]
  named:
    name: On ${{ matrix.os }} ${{ strategy.job-index }}/${{ strategy.job-total }}
    runs-on: x
    strategy: {matrix: {os: [a, b]}}
    steps: [{run: a}]
  late:
    needs: [list, Static]
    runs-on: x
    strategy: {matrix: {n: '${{ fromJSON(needs.list.outputs.n) }}'}}
    steps: [{run: a}]
",
    );
    let params = RunParams { actor: Some("ada".to_owned()), ..RunParams::default() };
    let plan = Case::new(&*document, params).plan(&*document);
    assert_eq!(plan.name, ".github/workflows/ci.yml");
    assert_eq!(plan.title, "Deploy staging by ada");
    assert_eq!(plan.concurrency.unwrap().group, "deploy-staging");
    let nodes: Vec<String> =
        plan.nodes.iter().map(|n| format!("{} <- {:?}: {}", n.key, n.needs, n.names.join(" | "))).collect();
    insta::assert_snapshot!(nodes.join("\n"));
}

#[test]
fn filters_leave_chosen_jobs_and_what_they_need() {
    let text = "on: push
jobs:
  a: {runs-on: x, steps: [{run: a}]}
  b: {needs: a, runs-on: x, steps: [{run: a}], strategy: {matrix: {os: [linux, mac], v: [1, 2]}}}
  c: {runs-on: x, steps: [{run: a}]}
";
    let document = parse(text);
    let params = RunParams {
        jobs: vec!["B".to_owned()],
        matrix: [("os".to_owned(), vec!["MAC".to_owned()]), ("other".to_owned(), vec!["x".to_owned()])]
            .into(),
        ..RunParams::default()
    };
    let case = Case::new(&*document, params).need("a", Conclusion::Success, &[]);
    let plan = case.plan(&*document);
    let names: Vec<_> = plan.nodes.iter().map(|n| (n.key.as_str(), n.names.join(" | "))).collect();
    assert_eq!(names, [("a", "a".to_owned()), ("b", "b (mac, 1) | b (mac, 2)".to_owned())]);
    let jobs = case.jobs(&*document, "b");
    let index: Vec<_> = jobs.iter().map(|j| j.spec.contexts["strategy"]["job-index"].clone()).collect();
    assert_eq!(index, [json!(2), json!(3)]);

    let params = RunParams { jobs: vec!["aa".to_owned()], ..RunParams::default() };
    let error = document.plan(&case.contexts, &params).unwrap_err();
    assert_eq!(
        error.to_string(),
        "ci.yml:1:1: error[unknown-job]: There is no job 'aa'\n hint: Did you mean 'a'?"
    );
}

#[test]
fn skipping_spreads_unless_the_condition_asks_for_the_status() {
    use Conclusion::{Cancelled, Failure, Skipped, Success, TimedOut};
    let runs = |condition: &str, result: Conclusion, cancelled: bool| {
        let body = if condition.is_empty() { String::new() } else { format!("    if: {condition}\n") };
        let document = job(&format!("{body}    runs-on: x\n"));
        let mut case = Case::new(&*document, RunParams::default()).need("before", result, &[("go", "1")]);
        case.cancelled = cancelled;
        !case.jobs(&*document, "job").is_empty()
    };
    for (condition, on) in [
        ("", vec![Success]),
        ("needs.before.outputs.go == 1", vec![Success]),
        ("needs.before.outputs.go == 2", vec![]),
        ("always()", vec![Success, Failure, Cancelled, Skipped, TimedOut]),
        ("failure()", vec![Failure, TimedOut]),
        ("${{ !failure() }}", vec![Success, Cancelled, Skipped]),
        ("always() && needs.before.result == 'failure'", vec![Failure, TimedOut]),
        ("success('before')", vec![Success]),
        ("failure('BEFORE')", vec![Failure, TimedOut]),
        ("cancelled()", vec![]),
        ("\"'text'\"", vec![Success]),
        ("false", vec![]),
    ] {
        for result in [Success, Failure, Cancelled, Skipped, TimedOut] {
            assert_eq!(
                runs(condition, result, false),
                on.contains(&result),
                "if: {condition} after {result}"
            );
        }
    }
    assert!(runs("cancelled()", Success, true));
    assert!(!runs("", Success, true));
    assert!(!runs("failure()", Failure, true));
}

#[test]
fn success_looks_at_all_ancestors() {
    let document = job("    runs-on: x\n");
    let mut case = ready(&*document);
    let skipped = NeedResult { result: Conclusion::Skipped, outputs: IndexMap::new() };
    case.ancestors.insert("far".to_owned(), skipped);
    assert!(case.jobs(&*document, "job").is_empty());
}

#[test]
fn runs_on_in_all_forms() {
    for (runs_on, expected) in [
        ("ubuntu-latest", vec!["ubuntu-latest"]),
        ("[self-hosted, linux, Self-Hosted]", vec!["self-hosted", "linux"]),
        ("{group: big, labels: [gpu]}", vec!["group:big", "gpu"]),
        ("{labels: '${{ vars.LABEL }}'}", vec!["from-vars"]),
        ("${{ fromJSON('[\"a\", \"b\"]') }}", vec!["a", "b"]),
        ("${{ fromJSON('{\"group\":\"g\",\"labels\":\"l\"}') }}", vec!["group:g", "l"]),
        ("['${{ matrix.os }}', x]", vec!["leg", "x"]),
        ("['${{ fromJSON(needs.before.outputs.list) }}', x]", vec!["1", "2", "x"]),
    ] {
        let document = job(&format!("    strategy: {{matrix: {{os: [leg]}}}}\n    runs-on: {runs_on}\n"));
        let mut case = ready(&*document);
        case.contexts.insert("vars".to_owned(), json!({"LABEL": "from-vars"}));
        assert_eq!(labels(&case.jobs(&*document, "job")[0]), expected, "{runs_on}");
    }
    let document = job("    runs-on: ${{ vars.MISSING }}\n");
    let error = ready(&*document).resolve(&*document, "job").unwrap_err();
    insta::assert_snapshot!(error.to_string());
}

#[test]
fn expressions_of_a_wrong_type_say_so() {
    for (body, expected) in [
        (
            "    runs-on: x\n    timeout-minutes: ${{ vars.T }}\n",
            "7:22: error[unexpected-value]: Unexpected value '10'",
        ),
        (
            "    runs-on: x\n    continue-on-error: ${{ vars.NONE }}\n",
            "7:24: error[unexpected-value]: Unexpected value ''",
        ),
        (
            "    runs-on: x\n    strategy: {matrix: '${{ fromJSON(vars.T) }}'}\n",
            "7:24: error[matrix]: The matrix is not a mapping",
        ),
        (
            "    runs-on: x\n    strategy: {matrix: '${{ fromJSON(vars.NONE) }}'}\n",
            "7:29: error[expression]: ",
        ),
        (
            "    runs-on: x\n    concurrency: ${{ vars.NONE }}\n",
            "7:18: error[concurrency]: Concurrency group name cannot be empty",
        ),
        (
            "    runs-on: x\n    strategy: {matrix: {a: '${{ fromJSON(''[]'') }}'}}\n",
            "7:28: error[matrix]: Matrix vector 'a' does not contain any values",
        ),
    ] {
        let document = job(body);
        let mut case = ready(&*document);
        case.contexts.insert("vars".to_owned(), json!({"T": "10"}));
        let error = case.resolve(&*document, "job").unwrap_err().to_string();
        assert!(error.starts_with(&format!("ci.yml:{expected}")), "{body}\n{error}");
    }
}

#[test]
fn a_matrix_from_the_output_of_another_job() {
    let document = job(
        "    runs-on: r-${{ matrix.n }}\n    strategy:\n      fail-fast: false\n      max-parallel: ${{ fromJSON('1') }}\n      matrix:\n        n: ${{ fromJSON(needs.before.outputs.list) }}\n",
    );
    let resolution = ready(&*document).resolve(&*document, "job").unwrap();
    let Resolution::Run { jobs, fail_fast, max_parallel } = resolution else { panic!() };
    assert!(!fail_fast);
    assert_eq!(max_parallel, Some(1));
    let seen: Vec<_> =
        jobs.iter().map(|j| (j.spec.name.clone(), labels(j).join(","), j.spec.contexts.clone())).collect();
    assert_eq!(seen[1].0, "job (2)");
    assert_eq!(seen[1].1, "r-2");
    assert_eq!(
        Value::Object(seen[1].2.clone().into_iter().collect()),
        json!({"matrix": {"n": 2}, "strategy": {"fail-fast": false, "job-index": 1, "job-total": 2, "max-parallel": 1}})
    );
}

#[test]
fn inserted_and_expressed_mappings() {
    let document = job(
        "    runs-on: x\n    strategy:\n      matrix:\n        ${{ insert }}: ${{ fromJSON('{\"a\":[1]}') }}\n        b: [2]\n    env: ${{ fromJSON('{\"X\":\"1\",\"Y\":2}') }}\n",
    );
    let planned = ready(&*document).jobs(&*document, "job").remove(0);
    assert_eq!(planned.spec.contexts["matrix"], json!({"a": 1, "b": 2}));
    assert_eq!(
        planned.spec.env,
        [IndexMap::from([("X".to_owned(), "1".to_owned()), ("Y".to_owned(), "2".to_owned())])]
    );
}

const INPUTS: &str = "on:
  workflow_dispatch:
    inputs:
      level: {type: choice, options: [low, high], default: low}
      dry: {type: boolean}
      count: {type: number, default: 3}
      who: {required: true}
jobs: {a: {runs-on: x, steps: [{run: a}]}}
";

fn with_inputs(inputs: Value) -> Result<Contexts, Diagnostics> {
    let inputs = inputs.as_object().unwrap().clone().into_iter().collect();
    parse(INPUTS).contexts(&info(RunParams { inputs, ..RunParams::default() }))
}

#[test]
fn inputs_are_typed() {
    let contexts = with_inputs(json!({"WHO": "me", "dry": "true", "count": "0x10"})).unwrap();
    assert_eq!(contexts["inputs"], json!({"level": "low", "dry": true, "count": 16, "who": "me"}));
    let event = &contexts["github"]["event"]["inputs"];
    assert_eq!(*event, json!({"level": "low", "dry": "true", "count": "16", "who": "me"}));

    let error =
        with_inputs(json!({"levle": "low", "level": "middle", "dry": "maybe", "count": "many"})).unwrap_err();
    insta::assert_snapshot!(error.to_string());
}

#[test]
fn another_event_has_no_inputs() {
    let params = RunParams { event_name: "push".to_owned(), ..RunParams::default() };
    let contexts = parse(INPUTS).contexts(&info(params)).unwrap();
    assert_eq!(contexts["inputs"], json!({}));
    // Any workflow can be submitted by hand, whatever its events are.
    parse("on: push\njobs: {a: {runs-on: x, steps: [{run: a}]}}\n")
        .contexts(&info(RunParams::default()))
        .unwrap();
}

#[test]
fn the_github_context() {
    let document = parse("name: CI\non: push\njobs: {a: {runs-on: x, steps: [{run: a}]}}\n");
    let params = RunParams {
        event_name: "push".to_owned(),
        event: json!({"ref": "refs/heads/feature/x", "after": "abc", "sender": {"login": "ada", "id": 7},
            "repository": {"full_name": "org/repo", "id": 12, "owner": {"id": 3}},
            "head_commit": {"message": "Fix it\n\nLong story"}}),
        ..RunParams::default()
    };
    let case = Case::new(&*document, params.clone());
    insta::assert_json_snapshot!("github", case.contexts["github"]);
    assert_eq!(case.plan(&*document).title, "Fix it");

    let repository = Repository {
        url: "https://user:word@github.com/a/b.git".to_owned(),
        name: Some("a/b".to_owned()),
        git_ref: Some("refs/tags/v1".to_owned()),
        sha: Some("def".to_owned()),
    };
    let github =
        &Case::new(&*document, RunParams { repository: Some(repository), ..params }).contexts["github"];
    assert_eq!(github["server_url"], "https://github.com");
    assert_eq!(github["api_url"], "https://api.github.com");
    assert_eq!((&github["ref_name"], &github["ref_type"]), (&json!("v1"), &json!("tag")));
    assert_eq!(github["workflow_ref"], "a/b/.github/workflows/ci.yml@refs/tags/v1");
}

#[test]
fn a_plain_job() {
    let text = "name: nightly\nsteps:\n  - run: echo ${{ inputs.x }}\npriority: 3\n";
    let document = JobDialect.parse(&Source::new("job.yml", text.as_bytes().to_vec())).unwrap();
    let params = RunParams { inputs: [("x".to_owned(), json!(1))].into(), ..RunParams::default() };
    let case = Case::new(&*document, params);
    assert_eq!(case.contexts["inputs"], json!({"x": 1}));
    assert_eq!(case.plan(&*document).nodes[0].names, ["nightly"]);
    let planned = case.jobs(&*document, "job").remove(0);
    assert_eq!(planned.spec.key, "job");
    assert!(planned.placement.labels.is_empty());
    assert_eq!(planned.placement.priority, 3);
    assert!(
        matches!(&planned.spec.steps[0].action, StepAction::Run { script, .. } if script == "echo ${{ inputs.x }}")
    );
}

#[test]
fn aliases_and_anchors_are_resolved() {
    let document = parse(
        "on: push\njobs:\n  a: &job\n    runs-on: x\n    steps: &steps\n      - run: one\n  b: *job\n  c: {runs-on: y, steps: *steps}\n",
    );
    let case = Case::new(&*document, RunParams::default());
    for key in ["a", "b", "c"] {
        assert_eq!(case.jobs(&*document, key)[0].spec.steps.len(), 1, "{key}");
    }
}

#[test]
fn triggers_are_read_with_their_filters() {
    let text = "on:
  push: {branches: [main, '!dev'], paths: src/**}
  pull_request:
  schedule: [{cron: '0 5 * * 1', timezone: Europe/London}]
jobs: {a: {runs-on: x, steps: [{run: a}]}}
";
    let document = WorkflowDocument::parse(&Source::new("ci.yml", text.as_bytes().to_vec())).unwrap();
    let seen: Vec<String> = document
        .triggers()
        .iter()
        .map(|t| format!("{}:{} {:?} {:?}", t.line, t.event, t.filters, t.schedules))
        .collect();
    insta::assert_snapshot!(seen.join("\n"));
}

#[test]
fn a_job_with_a_container_asks_for_the_boundary() {
    let least = |body: &str| {
        let document = job(body);
        let case = Case::new(&*document, RunParams::default()).need("before", Conclusion::Success, &[]);
        case.jobs(&*document, "job").remove(0).placement.min_boundary
    };
    let boundary = "    min-boundary: gvisor\n";
    assert_eq!(least("    runs-on: x\n"), Boundary::Process);
    assert_eq!(least("    runs-on: x\n    container: alpine\n"), Boundary::Container);
    assert_eq!(least("    runs-on: x\n    container: {image: \"${{ '' }}\"}\n"), Boundary::Process);
    assert_eq!(least("    runs-on: x\n    container: \"${{ matrix.none }}\"\n"), Boundary::Process);
    assert_eq!(least("    runs-on: x\n    services: {db: {image: db}}\n"), Boundary::Process);
    assert_eq!(least(&format!("    runs-on: x\n    container: alpine\n{boundary}")), Boundary::Gvisor);
}
