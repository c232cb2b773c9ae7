//! The runner that `up` starts beside its control plane: registered by itself,
//! with a token of its own, talking HTTP to loopback like any other.

use crate::commands::server::{HOSTED_LABELS, write_private};
use crate::environment;
use crate::error::{CliError, Result};
use crate::output;
use crate::signals::Signals;
use fleetfoot_client::{Client, ClientConfig, Secret};
use fleetfoot_control::{Control, Principal};
use fleetfoot_driver::DriverError;
use fleetfoot_model::RunnerId;
use fleetfoot_model::api::{RegisterRunner, Registered};
use fleetfoot_runner::boundaries::Refused;
use fleetfoot_runner::engine::EngineExecutor;
use fleetfoot_runner::transport::HttpTransport;
use fleetfoot_runner::{Ending, Identity, Notice, PartialConfig, RunnerConfig, Stage, UpError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Name of the runner of `up`.
const NAME: &str = "local";
/// How long cancelled jobs may take before they are killed.
const CANCELLED: Duration = Duration::from_secs(15);
/// How long killed jobs may take before they are left to the next start.
const KILLED: Duration = Duration::from_secs(12);

/// What `up` was asked for.
pub(crate) struct RunnerOptions {
    /// Jobs at once.
    pub(crate) slots: Option<u32>,
    /// Labels, beside the default ones.
    pub(crate) labels: Vec<String>,
}

/// The running runner.
pub(crate) struct LocalRunner {
    id: RunnerId,
    config: RunnerConfig,
    stage: watch::Sender<Stage>,
    connected: watch::Receiver<bool>,
    daemon: JoinHandle<Result<Ending, UpError>>,
}

impl LocalRunner {
    /// Registers the runner unless it is registered already, and starts it.
    pub(crate) async fn start(
        control: &Control,
        url: &str,
        data: &Path,
        options: RunnerOptions,
    ) -> Result<Self> {
        let home = data.join("runner");
        let fixed = PartialConfig {
            server: Some(url.to_owned()),
            name: Some(NAME.to_owned()),
            description: Some("started by fleetfoot up".to_owned()),
            labels: Some(labels_with(options.labels)),
            slots: options.slots.map(|n| n as usize),
            work_dir: Some(home.clone()),
            ..PartialConfig::default()
        };
        // Where called workflows come from, actions do too, unless the variables of a runner
        // (FLEETFOOT_RUNNER_...) say more; what this command says itself is the strongest.
        let shared = PartialConfig {
            action_mirror: environment::text(environment::ACTION_MIRROR),
            action_url: environment::text(environment::ACTION_URL),
            ..PartialConfig::default()
        };
        let config = PartialConfig::from_env(|name| std::env::var(name).ok())
            .map(|own| shared.overlaid_by(own).overlaid_by(fixed))
            .and_then(PartialConfig::resolve)
            .map_err(|e| CliError::usage(e.to_string()))?;
        let registered = identity(control, &home, &config).await?;
        let client = Client::new(ClientConfig::new(url, Some(Secret::new(&registered.token))))?;
        let transport = Arc::new(HttpTransport::new(client, registered.id));
        let identity = Identity {
            // Names this state directory and not the address, which may differ at the next start:
            // what a killed process left must be recognised then.
            server: format!("up://{}", data.display()),
            id: registered.id,
            name: registered.name,
            token: Secret::new(registered.token),
        };
        let executor = Arc::new(EngineExecutor::of_runner(&config, &identity).map_err(no_processes)?);
        executor.ready().await.map_err(not_ready)?;
        let (connected_now, connected) = watch::channel(false);
        let notices: fleetfoot_runner::NoticeFn = Arc::new(move |notice| match notice {
            Notice::Connected { .. } => {
                connected_now.send_replace(true);
            }
            Notice::Listening { .. } => {}
            Notice::Warning { .. } | Notice::ConnectionLost { .. } => tracing::warn!("{notice}"),
            notice => tracing::info!("{notice}"),
        });
        let (stage, shutdown) = watch::channel(Stage::Run);
        let id = identity.id;
        let daemon = tokio::spawn(fleetfoot_runner::up(
            config.clone(),
            identity,
            transport,
            executor,
            notices,
            shutdown,
        ));
        Ok(Self { id, config, stage, connected, daemon })
    }

    /// Its id.
    pub(crate) fn id(&self) -> RunnerId {
        self.id
    }

    /// Its name.
    pub(crate) fn name(&self) -> &'static str {
        NAME
    }

    /// Jobs at once.
    pub(crate) fn slots(&self) -> usize {
        self.config.slots
    }

    /// Its labels in words.
    pub(crate) fn labels(&self) -> String {
        self.config.labels.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Waits until it is connected, but not longer than this.
    pub(crate) async fn connected(&mut self, limit: Duration) {
        // The sender goes away when the runner ends early; whoever asks for its end is told why.
        let _ = tokio::time::timeout(limit, self.connected.wait_for(|c| *c)).await;
    }

    /// The end that nobody asked for. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> CliError {
        match (&mut self.daemon).await {
            Ok(Err(error)) => {
                let out = CliError::machine("the local runner ended").because(&error);
                match error.hint() {
                    Some(hint) => out.hint(hint),
                    None => out,
                }
            }
            Ok(Ok(Ending::Removed)) => CliError::machine("the local runner was removed at the server")
                .hint("start again to register it anew"),
            Ok(Ok(_)) => CliError::machine("the local runner ended"),
            Err(error) => CliError::machine("the local runner ended unexpectedly").because(&error),
        }
    }

    /// Lets running jobs finish for a while, then cancels them, then kills them; a signal kills at once.
    pub(crate) async fn shut_down(mut self, signals: &mut Signals, drain: Duration) {
        for (stage, limit) in [(Stage::Drain, drain), (Stage::Cancel, CANCELLED), (Stage::Kill, KILLED)] {
            let _ = self.stage.send(stage);
            tokio::select! {
                _ = &mut self.daemon => return,
                () = tokio::time::sleep(limit) => {}
                () = signals.next() => {
                    let _ = self.stage.send(Stage::Kill);
                    output::say("killing what runs");
                    let _ = tokio::time::timeout(KILLED, &mut self.daemon).await;
                    return;
                }
            }
        }
    }
}

/// The boundary cannot be made on this machine.
pub(crate) fn no_processes(error: DriverError) -> CliError {
    CliError::machine("jobs cannot be run as processes here").because(&error)
}

/// The boundary of jobs that ask for none is not there.
pub(crate) fn not_ready(refused: Refused) -> CliError {
    CliError::machine(refused.message)
        .hint("`fleetfoot runner validate` shows what each boundary needs; `boundary` is the setting")
        .next("fleetfoot runner validate")
}

/// Those under which files written for hosted runners find this machine, and these.
fn labels_with(further: Vec<String>) -> Vec<String> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let default = ["self-hosted", std::env::consts::OS, arch];
    let mut labels: Vec<String> = default.iter().chain(HOSTED_LABELS).map(|l| (*l).to_owned()).collect();
    for label in further.iter().flat_map(|l| l.split(',')).map(str::trim) {
        if !labels.iter().any(|l| l.eq_ignore_ascii_case(label)) {
            labels.push(label.to_owned());
        }
    }
    labels
}

/// The runner's id and token: those of an earlier start if they still work, new ones otherwise.
async fn identity(control: &Control, home: &Path, config: &RunnerConfig) -> Result<Registered> {
    std::fs::create_dir_all(home)
        .map_err(|e| CliError::machine(format!("{} cannot be made", home.display())).because(&e))?;
    let file = home.join("identity.json");
    if let Ok(text) = std::fs::read(&file)
        && let Ok(known) = serde_json::from_slice::<Registered>(&text)
        && let Ok(Principal::Runner { id, .. }) = control.authenticate(&known.token).await
        && id == known.id
    {
        return Ok(known);
    }
    let request = RegisterRunner {
        name: Some(config.name.clone()),
        description: config.description.clone(),
        slots: u32::try_from(config.slots).ok(),
        version: Some(fleetfoot_model::version::VERSION.to_owned()),
        replace: true,
        ..RegisterRunner::default()
    };
    let registered = control.register_runner(&Principal::System, request).await?;
    let text = serde_json::to_string(&registered)
        .map_err(|e| CliError::machine("the runner's identity cannot be written").because(&e))?;
    write_private(&file, &text)?;
    Ok(registered)
}
