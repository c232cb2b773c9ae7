//! Control groups: finds out once what this machine really lets us do, makes
//! one group a cell and one a command below it, and ends and removes them.
//!
//! Three shapes exist. *cgroup-v2*: one tree for everything. *hybrid*: a v2
//! tree without controllers ends processes (`cgroup.kill`), v1 hierarchies
//! hold the limits. *cgroup-v1*: the `pids` hierarchy is the tree. It must
//! never touch a group outside `fleetfoot-TAG`.

use crate::procfs::{self, keyed};
use fleetfoot_model::spec::Limits;
use indexmap::IndexMap;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What the machine offers, and where.
#[derive(Debug)]
pub struct Cgroups {
    tree: Option<Tree>,
    /// v1 hierarchies that are used for limits: `pids`, `memory`, `cpu`, and the group of this runner in each.
    v1: Vec<(&'static str, PathBuf)>,
    /// Where hierarchies are mounted, to find what an earlier process left under another group than ours.
    roots: Vec<(Version, PathBuf)>,
    /// Name of the group of this runner.
    name: String,
}

#[derive(Debug)]
struct Tree {
    version: Version,
    base: PathBuf,
    /// Controllers that cells of this tree have.
    controllers: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// How deep below a root groups are looked for.
const SEARCH_DEPTH: u32 = 8;

/// Controllers that we use; disks are `blkio` in version 1 and `io` in version 2.
const LIMITS: [&str; 5] = ["pids", "memory", "cpu", "blkio", "io"];

impl Cgroups {
    /// No groups at all.
    pub const fn none() -> Self {
        Self { tree: None, v1: Vec::new(), roots: Vec::new(), name: String::new() }
    }

    /// Probes by making and removing groups. Never fails: what does not work is left out.
    pub fn probe(tag: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let name = format!("fleetfoot-{tag}");
        let mut v1 = Vec::new();
        let mut roots = Vec::new();
        for controller in LIMITS {
            let Some(root) = mount_of(&mounts, |kind, options| {
                kind == "cgroup" && options.split(',').any(|o| o == controller)
            }) else {
                continue;
            };
            roots.push((Version::V1, root.clone()));
            let path = own_path(&own, |list| list.split(',').any(|c| c == controller));
            if let Some(base) = try_base(&root, path, &name, "tasks") {
                v1.push((controller, base));
            }
        }
        let v2 = mount_of(&mounts, |kind, _| kind == "cgroup2").and_then(|root| {
            roots.push((Version::V2, root.clone()));
            let path = own_path(&own, str::is_empty);
            let base = try_base(&root, path, &name, "cgroup.events")?;
            let controllers = if v1.is_empty() { enable_controllers(&base, tag) } else { Vec::new() };
            Some(Tree { version: Version::V2, base, controllers })
        });
        let tree = v2.or_else(|| {
            let (_, base) = v1.iter().find(|(c, _)| *c == "pids")?;
            Some(Tree { version: Version::V1, base: base.clone(), controllers: Vec::new() })
        });
        Self { tree, v1, roots, name }
    }

    /// The word for the record of the boundary.
    pub fn containment(&self) -> &'static str {
        match &self.tree {
            None => "process-group",
            Some(Tree { version: Version::V1, .. }) => "cgroup-v1",
            Some(Tree { version: Version::V2, .. }) if self.v1.is_empty() => "cgroup-v2",
            Some(Tree { version: Version::V2, .. }) => "hybrid",
        }
    }

    /// Limits that groups of a cell can hold, each seen to work: `pids`, `memory`, `cpu`.
    pub fn limits(&self) -> Vec<&'static str> {
        let tree = self.tree.iter().flat_map(|t| t.controllers.iter().copied());
        let found: Vec<&str> = tree.chain(self.v1.iter().map(|(c, _)| *c)).collect();
        LIMITS.into_iter().filter(|l| found.contains(l)).collect()
    }

    /// Makes the groups of a cell. Nothing is left behind on failure.
    ///
    /// # Errors
    /// If a group cannot be made or a limit set.
    pub fn make_cell(&self, name: &str, limits: &Limits) -> io::Result<CellGroup> {
        let mut cell =
            CellGroup { tree: None, v1: Vec::new(), in_force: IndexMap::new(), commands: AtomicU32::new(0) };
        self.fill_cell(&mut cell, name, limits).inspect_err(|_| {
            let _ = cell.remove();
        })?;
        Ok(cell)
    }

    fn fill_cell(&self, cell: &mut CellGroup, name: &str, limits: &Limits) -> io::Result<()> {
        if let Some(tree) = &self.tree {
            let path = tree.base.join(name);
            make_below(&tree.base, &path)?;
            for controller in &tree.controllers {
                cell.limit(tree.version, controller, &path, limits)?;
            }
            cell.tree = Some(CellTree {
                version: tree.version,
                memory_events: tree.controllers.contains(&"memory"),
                path,
            });
        }
        for (controller, base) in &self.v1 {
            let path = base.join(name);
            let is_tree = cell.tree.as_ref().is_some_and(|t| t.path == path);
            // A memory group is made in any case: it alone tells who was ended for memory.
            let wanted = match *controller {
                "cpu" => limits.cpus.is_some(),
                "pids" => is_tree || limits.pids.is_some(),
                "blkio" => limits.read_bytes_per_second.is_some() || limits.write_bytes_per_second.is_some(),
                _ => true,
            };
            if !wanted {
                continue;
            }
            make_below(base, &path)?;
            let group = V1Group {
                controller,
                tasks: rustix::fs::open(path.join("tasks"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?,
                path: path.clone(),
                is_tree,
            };
            cell.v1.push(group);
            cell.limit(Version::V1, controller, &path, limits)?;
        }
        Ok(())
    }

    /// Ends and removes what an earlier process of this runner left under
    /// `name`, also if it lived in another group (session, service) than we do.
    ///
    /// # Errors
    /// If a group cannot be removed.
    pub fn sweep(&self, name: &str) -> io::Result<()> {
        for (version, root) in &self.roots {
            let mut bases = Vec::new();
            find_groups(root, &self.name, SEARCH_DEPTH, &mut bases);
            for base in bases {
                let path = base.join(name);
                if path.exists() {
                    end_tree(*version, &path);
                    wait_empty(&path);
                    remove_tree(&path)?;
                }
                if !self.bases().any(|own| *own == base) {
                    let _ = fs::remove_dir(&base);
                }
            }
        }
        Ok(())
    }

    fn bases(&self) -> impl Iterator<Item = &PathBuf> {
        self.tree.iter().map(|t| &t.base).chain(self.v1.iter().map(|(_, base)| base))
    }

    /// Removes the groups of this runner, if they are empty.
    pub fn remove_bases(&self) {
        for path in self.bases() {
            let _ = fs::remove_dir(path);
        }
    }
}

/// The groups of one cell.
#[derive(Debug)]
pub struct CellGroup {
    tree: Option<CellTree>,
    v1: Vec<V1Group>,
    /// Limits that hold by these groups, `name -> value`.
    pub in_force: IndexMap<String, String>,
    /// The largest number of a command with a group.
    commands: AtomicU32,
}

fn command_group(cell: &Path, number: u32) -> PathBuf {
    cell.join(format!("c{number}"))
}

#[derive(Debug)]
struct CellTree {
    version: Version,
    path: PathBuf,
    memory_events: bool,
}

#[derive(Debug)]
struct V1Group {
    controller: &'static str,
    path: PathBuf,
    tasks: OwnedFd,
    /// This hierarchy is the tree itself: commands join their own groups below.
    is_tree: bool,
}

impl CellGroup {
    /// Whether the groups alone hold every process.
    pub const fn contains(&self) -> bool {
        self.tree.is_some()
    }

    fn limit(&mut self, version: Version, controller: &str, path: &Path, limits: &Limits) -> io::Result<()> {
        let v2 = version == Version::V2;
        match controller {
            "pids" => {
                if let Some(pids) = limits.pids {
                    write(&path.join("pids.max"), &pids.to_string())?;
                    self.in_force.insert("pids".into(), pids.to_string());
                }
            }
            "memory" => {
                if let Some(bytes) = limits.memory_bytes {
                    let (memory, swap) =
                        if v2 { ("memory.max", "memory.swap.max") } else { ("memory.limit_in_bytes", "") };
                    write(&path.join(memory), &bytes.to_string())?;
                    if v2 {
                        let _ = write(&path.join(swap), "0");
                    } else {
                        // Memory and swap together; absent where swap is not accounted.
                        let _ = write(&path.join("memory.memsw.limit_in_bytes"), &bytes.to_string());
                    }
                    self.in_force.insert("memory_bytes".into(), bytes.to_string());
                }
            }
            "cpu" => {
                if let Some(cpus) = limits.cpus {
                    const PERIOD_US: f64 = 100_000.0;
                    // The kernel takes no quota below a millisecond.
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
                    let quota = (cpus * PERIOD_US).clamp(1_000.0, 1e12) as u64;
                    if v2 {
                        write(&path.join("cpu.max"), &format!("{quota} 100000"))?;
                    } else {
                        write(&path.join("cpu.cfs_period_us"), "100000")?;
                        write(&path.join("cpu.cfs_quota_us"), &quota.to_string())?;
                    }
                    self.in_force.insert("cpus".into(), cpus.to_string());
                }
            }
            "blkio" | "io" => self.limit_disks(v2, path, limits)?,
            _ => {}
        }
        Ok(())
    }

    /// Rates hold for each disk of the machine: which one a file lies on is not always to be known.
    fn limit_disks(&mut self, v2: bool, path: &Path, limits: &Limits) -> io::Result<()> {
        let rates = [
            (limits.read_bytes_per_second, "read_bytes_per_second", "rbps", "blkio.throttle.read_bps_device"),
            (
                limits.write_bytes_per_second,
                "write_bytes_per_second",
                "wbps",
                "blkio.throttle.write_bps_device",
            ),
        ];
        let disks = disks();
        for (rate, name, key, file) in rates {
            let Some(rate) = rate else { continue };
            for (_, disk) in &disks {
                if v2 {
                    write(&path.join("io.max"), &format!("{disk} {key}={rate}"))?;
                } else {
                    write(&path.join(file), &format!("{disk} {rate}"))?;
                }
            }
            if !disks.is_empty() {
                self.in_force.insert(name.into(), rate.to_string());
            }
        }
        Ok(())
    }

    /// Makes the group of a command.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn make_command(&self, number: u32) -> io::Result<CommandGroup> {
        let mut command = CommandGroup { v2: None, tasks: None, place: None };
        let Some(tree) = &self.tree else { return Ok(command) };
        let path = command_group(&tree.path, number);
        make(&path)?;
        self.commands.fetch_max(number, Ordering::Relaxed);
        match tree.version {
            Version::V2 => {
                command.v2 = Some(rustix::fs::open(
                    &path,
                    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                    Mode::empty(),
                )?);
            }
            Version::V1 => {
                let tasks = path.join("tasks");
                command.tasks =
                    Some(rustix::fs::open(tasks, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?);
            }
        }
        command.place = Some((tree.version, path));
        Ok(command)
    }

    /// The `tasks` files that a new command joins beside its own group.
    pub fn tasks(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.v1.iter().filter(|g| !g.is_tree).map(|g| g.tasks.as_fd())
    }

    /// How often the kernel ended a process of this cell for memory; `None` if the groups cannot tell.
    pub fn oom_kills(&self) -> Option<u64> {
        let file = match &self.tree {
            Some(tree) if tree.memory_events => tree.path.join("memory.events"),
            _ => self.v1.iter().find(|g| g.controller == "memory")?.path.join("memory.oom_control"),
        };
        fs::read_to_string(file).ok().map(|text| keyed(&text, "oom_kill"))
    }

    /// Sends SIGKILL to every process of the cell.
    pub fn end(&self) {
        if let Some(tree) = &self.tree {
            end_tree(tree.version, &tree.path);
        }
    }

    /// Whether a process of the cell lives.
    pub fn populated(&self) -> bool {
        self.tree.as_ref().is_some_and(|tree| is_populated(&tree.path))
    }

    /// Removes the groups; they must be empty.
    ///
    /// # Errors
    /// If one stays.
    pub fn remove(&self) -> io::Result<()> {
        let mut result = Ok(());
        if let Some(tree) = &self.tree {
            // The groups of commands are known by name, and nearly always the only ones.
            for number in 0..=self.commands.load(Ordering::Relaxed) {
                let _ = fs::remove_dir(command_group(&tree.path, number));
            }
            result = remove_tree(&tree.path);
        }
        for group in self.v1.iter().filter(|g| !g.is_tree) {
            result = result.and(remove_tree(&group.path));
        }
        result
    }
}

/// The group of one command.
#[derive(Debug)]
pub struct CommandGroup {
    v2: Option<OwnedFd>,
    tasks: Option<OwnedFd>,
    place: Option<(Version, PathBuf)>,
}

impl CommandGroup {
    /// For the birth of the process: the v2 directory and the path of its `cgroup.procs`.
    pub fn birth(&self) -> Option<(BorrowedFd<'_>, PathBuf)> {
        let (_, path) = self.place.as_ref()?;
        Some((self.v2.as_ref()?.as_fd(), path.join("cgroup.procs")))
    }

    /// For the birth of the process: its v1 `tasks` file.
    pub fn tasks(&self) -> Option<BorrowedFd<'_>> {
        self.tasks.as_ref().map(AsFd::as_fd)
    }

    /// Sends SIGKILL to every process of the command; `false` if there is no group.
    pub fn end(&self) -> bool {
        let Some((version, path)) = &self.place else { return false };
        end_tree(*version, path);
        true
    }

    /// CPU time in user mode and in the kernel, microseconds, of everything that ever was in the group.
    pub fn cpu(&self) -> Option<(u64, u64)> {
        let (Version::V2, path) = self.place.as_ref()? else { return None };
        let text = fs::read_to_string(path.join("cpu.stat")).ok()?;
        Some((keyed(&text, "user_usec"), keyed(&text, "system_usec")))
    }
}

/// The mount point of the first file system that `wanted(type, super options)` accepts.
fn mount_of(mountinfo: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let (kind, _source, options) = (back.next()?, back.next()?, back.next()?);
        wanted(kind, options).then(|| front.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// Our own group in the hierarchy whose controller list `wanted` accepts.
fn own_path(own: &str, wanted: impl Fn(&str) -> bool) -> Option<&str> {
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        wanted(controllers).then_some(path)
    })
}

/// Makes this runner's group below our own (or below the root, where our own
/// is not visible) and proves that groups can be made in it.
fn try_base(root: &Path, own: Option<&str>, name: &str, must_have: &str) -> Option<PathBuf> {
    let own = own.map_or("", |p| p.trim_start_matches('/'));
    for parent in [root.join(own), root.to_path_buf()] {
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

/// Hands controllers of a pure v2 tree down to the cells. A group with
/// processes of its own cannot do that, so the runner first moves itself into
/// a leaf; it stays where it is if others live there too.
fn enable_controllers(base: &Path, tag: &str) -> Vec<&'static str> {
    let Some(parent) = base.parent() else { return Vec::new() };
    let hand_down = |group: &Path| {
        for controller in LIMITS {
            let _ = write(&group.join("cgroup.subtree_control"), &format!("+{controller}"));
        }
    };
    let have = |group: &Path| -> Vec<&'static str> {
        let text = fs::read_to_string(group.join("cgroup.subtree_control")).unwrap_or_default();
        LIMITS.into_iter().filter(|c| text.split_ascii_whitespace().any(|w| w == *c)).collect()
    };
    hand_down(parent);
    if have(parent).is_empty() {
        let leaf = parent.join(format!("fleetfoot-{tag}.runner"));
        let me = std::process::id().to_string();
        if make(&leaf).is_ok() && write(&leaf.join("cgroup.procs"), &me).is_ok() {
            hand_down(parent);
            if have(parent).is_empty() {
                let _ = write(&parent.join("cgroup.procs"), &me);
                let _ = fs::remove_dir(&leaf);
            }
        }
    }
    hand_down(base);
    have(base)
}

fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// The disks of this machine: name (`sda`) and number (`8:0`). What is only memory or a file is none:
/// its bytes come from a disk, or from nowhere.
pub fn disks() -> Vec<(String, String)> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().filter_map(Result::ok);
    let disk = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let real = !["loop", "ram", "zram"].iter().any(|kind| name.starts_with(kind));
        let number = fs::read_to_string(entry.path().join("dev")).ok().filter(|_| real)?;
        Some((name, number.trim().to_owned()))
    };
    entries.filter_map(disk).collect()
}

/// Another driver with our tag may have removed the empty group of the runner meanwhile.
fn make_below(base: &Path, path: &Path) -> io::Result<()> {
    match make(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => make(base).and_then(|()| make(path)),
        other => other,
    }
}

/// Group files take one write and must not be created or truncated.
fn write(path: &Path, text: &str) -> io::Result<()> {
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
fn find_groups(path: &Path, name: &str, depth: u32, found: &mut Vec<PathBuf>) {
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

fn end_tree(version: Version, path: &Path) {
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

fn is_populated(path: &Path) -> bool {
    if let Ok(events) = fs::read_to_string(path.join("cgroup.events")) {
        return keyed(&events, "populated") != 0;
    }
    let mut pids = Vec::new();
    pids_in(path, &mut pids);
    pids.into_iter().any(|pid| procfs::stat(pid).is_some_and(|s| !s.is_dead()))
}

/// Waits, at most two seconds, until no process lives in the group.
fn wait_empty(path: &Path) {
    for _ in 0..400 {
        if !is_populated(path) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Removes a group and those below it (a job that runs as root may have made some).
fn remove_tree(path: &Path) -> io::Result<()> {
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
mod tests {
    use super::*;

    const MOUNTS: &str = "\
30 29 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 29 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn finds_mounts_and_own_groups() {
        let v1 = |name: &'static str| {
            move |kind: &str, options: &str| kind == "cgroup" && options.split(',').any(|o| o == name)
        };
        assert_eq!(mount_of(MOUNTS, v1("cpu")).unwrap(), Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(mount_of(MOUNTS, v1("pids")), None);
        assert_eq!(mount_of(MOUNTS, |k, _| k == "cgroup2").unwrap(), Path::new("/sys/fs/cgroup/unified"));
        let own = "4:memory:/a:b\n1:cpu,cpuacct:/\n0::/user.slice\n";
        assert_eq!(own_path(own, |c| c == "memory"), Some("/a:b"));
        assert_eq!(own_path(own, str::is_empty), Some("/user.slice"));
    }
}
