//! One attempt at an engine, with directories of its own, and what it leaves there.

use fleetfoot_driver::containers::{Container, Containers, Group, GroupRequest, Image, ImageSource};
use fleetfoot_driver::{Cell, CellRequest, Command};
use fleetfoot_driver_conformance::{finish, fresh_tag};
use fleetfoot_driver_container::{ContainerEngine, ContainerOptions, Endpoint, Pull};
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId};
use fleetfoot_model::spec::Limits;
use fleetfoot_testkit::{PrivateEngine, SMALL_IMAGE};
use indexmap::IndexMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

static NEXT: AtomicU64 = AtomicU64::new(1000);

pub(crate) struct World {
    pub(crate) options: ContainerOptions,
    pub(crate) engine: ContainerEngine,
    pub(crate) group: Arc<dyn Group>,
    pub(crate) attempt: AttemptRef,
    pub(crate) notes: Arc<Mutex<Vec<String>>>,
    pub(crate) dir: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        // Containers that still run hold what they have mounted.
        let _ = self.options.directory.as_ref().map(std::fs::remove_dir_all);
    }
}

pub(crate) fn options(engine: &PrivateEngine) -> ContainerOptions {
    let tag = fresh_tag();
    ContainerOptions {
        directory: Some(std::env::temp_dir().join(format!("ff-{tag}"))),
        tag,
        endpoint: Endpoint::Socket(engine.socket()),
        pull: Pull::Missing,
        ..ContainerOptions::default()
    }
}

impl World {
    pub(crate) async fn new(options: ContainerOptions) -> Self {
        Self::with(options, Limits::default()).await
    }

    pub(crate) async fn with(options: ContainerOptions, limits: Limits) -> Self {
        let engine = ContainerEngine::new(options.clone()).unwrap();
        Self::at(engine, options, limits).await
    }

    pub(crate) async fn at(engine: ContainerEngine, options: ContainerOptions, limits: Limits) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let attempt = AttemptRef { job: JobId(number), attempt: 1, epoch: Epoch(3) };
        let dir = tempfile::tempdir().unwrap();
        for name in ["workspace", "temp"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let cell = CellRequest {
            limits,
            ..CellRequest::new(attempt, dir.path().join("workspace"), dir.path().join("temp"))
        };
        let notes = Arc::<Mutex<Vec<String>>>::default();
        let ours = notes.clone();
        let request =
            GroupRequest { cell, notes: Arc::new(move |l: &str| ours.lock().unwrap().push(l.to_owned())) };
        let group = engine.open(request).await.unwrap();
        Self { options, engine, group, attempt, notes, dir }
    }

    pub(crate) async fn image(&self) -> Image {
        let source = ImageSource::Reference { reference: SMALL_IMAGE.into(), credentials: None };
        self.group.image(&source).await.unwrap()
    }

    pub(crate) async fn container(&self, options: &str) -> Container {
        Container {
            image: self.image().await,
            env: IndexMap::new(),
            ports: Vec::new(),
            volumes: Vec::new(),
            options: options.into(),
            entrypoint: None,
            command: None,
            mounts: Vec::new(),
            working_directory: None,
        }
    }

    pub(crate) async fn cell(&self, options: &str) -> Box<dyn Cell> {
        self.group.cell(self.container(options).await).await.unwrap()
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.dir.path().join("workspace")
    }

    pub(crate) fn sh(&self, script: &str) -> Command {
        Command {
            program: "sh".into(),
            args: vec!["-c".into(), script.into()],
            working_directory: self.workspace(),
            merge_output: true,
            ..Command::default()
        }
    }

    pub(crate) async fn script(&self, cell: &dyn Cell, script: &str) -> (Option<i32>, String) {
        let running = cell.start(self.sh(script)).await.unwrap_or_else(|e| panic!("{script}: {e}"));
        let (exit, out) = finish(running).await;
        (exit.code, out)
    }

    pub(crate) async fn action(&self, container: Container) -> (Option<i32>, Option<i32>, String) {
        let (exit, out) = finish(self.group.run(container).await.unwrap()).await;
        (exit.code, exit.signal, out)
    }
}

/// Everything at the engine that carries the tag, when nothing is under way any more.
pub(crate) async fn left_of(engine: &PrivateEngine, world: &World) -> Vec<String> {
    world.engine.close().await;
    left(engine, &world.options.tag)
}

pub(crate) fn words(list: &[&str]) -> Option<Vec<String>> {
    Some(list.iter().map(|w| (*w).to_owned()).collect())
}

/// Everything at the engine that carries the tag.
pub(crate) fn left(engine: &PrivateEngine, tag: &str) -> Vec<String> {
    let filter = format!("label=fleetfoot.runner={tag}");
    let mut all = Vec::new();
    for (args, what) in [
        (vec!["ps", "--all", "--quiet"], "container"),
        (vec!["network", "ls", "--quiet"], "network"),
        (vec!["volume", "ls", "--quiet"], "volume"),
        (vec!["images", "--quiet"], "image"),
    ] {
        let mut args = args;
        args.extend(["--filter", &filter]);
        all.extend(engine.output(&args).lines().filter(|l| !l.is_empty()).map(|l| format!("{what} {l}")));
    }
    all
}
