//! Whether an event starts a run: the filters of `on` against what is known
//! of the event. Pure; changed files are asked for only where they decide.

use crate::syntax::Trigger;
use fleetfoot_model::event::{ChangedPaths, EventFacts, Matching};
use fleetfoot_model::pattern::{fits, list_fits};

/// Activity types that count where a document names none; other events count with all of theirs.
const PULL_REQUEST_DEFAULT: &[&str] = &["opened", "synchronize", "reopened"];

/// The answer of all triggers of a document.
pub(crate) fn matches(triggers: &[Trigger], event: &EventFacts) -> Matching {
    let Some(trigger) = triggers.iter().find(|t| t.event == event.name) else {
        return Matching::No(format!("`on` does not name {}", event.name));
    };
    match refuses(trigger, event) {
        Some(reason) => Matching::No(reason),
        None => paths(trigger, event),
    }
}

fn refuses(trigger: &Trigger, event: &EventFacts) -> Option<String> {
    types(trigger, event).or_else(|| workflows(trigger, event)).or_else(|| refs(trigger, event))
}

fn types(trigger: &Trigger, event: &EventFacts) -> Option<String> {
    let action = event.action.as_deref()?;
    let given = trigger.filters.get("types");
    let chosen = match (given, event.name.as_str()) {
        (Some(types), _) => types.iter().any(|t| t == action),
        (None, "pull_request" | "pull_request_target") => PULL_REQUEST_DEFAULT.contains(&action),
        (None, _) => true,
    };
    (!chosen).then(|| format!("the activity '{action}' is not among `types`"))
}

fn workflows(trigger: &Trigger, event: &EventFacts) -> Option<String> {
    let names = trigger.filters.get("workflows")?;
    let name = event.workflow.as_deref().unwrap_or_default();
    (!names.iter().any(|n| n == name)).then(|| format!("'{name}' is not among `workflows`"))
}

fn refs(trigger: &Trigger, event: &EventFacts) -> Option<String> {
    let has = |name: &str| trigger.filters.contains_key(name);
    let branches = has("branches") || has("branches-ignore");
    let tags = has("tags") || has("tags-ignore");
    if !branches && !tags {
        return None;
    }
    let full = event.git_ref.as_deref().unwrap_or_default();
    let (kind, name, filtered, other) = match full.strip_prefix("refs/tags/") {
        Some(tag) => ("tags", tag, tags, branches),
        None => ("branches", full.strip_prefix("refs/heads/").unwrap_or(full), branches, tags),
    };
    if !filtered {
        // Only pushes have both kinds; whoever filters one of them means no other.
        return other.then(|| format!("`on` filters the other kind of ref, and '{name}' is one of {kind}"));
    }
    let ignore = format!("{kind}-ignore");
    let chosen = match (trigger.filters.get(kind), trigger.filters.get(&ignore)) {
        (Some(patterns), _) => list_fits(patterns, name),
        (None, Some(patterns)) => !patterns.iter().any(|p| fits(p, name)),
        (None, None) => true,
    };
    (!chosen).then(|| format!("'{name}' does not pass the filter of {kind}"))
}

fn paths(trigger: &Trigger, event: &EventFacts) -> Matching {
    let (wanted, ignored) = (trigger.filters.get("paths"), trigger.filters.get("paths-ignore"));
    let tag = event.git_ref.as_deref().is_some_and(|r| r.starts_with("refs/tags/"));
    if tag || (wanted.is_none() && ignored.is_none()) {
        return Matching::Yes;
    }
    let changed = match &event.paths {
        ChangedPaths::NotAsked => return Matching::NeedsPaths,
        ChangedPaths::Unknown => return Matching::Yes,
        ChangedPaths::Listed(changed) => changed,
    };
    let chosen = match (wanted, ignored) {
        (Some(patterns), _) => changed.iter().any(|path| list_fits(patterns, path)),
        (None, Some(patterns)) => changed.iter().any(|path| !patterns.iter().any(|p| fits(p, path))),
        (None, None) => true,
    };
    if chosen {
        return Matching::Yes;
    }
    Matching::No(match changed.len() {
        0 => "no file changed, and `on` filters paths".to_owned(),
        1 => format!("the changed file '{}' does not pass the filter of paths", changed[0]),
        n => format!("none of the {n} changed files passes the filter of paths"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WorkflowDocument;
    use fleetfoot_model::diagnostic::Source;
    use fleetfoot_model::plan::Document;

    fn asked(on: &str, event: &EventFacts) -> Matching {
        let text = format!("on:\n{on}\njobs:\n  a:\n    runs-on: x\n    steps: [{{run: make}}]\n");
        WorkflowDocument::parse(&Source::new("ci.yml", text.into_bytes())).unwrap().matches(event)
    }

    fn push(git_ref: &str, paths: &[&str]) -> EventFacts {
        EventFacts {
            name: "push".to_owned(),
            git_ref: Some(git_ref.to_owned()),
            paths: ChangedPaths::Listed(paths.iter().map(|p| (*p).to_owned()).collect()),
            ..EventFacts::default()
        }
    }

    fn pull(action: &str, base: &str) -> EventFacts {
        EventFacts {
            name: "pull_request".to_owned(),
            action: Some(action.to_owned()),
            git_ref: Some(format!("refs/heads/{base}")),
            ..EventFacts::default()
        }
    }

    #[test]
    fn branches_and_tags_of_a_push() {
        let main = push("refs/heads/main", &[]);
        let tag = push("refs/tags/v1", &[]);
        for (on, on_main, on_tag) in [
            ("  push:", true, true),
            ("  push: {branches: [main]}", true, false),
            ("  push: {tags: [v*]}", false, true),
            ("  push: {branches: [main], tags: [v*]}", true, true),
            ("  push: {branches-ignore: [main]}", false, false),
            ("  push: {branches-ignore: [dev], tags-ignore: [v1]}", true, false),
            ("  push: {branches: ['**', '!main']}", false, false),
            ("  pull_request:", false, false),
        ] {
            assert_eq!(asked(on, &main) == Matching::Yes, on_main, "{on}");
            assert_eq!(asked(on, &tag) == Matching::Yes, on_tag, "{on}");
        }
    }

    #[test]
    fn paths_count_for_branches_and_are_asked_for_last() {
        let on = "  push: {branches: [main], tags: [v*], paths: ['src/**', '!src/docs/**']}";
        assert_eq!(asked(on, &push("refs/heads/main", &["src/a.rs"])), Matching::Yes);
        assert!(matches!(asked(on, &push("refs/heads/main", &["src/docs/a.md"])), Matching::No(_)));
        assert!(matches!(asked(on, &push("refs/heads/main", &[])), Matching::No(_)));
        assert_eq!(asked(on, &push("refs/tags/v1", &["README.md"])), Matching::Yes);
        let unasked = |r: &str| EventFacts { paths: ChangedPaths::NotAsked, ..push(r, &[]) };
        assert_eq!(asked(on, &unasked("refs/heads/main")), Matching::NeedsPaths);
        assert!(matches!(asked(on, &unasked("refs/heads/dev")), Matching::No(_)));
        let unknown = EventFacts { paths: ChangedPaths::Unknown, ..push("refs/heads/main", &[]) };
        assert_eq!(asked(on, &unknown), Matching::Yes);
        let ignore = "  push: {paths-ignore: ['**.md']}";
        assert_eq!(asked(ignore, &push("refs/heads/x", &["a.md", "b.rs"])), Matching::Yes);
        assert!(matches!(asked(ignore, &push("refs/heads/x", &["a.md", "c/b.md"])), Matching::No(_)));
    }

    #[test]
    fn activity_types_and_base_branches() {
        assert_eq!(asked("  pull_request:", &pull("synchronize", "main")), Matching::Yes);
        assert_eq!(
            asked("  pull_request:", &pull("labeled", "main")),
            Matching::No("the activity 'labeled' is not among `types`".to_owned())
        );
        assert_eq!(asked("  pull_request: {types: [labeled]}", &pull("labeled", "main")), Matching::Yes);
        let on = "  pull_request: {branches: ['release/*']}";
        assert_eq!(asked(on, &pull("opened", "release/1")), Matching::Yes);
        assert!(matches!(asked(on, &pull("opened", "main")), Matching::No(_)));
    }

    #[test]
    fn workflows_and_custom_types() {
        let ran = EventFacts {
            name: "workflow_run".to_owned(),
            action: Some("completed".to_owned()),
            git_ref: Some("refs/heads/main".to_owned()),
            workflow: Some("Build".to_owned()),
            ..EventFacts::default()
        };
        let on = "  workflow_run: {workflows: [Build], types: [completed], branches: [main]}";
        assert_eq!(asked(on, &ran), Matching::Yes);
        let other = EventFacts { workflow: Some("Test".to_owned()), ..ran };
        assert!(matches!(asked(on, &other), Matching::No(_)));
        let custom = EventFacts {
            name: "repository_dispatch".to_owned(),
            action: Some("deploy".to_owned()),
            ..EventFacts::default()
        };
        assert_eq!(asked("  repository_dispatch: {types: [deploy]}", &custom), Matching::Yes);
        assert!(matches!(asked("  repository_dispatch: {types: [x]}", &custom), Matching::No(_)));
    }
}
