//! Structured logs of the long-running commands, on standard error.

use crate::environment;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging; `quiet` is the filter when the environment names none.
pub(crate) fn start(quiet: &str) {
    let filter = environment::text(environment::LOG).unwrap_or_else(|| quiet.to_owned());
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|error| {
        crate::output::say(&format!("warning: {} is not understood: {error}", environment::LOG));
        EnvFilter::new(quiet)
    });
    let json = environment::text(environment::LOG_FORMAT).is_some_and(|f| f == "json");
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process (tests) is no error.
    let _ = if json {
        builder.json().try_init()
    } else {
        let colour = std::io::stderr().is_terminal() && environment::get(environment::NO_COLOR).is_none();
        builder.with_ansi(colour).try_init()
    };
}
