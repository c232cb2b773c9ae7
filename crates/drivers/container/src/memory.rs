//! Whether the kernel ended a process of a container for memory: read from
//! the control group of its first process. It must never fail because the
//! container is gone.

use fleetfoot_driver_linux::procfs::keyed;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts processes that were ended for memory.
#[derive(Debug, Default)]
pub(crate) struct OomCounter {
    file: Option<PathBuf>,
    seen: AtomicU64,
}

impl OomCounter {
    /// The counter of the container whose first process this is, by its id on this side.
    pub(crate) fn of(pid: i32) -> Self {
        let read = |p: &str| std::fs::read_to_string(p).unwrap_or_default();
        let groups = read(&format!("/proc/{pid}/cgroup"));
        let mounts = read("/proc/self/mountinfo");
        let file = file_of(&groups, &mounts).filter(|f| f.exists());
        let counter = Self { file, seen: AtomicU64::new(0) };
        let _ = counter.has_grown();
        counter
    }

    /// Whether there were more since the last look.
    pub(crate) fn has_grown(&self) -> bool {
        let Some(file) = &self.file else { return false };
        let now = keyed(&std::fs::read_to_string(file).unwrap_or_default(), "oom_kill");
        now > self.seen.fetch_max(now, Ordering::Relaxed)
    }
}

fn file_of(groups: &str, mounts: &str) -> Option<PathBuf> {
    let group = |wanted: &str| {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            controllers.split(',').any(|c| c == wanted).then_some(path)
        })
    };
    let mount = |kind: &str, option: Option<&str>| {
        mounts.lines().find_map(|line| {
            let (front, back) = line.split_once(" - ")?;
            let mut back = back.split(' ');
            let fits = back.next()? == kind
                && option.is_none_or(|o| back.nth(1).is_some_and(|all| all.split(',').any(|x| x == o)));
            fits.then(|| front.split(' ').nth(4))?
        })
    };
    let (root, group, name) = match group("memory") {
        Some(group) => (mount("cgroup", Some("memory"))?, group, "memory.oom_control"),
        None => (mount("cgroup2", None)?, group("")?, "memory.events"),
    };
    Some(Path::new(root).join(group.trim_start_matches('/')).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_file_in_both_worlds() {
        let v1 = "30 29 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                  32 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let got = file_of("4:memory:/docker/ab\n0::/docker/ab\n", v1).unwrap();
        assert_eq!(got, Path::new("/sys/fs/cgroup/memory/docker/ab/memory.oom_control"));
        let v2 = "32 29 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let got = file_of("0::/system.slice/docker-ab.scope\n", v2).unwrap();
        assert_eq!(got, Path::new("/sys/fs/cgroup/system.slice/docker-ab.scope/memory.events"));
        assert_eq!(file_of("", ""), None);
    }
}
