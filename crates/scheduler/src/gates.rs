//! Gates: what keeps a run or a job from being queued until somebody approves
//! and a timer ends. Here is what an environment demands of a ref, and the
//! states of the gates that are shut. A gate that was never shut is open;
//! nothing here knows who may approve, or writes anything.

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
            glob(pattern, if branch.is_some() { &full } else { git_ref })
        } else {
            branch.is_some_and(|branch| glob(pattern, branch))
        };
        if matched {
            inside = !keep_out;
        }
    }
    inside
}

/// The filter patterns of workflows: `*` without `/`, `**`, `?` and `+` after a character, `[abc]`, `\`.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pieces, text) = (pieces(pattern), text.chars().collect::<Vec<char>>());
    // Which lengths of the text the pieces so far can match: no input costs more than both lengths multiplied.
    let mut reach = vec![false; text.len() + 1];
    reach[0] = true;
    for piece in &pieces {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            let here = |at: usize| at < text.len() && piece.one.takes(text[at]);
            match piece.times {
                Times::Once => {
                    if reach[at] && here(at) {
                        next[at + 1] = true;
                    }
                }
                Times::Optional => {
                    next[at] |= reach[at];
                    if reach[at] && here(at) {
                        next[at + 1] = true;
                    }
                }
                Times::Any => {
                    next[at] |= reach[at];
                    if next[at] && here(at) {
                        next[at + 1] = true;
                    }
                }
                Times::Some => {
                    if (reach[at] || next[at]) && here(at) {
                        next[at + 1] = true;
                    }
                }
            }
        }
        reach = next;
    }
    reach[text.len()]
}

#[derive(Debug)]
struct Piece {
    one: One,
    times: Times,
}

#[derive(Debug)]
enum One {
    Exactly(char),
    Set(Vec<(char, char)>),
    NoSlash,
    Anything,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Times {
    Once,
    Optional,
    Some,
    Any,
}

impl One {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Exactly(own) => *own == c,
            Self::Set(ranges) => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)),
            Self::NoSlash => c != '/',
            Self::Anything => true,
        }
    }
}

fn pieces(pattern: &str) -> Vec<Piece> {
    let mut all: Vec<Piece> = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        let (one, times) = match c {
            '*' if chars.next_if_eq(&'*').is_some() => (One::Anything, Times::Any),
            '*' => (One::NoSlash, Times::Any),
            '?' | '+' => {
                let times = if c == '?' { Times::Optional } else { Times::Some };
                match all.last_mut() {
                    Some(piece) if piece.times == Times::Once => {
                        piece.times = times;
                        continue;
                    }
                    _ => (One::Exactly(c), Times::Once),
                }
            }
            '[' => match set(&mut chars) {
                Some(ranges) => (One::Set(ranges), Times::Once),
                None => (One::Exactly('['), Times::Once),
            },
            '\\' => (One::Exactly(chars.next().unwrap_or('\\')), Times::Once),
            other => (One::Exactly(other), Times::Once),
        };
        all.push(Piece { one, times });
    }
    all
}

/// The inside of `[...]`; `None` (and nothing taken) if it is not closed.
fn set(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Vec<(char, char)>> {
    let mut ahead = chars.clone();
    let mut ranges = Vec::new();
    loop {
        let low = ahead.next()?;
        if low == ']' && !ranges.is_empty() {
            *chars = ahead;
            return Some(ranges);
        }
        let mut after = ahead.clone();
        match (after.next(), after.next()) {
            (Some('-'), Some(high)) if high != ']' => {
                ranges.push((low, high));
                ahead = after;
            }
            _ => ranges.push((low, low)),
        }
    }
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
