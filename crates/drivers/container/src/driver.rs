//! The container boundary as a driver: a group with one container, for jobs
//! that name no container themselves.

use crate::engine::ContainerEngine;
use crate::group::ContainerGroup;
use async_trait::async_trait;
use fleetfoot_driver::containers::{Container, Containers, Group, GroupRequest, ImageSource, Notes};
use fleetfoot_driver::{Cell, CellRequest, Command, Driver, DriverError, DriverErrorKind, Running};
use fleetfoot_model::boundary::{Boundary, BoundaryRecord};
use fleetfoot_model::ids::AttemptRef;
use indexmap::IndexMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Makes cells that are containers.
#[derive(Clone, Debug)]
pub struct ContainerDriver {
    engine: ContainerEngine,
    image: Option<String>,
}

impl ContainerDriver {
    /// A driver of this engine. `image` is what jobs run in that name none.
    #[must_use]
    pub fn new(engine: ContainerEngine, image: Option<String>) -> Self {
        Self { engine, image }
    }
}

/// A cell that takes its group with it.
struct Alone {
    cell: Box<dyn Cell>,
    group: Arc<ContainerGroup>,
}

#[async_trait]
impl Cell for Alone {
    fn record(&self) -> BoundaryRecord {
        self.cell.record()
    }

    fn inside(&self, host: &Path) -> PathBuf {
        self.cell.inside(host)
    }

    fn id(&self) -> Option<String> {
        self.cell.id()
    }

    async fn start(&self, command: Command) -> Result<Running, DriverError> {
        self.cell.start(command).await
    }

    async fn kill_all(&self) {
        self.cell.kill_all().await;
    }

    async fn tear_down(&self) -> Result<(), DriverError> {
        self.cell.tear_down().await?;
        self.group.tear_down(false).await
    }
}

#[async_trait]
impl Driver for ContainerDriver {
    fn boundary(&self) -> Boundary {
        Boundary::Container
    }

    async fn prepare(&self, request: CellRequest) -> Result<Box<dyn Cell>, DriverError> {
        let reference = request.root.as_ref().map(|r| r.image.clone()).or_else(|| self.image.clone());
        let Some(reference) = reference else {
            let message = "jobs run in containers here, but there is no image for those that name none; next: set \
                           `default_image` in the configuration of the runner, or `container:` in the job";
            return Err(DriverError::new(DriverErrorKind::Unsupported, message));
        };
        let notes: Notes = Arc::new(|line: &str| tracing::info!(line, "container"));
        let group = self.engine.open_group(GroupRequest { cell: request, notes }).await?;
        let made = async {
            let image = group.image(&ImageSource::Reference { reference, credentials: None }).await?;
            let container = Container {
                image,
                env: IndexMap::new(),
                ports: Vec::new(),
                volumes: Vec::new(),
                options: String::new(),
                entrypoint: None,
                command: None,
                mounts: Vec::new(),
                working_directory: None,
            };
            group.cell(container).await
        };
        match made.await {
            Ok(cell) => Ok(Box::new(Alone { cell, group })),
            Err(e) => {
                // Nothing is left behind; the first error is the one to tell.
                if let Err(also) = group.tear_down(true).await {
                    tracing::warn!(error = %also, "a container that did not start leaves something");
                }
                Err(e)
            }
        }
    }

    async fn sweep(&self, attempt: AttemptRef) -> Result<(), DriverError> {
        self.engine.sweep(attempt).await
    }
}
