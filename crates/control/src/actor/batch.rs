//! What one round of the actor collects: writes, and what may only be said or
//! done after they are durable.

use super::Reply;
use crate::resolve::ResolveRequest;
use fleetfoot_model::Problem;
use fleetfoot_model::ids::{AttemptRef, RunId, RunnerId};
use fleetfoot_store::Op;
use std::collections::BTreeSet;

type Answer = Box<dyn FnOnce(&Result<(), Problem>) + Send>;

/// One round's outcome.
#[derive(Default)]
pub(crate) struct Batch {
    /// Writes in order.
    pub(crate) ops: Vec<Op>,
    /// Runs whose followers are to be woken.
    pub(crate) runs: BTreeSet<RunId>,
    /// Runners for whom there may be something new.
    pub(crate) poke: BTreeSet<RunnerId>,
    /// Attempts that are over: no more log bytes.
    pub(crate) closed_logs: Vec<AttemptRef>,
    /// Nodes to be decided by their documents.
    pub(crate) resolve: Vec<ResolveRequest>,
    answers: Vec<Answer>,
}

impl Batch {
    /// Answers after the commit: with this outcome, or with the commit's problem.
    pub(crate) fn reply<T: Send + 'static>(&mut self, reply: Reply<T>, outcome: Result<T, Problem>) {
        self.answers.push(Box::new(move |committed| {
            let answer = match committed {
                Ok(()) => outcome,
                Err(problem) => Err(problem.clone()),
            };
            let _ = reply.send(answer);
        }));
    }

    /// Gives all answers.
    pub(crate) fn answer(&mut self, committed: &Result<(), Problem>) {
        for answer in self.answers.drain(..) {
            answer(committed);
        }
    }
}
