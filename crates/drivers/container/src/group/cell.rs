//! The container of a job, as a cell: commands start through its keeper in
//! about a millisecond, and nothing of them passes through the engine.

use super::ContainerGroup;
use crate::client::About;
use crate::config::Network;
use crate::create::CAPABILITIES;
use crate::keeper::Keeper;
use crate::paths::Paths;
use async_trait::async_trait;
use fleetfoot_driver::containers::Image;
use fleetfoot_driver::{Cell, Command, DriverError, Running};
use fleetfoot_model::boundary::{Boundary, BoundaryRecord};
use fleetfoot_model::spec::Limits;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) struct ContainerCell {
    /// As the engine calls the container.
    id: String,
    keeper: Mutex<Option<Arc<Keeper>>>,
    paths: Paths,
    record: BoundaryRecord,
}

impl ContainerCell {
    pub(crate) fn new(id: String, keeper: Arc<Keeper>, paths: Paths, record: BoundaryRecord) -> Self {
        Self { id, keeper: Mutex::new(Some(keeper)), paths, record }
    }

    fn keeper(&self) -> Option<Arc<Keeper>> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ContainerCell {
    fn drop(&mut self) {
        // Whoever loses a cell leaves no process; the container itself is the sweep's.
        if let Some(keeper) = self.keeper() {
            keeper.finish(137);
        }
    }
}

#[async_trait]
impl Cell for ContainerCell {
    fn record(&self) -> BoundaryRecord {
        self.record.clone()
    }

    fn inside(&self, host: &Path) -> PathBuf {
        self.paths.inside(host)
    }

    fn id(&self) -> Option<String> {
        Some(self.id.clone())
    }

    async fn start(&self, command: Command) -> Result<Running, DriverError> {
        let Some(keeper) = self.keeper() else {
            let message = "the container of the job was torn down";
            return Err(DriverError::new(fleetfoot_driver::DriverErrorKind::Other, message));
        };
        let directory = self.paths.inside(&command.working_directory);
        Ok(keeper.start(&Command { working_directory: directory, ..command }).await?.0)
    }

    async fn kill_all(&self) {
        if let Some(keeper) = self.keeper() {
            let _ = keeper.end_everything().await;
        }
    }

    async fn tear_down(&self) -> Result<(), DriverError> {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            let _ = keeper.end_everything().await;
        }
        // Ending and removing is the group's business: it may keep the container.
        Ok(())
    }
}

/// What holds for a container; `None` for the group as a whole.
pub(crate) fn record(
    group: &ContainerGroup,
    about: &About,
    container: Option<(&Image, &Limits, (u32, u32))>,
) -> BoundaryRecord {
    let shared = &group.shared;
    let mut namespaces: Vec<String> =
        ["mount", "pid", "ipc", "uts", "net"].iter().map(|n| (*n).to_owned()).collect();
    if about.user_namespace {
        namespaces.push("user".into());
    }
    let limits = container.map_or(&group.request.cell.limits, |(_, limits, _)| limits);
    let user = container
        .map_or_else(|| "of the image".to_owned(), |(_, _, (uid, gid))| format!("{uid}:{gid} (host)"));
    let runtime = shared.options.runtime.as_ref().map_or_else(String::new, |r| format!(", {r}"));
    BoundaryRecord {
        boundary: Boundary::Container,
        driver: format!(
            "container/{} ({} {}{runtime})",
            env!("CARGO_PKG_VERSION"),
            about.name,
            about.version
        ),
        namespaces,
        capabilities: Some(CAPABILITIES.iter().map(|c| (*c).to_owned()).collect()),
        seccomp: about.seccomp.then(|| "the engine's default profile".to_owned()),
        landlock_abi: None,
        // Whatever else there is: the namespace of processes ends with its first.
        containment: if about.grouped() { about.cgroups } else { "pid-namespace" }.to_owned(),
        limits: in_force(about, limits, shared.options.default_pids),
        user,
        network: match shared.options.network {
            Network::None => "none".to_owned(),
            _ => "private".to_owned(),
        },
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        image: container.map(|(image, ..)| image.digest.clone().unwrap_or_else(|| image.id.clone())),
    }
}

/// The limits that hold, and where they hold for less than the container, for what.
fn in_force(about: &About, limits: &Limits, default_pids: Option<u64>) -> indexmap::IndexMap<String, String> {
    let grouped = about.grouped();
    let said = |value: String, of: &str| if grouped { value } else { format!("{value} ({of})") };
    let mut all = indexmap::IndexMap::new();
    if let Some(pids) = limits.pids.or(default_pids) {
        all.insert("pids".to_owned(), said(pids.to_string(), "of the engine's user"));
    }
    if let Some(bytes) = limits.memory_bytes {
        all.insert("memory_bytes".to_owned(), said(bytes.to_string(), "each process"));
    }
    if let Some(cpus) = limits.cpus.filter(|_| grouped) {
        all.insert("cpus".to_owned(), cpus.to_string());
    }
    all
}

/// The same for a group, which knows no image.
pub(crate) fn record_of_group(group: &ContainerGroup) -> BoundaryRecord {
    record(group, &group.shared.client.known(), None)
}
