//! Finds out by trying where this runner can make groups, and hands the
//! controllers of version 2 down to them. It must never move a process that is
//! not the runner itself.

use super::LIMITS;
use super::files::{make, write};
use super::layout::Place;
use std::fs;
use std::path::{Path, PathBuf};

/// Makes this runner's group in the first place that lets us, and proves that groups can be made in it.
pub(super) fn try_base(place: &Place, name: &str, must_have: &str) -> Option<PathBuf> {
    for parent in &place.parents {
        let base = parent.join(name);
        if make(&base).is_err() {
            continue;
        }
        let child = base.join(format!("probe-{}", std::process::id()));
        let works = make(&child).is_ok() && child.join(must_have).exists();
        let removed = fs::remove_dir(&child).is_ok();
        if works && removed {
            return Some(base);
        }
        let _ = fs::remove_dir(&base);
    }
    None
}

/// Controllers that a group lists in one of its files, as far as we use them.
fn listed(group: &Path, file: &str) -> Vec<&'static str> {
    let text = fs::read_to_string(group.join(file)).unwrap_or_default();
    LIMITS.into_iter().filter(|c| text.split_ascii_whitespace().any(|w| w == *c)).collect()
}

/// Hands the controllers of version 2 that `elsewhere` (version 1) does not have down to the cells;
/// returns those that they get. A group with processes of its own cannot do that, so the runner first
/// moves itself into a leaf; it stays where it is if others live there too.
pub(super) fn hand_down(base: &Path, tag: &str, elsewhere: &[&str]) -> Vec<&'static str> {
    let Some(parent) = base.parent() else { return Vec::new() };
    let mut wanted = listed(parent, "cgroup.controllers");
    wanted.retain(|c| !elsewhere.contains(&if *c == "io" { "blkio" } else { c }));
    // On a hybrid machine nothing is left as a rule: then nobody has to move.
    if wanted.is_empty() {
        return wanted;
    }
    let give = |group: &Path| {
        let have = listed(group, "cgroup.subtree_control");
        for controller in wanted.iter().filter(|c| !have.contains(c)) {
            let _ = write(&group.join("cgroup.subtree_control"), &format!("+{controller}"));
        }
    };
    let given = |group: &Path| {
        let mut given = listed(group, "cgroup.subtree_control");
        given.retain(|c| wanted.contains(c));
        given
    };
    give(parent);
    if given(parent).is_empty() {
        let leaf = parent.join(format!("fleetfoot-{tag}.runner"));
        let me = std::process::id().to_string();
        if make(&leaf).is_ok() && write(&leaf.join("cgroup.procs"), &me).is_ok() {
            give(parent);
            if given(parent).is_empty() {
                let _ = write(&parent.join("cgroup.procs"), &me);
                let _ = fs::remove_dir(&leaf);
            }
        }
    }
    give(base);
    given(base)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// A group as the kernel would show it, but of plain files: what is written stays as it was written.
    fn group(path: &Path, controllers: &str, given: &str) {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join("cgroup.controllers"), controllers).unwrap();
        fs::write(path.join("cgroup.subtree_control"), given).unwrap();
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path.join("cgroup.subtree_control")).unwrap()
    }

    #[test]
    fn what_is_delegated_is_handed_on() {
        let dir = tempfile::tempdir().unwrap();
        let (parent, base) = (dir.path().join("service"), dir.path().join("service/fleetfoot-x"));
        // What systemd gives a user's service: no `io`.
        group(&parent, "cpu memory pids\n", "cpu memory pids\n");
        group(&base, "cpu memory pids\n", "cpu memory pids\n");
        assert_eq!(hand_down(&base, "x", &[]), ["pids", "memory", "cpu"]);
        assert_eq!(read(&base), "cpu memory pids\n", "what is given need not be given again");
        assert!(!parent.join("fleetfoot-x.runner").exists(), "nobody has to move");
    }

    #[test]
    fn what_is_missing_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("fleetfoot-x");
        group(dir.path(), "cpu pids\n", "pids\n");
        group(&base, "cpu pids\n", "pids\n");
        // Nobody makes the files say what was written to them, so only `pids` is there in the end.
        hand_down(&base, "x", &[]);
        assert_eq!((read(dir.path()), read(&base)), ("+cpu\n".into(), "+cpu\n".into()));
    }

    #[test]
    fn a_hybrid_machine_has_nothing_to_hand_on() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("fleetfoot-x");
        group(dir.path(), "hugetlb\n", "");
        group(&base, "", "");
        assert!(hand_down(&base, "x", &["pids", "memory", "cpu", "blkio"]).is_empty());
        assert_eq!((read(dir.path()), read(&base)), (String::new(), String::new()), "nothing was touched");
    }

    #[test]
    fn what_version_1_has_is_left_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("fleetfoot-x");
        // Booted with `cgroup_no_v1=memory`.
        group(dir.path(), "memory io\n", "memory io\n");
        group(&base, "memory io\n", "memory io\n");
        assert_eq!(hand_down(&base, "x", &["pids", "cpu", "blkio"]), ["memory"]);
    }

    #[test]
    fn a_place_that_makes_no_groups_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (own, root) = (dir.path().join("own"), dir.path().to_owned());
        let place = Place { root: root.clone(), parents: vec![own, root.clone()] };
        // Directories, but nothing appears in them as in groups.
        assert_eq!(try_base(&place, "fleetfoot-x", "cgroup.events"), None);
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "nothing is left of the trial");
    }
}
