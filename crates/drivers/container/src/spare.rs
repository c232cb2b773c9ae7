//! Spare networks: empty, labelled, made in the background, so that an attempt
//! finds a network of its own that nobody has used, and waits neither for its
//! making nor for its removal. A network serves one attempt and goes then.
//!
//! Engines cannot change a label, so whose a spare network is stands in a small
//! file in the runner's own directory; the sweep reads it, also after a crash.
//! It must never hand out a network twice, and never count one as removed that
//! the engine still has.

use crate::client::Client;
use crate::config::Network;
use crate::engine::Shared;
use crate::group::network;
use crate::names;
use bollard::models::Network as EngineNetwork;
use fleetfoot_driver_linux::procfs;
use fleetfoot_model::ids::AttemptRef;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// What was just started has the engine to itself for so long.
const PAUSE: Duration = Duration::from_millis(500);
/// Beginning of a note of a network that waits for an attempt, or for its removal.
const RUNNER: &str = "runner ";

/// The spare networks of one engine object.
pub(crate) struct Spares {
    /// One file for each spare network.
    directory: PathBuf,
    ready: Mutex<Vec<String>>,
    filling: AtomicBool,
    closed: AtomicBool,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// What a sweep does with a spare network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Somebody has it.
    Stays,
    /// It is that of an attempt that is over.
    Goes,
    /// Its runner is gone; what that left may still be in it, and goes with another sweep.
    GoesIfEmpty,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Process and time of its start: a number alone is given again.
fn owner() -> String {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    format!("{pid}.{}", procfs::stat(pid).map_or(0, |s| s.start_ticks))
}

fn is_alive(owner: &str) -> bool {
    let Some((pid, ticks)) = owner.split_once('.') else { return false };
    let (Ok(pid), Ok(ticks)) = (pid.parse::<i32>(), ticks.parse::<u64>()) else { return false };
    procfs::stat(pid).is_some_and(|s| s.start_ticks == ticks)
}

impl Spares {
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.join("networks"),
            ready: Mutex::default(),
            filling: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            tasks: Mutex::default(),
        }
    }

    fn note(&self, name: &str, text: &str) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        std::fs::write(self.directory.join(name), text)
    }

    fn forget(&self, name: &str) {
        let _ = std::fs::remove_file(self.directory.join(name));
    }

    /// A spare network for an attempt, if there is one.
    pub(crate) fn take(&self, attempt: AttemptRef) -> Option<String> {
        let name = lock(&self.ready).pop()?;
        match self.note(&name, &attempt.to_string()) {
            Ok(()) => Some(name),
            Err(error) => {
                // Without a note nobody would find it after a crash. The next sweep removes it.
                tracing::debug!(%error, name, "a spare network cannot be used");
                self.forget(&name);
                None
            }
        }
    }

    /// What a sweep does with a network that carries the label of spares.
    pub(crate) fn fate(&self, name: &str, made_by: &str, wanted: impl Fn(&str) -> bool) -> Fate {
        let note = std::fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        match note.strip_prefix(RUNNER) {
            Some(owner) if is_alive(owner) => Fate::Stays,
            None if !note.is_empty() => {
                if wanted(&note) {
                    Fate::Goes
                } else {
                    Fate::Stays
                }
            }
            None if is_alive(made_by) && made_by != owner() => Fate::Stays,
            // One that is being made has its note before it exists, so this one is nobody's.
            _ => Fate::GoesIfEmpty,
        }
    }

    /// A sweep has removed it.
    pub(crate) fn removed(&self, name: &str) {
        self.forget(name);
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        tasks.retain(|t| !t.is_finished());
        tasks.push(tokio::spawn(work));
    }

    async fn wait(&self) {
        loop {
            let tasks = std::mem::take(&mut *lock(&self.tasks));
            if tasks.is_empty() {
                return;
            }
            for task in tasks {
                let _ = task.await;
            }
        }
    }
}

/// Whether networks are made and removed in the background.
pub(crate) fn in_background(shared: &Shared) -> bool {
    shared.options.spare_networks > 0 && shared.options.network != Network::None
}

/// Makes spare networks in the background, until there are enough.
pub(crate) fn refill(shared: &Arc<Shared>) {
    let spares = &shared.spares;
    let enough = |shared: &Shared| lock(&shared.spares.ready).len() >= shared.options.spare_networks;
    if !in_background(shared)
        || enough(shared)
        || spares.closed.load(Ordering::Relaxed)
        || spares.filling.swap(true, Ordering::Relaxed)
    {
        return;
    }
    let ours = shared.clone();
    spares.spawn(async move {
        let spares = &ours.spares;
        tokio::time::sleep(PAUSE).await;
        while !enough(&ours) && !spares.closed.load(Ordering::Relaxed) {
            match make(&ours).await {
                Ok(name) => lock(&spares.ready).push(name),
                Err(error) => {
                    // Attempts make their own then, and say what is wrong.
                    tracing::debug!(%error, "no spare network can be made");
                    break;
                }
            }
        }
        spares.filling.store(false, Ordering::Relaxed);
    });
}

async fn make(shared: &Shared) -> Result<String, fleetfoot_driver::DriverError> {
    use std::hash::{BuildHasher, Hasher};
    let chance = std::collections::hash_map::RandomState::new().build_hasher().finish();
    let name = format!("fleetfoot-{}-spare-{chance:016x}", shared.tag);
    let noted = shared.spares.note(&name, &format!("{RUNNER}{}", owner()));
    noted.map_err(|e| fleetfoot_driver::DriverError::io("cannot note a spare network", e))?;
    let labels = names::spare_labels(&shared.tag, &owner());
    match network::make(shared, labels, &name).await {
        Ok(()) => Ok(name),
        Err(error) => {
            shared.spares.forget(&name);
            Err(error)
        }
    }
}

/// The removal of a container that nobody waits for.
pub(crate) type Leaving = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Waits for the containers of an attempt that is over, and removes its network, in the background.
pub(crate) fn leave(shared: &Arc<Shared>, name: String, spare: bool, containers: Vec<Leaving>) {
    // From here on it is the runner's. If that cannot be noted the sweep of the attempt finds it.
    if spare {
        let _ = shared.spares.note(&name, &format!("{RUNNER}{}", owner()));
    }
    let ours = shared.clone();
    shared.spares.spawn(async move {
        futures_util::future::join_all(containers).await;
        if let Err(error) = network::remove(&ours.client, &name).await {
            tracing::debug!(%error, name, "a network stays until the next sweep");
        }
        // Without a note the sweep takes what may be left of it.
        ours.spares.forget(&name);
    });
}

/// Waits until nothing is made or removed in the background any more.
pub(crate) async fn settle(shared: &Shared) {
    shared.spares.wait().await;
}

/// Removes the spare networks, and makes no more.
pub(crate) async fn close(shared: &Shared) {
    shared.spares.closed.store(true, Ordering::Relaxed);
    shared.spares.wait().await;
    let ready = std::mem::take(&mut *lock(&shared.spares.ready));
    for name in ready {
        if let Err(error) = network::remove(&shared.client, &name).await {
            tracing::debug!(%error, name, "a spare network stays until the next sweep");
        }
        shared.spares.forget(&name);
    }
}

/// The last user of an engine is gone: best effort, the sweep of the next start does the rest.
pub(crate) fn abandon(spares: &Spares, client: &Client) {
    let ready = std::mem::take(&mut *lock(&spares.ready));
    if ready.is_empty() {
        return;
    }
    // Without a note they are nobody's.
    ready.iter().for_each(|name| spares.forget(name));
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        let docker = client.docker.clone();
        runtime.spawn(async move {
            for name in ready {
                let _ = docker.remove_network(&name).await;
            }
        });
    }
}

/// Whether the engine refused to remove a network because somebody is still in it.
pub(crate) fn is_used(error: &fleetfoot_driver::DriverError) -> bool {
    ["active endpoints", "being used", "in use"].iter().any(|w| error.message.contains(w))
}

/// The label of spare networks, if a network has it: who made it.
pub(crate) fn maker(network: &EngineNetwork) -> Option<&str> {
    names::label(&network.labels, names::SPARE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_takes_what_is_nobodys() {
        let dir = tempfile::tempdir().unwrap();
        let spares = Spares::new(dir.path());
        let dead = "1.1";
        let fate = |made_by: &str| spares.fate("n", made_by, |a| a == "7.1.1");
        assert_eq!(fate(&owner()), Fate::GoesIfEmpty, "ours, and nobody knows it");
        assert_eq!(fate(dead), Fate::GoesIfEmpty);
        for (note, expected) in [
            (format!("{RUNNER}{}", owner()), Fate::Stays),
            (format!("{RUNNER}{dead}"), Fate::GoesIfEmpty),
            ("7.1.1".to_owned(), Fate::Goes),
            ("8.1.1".to_owned(), Fate::Stays),
        ] {
            spares.note("n", &note).unwrap();
            assert_eq!(fate(dead), expected, "{note}");
        }
        spares.forget("n");
        lock(&spares.ready).push("n".into());
        assert_eq!(spares.take("7.1.1".parse().unwrap()).as_deref(), Some("n"));
        assert_eq!(spares.take("8.1.1".parse().unwrap()), None, "never twice");
        assert_eq!(fate(dead), Fate::Goes);
    }
}
