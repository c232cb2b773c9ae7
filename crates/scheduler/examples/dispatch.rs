//! Prints how many jobs a second go through enqueue, dispatch and finish, with
//! and without a million jobs waiting that match no runner, and what such a job
//! costs in memory. Run it with `--release`.
#![allow(clippy::print_stdout, reason = "printing is its purpose")]

use fleetfoot_model::{AttemptRef, Boundary, Epoch, JobId, Label, LabelSet, RunId, RunnerId, Timestamp};
use fleetfoot_scheduler::{Action, Ceiling, Config, QueuedJob, RunnerOffer, Scheduler};
use std::sync::Arc;
use std::time::{Duration, Instant};

const UNMATCHED: u64 = 1_000_000;
const CYCLES: u64 = 500_000;
const SLOTS: u32 = 8;
/// Jobs that run at any time.
const BUSY: u64 = 64;

fn labels(names: &[&str]) -> LabelSet {
    names.iter().map(|n| Label::from(*n)).collect()
}

struct Maker {
    queue: Arc<str>,
    projects: Vec<Arc<str>>,
}

impl Maker {
    fn job(&self, id: u64, labels: LabelSet) -> QueuedJob {
        QueuedJob {
            id: JobId(id),
            run: RunId(id / 10 + 1),
            project: self.projects[(id % self.projects.len() as u64) as usize].clone(),
            queue: self.queue.clone(),
            labels,
            priority: 0,
            min_boundary: Boundary::Process,
            containers: false,
            limits: Ceiling::NOTHING,
            queued_at: Timestamp(0),
            queue_deadline: None,
            not_before: None,
            next_attempt: 1,
            concurrency: None,
            parallel: None,
        }
    }
}

/// Resident memory of this process in bytes; 0 where it cannot be told.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// `sets` is how many different label sets the unmatched jobs have.
fn run(unmatched: u64, sets: u64, runners: u64) {
    let maker = Maker {
        queue: Arc::from("default"),
        projects: (0..20).map(|n| Arc::from(format!("project-{n}"))).collect(),
    };
    let mut scheduler = Scheduler::new(Config::default());
    let now = Timestamp(0);
    for id in 1..=runners {
        let offer = RunnerOffer {
            id: RunnerId(id),
            name: Arc::from(format!("runner-{id}")),
            labels: labels(&["self-hosted", "linux", "x64"]),
            queues: Vec::new(),
            boundary: Boundary::Process,
            containers: false,
            limits: Ceiling::EVERYTHING,
            slots: SLOTS,
            draining: false,
            error: false,
            version_ok: true,
            one_off: false,
        };
        scheduler.runner_seen(offer, now);
    }
    let nobody = |id: u64| labels(&["linux", &format!("nobody-has-{}", id % sets)]);
    let before = resident();
    let started = Instant::now();
    for id in 0..unmatched {
        scheduler.enqueue(maker.job(10_000_000 + id, nobody(id)), now);
    }
    if let Some(bytes) = resident().saturating_sub(before).checked_div(unmatched) {
        let rate = unmatched as f64 / started.elapsed().as_secs_f64();
        println!("{unmatched} unmatched jobs: {bytes} bytes each, enqueued at {rate:.0}/s");
    }
    let wanted = labels(&["self-hosted", "linux"]);
    let mut seed = 1u64;
    let mut chance = |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % n
    };
    let mut samples: Vec<Duration> = Vec::with_capacity(CYCLES as usize);
    let started = Instant::now();
    let mut running = std::collections::VecDeque::new();
    for id in 1..=CYCLES {
        scheduler.enqueue(maker.job(id, wanted.clone()), now);
        let at = Instant::now();
        let actions = scheduler.dispatch(now, &mut chance, 16);
        samples.push(at.elapsed());
        for action in actions {
            if let Action::Assign { job, attempt, .. } = action {
                scheduler.leased(AttemptRef { job, attempt, epoch: Epoch(job.0) });
                running.push_back(job);
            }
        }
        if running.len() as u64 > BUSY
            && let Some(job) = running.pop_front()
        {
            scheduler.finish(job, false, now);
        }
    }
    let elapsed = started.elapsed();
    samples.sort_unstable();
    let at = |q: f64| samples[((samples.len() - 1) as f64 * q) as usize];
    println!(
        "{runners} runners, {unmatched} unmatched jobs in {sets} label sets: {:.0} cycles/s; dispatch p50 {:?}, p99 {:?}, p99.9 {:?}",
        CYCLES as f64 / elapsed.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999),
    );
}

fn main() {
    run(0, 1, 16);
    run(UNMATCHED, 1, 16);
    run(UNMATCHED / 10, UNMATCHED / 10, 16);
    run(0, 1, 10_000);
}
