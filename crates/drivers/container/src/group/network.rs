//! The private network of an attempt, with IPv6 where the machine and the
//! engine have it, and its volumes. It must never be used by anything that is
//! not of the attempt.

use crate::client::{About, Client};
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

/// Docker that translates addresses of IPv6 on their way out, without being told to.
const TRANSLATES: u64 = 27;

/// Whether networks get IPv6: only where it leads somewhere. Before [`TRANSLATES`] the private addresses of
/// a network had no way out, and Docker took half as long again to start each container with one: it
/// starts itself anew, twice, to switch them on. Podman wants addresses of both kinds said, and gets none.
fn has_ipv6(about: &About, routes: &str) -> bool {
    let major = about.version.split('.').next().and_then(|v| v.parse::<u64>().ok());
    about.name == "docker" && major.is_some_and(|m| m >= TRANSLATES) && leads_out(routes)
}

/// Whether a table of routes of IPv6, as the kernel shows it, leads out of the machine.
fn leads_out(routes: &str) -> bool {
    routes.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words.as_slice(), [destination, "00", .., device]
            if destination.bytes().all(|b| b == b'0') && *device != "lo")
    })
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
    let routes = std::fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    let able = has_ipv6(client.about().await?, &routes);
    for ipv6 in [able, false] {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_to_everywhere_leads_out_unless_it_is_refused() {
        let zero = "0".repeat(32);
        let route = |destination: &str, length: &str, device: &str| {
            format!(
                "{destination} {length} {zero} 00 fe80{} 00000400 00000001 00000000 00000003 {device}\n",
                "0".repeat(28)
            )
        };
        let link = route(&format!("fe80{}", "0".repeat(28)), "40", "eth0");
        assert!(!leads_out(&link) && !leads_out("") && !leads_out("00"));
        // What the kernel has where there is no way out.
        assert!(!leads_out(&(link.clone() + &route(&zero, "00", "lo"))));
        let out = link.clone() + &route(&zero, "00", "eth0");
        assert!(leads_out(&out));
        let docker = |version: &str| About { name: "docker", version: version.into(), ..About::default() };
        assert!(has_ipv6(&docker("28.2.2"), &out) && !has_ipv6(&docker("28.2.2"), &link));
        assert!(!has_ipv6(&docker("20.10.24+dfsg1"), &out) && !has_ipv6(&docker("dev"), &out));
    }
}
