//! Prints evaluations per second on one core, for a mixed set of expressions
//! as they occur in workflows: each parsed once, evaluated many times.

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use fleetfoot_expr::{Expr, MapScope, Status, Template};

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

fn main() -> std::io::Result<()> {
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
    let Some(contexts) = contexts.as_object() else {
        return Ok(());
    };
    let scope = MapScope::from_json(contexts).with_status(Status::Success);
    let parse_error = |e| std::io::Error::other(format!("{e}"));
    let mut expressions = Vec::new();
    for src in EXPRESSIONS {
        expressions.push(Expr::parse(src).map_err(parse_error)?);
    }
    let mut templates = Vec::new();
    for src in TEMPLATES {
        templates.push(Template::parse(src).map_err(parse_error)?);
    }
    let mut out = std::io::stdout().lock();

    let evaluate = |seconds: u64| {
        let start = Instant::now();
        let limit = Duration::from_secs(seconds);
        let mut count = 0_u32;
        while start.elapsed() < limit {
            for _ in 0..100 {
                for expr in &expressions {
                    black_box(expr.evaluate(black_box(&scope))).ok();
                    count += 1;
                }
                for template in &templates {
                    black_box(template.evaluate(black_box(&scope))).ok();
                    count += 1;
                }
            }
        }
        f64::from(count) / start.elapsed().as_secs_f64()
    };
    evaluate(1);
    writeln!(out, "evaluate, mixed set: {:.0}/s", evaluate(3))?;

    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < Duration::from_secs(2) {
        for src in EXPRESSIONS {
            black_box(Expr::parse(black_box(src))).ok();
            count += 1;
        }
    }
    writeln!(out, "parse, mixed set: {:.0}/s", f64::from(count) / start.elapsed().as_secs_f64())
}
