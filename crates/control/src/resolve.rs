//! Deciding about nodes: reads the document of a run if it is not at hand, asks
//! it, and tells the actor. Runs outside the actor.

use crate::Inner;
use crate::actor::{Command, RunSource};
use fleetfoot_model::ids::RunId;
use fleetfoot_model::plan::{NeedResult, Resolution, ResolveArgs};
use fleetfoot_model::{Diagnostic, Severity};
use fleetfoot_scheduler::Graph;
use indexmap::IndexMap;
use std::sync::Arc;

/// Nodes of one run that are ready to be decided, with what they need.
pub(crate) struct ResolveRequest {
    run: RunId,
    nodes: Vec<ReadyNode>,
    cancelled: bool,
    source: Option<Arc<RunSource>>,
}

struct ReadyNode {
    key: String,
    needs: IndexMap<String, NeedResult>,
    ancestors: IndexMap<String, NeedResult>,
}

impl ResolveRequest {
    pub(crate) fn new(run: RunId, graph: &Graph, keys: &[String], source: Option<Arc<RunSource>>) -> Self {
        let nodes = keys
            .iter()
            .map(|key| ReadyNode {
                key: key.clone(),
                needs: graph.needs(key),
                ancestors: graph.ancestors(key),
            })
            .collect();
        Self { run, nodes, cancelled: graph.is_cancelled(), source }
    }
}

/// Decides and reports back.
pub(crate) async fn resolve(inner: Arc<Inner>, request: ResolveRequest) {
    let ResolveRequest { run, nodes, cancelled, source } = request;
    let source = match source {
        Some(source) => Ok(source),
        None => crate::submit::load_source(&inner, run).await,
    };
    let nodes = nodes
        .into_iter()
        .map(|node| {
            let resolution = match &source {
                Ok(source) => resolve_node(source, &node, cancelled),
                Err(problem) => Err(Box::new(diagnostic(&problem.detail))),
            };
            (node.key, resolution)
        })
        .collect();
    // The actor is gone only when the process ends; it decides again after the next start.
    let _ = inner.commands.send(Command::Resolved { run, cancelled, nodes, source: source.ok() }).await;
}

fn resolve_node(
    source: &RunSource,
    node: &ReadyNode,
    cancelled: bool,
) -> Result<Resolution, Box<Diagnostic>> {
    let args = ResolveArgs {
        contexts: &source.contexts,
        params: &source.params,
        needs: &node.needs,
        ancestors: &node.ancestors,
        cancelled,
    };
    source.document.resolve(&node.key, &args).map_err(Box::new)
}

fn diagnostic(message: &str) -> Diagnostic {
    Diagnostic {
        file: String::new(),
        line: 0,
        column: 0,
        severity: Severity::Error,
        code: "document-lost".to_owned(),
        message: message.to_owned(),
        hint: None,
        snippet: String::new(),
    }
}
