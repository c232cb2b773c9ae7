//! `doctor`: is everything in place? Each check says what it found and, if
//! that is bad, what to do. It changes nothing.

use crate::clock;
use crate::connect::{ADMIN_TOKEN_FILE, ServerArgs};
use crate::environment;
use crate::error::{Exit, Result};
use crate::output::{self, Format};
use crate::style::{self, Style};
use clap::Args;
use fleetfoot_client::Client;
use fleetfoot_model::version::{VERSION, Version, check_skew};
use serde::Serialize;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Less free space than this on the state directory's file system is worth a warning, bytes.
const LITTLE_SPACE: u64 = 1 << 30;

/// Check server, token, state directory and tools
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  fleetfoot doctor\n  fleetfoot doctor --server https://ci.example.org --output json\n\n\
    Exits 1 if a check failed; warnings do not count."
)]
pub(crate) struct DoctorArgs {
    /// State directory to look at [default: that of `up`]
    #[arg(long, value_name = "DIR", env = environment::DATA)]
    data: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Failed,
}

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), hint: None }
    }
    fn bad(name: &'static str, verdict: Verdict, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name, verdict, found: found.into(), hint: Some(hint.into()) }
    }
}

pub(crate) async fn run(args: DoctorArgs, format: Format) -> Result {
    let mut checks = server_checks(&args.server).await;
    let data = args.data.clone().unwrap_or_else(environment::default_data_dir);
    checks.push(data_dir(&data));
    checks.push(disk(&data));
    checks.push(tool("git", &["--version"], Verdict::Failed, "checkouts need git: apt-get install git"));
    checks.push(tool("bash", &["--version"], Verdict::Warning, "steps without `shell:` fall back to sh"));
    let failed = checks.iter().any(|c| c.verdict == Verdict::Failed);
    match format {
        Format::Json => output::json(&serde_json::json!({ "ok": !failed, "checks": checks }))?,
        Format::Text => print(&checks)?,
    }
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}

fn print(checks: &[Check]) -> Result<()> {
    let style = Style::stdout();
    for check in checks {
        let mark = match check.verdict {
            Verdict::Ok => style.green("✓"),
            Verdict::Warning => style.yellow("!"),
            Verdict::Failed => style.red("✗"),
        };
        output::line(&format!("{mark} {:<10} {}", check.name, check.found))?;
        if let Some(hint) = &check.hint {
            output::line(&format!("  {} {hint}", style.cyan("hint:")))?;
        }
    }
    Ok(())
}

async fn server_checks(args: &ServerArgs) -> Vec<Check> {
    let client = match args.client() {
        Ok(client) => client,
        Err(error) => {
            return vec![Check::bad(
                "server",
                Verdict::Failed,
                error.render(Style::stderr()),
                "check --server",
            )];
        }
    };
    let begin = Instant::now();
    if let Err(error) = client.readyz().await {
        let hint = error.hint().unwrap_or_else(|| "start one with `fleetfoot up`".to_owned());
        return vec![Check::bad("server", Verdict::Failed, error.to_string(), hint)];
    }
    let took = begin.elapsed();
    let mut checks = vec![Check::ok(
        "server",
        format!("{} answers in {:.1} ms", client.server(), took.as_secs_f64() * 1e3),
    )];
    checks.extend(version(&client).await);
    checks.push(token(args, &client).await);
    checks.extend(clock_skew(&client).await);
    checks
}

async fn version(client: &Client) -> Option<Check> {
    let document = client.openapi().await.ok()?;
    let server = document["info"]["version"].as_str()?.to_owned();
    let (theirs, ours): (Version, Version) = (server.parse().ok()?, VERSION.parse().ok()?);
    Some(match check_skew(theirs, ours) {
        Ok(()) => Check::ok("version", format!("server {server}, this binary {VERSION}")),
        Err(_) => Check::bad(
            "version",
            Verdict::Failed,
            format!("server {server}, this binary {VERSION}"),
            "they may be one minor version apart; upgrade the older one",
        ),
    })
}

async fn token(args: &ServerArgs, client: &Client) -> Check {
    let Some((_, from)) = args.token() else {
        return Check::bad(
            "token",
            Verdict::Failed,
            "none",
            format!(
                "set {} or pass --token; an admin makes one with `fleetfoot token create`",
                environment::TOKEN
            ),
        );
    };
    match client.runners().await {
        Ok(runners) => {
            let online =
                runners.items.iter().filter(|r| r.state != fleetfoot_model::RunnerState::Offline).count();
            if online == 0 {
                return Check::bad(
                    "runners",
                    Verdict::Warning,
                    format!(
                        "token from {from} is accepted, but none of {} runners is online",
                        runners.items.len()
                    ),
                    "start one with `fleetfoot runner up`",
                );
            }
            Check::ok(
                "token",
                format!("from {from}, accepted; {online} of {} runners online", runners.items.len()),
            )
        }
        Err(error) => {
            let hint = error.hint().unwrap_or_default();
            Check::bad("token", Verdict::Failed, format!("from {from}: {error}"), hint)
        }
    }
}

/// The time of a run's creation at the server is the only clock in the API; a fleet without runs has none to compare.
async fn clock_skew(client: &Client) -> Option<Check> {
    let runners = client.runners().await.ok()?;
    let seen = runners.items.iter().filter(|r| r.state != fleetfoot_model::RunnerState::Offline);
    let latest = seen.filter_map(|r| r.last_seen_at).max()?;
    let ahead = latest.since(clock::now());
    Some(if ahead > Duration::from_secs(5) {
        Check::bad(
            "clock",
            Verdict::Warning,
            format!("the server's clock is at least {} ahead of this machine's", style::duration(ahead)),
            "synchronise both with NTP",
        )
    } else {
        Check::ok("clock", "not behind the server's")
    })
}

fn data_dir(dir: &Path) -> Check {
    let shown = dir.display();
    let Ok(found) = std::fs::metadata(dir) else {
        return Check::ok("data", format!("{shown} does not exist yet; `fleetfoot up` makes it"));
    };
    if !found.is_dir() {
        return Check::bad(
            "data",
            Verdict::Failed,
            format!("{shown} is not a directory"),
            "name another with --data",
        );
    }
    if let Ok(token) = std::fs::metadata(dir.join(ADMIN_TOKEN_FILE))
        && token.permissions().mode() & 0o077 != 0
    {
        let file = dir.join(ADMIN_TOKEN_FILE);
        return Check::bad(
            "data",
            Verdict::Failed,
            format!("{} can be read by others", file.display()),
            format!("chmod 600 {}", file.display()),
        );
    }
    Check::ok("data", shown.to_string())
}

fn disk(dir: &Path) -> Check {
    let existing = dir.ancestors().find(|d| d.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(existing) {
        Ok(stat) => {
            let free = stat.f_bavail * stat.f_frsize;
            let text = format!("{:.1} GiB free at {}", free as f64 / f64::from(1 << 30), existing.display());
            if free < LITTLE_SPACE {
                Check::bad("disk", Verdict::Warning, text, "logs and artifacts need room; free some")
            } else {
                Check::ok("disk", text)
            }
        }
        Err(error) => Check::bad("disk", Verdict::Warning, error.to_string(), "the free space is not known"),
    }
}

fn tool(name: &'static str, args: &[&str], verdict: Verdict, hint: &str) -> Check {
    match Command::new(name).args(args).output() {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            Check::ok(name, text.lines().next().unwrap_or_default().to_owned())
        }
        _ => Check::bad(name, verdict, "not found", hint),
    }
}
