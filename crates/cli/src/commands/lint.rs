//! `lint`: all findings in documents, with their places.

use crate::document;
use crate::error::{Exit, Result};
use crate::output::{self, Format};
use crate::style::Style;
use clap::{Args, ValueEnum};
use fleetfoot_model::plan::Dialect;
use fleetfoot_model::{Diagnostic, Severity, Source};
use fleetfoot_workflow::JobDialect;
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
    let mut findings: Vec<Diagnostic> = Vec::new();
    for file in &files {
        let document = document::read(file)?;
        // Where the user typed a path, that path is what an editor can open.
        let name = file.display().to_string();
        let kind = document.kind();
        let source = Source::new(name, document.bytes);
        findings.extend(match kind {
            "job" => JobDialect.parse(&source).map_or_else(|found| found.0, |d| d.warnings().to_vec()),
            _ => fleetfoot_workflow::lint(&source).0,
        });
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
            let warnings = findings.len() - errors;
            let mark = if errors == 0 { style.green("✓") } else { style.red("✗") };
            output::say(&format!("{mark} {} files, {errors} errors, {warnings} warnings", files.len()));
        }
    }
    Ok(if errors == 0 { Exit::Ok } else { Exit::Failed })
}

fn sarif(findings: &[Diagnostic]) -> serde_json::Value {
    let results: Vec<_> = findings
        .iter()
        .map(|d| {
            serde_json::json!({
                "ruleId": d.code,
                "level": match d.severity { Severity::Error => "error", Severity::Warning => "warning", Severity::Info => "note" },
                "message": { "text": d.hint.as_ref().map_or_else(|| d.message.clone(), |h| format!("{} ({h})", d.message)) },
                "locations": [{ "physicalLocation": {
                    "artifactLocation": { "uri": d.file },
                    "region": { "startLine": d.line, "startColumn": d.column },
                }}],
            })
        })
        .collect();
    serde_json::json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{ "tool": { "driver": { "name": "fleetfoot", "version": fleetfoot_model::version::VERSION } }, "results": results }],
    })
}
