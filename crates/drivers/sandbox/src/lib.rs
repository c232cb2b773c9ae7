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
//! A cell may be shown further files and directories (`CellRequest::mounts`),
//! and the root of an unpacked image instead of the host's programs
//! (`CellRequest::root`, or `SandboxOptions::root`). A place that the image does
//! not have is made by showing its directory entry by entry; the image itself
//! is never changed. With a network of its own, `Cell::reach` lets a cell
//! connect to single ports of the host's loopback (services of the job): the
//! zygote listens inside, the runner connects outside.
//!
//! # What holds
//! A job has no capability and can gain none; sees only its own processes, its
//! own directories and the read-only root; cannot mount, make namespaces or
//! devices, trace or signal anything outside, use the kernel's key rings, bpf,
//! io_uring, userfaultfd or raw sockets; cannot fill `/tmp`, `/home`,
//! `/dev/shm` beyond their sizes; and ends with the runner. As root, jobs run
//! as a user of the host that owns no file, and the workspace is shown with
//! its owner mapped, so that what they write is the runner's on disk.
//! `tests/escape.rs` tries all of it, as root and as an ordinary user.
//!
//! # What does not hold
//! - The kernel is shared: one hole in it is a hole in the fence. `gvisor` and
//!   `microvm` are for jobs that must be expected to try.
//! - With the network `host` a job reaches services on the host's loopback, and
//!   abstract sockets where the kernel's Landlock has no scopes (ABI below 6).
//! - With the network `private` a service on a public address of the host is as
//!   reachable as it is for everybody else; and over IPv6 a job reaches out only
//!   where the host has a way out over IPv6.
//! - Reading and writing of disks is not limited in speed. What a job writes
//!   without a limit of its workspace fills the disk of the runner.
//! - What an operator or the engine shows beside the job's own directories
//!   (hooks, tool cache, actions) can be read by the job, and the tool cache can
//!   be written: a job may leave something there for the next one.
//! - Whatever everybody may read in `/usr` and `/opt` of the host can be read,
//!   and `/proc` tells about processor, memory and load of the machine.
//! - The size of the workspace is limited only if the runner is root and
//!   `workspace_bytes` is set. Without control groups (an ordinary user
//!   without delegation) limits hold for each process, not for the job.
//! - If the runner is an ordinary user, jobs have that user's rights to the
//!   files that they can see.
//! - Programs for 32 bits are ended (SIGSYS).
//!
//! It must never touch a process or a group that does not carry the tag of its
//! own runner, never mount anything in the namespace of the host, and never
//! let a command start when a part of its fence could not be built.

mod cell;
mod driver;
mod inside;
mod landlock;
mod probe;
mod seccomp;
mod sys;
mod volume;
mod wire;
mod zygote;

pub use driver::{Network, Root, SandboxDriver, SandboxOptions};
pub use probe::{Check, Probe};
