//! `graph`: the jobs of a workflow as a Mermaid flowchart. Executes nothing.

use crate::calls;
use crate::clock;
use crate::document;
use crate::error::{CliError, Exit, Result};
use crate::graph::direct;
use crate::output::{self, Format};
use clap::Args;
use fleetfoot_model::Source;
use fleetfoot_model::plan::{Document, PlanNode, RunInfo, RunParams};
use fleetfoot_workflow::WorkflowDocument;
use indexmap::IndexMap;
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Print the job graph of a workflow as a Mermaid flowchart
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot graph .github/workflows/ci.yml\n  \
    fleetfoot graph ci.yml --event pull_request\n\n\
    Put it between ```mermaid and ``` to see it in a README, an issue or a step summary.\n\
    Jobs of called workflows stand in a box of their own; a matrix shows how many jobs it makes.")]
pub(crate) struct GraphArgs {
    /// Workflow or job file; `-` reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Event [default: the first that the file reacts to]
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
}

pub(crate) fn run(args: &GraphArgs, format: Format) -> Result {
    let file = document::read(&args.file)?;
    let source = Source::new(args.file.display().to_string(), file.bytes.clone());
    let document = match file.kind() {
        "job" => WorkflowDocument::parse_job(&source),
        _ => WorkflowDocument::parse_with(&source, &calls::local(&file, &args.file)?),
    }
    .map_err(CliError::findings)?;
    let first = || document.triggers().first().map(|t| t.event.clone()).unwrap_or_default();
    let params = RunParams {
        event_name: args.event.clone().unwrap_or_else(first),
        repository: file.checkout.as_ref().map(|c| c.repository.clone()),
        ..RunParams::default()
    };
    let info = RunInfo {
        number: 1,
        attempt: 1,
        created_at: clock::now(),
        workflow_path: Some(file.name),
        params: params.clone(),
        ..RunInfo::default()
    };
    // A graph can be drawn without the inputs that a run would need.
    let contexts = document.contexts(&info).unwrap_or_default();
    let plan = document.outline(&contexts, &params).map_err(CliError::findings)?;
    let chart = flowchart(&plan.nodes);
    match format {
        Format::Text => output::print(&chart)?,
        Format::Json => output::json(&json!({ "name": plan.name, "mermaid": chart }))?,
    }
    Ok(Exit::Ok)
}

/// Nodes in boxes, one box within the other for each call, then the edges.
fn flowchart(nodes: &[PlanNode]) -> String {
    let nodes = direct(nodes);
    let mut out = String::from("flowchart LR\n");
    let mut open: Vec<&str> = Vec::new();
    let mut boxes = 0;
    for (n, node) in nodes.iter().enumerate() {
        let mut path: Vec<&str> = node.key.split('/').collect();
        let name = path.pop().unwrap_or_default();
        let same = open.iter().zip(&path).take_while(|(a, b)| a == b).count();
        while open.len() > same {
            open.pop();
            let _ = writeln!(out, "{}end", indent(open.len()));
        }
        for segment in &path[same..] {
            let _ = writeln!(out, "{}subgraph c{boxes}[\"{}\"]", indent(open.len()), text(segment));
            boxes += 1;
            open.push(segment);
        }
        let _ = writeln!(out, "{}n{n}[\"{}\"]", indent(open.len()), label(node, name));
    }
    for depth in (0..open.len()).rev() {
        let _ = writeln!(out, "{}end", indent(depth));
    }
    let at: IndexMap<&str, usize> =
        nodes.iter().enumerate().map(|(n, node)| (node.key.as_str(), n)).collect();
    for (n, node) in nodes.iter().enumerate() {
        for need in node.needs.iter().filter_map(|need| at.get(need.as_str())) {
            let _ = writeln!(out, "  n{need} --> n{n}");
        }
    }
    out
}

fn indent(depth: usize) -> String {
    "  ".repeat(depth + 1)
}

fn label(node: &PlanNode, key: &str) -> String {
    match node.names.as_slice() {
        [one] => {
            let name = one.rsplit(" / ").next().unwrap_or(one);
            if name == key { text(key) } else { format!("{}<br>{}", text(key), text(name)) }
        }
        many => format!("{}<br>{} jobs", text(key), many.len()),
    }
}

/// Text that means nothing to Mermaid: its entities begin with `#`.
fn text(raw: &str) -> String {
    raw.chars().fold(String::new(), |mut out, c| {
        match c {
            '"' | '#' | '&' | '<' | '>' | '`' | ';' | '[' | ']' | '{' | '}' | '|' | '\\' => {
                let _ = write!(out, "#{};", u32::from(c));
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(key: &str, needs: &[&str], names: &[&str]) -> PlanNode {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        PlanNode { key: key.to_owned(), needs: own(needs), names: own(names) }
    }

    #[test]
    fn boxes_and_edges() {
        let nodes = [
            node("lint", &[], &["Lint \"all\""]),
            node("call/one", &["lint"], &["call / one"]),
            node("call/deep (x)/two", &["call/one", "lint"], &["a", "b"]),
            node("deploy", &["call/one", "call/deep (x)/two"], &["deploy"]),
        ];
        insta::assert_snapshot!(flowchart(&nodes), @r#"
        flowchart LR
          n0["lint<br>Lint #34;all#34;"]
          subgraph c0["call"]
            n1["one"]
            subgraph c1["deep (x)"]
              n2["two<br>2 jobs"]
            end
          end
          n3["deploy"]
          n0 --> n1
          n1 --> n2
          n2 --> n3
        "#);
    }
}
