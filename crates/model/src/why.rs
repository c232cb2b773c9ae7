//! Why a job waits, as data and in words (promise 10).

use crate::boundary::Boundary;
use crate::ids::{JobId, RunId, RunnerId};
use crate::observe::Candidate;
use crate::state::Status;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The answer to "why does this job not run?".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// The job.
    pub job: JobId,
    /// Where it stands.
    pub status: Status,
    /// One sentence for people.
    pub summary: String,
    /// Every reason that holds, the decisive one first. Empty if it does not wait.
    pub reasons: Vec<WhyReason>,
    /// The runners that come nearest and what keeps each from the job (at most ten), while it waits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<Candidate>,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum WhyReason {
    /// Jobs that it needs have not ended.
    Needs {
        /// Keys of the jobs.
        jobs: Vec<String>,
    },
    /// No runner is connected at all.
    NoRunnerOnline,
    /// Runners are connected, but none takes jobs of this queue.
    QueueNotServed {
        /// The queue.
        queue: String,
    },
    /// No connected runner offers all the labels.
    LabelsNotOffered {
        /// Labels that nobody in the fleet offers.
        nobody_offers: Vec<String>,
        /// The runners that come nearest and what each lacks (at most five).
        nearest: Vec<NearRunner>,
    },
    /// No matching runner reaches the boundary that the job demands.
    BoundaryNotOffered {
        /// What the job demands.
        minimum: Boundary,
        /// The strongest boundary among the runners that match otherwise.
        best: Option<Boundary>,
    },
    /// The job has a container or services, and no matching runner has a container engine.
    ContainersNotOffered {
        /// Runners that match otherwise (at most twenty).
        runners: Vec<RunnerId>,
    },
    /// The job asks for more than any matching runner allows.
    LimitsNotAllowed {
        /// The runners that come nearest and what each does not allow (at most five).
        nearest: Vec<NearRunner>,
    },
    /// Matching runners are all busy.
    RunnersBusy {
        /// Who (at most twenty).
        runners: Vec<RunnerId>,
        /// How many jobs of the same queue go first.
        ahead: u64,
    },
    /// Matching runners are draining or report an error.
    RunnersUnavailable {
        /// Who (at most twenty).
        runners: Vec<RunnerId>,
    },
    /// Matching runners run a version too far from the server's.
    VersionTooOld {
        /// Who (at most twenty).
        runners: Vec<RunnerId>,
    },
    /// The group already has a running member.
    ConcurrencyGroup {
        /// Name of the group.
        group: String,
        /// The job that holds it, if a job does.
        holder_job: Option<JobId>,
        /// The run that holds it, if a run does.
        holder_run: Option<RunId>,
    },
    /// As many legs of its matrix run as are allowed.
    MaxParallel {
        /// The limit.
        limit: u32,
    },
    /// It is to be tried again, but not yet.
    RetryDelay {
        /// Not before.
        until: Timestamp,
    },
    /// Somebody has to approve it first.
    Approval {
        /// The environment whose rules ask for it; absent if the whole run waits.
        environment: Option<String>,
        /// Who may; empty means every member (of a run) or every admin (of an environment).
        reviewers: Vec<String>,
        /// Why, for a run.
        reason: Option<String>,
    },
    /// The wait timer of its environment runs.
    WaitTimer {
        /// The environment.
        environment: String,
        /// Not before.
        until: Timestamp,
    },
    /// A runner is free and will take it any moment.
    Ready,
}

/// A runner that would nearly do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NearRunner {
    /// The runner.
    pub runner: RunnerId,
    /// Its name.
    pub name: String,
    /// Labels it lacks, or limits that it does not allow.
    pub lacks: Vec<String>,
}
