//! The private network of an attempt, with IPv6 where the engine can, and its
//! volumes. It must
//! never be used by anything that is not of the attempt.

use crate::client::Client;
use crate::config::Network;
use crate::engine::Shared;
use crate::error;
use crate::names;
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, VolumeCreateRequest};
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptionsBuilder};
use fleetfoot_driver::{DriverError, DriverErrorKind};
use fleetfoot_model::ids::AttemptRef;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// A subnet of the range for private use that nobody else has: engines before 27 do not choose one.
fn subnet() -> String {
    let chance = std::collections::hash_map::RandomState::new().build_hasher().finish().to_be_bytes();
    let [a, b, c, d, e, f, g, _] = chance;
    format!("fd{a:02x}:{b:02x}{c:02x}:{d:02x}{e:02x}:{f:02x}{g:02x}::/64")
}

type Labels = HashMap<String, String>;

fn request(shared: &Shared, labels: &Labels, name: &str, ipv6: bool) -> NetworkCreateRequest {
    let config = IpamConfig { subnet: Some(subnet()), ..IpamConfig::default() };
    NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".into()),
        internal: Some(shared.options.network == Network::Internal),
        enable_ipv6: Some(ipv6),
        ipam: ipv6.then(|| Ipam { config: Some(vec![config]), ..Ipam::default() }),
        labels: Some(labels.clone()),
        ..NetworkCreateRequest::default()
    }
}

/// Makes the network. What a network of the same attempt left is replaced: there is only one of us.
pub(crate) async fn make(shared: &Shared, labels: Labels, name: &str) -> Result<(), DriverError> {
    let client = &shared.client;
    let mut last = None;
    // Docker takes IPv4 by itself beside a subnet of IPv6 only; Podman wants both said.
    for ipv6 in [client.about().await?.name == "docker", false] {
        let create = client.docker.create_network(request(shared, &labels, name, ipv6));
        match client.raw("make a network for the job", create).await? {
            Ok(_) => return Ok(()),
            Err(e) if error::status(&e) == Some(409) => {
                remove(client, name).await?;
                last = Some(e);
            }
            Err(e) => last = Some(e),
        }
    }
    let again = client.docker.create_network(request(shared, &labels, name, false));
    match client.raw("make a network for the job", again).await? {
        Ok(_) => Ok(()),
        Err(e) => {
            let error =
                error::engine(&client.endpoint, "make a network for the job", last.as_ref().unwrap_or(&e));
            if error.message.contains("address pool") {
                let message = format!(
                    "{error}; next: docker network prune, or give the engine more default-address-pools"
                );
                return Err(DriverError::new(DriverErrorKind::Other, message));
            }
            Err(error)
        }
    }
}

/// Removes the network; the engine may need a moment to see that its containers are gone.
pub(crate) async fn remove(client: &Client, name: &str) -> Result<(), DriverError> {
    for tries in 0.. {
        let gone = client.removing("remove the network of the job", client.docker.remove_network(name)).await;
        match gone {
            Err(_) if tries < 5 => tokio::time::sleep(Duration::from_millis(50 << tries)).await,
            other => return other,
        }
    }
    Ok(())
}

/// Makes a volume with a name; one that is there already is the same.
pub(crate) async fn make_volume(shared: &Shared, attempt: AttemptRef, name: &str) -> Result<(), DriverError> {
    let request = VolumeCreateRequest {
        name: Some(name.to_owned()),
        labels: Some(names::labels(&shared.tag, attempt, "volume")),
        ..VolumeCreateRequest::default()
    };
    let client = &shared.client;
    client.call("make a volume for the job", client.docker.create_volume(request)).await.map(drop)
}

/// Removes the named volumes of an attempt.
pub(crate) async fn remove_volumes(
    client: &Client,
    tag: &str,
    attempt: AttemptRef,
) -> Result<(), DriverError> {
    let filter = names::filter(tag, Some(attempt));
    let options = ListVolumesOptionsBuilder::new().filters(&filter).build();
    let found = client.call("list volumes", client.docker.list_volumes(Some(options))).await?;
    for volume in found.volumes.into_iter().flatten() {
        // Podman's filters are not to be trusted with more than a first choice.
        if volume.labels.get(names::ATTEMPT) != Some(&attempt.to_string())
            || volume.labels.get(names::RUNNER).map(String::as_str) != Some(tag)
        {
            continue;
        }
        let options = RemoveVolumeOptionsBuilder::new().force(true).build();
        client.removing("remove a volume", client.docker.remove_volume(&volume.name, Some(options))).await?;
    }
    Ok(())
}
