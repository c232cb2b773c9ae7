//! `uses` steps: which action a step means, where it lies, what it remembers
//! between its stages, and which of them have something to do after the last
//! step. Fetching and reading actions is the business of the actions crate;
//! nothing here happens for a job that uses none.

mod call;
mod composite;
mod container;
mod fetch;
mod inputs;
mod node;
mod services;

pub(crate) use node::node;

use crate::config::ActionsConfig;
use crate::flow::Stage;
use crate::frame::ActionPlace;
use fleetfoot_actions::{ActionCache, ActionError, ActionErrorKind, Fetched, Manifest, Reference, Runs};
use fleetfoot_expr::Object;
use fleetfoot_model::spec::{StepAction, StepSpec};
use indexmap::IndexMap;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How deep actions may use actions.
const MAX_DEPTH: usize = 10;

/// An action that can be run.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// As written after `uses:`.
    pub(crate) uses: String,
    /// Where it lies on this machine.
    pub(crate) dir: PathBuf,
    /// Set for those that were fetched.
    fetched: Option<Fetched>,
    pub(crate) manifest: Manifest,
    pub(crate) place: Arc<ActionPlace>,
}

impl Loaded {
    /// A file that the manifest names.
    fn file(&self, relative: &str) -> Result<PathBuf, ActionError> {
        match &self.fetched {
            Some(fetched) => fetched.file(relative),
            // The workspace belongs to the job: whatever it put there, it may run.
            None => {
                let path = self.dir.join(relative);
                path.is_file().then_some(path).ok_or_else(|| {
                    let message = format!("the action '{}' has no file '{relative}'", self.uses);
                    ActionError::new(ActionErrorKind::NotFound, message)
                })
            }
        }
    }
}

/// The actions of one attempt. Paths name steps: `3` is a step of the job, `3/0` the first step of the
/// composite action that it uses.
pub(crate) struct Actions {
    cache: ActionCache,
    builtin_checkout: bool,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// By path.
    loaded: HashMap<String, Arc<Loaded>>,
    /// By reference.
    fetched: HashMap<String, Arc<Loaded>>,
    /// Repositories of which the log speaks already.
    told: HashSet<String>,
    /// What the stages of one action remember for each other, by path.
    states: HashMap<String, IndexMap<String, String>>,
    /// The `steps` context of composite actions that have ended, by path.
    steps: HashMap<String, Object>,
    /// Steps of the job that have something to do after the last one.
    posts: Vec<usize>,
    /// The node that runs in the image of the job, once it is known.
    node: Option<&'static str>,
    /// Steps of composite actions that have, by the path of the step that uses the action.
    inner_posts: HashMap<String, Vec<usize>>,
}

impl Actions {
    pub(crate) fn new(config: &ActionsConfig, cache: &ActionCache) -> Self {
        Self { cache: cache.for_job(), builtin_checkout: config.builtin_checkout, memory: Mutex::default() }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether some step uses an action, whatever kind it is.
    pub(crate) fn uses_any(&self, steps: &[StepSpec]) -> bool {
        steps.iter().filter_map(uses_of).any(|uses| !self.is_built_in(uses))
    }

    /// Whether some step may need node.
    pub(crate) fn may_use_node(&self, steps: &[StepSpec]) -> bool {
        steps.iter().filter_map(uses_of).any(|uses| {
            !self.is_built_in(uses) && !matches!(Reference::parse(uses), Ok(Reference::Docker(_)))
        })
    }

    /// Whether this is the action that is built in.
    fn is_built_in(&self, uses: &str) -> bool {
        let name = uses.split('@').next().unwrap_or_default();
        self.builtin_checkout && name.eq_ignore_ascii_case("actions/checkout")
    }

    /// Whether this action has to be fetched; a reference that is none counts, so that it is found early.
    fn is_remote(&self, uses: &str) -> bool {
        !self.is_built_in(uses)
            && !matches!(Reference::parse(uses), Ok(Reference::Local(_) | Reference::Docker(_)))
    }

    fn loaded(&self, path: &str) -> Option<Arc<Loaded>> {
        self.memory().loaded.get(path).cloned()
    }

    /// Whether a step, or a step of its action, has something to do before the first step of the job.
    pub(crate) fn has_pre(&self, path: &str) -> bool {
        let Some(loaded) = self.loaded(path) else { return false };
        match &loaded.manifest.runs {
            Runs::Node { pre, .. } => pre.is_some(),
            Runs::Docker { pre_entrypoint, .. } => pre_entrypoint.is_some(),
            Runs::Composite { steps } => (0..steps.len()).any(|at| self.has_pre(&format!("{path}/{at}"))),
        }
    }

    /// The condition of a stage of an action; those of composite actions belong to their steps.
    pub(crate) fn condition(&self, stage: Stage, path: &str) -> Option<String> {
        if stage == Stage::Main {
            return None;
        }
        let loaded = self.loaded(path)?;
        match (&loaded.manifest.runs, stage) {
            (Runs::Node { pre_if, .. } | Runs::Docker { pre_if, .. }, Stage::Pre) => pre_if.clone(),
            (Runs::Node { post_if, .. } | Runs::Docker { post_if, .. }, Stage::Post) => post_if.clone(),
            _ => None,
        }
    }

    /// The step of the job whose turn it is after the last one: the latest that asked comes first.
    pub(crate) fn next_post(&self) -> Option<usize> {
        self.memory().posts.pop()
    }

    /// An action has something to do after the last step. Answers the step of the job if it is news.
    fn register_post(&self, path: &str) -> Option<usize> {
        let mut memory = self.memory();
        let mut path = path;
        while let Some((outer, at)) = path.rsplit_once('/') {
            let at = at.parse().unwrap_or_default();
            let inner = memory.inner_posts.entry(outer.to_owned()).or_default();
            if !inner.contains(&at) {
                inner.push(at);
            }
            path = outer;
        }
        let at = path.parse().ok()?;
        if memory.posts.contains(&at) {
            return None;
        }
        memory.posts.push(at);
        Some(at)
    }

    /// The steps of a composite action that have something to do after the last step of the job, in the
    /// order in which they do it.
    fn inner_posts(&self, path: &str) -> Vec<usize> {
        self.memory().inner_posts.get(path).map(|p| p.iter().rev().copied().collect()).unwrap_or_default()
    }

    fn known_node(&self) -> Option<String> {
        self.memory().node.map(str::to_owned)
    }

    fn know_node(&self, program: &'static str) {
        self.memory().node = Some(program);
    }

    fn state(&self, path: &str) -> IndexMap<String, String> {
        self.memory().states.get(path).cloned().unwrap_or_default()
    }

    fn remember(&self, path: &str, state: Vec<(String, String)>) {
        if !state.is_empty() {
            self.memory().states.entry(path.to_owned()).or_default().extend(state);
        }
    }

    fn keep_steps(&self, path: &str, steps: Object) {
        self.memory().steps.insert(path.to_owned(), steps);
    }

    fn kept_steps(&self, path: &str) -> Object {
        self.memory().steps.get(path).cloned().unwrap_or_else(Object::new)
    }
}

/// The reference of a `uses` step.
fn uses_of(step: &StepSpec) -> Option<&str> {
    match &step.action {
        StepAction::Uses { uses, .. } => Some(uses),
        _ => None,
    }
}
