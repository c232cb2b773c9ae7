//! Unpacks a ZIP file that somebody else made, below one directory and nowhere
//! else: no absolute path, no `..`, no link, not even one that is in the way,
//! and no more than its directory of contents promised. It must never follow
//! a symbolic link.

use crate::error::{CliError, Result};
use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::path::Path;
use zip::ZipArchive;

/// What one archive may contain at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Files and directories.
    pub(crate) entries: usize,
    /// Bytes after unpacking.
    pub(crate) bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { entries: 1_000_000, bytes: 256 << 30 }
    }
}

/// Unpacks into `dir`, which is made; answers the number of files.
///
/// # Errors
/// If the archive is damaged, an entry would leave the directory, or it is larger than its bounds.
/// What was unpacked before stays.
pub(crate) fn unpack<R: Read + Seek>(archive: R, dir: &Path, bounds: Bounds) -> Result<u64> {
    let damaged = |e: &(dyn std::error::Error + 'static)| {
        CliError::machine("the artifact is not a ZIP file that can be read").because(e)
    };
    let mut zip = ZipArchive::new(archive).map_err(|e| damaged(&e))?;
    if zip.len() > bounds.entries {
        return Err(CliError::machine(format!("the archive has more than {} entries", bounds.entries)));
    }
    std::fs::create_dir_all(dir).map_err(|e| cannot_write(&dir.display().to_string(), &e))?;
    let directory = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let root = rustix::fs::open(dir, directory, Mode::empty())
        .map_err(|e| cannot_write(&dir.display().to_string(), &e.into()))?;
    let (mut files, mut left) = (0, bounds.bytes);
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).map_err(|e| damaged(&e))?;
        let name = entry.name().map_err(|e| damaged(&e))?.into_owned();
        let parts = parts(&name).ok_or_else(|| outside(&name))?;
        if entry.is_symlink() {
            return Err(outside(&name));
        }
        let (Some((last, above)), size) = (parts.split_last(), entry.size()) else { continue };
        let mut parent = root.try_clone().map_err(|e| cannot_write(&name, &e))?;
        for part in above {
            parent = below(&parent, part).map_err(|e| cannot_write(&name, &e))?;
        }
        if entry.is_dir() {
            below(&parent, last).map_err(|e| cannot_write(&name, &e))?;
            continue;
        }
        if size > left {
            return Err(CliError::machine(format!(
                "the archive unpacks to more than {} bytes",
                bounds.bytes
            )));
        }
        let mode = entry.unix_mode().map_or(0o644, |m| (m & 0o755) | 0o600);
        let mut file = create(&parent, last, mode).map_err(|e| cannot_write(&name, &e))?;
        // One byte more than promised shows that the promise was wrong.
        let copied = io::copy(&mut (&mut entry).take(size.saturating_add(1)), &mut file)
            .map_err(|e| cannot_write(&name, &e))?;
        if copied > size {
            return Err(CliError::machine(format!(
                "'{}' is longer than the archive says",
                crate::style::printable(&name)
            )));
        }
        left -= copied;
        files += 1;
    }
    Ok(files)
}

/// The segments of a name that stays below its directory.
fn parts(name: &str) -> Option<Vec<&str>> {
    if name.starts_with('/') || name.contains(['\0', '\\']) {
        return None;
    }
    let parts: Vec<_> = name.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    (!parts.contains(&"..")).then_some(parts)
}

/// Opens a directory below another, making it if needed; a link is none.
fn below(parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

fn create(parent: &OwnedFd, name: &str, mode: u32) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags | OFlags::NONBLOCK, Mode::from_raw_mode(mode))?.into())
}

fn outside(name: &str) -> CliError {
    CliError::machine(format!(
        "the archive is not unpacked: '{}' would leave the directory",
        crate::style::printable(name)
    ))
}

fn cannot_write(name: &str, e: &io::Error) -> CliError {
    CliError::machine(format!("'{}' cannot be written", crate::style::printable(name))).because(e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};
    use zip::write::{SimpleFileOptions, ZipWriter};

    fn archive(entries: &[(&str, &[u8])]) -> Cursor<Vec<u8>> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap()
    }

    #[test]
    fn files_and_directories() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("new/one");
        let zip = archive(&[("a.txt", b"hello"), ("d/e/f", b""), ("./g", b"x")]);
        assert_eq!(unpack(zip, &to, Bounds::default()).unwrap(), 3);
        assert_eq!(std::fs::read(to.join("a.txt")).unwrap(), b"hello");
        assert!(to.join("d/e/f").exists() && to.join("g").exists());
        // Again, over what is there.
        unpack(archive(&[("a.txt", b"hi")]), &to, Bounds::default()).unwrap();
        assert_eq!(std::fs::read(to.join("a.txt")).unwrap(), b"hi");
    }

    #[test]
    fn nothing_leaves_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("in");
        // The writer refuses some of these names: they are put in place afterwards, byte by byte.
        for bad in ["../evil", "/tmp/evil", "a/../../evil", "..\\evil", "a/.."] {
            let placeholder = "x".repeat(bad.len());
            let mut bytes = archive(&[(&placeholder, b"evil")]).into_inner();
            for at in 0..bytes.len() - bad.len() {
                if bytes[at..].starts_with(placeholder.as_bytes()) {
                    bytes[at..at + bad.len()].copy_from_slice(bad.as_bytes());
                }
            }
            assert!(unpack(Cursor::new(bytes), &to, Bounds::default()).is_err(), "{bad}");
        }
        assert!(!dir.path().join("evil").exists());
    }

    #[test]
    fn links_are_neither_made_nor_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (to, outside) = (dir.path().join("in"), dir.path().join("outside"));
        std::fs::create_dir_all(&to).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.add_symlink("link", "../outside", SimpleFileOptions::default()).unwrap();
        let zip = zip.finish().unwrap();
        assert!(unpack(zip, &to, Bounds::default()).is_err());
        assert!(std::fs::symlink_metadata(to.join("link")).is_err());

        std::os::unix::fs::symlink(&outside, to.join("link")).unwrap();
        assert!(unpack(archive(&[("link/evil", b"x")]), &to, Bounds::default()).is_err());
        std::os::unix::fs::symlink(outside.join("evil"), to.join("file")).unwrap();
        assert!(unpack(archive(&[("file", b"x")]), &to, Bounds::default()).is_err());
        assert!(!outside.join("evil").exists());
    }

    #[test]
    fn an_archive_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let zeros = vec![0; 1 << 20];
        let bomb = archive(&[("a", &zeros), ("b", &zeros)]);
        let bounds = Bounds { entries: 10, bytes: 3 << 19 };
        assert!(unpack(bomb.clone(), dir.path(), bounds).is_err());
        assert!(unpack(bomb, dir.path(), Bounds { entries: 1, bytes: u64::MAX }).is_err());
    }
}
