//! One module a row of the table of promised numbers.

mod artifact;
mod batch;
mod boundaries;
mod cancel;
mod control;
mod dispatch;
mod idle;
mod language;
mod local;
mod log;
mod memory;
mod noop;
mod queued;
mod start;
mod steps;
mod webhook;

use crate::Setting;
use crate::report::Measure;
use anyhow::bail;

const ROWS: [&str; 21] = [
    "start",
    "local",
    "steps",
    "plan",
    "expr",
    "memory",
    "dispatch",
    "cancel",
    "noop",
    "matrix",
    "control",
    "batch",
    "log",
    "artifact",
    "idle",
    "queued",
    "webhook",
    "boundary-starts",
    "boundary-gvisor",
    "boundary-containers",
    "boundary-cpu",
];

/// The rows with these names, in the order of the table; all if none is named.
pub(crate) fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static str>> {
    if let Some(unknown) = names.iter().find(|n| !ROWS.contains(&n.as_str())) {
        bail!("there is no row '{unknown}'; the rows are {}", ROWS.join(", "));
    }
    Ok(ROWS.into_iter().filter(|r| names.is_empty() || names.iter().any(|n| n == r)).collect())
}

/// Measures one.
pub(crate) async fn measure(row: &str, setting: &Setting) -> anyhow::Result<Vec<Measure>> {
    match row {
        "start" => start::measure(setting),
        "local" => local::measure(setting),
        "steps" => steps::overhead(setting),
        "matrix" => steps::matrix(setting).await,
        "plan" => language::plan(setting),
        "expr" => language::expr(),
        "memory" => memory::measure(setting).await,
        "dispatch" => dispatch::measure(setting).await,
        "cancel" => cancel::measure(setting).await,
        "noop" => noop::measure(setting).await,
        "control" => control::measure(setting).await,
        "batch" => batch::measure(setting).await,
        "log" => log::measure(setting).await,
        "artifact" => artifact::measure(setting).await,
        "idle" => idle::measure(setting).await,
        "queued" => queued::measure(setting).await,
        "webhook" => webhook::measure(setting).await,
        "boundary-starts" => boundaries::starts(setting).await,
        "boundary-gvisor" => boundaries::gvisor(setting).await,
        "boundary-containers" => boundaries::containers(setting).await,
        "boundary-cpu" => boundaries::cpu(setting).await,
        other => bail!("there is no row '{other}'"),
    }
}
