//! No input makes the parsers panic: manifests, references, problem matchers
//! and the lines that they look at.

#![allow(clippy::unwrap_used, reason = "tests")]

use fleetfoot_actions::{Manifest, Matchers, Reference, Runs};
use fleetfoot_model::diagnostic::Source;
use proptest::prelude::*;

const SEEDS: [&str; 3] = [
    "name: 'Cache'
description: &text Keeps things
inputs:
  path: {description: *text, required: true}
  token: {default: '${{ github.token }}', deprecationMessage: no}
outputs: {hit: {description: whether}}
runs: {using: node20, main: dist/index.js, pre: p.js, pre-if: always(), post: q.js, post-if: 'success()'}
",
    "inputs: {who: {default: World}}
outputs: {n: {value: '${{ steps.r.outputs.n }}'}}
runs:
  using: composite
  steps:
    - run: |
        echo ${{ inputs.who }}
      shell: bash
      if: ${{ !cancelled() && runner.os == 'Linux' }}
    - {id: r, uses: actions/checkout@v4, with: {ref: '${{ github.ref }}'}, env: {A: 1}}
",
    "runs:
  using: docker
  image: docker://alpine:3
  args: ['${{ inputs.a }}', 2]
  env: {A: '${{ inputs.a }}'}
  pre-entrypoint: a.sh
  post-if: failure()
",
];

const MATCHER: &str = r#"{ // comment
"problemMatcher": [
  {"owner": "a", "severity": "warning", "pattern": [
    {"regexp": "^([^\\s].*)[\\(:](\\d+)[,:](\\d+)(?:\\):\\s+|\\s+-\\s+)(error|warning)\\s+TS(\\d+)\\s*:\\s*(.*)$",
     "file": 1, "line": 2, "column": 3, "severity": 4, "code": 5, "message": 6}]},
  {"owner": "b", "pattern": [
    {"regexp": "^\\s*([^\\s].*)$", "file": 1},
    {"regexp": "^\\s+(\\d+):([\\w-_]+)\\s+(.*){1,2}$", "line": 1, "message": 3, "loop": true, }]}
]}"#;

fn manifest(bytes: Vec<u8>) {
    let lines = bytes.iter().filter(|b| matches!(b, b'\n' | b'\r')).count() + 1;
    match Manifest::parse(&Source::new("action.yml", bytes)) {
        Ok(manifest) => {
            if let Runs::Composite { steps } = &manifest.runs {
                assert!(steps.iter().all(|step| !step.id.is_empty()));
            }
        }
        Err(found) => {
            assert!(found.has_errors());
            for d in &found.0 {
                assert!((1..=lines).contains(&d.line) && d.column >= 1, "{d}");
                let _ = d.to_string();
            }
        }
    }
}

/// One change: where, how much, and what.
fn mutation() -> impl Strategy<Value = (usize, usize, u8, String)> {
    let piece = prop_oneof![
        "[ -~\n]{0,6}",
        "\\PC{0,3}",
        prop::sample::select(vec![
            "${{ ",
            "}}",
            "*text",
            "&x ",
            "- ",
            ": ",
            "\t",
            "null",
            "[]",
            "{}",
            "composite",
            "node24",
            "docker",
            "steps",
            "shell",
            "using",
            "\\",
            "(",
            ")",
            "(?",
            "(?<n>",
            "[",
            "]",
            "^",
            "-",
            "{2}",
            "\\d",
            "\\x4",
            "\"",
            "//",
            "/*",
            ",",
        ])
        .prop_map(str::to_owned),
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
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_manifests(seed in 0..SEEDS.len(), changes in prop::collection::vec(mutation(), 1..6)) {
        manifest(mutate(SEEDS[seed], &changes));
    }

    #[test]
    fn random_manifests(bytes in prop::collection::vec(any::<u8>(), 0..300), value in "\\PC{0,40}") {
        manifest(bytes);
        manifest(format!("runs:\n  using: composite\n  steps:\n    - run: {value}\n      shell: bash\n").into_bytes());
        manifest(format!("inputs: {value}\nruns: {{using: docker, image: x, args: [{value}]}}\n").into_bytes());
    }

    #[test]
    fn references(text in "(\\PC{0,30}|[a-c./\\\\@:-]{0,20}|[a-c]{1,3}/[a-c./\\\\-]{1,8}@[a-c./~^-]{1,6}|docker://\\PC{0,9})") {
        match Reference::parse(&text) {
            Ok(reference) => {
                let shown = reference.to_string();
                prop_assert!(Reference::parse(&shown).unwrap() == reference, "{}", shown);
                if let Reference::Remote(remote) = &reference {
                    prop_assert!(!remote.git_ref.starts_with('-') && !remote.owner.starts_with(['-', '.']));
                    let path = remote.path.as_deref().unwrap_or("x");
                    prop_assert!(!path.starts_with('/') && path.split('/').all(|p| !matches!(p, "" | "." | "..")));
                }
                if let Reference::Local(path) = &reference {
                    prop_assert!(path.starts_with("./") && path.split('/').all(|p| p != ".."));
                }
            }
            Err(error) => prop_assert!(!error.to_string().contains('\n')),
        }
    }

    #[test]
    fn mutated_matchers(
        changes in prop::collection::vec(mutation(), 0..5),
        lines in prop::collection::vec("(\\PC{0,20}|a\\.ts\\(1,2\\): error TS1: m|  1:x  m|\x1b\\[[0-9;]{0,4}m?f)", 0..6),
    ) {
        let mut matchers = Matchers::default();
        let text = mutate(MATCHER, &changes);
        let added = matchers.add(&String::from_utf8_lossy(&text));
        prop_assert!(!changes.is_empty() || added.is_ok());
        for line in &lines {
            if let Some(found) = matchers.line(line) {
                prop_assert!(!found.message.trim().is_empty() && !found.owner.is_empty());
            }
        }
    }

    #[test]
    fn random_expressions(expression in "([a-c]|\\\\PC|[\\\\\\[\\]\\(\\)\\{\\}\\^$|?*+.,:=!<>&~-]|[0-9]){0,20}", line in "\\PC{0,20}") {
        let pattern = serde_json::json!({"regexp": expression, "message": 0});
        let file = serde_json::json!({"problemMatcher": [{"owner": "o", "pattern": [pattern]}]});
        let mut matchers = Matchers::default();
        if matchers.add(&file.to_string()).is_ok() {
            matchers.line(&line);
        }
    }
}

#[test]
fn the_seeds_are_good() {
    for seed in SEEDS {
        Manifest::parse(&Source::new("seed.yml", seed.as_bytes().to_vec())).unwrap_or_else(|e| panic!("{e}"));
    }
}
