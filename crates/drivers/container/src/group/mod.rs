//! The containers of one attempt: making them, waiting for them, ending them.
//! What belongs to the group is remembered here and labelled at the engine, so
//! that it is found again after a crash. It must never leave anything behind
//! that was not asked to be kept.

mod cell;
pub(crate) mod network;
mod services;

use crate::client::{About, Client};
use crate::config::{Keep, Network};
use crate::create::{self, Common};
use crate::engine::{Shared, remove_container, remove_image};
use crate::error;
use crate::image;
use crate::keeper::{self, Keeper, Nest};
use crate::names;
use crate::options::{self, Parsed};
use crate::paths::Paths;
use crate::{owner, ports, spare, unpack, volumes};
use async_trait::async_trait;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, RenameContainerOptionsBuilder,
    WaitContainerOptionsBuilder,
};
use fleetfoot_driver::containers::{Container, Group, GroupRequest, Image, ImageSource, Service};
use fleetfoot_driver::{Cell, DriverError, DriverErrorKind, Exit, Handle, Mount, Running};
use fleetfoot_model::boundary::BoundaryRecord;
use fleetfoot_model::spec::Limits;
use indexmap::IndexMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a container that was told to end may take before it is ended.
const ENDS_BY_ITSELF: Duration = Duration::from_secs(5);

/// How often a container is made whose root the engine lost.
const ROOTS: usize = 3;

/// A container that was made.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) id: String,
    name: String,
    role: &'static str,
    keeper: Option<Arc<Keeper>>,
    nest: Option<PathBuf>,
    /// The engine removes it as soon as it has ended.
    removes_itself: bool,
}

#[derive(Default)]
struct State {
    /// Whether a container has a volume with a name.
    volumes: bool,
    made: Vec<Made>,
    services: Vec<Service>,
    /// Images that were built for this attempt.
    built: Vec<String>,
    /// An image that is there, for giving files back.
    any_image: Option<String>,
    torn_down: bool,
    /// What the engine removes by itself, to be waited for before its network goes.
    leaving: Vec<spare::Leaving>,
}

/// The containers of one attempt at one engine.
pub(crate) struct ContainerGroup {
    pub(crate) shared: Arc<Shared>,
    pub(crate) request: GroupRequest,
    pub(crate) paths: Paths,
    /// Beginning of the names of everything else.
    base: String,
    network: String,
    /// The network was made before, for whoever comes.
    is_spare: bool,
    /// The engine makes the network while the first container is made.
    network_made: tokio::sync::Mutex<Option<tokio::task::JoinHandle<Result<(), DriverError>>>>,
    state: Mutex<State>,
}

impl ContainerGroup {
    pub(crate) async fn open(shared: Arc<Shared>, request: GroupRequest) -> Result<Self, DriverError> {
        let paths = Paths::new(&request.cell)
            .map_err(|e| DriverError::io("cannot prepare the temporary directory of the job", e))?;
        let attempt = request.cell.attempt;
        let base = names::base(&shared.tag, attempt);
        shared.client.about().await?;
        let spare = shared.spares.take(attempt);
        let is_spare = spare.is_some();
        let network = spare.unwrap_or_else(|| base.clone());
        let made = (!is_spare && shared.options.network != Network::None).then(|| {
            let (shared, network) = (shared.clone(), network.clone());
            let labels = names::labels(&shared.tag, attempt, "network");
            tokio::spawn(async move { network::make(&shared, labels, &network).await })
        });
        let (network_made, state) = (made.into(), Mutex::default());
        Ok(Self { shared, request, paths, base, network, is_spare, network_made, state })
    }

    /// Waits until the network is there; whoever asks first gets the error.
    pub(crate) async fn network_is_there(&self) -> Result<(), DriverError> {
        let mut made = self.network_made.lock().await;
        let Some(task) = made.as_mut() else { return Ok(()) };
        let result = task.await;
        *made = None;
        result.unwrap_or_else(|_| Err(DriverError::new(DriverErrorKind::Other, "the runner is stopping")))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn common(&self, about: &About) -> Common<'_> {
        Common {
            options: &self.shared.options,
            tag: &self.shared.tag,
            attempt: self.request.cell.attempt,
            network: &self.network,
            socket: &self.shared.client.socket,
            docker: about.name == "docker",
            grouped: about.grouped(),
        }
    }

    /// Everything of a container but what runs in it.
    async fn body(
        &self,
        role: &'static str,
        container: &Container,
        aliases: &[String],
        nest: Option<&Path>,
    ) -> Result<(ContainerCreateBody, Parsed, Limits), DriverError> {
        let allowed = &self.shared.options;
        let parsed = options::parse(&container.options, &allowed.allowed_options)?;
        let ports = ports::parse(&container.ports)?;
        let volumes = volumes::parse(&container.volumes, &allowed.allowed_volumes)?;
        let limits = create::limits(&self.request.cell.limits, &parsed)?;
        let about = self.shared.client.about().await?;
        if limits.cpus.is_some() && !about.grouped() {
            (self.request.notes)(
                "the limit of CPUs does not hold: an engine without root needs control groups v2 for it",
            );
        }
        let common = self.common(about);
        let mut body = common.body(role, container, &parsed, &limits, aliases);
        let (exposed, bindings) = create::bindings(&ports);
        body.exposed_ports = (!exposed.is_empty()).then_some(exposed);
        let mut binds: Vec<Mount> = container.mounts.clone();
        if role != "service" {
            binds.extend(self.paths.mounts.iter().cloned());
        }
        binds.extend(nest.map(|n| Mount {
            host: n.to_owned(),
            inside: keeper::INSIDE.into(),
            writable: false,
        }));
        if let Some(host) = &mut body.host_config {
            host.mounts = Some(common.mounts(&binds, &volumes)?);
            host.port_bindings = (!bindings.is_empty()).then_some(bindings);
            // Faster than asking for it; Podman would start a program of its own for it.
            let alone = role != "service" && allowed.keep.keep == Keep::None;
            host.auto_remove = (alone && about.name == "docker").then_some(true);
        }
        self.lock().volumes |= !volumes.is_empty();
        for name in volumes.iter().filter_map(|v| common.volume_name(v)) {
            network::make_volume(&self.shared, self.request.cell.attempt, &name).await?;
        }
        Ok((body, parsed, limits))
    }

    /// Makes a container and remembers it before it is started.
    async fn create(
        &self,
        role: &'static str,
        name: &str,
        body: ContainerCreateBody,
        parsed: &Parsed,
    ) -> Result<Made, DriverError> {
        let client = &self.shared.client;
        if client.about().await?.name != "docker" {
            // Docker looks for the network when it starts a container, Podman when it makes one.
            self.network_is_there().await?;
        }
        let mut options = CreateContainerOptionsBuilder::new().name(name);
        if let Some(platform) = &parsed.platform {
            options = options.platform(platform);
        }
        let removes_itself = body.host_config.as_ref().is_some_and(|h| h.auto_remove == Some(true));
        let doing = format!("make the {role} container");
        let made = client.call(&doing, client.docker.create_container(Some(options.build()), body)).await?;
        let made =
            Made { id: made.id, name: name.to_owned(), role, keeper: None, nest: None, removes_itself };
        self.lock().made.push(made.clone());
        Ok(made)
    }

    async fn start(&self, made: &Made) -> Result<(), DriverError> {
        self.network_is_there().await?;
        let client = &self.shared.client;
        let doing = format!("start the {} container", made.role);
        client.call(&doing, client.docker.start_container(&made.id, None)).await?;
        spare::refill(&self.shared);
        Ok(())
    }

    /// A name that nothing else of the attempt has.
    fn name(&self, role: &str) -> String {
        format!("{}-{role}-{}", self.base, self.shared.next())
    }

    /// Makes and starts a container in which commands can be started.
    ///
    /// Docker starts some containers on the empty directory that their root should be mounted over: seen
    /// with version 20.10 on Linux 6.18, once in hundreds when several start at the same time, and with
    /// nobody having unmounted it. Nothing of the image is there then, so it is made anew.
    async fn keep(
        &self,
        role: &'static str,
        container: &Container,
    ) -> Result<(Made, Arc<Keeper>, Limits), DriverError> {
        let expected = self.shared.client.about().await?.root;
        for _ in 0..ROOTS {
            let (made, keeper, limits) = Box::pin(self.keep_once(role, container)).await?;
            if expected.is_none_or(|root| root == keeper.root) {
                return Ok((made, keeper, limits));
            }
            tracing::warn!(container = made.name, "the engine lost the root of a container: it is made anew");
            keeper.finish(1);
            self.give_up(&made).await?;
        }
        let message =
            "the engine starts containers without the files of their image; next: restart the engine";
        Err(DriverError::new(DriverErrorKind::Unavailable, message))
    }

    /// Removes a container that is of no use, and forgets it.
    pub(crate) async fn give_up(&self, made: &Made) -> Result<(), DriverError> {
        self.remove(made).await?;
        if let Some(nest) = &made.nest {
            let _ = std::fs::remove_dir_all(nest);
        }
        self.lock().made.retain(|m| m.id != made.id);
        Ok(())
    }

    async fn keep_once(
        &self,
        role: &'static str,
        container: &Container,
    ) -> Result<(Made, Arc<Keeper>, Limits), DriverError> {
        let name = self.name(role);
        let attempt = self.request.cell.attempt;
        let place = format!("{attempt}_{}-{role}-{}", std::process::id(), self.shared.next());
        let mut nest = Nest::make(self.shared.directory.join("nests").join(place))?;
        let (mut body, parsed, limits) = self.body(role, container, &[], Some(nest.directory())).await?;
        body.entrypoint = Some(vec![format!("{}/keeper", keeper::INSIDE)]);
        body.cmd = Some(self.common(self.shared.client.about().await?).keeper(&limits));
        body.healthcheck = Some(bollard::models::HealthConfig {
            test: Some(vec!["NONE".into()]),
            ..bollard::models::HealthConfig::default()
        });
        self.lock().any_image.get_or_insert_with(|| container.image.id.clone());
        let mut made = self.create(role, &name, body, &parsed).await?;
        self.start(&made).await?;
        let keeper = Arc::new(nest.connected(self.ended_early(&made)).await?);
        made.keeper = Some(keeper.clone());
        made.nest = Some(nest.directory().to_owned());
        let mut state = self.lock();
        if let Some(known) = state.made.iter_mut().find(|m| m.id == made.id) {
            *known = made.clone();
        }
        drop(state);
        // The program runs, and nothing else uses what it came from but the mount.
        std::mem::forget(nest);
        Ok((made, keeper, limits))
    }

    /// Waits until a container that should go on has ended, and says why.
    async fn ended_early(&self, made: &Made) -> DriverError {
        use futures_util::StreamExt;
        let client = &self.shared.client;
        let ended = client.docker.wait_container(&made.id, None).next().await;
        let code = match ended {
            Some(Ok(ended)) => format!("with code {}", ended.status_code),
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => {
                format!("with code {code}")
            }
            _ => "at once".to_owned(),
        };
        let output = services::last_output(client, &made.id, 4096).await;
        let output = String::from_utf8_lossy(&output).trim().to_owned();
        let output = if output.is_empty() { output } else { format!(": {output}") };
        let message = format!("the {} container ended {code} before anything ran in it{output}", made.role);
        DriverError::new(DriverErrorKind::Other, message)
    }

    /// Ends all containers, in parallel, and removes or keeps them.
    async fn end_containers(&self, made: Vec<Made>, failed: bool) -> Result<(), DriverError> {
        let policy = self.shared.options.keep.keep;
        let keep = policy == Keep::All || (policy == Keep::Failed && failed);
        let ends = made.into_iter().map(|m| async move {
            let kept = keep && m.role != "helper";
            if !kept && self.leave(&m, failed).await {
                return Ok(());
            }
            if let Some(keeper) = &m.keeper {
                keeper.finish(u8::from(failed));
            }
            let result =
                if kept { self.keep_for_inspection(&m, failed).await } else { self.remove(&m).await };
            if result.is_ok()
                && let Some(nest) = m.nest
            {
                let _ = std::fs::remove_dir_all(nest);
            }
            result
        });
        let results = futures_util::future::join_all(ends).await;
        results.into_iter().collect()
    }

    /// Ends a container that the engine removes by itself, and does not wait for that: when nothing runs in
    /// it any more, what the attempt wrote is final. `false` if it has to be waited for.
    async fn leave(&self, made: &Made, failed: bool) -> bool {
        let Some(keeper) = made.keeper.as_ref().filter(|_| made.removes_itself) else { return false };
        let needed = {
            let state = self.lock();
            // These go now, and only when no container has them.
            state.volumes || !state.built.is_empty()
        };
        if needed || !spare::in_background(&self.shared) || !keeper.end_everything().await {
            return false;
        }
        keeper.finish(u8::from(failed));
        if let Some(nest) = &made.nest {
            let _ = std::fs::remove_dir_all(nest);
        }
        let (shared, id) = (self.shared.clone(), made.id.clone());
        let removed = async move {
            if let Err(error) = wait_removed(&shared.client, &id).await {
                tracing::debug!(%error, id, "a container stays until the next sweep");
            }
        };
        self.lock().leaving.push(Box::pin(removed));
        true
    }

    async fn remove(&self, made: &Made) -> Result<(), DriverError> {
        let client = &self.shared.client;
        if made.removes_itself && made.keeper.is_some() {
            return wait_removed(client, &made.id).await;
        }
        remove_container(client, &made.id).await
    }

    async fn keep_for_inspection(&self, made: &Made, failed: bool) -> Result<(), DriverError> {
        let (client, docker) = (&self.shared.client, &self.shared.client.docker);
        let kill = KillContainerOptionsBuilder::new().signal("SIGKILL").build();
        // It may have ended by itself.
        let _ = client.raw("end a container", docker.kill_container(&made.id, Some(kill))).await?;
        let wait = async {
            use futures_util::StreamExt;
            let _ = docker.wait_container(&made.id, None).next().await;
            Ok(())
        };
        client.call("wait for the end of a container", wait).await?;
        let leave =
            bollard::models::NetworkDisconnectRequest { container: made.id.clone(), force: Some(true) };
        let _ = client.raw("disconnect a container", docker.disconnect_network(&self.network, leave)).await?;
        let name = names::kept(&made.id, failed, &made.name);
        let rename = RenameContainerOptionsBuilder::new().name(&name).build();
        client.removing("rename a container", docker.rename_container(&made.id, rename)).await
    }

    async fn end(&self, failed: bool) -> Result<(), DriverError> {
        let (made, built, any_image) = {
            let mut state = self.lock();
            if state.torn_down {
                return Ok(());
            }
            state.services.clear();
            (state.made.clone(), state.built.clone(), state.any_image.clone())
        };
        // What was on its way is there, or is not.
        let _ = self.network_is_there().await;
        self.end_containers(made, failed).await?;
        // Only when nobody writes any more.
        let owned = Box::pin(owner::give_back(self, any_image.as_deref())).await;
        let client = &self.shared.client;
        if spare::in_background(&self.shared) {
            let leaving = std::mem::take(&mut self.lock().leaving);
            spare::leave(&self.shared, self.network.clone(), self.is_spare, leaving);
        } else if self.shared.options.network != Network::None {
            network::remove(client, &self.network).await?;
        }
        for image in built {
            remove_image(client, &image).await?;
        }
        if self.lock().volumes {
            network::remove_volumes(client, &self.shared.tag, self.request.cell.attempt).await?;
        }
        self.lock().torn_down = true;
        owned
    }

    /// A container that runs the keeper's own `own` as root over the directories of the attempt.
    pub(crate) async fn run_owner(
        &self,
        image: &str,
        uid: u32,
        gid: u32,
        directories: &[PathBuf],
    ) -> Result<i64, DriverError> {
        use futures_util::StreamExt;
        let attempt = self.request.cell.attempt;
        let place = format!("{attempt}_{}-helper-{}", std::process::id(), self.shared.next());
        let nest = Nest::make(self.shared.directory.join("nests").join(place))?;
        let mounts: Vec<_> = directories
            .iter()
            .enumerate()
            .map(|(i, d)| create::bind_of(d, &format!("/.own/{i}"), false))
            .chain([create::bind_of(nest.directory(), keeper::INSIDE, true)])
            .collect();
        let mut cmd = vec!["own".to_owned(), uid.to_string(), gid.to_string()];
        cmd.extend((0..directories.len()).map(|i| format!("/.own/{i}")));
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint: Some(vec![format!("{}/keeper", keeper::INSIDE)]),
            cmd: Some(cmd),
            user: Some("0:0".into()),
            labels: Some(names::labels(&self.shared.tag, attempt, "helper")),
            host_config: Some(bollard::models::HostConfig {
                network_mode: Some("none".into()),
                cap_drop: Some(vec!["ALL".into()]),
                cap_add: Some(vec!["CHOWN".into(), "DAC_OVERRIDE".into(), "FOWNER".into()]),
                security_opt: Some(vec!["no-new-privileges".into()]),
                readonly_rootfs: Some(true),
                pids_limit: Some(8),
                mounts: Some(mounts),
                ..bollard::models::HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let made = self.create("helper", &self.name("helper"), body, &Parsed::default()).await?;
        let client = &self.shared.client;
        let run = async {
            self.start(&made).await?;
            let mut end = client.docker.wait_container(&made.id, None);
            let end = tokio::time::timeout(self.shared.options.pull_timeout, end.next()).await;
            Ok(
                match end
                    .map_err(|_| DriverError::new(DriverErrorKind::Unavailable, "the helper does not end"))?
                {
                    Some(Ok(end)) => end.status_code,
                    Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => code,
                    Some(Err(e)) => {
                        return Err(error::engine(&client.endpoint, "wait for a helper container", &e));
                    }
                    None => 0,
                },
            )
        };
        let code = run.await;
        remove_container(client, &made.id).await?;
        code
    }
}

/// Waits until the engine has removed a container that ends, and does it if the engine does not.
async fn wait_removed(client: &Client, id: &str) -> Result<(), DriverError> {
    use futures_util::StreamExt;
    let options = WaitContainerOptionsBuilder::new().condition("removed").build();
    let mut gone = client.docker.wait_container(id, Some(options));
    // The keeper ends at once unless something is badly wrong.
    let gone = async { while gone.next().await.is_some_and(|g| g.is_ok()) {} };
    let _ = tokio::time::timeout(ENDS_BY_ITSELF, gone).await;
    match client.inspect("look at a container", id).await? {
        Err(e) if error::is_gone(&e) => Ok(()),
        _ => remove_container(client, id).await,
    }
}

#[async_trait]
impl Group for ContainerGroup {
    fn network(&self) -> String {
        self.network.clone()
    }

    async fn image(&self, source: &ImageSource) -> Result<Image, DriverError> {
        let (image, built) = image::provide(self, source).await?;
        let mut state = self.lock();
        if built {
            state.built.push(image.id.clone());
        }
        state.any_image.get_or_insert_with(|| image.id.clone());
        Ok(image)
    }

    async fn unpack(&self, image: &Image) -> Result<PathBuf, DriverError> {
        unpack::unpack(self, image).await
    }

    async fn cell(&self, container: Container) -> Result<Box<dyn Cell>, DriverError> {
        let (made, keeper, limits) = Box::pin(self.keep("job", &container)).await?;
        let about = self.shared.client.about().await?;
        let record = cell::record(self, about, Some((&container.image, &limits, keeper.user)));
        let paths = self.paths.with(&container.mounts);
        Ok(Box::new(cell::ContainerCell::new(made.id, keeper, paths, record)))
    }

    async fn service(&self, name: &str, container: Container) -> Result<Service, DriverError> {
        let service = Box::pin(services::start(self, name, container)).await?;
        self.lock().services.push(service.clone());
        Ok(service)
    }

    async fn wait_healthy(&self, service: &Service) -> Result<(), DriverError> {
        services::wait_healthy(self, service).await
    }

    async fn run(&self, container: Container) -> Result<Running, DriverError> {
        let client = &self.shared.client;
        let found = client
            .call("look at the image", client.docker.inspect_image(&container.image.id))
            .await?
            .config
            .unwrap_or_default();
        let parsed = options::parse(&container.options, &self.shared.options.allowed_options)?;
        let own = container.entrypoint.clone().or(parsed.entrypoint.map(|e| vec![e]));
        let mut words = own.clone().or(found.entrypoint).unwrap_or_default();
        // As the engine does it: another entry point does not get the image's arguments.
        words.extend(
            container.command.clone().or(if own.is_some() { None } else { found.cmd }).unwrap_or_default(),
        );
        if words.first().is_none_or(String::is_empty) {
            let message = format!(
                "the image '{}' says nothing to run, and neither does the action",
                container.image.reference
            );
            return Err(DriverError::new(DriverErrorKind::Invalid, message));
        }
        let directory = match (&container.working_directory, &parsed.workdir, found.working_dir) {
            (Some(directory), ..) => directory.clone(),
            (_, Some(directory), _) => directory.into(),
            (.., Some(directory)) if !directory.is_empty() => directory.into(),
            _ => "/".into(),
        };
        let (made, keeper, _) = Box::pin(self.keep("action", &container)).await?;
        let command = fleetfoot_driver::Command {
            program: words.remove(0),
            args: words,
            working_directory: directory,
            merge_output: true,
            ..fleetfoot_driver::Command::default()
        };
        let (running, handle) = keeper.start(&command).await?;
        // The container ends with what it was started for, whatever that left running.
        tokio::spawn(async move {
            let Exit { code, signal, .. } = handle.wait().await;
            let code = code.or(signal.map(|s| 128 + s)).unwrap_or(255);
            keeper.finish(u8::try_from(code).unwrap_or(255));
            drop(made);
        });
        Ok(running)
    }

    fn inside(&self, host: &Path) -> PathBuf {
        self.paths.inside(host)
    }

    fn record(&self) -> BoundaryRecord {
        // Opening the group asked the engine already.
        cell::record_of_group(self)
    }

    async fn service_logs(&self) -> Vec<(String, Vec<u8>)> {
        let services = self.lock().services.clone();
        let mut logs = Vec::new();
        for service in services {
            let output = services::last_output(&self.shared.client, &service.id, 256 * 1024).await;
            logs.push((service.name, output));
        }
        logs
    }

    async fn tear_down(&self, failed: bool) -> Result<(), DriverError> {
        Box::pin(self.end(failed)).await
    }
}

/// Ports of the host as the engine gave them.
pub(crate) type PortMap = IndexMap<String, u16>;
