//! Control groups that an ordinary user was given, as a service manager gives
//! them: made by root for this test in every hierarchy of the machine.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use fleetfoot_driver_linux::cgroup::Cgroups;
use fleetfoot_model::spec::Limits;
use std::path::{Path, PathBuf};
use std::process::Command;

const USER: &str = "4321";
const HIDDEN: &str = "FLEETFOOT_DELEGATED";

/// A group in each hierarchy, given to the user; removed when dropped.
struct Delegated(Vec<PathBuf>);

impl Delegated {
    /// Below the groups that `cgroups` found for root, each in its hierarchy.
    fn new(hierarchies: &[PathBuf]) -> std::io::Result<Self> {
        let mut made = Self(Vec::new());
        for hierarchy in hierarchies {
            let group = hierarchy.join(format!("delegated-{}", std::process::id()));
            std::fs::create_dir(&group)?;
            made.0.push(group.clone());
            let owned = Command::new("chown").arg("-R").arg(format!("{USER}:{USER}")).arg(&group).status()?;
            assert!(owned.success());
        }
        Ok(made)
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for group in &self.0 {
            for below in std::fs::read_dir(group).into_iter().flatten().filter_map(Result::ok) {
                let _ = std::fs::remove_dir(below.path());
            }
            let _ = std::fs::remove_dir(group);
        }
    }
}

/// Mount points of the hierarchies that limits need.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let wanted =
        |options: &str| ["pids", "memory", "cpu"].iter().any(|c| options.split(',').any(|o| o == *c));
    let found = mounts.lines().filter_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let (kind, options) = (back.split(' ').next()?, back.split(' ').nth(2)?);
        let ours = kind == "cgroup2" || (kind == "cgroup" && wanted(options));
        ours.then(|| front.split(' ').nth(4).map(PathBuf::from))?
    });
    found.collect()
}

#[test]
fn an_ordinary_user_with_delegated_groups_has_limits() {
    if std::env::var_os(HIDDEN).is_some() {
        return;
    }
    let tag = format!("deleg-{}", std::process::id());
    let of_root = Cgroups::probe(&tag);
    let (containment, limits) = (of_root.containment(), of_root.limits());
    of_root.remove_bases();
    let given = match Delegated::new(&hierarchies()) {
        Ok(given) if containment != "process-group" && !given.0.is_empty() => given,
        other => {
            return eprintln!("skipped: no groups can be given away here ({containment}): {:?}", other.err());
        }
    };
    let dir = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let copy = dir.path().join("tests");
    assert!(Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&copy).status().unwrap().success());
    // A child joins, becomes the user, and is this binary again.
    let join: String = given.0.iter().map(|g| format!("echo $$ >{}/cgroup.procs; ", g.display())).collect();
    let script = format!("set -e; {join} exec setpriv --reuid={USER} --regid={USER} --clear-groups \"$@\"");
    let done = Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(&copy)
        .args(["--exact", "hidden_as_the_user", "--nocapture"])
        .env(HIDDEN, format!("{containment} {}", limits.join(",")))
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{text}\n{}", String::from_utf8_lossy(&done.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

/// Hidden: as the user, in the groups that were given.
#[test]
fn hidden_as_the_user() {
    let Ok(of_root) = std::env::var(HIDDEN) else { return };
    let groups = Cgroups::probe("theirs");
    let (containment, limits) = of_root.split_once(' ').unwrap();
    assert_eq!(groups.containment(), containment);
    // Root may have more: hierarchies for disks were not given.
    let have = groups.limits();
    for limit in limits.split(',').filter(|l| ["pids", "memory", "cpu"].contains(l)) {
        assert!(have.contains(&limit), "{limit} of {limits}: {have:?}");
    }
    let asked = Limits { pids: Some(16), memory_bytes: Some(64 << 20), cpus: Some(1.0), ..Limits::default() };
    let cell = groups.make_cell("cell", &asked).unwrap();
    assert_eq!(cell.in_force.len(), 3, "{:?}", cell.in_force);
    let command = cell.make_command(1).unwrap();
    assert!(command.birth().is_some() || command.tasks().is_some());
    assert!(!cell.populated());
    drop(command);
    cell.remove().unwrap();
    groups.remove_bases();
    assert!(!Path::new("/sys/fs/cgroup").join("fleetfoot-theirs").exists());
}
