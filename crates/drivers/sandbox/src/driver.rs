//! The driver itself: options, what is found out once about the machine,
//! cells, sweeping.

use crate::cell::SandboxCell;
use crate::probe;
use crate::seccomp::{self, Profile};
use crate::volume::{self, Volume};
use crate::zygote::HostIds;
use async_trait::async_trait;
use fleetfoot_driver::{Cell, CellRequest, Driver, DriverError, DriverErrorKind};
use fleetfoot_driver_linux::cgroup::Cgroups;
use fleetfoot_driver_linux::{io, network, tree, userns};
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::ids::AttemptRef;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Network of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Loopback only.
    None,
    /// The host's. Abstract sockets of the host stay out of reach where Landlock can scope them.
    #[default]
    Host,
    /// Own network with outgoing traffic over IPv4, but not to private ranges, metadata addresses and the
    /// loopback of the host. Needs `slirp4netns`.
    Private,
}

impl Network {
    /// The word for the record of the boundary.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Host => "host",
            Self::Private => "private",
        }
    }
}

/// What a job sees as its system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Root {
    /// Programs and libraries of the host, read-only, and a minimal `/etc`.
    #[default]
    Host,
    /// The root of an unpacked image, read-only. Top directories on the way to the workspace are not shown.
    Directory(PathBuf),
}

/// How a [`SandboxDriver`] works.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// Tells the control groups and processes of this runner from those of
    /// others on the same machine, and is the same after a restart. Characters
    /// outside `[A-Za-z0-9_-]` are replaced.
    pub tag: String,
    /// Processes and threads that a job may have if it names no limit.
    pub default_pids: Option<u64>,
    /// Use control groups where the machine has them.
    pub cgroups: bool,
    /// Added to the kernel's score when it looks for a victim, so that a job
    /// dies before the runner; -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Network of the cells.
    pub network: Network,
    /// What a job sees as its system.
    pub root: Root,
    /// Size of `/tmp` and of `/home`, each, bytes. Counts as memory of the job.
    pub tmp_bytes: u64,
    /// Size of `/dev/shm`, bytes. Counts as memory of the job.
    pub shm_bytes: u64,
    /// Size of the workspace, bytes: it gets a file system of its own. Needs root and `mkfs.ext4`; where
    /// that is missing no cell is made, rather than one without the limit.
    pub workspace_bytes: Option<u64>,
    /// Open files of a process, at most; clamped to the hard limit of the runner.
    pub open_files: u64,
    /// If the runner is root: user and group of the host that jobs run as. No file should belong to them.
    pub host_ids: (u32, u32),
}

impl Default for SandboxOptions {
    fn default() -> Self {
        Self {
            tag: "local".into(),
            default_pids: Some(8192),
            cgroups: true,
            oom_score_adj: Some(500),
            network: Network::Host,
            root: Root::Host,
            tmp_bytes: 2 << 30,
            shm_bytes: 256 << 20,
            workspace_bytes: None,
            open_files: 1 << 20,
            host_ids: (64_900, 64_900),
        }
    }
}

/// Home directory of the user inside.
pub(crate) fn home() -> PathBuf {
    PathBuf::from("/home/fleetfoot")
}

/// User and group inside when the runner is root. Not 0: as root without rights, tools would try what
/// they must not (`tar` restores owners) and fail.
pub(crate) const INSIDE_IDS: (u32, u32) = (1000, 1000);

/// What is the same for all cells of a driver.
pub(crate) struct Shared {
    pub(crate) options: SandboxOptions,
    pub(crate) tag: String,
    pub(crate) profile: Profile,
    pub(crate) null: OwnedFd,
    /// The runner is root and may map owners and users freely.
    pub(crate) privileged: bool,
    /// Shows files of root as files of the job, where that works.
    pub(crate) id_map: Option<OwnedFd>,
    /// Whom the user inside stands for.
    pub(crate) host_ids: HostIds,
    pub(crate) inside_ids: (u32, u32),
    pub(crate) containment: &'static str,
}

/// Makes cells that are fenced off by the kernel's own means.
pub struct SandboxDriver {
    shared: Arc<Shared>,
    cgroups: Arc<Cgroups>,
}

impl std::fmt::Debug for SandboxDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SandboxDriver")
            .field("tag", &self.shared.tag)
            .field("cgroups", &self.cgroups)
            .finish_non_exhaustive()
    }
}

impl SandboxDriver {
    /// Looks at the machine once and keeps the answer. Whether cells can really be made only
    /// [`SandboxDriver::probe`] tells.
    ///
    /// # Errors
    /// If an option cannot be fulfilled on this machine.
    pub fn new(options: SandboxOptions) -> Result<Self, DriverError> {
        let tag = tree::clean_tag(&options.tag)?;
        if options.network == Network::Private && network::program().is_none() {
            return Err(DriverError::new(DriverErrorKind::Unsupported, network::NEEDS));
        }
        if let Root::Directory(path) = &options.root {
            check_root(path)?;
        }
        let profile = seccomp::profile();
        let null = io::open_null().map_err(|e| DriverError::io("cannot open /dev/null", e))?;
        let cgroups = if options.cgroups { Cgroups::probe(&tag) } else { Cgroups::none() };
        let me =
            HostIds { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
        let job = HostIds { uid: options.host_ids.0, gid: options.host_ids.1 };
        // Root in name only (in a container of an ordinary user) is treated as an ordinary user.
        let id_map = (me.uid == 0 && probe::may_map_owners())
            .then(|| userns::namespace(&[(me.uid, job.uid)], &[(me.gid, job.gid)]).ok())
            .flatten();
        let privileged = id_map.is_some();
        // Without control groups the pid namespace still holds every process.
        let containment = match cgroups.containment() {
            "process-group" => "pid-namespace",
            groups => groups,
        };
        let shared = Shared {
            tag,
            profile,
            null,
            privileged,
            host_ids: if id_map.is_some() { job } else { me },
            inside_ids: if me.uid == 0 { INSIDE_IDS } else { (me.uid, me.gid) },
            id_map,
            containment,
            options,
        };
        Ok(Self { shared: Arc::new(shared), cgroups: Arc::new(cgroups) })
    }

    /// How process trees are held on this machine: `cgroup-v2`, `cgroup-v1`, `hybrid` or `pid-namespace`.
    #[must_use]
    pub fn containment(&self) -> &'static str {
        self.shared.containment
    }

    pub(crate) fn owners_are_mapped(&self) -> bool {
        self.shared.id_map.is_some()
    }

    pub(crate) async fn make_cell(&self, request: &CellRequest) -> Result<SandboxCell, DriverError> {
        for path in [&request.workspace, &request.temp] {
            check_path(path)?;
        }
        for mount in &request.mounts {
            check_mount(&mount.inside)?;
        }
        if let Some(root) = &request.root {
            check_root(&root.directory)?;
        }
        let (shared, cgroups, request) = (self.shared.clone(), self.cgroups.clone(), request.clone());
        // It waits for other processes: milliseconds as a rule, but nobody else shall wait with it.
        let made = tokio::task::spawn_blocking(move || {
            let volume = match shared.options.workspace_bytes {
                None => None,
                Some(bytes) => {
                    let name = volume::image_name(&shared.tag, &request.attempt.to_string());
                    Some(Volume::mount(&request.workspace, &name, bytes)?)
                }
            };
            SandboxCell::new(shared, &cgroups, &request, volume)
        });
        made.await.map_err(|_| DriverError::new(DriverErrorKind::Other, "the runner is stopping"))?
    }
}

fn check_root(path: &Path) -> Result<(), DriverError> {
    // A link may be absolute, and then says nothing about this root.
    if std::fs::symlink_metadata(path.join("bin")).is_ok() {
        return Ok(());
    }
    let message = format!("'{}' is not the root of an image: it has no /bin", path.display());
    Err(DriverError::new(DriverErrorKind::NotFound, message))
}

/// Anywhere but in what every cell has of its own.
fn check_mount(inside: &Path) -> Result<(), DriverError> {
    let plain = inside.is_absolute() && !inside.components().any(|c| c.as_os_str() == "..");
    let shadowed = ["/proc", "/dev", "/sys"].iter().any(|p| inside.starts_with(p));
    let whole = ["/", "/tmp", "/home", "/run", "/etc"].iter().any(|p| inside == Path::new(p));
    if plain && !shadowed && !whole && inside.to_str().is_some() {
        return Ok(());
    }
    let message = format!("nothing can be shown at '{}' of a sandbox", inside.display());
    Err(DriverError::new(DriverErrorKind::Unsupported, message))
}

/// A directory that is shown inside under its own name needs one that means the same there.
fn check_path(path: &Path) -> Result<(), DriverError> {
    let plain = path.is_absolute() && !path.components().any(|c| c.as_os_str() == "..");
    let shadowed = ["/proc", "/dev", "/sys", "/usr", "/bin", "/etc"].iter().any(|p| path.starts_with(p));
    if plain && !shadowed && path.to_str().is_some() && path != Path::new("/") {
        return Ok(());
    }
    let message = format!("'{}' cannot be a directory of a job in a sandbox", path.display());
    Err(DriverError::new(DriverErrorKind::Unsupported, message))
}

impl Drop for SandboxDriver {
    fn drop(&mut self) {
        self.cgroups.remove_bases();
    }
}

#[async_trait]
impl Driver for SandboxDriver {
    fn boundary(&self) -> Boundary {
        Boundary::Sandbox
    }

    async fn prepare(&self, request: CellRequest) -> Result<Box<dyn Cell>, DriverError> {
        Ok(Box::new(self.make_cell(&request).await?))
    }

    async fn sweep(&self, attempt: AttemptRef) -> Result<(), DriverError> {
        let name = attempt.to_string();
        self.cgroups
            .sweep(&name)
            .map_err(|e| DriverError::io(format!("cannot remove the control groups of attempt {name}"), e))?;
        tree::end_marked(&tree::markers(&self.shared.tag, &name)).await?;
        volume::sweep(&volume::image_name(&self.shared.tag, &name))
            .map_err(|e| DriverError::io(format!("cannot remove the volume of attempt {name}"), e))
    }
}
