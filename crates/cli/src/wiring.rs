//! Building a control plane from options: store, logs and dialects put
//! together. The only place that names the implementations.

use crate::error::{CliError, Result};
use crate::loader::GitLoader;
use fleetfoot_actions::CacheConfig;
use fleetfoot_control::{Control, Options, ServiceSetup, SignInOptions};
use fleetfoot_model::plan::Dialect;
use fleetfoot_objects::{LogOptions, LogStore, Objects, ObjectsConfig};
use fleetfoot_services::Limits;
use fleetfoot_store::{StoreError, StoreErrorKind};
use fleetfoot_store_sqlite::SqliteStore;
use fleetfoot_workflow::{JobDialect, WorkflowDialect};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Directory of the logs within the data directory.
const LOGS: &str = "logs";
/// Directory of artifacts and caches within it, unless an object store is named.
const OBJECTS: &str = "objects";

/// What a control plane is built from.
#[derive(Clone, Debug)]
pub(crate) struct PlaneOptions {
    /// State directory.
    pub(crate) data: PathBuf,
    /// Public address.
    pub(crate) url: String,
    /// How long a busy runner may stay silent.
    pub(crate) lease: Duration,
    /// Completed runs are deleted after this long.
    pub(crate) retention: Option<Duration>,
    /// Flush before answering; only throw-away runs do without.
    pub(crate) durable: bool,
    /// Object store to which finished logs are copied (`s3://bucket/prefix`, a directory, …).
    pub(crate) objects: Option<String>,
    /// Where called workflows of other repositories come from.
    pub(crate) actions: CacheConfig,
    /// How long people stay signed in.
    pub(crate) sign_in: SignInOptions,
}

/// Every kind of document.
pub(crate) fn dialects() -> Vec<Arc<dyn Dialect>> {
    vec![Arc::new(WorkflowDialect), Arc::new(JobDialect)]
}

/// Opens the state and starts a control plane over it.
pub(crate) async fn control(options: &PlaneOptions, dialects: Vec<Arc<dyn Dialect>>) -> Result<Control> {
    let data = options.data.clone();
    let archive = match &options.objects {
        Some(url) => Some(open_objects(url).await?),
        None => None,
    };
    // A plane without an address is reached by nobody but the runner beside it, which brings its own.
    let objects = match &archive {
        _ if options.url.is_empty() => None,
        Some(objects) => Some(objects.clone()),
        None => {
            let own = Objects::open(&ObjectsConfig::directory(&options.data.join(OBJECTS)));
            Some(own.map_err(|e| CliError::machine(e.to_string()).because_of_source(&e))?)
        }
    };
    let durable = options.durable;
    // Opening replays a write-ahead log and runs migrations: not on a thread that serves others.
    let opened = tokio::task::spawn_blocking(move || {
        let store = if durable {
            SqliteStore::open(&data, Default::default())
        } else {
            SqliteStore::open_scratch(&data)
        };
        let logs = LogStore::open(&data.join(LOGS), LogOptions { durable, archive, ..LogOptions::default() });
        (store, logs)
    });
    let (store, logs) =
        opened.await.map_err(|e| CliError::machine("opening the state ended early").because(&e))?;
    let store = store.map_err(|e| store_error(&e, &options.data))?;
    let logs = logs.map_err(|e| CliError::machine(e.to_string()).because_of_source(&e))?;
    let settings = Options {
        data_dir: options.data.clone(),
        server_url: options.url.clone(),
        lease: options.lease,
        retention: options.retention,
        loader: Some(Arc::new(GitLoader::new(options.actions.clone()))),
        sign_in: options.sign_in,
    };
    let control = Control::start(Arc::new(store), logs, dialects, settings).await?;
    if let Some(objects) = objects {
        let limits = Limits::default();
        control.offer_services(ServiceSetup { objects, caches: None, limits, url: options.url.clone() })?;
    }
    Ok(control)
}

/// Opens the object store and tries it, so that a mistake shows at the start and not with the first log.
async fn open_objects(url: &str) -> Result<Objects> {
    let wrong = |e: fleetfoot_objects::ObjectError| {
        CliError::usage(format!("the object store {url} cannot be used: {e}"))
            .hint("s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX or an absolute directory; credentials come from the usual environment variables")
    };
    let config = ObjectsConfig { url: url.to_owned(), options: std::collections::BTreeMap::new() };
    let objects = Objects::open(&config).map_err(wrong)?;
    objects.check().await.map_err(wrong)?;
    Ok(objects)
}

/// What a failing store means for whoever started it.
pub(crate) fn store_error(error: &StoreError, data: &Path) -> CliError {
    let out = CliError::machine(error.to_string()).because_of_source(error);
    let shown = data.display();
    match error.kind {
        StoreErrorKind::Locked => out
            .hint(format!(
                "another fleetfoot process uses {shown}; stop it, or give this one a directory of its own"
            ))
            .next("fleetfoot up --data DIR"),
        StoreErrorKind::TooNew => {
            out.hint("install the newer version again, or restore a backup into an empty directory")
        }
        StoreErrorKind::Corrupt => {
            out.hint("restore a backup").next(format!("fleetfoot restore FILE --data {shown} --force"))
        }
        StoreErrorKind::DiskFull => out.hint("free some space on that file system"),
        _ => out,
    }
}

impl CliError {
    /// Adds the causes of an error whose own message is shown already.
    pub(crate) fn because_of_source(self, error: &(dyn Error + 'static)) -> Self {
        match error.source() {
            Some(source) => self.because(source),
            None => self,
        }
    }
}
