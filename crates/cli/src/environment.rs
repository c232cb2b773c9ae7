//! Every environment variable that the command line reads, declared once.
//! Nothing else in this crate may name one; the settings of the runner's
//! daemon (`FLEETFOOT_RUNNER_…`) are declared beside its configuration.

use std::ffi::OsString;
use std::path::PathBuf;

/// Address of the server.
pub(crate) const URL: &str = "FLEETFOOT_URL";
/// API token.
pub(crate) const TOKEN: &str = "FLEETFOOT_TOKEN";
/// State directory of `up` and `server`.
pub(crate) const DATA: &str = "FLEETFOOT_DATA";
/// Address on which `up` and `server` listen.
pub(crate) const LISTEN: &str = "FLEETFOOT_LISTEN";
/// Public address of the server.
pub(crate) const PUBLIC_URL: &str = "FLEETFOOT_PUBLIC_URL";
/// Object store for finished logs.
pub(crate) const OBJECTS: &str = "FLEETFOOT_OBJECTS";
/// Settings of OpenID providers.
pub(crate) const SIGN_IN: &str = "FLEETFOOT_SIGN_IN";
/// Directory or address of bare repositories from which actions and called workflows come.
pub(crate) const ACTION_MIRROR: &str = "FLEETFOOT_ACTION_MIRROR";
/// Address of the forge from which actions and called workflows come.
pub(crate) const ACTION_URL: &str = "FLEETFOOT_ACTION_URL";
/// Output format.
pub(crate) const OUTPUT: &str = "FLEETFOOT_OUTPUT";
/// PEM file with further certificate authorities.
pub(crate) const CA_FILE: &str = "FLEETFOOT_CA_FILE";
/// What is logged, in the filter language of `tracing`.
pub(crate) const LOG: &str = "FLEETFOOT_LOG";
/// Format of the log: `text` or `json`.
pub(crate) const LOG_FORMAT: &str = "FLEETFOOT_LOG_FORMAT";
/// No colours, whatever the terminal (<https://no-color.org>).
pub(crate) const NO_COLOR: &str = "NO_COLOR";

/// Name and meaning, for the reference.
#[cfg(test)]
pub(crate) const ALL: &[(&str, &str)] = &[
    (URL, "Address of the server (default `http://127.0.0.1:7878`)"),
    (TOKEN, "API token"),
    (DATA, "State directory of `up` and `server` (default `$XDG_DATA_HOME/fleetfoot`)"),
    (LISTEN, "Address on which `up` and `server` listen"),
    (PUBLIC_URL, "Public address of the server, shown to jobs and in links"),
    (
        OBJECTS,
        "Object store to which finished logs are copied: `s3://bucket/prefix`, `az://…`, `gs://…` or a directory",
    ),
    (SIGN_IN, "File with the settings of OpenID providers through which people sign in"),
    (
        ACTION_MIRROR,
        "Directory or address of bare repositories `OWNER/REPO.git` from which called workflows come",
    ),
    (ACTION_URL, "Address of the forge from which called workflows come (default `https://github.com`)"),
    (OUTPUT, "`text` or `json`"),
    (CA_FILE, "PEM file with further certificate authorities"),
    (LOG, "What `up`, `server` and `runner up` log: `info`, `debug`, `fleetfoot_runner=trace`"),
    (LOG_FORMAT, "`text` or `json`"),
    (NO_COLOR, "No colours if set and not empty"),
];

/// The value of a variable that is set and not empty.
pub(crate) fn get(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|v| !v.is_empty())
}

/// The same as text; bytes that are not UTF-8 count as absent.
pub(crate) fn text(name: &str) -> Option<String> {
    get(name)?.into_string().ok()
}

/// Where fetched repositories and caches of local runs are kept.
pub(crate) fn default_cache_dir() -> PathBuf {
    if let Some(dir) = get("XDG_CACHE_HOME").map(PathBuf::from).filter(|d| d.is_absolute()) {
        return dir.join("fleetfoot");
    }
    match get("HOME") {
        Some(home) => PathBuf::from(home).join(".cache/fleetfoot"),
        None => std::env::temp_dir().join("fleetfoot-cache"),
    }
}

/// Where `up` and `server` keep their state unless told otherwise.
pub(crate) fn default_data_dir() -> PathBuf {
    if let Some(dir) = get(DATA) {
        return dir.into();
    }
    if let Some(dir) = get("XDG_DATA_HOME").map(PathBuf::from).filter(|d| d.is_absolute()) {
        return dir.join("fleetfoot");
    }
    match get("HOME") {
        Some(home) => PathBuf::from(home).join(".local/share/fleetfoot"),
        None => PathBuf::from("fleetfoot-data"),
    }
}
