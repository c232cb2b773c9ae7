//! Files of the runner in places where a job may change names: directories are
//! held open, and links are never followed, so that what a job puts in the
//! place of a file or a directory leads the runner nowhere.

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{CStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory that stays the same one, whatever becomes of its name.
#[derive(Clone, Debug)]
pub(crate) struct HeldDir(Arc<OwnedFd>);

impl HeldDir {
    /// Opens a directory; its parents are trusted.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new(rustix::fs::openat(CWD, path, DIRECTORY | OFlags::RDONLY, Mode::empty())?)))
    }

    /// Writes a file of this directory afresh.
    pub(crate) fn write(&self, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        let fresh = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || rustix::fs::openat(&*self.0, name, fresh, Mode::from_bits_truncate(mode));
        let fd = match create() {
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(&*self.0, name, AtFlags::empty())?;
                create()?
            }
            created => created?,
        };
        File::from(fd).write_all(bytes)
    }

    /// Reads a regular file of this directory; a missing one is empty.
    ///
    /// # Errors
    /// `FileTooLarge` if there is more than `limit` allows.
    pub(crate) fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        // Whatever was put in its place (a pipe, a device) must not block.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&*self.0, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(Errno::LOOP | Errno::NXIO) => return Err(not_regular()),
            Err(e) => return Err(e.into()),
        };
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(not_regular());
        }
        if meta.size() > limit {
            let message = format!("it has {} bytes, {limit} are allowed", meta.size());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

fn not_regular() -> io::Error {
    io::Error::other("it is not a regular file any more")
}

/// Moves everything in `from`, a directory that no job has seen, into a directory of the workspace, which
/// is made if it is missing. `clean` if nothing else is to be there afterwards.
///
/// # Errors
/// If a part of the way is a link or a file, or something cannot be moved.
pub(crate) fn move_in(from: &Path, workspace: &Path, way: &[OsString], clean: bool) -> io::Result<()> {
    let mut to = rustix::fs::openat(CWD, workspace, DIRECTORY, Mode::empty())?;
    for name in way {
        let open = || rustix::fs::openat(&to, name, DIRECTORY, Mode::empty());
        to = match open() {
            Err(Errno::NOENT) => {
                rustix::fs::mkdirat(&to, name, Mode::from_bits_truncate(0o777))?;
                open()?
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let message = format!("'{}' is no directory of the workspace", name.to_string_lossy());
                return Err(io::Error::other(message));
            }
            opened => opened?,
        };
    }
    if clean {
        for (name, _) in entries(&to)? {
            remove(&to, &name)?;
        }
    }
    let from = rustix::fs::openat(CWD, from, DIRECTORY, Mode::empty())?;
    merge(&from, &to)
}

type Entries = Vec<(std::ffi::CString, FileType)>;

fn entries(dir: &OwnedFd) -> io::Result<Entries> {
    let mut found = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            found.push((name.to_owned(), FileType::from_raw_mode(stat.st_mode)));
        }
    }
    Ok(found)
}

fn merge(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    for (name, kind) in entries(from)? {
        match rustix::fs::renameat(from, &name, to, &name) {
            Ok(()) => {}
            Err(Errno::XDEV) => copy(from, to, &name, kind)?,
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::ISDIR | Errno::NOTDIR) => {
                if kind == FileType::Directory
                    && let Ok(inner) = rustix::fs::openat(to, &name, DIRECTORY, Mode::empty())
                {
                    merge(&rustix::fs::openat(from, &name, DIRECTORY, Mode::empty())?, &inner)?;
                } else {
                    remove(to, &name)?;
                    rustix::fs::renameat(from, &name, to, &name)?;
                }
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Where the workspace is a file system of its own.
fn copy(from: &OwnedFd, to: &OwnedFd, name: &CStr, kind: FileType) -> io::Result<()> {
    if kind == FileType::Directory {
        let made = rustix::fs::mkdirat(to, name, Mode::from_bits_truncate(0o777));
        if made == Err(Errno::EXIST) && rustix::fs::openat(to, name, DIRECTORY, Mode::empty()).is_err() {
            remove(to, name)?;
            rustix::fs::mkdirat(to, name, Mode::from_bits_truncate(0o777))?;
        } else if made != Err(Errno::EXIST) {
            made?;
        }
        let open = |dir: &OwnedFd| rustix::fs::openat(dir, name, DIRECTORY, Mode::empty());
        let (from, to) = (open(from)?, open(to)?);
        for (name, kind) in entries(&from)? {
            copy(&from, &to, &name, kind)?;
        }
        return Ok(());
    }
    if rustix::fs::statat(to, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        remove(to, name)?;
    }
    if kind == FileType::Symlink {
        let target = rustix::fs::readlinkat(from, name, Vec::new())?;
        return Ok(rustix::fs::symlinkat(target, to, name)?);
    }
    let source =
        rustix::fs::openat(from, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let mut source = File::from(source);
    let mode = Mode::from_raw_mode(source.metadata()?.mode() & 0o777);
    let fresh = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut target = File::from(rustix::fs::openat(to, name, fresh, mode)?);
    io::copy(&mut source, &mut target).map(|_| ())
}

/// Removes an entry and what is in it. Links are removed, not followed.
fn remove(dir: &OwnedFd, name: &CStr) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {
            let name = name.to_str().map_err(io::Error::other);
            let own = PathBuf::from(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()));
            crate::workspace::remove(&own.join(name?))
        }
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_lead_nowhere() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "keep").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("own");
        fs::create_dir(&own).unwrap();
        let held = HeldDir::open(&own).unwrap();
        symlink(outside.path().join("secret"), own.join("a")).unwrap();
        assert!(held.read("a", 10).unwrap_err().to_string().contains("regular"));
        held.write("a", b"mine", 0o644).unwrap();
        assert_eq!(held.read("a", 10).unwrap(), b"mine");
        assert_eq!(held.read("a", 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(held.read("none", 3).unwrap(), b"");
        rustix::fs::mknodat(CWD, own.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(held.read("pipe", 3).is_err());
        // The whole directory is replaced.
        fs::rename(&own, dir.path().join("elsewhere")).unwrap();
        symlink(outside.path(), &own).unwrap();
        held.write("secret", b"mine", 0o644).unwrap();
        assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"keep");
        assert_eq!(fs::read(dir.path().join("elsewhere/secret")).unwrap(), b"mine");
    }

    /// A tree with a file, a directory with a file, and a link.
    fn fresh(dir: &Path) -> PathBuf {
        let from = dir.join("from");
        fs::create_dir_all(from.join("sub/deep")).unwrap();
        fs::write(from.join("file"), "new").unwrap();
        fs::write(from.join("sub/deep/file"), "new").unwrap();
        symlink("file", from.join("link")).unwrap();
        from
    }

    #[test]
    fn a_tree_is_moved_beside_or_instead_of_what_is_there() {
        for clean in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let from = fresh(dir.path());
            let workspace = dir.path().join("workspace");
            let target = workspace.join("a/b");
            let outside = dir.path().join("outside");
            fs::create_dir(&outside).unwrap();
            fs::write(outside.join("file"), "keep").unwrap();
            fs::create_dir_all(target.join("sub")).unwrap();
            fs::write(target.join("sub/old"), "old").unwrap();
            fs::write(target.join("link"), "old").unwrap();
            // Both would lead out.
            symlink(&outside, target.join("sub/deep")).unwrap();
            fs::create_dir(target.join("file")).unwrap();
            symlink(&outside, target.join("file/x")).unwrap();
            move_in(&from, &workspace, &["a".into(), "b".into()], clean).unwrap();
            assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "new");
            assert_eq!(fs::read_to_string(target.join("link")).unwrap(), "new");
            assert_eq!(fs::read_to_string(target.join("sub/deep/file")).unwrap(), "new");
            assert_eq!(target.join("sub/old").exists(), !clean);
            assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "keep");
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_link_on_the_way_is_no_way() {
        let dir = tempfile::tempdir().unwrap();
        let from = fresh(dir.path());
        let workspace = dir.path().join("workspace");
        fs::create_dir_all(&workspace).unwrap();
        symlink(dir.path(), workspace.join("a")).unwrap();
        let error = move_in(&from, &workspace, &["a".into()], false).unwrap_err();
        assert!(error.to_string().contains("no directory of the workspace"));
        assert!(!dir.path().join("file").exists());
    }

    #[test]
    fn a_tree_is_copied_where_it_cannot_be_moved() {
        let dir = tempfile::tempdir().unwrap();
        let from = fresh(dir.path());
        let to = dir.path().join("to");
        fs::create_dir(&to).unwrap();
        let open = |path: &Path| rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..2 {
            for (name, kind) in entries(&open(&from)).unwrap() {
                copy(&open(&from), &open(&to), &name, kind).unwrap();
            }
        }
        assert_eq!(fs::read_to_string(to.join("link")).unwrap(), "new");
        assert_eq!(fs::read_to_string(to.join("sub/deep/file")).unwrap(), "new");
    }
}
