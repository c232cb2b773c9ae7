//! Which contexts and functions an expression may use, key by key, as GitHub
//! documents it.

use fleetfoot_expr::FunctionSignature;

/// What an expression in some place may use. `None` in its stead means that
/// no expression may stand there.
#[derive(Debug)]
pub(crate) struct Allowed {
    pub(crate) contexts: &'static [&'static str],
    pub(crate) functions: &'static [FunctionSignature<'static>],
}

const NOTHING: &[FunctionSignature<'static>] = &[];
const HASH_FILES: &[FunctionSignature<'static>] = &[("hashFiles", 1, 255)];

/// `run-name`, the workflow's `concurrency`, defaults of inputs.
pub(super) const RUN: Allowed = Allowed { contexts: &["github", "inputs", "vars"], functions: NOTHING };

/// The workflow's `env`.
pub(super) const WORKFLOW_ENV: Allowed =
    Allowed { contexts: &["github", "inputs", "vars", "secrets"], functions: NOTHING };

/// `jobs.<id>.if`.
pub(super) const JOB_IF: Allowed = Allowed {
    contexts: &["github", "inputs", "vars", "needs"],
    functions: &[("always", 0, 0), ("failure", 0, 255), ("cancelled", 0, 0), ("success", 0, 255)],
};

/// `strategy`.
pub(super) const STRATEGY: Allowed =
    Allowed { contexts: &["github", "inputs", "vars", "needs"], functions: NOTHING };

/// What is known about one leg before it runs: name, runs-on, timeouts, containers, ...
pub(super) const LEG: Allowed =
    Allowed { contexts: &["github", "inputs", "vars", "needs", "strategy", "matrix"], functions: NOTHING };

/// The job's `env` and the secrets of a called workflow.
pub(super) const LEG_AND_SECRETS: Allowed = Allowed {
    contexts: &["github", "inputs", "vars", "needs", "strategy", "matrix", "secrets"],
    functions: NOTHING,
};

/// `jobs.<id>.defaults.run`.
pub(super) const JOB_DEFAULTS: Allowed = Allowed {
    contexts: &["github", "inputs", "vars", "strategy", "matrix", "needs", "env"],
    functions: NOTHING,
};

/// Outputs of a job and the environment of a container.
pub(super) const RUNNER: Allowed = Allowed {
    contexts: &[
        "github", "inputs", "vars", "needs", "strategy", "matrix", "secrets", "steps", "job", "runner", "env",
    ],
    functions: NOTHING,
};

/// `environment.url`.
pub(super) const ENVIRONMENT_URL: Allowed = Allowed {
    contexts: &["github", "inputs", "vars", "needs", "strategy", "matrix", "steps", "job", "runner", "env"],
    functions: NOTHING,
};

/// Everything of a step but its `if`.
pub(super) const STEP: Allowed = Allowed { contexts: RUNNER.contexts, functions: HASH_FILES };

/// `if` of a step.
pub(super) const STEP_IF: Allowed = Allowed {
    contexts: ENVIRONMENT_URL.contexts,
    functions: &[
        ("always", 0, 0),
        ("failure", 0, 0),
        ("cancelled", 0, 0),
        ("success", 0, 0),
        ("hashFiles", 1, 255),
    ],
};

/// `snapshot.if`.
pub(super) const SNAPSHOT_IF: Allowed = Allowed { contexts: LEG.contexts, functions: JOB_IF.functions };

/// Credentials of a container registry.
pub(super) const CREDENTIALS: Allowed = Allowed {
    contexts: &["github", "inputs", "vars", "needs", "strategy", "matrix", "secrets", "env"],
    functions: NOTHING,
};

/// Outputs of a called workflow.
pub(super) const CALL_OUTPUT: Allowed =
    Allowed { contexts: &["github", "inputs", "vars", "jobs"], functions: NOTHING };
