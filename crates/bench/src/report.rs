//! The table and the JSON. Knows targets only as the rows state them.

use serde::Serialize;
use std::path::Path;

/// Whether more or less is better.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// The measured value must reach this.
    AtLeast(f64),
    /// The measured value must not exceed this.
    AtMost(f64),
    /// Only for information.
    None,
}

/// One number.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measure {
    name: String,
    unit: &'static str,
    target: Target,
    measured: f64,
    /// Why it could not be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
}

impl Measure {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, target: Target, measured: f64) -> Self {
        Self { name: name.into(), unit, target, measured, skipped: None }
    }

    /// A number that this machine cannot give, and why; its target is shown all the same.
    pub(crate) fn skipped(
        name: impl Into<String>,
        unit: &'static str,
        target: Target,
        why: impl Into<String>,
    ) -> Self {
        Self { skipped: Some(why.into()), ..Self::new(name, unit, target, 0.0) }
    }

    /// A number without a target.
    pub(crate) fn info(name: impl Into<String>, unit: &'static str, measured: f64) -> Self {
        Self::new(name, unit, Target::None, measured)
    }

    fn met(&self) -> Option<bool> {
        match self.target {
            _ if self.skipped.is_some() => None,
            Target::AtLeast(x) => Some(self.measured >= x),
            Target::AtMost(x) => Some(self.measured <= x),
            Target::None => None,
        }
    }
}

#[derive(Debug, Serialize)]
struct Row {
    row: String,
    load_before: String,
    load_after: String,
    error: Option<String>,
    measures: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    measure: Measure,
    met: Option<bool>,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    version: &'static str,
    cpus: usize,
    shrink: u64,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(shrink: u64) -> Self {
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        Self { version: fleetfoot_model::version::VERSION, cpus, shrink, rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, row: &str, load: &str, measures: Vec<Measure>) {
        let measures = measures.into_iter().map(|m| Line { met: m.met(), measure: m }).collect();
        self.push(row, load, None, measures);
    }

    pub(crate) fn failed(&mut self, row: &str, load: &str, error: &str) {
        self.push(row, load, Some(error.to_owned()), Vec::new());
    }

    fn push(&mut self, row: &str, load: &str, error: Option<String>, measures: Vec<Line>) {
        let (row, load_before) = (row.to_owned(), load.to_owned());
        self.rows.push(Row { row, load_before, load_after: crate::host::load(), error, measures });
    }

    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        Ok(std::fs::write(path, serde_json::to_vec_pretty(self)?)?)
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![["measure", "target", "measured", "met?"].map(str::to_owned)];
        for row in &self.rows {
            if let Some(error) = &row.error {
                lines.push([row.row.clone(), String::new(), error.clone(), "failed".to_owned()]);
            }
            for Line { measure, met } in &row.measures {
                let target = match measure.target {
                    Target::AtLeast(x) => format!(">= {} {}", number(x), measure.unit),
                    Target::AtMost(x) => format!("<= {} {}", number(x), measure.unit),
                    Target::None => String::new(),
                };
                let met = match (&measure.skipped, met) {
                    (Some(_), _) => "skipped",
                    (None, Some(true)) => "yes",
                    (None, Some(false)) => "NO",
                    (None, None) => "",
                };
                let measured = match &measure.skipped {
                    Some(why) => why.clone(),
                    None => format!("{} {}", number(measure.measured), measure.unit),
                };
                lines.push([format!("{}: {}", row.row, measure.name), target, measured, met.to_owned()]);
            }
        }
        let width = |i: usize| lines.iter().map(|l| l[i].chars().count()).max().unwrap_or(0);
        let (a, b, c) = (width(0), width(1), width(2));
        let print = |l: &[String; 4]| format!("{:<a$}  {:>b$}  {:>c$}  {}", l[0], l[1], l[2], l[3]);
        let mut out = format!("{} cpus, load after the last row {}\n", self.cpus, crate::host::load());
        if self.shrink > 1 {
            out += &format!("amounts divided by {}: not the promised measurement\n", self.shrink);
        }
        out + &lines.iter().map(print).collect::<Vec<_>>().join("\n")
    }
}

fn number(x: f64) -> String {
    if x.abs() >= 100.0 || x.fract() == 0.0 { format!("{x:.0}") } else { format!("{x:.2}") }
}
