//! What every boundary on Linux needs below its own walls: control groups,
//! starting and collecting processes, looking into `/proc`, ending trees,
//! private networks.
//!
//! Responsible for processes and groups, and for leaving none behind. It knows
//! no boundary, and it must never touch a process or a group that does not
//! carry the tag of its own runner.

pub mod cgroup;
pub mod handle;
pub mod io;
pub mod lookup;
pub mod network;
pub mod procfs;
pub mod reaper;
pub mod spawn;
pub mod system;
pub mod tree;
pub mod userns;
