//! What is done to groups through their files: making, writing, listing,
//! ending, removing. It must never follow a name out of the tree it was given.

use super::Version;
use crate::procfs::{self, keyed};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Another driver with our tag may have removed the empty group of the runner meanwhile.
pub(super) fn make_below(base: &Path, path: &Path) -> io::Result<()> {
    match make(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => make(base).and_then(|()| make(path)),
        other => other,
    }
}

/// Group files take one write and must not be created or truncated.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(())
}

fn groups_below(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .map(|e| e.path())
        .collect()
}

/// Finds groups by name, not looking inside those found.
pub(super) fn find_groups(path: &Path, name: &str, depth: u32, found: &mut Vec<PathBuf>) {
    for group in groups_below(path) {
        if group.file_name().is_some_and(|n| n == name) {
            found.push(group);
        } else if depth > 0 {
            find_groups(&group, name, depth - 1, found);
        }
    }
}

fn pids_in(path: &Path, found: &mut Vec<i32>) {
    let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    found.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()));
    for group in groups_below(path) {
        pids_in(&group, found);
    }
}

pub(super) fn end_tree(version: Version, path: &Path) {
    if version == Version::V2 && write(&path.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    // No new process may appear while we walk: v1 refuses forks, old v2 kernels hold everything still.
    if version == Version::V1 {
        forbid_forks(path);
    } else {
        let _ = write(&path.join("cgroup.freeze"), "1");
    }
    for _ in 0..100 {
        let mut pids = Vec::new();
        pids_in(path, &mut pids);
        pids.retain(|pid| procfs::stat(*pid).is_some_and(|s| !s.is_dead()));
        if pids.is_empty() {
            break;
        }
        for pid in pids.into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    if version == Version::V2 {
        let _ = write(&path.join("cgroup.freeze"), "0");
    }
}

fn forbid_forks(path: &Path) {
    let _ = write(&path.join("pids.max"), "0");
    for group in groups_below(path) {
        forbid_forks(&group);
    }
}

pub(super) fn is_populated(path: &Path) -> bool {
    if let Ok(events) = fs::read_to_string(path.join("cgroup.events")) {
        return keyed(&events, "populated") != 0;
    }
    let mut pids = Vec::new();
    pids_in(path, &mut pids);
    pids.into_iter().any(|pid| procfs::stat(pid).is_some_and(|s| !s.is_dead()))
}

/// Waits, at most two seconds, until no process lives in the group.
pub(super) fn wait_empty(path: &Path) {
    for _ in 0..400 {
        if !is_populated(path) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Removes a group and those below it (a job that runs as root may have made some).
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    for tries in 0.. {
        match fs::remove_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            // Groups below, or a process that has just ended and is still leaving. Listing a group is
            // dear (the kernel makes each of its files up), so only now.
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy && tries < 50 => {
                let below = groups_below(path);
                below.iter().try_for_each(|group| remove_tree(group))?;
                if below.is_empty() {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            other => return other,
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn groups_of_a_runner_are_found_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for path in
            ["a.slice/b.service/fleetfoot-x/1-1-1", "fleetfoot-x", "fleetfoot-xy", "1/2/3/4/fleetfoot-x"]
        {
            fs::create_dir_all(at(path)).unwrap();
        }
        let mut found = Vec::new();
        find_groups(dir.path(), "fleetfoot-x", 3, &mut found);
        found.sort();
        assert_eq!(found, [at("a.slice/b.service/fleetfoot-x"), at("fleetfoot-x")], "no deeper than asked");
    }

    #[test]
    fn who_is_in_a_group() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("c1");
        fs::create_dir(&below).unwrap();
        assert!(!is_populated(dir.path()));
        // Version 1: ourselves are alive, and no process has this number.
        fs::write(below.join("cgroup.procs"), format!("{}\n", i32::MAX)).unwrap();
        assert!(!is_populated(dir.path()), "who is listed may be gone");
        fs::write(below.join("cgroup.procs"), format!("{}\n{}\n", i32::MAX, std::process::id())).unwrap();
        assert!(is_populated(dir.path()));
        // Version 2 says it in a file, which is believed.
        fs::write(dir.path().join("cgroup.events"), "populated 0\nfrozen 0\n").unwrap();
        assert!(!is_populated(dir.path()));
    }

    #[test]
    fn files_are_written_but_never_made() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(write(&dir.path().join("x"), "1").unwrap_err().kind(), io::ErrorKind::NotFound);
        let group = dir.path().join("base/cell");
        make_below(&dir.path().join("base"), &group).unwrap();
        make_below(&dir.path().join("base"), &group).unwrap();
        assert!(group.is_dir(), "the base was made again");
        remove_tree(&group).unwrap();
        remove_tree(&group).unwrap();
        assert!(!group.exists());
    }
}
