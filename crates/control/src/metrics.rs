//! What the control plane counts, as Prometheus metrics.

use crate::actor::RunnerCounts;
use fleetfoot_model::Conclusion;
use fleetfoot_store::Statistics;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt::Write as _;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabel {
    queue: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Word(Conclusion);

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(self.0.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConclusionLabel {
    conclusion: Word,
}

/// Every metric, and the registry that prints them.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    queue_depth: Family<QueueLabel, Gauge>,
    runners: Family<StateLabel, Gauge>,
    jobs_completed: Family<ConclusionLabel, Counter>,
    jobs_running: Gauge,
    runs_created: Counter,
    wait: Histogram,
    run: Histogram,
    sync: Histogram,
    log_bytes: Counter,
    stale_writes: Counter,
    commits: Counter,
    operations: Counter,
    batch: Histogram,
}

fn seconds() -> Histogram {
    Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("fleetfoot"),
            queue_depth: Family::default(),
            runners: Family::default(),
            jobs_completed: Family::default(),
            jobs_running: Gauge::default(),
            runs_created: Counter::default(),
            wait: seconds(),
            run: seconds(),
            sync: Histogram::new([0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0]),
            log_bytes: Counter::default(),
            stale_writes: Counter::default(),
            commits: Counter::default(),
            operations: Counter::default(),
            batch: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0, 16384.0]),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("queue_depth_jobs", "Jobs that wait for a runner", self.queue_depth.clone());
        r.register("runners", "Runners by state", self.runners.clone());
        r.register("jobs_completed", "Completed jobs by conclusion", self.jobs_completed.clone());
        r.register("jobs_running", "Jobs that hold a lease", self.jobs_running.clone());
        r.register("runs_created", "Runs created", self.runs_created.clone());
        r.register("job_wait_seconds", "From ready to lease", self.wait.clone());
        r.register("job_run_seconds", "From lease to end", self.run.clone());
        r.register("sync_seconds", "Processing of a sync, without its wait", self.sync.clone());
        r.register("log_bytes", "Bytes of logs received", self.log_bytes.clone());
        r.register("stale_writes", "Writes refused because their lease is over", self.stale_writes.clone());
        r.register("store_commits", "Transactions committed", self.commits.clone());
        r.register("store_operations", "Operations in them", self.operations.clone());
        r.register(
            "store_batch_operations",
            "Operations in one request of the control plane",
            self.batch.clone(),
        );
    }

    pub(crate) fn run_created(&self) {
        self.runs_created.inc();
    }

    pub(crate) fn job_leased(&self, waited: Duration) {
        self.wait.observe(waited.as_secs_f64());
    }

    pub(crate) fn job_completed(&self, conclusion: Conclusion, ran: Option<Duration>) {
        self.jobs_completed.get_or_create(&ConclusionLabel { conclusion: Word(conclusion) }).inc();
        if let Some(ran) = ran {
            self.run.observe(ran.as_secs_f64());
        }
    }

    pub(crate) fn sync_done(&self, took: Duration) {
        self.sync.observe(took.as_secs_f64());
    }

    pub(crate) fn log_appended(&self, bytes: u64) {
        self.log_bytes.inc_by(bytes);
    }

    pub(crate) fn stale_write(&self) {
        self.stale_writes.inc();
    }

    #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^53")]
    pub(crate) fn batch(&self, operations: usize) {
        self.batch.observe(operations as f64);
    }

    /// Prints everything; gauges are set from what is true now.
    pub(crate) fn render(&self, counts: &RunnerCounts, store: Statistics) -> String {
        self.queue_depth.clear();
        for (queue, depth) in &counts.queues {
            self.queue_depth.get_or_create(&QueueLabel { queue: queue.clone() }).set(*depth);
        }
        for (state, n) in &counts.runners {
            self.runners.get_or_create(&StateLabel { state: state.as_str().to_owned() }).set(*n);
        }
        self.jobs_running.set(counts.running);
        self.commits.inc_by(store.commits.saturating_sub(self.commits.get()));
        self.operations.inc_by(store.operations.saturating_sub(self.operations.get()));
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            let _ = writeln!(text, "# metrics could not be written");
        }
        text
    }
}
