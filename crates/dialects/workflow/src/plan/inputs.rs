//! Inputs of a run: what was given against what is declared.

use crate::source::{Report, clip, nearest};
use crate::syntax::{Input, InputKind, Shape};
use fleetfoot_expr::Value;
use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

/// The `inputs` context, typed. Findings go to the report.
pub(super) fn typed(
    report: &mut Report<'_>,
    declared: &[Input],
    given: &IndexMap<String, Json>,
) -> Map<String, Json> {
    for name in given.keys().filter(|name| !declared.iter().any(|i| i.name.eq_ignore_ascii_case(name))) {
        if report.is_full() {
            break;
        }
        let known = declared.iter().map(|i| i.name.as_str());
        let hint = match (nearest(name, known), declared.is_empty()) {
            (Some(word), _) => format!("Did you mean '{word}'?"),
            (None, true) => "The document declares no inputs".to_owned(),
            (None, false) => {
                let names: Vec<&str> = declared.iter().map(|i| i.name.as_str()).collect();
                format!("Its inputs are {}", names.join(", "))
            }
        };
        let message = format!("Unexpected input '{}'", clip(name, 100));
        report.error(0, "unknown-input", message).hint = Some(hint);
    }
    let mut typed = Map::new();
    for input in declared {
        let given =
            given.iter().find(|(name, _)| name.eq_ignore_ascii_case(&input.name)).map(|(_, value)| value);
        if let Some(value) = one(report, input, given) {
            typed.insert(input.name.clone(), value);
        }
    }
    typed
}

fn one(report: &mut Report<'_>, input: &Input, given: Option<&Json>) -> Option<Json> {
    let default = match input.default.as_ref().map(|d| &d.shape) {
        Some(Shape::Literal(value)) => Some(value.to_json()),
        _ => None,
    };
    let empty = |value: &&Json| value.is_null() || value.as_str().is_some_and(str::is_empty);
    // The form of a browser sends an empty text for what was left out.
    if input.required && default.is_none() && given.is_none_or(|value| empty(&value)) {
        report.error(input.at, "missing-input", format!("Required input '{}' not provided", input.name));
        return None;
    }
    let value = match (given, default) {
        (Some(value), _) => value.clone(),
        (None, Some(value)) => value,
        (None, None) => match input.kind {
            InputKind::Boolean => Json::Bool(false),
            InputKind::Number => Json::from(0),
            _ => Json::from(""),
        },
    };
    match convert(input, &value) {
        Ok(value) => Some(value),
        Err(expected) => {
            let shown = Value::from_json(&value).to_display_string();
            let message = format!(
                "Provided value '{}' for input '{}' is not {expected}",
                clip(&shown, 100),
                input.name
            );
            report.error(input.at, "input-type", message);
            None
        }
    }
}

fn convert(input: &Input, value: &Json) -> Result<Json, String> {
    let text = match value {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        Json::Bool(_) | Json::Number(_) => Value::from_json(value).to_display_string(),
        _ => return Err("a string, a number or a boolean".to_owned()),
    };
    match input.kind {
        InputKind::Boolean => match text.as_str() {
            "true" => Ok(Json::Bool(true)),
            "false" | "" => Ok(Json::Bool(false)),
            _ => Err("a boolean (true or false)".to_owned()),
        },
        InputKind::Number => {
            let number = Value::from(text).to_number();
            if number.is_finite() { Ok(Value::Number(number).to_json()) } else { Err("a number".to_owned()) }
        }
        // Left out and without a default, a choice is empty.
        InputKind::Choice if !text.is_empty() && !input.options.contains(&text) => {
            Err(format!("one of {}", input.options.join(", ")))
        }
        _ => Ok(Json::String(text)),
    }
}
