//! Every key of the syntax is known: a document that uses them all has no
//! error, and warnings only where something has no effect yet.

use fleetfoot_model::diagnostic::Source;
use fleetfoot_workflow::{JobDialect, WorkflowDocument};

const EVERYTHING: &str = "name: Everything
run-name: ${{ github.actor }} ${{ inputs.a }} ${{ vars.V }}
description: all keys
on:
  branch_protection_rule: {types: [created, edited, deleted]}
  check_run: {types: [created, rerequested, completed, requested_action]}
  check_suite: {types: completed}
  create:
  delete:
  deployment:
  deployment_status:
  discussion: {types: [answered, category_changed]}
  discussion_comment: {types: [created]}
  fork:
  gollum:
  image_version: {types: [ready], names: [a], versions: '1.*'}
  issue_comment: {types: [created]}
  issues: {types: [opened, demilestoned, typed, field_added]}
  label: {types: [edited]}
  merge_group: {types: [checks_requested], branches: [main]}
  milestone: {types: [closed]}
  page_build:
  project: {types: [closed]}
  project_card: {types: [moved]}
  project_column: {types: [updated]}
  public:
  pull_request: {types: [opened, stacked, auto_merge_enabled], branches: [main, '!x'], paths-ignore: [docs/**]}
  pull_request_comment: {types: [edited]}
  pull_request_review: {types: [submitted]}
  pull_request_review_comment: {types: [deleted]}
  pull_request_target: {types: [labeled], branches-ignore: [x], paths: [src]}
  push: {branches: [main], tags: [v*], paths: ['**.rs']}
  registry_package: {types: [published]}
  release: {types: [released, prereleased]}
  repository_dispatch: {types: [whatever]}
  schedule: [{cron: '*/5 0-6 1,15 jan-jun MON', timezone: America/Argentina/Buenos_Aires}]
  status:
  watch: {types: started}
  workflow_call:
    inputs:
      a: {description: d, type: string, required: false, default: '${{ github.ref }}'}
      b: {type: boolean, default: true}
      c: {type: number, default: 1}
    secrets: {s: {description: d, required: true}, t: }
    outputs: {o: {description: d, value: '${{ jobs.one.outputs.o }}'}}
  workflow_dispatch:
    inputs:
      a: {description: d, type: choice, options: [x, y], default: x, required: true}
      b: {type: boolean, default: 'true'}
      c: {type: environment}
      d: {type: number}
      e:
  workflow_run: {workflows: [CI], types: [completed, in_progress], branches: [main]}
permissions: {actions: read, attestations: write, id-token: write, models: read, contents: none}
env: {A: '${{ secrets.A }}', B: 1}
defaults: {run: {shell: bash, working-directory: w}}
concurrency: {group: '${{ github.ref }}', cancel-in-progress: \"${{ github.ref != 'x' }}\", queue: single}
jobs:
  one:
    name: One ${{ matrix.os }}
    permissions: write-all
    if: github.ref == 'x' && failure('a') || success() && inputs.a
    runs-on: {group: g, labels: ['${{ matrix.os }}']}
    environment: {name: e, url: 'https://x/${{ steps.s.outputs.u }}', deployment: false}
    concurrency: one-${{ matrix.os }}
    outputs: {o: '${{ steps.s.outputs.o }}'}
    env: {C: '${{ secrets.C }} ${{ needs.x }} ${{ strategy.job-index }}'}
    defaults: {run: {shell: '${{ env.SHELL }}', working-directory: '${{ env.DIR }}'}}
    timeout-minutes: ${{ fromJSON(vars.T) }}
    cancel-timeout-minutes: 1
    continue-on-error: ${{ matrix.os == 'x' }}
    strategy:
      fail-fast: ${{ github.ref == 'x' }}
      max-parallel: 3
      matrix:
        os: [a, b]
        more: ${{ fromJSON(vars.M) }}
        include: [{os: c}]
        exclude: ${{ fromJSON(vars.E) }}
    container:
      image: ghcr.io/x/${{ matrix.os }}
      credentials: {username: '${{ github.actor }}', password: '${{ secrets.P }}'}
      env: {A: '${{ env.A }}'}
      ports: [80, '81:81']
      volumes: ['/a:/b']
      options: --cpus 1
    services:
      db: {image: postgres, entrypoint: /x, command: run, ports: [5432]}
      cache: redis:7
    snapshot: {image-name: i, version: 1.*, if: github.ref == 'x'}
    queue: q
    priority: 1
    queue-timeout-minutes: 1
    idle-timeout-minutes: 1.5
    min-boundary: microvm
    retry: {max-attempts: 2, on: lost-runner, exit-codes: 75, backoff-seconds: 0.5, backoff-cap-seconds: 9}
    limits: {cpus: 0.5, memory: 1GiB, pids: 10}
    steps:
      - id: s
        name: Step ${{ hashFiles('**/x', 'y') }}
        if: ${{ !cancelled() && hashFiles('x') != '' && steps.s.outcome == 'failure' && job.status && runner.os }}
        run: echo ${{ secrets.A }} ${{ env.B }}
        shell: bash -l {0}
        working-directory: ${{ github.workspace }}
        env: {A: \"${{ hashFiles('x') }}\"}
        continue-on-error: true
        timeout-minutes: ${{ matrix.t }}
        background: false
      - uses: a/b/c@0123456789abcdef0123456789abcdef01234567
        with: {args: x, entrypoint: y, n: 1, t: true, e: }
      - uses: ./local
      - uses: docker://alpine:3
      - {id: bg, run: x, background: true}
      - {wait: [bg], id: w, name: W, continue-on-error: true}
      - {parallel: [{run: x}, {uses: ./y}], id: p, name: P}
      - wait-all: true
  two:
    needs: [one]
    uses: ./.github/workflows/x.yml
    with: {a: '${{ matrix.x }}', b: true, c: 3}
    secrets: {s: '${{ secrets.S }}'}
    strategy: {matrix: {x: [1]}}
    if: always()
    permissions: read-all
    concurrency: {group: g}
    name: Two
  three: {needs: two, uses: 'o/r/.github/workflows/x.yml@v1', secrets: inherit}
";

#[test]
fn every_key_is_known() {
    let source = Source::new("all.yml", EVERYTHING.as_bytes().to_vec());
    let document = WorkflowDocument::parse(&source).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(document.triggers().len(), 37);
    use fleetfoot_model::plan::Document;
    for warning in document.warnings() {
        assert_eq!(warning.code, "not-enforced", "{warning}");
    }
}

#[test]
fn forms_that_are_equal() {
    for on in ["push", "[push]", "{push: }", "{push: {}}", "\"push\""] {
        let text = format!("'on': {on}\njobs: {{a: {{runs-on: x, steps: [{{run: a}}]}}}}\n");
        let document = WorkflowDocument::parse(&Source::new("on.yml", text.into_bytes()));
        let document = document.unwrap_or_else(|e| panic!("{on}: {e}"));
        assert_eq!(document.triggers()[0].event, "push");
    }
}

#[test]
fn expressions_see_what_github_lets_them_see() {
    let job =
        |line: &str| format!("on: push\njobs:\n  a:\n    runs-on: x\n    {line}\n    steps: [{{run: a}}]\n");
    let step = |line: &str| {
        format!("on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      - run: a\n        {line}\n")
    };
    for (text, good) in [
        (job("if: matrix.x"), false),
        (job("if: secrets.x"), false),
        (job("if: env.x"), false),
        (job("if: needs.x && vars.y"), true),
        (job("name: ${{ secrets.x }}"), false),
        (job("name: ${{ matrix.x }}"), true),
        (job("env: {A: '${{ env.B }}'}"), false),
        (job("env: {A: '${{ steps.x }}'}"), false),
        (job("outputs: {a: '${{ steps.x.outputs.y }}'}"), true),
        (job("outputs: {a: \"${{ hashFiles('x') }}\"}"), false),
        (job("timeout-minutes: ${{ env.x }}"), false),
        (job("strategy: {matrix: {a: ['${{ matrix.x }}']}}"), false),
        (job("concurrency: ${{ secrets.x }}"), false),
        (job("concurrency: ${{ matrix.x }}"), true),
        (step("if: secrets.x"), false),
        (step("if: env.x && success()"), true),
        (step("if: success('a')"), false),
        (step("name: ${{ secrets.x }}"), true),
        (step("name: ${{ always() }}"), false),
        (step("env: {A: '${{ steps.x.outcome }}'}"), true),
        (step("env: {A: '${{ jobs.x }}'}"), false),
        (step("shell: ${{ matrix.shell }}"), true),
    ] {
        let found = WorkflowDocument::parse(&Source::new("x.yml", text.clone().into_bytes()));
        assert_eq!(found.is_ok(), good, "{text}\n{found:?}");
    }
}

#[test]
fn dialects_have_their_names() {
    use fleetfoot_model::plan::Dialect;
    assert_eq!(JobDialect.kind(), "job");
    assert_eq!(fleetfoot_workflow::WorkflowDialect.kind(), "workflow");
}
