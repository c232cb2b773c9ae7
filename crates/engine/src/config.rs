//! What a runner decides about the jobs that it executes.

use fleetfoot_actions::CacheConfig;
use fleetfoot_model::spec::Limits;
use std::path::PathBuf;
use std::time::Duration;

/// Configuration of an [`Engine`](crate::Engine).
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Attempts get a directory of their own below this one.
    pub work_dir: PathBuf,
    /// `RUNNER_TOOL_CACHE`: survives jobs.
    pub tool_cache: PathBuf,
    /// Variables of the runner's own environment that jobs may see, resolved.
    pub passed_env: Vec<(String, String)>,
    /// `RUNNER_NAME`.
    pub runner_name: String,
    /// Log bytes that a job may write; what comes after is dropped, and the log says so.
    pub max_log_bytes: u64,
    /// A script that runs before the first step.
    pub job_started_hook: Option<PathBuf>,
    /// A script that runs after the last step, whatever happened.
    pub job_completed_hook: Option<PathBuf>,
    /// The most that a job gets, whatever it asks for.
    pub limits_cap: Limits,
    /// Debug messages of steps appear in the log.
    pub debug: bool,
    /// Keep standard error apart from standard output. Each line is then marked with its stream, but
    /// the order between the two is only approximate: nothing in the system keeps it.
    pub separate_stderr: bool,
    /// How a command is ended.
    pub kill: KillLadder,
    /// How long output may stay open after the command has ended.
    pub drain_after_exit: Duration,
    /// Where actions come from.
    pub actions: ActionsConfig,
    /// The program that runs JavaScript actions of every version; absent means `node` on the `PATH`
    /// among [`passed_env`](Self::passed_env).
    pub node: Option<PathBuf>,
}

/// Where actions come from, and which one is built in.
#[derive(Clone)]
pub struct ActionsConfig {
    /// The cache, the forge or mirror behind it, and what is allowed.
    pub cache: CacheConfig,
    /// A built-in checkout takes the place of `actions/checkout`, which is fetched otherwise.
    pub builtin_checkout: bool,
}

impl std::fmt::Debug for ActionsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The configuration of git may hold credentials.
        f.debug_struct("ActionsConfig")
            .field("dir", &self.cache.dir)
            .field("builtin_checkout", &self.builtin_checkout)
            .finish_non_exhaustive()
    }
}

/// How long a command may take to follow each request to end.
#[derive(Clone, Copy, Debug)]
pub struct KillLadder {
    /// After SIGINT.
    pub interrupt: Duration,
    /// After SIGTERM; then SIGKILL to the whole tree.
    pub terminate: Duration,
}

impl Default for KillLadder {
    fn default() -> Self {
        Self { interrupt: Duration::from_millis(7_500), terminate: Duration::from_millis(2_500) }
    }
}

/// Names of the variables that jobs see by default.
pub const DEFAULT_PASSED_ENV: &[&str] =
    &["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR"];

impl EngineConfig {
    /// The defaults for a work directory, with the default variables of this process passed on.
    #[must_use]
    pub fn new(work_dir: PathBuf) -> Self {
        let passed_env = DEFAULT_PASSED_ENV
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
            .collect();
        Self {
            tool_cache: work_dir.join("_tool"),
            actions: ActionsConfig {
                cache: CacheConfig::new(work_dir.join("_actions")),
                builtin_checkout: true,
            },
            node: None,
            work_dir,
            passed_env,
            runner_name: "local".into(),
            max_log_bytes: 16 << 30,
            job_started_hook: None,
            job_completed_hook: None,
            limits_cap: Limits::default(),
            debug: false,
            separate_stderr: false,
            kill: KillLadder::default(),
            drain_after_exit: Duration::from_secs(2),
        }
    }
}
