//! The gVisor boundary: cells on a user-space kernel, through `runsc`.
//!
//! # How it works
//! A cell is an OCI bundle that `runsc` runs without an engine. Process 1 of it
//! (`inside/init.rs`, a static program that runs in any root) holds a socket to
//! the runner and starts commands on request; their descriptors travel through
//! that socket into the guest. A step therefore costs one fork and exec inside
//! gVisor, not another start of `runsc`, and the end of a command is told
//! exactly: by code or by signal, which `runsc exec` cannot tell apart.
//!
//! All processes on the host (runsc, its gofer, the kernel of the guest and
//! whatever the platform makes) live in the control groups of the cell. Ending
//! them ends everything; the next command builds the guest anew, with a fresh
//! `/tmp`. The end of the runner closes the socket, and process 1 ends with it.
//!
//! Paths of workspace and temporary directory are the same inside as on the
//! host. What a job sees of the host is what it sees in a sandbox.
//!
//! # Its networks
//! `none` is gVisor's own network stack with loopback only. `host` and `private`
//! are both what `runsc` calls `host`: gVisor passes sockets on to the network
//! namespace that it finds itself in, which is the host's, or one that was made
//! for the cell ([`fleetfoot_driver_linux::network`]). What that one refuses, the
//! host's kernel refuses: by routes, that belong to a user namespace above the
//! one of gVisor. A job that has taken over the whole of gVisor has sockets there
//! and no right to change a route or a device, or to send packets past them.
//!
//! Two other ways were tried and left. Filters that gVisor's own stack keeps
//! would be gone with gVisor. Giving that stack a device of the namespace
//! (`--network=sandbox`) hands it a packet socket, which no route and no
//! `nftables` sees, so that the filter would have to be in another namespace
//! behind it; and the release of Debian 12 refuses it on newer kernels (“cannot
//! run with network enabled in root network namespace”: it takes the file
//! `/proc/sys/net/core/rmem_default` for a sign of the host's network, and since
//! some release of Linux every network has that). Hiding the file makes `/proc`
//! incomplete, and then the kernel lets no user namespace mount one (“error
//! mounting proc: operation not permitted”).
//!
//! # What holds
//! No system call of a job reaches the host's kernel: gVisor answers them, and
//! is itself an unprivileged user of the host behind a filter of its own. A
//! job has no capability and can gain none, sees the read-only root and its
//! own directories, none of the host's processes, sockets or devices, and
//! ends with the runner. `tests/escape.rs` tries it.
//!
//! # What does not hold
//! - With the network `host` a job reaches what the runner reaches, the host's
//!   loopback too.
//! - With `host` and `private` the host's kernel sees the calls of the job's
//!   sockets, as gVisor passes them on; with `none` it sees none of them.
//! - With the network `private` a service on a public address of the host is as
//!   reachable as it is for everybody else.
//! - A step cannot be given a service's port with the network `none`.
//! - Memory and processes of gVisor itself are paid for by an allowance on top
//!   of the job's limits; the record names it.
//! - A daemon that has left its session and lost its parent ends with the cell,
//!   not with the command that made it.
//! - The size of the workspace is not limited.
//! - gVisor is not quite Linux. Old releases refuse calls of newer libraries:
//!   that of Debian 12 (of 2022) fails `ls -l`, for `statx` with a flag that
//!   it does not know.
//!
//! It must never touch a process, a group or a directory that does not carry
//! the tag of its own runner.

mod cell;
mod driver;
mod guest;
mod handle;
mod platform;
mod probe;
mod spec;
mod trials;
mod wire;

pub use driver::{GvisorDriver, GvisorOptions, Network};
pub use probe::{Check, Probe};
pub use trials::Trials;
