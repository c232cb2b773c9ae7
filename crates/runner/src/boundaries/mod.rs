//! The boundaries that this runner offers: each is tried for real before it is
//! offered, and for each job the weakest one is chosen that is strong enough.
//!
//! Nothing here knows how a boundary works; `make` has one function for each
//! that hands over its driver and what the trial found. A job is refused
//! rather than run in a weaker boundary than it, or the operator, demands.

mod cache;
mod make;
mod prune;
mod report;

pub use prune::{KeptContainers, Which};
pub use report::{BoundaryReport, Missing, Tried};

use crate::config::{BoundaryConfig, RunnerConfig};
use crate::identity::Identity;
use async_trait::async_trait;
use fleetfoot_driver::containers::Containers;
use fleetfoot_driver::{Cell, CellRequest, Driver, DriverError, DriverErrorKind};
use fleetfoot_engine::Fence;
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::ids::AttemptRef;
use fleetfoot_model::spec::JobSpec;
use make::Made;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use thiserror::Error;
use tokio::sync::{Mutex, watch};

/// What jobs can get from a runner, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The strongest boundary.
    pub boundary: Boundary,
    /// Jobs may have containers.
    pub containers: bool,
}

/// No boundary of this runner will do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Refused {
    /// In words, with what helps.
    pub message: String,
}

/// How to make boundaries, beside their settings.
#[derive(Clone, Debug)]
pub struct BoundaryPlan {
    /// The settings.
    pub config: BoundaryConfig,
    /// Tells what this runner makes from what others on the machine make; the same after a restart.
    pub tag: String,
    /// A directory of this runner, for trials and for what was found.
    pub directory: PathBuf,
    /// What becomes of what trials find.
    pub memory: Memory,
}

/// What becomes of what trials find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Nothing is kept, nothing is trusted.
    None,
    /// What an earlier trial saw working is trusted if nothing has changed since; the rest is tried and kept.
    Trust,
    /// Everything is tried anew and kept.
    Renew,
}

impl BoundaryPlan {
    /// As the configuration of a registered runner says.
    #[must_use]
    pub fn of_runner(config: &RunnerConfig, identity: &Identity) -> Self {
        Self {
            config: config.boundaries.clone(),
            tag: tag(identity),
            directory: config.work_dir.clone(),
            memory: Memory::Trust,
        }
    }
}

/// Tries every boundary on this machine with these settings, and keeps what was found for the start of
/// the runner. Takes half a minute at most.
///
/// # Errors
/// If not even processes can be started.
pub async fn examine(config: &RunnerConfig) -> Result<Vec<BoundaryReport>, DriverError> {
    let plan = BoundaryPlan {
        config: config.boundaries.clone(),
        tag: format!("validate-{}", std::process::id()),
        directory: config.work_dir.clone(),
        memory: Memory::Renew,
    };
    Ok(Box::pin(Boundaries::new(plan)?.reports()).await)
}

/// Tells this runner's processes from those of others on the machine; the same after a restart.
fn tag(identity: &Identity) -> String {
    // The id comes first: the tag is cut at 64 characters, and a long address must not swallow it.
    let host = identity.server.split("://").last().unwrap_or_default();
    format!("r{}-{host}", identity.id)
}

/// One boundary: not tried yet, or what the trial found.
type Slot = Mutex<Option<Tried>>;

/// The boundaries of one runner.
pub struct Boundaries {
    plan: BoundaryPlan,
    process: Arc<dyn Driver>,
    sandbox: Slot,
    container: Slot,
    gvisor: Slot,
    offer: watch::Sender<Offer>,
    /// The container engine does not answer any more.
    engine_gone: AtomicBool,
}

impl std::fmt::Debug for Boundaries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Boundaries")
            .field("plan", &self.plan)
            .field("offer", &*self.offer.borrow())
            .finish_non_exhaustive()
    }
}

impl Boundaries {
    /// Tries nothing yet but processes: the others are tried when they are asked for, or by
    /// [`Boundaries::discover`].
    ///
    /// # Errors
    /// If not even processes can be started.
    pub fn new(plan: BoundaryPlan) -> Result<Self, DriverError> {
        let process = make::process(&plan)?;
        Ok(Self::over(plan, process))
    }

    /// One driver alone, whatever it makes, for every job; no containers.
    #[must_use]
    pub fn only(driver: Arc<dyn Driver>) -> Self {
        let config = BoundaryConfig {
            default: driver.boundary(),
            max: Some(driver.boundary()),
            ..BoundaryConfig::default()
        };
        let (tag, directory) = (String::new(), PathBuf::new());
        Self::over(BoundaryPlan { config, tag, directory, memory: Memory::None }, driver)
    }

    fn over(plan: BoundaryPlan, process: Arc<dyn Driver>) -> Self {
        let offer = Offer { boundary: process.boundary(), containers: false };
        let slot = || Mutex::new(None);
        Self {
            plan,
            process,
            sandbox: slot(),
            container: slot(),
            gvisor: slot(),
            offer: watch::Sender::new(offer),
            engine_gone: AtomicBool::new(false),
        }
    }

    /// What is known to be offered, and its changes.
    #[must_use]
    pub fn offer(&self) -> watch::Receiver<Offer> {
        self.offer.subscribe()
    }

    fn slot(&self, boundary: Boundary) -> Option<&Slot> {
        match boundary {
            Boundary::Sandbox => Some(&self.sandbox),
            Boundary::Container => Some(&self.container),
            Boundary::Gvisor => Some(&self.gvisor),
            Boundary::Process | Boundary::Microvm => None,
        }
    }

    /// The strongest that may be offered.
    fn max(&self) -> Boundary {
        self.plan.config.max.unwrap_or(Boundary::Microvm)
    }

    fn allows(&self, boundary: Boundary) -> bool {
        boundary <= self.max()
    }

    /// Tries every boundary that may be offered, all at the same time, each within a bounded time.
    /// What was tried already is not tried again.
    pub async fn discover(&self) {
        let one = async |boundary| {
            if self.allows(boundary) {
                self.tried(boundary).await;
            }
        };
        tokio::join!(one(Boundary::Sandbox), one(Boundary::Container), one(Boundary::Gvisor));
        self.save().await;
    }

    /// Tries every boundary, allowed or not, and says what was found, weakest first.
    pub async fn reports(&self) -> Vec<BoundaryReport> {
        tokio::join!(
            self.tried(Boundary::Sandbox),
            self.tried(Boundary::Container),
            self.tried(Boundary::Gvisor)
        );
        self.save().await;
        let mut reports = vec![make::process_report()];
        for boundary in [Boundary::Sandbox, Boundary::Container, Boundary::Gvisor] {
            if let Some(slot) = self.slot(boundary) {
                reports.extend(slot.lock().await.as_ref().map(|t| t.report.clone()));
            }
        }
        for report in &mut reports {
            report.offered = report.works && self.allows(report.boundary);
        }
        reports
    }

    async fn save(&self) {
        if self.plan.memory == Memory::None {
            return;
        }
        let mut found = Vec::new();
        for boundary in [Boundary::Sandbox, Boundary::Container, Boundary::Gvisor] {
            if let Some(slot) = self.slot(boundary) {
                found.extend(slot.lock().await.as_ref().map(|t| t.report.clone()));
            }
        }
        cache::save(&self.plan, found);
    }

    /// What the trial of a boundary found; tries it if that has not been done.
    async fn tried(&self, boundary: Boundary) -> Option<Made> {
        let mut slot = self.slot(boundary)?.lock().await;
        if let Some(tried) = &*slot {
            return tried.made.clone();
        }
        let tried = self.attempt(boundary).await;
        let made = tried.made.clone();
        *slot = Some(tried);
        drop(slot);
        if let Some(made) = &made {
            self.found(boundary, made);
        }
        made
    }

    async fn attempt(&self, boundary: Boundary) -> Tried {
        let trusting = self.plan.memory == Memory::Trust;
        let known = trusting.then(|| cache::load(&self.plan, boundary)).flatten();
        match boundary {
            Boundary::Sandbox => make::sandbox(&self.plan, known).await,
            Boundary::Container => make::container(&self.plan, known).await,
            Boundary::Gvisor => make::gvisor(&self.plan, known).await,
            Boundary::Process | Boundary::Microvm => Tried::nothing(boundary),
        }
    }

    fn found(&self, boundary: Boundary, made: &Made) {
        if !self.allows(boundary) {
            return;
        }
        let containers = matches!(made, Made::Containers(_));
        self.offer.send_if_modified(|offer| {
            let before = *offer;
            offer.boundary = offer.boundary.max(boundary);
            offer.containers |= containers;
            *offer != before
        });
    }

    /// The driver of a boundary, if it is offered.
    async fn driver(&self, boundary: Boundary) -> Option<Arc<dyn Driver>> {
        if boundary == self.process.boundary() {
            return Some(self.process.clone());
        }
        if !self.allows(boundary) {
            return None;
        }
        match self.tried(boundary).await? {
            Made::Driver(driver) => Some(driver),
            Made::Containers(_) => Some(Arc::new(InContainersOnly)),
        }
    }

    /// The container engine, if one is offered.
    pub async fn containers(&self) -> Option<Arc<dyn Containers>> {
        if !self.allows(Boundary::Container) {
            return None;
        }
        match self.tried(Boundary::Container).await? {
            Made::Containers(engine) => Some(engine),
            Made::Driver(_) => None,
        }
    }

    /// Removes what a container engine keeps ready, if one was used, within a bounded time.
    pub(crate) async fn close(&self) {
        /// An engine that takes longer has other troubles; the next start removes it.
        const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
        let Some(Made::Containers(engine)) =
            self.container.lock().await.as_ref().and_then(|tried| tried.made.clone())
        else {
            return;
        };
        let _ = tokio::time::timeout(PATIENCE, engine.close()).await;
    }

    /// The fence of a job: the weakest boundary on offer that is at least what the job and the operator
    /// demand, and at most what the operator allows.
    ///
    /// # Errors
    /// [`Refused`] if there is none.
    pub async fn choose(&self, spec: &JobSpec) -> Result<Fence, Refused> {
        // A container of the job is at least as strong as what runs without it, if that is weaker than a
        // container; the engine makes it.
        let needed = spec.min_boundary.max(self.plan.config.default);
        let containers = self.containers().await;
        if containers.is_none() && (spec.container.is_some() || !spec.services.is_empty()) {
            return Err(self.refused("the job has a container or services", Boundary::Container).await);
        }
        for boundary in Boundary::ALL.into_iter().filter(|b| *b >= needed && self.allows(*b)) {
            let Some(driver) = self.driver(boundary).await else { continue };
            let image = (boundary == Boundary::Container).then(|| self.plan.config.container_image.clone());
            return Ok(Fence { driver, containers, image });
        }
        let demand = format!("the boundary '{needed}' is demanded");
        Err(self.refused(&demand, needed).await)
    }

    /// Why a boundary is not there, and what helps.
    async fn refused(&self, demand: &str, boundary: Boundary) -> Refused {
        if !self.allows(boundary) {
            let max = self.max();
            let message = format!("{demand}, but this runner offers '{max}' at most (max_boundary)");
            return Refused { message };
        }
        let report = match self.slot(boundary) {
            Some(slot) => slot.lock().await.as_ref().map(|t| t.report.clone()),
            None => None,
        };
        let why = report.and_then(|r| r.missing.into_iter().find(|m| m.required)).map_or_else(
            || "which this runner does not have".to_owned(),
            |m| format!("which this runner cannot make: {}; {}", m.what, m.fix),
        );
        Refused { message: format!("{demand}, {why}") }
    }

    /// Whether jobs that ask for nothing can be run.
    ///
    /// # Errors
    /// [`Refused`] with what is missing.
    pub async fn ready(&self) -> Result<(), Refused> {
        self.choose(&JobSpec::default()).await.map(drop)
    }

    /// Ends and removes whatever an attempt of this runner left, in every kind of boundary.
    ///
    /// # Errors
    /// In words, if something could not be removed.
    pub async fn sweep(&self, attempt: AttemptRef) -> Result<(), String> {
        let mut failures = Vec::new();
        let mut note = |result: Result<(), DriverError>| {
            failures.extend(result.err().map(|e| crate::boundaries::words(&e)));
        };
        note(self.process.sweep(attempt).await);
        if self.plan.tag.is_empty() {
            return if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) };
        }
        // Also where sandboxes are not offered any more: they were when the attempt began.
        match make::sandbox_sweeper(&self.plan) {
            Ok(driver) => note(driver.sweep(attempt).await),
            Err(e) => note(Err(e)),
        }
        if let Some(engine) = self.containers().await {
            note(engine.sweep(attempt).await);
        }
        // Without the program there never was a cell.
        if let Ok(driver) = make::gvisor_sweeper(&self.plan) {
            note(driver.sweep(attempt).await);
        }
        if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
    }

    /// A sandbox or a container engine that was not there may be there now, and an engine may have gone:
    /// then jobs that need it wait for another runner. (gVisor is tried at the start only: a trial that
    /// fails takes long.)
    pub async fn look_again(&self) {
        if self.allows(Boundary::Sandbox) {
            let mut slot = self.sandbox.lock().await;
            if slot.as_ref().is_some_and(|t| t.made.is_none()) {
                *slot = Some(make::sandbox(&self.plan, None).await);
            }
        }
        if self.allows(Boundary::Container) {
            let mut slot = self.container.lock().await;
            // The one that is known stays: it knows what it has made. Whether it answers is enough.
            let gone = if slot.as_ref().is_some_and(|t| t.made.is_some()) {
                make::engine(&self.plan).await.is_err()
            } else {
                let now = make::container(&self.plan, None).await;
                slot.insert(now).made.is_none()
            };
            self.engine_gone.store(gone, Ordering::Relaxed);
        }
        self.count().await;
        self.save().await;
    }

    /// Ends trials that were interrupted, because the runner leaves: a platform that hangs would stay.
    pub async fn leave(&self) {
        if self.plan.tag.is_empty() || !self.allows(Boundary::Gvisor) {
            return;
        }
        if let Err(error) = make::end_gvisor_trials(&self.plan).await {
            tracing::warn!(error = words(&error), "something is left of a trial that was interrupted");
        }
    }

    /// Says what is offered now.
    async fn count(&self) {
        let mut offer = Offer { boundary: self.process.boundary(), containers: false };
        for boundary in [Boundary::Sandbox, Boundary::Container, Boundary::Gvisor] {
            let Some(slot) = self.slot(boundary).filter(|_| self.allows(boundary)) else { continue };
            let there = slot.lock().await.as_ref().is_some_and(|t| t.made.is_some());
            let gone = boundary == Boundary::Container && self.engine_gone.load(Ordering::Relaxed);
            if there && !gone {
                offer.boundary = offer.boundary.max(boundary);
                offer.containers |= boundary == Boundary::Container;
            }
        }
        self.offer.send_if_modified(|before| std::mem::replace(before, offer) != offer);
    }

    /// The directory in which trials are made.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.plan.directory
    }
}

/// An error of a driver and its cause, in one line.
pub(crate) fn words(error: &DriverError) -> String {
    match &error.source {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Stands for the boundary `container` where a job has no container yet: the engine makes one from the
/// image of the fence, and what would run beside it is refused.
struct InContainersOnly;

#[async_trait]
impl Driver for InContainersOnly {
    fn boundary(&self) -> Boundary {
        Boundary::Container
    }

    async fn prepare(&self, _request: CellRequest) -> Result<Box<dyn Cell>, DriverError> {
        let message = "this job may run in a container only, and was given none";
        Err(DriverError::new(DriverErrorKind::Unsupported, message))
    }

    async fn sweep(&self, _attempt: AttemptRef) -> Result<(), DriverError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
