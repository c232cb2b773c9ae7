//! The directories of one attempt: made fresh, removed whatever the job did to
//! them. It must never follow a symbolic link out of the directory it removes.

use crate::held::HeldDir;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The directories of an attempt.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    /// Everything of the attempt lies here.
    pub(crate) root: PathBuf,
    /// `GITHUB_WORKSPACE`.
    pub(crate) workspace: PathBuf,
    /// `RUNNER_TEMP`.
    pub(crate) temp: PathBuf,
    /// Where the files lie through which steps speak to the runner.
    pub(crate) files: PathBuf,
    /// `temp` and `files`, for what the runner writes there while the job runs.
    pub(crate) held_temp: HeldDir,
    pub(crate) held_files: HeldDir,
}

impl Workspace {
    /// The home directory of jobs that see the file system of an image; not made for others.
    pub(crate) fn home(&self) -> PathBuf {
        self.temp.join("_github_home")
    }

    /// Makes the home directory. Git of the image works as whoever the image names, on files of the runner.
    pub(crate) fn create_home(&self) -> io::Result<()> {
        fs::create_dir(self.home())?;
        fs::write(self.home().join(".gitconfig"), "[safe]\n\tdirectory = *\n")
    }

    /// Makes the directories; what an earlier process left under the same name is removed first.
    pub(crate) fn create(work_dir: &Path, name: &str) -> io::Result<Self> {
        let root = work_dir.join(name);
        match fs::create_dir(&root) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => fs::create_dir_all(&root)?,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                remove(&root)?;
                fs::create_dir(&root)?;
            }
            Err(e) => return Err(e),
        }
        let (workspace, temp) = (root.join("workspace"), root.join("_temp"));
        let files = temp.join("_runner_file_commands");
        let held = (|| {
            for directory in [&workspace, &temp, &files] {
                fs::create_dir(directory)?;
            }
            Ok::<_, io::Error>((HeldDir::open(&temp)?, HeldDir::open(&files)?))
        })();
        let (held_temp, held_files) = held.inspect_err(|_| {
            let _ = fs::remove_dir_all(&root);
        })?;
        Ok(Self { root, workspace, temp, files, held_temp, held_files })
    }
}

/// Removes a directory and everything in it, also where modes forbid it.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => {
            // Somebody removed write or search permission from a directory, or a process that was
            // just ended wrote one last file.
            open_up(path);
            match fs::remove_dir_all(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            }
        }
    }
}

/// Gives the owner all permissions on directories, from the top down. Links are not followed.
fn open_up(path: &Path) {
    let mut open = vec![path.to_path_buf()];
    while let Some(directory) = open.pop() {
        let Ok(meta) = fs::symlink_metadata(&directory) else { continue };
        if !meta.is_dir() {
            continue;
        }
        let mode = meta.permissions().mode();
        if mode & 0o700 != 0o700 {
            let _ = fs::set_permissions(&directory, fs::Permissions::from_mode(mode | 0o700));
        }
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        open.extend(
            entries
                .filter_map(Result::ok)
                .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
                .map(|e| e.path()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stops_the_removal_and_links_are_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("keep"), "x").unwrap();
        let work = tempfile::tempdir().unwrap();
        let made = Workspace::create(&work.path().join("deep/er"), "1.1.1").unwrap();
        let locked = made.workspace.join("a/b/c");
        fs::create_dir_all(&locked).unwrap();
        fs::write(locked.join("file"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), locked.join("link")).unwrap();
        for directory in [&locked, &made.workspace.join("a")] {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o000)).unwrap();
        }
        remove(&made.root).unwrap();
        assert!(!made.root.exists());
        assert!(outside.path().join("keep").exists());
        remove(&made.root).unwrap();
    }

    #[test]
    fn leftovers_of_an_earlier_try_are_gone() {
        let work = tempfile::tempdir().unwrap();
        let first = Workspace::create(work.path(), "1.1.1").unwrap();
        fs::write(first.workspace.join("old"), "x").unwrap();
        let second = Workspace::create(work.path(), "1.1.1").unwrap();
        assert!(!second.workspace.join("old").exists());
    }
}
