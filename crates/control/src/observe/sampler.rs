//! Measures the fleet now and then and keeps what it measured, in batches. It
//! asks the actor for what it has at hand, so that no job waits for it.

use super::fleet::slots;
use super::series::{Fold, Folded, LEVELS, columns};
use crate::actor::{FleetLoad, LiveRunner, store_problem};
use crate::{Control, Problem};
use fleetfoot_model::spec::{DEFAULT_QUEUE, Placement};
use fleetfoot_model::state::RunnerState;
use fleetfoot_store::{SAMPLE_COLUMNS, SampleRow};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Measurements for each write.
const WRITTEN_TOGETHER: i64 = 3;
/// Writes for each look at what is too old.
const FORGET: i64 = 20;
/// Waits remembered between two measurements; of more, the first ones stand for all.
const WAITS: usize = 50_000;
/// Waits remembered for one point of a series.
const PER_POINT: usize = 5_000;
/// Runners, queues and labels that are measured.
const RUNNERS: usize = 200;
const QUEUES: usize = 100;
const LABELS: usize = 100;
/// A queue or label is measured for so many seconds after it was last heard of, so that its line ends at 0.
const LINGER: i64 = 300;

/// How long jobs waited that got a runner since the last measurement.
#[derive(Default)]
pub(crate) struct Waits(Mutex<Vec<(Arc<Placement>, Duration)>>);

impl Waits {
    /// A job got its runner.
    pub(crate) fn note(&self, placement: &Arc<Placement>, waited: Duration) {
        let mut waits = self.0.lock();
        if waits.len() < WAITS {
            waits.push((Arc::clone(placement), waited));
        }
    }
}

/// What becomes one point of one series.
#[derive(Default)]
struct Point {
    columns: [Folded; SAMPLE_COLUMNS],
    waits: Vec<f64>,
}

/// Points of a coarser level that are not complete.
#[derive(Default)]
struct Window {
    begun: i64,
    points: HashMap<String, Point>,
}

/// Measures until the control plane stops.
pub(crate) async fn run(control: Control) {
    let inner = control.inner.clone();
    let mut sampler = Sampler::default();
    let mut turn = 0_i64;
    loop {
        let pause = Duration::from_secs(LEVELS[0].step.unsigned_abs());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = inner.stopping.cancelled() => return,
        }
        turn += 1;
        if let Err(problem) = sampler.measure(&control, turn).await {
            tracing::debug!(cause = problem.detail, "the fleet could not be measured");
        }
    }
}

#[derive(Default)]
struct Sampler {
    coarse: [Window; LEVELS.len() - 1],
    /// When queues and labels were last heard of.
    heard: HashMap<String, i64>,
}

impl Sampler {
    async fn measure(&mut self, control: &Control, turn: i64) -> Result<(), Problem> {
        let (runners, load) = control.look_at_fleet().await?;
        let step = LEVELS[0].step;
        let now = control.inner.clock.wall().as_micros() / 1_000_000;
        let at = now.div_euclid(step) * step;
        let waits = std::mem::take(&mut *control.inner.observe.waits.0.lock());
        let mut rows = self.take(at, &runners, &load, &waits);
        for (i, level) in LEVELS.iter().enumerate().skip(1) {
            rows.extend(self.coarse[i - 1].close(i, level.step, at));
        }
        control.inner.observe.recent.0.lock().extend(rows);
        if turn % WRITTEN_TOGETHER == 0 {
            self.write(control, now, turn).await?;
        }
        Ok(())
    }

    async fn write(&self, control: &Control, now: i64, turn: i64) -> Result<(), Problem> {
        let inner = &control.inner;
        let rows = inner.observe.recent.0.lock().clone();
        let written = rows.len();
        let begun = tokio::time::Instant::now();
        let done = inner.store.add_samples(rows).await;
        if done.is_ok() {
            inner.observe.recent.0.lock().drain(..written);
            inner.observe.flush.store(u64::try_from(begun.elapsed().as_micros()).unwrap_or(0), Relaxed);
        } else {
            // A store that takes nothing must not fill the memory.
            let mut recent = inner.observe.recent.0.lock();
            let surplus = recent.len().saturating_sub(50_000);
            recent.drain(..surplus);
        }
        done.map_err(|e| store_problem(&e))?;
        if turn % (WRITTEN_TOGETHER * FORGET) == 0 {
            for (i, level) in LEVELS.iter().enumerate() {
                let level_number = u8::try_from(i).unwrap_or(0);
                let done = inner.store.forget_samples(level_number, now - level.keep).await;
                done.map_err(|e| store_problem(&e))?;
            }
        }
        Ok(())
    }

    /// One measurement: the rows of the finest level.
    #[expect(clippy::cast_precision_loss, reason = "numbers for a chart")]
    fn take(
        &mut self,
        at: i64,
        runners: &[LiveRunner],
        FleetLoad { load, .. }: &FleetLoad,
        waits: &[(Arc<Placement>, Duration)],
    ) -> Vec<SampleRow> {
        let mut rows = Vec::new();
        let (all, busy) = slots(runners);
        let online = runners.iter().filter(|r| r.state != RunnerState::Offline);
        let total = |f: fn(&fleetfoot_scheduler::QueueLoad) -> u64| {
            Some(load.queues.values().map(f).sum::<u64>() as f64)
        };
        let fleet = [
            Some(online.clone().count() as f64),
            Some(all as f64),
            Some(busy as f64),
            total(|q| q.waiting),
            total(|q| q.running),
        ];
        self.add(&mut rows, at, "fleet".to_owned(), fleet, &[]);
        for runner in online.take(RUNNERS) {
            let sample = runner.resources;
            let values = [
                sample.map(|s| s.cpu),
                sample.map(|s| s.memory_used_bytes as f64),
                sample.map(|s| s.disk_free_bytes as f64),
                Some(runner.jobs.len() as f64),
                Some(f64::from(runner.row.slots)),
            ];
            self.add(&mut rows, at, format!("runner:{}", runner.row.id), values, &[]);
        }
        let mut by_queue: HashMap<&str, Vec<f64>> = HashMap::new();
        let mut by_label: HashMap<&str, Vec<f64>> = HashMap::new();
        for (placement, waited) in waits {
            let queue = placement.queue.as_deref().unwrap_or(DEFAULT_QUEUE);
            by_queue.entry(queue).or_default().push(waited.as_secs_f64());
            for label in &placement.labels {
                by_label.entry(label.0.as_str()).or_default().push(waited.as_secs_f64());
            }
        }
        let queues = load.queues.iter().map(|(name, q)| (&**name, q.waiting)).collect();
        self.lanes(&mut rows, at, ("queue:", QUEUES), queues, &by_queue);
        let labels = load.labels.iter().map(|(name, n)| (name.as_str(), *n)).collect();
        self.lanes(&mut rows, at, ("label:", LABELS), labels, &by_label);
        self.heard.retain(|_, heard| at - *heard <= LINGER);
        rows
    }

    /// Queues or labels: those of now, those whose jobs started, and those heard of lately.
    #[expect(clippy::cast_precision_loss, reason = "numbers for a chart")]
    fn lanes(
        &mut self,
        rows: &mut Vec<SampleRow>,
        at: i64,
        (kind, most): (&str, usize),
        depths: HashMap<&str, u64>,
        waits: &HashMap<&str, Vec<f64>>,
    ) {
        let mut names: Vec<String> =
            depths.keys().chain(waits.keys()).map(|name| format!("{kind}{name}")).collect();
        names.sort_unstable();
        names.dedup();
        for name in &names {
            self.heard.insert(name.clone(), at);
        }
        names.extend(
            self.heard.iter().filter(|(n, h)| n.starts_with(kind) && **h < at).map(|(n, _)| n.clone()),
        );
        names.truncate(most);
        for series in names {
            let name = &series[kind.len()..];
            let depth = depths.get(name).copied().unwrap_or(0);
            let mut waited = waits.get(name).cloned().unwrap_or_default();
            let started = waited.len();
            let [p50, p95] = percentiles(&mut waited);
            let values = [Some(depth as f64), Some(started as f64), p50, p95, None];
            self.add(rows, at, series, values, &waited);
        }
    }

    fn add(
        &mut self,
        rows: &mut Vec<SampleRow>,
        at: i64,
        series: String,
        values: [Option<f64>; SAMPLE_COLUMNS],
        waits: &[f64],
    ) {
        for (window, level) in self.coarse.iter_mut().zip(&LEVELS[1..]) {
            if window.points.is_empty() {
                window.begun = at.div_euclid(level.step) * level.step;
            }
            if !window.points.contains_key(&series) {
                window.points.insert(series.clone(), Point::default());
            }
            if let Some(point) = window.points.get_mut(&series) {
                point.columns.iter_mut().zip(values).for_each(|(c, v)| c.add(v));
                let room = PER_POINT.saturating_sub(point.waits.len());
                point.waits.extend(waits.iter().take(room));
            }
        }
        rows.push(SampleRow { series, level: 0, at, values });
    }
}

impl Window {
    /// The rows of a window whose time is over at the measurement of `at`.
    fn close(&mut self, level: usize, step: i64, at: i64) -> Vec<SampleRow> {
        if self.points.is_empty() || at + LEVELS[0].step < self.begun + step {
            return Vec::new();
        }
        let (begun, level) = (self.begun, u8::try_from(level).unwrap_or(0));
        self.points
            .drain()
            .map(|(series, mut point)| {
                let folds = columns(&series).unwrap_or_default();
                let mut values = [None; SAMPLE_COLUMNS];
                for (i, (name, fold)) in folds.iter().enumerate() {
                    values[i] = point.columns[i].value(*fold);
                    // Of all waits of the window, not of what became of them before.
                    if let ("wait_p50" | "wait_p95", [p50, p95]) = (*name, percentiles(&mut point.waits)) {
                        values[i] = if *fold == Fold::Mean { p50 } else { p95 };
                    }
                }
                SampleRow { series, level, at: begun, values }
            })
            .collect()
    }
}

/// The middle, and what only a twentieth exceeds.
fn percentiles(values: &mut [f64]) -> [Option<f64>; 2] {
    values.sort_unstable_by(f64::total_cmp);
    let at = |percent: usize| {
        let index = (values.len() * percent).div_ceil(100).checked_sub(1)?;
        values.get(index).copied()
    };
    [at(50), at(95)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        assert_eq!(percentiles(&mut []), [None, None]);
        assert_eq!(percentiles(&mut [3.0]), [Some(3.0), Some(3.0)]);
        let mut hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentiles(&mut hundred), [Some(50.0), Some(95.0)]);
    }

    #[test]
    fn measurements_become_coarser_points() {
        let mut sampler = Sampler::default();
        let load = FleetLoad::default();
        let placement = Arc::new(Placement { labels: vec!["linux".into()], ..Placement::default() });
        let mut coarse = Vec::new();
        for i in 0..60 {
            let at = 3_000 + i * 10;
            let waits =
                if i < 20 { vec![(placement.clone(), Duration::from_secs(i as u64))] } else { Vec::new() };
            let rows = sampler.take(at, &[], &load, &waits);
            assert!(rows.iter().all(|r| r.at == at && r.level == 0));
            coarse.extend(sampler.coarse[0].close(1, 300, at));
        }
        let queue: Vec<_> = coarse.iter().filter(|r| r.series == "queue:default").collect();
        assert_eq!(queue.iter().map(|r| r.at).collect::<Vec<_>>(), [3_000, 3_300]);
        assert_eq!(queue[0].values, [Some(0.0), Some(20.0), Some(9.0), Some(18.0), None]);
        // It lingers for a while at 0, and nobody waited.
        assert_eq!(queue[1].values, [Some(0.0), Some(0.0), None, None, None]);
        assert!(coarse.iter().any(|r| r.series == "label:linux"));
        assert!(coarse.iter().any(|r| r.series == "fleet"));
    }
}
