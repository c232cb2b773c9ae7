//! Steps that run in the background, and the steps that steer them: `wait`,
//! `wait-all`, `cancel` and `parallel`. What a `parallel` list means is decided
//! here: its steps in the background, and then a wait for exactly them. Runs
//! nothing and knows nothing of scripts and actions.

use super::step::Ids;
use crate::source::{Report, clip, nearest};
use crate::yaml::{Entry, Kind, Node};
use fleetfoot_model::spec::{StepAction, StepSpec};
use std::collections::HashMap;
use std::ops::Range;

/// A step while its list is being read.
pub(super) struct Draft {
    pub(super) step: StepSpec,
    /// Ids that it speaks of, with their places.
    pub(super) names: Vec<(usize, String)>,
    /// The members of the `parallel` list that this wait stands for.
    pub(super) members: Option<Range<usize>>,
}

/// What a step says of other steps.
struct About {
    names: Vec<(usize, String)>,
    members: Option<Range<usize>>,
}

impl Report<'_> {
    /// What a step with `wait`, `wait-all` or `cancel` does, and the ids that it names.
    pub(super) fn control(&mut self, kind: &Entry) -> Option<(StepAction, Vec<(usize, String)>)> {
        let node = &kind.value;
        match kind.name() {
            "wait-all" => {
                // The value says nothing: `wait-all:` and `wait-all: true` are the same.
                if !node.is_null() && !self.flag(node)? {
                    self.unexpected(node, "nothing, or true");
                    return None;
                }
                Some((StepAction::Wait { steps: Vec::new() }, Vec::new()))
            }
            "cancel" => {
                let step = self.word(node)?;
                Some((StepAction::Cancel { step: step.clone() }, vec![(node.start, step)]))
            }
            _ => {
                let names = self.words(node);
                if names.is_empty() {
                    if matches!(node.kind, Kind::Sequence(_)) {
                        self.unexpected(node, "the ids of the steps to wait for; wait-all waits for all");
                    }
                    return None;
                }
                let steps = names.iter().map(|(_, id)| id.clone()).collect();
                Some((StepAction::Wait { steps }, names))
            }
        }
    }

    /// `background`, which a member of a `parallel` list cannot have.
    pub(super) fn background(&mut self, entry: &Entry, in_parallel: bool) -> bool {
        let background = self.flag(&entry.value) == Some(true);
        if in_parallel {
            let message = "'background' is not allowed within 'parallel'";
            self.error(entry.key.start, "background", message).hint =
                Some("Steps of a parallel list are in the background already".to_owned());
        }
        background
    }

    /// A control step within a `parallel` list.
    pub(super) fn refuse_in_parallel(&mut self, kind: &Entry) {
        let message = format!("Steps with '{}' are not allowed within 'parallel'", kind.name());
        self.error(kind.key.start, "background", message).hint =
            Some("Put it before or after the parallel list".to_owned());
    }

    pub(super) fn parallel_members<'n>(&mut self, node: &'n Node) -> &'n [Node] {
        let items = self.sequence(node, "a list of steps").unwrap_or_default();
        if items.is_empty() && matches!(node.kind, Kind::Sequence(_)) {
            self.error(node.start, "no-steps", "'parallel' has no steps");
        }
        items
    }

    /// Makes ids, ties waits to their steps, and checks who waits for whom.
    pub(super) fn finish_steps(&mut self, drafts: Vec<Draft>, ids: &mut Ids) -> Vec<StepSpec> {
        let mut steps: Vec<StepSpec> = Vec::with_capacity(drafts.len());
        let mut about = Vec::with_capacity(drafts.len());
        for Draft { mut step, names, members } in drafts {
            // Members come before the wait for them, so that they have their ids.
            if let (Some(members), StepAction::Wait { steps: named }) = (&members, &mut step.action) {
                let members = steps.get(members.clone()).unwrap_or_default();
                *named = members.iter().map(|member| member.id.clone()).collect();
            }
            if step.id.is_empty() {
                step.id = ids.generate(&step.action);
            }
            steps.push(step);
            about.push(About { names, members });
        }
        if about.iter().any(|about| !about.names.is_empty()) {
            self.check_waits(&mut steps, &about);
        }
        steps
    }

    fn check_waits(&mut self, steps: &mut [StepSpec], about: &[About]) {
        let index: HashMap<String, usize> =
            steps.iter().enumerate().map(|(i, step)| (step.id.to_lowercase(), i)).collect();
        let mut awaited = vec![false; steps.len()];
        for (i, About { names, members }) in about.iter().enumerate() {
            if let Some(members) = members {
                awaited[members.clone()].fill(true);
                continue;
            }
            if matches!(&steps[i].action, StepAction::Wait { steps } if steps.is_empty()) {
                awaited[..i].fill(true);
                continue;
            }
            let cancels = matches!(steps[i].action, StepAction::Cancel { .. });
            let mut canonical = Vec::with_capacity(names.len());
            for (at, name) in names {
                let Some(target) = index.get(&name.to_lowercase()).copied() else {
                    self.unknown_step(*at, name, steps);
                    continue;
                };
                canonical.push(steps[target].id.clone());
                self.check_wait(*at, &steps[target], (target, i), cancels, awaited[target]);
                awaited[target] |= !cancels;
            }
            match &mut steps[i].action {
                StepAction::Wait { steps } => *steps = canonical,
                StepAction::Cancel { step } => canonical.into_iter().for_each(|id| *step = id),
                _ => {}
            }
        }
    }

    fn check_wait(
        &mut self,
        at: usize,
        target: &StepSpec,
        (target_at, i): (usize, usize),
        cancels: bool,
        awaited: bool,
    ) {
        let id = clip(&target.id, 100);
        let verb = if cancels { "cancel" } else { "wait for" };
        if !target.background {
            let message = format!("Cannot {verb} step '{id}': it does not run in the background");
            self.error(at, "not-in-background", message).hint =
                Some(format!("Give the step '{id}' the key background: true"));
        } else if target_at > i {
            let message = format!("Cannot {verb} step '{id}': it begins only after this step");
            self.error(at, "not-in-background", message);
        } else if awaited {
            let message = format!("Cannot {verb} step '{id}': an earlier step has waited for it already");
            self.error(at, "awaited-twice", message);
        }
    }

    fn unknown_step(&mut self, at: usize, name: &str, steps: &[StepSpec]) {
        let known =
            || steps.iter().filter(|s| s.background && !s.id.starts_with("__")).map(|s| s.id.as_str());
        let hint = match nearest(name, known()) {
            Some(word) => format!("Did you mean '{word}'?"),
            None => match known().collect::<Vec<_>>().join(", ") {
                ids if ids.is_empty() => "No step with an id of its own runs in the background".to_owned(),
                ids => format!("Steps in the background: {}", clip(&ids, 300)),
            },
        };
        let message = format!("There is no step with the id '{}'", clip(name, 100));
        self.error(at, "unknown-step", message).hint = Some(hint);
    }
}
