//! `up` and `server`: a control plane in the foreground, with or without a
//! runner in the same process. The runner talks HTTP to loopback with its own
//! token, like any other.

use crate::connect::{ADDRESS_FILE, ADMIN_TOKEN_FILE};
use crate::error::{CliError, Exit, Result};
use crate::loader;
use crate::local_runner::{LocalRunner, RunnerOptions};
use crate::output::{self, Format};
use crate::sign_in::SignInArgs;
use crate::signals::Signals;
use crate::style::Style;
use crate::wiring::{self, PlaneOptions};
use crate::{environment, logging};
use clap::Args;
use fleetfoot_control::Control;
use fleetfoot_model::version::VERSION;
use fleetfoot_server::ServerOptions;
use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Labels that the local runner offers, so that files written for hosted runners find it.
pub(crate) const HOSTED_LABELS: &[&str] = &["ubuntu-latest", "ubuntu-24.04", "ubuntu-22.04"];
/// How long the local runner may take to connect before `up` says that it is ready without it.
const RUNNER_CONNECTS: Duration = Duration::from_secs(2);

/// Directory of fetched workflows within the state directory.
const CALLED: &str = "called";

/// Start a control plane in the foreground
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot server\n  \
    fleetfoot server --data /var/lib/fleetfoot --listen 0.0.0.0:7878 --public-url https://ci.example.org\n  \
    fleetfoot server --output json       prints one JSON line when it is ready\n\n\
    SIGTERM or an interrupt ends it in order; a second one ends it at once. Jobs on runners go on.")]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    plane: PlaneArgs,
}

/// Start a control plane and a runner on this machine, in the foreground
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  fleetfoot up\n  fleetfoot up --data ./state --listen 127.0.0.1:7979 --slots 2\n  \
    fleetfoot up --label gpu --label linux --output json\n\n\
    The runner always offers self-hosted, the operating system and architecture, and the labels of GitHub's\n\
    Ubuntu runners (ubuntu-latest, ubuntu-24.04, ubuntu-22.04), so that existing files find it.\n\
    SIGTERM or an interrupt lets running jobs finish for a while; a second one ends at once."
)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    plane: PlaneArgs,
    /// Jobs at once [default: the number of CPUs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: Option<u32>,
    /// Label of the runner, beside the default ones (repeatable)
    #[arg(long, value_name = "LABEL")]
    label: Vec<String>,
    /// How long running jobs may go on after SIGTERM, in seconds; then they are cancelled
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    drain: u64,
}

#[derive(Args, Debug)]
struct PlaneArgs {
    /// State directory [default: $XDG_DATA_HOME/fleetfoot or ~/.local/share/fleetfoot]
    #[arg(long, value_name = "DIR", env = environment::DATA)]
    data: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", env = environment::LISTEN, default_value = "127.0.0.1:7878")]
    listen: String,
    /// Public address, shown to jobs and in links [default: the address listened on]
    #[arg(long, value_name = "URL", env = environment::PUBLIC_URL)]
    public_url: Option<String>,
    /// A busy runner that is silent for this long loses its jobs, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 12, value_parser = clap::value_parser!(u64).range(2..=3600))]
    lease: u64,
    /// Completed runs are deleted after this many days; 0 keeps them
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    retention_days: u64,
    /// Copy finished logs to this object store: s3://BUCKET/PREFIX, az://…, gs://… or an absolute directory
    #[arg(long, value_name = "URL", env = environment::OBJECTS)]
    objects: Option<String>,
    #[command(flatten)]
    sign_in: SignInArgs,
}

pub(crate) async fn up(args: UpArgs, format: Format) -> Result {
    let runner = RunnerOptions { slots: args.slots, labels: args.label };
    foreground(args.plane, Some(runner), Duration::from_secs(args.drain), format).await
}

pub(crate) async fn server(args: ServeArgs, format: Format) -> Result {
    raise_file_limit();
    foreground(args.plane, None, Duration::ZERO, format).await
}

/// As many connections as this user may have: the usual limit of 1,024 is reached by a few hundred
/// runners. Not in `up`, whose jobs would inherit it.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

async fn foreground(
    args: PlaneArgs,
    runner: Option<RunnerOptions>,
    drain: Duration,
    format: Format,
) -> Result {
    logging::start("warn");
    // Before anything that takes time: a signal during the start must not be lost.
    let mut signals = Signals::listen()?;
    let data = data_dir(args.data)?;
    // Before anything is begun: mistakes in settings are told at once.
    let options = ServerOptions { public_url: args.public_url.clone(), ..ServerOptions::default() };
    let options = args.sign_in.server(options)?;
    let listener = bind(&args.listen).await?;
    let address =
        listener.local_addr().map_err(|e| CliError::machine("the listener has no address").because(&e))?;
    let local_url = local_url(address);
    let public_url = args.public_url.clone().unwrap_or_else(|| local_url.clone());
    let plane = PlaneOptions {
        data: data.clone(),
        url: public_url.clone(),
        lease: Duration::from_secs(args.lease),
        retention: (args.retention_days > 0)
            .then(|| Duration::from_secs(args.retention_days.saturating_mul(86_400))),
        durable: true,
        objects: args.objects.clone(),
        actions: loader::config(data.join(CALLED)),
        sign_in: args.sign_in.control(),
    };
    let control = wiring::control(&plane, wiring::dialects()).await?;
    control.serve_triggers().await?;
    let admin = admin_token(&control, &data).await?;
    write_private(&data.join(ADDRESS_FILE), &format!("{local_url}\n"))?;

    let closing = CancellationToken::new();
    let mut serving =
        tokio::spawn(fleetfoot_server::serve(control.clone(), listener, options, closing.clone()));
    let mut local = match runner {
        Some(options) => Some(LocalRunner::start(&control, &local_url, &data, options).await?),
        None => None,
    };
    if let Some(runner) = &mut local {
        runner.connected(RUNNER_CONNECTS).await;
    }
    announce(&public_url, &admin, local.as_ref(), &data, format)?;

    let early = tokio::select! {
        () = signals.next() => None,
        ended = &mut serving => Some(ended),
        ended = ended(&mut local) => return Err(ended),
    };
    if let Some(runner) = local {
        runner.shut_down(&mut signals, drain).await;
    }
    closing.cancel();
    control.shut_down().await;
    let ended = match early {
        Some(ended) => ended,
        None => tokio::select! {
            ended = serving => ended,
            () = signals.next() => {
                output::say("leaving at once");
                return Ok(Exit::Ok);
            }
        },
    };
    match ended {
        Ok(Ok(())) => Ok(Exit::Ok),
        Ok(Err(error)) => Err(CliError::usage(error.to_string())),
        Err(error) => Err(CliError::machine("the server ended unexpectedly").because(&error)),
    }
}

/// The end of a runner that nobody asked to end; never, if there is none.
async fn ended(local: &mut Option<LocalRunner>) -> CliError {
    match local {
        Some(runner) => runner.ended().await,
        None => std::future::pending().await,
    }
}

/// Makes the state directory, for this user alone.
fn data_dir(given: Option<PathBuf>) -> Result<PathBuf> {
    let dir = given.unwrap_or_else(environment::default_data_dir);
    let shown = dir.display().to_string();
    let failed = |e: std::io::Error| {
        CliError::machine(format!("the state directory {shown} cannot be made"))
            .because(&e)
            .hint("name a directory that this user may write")
            .next("fleetfoot up --data DIR")
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed)?;
    dir.canonicalize().map_err(failed)
}

async fn bind(listen: &str) -> Result<TcpListener> {
    let bad = || {
        CliError::usage(format!("'{listen}' is not an address to listen on"))
            .hint("an address looks like 127.0.0.1:7878, 0.0.0.0:7878 or [::1]:7878")
    };
    let text = listen.strip_prefix("http://").unwrap_or(listen).trim_end_matches('/');
    let addresses: Vec<SocketAddr> = match text.parse() {
        Ok(address) => vec![address],
        Err(_) => text.to_socket_addrs().map_err(|_| bad())?.collect(),
    };
    let address = *addresses.first().ok_or_else(bad)?;
    TcpListener::bind(address).await.map_err(|e| {
        let kind = e.kind();
        let error = CliError::machine(format!("cannot listen on {address}")).because(&e);
        match kind {
            std::io::ErrorKind::AddrInUse => error
                .hint("another program, perhaps another fleetfoot, listens there")
                .next("fleetfoot up --listen 127.0.0.1:0"),
            std::io::ErrorKind::PermissionDenied => {
                error.hint("ports below 1024 need privileges; take a higher one")
            }
            std::io::ErrorKind::AddrNotAvailable => error.hint("this machine does not have that address"),
            _ => error,
        }
    })
}

/// How this machine reaches the listener.
fn local_url(address: SocketAddr) -> String {
    let port = address.port();
    match address.ip() {
        ip if ip.is_unspecified() && ip.is_ipv6() => format!("http://[::1]:{port}"),
        ip if ip.is_unspecified() => format!("http://127.0.0.1:{port}"),
        ip if ip.is_ipv6() => format!("http://[{ip}]:{port}"),
        ip => format!("http://{ip}:{port}"),
    }
}

/// The first admin token, while its file exists, and whether it is new.
struct AdminToken {
    token: Option<String>,
    new: bool,
}

async fn admin_token(control: &Control, data: &Path) -> Result<AdminToken> {
    let file = data.join(ADMIN_TOKEN_FILE);
    if let Some(created) = control.bootstrap_admin().await? {
        write_private(&file, &format!("{}\n", created.token))?;
        return Ok(AdminToken { token: Some(created.token), new: true });
    }
    let token = std::fs::read_to_string(&file).ok().map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
    Ok(AdminToken { token, new: false })
}

/// Writes a file that only this user may read, in one step: nobody sees half of it.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|e| CliError::machine(format!("{} cannot be written", path.display())).because(&e))
}

fn announce(
    url: &str,
    admin: &AdminToken,
    runner: Option<&LocalRunner>,
    data: &Path,
    format: Format,
) -> Result<()> {
    if format == Format::Json {
        return output::json(&serde_json::json!({
            "url": url,
            "admin_token": admin.token,
            "runner": runner.map(LocalRunner::id),
            "version": VERSION,
        }));
    }
    let style = Style::stdout();
    output::line(&format!("Fleetfoot {VERSION} is listening on {}", style.bold(url)))?;
    output::line(&format!("  dashboard    {url}/ui/"))?;
    output::line(&format!("  state        {}", data.display()))?;
    if let Some(runner) = runner {
        output::line(&format!(
            "  runner       {} ({} slots; {})",
            runner.name(),
            runner.slots(),
            runner.labels()
        ))?;
    }
    if let Some(token) = admin.token.as_deref().filter(|_| admin.new) {
        output::line(&format!("  admin token  {token}"))?;
        output::line("               shown once; commands on this machine find it by themselves")?;
    }
    let default = url == fleetfoot_client::DEFAULT_URL;
    let prefix = if default { String::new() } else { format!("{}={url} ", environment::URL) };
    output::line(&format!(
        "  {}         {prefix}fleetfoot submit examples/hello.yml --watch",
        style.cyan("next")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_listener_for_everyone_is_reached_over_loopback() {
        for (address, url) in [
            ("0.0.0.0:1", "http://127.0.0.1:1"),
            ("[::]:1", "http://[::1]:1"),
            ("[::1]:1", "http://[::1]:1"),
            ("10.0.0.1:1", "http://10.0.0.1:1"),
        ] {
            assert_eq!(local_url(address.parse().unwrap()), url);
        }
    }

    #[test]
    fn private_files_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("admin.token");
        write_private(&file, "x").unwrap();
        write_private(&file, "y").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "y");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn bad_addresses_say_what_to_do() {
        for text in ["nonsense", "127.0.0.1", "127.0.0.1:99999", ""] {
            let error = bind(text).await.unwrap_err();
            assert_eq!(error.exit, Exit::Usage, "{text}");
        }
        let taken = bind("127.0.0.1:0").await.unwrap();
        let error = bind(&taken.local_addr().unwrap().to_string()).await.unwrap_err();
        assert!(error.render(Style::PLAIN).contains("next: `fleetfoot up --listen"));
    }
}
