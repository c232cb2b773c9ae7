//! Gates: what keeps a run or a job from being queued until somebody approves
//! and a timer ends. Here is what an environment demands of a ref, and the
//! states of the gates that are shut. A gate that was never shut is open;
//! nothing here knows who may approve, or writes anything.

use fleetfoot_model::pattern::fits;
use fleetfoot_model::projects::EnvironmentRules;
use fleetfoot_model::{JobId, RunId, Timestamp};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// What a gate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gate {
    /// A whole run.
    Run(RunId),
    /// One job.
    Job(JobId),
}

/// What an environment demands of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Nothing.
    Nothing,
    /// To be held.
    Hold {
        /// Until somebody approves.
        approval: bool,
        /// And for this long at least.
        wait: Option<Duration>,
    },
    /// The ref of the run is not let in; says why.
    Refused(String),
}

/// What these rules demand of a job of a run of this ref.
#[must_use]
pub fn demand(environment: &str, rules: &EnvironmentRules, git_ref: Option<&str>) -> Demand {
    if !rules.branches.is_empty() {
        let Some(git_ref) = git_ref else {
            return Demand::Refused(format!(
                "environment {environment} takes jobs of {} only, and this run has no ref",
                rules.branches.join(", ")
            ));
        };
        if !lets_in(&rules.branches, git_ref) {
            return Demand::Refused(format!(
                "environment {environment} takes jobs of {} only, not of {git_ref}",
                rules.branches.join(", ")
            ));
        }
    }
    let approval = !rules.reviewers.is_empty();
    let wait = (rules.wait_minutes > 0).then(|| Duration::from_secs(u64::from(rules.wait_minutes) * 60));
    if approval || wait.is_some() { Demand::Hold { approval, wait } } else { Demand::Nothing }
}

/// Whether one of the patterns matches a full ref. A pattern without `refs/` is about branches; the
/// last pattern that matches decides, and one that begins with `!` keeps out.
fn lets_in(patterns: &[String], git_ref: &str) -> bool {
    let branch = git_ref.strip_prefix("refs/heads/").or((!git_ref.starts_with("refs/")).then_some(git_ref));
    let mut inside = false;
    for pattern in patterns {
        let (keep_out, pattern) = match pattern.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, pattern.as_str()),
        };
        let matched = if pattern.starts_with("refs/") {
            let full = format!("refs/heads/{}", branch.unwrap_or_default());
            fits(pattern, if branch.is_some() { &full } else { git_ref })
        } else {
            branch.is_some_and(|branch| fits(pattern, branch))
        };
        if matched {
            inside = !keep_out;
        }
    }
    inside
}

/// Who has to approve what, in a sentence.
#[must_use]
pub fn approval_in_words(environment: Option<&str>, reviewers: &[String], reason: Option<&str>) -> String {
    match environment {
        Some(name) if reviewers.is_empty() => {
            format!("It waits for approval of environment {name} by an admin.")
        }
        Some(name) => format!("It waits for approval of environment {name} by {}.", reviewers.join(" or ")),
        None => format!(
            "Its run waits for approval by a member{}.",
            reason.map(|r| format!(" ({r})")).unwrap_or_default()
        ),
    }
}

/// The gates that are shut.
#[derive(Clone, Debug, Default)]
pub struct Gates {
    shut: HashMap<Gate, Shut>,
    /// Timers of gates that wait for nothing else.
    timers: BTreeSet<(Timestamp, Gate)>,
}

/// Why a gate is shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shut {
    /// Somebody has to approve.
    pub approval: bool,
    /// A timer runs until then.
    pub due: Option<Timestamp>,
}

impl Gates {
    /// Shuts a gate. One that nothing keeps shut stays open.
    pub fn shut(&mut self, gate: Gate, why: Shut) {
        self.forget(gate);
        if !why.approval {
            let Some(due) = why.due else { return };
            self.timers.insert((due, gate));
        }
        self.shut.insert(gate, why);
    }

    /// Why a gate is shut; `None` if it is open.
    #[must_use]
    pub fn why(&self, gate: Gate) -> Option<Shut> {
        self.shut.get(&gate).copied()
    }

    /// Whether somebody has to approve.
    #[must_use]
    pub fn is_pending(&self, gate: Gate) -> bool {
        self.why(gate).is_some_and(|w| w.approval)
    }

    /// Somebody approved. Whether the gate is open now; `None` if nobody had to.
    pub fn approve(&mut self, gate: Gate, now: Timestamp) -> Option<bool> {
        let why = self.shut.get_mut(&gate).filter(|w| w.approval)?;
        why.approval = false;
        match why.due {
            Some(due) if due > now => {
                self.timers.insert((due, gate));
                Some(false)
            }
            _ => {
                self.shut.remove(&gate);
                Some(true)
            }
        }
    }

    /// Opens the gates whose timers ended, and names them, the earliest first.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Gate> {
        let mut open = Vec::new();
        while let Some(&(due, gate)) = self.timers.first().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, gate));
            self.shut.remove(&gate);
            open.push(gate);
        }
        open
    }

    /// When the next timer ends.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// What the gate held is over. Why it was shut, if it was.
    pub fn forget(&mut self, gate: Gate) -> Option<Shut> {
        let why = self.shut.remove(&gate)?;
        if let Some(due) = why.due {
            self.timers.remove(&(due, gate));
        }
        Some(why)
    }
}

#[cfg(test)]
mod tests;
