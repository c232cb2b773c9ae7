//! The private network of a cell: a user-mode network stack (`slirp4netns`)
//! outside, tied to the namespace inside. It must never outlive its cell, and
//! never forward to the host's own loopback.
//!
//! Private ranges and metadata addresses are refused by routes inside the
//! namespace, which nobody in the cell has the right to change.

#![expect(unsafe_code, reason = "a descriptor that the program inherits")]

use std::io::{self, Read};
use std::net::Ipv6Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The program.
const PROGRAM: &str = "slirp4netns";
/// How long it may take to be ready.
const PATIENCE: Duration = Duration::from_secs(5);
/// Its name server, in the network of its device (10.0.2.0/24).
pub(crate) const NAME_SERVER: &str = "10.0.2.3";
/// Networks that a job cannot reach, `(address, prefix length)`: private, shared, link-local with the
/// metadata addresses of clouds, benchmarking.
pub(crate) const REFUSED: [([u8; 4], u32); 7] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
];

/// The same for IPv6: unspecified and mapped addresses, local translation, 6to4 and Teredo (which carry
/// addresses of IPv4 that the routes above do not see), unique local, site-local, and link-local ones
/// beyond the device itself.
pub(crate) const REFUSED6: [(Ipv6Addr, u16); 8] = [
    (Ipv6Addr::UNSPECIFIED, 96),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10),
];

/// Whether the host has a way out over IPv6. Without one, jobs would only wait for answers that never come.
fn has_ipv6() -> bool {
    let routes = std::fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    routes.lines().any(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        matches!(fields.as_slice(), [address, "00", .., device]
            if address.bytes().all(|b| b == b'0') && *device != "lo")
    })
}

/// A running network stack; ended when dropped, and by itself when the runner dies.
#[derive(Debug)]
pub(crate) struct Network(Child);

/// Where the program is, if it is installed.
pub(crate) fn program() -> Option<PathBuf> {
    ["/usr/bin", "/usr/local/bin", "/bin", "/usr/sbin"]
        .iter()
        .map(|d| Path::new(d).join(PROGRAM))
        .find(|p| rustix::fs::access(p, rustix::fs::Access::EXEC_OK).is_ok())
}

impl Network {
    /// Connects the network namespace, which belongs to the user namespace, and waits until it works.
    pub(crate) fn start(user: &OwnedFd, net: &OwnedFd) -> io::Result<Self> {
        let program = program().ok_or(io::ErrorKind::NotFound)?;
        let of = |fd: &OwnedFd| format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
        let (mut ready, ready_write) = std::io::pipe()?;
        let mut command = Command::new(program);
        command
            .args(["--configure", "--mtu=65520", "--disable-host-loopback", "--netns-type=path"])
            // The pipe of its standard input closes with us. It writes text to 1 and 2, so it needs one more.
            .args(has_ipv6().then_some("--enable-ipv6"))
            .args(["--exit-fd=0".to_owned(), format!("--ready-fd={}", ready_write.as_raw_fd())])
            // It reads what a job sends: a hole in it must not be a hole in the host.
            .args(["--enable-sandbox", "--enable-seccomp"])
            .arg(format!("--userns-path={}", of(user)))
            .args([of(net).as_str(), "tap0"])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/");
        let inherited = ready_write.as_raw_fd();
        // SAFETY: one async-signal-safe call on a descriptor that is open until the child was made.
        unsafe {
            command.pre_exec(move || match libc::fcntl(inherited, libc::F_SETFD, 0) {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        let network = Self(command.spawn()?);
        drop(ready_write);
        let mut poll = [rustix::event::PollFd::new(&ready, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        if rustix::event::poll(&mut poll, Some(&patience))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut byte = [0];
        if ready.read(&mut byte)? == 0 {
            return Err(io::Error::other(format!("{PROGRAM} ended: is /dev/net/tun accessible?")));
        }
        Ok(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
