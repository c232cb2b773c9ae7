//! The driver itself: options, the one probe of the machine, cells, sweeping.

use crate::cell::ProcessCell;
use async_trait::async_trait;
use fleetfoot_driver::{Cell, CellRequest, Driver, DriverError};
use fleetfoot_driver_linux::cgroup::Cgroups;
use fleetfoot_driver_linux::{io, tree};
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::ids::AttemptRef;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// How a [`ProcessDriver`] works.
#[derive(Clone, Debug)]
pub struct ProcessOptions {
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
}

impl Default for ProcessOptions {
    fn default() -> Self {
        Self { tag: "local".into(), default_pids: Some(8192), cgroups: true, oom_score_adj: Some(500) }
    }
}

/// The options in the form in which cells use them.
pub(crate) struct Options {
    pub(crate) tag: String,
    pub(crate) default_pids: Option<u64>,
    pub(crate) oom_score_adj: Option<CString>,
    pub(crate) null: OwnedFd,
}

/// Makes cells whose commands are ordinary processes.
pub struct ProcessDriver {
    options: Arc<Options>,
    cgroups: Cgroups,
}

impl std::fmt::Debug for ProcessDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessDriver")
            .field("tag", &self.options.tag)
            .field("cgroups", &self.cgroups)
            .finish()
    }
}

impl ProcessDriver {
    /// Probes the machine once and keeps the answer.
    ///
    /// # Errors
    /// If not even `/dev/null` can be opened.
    pub fn new(options: ProcessOptions) -> Result<Self, DriverError> {
        let tag = tree::clean_tag(&options.tag)?;
        let cgroups = if options.cgroups { Cgroups::probe(&tag) } else { Cgroups::none() };
        let null = io::open_null().map_err(|e| DriverError::io("cannot open /dev/null", e))?;
        let oom_score_adj = options.oom_score_adj.and_then(|v| CString::new(v.to_string()).ok());
        let options = Options { tag, default_pids: options.default_pids, oom_score_adj, null };
        Ok(Self { options: Arc::new(options), cgroups })
    }

    /// How process trees are held on this machine: `cgroup-v2`, `cgroup-v1`, `hybrid` or `process-group`.
    #[must_use]
    pub fn containment(&self) -> &'static str {
        self.cgroups.containment()
    }
}

impl Drop for ProcessDriver {
    fn drop(&mut self) {
        self.cgroups.remove_bases();
    }
}

#[async_trait]
impl Driver for ProcessDriver {
    fn boundary(&self) -> Boundary {
        Boundary::Process
    }

    async fn prepare(&self, request: CellRequest) -> Result<Box<dyn Cell>, DriverError> {
        Ok(Box::new(ProcessCell::new(self.options.clone(), &self.cgroups, &request)?))
    }

    async fn sweep(&self, attempt: AttemptRef) -> Result<(), DriverError> {
        let name = attempt.to_string();
        self.cgroups
            .sweep(&name)
            .map_err(|e| DriverError::io(format!("cannot remove the control groups of attempt {name}"), e))?;
        tree::end_marked(&tree::markers(&self.options.tag, &name)).await
    }
}
