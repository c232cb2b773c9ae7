//! What surrounds the steps: declarations of `on`, permissions, environments,
//! containers, and steps in the background.
#![allow(clippy::unwrap_used, reason = "tests")]

use fleetfoot_model::diagnostic::Source;
use fleetfoot_model::plan::{Document, Resolution, ResolveArgs, RunInfo, RunParams};
use fleetfoot_model::spec::{JobSpec, StepAction};
use fleetfoot_workflow::{InputKind, WorkflowDocument};
use indexmap::IndexMap;
use std::sync::Arc;

fn parse(text: &str) -> WorkflowDocument {
    WorkflowDocument::parse(&Source::new("ci.yml", text.as_bytes())).unwrap_or_else(|e| panic!("{e}"))
}

/// The first job of a node that needs nothing.
fn spec(document: &WorkflowDocument, params: &RunParams, key: &str) -> Arc<JobSpec> {
    let info = RunInfo { params: params.clone(), ..RunInfo::default() };
    let contexts = document.contexts(&info).unwrap_or_else(|e| panic!("{e}"));
    let none = IndexMap::new();
    let args = ResolveArgs { contexts: &contexts, params, needs: &none, ancestors: &none, cancelled: false };
    match document.resolve(key, &args).unwrap_or_else(|e| panic!("{e}")) {
        Resolution::Run { jobs, .. } => Arc::clone(&jobs[0].spec),
        Resolution::Skip => panic!("{key} is skipped"),
    }
}

#[test]
fn declarations_are_public() {
    let text = "on:
  workflow_run: {workflows: [CI, 'b*'], types: completed, branches-ignore: [x]}
  workflow_dispatch:
    inputs:
      place: {type: environment, required: true, description: Where to}
      level: {type: choice, options: [low, high], default: low}
      dry: {type: boolean, default: true}
      plain:
  workflow_call:
    inputs: {n: {type: number, default: 3}, r: {type: string, default: '${{ github.ref }}'}}
    secrets: {A: {required: true}, B: }
    outputs: {o: {value: '${{ jobs.a.outputs.o }}'}}
jobs: {a: {runs-on: x, steps: [{run: x}]}}
";
    let document = parse(text);
    let inputs = document.dispatch_inputs();
    let kinds: Vec<_> = inputs.iter().map(|i| (i.name.as_str(), i.kind, i.required)).collect();
    assert_eq!(
        kinds,
        [
            ("place", InputKind::Environment, true),
            ("level", InputKind::Choice, false),
            ("dry", InputKind::Boolean, false),
            ("plain", InputKind::Text, false),
        ]
    );
    assert_eq!((inputs[0].description.as_str(), inputs[1].options.len()), ("Where to", 2));
    assert_eq!(inputs[2].default, Some(serde_json::json!(true)));
    let interface = document.call_interface().unwrap();
    assert_eq!(interface.inputs[0].default, Some(serde_json::json!(3)));
    assert_eq!(interface.inputs[1].default, Some(serde_json::json!("${{ github.ref }}")));
    assert_eq!(
        interface.secrets.iter().collect::<Vec<_>>(),
        [(&"A".to_owned(), &true), (&"B".to_owned(), &false)]
    );
    assert_eq!(interface.outputs["o"], "${{ jobs.a.outputs.o }}");
    let run = document.triggers().iter().find(|t| t.event == "workflow_run").unwrap();
    assert_eq!(run.filters["workflows"], ["CI", "b*"]);
    assert_eq!(run.filters["branches-ignore"], ["x"]);
}

#[test]
fn a_job_takes_along_what_surrounds_it() {
    let text = "on: push
permissions: read-all
jobs:
  a:
    runs-on: x
    permissions: {contents: write, id-token: write}
    environment: {name: 'prod-${{ github.ref_name }}', url: 'https://${{ steps.s.outputs.host }}'}
    container: {image: 'docker://node:${{ vars.NODE }}', env: {A: '${{ secrets.A }}', B: 1}, ports: [80], credentials: {username: u, password: '${{ secrets.P }}'}}
    services:
      db: {image: 'postgres:16', entrypoint: sh, command: '-c x', options: '--cpus 1', volumes: ['v:/v']}
      none: {image: '${{ vars.NOTHING }}'}
    steps: [{run: x}]
  b: {runs-on: x, container: '${{ vars.NOTHING }}', environment: '', steps: [{run: x}]}
  c: {runs-on: x, permissions: {}, container: \"${{ fromJSON('{\\\"image\\\": \\\"a\\\", \\\"ports\\\": [1]}') }}\", steps: [{run: x}]}
";
    let document = parse(text);
    let mut params = RunParams::default();
    params.vars.insert("NODE".to_owned(), "22".to_owned());
    let repository = fleetfoot_model::spec::Repository {
        git_ref: Some("refs/heads/main".to_owned()),
        ..Default::default()
    };
    params.repository = Some(repository);
    let spec = |key: &str| spec(&document, &params, key);
    insta::assert_json_snapshot!(serde_json::json!([
        spec("a").permissions, spec("a").environment, spec("a").container, spec("a").services
    ]), @r#"
    [
      {
        "contents": "write",
        "id-token": "write"
      },
      {
        "name": "prod-main",
        "url": "https://${{ steps.s.outputs.host }}"
      },
      {
        "image": "node:22",
        "env": {
          "A": "${{ secrets.A }}",
          "B": "1"
        },
        "ports": [
          "80"
        ],
        "username": "u",
        "password": "${{ secrets.P }}"
      },
      {
        "db": {
          "image": "postgres:16",
          "volumes": [
            "v:/v"
          ],
          "options": "--cpus 1",
          "entrypoint": "sh",
          "command": "-c x"
        }
      }
    ]
    "#);
    let b = spec("b");
    assert_eq!((&b.container, &b.environment), (&None, &None));
    assert_eq!(b.permissions.as_ref().unwrap()["contents"], "read");
    assert!(!b.permissions.as_ref().unwrap().contains_key("id-token"), "there is no reading of it");
    let c = spec("c");
    assert_eq!(c.container.as_ref().unwrap().ports, ["1"]);
    assert_eq!(c.permissions, Some(IndexMap::new()));
}

#[test]
fn background_steps_become_waits() {
    let document = parse(
        "on: push
jobs:
  job:
    runs-on: x
    steps:
      - {id: server, run: serve, background: true}
      - parallel: [{run: one}, {uses: ./two, id: two}]
        name: Both
      - {wait: SERVER}
      - {run: again, background: true}
      - {id: late, run: late, background: true}
      - {cancel: late}
      - wait-all:
",
    );
    let steps = spec(&document, &RunParams::default(), "job").steps.clone();
    let shown: Vec<String> = steps
        .iter()
        .map(|step| {
            let what = match &step.action {
                StepAction::Wait { steps } => format!("wait {steps:?}"),
                StepAction::Cancel { step } => format!("cancel {step}"),
                _ => "work".to_owned(),
            };
            format!("{} '{}' {what} background={}", step.id, step.raw_name(), step.background)
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    server 'Run serve' work background=true
    __run 'Run one' work background=true
    two 'Run ./two' work background=true
    __wait 'Both' wait ["__run", "two"] background=false
    __wait_2 'Wait' wait ["server"] background=false
    __run_2 'Run again' work background=true
    late 'Run late' work background=true
    __cancel 'Cancel' cancel late background=false
    __wait-all 'Wait for all' wait [] background=false
    "#);
}
