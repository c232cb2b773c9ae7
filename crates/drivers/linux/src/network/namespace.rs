//! Network namespaces that the runner makes itself, without a process that
//! holds them: they are gone with their descriptor. It must never leave a
//! thread of the runner in one.

#![expect(unsafe_code, reason = "namespaces and devices have no safe form")]

use super::forward::Listen;
use fleetfoot_driver::DriverError;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A network namespace that belongs to the user namespace of the runner.
#[derive(Debug)]
pub struct NetNamespace(OwnedFd);

impl NetNamespace {
    /// A new one with loopback only, in which `prepare` runs before anybody else can be there.
    ///
    /// # Errors
    /// If the runner may not make one, or those of `prepare`.
    pub fn new(prepare: impl FnOnce() -> io::Result<()> + Send) -> io::Result<Self> {
        on_a_thread(|| {
            // SAFETY: a plain number; only this thread, which ends soon, changes its network.
            check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
            loopback_up()?;
            prepare()?;
            Ok(Self(std::fs::File::open("/proc/thread-self/ns/net")?.into()))
        })
    }

    /// The descriptor that keeps it.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Listen for NetNamespace {
    fn listen(&self, port: u16) -> Result<Vec<OwnedFd>, DriverError> {
        let listening = on_a_thread(|| {
            // SAFETY: a descriptor of ours; only this thread, which ends soon, changes its network.
            check(unsafe { libc::setns(self.0.as_raw_fd(), libc::CLONE_NEWNET) })?;
            listen_on_loopback(port)
        });
        let sockets = listening
            .map_err(|e| DriverError::io(format!("port {port} of the cell cannot be listened on"), e))?;
        Ok(sockets.into_iter().map(OwnedFd::from).collect())
    }
}

/// Sockets on the loopback of the network of the calling thread; without IPv6 one is enough.
///
/// # Errors
/// If the port is taken.
pub fn listen_on_loopback(port: u16) -> io::Result<Vec<TcpListener>> {
    let mut sockets = vec![TcpListener::bind((Ipv4Addr::LOCALHOST, port))?];
    sockets.extend(TcpListener::bind((Ipv6Addr::LOCALHOST, port)));
    Ok(sockets)
}

/// A thread that changes its namespaces must not serve anybody else afterwards.
fn on_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("fleetfoot-net".into()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread of a network failed")))
    })
}

fn check(rc: libc::c_int) -> io::Result<libc::c_int> {
    if rc == -1 { Err(io::Error::last_os_error()) } else { Ok(rc) }
}

/// A socket that only serves requests about devices and routes.
pub(super) fn control(family: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Brings the loopback device of a new network namespace up.
///
/// # Errors
/// If this thread may not.
pub fn loopback_up() -> io::Result<()> {
    let fd = control(libc::AF_INET)?;
    // SAFETY: a plain structure, for which all zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the structure that this request reads, owned by us.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }).map(drop)
}
