//! Control groups: finds out once what this machine really lets us do, makes
//! one group a cell and one a command below it, and ends and removes them.
//!
//! Three shapes exist. *cgroup-v2*: one tree for everything. *hybrid*: a v2
//! tree without controllers ends processes (`cgroup.kill`), v1 hierarchies
//! hold the limits. *cgroup-v1*: the `pids` hierarchy is the tree. It must
//! never touch a group outside `fleetfoot-TAG`.

mod cell;
mod delegate;
mod files;
mod layout;
mod limit;

pub use cell::{CellGroup, CommandGroup};
pub use limit::{PAST_THE_CACHE, disks};

use cell::{CellTree, V1Group};
use delegate::{hand_down, try_base};
use files::{end_tree, find_groups, make_below, remove_tree, wait_empty};
use fleetfoot_model::spec::Limits;
use layout::Layout;
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::io;
use std::path::PathBuf;

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
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let layout = Layout::read(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        let name = format!("fleetfoot-{tag}");
        let mut roots: Vec<_> = layout.v1.iter().map(|(_, p)| (Version::V1, p.root.clone())).collect();
        roots.extend(layout.v2.iter().map(|p| (Version::V2, p.root.clone())));
        let v1: Vec<_> = layout
            .v1
            .iter()
            .filter_map(|(controller, place)| Some((*controller, try_base(place, &name, "tasks")?)))
            .collect();
        let v2 = layout.v2.as_ref().and_then(|place| {
            let base = try_base(place, &name, "cgroup.events")?;
            let elsewhere: Vec<&str> = v1.iter().map(|(c, _)| *c).collect();
            let controllers = hand_down(&base, tag, &elsewhere);
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

    /// Limits that groups of a cell can hold, each seen to work.
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
        let mut cell = CellGroup::default();
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
