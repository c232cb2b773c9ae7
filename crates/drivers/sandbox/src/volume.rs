//! A workspace with a size limit: a file system of its own in a sparse file,
//! mounted over the workspace on the host, because the engine works there too.
//! Needs root. (Project quotas would do without a mount, but few file systems
//! are mounted with them; memory is too small for a workspace.)
//!
//! This is the one thing that outlives a runner that is killed: its next start
//! sweeps it, found by the name of the image, which carries the runner's tag
//! and the attempt. It must never mount over a directory that has content.

#![expect(unsafe_code, reason = "ioctl of loop devices and mount have no safe form")]

use crate::sys;
use fleetfoot_driver::{DriverError, DriverErrorKind};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Smaller ones have no room for the file system itself.
const LEAST_BYTES: u64 = 4 << 20;

/// A mounted volume; unmounted and deleted when dropped.
#[derive(Debug)]
pub(crate) struct Volume {
    target: PathBuf,
    image: PathBuf,
    is_mounted: bool,
}

/// Name of the image of an attempt.
pub(crate) fn image_name(tag: &str, attempt: &str) -> String {
    format!("fleetfoot-{tag}-{attempt}.volume")
}

impl Volume {
    /// Makes and mounts a volume of `bytes` over the empty directory `target`. Blocks for some tens of
    /// milliseconds.
    pub(crate) fn mount(target: &Path, name: &str, bytes: u64) -> Result<Self, DriverError> {
        let say = |what: &str| format!("cannot limit the size of the workspace: {what}");
        if !rustix::process::geteuid().is_root() {
            let message = say("only a runner that is root can; start it as root, or set no limit");
            return Err(DriverError::new(DriverErrorKind::Unsupported, message));
        }
        let mut entries = fs::read_dir(target).map_err(|e| DriverError::io(say("reading it"), e))?;
        if entries.next().is_some() {
            let message = say(&format!("'{}' is not empty", target.display()));
            return Err(DriverError::new(DriverErrorKind::Other, message));
        }
        let parent = target.parent().unwrap_or(target);
        let mut volume = Self { target: target.into(), image: parent.join(name), is_mounted: false };
        make_image(&volume.image, bytes.max(LEAST_BYTES)).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => DriverError::new(
                DriverErrorKind::Unsupported,
                say("there is no mkfs.ext4; install e2fsprogs"),
            ),
            _ => DriverError::io(say("making its file system"), e),
        })?;
        let device =
            attach_loop(&volume.image).map_err(|e| DriverError::io(say("finding a loop device"), e))?;
        sys::mount_device(&device.1, c"ext4", target, libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOATIME)
            .map_err(|e| DriverError::io(say("mounting it"), e))?;
        volume.is_mounted = true;
        let _ = fs::remove_dir(target.join("lost+found"));
        Ok(volume)
    }

    /// Unmounts and deletes it.
    pub(crate) fn remove(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_mounted) {
            match sys::unmount(&self.target) {
                // Somebody else unmounted it, or the directory is gone.
                Err(e) if !matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => return Err(e),
                _ => {}
            }
        }
        match fs::remove_file(&self.image) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::error!(%error, target = %self.target.display(), "a volume stays behind");
        }
    }
}

/// Removes the volumes with images of this name, wherever they are mounted.
pub(crate) fn sweep(name: &str) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    for (source, target) in mounts.lines().filter_map(parse_mount) {
        let Some(number) = source.strip_prefix("/dev/loop") else { continue };
        let backing = fs::read_to_string(format!("/sys/block/loop{number}/loop/backing_file"));
        let Ok(backing) = backing else { continue };
        let image = PathBuf::from(backing.trim_end().trim_end_matches(" (deleted)"));
        if image.file_name().is_some_and(|n| n == name) {
            Volume { target, image, is_mounted: true }.remove()?;
        }
    }
    Ok(())
}

/// Source and place of a line of `mountinfo`.
fn parse_mount(line: &str) -> Option<(&str, PathBuf)> {
    let (front, back) = line.split_once(" - ")?;
    let source = back.split(' ').nth(1)?;
    let place = front.split(' ').nth(4)?;
    // Blanks and the like are written as three octal digits.
    let mut plain = Vec::new();
    let mut bytes = place.as_bytes();
    while let [first, rest @ ..] = bytes {
        if let ([b'\\', ..], Some(code)) = (bytes, rest.get(..3).and_then(|d| std::str::from_utf8(d).ok()))
            && let Ok(byte) = u8::from_str_radix(code, 8)
        {
            plain.push(byte);
            bytes = &rest[3..];
        } else {
            plain.push(*first);
            bytes = rest;
        }
    }
    Some((source, PathBuf::from(std::ffi::OsString::from(String::from_utf8(plain).ok()?))))
}

fn make_image(path: &Path, bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_len(bytes)?;
    let made = Command::new("mkfs.ext4")
        // No journal: a workspace need not survive a crash of the machine.
        .args(["-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "nodiscard,lazy_itable_init=1"])
        .arg(path)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let result = match made {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(io::Error::other(format!("mkfs.ext4 ended with {status}"))),
        Err(e) => Err(e),
    };
    result.inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    places: [u64; 5],
    number: u32,
    encryption: [u32; 2],
    flags: u32,
    names: [[u8; 32]; 5],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// Ties the image to a free loop device, which frees itself when it is no longer mounted.
fn attach_loop(image: &Path) -> io::Result<(File, PathBuf)> {
    const GET_FREE: libc::c_ulong = 0x4c82;
    const CONFIGURE: libc::c_ulong = 0x4c0a;
    const AUTOCLEAR: u32 = 4;
    let backing = OpenOptions::new().read(true).write(true).open(image)?;
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    for _ in 0..100 {
        // SAFETY: this request takes no argument.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE) };
        if number == -1 {
            return Err(io::Error::last_os_error());
        }
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = OpenOptions::new().read(true).write(true).open(&path)?;
        let config = LoopConfig {
            fd: backing.as_raw_fd().cast_unsigned(),
            block_size: 0,
            places: [0; 5],
            number: 0,
            encryption: [0; 2],
            flags: AUTOCLEAR,
            names: [[0; 32]; 5],
            init: [0; 2],
            reserved: [0; 8],
        };
        // SAFETY: the structure that this request reads, of its size (304 bytes).
        if unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE, &raw const config) } == 0 {
            return Ok((device, path));
        }
        let error = io::Error::last_os_error();
        // Somebody else was faster.
        if error.raw_os_error() != Some(libc::EBUSY) {
            return Err(error);
        }
    }
    Err(io::Error::from_raw_os_error(libc::EBUSY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_has_the_size_of_the_kernel() {
        assert_eq!(std::mem::size_of::<LoopConfig>(), 304);
    }

    #[test]
    fn places_of_mounts() {
        let line = r"36 35 7:0 / /a\040b/c rw - ext4 /dev/loop0 rw";
        assert_eq!(parse_mount(line), Some(("/dev/loop0", PathBuf::from("/a b/c"))));
        assert_eq!(parse_mount("nonsense"), None);
    }
}
