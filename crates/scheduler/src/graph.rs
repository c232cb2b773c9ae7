//! The graph of one run: which nodes may be decided next, what a node's result
//! is over the legs of its matrix, which siblings fail-fast cancels, and how the
//! run ends. Keeps no specification and decides no condition: whether a node is
//! skipped is the dialect's word. A job that ended never opens again.
//!
//! **How a run ends.** `None` while anything is open. Then, in this order:
//! *cancelled* if somebody cancelled the run, or if a job was cancelled other
//! than by fail-fast and none failed; *failure* if a job failed or timed out
//! without `continue-on-error`; *skipped* if every job was skipped (and there is
//! one); otherwise *success*. A cancelled run in which everything had succeeded
//! before the cancellation could reach a job is a success.

use fleetfoot_model::plan::{NeedResult, PlanNode};
use fleetfoot_model::{Conclusion, JobId, Timestamp};
use indexmap::IndexMap;
use std::collections::{HashMap, HashSet};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: IndexMap<String, Node>,
    jobs: HashMap<JobId, usize>,
    cancelled: bool,
    /// Counts the ends of jobs: of outputs, the last written wins.
    ended: u64,
}

#[derive(Clone, Debug, Default)]
struct Node {
    needs: Vec<usize>,
    legs: IndexMap<JobId, Leg>,
    resolved: bool,
    /// Set when the node ended without running.
    ended: Option<Conclusion>,
    fail_fast: bool,
    /// Fail-fast has struck: the rest is being cancelled.
    struck: bool,
}

#[derive(Clone, Debug, Default)]
struct Leg {
    end: Option<End>,
}

#[derive(Clone, Debug)]
struct End {
    conclusion: Conclusion,
    continue_on_error: bool,
    by_fail_fast: bool,
    order: u64,
    outputs: IndexMap<String, String>,
}

impl End {
    /// What dependants and the run see.
    fn counted(&self) -> Conclusion {
        match self.conclusion {
            Conclusion::Failure | Conclusion::TimedOut if self.continue_on_error => Conclusion::Success,
            other => other,
        }
    }
}

/// A job as it was stored, to build the graph again at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredJob {
    /// Key of its node.
    pub key: String,
    /// The job.
    pub id: JobId,
    /// Its conclusion and outputs, if it ended.
    pub ended: Option<(Conclusion, IndexMap<String, String>)>,
    /// When it ended (of outputs, the last written wins).
    pub finished_at: Option<Timestamp>,
    /// Whether its failure counts.
    pub continue_on_error: bool,
}

/// A node as it was stored, to build the graph again at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredNode {
    /// Its key.
    pub key: String,
    /// Its legs were known.
    pub resolved: bool,
    /// Its `fail-fast`.
    pub fail_fast: bool,
}

impl Graph {
    /// The graph of a plan, with nothing decided. A need that is not a node is ignored.
    #[must_use]
    pub fn new(nodes: &[PlanNode]) -> Self {
        let mut graph = Self::default();
        for node in nodes {
            graph.nodes.insert(node.key.clone(), Node::default());
        }
        for node in nodes {
            let needs = node.needs.iter().filter_map(|need| graph.nodes.get_index_of(need)).collect();
            if let Some(made) = graph.nodes.get_mut(&node.key) {
                made.needs = needs;
            }
        }
        graph
    }

    /// The graph of a run that was under way; the jobs of a node in the order of
    /// its legs. Fail-fast is applied by the caller to what [`Graph::overdue`] names.
    #[must_use]
    pub fn restore(plan: &[PlanNode], nodes: &[RestoredNode], jobs: &[RestoredJob], cancelled: bool) -> Self {
        let mut graph = Self::new(plan);
        graph.cancelled = cancelled;
        for node in nodes {
            if let Some(made) = graph.nodes.get_mut(&node.key) {
                (made.resolved, made.fail_fast) = (node.resolved, node.fail_fast);
            }
        }
        for job in jobs {
            graph.add_leg(&job.key, job.id);
        }
        let mut by_end: Vec<&RestoredJob> = jobs.iter().collect();
        by_end.sort_by_key(|job| job.finished_at);
        for job in by_end {
            if let Some((conclusion, outputs)) = &job.ended {
                graph.job_ended(job.id, *conclusion, job.continue_on_error, outputs);
            }
        }
        graph
    }

    fn add_leg(&mut self, key: &str, job: JobId) {
        if let Some((at, _, node)) = self.nodes.get_full_mut(key) {
            node.legs.entry(job).or_default();
            self.jobs.insert(job, at);
        }
    }

    /// The jobs that stand for a node until it is resolved.
    pub fn set_jobs(&mut self, key: &str, jobs: &[JobId]) {
        for &job in jobs {
            self.add_leg(key, job);
        }
    }

    /// Nodes that are to be decided now: everything they need has ended. In the
    /// order of the document.
    #[must_use]
    pub fn ready(&self) -> Vec<&str> {
        let open = |node: &Node| !node.resolved && self.result(node).is_none();
        let free = |node: &Node| node.needs.iter().all(|&n| self.result(&self.nodes[n]).is_some());
        let ready = self.nodes.iter().filter(|(_, node)| open(node) && free(node));
        ready.map(|(key, _)| key.as_str()).collect()
    }

    /// A node's legs are known. They take the place of its placeholders, except
    /// for those that have ended already (cancelled before they were known).
    pub fn resolved(&mut self, key: &str, jobs: &[JobId], fail_fast: bool) {
        let Some(node) = self.nodes.get_mut(key) else { return };
        (node.resolved, node.fail_fast) = (true, fail_fast);
        let gone: Vec<JobId> = node
            .legs
            .iter()
            .filter(|(job, leg)| leg.end.is_none() && !jobs.contains(job))
            .map(|(job, _)| *job)
            .collect();
        for job in gone {
            node.legs.shift_remove(&job);
            self.jobs.remove(&job);
        }
        self.set_jobs(key, jobs);
    }

    /// A node ended without running: its condition was false.
    pub fn skipped(&mut self, key: &str) {
        self.ended_without_running(key, Conclusion::Skipped);
    }

    /// A node ended without running, with this conclusion (`failure` if it could
    /// not be decided, `cancelled` if the run was cancelled before).
    pub fn failed(&mut self, key: &str, conclusion: Conclusion) {
        self.ended_without_running(key, conclusion);
    }

    fn ended_without_running(&mut self, key: &str, conclusion: Conclusion) {
        let Some(node) = self.nodes.get_mut(key) else { return };
        if node.legs.values().all(|leg| leg.end.is_none()) {
            node.ended.get_or_insert(conclusion);
        }
        node.resolved = true;
        for leg in node.legs.values_mut().filter(|leg| leg.end.is_none()) {
            leg.end = Some(End {
                conclusion,
                continue_on_error: false,
                by_fail_fast: false,
                order: 0,
                outputs: IndexMap::new(),
            });
        }
    }

    /// A job ended. Says which siblings fail-fast cancels: those that are open, if
    /// this is the first leg to fail for real. A second end of a job changes nothing.
    pub fn job_ended(
        &mut self,
        job: JobId,
        conclusion: Conclusion,
        continue_on_error: bool,
        outputs: &IndexMap<String, String>,
    ) -> Vec<JobId> {
        let Some(node) = self.jobs.get(&job).and_then(|&at| self.nodes.get_index_mut(at)).map(|(_, n)| n)
        else {
            return Vec::new();
        };
        let Some(leg) = node.legs.get_mut(&job).filter(|leg| leg.end.is_none()) else { return Vec::new() };
        self.ended += 1;
        let by_fail_fast = node.struck && conclusion == Conclusion::Cancelled;
        let end =
            End { conclusion, continue_on_error, by_fail_fast, order: self.ended, outputs: outputs.clone() };
        let failed = end.counted().as_result() == "failure";
        leg.end = Some(end);
        if !failed || !node.fail_fast || node.struck {
            return Vec::new();
        }
        node.struck = true;
        node.open().collect()
    }

    /// Jobs that fail-fast has condemned and that are still open: for a start
    /// after a crash between the failure and the cancellation.
    #[must_use]
    pub fn overdue(&self) -> Vec<JobId> {
        self.nodes.values().filter(|node| node.struck).flat_map(Node::open).collect()
    }

    /// A node's result, once all its legs ended.
    fn result(&self, node: &Node) -> Option<Conclusion> {
        if let Some(conclusion) = node.ended {
            return Some(conclusion);
        }
        if node.legs.is_empty() || (!node.resolved && node.open().next().is_some()) {
            return None;
        }
        let ends: Vec<Conclusion> =
            node.legs.values().map(|leg| leg.end.as_ref().map(End::counted)).collect::<Option<_>>()?;
        Some(overall(&ends))
    }

    /// How a node ended; `None` while it is open or if there is no such node.
    #[must_use]
    pub fn node_result(&self, key: &str) -> Option<Conclusion> {
        self.result(self.nodes.get(key)?)
    }

    /// Results of a node's direct needs that have ended, in the order of the document.
    #[must_use]
    pub fn needs(&self, key: &str) -> IndexMap<String, NeedResult> {
        let Some(node) = self.nodes.get(key) else { return IndexMap::new() };
        self.results(node.needs.clone())
    }

    fn results(&self, mut nodes: Vec<usize>) -> IndexMap<String, NeedResult> {
        nodes.sort_unstable();
        let known = nodes.into_iter().filter_map(|at| {
            let (key, need) = self.nodes.get_index(at)?;
            Some((key.clone(), NeedResult { result: self.result(need)?, outputs: need.outputs() }))
        });
        known.collect()
    }

    /// Results of all nodes that a node needs, directly or not, that have ended;
    /// in the order of the document.
    #[must_use]
    pub fn ancestors(&self, key: &str) -> IndexMap<String, NeedResult> {
        let mut seen = HashSet::new();
        let mut look: Vec<usize> = self.nodes.get(key).map(|n| n.needs.clone()).unwrap_or_default();
        while let Some(at) = look.pop() {
            if seen.insert(at) {
                look.extend(&self.nodes[at].needs);
            }
        }
        self.results(seen.into_iter().collect())
    }

    /// Somebody cancelled the run. The caller cancels [`Graph::open_jobs`].
    pub fn cancel(&mut self) {
        self.cancelled = true;
    }

    /// Whether somebody cancelled the run.
    #[must_use]
    pub const fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// Jobs that have not ended, in the order of the document.
    #[must_use]
    pub fn open_jobs(&self) -> Vec<JobId> {
        self.nodes.values().flat_map(Node::open).collect()
    }

    /// All jobs of a node, in order.
    #[must_use]
    pub fn jobs_of(&self, key: &str) -> Vec<JobId> {
        self.nodes.get(key).map(|n| n.legs.keys().copied().collect()).unwrap_or_default()
    }

    /// The key of the node that a job belongs to.
    #[must_use]
    pub fn node_of(&self, job: JobId) -> Option<&str> {
        self.nodes.get_index(*self.jobs.get(&job)?).map(|(key, _)| key.as_str())
    }

    /// Whether a node's legs are known (or it ended).
    #[must_use]
    pub fn is_resolved(&self, key: &str) -> bool {
        self.nodes.get(key).is_some_and(|n| n.resolved)
    }

    /// Keys of the nodes that a job still waits for, in the order of the document.
    #[must_use]
    pub fn waiting_needs(&self, job: JobId) -> Vec<String> {
        let Some(node) = self.node_of(job).and_then(|key| self.nodes.get(key)) else { return Vec::new() };
        let mut needs = node.needs.clone();
        needs.sort_unstable();
        let open = needs.into_iter().filter(|&at| self.result(&self.nodes[at]).is_none());
        open.filter_map(|at| self.nodes.get_index(at)).map(|(key, _)| key.clone()).collect()
    }

    /// How the run ended; `None` while something is open. The rule is in the module.
    #[must_use]
    pub fn conclusion(&self) -> Option<Conclusion> {
        let results: Vec<Conclusion> = self.nodes.values().map(|n| self.result(n)).collect::<Option<_>>()?;
        let ends = || self.nodes.values().flat_map(|n| n.legs.values()).filter_map(|leg| leg.end.as_ref());
        let stopped = results.contains(&Conclusion::Cancelled)
            || ends().any(|e| e.conclusion == Conclusion::Cancelled && !e.by_fail_fast);
        let failed = results.iter().any(|r| r.as_result() == "failure");
        Some(if stopped && (self.cancelled || !failed) {
            Conclusion::Cancelled
        } else if failed {
            Conclusion::Failure
        } else if !results.is_empty() && results.iter().all(|r| *r == Conclusion::Skipped) {
            Conclusion::Skipped
        } else {
            Conclusion::Success
        })
    }
}

impl Node {
    fn open(&self) -> impl Iterator<Item = JobId> {
        self.legs.iter().filter(|(_, leg)| leg.end.is_none()).map(|(job, _)| *job)
    }

    /// Of several legs, the last to write a value that is not empty wins.
    fn outputs(&self) -> IndexMap<String, String> {
        let mut ends: Vec<&End> = self.legs.values().filter_map(|leg| leg.end.as_ref()).collect();
        ends.sort_by_key(|end| end.order);
        let mut merged: IndexMap<String, String> = IndexMap::new();
        for (name, value) in ends.into_iter().flat_map(|end| &end.outputs) {
            let slot = merged.entry(name.clone()).or_default();
            if !value.is_empty() {
                slot.clone_from(value);
            }
        }
        merged
    }
}

/// One result over the legs of a node.
fn overall(ends: &[Conclusion]) -> Conclusion {
    if ends.iter().any(|c| c.as_result() == "failure") {
        Conclusion::Failure
    } else if ends.contains(&Conclusion::Cancelled) {
        Conclusion::Cancelled
    } else if ends.iter().all(|c| *c == Conclusion::Skipped) {
        Conclusion::Skipped
    } else {
        Conclusion::Success
    }
}

#[cfg(test)]
mod tests;
