//! What trials found, kept for the next start of the runner: a boundary that
//! worked an hour ago on the same boot, with the same settings and the same
//! version, is not tried again. One that did not work is: somebody may have
//! mended it. It must never make a runner offer what was not seen to work.

use super::BoundaryPlan;
use super::report::BoundaryReport;
use crate::clock;
use crate::files::write_private;
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// How long a trial is believed.
const FRESH: Duration = Duration::from_secs(3600);

#[derive(Debug, Serialize, Deserialize)]
struct Found {
    /// Everything that a trial depends on.
    key: String,
    at: Timestamp,
    reports: Vec<BoundaryReport>,
}

fn file(plan: &BoundaryPlan) -> PathBuf {
    plan.directory.join("boundaries.json")
}

/// Boot, program, user and settings.
fn key(plan: &BoundaryPlan) -> String {
    use std::os::unix::fs::MetadataExt;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let program = std::fs::metadata("/proc/self/exe").map(|m| (m.ino(), m.mtime(), m.size())).ok();
    let user = rustix::process::geteuid().as_raw();
    let group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    format!("{} {program:?} {user} {group:?} {:?}", boot.trim(), plan.config)
}

/// What is known about a boundary that worked.
pub(super) fn load(plan: &BoundaryPlan, boundary: Boundary) -> Option<BoundaryReport> {
    let text = std::fs::read(file(plan)).ok()?;
    let found: Found = serde_json::from_slice(&text).ok()?;
    let now = clock::now();
    let fresh = found.at <= now && now < found.at + FRESH;
    if !fresh || found.key != key(plan) {
        return None;
    }
    found.reports.into_iter().find(|r| r.boundary == boundary && r.works)
}

/// Keeps what was found. Best effort: without it the next start tries again.
pub(super) fn save(plan: &BoundaryPlan, reports: Vec<BoundaryReport>) {
    let key = key(plan);
    // Something that was remembered itself does not become younger.
    if let Ok(text) = std::fs::read(file(plan))
        && let Ok(before) = serde_json::from_slice::<Found>(&text)
        && before.key == key
        && before.reports == reports
        && clock::now() < before.at + FRESH
    {
        return;
    }
    let found = Found { key, at: clock::now(), reports };
    let written = serde_json::to_vec_pretty(&found)
        .map_err(std::io::Error::other)
        .and_then(|text| write_private(&file(plan), &text));
    if let Err(error) = written {
        tracing::debug!(%error, "what was found out about boundaries cannot be kept");
    }
}
