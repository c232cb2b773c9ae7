//! Problem matchers: the files of well-known actions, the order of things, and
//! what cannot be used.

#![allow(clippy::unwrap_used, reason = "tests")]

use fleetfoot_actions::{Match, MatchSeverity, Matchers};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn with(matchers: &[Value]) -> Matchers {
    let mut all = Matchers::default();
    all.add(&json!({ "problemMatcher": matchers }).to_string()).unwrap();
    all
}

fn single(pattern: Value) -> Matchers {
    with(&[json!({"owner": "o", "pattern": [pattern]})])
}

fn refused(matcher: Value) -> String {
    Matchers::default().add(&json!({ "problemMatcher": [matcher] }).to_string()).unwrap_err().to_string()
}

/// The problem in one line.
fn show(found: Option<Match>) -> String {
    let Some(m) = found else { return "-".to_owned() };
    let number = |n: Option<u32>| n.map_or("-".to_owned(), |n| n.to_string());
    let severity = match m.severity {
        MatchSeverity::Error => "error",
        MatchSeverity::Warning => "warning",
        MatchSeverity::Notice => "notice",
    };
    format!(
        "{}: {severity} {}:{}:{} {} [{}]",
        m.owner,
        m.file.as_deref().unwrap_or("-"),
        number(m.line),
        number(m.column),
        m.message,
        m.code.as_deref().unwrap_or("-")
    )
}

#[test]
fn one_line_with_everything() {
    let mut matchers = single(json!({
        "regexp": r"^(.+):\sline\s(\d+),\scol\s(\d+),\s(Error|Warning|Info)\s-\s(.+)\s\((.+)\)$",
        "file": 1, "line": 2, "column": "3", "severity": 4, "message": 5, "code": 6,
    }));
    let line = "badFile.js: line 50, col 11, Error - 'myVar' is defined but never used. (no-unused-vars)";
    assert_eq!(
        show(matchers.line(line)),
        "o: error badFile.js:50:11 'myVar' is defined but never used. [no-unused-vars]"
    );
    assert!(show(matchers.line(&line.replace("Error", "Warning"))).starts_with("o: warning"));
    assert_eq!(show(matchers.line(&line.replace("Error", "Info"))), "-", "a severity that nobody knows");
    assert_eq!(show(matchers.line("anything else")), "-");
    let coloured = "\x1b[1;31mbadFile.js\x1b[0m\x1b[K: line 50, col 11, Error - m\x1b[m (c)";
    assert_eq!(show(matchers.line(coloured)), "o: error badFile.js:50:11 m [c]");
}

#[test]
fn several_lines_with_a_loop() {
    let mut matchers = with(&[json!({
        "owner": "eslint-stylish",
        "pattern": [
            {"regexp": r"^\s*([^\s].*)$", "file": 1},
            {"regexp": r"^\s+(\d+):(\d+)\s+(error|warning|info)\s+(.*)\s\s+(.*)$",
             "line": 1, "column": 2, "severity": 3, "message": 4, "code": 5, "loop": true},
        ],
    })]);
    let mut look = |line: &str| show(matchers.line(line));
    assert_eq!(look("test.js"), "-");
    assert_eq!(
        look("  1:0   error  Missing \"use strict\" statement                 strict"),
        "eslint-stylish: error test.js:1:0 Missing \"use strict\" statement                [strict]"
    );
    assert_eq!(
        look("  5:10  warning  unused  no-unused"),
        "eslint-stylish: warning test.js:5:10 unused [no-unused]"
    );
    assert_eq!(look(""), "-");
    assert_eq!(look("  5:10  warning  unused  no-unused"), "-", "the run has ended");
    // That line itself matched the first pattern, as everything does.
    assert_eq!(look("foo.js"), "-");
    assert_eq!(look("  7:1  error  m  c"), "eslint-stylish: error foo.js:7:1 m [c]");
}

#[test]
fn three_lines_without_a_loop() {
    let mut matchers = with(&[json!({
        "owner": "python",
        "severity": "Warning",
        "pattern": [
            {"regexp": r#"^\s*File\s\"(.*)\",\sline\s(\d+),\sin\s(.*)$"#, "file": 1, "line": 2},
            {"regexp": "^\\s*raise\\s(.*)\\(\\'(.*)\\'\\)$", "message": 2},
        ],
    })]);
    assert_eq!(show(matchers.line("  File \"/a/b.py\", line 3, in <module>")), "-");
    assert_eq!(show(matchers.line("    raise X('boom')")), "python: warning /a/b.py:3:- boom [-]");
    assert_eq!(show(matchers.line("    raise X('boom')")), "-");
    matchers.line("  File \"/a/b.py\", line 3, in <module>");
    matchers.reset();
    assert_eq!(show(matchers.line("    raise X('boom')")), "-", "a step has ended in between");
}

#[test]
fn the_newest_first_and_one_of_each_owner() {
    let pattern = |prefix: &str| json!([{"regexp": format!("^{prefix}(.*)$"), "message": 1}]);
    let mut matchers = with(&[json!({"owner": "a", "pattern": pattern("x")})]);
    let more = json!({"problemMatcher": [
        {"owner": "b", "pattern": pattern("xy"), "severity": "notice"},
        {"owner": "c", "pattern": pattern("z")},
    ]});
    assert_eq!(matchers.add(&more.to_string()).unwrap(), ["b", "c"]);
    assert_eq!(show(matchers.line("xyz")), "b: notice -:-:- z [-]");
    assert_eq!(show(matchers.line("xz")), "a: error -:-:- z [-]");
    // An empty message is no problem, and the next matcher has its turn.
    assert_eq!(show(matchers.line("xy")), "a: error -:-:- y [-]");
    matchers.add(&json!({"problemMatcher": [{"owner": "B", "pattern": pattern("q")}]}).to_string()).unwrap();
    assert_eq!(show(matchers.line("xyz")), "a: error -:-:- yz [-]");
    assert!(matchers.remove("A") && !matchers.remove("A"));
    assert_eq!(show(matchers.line("xyz")), "-");
    assert!(matchers.add("{\"problemMatcher\": [{\"owner\": \"b\"}]}").is_err());
    assert_eq!(show(matchers.line("qq")), "B: error -:-:- q [-]", "a bad file has changed nothing");
    assert!(matchers.remove("b") && matchers.remove("c") && matchers.is_empty());
    assert_eq!(matchers.add("{}").unwrap(), Vec::<String>::new());
}

#[test]
fn a_match_ends_what_others_had_begun() {
    let mut matchers = with(&[
        json!({"owner": "two", "pattern": [{"regexp": "^file (.*)$", "file": 1}, {"regexp": "^m (.*)$", "message": 1}]}),
        json!({"owner": "one", "pattern": [{"regexp": "^e (.*)$", "message": 1}]}),
    ]);
    matchers.line("file a");
    assert_eq!(show(matchers.line("e x")), "one: error -:-:- x [-]");
    assert_eq!(show(matchers.line("m y")), "-");
}

#[test]
fn files_below_the_directory_of_a_project() {
    let mut matchers = single(json!({
        "regexp": r"^(.+)\((\d+)\): (.*) \[(.+)\]$", "file": 1, "line": 2, "message": 3, "fromPath": 4,
    }));
    let mut file = |line: &str| matchers.line(line).unwrap().file.unwrap();
    assert_eq!(file("a.cs(1): m [/src/p/p.csproj]"), "/src/p/a.cs");
    assert_eq!(file("a.cs(1): m [p/p.csproj]"), "p/a.cs");
    assert_eq!(file("/b/a.cs(1): m [/src/p.csproj]"), "/b/a.cs");
    assert_eq!(file("a.cs(1): m [p.csproj]"), "a.cs");
    assert_eq!(file("a.cs(1): m [/p.csproj]"), "/a.cs");
}

#[test]
fn expressions_of_dot_net() {
    let find = |expression: &str, line: &str| {
        let mut matchers = single(json!({"regexp": expression, "message": 1}));
        matchers.line(line).map(|m| m.message)
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(find(r"^(\d+)$", "१२"), None, "digits are ASCII");
    assert_eq!(find(r"(\w+)", "é_a1-"), some("_a1"));
    assert_eq!(find(r"\<(\/x)\>", "</x>"), some("/x"));
    assert_eq!(find(r"([\w.\-]+):", "a.b-c:"), some("a.b-c"));
    assert_eq!(find(r"([a-z&&[x]+)", "a&&[x"), some("a&&[x"));
    assert_eq!(find(r"([^\s\[]+)", " a["), some("a"));
    assert_eq!(find(r"([]a]+)", "]a"), some("]a"));
    assert_eq!(find(r"([\w-_]+)", "a-_b"), some("a-_b"));
    assert_eq!(find(r"([+--]+)", "+,-"), some("+,-"));
    assert_eq!(find(r"([a\--0]+)", "-./0"), some("-./0"));
    assert_eq!(find(r"([\d-x]+)", "1-x"), some("1-x"));
    assert_eq!(find(r"{(.{2,3}){x}", "{abc{x}"), some("abc"));
    assert_eq!(find("(?:\\x1b\\[\\d+m)?\\u0041(\\_\\h+)", "A_hh"), some("_hh"));
    assert_eq!(find(r"(?i)ABC(\cI)", "abc\t"), None, "a message of spaces is none");
    assert_eq!(find(r"(?i:ABC)(\cA)", "abc\u{1}"), some("\u{1}"));
    assert_eq!(find(r"(?<name>a)(b)", "ab"), some("b"), "named groups are counted last");
    assert_eq!(find(r"(?'name'a)b(?#comment)", "ab"), some("a"));
    assert_eq!(find(r"\bfoo\B(.)", "xfoo foox"), some("x"));
    assert_eq!(find(r"(.)\Z", "ab"), some("b"));
    assert_eq!(find("(ärger)", "ärger"), some("ärger"));
}

#[test]
fn what_cannot_be_used_is_refused_in_words() {
    let one = |pattern: Value| refused(json!({"owner": "o", "pattern": [pattern]}));
    insta::assert_snapshot!(one(json!({"regexp": "(?=a)(b)", "message": 1})), @"Matcher 'o': the expression '(?=a)(b)' looks ahead or behind ((?=, (?!, (?<=, (?<!), which is not possible here, because matching has to end in time. Write it without");
    for (expression, words) in [
        ("(?<!a)(b)", "looks ahead or behind"),
        ("(?>a)(b)", "atomic"),
        (r"(a)\1", "refers back"),
        (r"(?<n>a)\k<n>", "refers back"),
        ("(a", "cannot be used: unclosed group"),
        ("(a)[b", "without its ]"),
        ("(a)\\", "ends with a backslash"),
        (r"(a)\p{L}", "Unicode category"),
        ("((a{500}){500}){500}", "cannot be used"),
        ("(?q)(a)", "kind of group"),
    ] {
        let message = one(json!({"regexp": expression, "message": 1}));
        assert!(message.contains(words), "{expression}: {message}");
    }
    assert!(
        one(json!({"regexp": "(".repeat(5_000) + &")".repeat(5_000), "message": 1})).contains("too long")
    );
    assert!(
        one(json!({"regexp": "(".repeat(4_000) + &")".repeat(4_000), "message": 1}))
            .contains("cannot be used")
    );
    assert!(one(json!({"regexp": "(a)"})).contains("At least one pattern must set 'message'"));
    assert!(one(json!({"regexp": "(a)", "message": 2})).contains("out of range"));
    assert!(one(json!({"regexp": "(a)", "message": -1})).contains("no number of a group"));
    assert!(one(json!({"regexp": "(a)", "message": 1, "loop": true})).contains("Only the last pattern"));
    assert!(refused(json!({"pattern": []})).contains("Owner must not be empty"));
    assert!(refused(json!({"owner": "o", "pattern": []})).contains("does not contain any patterns"));
    assert!(
        refused(json!({"owner": "o", "severity": "fatal", "pattern": []}))
            .contains("unexpected default severity")
    );
    let twice = json!({"owner": "o", "pattern": [{"regexp": "(a)", "file": 1}, {"regexp": "(a)", "file": 1, "message": 1}]});
    assert!(refused(twice).contains("'file' is set twice"));
    let loop_without =
        json!({"owner": "o", "pattern": [{"regexp": "(a)", "message": 1}, {"regexp": "(a)", "loop": true}]});
    assert!(refused(loop_without).contains("must set 'message'"));
    let mut matchers = Matchers::default();
    assert!(matchers.add("nonsense").unwrap_err().to_string().contains("no JSON"));
    assert!(matchers.add("[]").is_err());
    let pattern = json!([{"regexp": "(a)", "message": 1}]);
    let same =
        json!({"problemMatcher": [{"owner": "o", "pattern": pattern}, {"owner": "O", "pattern": pattern}]});
    assert!(matchers.add(&same.to_string()).unwrap_err().to_string().contains("Duplicate owner name 'O'"));
    assert!(matchers.is_empty());
}

#[test]
fn evil_expressions_and_lines_take_no_time() {
    let begin = Instant::now();
    let mut matchers = single(json!({"regexp": "^((a+)+)+(.*)+x$", "message": 1}));
    for length in [100, 10_000, 60_000, 1_000_000] {
        assert_eq!(matchers.line(&"a".repeat(length)), None);
    }
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}
