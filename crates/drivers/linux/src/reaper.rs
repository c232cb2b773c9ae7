//! Makes this process the subreaper of everything that jobs leave behind, and
//! collects the adopted children when they end.
//!
//! It must never collect a child that somebody else in this process started
//! and waits for. Commands of this driver are told apart by a registry;
//! children of other code by their session, which is ours, while every
//! descendant of a command lives in another one.

#![expect(unsafe_code, reason = "waitid with WNOWAIT and waitpid on adopted children have no safe form here")]

use crate::procfs;
use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

struct Registry {
    /// Leaders that a handle will wait for.
    ours: Option<HashSet<i32>>,
    /// Cells that are alive; the thread rests while there are none.
    cells: usize,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { ours: None, cells: 0 });
static WAKE: Condvar = Condvar::new();
static START: Once = Once::new();

fn lock() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `spawn` and registers the pid that it returns before anybody can collect it.
///
/// # Errors
/// Those of `spawn`.
pub fn register<E>(spawn: impl FnOnce() -> Result<i32, E>) -> Result<i32, E> {
    let mut registry = lock();
    let pid = spawn()?;
    registry.ours.get_or_insert_default().insert(pid);
    Ok(pid)
}

/// Gives up a leader: it was waited for, or nobody will.
pub fn release(pid: i32) {
    if let Some(ours) = &mut lock().ours {
        ours.remove(&pid);
    }
}

/// Keeps the reaper awake while it lives.
#[derive(Debug)]
pub struct Awake(());

impl Default for Awake {
    fn default() -> Self {
        Self::new()
    }
}

impl Awake {
    /// Starts the reaper if this is the first.
    #[must_use]
    pub fn new() -> Self {
        START.call_once(|| {
            let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
            let started = std::thread::Builder::new().name("fleetfoot-reaper".into()).spawn(run);
            if let Err(error) = started {
                tracing::warn!(%error, "no reaper thread: ended orphans of jobs stay as zombies");
            }
        });
        lock().cells += 1;
        WAKE.notify_all();
        Self(())
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        lock().cells -= 1;
    }
}

/// Looks often while there is something to collect and seldom otherwise: one
/// look is one system call.
fn run() {
    const SHORT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_millis(160);
    // What a cell leaves may end a little later than the cell: some two seconds.
    const LAST_LOOKS: u32 = 16;
    let mut pause = SHORT;
    let mut last_scan = Instant::now();
    let mut looks_without_cells = 0;
    loop {
        let mut registry = lock();
        looks_without_cells = if registry.cells == 0 { looks_without_cells + 1 } else { 0 };
        while registry.cells == 0 && looks_without_cells > LAST_LOOKS {
            registry = WAKE.wait(registry).unwrap_or_else(PoisonError::into_inner);
            pause = SHORT;
        }
        drop(registry);
        std::thread::sleep(pause);
        let look = reap_adopted();
        if look.blocked && last_scan.elapsed() > Duration::from_secs(1) {
            scan();
            last_scan = Instant::now();
        }
        pause = if look.reaped > 0 { SHORT } else { (pause * 2).min(LONG) };
    }
}

/// What a look for adopted zombies found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// How many were collected.
    pub reaped: usize,
    /// The first zombie in line belongs to somebody else, so those behind it could not be seen.
    pub blocked: bool,
}

/// Collects adopted children that have ended, as far as they can be seen cheaply.
pub fn reap_adopted() -> Look {
    let mut look = Look::default();
    loop {
        // SAFETY: an all-zero siginfo_t is a valid value of this plain struct.
        let mut found: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `found` outlives the call; WNOWAIT leaves the child collectable by its owner.
        let rc = unsafe {
            libc::waitid(libc::P_ALL, 0, &raw mut found, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
        };
        // SAFETY: waitid filled the fields for a child, or left them zero.
        let pid = if rc == 0 { unsafe { found.si_pid() } } else { 0 };
        if pid == 0 {
            return look;
        }
        if collect_if_adopted(pid) {
            look.reaped += 1;
        } else {
            look.blocked = true;
            return look;
        }
    }
}

/// Collects every adopted zombie, found by a walk over `/proc`.
pub fn scan() {
    let me = rustix::process::getpid().as_raw_nonzero().get();
    for process in procfs::all() {
        if process.parent == me && process.is_dead() {
            collect_if_adopted(process.pid);
        }
    }
}

fn collect_if_adopted(pid: i32) -> bool {
    let registry = lock();
    if registry.ours.as_ref().is_some_and(|ours| ours.contains(&pid)) {
        return false;
    }
    // SAFETY: getsid takes and returns plain numbers. Not rustix: a session whose
    // leader lives outside our pid namespace is 0, which its type cannot hold.
    let (session, ours) = unsafe { (libc::getsid(pid), libc::getsid(0)) };
    let foreign_session = session >= 0 && session != ours;
    if !foreign_session {
        return false;
    }
    // SAFETY: a null status pointer is allowed; the registry is locked, so that no
    // command can be started with this pid between the check and the call.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) == pid }
}
