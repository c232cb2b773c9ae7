//! From a container as the workflow describes it to one as the engine makes
//! it: everything that a job may choose passes through here, and the fence is
//! put up here. It must never take a value of a job into a field that widens
//! the fence without the operator's word.

use crate::config::{ContainerOptions, Network};
use crate::names;
use crate::options::Parsed;
use crate::ports::Port;
use crate::volumes::{self, Source, Volume};
use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, EndpointSettings, HealthConfig, HostConfig,
    Mount as EngineMount, MountBindOptions, MountType, NetworkingConfig, PortBinding, ResourcesUlimits,
    ThrottleDevice,
};
use fleetfoot_driver::containers::Container;
use fleetfoot_driver::{DriverError, DriverErrorKind, Mount};
use fleetfoot_model::ids::AttemptRef;
use fleetfoot_model::spec::Limits;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// Capabilities of containers: Docker's own list without raw sockets, making devices, writing audit
/// records, and handing capabilities to files and to others. Installing packages, changing owners,
/// changing users and ports below 1024 work.
pub const CAPABILITIES: [&str; 9] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
    "SYS_CHROOT",
];

/// Processes that the keeper needs beside those of the job.
const OWN_PROCESSES: u64 = 4;

/// What is the same for all containers of an attempt.
pub(crate) struct Common<'a> {
    pub(crate) options: &'a ContainerOptions,
    pub(crate) tag: &'a str,
    pub(crate) attempt: AttemptRef,
    pub(crate) network: &'a str,
    pub(crate) socket: &'a Path,
    pub(crate) docker: bool,
    /// Limits hold for a container as a whole.
    pub(crate) grouped: bool,
}

/// Limits of one container: what it asks for may be less than what the attempt has, never more.
pub(crate) fn limits(attempt: &Limits, asked: &Parsed) -> Result<Limits, DriverError> {
    let too_much = |name: &str, asked: String, have: String| {
        let message = format!("the container asks for {name} {asked}, but the job has {have}");
        DriverError::new(DriverErrorKind::LimitExceeded, message)
    };
    if let (Some(asked), Some(have)) = (asked.memory, attempt.memory_bytes)
        && asked > have
    {
        return Err(too_much("--memory", format!("{asked} bytes"), format!("{have} bytes")));
    }
    if let (Some(asked), Some(have)) = (asked.cpus, attempt.cpus)
        && asked > have
    {
        return Err(too_much("--cpus", asked.to_string(), have.to_string()));
    }
    if let (Some(asked), Some(have)) = (asked.pids, attempt.pids)
        && asked > have
    {
        return Err(too_much("--pids-limit", asked.to_string(), have.to_string()));
    }
    Ok(Limits {
        memory_bytes: asked.memory.or(attempt.memory_bytes),
        cpus: asked.cpus.or(attempt.cpus),
        pids: asked.pids.or(attempt.pids),
        read_bytes_per_second: attempt.read_bytes_per_second,
        write_bytes_per_second: attempt.write_bytes_per_second,
    })
}

/// A rate for each disk of this machine: which one the engine's files lie on is not to be known.
fn throttle(rate: u64) -> Vec<ThrottleDevice> {
    let disk = |(name, _)| ThrottleDevice { path: Some(format!("/dev/{name}")), rate: Some(signed(rate)) };
    fleetfoot_driver_linux::cgroup::disks().into_iter().map(disk).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "CPUs are few, and rounding is fine")]
fn nano(cpus: f64) -> i64 {
    (cpus * 1e9).round() as i64
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl Common<'_> {
    /// The request for the engine. `aliases` are names in the network of the group.
    pub(crate) fn body(
        &self,
        role: &str,
        container: &Container,
        parsed: &Parsed,
        limits: &Limits,
        aliases: &[String],
    ) -> ContainerCreateBody {
        let mut labels = names::labels(self.tag, self.attempt, role);
        labels.insert(names::IMAGE.into(), container.image.reference.clone());
        labels.extend(parsed.label.iter().cloned());
        let mut env: Vec<String> = parsed.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
        env.extend(container.env.iter().map(|(k, v)| format!("{k}={v}")));
        let all: Vec<String> = aliases.iter().chain(&parsed.network_alias).cloned().collect();
        let private = self.options.network != Network::None;
        let endpoint = EndpointSettings {
            aliases: private.then_some(all),
            mac_address: parsed.mac_address.clone(),
            ..EndpointSettings::default()
        };
        let user = parsed.user.clone().or_else(|| match role {
            "service" => None,
            _ => self.options.user.clone(),
        });
        let workdir = container.working_directory.as_ref().map(|d| d.display().to_string());
        ContainerCreateBody {
            image: Some(container.image.id.clone()),
            hostname: parsed.hostname.clone(),
            user,
            env: Some(env),
            labels: Some(labels),
            working_dir: parsed.workdir.clone().or(workdir),
            healthcheck: health(parsed),
            stop_signal: parsed.stop_signal.clone(),
            stop_timeout: parsed.stop_timeout,
            host_config: Some(self.host(parsed, limits)),
            networking_config: private.then(|| NetworkingConfig {
                endpoints_config: Some(HashMap::from([(self.network.to_owned(), endpoint)])),
            }),
            ..ContainerCreateBody::default()
        }
    }

    /// What the keeper is told to hold itself, where there are no control groups: memory of each process,
    /// and processes of its user.
    pub(crate) fn keeper(&self, limits: &Limits) -> Vec<String> {
        let mut words = vec!["keep".to_owned()];
        if !self.grouped {
            let pids = limits.pids.or(self.options.default_pids).map_or(0, |p| p + OWN_PROCESSES);
            words.extend([limits.memory_bytes.unwrap_or(0).to_string(), pids.to_string()]);
        }
        words
    }

    fn host(&self, parsed: &Parsed, limits: &Limits) -> HostConfig {
        let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        let mut security: Vec<String> = vec!["no-new-privileges".into()];
        security.extend(parsed.security_opt.iter().cloned());
        let mut add: Vec<String> = CAPABILITIES.iter().map(|c| (*c).to_owned()).collect();
        add.extend(parsed.cap_add.iter().cloned());
        let given = |c: &String| parsed.cap_drop.iter().any(|d| plain(d) == plain(c) || plain(d) == "ALL");
        add.retain(|c| !given(c) || parsed.cap_add.contains(c));
        let pids = limits.pids.or(self.options.default_pids).map(|p| signed(p + OWN_PROCESSES));
        // What an engine cannot hold it may refuse.
        let limits = if self.grouped { limits } else { &Limits::default() };
        let pids = pids.filter(|_| self.grouped);
        let memory = limits.memory_bytes.map(signed);
        let device = |d: &(String, String, String)| DeviceMapping {
            path_on_host: Some(d.0.clone()),
            path_in_container: Some(d.1.clone()),
            cgroup_permissions: Some(d.2.clone()),
        };
        let ulimit = |u: &(String, i64, i64)| ResourcesUlimits {
            name: Some(u.0.clone()),
            soft: Some(u.1),
            hard: Some(u.2),
        };
        HostConfig {
            network_mode: Some(match self.options.network {
                Network::None => "none".to_owned(),
                _ => self.network.to_owned(),
            }),
            memory,
            // Memory and swap together: no swap on top.
            memory_swap: memory,
            nano_cpus: limits.cpus.map(nano),
            pids_limit: pids,
            blkio_device_read_bps: limits.read_bytes_per_second.map(throttle),
            blkio_device_write_bps: limits.write_bytes_per_second.map(throttle),
            // A job dies before the runner does. Ordinary users may only raise it.
            oom_score_adj: Some(500),
            cap_drop: Some(vec!["ALL".into()]),
            cap_add: Some(add),
            security_opt: Some(security),
            privileged: parsed.privileged.then_some(true),
            runtime: self.options.runtime.clone(),
            // Output of commands does not pass through the engine; that of services is kept, not for ever.
            log_config: self.docker.then(|| bollard::models::HostConfigLogConfig {
                typ: Some("json-file".into()),
                config: Some(HashMap::from([
                    ("max-size".into(), "16m".into()),
                    ("max-file".into(), "2".into()),
                ])),
            }),
            extra_hosts: some(&parsed.add_host),
            dns: some(&parsed.dns),
            dns_search: some(&parsed.dns_search),
            shm_size: parsed.shm_size.map(signed),
            tmpfs: (!parsed.tmpfs.is_empty()).then(|| parsed.tmpfs.iter().cloned().collect()),
            ulimits: (!parsed.ulimit.is_empty()).then(|| parsed.ulimit.iter().map(ulimit).collect()),
            readonly_rootfs: parsed.read_only.then_some(true),
            init: parsed.init.then_some(true),
            devices: (!parsed.device.is_empty()).then(|| parsed.device.iter().map(device).collect()),
            device_requests: parsed.gpus.as_ref().map(|gpus| vec![gpu_request(gpus)]),
            sysctls: (!parsed.sysctl.is_empty()).then(|| parsed.sysctl.iter().cloned().collect()),
            ipc_mode: parsed.ipc.clone(),
            pid_mode: parsed.pid.clone(),
            group_add: some(&parsed.group_add),
            ..HostConfig::default()
        }
    }

    /// Mounts of directories, volumes, and of the engine's socket if it is allowed.
    pub(crate) fn mounts(
        &self,
        binds: &[Mount],
        volumes: &[Volume],
    ) -> Result<Vec<EngineMount>, DriverError> {
        let mut all = Vec::new();
        // Parents before what lies in them.
        let mut binds = binds.to_vec();
        binds.sort_by(|a, b| a.inside.cmp(&b.inside));
        binds.dedup_by(|a, b| a.inside == b.inside);
        for bind in &binds {
            all.push(bind_of(&bind.host, &bind.inside.display().to_string(), !bind.writable));
        }
        for volume in volumes {
            all.push(self.volume(volume)?);
        }
        if self.options.allow_socket {
            all.push(bind_of(self.socket, "/var/run/docker.sock", false));
        }
        Ok(all)
    }

    /// What a volume with a name is called at the engine.
    pub(crate) fn volume_name(&self, volume: &Volume) -> Option<String> {
        match &volume.source {
            Source::Named(name) => Some(format!("{}-{name}", names::base(self.tag, self.attempt))),
            _ => None,
        }
    }

    fn volume(&self, volume: &Volume) -> Result<EngineMount, DriverError> {
        let path = match &volume.source {
            Source::Host(path) => path,
            _ => {
                return Ok(EngineMount {
                    typ: Some(MountType::VOLUME),
                    source: self.volume_name(volume),
                    target: Some(volume.destination.clone()),
                    read_only: Some(volume.read_only),
                    ..EngineMount::default()
                });
            }
        };
        // A link below an allowed directory must not lead out of it.
        let real = std::fs::canonicalize(path)
            .map_err(|e| DriverError::io(format!("cannot mount the volume '{}'", path.display()), e))?;
        let allowed: Vec<_> =
            self.options.allowed_volumes.iter().filter_map(|a| std::fs::canonicalize(a).ok()).collect();
        volumes::check_host(&real, &allowed)?;
        Ok(bind_of(&real, &volume.destination, volume.read_only))
    }
}

/// Capabilities are written with and without prefix, in any case.
fn plain(capability: &str) -> String {
    capability.to_ascii_uppercase().trim_start_matches("CAP_").to_owned()
}

pub(crate) fn bind_of(host: &Path, inside: &str, read_only: bool) -> EngineMount {
    EngineMount {
        typ: Some(MountType::BIND),
        source: Some(host.display().to_string()),
        target: Some(inside.to_owned()),
        read_only: Some(read_only),
        bind_options: Some(MountBindOptions {
            // What is mounted below it on the host later is none of the container's business.
            propagation: Some(bollard::models::MountBindOptionsPropagationEnum::RPRIVATE),
            ..MountBindOptions::default()
        }),
        ..EngineMount::default()
    }
}

fn gpu_request(gpus: &str) -> DeviceRequest {
    let count = if gpus == "all" { Some(-1) } else { gpus.parse().ok() };
    DeviceRequest {
        count,
        device_ids: count
            .is_none()
            .then(|| gpus.trim_start_matches("device=").split(',').map(str::to_owned).collect()),
        capabilities: Some(vec![vec!["gpu".into()]]),
        ..DeviceRequest::default()
    }
}

fn health(parsed: &Parsed) -> Option<HealthConfig> {
    if parsed.no_healthcheck {
        return Some(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() });
    }
    let config = HealthConfig {
        test: parsed.health_cmd.as_ref().map(|c| vec!["CMD-SHELL".into(), c.clone()]),
        interval: parsed.health_interval.map(nanoseconds),
        timeout: parsed.health_timeout.map(nanoseconds),
        start_period: parsed.health_start_period.map(nanoseconds),
        start_interval: parsed.health_start_interval.map(nanoseconds),
        retries: parsed.health_retries.map(i64::from),
    };
    (config != HealthConfig::default()).then_some(config)
}

/// Ports for the engine: which are exposed, and where they are bound.
pub(crate) fn bindings(ports: &[Port]) -> (Vec<String>, HashMap<String, Option<Vec<PortBinding>>>) {
    let mut map: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in ports {
        let binding = PortBinding {
            host_ip: Some("127.0.0.1".into()),
            host_port: Some(port.host.map_or_else(String::new, |p| p.to_string())),
        };
        map.entry(port.key()).or_default().get_or_insert_default().push(binding);
    }
    (map.keys().cloned().collect(), map)
}
