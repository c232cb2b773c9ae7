//! What a step sees when it starts (a [`Frame`]) and what it changes for those
//! after it ([`Changes`]). The steps of a job share one frame, the steps of a
//! composite action have one of their own, a background step takes a copy.
//! Nothing here runs anything.

use crate::scope::{self, Contexts};
use fleetfoot_expr::{Object, Status, Value};
use fleetfoot_model::state::Conclusion;
use fleetfoot_model::sync::Annotation;
use indexmap::IndexMap;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Annotations that a step may raise, by level.
pub(crate) const MAX_PER_LEVEL: usize = 10;

/// The surroundings of a list of steps.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) contexts: Contexts,
    steps: Object,
    /// Variables of the job and what steps added.
    pub(crate) env: IndexMap<String, String>,
    /// Variables of the `uses` steps around; stronger than what steps add.
    pub(crate) over: IndexMap<String, String>,
    /// Directories added to `PATH`, the last one goes first.
    pub(crate) paths: Vec<String>,
    /// The action whose steps these are.
    pub(crate) action: Option<Arc<ActionPlace>>,
    /// Inside an action: how its own steps went so far. At the job's level the attempt knows.
    pub(crate) status: Option<Status>,
}

/// Where an action lies and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ActionPlace {
    /// `github.action_path`, as the job sees it.
    pub(crate) path: PathBuf,
    /// `github.action_repository`; absent for a local action.
    pub(crate) repository: Option<String>,
    /// `github.action_ref`.
    pub(crate) git_ref: Option<String>,
}

impl ActionPlace {
    /// Sets the variables that name the action.
    pub(crate) fn name_in(&self, variables: &mut HashMap<String, String>) {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        variables.insert("GITHUB_ACTION_PATH".into(), self.path.to_string_lossy().into_owned());
        variables.insert("GITHUB_ACTION_REPOSITORY".into(), text(&self.repository));
        variables.insert("GITHUB_ACTION_REF".into(), text(&self.git_ref));
    }
}

/// What a step asked for beyond its outputs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) env: Vec<(String, String)>,
    pub(crate) paths: Vec<String>,
    pub(crate) state: Vec<(String, String)>,
    pub(crate) annotations: Vec<Annotation>,
    pub(crate) summaries: Vec<(u16, String)>,
}

impl Changes {
    /// Adds what a later part of the same step asked for.
    pub(crate) fn extend(&mut self, other: Self) {
        self.env.extend(other.env);
        self.paths.extend(other.paths);
        self.state.extend(other.state);
        self.summaries.extend(other.summaries);
        for annotation in other.annotations {
            if self.annotations.iter().filter(|a| a.level == annotation.level).count() < MAX_PER_LEVEL {
                self.annotations.push(annotation);
            }
        }
    }
}

impl Frame {
    /// The frame of a job.
    pub(crate) fn new(fixed: HashMap<String, Value>, env: IndexMap<String, String>) -> Self {
        Self {
            contexts: Contexts { fixed: Arc::new(fixed), steps: Object::new().into() },
            steps: Object::new(),
            env,
            over: IndexMap::new(),
            paths: Vec::new(),
            action: None,
            status: None,
        }
    }

    /// The frame of the steps of a composite action. They see neither secrets nor variables of the run
    /// nor other jobs: whatever they need is passed on as an input.
    pub(crate) fn inside(
        &self,
        action: Arc<ActionPlace>,
        inputs: &IndexMap<String, String>,
        env: &IndexMap<String, String>,
    ) -> Self {
        let mut fixed = (*self.contexts.fixed).clone();
        for hidden in ["secrets", "vars", "needs"] {
            fixed.remove(hidden);
        }
        fixed.insert("inputs".into(), scope::object(inputs));
        Self {
            contexts: Contexts { fixed: Arc::new(fixed), steps: Object::new().into() },
            steps: Object::new(),
            env: self.env.clone(),
            over: env.clone(),
            paths: self.paths.clone(),
            action: Some(action),
            status: Some(Status::Success),
        }
    }

    /// The variables of a step that adds none.
    pub(crate) fn step_env(&self) -> IndexMap<String, String> {
        let mut env = self.env.clone();
        env.extend(self.over.iter().map(|(k, v)| (k.clone(), v.clone())));
        env
    }

    /// Takes over variables and paths.
    pub(crate) fn absorb(&mut self, changes: &Changes) {
        self.env.extend(changes.env.iter().cloned());
        for path in &changes.paths {
            self.paths.retain(|p| p != path);
            self.paths.push(path.clone());
        }
    }

    /// Puts an ended step into the `steps` context.
    pub(crate) fn record(
        &mut self,
        id: &str,
        outcome: Conclusion,
        conclusion: Conclusion,
        outputs: &IndexMap<String, String>,
    ) {
        if id.is_empty() {
            return;
        }
        let entry: Object = [
            ("outputs", scope::object(outputs)),
            ("outcome", Value::from(outcome.as_result())),
            ("conclusion", Value::from(conclusion.as_result())),
        ]
        .into_iter()
        .collect();
        self.steps.insert(id, entry);
        self.contexts.steps = self.steps.clone().into();
    }

    /// The `steps` context, to be put back with [`Frame::restore`].
    pub(crate) fn recorded(&self) -> Object {
        self.steps.clone()
    }

    /// Puts a `steps` context back.
    pub(crate) fn restore(&mut self, steps: Object) {
        self.contexts.steps = steps.clone().into();
        self.steps = steps;
    }
}
