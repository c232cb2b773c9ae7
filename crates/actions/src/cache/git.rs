//! Running the git command: never through a shell, with an environment of its
//! own making, a time limit, and bounded output. Configuration of the user or
//! the system is not read, because it could name programs to run; what the
//! caller configures travels in the environment, so that no credential ever
//! stands in a command line.

use super::CacheConfig;
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// The most that is kept of what git prints.
const MAX_STDOUT: u64 = 64 * 1024 * 1024;
const MAX_STDERR: u64 = 64 * 1024;

/// Variables of our own process that git needs: how to find programs, proxies and certificates.
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// Configuration for every command, as a file: the server side of a local transport reads it too,
/// which it would not if this were in the environment.
pub(super) const CONFIG: &str = "[safe]
\tdirectory = *
[protocol]
\tversion = 2
[protocol \"ext\"]
\tallow = never
[core]
\thooksPath = /dev/null
\tautocrlf = false
\tsymlinks = true
\tfileMode = true
\tfsmonitor = false
\taskPass =
\tprotectHFS = true
\tprotectNTFS = true
[credential]
\thelper =
[submodule]
\trecurse = false
[fetch]
\trecurseSubmodules = false
[init]
\tdefaultBranch = main
[gc]
\tauto = 0
[maintenance]
\tauto = false
";

/// How a command ended.
pub(super) struct Output {
    pub(super) success: bool,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

/// Why there is no end to speak of.
#[derive(Debug)]
pub(super) enum GitError {
    Timeout,
    Io(std::io::Error),
    TooMuchOutput,
}

/// Git with everything that does not change from command to command.
pub(super) struct Git {
    environment: Vec<(OsString, OsString)>,
    timeout: Duration,
}

impl Git {
    /// `credentials` are further configuration; `protocols` are those that git may speak.
    pub(super) fn new(
        config: &CacheConfig,
        credentials: &[(String, String)],
        protocols: &str,
        config_file: &Path,
    ) -> Self {
        let inherited = INHERITED.iter().filter_map(|name| Some(((*name).into(), std::env::var_os(name)?)));
        let mut environment: Vec<(OsString, OsString)> = inherited.collect();
        // Whoever runs the runner may name a key for it.
        environment.push(("GIT_SSH_COMMAND".into(), "ssh -o BatchMode=yes".into()));
        environment.extend(config.env.iter().map(|(name, value)| (name.into(), value.into())));
        let fixed = [
            ("GIT_TERMINAL_PROMPT", OsStr::new("0")),
            ("GIT_CONFIG_NOSYSTEM", OsStr::new("1")),
            ("GIT_CONFIG_SYSTEM", OsStr::new("/dev/null")),
            ("GIT_CONFIG_GLOBAL", config_file.as_os_str()),
            ("GIT_ATTR_NOSYSTEM", OsStr::new("1")),
            ("GIT_ALLOW_PROTOCOL", OsStr::new(protocols)),
            ("GIT_LFS_SKIP_SMUDGE", OsStr::new("1")),
            ("GIT_NO_REPLACE_OBJECTS", OsStr::new("1")),
            ("GIT_OPTIONAL_LOCKS", OsStr::new("0")),
            ("LC_ALL", OsStr::new("C")),
        ];
        environment.extend(fixed.map(|(name, value)| (name.into(), value.to_owned())));
        let settings: Vec<_> = config.git_config.iter().chain(credentials).collect();
        environment.push(("GIT_CONFIG_COUNT".into(), settings.len().to_string().into()));
        for (i, (key, value)) in settings.into_iter().enumerate() {
            environment.push((format!("GIT_CONFIG_KEY_{i}").into(), key.into()));
            environment.push((format!("GIT_CONFIG_VALUE_{i}").into(), value.into()));
        }
        Self { environment, timeout: config.timeout }
    }

    /// Runs git in a directory. `places` are further variables (`GIT_DIR`, `GIT_WORK_TREE`).
    pub(super) async fn run(
        &self,
        directory: &Path,
        places: &[(&str, &Path)],
        args: &[&str],
    ) -> Result<Output, GitError> {
        let mut command = Command::new("git");
        command
            .args(args)
            .current_dir(directory)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(places.iter().map(|(name, value)| (name, value.as_os_str())))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        match tokio::time::timeout(self.timeout, complete(command)).await {
            Ok(result) => result,
            Err(_) => Err(GitError::Timeout),
        }
    }
}

async fn complete(mut command: Command) -> Result<Output, GitError> {
    let mut child = command.spawn().map_err(GitError::Io)?;
    let mut group = Group::of(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr, status) =
        tokio::try_join!(read(stdout, MAX_STDOUT), read(stderr, MAX_STDERR), async {
            child.wait().await.map_err(GitError::Io)
        })?;
    group.0 = None;
    Ok(Output { success: status.success(), stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() })
}

async fn read(pipe: Option<impl AsyncRead + Unpin>, limit: u64) -> Result<Vec<u8>, GitError> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(limit + 1).read_to_end(&mut bytes).await.map_err(GitError::Io)?;
    }
    if bytes.len() as u64 > limit { Err(GitError::TooMuchOutput) } else { Ok(bytes) }
}

/// Git has helpers of its own; when nobody waits for it any more they end with it.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}
