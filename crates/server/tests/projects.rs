//! Secrets, variables, environments and approvals over HTTP: shapes, scopes and
//! refusals that the authorization matrix does not reach.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod support;

use fleetfoot_model::Code;
use fleetfoot_model::api::TokenKind;
use serde_json::{Value, json};
use support::Bench;

const VALUE: &str = "correct-horse-battery-staple";

impl Bench {
    async fn put(&self, path: &str, token: &str, status: u16) -> Value {
        let request = self.request("PUT", path).bearer_auth(token).json(&json!({ "value": VALUE }));
        self.json(request, status).await
    }

    async fn text(&self, path: &str) -> String {
        self.admin("GET", path).send().await.unwrap().text().await.unwrap()
    }
}

#[tokio::test]
async fn scopes_are_named_in_the_query_and_values_are_not_told() {
    let bench = Bench::new().await;
    let member = bench.token(TokenKind::Member).await.token;
    let new = json!({ "project": "web", "name": "Prod/uction", "rules": { "wait_minutes": 1 } });
    bench.json(bench.admin("POST", "/api/v1/environments").json(&new), 201).await;
    bench.put("/api/v1/secrets/token?project=web", &member, 204).await;
    bench.put("/api/v1/secrets/token", &bench.admin, 204).await;
    bench.put("/api/v1/secrets/token?project=web&environment=prod/uction", &bench.admin, 204).await;
    for refused in ["/api/v1/secrets/token", "/api/v1/secrets/token?project=web&environment=prod/uction"] {
        bench.put(refused, &member, 403).await;
    }
    bench.put("/api/v1/secrets/token?environment=production", &bench.admin, 400).await;
    bench.put("/api/v1/secrets/token?projct=web", &bench.admin, 400).await;
    bench.put("/api/v1/secrets/token?project=web&environment=staging", &bench.admin, 404).await;
    bench.put("/api/v1/secrets/GITHUB_TOKEN", &bench.admin, 400).await;
    let listed = bench.json(bench.admin("GET", "/api/v1/secrets?project=web"), 200).await;
    assert_eq!(
        (&listed["items"][0]["name"], &listed["items"][0]["scope"]),
        (&json!("TOKEN"), &json!("project"))
    );
    for path in ["/api/v1/secrets", "/api/v1/secrets?project=web", "/api/v1/audit", "/api/v1/secret-uses"] {
        assert!(!bench.text(path).await.contains(VALUE), "{path}");
    }
    // A body that cannot be read is not repeated in the answer.
    let broken = bench.admin("PUT", "/api/v1/secrets/token").header("content-type", "application/json");
    let refused = bench.problem(broken.body(format!("{{\"value\": {VALUE}}}")), 400).await;
    assert!(!refused.to_string().contains(VALUE), "{refused:?}");
    bench.problem(bench.admin("GET", "/api/v1/secrets/token"), 405).await;
    let shown = bench.json(bench.admin("GET", "/api/v1/environments/prod%2Fuction?project=web"), 200).await;
    assert_eq!((&shown["name"], &shown["rules"]["wait_minutes"]), (&json!("Prod/uction"), &json!(1)));
    bench.json(bench.admin("DELETE", "/api/v1/environments/prod%2Fuction?project=web"), 204).await;
    bench.problem(bench.admin("GET", "/api/v1/environments/prod%2Fuction?project=web"), 404).await;
    bench.stop().await;
}

#[tokio::test]
async fn variables_are_set_read_and_deleted() {
    let bench = Bench::new().await;
    let reader = bench.token(TokenKind::ReadOnly).await.token;
    let set = bench.put("/api/v1/variables/region?project=web", &bench.admin, 200).await;
    assert_eq!((&set["name"], &set["value"]), (&json!("REGION"), &json!(VALUE)));
    let read = bench.request("GET", "/api/v1/variables/Region?project=web").bearer_auth(&reader);
    assert_eq!(bench.json(read, 200).await["value"], VALUE);
    bench.problem(bench.admin("GET", "/api/v1/variables/region"), 404).await;
    bench.json(bench.admin("DELETE", "/api/v1/variables/region?project=web"), 204).await;
    bench.problem(bench.admin("DELETE", "/api/v1/variables/region?project=web"), 404).await;
    bench.stop().await;
}

#[tokio::test]
async fn what_waits_for_nothing_cannot_be_approved() {
    let bench = Bench::new().await;
    let (run, job) = bench.submit().await;
    for path in [format!("/api/v1/runs/{run}/approve"), format!("/api/v1/jobs/{job}/reject")] {
        let refused = bench.problem(bench.admin("POST", &path), 409).await;
        assert_eq!(refused.code, Code::Conflict);
        assert!(refused.hint.is_some_and(|h| h.contains("approvals list")));
    }
    bench.problem(bench.admin("POST", "/api/v1/jobs/999999/approve"), 404).await;
    bench.problem(bench.admin("GET", "/api/v1/approvals?state=maybe"), 400).await;
    let none = bench.json(bench.admin("GET", "/api/v1/approvals?state=pending"), 200).await;
    assert_eq!(none["items"], json!([]));
    let done = bench.json(bench.admin("POST", "/api/v1/secret-key/rotate"), 200).await;
    assert_eq!(done["master_key"].as_str().unwrap().len(), 16);
    bench.stop().await;
}
