//! From a URL and options to a store. Options are checked here, so that a
//! typing error is an error and not a default.

use super::Objects;
use super::key::Prefix;
use crate::ObjectError;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{ClientOptions, ObjectStore};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Where objects live.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectsConfig {
    /// `file:///dir` (or an absolute path), `s3://bucket/prefix`,
    /// `az://container/prefix`, `gs://bucket/prefix`, or `memory:///` for tests.
    pub url: String,
    /// Options of the store, by the names of the `object_store` crate
    /// (`region`, `endpoint`, `access_key_id`, `allow_http`, …). They win over
    /// the store's usual environment variables (`AWS_REGION`, …).
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl ObjectsConfig {
    /// A store in the local directory `dir`, which must be absolute.
    #[must_use]
    pub fn directory(dir: &Path) -> Self {
        Self { url: dir.to_string_lossy().into_owned(), options: BTreeMap::new() }
    }
}

/// Options hold credentials: only their names are shown.
impl fmt::Debug for ObjectsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.options.keys().collect();
        f.debug_struct("ObjectsConfig").field("url", &self.url).field("options", &names).finish()
    }
}

impl Objects {
    /// Opens the store; a local directory is created. A remote store is not
    /// contacted: see [`Objects::check`].
    ///
    /// # Errors
    /// If the URL or an option is not understood, or the directory cannot be created.
    pub fn open(config: &ObjectsConfig) -> Result<Self, ObjectError> {
        let (scheme, rest) = match config.url.split_once("://") {
            Some(parts) => parts,
            None if config.url.starts_with('/') => ("file", config.url.as_str()),
            None => return Err(bad(format!("'{}' is neither a URL nor an absolute path", config.url))),
        };
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        if matches!(scheme, "file" | "memory") {
            if !bucket.is_empty() {
                return Err(bad(format!("'{}' needs three slashes: {scheme}:///…", config.url)));
            }
            if let Some(name) = config.options.keys().next() {
                return Err(bad(format!("{scheme}:// has no option '{name}'")));
            }
        } else if bucket.is_empty() {
            return Err(bad(format!("'{}' names no bucket", config.url)));
        }
        let store: Arc<dyn ObjectStore> = match scheme {
            "file" => Arc::new(local(rest)?),
            "memory" => Arc::new(InMemory::new()),
            "s3" => Arc::new(s3(bucket, config)?),
            "az" => Arc::new(azure(bucket, config)?),
            "gs" => Arc::new(google(bucket, config)?),
            other => return Err(bad(format!("unknown scheme '{other}'; known are file, s3, az, gs"))),
        };
        let prefix = if scheme == "file" { "" } else { path };
        Ok(Self::new(store, Prefix::parse(prefix)?))
    }
}

fn bad(message: String) -> ObjectError {
    ObjectError::BadConfig(message)
}

fn refused(source: object_store::Error) -> ObjectError {
    bad(source.to_string())
}

fn local(dir: &str) -> Result<LocalFileSystem, ObjectError> {
    std::fs::create_dir_all(dir)
        .map_err(|e| ObjectError::io(format!("creating the object directory {dir}"), e))?;
    let store = LocalFileSystem::new_with_prefix(dir).map_err(refused)?;
    Ok(store.with_fsync(true).with_automatic_cleanup(true))
}

/// A transfer may take long, but not without any progress.
fn client() -> ClientOptions {
    ClientOptions::new().with_connect_timeout(Duration::from_secs(10)).with_timeout(Duration::from_secs(300))
}

fn option<K: std::str::FromStr>(scheme: &str, name: &str) -> Result<K, ObjectError> {
    name.to_ascii_lowercase().parse().map_err(|_| bad(format!("{scheme}:// has no option '{name}'")))
}

fn s3(bucket: &str, config: &ObjectsConfig) -> Result<impl ObjectStore + use<>, ObjectError> {
    let mut builder = AmazonS3Builder::from_env().with_client_options(client());
    for (name, value) in &config.options {
        builder = builder.with_config(option::<AmazonS3ConfigKey>("s3", name)?, value);
    }
    builder.with_bucket_name(bucket).build().map_err(refused)
}

fn azure(container: &str, config: &ObjectsConfig) -> Result<impl ObjectStore + use<>, ObjectError> {
    let mut builder = MicrosoftAzureBuilder::from_env().with_client_options(client());
    for (name, value) in &config.options {
        builder = builder.with_config(option::<AzureConfigKey>("az", name)?, value);
    }
    builder.with_container_name(container).build().map_err(refused)
}

fn google(bucket: &str, config: &ObjectsConfig) -> Result<impl ObjectStore + use<>, ObjectError> {
    let mut builder = GoogleCloudStorageBuilder::from_env().with_client_options(client());
    for (name, value) in &config.options {
        builder = builder.with_config(option::<GoogleConfigKey>("gs", name)?, value);
    }
    builder.with_bucket_name(bucket).build().map_err(refused)
}
