//! The engine as a whole: opening groups, and removing what belongs to nobody.
//! It must never touch what does not carry the tag of its own runner.

use crate::client::Client;
use crate::config::{ContainerOptions, Keep};
use crate::error;
use crate::group::ContainerGroup;
use crate::names;
use crate::spare::{self, Fate, Spares};
use async_trait::async_trait;
use bollard::models::{ContainerSummary, ImageSummary};
use bollard::query_parameters::{
    ListImagesOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder, RemoveVolumeOptionsBuilder,
};
use fleetfoot_driver::containers::{Containers, Group, GroupRequest, Kept};
use fleetfoot_driver::{DriverError, DriverErrorKind};
use fleetfoot_model::ids::AttemptRef;
use fleetfoot_model::time::Timestamp;
use std::collections::HashMap;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What all groups of an engine share.
pub(crate) struct Shared {
    pub(crate) options: ContainerOptions,
    pub(crate) tag: String,
    pub(crate) client: Client,
    /// Closed to everybody else.
    pub(crate) directory: PathBuf,
    pub(crate) spares: Spares,
    next: AtomicU64,
}

impl Shared {
    /// A number for names that are used once in the life of this process.
    pub(crate) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        spare::abandon(&self.spares, &self.client);
    }
}

/// Docker or Podman, as groups of containers for attempts.
#[derive(Clone)]
pub struct ContainerEngine {
    pub(crate) shared: Arc<Shared>,
}

impl std::fmt::Debug for ContainerEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContainerEngine")
            .field("endpoint", &self.shared.client.endpoint)
            .finish_non_exhaustive()
    }
}

/// What an engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineAbout {
    /// `docker` or `podman`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its socket.
    pub endpoint: String,
    /// It runs as an ordinary user.
    pub rootless: bool,
}

impl ContainerEngine {
    /// Finds the socket; speaks to the engine only when something is asked of it.
    ///
    /// # Errors
    /// `Unavailable` if there is no socket, `Unsupported` for an engine on another machine.
    pub fn new(options: ContainerOptions) -> Result<Self, DriverError> {
        let tag = names::plain(&options.tag);
        if tag.is_empty() {
            return Err(DriverError::new(DriverErrorKind::Other, "the tag of the runner is empty"));
        }
        let directory = options.directory.clone().unwrap_or_else(|| {
            let user = rustix::process::geteuid().as_raw();
            std::env::temp_dir().join(format!("fleetfoot-containers-{user}-{tag}"))
        });
        let client = Client::new(&options)?;
        let spares = Spares::new(&directory);
        let shared = Shared { options, tag, client, directory, spares, next: AtomicU64::new(0) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What the engine is; fails if it does not answer.
    ///
    /// # Errors
    /// `Unavailable` with the next command.
    pub async fn about(&self) -> Result<EngineAbout, DriverError> {
        let about = self.shared.client.about().await?;
        Ok(EngineAbout {
            name: about.name.to_owned(),
            version: about.version.clone(),
            endpoint: self.shared.client.endpoint.clone(),
            rootless: about.rootless,
        })
    }

    /// Waits until nothing is made or removed in the background: networks of attempts that are over, and
    /// spare ones. They go on by themselves; this is for whoever measures, or looks at the engine.
    pub async fn settle(&self) {
        spare::settle(&self.shared).await;
    }

    pub(crate) async fn open_group(&self, request: GroupRequest) -> Result<Arc<ContainerGroup>, DriverError> {
        self.own_directory()?;
        Ok(Arc::new(ContainerGroup::open(self.shared.clone(), request).await?))
    }

    /// Makes our directory, or makes sure that it is ours: others may write where it lies.
    fn own_directory(&self) -> Result<(), DriverError> {
        let path = &self.shared.directory;
        let failed = |e| DriverError::io(format!("cannot use the directory '{}'", path.display()), e);
        if let Err(e) = std::fs::DirBuilder::new().mode(0o700).recursive(true).create(path) {
            return Err(failed(e));
        }
        let found = std::fs::symlink_metadata(path).map_err(failed)?;
        if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
            let message = format!("'{}' belongs to somebody else; next: remove it", path.display());
            return Err(DriverError::new(DriverErrorKind::Denied, message));
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).map_err(failed)
    }

    async fn containers(&self, attempt: Option<AttemptRef>) -> Result<Vec<ContainerSummary>, DriverError> {
        let filter = names::filter(&self.shared.tag, attempt);
        let filter = serde_json::to_string(&filter).unwrap_or_default();
        let path = format!("/containers/json?all=true&filters={}", crate::client::quoted(&filter));
        let client = &self.shared.client;
        for tries in 0.. {
            match client.get("list containers", &path).await? {
                Ok(found) => return Ok(found),
                // Podman stumbles over containers that come or go at this very moment.
                Err(e) if tries < 20 && error::status(&e) == Some(500) => {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                Err(e) => return Err(error::engine(&client.endpoint, "list containers", &e)),
            }
        }
        Ok(Vec::new())
    }

    /// Removes what `wanted` accepts, by the labels of each thing; answers what it was.
    async fn remove(
        &self,
        attempt: Option<AttemptRef>,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, DriverError> {
        let (client, docker) = (&self.shared.client, &self.shared.client.docker);
        let filter = names::filter(&self.shared.tag, attempt);
        // The engine's filters are a first choice; the labels themselves decide.
        let ours = |labels: &HashMap<String, String>| {
            labels.get(names::RUNNER) == Some(&self.shared.tag)
                && labels.get(names::ATTEMPT).is_some_and(|a| wanted(a))
        };
        let mut removed = Vec::new();
        let mut failed = None;
        let mut note = |result: Result<(), DriverError>, what: String| match result {
            Ok(()) => removed.push(what),
            Err(e) => {
                failed.get_or_insert(e);
            }
        };
        for container in self.containers(attempt).await? {
            let labels = container.labels.clone().unwrap_or_default();
            if names::was_kept(&container).is_some() || !ours(&labels) {
                continue;
            }
            let id = container.id.unwrap_or_default();
            let name = container.names.unwrap_or_default().first().cloned().unwrap_or_default();
            note(remove_container(client, &id).await, format!("container {}", name.trim_start_matches('/')));
        }
        // Spare ones have no label of an attempt.
        let options =
            ListNetworksOptionsBuilder::new().filters(&names::filter(&self.shared.tag, None)).build();
        for network in client.call("list networks", docker.list_networks(Some(options))).await? {
            let name = network.name.clone().unwrap_or_default();
            let fate = match spare::maker(&network) {
                Some(_) if names::label(&network.labels, names::RUNNER) != Some(&self.shared.tag) => {
                    Fate::Stays
                }
                Some(maker) => self.shared.spares.fate(&name, maker, &wanted),
                None if network.labels.as_ref().is_some_and(&ours) => Fate::Goes,
                None => Fate::Stays,
            };
            if fate == Fate::Stays {
                continue;
            }
            let gone = client.removing("remove a network", docker.remove_network(&name)).await;
            if fate == Fate::GoesIfEmpty && gone.as_ref().is_err_and(spare::is_used) {
                continue;
            }
            if gone.is_ok() {
                self.shared.spares.removed(&name);
            }
            note(gone, format!("network {name}"));
        }
        let options = ListVolumesOptionsBuilder::new().filters(&filter).build();
        let volumes = client.call("list volumes", docker.list_volumes(Some(options))).await?;
        for volume in volumes.volumes.into_iter().flatten() {
            if ours(&volume.labels) {
                let options = RemoveVolumeOptionsBuilder::new().force(true).build();
                let gone = docker.remove_volume(&volume.name, Some(options));
                note(client.removing("remove a volume", gone).await, format!("volume {}", volume.name));
            }
        }
        for image in self.images(&filter).await? {
            if ours(&image.labels) {
                let gone = remove_image(client, &image.id).await;
                note(gone, format!("image {}", image.id));
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(removed),
        }
    }

    /// Podman cannot list images while one is being removed: it is asked again.
    async fn images(&self, filter: &HashMap<String, Vec<String>>) -> Result<Vec<ImageSummary>, DriverError> {
        let client = &self.shared.client;
        for tries in 0.. {
            let options = ListImagesOptionsBuilder::new().filters(filter).build();
            match client.raw("list images", client.docker.list_images(Some(options))).await? {
                Ok(images) => return Ok(images),
                Err(e) if tries < 20 && error::words(&e).contains("image not known") => {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                Err(e) => return Err(error::engine(&client.endpoint, "list images", &e)),
            }
        }
        Ok(Vec::new())
    }

    /// Directories with sockets of attempts that are over.
    fn remove_nests(&self, wanted: impl Fn(&str) -> bool) {
        let Ok(entries) = std::fs::read_dir(self.shared.directory.join("nests")) else { return };
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.split_once('_').is_some_and(|(attempt, _)| wanted(attempt)) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Removes kept containers that the policy does not keep any longer; answers what it was.
    async fn apply_policy(&self, now: Timestamp) -> Result<Vec<String>, DriverError> {
        let policy = &self.shared.options.keep;
        let mut removed = Vec::new();
        for (i, kept) in self.kept().await?.into_iter().enumerate() {
            let wanted = match policy.keep {
                Keep::None => false,
                Keep::Failed => kept.failed,
                Keep::All => true,
            };
            if !wanted || i >= policy.count || now.since(kept.finished_at) > policy.age {
                remove_container(&self.shared.client, &kept.id).await?;
                removed.push(format!("kept container {}", kept.name));
            }
        }
        Ok(removed)
    }
}

pub(crate) async fn remove_container(client: &Client, id: &str) -> Result<(), DriverError> {
    for tries in 0.. {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let error = match client
            .raw("remove a container", client.docker.remove_container(id, Some(options)))
            .await?
        {
            Ok(()) => return Ok(()),
            Err(e) => e,
        };
        let words = error::words(&error);
        // Gone, or going: somebody else removes it at this moment.
        if error::is_gone(&error) || words.contains("already in progress") {
            return Ok(());
        }
        // Podman refuses to end what is ending at this very moment.
        if tries >= 20 || !(words.contains("state improper") || words.contains("could not be stopped")) {
            return Err(error::engine(&client.endpoint, "remove a container", &error));
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Ok(())
}

pub(crate) async fn remove_image(client: &Client, id: &str) -> Result<(), DriverError> {
    let options = RemoveImageOptionsBuilder::new().force(true).build();
    let call = async { client.docker.remove_image(id, Some(options), None).await.map(drop) };
    client.removing("remove an image", call).await
}

/// The one look at the wall clock: how old a kept container is.
#[expect(clippy::disallowed_methods, reason = "the rim: engines tell times of the wall clock")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[async_trait]
impl Containers for ContainerEngine {
    async fn open(&self, request: GroupRequest) -> Result<Arc<dyn Group>, DriverError> {
        Ok(self.open_group(request).await?)
    }

    async fn sweep(&self, attempt: AttemptRef) -> Result<(), DriverError> {
        let name = attempt.to_string();
        self.remove(Some(attempt), |a| a == name).await?;
        self.remove_nests(|a| a == name);
        Ok(())
    }

    async fn sweep_except(&self, living: &[AttemptRef]) -> Result<Vec<String>, DriverError> {
        let living: Vec<String> = living.iter().map(ToString::to_string).collect();
        let mut removed = self.remove(None, |a| living.iter().all(|l| l != a)).await?;
        self.remove_nests(|a| living.iter().all(|l| l != a));
        removed.extend(self.apply_policy(now()).await?);
        Ok(removed)
    }

    async fn close(&self) {
        spare::close(&self.shared).await;
    }

    async fn kept(&self) -> Result<Vec<Kept>, DriverError> {
        let client = &self.shared.client;
        let mut all = Vec::new();
        for container in self.containers(None).await? {
            let (Some(failed), Some(id)) = (names::was_kept(&container), &container.id) else { continue };
            let label = |name: &str| names::label(&container.labels, name).unwrap_or_default().to_owned();
            let Ok(attempt) = label(names::ATTEMPT).parse() else { continue };
            if label(names::RUNNER) != self.shared.tag {
                continue;
            }
            let Ok(found) = client.inspect("look at a container", id).await? else { continue };
            let state = found.state.unwrap_or_default();
            let finished = state.finished_at.and_then(|t| t.parse().ok());
            all.push(Kept {
                id: id.clone(),
                name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
                attempt,
                image: label(names::IMAGE),
                finished_at: finished.unwrap_or(Timestamp::from_micros(0)),
                exit_code: state.exit_code.unwrap_or(-1),
                failed,
            });
        }
        all.sort_by(|a, b| b.finished_at.cmp(&a.finished_at).then_with(|| a.id.cmp(&b.id)));
        Ok(all)
    }

    async fn remove_kept(&self, ids: &[String]) -> Result<(), DriverError> {
        let kept = self.kept().await?;
        for id in ids {
            let Some(found) = kept.iter().find(|k| k.id == *id || k.name == *id) else {
                let message = format!("'{id}' is not a kept container of this runner");
                return Err(DriverError::new(DriverErrorKind::NotFound, message));
            };
            remove_container(&self.shared.client, &found.id).await?;
        }
        Ok(())
    }
}
