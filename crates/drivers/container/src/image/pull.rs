//! Pulling: mirrors first, then the registry itself, with progress that a
//! person can read. What is there already is used without asking if nothing
//! can have changed, or if the operator says so.

use super::credentials::{self, Known};
use super::reference::Reference;
use super::{describe, look};
use crate::config::Pull;
use crate::error;
use crate::group::ContainerGroup;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::{CreateImageOptionsBuilder, TagImageOptionsBuilder};
use fleetfoot_driver::containers::{Credentials, Image};
use fleetfoot_driver::{DriverError, DriverErrorKind};
use futures_util::StreamExt;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A registry that says nothing for so long is down.
const SILENCE: Duration = Duration::from_secs(120);

pub(super) async fn pull(
    group: &ContainerGroup,
    text: &str,
    given: Option<&Credentials>,
) -> Result<Image, DriverError> {
    let text = text.trim().trim_start_matches("docker://");
    // Ids are what other parts of the runner know images by.
    if is_id(text)
        && let Some(found) = look(group, text).await?
    {
        return Ok(describe(found, text, text));
    }
    let reference = Reference::parse(text)?;
    let present = look(group, text).await?;
    let settled = reference.digest.is_some() || group.shared.options.pull == Pull::Missing;
    if settled && present.is_some() {
        return Ok(describe(present.unwrap_or_default(), text, &reference.name()));
    }
    for mirror in &group.shared.options.mirrors {
        let Some(there) = reference.at_mirror(mirror) else { continue };
        // Credentials of the workflow are for the registry that it names, not for the mirror.
        let known = credentials::of(&group.shared.options, &there.registry, None).await;
        match fetch(group, &there, known).await {
            Ok(()) => {
                let client = &group.shared.client;
                if let Some(tag) = reference.tag.as_deref().filter(|_| reference.digest.is_none()) {
                    let options = TagImageOptionsBuilder::new().repo(&reference.name()).tag(tag).build();
                    let _ = client
                        .raw("tag an image", client.docker.tag_image(&there.full(), Some(options)))
                        .await?;
                }
                return fetched(group, &there, text).await;
            }
            Err(e) => (group.request.notes)(&format!(
                "the mirror {mirror} failed, so the registry itself is asked: {e}"
            )),
        }
    }
    let known = credentials::of(&group.shared.options, &reference.registry, given).await;
    match fetch(group, &reference, known).await {
        Ok(()) => fetched(group, &reference, text).await,
        Err(e) => match present {
            // Without its registry, what is there is what there is. Not for `Denied`: it may be private.
            Some(found) if may_be_used(&e, found.repo_digests.as_deref()) => {
                (group.request.notes)(&format!("{e}; the image '{text}' that is here is used"));
                Ok(describe(found, text, &reference.name()))
            }
            _ => Err(e),
        },
    }
}

fn is_id(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|h| h.len() == 64 && h.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// An image that never came from a registry may well be unknown there.
fn may_be_used(error: &DriverError, digests: Option<&[String]>) -> bool {
    let local = digests.is_none_or(<[String]>::is_empty);
    error.kind == DriverErrorKind::Unavailable || (error.kind == DriverErrorKind::NotFound && local)
}

async fn fetched(group: &ContainerGroup, reference: &Reference, text: &str) -> Result<Image, DriverError> {
    let found = look(group, &reference.full()).await?.ok_or_else(|| {
        let message = format!("the image '{text}' was pulled, but the engine does not have it");
        DriverError::new(DriverErrorKind::NotFound, message)
    })?;
    Ok(describe(found, text, &reference.name()))
}

async fn fetch(group: &ContainerGroup, reference: &Reference, known: Known) -> Result<(), DriverError> {
    let client = &group.shared.client;
    let full = reference.full();
    (group.request.notes)(&format!("pulling {full}"));
    let options =
        CreateImageOptionsBuilder::new().from_image(&reference.name()).tag(reference.version()).build();
    if let Some(why) = &known.trouble {
        (group.request.notes)(&format!(
            "no credentials for {}, so it is asked without: {why}",
            reference.registry
        ));
    }
    let with_credentials = known.credentials.is_some();
    let mut stream = client.docker.create_image(Some(options), None, known.credentials);
    let mut progress = Progress::default();
    loop {
        match tokio::time::timeout(SILENCE, stream.next()).await {
            Ok(None) => break,
            Ok(Some(Ok(step))) => {
                if let Some(line) = progress.take(step) {
                    (group.request.notes)(&line);
                }
            }
            Ok(Some(Err(e))) => {
                let error = error::pull(&client.endpoint, &full, with_credentials, &e);
                return Err(match known.trouble {
                    Some(why) if error.kind == DriverErrorKind::Denied => {
                        DriverError { message: format!("{} ({why})", error.message), ..error }
                    }
                    _ => error,
                });
            }
            Err(_) => {
                let message = format!(
                    "cannot pull the image '{full}': nothing came for {} s; next: check the network of the engine, or \
                     set a mirror",
                    SILENCE.as_secs()
                );
                return Err(DriverError::new(DriverErrorKind::Unavailable, message));
            }
        }
    }
    (group.request.notes)(&format!("pulled {full}"));
    Ok(())
}

/// Many steps of many layers become at most one line in a second.
#[derive(Default)]
struct Progress {
    layers: HashMap<String, Layer>,
    told: Option<Instant>,
}

#[derive(Default)]
struct Layer {
    done: bool,
    current: u64,
    total: u64,
}

impl Progress {
    fn take(&mut self, step: CreateImageInfo) -> Option<String> {
        let status = step.status.unwrap_or_default();
        if let Some(id) = step.id.filter(|id| id.len() == 12) {
            let layer = self.layers.entry(id).or_default();
            layer.done |= matches!(status.as_str(), "Pull complete" | "Already exists" | "Download complete");
            if let Some(detail) = step.progress_detail.filter(|_| status == "Downloading") {
                let size = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
                (layer.current, layer.total) = (size(detail.current), size(detail.total));
            }
        }
        let due = self.told.is_none_or(|t| t.elapsed() >= Duration::from_secs(1));
        if !due || self.layers.is_empty() {
            return None;
        }
        self.told = Some(Instant::now());
        Some(self.line())
    }

    fn line(&self) -> String {
        let done = self.layers.values().filter(|l| l.done).count();
        let sum = |f: fn(&Layer) -> u64| self.layers.values().map(f).sum::<u64>();
        let mib = |bytes: u64| format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20);
        let (current, total) = (sum(|l| if l.done { l.total } else { l.current }), sum(|l| l.total));
        let bytes = if total == 0 { String::new() } else { format!(", {} of {}", mib(current), mib(total)) };
        format!("  {done} of {} layers{bytes}", self.layers.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ProgressDetail;

    #[test]
    fn a_flood_becomes_few_lines() {
        let mut progress = Progress::default();
        let step = |id: &str, status: &str, current: i64| CreateImageInfo {
            id: Some(id.into()),
            status: Some(status.into()),
            progress_detail: Some(ProgressDetail { current: Some(current), total: Some(3 << 20) }),
            ..CreateImageInfo::default()
        };
        let lines: Vec<String> =
            (0..1000).filter_map(|i| progress.take(step("0123456789ab", "Downloading", i))).collect();
        assert_eq!(lines, ["  0 of 1 layers, 0.0 MiB of 3.0 MiB"]);
        progress.take(step("0123456789ab", "Pull complete", 0));
        progress.take(step("ba9876543210", "Downloading", 1 << 19));
        assert_eq!(progress.line(), "  1 of 2 layers, 3.5 MiB of 6.0 MiB");
    }
}
