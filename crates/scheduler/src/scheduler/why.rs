//! Why a job waits (promise 10), from what the scheduler knows. Looks at every
//! runner, so it is for people, not for the hot path. It changes nothing.

use super::fleet::{Runner, serves};
use super::groups::Member;
use super::index::ClassKey;
use super::{Entry, Scheduler, State};
use fleetfoot_model::why::{NearRunner, Why, WhyReason};
use fleetfoot_model::{JobId, RunId, RunnerId, Status, Timestamp};
use std::collections::HashSet;

/// At most this many runners are named as nearly good enough.
const NEAREST: usize = 5;
/// At most this many runners are named otherwise.
const NAMED: usize = 20;

impl Scheduler {
    /// Why a job that is here does not run; `None` if it is not here. Every reason
    /// that holds, the decisive one first.
    #[must_use]
    pub fn why(&self, job: JobId, now: Timestamp) -> Option<Why> {
        let entry = &self.jobs[*self.by_id.get(&job)?];
        let status = self.status(job)?;
        if let State::Running(at) = entry.state {
            let summary = format!("It is with runner {}.", self.fleet[at].offer.id);
            return Some(Why { job, status, summary, reasons: Vec::new(), nearest: Vec::new() });
        }
        let held = self.held(entry, now);
        let fleet = self.fleet_reasons(entry);
        let mut reasons: Vec<WhyReason> = held.into_iter().collect();
        // A job that is held back does not compete yet: of the fleet, only what
        // nobody offers matters.
        let competes = reasons.is_empty();
        let matters =
            |r: &WhyReason| competes || !matches!(r, WhyReason::Ready | WhyReason::RunnersBusy { .. });
        reasons.extend(fleet.into_iter().filter(matters));
        let summary = reasons.first().map(|r| summary(r, status)).unwrap_or_default();
        let nearest = self.nearest(entry);
        Some(Why { job, status, summary, reasons, nearest })
    }

    fn held(&self, entry: &Entry, now: Timestamp) -> Option<WhyReason> {
        match entry.state {
            State::Grouped => self.group_reason(entry.group),
            State::Delayed => Some(WhyReason::RetryDelay { until: entry.not_before }),
            State::Retrying => Some(WhyReason::RetryDelay { until: now }),
            // A leg behind others of its line waits for them, as in any line.
            State::Lined if !self.limiters.may_start(entry.limiter) => {
                Some(WhyReason::MaxParallel { limit: self.limiters.limit(entry.limiter) })
            }
            State::Lined | State::Ready | State::Moving | State::Running(_) => None,
        }
    }

    fn group_reason(&self, group: u32) -> Option<WhyReason> {
        let group = self.groups.get(group)?;
        let (holder_job, holder_run) = match group.holder {
            Some(Member::Job(slot)) => (self.jobs.get(slot).map(|e| e.id), None),
            Some(Member::Run(run)) => (None, Some(run)),
            None => (None, None),
        };
        Some(WhyReason::ConcurrencyGroup { group: group.name.to_string(), holder_job, holder_run })
    }

    /// Why a job of a run waits whose concurrency group holds the whole run back;
    /// `None` if no group does.
    #[must_use]
    pub fn why_run(&self, job: JobId, run: RunId) -> Option<Why> {
        let group = self.groups.held_run(run)?;
        let reason = self.group_reason(group)?;
        let summary = format!("Its run waits: {}", in_sentence(&summary(&reason, Status::Waiting)));
        Some(Why { job, status: Status::Waiting, summary, reasons: vec![reason], nearest: Vec::new() })
    }

    /// What the fleet has to say: one reason that nobody could take it, or what
    /// the runners that match are doing.
    fn fleet_reasons(&self, entry: &Entry) -> Vec<WhyReason> {
        let key = self.index.class_key(entry.class);
        let queue = self.queues.name(key.queue);
        let online: Vec<&Runner> = self.fleet.iter().map(|(_, r)| r).filter(|r| r.online).collect();
        if online.is_empty() {
            return vec![WhyReason::NoRunnerOnline];
        }
        let serving: Vec<&Runner> = online.iter().copied().filter(|r| serves(&r.offer, queue)).collect();
        if serving.is_empty() {
            return vec![WhyReason::QueueNotServed { queue: queue.to_string() }];
        }
        let labelled: Vec<&Runner> =
            serving.iter().copied().filter(|r| key.labels.is_subset_of(&r.offer.labels)).collect();
        if labelled.is_empty() {
            return vec![labels_not_offered(key, &online, &serving)];
        }
        let strong: Vec<&Runner> =
            labelled.iter().copied().filter(|r| r.offer.boundary >= key.boundary).collect();
        if strong.is_empty() {
            let best = labelled.iter().map(|r| r.offer.boundary).max();
            return vec![WhyReason::BoundaryNotOffered { minimum: key.boundary, best }];
        }
        let equipped: Vec<&Runner> =
            strong.iter().copied().filter(|r| key.containers <= r.offer.containers).collect();
        if equipped.is_empty() {
            let runners = named(strong.iter().map(|r| r.offer.id).collect());
            return vec![WhyReason::ContainersNotOffered { runners }];
        }
        let allowing: Vec<&Runner> =
            equipped.iter().copied().filter(|r| r.offer.limits.allows(&key.limits)).collect();
        if allowing.is_empty() {
            return vec![limits_not_allowed(key, &equipped)];
        }
        if allowing.iter().any(|r| r.takes_jobs() && r.free_slots() > 0) {
            return vec![WhyReason::Ready];
        }
        self.not_free(entry, &allowing)
    }

    /// What matching runners do instead, none of which is free.
    fn not_free(&self, entry: &Entry, matching: &[&Runner]) -> Vec<WhyReason> {
        let (mut busy, mut unavailable, mut old) = (Vec::new(), Vec::new(), Vec::new());
        for runner in matching {
            let list = if !runner.offer.version_ok {
                &mut old
            } else if runner.takes_jobs() && !runner.is_used_up() && runner.offer.slots > 0 {
                &mut busy
            } else {
                &mut unavailable
            };
            list.push(runner.offer.id);
        }
        let mut reasons = Vec::new();
        if !busy.is_empty() {
            reasons.push(WhyReason::RunnersBusy {
                runners: named(busy),
                // What other runners take is in nobody's way.
                ahead: self.index.ahead(entry.place(), |key| {
                    matching.iter().any(|r| {
                        key.labels.is_subset_of(&r.offer.labels)
                            && r.offer.boundary >= key.boundary
                            && key.containers <= r.offer.containers
                            && r.offer.limits.allows(&key.limits)
                    })
                }),
            });
        }
        if !unavailable.is_empty() {
            reasons.push(WhyReason::RunnersUnavailable { runners: named(unavailable) });
        }
        if !old.is_empty() {
            reasons.push(WhyReason::VersionTooOld { runners: named(old) });
        }
        reasons
    }
}

/// Why a job waits that needs these nodes, which have not ended.
#[must_use]
pub fn why_needs(job: JobId, needs: Vec<String>) -> Why {
    let reason = WhyReason::Needs { jobs: needs };
    let summary = summary(&reason, Status::Waiting);
    Why { job, status: Status::Waiting, summary, reasons: vec![reason], nearest: Vec::new() }
}

/// One sentence about a reason.
#[must_use]
pub fn why_in_words(reason: &WhyReason) -> String {
    summary(reason, Status::Waiting)
}

/// A sentence to go on after a colon.
fn in_sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn named(mut runners: Vec<RunnerId>) -> Vec<RunnerId> {
    runners.sort_unstable();
    runners.truncate(NAMED);
    runners
}

fn labels_not_offered(key: &ClassKey, online: &[&Runner], serving: &[&Runner]) -> WhyReason {
    let offered: HashSet<&str> =
        online.iter().flat_map(|r| r.offer.labels.as_slice()).map(String::as_str).collect();
    let wanted = key.labels.as_slice();
    let nobody_offers = wanted.iter().filter(|l| !offered.contains(l.as_str())).cloned().collect();
    let mut lacking: Vec<(usize, &Runner)> = serving
        .iter()
        .map(|r| (wanted.iter().filter(|l| r.offer.labels.as_slice().binary_search(l).is_err()).count(), *r))
        .collect();
    lacking.sort_by_key(|(lacks, r)| (*lacks, r.offer.id));
    let nearest = lacking
        .iter()
        .take(NEAREST)
        .map(|(_, r)| NearRunner {
            runner: r.offer.id,
            name: r.offer.name.to_string(),
            lacks: key.labels.missing_from(&r.offer.labels),
        })
        .collect();
    WhyReason::LabelsNotOffered { nobody_offers, nearest }
}

fn limits_not_allowed(key: &ClassKey, matching: &[&Runner]) -> WhyReason {
    let mut refusing: Vec<(Vec<String>, &Runner)> =
        matching.iter().map(|r| (r.offer.limits.refused(&key.limits), *r)).collect();
    refusing.sort_by_key(|(refused, r)| (refused.len(), r.offer.id));
    let near = |(lacks, r): (Vec<String>, &Runner)| NearRunner {
        runner: r.offer.id,
        name: r.offer.name.to_string(),
        lacks,
    };
    WhyReason::LimitsNotAllowed { nearest: refusing.into_iter().take(NEAREST).map(near).collect() }
}

/// One sentence for people about the decisive reason.
fn summary(reason: &WhyReason, status: Status) -> String {
    match reason {
        WhyReason::Needs { jobs } => format!("It needs jobs that have not ended: {}.", jobs.join(", ")),
        WhyReason::NoRunnerOnline => "No runner is connected.".to_owned(),
        WhyReason::QueueNotServed { queue } => format!("No connected runner serves queue '{queue}'."),
        WhyReason::LabelsNotOffered { nobody_offers, nearest } => match (&nobody_offers[..], nearest.first())
        {
            ([label], _) => format!("No connected runner offers label '{label}'."),
            ([], Some(near)) => format!(
                "No connected runner offers all of its labels; '{}' comes nearest and lacks {}.",
                near.name,
                near.lacks.join(", ")
            ),
            ([], None) => "No connected runner offers all of its labels.".to_owned(),
            (labels, _) => format!("No connected runner offers the labels {}.", labels.join(", ")),
        },
        WhyReason::BoundaryNotOffered { minimum, best } => match best {
            Some(best) => {
                format!("It demands boundary '{minimum}'; matching runners offer '{best}' at most.")
            }
            None => format!("It demands boundary '{minimum}', which no runner offers."),
        },
        WhyReason::ContainersNotOffered { .. } => {
            "It has a container or services; no matching runner has a container engine.".to_owned()
        }
        WhyReason::LimitsNotAllowed { nearest } => {
            let near = nearest.first().map(|n| format!(": '{}' is asked for {}", n.name, n.lacks.join(", ")));
            format!("It asks for more than any matching runner allows{}.", near.unwrap_or_default())
        }
        WhyReason::RunnersBusy { runners, ahead } => {
            let runners =
                counted(runners.len() as u64, "matching runner is busy", "matching runners are busy");
            match ahead {
                0 => format!("{runners}; it is next."),
                n => format!("{runners}; {}.", counted(*n, "job goes first", "jobs go first")),
            }
        }
        WhyReason::RunnersUnavailable { runners } => counted(
            runners.len() as u64,
            "runner matches, but takes no jobs now (draining, in error or disconnected).",
            "runners match, but take no jobs now (draining, in error or disconnected).",
        ),
        WhyReason::VersionTooOld { runners } => counted(
            runners.len() as u64,
            "runner matches, but its version is too far from the server's.",
            "runners match, but their versions are too far from the server's.",
        ),
        WhyReason::ConcurrencyGroup { group, holder_job, holder_run } => match (holder_job, holder_run) {
            (Some(job), _) => format!("Job {job} holds its concurrency group '{group}'."),
            (None, Some(run)) => format!("Run {run} holds its concurrency group '{group}'."),
            (None, None) => format!("Its concurrency group '{group}' holds it back."),
        },
        WhyReason::MaxParallel { limit } => {
            format!(
                "{} of its matrix, which is all that max-parallel allows.",
                counted(u64::from(*limit), "leg runs", "legs run")
            )
        }
        WhyReason::RetryDelay { until } => format!("It is tried again at {until}."),
        WhyReason::Approval { environment, reviewers, reason } => {
            crate::gates::approval_in_words(environment.as_deref(), reviewers, reason.as_deref())
        }
        WhyReason::WaitTimer { environment, until } => {
            format!("It waits until {until} (wait timer of environment {environment}).")
        }
        WhyReason::Ready if status == Status::Queued => {
            "A runner is free and takes it any moment.".to_owned()
        }
        WhyReason::Ready => "It is ready.".to_owned(),
    }
}

/// `1 job`, `2 jobs`.
fn counted(n: u64, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}
