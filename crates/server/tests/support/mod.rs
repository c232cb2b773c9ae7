//! A real server over a real control plane, and a plain HTTP client.
#![allow(dead_code, reason = "each test file uses its part")]

use fleetfoot_control::{Control, Options, Principal, ServiceSetup, SignInOptions};
use fleetfoot_model::Problem;
use fleetfoot_model::api::{CreateToken, CreatedToken, TokenKind};
use fleetfoot_model::plan::Dialect;
use fleetfoot_objects::{LogOptions, LogStore, Objects, ObjectsConfig};
use fleetfoot_server::{ServerError, ServerOptions};
use fleetfoot_services::Limits;
use fleetfoot_store_sqlite::SqliteStore;
use fleetfoot_workflow::{JobDialect, WorkflowDialect};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// One job of one step.
pub(crate) const DOCUMENT: &str =
    "on: push\njobs:\n  build:\n    runs-on: test\n    steps:\n      - run: echo hello\n";

/// Those that every server has.
pub(crate) fn dialects() -> Vec<Arc<dyn Dialect>> {
    vec![Arc::new(WorkflowDialect), Arc::new(JobDialect)]
}

pub(crate) struct Bench {
    pub(crate) control: Control,
    pub(crate) url: String,
    pub(crate) admin: String,
    pub(crate) http: Client,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinHandle<Result<(), ServerError>>,
    _dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(ServerOptions::default()).await
    }

    pub(crate) async fn with(options: ServerOptions) -> Self {
        Self::with_dialects(options, dialects()).await
    }

    pub(crate) async fn with_dialects(options: ServerOptions, dialects: Vec<Arc<dyn Dialect>>) -> Self {
        Self::with_sign_in(options, dialects, SignInOptions::default()).await
    }

    pub(crate) async fn with_sign_in(
        options: ServerOptions,
        dialects: Vec<Arc<dyn Dialect>>,
        sign_in: SignInOptions,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open_scratch(dir.path()).unwrap());
        let logs = LogOptions { durable: false, ..LogOptions::default() };
        let logs = LogStore::open(&dir.path().join("logs"), logs).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let plane = Options { sign_in, ..Options::new(dir.path(), url.as_str()) };
        let control = Control::start(store, logs, dialects, plane).await.unwrap();
        let objects = Objects::open(&ObjectsConfig::directory(&dir.path().join("objects"))).unwrap();
        let (limits, url_of_services) = (Limits::default(), url.clone());
        let setup = ServiceSetup { objects, caches: None, limits, url: url_of_services };
        control.offer_services(setup).unwrap();
        let admin = control.bootstrap_admin().await.unwrap().unwrap().token;
        let shutdown = CancellationToken::new();
        let serving =
            tokio::spawn(fleetfoot_server::serve(control.clone(), listener, options, shutdown.clone()));
        Self { control, url, admin, http: Client::new(), shutdown, serving, _dir: dir }
    }

    pub(crate) async fn token(&self, kind: TokenKind) -> CreatedToken {
        let request = CreateToken {
            kind,
            name: String::new(),
            expires_in_seconds: None,
            max_uses: None,
            labels: Vec::new(),
            queue: None,
        };
        self.control.create_token(&Principal::System, request).await.unwrap()
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.http.request(Method::from_bytes(method.as_bytes()).unwrap(), format!("{}{path}", self.url))
    }

    /// A request of the admin, with a deadline.
    pub(crate) fn admin(&self, method: &str, path: &str) -> RequestBuilder {
        self.request(method, path).bearer_auth(&self.admin).timeout(PATIENCE)
    }

    /// The answer's JSON; panics unless the status is this one.
    pub(crate) async fn json(&self, request: RequestBuilder, status: u16) -> Value {
        json(request.send().await.unwrap(), status).await
    }

    /// The answer as a problem; panics unless it is one of this status.
    pub(crate) async fn problem(&self, request: RequestBuilder, status: u16) -> Problem {
        problem(request.send().await.unwrap(), status).await
    }

    /// Submits [`DOCUMENT`]; run and job.
    pub(crate) async fn submit(&self) -> (u64, u64) {
        let body = serde_json::json!({"kind": "workflow", "document": DOCUMENT});
        let created = self.json(self.admin("POST", "/api/v1/runs").json(&body), 201).await;
        (created["run"].as_u64().unwrap(), created["jobs"][0]["id"].as_u64().unwrap())
    }

    /// A runner that is driven by plain HTTP: id and token.
    pub(crate) async fn runner(&self, name: &str) -> (u64, String) {
        let body = serde_json::json!({"name": name, "labels": ["test"]});
        let created = self.json(self.admin("POST", "/runners").json(&body), 201).await;
        let (id, token) = (created["id"].as_u64().unwrap(), created["token"].as_str().unwrap().to_owned());
        let status = self.request("POST", &format!("/runners/{id}/status")).bearer_auth(&token);
        self.json(status.json(&serde_json::json!({"status": "idle"})), 200).await;
        (id, token)
    }

    /// Lets a runner claim a job: its attempt as `JOB.ATTEMPT.EPOCH`, and the job token.
    pub(crate) async fn claim(&self, id: u64, token: &str) -> (String, String) {
        let request = self.request("POST", &format!("/runners/{id}/assign-job")).bearer_auth(token);
        let job = self.json(request, 200).await["job"].take();
        let a = &job["attempt"];
        (
            format!("{}.{}.{}", a["job"], a["attempt"], a["epoch"]),
            job["job_token"].as_str().unwrap().to_owned(),
        )
    }

    /// Shuts the server down; it must be done within the deadline.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.serving).await.expect("the server did not end").unwrap().unwrap();
        self.control.shut_down().await;
    }
}

pub(crate) async fn json(response: Response, status: u16) -> Value {
    let got = response.status().as_u16();
    let text = response.text().await.unwrap();
    assert_eq!(got, status, "{text}");
    if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
}

pub(crate) async fn problem(response: Response, status: u16) -> Problem {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    serde_json::from_value(json(response, status).await).unwrap()
}

/// Reads server-sent events of a response.
pub(crate) struct Events {
    response: Response,
    text: String,
}

#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

impl Events {
    pub(crate) fn new(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        tokio::time::timeout(PATIENCE, self.read()).await.expect("no event came")
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| event.lines().find_map(|l| l.strip_prefix(name)).map(str::to_owned);
                let Some(data) = field("data: ") else { continue };
                let data = serde_json::from_str(&data).unwrap();
                return Some(Event { name: field("event: ").unwrap(), id: field("id: "), data });
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.text.push_str(std::str::from_utf8(&chunk).unwrap()),
                Ok(None) | Err(_) => return None,
            }
        }
    }
}
