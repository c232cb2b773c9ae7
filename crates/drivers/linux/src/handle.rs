//! Waiting for and signalling one started command. It must never signal a
//! process group after its leader was collected: the number may by then belong
//! to somebody else.

#![expect(
    unsafe_code,
    reason = "wait4 (resource usage of one child) and registering a descriptor with the reactor"
)]

use crate::cgroup::CommandGroup;
use crate::reaper;
use crate::tree::Tree;
use async_trait::async_trait;
use fleetfoot_driver::{Exit, Handle, Signal};
use fleetfoot_model::sync::Usage;
use rustix::process::Pid;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::OnceCell;

/// Waits for one command and signals it.
#[derive(Debug)]
pub struct ProcessHandle {
    pid: i32,
    pidfd: AsyncFd<OwnedFd>,
    group: CommandGroup,
    cell: Arc<Tree>,
    exit: OnceCell<Exit>,
    /// Whether the leader was collected; held while its group is signalled.
    collected: Mutex<bool>,
}

impl ProcessHandle {
    /// Watches a registered child.
    ///
    /// # Errors
    /// If the reactor does not take the descriptor.
    pub fn new(pid: i32, pidfd: OwnedFd, group: CommandGroup, cell: Arc<Tree>) -> std::io::Result<Self> {
        // SAFETY: the descriptor is owned by the AsyncFd alone, stays the same and is closed after it
        // was taken from the reactor.
        let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE)? };
        Ok(Self { pid, pidfd, group, cell, exit: OnceCell::new(), collected: Mutex::new(false) })
    }

    fn collect(&self) -> Option<Exit> {
        let mut collected = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        let mut status: libc::c_int = 0;
        // SAFETY: rusage is plain memory, for which all zeroes are valid.
        let mut rusage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are valid; the pid is our child and, being registered, was
        // collected by nobody else.
        let got = unsafe { libc::wait4(self.pid, &raw mut status, libc::WNOHANG, &raw mut rusage) };
        if got == 0 {
            return None;
        }
        *collected = true;
        reaper::release(self.pid);
        if got != self.pid {
            tracing::error!(pid = self.pid, "somebody else collected a command of ours");
            return Some(Exit::default());
        }
        let mut exit = Exit { usage: usage_of(&rusage), ..Exit::default() };
        if libc::WIFSIGNALED(status) {
            exit.signal = Some(libc::WTERMSIG(status));
        } else {
            exit.code = Some(libc::WEXITSTATUS(status));
        }
        if let Some((user, system)) = self.group.cpu() {
            exit.usage.cpu_user_us = exit.usage.cpu_user_us.max(user);
            exit.usage.cpu_system_us = exit.usage.cpu_system_us.max(system);
        }
        exit.out_of_memory = self.cell.ended_for_memory(&exit);
        Some(exit)
    }
}

/// `ru_maxrss` is in KiB, blocks are of 512 bytes.
fn usage_of(rusage: &libc::rusage) -> Usage {
    let micros = |t: libc::timeval| t.tv_sec.unsigned_abs() * 1_000_000 + t.tv_usec.unsigned_abs();
    Usage {
        cpu_user_us: micros(rusage.ru_utime),
        cpu_system_us: micros(rusage.ru_stime),
        max_rss_bytes: rusage.ru_maxrss.unsigned_abs() * 1024,
        read_bytes: rusage.ru_inblock.unsigned_abs() * 512,
        write_bytes: rusage.ru_oublock.unsigned_abs() * 512,
    }
}

#[async_trait]
impl Handle for ProcessHandle {
    async fn wait(&self) -> Exit {
        *self
            .exit
            .get_or_init(|| async {
                loop {
                    if let Some(exit) = self.collect() {
                        return exit;
                    }
                    match self.pidfd.readable().await {
                        Ok(mut ready) => match self.collect() {
                            Some(exit) => return exit,
                            None => ready.clear_ready(),
                        },
                        // The runtime is going away; nothing is left to wait with.
                        Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                    }
                }
            })
            .await
    }

    fn signal(&self, signal: Signal) {
        let collected = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        let signal = match signal {
            Signal::Interrupt => rustix::process::Signal::INT,
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Kill => rustix::process::Signal::KILL,
        };
        if !*collected && let Some(pid) = Pid::from_raw(self.pid) {
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }

    fn kill_tree(&self) {
        self.signal(Signal::Kill);
        if !self.group.end() {
            self.cell.end_session(self.pid);
        }
    }
}

impl Drop for ProcessHandle {
    fn drop(&mut self) {
        // Nobody will wait any more: the reaper takes over.
        if !*self.collected.lock().unwrap_or_else(PoisonError::into_inner) {
            reaper::release(self.pid);
        }
    }
}
