//! Documents and expressions, in this process: no server has a part in it.

use crate::Setting;
use crate::report::{Measure, Target};
use crate::stage::{ms, percentile};
use anyhow::anyhow;
use fleetfoot_expr::{Expr, MapScope, Status, Template};
use fleetfoot_model::Source;
use fleetfoot_model::plan::{Dialect, Resolution, RunInfo};
use fleetfoot_workflow::WorkflowDialect;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// A workflow of a thousand lines: 62 jobs with a matrix of six legs each.
fn document() -> String {
    let mut text =
        "name: Large\non: {push: {branches: [main]}, workflow_dispatch: {}}\nenv: {CI: true}\njobs:\n"
            .to_owned();
    for i in 0..62 {
        let _ = write!(
            text,
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
        );
    }
    text
}

/// Parses, plans and resolves every job of the large workflow.
pub(super) fn plan(setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    let text = document();
    let source = Source::new("large.yml", text.as_bytes().to_vec());
    let run = RunInfo::default();
    let wrong = |found: &dyn std::fmt::Display| anyhow!("the large workflow: {found}");
    let (mut planned, mut resolved, mut legs) = (Vec::new(), Vec::new(), 0);
    for _ in 0..setting.amount(200) {
        let begun = Instant::now();
        let document = WorkflowDialect.parse(&source).map_err(|e| wrong(&e))?;
        let contexts = document.contexts(&run).map_err(|e| wrong(&e))?;
        let graph = document.plan(&contexts, &run.params).map_err(|e| wrong(&e))?;
        planned.push(ms(begun.elapsed()));
        legs = 0;
        for node in &graph.nodes {
            let args = fleetfoot_model::plan::ResolveArgs {
                contexts: &contexts,
                params: &run.params,
                needs: &Default::default(),
                ancestors: &Default::default(),
                cancelled: false,
            };
            if let Resolution::Run { jobs, .. } = document.resolve(&node.key, &args).map_err(|e| wrong(&e))? {
                legs += jobs.len();
            }
        }
        resolved.push(ms(begun.elapsed()));
    }
    let lines = text.lines().count();
    Ok(vec![
        Measure::new(
            format!("parse and plan {lines} lines, median"),
            "ms",
            Target::AtMost(10.0),
            percentile(&mut planned, 0.5),
        ),
        Measure::info(format!("the same and all {legs} jobs, median"), "ms", percentile(&mut resolved, 0.5)),
    ])
}

const EXPRESSIONS: &[&str] = &[
    "github.ref == 'refs/heads/main'",
    "github.event_name == 'push' && startsWith(github.ref, 'refs/tags/v')",
    "success() && (github.actor != 'bot' || needs.build.outputs.changed == 'true')",
    "contains(github.event.pull_request.labels.*.name, 'deploy')",
    "matrix.os == 'ubuntu-latest' && matrix.node >= 18 || matrix.experimental",
    "format('{0}-{1}-{2}', matrix.os, matrix.node, github.sha)",
    "!cancelled() && needs.build.result == 'success'",
    "join(needs.*.result, ',')",
    "fromJSON('[1, 2, {\"a\": true}]')[2].a",
    "toJSON(matrix)",
    "case(matrix.os == 'windows', 'pwsh', matrix.os == 'macos', 'zsh', 'bash')",
    "env.MISSING || secrets.TOKEN || 'default'",
];

const TEMPLATES: &[&str] = &[
    "build-${{ matrix.os }}-${{ github.run_id }}",
    "${{ github.workspace }}/target",
    "plain text without any expression",
];

fn scope() -> MapScope {
    let contexts = serde_json::json!({
        "github": {
            "ref": "refs/heads/main", "sha": "0123456789abcdef0123456789abcdef01234567", "event_name": "push",
            "actor": "someone", "run_id": 1234, "workspace": "/home/me/project", "repository": "owner/name",
            "event": {"pull_request": {"labels": [{"name": "bug"}, {"name": "help wanted"}, {"name": "Deploy"}]}}
        },
        "needs": {
            "build": {"result": "success", "outputs": {"changed": "true"}},
            "test": {"result": "failure", "outputs": {}}
        },
        "matrix": {"os": "ubuntu-latest", "node": 20, "experimental": false},
        "env": {"CI": "true"},
        "secrets": {"TOKEN": "x"}
    });
    MapScope::from_json(contexts.as_object().unwrap_or(&serde_json::Map::new())).with_status(Status::Success)
}

/// A mixed set of expressions as they occur in workflows, on one core: each parsed once, evaluated often.
pub(super) fn expr() -> anyhow::Result<Vec<Measure>> {
    let wrong = |e| anyhow!("an expression of the set: {e}");
    let expressions =
        EXPRESSIONS.iter().map(|s| Expr::parse(s).map_err(wrong)).collect::<Result<Vec<_>, _>>()?;
    let templates =
        TEMPLATES.iter().map(|s| Template::parse(s).map_err(wrong)).collect::<Result<Vec<_>, _>>()?;
    let scope = scope();
    let evaluate = |limit: Duration| {
        let (begun, mut count) = (Instant::now(), 0_u32);
        while begun.elapsed() < limit {
            for _ in 0..100 {
                for expression in &expressions {
                    black_box(expression.evaluate(black_box(&scope))).ok();
                    count += 1;
                }
                for template in &templates {
                    black_box(template.evaluate(black_box(&scope))).ok();
                    count += 1;
                }
            }
        }
        f64::from(count) / begun.elapsed().as_secs_f64()
    };
    evaluate(Duration::from_millis(500));
    let rate = evaluate(Duration::from_secs(2));
    Ok(vec![Measure::new("evaluate, mixed set, one core", "/s", Target::AtLeast(200_000.0), rate)])
}
