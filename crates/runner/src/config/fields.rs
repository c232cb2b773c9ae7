//! Every field of the configuration, declared once: its name in a file, its
//! environment variable, what it means. Help, the commented file and the
//! environment layer are made from this table.

use super::PartialConfig;
use fleetfoot_client::Secret;
use std::str::FromStr;

/// One field.
#[derive(Clone, Copy)]
pub struct Field {
    /// Name in a file.
    pub key: &'static str,
    /// Environment variable.
    pub env: &'static str,
    /// What it means, one or two sentences.
    pub doc: &'static str,
    /// A value as it stands in a TOML file, to show how one looks.
    pub example: &'static str,
    /// Sets it from the text of a variable. The error never repeats the text of a secret.
    pub set: fn(&mut PartialConfig, &str) -> Result<(), String>,
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Field").field("key", &self.key).field("env", &self.env).finish_non_exhaustive()
    }
}

fn parsed<T: FromStr>(text: &str, what: &str) -> Result<Option<T>, String> {
    text.trim().parse().map(Some).map_err(|_| format!("'{}' is not {what}", text.trim()))
}

/// Values separated by commas.
fn list(text: &str) -> Option<Vec<String>> {
    Some(text.split(',').map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect())
}

fn boolean(text: &str) -> Result<Option<bool>, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(Some(true)),
        "0" | "false" | "no" | "off" => Ok(Some(false)),
        other => Err(format!("'{other}' is not true or false")),
    }
}

macro_rules! fields {
    ($($key:ident, $env:literal, $example:literal, $doc:literal, |$text:ident| $value:expr;)+) => {
        /// All of them, in the order in which a file shows them.
        pub const FIELDS: &[Field] = &[$(Field {
            key: stringify!($key),
            env: concat!("FLEETFOOT_RUNNER_", $env),
            doc: $doc,
            example: $example,
            set: |config, $text| {
                config.$key = $value;
                Ok(())
            },
        }),+];
    };
}

fields! {
    server, "SERVER", "\"https://fleetfoot.example.com\"",
        "Address of the server.",
        |text| Some(text.trim().to_owned());
    token, "TOKEN", "\"ffreg_...\"",
        "Registration token, used once to become a runner. Better given by environment or on standard input than in a file.",
        |text| Some(Secret::new(text));
    token_file, "TOKEN_FILE", "\"/var/lib/fleetfoot-runner/runner-token.json\"",
        "Where the runner keeps its own token (mode 0600). Default: runner-token.json in work_dir.",
        |text| Some(text.into());
    name, "NAME", "\"build-1\"",
        "Name of the runner, unique at the server. Default: the host name.",
        |text| Some(text.trim().to_owned());
    description, "DESCRIPTION", "\"the large machine in the cellar\"",
        "Description for people.",
        |text| Some(text.to_owned());
    labels, "LABELS", "[\"linux\", \"x64\"]",
        "Labels that jobs may ask for (in the environment: separated by commas).",
        |text| list(text);
    queues, "QUEUES", "[\"default\"]",
        "Queues that it serves. Default: the queue `default`.",
        |text| list(text);
    slots, "SLOTS", "2",
        "Jobs at once. Default: the number of CPUs.",
        |text| parsed(text, "a number of slots")?;
    one_off, "ONE_OFF", "false",
        "Take one job, then unregister and end.",
        |text| boolean(text)?;
    webhook, "WEBHOOK", "\"https://autoscaler.example.com/notify\"",
        "Gets a POST when the runner or a job starts or finishes.",
        |text| Some(Secret::new(text));
    work_dir, "WORK_DIR", "\"/var/lib/fleetfoot-runner\"",
        "Everything that the runner writes is below this directory; one runner for each.",
        |text| Some(text.into());
    job_started_hook, "JOB_STARTED_HOOK", "\"/usr/local/bin/before-job\"",
        "Script that runs before the first step of every job.",
        |text| Some(text.into());
    job_completed_hook, "JOB_COMPLETED_HOOK", "\"/usr/local/bin/after-job\"",
        "Script that runs after the last step of every job, whatever happened.",
        |text| Some(text.into());
    proxy, "PROXY", "\"http://proxy.example.com:3128\"",
        "Proxy on the way to the server. Default: HTTPS_PROXY, HTTP_PROXY and NO_PROXY.",
        |text| Some(text.trim().to_owned());
    ca_file, "CA_FILE", "\"/etc/ssl/private-ca.pem\"",
        "PEM file with authorities to trust on top of those of the system.",
        |text| Some(text.into());
    pass_env, "PASS_ENV", "[\"JAVA_HOME\"]",
        "Variables of the runner's environment that jobs may see, on top of the usual few. Nothing else is inherited.",
        |text| list(text);
    max_cpus, "MAX_CPUS", "4.0",
        "The most CPUs that a job gets, whatever it asks for.",
        |text| parsed(text, "a number of CPUs")?;
    max_memory, "MAX_MEMORY", "\"8G\"",
        "The most memory that a job gets.",
        |text| Some(text.parse()?);
    max_pids, "MAX_PIDS", "4096",
        "The most processes and threads that a job gets.",
        |text| parsed(text, "a number of processes")?;
    max_read, "MAX_READ", "\"200M\"",
        "The most that a job reads from each disk in a second. Needs control groups for block devices.",
        |text| Some(text.parse()?);
    max_write, "MAX_WRITE", "\"100M\"",
        "The most that a job writes to each disk in a second. With version 1 of control groups it holds for direct and synchronous writes.",
        |text| Some(text.parse()?);
    max_log, "MAX_LOG", "\"16G\"",
        "The most log that a job may write; what comes after is dropped, and the log says so.",
        |text| Some(text.parse()?);
    keep_free, "KEEP_FREE", "\"256M\"",
        "With less free disk than this in work_dir, the runner takes nothing new.",
        |text| Some(text.parse()?);
    action_mirror, "ACTION_MIRROR", "\"/srv/actions\"",
        "Directory or address of bare git repositories OWNER/REPO.git from which actions come. If it is set, nothing else is asked.",
        |text| Some(text.trim().to_owned());
    action_url, "ACTION_URL", "\"https://github.com\"",
        "Address of the forge from which actions come. Default: https://github.com.",
        |text| Some(text.trim().to_owned());
    action_owners, "ACTION_OWNERS", "[\"actions\", \"octo-org/deploy\"]",
        "Owners and repositories whose actions may be used. Default: all.",
        |text| list(text);
    action_sha_only, "ACTION_SHA_ONLY", "false",
        "Actions must be named by a full commit id, not by a branch or a tag.",
        |text| boolean(text)?;
    action_cache, "ACTION_CACHE", "\"/var/cache/fleetfoot-actions\"",
        "Where fetched actions are kept; runners may share it. Default: _actions in work_dir.",
        |text| Some(text.into());
    fetch_checkout, "FETCH_CHECKOUT", "false",
        "Fetch actions/checkout like any other action, instead of the built-in one.",
        |text| boolean(text)?;
    node, "NODE", "\"/opt/node24/bin/node\"",
        "The program that runs JavaScript actions of every version. Default: node on the PATH.",
        |text| Some(text.into());
    separate_stderr, "SEPARATE_STDERR", "false",
        "Mark lines of standard error in the log. The order between the two streams is only approximate then.",
        |text| boolean(text)?;
    boundary, "BOUNDARY", "\"process\"",
        "How jobs are fenced off that do not ask for more: process, sandbox, container or gvisor. Default: process.",
        |text| Some(text.trim().parse()?);
    max_boundary, "MAX_BOUNDARY", "\"gvisor\"",
        "The strongest boundary that is offered. Default: the strongest that this machine can make.",
        |text| Some(text.trim().parse()?);
    sandbox_network, "SANDBOX_NETWORK", "\"host\"",
        "Network of jobs in a sandbox: none, host, or private (everything but the host, private networks and metadata addresses; needs slirp4netns). Default: host.",
        |text| Some(text.parse()?);
    sandbox_workspace, "SANDBOX_WORKSPACE", "\"10G\"",
        "The most that a job in a sandbox may write into its workspace. Needs root. Default: what the disk has.",
        |text| Some(text.parse()?);
    sandbox_root, "SANDBOX_ROOT", "\"/srv/images/debian\"",
        "Directory with the root of an unpacked image, which jobs in a sandbox see instead of the programs of this machine.",
        |text| Some(text.into());
    container_engine, "CONTAINER_ENGINE", "\"auto\"",
        "Container engine: auto, docker, podman, off, or the path of a socket. Default: auto (the first that answers).",
        |text| Some(text.parse()?);
    container_image, "CONTAINER_IMAGE", "\"docker.io/library/buildpack-deps:noble\"",
        "Image of jobs that must run in a container and name none.",
        |text| Some(text.trim().to_owned());
    container_mirror, "CONTAINER_MIRROR", "\"http://mirror.example.com:5000\"",
        "Mirror of Docker Hub that is asked for images before it.",
        |text| Some(text.trim().to_owned());
    container_volumes, "CONTAINER_VOLUMES", "[\"/srv/data\"]",
        "Directories of this machine below which jobs may mount volumes. Default: none (volumes with a name are always allowed; they end with the job).",
        |text| list(text);
    container_options, "CONTAINER_OPTIONS", "[\"--device\"]",
        "Options of containers that jobs may use beside those that are always allowed.",
        |text| list(text);
    container_socket, "CONTAINER_SOCKET", "false",
        "Jobs in containers see the socket of the container engine. Whoever has it owns this machine.",
        |text| boolean(text)?;
    container_keep, "CONTAINER_KEEP", "\"none\"",
        "Finished containers that stay for inspection: none, failed or all. `fleetfoot runner prune` lists and removes them.",
        |text| Some(text.parse()?);
    container_keep_count, "CONTAINER_KEEP_COUNT", "10",
        "How many of them stay, the newest.",
        |text| parsed(text, "a number of containers")?;
    container_keep_age, "CONTAINER_KEEP_AGE", "\"24h\"",
        "How long they stay.",
        |text| Some(text.parse()?);
    gvisor_runsc, "GVISOR_RUNSC", "\"/usr/local/bin/runsc\"",
        "The program runsc of gVisor. Default: runsc on the PATH.",
        |text| Some(text.into());
    gvisor_platform, "GVISOR_PLATFORM", "\"auto\"",
        "How gVisor gets hold of system calls: auto, systrap, ptrace or kvm. Default: auto (the first that works).",
        |text| Some(text.parse()?);
    gvisor_network, "GVISOR_NETWORK", "\"private\"",
        "Network of jobs in gVisor: none, host or private. Default: private.",
        |text| Some(text.parse()?);
}

/// The known name nearest to a wrong one, if one is near.
#[must_use]
pub fn nearest(wrong: &str) -> Option<&'static str> {
    let wrong = wrong.to_ascii_lowercase().replace('-', "_");
    FIELDS
        .iter()
        .map(|f| (distance(&wrong, f.key), f.key))
        .min()
        .filter(|(d, key)| *d <= (key.len() / 3).max(1))
        .map(|(_, key)| key)
}

/// Edit distance by bytes (names are ASCII).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
