//! The driver itself: options, what is found out once about the machine,
//! cells, sweeping.

use crate::cell::GvisorCell;
use crate::platform::{self, Choice};
use crate::spec;
use async_trait::async_trait;
use fleetfoot_driver::{Cell, CellRequest, Driver, DriverError, DriverErrorKind};
use fleetfoot_driver_linux::cgroup::Cgroups;
use fleetfoot_driver_linux::{io, network, tree, userns};
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::ids::AttemptRef;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What the directory of all cells of a runner is called, before the runner's tag.
pub(crate) const STATE_PREFIX: &str = "fleetfoot-gvisor-";
/// What is said wherever `runsc` is missing.
pub(crate) const NO_RUNSC: &str =
    "`runsc` is not installed: install gVisor's package runsc, or name the program in `gvisor_runsc`";

/// Network of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Loopback only, made by gVisor's own network stack.
    None,
    /// The host's: gVisor passes sockets on to it.
    Host,
    /// Own network with outgoing traffic, but not to private ranges, metadata addresses and the loopback of
    /// the host. Needs `slirp4netns`.
    #[default]
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

/// How a [`GvisorDriver`] works.
#[derive(Clone, Debug)]
pub struct GvisorOptions {
    /// Tells the control groups, processes and directories of this runner from those of
    /// others on the same machine, and is the same after a restart. Characters
    /// outside `[A-Za-z0-9_-]` are replaced.
    pub tag: String,
    /// The program; absent means the one in the usual places.
    pub runsc: Option<PathBuf>,
    /// `systrap`, `ptrace` or `kvm`; absent means the first of them that works, tried in this order.
    pub platform: Option<String>,
    /// Network of the cells.
    pub network: Network,
    /// Processes and threads that a job may have if it names no limit.
    pub default_pids: Option<u64>,
    /// Use control groups where the machine has them.
    pub cgroups: bool,
    /// Added to the kernel's score when it looks for a victim, so that a job
    /// dies before the runner; -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Size of `/tmp` and of `/home`, each, bytes. Counts as memory of the job.
    pub tmp_bytes: u64,
    /// Size of `/dev/shm`, bytes. Counts as memory of the job.
    pub shm_bytes: u64,
    /// Open files of a process, at most.
    pub open_files: u64,
    /// User and group of the host that gVisor itself runs as. No file should belong to them.
    pub host_ids: (u32, u32),
    /// Where the directories of cells are kept, each removed with its cell; absent means `/run`, or the
    /// directory for temporary files where that cannot be written.
    pub state: Option<PathBuf>,
    /// How long a platform may take for its trial.
    pub trial: Duration,
}

impl Default for GvisorOptions {
    fn default() -> Self {
        Self {
            tag: "local".into(),
            runsc: None,
            platform: None,
            network: Network::default(),
            default_pids: Some(8192),
            cgroups: true,
            oom_score_adj: Some(500),
            tmp_bytes: 2 << 30,
            shm_bytes: 256 << 20,
            open_files: 1 << 20,
            host_ids: (64_900, 64_900),
            state: None,
            trial: Duration::from_secs(5),
        }
    }
}

/// What is the same for all cells of a driver.
pub(crate) struct Shared {
    pub(crate) options: GvisorOptions,
    pub(crate) tag: String,
    pub(crate) runsc: PathBuf,
    /// As `runsc --version` tells it.
    pub(crate) version: String,
    pub(crate) null: OwnedFd,
    /// Directory of all cells of this runner.
    pub(crate) state: PathBuf,
    /// The user namespace that gVisor enters with sockets of the host; see [`crate::spec::Identity`].
    pub(crate) users: Option<OwnedFd>,
    pub(crate) containment: &'static str,
}

/// Makes cells that run on gVisor.
pub struct GvisorDriver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) cgroups: Arc<Cgroups>,
    /// Chosen by trial when the first cell is made.
    choice: tokio::sync::OnceCell<Choice>,
}

impl std::fmt::Debug for GvisorDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GvisorDriver")
            .field("tag", &self.shared.tag)
            .field("runsc", &self.shared.runsc)
            .field("cgroups", &self.cgroups)
            .finish_non_exhaustive()
    }
}

impl GvisorDriver {
    /// Looks at the machine once and keeps the answer. Whether cells can really be made only
    /// [`GvisorDriver::probe`] tells.
    ///
    /// # Errors
    /// If `runsc` is not there, or an option cannot be fulfilled.
    pub fn new(options: GvisorOptions) -> Result<Self, DriverError> {
        let tag = tree::clean_tag(&options.tag)?;
        if options.network == Network::Private && network::program().is_none() {
            return Err(DriverError::new(DriverErrorKind::Unsupported, network::NEEDS));
        }
        let missing = || DriverError::new(DriverErrorKind::Unsupported, NO_RUNSC);
        let runsc = options.runsc.clone().or_else(platform::find).ok_or_else(missing)?;
        let version = platform::version(&runsc).ok_or_else(missing)?;
        let null = io::open_null().map_err(|e| DriverError::io("cannot open /dev/null", e))?;
        let cgroups = if options.cgroups { Cgroups::probe(&tag) } else { Cgroups::none() };
        let users = (options.network != Network::None)
            .then(|| {
                let [users, groups] = spec::id_pairs(options.host_ids);
                userns::namespace(&users, &groups).ok()
            })
            .flatten();
        let base = options.state.clone().unwrap_or_else(platform::state_directory);
        let shared = Shared {
            state: base.join(format!("{STATE_PREFIX}{tag}")),
            containment: cgroups.containment(),
            tag,
            runsc,
            version,
            null,
            users,
            options,
        };
        Ok(Self {
            shared: Arc::new(shared),
            cgroups: Arc::new(cgroups),
            choice: tokio::sync::OnceCell::new(),
        })
    }

    /// How process trees are held on this machine: `cgroup-v2`, `cgroup-v1`, `hybrid` or `process-group`.
    #[must_use]
    pub fn containment(&self) -> &'static str {
        self.shared.containment
    }

    /// `runsc` and its release.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.shared.version
    }

    /// The platform that works on this machine, found out by trial at the first call.
    ///
    /// # Errors
    /// If none does; the message says what each of them answered.
    pub async fn platform(&self) -> Result<&str, DriverError> {
        Ok(&self.choice().await?.platform)
    }

    pub(crate) async fn choice(&self) -> Result<&Choice, DriverError> {
        self.choice.get_or_try_init(|| platform::choose(self)).await
    }

    pub(crate) async fn make_cell(
        &self,
        request: &CellRequest,
        choice: &Choice,
        patience: Duration,
    ) -> Result<GvisorCell, DriverError> {
        for path in [&request.workspace, &request.temp] {
            check_path(path)?;
        }
        let (shared, cgroups) = (self.shared.clone(), self.cgroups.clone());
        let (request, choice) = (request.clone(), choice.clone());
        // It waits for other processes: nobody else shall wait with it.
        let made = tokio::task::spawn_blocking(move || {
            GvisorCell::new(shared, &cgroups, &request, choice, patience)
        });
        made.await.map_err(|_| DriverError::new(DriverErrorKind::Other, "the runner is stopping"))?
    }
}

/// A directory that is shown inside under its own name needs one that means the same there.
fn check_path(path: &Path) -> Result<(), DriverError> {
    let plain = path.is_absolute() && !path.components().any(|c| c.as_os_str() == "..");
    let shadowed = ["/proc", "/dev", "/sys", "/usr", "/bin", "/etc"].iter().any(|p| path.starts_with(p));
    if plain && !shadowed && path.to_str().is_some() && path != Path::new("/") {
        return Ok(());
    }
    let message = format!("'{}' cannot be a directory of a job in gVisor", path.display());
    Err(DriverError::new(DriverErrorKind::Unsupported, message))
}

impl Drop for GvisorDriver {
    fn drop(&mut self) {
        self.cgroups.remove_bases();
        // Only if it is empty.
        let _ = std::fs::remove_dir(&self.shared.state);
    }
}

#[async_trait]
impl Driver for GvisorDriver {
    fn boundary(&self) -> Boundary {
        Boundary::Gvisor
    }

    async fn prepare(&self, request: CellRequest) -> Result<Box<dyn Cell>, DriverError> {
        let choice = self.choice().await?;
        Ok(Box::new(self.make_cell(&request, choice, crate::guest::PATIENCE).await?))
    }

    async fn sweep(&self, attempt: AttemptRef) -> Result<(), DriverError> {
        let name = attempt.to_string();
        self.cgroups
            .sweep(&name)
            .map_err(|e| DriverError::io(format!("cannot remove the control groups of attempt {name}"), e))?;
        tree::end_marked(&tree::markers(&self.shared.tag, &name)).await?;
        spec::remove(&self.shared.state.join(&name))
            .map_err(|e| DriverError::io(format!("cannot remove the bundle of attempt {name}"), e))
    }
}
