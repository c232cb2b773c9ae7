//! What a trial leaves when its process ends in the middle of it: a platform
//! that hangs does not notice that nobody waits for it any more. The tag of a
//! trial names the process that makes it, so that it is found again: by that
//! process when it leaves, and by the next one if it was killed. It must never
//! touch a trial of another process that lives.

use crate::driver::{GvisorDriver, GvisorOptions, Network};
use crate::platform;
use fleetfoot_driver::{Driver, DriverError};
use fleetfoot_driver_linux::{procfs, tree};
use fleetfoot_model::ids::AttemptRef;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Of a runner's tag, so much is part of the tag of a trial: the whole must not be cut.
const TAG: usize = 36;

/// Which trials of a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trials {
    /// Those of processes that are no more.
    Orphaned,
    /// Those, and all of this process: it makes none any more.
    All,
}

/// What the tags of all trials of a runner begin with.
fn prefix(tag: &str) -> Result<String, DriverError> {
    let tag: String = tree::clean_tag(tag)?.chars().take(TAG).collect();
    Ok(format!("{tag}-probe-"))
}

/// A tag that no other trial has: trials beside each other are each other's strangers.
pub(crate) fn fresh_tag(tag: &str) -> Result<String, DriverError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ok(format!("{}{}-{number}", prefix(tag)?, std::process::id()))
}

/// The process that a tag of a trial names.
fn maker(tag: &str, prefix: &str) -> Option<i32> {
    tag.strip_prefix(prefix)?.split_once('-')?.0.parse().ok()
}

impl GvisorDriver {
    /// Ends and removes trials of the runner that `options` name.
    ///
    /// # Errors
    /// If something could not be removed; the rest is.
    pub async fn end_trials(options: &GvisorOptions, which: Trials) -> Result<(), DriverError> {
        let base = options.state.clone().unwrap_or_else(platform::state_directory);
        let prefix = prefix(&options.tag)?;
        let mut outcome = Ok(());
        for entry in std::fs::read_dir(&base).into_iter().flatten().filter_map(Result::ok) {
            let name = entry.file_name();
            let tag = name.to_str().and_then(|n| n.strip_prefix(crate::driver::STATE_PREFIX));
            let Some((tag, pid)) = tag.and_then(|t| Some((t, maker(t, &prefix)?))) else { continue };
            let own = u32::try_from(pid).is_ok_and(|pid| pid == std::process::id());
            let orphaned = procfs::stat(pid).is_none_or(|s| s.is_dead());
            if orphaned || (own && which == Trials::All) {
                let trial = GvisorOptions { tag: tag.to_owned(), network: Network::None, ..options.clone() };
                outcome = outcome.and(end(trial, &entry.path()).await);
            }
        }
        outcome
    }
}

/// Ends the cells of one trial and removes their directory.
async fn end(options: GvisorOptions, state: &Path) -> Result<(), DriverError> {
    let driver = GvisorDriver::new(options)?;
    for entry in std::fs::read_dir(state).into_iter().flatten().filter_map(Result::ok) {
        if let Some(attempt) = entry.file_name().to_str().and_then(|n| n.parse::<AttemptRef>().ok()) {
            driver.sweep(attempt).await?;
        }
    }
    crate::spec::remove(state).map_err(|e| DriverError::io("cannot remove what a trial left", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_trials_name_their_process_however_long_the_runner_is_called() {
        for tag in ["r1-127-0-0-1-7878".to_owned(), "r1-".to_owned() + &"x".repeat(200)] {
            let (one, two) = (fresh_tag(&tag).unwrap(), fresh_tag(&tag).unwrap());
            assert_ne!(one, two);
            assert_eq!(tree::clean_tag(&one).unwrap(), one, "it must not be cut");
            let pid = i32::try_from(std::process::id()).unwrap();
            assert_eq!(maker(&one, &prefix(&tag).unwrap()), Some(pid));
            assert_eq!(maker(&one, &prefix("r2-127-0-0-1-7878").unwrap()), None);
        }
    }
}
