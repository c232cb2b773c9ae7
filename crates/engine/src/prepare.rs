//! What is evaluated before a step starts: its variables, whether it runs at
//! all, its name, and how its failure and its length are to be taken. Nothing
//! here changes the attempt.

use crate::attempt::Attempt;
use crate::frame::Frame;
use crate::scope::Spot;
use fleetfoot_expr::{Expr, Status as JobStatus, Template, Value};
use fleetfoot_model::spec::{StepAction, StepSpec};
use indexmap::IndexMap;

/// What is known about a step when it starts.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) name: String,
    pub(crate) continue_on_error: bool,
    pub(crate) timeout_seconds: Option<f64>,
    /// All variables of the step.
    pub(crate) env: IndexMap<String, String>,
}

/// Whose condition decides.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When<'c> {
    /// That of the step.
    Step,
    /// That of a stage of its action (`pre-if`, `post-if`); none means always.
    Stage(Option<&'c str>),
}

impl Attempt<'_> {
    /// Evaluates what must be known before a step starts; `None` if its condition is false.
    pub(crate) fn prepare(
        &self,
        step: &StepSpec,
        frame: &Frame,
        spot: &Spot,
        when: When<'_>,
    ) -> Result<Option<Ready>, String> {
        let mut env = frame.step_env();
        let mut own = IndexMap::with_capacity(step.env.len());
        for (name, value) in &step.env {
            let value =
                self.text(value, &self.scope(frame, &env, spot)).map_err(|e| format!("env.{name}: {e}"))?;
            own.insert(name.clone(), value);
        }
        env.extend(own);
        let scope = self.scope(frame, &env, spot);
        let holds = match (when, &step.condition) {
            (When::Step, None) => scope.status == JobStatus::Success,
            (When::Step, Some(condition)) => fleetfoot_expr::condition(condition)
                .and_then(|c| c.evaluate(&scope))
                .map_err(|e| format!("if: {e}"))?
                .is_truthy(),
            (When::Stage(None), _) => true,
            // Unlike that of a step, it holds after a failure unless it asks for success itself.
            (When::Stage(Some(condition)), _) => {
                let evaluated = if condition.contains("${{") {
                    Template::parse(condition).and_then(|t| t.evaluate(&scope))
                } else {
                    Expr::parse(condition).and_then(|e| e.evaluate(&scope))
                };
                evaluated.map_err(|e| format!("condition of the action: {e}"))?.is_truthy()
            }
        };
        if !holds {
            return Ok(None);
        }
        let name = match (&step.name, &step.action) {
            (Some(name), _) => self.text(name, &scope).unwrap_or_else(|_| name.clone()),
            (None, StepAction::Run { script, .. }) => {
                StepSpec::run_name(&self.text(script, &scope).unwrap_or_else(|_| script.clone()))
            }
            (None, _) => step.raw_name(),
        };
        let value = |template: &Option<String>, key: &str| match template {
            None => Ok(None),
            Some(text) => Template::parse(text)
                .and_then(|t| t.evaluate(&scope))
                .map(Some)
                .map_err(|e| format!("{key}: {e}")),
        };
        let continue_on_error = match value(&step.continue_on_error, "continue-on-error")? {
            None | Some(Value::Null) => false,
            Some(Value::Bool(yes)) => yes,
            Some(other) => match other.to_display_string().as_str() {
                "true" => true,
                "false" | "" => false,
                text => return Err(format!("continue-on-error: '{text}' is neither true nor false")),
            },
        };
        let timeout_seconds = match value(&step.timeout_minutes, "timeout-minutes")? {
            None | Some(Value::Null) => None,
            Some(minutes) => {
                let number = minutes.to_number();
                if !number.is_finite() || number < 0.0 {
                    let text = minutes.to_display_string();
                    return Err(format!("timeout-minutes: '{text}' is not a number of minutes"));
                }
                // Zero means none, as at GitHub.
                (number > 0.0).then_some(number * 60.0)
            }
        };
        let name = self.log.masker.mask(&name);
        Ok(Some(Ready { name, continue_on_error, timeout_seconds, env }))
    }
}
