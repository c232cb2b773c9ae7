//! Repositories that start runs, their deliveries, schedules and reports.
//!
//! Whatever is to happen once is a delivery: a webhook, a change that polling
//! found, a schedule that fell due. It is stored in the transaction that makes
//! it impossible to find it again, and ends in another.

use crate::StoreError;
use async_trait::async_trait;
use fleetfoot_model::ids::RunId;
use fleetfoot_model::repos::{DeliveryOutcome, ForgeKind, ForkApproval};
use fleetfoot_model::time::Timestamp;
use std::collections::BTreeMap;

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryRow {
    /// Id; 0 until the store gives one.
    pub id: u64,
    /// Software of its forge.
    pub forge: ForgeKind,
    /// `OWNER/NAME`.
    pub name: String,
    /// What git fetches.
    pub url: String,
    /// Address of the API.
    pub api_url: String,
    /// Where people look at it.
    pub web_url: String,
    /// Project of its runs.
    pub project: String,
    /// Default branch, as far as known.
    pub default_branch: Option<String>,
    /// Sealed secret of its webhook.
    pub webhook_secret: Vec<u8>,
    /// Sealed access token.
    pub token: Option<Vec<u8>>,
    /// Jobs of trusted runs get the token.
    pub share_token: bool,
    /// Interval of polling, seconds.
    pub poll_seconds: Option<u32>,
    /// Which pull requests from forks wait for approval.
    pub fork_approval: ForkApproval,
    /// Refs as polling saw them last; `None` before the first look.
    pub refs: Option<BTreeMap<String, String>>,
    /// What the latest look at the forge failed with.
    pub error: Option<String>,
    /// Creation.
    pub created_at: Timestamp,
}

/// Where a delivery comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliverySource {
    /// The forge sent it: its payload is in the forge's words.
    Webhook,
    /// It was made here: its payload is in GitHub's words.
    Made,
}

/// A delivery to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// Its repository.
    pub repository: u64,
    /// Id, unique in the repository.
    pub delivery: String,
    /// Hash of a body that must not come again under another id.
    pub body_hash: Option<[u8; 32]>,
    /// Where it comes from.
    pub source: DeliverySource,
    /// Event.
    pub event: String,
    /// Payload, JSON.
    pub payload: String,
    /// When it came.
    pub received_at: Timestamp,
}

/// What became of storing a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It is new.
    New(u64),
    /// Its id came before; this is that delivery.
    Duplicate(u64),
    /// Its body came before under another id; this is that delivery.
    Replayed(u64),
}

/// A stored delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Number.
    pub id: u64,
    /// Its repository.
    pub repository: u64,
    /// Id at the forge.
    pub delivery: String,
    /// Where it comes from.
    pub source: DeliverySource,
    /// Event.
    pub event: String,
    /// Payload; gone some time after it ended.
    pub payload: Option<String>,
    /// When it came.
    pub received_at: Timestamp,
    /// What became of it.
    pub outcome: DeliveryOutcome,
    /// Runs that it started.
    pub runs: Vec<RunId>,
    /// Why nothing (more) was started.
    pub notes: Vec<String>,
    /// What the latest try failed with.
    pub error: Option<String>,
    /// Tries so far.
    pub tries: u32,
    /// When it is tried (again); present exactly while queued.
    pub next_try: Option<Timestamp>,
}

/// The end of one try of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryEnd {
    /// What became of it.
    pub outcome: DeliveryOutcome,
    /// Runs that it started.
    pub runs: Vec<TriggerRun>,
    /// Why nothing (more) was started.
    pub notes: Vec<String>,
    /// What the try failed with.
    pub error: Option<String>,
    /// When it is tried again; present exactly if still queued.
    pub next_try: Option<Timestamp>,
}

/// A run that a repository started and whose end somebody has to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerRun {
    /// The run.
    pub run: RunId,
    /// Its repository.
    pub repository: u64,
    /// The commit that shows the result.
    pub sha: String,
    /// Event.
    pub event: String,
    /// How many runs were started by the end of one another before it.
    pub depth: u32,
}

/// A schedule of a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRow {
    /// Id; 0 until the store gives one.
    pub id: u64,
    /// Its repository.
    pub repository: u64,
    /// Path of the workflow.
    pub workflow: String,
    /// Five fields of cron.
    pub cron: String,
    /// IANA name of the time zone; empty means UTC.
    pub timezone: String,
    /// When it fires next; `None` means never.
    pub next_at: Option<Timestamp>,
    /// For when it last fired.
    pub last_at: Option<Timestamp>,
    /// What happened last, if it was not an ordinary run.
    pub note: Option<String>,
}

/// What a commit is told about one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRow {
    /// Its repository.
    pub repository: u64,
    /// Commit.
    pub sha: String,
    /// Name of the status.
    pub context: String,
    /// The run that it is about.
    pub run: Option<RunId>,
    /// State that the commit is to show.
    pub state: String,
    /// In words.
    pub text: String,
    /// Counts the changes, so that an answer to an older state is not taken for one to this.
    pub version: u64,
    /// Latest change.
    pub changed_at: Timestamp,
    /// State that the forge has.
    pub sent: Option<String>,
    /// Check run that shows it.
    pub check_run: Option<u64>,
    /// Tries that failed since the last success.
    pub tries: u32,
    /// When it is tried next; `None` if nothing is to be done.
    pub next_try: Option<Timestamp>,
    /// What the latest try failed with.
    pub error: Option<String>,
}

/// A state that a commit is to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewReport {
    /// Its repository.
    pub repository: u64,
    /// Commit.
    pub sha: String,
    /// Name of the status.
    pub context: String,
    /// The run.
    pub run: Option<RunId>,
    /// State.
    pub state: String,
    /// In words.
    pub text: String,
    /// When.
    pub at: Timestamp,
}

/// How a try to report ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportTry {
    /// The forge has it.
    Sent {
        /// Check run that shows it.
        check_run: Option<u64>,
    },
    /// It did not work.
    Failed {
        /// Why.
        error: String,
        /// When it is tried again; `None` gives up.
        next_try: Option<Timestamp>,
    },
}

/// The part of a store that keeps repositories, deliveries, schedules and reports. Every call is one
/// transaction and returns after it is durable.
#[async_trait]
pub trait TriggerStore: Send + Sync + 'static {
    /// Adds a repository; `None` if its project has that URL already.
    async fn add_repository(&self, row: RepositoryRow) -> Result<Option<u64>, StoreError>;
    /// Replaces what may change of a repository: all but id, forge, url, secret, refs and creation.
    async fn update_repository(&self, row: RepositoryRow) -> Result<bool, StoreError>;
    /// Removes a repository and everything that belongs to it, except its runs.
    async fn remove_repository(&self, id: u64) -> Result<bool, StoreError>;
    /// One repository.
    async fn repository(&self, id: u64) -> Result<Option<RepositoryRow>, StoreError>;
    /// All repositories, oldest first.
    async fn repositories(&self) -> Result<Vec<RepositoryRow>, StoreError>;
    /// Notes the default branch and how the latest look at the forge went.
    async fn note_repository(
        &self,
        id: u64,
        default_branch: Option<String>,
        error: Option<String>,
    ) -> Result<(), StoreError>;

    /// Stores a delivery, once.
    async fn accept_delivery(&self, new: NewDelivery) -> Result<Accepted, StoreError>;
    /// Replaces the refs of a repository if they are still `old`, and stores the deliveries that the
    /// difference means. `false` if somebody else was faster.
    async fn move_refs(
        &self,
        repository: u64,
        old: Option<BTreeMap<String, String>>,
        new: BTreeMap<String, String>,
        deliveries: Vec<NewDelivery>,
    ) -> Result<bool, StoreError>;
    /// One delivery.
    async fn delivery(&self, id: u64) -> Result<Option<DeliveryRow>, StoreError>;
    /// Deliveries of a repository, newest first, before `cursor` (exclusive), without payloads.
    async fn deliveries(
        &self,
        repository: u64,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<Vec<DeliveryRow>, StoreError>;
    /// Deliveries to be tried now, oldest first; the second part says when the next one is due.
    async fn due_deliveries(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<(Vec<DeliveryRow>, Option<Timestamp>), StoreError>;
    /// Ends a try of a delivery, and remembers the runs that it started. `false` unless it was queued.
    async fn end_delivery(&self, id: u64, end: DeliveryEnd) -> Result<bool, StoreError>;
    /// Forgets payloads of deliveries that ended before, and the deliveries themselves before `rows`.
    async fn prune_deliveries(&self, payloads: Timestamp, rows: Timestamp) -> Result<(), StoreError>;

    /// Runs whose end nobody heard of yet.
    async fn trigger_runs(&self) -> Result<Vec<TriggerRun>, StoreError>;
    /// Forgets one, and stores the delivery that its end means.
    async fn end_trigger_run(&self, run: RunId, delivery: Option<NewDelivery>) -> Result<(), StoreError>;

    /// Makes the schedules of a repository these; what stays keeps its times.
    async fn set_schedules(&self, repository: u64, rows: Vec<ScheduleRow>) -> Result<(), StoreError>;
    /// Schedules of one repository, or of all.
    async fn schedules(&self, repository: Option<u64>) -> Result<Vec<ScheduleRow>, StoreError>;
    /// Moves a schedule on if its next time is still `expected`; with a delivery if it fires.
    /// `false` if somebody else was faster.
    async fn move_schedule(
        &self,
        row: ScheduleRow,
        expected: Option<Timestamp>,
        delivery: Option<NewDelivery>,
    ) -> Result<bool, StoreError>;

    /// States that commits are to show; one that they show or are to show already changes nothing.
    /// An older run never overrules a newer one.
    async fn want_reports(&self, reports: Vec<NewReport>) -> Result<(), StoreError>;
    /// Reports to be sent now; the second part says when the next one is due.
    async fn due_reports(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<(Vec<ReportRow>, Option<Timestamp>), StoreError>;
    /// How a try ended, if the report is still of this version; otherwise only what the forge has.
    async fn end_report(&self, row: &ReportRow, end: ReportTry) -> Result<(), StoreError>;
    /// Reports of a repository: those that wait or failed first, then the latest.
    async fn reports(&self, repository: u64, limit: usize) -> Result<Vec<ReportRow>, StoreError>;

    /// Remembers that an account contributed.
    async fn add_contributor(&self, repository: u64, account: u64) -> Result<(), StoreError>;
    /// Whether an account contributed.
    async fn is_contributor(&self, repository: u64, account: u64) -> Result<bool, StoreError>;
}
