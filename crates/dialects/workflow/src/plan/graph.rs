//! The graph of a run: every job a node, and every call in the place of its
//! job the nodes of what it calls. Their keys are `caller/inner`; what needs a
//! call needs all of its nodes, and all of its nodes need what the call needs.
//!
//! A matrix of a call that is known at submit makes one copy of the called
//! graph for each leg (`caller (x)/inner`). One that depends on other jobs is
//! expanded later, as legs of every inner node: then an inner node begins when
//! those before it have ended in all legs, which is the one difference.

use super::evaluate::{Evaluator, World};
use super::resolve::{self, Strategy};
use super::walk::call_inputs;
use crate::library::{Library, MAX_CALLED_JOBS};
use crate::syntax::{Call, Job};
use fleetfoot_model::diagnostic::Diagnostic;
use fleetfoot_model::plan::{PlanNode, RunParams};
use std::collections::HashMap;
use std::ops::Range;

/// All nodes, in the order of the document.
pub(super) fn nodes(
    library: &Library,
    world: &World,
    params: &RunParams,
) -> Result<Vec<PlanNode>, Diagnostic> {
    let mut expansion = Expansion { library, params, root: world, nodes: Vec::new() };
    expansion.document(0, world, "", "")?;
    Ok(expansion.nodes)
}

struct Expansion<'a> {
    library: &'a Library,
    params: &'a RunParams,
    /// The world of the run: what called workflows see but for their inputs.
    root: &'a World,
    nodes: Vec<PlanNode>,
}

impl Expansion<'_> {
    fn document(&mut self, index: usize, world: &World, prefix: &str, title: &str) -> Result<(), Diagnostic> {
        let library = self.library;
        let doc = &library.docs[index];
        let evaluator = Evaluator { source: &doc.source, world };
        let mut ranges: Vec<Range<usize>> = Vec::with_capacity(doc.workflow.jobs.len());
        for job in &doc.workflow.jobs {
            let begin = self.nodes.len();
            match (&job.call, library.called(index, job)) {
                (Some(call), Some(target)) => self.call(evaluator, job, call, target, (prefix, title))?,
                _ => {
                    let names = resolve::names(&evaluator, job, self.params);
                    let names = names.into_iter().map(|name| format!("{title}{name}")).collect();
                    self.nodes.push(PlanNode {
                        key: format!("{prefix}{}", job.key),
                        needs: Vec::new(),
                        names,
                    });
                }
            }
            ranges.push(begin..self.nodes.len());
        }
        let at: HashMap<&str, usize> =
            doc.workflow.jobs.iter().enumerate().map(|(i, job)| (job.key.as_str(), i)).collect();
        for (job, range) in doc.workflow.jobs.iter().zip(&ranges) {
            let needed = job.needs.iter().filter_map(|need| at.get(need.key.as_str()));
            let needed: Vec<String> =
                needed.flat_map(|i| &self.nodes[ranges[*i].clone()]).map(|node| node.key.clone()).collect();
            for node in &mut self.nodes[range.clone()] {
                node.needs.extend(needed.iter().cloned());
            }
        }
        Ok(())
    }

    fn call(
        &mut self,
        evaluator: Evaluator<'_>,
        job: &Job,
        call: &Call,
        target: usize,
        (prefix, title): (&str, &str),
    ) -> Result<(), Diagnostic> {
        let known = resolve::strategy(&evaluator, job, self.params);
        let copies: Vec<(String, String, World)> = match &known {
            Ok(strategy) => self.legs(evaluator, job, call, target, strategy),
            // What other jobs give is not known yet.
            Err(_) => {
                vec![(job.key.clone(), resolve::literal_name(job), self.root.with_inputs(None))]
            }
        };
        for (segment, name, world) in copies {
            if self.nodes.len() + self.library.jobs[target] > MAX_CALLED_JOBS {
                let message = format!("The called workflows make more than {MAX_CALLED_JOBS} jobs");
                return Err(evaluator.problem(call.at, "too-many-jobs", message));
            }
            self.document(target, &world, &format!("{prefix}{segment}/"), &format!("{title}{name} / "))?;
        }
        Ok(())
    }

    fn legs(
        &self,
        evaluator: Evaluator<'_>,
        job: &Job,
        call: &Call,
        target: usize,
        strategy: &Strategy,
    ) -> Vec<(String, String, World)> {
        let called = &self.library.docs[target];
        strategy
            .legs
            .iter()
            .map(|(index, leg)| {
                let name = resolve::leg_name(&evaluator, job, strategy, *index, leg)
                    .unwrap_or_else(|_| resolve::literal_name(job));
                let world = resolve::leg_world(evaluator.world.clone(), strategy, *index, leg);
                let given = Evaluator { source: evaluator.source, world: &world };
                // Inputs made of what other jobs give are not known yet.
                let inputs = call_inputs(&given, call, called, self.root).ok();
                (strategy.segments[*index].clone(), name, self.root.with_inputs(inputs))
            })
            .collect()
    }
}
