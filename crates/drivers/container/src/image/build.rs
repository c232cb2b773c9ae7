//! Building from a `Dockerfile`, with the context that it may see. The build
//! runs in the engine, in the network of the attempt; its steps have the limits
//! of the job, and what else fences them off are the engine's own defaults: no
//! word of a `Dockerfile` widens them. It must never hold more of the engine's
//! answer than a line.

use super::fence::Fence;
use super::{context, credentials, describe, look};
use crate::config::Network;
use crate::error;
use crate::group::ContainerGroup;
use crate::names;
use base64::Engine;
use bollard::errors::Error;
use fleetfoot_driver::containers::{Group, Image};
use fleetfoot_driver::{DriverError, DriverErrorKind};
use fleetfoot_model::spec::Limits;
use std::path::Path;
use tokio::io::AsyncBufReadExt;

/// Microseconds in which a quota of the processors is used up.
const PERIOD: u32 = 100_000;

/// One line of the engine's answer.
#[derive(serde::Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Step {
    stream: String,
    error: Option<String>,
    error_detail: Option<Detail>,
    aux: Option<Aux>,
}

#[derive(serde::Deserialize)]
struct Detail {
    message: String,
}

#[derive(serde::Deserialize)]
struct Aux {
    #[serde(rename = "ID")]
    id: Option<String>,
}

pub(super) async fn build(
    group: &ContainerGroup,
    context: &Path,
    dockerfile: &Path,
) -> Result<Image, DriverError> {
    let outside = || {
        let message = format!("the Dockerfile '{}' is not inside its context", dockerfile.display());
        DriverError::new(DriverErrorKind::Invalid, message)
    };
    let file = context.join(dockerfile);
    let real = |p: &Path| {
        std::fs::canonicalize(p).map_err(|e| DriverError::io(format!("cannot read '{}'", p.display()), e))
    };
    let (context, file) = (real(context)?, real(&file)?);
    let inside = file.strip_prefix(&context).map_err(|_| outside())?;
    let inside = inside.to_str().ok_or_else(outside)?.to_owned();
    let packed = context::pack(&context, &inside, &group.shared.directory).await?;
    group.network_is_there().await?;
    let id = send(group, packed, &inside).await?;
    let found = look(group, &id).await?.ok_or_else(|| {
        DriverError::new(DriverErrorKind::NotFound, "the image was built, but the engine does not have it")
    })?;
    Ok(describe(found, &format!("Dockerfile:{inside}"), &id))
}

async fn send(
    group: &ContainerGroup,
    packed: std::fs::File,
    dockerfile: &str,
) -> Result<String, DriverError> {
    let client = &group.shared.client;
    // The tag of an image: repository in small letters, and the attempt.
    let tag = format!("fleetfoot-{}:{}", group.shared.next(), group.network()).to_ascii_lowercase();
    let tag: String =
        tag.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.:".contains(c) { c } else { '-' }).collect();
    let fence = Fence::make(group, client.about().await?);
    let query = query(group, dockerfile, &tag, fence.as_ref());
    let (known, troubles) = credentials::all(&group.shared.options).await;
    for why in troubles {
        (group.request.notes)(&format!("some registries are asked without credentials: {why}"));
    }
    let known = serde_json::to_vec(&known).unwrap_or_default();
    let known = base64::engine::general_purpose::URL_SAFE.encode(known);
    let answer = client.send("build an image", &format!("/build?{query}"), &known, packed).await?;
    let mut lines = answer.map_err(|e| failed(group, &e))?.lines();
    let (mut line, mut id) = (String::new(), None);
    let broken = |e| error::unavailable(&client.endpoint, &format!("cannot build an image: {e}"));
    loop {
        let text = match lines.next_line().await {
            Ok(Some(text)) => text,
            Ok(None) => break,
            // Docker does not read what `tar` puts behind its end.
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(e) => return Err(broken(e)),
        };
        let Ok(step) = serde_json::from_str::<Step>(&text) else { continue };
        if let Some(error) = step.error_detail.map(|d| d.message).or(step.error) {
            return Err(failed(group, &Error::DockerStreamError { error }));
        }
        id = step.aux.and_then(|a| a.id).or(id);
        line.push_str(&step.stream);
        while let Some((first, rest)) = line.split_once('\n') {
            if !first.trim().is_empty() {
                (group.request.notes)(first.trim_end());
            }
            line = rest.to_owned();
        }
    }
    // Podman does not tell the id in a field; the tag is only ours.
    Ok(id.unwrap_or(tag))
}

fn query(group: &ContainerGroup, dockerfile: &str, tag: &str, fence: Option<&Fence>) -> String {
    let labels = names::labels(&group.shared.tag, group.request.cell.attempt, "image");
    let network = match group.shared.options.network {
        Network::None => "none".to_owned(),
        _ => group.network(),
    };
    let mut words = vec![
        ("dockerfile", dockerfile.to_owned()),
        ("t", tag.to_owned()),
        ("rm", "true".to_owned()),
        ("forcerm", "true".to_owned()),
        ("labels", serde_json::to_string(&labels).unwrap_or_default()),
        ("networkmode", network),
    ];
    if group.shared.client.known().grouped() {
        words.extend(limits(&group.request.cell.limits));
    }
    words.extend(fence.map(|f| ("cgroupparent", f.parent().to_owned())));
    let word = |(name, value): (&str, String)| format!("{name}={}", crate::client::quoted(&value));
    words.into_iter().map(word).collect::<Vec<_>>().join("&")
}

/// The limits that engines have words for in a build.
fn limits(limits: &Limits) -> Vec<(&'static str, String)> {
    let mut words = Vec::new();
    if let Some(bytes) = limits.memory_bytes {
        words.extend([("memory", bytes.to_string()), ("memswap", bytes.to_string())]);
    }
    if let Some(cpus) = limits.cpus {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "CPUs are few")]
        let quota = (cpus * f64::from(PERIOD)).round() as u64;
        words.extend([("cpuperiod", PERIOD.to_string()), ("cpuquota", quota.max(1000).to_string())]);
    }
    words
}

fn failed(group: &ContainerGroup, e: &Error) -> DriverError {
    let error = error::engine(&group.shared.client.endpoint, "build the image of the action", e);
    let missing = ["pull access denied", "manifest unknown", "not found: manifest"]
        .iter()
        .any(|w| error.message.contains(w));
    let kind = if missing { DriverErrorKind::NotFound } else { error.kind };
    DriverError { kind, ..error }
}
