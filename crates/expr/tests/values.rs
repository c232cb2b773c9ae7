//! What expressions evaluate to, case by case, in a scope of sample contexts.

use fleetfoot_expr::{MapScope, Value};
use serde_json::{Value as Json, json};

fn scope() -> MapScope {
    let contexts = json!({
        "github": {
            "event_name": "pull_request",
            "ref": "refs/heads/main",
            "event": {
                "number": 7,
                "labels": [{"name": "bug", "id": 1}, {"name": "Docs"}, {"id": 3}, "odd", null],
                "Mixed-Case_Key": "found"
            }
        },
        "needs": {
            "build": {"result": "success", "outputs": {"sha": "abc", "list": [1, 2]}},
            "test": {"result": "failure", "outputs": {"sha": "def", "list": [3]}},
            "odd": "text"
        },
        "matrix": {"os": "ubuntu", "version": 3.1, "0": "zero", "true": "yes", "null": "nil", "Infinity": "inf"},
        "list": ["a", "B", 3, true, null],
        "grid": [[1, 2], [3, 4], "x"],
        "empty_list": [],
        "empty": {},
        "nothing": null
    });
    MapScope::from_json(contexts.as_object().expect("object"))
}

fn eval(expr: &str) -> Value {
    scope().evaluate(expr).unwrap_or_else(|e| panic!("{expr}: {e}"))
}

#[track_caller]
fn check(cases: &[(&str, Json)]) {
    for (expr, expected) in cases {
        let value = eval(expr);
        assert_eq!(&value.to_json(), expected, "{expr} gave {value:?}");
    }
}

#[track_caller]
fn check_true(cases: &[&str]) {
    for expr in cases {
        assert_eq!(eval(expr), Value::Bool(true), "{expr}");
    }
}

#[track_caller]
fn check_false(cases: &[&str]) {
    for expr in cases {
        assert_eq!(eval(expr), Value::Bool(false), "{expr}");
    }
}

#[test]
fn literals() {
    check(&[
        ("", json!(null)),
        (" \t\n", json!(null)),
        ("null", json!(null)),
        ("true", json!(true)),
        ("'it''s '''", json!("it's '")),
        ("''", json!("")),
        ("'\u{a0}ü'", json!("\u{a0}ü")),
        ("-0", json!(0)),
        ("+7", json!(7)),
        (".5", json!(0.5)),
        ("-.5e1", json!(-5)),
        ("5.", json!(5)),
        ("1e3", json!(1000)),
        ("1E-3", json!(0.001)),
        ("0x1F", json!(31)),
        ("0o17", json!(15)),
        ("0xFFFFFFFF", json!(-1)),
        ("NaN", json!(null)),
        ("-Infinity", json!(null)),
    ]);
    assert_eq!(eval("-Infinity"), Value::Number(f64::NEG_INFINITY));
    assert_eq!(eval("NaN").kind_name(), "Number");
}

#[test]
fn white_space_is_any_unicode_space() {
    check(&[("\u{2003}1\u{a0}==\n1\r", json!(true)), ("github . ref", json!("refs/heads/main"))]);
}

#[test]
fn precedence_from_tightest_to_loosest() {
    check(&[
        ("!github.nope", json!(true)),
        ("!1 == 1", json!(false)),
        ("!(1 == 1)", json!(false)),
        ("!2 < 1", json!(true)),
        ("!(2 < 3)", json!(false)),
        ("!!'x'", json!(true)),
        ("1 < 2 == true", json!(true)),
        ("1 < (2 == true)", json!(false)),
        ("5 > 4 > 3", json!(false)),
        ("3 == 3 == 1", json!(true)),
        ("3 == (3 == 1)", json!(false)),
        ("2 != 2 == false", json!(true)),
        ("1 == 1 && 'x'", json!("x")),
        ("'a' || 'b' && 'c'", json!("a")),
        ("('a' || 'b') && 'c'", json!("c")),
        ("false && true || 'z'", json!("z")),
    ]);
}

#[test]
fn logic_returns_operands_and_stops_early() {
    check(&[
        ("0 || '' || null", json!(null)),
        ("false || 0", json!(0)),
        ("'' && 1", json!("")),
        ("1 && 2 && 0 && 3", json!(0)),
        ("1 && (2 && (3 && 4))", json!(4)),
        ("true || fromJSON('broken')", json!(true)),
        ("false && fromJSON('broken')", json!(false)),
        ("NaN && 1 || 'n'", json!("n")),
        ("empty_list && 'list is true'", json!("list is true")),
        ("empty && 'object is true'", json!("object is true")),
    ]);
}

#[test]
fn equality_coerces() {
    check_true(&[
        "null == 0",
        "null == ''",
        "null == false",
        "false == ''",
        "true == 1",
        "true == '1'",
        "true == ' 0x1 '",
        "'' == 0",
        "' ' == 0",
        "'1e1' == 10",
        "'0o10' == 8",
        "0 == -0",
        "'abc' == 'ABC'",
        "'ß' == 'ß'",
        "null == null",
        "'Infinity' == Infinity",
        "list == list",
        "github.event == github.EVENT",
        "nothing == null",
        "'Ως' == 'ΩΣ'",
        "1 != 2",
        "'a' != 'b'",
        "NaN != NaN",
        "list != empty_list",
    ]);
    check_false(&[
        "NaN == NaN",
        "'NaN' == NaN",
        "true == 'true'",
        "null == 'x'",
        "1 == 'one'",
        "list == fromJSON('[]')",
        "fromJSON('{}') == fromJSON('{}')",
        "empty == 'Object'",
        "empty_list == ''",
        "'ß' == 'SS'",
        "'ı' == 'I'",
        "github.event.labels == github.event.labels[0]",
        "'0X1' == 1",
        "2 == true",
    ]);
}

#[test]
fn order_coerces() {
    check_true(&[
        "2 > 1",
        "'b' > 'A'",
        "'a' < 'B'",
        "'10' > 9",
        "true > false",
        "1 > null",
        "'' <= 0",
        "null >= null",
        "null <= null",
        "empty_list <= empty_list",
        "empty >= empty",
        "'Z' < '_'",
        "'z' < '_'",
        "'abc' < 'abcd'",
        "1 >= 1",
        "-1 < '0'",
        "'i' < 'İ'",
        "'ı' > 'I'",
        "Infinity > 1e308",
        "'A' <= 'a'",
    ]);
    check_false(&[
        "NaN > 1",
        "NaN < 1",
        "NaN >= NaN",
        "NaN <= NaN",
        "'x' > 1",
        "'x' < 1",
        "empty_list < empty_list",
        "list > 0",
        "null < null",
        "null > null",
        "'10' > '9'",
        "true > true",
        "1 < 'abc'",
    ]);
}

#[test]
fn properties_are_found_in_any_case_or_are_null() {
    check(&[
        ("GITHUB.Event_Name", json!("pull_request")),
        ("github['REF']", json!("refs/heads/main")),
        ("github.event.mixed-case_KEY", json!("found")),
        ("github.no.such.thing", json!(null)),
        ("nothing.at.all", json!(null)),
        ("github.ref.length", json!(null)),
        ("matrix.true", json!("yes")),
        ("matrix.null", json!("nil")),
        ("matrix.Infinity", json!("inf")),
        ("matrix[0]", json!("zero")),
        ("matrix[true]", json!("yes")),
        ("matrix[null]", json!(null)),
        ("matrix[list]", json!(null)),
        ("(github).ref", json!("refs/heads/main")),
        ("('x').y", json!(null)),
        ("fromJSON('{\"a\":{\"b\":1}}').a.b", json!(1)),
        ("(nothing || github).ref", json!("refs/heads/main")),
    ]);
}

#[test]
fn array_positions() {
    check(&[
        ("list[0]", json!("a")),
        ("list['1']", json!("B")),
        ("list[1.9]", json!("B")),
        ("list[true]", json!("B")),
        ("list[null]", json!("a")),
        ("list['']", json!("a")),
        ("list['0x2']", json!(3)),
        ("list[-1]", json!(null)),
        ("list[-0.5]", json!(null)),
        ("list[5]", json!(null)),
        ("list[1e10]", json!(null)),
        ("list[NaN]", json!(null)),
        ("list[Infinity]", json!(null)),
        ("list['x']", json!(null)),
        ("list[list]", json!(null)),
        ("list.name", json!(null)),
        ("grid[1][0]", json!(3)),
        ("nothing[fromJSON('broken')]", json!(null)),
    ]);
}

#[test]
fn filters_map_and_drop() {
    check(&[
        ("github.event.labels.*.name", json!(["bug", "Docs"])),
        ("github.event.labels[*].id", json!([1, 3])),
        ("github.event.labels.*.nope", json!([])),
        ("needs.*.result", json!(["success", "failure"])),
        ("needs.*.outputs.sha", json!(["abc", "def"])),
        ("needs.*.outputs.list", json!([[1, 2], [3]])),
        ("needs.*.outputs.list[0]", json!([1, 3])),
        ("needs.*.outputs.list[1]", json!([2])),
        ("needs.*.outputs.list.*", json!([1, 2, 3])),
        (
            "needs.*.*",
            json!(["success", {"sha": "abc", "list": [1, 2]}, "failure", {"sha": "def", "list": [3]}]),
        ),
        ("grid.*[0]", json!([1, 3])),
        ("grid.*.*", json!([1, 2, 3, 4])),
        ("grid[*][-1]", json!([])),
        ("(grid.*)[0]", json!([1, 3])),
        ("(false || grid.*)[1]", json!([2, 4])),
        ("case(true, grid.*, 1)[1]", json!([2, 4])),
        ("list.*", json!(["a", "B", 3, true, null])),
        ("empty.*", json!([])),
        ("nothing.*", json!([])),
        ("github.ref.*", json!([])),
        ("(1).*.x", json!([])),
        ("needs[*]['RESULT']", json!(["success", "failure"])),
    ]);
}

#[test]
fn text_functions() {
    check_true(&[
        "contains('Hello World', 'WORLD')",
        "contains('abc', '')",
        "contains(null, '')",
        "contains(123, 2)",
        "contains(list, 'A')",
        "contains(list, 'b')",
        "contains(list, '3')",
        "contains(list, null)",
        "contains(list, 1)",
        "contains(github.event.labels.*.name, 'docs')",
        "contains('true story', true)",
        "contains('Straße', 'ß')",
        "contains('ÄÖÜ', 'öü')",
        "contains(fromJSON('[\"x\",\"y\"]'), 'Y')",
        "startsWith('Hello', 'hE')",
        "startsWith('abc', null)",
        "startsWith(123, 12)",
        "startsWith('ΣΑΣ', 'ς')",
        "endsWith('Hello', 'LLO')",
        "endsWith('abc', '')",
        "endsWith('12.50', 50)",
        "STARTSWITH('a', 'A')",
    ]);
    check_false(&[
        "contains('abc', 'd')",
        "contains('Array', empty_list)",
        "contains(empty_list, null)",
        "contains(empty, '')",
        "contains(github, 'ref')",
        "contains('[object Object]', empty)",
        "contains(list, 'c')",
        "contains(grid, 'Array')",
        "startsWith('abc', 'bc')",
        "startsWith(list, 'A')",
        "startsWith('Array', list)",
        "startsWith('', 'a')",
        "endsWith('abc', 'ab')",
        "endsWith('c', 'abc')",
        "endsWith('asdf_ı', 'I')",
        "endsWith('x_i', 'İ')",
        "endsWith(empty, 'Object')",
    ]);
}

#[test]
fn format_and_join() {
    check(&[
        ("format('{0}-{1}-{0}', 'a', 'b')", json!("a-b-a")),
        ("format('{{{0}}} }}{{', 1)", json!("{1} }{")),
        ("format('none', 1, 2)", json!("none")),
        ("format(null, 1)", json!("")),
        ("format(12)", json!("12")),
        ("format('{0}{1}{2}{3}', null, true, -0, list)", json!("true0Array")),
        ("format('{0} {1}', github, 1.50)", json!("Object 1.5")),
        ("format('{00}', 'x')", json!("x")),
        ("format('x', fromJSON('broken'))", json!("x")),
        ("format('{0}', 1e21)", json!("1E+21")),
        ("format('{0}', 0.00001)", json!("1E-05")),
        ("format('{0}', 123456789012345680)", json!("1.23456789012346E+17")),
        ("format('{0}', 0.1234567890123456789)", json!("0.123456789012346")),
        ("format('{0}|{1}|{2}', NaN, Infinity, -Infinity)", json!("NaN|Infinity|-Infinity")),
        ("join(list)", json!("a,B,3,true,")),
        ("join(list, '')", json!("aB3true")),
        ("join(list, 0)", json!("a0B030true0")),
        ("join(list, null)", json!("aB3true")),
        ("join(list, list)", json!("a,B,3,true,")),
        ("join(grid, ' ')", json!("Array Array x")),
        ("join('text', '-')", json!("text")),
        ("join(5.50)", json!("5.5")),
        ("join(null)", json!("")),
        ("join(github)", json!("")),
        ("join(empty_list, fromJSON('broken'))", json!("")),
        ("join(needs.*.result, ', ')", json!("success, failure")),
    ]);
}

#[test]
fn json_functions() {
    check(&[
        ("toJSON(null)", json!("null")),
        ("toJSON('a\"b\\c')", json!("\"a\\\"b\\\\c\"")),
        ("toJSON(-0)", json!("0")),
        ("toJSON(1e21)", json!("1E+21")),
        ("toJSON(1.5)", json!("1.5")),
        ("toJSON(empty_list)", json!("[]")),
        ("toJSON(empty)", json!("{}")),
        ("toJSON(fromJSON('[[],{}]'))", json!("[\n  [],\n  {}\n]")),
        (
            "toJSON(fromJSON('{\"b\":[1,{\"c\":null}],\"a\":true}'))",
            json!("{\n  \"b\": [\n    1,\n    {\n      \"c\": null\n    }\n  ],\n  \"a\": true\n}"),
        ),
        ("tojson(needs.*.result)", json!("[\n  \"success\",\n  \"failure\"\n]")),
        ("fromJSON('null')", json!(null)),
        ("fromJSON(' true ')", json!(true)),
        ("fromJSON(5)", json!(5)),
        ("fromJSON(true)", json!(true)),
        ("fromJSON('12345678901234567890')", json!(12_345_678_901_234_567_000.0_f64)),
        ("fromJSON('{\"A\":1,\"a\":2}').a", json!(2)),
        ("fromJSON('{\"A\":1,\"a\":2}')", json!({"A": 2})),
        ("fromJSON('\"\\u0041\"')", json!("A")),
        ("fromJSON(toJSON(github)).event.number", json!(7)),
    ]);
}

#[test]
fn case_takes_the_first_true_predicate() {
    check(&[
        ("case(true, 1, 2)", json!(1)),
        ("case(false, 1, 2)", json!(2)),
        ("case(1 == 2, 'a', matrix.os == 'UBUNTU', 'b', 'c')", json!("b")),
        ("CASE(false, fromJSON('broken'), null)", json!(null)),
        ("case(true, 'x', fromJSON('broken'), 'y', 'z')", json!("x")),
        ("case(true, list, 0)[0]", json!("a")),
    ]);
}

#[test]
fn arrays_and_objects_compare_by_identity() {
    let value = eval("list");
    assert!(value.loosely_equals(&value.clone()));
    assert!(!value.loosely_equals(&eval("list")), "two scopes, two lists");
    assert_eq!(value, eval("list"), "but the same structure");
}
