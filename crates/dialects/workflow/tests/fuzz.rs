//! No input makes the parser panic: random bytes, random YAML-like text, and
//! documents with pieces cut out, doubled, swapped or overwritten.

#![allow(clippy::unwrap_used, reason = "tests")]

use fleetfoot_model::diagnostic::{Severity, Source};
use fleetfoot_model::plan::{Dialect, Document, Resolution, ResolveArgs, RunInfo};
use fleetfoot_workflow::{JobDialect, WorkflowDialect};
use indexmap::IndexMap;
use proptest::prelude::*;
use std::path::Path;
use std::sync::{Arc, LazyLock};

const SEED: &str = "name: 'CI'
run-name: ${{ inputs.a }} on ${{ github.ref }}
on:
  push: {branches: [main, 'r/**'], tags-ignore: v*}
  schedule: [{cron: '0 5 * * 1-5'}]
  workflow_dispatch: {inputs: {a: {type: choice, options: [x, y], default: x}, b: {type: boolean, required: true}}}
permissions: {contents: read, id-token: write}
env: &env {A: 1, B: '${{ vars.X }}'}
concurrency: {group: 'g-${{ github.ref }}', cancel-in-progress: true, queue: max}
defaults: {run: {shell: bash, working-directory: w}}
jobs:
  build:
    name: Build ${{ matrix.os }}
    runs-on: ['${{ matrix.os }}', linux]
    strategy:
      fail-fast: false
      max-parallel: 2
      matrix:
        os: [a, b]
        v: [1, 2.50, true, {deep: [x]}]
        include: [{os: a, extra: 1}, {os: c}]
        exclude: [{os: b, v: 1}]
    timeout-minutes: 5
    outputs: {o: '${{ steps.s.outputs.o }}'}
    env: *env
    steps:
      - uses: actions/checkout@v4
        with: {fetch-depth: 0}
      - id: s
        if: ${{ always() && !cancelled() }}
        run: |
          echo \"${{ github.event.issue.title }}\"
          exit 1
        continue-on-error: ${{ github.ref == 'x' }}
  last:
    needs: build
    if: needs.build.result == 'success'
    runs-on: {group: g, labels: l}
    container: {image: alpine, ports: [80]}
    services: {db: {image: 'postgres:${{ needs.build.outputs.o }}', env: {A: '${{ secrets.B }}'}, entrypoint: sh}}
    environment: {name: '${{ github.ref_name }}', url: 'https://${{ steps.a.outputs.b }}'}
    retry: {max-attempts: 2, exit-codes: [1]}
    limits: {memory: 1GiB}
    steps:
      - run: >-
          folded
          text
      - {id: bg, run: serve, background: true}
      - parallel: [{run: one}, {uses: ./two}]
      - wait: bg
      - wait-all:
  call:
    needs: [build]
    strategy: {matrix: {v: [1, 2]}}
    uses: ./called.yml
    with: {n: 3, s: '${{ needs.build.outputs.o }}'}
    secrets: {T: '${{ secrets.X }}'}
";

const CALLED: &str = "on:
  workflow_call:
    inputs: {n: {type: number}, s: {type: string, default: '${{ github.ref }}'}}
    secrets: {T: {required: true}}
    outputs: {o: {value: '${{ jobs.a.outputs.b }}'}}
concurrency: x
jobs:
  a: {runs-on: x, outputs: {b: c}, steps: [{run: '${{ inputs.s }}'}]}
  b: {needs: a, if: failure(), uses: ./deeper.yml, secrets: inherit}
";

const DEEPER: &str = "on: workflow_call\njobs: {z: {runs-on: x, steps: [{run: make}]}}\n";

/// The seed, and real files where they are at hand.
static SEEDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut seeds = vec![SEED.to_owned()];
    let corpus =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|p| p.join("shared/corpus/starter-workflows"));
    if let Some(folder) = corpus.into_iter().find(|p| p.is_dir()) {
        let paths = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path());
        let files = paths
            .filter(|path| path.extension().is_some_and(|e| e == "yml"))
            .filter_map(|path| std::fs::read_to_string(path).ok());
        seeds.extend(files.filter(|text| text.len() < 8_000));
    }
    seeds
});

/// Everything that can be asked of a document, whatever the answers.
fn exercise(document: &dyn Document) {
    let run = RunInfo::default();
    let Ok(contexts) = document.contexts(&run) else { return };
    let Ok(plan) = document.plan(&contexts, &run.params) else { return };
    for node in &plan.nodes {
        assert!(!node.names.is_empty());
        let args = ResolveArgs {
            contexts: &contexts,
            params: &run.params,
            needs: &IndexMap::new(),
            ancestors: &indexmap::IndexMap::new(),
            cancelled: false,
        };
        match document.resolve(&node.key, &args) {
            Ok(Resolution::Run { jobs, .. }) => assert!((1..=256).contains(&jobs.len())),
            Ok(Resolution::Skip) => {}
            Err(d) => assert_eq!(d.severity, Severity::Error),
        }
    }
}

fn files(called: &str) -> IndexMap<String, String> {
    let texts = [("./called.yml", called), ("./deeper.yml", DEEPER)];
    texts.map(|(name, text)| (name.to_owned(), text.to_owned())).into()
}

fn parse(bytes: Vec<u8>) {
    let lines = bytes.iter().filter(|b| matches!(b, b'\n' | b'\r')).count() + 1;
    let bytes: Arc<[u8]> = bytes.into();
    let dialects: [&dyn Dialect; 2] = [&WorkflowDialect, &JobDialect];
    for dialect in dialects {
        let files = files(CALLED);
        match dialect.parse_with(&Source::new("fuzz.yml", Arc::clone(&bytes)), &files) {
            Ok(document) => exercise(&*document),
            Err(found) => {
                assert!(found.has_errors());
                for d in &found.0 {
                    assert!((1..=lines).contains(&d.line) && d.column >= 1, "{d}");
                    let _ = d.to_string();
                }
            }
        }
    }
}

/// One change: where, how much, and what.
fn mutation() -> impl Strategy<Value = (usize, usize, u8, String)> {
    let piece = prop_oneof![
        Just("${{ ".to_owned()),
        Just("}}".to_owned()),
        Just("*env".to_owned()),
        Just("&x ".to_owned()),
        Just("- ".to_owned()),
        Just(": ".to_owned()),
        Just("\t".to_owned()),
        Just("? ".to_owned()),
        Just("|\n".to_owned()),
        Just("null".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("fromJSON('[1,{}]')".to_owned()),
        "[ -~\n]{0,6}",
        "\\PC{0,3}",
    ];
    (any::<usize>(), 0..40_usize, 0..4_u8, piece)
}

fn mutate(text: &str, changes: &[(usize, usize, u8, String)]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (at, length, how, piece) in changes {
        let at = at % (bytes.len() + 1);
        let end = (at + length).min(bytes.len());
        match how {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, piece.bytes())),
            2 => drop(bytes.splice(at..end, piece.bytes())),
            _ => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
    bytes
}

/// `PROPTEST_CASES` makes it look for longer.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_500)
}

/// The mutated document as the one that is called.
fn parse_called(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(document) = WorkflowDialect.parse_with(&Source::new("seed.yml", SEED.as_bytes()), &files(text))
    {
        exercise(&*document);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_documents(seed in any::<prop::sample::Index>(), changes in prop::collection::vec(mutation(), 1..6)) {
        parse(mutate(seed.get::<String>(&SEEDS), &changes));
    }

    #[test]
    fn mutated_called_documents(changes in prop::collection::vec(mutation(), 1..4)) {
        parse_called(&mutate(CALLED, &changes));
    }

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        parse(bytes);
    }

    #[test]
    fn random_yaml(text in "([a-c]{0,2}(: |:\n|- |\n  |\\[|\\]|\\{|\\}|, |'|\"|#|&a |\\*a|\\||>|!x|%|@|\\$\\{\\{ | \\}\\})){0,40}") {
        parse(text.clone().into_bytes());
        parse(format!("on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      - run: {text}\n").into_bytes());
        parse(format!("on: push\njobs:\n  a:\n    runs-on: x\n    strategy:\n      matrix: {text}\n    steps: [{{run: a}}]\n").into_bytes());
    }
}

#[test]
fn the_seed_is_good() {
    for text in SEEDS.iter() {
        let document = WorkflowDialect.parse(&Source::new("seed.yml", text.as_bytes().to_vec()));
        document.unwrap_or_else(|e| panic!("{e}"));
    }
}
