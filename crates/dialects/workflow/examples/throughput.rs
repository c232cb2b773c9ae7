//! How long it takes to parse and plan a workflow of 1,000 lines.
//!
//! `cargo run --release -p fleetfoot-workflow --example throughput`

#![expect(clippy::print_stdout, reason = "prints its measurements")]

use fleetfoot_model::diagnostic::Source;
use fleetfoot_model::plan::{Dialect, Resolution, ResolveArgs, RunInfo};
use fleetfoot_workflow::WorkflowDialect;
use indexmap::IndexMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 200;

fn document() -> String {
    let mut text =
        "name: Large\non: {push: {branches: [main]}, workflow_dispatch: {}}\nenv: {CI: true}\njobs:\n"
            .to_owned();
    for i in 0..62 {
        text.push_str(&format!(
            "  job-{i}:
    name: Job {i} on ${{{{ matrix.os }}}}
    if: github.event_name != 'pull_request' && !contains(github.ref, 'skip')
    runs-on: ${{{{ matrix.os }}}}
    strategy:
      matrix:
        os: [linux, mac]
        version: [1, 2, 3]
    env: {{LEVEL: '${{{{ vars.LEVEL || 3 }}}}'}}
    steps:
      - uses: actions/checkout@v4
      - name: Build ${{{{ matrix.version }}}}
        run: |
          make build VERSION=${{{{ matrix.version }}}}
          make check REF=${{{{ github.ref_name }}}}
      - run: echo done
"
        ));
    }
    text
}

fn main() {
    let text = document();
    println!("{} lines, {} KiB", text.lines().count(), text.len() / 1024);
    let bytes: Arc<[u8]> = text.into_bytes().into();
    let run = RunInfo::default();
    let (mut parse, mut plan, mut resolve, mut jobs) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let document = match WorkflowDialect.parse(&Source::new("large.yml", Arc::clone(&bytes))) {
            Ok(document) => document,
            Err(found) => return println!("{found}"),
        };
        parse.push(begin.elapsed());
        let begin = Instant::now();
        let Ok(contexts) = document.contexts(&run) else { return };
        let Ok(graph) = document.plan(&contexts, &run.params) else { return };
        plan.push(begin.elapsed());
        let begin = Instant::now();
        jobs = 0;
        for node in &graph.nodes {
            let args = ResolveArgs {
                contexts: &contexts,
                params: &run.params,
                needs: &IndexMap::new(),
                ancestors: &indexmap::IndexMap::new(),
                cancelled: false,
            };
            if let Ok(Resolution::Run { jobs: planned, .. }) = document.resolve(&node.key, &args) {
                jobs += planned.len();
            }
        }
        resolve.push(begin.elapsed());
    }
    println!("best and median of {ROUNDS} rounds:");
    println!("parse                  {}", spread(&mut parse));
    println!("contexts and plan      {}", spread(&mut plan));
    println!("resolve ({jobs} jobs)     {}", spread(&mut resolve));
}

fn spread(samples: &mut [Duration]) -> String {
    samples.sort_unstable();
    let at = |i: usize| samples.get(i).copied().unwrap_or_default();
    format!("{:?}  {:?}", at(0), at(samples.len() / 2))
}
