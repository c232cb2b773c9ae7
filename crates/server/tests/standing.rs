//! Streams end when what their reader stands on ends: its token, its session,
//! its user; and when its role changes it is sent to ask again.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod support;

use fleetfoot_control::SignInOptions;
use fleetfoot_model::api::TokenKind;
use fleetfoot_server::ServerOptions;
use reqwest::Response;
use serde_json::json;
use std::time::{Duration, Instant};
use support::{Bench, Event, Events};

const PASSWORD: &str = "correct horse battery";
/// The longest that a stream may outlive what it stands on.
const SOON: Duration = Duration::from_secs(8);

/// A header that says who asks.
type Who = (&'static str, String);

impl Bench {
    async fn user(&self, name: &str, role: &str) -> u64 {
        let body = json!({ "name": name, "role": role, "password": PASSWORD });
        self.json(self.admin("POST", "/api/v1/users").json(&body), 201).await["id"].as_u64().unwrap()
    }

    async fn sign_in(&self, body: serde_json::Value) -> Who {
        let request = self.request("POST", "/api/v1/session").header("origin", &self.url).json(&body);
        let response = request.send().await.unwrap();
        let set = response.headers()["set-cookie"].to_str().unwrap();
        ("cookie", set.split(';').next().unwrap().to_owned())
    }

    async fn open(&self, who: &Who, path: &str) -> Response {
        let request = self.request("GET", path).header(who.0, &who.1);
        request.header("accept", "text/event-stream").send().await.unwrap()
    }

    /// Every stream of events that there is, each with its first event read if it has one at once.
    async fn streams(&self, who: &Who, run: u64, job: u64) -> Vec<Events> {
        let mut all = Vec::new();
        for (path, speaks) in [
            ("/api/v1/events".to_owned(), true),
            (format!("/api/v1/runs/{run}/events"), true),
            (format!("/api/v1/jobs/{job}/log"), false),
            (format!("/api/v1/jobs/{job}/log/follow"), false),
        ] {
            let mut events = Events::new(self.open(who, &path).await);
            if speaks {
                events.next().await.unwrap();
            }
            all.push(events);
        }
        all
    }
}

/// The last event of a stream.
async fn last(events: &mut Events) -> Event {
    let mut last = events.next().await.expect("the stream ended without a word");
    while let Some(event) = events.next().await {
        last = event;
    }
    last
}

async fn refused(mut streams: Vec<Events>) {
    let began = Instant::now();
    for events in &mut streams {
        let event = last(events).await;
        assert_eq!((event.name.as_str(), &event.data["code"]), ("error", &json!("unauthorized")));
        assert_eq!(event.data["status"], 401);
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_revoked_token_ends_its_streams_and_those_of_its_sessions_and_no_others() {
    let bench = Bench::new().await;
    let (run, job) = bench.submit().await;
    let token = bench.token(TokenKind::ReadOnly).await;
    let by_token = ("authorization", format!("Bearer {}", token.token));
    let by_session = bench.sign_in(json!({ "token": token.token })).await;
    let mut streams = bench.streams(&by_token, run, job).await;
    streams.extend(bench.streams(&by_session, run, job).await);
    let mut bytes = bench
        .request("GET", &format!("/api/v1/jobs/{job}/log?follow=true"))
        .header(by_token.0, &by_token.1)
        .send()
        .await
        .unwrap();
    let admin = ("authorization", format!("Bearer {}", bench.admin));
    let mut other = Events::new(bench.open(&admin, "/api/v1/events").await);
    assert_eq!(other.next().await.unwrap().name, "reset");

    bench.json(bench.admin("DELETE", &format!("/api/v1/tokens/{}", token.id)), 204).await;
    refused(streams).await;
    assert!(bytes.chunk().await.is_err(), "a cut body must not look complete");
    bench.submit().await;
    assert_eq!(other.next().await.unwrap().name, "run", "who stands on another token goes on");
    bench.stop().await;
}

#[tokio::test]
async fn signing_out_a_new_password_and_disabling_end_the_streams_of_a_user() {
    let bench = Bench::new().await;
    let (run, job) = bench.submit().await;
    let id = bench.user("ada", "member").await;
    let credentials = json!({ "name": "ada", "password": PASSWORD });
    let user = format!("/api/v1/users/{id}");

    let ada = bench.sign_in(credentials.clone()).await;
    let streams = bench.streams(&ada, run, job).await;
    let session = bench.json(bench.request("GET", "/api/v1/session").header(ada.0, &ada.1), 200).await;
    let out = bench.request("DELETE", "/api/v1/session").header(ada.0, &ada.1).header("origin", &bench.url);
    let csrf = session["csrf_token"].as_str().unwrap().to_owned();
    bench.json(out.header("x-fleetfoot-csrf", csrf), 204).await;
    refused(streams).await;

    let ada = bench.sign_in(credentials.clone()).await;
    let streams = bench.streams(&ada, run, job).await;
    let new = bench.admin("POST", &format!("{user}/password")).json(&json!({ "password": PASSWORD }));
    bench.json(new, 204).await;
    refused(streams).await;

    let ada = bench.sign_in(credentials).await;
    let streams = bench.streams(&ada, run, job).await;
    bench.json(bench.admin("PATCH", &user).json(&json!({ "disabled": true })), 200).await;
    refused(streams).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_session_that_expires_ends_its_streams_which_do_not_keep_it_alive() {
    let sign_in = SignInOptions { idle: Duration::from_secs(3), ..SignInOptions::default() };
    let bench = Bench::with_sign_in(ServerOptions::default(), support::dialects(), sign_in).await;
    let (run, job) = bench.submit().await;
    bench.user("ada", "member").await;
    let ada = bench.sign_in(json!({ "name": "ada", "password": PASSWORD })).await;
    refused(bench.streams(&ada, run, job).await).await;
    bench.stop().await;
}

#[tokio::test]
async fn another_role_ends_a_stream_without_a_refusal_and_without_an_end() {
    let bench = Bench::new().await;
    let id = bench.user("ada", "member").await;
    let ada = bench.sign_in(json!({ "name": "ada", "password": PASSWORD })).await;
    let mut events = Events::new(bench.open(&ada, "/api/v1/events").await);
    assert_eq!(events.next().await.unwrap().name, "reset");
    bench
        .json(bench.admin("PATCH", &format!("/api/v1/users/{id}")).json(&json!({ "role": "read_only" })), 200)
        .await;
    while let Some(event) = events.next().await {
        assert!(event.name != "error" && event.name != "end", "{event:?}");
    }
    let mut again = Events::new(bench.open(&ada, "/api/v1/events").await);
    assert_eq!(again.next().await.unwrap().name, "reset");
    bench.stop().await;
}
