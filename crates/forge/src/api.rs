//! HTTP to a forge: commit statuses, check runs, webhooks, what a repository
//! is. It tells its caller why a forge refused and whether trying again makes
//! sense; it tries nothing again itself. Redirects are not followed, so that
//! a token never travels to another host.

use crate::status::{State, description};
use fleetfoot_model::repos::ForgeKind;
use reqwest::header::{ACCEPT, RETRY_AFTER, USER_AGENT};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use thiserror::Error;

/// How long a forge may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// How much of a refusal is shown.
const SHOWN: usize = 300;
/// Largest answer that is read, bytes.
const ANSWER: usize = 4 << 20;

/// A repository at a forge.
#[derive(Clone)]
pub struct Remote {
    /// Software.
    pub kind: ForgeKind,
    /// Address of the API, without a slash at its end.
    pub api_url: String,
    /// `OWNER/NAME`.
    pub name: String,
    /// Access token.
    pub token: Option<String>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote")
            .field("api_url", &self.api_url)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Kinds of [`ApiError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiErrorKind {
    /// No answer: the network, a name, a time limit.
    Unreachable,
    /// The token is missing, wrong or allows less.
    Denied,
    /// No such repository, or not one for this token.
    NotFound,
    /// Too many requests.
    Limited,
    /// The forge has a fault (5xx).
    Fault,
    /// The forge does not take this request: it will not take it later either.
    Refused,
}

/// A forge that did not do what it was asked.
#[derive(Clone, Debug, Error)]
#[error("{message}")]
pub struct ApiError {
    /// For decisions.
    pub kind: ApiErrorKind,
    /// For people; never holds a token.
    pub message: String,
    /// When the forge wants to be asked again.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// Whether trying again later makes sense. Permissions may be given meanwhile.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        !matches!(self.kind, ApiErrorKind::Refused)
    }
}

/// The status of one job on one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// Commit.
    pub sha: &'a str,
    /// Name of the status.
    pub context: &'a str,
    /// State.
    pub state: State,
    /// In words.
    pub description: &'a str,
    /// Where people look further.
    pub target_url: Option<&'a str>,
    /// The check run that shows it already.
    pub check_run: Option<u64>,
}

/// The client for all forges; cheap to clone.
#[derive(Clone, Debug)]
pub struct ForgeClient {
    http: reqwest::Client,
}

impl ForgeClient {
    /// A client.
    ///
    /// # Errors
    /// If the TLS of this machine cannot be used.
    pub fn new() -> Result<Self, ApiError> {
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| unreachable_because(&e, "this machine"))?;
        Ok(Self { http })
    }

    /// Sets the status of a job on a commit; answers the check run that shows it, if one does.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn report(&self, remote: &Remote, report: &Report<'_>) -> Result<Option<u64>, ApiError> {
        if makes_check_runs(remote) {
            return self.check_run(remote, report).await.map(Some);
        }
        let description = description(report.description);
        let state = report.state.commit_status(remote.kind);
        let (path, body) = match remote.kind {
            ForgeKind::Gitlab => (
                format!("{}/statuses/{}", project(remote), report.sha),
                json!({
                    "state": state, "name": report.context, "description": description,
                    "target_url": report.target_url,
                }),
            ),
            _ => (
                format!("{}/statuses/{}", project(remote), report.sha),
                json!({
                    "state": state, "context": report.context, "description": description,
                    "target_url": report.target_url.unwrap_or_default(),
                }),
            ),
        };
        match self.call(remote, Method::POST, &path, Some(&body)).await {
            Ok(_) => Ok(None),
            // GitLab refuses to set the state that a status has already.
            Err(e) if remote.kind == ForgeKind::Gitlab && e.message.contains("Cannot transition status") => {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    async fn check_run(&self, remote: &Remote, report: &Report<'_>) -> Result<u64, ApiError> {
        let (status, conclusion) = report.state.check_run();
        let mut body = json!({
            "name": report.context, "head_sha": report.sha, "status": status, "details_url": report.target_url,
            "output": { "title": description(report.description), "summary": report.description },
        });
        if let (Some(conclusion), Some(map)) = (conclusion, body.as_object_mut()) {
            map.insert("conclusion".to_owned(), json!(conclusion));
        }
        let answer = match report.check_run {
            Some(id) => {
                let path = format!("{}/check-runs/{id}", project(remote));
                self.call(remote, Method::PATCH, &path, Some(&body)).await?
            }
            None => {
                let path = format!("{}/check-runs", project(remote));
                self.call(remote, Method::POST, &path, Some(&body)).await?
            }
        };
        answer.get("id").and_then(Value::as_u64).ok_or_else(|| refused("the forge answered no check run"))
    }

    /// The default branch of the repository.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn default_branch(&self, remote: &Remote) -> Result<Option<String>, ApiError> {
        let answer = self.call(remote, Method::GET, &project(remote), None).await?;
        Ok(answer.get("default_branch").and_then(Value::as_str).map(str::to_owned))
    }

    /// Creates the webhook of a repository.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn create_webhook(&self, remote: &Remote, url: &str, secret: &str) -> Result<(), ApiError> {
        let config = json!({ "url": url, "content_type": "json", "secret": secret });
        let body = match remote.kind {
            ForgeKind::Github => json!({ "name": "web", "active": true, "events": ["*"], "config": config }),
            ForgeKind::Gitea | ForgeKind::Forgejo => json!({
                "type": remote.kind.as_str(), "active": true, "config": config, "branch_filter": "*",
                "events": [
                    "create", "delete", "fork", "push", "issues", "issue_assign", "issue_label", "issue_milestone",
                    "issue_comment", "pull_request", "pull_request_assign", "pull_request_label",
                    "pull_request_milestone", "pull_request_comment", "pull_request_review_approved",
                    "pull_request_review_rejected", "pull_request_review_comment", "pull_request_sync", "wiki",
                    "release", "package",
                ],
            }),
            ForgeKind::Gitlab => json!({
                "url": url, "token": secret, "push_events": true, "tag_push_events": true, "issues_events": true,
                "merge_requests_events": true, "note_events": true, "releases_events": true,
                "wiki_page_events": true, "enable_ssl_verification": true,
            }),
        };
        self.call(remote, Method::POST, &format!("{}/hooks", project(remote)), Some(&body)).await?;
        Ok(())
    }

    async fn call(
        &self,
        remote: &Remote,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ApiError> {
        let url = format!("{}{path}", remote.api_url.trim_end_matches('/'));
        let mut request = self.http.request(method, &url).header(USER_AGENT, "fleetfoot");
        request = match (&remote.token, remote.kind) {
            (Some(token), ForgeKind::Gitlab) => request.header("private-token", token),
            (Some(token), ForgeKind::Github) => request.bearer_auth(token),
            (Some(token), _) => request.header("authorization", format!("token {token}")),
            (None, _) => request,
        };
        if remote.kind == ForgeKind::Github {
            request = request.header(ACCEPT, "application/vnd.github+json");
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let host = host_of(&url);
        let mut response = request.send().await.map_err(|e| unreachable_because(&e, &host))?;
        let status = response.status();
        let wait =
            response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| unreachable_because(&e, &host))? {
            text.extend_from_slice(&chunk);
            if text.len() > ANSWER {
                return Err(refused("the forge's answer is larger than 4 MiB"));
            }
        }
        let answer: Value = serde_json::from_slice(&text).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(answer);
        }
        let limited =
            status == StatusCode::TOO_MANY_REQUESTS || (status == StatusCode::FORBIDDEN && wait.is_some());
        let kind = match status.as_u16() {
            _ if limited => ApiErrorKind::Limited,
            401 | 403 => ApiErrorKind::Denied,
            404 => ApiErrorKind::NotFound,
            408 | 500.. => ApiErrorKind::Fault,
            _ => ApiErrorKind::Refused,
        };
        let said = answer.get("message").or_else(|| answer.get("error")).map(|m| match m {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let said: String = said.unwrap_or_default().chars().take(SHOWN).collect();
        let advice = match (kind, remote.token.is_some()) {
            (ApiErrorKind::Denied | ApiErrorKind::NotFound, false) => "; no access token is stored for it",
            (ApiErrorKind::Denied, true) => "; the stored access token does not allow it",
            _ => "",
        };
        let colon = if said.is_empty() { "" } else { ": " };
        Err(ApiError {
            kind,
            message: format!("{host} answered {}{colon}{said}{advice}", status.as_u16()),
            retry_after: wait.map(Duration::from_secs),
        })
    }
}

/// Check runs belong to apps of GitHub, whose tokens are recognisable.
fn makes_check_runs(remote: &Remote) -> bool {
    remote.kind == ForgeKind::Github && remote.token.as_deref().is_some_and(|t| t.starts_with("ghs_"))
}

/// Path of the repository below the API.
fn project(remote: &Remote) -> String {
    match remote.kind {
        ForgeKind::Gitlab => format!("/projects/{}", encoded(&remote.name, false)),
        _ => format!("/repos/{}", encoded(&remote.name, true)),
    }
}

fn encoded(text: &str, keep_slash: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slash && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The usual address of the API of a forge, by the address of the repository.
#[must_use]
pub fn usual_api_url(kind: ForgeKind, origin: &str) -> String {
    match kind {
        ForgeKind::Github if origin == "https://github.com" => "https://api.github.com".to_owned(),
        ForgeKind::Github => format!("{origin}/api/v3"),
        ForgeKind::Gitea | ForgeKind::Forgejo => format!("{origin}/api/v1"),
        ForgeKind::Gitlab => format!("{origin}/api/v4"),
    }
}

fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default().rsplit('@').next().unwrap_or_default().to_owned()
}

fn refused(message: &str) -> ApiError {
    ApiError { kind: ApiErrorKind::Refused, message: message.to_owned(), retry_after: None }
}

fn unreachable_because(error: &reqwest::Error, host: &str) -> ApiError {
    let why = if error.is_timeout() {
        "it does not answer in time".to_owned()
    } else {
        // The innermost cause says it in the fewest words; addresses may hold credentials.
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        if cause.source().is_none() && std::ptr::addr_eq(cause, error) {
            "it cannot be reached".to_owned()
        } else {
            cause.to_string()
        }
    };
    ApiError {
        kind: ApiErrorKind::Unreachable,
        message: format!("the forge at {host} is out of reach: {why}"),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_apis() {
        let usual = |kind, origin| usual_api_url(kind, origin);
        assert_eq!(usual(ForgeKind::Github, "https://github.com"), "https://api.github.com");
        assert_eq!(usual(ForgeKind::Github, "https://ghe.x"), "https://ghe.x/api/v3");
        assert_eq!(usual(ForgeKind::Forgejo, "https://codeberg.org"), "https://codeberg.org/api/v1");
        assert_eq!(usual(ForgeKind::Gitlab, "https://gitlab.com"), "https://gitlab.com/api/v4");
        let remote = |kind| Remote { kind, api_url: String::new(), name: "a b/c/d".into(), token: None };
        assert_eq!(project(&remote(ForgeKind::Gitlab)), "/projects/a%20b%2Fc%2Fd");
        assert_eq!(project(&remote(ForgeKind::Gitea)), "/repos/a%20b/c/d");
        assert_eq!(host_of("https://user:secret@git.example.org:8443/x"), "git.example.org:8443");
    }

    #[tokio::test]
    async fn a_forge_that_is_not_there_has_its_own_message() {
        let client = ForgeClient::new().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let remote = Remote {
            kind: ForgeKind::Gitea,
            api_url: format!("http://{address}/api/v1"),
            name: "o/r".into(),
            token: Some("very-secret".into()),
        };
        let error = client.default_branch(&remote).await.unwrap_err();
        assert_eq!(error.kind, ApiErrorKind::Unreachable);
        assert!(error.message.starts_with(&format!("the forge at {address} is out of reach: ")), "{error}");
        assert!(error.may_pass() && !error.message.contains("very-secret"));
        assert!(!format!("{remote:?}").contains("very-secret"));
    }
}
