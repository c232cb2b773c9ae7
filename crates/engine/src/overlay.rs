//! Copies a working tree as it is, uncommitted changes included, for runs on
//! the machine where somebody works on it. It only reads the source.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Copies the listed files (NUL-separated paths as `git ls-files -z` prints
/// them), or everything if there is no list.
///
/// # Errors
/// The first file that cannot be copied.
pub(crate) fn copy(from: &Path, to: &Path, files: Option<&[u8]>) -> io::Result<()> {
    let Some(files) = files else { return copy_all(from, to) };
    for name in files.split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let relative = Path::new(OsStr::from_bytes(name));
        let source = from.join(relative);
        // A tracked file that was deleted is listed too.
        let Ok(meta) = fs::symlink_metadata(&source) else { continue };
        let target = to.join(relative);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        if meta.is_dir() {
            // A submodule or a repository inside the repository.
            fs::create_dir_all(&target)?;
            copy_all(&source, &target)?;
        } else {
            copy_one(&source, &target, &meta)?;
        }
    }
    Ok(())
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    let end = to.to_path_buf();
    let mut open = vec![(from.to_path_buf(), to.to_path_buf())];
    while let Some((from, to)) = open.pop() {
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            let meta = entry.metadata()?;
            if end.starts_with(entry.path()) {
                // The copy itself lies in what is copied.
                continue;
            }
            if meta.is_dir() {
                fs::create_dir_all(&target)?;
                open.push((entry.path(), target));
            } else {
                copy_one(&entry.path(), &target, &meta)?;
            }
        }
    }
    Ok(())
}

/// Links stay links; pipes, sockets and devices are left out.
fn copy_one(source: &Path, target: &Path, meta: &fs::Metadata) -> io::Result<()> {
    if meta.is_symlink() {
        let _ = fs::remove_file(target);
        std::os::unix::fs::symlink(fs::read_link(source)?, target)
    } else if meta.is_file() {
        fs::copy(source, target).map(|_| ())
    } else {
        Ok(())
    }
}
