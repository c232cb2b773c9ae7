//! Properties over random text and random expressions: nothing panics, and
//! what is printed reads back as the same.

use fleetfoot_expr::{Expr, MapScope, Object, Status, Template, Value, condition};
use proptest::prelude::*;

fn scope() -> MapScope {
    let inner: Object =
        [("b", Value::from("text")), ("c", Value::from(vec![1.0.into(), Value::Null]))].into_iter().collect();
    let outer: Object = [("a", Value::from(inner)), ("n", Value::from(-0.0))].into_iter().collect();
    MapScope::new()
        .with("x", outer.clone())
        .with("y", vec![Value::from(outer), true.into(), "s".into()])
        .with_status(Status::Success)
}

/// Tokens and near-tokens, so that random text gets past the lexer often.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "(",
            ")",
            "[",
            "]",
            ",",
            ".",
            "*",
            "!",
            "==",
            "!=",
            "<",
            "<=",
            ">",
            ">=",
            "&&",
            "||",
            "x",
            "y",
            "a",
            "b",
            "'s'",
            "''",
            "'{0}'",
            "1",
            "-0",
            "0x1f",
            "1e400",
            "NaN",
            "null",
            "true",
            "format(",
            "join(",
            "toJSON(",
            "fromJSON(",
            "case(",
            "contains(",
            "success()",
            " ",
            "${{",
            "}}",
            "'",
            "ß",
            "\u{2003}",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// The text of a well-formed expression, with some needless parentheses.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<f64>().prop_map(|n| match n {
            n if n.is_nan() => "NaN".to_owned(),
            n if n.is_infinite() => if n > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
            n => format!("{n:?}"),
        }),
        any::<i16>().prop_map(|n| n.to_string()),
        "[^{}]{0,6}".prop_map(|text| format!("'{}'", text.replace('\'', "''"))),
        prop::sample::select(vec!["x", "y", "X.a", "y.*", "x.a.c", "x.*.c", "success()"])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let operator = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">=", "&&", "||"]);
        let key = prop_oneof![
            Just(".*".to_owned()),
            Just("[*]".to_owned()),
            "[a-z_][a-z0-9_-]{0,3}".prop_map(|n| format!(".{n}"))
        ];
        prop_oneof![
            (inner.clone(), operator.clone(), inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), key).prop_map(|(a, key)| format!("({a}){key}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("join({a}, {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("contains({a}, {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("format('{{1}}-{{0}}', {a}, {b})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("case({a}, {b}, {c})")),
            inner.clone().prop_map(|a| format!("fromJSON(toJSON({a}))")),
            inner.prop_map(|a| format!("toJSON({a})")),
        ]
    })
}

/// Equal as far as one can see: NaN equals itself here.
fn same(a: &Value, b: &Value) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_text_never_panics(src in any::<String>()) {
        let _ = scope().evaluate(&src);
        let _ = Template::parse(&src).map(|template| template.evaluate(&scope()));
        let _ = condition(&src);
    }

    #[test]
    fn token_soup_never_panics(src in soup()) {
        let found = Expr::parse(&src).map(|expr| expr.evaluate(&scope()));
        if let Err(error) = found {
            prop_assert!(error.position <= src.len());
        }
        if let Err(error) = Template::parse(&src).and_then(|template| template.evaluate(&scope())) {
            prop_assert!(error.position <= src.len());
        }
        let _ = condition(&src).map(|expr| expr.evaluate(&scope()));
    }

    #[test]
    fn printing_and_parsing_round_trips(src in expression()) {
        let Ok(expr) = Expr::parse(&src) else {
            // Only depth may stand in the way.
            return Ok(());
        };
        let printed = expr.to_string();
        let again = Expr::parse(&printed).map_err(|e| TestCaseError::fail(format!("{src} => {printed}: {e}")))?;
        prop_assert_eq!(&again.to_string(), &printed);
        let (first, second) = (expr.evaluate(&scope()), again.evaluate(&scope()));
        match (first, second) {
            (Ok(a), Ok(b)) => prop_assert!(same(&a, &b), "{src} => {printed}: {a:?} {b:?}"),
            (Err(a), Err(b)) => prop_assert_eq!(a.kind, b.kind),
            (a, b) => prop_assert!(false, "{src} => {printed}: {a:?} {b:?}"),
        }
    }

    #[test]
    fn a_number_as_text_reads_back_to_15_digits(number in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
        let text = Value::from(number).to_display_string();
        let back = Value::from(text.as_str()).to_number();
        prop_assert_eq!(&Value::from(back).to_display_string(), &text);
        // The largest numbers may round up out of range.
        prop_assert!(back.is_infinite() || (back - number).abs() <= number.abs() * 1e-14 + f64::MIN_POSITIVE, "{text}");
    }

    #[test]
    fn json_round_trips(text in any::<String>(), number in -1e15_f64..1e15) {
        let object: Object = [(text.as_str(), Value::from(text.as_str())), ("n", number.trunc().into())].into_iter().collect();
        let scope = MapScope::new().with("o", object.clone());
        let back = scope.evaluate("fromJSON(toJSON(o))");
        prop_assert_eq!(back.map(|value| value.to_json()), Ok(Value::from(object).to_json()));
    }

    #[test]
    fn order_is_antisymmetric_and_agrees_with_equality(a in any::<String>(), b in any::<String>()) {
        let scope = MapScope::new().with("a", a).with("b", b);
        let truth = |src: &str| scope.evaluate(src).map(|value| value.is_truthy());
        prop_assert_eq!(truth("a < b"), truth("b > a"));
        prop_assert_eq!(truth("a <= b && a >= b"), truth("a == b"));
        prop_assert_eq!(truth("a < b || a > b"), truth("a != b"));
    }
}
