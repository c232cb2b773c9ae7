//! Artifacts and caches for runs without a server: the same services on a free
//! loopback port, started when the first job has an action that may ask for
//! them. Caches stay in the user's cache directory for the next run; artifacts
//! are unpacked into a directory when the run is over.

use crate::clock;
use crate::commands::artifact::place;
use crate::environment;
use crate::error::{CliError, Result};
use async_trait::async_trait;
use fleetfoot_control::{Control, Principal, ServiceSetup, ServicesOnDemand};
use fleetfoot_model::RunId;
use fleetfoot_objects::{Objects, ObjectsConfig};
use fleetfoot_server::ServerOptions;
use fleetfoot_services::{Limits, Packed, Shelf, zip_of_files};
use fleetfoot_store::StoreErrorKind;
use fleetfoot_store_sqlite::SqliteStore;
use futures_util::{Stream, TryStreamExt};
use parking_lot::Mutex;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The services of local runs.
pub(crate) struct LocalServices {
    /// Where artifacts are kept until the run is over.
    scratch: PathBuf,
    closing: CancellationToken,
    serving: Mutex<Option<JoinHandle<()>>>,
}

impl LocalServices {
    /// Starts nothing yet.
    pub(crate) fn new(scratch: PathBuf) -> Arc<Self> {
        Arc::new(Self { scratch, closing: CancellationToken::new(), serving: Mutex::new(None) })
    }

    /// Ends them, if they were started.
    pub(crate) async fn stop(&self) {
        self.closing.cancel();
        let serving = self.serving.lock().take();
        if let Some(serving) = serving {
            let _ = serving.await;
        }
    }

    async fn open(
        &self,
        control: &Control,
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let objects = Objects::open(&ObjectsConfig::directory(&self.scratch))?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let caches = tokio::task::spawn_blocking(|| caches(&environment::default_cache_dir())).await??;
        control.offer_services(ServiceSetup { objects, caches, limits: Limits::default(), url })?;
        let (control, closing) = (control.clone(), self.closing.clone());
        *self.serving.lock() = Some(tokio::spawn(async move {
            let sweeper = control.clone();
            let swept = async move {
                if let Ok(services) = sweeper.services()
                    && let Err(error) = services.sweep(clock::now()).await
                {
                    tracing::warn!(%error, "old caches could not be deleted");
                }
            };
            let served = fleetfoot_server::serve(control, listener, ServerOptions::default(), closing);
            let ((), served) = tokio::join!(swept, served);
            if let Err(error) = served {
                tracing::warn!(%error, "the services of the local run ended");
            }
        }));
        Ok(())
    }
}

#[async_trait]
impl ServicesOnDemand for LocalServices {
    async fn start(&self, control: &Control) -> std::result::Result<(), String> {
        self.open(control).await.map_err(|e| {
            crate::output::say(&format!("warning: actions have no artifacts and caches in this run: {e}"));
            e.to_string()
        })
    }
}

/// The caches of this user; `None` while another run has them.
fn caches(dir: &Path) -> std::result::Result<Option<Shelf>, Box<dyn std::error::Error + Send + Sync>> {
    let dir = dir.join("services");
    let store = match SqliteStore::open(&dir, Default::default()) {
        Ok(store) => Arc::new(store),
        Err(e) if e.kind == StoreErrorKind::Locked => {
            crate::output::say("note: another run uses the caches of this user; this one starts without any");
            return Ok(None);
        }
        Err(e) => return Err(e.into()),
    };
    Ok(Some(Shelf { store, objects: Objects::open(&ObjectsConfig::directory(&dir.join("objects")))? }))
}

/// Unpacks the artifacts of finished runs below `dir`; answers how many there were.
pub(crate) async fn export(control: &Control, runs: &[(RunId, String)], dir: &Path) -> Result<usize> {
    if control.services().is_err() {
        return Ok(0);
    }
    let mut exported = 0;
    for (run, name) in runs {
        let artifacts = control.artifacts(&Principal::System, *run).await?;
        if exported == 0 && !artifacts.is_empty() {
            prepare(dir)?;
        }
        // Runs of several documents may have artifacts of the same name.
        let below = if runs.len() > 1 { dir.join(name.replace(['/', '\\'], "-")) } else { dir.to_owned() };
        for artifact in artifacts {
            let found = control.download_artifact(&Principal::System, artifact.id).await?;
            let file = match found.content {
                Packed::One(content) => copy(content.stream(0..content.length)).await?,
                Packed::Files(files) => copy(zip_of_files(files)).await?,
            };
            place(file, &artifact, &below.join(&artifact.name))?;
            exported += 1;
        }
    }
    Ok(exported)
}

/// Makes the default directory one that git does not see.
fn prepare(dir: &Path) -> Result<()> {
    let failed =
        |e: std::io::Error| CliError::machine(format!("{} cannot be made", dir.display())).because(&e);
    std::fs::create_dir_all(dir).map_err(failed)?;
    if let Some(ours) = dir.parent().filter(|p| p.ends_with(".fleetfoot")) {
        let ignore = ours.join(".gitignore");
        if !ignore.exists() {
            std::fs::write(ignore, "*\n").map_err(failed)?;
        }
    }
    Ok(())
}

async fn copy<E: std::error::Error + 'static>(
    stream: impl Stream<Item = std::result::Result<bytes::Bytes, E>>,
) -> Result<std::fs::File> {
    let failed = |e: std::io::Error| CliError::machine("an artifact cannot be unpacked").because(&e);
    let mut file = tempfile::tempfile().map_err(failed)?;
    let mut stream = std::pin::pin!(stream);
    while let Some(bytes) =
        stream.try_next().await.map_err(|e| CliError::machine("an artifact cannot be read").because(&e))?
    {
        file.write_all(&bytes).map_err(failed)?;
    }
    file.rewind().map_err(failed)?;
    Ok(file)
}
