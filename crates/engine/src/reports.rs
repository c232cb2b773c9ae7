//! The list of steps as the outside sees it. It grows while a job runs: what
//! runs before the first step is known once all actions are here, what runs
//! after the last one as soon as its action has begun. The number of a step
//! that has begun never changes.

use fleetfoot_model::state::{Conclusion, Status};
use fleetfoot_model::sync::{StepReport, Usage};

/// What a line of the list stands for; numbers are positions in the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Containers,
    SetUp,
    Started,
    Pre(usize),
    Main(usize),
    Post(usize),
    Completed,
    Stop,
}

/// The list.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    list: Vec<StepReport>,
    entries: Vec<Entry>,
}

impl Reports {
    /// All of them, in order.
    pub(crate) fn list(&self) -> &[StepReport] {
        &self.list
    }

    /// Adds a line at the end.
    pub(crate) fn push(&mut self, entry: Entry, id: String, name: String) {
        self.insert(self.list.len(), entry, id, name);
    }

    /// Adds the line of a step that runs after the last one: before those that are there already.
    pub(crate) fn push_post(&mut self, at: usize, id: String, name: String) {
        let place = self
            .entries
            .iter()
            .position(|e| matches!(e, Entry::Post(_) | Entry::Completed | Entry::Stop))
            .unwrap_or(self.entries.len());
        self.insert(place, Entry::Post(at), id, name);
    }

    /// Adds the line of a step that runs before the first one: behind those that are there already.
    pub(crate) fn push_pre(&mut self, at: usize, id: String, name: String) {
        let place = self
            .entries
            .iter()
            .position(|e| !matches!(e, Entry::Containers | Entry::SetUp | Entry::Started | Entry::Pre(_)))
            .unwrap_or(self.entries.len());
        self.insert(place, Entry::Pre(at), id, name);
    }

    fn insert(&mut self, place: usize, entry: Entry, id: String, name: String) {
        self.entries.insert(place, entry);
        self.list.insert(place, waiting(id, name));
        for (index, report) in self.list.iter_mut().enumerate().skip(place) {
            report.index = u16::try_from(index).unwrap_or(u16::MAX);
        }
    }

    /// The number of a line; 0 if there is none.
    pub(crate) fn index(&self, entry: Entry) -> u16 {
        let place = self.entries.iter().position(|e| *e == entry).unwrap_or_default();
        u16::try_from(place).unwrap_or(u16::MAX)
    }

    /// Changes a line.
    pub(crate) fn change(&mut self, entry: Entry, change: impl FnOnce(&mut StepReport)) {
        if let Some(place) = self.entries.iter().position(|e| *e == entry) {
            change(&mut self.list[place]);
        }
    }

    /// Nothing that has not begun will.
    pub(crate) fn skip_waiting(&mut self) {
        self.list.iter_mut().filter(|r| r.status == Status::Waiting).for_each(skip);
    }

    /// The name of a step, as far as it is known.
    pub(crate) fn name(&self, entry: Entry) -> String {
        let place = self.entries.iter().position(|e| *e == entry);
        place.map(|p| self.list[p].name.clone()).unwrap_or_default()
    }
}

fn waiting(id: String, name: String) -> StepReport {
    StepReport {
        index: 0,
        id,
        name,
        status: Status::Waiting,
        conclusion: None,
        outcome: None,
        reason: None,
        message: None,
        exit_code: None,
        signal: None,
        leaked: false,
        started_at: None,
        finished_at: None,
        usage: Usage::default(),
    }
}

/// The step did not run.
pub(crate) fn skip(report: &mut StepReport) {
    report.status = Status::Completed;
    report.conclusion = Some(Conclusion::Skipped);
    report.outcome = Some(Conclusion::Skipped);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_order() {
        let mut reports = Reports::default();
        for (entry, name) in [
            (Entry::SetUp, "set up"),
            (Entry::Main(0), "a"),
            (Entry::Main(1), "b"),
            (Entry::Completed, "end"),
        ] {
            reports.push(entry, name.into(), name.into());
        }
        for at in [0, 1] {
            reports.push_pre(at, String::new(), format!("pre {at}"));
            reports.push_post(at, String::new(), format!("post {at}"));
        }
        let shown: Vec<String> = reports.list().iter().map(|r| format!("{} {}", r.index, r.name)).collect();
        assert_eq!(shown, ["0 set up", "1 pre 0", "2 pre 1", "3 a", "4 b", "5 post 1", "6 post 0", "7 end"]);
        assert_eq!(reports.index(Entry::Post(0)), 6);
    }
}
