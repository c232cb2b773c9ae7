//! Containers that were kept for inspection: which of them go. The container
//! engine holds them; nothing is remembered here.

use super::{BoundaryPlan, Refused, make, words};
use crate::config::{BoundaryConfig, RunnerConfig};
use crate::identity::Identity;
use fleetfoot_driver::containers::{Containers, Kept};
use fleetfoot_model::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// Which kept containers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that the configuration does not keep any longer.
    Policy,
    /// Those that ended longer ago than this.
    OlderThan(Duration),
    /// All.
    All,
}

/// The kept containers of one runner.
pub struct KeptContainers {
    engine: Arc<dyn Containers>,
    config: BoundaryConfig,
}

impl std::fmt::Debug for KeptContainers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptContainers").field("config", &self.config).finish_non_exhaustive()
    }
}

impl KeptContainers {
    /// Finds the container engine of a runner.
    ///
    /// # Errors
    /// [`Refused`] if none answers.
    pub async fn open(config: &RunnerConfig, identity: &Identity) -> Result<Self, Refused> {
        let plan = BoundaryPlan::of_runner(config, identity);
        match make::engine(&plan).await {
            Ok((engine, _)) => Ok(Self { engine, config: plan.config }),
            Err(m) => {
                Err(Refused { message: format!("there is no container engine: {}; {}", m.what, m.fix) })
            }
        }
    }

    /// All of them, newest first.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn list(&self) -> Result<Vec<Kept>, Refused> {
        self.engine.kept().await.map_err(|e| Refused { message: words(&e) })
    }

    /// Those of a list (newest first) that go.
    #[must_use]
    pub fn doomed(&self, kept: &[Kept], which: Which, now: Timestamp) -> Vec<Kept> {
        doomed(kept, which, (self.config.container_keep_count, self.config.container_keep_age), now)
    }

    /// Removes some.
    ///
    /// # Errors
    /// If one cannot be removed.
    pub async fn remove(&self, doomed: &[Kept]) -> Result<(), Refused> {
        let ids: Vec<String> = doomed.iter().map(|k| k.id.clone()).collect();
        self.engine.remove_kept(&ids).await.map_err(|e| Refused { message: words(&e) })
    }
}

fn doomed(kept: &[Kept], which: Which, policy: (usize, Duration), now: Timestamp) -> Vec<Kept> {
    let older = |one: &Kept, age: Duration| one.finished_at + age < now;
    let goes = |(number, one): &(usize, &Kept)| match which {
        Which::All => true,
        Which::OlderThan(age) => older(one, age),
        Which::Policy => *number >= policy.0 || older(one, policy.1),
    };
    kept.iter().enumerate().filter(goes).map(|(_, one)| one.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetfoot_model::ids::{AttemptRef, Epoch, JobId};

    fn kept(name: &str, ended: i64) -> Kept {
        Kept {
            id: name.into(),
            name: name.into(),
            attempt: AttemptRef { job: JobId(1), attempt: 1, epoch: Epoch(1) },
            image: "alpine:3".into(),
            finished_at: Timestamp::from_micros(ended * 1_000_000),
            exit_code: 1,
            failed: true,
        }
    }

    #[test]
    fn which_ones_go() {
        let all = [kept("new", 990), kept("middle", 900), kept("old", 100)];
        let now = Timestamp::from_micros(1_000 * 1_000_000);
        let names = |which, policy| -> Vec<String> {
            doomed(&all, which, policy, now).into_iter().map(|k| k.name).collect()
        };
        let long = Duration::from_secs(10_000);
        assert_eq!(names(Which::All, (9, long)), ["new", "middle", "old"]);
        assert_eq!(names(Which::OlderThan(Duration::from_secs(100)), (9, long)), ["old"]);
        assert_eq!(names(Which::OlderThan(Duration::from_secs(99)), (9, long)), ["middle", "old"]);
        assert_eq!(names(Which::Policy, (2, long)), ["old"]);
        assert_eq!(names(Which::Policy, (9, Duration::from_secs(50))), ["middle", "old"]);
        assert!(names(Which::Policy, (9, long)).is_empty());
    }
}
