//! Services: starting them, waiting until they are healthy, their output. It
//! must never wait without an end.

use super::{ContainerGroup, PortMap};
use crate::client::Client;
use crate::error;
use bollard::container::LogOutput;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{ContainerInspectResponse, ExecConfig, HealthConfig, HealthStatusEnum};
use bollard::query_parameters::LogsOptionsBuilder;
use fleetfoot_driver::containers::{Container, Service};
use fleetfoot_driver::{DriverError, DriverErrorKind};
use futures_util::StreamExt;
use std::time::{Duration, Instant};

/// How long a service may take to become healthy, whatever its health check says.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// What engines take if nothing is said.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_RETRIES: u32 = 3;

pub(super) async fn start(
    group: &ContainerGroup,
    name: &str,
    container: Container,
) -> Result<Service, DriverError> {
    let (mut body, parsed, _) = group.body("service", &container, &[name.to_owned()], None).await?;
    body.entrypoint = container.entrypoint.clone().or(parsed.entrypoint.clone().map(|e| vec![e]));
    body.cmd = container.command.clone();
    if body.hostname.is_none() && is_host_name(name) {
        body.hostname = Some(name.to_owned());
    }
    let mut made = group.create("service", &group.name("service"), body.clone(), &parsed).await?;
    let mut started = group.start(&made).await;
    // The program may be missing because the engine lost the root: see `ContainerGroup::keep`.
    if started.as_ref().is_err_and(|e| e.message.contains("executable file not found")) {
        group.give_up(&made).await?;
        made = group.create("service", &group.name("service"), body, &parsed).await?;
        started = group.start(&made).await;
    }
    started.map_err(|e| DriverError {
        message: format!("the service '{name}' does not start: {}", e.message),
        ..e
    })?;
    let client = &group.shared.client;
    let found = client.inspect("look at a service", &made.id).await?;
    let found = found.map_err(|e| error::engine(&client.endpoint, "look at a service", &e))?;
    Ok(Service { name: name.to_owned(), id: made.id, ports: ports_of(&found) })
}

/// A name of the workflow may be longer, or have underscores at its ends.
fn is_host_name(name: &str) -> bool {
    name.len() <= 63
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn ports_of(found: &ContainerInspectResponse) -> PortMap {
    let mut ports = PortMap::new();
    let map = found.network_settings.as_ref().and_then(|n| n.ports.clone()).unwrap_or_default();
    for (key, bindings) in map {
        let name = key.strip_suffix("/tcp").unwrap_or(&key).to_owned();
        let port = bindings.iter().flatten().find_map(|b| b.host_port.as_ref()?.parse().ok());
        ports.extend(port.map(|p| (name, p)));
    }
    ports.sort_keys();
    ports
}

/// The end of what a container wrote.
pub(super) async fn last_output(client: &Client, id: &str, most: usize) -> Vec<u8> {
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail("5000").build();
    let mut stream = client.docker.logs(id, Some(options));
    let mut all = Vec::new();
    let read = async {
        while let Some(Ok(piece)) = stream.next().await {
            let bytes = match piece {
                LogOutput::StdOut { message }
                | LogOutput::StdErr { message }
                | LogOutput::Console { message } => message,
                LogOutput::StdIn { .. } => continue,
            };
            all.extend_from_slice(&bytes);
            if all.len() > 2 * most {
                all.drain(..all.len() - most);
            }
        }
    };
    // What has come until then is better than nothing.
    let _ = tokio::time::timeout(client.patience, read).await;
    if all.len() > most {
        all.drain(..all.len() - most);
    }
    all
}

async fn not_healthy(group: &ContainerGroup, service: &Service, what: &str) -> DriverError {
    let output = last_output(&group.shared.client, &service.id, 2048).await;
    let output = String::from_utf8_lossy(&output).trim().to_owned();
    let output =
        if output.is_empty() { "it wrote nothing".to_owned() } else { format!("its last output:\n{output}") };
    let message = format!("the service '{}' {what}; {output}", service.name);
    DriverError::new(DriverErrorKind::Other, message)
}

pub(super) async fn wait_healthy(group: &ContainerGroup, service: &Service) -> Result<(), DriverError> {
    let client = &group.shared.client;
    let begin = Instant::now();
    let mut pause = Duration::from_millis(50);
    let mut told = Instant::now();
    let mut own = OwnChecks::default();
    loop {
        let found = match client.inspect("look at a service", &service.id).await? {
            Ok(found) => found,
            Err(e) if error::is_gone(&e) => {
                let message = format!("the service '{}' was removed", service.name);
                return Err(DriverError::new(DriverErrorKind::Other, message));
            }
            Err(e) => return Err(error::engine(&client.endpoint, "look at a service", &e)),
        };
        let check = found.config.as_ref().and_then(|c| c.healthcheck.clone()).filter(has_check);
        let state = found.state.unwrap_or_default();
        if state.running == Some(false) {
            let code = state.exit_code.unwrap_or_default();
            return Err(not_healthy(group, service, &format!("ended with code {code}")).await);
        }
        let Some(check) = check else { return Ok(()) };
        let status = match state.health.and_then(|h| h.status) {
            Some(status @ (HealthStatusEnum::HEALTHY | HealthStatusEnum::UNHEALTHY)) => status,
            // Podman leaves its checks to timers of systemd, which are not always there.
            _ if client.about().await?.name == "podman" => own.next(client, &service.id, &check).await?,
            _ => HealthStatusEnum::STARTING,
        };
        match status {
            HealthStatusEnum::HEALTHY => {
                (group.request.notes)(&format!("service {} is healthy", service.name));
                return Ok(());
            }
            HealthStatusEnum::UNHEALTHY => return Err(not_healthy(group, service, "is unhealthy").await),
            _ if begin.elapsed() > LONGEST => {
                let what = format!("is not healthy after {} minutes", LONGEST.as_secs() / 60);
                return Err(not_healthy(group, service, &what).await);
            }
            _ => {}
        }
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            let seconds = begin.elapsed().as_secs();
            (group.request.notes)(&format!(
                "waiting for service {} to become healthy ({seconds} s)",
                service.name
            ));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_secs(2));
    }
}

fn has_check(check: &HealthConfig) -> bool {
    check.test.as_ref().and_then(|t| t.first()).is_some_and(|first| first != "NONE")
}

/// Health checks that we run ourselves, at the pace and with the patience that the check asks for.
#[derive(Default)]
struct OwnChecks {
    begin: Option<Instant>,
    last: Option<Instant>,
    failures: u32,
}

impl OwnChecks {
    async fn next(
        &mut self,
        client: &Client,
        id: &str,
        check: &HealthConfig,
    ) -> Result<HealthStatusEnum, DriverError> {
        let span = |value: Option<i64>| {
            value.and_then(|v| u64::try_from(v).ok()).filter(|v| *v > 0).map(Duration::from_nanos)
        };
        let interval = span(check.interval).unwrap_or(DEFAULT_INTERVAL);
        let begin = *self.begin.get_or_insert_with(Instant::now);
        // The first look comes at once: nothing is lost if it comes too early.
        let grace = span(check.start_period).unwrap_or_default().max(Duration::from_secs(1));
        let pace = if begin.elapsed() < grace { interval.min(Duration::from_millis(250)) } else { interval };
        if self.last.is_some_and(|l| l.elapsed() < pace) {
            return Ok(HealthStatusEnum::STARTING);
        }
        self.last = Some(Instant::now());
        let timeout = span(check.timeout).unwrap_or(DEFAULT_INTERVAL);
        let test = check.test.clone().unwrap_or_default();
        let words = match test.split_first() {
            Some((kind, words)) if kind == "CMD-SHELL" => {
                vec!["/bin/sh".into(), "-c".into(), words.join(" ")]
            }
            Some((_, words)) => words.to_vec(),
            None => return Ok(HealthStatusEnum::HEALTHY),
        };
        let passed =
            tokio::time::timeout(timeout, run_inside(client, id, words)).await.unwrap_or(Ok(false))?;
        if passed {
            return Ok(HealthStatusEnum::HEALTHY);
        }
        if begin.elapsed() >= grace {
            self.failures += 1;
        }
        let retries =
            check.retries.and_then(|r| u32::try_from(r).ok()).filter(|r| *r > 0).unwrap_or(DEFAULT_RETRIES);
        Ok(if self.failures >= retries { HealthStatusEnum::UNHEALTHY } else { HealthStatusEnum::STARTING })
    }
}

/// Runs a command in a container that is not ours to keep; whether it exited with 0.
async fn run_inside(client: &Client, id: &str, words: Vec<String>) -> Result<bool, DriverError> {
    let config = ExecConfig { cmd: Some(words), attach_stdout: Some(true), ..ExecConfig::default() };
    let Ok(exec) = client.raw("check a service", client.docker.create_exec(id, config)).await? else {
        return Ok(false);
    };
    let start = client.docker.start_exec(&exec.id, None::<StartExecOptions>);
    match client.raw("check a service", start).await? {
        Ok(StartExecResults::Attached { mut output, .. }) => while output.next().await.is_some() {},
        Ok(StartExecResults::Detached) => {}
        Err(_) => return Ok(false),
    }
    let found = client.raw("check a service", client.docker.inspect_exec(&exec.id)).await?;
    Ok(found.is_ok_and(|f| f.exit_code == Some(0)))
}
