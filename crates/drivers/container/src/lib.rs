//! The container boundary: Docker and Podman through their API socket, as job
//! containers, services and actions of the workflow syntax, and as a driver
//! for jobs that name no container.
//!
//! # How commands start
//! The first process of a job container is the *keeper* (`keeper/main.rs`), a
//! program of eleven kilobytes without any library, which this crate carries
//! and mounts read-only: no image needs to have anything for it, and it works
//! with a C library of any kind or none. It connects to the runner over a
//! socket that exists for this one connection; the runner passes it the
//! descriptors of a command, and the keeper forks and executes. So a step costs
//! about a millisecond, its output is in order and passes nobody else, its end
//! is known exactly (signal, usage), and everything that the engine put up
//! (namespaces, capabilities, seccomp, control groups) is inherited. When the
//! runner dies, the connection ends, the keeper ends, and the kernel ends the
//! rest. Actions run below a keeper too, in place of `--init`. Services do not:
//! they are started as their image says.
//!
//! # Paths
//! One mapping for job containers and actions: the workspace is
//! `/github/workspace`, the temporary directory `/github/runner_temp`, and of
//! it `_github_home` is `/github/home`, `_github_workflow` is
//! `/github/workflow`, `_runner_file_commands` is `/github/file_commands`.
//!
//! # What a command sees
//! The environment of the image, then of the container, then of the command;
//! the later wins. Capabilities are [`CAPABILITIES`], no new privileges, the
//! engine's default seccomp profile, a network of the attempt's own with IPv6
//! where it leads out, published ports at the loopback of the host only.
//!
//! # What it promises
//! From inside, nothing of the host can be read, written, traced or signalled
//! but the directories of the attempt; no mounts, devices, settings of the
//! kernel, raw packets or namespaces can be made; memory, processes and CPUs
//! are limited as the job says; all processes end with the attempt; nothing
//! stays but what the policy keeps; files belong to the runner's user afterwards.
//! `tests/engines/` tries each of these.
//!
//! # What it does not promise
//! - One kernel: a hole in it is a hole in the fence (gVisor and microvm are for that).
//! - Outgoing traffic is not filtered: private ranges and metadata addresses
//!   are as reachable as the engine's network makes them ([`Network::Internal`] has no way out).
//! - Disk space: what a container writes is not limited by us.
//! - `keyctl`, `bpf`, `userfaultfd`, `io_uring` and the like are as closed as
//!   the engine's default seccomp profile closes them.
//! - Root inside is root outside unless the engine is rootless or maps users.
//! - Steps of a `Dockerfile` have the engine's own capabilities, and the job's limit of processes only where
//!   the runner can make a control group for them (`image/fence.rs`).
//! - An engine without root has no control groups of the first version: the keeper holds memory of each
//!   process and processes of the engine's user then, and nothing holds CPUs.
//! - A job that owns its container can end or confuse its own keeper's
//!   supervisors (same user); it gains nothing but wrong news of itself.
//! - SELinux may refuse the keeper its socket, and runtimes with a network
//!   stack and files of their own (`runsc` without `--host-uds`) do: starting a
//!   job container then fails with an error, within seconds.

mod client;
mod config;
mod create;
mod driver;
mod engine;
mod error;
mod group;
mod image;
mod keeper;
mod memory;
mod names;
pub mod options;
mod owner;
mod paths;
pub mod ports;
mod probe;
mod spare;
mod unpack;
pub mod volumes;

pub use config::{ContainerOptions, Endpoint, Keep, KeepPolicy, Network, Pull};
pub use create::CAPABILITIES;
pub use driver::ContainerDriver;
pub use engine::{ContainerEngine, EngineAbout};
pub use image::reference;
pub use probe::{Check, Probe};
