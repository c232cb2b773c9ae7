//! The job graph of documents before they run: as a tree (`run -l`), or with
//! the steps that would run (`run -n`). Executes nothing.

use crate::clock;
use crate::commands::run::{Chosen, say_warnings};
use crate::error::{CliError, Exit, Result};
use crate::output::{self, Format};
use crate::style::{Style, printable};
use fleetfoot_model::api::CreateRun;
use fleetfoot_model::plan::{
    Document, NeedResult, Plan, PlanNode, Resolution, ResolveArgs, RunInfo, RunParams,
};
use fleetfoot_model::spec::{Contexts, StepSpec};
use fleetfoot_model::{Conclusion, Diagnostics};
use indexmap::IndexMap;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Prints what was chosen.
pub(crate) fn show(chosen: &[Chosen], request: &CreateRun, dry_run: bool, format: Format) -> Result {
    let style = Style::stdout();
    let mut all = Vec::new();
    for one in chosen {
        say_warnings(&one.document);
        let params = params(one, request);
        let info = RunInfo {
            number: 1,
            attempt: 1,
            created_at: clock::now(),
            project: "default".to_owned(),
            workflow_path: Some(one.file.name.clone()),
            params: params.clone(),
            ..RunInfo::default()
        };
        let contexts = one.document.contexts(&info).map_err(CliError::findings)?;
        let plan = one.document.outline(&contexts, &params).map_err(CliError::findings)?;
        let steps = if dry_run { Some(resolve(one, &plan, &contexts, &params)?) } else { None };
        match format {
            Format::Json => all.push(as_json(one, &plan, steps.as_ref())),
            Format::Text => {
                let title = format!("{} ({}, {})", printable(&plan.name), one.shown.display(), one.event);
                output::line(&style.bold(&title))?;
                output::print(&tree(&plan, steps.as_ref(), style))?;
            }
        }
    }
    if format == Format::Json {
        output::json(&all)?;
    }
    Ok(Exit::Ok)
}

fn params(one: &Chosen, request: &CreateRun) -> RunParams {
    RunParams {
        event_name: one.event.clone(),
        event: request.event.clone().filter(Value::is_object).unwrap_or(Value::Null),
        inputs: request.inputs.clone(),
        vars: request.vars.clone(),
        env: request.env.clone(),
        actor: None,
        repository: one.file.checkout.as_ref().map(|c| c.repository.clone()),
        jobs: request.jobs.clone(),
        matrix: request.matrix.clone(),
        queue: request.queue.clone(),
        priority: request.priority.unwrap_or(0),
        files: request.files.clone(),
        untrusted: false,
        awaits_approval: None,
    }
}

/// What becomes of each node if everything before it succeeds without outputs.
type Steps = IndexMap<String, Would>;

enum Would {
    Skip,
    Run(Vec<(String, Vec<String>)>),
}

fn resolve(one: &Chosen, plan: &Plan, contexts: &Contexts, params: &RunParams) -> Result<Steps> {
    let mut out = Steps::new();
    let success = || NeedResult { result: Conclusion::Success, outputs: IndexMap::new() };
    let before: IndexMap<String, NeedResult> =
        plan.nodes.iter().map(|node| (node.key.clone(), success())).collect();
    for node in &plan.nodes {
        let needs: IndexMap<String, NeedResult> = node.needs.iter().map(|n| (n.clone(), success())).collect();
        let args = ResolveArgs { contexts, params, needs: &needs, ancestors: &before, cancelled: false };
        if let Some(reference) = one.document.calls_elsewhere(&node.key) {
            let jobs = node.names.iter().map(|n| (n.clone(), vec![format!("(calls {reference})")])).collect();
            out.insert(node.key.clone(), Would::Run(jobs));
            continue;
        }
        let would = match one.document.resolve(&node.key, &args) {
            Ok(Resolution::Skip) => Would::Skip,
            Ok(Resolution::Run { jobs, .. }) => Would::Run(
                jobs.iter().map(|j| (j.spec.name.clone(), j.spec.steps.iter().map(step).collect())).collect(),
            ),
            // A matrix made of another job's outputs cannot be known before that job has run.
            Err(_) if !node.needs.is_empty() => Would::Run(
                node.names.iter().map(|n| (n.clone(), vec!["(depends on outputs)".to_owned()])).collect(),
            ),
            Err(finding) => return Err(CliError::findings(Diagnostics(vec![finding]))),
        };
        out.insert(node.key.clone(), would);
    }
    Ok(out)
}

fn step(step: &StepSpec) -> String {
    let text = step.raw_name();
    match &step.condition {
        Some(condition) => format!("{text} [if {condition}]"),
        None => text,
    }
}

/// The nodes without what their needs say already. What needs a call needs all of its jobs, and all
/// of its jobs need what the call needs: most of that would only hide the graph.
pub(crate) fn direct(nodes: &[PlanNode]) -> Vec<PlanNode> {
    let called = |key: &str| key.contains('/');
    let mut reduced = nodes.to_vec();
    if !nodes.iter().any(|node| called(&node.key)) {
        return reduced;
    }
    let index: IndexMap<&str, usize> = nodes.iter().enumerate().map(|(i, n)| (n.key.as_str(), i)).collect();
    for node in &mut reduced {
        let mut implied = std::collections::HashSet::new();
        let mut open: Vec<&str> = Vec::new();
        let below = |key: &str| index.get(key).map(|i| nodes[*i].needs.as_slice()).unwrap_or_default();
        open.extend(node.needs.iter().flat_map(|need| below(need)).map(String::as_str));
        while let Some(key) = open.pop() {
            if implied.insert(key.to_owned()) {
                open.extend(below(key).iter().map(String::as_str));
            }
        }
        let of_call = called(&node.key);
        node.needs.retain(|need| !implied.contains(need) || !(of_call || called(need)));
    }
    reduced
}

/// Each job under the last of those that it needs; what else it needs stands beside it.
fn tree(plan: &Plan, steps: Option<&Steps>, style: Style) -> String {
    let nodes = direct(&plan.nodes);
    let mut children: IndexMap<Option<&str>, Vec<&PlanNode>> = IndexMap::new();
    for node in &nodes {
        // The last in document order that exists: its line comes above this one's.
        let parent = nodes.iter().rev().find(|n| node.needs.contains(&n.key)).map(|n| n.key.as_str());
        children.entry(parent).or_default().push(node);
    }
    let mut out = String::new();
    branch(&mut out, None, &children, "", steps, style);
    out
}

fn branch(
    out: &mut String,
    parent: Option<&str>,
    children: &IndexMap<Option<&str>, Vec<&PlanNode>>,
    indent: &str,
    steps: Option<&Steps>,
    style: Style,
) {
    let Some(nodes) = children.get(&parent) else { return };
    for (i, node) in nodes.iter().enumerate() {
        let last = i + 1 == nodes.len();
        let also: Vec<&str> = node.needs.iter().map(String::as_str).filter(|n| Some(*n) != parent).collect();
        let also = match also.is_empty() {
            true => String::new(),
            false => style.dim(&format!("  (also needs {})", printable(&also.join(", ")))),
        };
        let legs = match node.names.len() {
            1 if node.names[0] == node.key.replace('/', " / ") => String::new(),
            1 => style.dim(&format!("  {}", printable(&node.names[0]))),
            n => style.dim(&format!("  {n} jobs: {}", printable(&node.names.join(", ")))),
        };
        let knot = if last { "└─" } else { "├─" };
        let _ = writeln!(out, "{indent}{knot} {}{legs}{also}", printable(&node.key));
        let below = format!("{indent}{}", if last { "   " } else { "│  " });
        match steps.and_then(|s| s.get(&node.key)) {
            None => {}
            Some(Would::Skip) => {
                let _ = writeln!(out, "{below}  {}", style.dim("skipped: its condition is false"));
            }
            Some(Would::Run(jobs)) => {
                for (name, steps) in jobs {
                    if jobs.len() > 1 {
                        let _ = writeln!(out, "{below}  {}", printable(name));
                    }
                    for (n, step) in steps.iter().enumerate() {
                        let _ = writeln!(out, "{below}  {}. {}", n + 1, printable(step));
                    }
                }
            }
        }
        branch(out, Some(&node.key), children, &below, steps, style);
    }
}

fn as_json(one: &Chosen, plan: &Plan, steps: Option<&Steps>) -> Value {
    let jobs: Vec<Value> = plan
        .nodes
        .iter()
        .map(|node| {
            let mut job = json!({ "key": node.key, "names": node.names, "needs": node.needs });
            match steps.and_then(|s| s.get(&node.key)) {
                None => {}
                Some(Would::Skip) => job["would"] = json!("skip"),
                Some(Would::Run(jobs)) => {
                    job["would"] = json!("run");
                    job["jobs"] =
                        jobs.iter().map(|(name, steps)| json!({ "name": name, "steps": steps })).collect();
                }
            }
            job
        })
        .collect();
    json!({ "file": one.shown, "name": plan.name, "event": one.event, "jobs": jobs })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(key: &str, needs: &[&str], names: &[&str]) -> PlanNode {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        PlanNode { key: key.to_owned(), needs: own(needs), names: own(names) }
    }

    #[test]
    fn the_graph_is_a_tree() {
        let plan = Plan {
            nodes: vec![
                node("lint", &[], &["lint"]),
                node("test", &[], &["test (1)", "test (2)"]),
                node("package", &["test"], &["Package"]),
                node("deploy", &["lint", "package"], &["deploy"]),
            ],
            ..Plan::default()
        };
        insta::assert_snapshot!(tree(&plan, None, Style::PLAIN), @r"
        ├─ lint
        └─ test  2 jobs: test (1), test (2)
           └─ package  Package
              └─ deploy  (also needs lint)
        ");
    }
}
