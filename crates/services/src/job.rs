//! The job that is asking, and what it may read and write.

use async_trait::async_trait;
use fleetfoot_model::ids::{AttemptRef, RunId};
use fleetfoot_model::plan::RunParams;
use fleetfoot_model::spec::Contexts;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who knows which attempts still run.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Whether this attempt is current.
    async fn is_open(&self, attempt: AttemptRef) -> bool;
}

/// An attempt that asks with its runtime token.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Which.
    pub attempt: AttemptRef,
    /// Its run.
    pub run: RunId,
    /// Project of the run.
    pub project: String,
    /// Which caches it sees.
    pub caches: CacheScopes,
}

impl Job {
    /// The id that stands for the run in the protocols.
    #[must_use]
    pub fn run_id(&self) -> String {
        self.run.to_string()
    }

    /// The id that stands for the job in the protocols.
    #[must_use]
    pub fn job_id(&self) -> String {
        self.attempt.to_string()
    }
}

/// Which caches a job sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheScopes {
    /// Repository that all of them belong to.
    pub repository: String,
    /// Refs in the order of the lookup: its own, the base of a pull request, the default branch.
    pub read: Vec<String>,
    /// The ref under which it saves; absent for a job that only reads.
    pub write: Option<String>,
}

impl CacheScopes {
    /// The scopes of the jobs of a run.
    #[must_use]
    pub fn of(params: &RunParams, contexts: &Contexts) -> Self {
        let repository = params.repository.as_ref();
        let own = repository.and_then(|r| r.git_ref.clone()).unwrap_or_default();
        let github = contexts.get("github");
        let base = text(github, &["base_ref"]).map(branch);
        let default = text(github, &["event", "repository", "default_branch"]).map(branch);
        let mut read = vec![own.clone()];
        for further in [base, default].into_iter().flatten() {
            if !read.contains(&further) {
                read.push(further);
            }
        }
        // What comes from outside may be kept for itself, where nobody else looks.
        let merge = own.starts_with("refs/pull/") || own.starts_with("refs/merge-requests/");
        Self {
            repository: repository
                .map(|r| r.name.clone().unwrap_or_else(|| r.url.clone()))
                .unwrap_or_default(),
            read,
            write: (merge || !params.untrusted).then_some(own),
        }
    }
}

/// A branch as a full ref.
fn branch(name: &str) -> String {
    if name.starts_with("refs/") { name.to_owned() } else { format!("refs/heads/{name}") }
}

/// A text at a path of a context that is not empty.
fn text<'a>(value: Option<&'a Value>, path: &[&str]) -> Option<&'a str> {
    path.iter().try_fold(value?, |v, key| v.get(key))?.as_str().filter(|s| !s.is_empty())
}

/// What an identity token says about a job, beside issuer, audience and times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityClaims {
    /// `repo:OWNER/NAME:environment:NAME`, `…:pull_request` or `…:ref:REF`.
    pub sub: String,
    /// `OWNER/NAME`.
    pub repository: String,
    /// `OWNER`.
    pub repository_owner: String,
    /// Numeric id of the repository, as the event gave it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub repository_id: Option<String>,
    /// Numeric id of its owner.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub repository_owner_id: Option<String>,
    /// `private`, `public`, as the event gave it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub repository_visibility: Option<String>,
    /// Full ref.
    #[serde(rename = "ref")]
    pub git_ref: String,
    /// `branch` or `tag`.
    pub ref_type: String,
    /// Commit.
    pub sha: String,
    /// Source branch of a pull request.
    pub head_ref: String,
    /// Target branch of a pull request.
    pub base_ref: String,
    /// Event.
    pub event_name: String,
    /// Who caused the run.
    pub actor: String,
    /// Their numeric id at the forge.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actor_id: Option<String>,
    /// Name of the workflow.
    pub workflow: String,
    /// `OWNER/NAME/PATH@REF` of the workflow of the run.
    pub workflow_ref: String,
    /// Commit of the workflow.
    pub workflow_sha: String,
    /// The same for the workflow that holds the job.
    pub job_workflow_ref: String,
    /// Commit of that.
    pub job_workflow_sha: String,
    /// The run.
    pub run_id: String,
    /// Counts the runs of the workflow.
    pub run_number: String,
    /// Counts the re-runs.
    pub run_attempt: String,
    /// The environment that the job deploys to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub environment: Option<String>,
    /// Always `self-hosted`.
    pub runner_environment: String,
}

impl IdentityClaims {
    /// The claims of a job, from the contexts of its run.
    #[must_use]
    pub fn of(run: RunId, contexts: &Contexts, environment: Option<&str>) -> Self {
        let github = contexts.get("github");
        let get = |path: &[&str]| text(github, path).unwrap_or_default().to_owned();
        let id = |paths: &[&[&str]]| {
            paths.iter().find_map(|p| match p.iter().try_fold(github?, |v, key| v.get(key))? {
                Value::String(s) if !s.is_empty() => Some(s.clone()),
                Value::Number(n) => Some(n.to_string()),
                _ => None,
            })
        };
        let repository = get(&["repository"]);
        let (git_ref, event_name) = (get(&["ref"]), get(&["event_name"]));
        let detail = match environment {
            Some(name) => format!("environment:{}", name.replace(':', "%3A")),
            None if event_name == "pull_request" => "pull_request".to_owned(),
            None => format!("ref:{git_ref}"),
        };
        let workflow_ref = get(&["workflow_ref"]);
        let workflow_sha = get(&["workflow_sha"]);
        Self {
            sub: format!("repo:{repository}:{detail}"),
            repository_owner: repository.split('/').next().unwrap_or_default().to_owned(),
            repository,
            repository_id: id(&[&["repository_id"], &["event", "repository", "id"]]),
            repository_owner_id: id(&[&["repository_owner_id"], &["event", "repository", "owner", "id"]]),
            repository_visibility: id(&[&["event", "repository", "visibility"]]),
            ref_type: get(&["ref_type"]),
            sha: get(&["sha"]),
            head_ref: get(&["head_ref"]),
            base_ref: get(&["base_ref"]),
            actor: get(&["actor"]),
            actor_id: id(&[&["actor_id"], &["event", "sender", "id"]]),
            workflow: get(&["workflow"]),
            job_workflow_ref: workflow_ref.clone(),
            job_workflow_sha: workflow_sha.clone(),
            workflow_ref,
            workflow_sha,
            run_id: run.to_string(),
            run_number: id(&[&["run_number"]]).unwrap_or_default(),
            run_attempt: id(&[&["run_attempt"]]).unwrap_or_default(),
            environment: environment.map(str::to_owned),
            runner_environment: "self-hosted".to_owned(),
            git_ref,
            event_name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetfoot_model::spec::Repository;
    use serde_json::json;

    fn params(git_ref: &str, untrusted: bool) -> RunParams {
        let repository = Repository {
            url: "https://forge.example/octo/app".to_owned(),
            name: Some("octo/app".to_owned()),
            git_ref: Some(git_ref.to_owned()),
            sha: None,
        };
        RunParams { repository: Some(repository), untrusted, ..RunParams::default() }
    }

    fn contexts(base: &str) -> Contexts {
        let github = json!({"base_ref": base, "event": {"repository": {"default_branch": "main", "id": 7}}});
        Contexts::from([("github".to_owned(), github)])
    }

    #[test]
    fn a_branch_reads_its_own_and_the_default_branch() {
        let scopes = CacheScopes::of(&params("refs/heads/topic", false), &contexts(""));
        assert_eq!(scopes.read, ["refs/heads/topic", "refs/heads/main"]);
        assert_eq!(scopes.write.as_deref(), Some("refs/heads/topic"));
        assert_eq!(scopes.repository, "octo/app");
        let main = CacheScopes::of(&params("refs/heads/main", false), &contexts(""));
        assert_eq!(main.read, ["refs/heads/main"]);
    }

    #[test]
    fn a_pull_request_also_reads_its_base_and_writes_its_own() {
        for untrusted in [false, true] {
            let scopes = CacheScopes::of(&params("refs/pull/5/merge", untrusted), &contexts("release"));
            assert_eq!(scopes.read, ["refs/pull/5/merge", "refs/heads/release", "refs/heads/main"]);
            assert_eq!(scopes.write.as_deref(), Some("refs/pull/5/merge"));
        }
    }

    #[test]
    fn a_fork_on_a_branch_writes_nothing() {
        let scopes = CacheScopes::of(&params("refs/heads/main", true), &contexts(""));
        assert_eq!(scopes.write, None);
    }

    #[test]
    fn subjects_of_identity_tokens() {
        let github = |event: &str| {
            let value = json!({"repository": "octo/app", "ref": "refs/heads/main", "event_name": event,
                "event": {"repository": {"id": 7}}});
            Contexts::from([("github".to_owned(), value)])
        };
        let sub = |event: &str, environment| IdentityClaims::of(RunId(3), &github(event), environment).sub;
        assert_eq!(sub("push", None), "repo:octo/app:ref:refs/heads/main");
        assert_eq!(sub("pull_request", None), "repo:octo/app:pull_request");
        assert_eq!(sub("push", Some("a:b")), "repo:octo/app:environment:a%3Ab");
        let claims = IdentityClaims::of(RunId(3), &github("push"), None);
        assert_eq!(claims.repository_id.as_deref(), Some("7"));
        assert_eq!((claims.repository_owner.as_str(), claims.run_id.as_str()), ("octo", "3"));
    }
}
