//! What is refused, in which phase, with which words and at which place.

use fleetfoot_expr::ErrorKind::{self, Evaluation, Lexing, Parsing};
use fleetfoot_expr::{Expr, ExprError, MAX_LENGTH, MapScope, Object, STATUS_FUNCTIONS, Scope, Status, Value};

fn scope() -> MapScope {
    let object: Object = [("a", Value::from(1.0))].into_iter().collect();
    MapScope::new().with("foo", object).with("bar", "text")
}

fn fail(expr: &str) -> ExprError {
    match scope().evaluate(expr) {
        Ok(value) => panic!("{expr} gave {value:?}"),
        Err(error) => error,
    }
}

#[track_caller]
fn check(cases: &[(&str, ErrorKind, &str, usize)]) {
    for (expr, kind, message, position) in cases {
        let error = fail(expr);
        assert!(error.message.starts_with(message), "{expr}: {error}");
        assert_eq!((error.kind, error.position), (*kind, *position), "{expr}: {error}");
    }
}

#[test]
fn tokens() {
    check(&[
        ("foo.b@r", Lexing, "Unexpected symbol: 'b@r'. Located at position 5 within expression: foo.b@r", 4),
        ("1 == 'open", Lexing, "Unexpected symbol: ''open'. Located at position 6", 5),
        ("'it''s", Lexing, "Unexpected symbol: ''it''s'.", 0),
        ("foo = bar", Lexing, "Unexpected symbol: '='. Located at position 5", 4),
        ("foo =bar", Lexing, "Unexpected symbol: '=bar'", 4),
        ("foo & bar", Lexing, "Unexpected symbol: '&'", 4),
        ("foo |bar", Lexing, "Unexpected symbol: '|bar'", 4),
        ("1 + 2", Lexing, "Unexpected symbol: '+'", 2),
        ("1-2", Lexing, "Unexpected symbol: '1-2'", 0),
        ("1.2.3", Lexing, "Unexpected symbol: '1.2.3'", 0),
        ("0xZZ", Lexing, "Unexpected symbol: '0xZZ'", 0),
        ("0X1F", Lexing, "Unexpected symbol: '0X1F'", 0),
        ("-NaN", Lexing, "Unexpected symbol: '-NaN'", 0),
        ("\"text\"", Lexing, "Unexpected symbol: '\"text\"'", 0),
        ("'ü😀' == $x", Lexing, "Unexpected symbol: '$x'. Located at position 10", 12),
        ("foo*", Lexing, "Unexpected symbol: 'foo*'", 0),
        ("'x'.y", Lexing, "Unexpected symbol: '.y'", 3),
        ("föö", Lexing, "Unexpected symbol: 'föö'", 0),
        ("foo == .", Lexing, "Unexpected symbol: '.'", 7),
        // The whole text is split before any of it is parsed.
        ("foo foo #", Lexing, "Unexpected symbol: '#'", 8),
    ]);
}

#[test]
fn shape() {
    check(&[
        ("foo.1", Parsing, "Unexpected symbol: '1'. Located at position 5 within expression: foo.1", 4),
        ("foo[1].2", Parsing, "Unexpected symbol: '2'", 7),
        ("foo bar", Parsing, "Unexpected symbol: 'bar'", 4),
        ("foo ==", Parsing, "Unexpected end of expression: '=='. Located at position 5", 4),
        ("foo.", Parsing, "Unexpected end of expression: '.'", 3),
        ("(foo", Parsing, "Unexpected end of expression: 'foo'", 1),
        ("foo[0", Parsing, "Unexpected end of expression: '0'", 4),
        ("foo)", Parsing, "Unexpected symbol: ')'", 3),
        ("()", Parsing, "Unexpected symbol: ')'", 1),
        ("foo[]", Parsing, "Unexpected symbol: ']'", 4),
        ("foo[1, 2]", Parsing, "Unexpected symbol: ','", 5),
        ("(1, 2)", Parsing, "Unexpected symbol: ','", 2),
        ("1 ! 2", Parsing, "Unexpected symbol: '!'", 2),
        ("== 1", Parsing, "Unexpected symbol: '=='", 0),
        ("*", Parsing, "Unexpected symbol: '*'", 0),
        ("foo[*", Parsing, "Unexpected end of expression: '*'", 4),
        ("foo[* == 1]", Parsing, "Unexpected symbol: '=='", 6),
        ("'abc'[0]", Parsing, "Unexpected symbol: '['", 5),
        ("1[0]", Parsing, "Unexpected symbol: '['", 1),
        ("true()", Parsing, "Unexpected symbol: '('", 4),
        ("foo.format('x')", Parsing, "Unexpected symbol: '('", 10),
        ("join(foo,)", Parsing, "Unexpected symbol: ')'", 9),
        ("join(,foo)", Parsing, "Unexpected symbol: ','", 5),
        ("join(foo", Parsing, "Unexpected end of expression: 'foo'", 5),
        ("join(", Parsing, "Unexpected end of expression: '('", 4),
        ("join(foo bar)", Parsing, "Unexpected symbol: 'bar'", 9),
        ("foo && ", Parsing, "Unexpected end of expression: '&&'", 4),
        ("!", Parsing, "Unexpected end of expression: '!'", 0),
    ]);
}

#[test]
fn names() {
    check(&[
        ("baz", Parsing, "Unrecognized named-value: 'baz'. Located at position 1 within expression: baz", 0),
        ("true || Baz.x", Parsing, "Unrecognized named-value: 'Baz'. Located at position 9", 8),
        ("True", Parsing, "Unrecognized named-value: 'True'", 0),
        ("NULL", Parsing, "Unrecognized named-value: 'NULL'", 0),
        ("foo || fn(1)", Parsing, "Unrecognized function: 'fn'. Located at position 8", 7),
        ("success()", Parsing, "Unrecognized function: 'success'", 0),
        ("hashFiles('x')", Parsing, "Unrecognized function: 'hashFiles'", 0),
        ("baz ==", Parsing, "Unrecognized named-value: 'baz'", 0),
        ("fn(baz)", Parsing, "Unrecognized function: 'fn'", 0),
    ]);
}

#[test]
fn arity() {
    check(&[
        ("join()", Parsing, "Too few parameters supplied: 'join'. Located at position 1", 0),
        ("1 == Contains('a')", Parsing, "Too few parameters supplied: 'Contains'", 5),
        ("join(1, 2, 3)", Parsing, "Too many parameters supplied: 'join'", 0),
        ("toJSON(1, 2)", Parsing, "Too many parameters supplied: 'toJSON'", 0),
        ("format()", Parsing, "Too few parameters supplied", 0),
        ("case(true, 1)", Parsing, "Too few parameters supplied: 'case'", 0),
        (
            "case(true, 1, false, 2)",
            Parsing,
            "Even number of parameters supplied, requires an odd number of parameters: 'case'. Located at position 1 within",
            0,
        ),
    ]);
    let many = |n: usize| format!("format('x'{})", ", 1".repeat(n - 1));
    assert!(Expr::parse(&many(255)).is_ok());
    assert!(Expr::parse(&many(256)).is_err());
}

#[test]
fn format_strings() {
    for bad in ["{0", "{0}}", "0}", "{{0}", "}{0}", "{0}{", "{}", "{x}", "{0:yyyy}", "{256}"] {
        let error = fail(&format!("1 == format('{bad}', 'x')"));
        assert_eq!((error.kind, error.position), (Parsing, 5), "{bad}: {error}");
        assert!(error.message.starts_with("Invalid format string: 'format'"), "{error}");
        let error = fail(&format!("format(format('{{0}}', '{bad}'), 'x')"));
        assert_eq!(error.kind, Evaluation, "{bad}: {error}");
    }
    check(&[
        ("format('{0}')", Parsing, "Format string references {0} but only 0 argument(s) provided", 0),
        ("format('{0} {2}', 1)", Parsing, "Format string references {2} but only 1 argument(s) provided", 0),
        (
            "format(join(fromJSON('[\"{1}\"]')), 1)",
            Evaluation,
            "The following format string references more arguments than were supplied: {1}",
            0,
        ),
        ("format(join('{'), 1)", Evaluation, "The following format string is invalid: {", 0),
        (
            "format(join('{0:D}'), 1)",
            Evaluation,
            "The format specifiers 'D' are not valid for objects of type 'Number'",
            0,
        ),
    ]);
}

#[test]
fn evaluation() {
    check(&[
        ("fromJSON('')", Evaluation, "Error parsing JSON when evaluating fromJson: the input is empty", 0),
        (
            "foo.a == fromJSON('{a}')",
            Evaluation,
            "Error parsing JSON when evaluating fromJson: expected a property name",
            9,
        ),
        ("fromJSON(foo)", Evaluation, "Error parsing JSON", 0),
        ("case('true', 1, 2)", Evaluation, "case predicate must evaluate to a boolean value", 0),
        ("case(null, 1, 2)", Evaluation, "case predicate must evaluate to a boolean value", 0),
        ("case(false, 1, 0, 2, 3)", Evaluation, "case predicate must evaluate to a boolean value", 0),
    ]);
}

#[test]
fn length() {
    let fits = format!("'{}'", "x".repeat(MAX_LENGTH - 2));
    assert!(Expr::parse(&fits).is_ok());
    let error = fail(&format!("{fits} "));
    assert_eq!(error.kind, Lexing);
    assert_eq!(error.message, "Exceeded max expression length 21000");
    // Length is counted in UTF-16 units, not bytes.
    assert!(Expr::parse(&format!("'{}'", "ü".repeat(MAX_LENGTH - 2))).is_ok());
    assert!(Expr::parse(&format!("'{}'", "😀".repeat(MAX_LENGTH / 2))).is_err());
}

#[test]
fn depth() {
    let shapes: &[(&str, &dyn Fn(usize) -> String)] = &[
        ("not", &|n| format!("{}true", "!".repeat(n - 1))),
        ("group", &|n| format!("{}1{}", "(".repeat(n - 1), ")".repeat(n - 1))),
        ("call", &|n| format!("{}1{}", "toJSON(".repeat(n - 1), ")".repeat(n - 1))),
        ("property", &|n| format!("foo{}", ".a".repeat(n - 1))),
        ("index", &|n| format!("{}0{}", "foo[".repeat(n - 1), "]".repeat(n - 1))),
        ("compare", &|n| format!("1{}", " == 1".repeat(n - 1))),
    ];
    for (name, shape) in shapes {
        assert!(Expr::parse(&shape(50)).is_ok(), "{name}");
        let error = Expr::parse(&shape(51)).expect_err(name);
        assert_eq!(error.kind, Parsing, "{name}");
        assert!(error.message.starts_with("Exceeded max expression depth 50"), "{name}: {error}");
        assert!(Expr::parse(&shape(2000)).is_err(), "{name}");
    }
    // Chains of && and || are one node, however long.
    let chain = format!("true{}", " && true || false".repeat(1000));
    assert!(Expr::parse(&chain).is_ok());
}

#[test]
fn memory() {
    let mut expr = "'0123456789'".to_owned();
    for _ in 0..30 {
        expr = format!("format('{{0}}{{0}}', {expr})");
    }
    let error = fail(&expr);
    assert_eq!(error.kind, Evaluation);
    assert!(error.message.starts_with("The maximum allowed memory size was exceeded"), "{error}");

    let big = MapScope::new()
        .with("text", "x".repeat(3 << 20))
        .with("list", "a".repeat(9).chars().map(String::from).collect::<Value>());
    assert!(big.evaluate("format('{0}', text)").is_err(), "the argument and the result are both alive");
    assert!(
        big.evaluate("text == 'x' || text == 'y' || !text").is_ok(),
        "each comparison frees its operands"
    );
    assert!(big.evaluate("join(list, text)").is_err());
    assert!(big.evaluate("toJSON(text)").is_err());
    assert!(big.evaluate("join(list, '-')").is_ok());
}

#[test]
fn check_reports_the_first_offence() {
    let expr = Expr::parse("github.x == hashFiles() && secrets.y || nope() || success(1)").expect("parses");
    let hash_files = ("hashFiles", 1, 255);
    let error = expr.check(&["github"], &[]).expect_err("hashFiles is unknown");
    assert!(
        error.message.starts_with("Unrecognized function: 'hashFiles'. Located at position 13"),
        "{error}"
    );
    let error = expr.check(&["GitHub"], &[hash_files]).expect_err("too few");
    assert!(error.message.starts_with("Too few parameters supplied: 'hashFiles'"), "{error}");
    let error = expr.check(&["github"], &[("hashfiles", 0, 1)]).expect_err("secrets");
    assert_eq!((error.kind, error.position), (Parsing, 27));
    assert_eq!(expr.contexts().collect::<Vec<_>>(), ["github", "secrets"]);
    assert_eq!(expr.functions().collect::<Vec<_>>(), ["hashfiles", "nope", "success"]);
    assert!(expr.uses_status_function());
    let expr = Expr::parse("always() || cancelled(1)").expect("parses");
    let error = expr.check(&[], STATUS_FUNCTIONS).expect_err("too many");
    assert!(error.message.starts_with("Too many parameters supplied: 'cancelled'"), "{error}");
}

#[test]
fn host_functions() {
    let scope = scope().with_status(Status::Failure).with_function("hashFiles", |args| match args {
        [Value::String(pattern)] if &**pattern == "boom" => Err("no such workspace".to_owned()),
        args => Ok(Value::from(args.len().to_string())),
    });
    assert_eq!(scope.evaluate("hashfiles('a', 'b')"), Ok(Value::from("2")));
    assert_eq!(scope.evaluate("failure() && !success() && !cancelled() && Always()"), Ok(Value::Bool(true)));
    let error = scope.evaluate("1 == hashFiles('boom')").expect_err("fails");
    assert_eq!((error.kind, error.message.as_str(), error.position), (Evaluation, "no such workspace", 5));
    let error = scope.evaluate("always(1)").expect_err("too many");
    assert_eq!(error.kind, Parsing);
}

/// A scope that answers only what the trait demands.
struct Bare;

impl Scope for Bare {
    fn context(&self, name: &str) -> Option<Value> {
        (name == "known").then_some(Value::Null)
    }
}

#[test]
fn a_bare_scope_reports_unknown_names() {
    let evaluate = |src: &str| Expr::parse(src).expect("parses").evaluate(&Bare);
    assert_eq!(evaluate("KNOWN.x"), Ok(Value::Null));
    let error = evaluate("true || other").expect_err("also in a branch not taken");
    assert_eq!((error.kind, error.position), (Parsing, 8));
    let error = evaluate("other2()").expect_err("no such function");
    assert_eq!(error.kind, Parsing);
    assert!(error.message.starts_with("Unrecognized function: 'other2'"), "{error}");
}
