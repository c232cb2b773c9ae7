//! Artifacts and caches for runs without a server: the same services on a free
//! loopback port, started when the first job has an action that may ask for
//! them. Caches stay in the user's cache directory for the next run; artifacts
//! are unpacked into a directory when the run is over.

use crate::clock;
use crate::commands::artifact::place;
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
    /// Where caches are kept for the next run.
    cache: PathBuf,
    closing: CancellationToken,
    serving: Mutex<Option<JoinHandle<()>>>,
}

impl LocalServices {
    /// Starts nothing yet.
    pub(crate) fn new(scratch: PathBuf, cache: PathBuf) -> Arc<Self> {
        Arc::new(Self { scratch, cache, closing: CancellationToken::new(), serving: Mutex::new(None) })
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
        let caches = tokio::task::spawn_blocking({
            let cache = self.cache.clone();
            move || caches(&cache)
        })
        .await??;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wiring::{self, PlaneOptions};
    use fleetfoot_model::api::{CreateRun, RegisterRunner};
    use fleetfoot_model::sync::{Assignment, RunnerInfo, SyncRequest};
    use serde_json::{Value, json};
    use std::time::Duration;

    async fn plane(dir: &Path) -> (Control, Arc<LocalServices>) {
        let plane = PlaneOptions {
            data: dir.join("state"),
            url: String::new(),
            lease: Duration::from_secs(3600),
            retention: None,
            durable: false,
            objects: None,
            actions: crate::loader::config(dir.join("actions")),
            sign_in: Default::default(),
        };
        let control = wiring::control(&plane, wiring::dialects()).await.unwrap();
        let services = LocalServices::new(dir.join("artifacts"), dir.join("cache"));
        control.offer_services_on_demand(services.clone());
        (control, services)
    }

    /// What a runner gets for a new run.
    async fn assigned(control: &Control, name: &str) -> Assignment {
        let who = Principal::System;
        let run = json!({"kind": "job", "document": "steps:\n  - run: 'true'\n"});
        let run: CreateRun = serde_json::from_value(run).unwrap();
        control.create_runs(&who, vec![run], None).await.unwrap();
        let runner = RegisterRunner { name: Some(name.to_owned()), ..RegisterRunner::default() };
        let id = control.register_runner(&who, runner).await.unwrap().id;
        for sequence in 1..10 {
            let request = SyncRequest {
                version: fleetfoot_model::version::VERSION.to_owned(),
                instance: name.to_owned(),
                sequence,
                slots: 1,
                info: Some(RunnerInfo::default()),
                wait_ms: 1000,
                ..SyncRequest::default()
            };
            if let Some(given) = control.sync(&who, id, request).await.unwrap().assignments.pop() {
                return given;
            }
        }
        panic!("no job came");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn services_start_on_demand_and_artifacts_are_unpacked() {
        let dir = tempfile::tempdir().unwrap();
        let (control, services) = plane(dir.path()).await;
        let plain = assigned(&control, "one").await;
        assert_eq!(plain.services, None, "a job without actions does not start them");
        assert!(services.serving.lock().is_none());
        services.start(&control).await.unwrap();

        let job = assigned(&control, "two").await;
        let given = job.services.clone().expect("now they are there");
        let http = reqwest::Client::new();
        let call = async |method: &str, mut body: Value| {
            body["workflow_run_backend_id"] = json!(job.run.to_string());
            body["workflow_job_run_backend_id"] = json!(job.attempt.to_string());
            let service = "twirp/github.actions.results.api.v1.ArtifactService";
            let url = format!("{}{service}/{method}", given.results_url);
            let answer = http.post(url).bearer_auth(&given.runtime_token).json(&body).send().await.unwrap();
            answer.json::<Value>().await.unwrap()
        };
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        zip.start_file("a/b.txt", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(b"hello").unwrap();
        let bytes = zip.finish().unwrap().into_inner();
        let made = call("CreateArtifact", json!({"name": "dist", "version": 7})).await;
        let url = made["signed_upload_url"].as_str().unwrap();
        let size = bytes.len();
        let put = http.put(url).header("x-ms-blob-type", "BlockBlob").body(bytes).send().await.unwrap();
        assert_eq!(put.status(), 201);
        let done = call("FinalizeArtifact", json!({"name": "dist", "size": size})).await;
        assert_eq!(done["ok"], true, "{done}");

        let to = dir.path().join(".fleetfoot/artifacts");
        assert_eq!(export(&control, &[(job.run, "x".to_owned())], &to).await.unwrap(), 1);
        assert_eq!(std::fs::read(to.join("dist/a/b.txt")).unwrap(), b"hello");
        assert_eq!(std::fs::read_to_string(dir.path().join(".fleetfoot/.gitignore")).unwrap(), "*\n");
        assert!(dir.path().join("cache/services/fleetfoot.db").exists());
        services.stop().await;
        control.shut_down().await;
    }
}
