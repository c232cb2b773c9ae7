//! Containers: actions that are some, `docker://` images, and those of the job
//! (`container`, `services`). The one place that says no to them, until a
//! boundary offers containers; nothing else knows how they would run.

use crate::attempt::{Attempt, StepRun};
use crate::flow::Stage;
use crate::frame::Frame;
use crate::outcome::Outcome;
use crate::scope::Spot;
use fleetfoot_model::state::{Conclusion, Reason};

/// What to do about it.
const ADVICE: &str = "needs the container boundary, which this runner does not offer: give the job to a \
     runner that does, or";

impl Attempt<'_> {
    /// Whether the job asks for containers that this runner cannot give; an empty image asks for none.
    pub(crate) fn refuse_containers(&self, frame: &Frame) -> Result<(), Box<Outcome>> {
        let spec = &self.assignment.spec;
        let asked = spec.container.iter().map(|c| ("container".to_owned(), c));
        let asked = asked.chain(spec.services.iter().map(|(name, c)| (format!("services.{name}"), c)));
        let spot = Spot::default();
        for (key, container) in asked {
            let scope = self.scope(frame, &frame.env, &spot);
            let message = match self.text(&container.image, &scope) {
                Ok(image) if image.trim().is_empty() => continue,
                Ok(image) => format!("{key}: the image '{image}' {ADVICE} leave '{key}' out"),
                Err(e) => format!("{key}.image: {e}"),
            };
            return Err(Box::new(Outcome::failure(Reason::BadSpecification, message)));
        }
        Ok(())
    }

    /// Runs a stage of an action that is a container.
    pub(super) fn run_container(&self, stage: Stage, _run: &StepRun<'_>, uses: &str) -> Outcome {
        if stage != Stage::Main {
            // The step itself says it, if its condition lets it run at all.
            return Outcome::plain(Conclusion::Success);
        }
        let message = format!("'{uses}' is a container and {ADVICE} replace the step by a 'run' step");
        Outcome::failure(Reason::BadSpecification, message)
    }
}
