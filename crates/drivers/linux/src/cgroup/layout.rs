//! Reads from `/proc/self/mountinfo` and `/proc/self/cgroup` which hierarchies
//! a machine has and where in them we are. Plain text in, plain values out; it
//! touches no file. It must never name a directory outside a hierarchy.

use super::LIMITS;
use std::path::{Component, Path, PathBuf};

/// A hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Where it is mounted.
    pub(super) root: PathBuf,
    /// Where groups may be made, best first: below our own group, and below the root where our own is
    /// not to be seen (a container).
    pub(super) parents: Vec<PathBuf>,
}

/// All hierarchies that we can use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// Of version 1, by controller, in our order.
    pub(super) v1: Vec<(&'static str, Place)>,
    /// The one of version 2.
    pub(super) v2: Option<Place>,
}

impl Layout {
    /// From the texts of both files.
    pub(super) fn read(mountinfo: &str, own: &str) -> Self {
        let v1 = LIMITS.into_iter().filter_map(|controller| {
            let has = |list: &str| list.split(',').any(|c| c == controller);
            let mount = mount(mountinfo, |kind, options| kind == "cgroup" && has(options))?;
            Some((controller, place(mount, own_path(own, has))))
        });
        let v2 = mount(mountinfo, |kind, _| kind == "cgroup2")
            .map(|mount| place(mount, own_path(own, str::is_empty)));
        Self { v1: v1.collect(), v2 }
    }
}

/// A mount of a hierarchy, or of a part of it.
struct Mount {
    /// The group that is seen at the mount point.
    part: PathBuf,
    point: PathBuf,
}

/// The first mount whose type and super options are wanted.
fn mount(mountinfo: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<Mount> {
    mountinfo.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let (kind, _source, options) = (back.next()?, back.next()?, back.next()?);
        let mut front = front.split(' ').skip(3);
        let (part, point) = (front.next()?, front.next()?);
        wanted(kind, options).then(|| Mount { part: unescaped(part), point: unescaped(point) })
    })
}

/// The kernel writes blanks, tabs, line ends and backslashes of paths as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut pieces = text.split('\\');
    let mut path = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match piece.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                path.push(char::from(byte));
                path.push_str(&piece[3..]);
            }
            None => path.push_str(piece),
        }
    }
    path.into()
}

/// Our own group in the hierarchy whose list of controllers is wanted.
fn own_path(own: &str, wanted: impl Fn(&str) -> bool) -> Option<&Path> {
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        wanted(controllers).then_some(Path::new(path))
    })
}

fn place(mount: Mount, own: Option<&Path>) -> Place {
    // A group outside of what is mounted is not to be seen: `/../x` of a namespace that we have left, or
    // a part that is not ours.
    let seen = |own: &&Path| !own.components().any(|c| c == Component::ParentDir);
    let own = own.filter(seen).and_then(|own| own.strip_prefix(&mount.part).ok());
    let mut parents = Vec::new();
    parents.extend(own.filter(|own| !own.as_os_str().is_empty()).map(|own| mount.point.join(own)));
    parents.push(mount.point.clone());
    Place { root: mount.point, parents }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Controllers of version 1 and their best parent, then version 2: what each machine offers us.
    fn shown(mountinfo: &str, own: &str) -> Vec<String> {
        let layout = Layout::read(mountinfo, own);
        let line = |name: &str, place: &Place| {
            let parents: Vec<_> = place.parents.iter().map(|p| p.display().to_string()).collect();
            format!("{name} {}", parents.join(" or "))
        };
        let v1 = layout.v1.iter().map(|(name, place)| line(name, place));
        v1.chain(layout.v2.iter().map(|place| line("v2", place))).collect()
    }

    #[test]
    fn a_machine_with_version_2_and_a_delegated_slice() {
        // Debian 12 with systemd 252, in a service of a user's own manager.
        let mounts = "\
24 30 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
34 24 0:29 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
35 24 0:30 / /sys/fs/pstore rw,nosuid,nodev,noexec,relatime shared:10 - pstore pstore rw
";
        let own = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/fleetfoot-runner.service\n";
        assert_eq!(
            shown(mounts, own),
            ["v2 /sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/\
              fleetfoot-runner.service or /sys/fs/cgroup"]
        );
    }

    #[test]
    fn a_machine_with_version_1_only() {
        // CentOS 7: no hierarchy of version 2 at all, controllers in pairs, one for systemd itself.
        let mounts = "\
25 18 0:20 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:4 - tmpfs tmpfs ro,mode=755
26 25 0:21 / /sys/fs/cgroup/systemd rw,nosuid,nodev,noexec,relatime shared:5 - cgroup cgroup rw,xattr,release_agent=/usr/lib/systemd/systemd-cgroups-agent,name=systemd
28 25 0:23 / /sys/fs/cgroup/net_cls,net_prio rw,nosuid,nodev,noexec,relatime shared:6 - cgroup cgroup rw,net_prio,net_cls
29 25 0:24 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:7 - cgroup cgroup rw,cpuacct,cpu
30 25 0:25 / /sys/fs/cgroup/blkio rw,nosuid,nodev,noexec,relatime shared:8 - cgroup cgroup rw,blkio
31 25 0:26 / /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime shared:9 - cgroup cgroup rw,memory
35 25 0:30 / /sys/fs/cgroup/pids rw,nosuid,nodev,noexec,relatime shared:13 - cgroup cgroup rw,pids
";
        let own = "\
11:pids:/system.slice/fleetfoot-runner.service
8:memory:/system.slice/fleetfoot-runner.service
5:cpuacct,cpu:/system.slice/fleetfoot-runner.service
4:blkio:/system.slice
2:net_prio,net_cls:/
1:name=systemd:/system.slice/fleetfoot-runner.service
";
        let service = "system.slice/fleetfoot-runner.service";
        assert_eq!(
            shown(mounts, own),
            [
                format!("pids /sys/fs/cgroup/pids/{service} or /sys/fs/cgroup/pids"),
                format!("memory /sys/fs/cgroup/memory/{service} or /sys/fs/cgroup/memory"),
                format!("cpu /sys/fs/cgroup/cpu,cpuacct/{service} or /sys/fs/cgroup/cpu,cpuacct"),
                "blkio /sys/fs/cgroup/blkio/system.slice or /sys/fs/cgroup/blkio".to_owned(),
            ]
        );
    }

    #[test]
    fn a_hybrid_machine() {
        let mounts = "\
30 29 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 29 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
        let own = "4:memory:/a:b\n1:cpu,cpuacct:/\n0::/user.slice\n";
        assert_eq!(
            shown(mounts, own),
            [
                "memory /sys/fs/cgroup/memory/a:b or /sys/fs/cgroup/memory",
                "cpu /sys/fs/cgroup/cpu,cpuacct",
                "v2 /sys/fs/cgroup/unified/user.slice or /sys/fs/cgroup/unified",
            ]
        );
    }

    #[test]
    fn containers() {
        // Version 2 with a namespace of its own: what is mounted is our group.
        let mounts = "1502 1495 0:29 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate\n";
        assert_eq!(shown(mounts, "0::/\n"), ["v2 /sys/fs/cgroup"]);
        // The same, entered from outside: our group is not in it.
        assert_eq!(shown(mounts, "0::/../../user.slice\n"), ["v2 /sys/fs/cgroup"]);
        // Version 1 without: paths are those of the host, and a part of the hierarchy is mounted.
        let mounts = "\
640 637 0:26 /docker/4f2a /sys/fs/cgroup/memory ro,nosuid,nodev,noexec,relatime master:11 - cgroup cgroup rw,memory
645 637 0:31 /docker/4f2a /sys/fs/cgroup/pids ro,nosuid,nodev,noexec,relatime master:16 - cgroup cgroup rw,pids
";
        let own = "9:pids:/docker/4f2a/inner\n4:memory:/docker/4f2a\n";
        assert_eq!(
            shown(mounts, own),
            ["pids /sys/fs/cgroup/pids/inner or /sys/fs/cgroup/pids", "memory /sys/fs/cgroup/memory"]
        );
        // A part that is not ours shows us nothing of our own.
        assert_eq!(shown(mounts, "9:pids:/docker/9999\n")[0], "pids /sys/fs/cgroup/pids");
    }

    #[test]
    fn odd_names_and_nothing() {
        let mounts = "34 24 0:29 / /mnt/a\\040b\\134c rw - cgroup2 cgroup2 rw\n";
        assert_eq!(shown(mounts, "0::/x y\n"), ["v2 /mnt/a b\\c/x y or /mnt/a b\\c"]);
        assert!(shown("", "").is_empty());
        assert!(shown("nonsense\n1 2 3\n- - -\n", "::\nx\n").is_empty());
    }
}
