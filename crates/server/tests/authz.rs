//! Every route with every kind of caller. The matrix must name exactly the
//! routes of the OpenAPI document, so that none is forgotten.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod support;

use fleetfoot_model::api::TokenKind;
use serde_json::Value;
use std::collections::BTreeSet;
use support::Bench;

/// Who may.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    /// Everybody, without a token.
    Open,
    /// Holders of API tokens.
    Read,
    /// Members and admins.
    Write,
    /// Admins for the global scope, which the matrix asks for, and members for a project.
    Scoped,
    /// Admins.
    Admin,
    /// The runner of the path and admins.
    Own,
    /// Holders of API tokens, and the runner of the path.
    ReadOrOwn,
    /// Holders of registration tokens and admins.
    Register,
}

/// Routes under `/api/v1`; `{id}` is a thing that exists.
const MATRIX: &[(&str, &str, Rule)] = &[
    ("POST", "/runs", Rule::Write),
    ("GET", "/runs", Rule::Read),
    ("POST", "/runs/batch", Rule::Write),
    ("GET", "/runs/{id}", Rule::Read),
    ("POST", "/runs/{id}/cancel", Rule::Write),
    ("POST", "/runs/{id}/rerun", Rule::Write),
    ("GET", "/runs/{id}/events", Rule::Read),
    ("GET", "/runs/{id}/artifacts", Rule::Read),
    ("GET", "/artifacts/{id}", Rule::Read),
    ("DELETE", "/artifacts/{id}", Rule::Write),
    ("GET", "/artifacts/{id}/download", Rule::Read),
    ("GET", "/caches", Rule::Read),
    ("DELETE", "/caches", Rule::Write),
    ("DELETE", "/caches/{id}", Rule::Write),
    ("GET", "/jobs/{id}", Rule::Read),
    ("GET", "/jobs/{id}/why", Rule::Read),
    ("POST", "/jobs/{id}/cancel", Rule::Write),
    ("GET", "/jobs/{id}/log", Rule::Read),
    ("GET", "/jobs/{id}/log/marks", Rule::Read),
    ("GET", "/runners", Rule::Read),
    ("POST", "/runners", Rule::Admin),
    ("POST", "/runners/register", Rule::Register),
    ("GET", "/runners/{id}", Rule::ReadOrOwn),
    ("PATCH", "/runners/{id}", Rule::Admin),
    ("DELETE", "/runners/{id}", Rule::Own),
    ("POST", "/runners/{id}/status", Rule::Own),
    ("POST", "/runners/{id}/heartbeat", Rule::Own),
    ("POST", "/runners/{id}/assign-job", Rule::Own),
    ("POST", "/runners/{id}/complete-job", Rule::Own),
    ("POST", "/runners/{id}/sync", Rule::Own),
    ("POST", "/runners/{id}/log", Rule::Own),
    ("POST", "/runners/{id}/rotate-token", Rule::Own),
    ("POST", "/runners/{id}/drain", Rule::Admin),
    ("POST", "/runners/{id}/resume", Rule::Admin),
    ("POST", "/tokens", Rule::Admin),
    ("GET", "/tokens", Rule::Admin),
    ("DELETE", "/tokens/{id}", Rule::Admin),
    ("GET", "/audit", Rule::Admin),
    ("POST", "/backup", Rule::Admin),
    ("GET", "/repos", Rule::Read),
    ("POST", "/repos", Rule::Admin),
    ("GET", "/repos/{id}", Rule::Read),
    ("PATCH", "/repos/{id}", Rule::Admin),
    ("DELETE", "/repos/{id}", Rule::Admin),
    ("GET", "/repos/{id}/deliveries", Rule::Read),
    ("POST", "/repos/{id}/deliveries/{delivery}/redeliver", Rule::Write),
    ("POST", "/repos/{id}/dispatch", Rule::Write),
    ("POST", "/repos/{id}/repository-dispatch", Rule::Write),
    ("GET", "/repos/{id}/workflows", Rule::Read),
    ("GET", "/runs/facets", Rule::Read),
    ("GET", "/runs/{id}/report", Rule::Read),
    ("GET", "/runs/{id}/attempts", Rule::Read),
    ("GET", "/jobs/{id}/log/lines", Rule::Read),
    ("GET", "/jobs/{id}/log/outline", Rule::Read),
    ("GET", "/jobs/{id}/log/search", Rule::Read),
    ("GET", "/jobs/{id}/log/follow", Rule::Read),
    ("GET", "/artifacts", Rule::Read),
    ("GET", "/events", Rule::Read),
    ("GET", "/fleet", Rule::Read),
    ("GET", "/series", Rule::Read),
    ("GET", "/series/names", Rule::Read),
    ("GET", "/health", Rule::Read),
    ("GET", "/storage", Rule::Admin),
    ("GET", "/version", Rule::Open),
    ("GET", "/secrets", Rule::Write),
    ("PUT", "/secrets/{name}", Rule::Write),
    ("DELETE", "/secrets/{name}", Rule::Scoped),
    ("GET", "/secret-uses", Rule::Admin),
    ("POST", "/secret-key/rotate", Rule::Admin),
    ("GET", "/variables", Rule::Read),
    ("GET", "/variables/{name}", Rule::Read),
    ("PUT", "/variables/{name}", Rule::Write),
    ("DELETE", "/variables/{name}", Rule::Scoped),
    ("GET", "/environments", Rule::Read),
    ("POST", "/environments", Rule::Admin),
    ("GET", "/environments/{name}", Rule::Read),
    ("PATCH", "/environments/{name}", Rule::Admin),
    ("DELETE", "/environments/{name}", Rule::Admin),
    ("GET", "/approvals", Rule::Read),
    ("POST", "/jobs/{id}/approve", Rule::Write),
    ("POST", "/jobs/{id}/reject", Rule::Write),
    ("POST", "/runs/{id}/approve", Rule::Write),
    ("POST", "/runs/{id}/reject", Rule::Write),
    ("GET", "/session", Rule::Read),
    ("POST", "/session", Rule::Open),
    ("DELETE", "/session", Rule::Open),
    ("GET", "/sign-in", Rule::Open),
    ("GET", "/users", Rule::Admin),
    ("POST", "/users", Rule::Admin),
    ("GET", "/users/{id}", Rule::Admin),
    ("PATCH", "/users/{id}", Rule::Admin),
    ("DELETE", "/users/{id}", Rule::Admin),
    ("POST", "/users/{id}/password", Rule::Admin),
];

/// Callers in the order of [`expected`].
const CALLERS: [&str; 9] = [
    "nobody",
    "garbage",
    "read-only",
    "member",
    "admin",
    "registration",
    "own runner",
    "other runner",
    "job",
];

/// The refusal that each caller gets; `None`: it is let in.
fn expected(rule: Rule) -> [Option<u16>; 9] {
    const OK: Option<u16> = None;
    const U: Option<u16> = Some(401);
    const F: Option<u16> = Some(403);
    const N: Option<u16> = Some(404);
    match rule {
        Rule::Open => [OK; 9],
        Rule::Read => [U, U, OK, OK, OK, F, F, F, F],
        Rule::Write => [U, U, F, OK, OK, F, F, F, F],
        Rule::Scoped | Rule::Admin => [U, U, F, F, OK, F, F, F, F],
        Rule::Own => [U, U, F, F, OK, F, OK, N, F],
        Rule::ReadOrOwn => [U, U, OK, OK, OK, F, OK, N, F],
        Rule::Register => [U, U, F, F, OK, OK, F, F, F],
    }
}

#[test]
fn the_matrix_names_every_route() {
    let api: Value = serde_json::from_str(&fleetfoot_server::openapi()).unwrap();
    let mut documented = BTreeSet::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        let Some(path) = path.strip_prefix("/api/v1") else { continue };
        for method in item.as_object().unwrap().keys() {
            documented.insert((method.to_uppercase(), path.to_owned()));
        }
    }
    let named: BTreeSet<_> = MATRIX.iter().map(|(m, p, _)| ((*m).to_owned(), (*p).to_owned())).collect();
    assert_eq!(named, documented);
}

#[tokio::test]
async fn every_route_and_every_caller() {
    let bench = Bench::new().await;
    let (run, job) = bench.submit().await;
    let (own, own_token) = bench.runner("own").await;
    let (_, other_token) = bench.runner("other").await;
    let (_, job_token) = bench.claim(own, &own_token).await;
    let read_only = bench.token(TokenKind::ReadOnly).await;
    let member = bench.token(TokenKind::Member).await;
    let registration = bench.token(TokenKind::Registration).await;
    let tokens: [Option<&str>; 9] = [
        None,
        Some("ffa_0000000000000000000000000000000000000000"),
        Some(&read_only.token),
        Some(&member.token),
        Some(&bench.admin),
        Some(&registration.token),
        Some(&own_token),
        Some(&other_token),
        Some(&job_token),
    ];
    for (method, path, rule) in MATRIX {
        let id = match path.split('/').nth(1) {
            Some("runs") => run,
            Some("jobs") => job,
            Some("runners") => own,
            _ => u64::MAX >> 12,
        };
        // The name is one that nothing has.
        let real =
            path.replace("{id}", &id.to_string()).replace("{name}", "nothing").replace("{delivery}", "1");
        let prefixes: &[&str] = if path.starts_with("/runners") { &["/api/v1", ""] } else { &["/api/v1"] };
        for (prefix, (caller, (token, refusal))) in prefixes
            .iter()
            .flat_map(|p| CALLERS.iter().zip(tokens.iter().zip(expected(*rule))).map(move |c| (p, c)))
        {
            let at = format!("{method} {prefix}{path} as {caller}");
            if refusal.is_none() && (*method == "DELETE" || path.ends_with("/rotate-token")) && id == own {
                // It would end the tokens of the test itself.
                continue;
            }
            let mut request = bench.request(method, &format!("{prefix}{real}"));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            if matches!(*method, "POST" | "PATCH" | "PUT") {
                // Who is let in fails on the body: nothing changes on the way. Registration looks at
                // its body first, because the token may be in it.
                let body = if *rule == Rule::Register { "{\"version\": \"999.0.0\"}" } else { "{" };
                request = request.header("content-type", "application/json").body(body);
            }
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            match refusal {
                Some(refusal) => {
                    assert_eq!(status, refusal, "{at}");
                    let problem = support::problem(response, refusal).await;
                    assert!(!problem.detail.is_empty(), "{at}");
                }
                None => {
                    let missing = status == 404 && id > run + 1_000_000;
                    assert!(missing || !matches!(status, 401 | 403 | 404 | 405 | 500..), "{at}: {status}");
                }
            }
        }
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_job_token_ends_with_its_attempt_and_a_revoked_token_at_once() {
    let bench = Bench::new().await;
    let (_, job) = bench.submit().await;
    let (runner, token) = bench.runner("one").await;
    let (_, job_token) = bench.claim(runner, &token).await;
    bench.problem(bench.request("GET", "/api/v1/runs").bearer_auth(&job_token), 403).await;
    let done = serde_json::json!({"job_id": job, "conclusion": "success"});
    let complete = bench.request("POST", &format!("/runners/{runner}/complete-job")).bearer_auth(&token);
    bench.json(complete.json(&done), 200).await;
    bench.problem(bench.request("GET", "/api/v1/runs").bearer_auth(&job_token), 401).await;

    let member = bench.token(TokenKind::Member).await;
    bench.json(bench.request("GET", "/api/v1/runs").bearer_auth(&member.token), 200).await;
    bench.json(bench.admin("DELETE", &format!("/api/v1/tokens/{}", member.id)), 204).await;
    let refused = bench.request("GET", "/api/v1/runs").bearer_auth(&member.token).send().await.unwrap();
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    support::problem(refused, 401).await;
    bench.stop().await;
}
