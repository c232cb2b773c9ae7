//! A forge for tests: a real bare repository that git fetches from its
//! directory, the endpoints of GitHub, Gitea, Forgejo and GitLab that we use,
//! and webhooks that are signed as theirs. It remembers what it was told and
//! fails when it is asked to.

use crate::git::GitRepository;
use fleetfoot_model::repos::ForgeKind;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// A status that a commit was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentStatus {
    /// Commit.
    pub sha: String,
    /// Name.
    pub context: String,
    /// State, in the forge's words.
    pub state: String,
    /// Link.
    pub target_url: String,
}

/// A request as the forge saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Method and path.
    pub line: String,
    /// The header with the token.
    pub token: Option<String>,
    /// Body.
    pub body: Value,
}

#[derive(Debug, Default)]
struct State {
    statuses: Mutex<Vec<SentStatus>>,
    seen: Mutex<Vec<Seen>>,
    /// Requests that are answered with this status first.
    failures: Mutex<Vec<u16>>,
    ended: AtomicBool,
}

/// A forge with one repository, `acme/app`.
#[derive(Debug)]
pub struct FakeForge {
    kind: ForgeKind,
    dir: TempDir,
    work: GitRepository,
    url: String,
    state: Arc<State>,
    serving: Option<JoinHandle<()>>,
    deliveries: AtomicU64,
}

/// The token that the forge takes.
pub const FORGE_TOKEN: &str = "forge-token-5f1c";
/// Id of the repository at the forge.
pub const REPOSITORY: u64 = 7;
/// Account of the maintainer.
pub const MAINTAINER: (u64, &str) = (42, "alice");
/// Account of somebody who never contributed.
pub const STRANGER: (u64, &str) = (666, "mallory");

impl FakeForge {
    /// A forge with an empty repository.
    ///
    /// # Panics
    /// If git or the network of this machine cannot be used.
    #[must_use]
    pub fn new(kind: ForgeKind) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let bare = dir.path().join("acme/app.git");
        std::fs::create_dir_all(&bare).expect("a directory");
        let work = GitRepository::new(dir.path().join("work"));
        work.git(&["init", "--quiet", "--bare", "--initial-branch=main", &bare.display().to_string()]);
        work.git(&["remote", "add", "origin", &bare.display().to_string()]);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::<State>::default();
        let serving = std::thread::spawn({
            let state = Arc::clone(&state);
            move || serve(&listener, kind, &state)
        });
        Self { kind, dir, work, url, state, serving: Some(serving), deliveries: AtomicU64::new(0) }
    }

    /// What git fetches.
    #[must_use]
    pub fn clone_url(&self) -> String {
        format!("file://{}", self.bare().display())
    }

    /// Address of its API.
    #[must_use]
    pub fn api_url(&self) -> String {
        let path = match self.kind {
            ForgeKind::Github => "/api/v3",
            ForgeKind::Gitea | ForgeKind::Forgejo => "/api/v1",
            ForgeKind::Gitlab => "/api/v4",
        };
        format!("{}{path}", self.url)
    }

    /// The bare repository.
    #[must_use]
    pub fn bare(&self) -> PathBuf {
        self.dir.path().join("acme/app.git")
    }

    /// A working tree to commit in.
    #[must_use]
    pub fn work(&self) -> &GitRepository {
        &self.work
    }

    /// Commits everything and pushes it to a ref; answers the commit.
    pub fn push(&self, git_ref: &str, message: &str) -> String {
        let sha = self.work.commit(message);
        self.work.git(&["push", "--quiet", "--force", "origin", &format!("HEAD:{git_ref}")]);
        sha
    }

    /// Makes git unable to reach the repository, and able again.
    ///
    /// # Panics
    /// If the directory cannot be renamed.
    pub fn hide(&self, hidden: bool) {
        let away = self.dir.path().join("acme/away.git");
        let (from, to) = if hidden { (self.bare(), away) } else { (away, self.bare()) };
        std::fs::rename(from, to).expect("the repository to move");
    }

    /// The next requests are answered with these statuses.
    ///
    /// # Panics
    /// If a thread panicked before.
    pub fn fail(&self, statuses: &[u16]) {
        self.state.failures.lock().expect("the failures").extend(statuses);
    }

    /// What commits were told, in order.
    ///
    /// # Panics
    /// If a thread panicked before.
    #[must_use]
    pub fn statuses(&self) -> Vec<SentStatus> {
        self.state.statuses.lock().expect("the statuses").clone()
    }

    /// The states that one status went through.
    #[must_use]
    pub fn states_of(&self, sha: &str, context: &str) -> Vec<String> {
        let all = self.statuses().into_iter();
        all.filter(|s| s.sha == sha && s.context == context).map(|s| s.state).collect()
    }

    /// Every request so far.
    ///
    /// # Panics
    /// If a thread panicked before.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().expect("the requests").clone()
    }

    /// A push as this forge tells it: event and payload.
    #[must_use]
    pub fn push_event(&self, git_ref: &str, before: Option<&str>, after: &str) -> (String, Value) {
        let zero = "0".repeat(40);
        let before = before.unwrap_or(&zero);
        let commits = json!([{ "id": after, "message": self.message(after) }]);
        if self.kind == ForgeKind::Gitlab {
            let payload = json!({
                "object_kind": "push", "event_name": "push", "ref": git_ref, "before": before, "after": after,
                "checkout_sha": after, "user_id": MAINTAINER.0, "user_username": MAINTAINER.1,
                "project_id": REPOSITORY, "project": self.repository(), "commits": commits,
            });
            return ("Push Hook".to_owned(), payload);
        }
        let payload = json!({
            "ref": git_ref, "before": before, "after": after, "created": before == zero, "deleted": false,
            "commits": commits, "head_commit": commits[0], "repository": self.repository(),
            "sender": self.account(MAINTAINER), "pusher": { "name": MAINTAINER.1 },
        });
        ("push".to_owned(), payload)
    }

    /// A pull request as this forge tells it: event and payload.
    #[must_use]
    pub fn pull_event(
        &self,
        action: &str,
        number: u64,
        head: &str,
        base: &str,
        by: (u64, &str),
        fork: bool,
    ) -> (String, Value) {
        let head_repository = if fork { REPOSITORY + 1 } else { REPOSITORY };
        if self.kind == ForgeKind::Gitlab {
            let theirs = match action {
                "opened" => "open",
                "synchronize" => "update",
                other => other,
            };
            let payload = json!({
                "object_kind": "merge_request", "user": { "id": by.0, "username": by.1 }, "project": self.repository(),
                "object_attributes": {
                    "iid": number, "action": theirs, "source_branch": "topic", "target_branch": "main",
                    "source_project_id": head_repository, "target_project_id": REPOSITORY, "author_id": by.0,
                    "last_commit": { "id": head }, "title": "Change", "state": "opened",
                    "oldrev": (action == "synchronize").then_some(base),
                },
            });
            return ("Merge Request Hook".to_owned(), payload);
        }
        let theirs = match (self.kind, action) {
            (ForgeKind::Gitea | ForgeKind::Forgejo, "synchronize") => "synchronized",
            (_, action) => action,
        };
        let payload = json!({
            "action": theirs, "number": number,
            "pull_request": {
                "number": number, "title": "Change", "user": self.account(by), "merged": false,
                "head": { "ref": "topic", "sha": head, "repo": { "id": head_repository } },
                "base": { "ref": "main", "sha": base, "repo": { "id": REPOSITORY } },
            },
            "repository": self.repository(), "sender": self.account(by),
        });
        ("pull_request".to_owned(), payload)
    }

    fn account(&self, (id, login): (u64, &str)) -> Value {
        match self.kind {
            ForgeKind::Github => json!({ "id": id, "login": login }),
            _ => json!({ "id": id, "username": login }),
        }
    }

    fn repository(&self) -> Value {
        match self.kind {
            ForgeKind::Gitlab => json!({
                "id": REPOSITORY, "name": "app", "path_with_namespace": "acme/app", "default_branch": "main",
                "git_http_url": self.clone_url(), "web_url": format!("{}/acme/app", self.url),
            }),
            _ => json!({
                "id": REPOSITORY, "name": "app", "full_name": "acme/app", "default_branch": "main",
                "owner": { "id": 1, "login": "acme" }, "clone_url": self.clone_url(),
            }),
        }
    }

    fn message(&self, sha: &str) -> String {
        self.work.git(&["show", "--no-patch", "--format=%B", sha])
    }

    /// The headers of a webhook with this body, signed with this secret, under a new delivery id.
    #[must_use]
    pub fn headers(&self, event: &str, body: &[u8], secret: &str) -> Vec<(String, String)> {
        let id = self.deliveries.fetch_add(1, Ordering::Relaxed) + 1;
        let id = format!("{}-delivery-{id}", self.kind);
        let hex = hex(&hmac(secret.as_bytes(), body));
        let all: Vec<(&str, String)> = match self.kind {
            ForgeKind::Github => vec![
                ("x-github-event", event.to_owned()),
                ("x-github-delivery", id),
                ("x-hub-signature-256", format!("sha256={hex}")),
            ],
            ForgeKind::Gitea => vec![
                ("x-gitea-event", event.to_owned()),
                ("x-gitea-delivery", id),
                ("x-gitea-signature", hex.clone()),
                ("x-hub-signature-256", format!("sha256={hex}")),
            ],
            ForgeKind::Forgejo => vec![
                ("x-forgejo-event", event.to_owned()),
                ("x-forgejo-delivery", id),
                ("x-forgejo-signature", hex),
            ],
            ForgeKind::Gitlab => vec![
                ("x-gitlab-event", event.to_owned()),
                ("x-gitlab-event-uuid", id),
                ("x-gitlab-token", secret.to_owned()),
            ],
        };
        let json = ("content-type", "application/json".to_owned());
        all.into_iter().chain([json]).map(|(k, v)| (k.to_owned(), v)).collect()
    }

    /// A directory that goes with the forge.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for FakeForge {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        // The accepting thread looks at the flag when somebody comes.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
    }
}

fn serve(listener: &TcpListener, kind: ForgeKind, state: &Arc<State>) {
    for stream in listener.incoming() {
        if state.ended.load(Ordering::Relaxed) {
            return;
        }
        let (Ok(stream), state) = (stream, Arc::clone(state)) else { continue };
        std::thread::spawn(move || {
            let _ = answer(stream, kind, &state);
        });
    }
}

/// One request a connection.
fn answer(stream: TcpStream, kind: ForgeKind, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let line = first.trim().trim_end_matches(" HTTP/1.1").to_owned();
    let (mut length, mut token) = (0, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or(0),
            "authorization" | "private-token" => token = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    state.seen.lock().expect("the requests").push(Seen {
        line: line.clone(),
        token: token.clone(),
        body: body.clone(),
    });
    let failure = {
        let mut failures = state.failures.lock().expect("the failures");
        if failures.is_empty() { None } else { Some(failures.remove(0)) }
    };
    let (status, answer) = match failure {
        Some(status) => (status, json!({ "message": "asked to fail" })),
        None if !token.is_some_and(|t| t.ends_with(FORGE_TOKEN)) => {
            (401, json!({ "message": "Bad credentials" }))
        }
        None => endpoint(kind, &line, &body, state),
    };
    let text = answer.to_string();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    )?;
    stream.flush()?;
    stream.shutdown(Shutdown::Write)
}

fn endpoint(kind: ForgeKind, line: &str, body: &Value, state: &State) -> (u16, Value) {
    let prefix = match kind {
        ForgeKind::Github => "/api/v3/repos/acme/app",
        ForgeKind::Gitea | ForgeKind::Forgejo => "/api/v1/repos/acme/app",
        ForgeKind::Gitlab => "/api/v4/projects/acme%2Fapp",
    };
    let (method, path) = line.split_once(' ').unwrap_or_default();
    let Some(path) = path.strip_prefix(prefix) else { return (404, json!({ "message": "404 Not Found" })) };
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    match (method, path) {
        ("GET", "") => (200, json!({ "id": REPOSITORY, "default_branch": "main" })),
        ("POST", "/hooks") => (201, json!({ "id": 1 })),
        ("POST" | "PATCH", path) if path.starts_with("/check-runs") && kind == ForgeKind::Github => {
            let shown = if body.get("conclusion").is_some() { "conclusion" } else { "status" };
            state.statuses.lock().expect("the statuses").push(SentStatus {
                sha: text("head_sha"),
                context: format!("check {}", text("name")),
                state: text(shown),
                target_url: text("details_url"),
            });
            // Whoever changes a check run must name the one that was created.
            match (method, path) {
                ("POST", "/check-runs") => (201, json!({ "id": 77 })),
                ("PATCH", "/check-runs/77") => (200, json!({ "id": 77 })),
                _ => (404, json!({ "message": "no such check run" })),
            }
        }
        ("POST", path) if path.starts_with("/statuses/") => {
            let words: &[&str] = match kind {
                ForgeKind::Gitlab => &["pending", "running", "success", "failed", "canceled"],
                _ => &["pending", "success", "failure", "error"],
            };
            let state_word = text("state");
            if !words.contains(&state_word.as_str()) {
                return (422, json!({ "message": format!("state {state_word} is not known") }));
            }
            let context = if kind == ForgeKind::Gitlab { text("name") } else { text("context") };
            state.statuses.lock().expect("the statuses").push(SentStatus {
                sha: path.trim_start_matches("/statuses/").to_owned(),
                context,
                state: state_word,
                target_url: text("target_url"),
            });
            (201, json!({ "id": 1 }))
        }
        _ => (404, json!({ "message": "404 Not Found" })),
    }
}

/// HMAC-SHA256, made apart from the one that it tests.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut padded = if key.len() > 64 { Sha256::digest(key).to_vec() } else { key.to_vec() };
    padded.resize(64, 0);
    let with = |pad: u8| padded.iter().map(|b| b ^ pad).collect::<Vec<u8>>();
    let inner = Sha256::digest([with(0x36), message.to_vec()].concat());
    Sha256::digest([with(0x5c), inner.to_vec()].concat()).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
