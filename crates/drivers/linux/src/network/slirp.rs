//! The way out of a private network: a network stack in user mode
//! (`slirp4netns`) on the host, tied to a device in the namespace. It must never
//! outlive what it serves, never forward to the host's own loopback, and never
//! change a mount of the host.

#![expect(unsafe_code, reason = "what a child does before its program runs")]

use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The program.
const PROGRAM: &str = "slirp4netns";
/// How long it may take to be ready.
const PATIENCE: Duration = Duration::from_secs(5);
/// Its name server, in the network of its device (10.0.2.0/24).
pub const NAME_SERVER: &str = "10.0.2.3";
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
pub struct Slirp(Child);

/// Where the program is, if it is installed.
#[must_use]
pub fn program() -> Option<PathBuf> {
    ["/usr/bin", "/usr/local/bin", "/bin", "/usr/sbin"]
        .iter()
        .map(|d| Path::new(d).join(PROGRAM))
        .find(|p| rustix::fs::access(p, rustix::fs::Access::EXEC_OK).is_ok())
}

impl Slirp {
    /// Connects the network namespace, which belongs to the user namespace (absent: our own), and waits
    /// until it works.
    ///
    /// # Errors
    /// If the program is not there, or ends, or is not ready in time.
    pub fn start(user: Option<BorrowedFd<'_>>, net: BorrowedFd<'_>) -> io::Result<Self> {
        let program = program().ok_or(io::ErrorKind::NotFound)?;
        let of = |fd: BorrowedFd<'_>| format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
        let (mut ready, ready_write) = std::io::pipe()?;
        let mut command = Command::new(program);
        command
            .args(["--configure", "--mtu=65520", "--disable-host-loopback", "--netns-type=path"])
            // The pipe of its standard input closes with us. It writes text to 1 and 2, so it needs one more.
            .args(has_ipv6().then_some("--enable-ipv6"))
            .args(["--exit-fd=0".to_owned(), format!("--ready-fd={}", ready_write.as_raw_fd())])
            // It reads what a job sends: a hole in it must not be a hole in the host.
            .args(["--enable-sandbox", "--enable-seccomp"])
            .args(user.map(|fd| format!("--userns-path={}", of(fd))))
            .args([of(net).as_str(), "tap0"])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/");
        let inherited = ready_write.as_raw_fd();
        // SAFETY: async-signal-safe calls on a descriptor that is open until the child was made.
        unsafe { command.pre_exec(move || before_program(inherited)) };
        let stack = Self(command.spawn()?);
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
        Ok(stack)
    }
}

/// The life of the child up to its program.
fn before_program(inherited: RawFd) -> io::Result<()> {
    // SAFETY: system calls on numbers and constant strings.
    unsafe {
        if libc::fcntl(inherited, libc::F_SETFD, 0) == -1 {
            return Err(io::Error::last_os_error());
        }
        // With `--enable-sandbox` it lets go of everything that is mounted. Where mounts are shared and it
        // runs as root, those of the host would follow: it gets a tree that learns from the host and
        // teaches nothing. An ordinary user may not do this, and need not: its user namespace does.
        if libc::geteuid() == 0 && libc::unshare(libc::CLONE_NEWNS) == 0 {
            let (none, flags) = (std::ptr::null(), libc::MS_REC | libc::MS_SLAVE);
            if libc::mount(none, c"/".as_ptr(), none, flags, none.cast()) == -1 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

impl Drop for Slirp {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
