//! What people see while a run goes on: a live list of jobs and steps on a
//! terminal, one line an event otherwise, both on standard error. Also the
//! memory of a run whose changes arrive in pieces.

use crate::clock;
use crate::live::Options;
use crate::output::{self, Format};
use crate::style::{self, Style, headline, printable};
use fleetfoot_model::api::{JobView, RunView};
use fleetfoot_model::{JobId, Status};
use indexmap::IndexMap;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// More lines than this do not fit on a screen: jobs only.
const MOST_LINES: usize = 24;

/// A run as far as its changes told.
#[derive(Default)]
pub(crate) struct RunState {
    run: Option<RunView>,
    jobs: IndexMap<JobId, JobView>,
}

/// Something that a person may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A job got a runner.
    Started(JobId),
    /// A step ended.
    Step(JobId, u16),
    /// A job ended.
    Finished(JobId),
}

impl RunState {
    /// Takes a change; answers what happened since the one before.
    pub(crate) fn apply(&mut self, mut change: RunView) -> Vec<Event> {
        let mut events = Vec::new();
        for job in change.jobs.take().unwrap_or_default() {
            let before = self.jobs.get(&job.id);
            let new_attempt = job.attempt.is_some() && before.is_none_or(|b| b.attempt != job.attempt);
            if new_attempt {
                events.push(Event::Started(job.id));
            }
            for step in job.steps.iter().filter(|s| s.status == Status::Completed) {
                let known = !new_attempt
                    && before.is_some_and(|b| {
                        b.steps.iter().any(|s| s.index == step.index && s.status == Status::Completed)
                    });
                if !known {
                    events.push(Event::Step(job.id, step.index));
                }
            }
            let was_over = before.is_some_and(|b| b.status == Status::Completed);
            if job.status == Status::Completed && !was_over {
                events.push(Event::Finished(job.id));
            }
            self.jobs.insert(job.id, job);
        }
        self.run = Some(change);
        events
    }

    /// All jobs known so far, in order of their ids.
    pub(crate) fn jobs(&self) -> indexmap::map::Values<'_, JobId, JobView> {
        self.jobs.values()
    }

    /// Whether the run has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.run.as_ref().is_some_and(|r| crate::live::is_over(r.status))
    }

    /// `job | ` as wide as that of the widest name.
    pub(crate) fn prefix(&self, job: &JobView) -> String {
        let widest = self.jobs.values().map(|j| j.name.chars().count()).max().unwrap_or(0).min(30);
        format!("{:widest$} | ", printable(&job.name))
    }

    /// The run with all its jobs.
    pub(crate) fn into_view(self) -> Option<RunView> {
        let mut run = self.run?;
        run.jobs = Some(self.jobs.into_values().collect());
        Some(run)
    }
}

/// Shows the progress.
pub(crate) enum Progress {
    /// Nothing.
    Silent,
    /// One line an event.
    Lines(Style),
    /// A list that changes in place.
    Screen(Screen),
}

impl Progress {
    /// The way that fits: a terminal that is not needed for logs gets the live list.
    pub(crate) fn new(options: &Options) -> Self {
        if options.quiet || (options.print_changes && options.format == Format::Json) {
            return Self::Silent;
        }
        if options.logs.is_none() && std::io::stderr().is_terminal() {
            return Self::Screen(Screen::new(options.compact));
        }
        Self::Lines(Style::stderr())
    }

    /// Shows what happened.
    pub(crate) fn show(&mut self, state: &RunState, events: &[Event]) {
        match self {
            Self::Silent => {}
            Self::Lines(style) => {
                for event in events {
                    if let Some(line) = describe(state, event, *style) {
                        output::say(&line);
                    }
                }
            }
            Self::Screen(screen) => screen.show(state),
        }
    }

    /// Makes room for other words on the screen.
    pub(crate) fn suspend(&mut self) {
        if let Self::Screen(screen) = self {
            screen.all.set_draw_target(ProgressDrawTarget::hidden());
            *screen = Screen::new(screen.compact);
        }
    }

    /// Leaves the last state on the screen.
    pub(crate) fn finish(self) {
        if let Self::Screen(screen) = self {
            for bar in screen.bars.into_values() {
                bar.abandon();
            }
        }
    }
}

/// One line about an event.
fn describe(state: &RunState, event: &Event, style: Style) -> Option<String> {
    let (Event::Started(id) | Event::Step(id, _) | Event::Finished(id)) = event;
    let job = state.jobs.get(id)?;
    let name = printable(&job.name);
    let now = clock::now();
    Some(match event {
        Event::Started(_) => {
            let runner =
                job.runner_name.as_deref().map(|r| format!(" on {}", printable(r))).unwrap_or_default();
            let again = job.attempt.filter(|a| *a > 1).map(|a| format!(" (attempt {a})")).unwrap_or_default();
            format!("{} {name}: started{runner}{again}", style.cyan("*"))
        }
        Event::Step(_, index) => {
            let step = job.steps.iter().find(|s| s.index == *index)?;
            let time = style::elapsed(step.started_at, step.finished_at, now);
            let code =
                step.exit_code.filter(|c| *c != 0).map(|c| format!(", exit code {c}")).unwrap_or_default();
            let mark = style.mark(step.status, step.conclusion);
            format!("  {mark} {name}: {} ({time}{code})", printable(&step.name))
        }
        Event::Finished(_) => {
            let why = job.message.as_deref().map(|m| format!(": {}", headline(m))).unwrap_or_default();
            let time = style::elapsed(job.started_at, job.finished_at, now);
            let mark = style.mark(job.status, job.conclusion);
            format!("{mark} {name}: {}{why} ({time})", style.word(job.status, job.conclusion))
        }
    })
}

/// A list of jobs and steps that changes in place.
pub(crate) struct Screen {
    all: MultiProgress,
    compact: bool,
    /// By job and step; a job's own line has no step.
    bars: IndexMap<(JobId, Option<u16>), ProgressBar>,
}

impl Screen {
    fn new(compact: bool) -> Self {
        Self {
            all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            compact,
            bars: IndexMap::new(),
        }
    }

    fn show(&mut self, state: &RunState) {
        let style = Style::stderr();
        let lines: usize = state.jobs().map(|j| 1 + j.steps.len()).sum();
        let compact = self.compact || lines > MOST_LINES;
        for job in state.jobs() {
            let runner =
                job.runner_name.as_deref().map(|r| format!(" on {}", printable(r))).unwrap_or_default();
            let text = format!(
                "{} {} {}{runner}",
                style.mark(job.status, job.conclusion),
                style.bold(&printable(&job.name)),
                style.word(job.status, job.conclusion),
            );
            self.line((job.id, None), text, job.status, job.started_at.zip(job.finished_at).is_some());
            for step in &job.steps {
                let failed = step.conclusion.is_some_and(|c| !c.is_ok());
                if compact && !failed && step.status != Status::Running {
                    self.drop_line((job.id, Some(step.index)));
                    continue;
                }
                if step.status == Status::Waiting || step.status == Status::Queued {
                    continue;
                }
                let time = style::elapsed(step.started_at, step.finished_at, clock::now());
                let text = format!(
                    "    {} {} {}",
                    style.mark(step.status, step.conclusion),
                    printable(&step.name),
                    style.dim(&if step.finished_at.is_some() { time } else { String::new() }),
                );
                self.line((job.id, Some(step.index)), text, step.status, step.finished_at.is_some());
            }
        }
    }

    fn line(&mut self, key: (JobId, Option<u16>), text: String, status: Status, over: bool) {
        if !self.bars.contains_key(&key) {
            // A step's line belongs under the lines of its job that are there already.
            let before = self
                .bars
                .iter()
                .rfind(|((job, step), _)| *job == key.0 && *step < key.1)
                .map(|(_, b)| b.clone());
            let bar = ProgressBar::no_length();
            let bar = match before {
                Some(before) => self.all.insert_after(&before, bar),
                None => self.all.add(bar),
            };
            self.bars.insert(key, bar);
            self.bars.sort_by(|a, _, b, _| a.cmp(b));
        }
        let Some(bar) = self.bars.get(&key) else { return };
        let running = status == Status::Running && !over;
        if let Ok(template) =
            ProgressStyle::with_template(if running { "{msg} {spinner} {elapsed}" } else { "{msg}" })
        {
            bar.set_style(template);
        }
        bar.set_message(text);
        if running {
            bar.enable_steady_tick(Duration::from_millis(120));
        } else {
            bar.disable_steady_tick();
            bar.tick();
        }
    }

    fn drop_line(&mut self, key: (JobId, Option<u16>)) {
        if let Some(bar) = self.bars.shift_remove(&key) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use fleetfoot_model::Conclusion;
    use serde_json::json;

    /// A run as the API shows it.
    pub(crate) fn view(status: &str, conclusion: Option<&str>, jobs: serde_json::Value) -> RunView {
        serde_json::from_value(json!({
            "id": 7, "number": 3, "attempt": 1, "kind": "workflow", "name": "CI", "title": "CI", "project": "default",
            "path": "ci.yml", "event": "push", "branch": "main", "actor": null, "status": status, "conclusion": conclusion,
            "created_at": "2026-11-20T18:00:00Z", "started_at": "2026-11-20T18:00:01Z",
            "finished_at": conclusion.map(|_| "2026-11-20T18:00:05Z"), "change": 1, "jobs": jobs,
        }))
        .unwrap()
    }

    /// A job of it.
    pub(crate) fn job(
        id: u64,
        name: &str,
        status: &str,
        conclusion: Option<&str>,
        steps: serde_json::Value,
    ) -> serde_json::Value {
        json!({
            "id": id, "run": 7, "key": name, "name": name, "needs": [], "labels": ["linux"], "queue": "default",
            "priority": 0, "status": status, "conclusion": conclusion, "reason": conclusion.filter(|c| *c == "failure").map(|_| "exit_code"),
            "created_at": "2026-11-20T18:00:00Z", "queued_at": "2026-11-20T18:00:00Z",
            "started_at": (status != "queued").then_some("2026-11-20T18:00:01Z"),
            "finished_at": conclusion.map(|_| "2026-11-20T18:00:04Z"),
            "attempt": (status != "queued").then_some(1), "runner": 2, "runner_name": "here", "exit_code": null,
            "change": 1, "steps": steps,
        })
    }

    /// A step of it.
    pub(crate) fn step(
        index: u16,
        name: &str,
        conclusion: Option<&str>,
        code: Option<i32>,
    ) -> serde_json::Value {
        json!({
            "index": index, "id": "__run", "name": name, "status": if conclusion.is_some() { "completed" } else { "running" },
            "conclusion": conclusion, "exit_code": code, "started_at": "2026-11-20T18:00:01Z",
            "finished_at": conclusion.map(|_| "2026-11-20T18:00:03.5Z"),
        })
    }

    #[test]
    fn lines_say_each_thing_once() {
        let mut state = RunState::default();
        let mut lines = Vec::new();
        let mut feed = |state: &mut RunState, change: RunView| {
            for event in state.apply(change) {
                lines.extend(describe(state, &event, Style::PLAIN));
            }
        };
        let queued = json!([
            job(1, "test", "queued", None, json!([])),
            job(2, "lint\u{1b}", "queued", None, json!([]))
        ]);
        feed(&mut state, view("queued", None, queued));
        let running = json!([job(1, "test", "running", None, json!([step(0, "Run make", None, None)]))]);
        feed(&mut state, view("running", None, running.clone()));
        feed(&mut state, view("running", None, running));
        let failed = json!([
            job(
                1,
                "test",
                "completed",
                Some("failure"),
                json!([step(0, "Run make", Some("failure"), Some(2))])
            ),
            job(
                2,
                "lint\u{1b}",
                "completed",
                Some("success"),
                json!([step(0, "Run lint", Some("success"), Some(0))])
            ),
        ]);
        feed(&mut state, view("completed", Some("failure"), failed));
        assert!(state.is_over());
        assert_eq!(state.into_view().unwrap().conclusion, Some(Conclusion::Failure));
        insta::assert_snapshot!(lines.join("\n"), @r"
        * test: started on here
          ✗ test: Run make (2.5s, exit code 2)
        ✗ test: failure (3.0s)
        * lint�: started on here
          ✓ lint�: Run lint (2.5s)
        ✓ lint�: success (3.0s)
        ");
    }
}
