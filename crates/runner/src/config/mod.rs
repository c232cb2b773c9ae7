//! Configuration of a runner in layers: defaults, file, environment, flags;
//! the later wins field by field. Every field is declared once, in
//! [`fields`]. Nothing here talks to a server.

pub mod boundary;
pub mod fields;
mod file;
mod size;
mod write;

pub use boundary::{BoundaryConfig, EngineChoice, KeepChoice, NetworkChoice, Period, PlatformChoice};
pub use fields::{FIELDS, Field};
pub use file::{FileError, read_file};
pub use size::Size;
pub use write::write_commented;

use fleetfoot_client::{ClientConfig, DEFAULT_URL, Secret};
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::labels::Label;
use fleetfoot_model::spec::Limits;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// What one layer says; absent means that it says nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "each field is documented in `fields::FIELDS`, from which files and help are made"
)]
pub struct PartialConfig {
    pub server: Option<String>,
    #[serde(deserialize_with = "secret")]
    pub token: Option<Secret>,
    pub token_file: Option<PathBuf>,
    pub name: Option<String>,
    pub description: Option<String>,
    pub labels: Option<Vec<String>>,
    pub queues: Option<Vec<String>>,
    pub slots: Option<usize>,
    pub one_off: Option<bool>,
    #[serde(deserialize_with = "secret")]
    pub webhook: Option<Secret>,
    pub work_dir: Option<PathBuf>,
    pub job_started_hook: Option<PathBuf>,
    pub job_completed_hook: Option<PathBuf>,
    pub proxy: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub pass_env: Option<Vec<String>>,
    pub max_cpus: Option<f64>,
    pub max_memory: Option<Size>,
    pub max_pids: Option<u64>,
    pub max_read: Option<Size>,
    pub max_write: Option<Size>,
    pub max_log: Option<Size>,
    pub keep_free: Option<Size>,
    pub action_mirror: Option<String>,
    pub action_url: Option<String>,
    pub action_owners: Option<Vec<String>>,
    pub action_sha_only: Option<bool>,
    pub action_cache: Option<PathBuf>,
    pub fetch_checkout: Option<bool>,
    pub node: Option<PathBuf>,
    pub separate_stderr: Option<bool>,
    pub boundary: Option<Boundary>,
    pub max_boundary: Option<Boundary>,
    pub sandbox_network: Option<NetworkChoice>,
    pub sandbox_workspace: Option<Size>,
    pub sandbox_root: Option<PathBuf>,
    pub container_engine: Option<EngineChoice>,
    pub container_image: Option<String>,
    pub container_mirror: Option<String>,
    pub container_volumes: Option<Vec<String>>,
    pub container_options: Option<Vec<String>>,
    pub container_socket: Option<bool>,
    pub container_keep: Option<KeepChoice>,
    pub container_keep_count: Option<usize>,
    pub container_keep_age: Option<Period>,
    pub gvisor_runsc: Option<PathBuf>,
    pub gvisor_platform: Option<PlatformChoice>,
    pub gvisor_network: Option<NetworkChoice>,
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct RunnerConfig {
    /// Address of the server.
    pub server: String,
    /// Registration token.
    pub token: Option<Secret>,
    /// Where the runner's own token is kept.
    pub token_file: PathBuf,
    /// Name of the runner.
    pub name: String,
    /// Description.
    pub description: String,
    /// Labels that it offers.
    pub labels: Vec<Label>,
    /// Queues that it serves; empty means `default`.
    pub queues: Vec<String>,
    /// Jobs at once.
    pub slots: usize,
    /// Leave after one job.
    pub one_off: bool,
    /// Where notices of starts and ends go.
    pub webhook: Option<Secret>,
    /// Everything that the runner writes is below it.
    pub work_dir: PathBuf,
    /// Runs before the first step of every job.
    pub job_started_hook: Option<PathBuf>,
    /// Runs after the last step of every job.
    pub job_completed_hook: Option<PathBuf>,
    /// Proxy on the way to the server.
    pub proxy: Option<String>,
    /// PEM file with private authorities.
    pub ca_file: Option<PathBuf>,
    /// Variables of the runner's environment that jobs may see, on top of the engine's defaults.
    pub pass_env: Vec<String>,
    /// The most that a job gets.
    pub limits: Limits,
    /// Log bytes that a job may write.
    pub max_log_bytes: u64,
    /// Below this many free bytes on the disk of `work_dir` the runner takes nothing new.
    pub keep_free: u64,
    /// Where actions come from instead of a forge: a directory or an address of bare repositories.
    pub action_mirror: Option<String>,
    /// The forge from which actions come; absent means GitHub.
    pub action_url: Option<String>,
    /// Owners and repositories whose actions may be used; empty means all.
    pub action_owners: Vec<String>,
    /// Actions must be named by a full commit id.
    pub action_sha_only: bool,
    /// Where fetched actions are kept.
    pub action_cache: PathBuf,
    /// `actions/checkout` is fetched like any other action, instead of the built-in one.
    pub fetch_checkout: bool,
    /// The program that runs JavaScript actions; absent means `node` on the `PATH`.
    pub node: Option<PathBuf>,
    /// Lines of standard error are marked in the log.
    pub separate_stderr: bool,
    /// Which boundaries it offers, and how they are made.
    pub boundaries: BoundaryConfig,
}

/// A configuration that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A variable of the environment.
    #[error("{variable}: {message}")]
    Environment {
        /// Its name.
        variable: &'static str,
        /// What is wrong with its value (which is not repeated: it may be a secret).
        message: String,
    },
    /// A value that no layer may have.
    #[error("{field}: {message}")]
    Value {
        /// Name of the field.
        field: &'static str,
        /// What is wrong.
        message: String,
    },
}

impl PartialConfig {
    /// What the environment says; `read` answers the value of a variable. An empty value says nothing.
    ///
    /// # Errors
    /// Of the first variable with a value that cannot be used.
    pub fn from_env(read: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut layer = Self::default();
        for field in FIELDS {
            if let Some(value) = read(field.env).filter(|v| !v.trim().is_empty()) {
                (field.set)(&mut layer, &value)
                    .map_err(|message| ConfigError::Environment { variable: field.env, message })?;
            }
        }
        Ok(layer)
    }

    /// Every field of `stronger` that is there replaces ours.
    #[must_use]
    pub fn overlaid_by(self, stronger: Self) -> Self {
        macro_rules! overlay {
            ($($field:ident),+) => { Self { $($field: stronger.$field.or(self.$field)),+ } };
        }
        overlay!(
            server,
            token,
            token_file,
            name,
            description,
            labels,
            queues,
            slots,
            one_off,
            webhook,
            work_dir,
            job_started_hook,
            job_completed_hook,
            proxy,
            ca_file,
            pass_env,
            max_cpus,
            max_memory,
            max_pids,
            max_read,
            max_write,
            max_log,
            keep_free,
            action_mirror,
            action_url,
            action_owners,
            action_sha_only,
            action_cache,
            fetch_checkout,
            node,
            separate_stderr,
            boundary,
            max_boundary,
            sandbox_network,
            sandbox_workspace,
            sandbox_root,
            container_engine,
            container_image,
            container_mirror,
            container_volumes,
            container_options,
            container_socket,
            container_keep,
            container_keep_count,
            container_keep_age,
            gvisor_runsc,
            gvisor_platform,
            gvisor_network
        )
    }

    /// Fills in the defaults.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn resolve(self) -> Result<RunnerConfig, ConfigError> {
        let bad = |field, message: String| Err(ConfigError::Value { field, message });
        let boundaries = BoundaryConfig::resolve(&self)?;
        let slots = self.slots.unwrap_or_else(default_slots);
        if !(1..=1000).contains(&slots) {
            return bad("slots", format!("{slots} is not between 1 and 1000"));
        }
        let labels: Vec<Label> =
            self.labels.unwrap_or_default().iter().map(|l| Label::from(l.as_str())).collect();
        if let Some(label) = labels.iter().find(|l| !l.is_valid()) {
            return bad(
                "labels",
                format!("'{label}' is not a label (1 to 256 characters, no commas, no control characters)"),
            );
        }
        let work_dir = absolute("work_dir", self.work_dir.unwrap_or_else(default_work_dir))?;
        let token_file = self.token_file.map(|f| absolute("token_file", f)).transpose()?;
        let job_started_hook = self.job_started_hook.map(|f| absolute("job_started_hook", f)).transpose()?;
        let job_completed_hook =
            self.job_completed_hook.map(|f| absolute("job_completed_hook", f)).transpose()?;
        let action_cache = self.action_cache.map(|d| absolute("action_cache", d)).transpose()?;
        let action_mirror = self.action_mirror.map(|m| mirror("action_mirror", m)).transpose()?;
        let node = self.node.map(|f| absolute("node", f)).transpose()?;
        Ok(RunnerConfig {
            boundaries,
            action_mirror,
            action_url: self.action_url,
            action_owners: self.action_owners.unwrap_or_default(),
            action_sha_only: self.action_sha_only.unwrap_or(false),
            action_cache: action_cache.unwrap_or_else(|| work_dir.join("_actions")),
            fetch_checkout: self.fetch_checkout.unwrap_or(false),
            node,
            separate_stderr: self.separate_stderr.unwrap_or(false),
            server: self.server.unwrap_or_else(|| DEFAULT_URL.to_owned()),
            token: self.token,
            token_file: token_file.unwrap_or_else(|| work_dir.join("runner-token.json")),
            name: self.name.unwrap_or_else(crate::system::hostname),
            description: self.description.unwrap_or_default(),
            labels,
            queues: self.queues.unwrap_or_default(),
            slots,
            one_off: self.one_off.unwrap_or(false),
            webhook: self.webhook,
            work_dir,
            job_started_hook,
            job_completed_hook,
            proxy: self.proxy,
            ca_file: self.ca_file,
            pass_env: self.pass_env.unwrap_or_default(),
            limits: Limits {
                cpus: self.max_cpus,
                memory_bytes: self.max_memory.map(|s| s.0),
                pids: self.max_pids,
                read_bytes_per_second: self.max_read.map(|s| s.0),
                write_bytes_per_second: self.max_write.map(|s| s.0),
            },
            max_log_bytes: self.max_log.map_or(16 << 30, |s| s.0),
            keep_free: self.keep_free.map_or(256 << 20, |s| s.0),
        })
    }
}

impl RunnerConfig {
    /// All layers: defaults, `file`, the environment through `read`, `flags`.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(
        file: Option<&Path>,
        read: impl Fn(&str) -> Option<String>,
        flags: PartialConfig,
    ) -> Result<Self, ConfigError> {
        let file = file.map(read_file).transpose()?.unwrap_or_default();
        file.overlaid_by(PartialConfig::from_env(read)?).overlaid_by(flags).resolve()
    }

    /// How to reach the server with this token.
    #[must_use]
    pub fn client(&self, token: Option<Secret>) -> ClientConfig {
        ClientConfig {
            url: self.server.clone(),
            token,
            ca: self.ca_file.clone(),
            proxy: self.proxy.clone(),
            timeout: Duration::from_secs(30),
            ..ClientConfig::default()
        }
    }
}

fn default_slots() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Steps run in directories of their own: what they are told must not depend on where the runner was started.
fn absolute(field: &'static str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    std::path::absolute(&path)
        .map_err(|e| ConfigError::Value { field, message: format!("'{}' is no path: {e}", path.display()) })
}

/// A mirror of actions: an address stays what it is, a directory becomes absolute.
fn mirror(field: &'static str, text: String) -> Result<String, ConfigError> {
    if text.contains("://") {
        return Ok(text);
    }
    Ok(absolute(field, PathBuf::from(text))?.to_string_lossy().into_owned())
}

fn default_work_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/fleetfoot-runner");
    }
    let home = |tail: &str| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(tail));
    std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| home(".local/state"))
        .unwrap_or_else(std::env::temp_dir)
        .join("fleetfoot-runner")
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
