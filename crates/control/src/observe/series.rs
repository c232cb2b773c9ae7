//! Numbers over time as columns for a chart. What was measured is kept at
//! three levels, each coarser and longer than the one before; a question is
//! answered from the finest level that reaches back far enough.

use crate::actor::store_problem;
use crate::{Control, Permission, Principal};
use fleetfoot_model::observe::{Series, SeriesNames};
use fleetfoot_model::{Code, Problem};
use fleetfoot_store::{SAMPLE_COLUMNS, SampleRow};
use parking_lot::Mutex;

/// A level: seconds from one point to the next, and how long they are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    pub(super) step: i64,
    pub(super) keep: i64,
}

/// The levels, the finest first.
pub(super) const LEVELS: [Level; 3] = [
    Level { step: 10, keep: 2 * 3600 },
    Level { step: 300, keep: 3 * 24 * 3600 },
    Level { step: 3600, keep: 32 * 24 * 3600 },
];

/// Points in one answer.
const POINTS: u64 = 5_000;
const DEFAULT_POINTS: u64 = 300;

/// How several values become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    Mean,
    Sum,
    Largest,
}

/// The columns of a series, by the beginning of its name.
pub(super) fn columns(series: &str) -> Option<&'static [(&'static str, Fold)]> {
    use Fold::{Largest, Mean, Sum};
    match series.split_once(':').map_or(series, |(kind, _)| kind) {
        "fleet" => {
            Some(&[("runners", Mean), ("slots", Mean), ("busy", Mean), ("waiting", Mean), ("running", Mean)])
        }
        "runner" => {
            Some(&[("cpu", Mean), ("memory", Mean), ("disk_free", Mean), ("busy", Mean), ("slots", Mean)])
        }
        "queue" | "label" => {
            Some(&[("depth", Mean), ("started", Sum), ("wait_p50", Mean), ("wait_p95", Largest)])
        }
        _ => None,
    }
}

/// Values of one column that become one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Folded {
    n: u32,
    sum: f64,
    largest: f64,
}

impl Folded {
    pub(super) fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.largest = if self.n == 0 { value } else { self.largest.max(value) };
            self.n += 1;
            self.sum += value;
        }
    }

    pub(super) fn value(&self, fold: Fold) -> Option<f64> {
        (self.n > 0).then(|| match fold {
            Fold::Mean => self.sum / f64::from(self.n),
            Fold::Sum => self.sum,
            Fold::Largest => self.largest,
        })
    }
}

/// Samples that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Recent(pub(super) Mutex<Vec<SampleRow>>);

/// Samples as columns on an even grid.
fn grid(name: &str, rows: &[SampleRow], from: i64, to: i64, step: i64) -> Series {
    let columns = columns(name).unwrap_or_default();
    let first = from.div_euclid(step) * step;
    let count = usize::try_from((to - first) / step + 1).unwrap_or(0);
    let mut folded = vec![[Folded::default(); SAMPLE_COLUMNS]; count];
    for row in rows {
        let at = usize::try_from((row.at - first).div_euclid(step)).ok();
        if let Some(cell) = at.and_then(|i| folded.get_mut(i)) {
            cell.iter_mut().zip(row.values).for_each(|(f, v)| f.add(v));
        }
    }
    let value = |i: usize, fold| folded.iter().map(|cell| cell[i].value(fold)).collect();
    Series {
        name: name.to_owned(),
        step_seconds: step.unsigned_abs(),
        at: (0..count as i64).map(|i| first + i * step).collect(),
        values: columns.iter().enumerate().map(|(i, (c, fold))| ((*c).to_owned(), value(i, *fold))).collect(),
    }
}

impl Control {
    /// A series from `from` to `to` (seconds since the Unix epoch; the last hour if absent), in at most
    /// about `points` points.
    ///
    /// # Errors
    /// `forbidden`, `not_found` for a name that no series has, `bad_request` for a range that is none.
    pub async fn series(
        &self,
        who: &Principal,
        name: &str,
        from: Option<i64>,
        to: Option<i64>,
        points: Option<u64>,
    ) -> Result<Series, Problem> {
        who.require(Permission::Read)?;
        if columns(name).is_none() {
            return Err(Problem::new(Code::NotFound, format!("there is no series '{name}'"))
                .with_hint("series are `fleet`, `runner:ID`, `queue:NAME` and `label:NAME`"));
        }
        let now = self.inner.clock.wall().as_micros() / 1_000_000;
        let to = to.unwrap_or(now).min(now);
        let from = from.unwrap_or(to - 3600);
        if from > to {
            return Err(Problem::new(Code::BadRequest, "`from` is behind `to`"));
        }
        let coarsest = LEVELS[LEVELS.len() - 1];
        let from = from.max(now - coarsest.keep);
        let reaches = |l: &Level| from >= now - l.keep;
        let level = LEVELS.iter().position(reaches).unwrap_or(LEVELS.len() - 1);
        let points = i64::try_from(points.unwrap_or(DEFAULT_POINTS).clamp(1, POINTS)).unwrap_or(1);
        let finest = LEVELS[level].step;
        // A multiple of the level's own step, so that every point has the same number of samples.
        let stretch = points * finest;
        let step = ((to - from + stretch - 1) / stretch).max(1) * finest;
        let mut rows = self.samples(name, level, from, to).await?;
        if level > 0 {
            // A coarse point is made when its time is over. Until then the finest level tells what is
            // known of it, or a young fleet would show nothing for an hour.
            let behind = rows.last().map_or(from, |newest| newest.at + finest);
            rows.extend(self.samples(name, 0, behind.max(now - LEVELS[0].keep), to).await?);
        }
        Ok(grid(name, &rows, from, to.max(from), step))
    }

    /// Samples of one level, with those that are not written yet.
    async fn samples(&self, name: &str, level: usize, from: i64, to: i64) -> Result<Vec<SampleRow>, Problem> {
        let level = u8::try_from(level).unwrap_or(0);
        let mut rows =
            self.inner.store.samples(name, level, from, to).await.map_err(|e| store_problem(&e))?;
        let newest = rows.last().map_or(i64::MIN, |r| r.at);
        let recent = self.inner.observe.recent.0.lock();
        let unwritten = recent
            .iter()
            .filter(|r| r.series == name && r.level == level && r.at > newest && (from..=to).contains(&r.at));
        rows.extend(unwritten.cloned());
        Ok(rows)
    }

    /// Names of the series that have points.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn series_names(&self, who: &Principal) -> Result<SeriesNames, Problem> {
        who.require(Permission::Read)?;
        let mut names = self.inner.store.series_names().await.map_err(|e| store_problem(&e))?;
        names.extend(self.inner.observe.recent.0.lock().iter().map(|r| r.series.clone()));
        names.sort_unstable();
        names.dedup();
        Ok(SeriesNames { names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_become_an_even_grid() {
        let row = |at, depth, p95| SampleRow {
            series: "queue:a".to_owned(),
            level: 0,
            at,
            values: [Some(depth), Some(1.0), None, p95, None],
        };
        let rows = [row(100, 2.0, Some(1.0)), row(110, 4.0, Some(9.0)), row(140, 1.0, None)];
        let series = grid("queue:a", &rows, 100, 145, 20);
        assert_eq!(series.at, [100, 120, 140]);
        assert_eq!(series.values["depth"], [Some(3.0), None, Some(1.0)]);
        assert_eq!(series.values["started"], [Some(2.0), None, Some(1.0)]);
        assert_eq!(series.values["wait_p50"], [None, None, None]);
        assert_eq!(series.values["wait_p95"], [Some(9.0), None, None]);
    }

    #[test]
    fn levels_join() {
        for pair in LEVELS.windows(2) {
            assert!(pair[1].step % pair[0].step == 0 && pair[0].keep >= 10 * pair[1].step);
        }
    }
}
