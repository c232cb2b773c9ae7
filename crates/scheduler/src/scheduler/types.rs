//! What goes into the scheduler and what comes out of it. Plain values; nothing
//! here decides anything.

use super::ceiling::Ceiling;
use fleetfoot_model::spec::Concurrency;
use fleetfoot_model::{
    AttemptNumber, AttemptRef, Boundary, Conclusion, JobId, LabelSet, Reason, RunId, RunnerId, RunnerState,
    Timestamp,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Periods after which silence means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long an attempt stays a runner's after the last heartbeat that listed it.
    pub lease: Duration,
    /// An idle runner that was not heard for this long is offline.
    pub offline_after: Duration,
    /// A runner whose connection broke and that is not back within this time is
    /// offline, and its leases expire.
    pub disconnect_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            offline_after: Duration::from_secs(90),
            disconnect_grace: Duration::from_secs(10),
        }
    }
}

/// A job that is ready for the queue: everything it needs has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct QueuedJob {
    /// The job.
    pub id: JobId,
    /// Its run.
    pub run: RunId,
    /// Project: scope of fairness and of concurrency groups.
    pub project: Arc<str>,
    /// Queue.
    pub queue: Arc<str>,
    /// Labels that a runner must offer.
    pub labels: LabelSet,
    /// Higher goes first.
    pub priority: i32,
    /// The weakest boundary that the job accepts.
    pub min_boundary: Boundary,
    /// It needs a container engine.
    pub containers: bool,
    /// What it asks for.
    pub limits: Ceiling,
    /// When it was queued, for people: the order of arrival here decides.
    pub queued_at: Timestamp,
    /// If nobody took it by then, it ends.
    pub queue_deadline: Option<Timestamp>,
    /// A retry waits at least until then.
    pub not_before: Option<Timestamp>,
    /// The number that its next attempt gets.
    pub next_attempt: AttemptNumber,
    /// Its concurrency group.
    pub concurrency: Option<Concurrency>,
    /// The limit that it shares with the other legs of its matrix.
    pub parallel: Option<Parallel>,
}

/// `max-parallel` of one matrix node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parallel {
    /// The run.
    pub run: RunId,
    /// Key of the node within the run.
    pub key: Arc<str>,
    /// At most this many legs run at once; 0 counts as 1.
    pub limit: u32,
}

/// What a runner offers, as last told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerOffer {
    /// The runner.
    pub id: RunnerId,
    /// Its name.
    pub name: Arc<str>,
    /// Labels that it offers.
    pub labels: LabelSet,
    /// Queues that it serves; empty means `default`.
    pub queues: Vec<Arc<str>>,
    /// Strongest boundary that it offers.
    pub boundary: Boundary,
    /// It has a container engine.
    pub containers: bool,
    /// The most that it allows a job.
    pub limits: Ceiling,
    /// Jobs that it takes at once.
    pub slots: u32,
    /// It finishes what it has and takes nothing new.
    pub draining: bool,
    /// It says that it cannot work.
    pub error: bool,
    /// Its version is close enough to the server's.
    pub version_ok: bool,
    /// It takes one job in its life.
    pub one_off: bool,
}

/// A decision. The caller makes it durable and tells the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Give this job to this runner. The slot is taken already: the caller makes
    /// an epoch, persists the lease and then calls [`Scheduler::leased`], or
    /// [`Scheduler::unassign`] if it could not.
    ///
    /// [`Scheduler::leased`]: super::Scheduler::leased
    /// [`Scheduler::unassign`]: super::Scheduler::unassign
    Assign {
        /// The job.
        job: JobId,
        /// Its run.
        run: RunId,
        /// Who gets it.
        runner: RunnerId,
        /// Number of the attempt.
        attempt: AttemptNumber,
    },
    /// A job that was waiting ends without running. The scheduler has forgotten
    /// it already (a later `remove` of it does nothing).
    CompleteJob {
        /// The job.
        job: JobId,
        /// Its run.
        run: RunId,
        /// How it ends.
        conclusion: Conclusion,
        /// Why, for machines.
        reason: Reason,
        /// Why, for people.
        message: String,
    },
    /// A running job is to be cancelled. It keeps its place until `finish`.
    CancelJob {
        /// The job.
        job: JobId,
        /// Its run.
        run: RunId,
        /// Why.
        reason: Reason,
    },
    /// A job that its concurrency group or a retry delay held back is ready for
    /// a runner now (`waiting` becomes `queued`).
    ReleaseJob {
        /// The job.
        job: JobId,
        /// Its run.
        run: RunId,
    },
    /// A run that its concurrency group held back may start.
    ReleaseRun {
        /// The run.
        run: RunId,
    },
    /// A run is to be cancelled: it waited for its group and was superseded (then
    /// the scheduler has forgotten it already), or it runs and a newcomer of its
    /// group cancels what is in progress (then it keeps its place until `run_ended`).
    CancelRun {
        /// The run.
        run: RunId,
        /// Why.
        reason: Reason,
    },
    /// Nobody vouched for this attempt in time. It keeps its slot until `finish`;
    /// the action is repeated once per lease period until then.
    LeaseExpired {
        /// The attempt.
        attempt: AttemptRef,
        /// Who held it.
        runner: RunnerId,
    },
    /// A runner was not heard for too long.
    RunnerOffline {
        /// The runner.
        runner: RunnerId,
    },
}

/// Why a runner does not get a job that it asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClaimError {
    /// The runner is not known here.
    #[error("runner {0} is not known")]
    UnknownRunner(RunnerId),
    /// The runner takes nothing at the moment.
    #[error("runner {runner} takes no jobs: it is {state}")]
    RunnerUnavailable {
        /// The runner.
        runner: RunnerId,
        /// Its state.
        state: RunnerState,
    },
    /// The runner's version is too far from the server's.
    #[error("the version of runner {0} is too far from the server's")]
    VersionTooOld(RunnerId),
    /// A one-off runner had its job.
    #[error("runner {0} is a one-off runner and has had its job")]
    OneOffUsed(RunnerId),
    /// Every slot is taken.
    #[error("runner {0} has no free slot")]
    NoFreeSlot(RunnerId),
    /// The job is not waiting here: unknown, running or ended.
    #[error("job {0} is not queued")]
    NotQueued(JobId),
    /// The job asks for labels that the runner lacks.
    #[error("runner {runner} lacks labels of job {job}: {}", missing.join(", "))]
    LabelsDoNotMatch {
        /// The runner.
        runner: RunnerId,
        /// The job.
        job: JobId,
        /// What it lacks.
        missing: Vec<String>,
    },
    /// The runner does not serve the job's queue.
    #[error("runner {runner} does not serve queue '{queue}'")]
    QueueNotServed {
        /// The runner.
        runner: RunnerId,
        /// The queue.
        queue: Arc<str>,
    },
    /// The runner's boundary is too weak.
    #[error("the job demands boundary {minimum}, runner {runner} offers {offered}")]
    BoundaryTooWeak {
        /// The runner.
        runner: RunnerId,
        /// What the job demands.
        minimum: Boundary,
        /// What the runner offers.
        offered: Boundary,
    },
    /// The job needs a container engine and the runner has none.
    #[error("the job has a container or services, runner {0} has no container engine")]
    NoContainers(RunnerId),
    /// The job asks for more than the runner allows.
    #[error("the job asks for more than runner {runner} allows: {}", refused.join(", "))]
    LimitsNotAllowed {
        /// The runner.
        runner: RunnerId,
        /// What it does not allow, in words.
        refused: Vec<String>,
    },
    /// A concurrency group, `max-parallel` or a retry delay holds the job back.
    #[error("job {0} is held back by a limit")]
    Held(JobId),
    /// Nothing that this runner could take is waiting.
    #[error("nothing that runner {0} could take is waiting")]
    NothingWaiting(RunnerId),
}

/// Counts for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Jobs that wait, held ones included, by queue; queues without any are left out.
    pub queues: BTreeMap<Arc<str>, u64>,
    /// Of these, jobs that a group, `max-parallel` or a retry delay holds back.
    pub held: u64,
    /// Jobs that are with a runner.
    pub running: u64,
    /// Runners by state; states without any are left out.
    pub runners: BTreeMap<RunnerState, u64>,
}
