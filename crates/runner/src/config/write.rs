//! Writing the file that `setup` makes: every setting with its meaning, those
//! that were given as values, the others as comments.

use super::fields::FIELDS;
use super::{PartialConfig, Size};
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// The text of a commented TOML file.
fn render(config: &PartialConfig) -> String {
    let mut text = String::from(
        "# Configuration of a Fleetfoot runner.\n\
         # Order of strength: this file, environment variables, flags of `fleetfoot runner up`.\n",
    );
    for field in FIELDS {
        let _ = write!(text, "\n# {}\n# Environment: {}\n", field.doc, field.env);
        let _ = match value(config, field.key) {
            Some(value) => writeln!(text, "{} = {value}", field.key),
            None => writeln!(text, "# {} = {}", field.key, field.example),
        };
    }
    text
}

/// A field as it stands in a TOML file.
fn value(config: &PartialConfig, key: &str) -> Option<toml::Value> {
    use toml::Value;
    let text = |t: &Option<String>| t.clone().map(Value::String);
    let path = |p: &Option<std::path::PathBuf>| p.as_ref().map(|p| Value::String(p.display().to_string()));
    let list = |l: &Option<Vec<String>>| {
        l.as_ref().map(|l| Value::Array(l.iter().cloned().map(Value::String).collect()))
    };
    let whole = |n: Option<u64>| n.and_then(|n| i64::try_from(n).ok()).map(Value::Integer);
    fn word<T: ToString>(value: Option<T>) -> Option<Value> {
        value.map(|v| Value::String(v.to_string()))
    }
    let size = |s: Option<Size>| whole(s.map(|s| s.0));
    match key {
        "server" => text(&config.server),
        "token" => config.token.as_ref().map(|t| Value::String(t.expose().to_owned())),
        "token_file" => path(&config.token_file),
        "name" => text(&config.name),
        "description" => text(&config.description),
        "labels" => list(&config.labels),
        "queues" => list(&config.queues),
        "slots" => whole(config.slots.map(|n| n as u64)),
        "one_off" => config.one_off.map(Value::Boolean),
        "webhook" => config.webhook.as_ref().map(|t| Value::String(t.expose().to_owned())),
        "work_dir" => path(&config.work_dir),
        "job_started_hook" => path(&config.job_started_hook),
        "job_completed_hook" => path(&config.job_completed_hook),
        "proxy" => text(&config.proxy),
        "ca_file" => path(&config.ca_file),
        "pass_env" => list(&config.pass_env),
        "max_cpus" => config.max_cpus.map(Value::Float),
        "max_memory" => size(config.max_memory),
        "max_pids" => whole(config.max_pids),
        "max_read" => size(config.max_read),
        "max_write" => size(config.max_write),
        "max_log" => size(config.max_log),
        "keep_free" => size(config.keep_free),
        "action_mirror" => text(&config.action_mirror),
        "action_url" => text(&config.action_url),
        "action_owners" => list(&config.action_owners),
        "action_sha_only" => config.action_sha_only.map(Value::Boolean),
        "action_cache" => path(&config.action_cache),
        "fetch_checkout" => config.fetch_checkout.map(Value::Boolean),
        "node" => path(&config.node),
        "separate_stderr" => config.separate_stderr.map(Value::Boolean),
        "boundary" => word(config.boundary),
        "max_boundary" => word(config.max_boundary),
        "sandbox_network" => word(config.sandbox_network),
        "sandbox_workspace" => size(config.sandbox_workspace),
        "sandbox_root" => path(&config.sandbox_root),
        "container_engine" => word(config.container_engine.as_ref()),
        "container_image" => text(&config.container_image),
        "container_mirror" => text(&config.container_mirror),
        "container_volumes" => list(&config.container_volumes),
        "container_options" => list(&config.container_options),
        "container_socket" => config.container_socket.map(Value::Boolean),
        "container_keep" => word(config.container_keep),
        "container_keep_count" => whole(config.container_keep_count.map(|n| n as u64)),
        "container_keep_age" => word(config.container_keep_age),
        "gvisor_runsc" => path(&config.gvisor_runsc),
        "gvisor_platform" => word(config.gvisor_platform),
        "gvisor_network" => word(config.gvisor_network),
        _ => None,
    }
}

/// Writes a commented file with mode 0600, replacing an older one at once.
///
/// # Errors
/// If it cannot be written.
pub fn write_commented(path: &Path, config: &PartialConfig) -> io::Result<()> {
    crate::files::write_private(path, render(config).as_bytes())
}
