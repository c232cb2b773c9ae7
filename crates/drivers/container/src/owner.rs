//! Giving files back: whatever user a container wrote them as, they belong to
//! the runner's user afterwards, so that the runner can remove them. It must
//! never follow a link, and never touch anything outside the directories of
//! the attempt.

use crate::group::ContainerGroup;
use fleetfoot_driver::{DriverError, DriverErrorKind};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Directories deeper than this are left; nobody makes them by accident.
const DEEPEST: u32 = 1000;

/// Gives back everything in workspace and temporary directory. `image` is any image that is there.
pub(crate) async fn give_back(group: &ContainerGroup, image: Option<&str>) -> Result<(), DriverError> {
    let cell = &group.request.cell;
    let directories = vec![cell.workspace.clone(), cell.temp.clone()];
    let me = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let look = directories.clone();
    let left = tokio::task::spawn_blocking(move || look.iter().map(|d| own(d, me)).sum::<usize>()).await;
    let left = left.map_err(|_| DriverError::new(DriverErrorKind::Other, "the runner is stopping"))?;
    if left == 0 {
        return Ok(());
    }
    // We may not: somebody who may is needed. Root inside is, with the ids that it sees.
    let failed = |why: &str| {
        let paths: Vec<String> = directories.iter().map(|d| d.display().to_string()).collect();
        let message = format!(
            "{left} files of the job belong to another user and cannot be given back ({why}); next: sudo chown -R \
             {}:{} {}",
            me.0,
            me.1,
            paths.join(" ")
        );
        DriverError::new(DriverErrorKind::Denied, message)
    };
    let Some(image) = image else { return Err(failed("there is no image to do it with")) };
    let rootless = group.shared.client.about().await?.rootless;
    let (uid, gid) = if rootless { (0, 0) } else { me };
    let existing: Vec<PathBuf> = directories.iter().filter(|d| d.exists()).cloned().collect();
    match Box::pin(group.run_owner(image, uid, gid, &existing)).await {
        Ok(0) => Ok(()),
        Ok(code) => Err(failed(&format!("the helper ended with code {code}"))),
        Err(e) => Err(failed(&e.to_string())),
    }
}

/// Gives everything below to a user; answers how many files refused.
fn own(path: &Path, me: (u32, u32)) -> usize {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(directory) => {
            own_one(rustix::fs::CWD, path.as_os_str().as_encoded_bytes(), me) + own_below(directory, me, 0)
        }
        Err(rustix::io::Errno::NOENT) => 0,
        Err(_) => 1,
    }
}

fn own_one(at: BorrowedFd<'_>, name: &[u8], me: (u32, u32)) -> usize {
    let Ok(found) = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) else { return 0 };
    // The group alone is no reason: a directory may hand its own down.
    if found.st_uid == me.0 {
        return 0;
    }
    let (uid, gid) = (rustix::fs::Uid::from_raw(me.0), rustix::fs::Gid::from_raw(me.1));
    let done = rustix::fs::chownat(at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
    usize::from(done.is_err())
}

fn own_below(directory: OwnedFd, me: (u32, u32), depth: u32) -> usize {
    let Ok(entries) = Dir::read_from(directory.as_fd()) else { return 1 };
    let mut left = 0;
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        left += own_one(directory.as_fd(), name, me);
        if !matches!(entry.file_type(), FileType::Directory | FileType::Unknown) || depth >= DEEPEST {
            continue;
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        match rustix::fs::openat(directory.as_fd(), name, flags, Mode::empty()) {
            Ok(below) => left += own_below(below, me, depth + 1),
            Err(rustix::io::Errno::ACCESS) => left += 1,
            // Not a directory after all, or gone.
            Err(_) => {}
        }
    }
    left
}
