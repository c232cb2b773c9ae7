//! Actions that are containers, `docker://` images included. The one place
//! that says no to them, until a boundary offers containers; nothing else
//! knows how such an action would run.

use crate::attempt::{Attempt, StepRun};
use crate::outcome::Outcome;
use fleetfoot_model::state::Reason;

impl Attempt<'_> {
    /// Runs an action that is a container.
    pub(super) fn run_container(&self, _run: &StepRun<'_>, uses: &str) -> Outcome {
        let message = format!(
            "'{uses}' runs in a container, and it needs the container boundary, which this runner does not \
             offer: give the job to a runner that does, or replace the step by a 'run' step"
        );
        Outcome::failure(Reason::BadSpecification, message)
    }
}
