//! Include and exclude: the situations that GitHub's documentation walks
//! through, and those that its parser decides.

#![allow(clippy::unwrap_used, reason = "tests")]

use fleetfoot_model::diagnostic::Source;
use fleetfoot_model::plan::{Dialect, Resolution, ResolveArgs, RunInfo};
use fleetfoot_workflow::WorkflowDialect;
use indexmap::IndexMap;

/// `name: matrix` of every leg.
fn legs(matrix: &str) -> String {
    let text = format!(
        "on: push\njobs:\n  j:\n    runs-on: x\n    strategy:\n      matrix: {matrix}\n    steps: [{{run: a}}]\n"
    );
    let document = match WorkflowDialect.parse(&Source::new("m.yml", text.into_bytes())) {
        Ok(document) => document,
        Err(found) => return found.0[0].message.clone(),
    };
    let run = RunInfo::default();
    let contexts = document.contexts(&run).unwrap();
    let args = ResolveArgs {
        contexts: &contexts,
        params: &run.params,
        needs: &IndexMap::new(),
        ancestors: &IndexMap::new(),
        cancelled: false,
    };
    match document.resolve("j", &args).unwrap() {
        Resolution::Run { jobs, .. } => {
            let line = |j: &fleetfoot_model::plan::PlannedJob| {
                format!("{}: {}", j.spec.name, j.spec.contexts["matrix"])
            };
            jobs.iter().map(line).collect::<Vec<_>>().join("\n")
        }
        Resolution::Skip => "skip".to_owned(),
    }
}

#[test]
fn the_first_vector_changes_slowest() {
    insta::assert_snapshot!(legs("{version: [10, 12], os: [linux, windows]}"));
}

#[test]
fn include_extends_what_it_does_not_overwrite() {
    // Colour for all, shape for cats only, colours overwritten by later entries,
    // and two entries that fit nowhere and become legs of their own.
    insta::assert_snapshot!(legs(
        "{fruit: [apple, pear], animal: [cat, dog], include: [{color: green}, {color: pink, animal: cat}, {fruit: apple, shape: circle}, {fruit: banana}, {fruit: banana, animal: cat}]}"
    ));
}

#[test]
fn include_adds_a_value_to_one_combination() {
    insta::assert_snapshot!(legs(
        "{os: [windows, ubuntu], node: [14, 16], include: [{os: windows, node: 16, npm: 6}]}"
    ));
}

#[test]
fn include_adds_a_combination() {
    insta::assert_snapshot!(legs(
        "{os: [mac, ubuntu], version: [12, 14], include: [{os: windows, version: 17}]}"
    ));
}

#[test]
fn include_alone_makes_the_legs() {
    insta::assert_snapshot!(legs(
        "{include: [{site: production, datacenter: a}, {site: staging, datacenter: b}]}"
    ));
}

#[test]
fn exclude_matches_in_part_and_before_include() {
    insta::assert_snapshot!(legs(
        "{os: [mac, windows], version: [12, 14], environment: [staging, production], exclude: [{os: mac, version: 12, environment: production}, {os: windows, version: 14}], include: [{os: windows, version: 14, environment: staging, back: true}]}"
    ));
}

#[test]
fn values_are_compared_loosely_and_by_their_parts() {
    insta::assert_snapshot!(legs(
        "{os: [{name: Linux, v: 1}, {name: mac, v: 2}], n: [1, 2], exclude: [{os: {name: LINUX}, n: '1'}], include: [{os: {v: 2}, extra: yes}]}"
    ));
}

#[test]
fn everything_can_be_excluded() {
    assert_eq!(legs("{os: [a], exclude: [{os: a}]}"), "skip");
}

#[test]
fn what_is_no_matrix() {
    for (matrix, message) in [
        ("{exclude: [{a: 1}]}", "Matrix exclude key 'a' does not match any key within the matrix"),
        ("{a: [1], exclude: [{}]}", "Matrix exclude filter must not be empty"),
        ("{a: [1], include: [{}]}", "Matrix include mapping does not contain any values"),
        ("{include: []}", "Matrix must define at least one vector"),
        ("{a: []}", "Matrix vector 'a' does not contain any values"),
        ("{a: 1}", "Unexpected value '1'"),
    ] {
        assert_eq!(legs(matrix), message, "{matrix}");
    }
}

#[test]
fn the_limit_is_256_legs_after_exclude() {
    let vector = |n: usize| format!("{:?}", (0..n).collect::<Vec<_>>());
    assert_eq!(legs(&format!("{{x: {}, y: {}}}", vector(16), vector(16))).lines().count(), 256);
    let excluded: Vec<String> = (0..16).map(|n| format!("{{x: 16, y: {n}}}")).collect();
    let more = format!("{{x: {}, y: {}, exclude: [{}]}}", vector(17), vector(16), excluded.join(","));
    assert_eq!(legs(&more).lines().count(), 256);
    let one_too_many = format!("{{x: {}, include: [{{x: more}}]}}", vector(256));
    assert_eq!(legs(&one_too_many), "The matrix has more than the limit of 256 jobs");
    let huge = format!(
        "{{a: {0}, b: {0}, c: {0}, d: {0}, e: {0}, f: {0}, g: {0}, h: {0}, i: {0}, j: {0}}}",
        vector(200)
    );
    assert!(legs(&huge).ends_with("more than the limit of 256 jobs"));
}
