//! Labels: what a job requires and a runner offers. Comparison ignores case;
//! a job matches a runner when its labels are a subset.

use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// One label, kept as written, compared by its lower-case form.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct Label(pub String);

impl Label {
    /// The form used for comparison.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }

    /// A label is 1 to 256 characters, without control characters or commas
    /// (commas separate labels on the command line).
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let n = self.0.chars().count();
        (1..=256).contains(&n) && !self.0.chars().any(|c| c.is_control() || c == ',')
    }
}

impl PartialEq for Label {
    fn eq(&self, other: &Self) -> bool {
        self.folded() == other.folded()
    }
}
impl Eq for Label {}

impl From<&str> for Label {
    fn from(s: &str) -> Self {
        Self(s.trim().to_owned())
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A canonical set of labels: lower-case, sorted, without duplicates. Two jobs
/// with the same set share one entry in the scheduler's index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Vec<String>)]
pub struct LabelSet(Box<[String]>);

impl LabelSet {
    /// Builds the canonical form.
    pub fn new<'a>(labels: impl IntoIterator<Item = &'a Label>) -> Self {
        let mut all: Vec<String> = labels.into_iter().map(Label::folded).collect();
        all.sort_unstable();
        all.dedup();
        Self(all.into_boxed_slice())
    }

    /// Whether every label of `self` is in `offered`.
    #[must_use]
    pub fn is_subset_of(&self, offered: &Self) -> bool {
        self.0.iter().all(|l| offered.0.binary_search(l).is_ok())
    }

    /// The labels of `self` that `offered` lacks.
    #[must_use]
    pub fn missing_from(&self, offered: &Self) -> Vec<String> {
        self.0.iter().filter(|l| offered.0.binary_search(l).is_err()).cloned().collect()
    }

    /// The labels in order.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl FromIterator<Label> for LabelSet {
    fn from_iter<T: IntoIterator<Item = Label>>(iter: T) -> Self {
        let all: Vec<Label> = iter.into_iter().collect();
        Self::new(&all)
    }
}
