//! Which secrets of its run a job may see. Nothing else reads the secrets of
//! an assignment: contexts, masks and steps get what comes out of here.

use crate::scope;
use fleetfoot_expr::{MapScope, Template, Value};
use fleetfoot_model::spec::SecretAccess;
use fleetfoot_model::sync::Assignment;
use indexmap::IndexMap;

/// The secrets that the job may see. `GITHUB_TOKEN` is not among them unless it was given: the job's
/// own token takes its place where it is asked for.
///
/// # Errors
/// A template that cannot be evaluated, with its name.
pub(crate) fn visible(assignment: &Assignment) -> Result<IndexMap<String, String>, String> {
    let SecretAccess::Mapped(layers) = &assignment.spec.secrets else {
        return Ok(assignment.secrets.clone());
    };
    let mut secrets = assignment.secrets.clone();
    for layer in layers {
        // Every workflow has the token, whoever calls it.
        let token = token(&secrets, assignment).to_owned();
        let mut seen = secrets.clone();
        seen.entry("GITHUB_TOKEN".into()).or_insert_with(|| token.clone());
        let mut expressions = MapScope::new().with("secrets", scope::object(&seen));
        for (name, value) in &layer.contexts {
            expressions = expressions.with(&name.to_ascii_lowercase(), Value::from_json(value));
        }
        let mut passed = IndexMap::with_capacity(layer.values.len() + 1);
        for (name, template) in &layer.values {
            let value = Template::parse(template)
                .and_then(|t| t.evaluate_string(&expressions))
                .map_err(|e| format!("secrets.{name}: {e}"))?;
            passed.insert(name.clone(), value);
        }
        if let Some(own) = secrets.get("GITHUB_TOKEN") {
            passed.entry("GITHUB_TOKEN".into()).or_insert_with(|| own.clone());
        }
        secrets = passed;
    }
    Ok(secrets)
}

/// `github.token`: the secret of that name if there is one, otherwise the token of the job.
pub(crate) fn token<'t>(secrets: &'t IndexMap<String, String>, assignment: &'t Assignment) -> &'t str {
    secrets.get("GITHUB_TOKEN").filter(|t| !t.is_empty()).unwrap_or(&assignment.job_token)
}
