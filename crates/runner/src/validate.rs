//! `runner validate`: whether this machine and this configuration can work, as
//! a list of checks. Changes nothing at the server.

use crate::boundaries::{self, BoundaryReport};
use crate::config::RunnerConfig;
use crate::identity::{Identity, IdentityError};
use crate::system::disk;
use fleetfoot_client::{Client, ClientError};
use fleetfoot_model::version::VERSION;
use serde::Serialize;
use std::path::Path;
use tokio::process::Command;

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// Good.
    Ok,
    /// It works, with a restriction.
    Warning,
    /// It will not work.
    Failed,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it went.
    pub status: CheckStatus,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, status: CheckStatus::Ok, detail: detail.into(), fix: None }
    }

    fn not(
        status: CheckStatus,
        name: &'static str,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { name, status, detail: detail.into(), fix: Some(fix.into()) }
    }
}

/// What was found out about a machine and a configuration.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// Single things.
    pub checks: Vec<Check>,
    /// What isolation this machine can make, weakest first.
    pub boundaries: Vec<BoundaryReport>,
}

/// Everything that can be checked without taking a job.
pub async fn validate(config: &RunnerConfig) -> Findings {
    let mut checks = vec![server(config).await];
    checks.push(token(config).await);
    checks.push(Check::ok(
        "version",
        format!("this runner is {VERSION}; the server checks it at every exchange"),
    ));
    checks.push(work_dir(&config.work_dir));
    checks.push(free_disk(config));
    for (name, program, needed) in [
        ("git", "git", "actions/checkout"),
        ("bash", "bash", "steps with shell: bash"),
        ("sh", "sh", "steps with shell: sh"),
    ] {
        checks.push(tool(name, program, needed).await);
    }
    for (name, hook) in
        [("job_started_hook", &config.job_started_hook), ("job_completed_hook", &config.job_completed_hook)]
    {
        if let Some(path) = hook {
            checks.push(hook_file(name, path));
        }
    }
    let boundaries = match Box::pin(boundaries::examine(config)).await {
        Ok(reports) => {
            checks.push(default_boundary(config, &reports));
            reports
        }
        Err(error) => {
            let fix = "give the runner a working /dev and /proc";
            checks.push(Check::not(CheckStatus::Failed, "boundary", boundaries::words(&error), fix));
            Vec::new()
        }
    };
    Findings { checks, boundaries }
}

fn refused(name: &'static str, error: &ClientError) -> Check {
    let detail = match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    Check::not(
        CheckStatus::Failed,
        name,
        detail,
        error.hint().unwrap_or_else(|| "check the address of the server".into()),
    )
}

async fn server(config: &RunnerConfig) -> Check {
    let client = match Client::new(config.client(None)) {
        Ok(client) => client,
        Err(error) => return refused("server", &error),
    };
    match client.readyz().await {
        Ok(()) => Check::ok("server", format!("{} is ready", client.server())),
        Err(error) => refused("server", &error),
    }
}

async fn token(config: &RunnerConfig) -> Check {
    let identity = match Identity::load(&config.token_file) {
        Ok(identity) => identity,
        Err(IdentityError::NotRegistered(path)) => {
            return Check::not(
                CheckStatus::Failed,
                "token",
                format!("there is no token file {}", path.display()),
                "register this runner with `fleetfoot runner register --token TOKEN`",
            );
        }
        Err(error) => {
            return Check::not(
                CheckStatus::Failed,
                "token",
                error.to_string(),
                "register it again with `fleetfoot runner register --token TOKEN`",
            );
        }
    };
    let answer = match identity.client(config) {
        Ok(client) => client.runner(identity.id).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(view) => Check::ok("token", format!("valid: runner {} ({})", view.id, view.name)),
        Err(error) if error.problem().is_some() => Check::not(
            CheckStatus::Failed,
            "token",
            error.to_string(),
            "register it again with `fleetfoot runner register --token TOKEN`",
        ),
        Err(error) => refused("token", &error),
    }
}

fn work_dir(path: &Path) -> Check {
    let probe = path.join(format!(".probe-{}", std::process::id()));
    let tried = std::fs::create_dir_all(path).and_then(|()| std::fs::write(&probe, b"x"));
    let _ = std::fs::remove_file(&probe);
    match tried {
        Ok(()) => Check::ok("work_dir", format!("{} is writable", path.display())),
        Err(error) => Check::not(
            CheckStatus::Failed,
            "work_dir",
            format!("{}: {error}", path.display()),
            "choose another with --work-dir, or give this user the right to write there",
        ),
    }
}

fn free_disk(config: &RunnerConfig) -> Check {
    let (_, free) = disk(&config.work_dir);
    let detail = format!("{} MiB are free for {}", free >> 20, config.work_dir.display());
    if free < config.keep_free {
        let fix = format!("free space until {} MiB are there, or lower keep_free", config.keep_free >> 20);
        return Check::not(CheckStatus::Failed, "disk", detail, fix);
    }
    if free < config.keep_free.saturating_mul(4) {
        return Check::not(CheckStatus::Warning, "disk", detail, "jobs may soon run out of disk: free space");
    }
    Check::ok("disk", detail)
}

async fn tool(name: &'static str, program: &str, needed: &str) -> Check {
    let argument = if program == "sh" { "-c" } else { "--version" };
    let mut command = Command::new(program);
    command.arg(argument).kill_on_drop(true);
    if program == "sh" {
        command.arg("exit 0");
    }
    match command.output().await {
        Ok(output) if output.status.success() => {
            let text =
                String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("found").trim().to_owned();
            Check::ok(name, if text.is_empty() { "found".to_owned() } else { text })
        }
        _ => Check::not(
            CheckStatus::Warning,
            name,
            format!("{program} is not there or does not work"),
            format!("install {program}: without it, {needed} cannot work"),
        ),
    }
}

fn hook_file(name: &'static str, path: &Path) -> Check {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => {
            Check::ok(name, path.display().to_string())
        }
        Ok(_) => Check::not(
            CheckStatus::Failed,
            name,
            format!("{} is not an executable file", path.display()),
            format!("chmod +x {}", path.display()),
        ),
        Err(error) => {
            Check::not(CheckStatus::Failed, name, format!("{}: {error}", path.display()), "correct the path")
        }
    }
}

/// Whether jobs that ask for nothing get the boundary that is meant for them.
fn default_boundary(config: &RunnerConfig, reports: &[BoundaryReport]) -> Check {
    let (wanted, max) = (config.boundaries.default, config.boundaries.max);
    let offered = || reports.iter().filter(|r| r.offered).map(|r| r.boundary);
    match offered().filter(|b| *b >= wanted).min() {
        Some(got) => {
            let most = offered().max().unwrap_or(got);
            Check::ok("boundary", format!("jobs that ask for none get '{got}'; the strongest is '{most}'"))
        }
        None => Check::not(
            CheckStatus::Failed,
            "boundary",
            format!(
                "jobs that ask for none would need '{wanted}', which is not offered{}",
                max.map(|m| format!(" (max_boundary is '{m}')")).unwrap_or_default()
            ),
            "mend what the table shows as missing, or choose another `boundary`",
        ),
    }
}
