//! How one job is fenced off. The runner chooses, the engine obeys: it knows
//! drivers and containers by their traits only.

use fleetfoot_driver::Driver;
use fleetfoot_driver::containers::Containers;
use std::sync::Arc;

/// What the runner chose for one job.
#[derive(Clone)]
pub struct Fence {
    /// Makes the cell of a job that runs in no container; for a stronger boundary than `container`,
    /// of every job.
    pub driver: Arc<dyn Driver>,
    /// The container engine for the job's container, services and actions that are containers;
    /// absent if this runner offers none.
    pub containers: Option<Arc<dyn Containers>>,
    /// Image for a job that names none but has to run in a container.
    pub image: Option<String>,
}

impl Fence {
    /// A driver alone: no containers.
    #[must_use]
    pub fn of(driver: Arc<dyn Driver>) -> Self {
        Self { driver, containers: None, image: None }
    }
}

impl std::fmt::Debug for Fence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fence")
            .field("boundary", &self.driver.boundary())
            .field("containers", &self.containers.is_some())
            .field("image", &self.image)
            .finish()
    }
}
