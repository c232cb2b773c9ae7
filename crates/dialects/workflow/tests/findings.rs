//! What people read when a document is wrong, byte by byte.

use fleetfoot_model::diagnostic::Source;
use fleetfoot_workflow::{WorkflowDocument, lint};

fn show(document: &str) -> String {
    let found = lint(&Source::new("ci.yml", document.as_bytes().to_vec()));
    let document = document.replace('\0', "\\0");
    format!("{document}\n-----\n{found}")
}

macro_rules! findings {
    ($($name:ident: $document:expr;)+) => {
        $(
            #[test]
            fn $name() {
                insta::assert_snapshot!(show($document));
            }
        )+
    };
}

findings! {
    misspelled_keys: "name: CI
on: push
job:
  build:
    run-on: linux
jobs:
  build:
    runs_on: linux
    setps: []
    steps:
      - run: make
        with: {a: b}
        nmae: x
";
    missing_keys: "jobs:
  a:
    steps:
      - name: nothing to do
  b:
    runs-on: linux
";
    on_became_true: "true: push
jobs: {a: {runs-on: x, steps: [{run: 'true'}]}}
";
    a_job_where_a_workflow_belongs: "runs-on: linux
steps:
  - run: make
";
    wrong_kinds: "on: push
env: [A, B]
jobs:
  a:
    runs-on: linux
    timeout-minutes: soon
    continue-on-error: 'yes'
    steps:
      run: make
  b: hello
  c:
    runs-on: {labels: 'a,b'}
    steps: []
";
    duplicate_keys: "on: push
jobs:
  build: {runs-on: a, steps: [{run: make}]}
  test: {runs-on: a, steps: [{run: make}]}
  Build: {runs-on: a, steps: [{run: make}]}
";
    needs: "on: push
jobs:
  build: {runs-on: a, steps: [{run: make}]}
  test: {needs: [build, biuld, lint], runs-on: a, steps: [{run: make}]}
";
    cycle: "on: push
jobs:
  free: {runs-on: a, steps: [{run: make}]}
  a: {needs: c, runs-on: a, steps: [{run: make}]}
  b: {needs: [free, a], runs-on: a, steps: [{run: make}]}
  c: {needs: b, runs-on: a, steps: [{run: make}]}
  d: {needs: c, runs-on: a, steps: [{run: make}]}
";
    nothing_can_begin: "on: push
jobs:
  a: {needs: a, runs-on: a, steps: [{run: make}]}
";
    ids: "on: push
jobs:
  1st: {runs-on: a, steps: [{run: make}]}
  __mine: {runs-on: a, steps: [{run: make}]}
  ok:
    runs-on: a
    steps:
      - {id: x, run: make}
      - {id: X, run: make}
      - {id: 'no space', run: make}
";
    expressions: "on: push
run-name: Run ${{ secrets.NAME }}
jobs:
  a:
    runs-on: ${{ matrix.os }
    if: github.ref = 'x'
    env:
      ONE: ${{ gihtub.ref }}
      TWO: \"${{ github.ref }} and ${{ contians('a', 'b') }}\"
    steps:
      - run: |
          echo one
          echo ${{ github.ref }} ${{ contains('a') }}
      - if: |
          success() &&
          stepz.x.outcome == 'success'
        run: echo ${{ }}
";
    expressions_where_none_belong: "on: ${{ github.event_name }}
name: ${{ github.ref }}
jobs:
  a:
    runs-on: linux
    needs: ${{ github.ref }}
    steps:
      - id: ${{ github.ref }}
        run: make
";
    step_kinds: "on: push
jobs:
  a:
    runs-on: a
    steps:
      - run: make
        uses: actions/checkout@v4
      - wait: x
      - run: server
        background: true
      - parallel:
          - run: one
          - uses: nonsense
";
    background_steps: "on: push
jobs:
  a:
    runs-on: a
    steps:
      - {id: server, run: make, background: true}
      - {id: plain, run: make}
      - wait: [server, nobody, plain]
      - wait: server
      - cancel: plain
      - {wait: later}
      - {id: later, run: x, background: true}
      - wait: []
      - wait-all: false
      - wait-all:
      - parallel:
          - {run: x, background: true}
          - {wait: later}
      - parallel: []
";
    strangers: "on: [pull_request_target]
jobs:
  a:
    runs-on: a
    if: ${{ github.ref }} == 'main'
    steps:
      - uses: actions/checkout@v4
        with: {ref: '${{ github.event.pull_request.head.sha }}'}
      - uses: actions/checkout@v4
        with: {ref: 'refs/pull/${{ github.event.number }}/merge'}
      - uses: actions/checkout@v4
      - run: |
          echo '::set-output name=a::b'
          echo ${{ github.event.comment.body }}
      - uses: actions/github-script@v7
        with: {script: 'console.log(\"${{ github.head_ref }}\")'}
";
    uses_and_shells: "on: push
defaults: {run: {shell: zsh}}
jobs:
  a:
    runs-on: a
    steps:
      - uses: checkout@v4
      - uses: actions/checkout
      - uses: docker://
      - uses: ./here
      - run: x
        shell: perl {0}
";
    matrix: "on: push
jobs:
  empty:
    runs-on: a
    strategy: {matrix: {os: []}}
    steps: [{run: make}]
  nothing:
    runs-on: a
    strategy: {matrix: {}}
    steps: [{run: make}]
  scalar:
    runs-on: a
    strategy: {matrix: {os: linux}}
    steps: [{run: make}]
  exclude:
    runs-on: a
    strategy:
      max-parallel: 0
      matrix:
        os: [linux]
        exclude:
          - arch: x64
    steps: [{run: make}]
";
    matrix_too_large: "on: push
jobs:
  a:
    runs-on: a
    strategy:
      matrix:
        x: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]
        y: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
    steps: [{run: make}]
";
    events: "on:
  psuh:
  create: {branches: [a]}
  push:
    branches: [main]
    branches-ignore: [dev]
    path: [src]
  pull_request:
    types: [opened, reopend]
  schedule:
    - cron: '0 25 * * *'
    - cron: '@daily'
    - timezone: Europe/London
jobs: {a: {runs-on: x, steps: [{run: 'true'}]}}
";
    inputs: "on:
  workflow_dispatch:
    inputs:
      level:
        type: choice
      flag:
        type: boolean
        default: maybe
      colour:
        type: choice
        options: [red, green]
        default: blue
      number: {type: numbre}
  workflow_call:
    inputs:
      untyped: {required: yes}
    outputs:
      o: {description: no value}
jobs: {a: {runs-on: x, steps: [{run: 'true'}]}}
";
    concurrency_and_permissions: "on: push
concurrency: {cancel-in-progress: true}
permissions: {contents: wriet, everything: read}
jobs:
  a:
    runs-on: x
    concurrency: {group: g, queue: many}
    permissions: read
    environment: {url: https://example.org}
    steps: [{run: 'true'}]
";
    our_own_keys: "on: push
jobs:
  a:
    runs-on: x
    queue: 'with space'
    priority: 5000
    queue-timeout-minutes: 0
    min-boundary: sandbxo
    retry: {max-attempts: 0, on: [weather], exit-codes: [0, x]}
    limits: {cpus: none, memory: 1 elephant, disk: 3}
    steps: [{run: 'true'}]
";
    not_enforced: "on: push
permissions: read-all
jobs:
  a:
    runs-on: x
    container: {image: 'alpine:3', options: --cpus 1}
    services:
      db: {image: postgres, ports: ['5432:5432']}
    environment: production
    snapshot: {image-name: mine}
    steps: [{run: 'true'}]
";
    traps: "on: push
jobs:
  a:
    runs-on: x
    if: ${{ github.ref }} == 'refs/heads/main'
    steps:
      - if: |
          ${{ failure() }}
        run: |
          echo \"${{ github.event.pull_request.title }}\"
          echo ${{ github['head_ref'] }} ${{ contains(github.event.comment.body, 'x') }}
      - uses: actions/github-script@v7
        with:
          script: |
            console.log(`${{ format('{0}', github.event.commits.*.message) }}`)
            console.log(${{ github.head_ref == 'x' && github.head_ref || 1 }})
";
    tabs: "on: push
jobs:
\ta:
\t\truns-on: x
";
    unclosed_quote: "on: push
name: 'never closed
jobs: {}
";
    colon_in_value: "on: push
name: build: and test
";
    yaml_features_that_are_refused: "on: push
env: &shared
  A: !!str 1
jobs:
  a:
    runs-on: x
    env:
      <<: *shared
    steps: [{run: 'true'}]
";
    unknown_alias: "on: push
env: *nowhere
";
    two_documents: "on: push
---
on: pull_request
";
    empty: "# nothing but a comment
";
    control_character: "on: push\nname: a\u{0}b\n";
    call_of_a_workflow: "on: push
jobs:
  a:
    uses: ./.github/workflows/x.yml
    runs-on: x
  b:
    uses: org/repo@v1
    secrets: inhreit
";
}

#[test]
fn a_plain_job_knows_its_keys() {
    let document = "needs: other\nsteps:\n  - run: make\nstep: 3\n";
    let found = WorkflowDocument::parse_job(&Source::new("job.yml", document.as_bytes().to_vec()));
    insta::assert_snapshot!(found.unwrap_err().to_string());
}

#[test]
fn a_workflow_is_no_plain_job() {
    let document = "on: push\njobs: {}\n";
    let found = WorkflowDocument::parse_job(&Source::new("job.yml", document.as_bytes().to_vec()));
    insta::assert_snapshot!(found.unwrap_err().to_string());
}
