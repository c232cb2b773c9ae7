//! A container engine in memory: it remembers what was asked of it, in order,
//! and runs commands as processes of the host, with other names for the
//! directories of the job.

use async_trait::async_trait;
use fleetfoot_driver::containers::{
    Container, Containers, Group, GroupRequest, Image, ImageSource, Kept, Service,
};
use fleetfoot_driver::{Cell, CellRequest, Command, Driver, DriverError, DriverErrorKind, Running};
use fleetfoot_driver_process::ProcessDriver;
use fleetfoot_model::AttemptRef;
use fleetfoot_model::boundary::{Boundary, BoundaryRecord};
use indexmap::IndexMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// How the engine behaves.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// Pulls of this image never end.
    pub endless: Option<&'static str>,
    /// There is no such image.
    pub missing: Option<&'static str>,
    /// Services never become healthy.
    pub never_healthy: bool,
    /// Services fail with this.
    pub unhealthy: Option<&'static str>,
    /// What the services print.
    pub service_log: &'static str,
    /// What the engine cannot do at all.
    pub down: bool,
}

/// The engine.
pub struct FakeEngine {
    pub calls: Arc<Mutex<Vec<String>>>,
    pub behaviour: Behaviour,
    driver: Arc<ProcessDriver>,
}

impl FakeEngine {
    pub fn new(driver: Arc<ProcessDriver>, behaviour: Behaviour) -> Arc<Self> {
        Arc::new(Self { calls: Arc::default(), behaviour, driver })
    }

    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

struct FakeGroup {
    calls: Arc<Mutex<Vec<String>>>,
    behaviour: Behaviour,
    request: GroupRequest,
    /// Holds the names inside, as links.
    names: PathBuf,
    driver: Arc<ProcessDriver>,
    /// Where actions run.
    cell: Box<dyn Cell>,
}

#[async_trait]
impl Containers for FakeEngine {
    async fn open(&self, request: GroupRequest) -> Result<Arc<dyn Group>, DriverError> {
        self.calls.lock().unwrap().push("open".into());
        if self.behaviour.down {
            return Err(DriverError::new(DriverErrorKind::Unavailable, "the engine does not answer"));
        }
        let names = request.cell.temp.parent().unwrap().join("github");
        std::fs::create_dir(&names).unwrap();
        for (host, name) in [(&request.cell.workspace, "workspace"), (&request.cell.temp, "runner_temp")] {
            std::os::unix::fs::symlink(host, names.join(name)).unwrap();
        }
        let cell = self.driver.prepare(request.cell.clone()).await?;
        Ok(Arc::new(FakeGroup {
            calls: self.calls.clone(),
            behaviour: self.behaviour.clone(),
            driver: self.driver.clone(),
            names,
            request,
            cell,
        }))
    }

    async fn sweep(&self, _attempt: AttemptRef) -> Result<(), DriverError> {
        self.calls.lock().unwrap().push("sweep".into());
        Ok(())
    }

    async fn sweep_except(&self, _living: &[AttemptRef]) -> Result<Vec<String>, DriverError> {
        Ok(Vec::new())
    }

    async fn kept(&self) -> Result<Vec<Kept>, DriverError> {
        Ok(Vec::new())
    }

    async fn remove_kept(&self, _ids: &[String]) -> Result<(), DriverError> {
        Ok(())
    }
}

impl FakeGroup {
    fn call(&self, text: impl Into<String>) {
        self.calls.lock().unwrap().push(text.into());
    }
}

fn inside(names: &Path, request: &CellRequest, host: &Path) -> PathBuf {
    for (own, name) in [(&request.workspace, "workspace"), (&request.temp, "runner_temp")] {
        if let Ok(rest) = host.strip_prefix(own) {
            return if rest.as_os_str().is_empty() { names.join(name) } else { names.join(name).join(rest) };
        }
    }
    host.to_path_buf()
}

#[async_trait]
impl Group for FakeGroup {
    fn network(&self) -> String {
        "fake_network".into()
    }

    async fn image(&self, source: &ImageSource) -> Result<Image, DriverError> {
        let reference = match source {
            ImageSource::Reference { reference, credentials } => {
                let user = credentials.as_ref().map_or(String::new(), |c| format!(" as {}", c.username));
                self.call(format!("pull {reference}{user}"));
                (self.request.notes)(&format!("{reference}: pulling"));
                reference.clone()
            }
            ImageSource::Build { context, dockerfile } => {
                let text = std::fs::read_to_string(dockerfile).unwrap();
                let name = dockerfile.strip_prefix(context).unwrap().display();
                self.call(format!("build {name}: {}", text.trim()));
                (self.request.notes)("Step 1/1 : built");
                "built".into()
            }
        };
        tokio::task::yield_now().await;
        if self.behaviour.missing == Some(reference.as_str()) {
            return Err(DriverError::new(DriverErrorKind::NotFound, "there is no such image"));
        }
        if self.behaviour.endless == Some(reference.as_str()) {
            std::future::pending::<()>().await;
        }
        (self.request.notes)(&format!("{reference}: done"));
        Ok(Image {
            id: format!("id-of-{reference}"),
            reference,
            digest: Some("sha256:0123".into()),
            env: vec![
                ("PATH".into(), std::env::var("PATH").unwrap() + ":/image/bin"),
                ("OF_IMAGE".into(), "yes".into()),
            ],
            user: String::new(),
        })
    }

    async fn unpack(&self, image: &Image) -> Result<PathBuf, DriverError> {
        self.call(format!("unpack {}", image.reference));
        Ok("/".into())
    }

    async fn cell(&self, container: Container) -> Result<Box<dyn Cell>, DriverError> {
        self.call(format!(
            "cell {} env={:?} ports={:?} volumes={:?} options={:?}",
            container.image.reference, container.env, container.ports, container.volumes, container.options
        ));
        let attempt = self.request.cell.attempt;
        // Another number: the directory of control groups is not to be shared with the actions.
        let attempt = AttemptRef { attempt: attempt.attempt + 1, ..attempt };
        let cell = self.driver.prepare(CellRequest { attempt, ..self.request.cell.clone() }).await?;
        Ok(Box::new(FakeCell {
            cell,
            calls: self.calls.clone(),
            names: self.names.clone(),
            request: self.request.cell.clone(),
        }))
    }

    async fn service(&self, name: &str, container: Container) -> Result<Service, DriverError> {
        self.call(format!(
            "service {name} {} env={:?} ports={:?} entrypoint={:?} command={:?}",
            container.image.reference,
            container.env,
            container.ports,
            container.entrypoint,
            container.command
        ));
        let ports = container.ports.iter().zip(40_001..).map(|(port, host)| (port.clone(), host)).collect();
        Ok(Service { name: name.into(), id: format!("id-{name}"), ports })
    }

    async fn wait_healthy(&self, service: &Service) -> Result<(), DriverError> {
        self.call(format!("wait {}", service.name));
        if self.behaviour.never_healthy {
            std::future::pending::<()>().await;
        }
        match self.behaviour.unhealthy {
            Some(message) => Err(DriverError::new(DriverErrorKind::Other, message)),
            None => Ok(()),
        }
    }

    async fn run(&self, container: Container) -> Result<Running, DriverError> {
        self.call(format!(
            "run {} {:?} {:?}",
            container.image.reference, container.entrypoint, container.command
        ));
        let mut words = container.entrypoint.unwrap_or_else(|| vec!["env".into()]);
        words.extend(container.command.unwrap_or_default());
        let env: IndexMap<String, String> = container.image.env.into_iter().chain(container.env).collect();
        self.cell
            .start(Command {
                program: words.remove(0),
                args: words,
                env: env.into_iter().collect(),
                working_directory: container.working_directory.unwrap(),
                stdin: Vec::new(),
                merge_output: true,
            })
            .await
    }

    fn inside(&self, host: &Path) -> PathBuf {
        inside(&self.names, &self.request.cell, host)
    }

    fn record(&self) -> BoundaryRecord {
        BoundaryRecord { boundary: Boundary::Container, ..BoundaryRecord::default() }
    }

    async fn service_logs(&self) -> Vec<(String, Vec<u8>)> {
        match self.behaviour.service_log {
            "" => Vec::new(),
            text => vec![("db".into(), text.into())],
        }
    }

    async fn tear_down(&self, failed: bool) -> Result<(), DriverError> {
        self.call(format!("tear_down failed={failed}"));
        self.cell.tear_down().await
    }
}

struct FakeCell {
    cell: Box<dyn Cell>,
    calls: Arc<Mutex<Vec<String>>>,
    names: PathBuf,
    request: CellRequest,
}

#[async_trait]
impl Cell for FakeCell {
    fn record(&self) -> BoundaryRecord {
        BoundaryRecord { boundary: Boundary::Container, ..self.cell.record() }
    }

    fn id(&self) -> Option<String> {
        Some("id-of-cell".into())
    }

    fn inside(&self, host: &Path) -> PathBuf {
        inside(&self.names, &self.request, host)
    }

    async fn reach(&self, port: u16) -> Result<(), DriverError> {
        self.calls.lock().unwrap().push(format!("reach {port}"));
        Ok(())
    }

    async fn start(&self, command: Command) -> Result<Running, DriverError> {
        self.cell.start(command).await
    }

    async fn kill_all(&self) {
        self.cell.kill_all().await;
    }

    async fn tear_down(&self) -> Result<(), DriverError> {
        self.calls.lock().unwrap().push("tear_down cell".into());
        self.cell.tear_down().await
    }
}

/// A driver of a boundary that is stronger than a container: it takes roots.
pub struct FakeGvisor {
    pub driver: Arc<ProcessDriver>,
    pub calls: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Driver for FakeGvisor {
    fn boundary(&self) -> Boundary {
        Boundary::Gvisor
    }

    async fn prepare(&self, request: CellRequest) -> Result<Box<dyn Cell>, DriverError> {
        let root = request.root.as_ref().map(|r| format!("{} {}", r.directory.display(), r.image));
        self.calls.lock().unwrap().push(format!("prepare root={root:?}"));
        let names = request.temp.parent().unwrap().join("github");
        let attempt = AttemptRef { attempt: request.attempt.attempt + 1, ..request.attempt };
        let cell = self.driver.prepare(CellRequest { attempt, ..request.clone() }).await?;
        Ok(Box::new(FakeCell { cell, calls: self.calls.clone(), names, request }))
    }

    async fn sweep(&self, _attempt: AttemptRef) -> Result<(), DriverError> {
        Ok(())
    }
}
