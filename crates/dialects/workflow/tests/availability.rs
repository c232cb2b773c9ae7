//! Which contexts and functions may stand under which key: every row of
//! GitHub's table, and for every row everything that may not stand there.
#![allow(clippy::unwrap_used, reason = "tests")]

use fleetfoot_model::diagnostic::{Severity, Source};

const CONTEXTS: &[&str] = &[
    "github", "env", "vars", "job", "jobs", "steps", "runner", "secrets", "strategy", "matrix", "needs",
    "inputs",
];
const FUNCTIONS: &[&str] = &["always()", "success()", "failure()", "cancelled()", "hashFiles('a')"];
const STATUS: &[&str] = &["always()", "success()", "failure()", "cancelled()"];

const RUN: &str = "github inputs vars";
const STRATEGY: &str = "github needs inputs vars";
const LEG: &str = "github needs strategy matrix inputs vars";
const STEP: &str = "github needs strategy matrix job runner env vars secrets steps inputs";
const URL: &str = "github needs strategy matrix job runner env vars steps inputs";

/// Key, the lines of a document with `EXPR` where the expression stands, contexts, functions.
fn rows() -> Vec<(&'static str, String, &'static str, Vec<&'static str>)> {
    let job = |lines: &str| {
        format!("on: push\njobs:\n  a: {{runs-on: x, steps: [{{run: x}}]}}\n  j:\n    needs: a\n{lines}")
    };
    let plain = |line: &str| job(&format!("    runs-on: x\n    steps: [{{run: x}}]\n{line}\n"));
    let step = |line: &str| job(&format!("    runs-on: x\n    steps:\n      - {line}\n"));
    let call = |line: &str| job(&format!("    uses: ./x.yml\n{line}\n"));
    let root = |line: &str| format!("on: push\n{line}\njobs: {{a: {{runs-on: x, steps: [{{run: x}}]}}}}\n");
    let on = |line: &str| {
        format!("on:\n  workflow_call:\n{line}\njobs: {{a: {{runs-on: x, steps: [{{run: x}}]}}}}\n")
    };
    let hash = || vec!["hashFiles('a')"];
    let all = || STATUS.iter().copied().chain(hash()).collect::<Vec<_>>();
    vec![
        ("run-name", root("run-name: a ${{ EXPR }}"), RUN, vec![]),
        ("concurrency", root("concurrency: a ${{ EXPR }}"), RUN, vec![]),
        ("concurrency.group", root("concurrency: {group: 'a ${{ EXPR }}'}"), RUN, vec![]),
        (
            "concurrency.cancel-in-progress",
            root("concurrency: {group: a, cancel-in-progress: '${{ EXPR }}'}"),
            RUN,
            vec![],
        ),
        ("env", root("env: {A: '${{ EXPR }}'}"), "github secrets inputs vars", vec![]),
        (
            "on.workflow_call.inputs.default",
            on("    inputs: {a: {type: string, default: '${{ EXPR }}'}}"),
            RUN,
            vec![],
        ),
        (
            "on.workflow_call.outputs.value",
            on("    outputs: {a: {value: '${{ EXPR }}'}}"),
            "github jobs vars inputs",
            vec![],
        ),
        ("jobs.if", plain("    if: ${{ EXPR }}"), STRATEGY, STATUS.to_vec()),
        ("jobs.name", plain("    name: a ${{ EXPR }}"), LEG, vec![]),
        ("jobs.runs-on", job("    steps: [{run: x}]\n    runs-on: a${{ EXPR }}\n"), LEG, vec![]),
        (
            "jobs.runs-on.group",
            job("    steps: [{run: x}]\n    runs-on: {group: 'a${{ EXPR }}'}\n"),
            LEG,
            vec![],
        ),
        ("jobs.strategy", plain("    strategy: ${{ EXPR }}"), STRATEGY, vec![]),
        ("jobs.strategy.matrix", plain("    strategy: {matrix: '${{ EXPR }}'}"), STRATEGY, vec![]),
        ("jobs.strategy.fail-fast", plain("    strategy: {fail-fast: '${{ EXPR }}'}"), STRATEGY, vec![]),
        ("jobs.timeout-minutes", plain("    timeout-minutes: ${{ EXPR }}"), LEG, vec![]),
        ("jobs.cancel-timeout-minutes", plain("    cancel-timeout-minutes: ${{ EXPR }}"), LEG, vec![]),
        ("jobs.continue-on-error", plain("    continue-on-error: ${{ EXPR }}"), LEG, vec![]),
        ("jobs.concurrency", plain("    concurrency: a${{ EXPR }}"), LEG, vec![]),
        (
            "jobs.env",
            plain("    env: {A: '${{ EXPR }}'}"),
            "github needs strategy matrix vars secrets inputs",
            vec![],
        ),
        ("jobs.environment", plain("    environment: ${{ EXPR }}"), LEG, vec![]),
        ("jobs.environment.name", plain("    environment: {name: '${{ EXPR }}'}"), LEG, vec![]),
        ("jobs.environment.url", plain("    environment: {name: a, url: '${{ EXPR }}'}"), URL, vec![]),
        (
            "jobs.defaults.run",
            plain("    defaults: {run: {working-directory: '${{ EXPR }}'}}"),
            "github needs strategy matrix env vars inputs",
            vec![],
        ),
        ("jobs.outputs", plain("    outputs: {a: '${{ EXPR }}'}"), STEP, vec![]),
        ("jobs.container", plain("    container: ${{ EXPR }}"), LEG, vec![]),
        ("jobs.container.image", plain("    container: {image: 'a${{ EXPR }}'}"), LEG, vec![]),
        ("jobs.container.options", plain("    container: {image: a, options: '${{ EXPR }}'}"), LEG, vec![]),
        ("jobs.container.ports", plain("    container: {image: a, ports: ['${{ EXPR }}']}"), LEG, vec![]),
        ("jobs.container.volumes", plain("    container: {image: a, volumes: ['${{ EXPR }}']}"), LEG, vec![]),
        ("jobs.container.env", plain("    container: {image: a, env: {A: '${{ EXPR }}'}}"), STEP, vec![]),
        (
            "jobs.container.credentials",
            plain("    container: {image: a, credentials: {username: a, password: '${{ EXPR }}'}}"),
            "github needs strategy matrix env vars secrets inputs",
            vec![],
        ),
        ("jobs.services", plain("    services: {s: {image: 'a${{ EXPR }}'}}"), LEG, vec![]),
        (
            "jobs.services.entrypoint",
            plain("    services: {s: {image: a, entrypoint: '${{ EXPR }}'}}"),
            LEG,
            vec![],
        ),
        (
            "jobs.services.command",
            plain("    services: {s: {image: a, command: '${{ EXPR }}'}}"),
            LEG,
            vec![],
        ),
        ("jobs.services.env", plain("    services: {s: {image: a, env: {A: '${{ EXPR }}'}}}"), STEP, vec![]),
        (
            "jobs.services.credentials",
            plain("    services: {s: {image: a, credentials: {username: '${{ EXPR }}', password: b}}}"),
            "github needs strategy matrix env vars secrets inputs",
            vec![],
        ),
        ("jobs.with", call("    with: {a: '${{ EXPR }}'}"), LEG, vec![]),
        (
            "jobs.secrets",
            call("    secrets: {a: '${{ EXPR }}'}"),
            "github needs strategy matrix secrets inputs vars",
            vec![],
        ),
        ("steps.if", step("{run: x, if: '${{ EXPR }}'}"), URL, all()),
        ("steps.name", step("{run: x, name: 'a ${{ EXPR }}'}"), STEP, hash()),
        ("steps.run", step("{run: 'a ${{ EXPR }}'}"), STEP, hash()),
        ("steps.working-directory", step("{run: x, working-directory: 'a${{ EXPR }}'}"), STEP, hash()),
        ("steps.env", step("{run: x, env: {A: '${{ EXPR }}'}}"), STEP, hash()),
        ("steps.with", step("{uses: a/b@v1, with: {A: '${{ EXPR }}'}}"), STEP, hash()),
        ("steps.continue-on-error", step("{run: x, continue-on-error: '${{ EXPR }}'}"), STEP, hash()),
        ("steps.timeout-minutes", step("{run: x, timeout-minutes: '${{ EXPR }}'}"), STEP, hash()),
        (
            "steps.wait.continue-on-error",
            step("{wait-all: , continue-on-error: '${{ EXPR }}'}"),
            STEP,
            hash(),
        ),
        // No expression at all.
        ("name", root("name: a ${{ EXPR }}"), "", vec![]),
        ("defaults.run", root("defaults: {run: {shell: 'bash${{ EXPR }}'}}"), "", vec![]),
        ("permissions", root("permissions: ${{ EXPR }}"), "", vec![]),
        ("jobs.needs", plain("    name: x").replace("needs: a", "needs: ${{ EXPR }}"), "", vec![]),
        ("jobs.uses", job("    uses: ./${{ EXPR }}.yml\n"), "", vec![]),
        ("steps.id", step("{run: x, id: '${{ EXPR }}'}"), "", vec![]),
        ("steps.uses", step("{uses: 'a/b@${{ EXPR }}'}"), "", vec![]),
        ("steps.background", step("{run: x, background: '${{ EXPR }}'}"), "", vec![]),
        (
            "on.push.branches",
            "on: {push: {branches: ['${{ EXPR }}']}}\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n"
                .to_owned(),
            "",
            vec![],
        ),
    ]
}

fn is_good(document: &str, expression: &str) -> bool {
    let text = document.replace("EXPR", &expression.replace('\'', "''"));
    // Within a plain scalar quotes are as they are.
    let text = if document.contains("'${{ EXPR") || document.contains("EXPR }}'") {
        text
    } else {
        document.replace("EXPR", expression)
    };
    let found = fleetfoot_workflow::lint(&Source::new("a.yml", text.into_bytes()));
    found.0.iter().all(|d| d.severity != Severity::Error)
}

#[test]
fn every_key_takes_what_github_lets_it_take() {
    let mut wrong = Vec::new();
    for (key, document, contexts, functions) in rows() {
        let contexts: Vec<&str> = contexts.split_whitespace().collect();
        for context in CONTEXTS {
            let good = is_good(&document, &format!("{context}.a"));
            if good != contexts.contains(context) {
                wrong.push(format!("{key}: {context} is {}", if good { "taken" } else { "refused" }));
            }
        }
        for function in FUNCTIONS {
            let good = is_good(&document, function);
            if good != functions.contains(function) {
                wrong.push(format!("{key}: {function} is {}", if good { "taken" } else { "refused" }));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
