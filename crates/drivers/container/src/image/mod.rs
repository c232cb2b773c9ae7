//! Making an image available: pulled (from a mirror, if there is one) or
//! built, then known by its id, so that a tag that moves changes nothing. It
//! must never wait without an end; dropping the future ends the pull.

mod build;
mod context;
mod credentials;
mod fence;
mod helper;
mod pull;
pub mod reference;

use crate::error;
use crate::group::ContainerGroup;
use bollard::models::ImageInspect;
use fleetfoot_driver::containers::{Image, ImageSource};
use fleetfoot_driver::{DriverError, DriverErrorKind};

/// Answers the image and whether it was made for this attempt.
pub(crate) async fn provide(
    group: &ContainerGroup,
    source: &ImageSource,
) -> Result<(Image, bool), DriverError> {
    let limit = group.shared.options.pull_timeout;
    let what = match source {
        ImageSource::Reference { reference, .. } => format!("pulling the image '{reference}'"),
        ImageSource::Build { dockerfile, .. } => format!("building '{}'", dockerfile.display()),
    };
    let work = async {
        match source {
            ImageSource::Reference { reference, credentials } => {
                Ok((pull::pull(group, reference, credentials.as_ref()).await?, false))
            }
            ImageSource::Build { context, dockerfile } => {
                Ok((build::build(group, context, dockerfile).await?, true))
            }
        }
    };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let message = format!("{what} took longer than {} s, and was ended", limit.as_secs());
        Err(DriverError::new(DriverErrorKind::Unavailable, message))
    })
}

/// What the engine has under a name or an id; `None` if nothing.
pub(crate) async fn look(group: &ContainerGroup, name: &str) -> Result<Option<ImageInspect>, DriverError> {
    let client = &group.shared.client;
    match client.raw("look at an image", client.docker.inspect_image(name)).await? {
        Ok(found) => Ok(Some(found)),
        Err(e) if error::is_gone(&e) => Ok(None),
        Err(e) => Err(error::engine(&client.endpoint, "look at an image", &e)),
    }
}

/// `digests` are `REPOSITORY@sha256:...`; that of the repository we asked counts.
fn describe(found: ImageInspect, reference: &str, repository: &str) -> Image {
    let digests = found.repo_digests.unwrap_or_default();
    let of_it = digests.iter().find(|d| d.split('@').next().is_some_and(|r| reference::same(r, repository)));
    let digest = of_it.and_then(|d| d.split_once('@')).map(|(_, digest)| digest.to_owned());
    let config = found.config.unwrap_or_default();
    let env = config.env.unwrap_or_default();
    Image {
        id: found.id.unwrap_or_default(),
        reference: reference.to_owned(),
        digest,
        env: env
            .iter()
            .filter_map(|e| e.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect(),
        user: config.user.unwrap_or_default(),
    }
}
