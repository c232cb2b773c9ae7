//! Contexts and variables that every step of a job sees. Values come from the
//! assignment and the configuration; nothing is taken from the environment of
//! the runner beyond what the configuration lists.

use crate::config::{DEFAULT_PASSED_ENV, EngineConfig};
use crate::containers::HOME;
use crate::secrets;
use crate::workspace::Workspace;
use fleetfoot_driver::Cell;
use fleetfoot_expr::{Object, Value};
use fleetfoot_model::sync::Assignment;
use indexmap::IndexMap;
use std::collections::HashMap;
use std::path::Path;

/// Keys of the `github` context that become `GITHUB_*` variables.
const GITHUB_VARIABLES: &[&str] = &[
    "actor",
    "actor_id",
    "api_url",
    "base_ref",
    "event_name",
    "event_path",
    "graphql_url",
    "head_ref",
    "job",
    "ref",
    "ref_name",
    "ref_protected",
    "ref_type",
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "retention_days",
    "run_attempt",
    "run_id",
    "run_number",
    "server_url",
    "sha",
    "triggering_actor",
    "workflow",
    "workflow_ref",
    "workflow_sha",
    "workspace",
];

/// `RUNNER_OS`.
const OS: &str = if cfg!(target_os = "macos") {
    "macOS"
} else if cfg!(windows) {
    "Windows"
} else {
    "Linux"
};

/// `RUNNER_ARCH`.
const ARCH: &str = if cfg!(target_arch = "aarch64") {
    "ARM64"
} else if cfg!(target_arch = "arm") {
    "ARM"
} else if cfg!(target_arch = "x86") {
    "X86"
} else {
    "X64"
};

/// What is the same for all steps.
#[derive(Default)]
pub(crate) struct Environment {
    /// Contexts for expressions.
    pub(crate) contexts: HashMap<String, Value>,
    /// The weakest variables: passed on, and defaults that a job may replace.
    pub(crate) base: Vec<(String, String)>,
    /// Variables that a job cannot replace.
    pub(crate) fixed: Vec<(String, String)>,
    /// Content of the file at `GITHUB_EVENT_PATH`.
    pub(crate) event: String,
}

impl Environment {
    /// Builds everything from the assignment. `image_env` is what an image sets, if the job sees its file
    /// system: nothing of the host's own variables has a meaning there.
    pub(crate) fn new(
        config: &EngineConfig,
        assignment: &Assignment,
        secrets: &IndexMap<String, String>,
        workspace: &Workspace,
        cell: &dyn Cell,
        image_env: Option<&[(String, String)]>,
    ) -> Self {
        let inside = |path: &Path| cell.inside(path).to_string_lossy().into_owned();
        let spec = &assignment.spec;
        let mut contexts: HashMap<String, Value> = HashMap::new();
        for (name, value) in assignment.contexts.iter().chain(&spec.contexts) {
            // `fleetfoot` is for the engine, not for expressions.
            if name != "fleetfoot" {
                contexts.insert(name.to_ascii_lowercase(), Value::from_json(value));
            }
        }
        for name in ["inputs", "vars", "needs"] {
            contexts.entry(name.into()).or_insert_with(|| Object::new().into());
        }
        for name in ["matrix", "strategy"] {
            contexts.entry(name.into()).or_insert(Value::Null);
        }
        let event = github_event(assignment);
        let github = github(
            &contexts,
            assignment,
            secrets,
            &inside(&workspace.workspace),
            &inside(&event_path(workspace)),
        );
        let mut fixed = github_variables(&github);
        contexts.insert("github".into(), github.into());

        let runner = [
            ("name", config.runner_name.clone()),
            ("os", OS.to_owned()),
            ("arch", ARCH.to_owned()),
            ("temp", inside(&workspace.temp)),
            ("tool_cache", inside(&config.tool_cache)),
            ("environment", "self-hosted".to_owned()),
            ("workspace", parent_of(&cell.inside(&workspace.workspace))),
            ("debug", if config.debug { "1".into() } else { String::new() }),
        ];
        let runner: Vec<_> = runner.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        for (name, value) in &runner {
            fixed.push((format!("RUNNER_{}", name.to_ascii_uppercase()), value.clone()));
        }
        fixed.push(("GITHUB_ACTIONS".into(), "true".into()));
        fixed.push(("FLEETFOOT".into(), "true".into()));
        let runner: Object = runner.iter().map(|(k, v)| (*k, Value::from(v.as_str()))).collect();
        contexts.insert("runner".into(), runner.into());

        let mut given: Object =
            [("GITHUB_TOKEN", Value::from(secrets::token(secrets, assignment)))].into_iter().collect();
        given.extend(secrets.iter().map(|(k, v)| (k.as_str(), Value::from(v.as_str()))));
        contexts.insert("secrets".into(), given.into());

        let mut base = match image_env {
            None => config.passed_env.clone(),
            Some(image_env) => {
                let of_host = |name: &String| DEFAULT_PASSED_ENV.contains(&name.as_str());
                let passed = config.passed_env.iter().filter(|(name, _)| !of_host(name));
                let mut base: Vec<_> = passed.chain(image_env).cloned().collect();
                base.push(("HOME".into(), HOME.into()));
                base
            }
        };
        base.push(("CI".into(), "true".into()));
        Self { contexts, base, fixed, event }
    }
}

fn parent_of(path: &Path) -> String {
    path.parent().unwrap_or(path).to_string_lossy().into_owned()
}

/// Where the event payload lies.
pub(crate) fn event_path(workspace: &Workspace) -> std::path::PathBuf {
    workspace.files.join("event.json")
}

fn github_event(assignment: &Assignment) -> String {
    let event = assignment.contexts.get("github").and_then(|g| g.get("event")).filter(|e| !e.is_null());
    event.map_or_else(|| "{}".to_owned(), ToString::to_string)
}

fn github(
    contexts: &HashMap<String, Value>,
    assignment: &Assignment,
    secrets: &IndexMap<String, String>,
    workspace: &str,
    event_path: &str,
) -> Object {
    let mut github = match contexts.get("github") {
        Some(Value::Object(given)) => (**given).clone(),
        _ => Object::new(),
    };
    github.insert("token", secrets::token(secrets, assignment));
    github.insert("workspace", workspace);
    github.insert("event_path", event_path);
    github.insert("job", assignment.spec.key.as_str());
    if !github.contains_key("server_url") {
        github.insert("server_url", assignment.server_url.as_str());
    }
    if github.get("server_url").is_none_or(|url| url.to_display_string().is_empty()) {
        // No forge and no server: the addresses that actions expect to find.
        github.insert("server_url", "https://github.com");
        github.insert("api_url", "https://api.github.com");
        github.insert("graphql_url", "https://api.github.com/graphql");
    }
    for (name, value) in [("retention_days", "90"), ("secret_source", "Actions")] {
        if !github.contains_key(name) {
            github.insert(name, value);
        }
    }
    if !github.contains_key("run_id") {
        github.insert("run_id", assignment.run.to_string().as_str());
    }
    github
}

fn github_variables(github: &Object) -> Vec<(String, String)> {
    GITHUB_VARIABLES
        .iter()
        .filter_map(|key| {
            let value = github.get(key).filter(|v| v.is_primitive())?.to_display_string();
            Some((format!("GITHUB_{}", key.to_ascii_uppercase()), value))
        })
        .collect()
}

/// Whether a step may set this variable through `GITHUB_ENV`.
pub(crate) fn may_set(name: &str) -> Settable {
    let upper = name.to_ascii_uppercase();
    if upper == "NODE_OPTIONS" {
        Settable::Forbidden
    } else if upper.starts_with("GITHUB_") && upper != "GITHUB_TOKEN" || upper.starts_with("RUNNER_") {
        Settable::Ignored
    } else {
        Settable::Yes
    }
}

/// Answer of [`may_set`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settable {
    Yes,
    /// The value is dropped.
    Ignored,
    /// The step fails.
    Forbidden,
}
