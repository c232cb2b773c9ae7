//! `lint`: all findings in documents, with their places; as text, as JSON, or
//! as SARIF. What the documents call in the same checkout is read with them.

use crate::calls;
use crate::document;
use crate::error::{Exit, Result};
use crate::output::{self, Format};
use crate::style::Style;
use clap::{Args, ValueEnum};
use fleetfoot_model::plan::Dialect;
use fleetfoot_model::{Diagnostic, Severity, Source};
use fleetfoot_workflow::JobDialect;
use indexmap::IndexMap;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Find errors and traps in workflow and job files
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot lint                      all of .github/workflows\n  \
    fleetfoot lint ci.yml --format json\n  fleetfoot lint --format sarif > findings.sarif\n\n\
    Exits 1 if there are errors; warnings do not count.")]
pub(crate) struct LintArgs {
    /// Files [default: .github/workflows]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Format of the findings [default: that of --output]
    #[arg(long, value_enum)]
    format: Option<LintFormat>,
    /// Report what is merely information too, such as actions that are not pinned to a commit
    #[arg(long)]
    pedantic: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LintFormat {
    /// For people
    Text,
    /// A list of {file, line, column, severity, code, message}
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

pub(crate) fn run(args: &LintArgs, format: Format) -> Result {
    let format = args.format.unwrap_or(match format {
        Format::Text => LintFormat::Text,
        Format::Json => LintFormat::Json,
    });
    let files = if args.files.is_empty() { document::workflows_here()? } else { args.files.clone() };
    let named: HashSet<PathBuf> = files.iter().filter_map(|file| file.canonicalize().ok()).collect();
    let mut findings: Vec<Diagnostic> = Vec::new();
    for file in &files {
        let document = document::read(file)?;
        // Where the user typed a path, that path is what an editor can open.
        let name = file.display().to_string();
        let root = calls::root(&document, file);
        let called = calls::readable(&document, file);
        let kind = document.kind();
        let source = Source::new(name.clone(), document.bytes);
        let found = match kind {
            "job" => JobDialect.parse(&source).map_or_else(|found| found.0, |d| d.warnings().to_vec()),
            _ => fleetfoot_workflow::lint_with(&source, &called, args.pedantic).0,
        };
        // What it calls speaks for itself where it was named too.
        let elsewhere = |d: &Diagnostic| {
            d.file != name && root.join(&d.file).canonicalize().is_ok_and(|path| named.contains(&path))
        };
        for finding in found.into_iter().filter(|d| !elsewhere(d)) {
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    let errors = findings.iter().filter(|d| d.severity == Severity::Error).count();
    match format {
        LintFormat::Json => output::json(&findings)?,
        LintFormat::Sarif => output::json(&sarif(&findings))?,
        LintFormat::Text => {
            for finding in &findings {
                output::line(&format!("{finding}\n"))?;
            }
            let style = Style::stderr();
            let warnings = findings.iter().filter(|d| d.severity == Severity::Warning).count();
            let mark = if errors == 0 { style.green("✓") } else { style.red("✗") };
            let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
            let (files, errors) = (counted(files.len(), "file"), counted(errors, "error"));
            output::say(&format!("{mark} {files}, {errors}, {}", counted(warnings, "warning")));
        }
    }
    Ok(if errors == 0 { Exit::Ok } else { Exit::Failed })
}

/// SARIF 2.1.0: one run, a rule for each code, and the findings.
fn sarif(findings: &[Diagnostic]) -> serde_json::Value {
    let level = |d: &Diagnostic| match d.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    };
    let mut rules: IndexMap<&str, &Diagnostic> = IndexMap::new();
    for finding in findings {
        rules.entry(&finding.code).or_insert(finding);
    }
    let results: Vec<_> = findings
        .iter()
        .map(|d| {
            let message = match &d.hint {
                Some(hint) => format!("{} ({hint})", d.message),
                None => d.message.clone(),
            };
            serde_json::json!({
                "ruleId": d.code,
                "ruleIndex": rules.get_index_of(d.code.as_str()),
                "level": level(d),
                "message": { "text": message },
                "locations": [{ "physicalLocation": {
                    "artifactLocation": { "uri": uri(&d.file) },
                    "region": {
                        "startLine": d.line.max(1),
                        "startColumn": d.column.max(1),
                        "snippet": { "text": d.snippet },
                    },
                }}],
            })
        })
        .collect();
    let described: Vec<_> = rules
        .iter()
        .map(|(code, first)| {
            serde_json::json!({
                "id": code,
                "shortDescription": { "text": code.replace('-', " ") },
                "defaultConfiguration": { "level": level(first) },
            })
        })
        .collect();
    serde_json::json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "fleetfoot",
                "version": fleetfoot_model::version::VERSION,
                "rules": described,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// A path as a relative reference, or as an address of a file where it begins at the root.
fn uri(path: &str) -> String {
    let mut out = String::from(if path.starts_with('/') { "file://" } else { "" });
    for byte in path.trim_start_matches("./").bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' | b'@' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {
                out.push(char::from(byte));
            }
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sarif_has_rules_and_places() {
        let text = "on: push\njobs:\n  a:\n    run-on: x\n    steps:\n      - {uses: actions/checkout@v4}\n";
        let source = Source::new("my ci.yml", text.as_bytes());
        let findings = fleetfoot_workflow::lint_with(&source, &IndexMap::new(), true).0;
        let log = sarif(&findings);
        let run = &log["runs"][0];
        assert_eq!(log["version"], "2.1.0");
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        for result in run["results"].as_array().unwrap() {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[index]["id"], result["ruleId"]);
            let place = &result["locations"][0]["physicalLocation"];
            assert_eq!(place["artifactLocation"]["uri"], "my%20ci.yml");
            assert!(place["region"]["startLine"].as_u64().unwrap() >= 1);
        }
        let levels: Vec<_> = run["results"].as_array().unwrap().iter().map(|r| &r["level"]).collect();
        assert!(
            levels.contains(&&serde_json::json!("error")) && levels.contains(&&serde_json::json!("note"))
        );
        assert_eq!(uri("/srv/a b.yml"), "file:///srv/a%20b.yml");
    }
}
