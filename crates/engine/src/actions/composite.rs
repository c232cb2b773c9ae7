//! Actions that are lists of steps. To the outside such an action is one step:
//! its steps share its place in the log, its report and its timeout. Inside,
//! `success()` and `failure()` speak of the steps of the action. Steps that
//! ask for the background run in the foreground here, as GitHub knows none.

use super::Loaded;
use crate::attempt::{Attempt, StepRun};
use crate::flow::{Stage, concluded};
use crate::frame::{Changes, Frame};
use crate::outcome::Outcome;
use crate::prepare::{Ready, When};
use crate::scope::Spot;
use fleetfoot_expr::Status;
use fleetfoot_model::spec::StepSpec;
use fleetfoot_model::state::{Conclusion, Reason};
use indexmap::IndexMap;
use std::sync::Arc;

impl Attempt<'_> {
    /// Carries out one stage of a composite action.
    pub(super) async fn run_composite(
        &self,
        stage: Stage,
        run: &StepRun<'_>,
        loaded: &Arc<Loaded>,
        steps: &[StepSpec],
        inputs: &IndexMap<String, String>,
    ) -> Outcome {
        let mut frame = run.frame.inside(loaded.place.clone(), inputs, run.env);
        let order: Vec<usize> = match stage {
            Stage::Main => (0..steps.len()).collect(),
            Stage::Pre => {
                (0..steps.len()).filter(|at| self.actions.has_pre(&format!("{}/{at}", run.path))).collect()
            }
            Stage::Post => self.actions.inner_posts(run.path),
        };
        if stage != Stage::Main {
            // Before the first step and after the last one, only the job counts.
            frame.status = None;
            frame.restore(self.actions.kept_steps(run.path));
        }
        let mut whole = Outcome::plain(Conclusion::Success);
        let mut leash = run.leash.clone();
        for at in order {
            self.look_around();
            leash.look_around();
            if self.kill.is_cancelled() {
                whole.conclusion = Conclusion::Cancelled;
                break;
            }
            let inner = Inner { stage, outer: run, step: &steps[at], at, leash: leash.clone() };
            let Some((conclusion, outcome)) = self.run_inner(&inner, &mut frame).await else { continue };
            let Outcome { conclusion: _, reason, message, exit_code, signal, leaked, usage, changes, .. } =
                outcome;
            whole.leaked |= leaked;
            add(&mut whole.usage, &usage);
            whole.changes.extend(Changes { state: Vec::new(), ..changes });
            if !conclusion.is_ok() {
                if frame.status == Some(Status::Success) {
                    let cancelled = conclusion == Conclusion::Cancelled;
                    frame.status = Some(if cancelled { Status::Cancelled } else { Status::Failure });
                }
                if whole.conclusion == Conclusion::Success {
                    whole = Outcome { conclusion, reason, message, exit_code, signal, told: true, ..whole };
                }
            }
        }
        if stage == Stage::Main {
            if let Err(message) = self.composite_outputs(run, loaded, &frame, &mut whole) {
                whole.spoil(Reason::BadSpecification, message);
            }
            self.actions.keep_steps(run.path, frame.recorded());
        }
        whole
    }

    /// A step of an action, from its condition to its entry in `steps`; `None` if it is skipped.
    async fn run_inner(&self, inner: &Inner<'_>, frame: &mut Frame) -> Option<(Conclusion, Outcome)> {
        let Inner { stage, outer, step, at, leash } = inner;
        let path = format!("{}/{at}", outer.path);
        let spot = Spot {
            id: outer.spot.id.clone(),
            key: format!("{}_{at}", outer.spot.key),
            action: frame.action.clone(),
        };
        let condition = self.actions.condition(*stage, &path);
        let when = match stage {
            Stage::Main => When::Step,
            _ => When::Stage(condition.as_deref()),
        };
        let (outcome, forgiving) = match self.prepare(step, frame, &spot, when) {
            Ok(None) => {
                if *stage == Stage::Main {
                    frame.record(&step.id, Conclusion::Skipped, Conclusion::Skipped, &IndexMap::new());
                }
                return None;
            }
            Ok(Some(Ready { env, continue_on_error, timeout_seconds, .. })) => {
                let run = StepRun {
                    index: outer.index,
                    path: &path,
                    spot,
                    frame,
                    env: &env,
                    leash: leash.within(timeout_seconds),
                };
                (Box::pin(self.act(*stage, &run, step)).await, continue_on_error)
            }
            Err(message) => (Outcome::failure(Reason::BadSpecification, message), false),
        };
        self.say_why(outer.index, &outcome).await;
        let standing = self.look_around();
        let conclusion = concluded(&outcome, forgiving && !standing.timed_out);
        if *stage == Stage::Main {
            frame.record(&step.id, outcome.conclusion, conclusion, &outcome.outputs);
        }
        frame.absorb(&outcome.changes);
        Some((conclusion, outcome))
    }

    /// Evaluates the outputs that the manifest promises.
    fn composite_outputs(
        &self,
        run: &StepRun<'_>,
        loaded: &Loaded,
        frame: &Frame,
        whole: &mut Outcome,
    ) -> Result<(), String> {
        let env = frame.step_env();
        let spot = Spot { action: frame.action.clone(), ..run.spot.clone() };
        let scope = self.scope(frame, &env, &spot);
        for (name, output) in &loaded.manifest.outputs {
            let Some(template) = &output.value else { continue };
            let value = self
                .text(template, &scope)
                .map_err(|e| format!("the output '{name}' of '{}': {e}", loaded.uses))?;
            whole.outputs.insert(name.clone(), value);
        }
        Ok(())
    }
}

/// A step of an action that is about to run.
struct Inner<'i> {
    stage: Stage,
    outer: &'i StepRun<'i>,
    step: &'i StepSpec,
    at: usize,
    leash: crate::attempt::Leash,
}

fn add(total: &mut fleetfoot_model::sync::Usage, part: &fleetfoot_model::sync::Usage) {
    total.cpu_user_us += part.cpu_user_us;
    total.cpu_system_us += part.cpu_system_us;
    total.max_rss_bytes = total.max_rss_bytes.max(part.max_rss_bytes);
    total.read_bytes += part.read_bytes;
    total.write_bytes += part.write_bytes;
}
