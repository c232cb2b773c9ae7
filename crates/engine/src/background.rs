//! Steps that run while the job goes on (`background: true`), and the steps
//! that wait for them or end them. What a background step changes becomes
//! visible, and how it ended counts, when somebody waits for it: at the latest
//! before the first step that runs after the last one.

use crate::attempt::Attempt;
use crate::flow::{Done, Flow, Stage};
use crate::outcome::Outcome;
use crate::prepare::{Ready, When};
use crate::reports::{Entry, skip};
use crate::scope::Spot;
use fleetfoot_model::spec::StepSpec;
use fleetfoot_model::state::{Conclusion, Reason};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Background steps that run at a time; further ones wait for their turn.
const MAX_RUNNING: usize = 10;

type Running<'a> = Pin<Box<dyn Future<Output = (usize, Done)> + Send + 'a>>;

/// The background steps of a job.
pub(crate) struct Background<'a> {
    running: FuturesUnordered<Running<'a>>,
    turns: Arc<Semaphore>,
    /// Those that nobody waited for yet.
    members: Vec<Member>,
}

/// One background step.
struct Member {
    at: usize,
    token: CancellationToken,
    /// Somebody asked for its end: a cancelled step is no failure then.
    asked: bool,
    done: Option<Done>,
}

impl Default for Background<'_> {
    fn default() -> Self {
        Self {
            running: FuturesUnordered::new(),
            turns: Arc::new(Semaphore::new(MAX_RUNNING)),
            members: Vec::new(),
        }
    }
}

impl<'a> Background<'a> {
    /// Carries out something in the foreground while the background goes on.
    pub(crate) async fn along<F: Future>(&mut self, foreground: F) -> F::Output {
        let mut foreground = std::pin::pin!(foreground);
        loop {
            tokio::select! {
                biased;
                output = &mut foreground => return output,
                Some((at, done)) = self.running.next(), if !self.running.is_empty() => self.ended(at, done),
            }
        }
    }

    fn add(&mut self, at: usize, token: CancellationToken, step: Running<'a>) {
        self.members.push(Member { at, token, asked: false, done: None });
        self.running.push(step);
    }

    fn ended(&mut self, at: usize, done: Done) {
        if let Some(member) = self.members.iter_mut().find(|m| m.at == at) {
            member.done = Some(done);
        }
    }

    /// Waits until the chosen ones have ended; `false` if the deadline came first.
    async fn wait_for(&mut self, chosen: &[usize], deadline: Option<Instant>) -> bool {
        let overdue = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let mut overdue = std::pin::pin!(overdue);
        while self.members.iter().any(|m| chosen.contains(&m.at) && m.done.is_none()) {
            tokio::select! {
                biased;
                next = self.running.next() => match next {
                    Some((at, done)) => self.ended(at, done),
                    None => return true,
                },
                () = &mut overdue => return false,
            }
        }
        true
    }

    /// Takes those of the chosen ones that have ended.
    fn take(&mut self, chosen: &[usize]) -> Vec<(Done, bool)> {
        let mut taken = Vec::new();
        self.members.retain_mut(|member| {
            if !chosen.contains(&member.at) {
                return true;
            }
            let Some(done) = member.done.take() else { return true };
            taken.push((done, member.asked));
            false
        });
        taken
    }

    fn all(&self) -> Vec<usize> {
        self.members.iter().map(|m| m.at).collect()
    }
}

impl<'a> Flow<'a, '_> {
    /// Starts a step in the background.
    pub(crate) async fn start(&mut self, at: usize) {
        let attempt: &'a Attempt<'_> = self.attempt;
        let frame = self.frame.clone();
        let mut leash = attempt.leash();
        // Its own, so that `cancel` ends this step alone; a cancellation of the job reaches it too.
        let token = leash.cancel.as_ref().map_or_else(CancellationToken::new, CancellationToken::child_token);
        leash.cancel = Some(token.clone());
        let turns = self.background.turns.clone();
        let step =
            Box::pin(
                async move { (at, attempt.carry_out(Stage::Main, at, &frame, leash, Some(&turns)).await) },
            );
        self.background.add(at, token, step);
        // Gives it the chance to begin before the next step does.
        self.background.along(tokio::task::yield_now()).await;
    }

    /// `wait` and `wait-all`.
    pub(crate) async fn wait(&mut self, at: usize, step: &StepSpec, ids: &[String]) {
        let Some((ready, _)) = self.begin_control(at, step).await else { return };
        let chosen = if ids.is_empty() { self.background.all() } else { self.members(ids) };
        let leash = self.attempt.leash().within(ready.timeout_seconds);
        let in_time = self.background.wait_for(&chosen, leash.deadline).await;
        let mut failed: Vec<String> = Vec::new();
        for (done, asked) in self.background.take(&chosen) {
            let bad = !done.conclusion.is_ok() && done.conclusion != Conclusion::Skipped;
            if bad && !asked {
                failed.push(format!("'{}'", done.name));
            }
            self.settle_one(done, asked);
        }
        let outcome = if !in_time {
            Outcome {
                conclusion: Conclusion::TimedOut,
                ..Outcome::failure(Reason::Timeout, "the steps in the background took longer than that")
            }
        } else if failed.is_empty() {
            Outcome::plain(Conclusion::Success)
        } else {
            Outcome::failure(Reason::ExitCode, format!("failed in the background: {}", failed.join(", ")))
        };
        self.end_control(at, step, ready, outcome).await;
    }

    /// `cancel`.
    pub(crate) async fn cancel(&mut self, at: usize, step: &StepSpec, id: &str) {
        let Some((ready, index)) = self.begin_control(at, step).await else { return };
        let chosen = self.members(&[id.to_owned()]);
        for member in self.background.members.iter_mut().filter(|m| chosen.contains(&m.at)) {
            if member.done.is_none() {
                member.asked = true;
                member.token.cancel();
            }
        }
        if chosen.is_empty() {
            let line = format!("The step '{id}' does not run in the background any more.");
            self.attempt.log.say(index, &line).await;
        }
        self.background.wait_for(&chosen, None).await;
        for (done, asked) in self.background.take(&chosen) {
            self.settle_one(done, asked);
        }
        self.end_control(at, step, ready, Outcome::plain(Conclusion::Success)).await;
    }

    /// Waits for everything that still runs: nothing does when the steps after the last one begin.
    pub(crate) async fn settle_background(&mut self) {
        let all = self.background.all();
        self.background.wait_for(&all, None).await;
        for (done, asked) in self.background.take(&all) {
            self.settle_one(done, asked);
        }
    }

    fn settle_one(&mut self, mut done: Done, asked: bool) {
        if asked && done.conclusion == Conclusion::Cancelled {
            // As wanted. What it wrote counts, and `steps` says that it was cancelled.
            self.frame.record(&done.id, Conclusion::Cancelled, Conclusion::Cancelled, &done.outcome.outputs);
            done.id = String::new();
            done.conclusion = Conclusion::Success;
        }
        self.settle(done);
    }

    /// The members with these ids.
    fn members(&self, ids: &[String]) -> Vec<usize> {
        let steps = &self.attempt.assignment.spec.steps;
        let named = |at: &usize| ids.iter().any(|id| steps[*at].id.eq_ignore_ascii_case(id));
        self.background.all().into_iter().filter(named).collect()
    }

    /// Condition and beginning of a step that starts nothing.
    async fn begin_control(&mut self, at: usize, step: &StepSpec) -> Option<(Ready, u16)> {
        let attempt = self.attempt;
        let spot = Spot { id: step.id.clone(), key: at.to_string(), action: None };
        match attempt.prepare(step, &self.frame, &spot, When::Step) {
            Ok(None) => {
                attempt.report(Entry::Main(at), skip);
                let empty = indexmap::IndexMap::new();
                self.frame.record(&step.id, Conclusion::Skipped, Conclusion::Skipped, &empty);
                None
            }
            Ok(Some(ready)) => {
                let index = attempt.begin(Entry::Main(at), Some(&ready.name));
                Some((ready, index))
            }
            Err(message) => {
                attempt.begin(Entry::Main(at), None);
                let outcome = Outcome::failure(Reason::BadSpecification, message);
                let name = step.raw_name();
                let done = attempt.finish(Entry::Main(at), &step.id, &name, false, outcome).await;
                self.settle(done);
                None
            }
        }
    }

    async fn end_control(&mut self, at: usize, step: &StepSpec, ready: Ready, outcome: Outcome) {
        let forgiving = ready.continue_on_error;
        let done = self.attempt.finish(Entry::Main(at), &step.id, &ready.name, forgiving, outcome).await;
        self.settle(done);
    }
}
