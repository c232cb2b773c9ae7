//! What a trial of a boundary found: for people, for programs, and for the
//! next start of the runner. Plain values.

use super::make::Made;
use fleetfoot_model::boundary::Boundary;
use serde::{Deserialize, Serialize};

/// One boundary on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundaryReport {
    /// Which.
    pub boundary: Boundary,
    /// Jobs can get it: it works and the operator allows it.
    pub offered: bool,
    /// It was made and removed again.
    pub works: bool,
    /// What was seen to hold.
    pub holds: Vec<String>,
    /// What is not there.
    pub missing: Vec<Missing>,
    /// What the driver has to remember of the trial, for the next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
}

/// Something that is not there, and what helps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// What.
    pub what: String,
    /// What to do about it.
    pub fix: String,
    /// Without it the boundary is not offered.
    pub required: bool,
}

impl BoundaryReport {
    /// A boundary that does not work, for this one reason.
    pub(super) fn broken(boundary: Boundary, what: impl Into<String>, fix: impl Into<String>) -> Self {
        let missing = vec![Missing { what: what.into(), fix: fix.into(), required: true }];
        Self { boundary, offered: false, works: false, holds: Vec::new(), missing, chosen: None }
    }
}

/// The outcome of a trial.
pub struct Tried {
    /// In words.
    pub report: BoundaryReport,
    /// What makes it, if it works.
    pub(super) made: Option<Made>,
}

impl std::fmt::Debug for Tried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tried").field("report", &self.report).finish_non_exhaustive()
    }
}

impl Tried {
    /// There is no such boundary yet.
    pub(super) fn nothing(boundary: Boundary) -> Self {
        let report = BoundaryReport::broken(boundary, "this version cannot make it", "use a weaker one");
        Self { report, made: None }
    }
}
