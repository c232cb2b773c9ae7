//! Small graphs of workflows that call each other, at random: every one is
//! planned and played to its end, whatever its jobs give. No node is lost, none
//! is decided twice, and nothing panics.

#![allow(clippy::unwrap_used, reason = "tests")]

use fleetfoot_model::diagnostic::Source;
use fleetfoot_model::plan::{Document, NeedResult, Resolution, ResolveArgs, RunInfo, RunParams};
use fleetfoot_model::state::Conclusion;
use fleetfoot_workflow::WorkflowDocument;
use indexmap::{IndexMap, IndexSet};
use proptest::prelude::*;
use std::fmt::Write as _;

/// One job: what it calls, which earlier jobs it needs, and how it is written.
#[derive(Clone, Debug)]
struct Job {
    call: Option<usize>,
    needs: u8,
    condition: usize,
    matrix: usize,
    with: usize,
}

const CONDITIONS: &[&str] =
    &["", "always()", "failure()", "${{ !cancelled() }}", "needs.j0.result == 'success'", "inputs.x != 'no'"];
const MATRICES: &[&str] = &[
    "",
    "",
    "{matrix: {v: [a, b/c]}}",
    "{matrix: {v: '${{ fromJSON(needs.j0.outputs.list) }}'}}",
    "{matrix: {v: '${{ fromJSON(inputs.list) }}'}, fail-fast: false, max-parallel: 1}",
];
const WITH: &[&str] = &[
    "",
    "{x: '${{ needs.j0.outputs.list }}'}",
    "{list: '[\"p\", \"q\"]', x: '${{ matrix.v }}'}",
    "{list: '${{ needs.j0.outputs.list }}'}",
];

fn job() -> impl Strategy<Value = Job> {
    let call = prop_oneof![1 => Just(None), 1 => (0..4_usize).prop_map(Some)];
    (call, any::<u8>(), 0..CONDITIONS.len(), 0..MATRICES.len(), 0..WITH.len())
        .prop_map(|(call, needs, condition, matrix, with)| Job { call, needs, condition, matrix, with })
}

fn documents() -> impl Strategy<Value = Vec<Vec<Job>>> {
    prop::collection::vec(prop::collection::vec(job(), 1..4), 4)
}

/// The text of one document. It calls only those after it, so that no cycle is among them.
fn write(index: usize, jobs: &[Job]) -> String {
    let mut text = String::from(
        "on:\n  push:\n  workflow_call:\n    inputs: {x: {type: string}, list: {type: string, default: '[1]'}}\n    outputs: {list: {value: '${{ jobs.j0.outputs.list }}'}}\njobs:\n",
    );
    for (n, job) in jobs.iter().enumerate() {
        let _ = writeln!(text, "  j{n}:");
        let needs: Vec<String> =
            (0..n).filter(|i| job.needs & (1 << i) != 0).map(|i| format!("j{i}")).collect();
        if !needs.is_empty() {
            let _ = writeln!(text, "    needs: [{}]", needs.join(", "));
        }
        if !CONDITIONS[job.condition].is_empty() {
            let _ = writeln!(text, "    if: {}", CONDITIONS[job.condition]);
        }
        if !MATRICES[job.matrix].is_empty() {
            let _ = writeln!(text, "    strategy: {}", MATRICES[job.matrix]);
        }
        match target(index, job) {
            Some(target) => {
                let _ = writeln!(text, "    uses: ./w{target}.yml");
                if !WITH[job.with].is_empty() {
                    let _ = writeln!(text, "    with: {}", WITH[job.with]);
                }
                if job.needs & 128 != 0 {
                    text.push_str("    secrets: inherit\n");
                }
            }
            None => {
                text.push_str("    runs-on: x\n    outputs: {list: '[1, 2]'}\n    steps: [{run: make}]\n");
            }
        }
    }
    text
}

fn target(index: usize, job: &Job) -> Option<usize> {
    job.call.filter(|target| *target > index)
}

/// The jobs that a plan must have, with the parts of a known matrix taken away.
fn expected(all: &[Vec<Job>], index: usize, prefix: &str, keys: &mut IndexSet<String>) {
    for (n, job) in all[index].iter().enumerate() {
        match target(index, job) {
            Some(target) => expected(all, target, &format!("{prefix}j{n}/"), keys),
            None => drop(keys.insert(format!("{prefix}j{n}"))),
        }
    }
}

/// `j0 (a)/j1` to `j0/j1`.
fn plain(key: &str) -> String {
    key.split('/').map(|part| part.split(" (").next().unwrap()).collect::<Vec<_>>().join("/")
}

fn play(all: &[Vec<Job>], ends: &[u8], cancelled: bool) {
    let texts: IndexMap<String, String> =
        (1..all.len()).map(|i| (format!("./w{i}.yml"), write(i, &all[i]))).collect();
    let main = write(0, &all[0]);
    let read = WorkflowDocument::parse_with(&Source::new("main.yml", main.as_bytes()), &texts);
    let document = read.unwrap_or_else(|e| panic!("{e}\n{main}"));
    let params = RunParams { event_name: "push".to_owned(), ..RunParams::default() };
    let contexts = document.contexts(&RunInfo { params: params.clone(), ..RunInfo::default() }).unwrap();
    let plan = document.plan(&contexts, &params).unwrap_or_else(|e| panic!("{e}"));

    let mut wanted = IndexSet::new();
    expected(all, 0, "", &mut wanted);
    let found: IndexSet<String> = plan.nodes.iter().map(|node| plain(&node.key)).collect();
    assert_eq!(found.iter().collect::<IndexSet<_>>(), wanted.iter().collect::<IndexSet<_>>());
    let keys: IndexSet<&str> = plan.nodes.iter().map(|node| node.key.as_str()).collect();
    assert_eq!(keys.len(), plan.nodes.len(), "keys are unique");

    let mut ended: IndexMap<String, NeedResult> = IndexMap::new();
    while ended.len() < plan.nodes.len() {
        let before = ended.len();
        for node in &plan.nodes {
            assert!(!node.names.is_empty());
            assert!(node.needs.iter().all(|need| keys.contains(need.as_str())), "{node:?}");
            if ended.contains_key(&node.key) || !node.needs.iter().all(|need| ended.contains_key(need)) {
                continue;
            }
            let needs = node.needs.iter().map(|need| (need.clone(), ended[need].clone())).collect();
            let args = ResolveArgs {
                contexts: &contexts,
                params: &params,
                needs: &needs,
                ancestors: &ended,
                cancelled,
            };
            let answer = document.resolve(&node.key, &args);
            assert_eq!(answer, document.resolve(&node.key, &args), "pure");
            let result = match answer {
                Ok(Resolution::Skip) => Conclusion::Skipped,
                Ok(Resolution::Run { jobs, .. }) => {
                    assert!(!jobs.is_empty() && jobs.iter().all(|job| !job.spec.steps.is_empty()));
                    match ends[ended.len() % ends.len()] % 8 {
                        0 => Conclusion::Failure,
                        1 => Conclusion::Cancelled,
                        _ => Conclusion::Success,
                    }
                }
                Err(finding) => {
                    assert_ne!(finding.code, "unknown-job", "{finding}");
                    Conclusion::Failure
                }
            };
            let list = if result == Conclusion::Success { "[\"m\", \"n\"]" } else { "" };
            let outputs = IndexMap::from([("list".to_owned(), list.to_owned())]);
            ended.insert(node.key.clone(), NeedResult { result, outputs });
        }
        assert!(ended.len() > before, "nothing can begin any more: {plan:?}");
    }
}

/// `PROPTEST_CASES` makes it look for longer.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_node_is_lost(all in documents(), ends in prop::collection::vec(any::<u8>(), 1..12), cancelled in prop::bool::weighted(0.1)) {
        play(&all, &ends, cancelled);
    }
}
