//! References: what they are, what they are not, and all that real workflows use.

#![allow(clippy::unwrap_used, reason = "tests")]

use fleetfoot_actions::{Reference, RemoteReference};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn remote(text: &str) -> (String, String, Option<String>, String) {
    let r = RemoteReference::parse(text).unwrap();
    (r.owner, r.repo, r.path, r.git_ref)
}

#[test]
fn the_three_forms() {
    let s = str::to_owned;
    assert_eq!(remote("actions/checkout@v4"), (s("actions"), s("checkout"), None, s("v4")));
    assert_eq!(remote("a/b/c/d@feature/x"), (s("a"), s("b"), Some(s("c/d")), s("feature/x")));
    assert_eq!(remote("a\\b\\c@1.0.x"), (s("a"), s("b"), Some(s("c")), s("1.0.x")));
    let workflow = "octo-org/.github/.github/workflows/ci.yml@main";
    assert_eq!(remote(workflow).2, Some(s(".github/workflows/ci.yml")));
    for (text, shown) in [
        ("./", "./"),
        (".\\a\\b", "./a/b"),
        ("./.github/actions/x/", "./.github/actions/x"),
        ("docker://alpine:3.20", "docker://alpine:3.20"),
        ("Docker://ghcr.io/a/b@sha256:00", "docker://ghcr.io/a/b@sha256:00"),
        ("a/b//c/@v1", "a/b/c@v1"),
    ] {
        let parsed = Reference::parse(text).unwrap();
        assert_eq!(parsed.to_string(), shown);
        assert_eq!(Reference::parse(shown).unwrap(), parsed);
    }
    assert!(RemoteReference::parse(&format!("a/b@{}", "0123456789".repeat(4))).unwrap().is_pinned());
    assert!(!RemoteReference::parse("a/b@0123456").unwrap().is_pinned());
}

#[test]
fn what_is_none() {
    insta::assert_snapshot!(Reference::parse("checkout").unwrap_err(), @"Expected format {org}/{repo}[/path]@ref. Actual 'checkout' (also possible: ./path of an action in the workspace, docker://image)");
    insta::assert_snapshot!(Reference::parse("a/b@--upload-pack=x").unwrap_err(), @"the reference 'a/b@--upload-pack=x' of an action is not acceptable: a branch, tag or commit cannot begin with '-'");
    insta::assert_snapshot!(Reference::parse("a/b/../c@v1").unwrap_err(), @"the reference 'a/b/../c@v1' of an action is not acceptable: '..' could leave the repository");
    for text in [
        "",
        "a",
        ".",
        "a/b",
        "a/b@",
        "a@v1",
        "a/@v1",
        "/b@v1",
        "@v1",
        "a/b@v1@v2",
        "docker://",
        "docker://-x",
        "docker://a b",
        "../a",
        "./../a",
        "./a/../../b",
        ".\\..\\a",
        "a/b/c/../../..@v1",
        "../b@v1",
        "a/..@v1",
        "./a\0b",
        "a/b@v1\n",
        "-a/b@v1",
        "a/-b@v1",
        ".tmp/b@v1",
        "a/b.git@v1",
        "a/b/.git/hooks@v1",
        "a/b@refs/*",
        "a/b@v1..v2",
        "a/b@v1^{commit}",
        "a/b@a:b",
        "a/b@x y",
        "a/b@/x",
        "a/b@x.lock",
        "a/b@HEAD~1",
        "a b/c@v1",
        "a/b;c@v1",
        "https://host/a/b@v1",
        "ä/b@v1",
    ] {
        assert!(Reference::parse(text).is_err(), "{text:?}: {:?}", Reference::parse(text));
    }
    assert!(Reference::parse(&format!("a/b/{}@v1", "c/".repeat(5_000))).is_err());
    let error = Reference::parse(&"x".repeat(1_000)).unwrap_err().to_string();
    assert!(error.len() < 400, "{error}");
    assert!(RemoteReference::new("a/b", "c", None, "v1").is_err());
    assert!(RemoteReference::new("a", "b", Some("c"), "d@v1").is_err());
    assert!(RemoteReference::new("a", "b", Some("c@d/e"), "v1").is_err());
}

#[test]
fn all_references_of_real_workflows() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|p| p.join("shared/corpus"));
    let Some(corpus) = corpus.into_iter().find(|p| p.is_dir()) else {
        eprintln!("no shared/corpus beside the repository: nothing to parse");
        return;
    };
    let mut found = BTreeSet::new();
    let mut open: Vec<PathBuf> = vec![corpus];
    while let Some(dir) = open.pop() {
        for path in std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "yml" || e == "yaml") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.extend(text.lines().filter_map(uses).map(str::to_owned));
            }
        }
    }
    assert!(found.len() >= 50, "only {} references", found.len());
    for text in &found {
        let parsed = Reference::parse(text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(Reference::parse(&parsed.to_string()).unwrap(), parsed);
    }
    eprintln!("{} different references", found.len());
}

/// The reference in a line of YAML that has one.
fn uses(line: &str) -> Option<&str> {
    let line = line.trim_start().trim_start_matches("- ").trim_start();
    let value = line.strip_prefix("uses:")?.split(" #").next()?.trim();
    let value = value.trim_matches(['\'', '"']);
    (!value.is_empty()).then_some(value)
}
