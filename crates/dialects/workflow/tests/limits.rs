//! Hostile input ends in a finding, in bounded time. The bound is generous:
//! it is there to tell milliseconds from exponential.

#![allow(clippy::unwrap_used, reason = "tests")]

use fleetfoot_model::diagnostic::{Diagnostic, Source};
use fleetfoot_model::plan::{Dialect, RunInfo, RunParams};
use fleetfoot_workflow::{WorkflowDialect, lint};
use std::time::{Duration, Instant};

fn first(bytes: impl Into<Vec<u8>>) -> Diagnostic {
    let begin = Instant::now();
    let found = lint(&Source::new("bad.yml", bytes.into()));
    let took = begin.elapsed();
    // Unoptimised code on a busy machine; the work is done in a few milliseconds otherwise.
    assert!(took < Duration::from_secs(5), "took {took:?}");
    assert!(found.has_errors(), "no error");
    found.0.into_iter().next().unwrap()
}

#[test]
fn ten_megabytes() {
    let d = first("on: push\n".repeat(1_200_000));
    assert_eq!((d.code.as_str(), d.line), ("too-large", 1));
    assert!(d.message.contains("limit is 1024 KiB"), "{d}");
    assert!(d.hint.is_some());
}

#[test]
fn depth_ten_thousand() {
    let nested = |open: &str| format!("on: push\njobs: {}", open.repeat(10_000));
    for text in [nested("["), nested("{a: "), nested("[{a: "), nested("- ")] {
        let d = first(text);
        assert!(d.code == "too-deep" || d.code == "yaml", "{d}");
    }
    let blocks: String = (0..1_000).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    assert_eq!(first(blocks).code, "too-deep");
    let sequences = format!("on:\n  {}x\n", "- ".repeat(10_000));
    assert_eq!(first(sequences).code, "too-deep");
}

#[test]
fn depth_by_aliases() {
    let mut text = "on: push\na0: &a0 [x]\n".to_owned();
    for i in 1..200 {
        text.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
    }
    let codes: Vec<String> =
        lint(&Source::new("x", text.into_bytes())).0.into_iter().map(|d| d.code).collect();
    assert!(codes.contains(&"too-deep".to_owned()), "{codes:?}");
}

#[test]
fn alias_bombs() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..20 {
        let list = vec![format!("*a{}", i - 1); 9].join(", ");
        text.push_str(&format!("a{i}: &a{i} [{list}]\n"));
    }
    let d = first(text);
    assert_eq!(d.code, "too-large");
    assert!(d.hint.unwrap().contains("Aliases"), "a bomb is called one");

    // Few nodes, much text.
    let aliases = "  - *long\n".repeat(50_000);
    let d = first(format!("long: &long {}\nlist:\n{aliases}", "x".repeat(400_000)));
    assert_eq!(d.code, "too-large");

    let d = first("a: &a [*a]\n");
    assert_eq!(d.code, "yaml-alias");
}

#[test]
fn encodings() {
    let d = first(b"on: push\nname: a\xC3(\n".to_vec());
    assert_eq!((d.code.as_str(), d.line, d.column), ("encoding", 2, 8));
    assert!(d.message.contains("0xC3"), "{d}");
    for bytes in [b"\xFF\xFEo\0n\0".to_vec(), b"\xFE\xFF\0o\0n".to_vec(), b"o\0n\0:\0".to_vec()] {
        let d = first(bytes);
        assert!(d.code == "encoding" && d.message.contains("UTF-16"), "{d}");
    }
    // A byte order mark is fine, and moves no column.
    let found = lint(&Source::new("x", b"\xEF\xBB\xBFon: push\njobs: {}\nnmae: x\n".to_vec()));
    let places: Vec<_> = found.0.iter().map(|d| (d.code.as_str(), d.line, d.column)).collect();
    assert_eq!(places, [("no-jobs", 2, 1), ("unknown-key", 3, 1)]);
}

#[test]
fn windows_line_ends() {
    let text = "on: push\r\njobs:\r\n  a:\r\n    runs-on: x\r\n    steps:\r\n      - run: |\r\n          one\r\n          two\r\n        nmae: x\r\n";
    let d = first(text);
    assert_eq!((d.line, d.column), (9, 9));
    assert_eq!(d.snippet, "        nmae: x");
}

#[test]
fn columns_count_characters() {
    let d = first("on: push\nname: ä\njobs: {ß: {runs-on: 'ünï', step: 1}}\n");
    assert_eq!((d.code.as_str(), d.line, d.column), ("invalid-id", 3, 8));
    let found = lint(&Source::new(
        "x",
        "on: push\njobs: {a: {name: 'ünï ${{ x }}', runs-on: a, steps: [{run: a}]}}\n".as_bytes().to_vec(),
    ));
    assert_eq!((found.0[0].code.as_str(), found.0[0].column), ("expression", 27));
}

#[test]
fn many_errors_are_cut_off() {
    let text =
        format!("on: push\njobs: {{}}\n{}", (0..20_000).map(|i| format!("k{i}: 1\n")).collect::<String>());
    let found = lint(&Source::new("x", text.into_bytes()));
    assert!(found.0.len() <= 101, "{}", found.0.len());
}

#[test]
fn an_error_is_seen_behind_many_warnings() {
    let job = "    runs-on: x\n    permissions: {}\n    steps: [{run: a}]\n";
    let jobs: String = (0..150).map(|i| format!("  j{i}:\n{job}")).collect();
    let found = lint(&Source::new("x", format!("on: push\njobs:\n{jobs}  last: 3\n").into_bytes()));
    assert!(found.has_errors());
}

#[test]
fn wide_documents() {
    // A line of jobs, each needing the one before, and many keys in one mapping.
    let jobs: String = (1..8_000)
        .map(|i| format!("  j{i}: {{needs: j{}, runs-on: x, steps: [{{run: a}}]}}\n", i - 1))
        .collect();
    let text = format!("on: push\njobs:\n  j0: {{runs-on: x, steps: [{{run: a}}]}}\n{jobs}");
    let begin = Instant::now();
    let document = WorkflowDialect.parse(&Source::new("wide.yml", text.into_bytes())).unwrap();
    let run = RunInfo::default();
    let plan = document.plan(&document.contexts(&run).unwrap(), &run.params).unwrap();
    assert_eq!(plan.nodes.len(), 8_000);
    let last = RunParams { jobs: vec!["J7999".to_owned()], ..RunParams::default() };
    let plan = document.plan(&document.contexts(&run).unwrap(), &last).unwrap();
    assert_eq!(plan.nodes.len(), 8_000);
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(10), "took {took:?}");

    let steps = "      - run: a\n".repeat(20_000);
    let document = WorkflowDialect
        .parse(&Source::new(
            "steps.yml",
            format!("on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n{steps}").into_bytes(),
        ))
        .unwrap();
    drop(document);

    // Everybody waits for somebody: found without trying all paths.
    let cycle: String = (0..5_000)
        .map(|i| {
            format!(
                "  j{i}: {{needs: [j{}, j{}], runs-on: x, steps: [{{run: a}}]}}\n",
                (i + 1) % 5_000,
                (i + 7) % 5_000
            )
        })
        .collect();
    assert!(
        ["needs-cycle", "no-first-job"].contains(&first(format!("on: push\njobs:\n{cycle}")).code.as_str())
    );
}

#[test]
fn many_mistakes_at_once() {
    // Names that are nearly right, in a graph where every name is a candidate.
    let jobs: String = (0..6_000)
        .map(|i| format!("  job{i}: {{needs: [jab{i}, jbo{i}], runs-on: x, steps: [{{run: a}}]}}\n"))
        .collect();
    assert_eq!(first(format!("on: push\njobs:\n{jobs}")).code, "unknown-job");
    // One long script with bad expressions, repeated by aliases.
    let script = "${{ x.y }}".repeat(200);
    let steps = "      - run: *s\n".repeat(900);
    let text = format!("on: push\njobs:\n  a:\n    name: &s '{script}'\n    runs-on: x\n    steps:\n{steps}");
    assert_eq!(first(text).code, "expression");
}
