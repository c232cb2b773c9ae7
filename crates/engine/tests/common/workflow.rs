//! Workflow files, from the document to the assignment of the job `job`.

use super::{Job, unique};
use fleetfoot_model::diagnostic::Source;
use fleetfoot_model::ids::RunId;
use fleetfoot_model::plan::{Dialect, Resolution, ResolveArgs, RunInfo, RunParams};
use fleetfoot_model::sync::AttemptResult;
use fleetfoot_testkit::GitRepository;
use fleetfoot_workflow::WorkflowDialect;
use indexmap::IndexMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the workflows and what they expect lie.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workflows")
}

/// The names of all workflows, and whether they need node.
pub fn all() -> Vec<(String, bool)> {
    let entries = std::fs::read_dir(directory().join("tree/.github/workflows")).unwrap();
    let mut found: Vec<(String, bool)> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), text.starts_with("# Needs: node"))
        })
        .collect();
    found.sort();
    found
}

/// What a workflow prints and how it ends, wherever it runs.
pub fn expected(name: &str) -> String {
    std::fs::read_to_string(directory().join("expected").join(format!("{name}.txt"))).unwrap()
}

/// What it printed and how it ended.
pub fn shown(job: &Job, result: &AttemptResult) -> String {
    let outputs: Vec<String> = result.outputs.iter().map(|(k, v)| format!(" {k}={v}")).collect();
    format!("{}{}:{}\n", job.sink.out(), result.conclusion.as_result(), outputs.join(""))
}

/// The job of a workflow over its tree, as `fleetfoot run` would run it.
pub fn load(name: &str) -> Job {
    let mut job = Job::new(Vec::new());
    let tree = job.dir.path().join("tree");
    let repository = GitRepository::new(&tree);
    copy(&directory().join("tree"), &tree);
    repository.commit("the tree");
    let path = tree.join(format!(".github/workflows/{name}.yml"));
    let source = Source::new(name, std::fs::read(path).unwrap());
    let document = WorkflowDialect.parse(&source).unwrap_or_else(|e| panic!("{e}"));
    let params = RunParams::default();
    let info =
        RunInfo { id: RunId(unique()), number: 1, attempt: 1, params: params.clone(), ..RunInfo::default() };
    let contexts = document.contexts(&info).unwrap_or_else(|e| panic!("{e}"));
    let args = ResolveArgs {
        contexts: &contexts,
        params: &params,
        needs: &IndexMap::new(),
        ancestors: &IndexMap::new(),
        cancelled: false,
    };
    let Resolution::Run { mut jobs, .. } = document.resolve("job", &args).unwrap_or_else(|e| panic!("{e}"))
    else {
        panic!("the job is skipped");
    };
    let mut spec = Arc::unwrap_or_clone(jobs.remove(0).spec);
    spec.timeout_seconds = 50;
    job.assignment.spec = Arc::new(spec);
    job.assignment.contexts = contexts;
    job.context("fleetfoot", serde_json::json!({ "overlay": tree.to_str().unwrap() }))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
