//! Which networks a job with a private network cannot reach, and the routes
//! that see to it. It must never list less than what a machine at a provider
//! of clouds or in an office has around it.

#![expect(unsafe_code, reason = "routes have no safe form")]

use super::namespace::control;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

/// Networks that a job cannot reach, `(address, prefix length)`: private, shared, link-local with the
/// metadata addresses of clouds, benchmarking.
pub const REFUSED: [(Ipv4Addr, u32); 7] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
];

/// The same for IPv6: unspecified and mapped addresses, local translation, 6to4 and Teredo (which carry
/// addresses of IPv4 that the routes above do not see), unique local, site-local, and link-local ones
/// beyond the device itself.
pub const REFUSED6: [(Ipv6Addr, u16); 8] = [
    (Ipv6Addr::UNSPECIFIED, 96),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10),
];

/// Closes the ways to all of them, in the network namespace of the calling thread.
///
/// # Errors
/// If a route cannot be made.
pub fn close() -> io::Result<()> {
    for (address, prefix) in REFUSED {
        refuse(address, prefix)?;
    }
    for (address, prefix) in REFUSED6 {
        match refuse6(address, prefix) {
            // A kernel without IPv6 has no such ways.
            Err(e) if e.raw_os_error() == Some(libc::EAFNOSUPPORT) => break,
            other => other?,
        }
    }
    Ok(())
}

/// Adds a route that refuses everything to a network of IPv4.
fn refuse(address: Ipv4Addr, prefix: u32) -> io::Result<()> {
    const RTF_REJECT: libc::c_ushort = 0x0200;
    // SAFETY: plain structures, for which all zeroes are valid.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
    for (place, value) in [(&raw mut route.rt_dst, address.to_bits()), (&raw mut route.rt_genmask, mask)] {
        let socket = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: 0,
            sin_addr: libc::in_addr { s_addr: value.to_be() },
            sin_zero: [0; 8],
        };
        // SAFETY: both structures are of 16 bytes; the place is a field of ours.
        unsafe { place.cast::<libc::sockaddr_in>().write_unaligned(socket) };
    }
    route.rt_flags = libc::RTF_UP | RTF_REJECT;
    add_route(libc::AF_INET, &raw const route)
}

/// `struct in6_rtmsg`.
#[repr(C)]
#[derive(Default)]
struct Route6 {
    destination: [u8; 16],
    source: [u8; 16],
    gateway: [u8; 16],
    kind: u32,
    destination_prefix: u16,
    source_prefix: u16,
    metric: u32,
    info: libc::c_ulong,
    flags: u32,
    interface: i32,
}

/// Adds a route that refuses everything to a network of IPv6.
fn refuse6(address: Ipv6Addr, prefix: u16) -> io::Result<()> {
    const RTF_REJECT: u32 = 0x0200;
    let route = Route6 {
        destination: address.octets(),
        destination_prefix: prefix,
        metric: 1,
        flags: u32::from(libc::RTF_UP) | RTF_REJECT,
        ..Route6::default()
    };
    add_route(libc::AF_INET6, &raw const route)
}

/// The request takes a structure of its family.
fn add_route<T>(family: libc::c_int, route: *const T) -> io::Result<()> {
    let fd = control(family)?;
    // SAFETY: the callers hand over the structure that this request reads for their family.
    match unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCADDRT, route) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
