//! Names and labels of everything that is made: who it belongs to can be read
//! from it alone, also after a crash. It must never match what is another runner's.

use bollard::models::ContainerSummary;
use fleetfoot_model::ids::AttemptRef;
use std::collections::HashMap;

/// Label with the tag of the runner.
pub(crate) const RUNNER: &str = "fleetfoot.runner";
/// Label with the id of the job.
pub(crate) const JOB: &str = "fleetfoot.job";
/// Label with the attempt, `JOB.ATTEMPT.EPOCH`.
pub(crate) const ATTEMPT: &str = "fleetfoot.attempt";
/// Label with the epoch.
pub(crate) const EPOCH: &str = "fleetfoot.epoch";
/// Label with what it is for: `job`, `action`, `service`, `helper`, `network`, `volume`, `image`.
pub(crate) const ROLE: &str = "fleetfoot.role";
/// Label of networks that were made before it was known for which attempt: the process that made it.
pub(crate) const SPARE: &str = "fleetfoot.spare";
/// Label with the image as it was asked for.
pub(crate) const IMAGE: &str = "fleetfoot.image";

/// Beginning of the names of containers that were kept.
const KEPT: &str = "fleetfoot-kept";

/// A tag with nothing but plain characters.
pub(crate) fn plain(tag: &str) -> String {
    tag.chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '-' })
        .take(64)
        .collect()
}

pub(crate) fn labels(tag: &str, attempt: AttemptRef, role: &str) -> HashMap<String, String> {
    [
        (RUNNER, tag.to_owned()),
        (JOB, attempt.job.to_string()),
        (ATTEMPT, attempt.to_string()),
        (EPOCH, attempt.epoch.to_string()),
        (ROLE, role.to_owned()),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v))
    .collect()
}

pub(crate) fn spare_labels(tag: &str, owner: &str) -> HashMap<String, String> {
    [(RUNNER, tag), (ROLE, "network"), (SPARE, owner)]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

/// `fleetfoot-TAG-JOB.ATTEMPT.EPOCH`, the name of the network and the beginning of all others.
pub(crate) fn base(tag: &str, attempt: AttemptRef) -> String {
    format!("fleetfoot-{tag}-{attempt}")
}

/// Name of a kept container; says whether its attempt failed.
pub(crate) fn kept(id: &str, failed: bool, name: &str) -> String {
    let short = id.get(..12).unwrap_or(id);
    let name = name.trim_start_matches('/').trim_start_matches("fleetfoot-");
    format!("{KEPT}-{}-{short}-{name}", if failed { "failed" } else { "ok" })
}

/// Whether a container was kept, and whether its attempt had failed.
pub(crate) fn was_kept(container: &ContainerSummary) -> Option<bool> {
    let name = container.names.as_ref()?.first()?.trim_start_matches('/');
    let rest = name.strip_prefix(KEPT)?;
    Some(rest.starts_with("-failed-"))
}

pub(crate) fn label<'a>(labels: &'a Option<HashMap<String, String>>, name: &str) -> Option<&'a str> {
    labels.as_ref()?.get(name).map(String::as_str)
}

/// The filter of the engine for labels.
pub(crate) fn filter(tag: &str, attempt: Option<AttemptRef>) -> HashMap<String, Vec<String>> {
    let mut labels = vec![format!("{RUNNER}={tag}")];
    labels.extend(attempt.map(|a| format!("{ATTEMPT}={a}")));
    HashMap::from([("label".to_owned(), labels)])
}
