//! One stage of a `uses` step: finds its action, evaluates the inputs, and
//! hands over to the kind of action that it is.

use super::{Loaded, inputs};
use crate::attempt::{Attempt, StepRun};
use crate::flow::Stage;
use crate::outcome::Outcome;
use crate::reports::Entry;
use fleetfoot_actions::{Reference, Runs};
use fleetfoot_model::spec::StepSpec;
use fleetfoot_model::state::{Conclusion, Reason};
use indexmap::IndexMap;
use std::sync::Arc;

/// What a step uses.
enum Target {
    Checkout,
    Image,
    Action(Arc<Loaded>),
}

impl Attempt<'_> {
    /// Carries out one stage of an action.
    pub(crate) async fn uses(
        &self,
        stage: Stage,
        run: &StepRun<'_>,
        step: &StepSpec,
        uses: &str,
        with: &IndexMap<String, String>,
    ) -> Outcome {
        let target = match self.target(run, uses).await {
            Ok(target) => target,
            Err(stopped) => return *stopped,
        };
        let given = match self.given(run, with) {
            Ok(given) => given,
            Err(message) => return Outcome::failure(Reason::BadSpecification, message),
        };
        match target {
            Target::Checkout => self.built_in_checkout(run, &given).await,
            Target::Image => self.run_image(run, uses, &given).await,
            Target::Action(loaded) => self.run_action(stage, run, step, &loaded, &given).await,
        }
    }

    async fn target(&self, run: &StepRun<'_>, uses: &str) -> Result<Target, Box<Outcome>> {
        if self.actions.is_built_in(uses) {
            return Ok(Target::Checkout);
        }
        if let Some(loaded) = self.actions.loaded(run.path) {
            return Ok(Target::Action(loaded));
        }
        let bad = |message: String| Box::new(Outcome::failure(Reason::BadSpecification, message));
        match Reference::parse(uses).map_err(|e| bad(e.to_string()))? {
            Reference::Local(directory) => {
                self.load_local(run.index, run.path, uses, &directory).await.map(Target::Action)
            }
            Reference::Docker(_) => Ok(Target::Image),
            Reference::Remote(_) => Err(bad(format!("the action '{uses}' was not fetched"))),
        }
    }

    async fn run_action(
        &self,
        stage: Stage,
        run: &StepRun<'_>,
        step: &StepSpec,
        loaded: &Arc<Loaded>,
        given: &IndexMap<String, String>,
    ) -> Outcome {
        let inputs = match self.inputs(run, loaded, given) {
            Ok(inputs) => inputs,
            Err(message) => return Outcome::failure(Reason::BadSpecification, message),
        };
        let mut annotations = Vec::new();
        if stage == Stage::Main {
            self.introduce(run, step, loaded, &inputs).await;
            for warning in inputs::warnings(loaded, given) {
                self.log.say(run.index, &format!("Warning: {warning}")).await;
                annotations.push(self.annotation("warning", run.index, &warning));
            }
        }
        let mut outcome = match &loaded.manifest.runs {
            Runs::Node { main, pre, post, .. } => {
                if post.is_some() && stage != Stage::Post {
                    self.register_post(run.path);
                }
                let script = match stage {
                    Stage::Pre => pre.as_deref(),
                    Stage::Main => Some(main.as_str()),
                    Stage::Post => post.as_deref(),
                };
                match script {
                    Some(script) => self.run_node(run, loaded, script, &inputs).await,
                    None => Outcome::plain(Conclusion::Success),
                }
            }
            Runs::Composite { steps } => {
                Box::pin(self.run_composite(stage, run, loaded, steps, &inputs)).await
            }
            Runs::Docker { .. } => self.run_container(stage, run, loaded, &inputs).await,
        };
        outcome.changes.annotations.splice(0..0, annotations);
        outcome
    }

    /// Says which action runs, with what.
    async fn introduce(
        &self,
        run: &StepRun<'_>,
        step: &StepSpec,
        loaded: &Loaded,
        inputs: &IndexMap<String, String>,
    ) {
        let mut lines = Vec::new();
        let shown = |map: &mut dyn Iterator<Item = (&String, &String)>, lines: &mut Vec<String>| {
            for (name, value) in map.filter(|(_, value)| !value.is_empty()) {
                lines.push(format!("  {name}: {value}"));
            }
        };
        if inputs.values().any(|v| !v.is_empty()) {
            lines.push("with:".to_owned());
            shown(&mut inputs.iter(), &mut lines);
        }
        if !step.env.is_empty() {
            lines.push("env:".to_owned());
            shown(&mut run.env.iter().filter(|(name, _)| step.env.contains_key(*name)), &mut lines);
        }
        self.say_group(run.index, &format!("Run {}", loaded.uses), &lines).await;
    }

    /// The action has something to do after the last step of the job.
    pub(super) fn register_post(&self, path: &str) {
        let Some(at) = self.actions.register_post(path) else { return };
        let id = format!("__post_{}", self.assignment.spec.steps[at].id);
        let mut reports = self.reports();
        let name = format!("Post {}", reports.name(Entry::Main(at)));
        reports.push_post(at, id, name);
    }
}
