//! The processes of one cell: the groups that hold them, the limits in force,
//! and the ways to find what slipped out. It must never end a process that
//! does not carry the marker of this attempt and this runner or descend from
//! one of its commands.

use crate::cgroup::{CellGroup, Cgroups};
use crate::procfs::{self, Stat};
use crate::reaper;
use fleetfoot_driver::{DriverError, DriverErrorKind, Exit};
use fleetfoot_model::ids::AttemptRef;
use fleetfoot_model::spec::Limits;
use rustix::process::Resource;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long ended processes may take to go before we say so.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// How often a destructor looks for processes that are left, at most.
const LOOKS: usize = 20;

/// What a cell and the handles of its commands share.
#[derive(Debug)]
pub struct Tree {
    /// The groups that hold it.
    pub groups: CellGroup,
    /// What every process of it carries in its environment.
    pub markers: Vec<String>,
    /// Sessions of the commands, for machines without groups.
    sessions: Mutex<HashSet<i32>>,
    oom_seen: AtomicU64,
    /// Limits that hold by resource limits of the process instead.
    pub rlimits: Vec<(libc::__rlimit_resource_t, u64)>,
}

/// `NAME=VALUE` entries that every process of an attempt is started with.
#[must_use]
pub fn markers(tag: &str, attempt: &str) -> Vec<String> {
    vec![format!("FLEETFOOT_ATTEMPT={attempt}"), format!("FLEETFOOT_RUNNER_TAG={tag}")]
}

/// The tag of a runner in the form in which it can name groups and files.
///
/// # Errors
/// If nothing is left of it.
pub fn clean_tag(tag: &str) -> Result<String, DriverError> {
    let clean: String = tag
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '-' })
        .take(64)
        .collect();
    if clean.is_empty() {
        return Err(DriverError::new(DriverErrorKind::Other, "the tag of the runner is empty"));
    }
    Ok(clean)
}

/// Nobody may have more than the hard maximum that holds for the runner, and asking for it fails.
fn clamped(resource: Resource, value: u64) -> u64 {
    rustix::process::getrlimit(resource).maximum.map_or(value, |most| value.min(most))
}

impl Tree {
    /// Makes the groups of a cell; limits that they cannot hold become resource limits of its processes.
    ///
    /// # Errors
    /// If the groups cannot be made; nothing is left behind then.
    pub fn new(
        cgroups: &Cgroups,
        tag: &str,
        attempt: AttemptRef,
        asked: &Limits,
        default_pids: Option<u64>,
    ) -> Result<Self, DriverError> {
        let name = attempt.to_string();
        let mut limits = asked.clone();
        limits.pids = limits.pids.or(default_pids);
        let mut groups = cgroups
            .make_cell(&name, &limits)
            .map_err(|e| DriverError::io("cannot make the control groups of the job", e))?;
        let mut rlimits = Vec::new();
        if let Some(pids) = limits.pids
            && !groups.in_force.contains_key("pids")
        {
            let pids = clamped(Resource::Nproc, pids);
            rlimits.push((libc::RLIMIT_NPROC, pids));
            groups.in_force.insert("pids".into(), format!("{pids} (rlimit)"));
        }
        if let Some(bytes) = limits.memory_bytes
            && !groups.in_force.contains_key("memory_bytes")
        {
            let bytes = clamped(Resource::Data, bytes);
            rlimits.push((libc::RLIMIT_DATA, bytes));
            groups.in_force.insert("memory_bytes".into(), format!("{bytes} (rlimit)"));
        }
        let oom_seen = groups.oom_kills().unwrap_or_else(procfs::machine_oom_kills);
        Ok(Self {
            groups,
            markers: markers(tag, &name),
            sessions: Mutex::default(),
            oom_seen: AtomicU64::new(oom_seen),
            rlimits,
        })
    }

    /// Remembers the session of a started command, for machines without groups.
    pub fn add_session(&self, leader: i32) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(leader);
    }

    /// Ends every process and removes the groups without waiting, for destructors.
    pub fn end_now(&self) {
        if self.groups.contains() {
            self.groups.end();
        } else {
            let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).clone();
            // Again: a process may have had a child between the look and its end.
            for _ in 0..LOOKS {
                let escaped = self.escaped(&sessions);
                if escaped.is_empty() {
                    break;
                }
                escaped.iter().for_each(procfs::kill_exactly);
                std::thread::yield_now();
            }
        }
        let _ = self.groups.remove();
    }

    /// Whether the kernel ended a process for memory since the last look.
    pub fn ended_for_memory(&self, exit: &Exit) -> bool {
        if let Some(now) = self.groups.oom_kills() {
            return now > self.oom_seen.swap(now, Ordering::Relaxed);
        }
        // Without a group only the machine-wide counter is left: believed for commands that
        // died as the kernel's victims do.
        let victim = exit.signal == Some(libc::SIGKILL) || exit.code == Some(128 + libc::SIGKILL);
        victim && {
            let now = procfs::machine_oom_kills();
            now > self.oom_seen.swap(now, Ordering::Relaxed)
        }
    }

    /// Ends the processes of one command without the help of a group.
    pub fn end_session(&self, session: i32) {
        for process in self.escaped(&HashSet::from([session])) {
            procfs::kill_exactly(&process);
        }
    }

    /// Living processes of these sessions, their descendants, and whoever carries the marker.
    fn escaped(&self, sessions: &HashSet<i32>) -> Vec<Stat> {
        let me = rustix::process::getpid().as_raw_nonzero().get();
        let all = procfs::all();
        let mut ours: HashSet<i32> = all
            .iter()
            .filter(|p| {
                p.pid != me && (sessions.contains(&p.session) || procfs::has_markers(p.pid, &self.markers))
            })
            .map(|p| p.pid)
            .collect();
        loop {
            let before = ours.len();
            let children: Vec<i32> =
                all.iter().filter(|p| ours.contains(&p.parent) && p.pid != me).map(|p| p.pid).collect();
            ours.extend(children);
            if ours.len() == before {
                break;
            }
        }
        all.into_iter().filter(|p| ours.contains(&p.pid) && !p.is_dead()).collect()
    }

    /// Ends every process of the cell and waits until none is left.
    pub async fn end_all(&self) {
        let deadline = Instant::now() + END_DEADLINE;
        let mut pause = Duration::from_micros(500);
        loop {
            let alive = if self.groups.contains() {
                self.groups.populated() && {
                    self.groups.end();
                    true
                }
            } else {
                let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let escaped = self.escaped(&sessions);
                escaped.iter().for_each(procfs::kill_exactly);
                !escaped.is_empty()
            };
            if !alive {
                break;
            }
            if Instant::now() > deadline {
                tracing::error!("processes of the job do not end: they wait inside the kernel");
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
        reaper::reap_adopted();
    }
}

/// Ends every process that carries the markers, wherever it is.
///
/// # Errors
/// If some do not end in time.
pub async fn end_marked(markers: &[String]) -> Result<(), DriverError> {
    let deadline = Instant::now() + END_DEADLINE;
    loop {
        let left: Vec<Stat> = procfs::all()
            .into_iter()
            .filter(|p| !p.is_dead() && procfs::has_markers(p.pid, markers))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let message = format!("{} processes of an old attempt do not end", left.len());
            return Err(DriverError::new(DriverErrorKind::Other, message));
        }
        left.iter().for_each(procfs::kill_exactly);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
