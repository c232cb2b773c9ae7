//! Real workflow files: all of them parse and plan. Where the corpus is not
//! beside the repository the test says so and passes.

#![allow(clippy::unwrap_used, reason = "tests")]

use fleetfoot_model::diagnostic::Source;
use fleetfoot_model::plan::{Dialect, Document, NeedResult, Resolution, ResolveArgs, RunInfo};
use fleetfoot_model::state::Conclusion;
use fleetfoot_workflow::WorkflowDialect;
use indexmap::IndexMap;
use std::path::{Path, PathBuf};

fn corpus() -> Option<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|p| p.join("shared/corpus")).find(|p| p.is_dir())
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "yml" || e == "yaml") {
            found.push(path);
        }
    }
}

/// Plans a document and resolves its nodes as if every job succeeded.
fn drive(document: &dyn Document) -> usize {
    let run = RunInfo { workflow_path: Some(".github/workflows/x.yml".to_owned()), ..RunInfo::default() };
    let Ok(contexts) = document.contexts(&run) else { return 0 };
    let plan = document.plan(&contexts, &run.params).unwrap_or_else(|e| panic!("{e}"));
    assert!(!plan.nodes.is_empty());
    let mut jobs = 0;
    for node in &plan.nodes {
        assert!(!node.names.is_empty());
        let needs: IndexMap<String, NeedResult> = node
            .needs
            .iter()
            .map(|key| (key.clone(), NeedResult { result: Conclusion::Success, outputs: IndexMap::new() }))
            .collect();
        let args = ResolveArgs {
            contexts: &contexts,
            params: &run.params,
            needs: &needs,
            ancestors: &needs,
            cancelled: false,
        };
        match document.resolve(&node.key, &args) {
            Ok(Resolution::Run { jobs: planned, .. }) => {
                assert!(!planned.is_empty());
                jobs += planned.len();
            }
            Ok(Resolution::Skip) => {}
            // A matrix from the output of another job has nothing to read here.
            Err(d) => assert!(
                ["expression", "unexpected-value", "matrix", "not-supported"].contains(&d.code.as_str()),
                "{d}"
            ),
        }
    }
    jobs
}

#[test]
fn every_file_parses_and_plans() {
    let Some(folder) = corpus() else {
        eprintln!("no shared/corpus beside the repository: nothing to parse");
        return;
    };
    let mut files = Vec::new();
    collect(&folder, &mut files);
    assert!(files.len() >= 60, "only {} files", files.len());
    let mut broken = Vec::new();
    let mut jobs = 0;
    for path in &files {
        let bytes = std::fs::read(path).unwrap();
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        match WorkflowDialect.parse(&Source::new(name, bytes)) {
            // What other repositories have is not in the corpus.
            Ok(document) if !document.missing().is_empty() => {
                assert!(document.missing().iter().all(|r| r.contains('@')), "{:?}", document.missing());
            }
            Ok(document) => jobs += drive(&*document),
            Err(found) => broken.push(found.to_string()),
        }
    }
    assert!(broken.is_empty(), "{} files:\n\n{}", broken.len(), broken.join("\n\n"));
    assert!(jobs > 60, "only {jobs} jobs");
}
