//! `ports:` of a container. Pure. Ports of the host are bound to the loopback
//! only, whatever the address says. A value never becomes anything but numbers.

use fleetfoot_driver::{DriverError, DriverErrorKind};

/// One port that is reachable from the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Port of the host; absent means that the engine chooses one.
    pub host: Option<u16>,
    /// Port of the container.
    pub container: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
}

impl Port {
    /// As the engine names it, `80/tcp`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.container, self.protocol)
    }

    /// As `job.services.<name>.ports` names it: `80`, `53/udp`.
    #[must_use]
    pub fn name(&self) -> String {
        if self.protocol == "tcp" { self.container.to_string() } else { self.key() }
    }
}

/// Ports that one container may have.
const MOST: usize = 1000;

/// Reads `ports:`: `80`, `8080:80`, `53/udp`, `8080-8082:80-82`, `127.0.0.1:8080:80`.
///
/// # Errors
/// `Invalid` with the entry that is wrong, `LimitExceeded` for far too many.
pub fn parse(entries: &[String]) -> Result<Vec<Port>, DriverError> {
    let mut ports = Vec::new();
    for entry in entries {
        ports.extend(one(entry)?);
        if ports.len() > MOST {
            let message = format!("a container cannot have more than {MOST} ports");
            return Err(DriverError::new(DriverErrorKind::LimitExceeded, message));
        }
    }
    Ok(ports)
}

fn one(entry: &str) -> Result<Vec<Port>, DriverError> {
    let wrong = || {
        let shown: String = entry.chars().take(60).map(|c| if c.is_control() { '?' } else { c }).collect();
        let message =
            format!("'{shown}' is not a port; write CONTAINER, HOST:CONTAINER or HOST:CONTAINER/udp");
        DriverError::new(DriverErrorKind::Invalid, message)
    };
    let (numbers, protocol) = match entry.split_once('/') {
        None | Some((_, "tcp")) => (entry.split('/').next().unwrap_or_default(), "tcp"),
        Some((numbers, "udp")) => (numbers, "udp"),
        Some((numbers, "sctp")) => (numbers, "sctp"),
        Some(_) => return Err(wrong()),
    };
    // The address of the host is a wish that is not fulfilled: only the loopback is.
    let (host, container) = match numbers.rsplit_once(':') {
        None => (None, numbers),
        Some((front, container)) => {
            let host = match front.rsplit_once(':') {
                Some((address, host)) => {
                    let address = address.trim_start_matches('[').trim_end_matches(']');
                    address.parse::<std::net::IpAddr>().map_err(|_| wrong())?;
                    host
                }
                None => front,
            };
            (Some(host).filter(|h| !h.is_empty()), container)
        }
    };
    let (first, last) = range(container).ok_or_else(wrong)?;
    let hosts = match host {
        None => None,
        Some(host) => Some(range(host).filter(|(a, b)| b - a == last - first).ok_or_else(wrong)?),
    };
    let port = |i: u16| Port { host: hosts.map(|(h, _)| h + i), container: first + i, protocol };
    Ok((0..=last - first).map(port).collect())
}

/// `80` or `80-82`.
fn range(text: &str) -> Option<(u16, u16)> {
    let number = |t: &str| t.parse::<u16>().ok().filter(|n| *n > 0 && t.bytes().all(|b| b.is_ascii_digit()));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(entry: &str) -> Vec<(Option<u16>, String)> {
        parse(&[entry.to_owned()]).unwrap().iter().map(|p| (p.host, p.name())).collect()
    }

    #[test]
    fn forms() {
        assert_eq!(parsed("80"), [(None, "80".into())]);
        assert_eq!(parsed("8080:80/tcp"), [(Some(8080), "80".into())]);
        assert_eq!(parsed("53/udp"), [(None, "53/udp".into())]);
        assert_eq!(parsed("0.0.0.0:8080:80"), [(Some(8080), "80".into())]);
        assert_eq!(parsed("127.0.0.1::80"), [(None, "80".into())]);
        assert_eq!(parsed("[::1]:9:80"), [(Some(9), "80".into())]);
        assert_eq!(parsed("10-11:20-21/udp"), [(Some(10), "20/udp".into()), (Some(11), "21/udp".into())]);
        for bad in [
            "", "0", "70000", "80/icmp", "a:80", "80:", "x:1:2", "2-1", "1-3:1-2", "+80", "-80", "80 ",
            "80\n", "1:2:3:4",
        ] {
            let error = parse(&[bad.to_owned()]).unwrap_err();
            assert_eq!(error.kind, DriverErrorKind::Invalid, "{bad}");
        }
        let error = parse(&["1-60000".to_owned()]).unwrap_err();
        assert_eq!(error.kind, DriverErrorKind::LimitExceeded);
    }

    proptest! {
        #[test]
        fn nothing_breaks_it(entry in "[-0-9:/,= \"'\\n.a-z]{0,20}") {
            if let Ok(ports) = parse(&[entry]) {
                for port in ports {
                    prop_assert!(port.container > 0 && port.host != Some(0));
                }
            }
        }

        #[test]
        fn what_is_written_is_read(host in 1u16.., container in 1u16.., udp: bool) {
            let text = format!("{host}:{container}{}", if udp { "/udp" } else { "" });
            let protocol = if udp { "udp" } else { "tcp" };
            prop_assert_eq!(parse(&[text]).unwrap(), vec![Port { host: Some(host), container, protocol }]);
        }
    }
}
