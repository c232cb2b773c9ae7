//! What a dialect needs to know about an event to say whether a document
//! starts a run for it. Plain values: nothing here asks a forge or git.

/// An event as far as filters look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFacts {
    /// Name (`push`, `pull_request`).
    pub name: String,
    /// Activity type (`opened`), or the type of a `repository_dispatch`.
    pub action: Option<String>,
    /// The full ref that `branches` and `tags` look at: the pushed one, the base of a pull request,
    /// the branch of the run of a `workflow_run`.
    pub git_ref: Option<String>,
    /// Changed files.
    pub paths: ChangedPaths,
    /// Name of the workflow that ran, for `workflow_run`.
    pub workflow: Option<String>,
}

/// The changed files of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ChangedPaths {
    /// Not worked out yet: a document that needs them says so.
    #[default]
    NotAsked,
    /// There is nothing to compare with: path filters let everything through.
    Unknown,
    /// These, relative to the root of the repository.
    Listed(Vec<String>),
}

/// Whether a document starts a run for an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matching {
    /// It does.
    Yes,
    /// It does not, in words.
    No(String),
    /// That depends on the changed files: ask again with them.
    NeedsPaths,
}

/// A time at which a document wants to run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScheduleSpec {
    /// Five fields of POSIX cron.
    pub cron: String,
    /// IANA name of the time zone; absent means UTC.
    pub timezone: Option<String>,
}
