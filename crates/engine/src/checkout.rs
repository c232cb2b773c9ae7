//! `uses:` steps. One action is built in, `actions/checkout`.

use crate::attempt::Attempt;
use crate::outcome::Outcome;
use fleetfoot_model::state::Reason;
use indexmap::IndexMap;

impl Attempt<'_> {
    /// Carries out an action.
    pub(crate) async fn uses(
        &mut self,
        _index: u16,
        uses: &str,
        _with: &IndexMap<String, String>,
        _env: &IndexMap<String, String>,
        _timeout_seconds: Option<f64>,
    ) -> Outcome {
        let message = format!(
            "the action '{uses}' is not supported: built in is actions/checkout; use a 'run' step instead"
        );
        Outcome::failure(Reason::BadSpecification, message)
    }
}
