//! What an engine or a registry says, in our words and kinds, with the next
//! command. It must never show credentials.

use bollard::errors::Error;
use fleetfoot_driver::{DriverError, DriverErrorKind};
use std::time::Duration;

/// The words of an engine's error, without the wrapping of the client.
pub(crate) fn words(error: &Error) -> String {
    let text = match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } | Error::DockerContainerWaitError { error, .. } => error.clone(),
        other => other.to_string(),
    };
    text.trim().trim_end_matches('.').to_owned()
}

pub(crate) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

pub(crate) fn is_gone(error: &Error) -> bool {
    status(error) == Some(404)
}

/// Whether the engine could not be reached at all, as opposed to having refused.
fn is_silence(error: &Error) -> bool {
    !matches!(
        error,
        Error::DockerResponseServerError { .. }
            | Error::DockerStreamError { .. }
            | Error::DockerContainerWaitError { .. }
            | Error::JsonDataError { .. }
    )
}

pub(crate) fn unavailable(endpoint: &str, why: &str) -> DriverError {
    let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
    let next =
        if endpoint.contains("podman") { "systemctl start podman.socket" } else { "systemctl start docker" };
    let message = format!(
        "the container engine at {endpoint} does not answer{why}; next: {next}, then fleetfoot runner validate"
    );
    DriverError::new(DriverErrorKind::Unavailable, message)
}

/// An error of an ordinary call; `doing` completes "cannot ...".
pub(crate) fn engine(endpoint: &str, doing: &str, error: &Error) -> DriverError {
    let text = words(error);
    if is_silence(error) {
        return unavailable(endpoint, &format!("cannot {doing}: {text}"));
    }
    let kind = if text.contains("no space left on device") {
        DriverErrorKind::DiskFull
    } else {
        match status(error) {
            Some(404) => DriverErrorKind::NotFound,
            Some(401 | 403) => DriverErrorKind::Denied,
            Some(400) => DriverErrorKind::Invalid,
            _ => DriverErrorKind::Other,
        }
    };
    DriverError::new(kind, format!("cannot {doing}: {text}"))
}

pub(crate) fn timed_out(endpoint: &str, doing: &str, after: Duration) -> DriverError {
    unavailable(endpoint, &format!("cannot {doing}: no answer within {} s", after.as_secs()))
}

/// An error of a pull: the engine gives registries' answers as text only.
pub(crate) fn pull(endpoint: &str, reference: &str, credentials: bool, error: &Error) -> DriverError {
    let text = words(error);
    let low = text.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| low.contains(w));
    if is_silence(error) {
        return unavailable(endpoint, &format!("cannot pull '{reference}': {text}"));
    }
    let (kind, next) = if has(&["no space left on device"]) {
        (
            DriverErrorKind::DiskFull,
            "docker system prune (podman system prune) frees space of the engine".to_owned(),
        )
    } else if has(&[
        "unauthorized",
        "authentication required",
        "incorrect username",
        "no basic auth",
        "invalid username/password",
        "401",
        "access to the resource is denied",
        "403 (forbidden)",
        "denied:",
    ]) && !has(&["may require 'docker login'"])
    {
        let who = if credentials {
            "check the user and password of `credentials`"
        } else {
            "the registry wants credentials: give `credentials` to the container, or docker login on the runner"
        };
        (DriverErrorKind::Denied, who.to_owned())
    } else if has(&[
        "manifest unknown",
        "not found",
        "repository does not exist",
        "name unknown",
        "manifest for",
        "name invalid",
    ]) {
        (
            DriverErrorKind::NotFound,
            format!("check the name; docker pull {reference} on the runner shows the same"),
        )
    } else if has(&[
        "connection refused",
        "no such host",
        "i/o timeout",
        "timeout",
        "eof",
        "unreachable",
        "tls",
        "server gave http response",
        "502",
        "503",
        "500 internal",
        "dial tcp",
        "connection reset",
        "received unexpected http status",
    ]) {
        (DriverErrorKind::Unavailable, "the registry does not answer: try again, or set a mirror".to_owned())
    } else if has(&["invalid reference format"]) {
        (DriverErrorKind::Invalid, "an image is written as NAME:TAG or NAME@sha256:DIGEST".to_owned())
    } else {
        (DriverErrorKind::Other, format!("docker pull {reference} on the runner shows the same"))
    };
    DriverError::new(kind, format!("cannot pull the image '{reference}': {text}; next: {next}"))
}
