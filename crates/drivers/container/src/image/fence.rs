//! The limit of processes of a build: engines have no word for it, but they
//! put the containers of a build into the control group that they are told. It
//! must never outlive its build.

use crate::client::About;
use crate::group::ContainerGroup;
use crate::names;
use std::path::{Path, PathBuf};

/// A control group that holds the steps of one build.
pub(super) struct Fence {
    parent: String,
    /// Where control groups are mounted.
    roots: Vec<PathBuf>,
}

impl Fence {
    /// For a build of this group. Without one the limit does not hold, which the log of the job says.
    pub(super) fn make(group: &ContainerGroup, about: &About) -> Option<Self> {
        let shared = &group.shared;
        let pids = group.request.cell.limits.pids.or(shared.options.default_pids)?;
        let parent =
            format!("/{}-build-{}", names::base(&shared.tag, group.request.cell.attempt), shared.next());
        let refused = |why: &str| Err(std::io::Error::new(std::io::ErrorKind::Unsupported, why));
        let made = if !about.grouped() {
            refused("control groups v1 are root's, and the engine runs without")
        } else if about.cgroup_driver != "cgroupfs" {
            refused("the engine makes control groups through systemd")
        } else {
            Self::at(parent, pids, &std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
        };
        match made {
            Ok(made) => Some(made),
            Err(error) => {
                (group.request.notes)(&format!(
                    "the limit of processes does not hold in this build: {error}"
                ));
                None
            }
        }
    }

    fn at(parent: String, pids: u64, mountinfo: &str) -> std::io::Result<Self> {
        let (roots, place) = places(mountinfo);
        let missing = || std::io::Error::new(std::io::ErrorKind::NotFound, "no control groups for processes");
        let (root, unified) = place.ok_or_else(missing)?;
        // From here on it is removed whatever happens.
        let fence = Self { parent, roots };
        let directory = fence.below(&root);
        std::fs::create_dir(&directory)?;
        std::fs::write(directory.join("pids.max"), pids.to_string())?;
        if unified {
            // The engine makes groups below, and gives them limits.
            std::fs::write(directory.join("cgroup.subtree_control"), "+pids +memory +cpu")?;
        }
        Ok(fence)
    }

    /// How the engine calls it.
    pub(super) fn parent(&self) -> &str {
        &self.parent
    }

    fn below(&self, root: &Path) -> PathBuf {
        root.join(self.parent.trim_start_matches('/'))
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        // The engine made the same group in the other hierarchies.
        for root in &self.roots {
            remove(&self.below(root), 0);
        }
    }
}

/// Removes a group and what an engine left empty below it.
fn remove(directory: &Path, depth: u32) {
    if std::fs::remove_dir(directory).is_ok() || depth > 4 {
        return;
    }
    let below = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).for_each(|e| remove(&e.path(), depth + 1));
    let _ = std::fs::remove_dir(directory);
}

/// All hierarchies, and the one that counts processes with whether it is the unified one.
fn places(mountinfo: &str) -> (Vec<PathBuf>, Option<(PathBuf, bool)>) {
    let mut roots = Vec::new();
    let mut place = None;
    for line in mountinfo.lines() {
        let Some((front, back)) = line.split_once(" - ") else { continue };
        let Some(root) = front.split(' ').nth(4).map(PathBuf::from) else { continue };
        let mut back = back.split(' ');
        match back.next() {
            Some("cgroup") if back.nth(1).is_some_and(|all| all.split(',').any(|o| o == "pids")) => {
                place = Some((root.clone(), false));
            }
            Some("cgroup") => {}
            Some("cgroup2") => {
                place = place.or_else(|| Some((root.clone(), true)));
            }
            _ => continue,
        }
        roots.push(root);
    }
    (roots, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_version_counts_if_it_has_processes() {
        let (unified, pids) = (
            "32 29 0:28 / /c/unified rw - cgroup2 cgroup2 rw",
            "30 29 0:26 / /c/pids rw - cgroup cgroup rw,pids",
        );
        let at = |lines: &[&str]| places(&lines.join("\n")).1;
        for order in [[unified, pids], [pids, unified]] {
            assert_eq!(at(&order), Some(("/c/pids".into(), false)));
        }
        assert_eq!(at(&[unified]), Some(("/c/unified".into(), true)));
        assert_eq!(at(&["1 1 0:1 / / rw - ext4 /dev/x rw"]), None);
        assert_eq!(places(&[unified, pids].join("\n")).0.len(), 2);
    }
}
