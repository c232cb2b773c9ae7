//! `expr`: evaluates expressions of the workflow language, one from the
//! command line or many as JSON lines. The named contexts are exactly those
//! that were given.

use crate::error::{CliError, Exit, Result};
use crate::output::{self, Format};
use clap::Args;
use fleetfoot_expr::{ExprError, MapScope, Value};
use serde::Deserialize;
use serde_json::{Map, json};
use std::io::{BufRead, BufWriter, Write};

/// Evaluate an expression of the workflow language
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot expr \"1 == '1'\"\n  \
    fleetfoot expr \"startsWith(github.ref, 'refs/heads/')\" --context github='{\"ref\": \"refs/heads/main\"}'\n  \
    echo '{\"expr\": \"format(''{0}'', a)\", \"contexts\": {\"a\": 1}}' | fleetfoot expr --json-lines")]
pub(crate) struct ExprArgs {
    /// The expression, with or without ${{ }}
    #[arg(required_unless_present = "json_lines")]
    expression: Option<String>,
    /// A context: NAME=JSON (repeatable)
    #[arg(long, short, value_name = "NAME=JSON")]
    context: Vec<String>,
    /// Read {"expr", "contexts"} lines from standard input, and answer each with a line
    #[arg(long, conflicts_with_all = ["expression", "context"])]
    json_lines: bool,
}

pub(crate) fn run(args: &ExprArgs, format: Format) -> Result {
    if args.json_lines {
        return json_lines();
    }
    let mut contexts = Map::new();
    for text in &args.context {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| CliError::usage(format!("--context '{text}' is not NAME=JSON")))?;
        let value = serde_json::from_str(value).map_err(|e| {
            CliError::usage(format!("the value of --context {name} is not JSON"))
                .because(&e)
                .hint("quote it for the shell: --context github='{\"ref\": \"refs/heads/main\"}'")
        })?;
        contexts.insert(name.to_owned(), value);
    }
    let source = bare(args.expression.as_deref().unwrap_or_default());
    match (MapScope::from_json(&contexts).evaluate(source), format) {
        (Ok(value), Format::Json) => output::json(&answer(&Ok(value)))?,
        (Ok(value), Format::Text) => match &value {
            Value::Array(_) | Value::Object(_) => output::line(&format!("{:#}", value.to_json()))?,
            _ => output::line(&value.to_display_string())?,
        },
        (Err(error), Format::Json) => {
            output::json(&answer(&Err(error)))?;
            return Ok(Exit::Usage);
        }
        (Err(error), Format::Text) => return Err(CliError::usage(error.to_string())),
    }
    Ok(Exit::Ok)
}

/// People paste expressions with their braces.
fn bare(source: &str) -> &str {
    let trimmed = source.trim();
    match trimmed.strip_prefix("${{").and_then(|s| s.strip_suffix("}}")) {
        Some(inner) if !inner.contains("}}") => inner.trim(),
        _ => source,
    }
}

/// Keys beside these are ignored: whoever asks may mark the lines as they like.
#[derive(Deserialize)]
struct Question {
    expr: String,
    #[serde(default)]
    contexts: Option<Map<String, serde_json::Value>>,
}

impl Question {
    fn answer(&self) -> serde_json::Value {
        let scope = self.contexts.as_ref().map_or_else(MapScope::new, MapScope::from_json);
        answer(&scope.evaluate(&self.expr))
    }
}

fn json_lines() -> Result {
    let input = std::io::stdin().lock();
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in input.split(b'\n') {
        let line = line.map_err(|e| CliError::machine("standard input cannot be read").because(&e))?;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let reply = match serde_json::from_slice::<Question>(&line) {
            Ok(question) => question.answer(),
            Err(e) => {
                json!({ "error": { "kind": "parsing", "message": format!("this line is not a question: {e}") } })
            }
        };
        // Flushed line by line: whoever asks over a pipe waits for the answer.
        writeln!(out, "{reply}").and_then(|()| out.flush()).map_err(output::failed)?;
    }
    Ok(Exit::Ok)
}

fn answer(result: &Result<Value, ExprError>) -> serde_json::Value {
    match result {
        Ok(value) => json!({ "kind": value.kind_name(), "value": value.to_json() }),
        Err(error) => json!({ "error": { "kind": error.kind.as_str(), "message": error.to_string() } }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> String {
        serde_json::from_str::<Question>(line).unwrap().answer().to_string()
    }

    #[test]
    fn answers_have_kind_and_value() {
        let kind = ask(r#"{"expr": "1 + "}"#);
        assert!(kind.contains("\"kind\":\"lexing\"") || kind.contains("\"kind\":\"parsing\""), "{kind}");
        assert_eq!(ask(r#"{"expr": "1 == '1'"}"#), r#"{"kind":"Boolean","value":true}"#);
        assert_eq!(
            ask(r#"{"expr": "a.b", "contexts": {"a": {"b": [1]}}}"#),
            r#"{"kind":"Array","value":[1]}"#
        );
        assert_eq!(ask(r#"{"expr": "a.c", "contexts": {"a": {}}}"#), r#"{"kind":"Null","value":null}"#);
        assert!(ask(r#"{"expr": "github.ref"}"#).contains("\"error\""), "only the given contexts exist");
        assert!(ask(r#"{"expr": "fromJSON('{')"}"#).contains("\"kind\":\"evaluation\""));
    }

    #[test]
    fn braces_are_dropped() {
        assert_eq!(bare("${{ 1 }}"), "1");
        assert_eq!(bare("${{ 1 }} and ${{ 2 }}"), "${{ 1 }} and ${{ 2 }}");
    }
}
