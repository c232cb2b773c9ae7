//! How a job stands in the words of each forge: commit statuses everywhere,
//! check runs at GitHub. Pure translation.

use fleetfoot_model::repos::ForgeKind;
use fleetfoot_model::state::{Conclusion, Status};

/// What a commit is to show for one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not started.
    Pending,
    /// Running.
    Running,
    /// Succeeded.
    Success,
    /// Failed or timed out.
    Failure,
    /// Cancelled.
    Cancelled,
    /// Not needed.
    Skipped,
    /// The workflow itself could not be used.
    Error,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Running,
        Self::Success,
        Self::Failure,
        Self::Cancelled,
        Self::Skipped,
        Self::Error,
    ];

    /// The state of a job.
    #[must_use]
    pub const fn of(status: Status, conclusion: Option<Conclusion>) -> Self {
        match (status, conclusion) {
            (_, Some(Conclusion::Success)) => Self::Success,
            (_, Some(Conclusion::Failure | Conclusion::TimedOut)) => Self::Failure,
            (_, Some(Conclusion::Cancelled)) => Self::Cancelled,
            (_, Some(Conclusion::Skipped)) => Self::Skipped,
            (Status::Running, None) => Self::Running,
            (_, None) => Self::Pending,
        }
    }

    /// The word in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
            Self::Error => "error",
        }
    }

    /// From [`State::as_str`].
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }

    /// The word of a commit status at this forge.
    #[must_use]
    pub const fn commit_status(self, forge: ForgeKind) -> &'static str {
        match (forge, self) {
            (ForgeKind::Gitlab, Self::Running) => "running",
            (ForgeKind::Gitlab, Self::Failure | Self::Error) => "failed",
            (ForgeKind::Gitlab, Self::Cancelled) => "canceled",
            (_, Self::Pending | Self::Running) => "pending",
            // What was not needed must not hold a merge back.
            (_, Self::Success | Self::Skipped) => "success",
            (_, Self::Failure) => "failure",
            (_, Self::Cancelled | Self::Error) => "error",
        }
    }

    /// Status and conclusion of a check run at GitHub.
    #[must_use]
    pub const fn check_run(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Pending => ("queued", None),
            Self::Running => ("in_progress", None),
            Self::Success => ("completed", Some("success")),
            Self::Failure | Self::Error => ("completed", Some("failure")),
            Self::Cancelled => ("completed", Some("cancelled")),
            Self::Skipped => ("completed", Some("skipped")),
        }
    }
}

/// The name of the status of one job: what branch protection rules refer to.
#[must_use]
pub fn context(workflow: &str, job: &str, event: &str) -> String {
    let name = if workflow.is_empty() { job.to_owned() } else { format!("{workflow} / {job}") };
    clip(&format!("fleetfoot / {name} ({event})"), 255)
}

/// A description as forges take it: one line, at most 140 characters.
#[must_use]
pub fn description(text: &str) -> String {
    clip(text.lines().next().unwrap_or_default(), 140)
}

fn clip(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_word_at_every_forge() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
            for forge in [ForgeKind::Github, ForgeKind::Gitea, ForgeKind::Forgejo] {
                assert!(["pending", "success", "failure", "error"].contains(&state.commit_status(forge)));
            }
            let known = ["pending", "running", "success", "failed", "canceled"];
            assert!(known.contains(&state.commit_status(ForgeKind::Gitlab)));
            let (status, conclusion) = state.check_run();
            assert_eq!(status == "completed", conclusion.is_some());
        }
        assert_eq!(State::of(Status::Running, None), State::Running);
        assert_eq!(State::of(Status::Waiting, None), State::Pending);
        assert_eq!(State::of(Status::Completed, Some(Conclusion::TimedOut)), State::Failure);
    }

    #[test]
    fn names_and_descriptions_are_short_enough() {
        assert_eq!(context("CI", "build (20)", "push"), "fleetfoot / CI / build (20) (push)");
        assert_eq!(context("", "build", "push"), "fleetfoot / build (push)");
        assert_eq!(context(&"ä".repeat(400), "b", "push").chars().count(), 255);
        assert_eq!(description("one\ntwo"), "one");
        assert_eq!(description(&"x".repeat(500)).chars().count(), 140);
    }
}
