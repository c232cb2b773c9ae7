//! The groups of one cell, and of each of its commands: joining, asking,
//! ending, removing.

use super::Version;
use super::files::{end_tree, is_populated, make, remove_tree, write};
use super::limit::{disks, told};
use crate::procfs::keyed;
use fleetfoot_model::spec::Limits;
use indexmap::IndexMap;
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The groups of one cell.
#[derive(Debug, Default)]
pub struct CellGroup {
    pub(super) tree: Option<CellTree>,
    pub(super) v1: Vec<V1Group>,
    /// Limits that hold by these groups, `name -> value`.
    pub in_force: IndexMap<String, String>,
    /// The largest number of a command with a group.
    pub(super) commands: AtomicU32,
}

fn command_group(cell: &Path, number: u32) -> PathBuf {
    cell.join(format!("c{number}"))
}

#[derive(Debug)]
pub(super) struct CellTree {
    pub(super) version: Version,
    pub(super) path: PathBuf,
    pub(super) memory_events: bool,
}

#[derive(Debug)]
pub(super) struct V1Group {
    pub(super) controller: &'static str,
    pub(super) path: PathBuf,
    pub(super) tasks: OwnedFd,
    /// This hierarchy is the tree itself: commands join their own groups below.
    pub(super) is_tree: bool,
}

impl CellGroup {
    /// Whether the groups alone hold every process.
    pub const fn contains(&self) -> bool {
        self.tree.is_some()
    }

    /// Has a controller hold its part of the limits.
    pub(super) fn limit(
        &mut self,
        version: Version,
        controller: &str,
        path: &Path,
        limits: &Limits,
    ) -> io::Result<()> {
        let rates = limits.read_bytes_per_second.is_some() || limits.write_bytes_per_second.is_some();
        let disks: Vec<String> =
            if rates { disks().into_iter().map(|(_, number)| number).collect() } else { Vec::new() };
        let told = told(version, controller, limits, &disks);
        for setting in told.settings {
            let written = write(&path.join(setting.file), &setting.text);
            if setting.required {
                written?;
            }
        }
        self.in_force.extend(told.in_force.into_iter().map(|(name, value)| (name.to_owned(), value)));
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn tree(version: Version, path: &Path, memory_events: bool) -> CellGroup {
        let tree = CellTree { version, path: path.to_owned(), memory_events };
        CellGroup { tree: Some(tree), ..CellGroup::default() }
    }

    #[test]
    fn limits_are_written_where_the_version_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        let limits = Limits { memory_bytes: Some(4096), cpus: Some(0.5), ..Limits::default() };
        // The kernel makes the files; none is made by us, and one that may be missing is no error.
        for name in ["memory.max", "cpu.max"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let mut cell = CellGroup::default();
        for controller in ["pids", "memory", "cpu"] {
            cell.limit(Version::V2, controller, dir.path(), &limits).unwrap();
        }
        assert_eq!((read("memory.max"), read("cpu.max")), ("4096".into(), "50000 100000".into()));
        assert!(!dir.path().join("memory.swap.max").exists());
        assert_eq!(cell.in_force.keys().collect::<Vec<_>>(), ["memory_bytes", "cpus"]);
        let pids = Limits { pids: Some(1), ..Limits::default() };
        assert!(cell.limit(Version::V2, "pids", dir.path(), &pids).is_err(), "it would not hold");
        assert!(!cell.in_force.contains_key("pids"));
    }

    #[test]
    fn each_version_counts_its_victims() {
        let dir = tempfile::tempdir().unwrap();
        let cell = tree(Version::V2, dir.path(), true);
        assert_eq!(cell.oom_kills(), None);
        fs::write(dir.path().join("memory.events"), "low 0\nhigh 3\nmax 7\noom 2\noom_kill 2\n").unwrap();
        assert_eq!(cell.oom_kills(), Some(2));
        let mut cell = tree(Version::V1, dir.path(), false);
        assert_eq!(cell.oom_kills(), None, "the tree of `pids` knows nothing of memory");
        for name in ["tasks", "memory.oom_control"] {
            fs::write(dir.path().join(name), "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n").unwrap();
        }
        let tasks = fs::File::options().write(true).open(dir.path().join("tasks")).unwrap();
        cell.v1.push(V1Group {
            controller: "memory",
            path: dir.path().into(),
            tasks: tasks.into(),
            is_tree: false,
        });
        assert_eq!((cell.oom_kills(), cell.tasks().count()), (Some(5), 1));
    }

    #[test]
    fn a_command_has_a_group_below_its_cell() {
        let dir = tempfile::tempdir().unwrap();
        let cell = tree(Version::V2, dir.path(), false);
        let command = cell.make_command(7).unwrap();
        let (_, procs) = command.birth().unwrap();
        assert_eq!(procs, dir.path().join("c7/cgroup.procs"));
        assert!(command.tasks().is_none());
        fs::write(dir.path().join("c7/cpu.stat"), "usage_usec 30\nuser_usec 20\nsystem_usec 10\n").unwrap();
        assert_eq!(command.cpu(), Some((20, 10)));
        fs::remove_file(dir.path().join("c7/cpu.stat")).unwrap();
        cell.remove().unwrap();
        assert!(!dir.path().exists(), "cell and command are gone");
        assert!(CellGroup::default().make_command(1).unwrap().birth().is_none(), "no groups, no place");
    }
}
