//! The sandbox boundary: namespaces, a read-only root, no capabilities,
//! filters for system calls and Landlock around ordinary processes of Linux.
//!
//! # How it works
//! Each cell has a *zygote*: a fresh execution of this very binary that never
//! holds the memory of the runner. It enters new namespaces, its first child
//! (process 1 of the new pid namespace) builds the root and pivots into it,
//! and from then on the zygote forks commands on request. A step therefore
//! costs one fork and exec, not a sandbox. Commands are made with
//! `CLONE_PARENT`: they are children of the runner, which waits for them and
//! signals them exactly as it does with those of the process boundary.
//!
//! The end of the runner ends everything: the zygote lives as long as its
//! socket, process 1 as long as the zygote, all others as long as process 1.
//! Mounts exist in the namespace only, so nothing can be left on the host but
//! empty control groups, which `sweep` removes.
//!
//! Paths of workspace and temporary directory are the same inside as on the
//! host: messages, problem matchers and caches that name them stay true on
//! both sides, and whatever the engine does with a path works untranslated.
//!
//! It must never touch a process or a group that does not carry the tag of its
//! own runner, never mount anything in the namespace of the host, and never
//! let a command start when a part of its fence could not be built.

mod cell;
mod driver;
mod idmap;
mod inside;
mod landlock;
mod network;
mod probe;
mod seccomp;
mod sys;
mod volume;
mod wire;
mod zygote;

pub use driver::{Network, Root, SandboxDriver, SandboxOptions};
pub use probe::{Check, Probe};
