//! Strings with `${{ }}`, and conditions.

use fleetfoot_expr::{
    ErrorKind, MapScope, Object, Status, Template, Value, condition, condition_is_always_true_trap,
};

fn scope(status: Status) -> MapScope {
    let env: Object = [("A", Value::from("one")), ("n", 2.0.into()), ("l", vec![Value::from(1.0)].into())]
        .into_iter()
        .collect();
    MapScope::new().with("env", env).with_status(status)
}

fn eval(src: &str) -> Value {
    Template::parse(src)
        .and_then(|template| template.evaluate(&scope(Status::Success)))
        .unwrap_or_else(|e| panic!("{src}: {e}"))
}

#[test]
fn a_lone_expression_keeps_its_type_and_parts_become_text() {
    for (src, expected) in [
        ("plain", Value::from("plain")),
        ("", Value::from("")),
        ("$ {{ env.A }} }}", Value::from("$ {{ env.A }} }}")),
        ("${{ env.n }}", Value::from(2.0)),
        ("${{env.l}}", Value::from(vec![Value::from(1.0)])),
        ("${{ null }}", Value::Null),
        (" ${{ env.n }}", Value::from(" 2")),
        ("${{ env.A }}${{ env.n }}", Value::from("one2")),
        ("{0} {${{ env.A }}} it's", Value::from("{0} {one} it's")),
        ("${{ env.l }}/${{ env }}/${{ env.none }}", Value::from("Array/Object/")),
        ("${{ '}}' }}", Value::from("}}")),
        ("${{ 'a''}}''' }}", Value::from("a'}}'")),
        ("${{ '${{' }} x", Value::from("${{ x")),
        ("a\n${{ env.A\n }}\n", Value::from("a\none\n")),
        ("ü${{ env.A }}ü", Value::from("üoneü")),
    ] {
        assert_eq!(eval(src), expected, "{src}");
    }
    assert_eq!(
        Template::parse("${{ 1 }}").and_then(|t| t.evaluate_string(&scope(Status::Success))),
        Ok("1".to_owned())
    );
}

#[test]
fn parts_are_listed_with_their_offsets() {
    let src = "ü ${{  env.A }} and ${{ github.x || env.n }}";
    let template = Template::parse(src).expect("parses");
    let parts: Vec<_> = template.expressions().map(|(offset, expr)| (offset, expr.to_string())).collect();
    assert_eq!(parts, [(8, "env.A".to_owned()), (25, "github.x || env.n".to_owned())]);
    assert!(src[25..].starts_with("github.x"));
    assert!(!template.is_literal() && !template.is_single() && template.has_text());
    assert!(Template::parse("x").expect("parses").is_literal());
    assert!(Template::parse("${{ insert }}").expect("parses").is_insert_directive());
    assert!(!Template::parse("${{ insert.x }}").expect("parses").is_insert_directive());

    let error = template.check(&["env"], &[]).expect_err("github is not allowed");
    assert_eq!(error.position, 25);
    assert!(error.message.ends_with("Located at position 1 within expression: github.x || env.n"), "{error}");
    let error = template.evaluate(&scope(Status::Success)).expect_err("github is unknown");
    assert_eq!((error.kind, error.position), (ErrorKind::Parsing, 25));
}

#[test]
fn errors_point_into_the_string() {
    for (src, message, position) in [
        ("a ${{ env.A", "The expression is not closed.", 2),
        ("a ${{ 'x }}", "The expression is not closed.", 2),
        ("a ${{ }}", "An expression was expected", 2),
        ("${{}}", "An expression was expected", 0),
        ("${{}", "The expression is not closed.", 0),
        ("a ${{ 1 +}}", "Unexpected symbol: '+'. Located at position 3 within expression: 1 +", 8),
        ("${{ 1 }} ${{ env. }}", "Unexpected end of expression: '.'", 16),
    ] {
        let error = Template::parse(src).expect_err(src);
        assert!(error.message.starts_with(message), "{src}: {error}");
        assert_eq!(error.position, position, "{src}");
    }
}

#[test]
fn the_composed_expression_has_the_limits_of_any_other() {
    let text = |n: usize| format!("{}${{{{ env.A }}}}", "x".repeat(n));
    // format('…{0}', env.A) is 20 characters beside the text.
    assert!(Template::parse(&text(21_000 - 20)).is_ok());
    let error = Template::parse(&text(21_000 - 19)).expect_err("too long");
    assert_eq!(error.message, "Exceeded max expression length 21000");
    assert!(Template::parse(&"x".repeat(100_000)).is_ok(), "plain text has no limit");
    assert!(Template::parse(&"${{ 1 }}".repeat(254)).is_ok());
    assert!(Template::parse(&"${{ 1 }}".repeat(255)).is_err());
}

#[test]
fn conditions_imply_success() {
    for (src, printed) in [
        ("", "success()"),
        ("  ", "success()"),
        ("env.A", "success() && env.A"),
        ("${{ env.A }}", "success() && env.A"),
        ("env.A || env.n", "success() && (env.A || env.n)"),
        ("env.A && env.n", "success() && env.A && env.n"),
        ("true", "success() && true"),
        ("false", "success() && false"),
        ("always()", "always()"),
        ("${{ !Cancelled() && env.A }}", "!Cancelled() && env.A"),
        ("contains(env.A, failure())", "contains(env.A, failure())"),
        ("'always()'", "success() && always()"),
        ("${{ env.A }} == 'x'", "success() && format('{0} == ''x''', env.A)"),
        ("${{ failure() }} ", "format('{0} ', failure())"),
        ("${{ 'always()' }}", "always()"),
        ("${{ '' }}", "success()"),
    ] {
        // A quoted text without braces is a text, not a condition.
        let expected = if src == "'always()'" { "success() && 'always()'" } else { printed };
        match condition(src) {
            Ok(expr) => assert_eq!(expr.to_string(), expected, "{src}"),
            Err(error) => panic!("{src}: {error}"),
        }
    }
    let run = |src: &str, status| {
        condition(src).and_then(|expr| expr.evaluate(&scope(status))).map(|value| value.is_truthy())
    };
    assert_eq!(run("env.A == 'one'", Status::Success), Ok(true));
    assert_eq!(run("env.A == 'one'", Status::Failure), Ok(false));
    assert_eq!(run("always() && env.A", Status::Cancelled), Ok(true));
    assert_eq!(run("${{ env.A }} == 'two'", Status::Success), Ok(true), "the trap");
}

#[test]
fn condition_errors_point_into_the_source() {
    let error = condition("env.A == ").expect_err("unfinished");
    assert_eq!(error.position, 6);
    let expr = condition("  ${{ env.A || nope.x }}").expect("parses");
    let error = expr.evaluate(&scope(Status::Success)).expect_err("nope");
    assert_eq!(error.position, 15);
    let expr = condition("env.A").expect("parses");
    let error = expr.check(&["env"], &[]).expect_err("no status functions here");
    assert!(error.message.starts_with("Unrecognized function: 'success'"), "{error}");
}

#[test]
fn text_around_an_expression_is_a_trap() {
    for src in ["${{ a }} == 'x'", "!${{ a }}", "${{ a }}\n", "${{ a }} && ${{ b }}"] {
        assert!(condition_is_always_true_trap(src), "{src}");
    }
    for src in ["a == 'x'", "${{ a == 'x' }}", "${{ a }}${{ b }}", "", "${{ broken"] {
        assert!(!condition_is_always_true_trap(src), "{src}");
    }
}
