//! Signing in with password and token, sessions, their cookies and what keeps
//! foreign pages out: over real HTTP, as a browser would do it.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod support;

use fleetfoot_control::SignInOptions;
use fleetfoot_model::Code;
use fleetfoot_model::api::TokenKind;
use fleetfoot_server::ServerOptions;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::Bench;

const PASSWORD: &str = "correct horse battery";

/// A browser that is signed in.
struct Browser {
    cookie: String,
    csrf: String,
    view: Value,
}

impl Bench {
    async fn user(&self, name: &str, role: &str) -> u64 {
        let body = json!({ "name": name, "role": role, "password": PASSWORD });
        let made = self.json(self.admin("POST", "/api/v1/users").json(&body), 201).await;
        assert_eq!(made.get("password"), None);
        made["id"].as_u64().unwrap()
    }

    fn signing_in(&self, body: &Value) -> RequestBuilder {
        self.request("POST", "/api/v1/session").header("origin", &self.url).json(body)
    }

    async fn browser(&self, body: &Value) -> Browser {
        let response = self.signing_in(body).send().await.unwrap();
        let set = response.headers()["set-cookie"].to_str().unwrap().to_owned();
        let view = support::json(response, 201).await;
        let cookie = set.split(';').next().unwrap().to_owned();
        Browser { cookie, csrf: view["csrf_token"].as_str().unwrap().to_owned(), view }
    }

    async fn sign_in(&self, name: &str) -> Browser {
        self.browser(&json!({ "name": name, "password": PASSWORD })).await
    }

    /// As a page of this server asks.
    fn page(&self, who: &Browser, method: &str, path: &str) -> RequestBuilder {
        self.request(method, path)
            .header("cookie", &who.cookie)
            .header("origin", &self.url)
            .header("sec-fetch-site", "same-origin")
            .header("x-fleetfoot-csrf", &who.csrf)
    }

    async fn is_signed_in(&self, who: &Browser) -> bool {
        let status = self.page(who, "GET", "/api/v1/session").send().await.unwrap().status().as_u16();
        assert!(matches!(status, 200 | 401), "{status}");
        status == 200
    }

    async fn audit(&self) -> Vec<(String, String, String)> {
        let page = self.json(self.admin("GET", "/api/v1/audit?limit=200"), 200).await;
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        let items = page["items"].as_array().unwrap();
        items.iter().map(|e| (text(&e["actor"]), text(&e["action"]), text(&e["subject"]))).collect()
    }
}

fn cookie_of(response: &Response) -> String {
    response.headers()["set-cookie"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_password_begins_a_session_that_says_who_it_is() {
    let bench = Bench::new().await;
    let ways = bench.json(bench.request("GET", "/api/v1/sign-in"), 200).await;
    assert_eq!(ways, json!({ "password": false, "oidc": [] }));
    let id = bench.user("Ada", "member").await;
    let ways = bench.json(bench.request("GET", "/api/v1/sign-in"), 200).await;
    assert_eq!(ways["password"], true);

    let response = bench.signing_in(&json!({ "name": "ada", "password": PASSWORD })).send().await.unwrap();
    let set = cookie_of(&response);
    let (value, flags) = set.split_once("; ").unwrap();
    let name = format!("fleetfoot_session_{}", bench.control.installation());
    assert!(value.starts_with(&format!("{name}=ffs_")) && value.len() == 74, "{value}");
    let age = flags.strip_prefix("Path=/; Max-Age=").and_then(|f| f.strip_suffix("; HttpOnly; SameSite=Lax"));
    assert!((604_700..=604_800).contains(&age.unwrap().parse::<u64>().unwrap()), "{flags}");
    let view = support::json(response, 201).await;
    assert_eq!(
        (&view["name"], &view["display_name"], &view["role"], &view["method"], &view["actor"], &view["user"]),
        (&json!("Ada"), &json!("Ada"), &json!("member"), &json!("password"), &json!("user:Ada"), &json!(id))
    );
    assert!(!view.to_string().contains("ffs_"), "the secret is in the cookie only");

    let ada = bench.sign_in("ada").await;
    let again = bench.json(bench.page(&ada, "GET", "/api/v1/session"), 200).await;
    assert_eq!(again["csrf_token"], ada.view["csrf_token"]);
    let users = bench.json(bench.admin("GET", &format!("/api/v1/users/{id}")), 200).await;
    assert!(users["last_sign_in_at"].is_string());
    // What she does has her name.
    let run = json!({"kind": "workflow", "document": support::DOCUMENT});
    let run =
        bench.json(bench.page(&ada, "POST", "/api/v1/runs").json(&run), 201).await["run"].as_u64().unwrap();
    let run = bench.json(bench.page(&ada, "GET", &format!("/api/v1/runs/{run}")), 200).await;
    assert_eq!(run["actor"], "user:Ada");
    let expected = |action: &str| ("user:Ada".to_owned(), action.to_owned(), "user:Ada".to_owned());
    assert!(bench.audit().await.contains(&expected("session.create")));
    bench.stop().await;
}

#[tokio::test]
async fn cookies_are_for_https_where_https_is() {
    let bench = Bench::with(ServerOptions { secure_cookies: Some(true), ..ServerOptions::default() }).await;
    bench.user("ada", "member").await;
    let body = json!({ "name": "ada", "password": PASSWORD });
    let set = cookie_of(&bench.signing_in(&body).send().await.unwrap());
    // What the prefix demands of a cookie, or a browser does not take it.
    assert!(set.starts_with("__Host-fleetfoot_session_") && set.contains("; Path=/;"), "{set}");
    assert!(set.ends_with("; Secure") && !set.contains("Domain"), "{set}");
    let cookie = set.split(';').next().unwrap();
    let session = |cookie: &str| bench.request("GET", "/api/v1/session").header("cookie", cookie);
    bench.json(session(cookie), 200).await;
    bench.problem(session(cookie.strip_prefix("__Host-").unwrap()), 401).await;
    bench.stop().await;
    let bench = Bench::new().await;
    bench.user("ada", "member").await;
    assert!(!cookie_of(&bench.signing_in(&body).send().await.unwrap()).contains("Secure"));
    let by_https = bench.signing_in(&body).header("x-forwarded-proto", "https");
    assert!(cookie_of(&by_https.send().await.unwrap()).ends_with("; Secure"));
    bench.stop().await;
}

#[tokio::test]
async fn what_changes_something_needs_the_proof_of_a_page_of_this_server() {
    let bench = Bench::new().await;
    bench.user("ada", "admin").await;
    let ada = bench.sign_in("ada").await;
    let other = bench.sign_in("ada").await;
    let path = "/api/v1/tokens";
    let body = json!({ "kind": "member" });
    let send = async |headers: &[(&str, &str)]| {
        let mut request = bench.request("POST", path).header("cookie", &ada.cookie).json(&body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let (origin, csrf) = (("origin", bench.url.as_str()), ("x-fleetfoot-csrf", ada.csrf.as_str()));
    assert_eq!(send(&[origin, csrf]).await, 201);
    assert_eq!(send(&[("sec-fetch-site", "same-origin"), csrf]).await, 201);
    assert_eq!(send(&[origin]).await, 403, "without the token");
    assert_eq!(send(&[origin, ("x-fleetfoot-csrf", "")]).await, 403);
    assert_eq!(send(&[origin, ("x-fleetfoot-csrf", &other.csrf)]).await, 403, "of another session");
    assert_eq!(send(&[csrf]).await, 403, "from nowhere");
    assert_eq!(send(&[("origin", "https://evil.example"), csrf]).await, 403);
    assert_eq!(send(&[("origin", "null"), csrf]).await, 403);
    for site in ["cross-site", "same-site", "none"] {
        assert_eq!(send(&[origin, csrf, ("sec-fetch-site", site)]).await, 403, "{site}");
    }
    // Every method that changes something.
    for (method, path) in [
        ("DELETE", "/api/v1/tokens/99"),
        ("PUT", "/api/v1/variables/x"),
        ("PATCH", "/api/v1/users/1"),
        ("DELETE", "/api/v1/session"),
        ("POST", "/runners"),
    ] {
        let request = bench.request(method, path).header("cookie", &ada.cookie).header("origin", &bench.url);
        bench.problem(request, 403).await;
    }
    assert!(bench.is_signed_in(&ada).await, "signing out needs it too");
    // Reading needs none, and a bearer token counts before the cookie.
    bench.json(bench.request("GET", path).header("cookie", &ada.cookie), 200).await;
    let token = bench.admin("POST", path).header("cookie", &ada.cookie).json(&body);
    bench.json(token, 201).await;
    bench.stop().await;
}

#[tokio::test]
async fn signing_in_is_refused_to_foreign_pages_and_nonsense() {
    let bench = Bench::new().await;
    bench.user("ada", "admin").await;
    let body = json!({ "name": "ada", "password": PASSWORD });
    let foreign = bench.request("POST", "/api/v1/session").json(&body);
    bench.problem(foreign.header("origin", "https://evil.example"), 403).await;
    bench.problem(bench.signing_in(&body).header("sec-fetch-site", "cross-site"), 403).await;
    let form = bench.request("POST", "/api/v1/session").header("content-type", "text/plain");
    bench.problem(form.body(body.to_string()), 415).await;
    for bad in [
        json!({}),
        json!({"name": "ada"}),
        json!({"name": "ada", "password": "x", "token": "y"}),
        json!({"nmae": 1}),
    ] {
        bench.problem(bench.signing_in(&bad), 400).await;
    }
    bench.problem(bench.signing_in(&json!({"token": "x".repeat(20_000)})), 413).await;
    bench.stop().await;
}

#[tokio::test]
async fn wrong_passwords_and_unknown_names_get_the_same_answer() {
    let bench = Bench::new().await;
    bench.user("ada", "admin").await;
    let no_password = json!({ "name": "grace", "role": "admin" });
    bench.json(bench.admin("POST", "/api/v1/users").json(&no_password), 201).await;
    let mut answers = Vec::new();
    for (name, password) in
        [("ada", "wrong password"), ("nobody", PASSWORD), ("grace", PASSWORD), ("ada", "")]
    {
        let refused =
            bench.problem(bench.signing_in(&json!({ "name": name, "password": password })), 401).await;
        answers.push(refused);
    }
    assert!(answers.windows(2).all(|w| w[0] == w[1]), "{answers:?}");
    let refused: Vec<_> = bench.audit().await.into_iter().filter(|e| e.1 == "session.refuse").collect();
    let subjects: Vec<_> = refused.iter().map(|e| e.2.as_str()).collect();
    assert_eq!(
        subjects,
        ["user:ada", "user:grace", "user:?", "user:ada"],
        "names that are nobody's are not noted"
    );
    bench.stop().await;
}

#[tokio::test]
async fn failures_run_out() {
    let bench = Bench::with(ServerOptions { behind_proxy: true, ..ServerOptions::default() }).await;
    bench.user("ada", "admin").await;
    let attempt = |name: &str, password: &str, from: &str| {
        bench
            .signing_in(&json!({ "name": name, "password": password }))
            .header("x-forwarded-for", from.to_owned())
    };
    for _ in 0..5 {
        bench.problem(attempt("ada", "wrong password", "10.0.0.1"), 401).await;
    }
    let response = attempt("ada", PASSWORD, "10.0.0.1").send().await.unwrap();
    let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    let refused = support::problem(response, 429).await;
    assert_eq!(refused.code, Code::TooManyRequests);
    assert!((20..=30).contains(&wait) && refused.retry_after == Some(wait), "{wait}");
    assert_eq!(refused.hint.unwrap(), format!("try again in {wait} seconds"));
    // Not from elsewhere, and not somebody else from there.
    bench.json(attempt("ada", PASSWORD, "10.0.0.2"), 201).await;
    bench.user("grace", "admin").await;
    bench.json(attempt("grace", PASSWORD, "10.0.0.1"), 201).await;
    // A client that lies about who it came from is counted by what the proxy saw.
    bench.problem(attempt("ada", PASSWORD, "1.2.3.4, 10.0.0.1"), 429).await;
    // Whoever guesses tokens runs out as well.
    for _ in 0..5 {
        bench
            .problem(
                bench.signing_in(&json!({"token": "ffa_guess"})).header("x-forwarded-for", "10.0.0.3"),
                401,
            )
            .await;
    }
    bench
        .problem(bench.signing_in(&json!({"token": "ffa_guess"})).header("x-forwarded-for", "10.0.0.3"), 429)
        .await;
    bench.stop().await;
}

#[tokio::test]
async fn sessions_end_when_they_should() {
    let bench = Bench::new().await;
    let id = bench.user("ada", "admin").await;
    let user = format!("/api/v1/users/{id}");
    // Signing out.
    let (one, two) = (bench.sign_in("ada").await, bench.sign_in("ada").await);
    let out = bench.page(&one, "DELETE", "/api/v1/session").send().await.unwrap();
    let ended = cookie_of(&out);
    assert!(ended.starts_with("fleetfoot_session_") && ended.contains("=; Path=/; Max-Age=0;"), "{ended}");
    assert_eq!(out.status(), 204);
    assert!(!bench.is_signed_in(&one).await && bench.is_signed_in(&two).await);
    bench.json(bench.page(&one, "DELETE", "/api/v1/session"), 204).await;
    // Signing in again from the same browser replaces the session.
    let body = json!({ "name": "ada", "password": PASSWORD });
    bench.json(bench.signing_in(&body).header("cookie", &two.cookie), 201).await;
    assert!(!bench.is_signed_in(&two).await);
    // A new password: the session that set it stays.
    let (one, two) = (bench.sign_in("ada").await, bench.sign_in("ada").await);
    let path = format!("{user}/password");
    let new = json!({ "password": "another password", "current": PASSWORD });
    bench
        .problem(bench.page(&one, "POST", &path).json(&json!({ "password": "another password" })), 400)
        .await;
    let wrong = json!({ "password": "another password", "current": "wrong" });
    bench.problem(bench.page(&one, "POST", &path).json(&wrong), 403).await;
    bench
        .problem(
            bench.page(&one, "POST", &path).json(&json!({ "password": "short", "current": PASSWORD })),
            400,
        )
        .await;
    bench.json(bench.page(&one, "POST", &path).json(&new), 204).await;
    assert!(bench.is_signed_in(&one).await && !bench.is_signed_in(&two).await);
    bench.problem(bench.signing_in(&body), 401).await;
    bench.json(bench.admin("POST", &path).json(&json!({ "password": PASSWORD })), 204).await;
    assert!(!bench.is_signed_in(&one).await, "an admin's token keeps none");
    // Disabled, and enabled again.
    let one = bench.sign_in("ada").await;
    bench.json(bench.admin("PATCH", &user).json(&json!({ "disabled": true })), 200).await;
    assert!(!bench.is_signed_in(&one).await);
    bench.problem(bench.signing_in(&body), 401).await;
    bench.json(bench.admin("PATCH", &user).json(&json!({ "disabled": false })), 200).await;
    assert!(!bench.is_signed_in(&one).await);
    // Deleted.
    let one = bench.sign_in("ada").await;
    bench.json(bench.admin("DELETE", &user), 204).await;
    assert!(!bench.is_signed_in(&one).await);
    for invented in ["ffs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "x"] {
        let cookie = format!("fleetfoot_session_{}={invented}", bench.control.installation());
        bench.problem(bench.request("GET", "/api/v1/runs").header("cookie", cookie), 401).await;
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_role_holds_at_once_and_in_every_group_of_routes() {
    let bench = Bench::new().await;
    let id = bench.user("ada", "read_only").await;
    let ada = bench.sign_in("ada").await;
    let reads =
        ["/runs", "/runners", "/caches", "/repos", "/variables", "/environments", "/approvals", "/session"];
    let writes = [
        ("POST", "/runs"),
        ("POST", "/runs/batch"),
        ("PUT", "/secrets/x?project=web"),
        ("DELETE", "/caches"),
        ("POST", "/jobs/1/cancel"),
        ("POST", "/jobs/1/approve"),
    ];
    let admins = [
        ("POST", "/tokens"),
        ("GET", "/tokens"),
        ("GET", "/audit"),
        ("POST", "/backup"),
        ("POST", "/users"),
        ("GET", "/users"),
        ("POST", "/runners"),
        ("POST", "/repos"),
        ("POST", "/environments"),
        ("GET", "/secret-uses"),
        ("POST", "/runners/1/drain"),
    ];
    for (role, may_write, may_administer) in [
        ("read_only", false, false),
        ("member", true, false),
        ("admin", true, true),
        ("read_only", false, false),
    ] {
        let patch = json!({ "role": role });
        bench.json(bench.admin("PATCH", &format!("/api/v1/users/{id}")).json(&patch), 200).await;
        let me = bench.json(bench.page(&ada, "GET", "/api/v1/session"), 200).await;
        assert_eq!(me["role"], role);
        for path in reads {
            bench.json(bench.page(&ada, "GET", &format!("/api/v1{path}")), 200).await;
        }
        for (all, may) in [(&writes[..], may_write), (&admins[..], may_administer)] {
            for (method, path) in all {
                let mut request = bench.page(&ada, method, &format!("/api/v1{path}"));
                if *method != "GET" {
                    request = request.header("content-type", "application/json").body("{");
                }
                let status = request.send().await.unwrap().status().as_u16();
                assert_eq!(status != 403, may, "{role}: {method} {path}: {status}");
            }
        }
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_session_of_a_token_ends_with_it() {
    let bench = Bench::new().await;
    let token = bench.token(TokenKind::Member).await;
    let who = bench.browser(&json!({ "token": format!(" {}\n", token.token) })).await;
    assert_eq!((&who.view["method"], &who.view["role"]), (&json!("token"), &json!("member")));
    assert_eq!(who.view["actor"], format!("token:{}", token.id));
    let by_bearer = bench.request("GET", "/api/v1/session").bearer_auth(&token.token);
    let me = bench.json(by_bearer, 200).await;
    assert_eq!(
        (&me["method"], &me["role"], me.get("csrf_token")),
        (&json!("bearer"), &json!("member"), None)
    );
    bench.json(bench.admin("DELETE", &format!("/api/v1/tokens/{}", token.id)), 204).await;
    assert!(!bench.is_signed_in(&who).await);
    bench.problem(bench.signing_in(&json!({ "token": token.token })), 401).await;
    let registration = bench.token(TokenKind::Registration).await;
    bench.problem(bench.signing_in(&json!({ "token": registration.token })), 403).await;
    bench.stop().await;
}

#[tokio::test]
async fn sessions_expire_when_unused_and_in_any_case() {
    let sign_in = SignInOptions { idle: Duration::from_millis(1500), longest: Duration::from_secs(4) };
    let bench = Bench::with_sign_in(ServerOptions::default(), Vec::new(), sign_in).await;
    bench.user("ada", "admin").await;
    let (used, unused) = (bench.sign_in("ada").await, bench.sign_in("ada").await);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2500) {
        assert!(bench.is_signed_in(&used).await, "after {:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!bench.is_signed_in(&unused).await);
    while bench.is_signed_in(&used).await {
        assert!(began.elapsed() < Duration::from_secs(10), "it never ends");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(began.elapsed() > Duration::from_millis(3500), "too early: {:?}", began.elapsed());
    bench.stop().await;
}

#[tokio::test]
async fn users_are_administered() {
    let bench = Bench::new().await;
    let id = bench.user("ada", "admin").await;
    let me = format!("/api/v1/users/{id}");
    bench
        .problem(bench.admin("POST", "/api/v1/users").json(&json!({"name": "ADA", "role": "member"})), 409)
        .await;
    for bad in [
        json!({"name": "a b", "role": "member"}),
        json!({"name": "x", "role": "root"}),
        json!({"name": "x", "role": "member", "password": "short"}),
        json!({"name": "longish-name", "role": "member", "password": "longish-name"}),
        json!({"name": "x", "role": "member", "display_name": "a\nb"}),
        json!({"name": "x", "role": "member", "identity": {"provider": "", "subject": "1"}}),
    ] {
        bench.problem(bench.admin("POST", "/api/v1/users").json(&bad), 400).await;
    }
    // Nobody saws off the branch they sit on.
    let ada = bench.sign_in("ada").await;
    bench.problem(bench.page(&ada, "PATCH", &me).json(&json!({"disabled": true})), 409).await;
    bench.problem(bench.page(&ada, "PATCH", &me).json(&json!({"role": "member"})), 409).await;
    bench.problem(bench.page(&ada, "DELETE", &me), 409).await;
    let shown = json!({"display_name": "Ada Lovelace", "role": "admin"});
    assert_eq!(
        bench.json(bench.page(&ada, "PATCH", &me).json(&shown), 200).await["display_name"],
        "Ada Lovelace"
    );
    // Others see themselves and nobody else.
    let grace = bench.user("grace", "member").await;
    let browser = bench.sign_in("grace").await;
    bench.json(bench.page(&browser, "GET", &format!("/api/v1/users/{grace}")), 200).await;
    bench.problem(bench.page(&browser, "GET", &me), 403).await;
    let own = json!({"password": "another password", "current": PASSWORD});
    bench.problem(bench.page(&browser, "POST", &format!("{me}/password")).json(&own), 403).await;
    bench
        .json(bench.page(&browser, "POST", &format!("/api/v1/users/{grace}/password")).json(&own), 204)
        .await;
    bench.problem(bench.admin("GET", "/api/v1/users/999"), 404).await;
    bench.problem(bench.admin("PATCH", "/api/v1/users/999").json(&json!({})), 404).await;
    bench.problem(bench.admin("DELETE", "/api/v1/users/999"), 404).await;
    let list = bench.json(bench.admin("GET", "/api/v1/users"), 200).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert!(!list.to_string().contains("argon2"), "hashes stay inside");
    let actions: Vec<_> = bench.audit().await.into_iter().map(|e| format!("{} {}", e.0, e.1)).collect();
    for expected in
        ["token:1 user.create", "user:ada user.update", "user:grace user.password", "user:ada session.create"]
    {
        assert!(actions.iter().any(|a| a == expected), "{expected} is not in {actions:?}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn two_installations_on_one_host_keep_their_cookies_apart() {
    let (one, other) = (Bench::new().await, Bench::new().await);
    assert_ne!(one.control.installation(), other.control.installation());
    one.user("ada", "member").await;
    other.user("ada", "member").await;
    let (here, there) = (one.sign_in("ada").await, other.sign_in("ada").await);
    // A browser sends both to both: cookies do not know ports.
    let both = format!("{}; {}", here.cookie, there.cookie);
    for bench in [&one, &other] {
        bench.json(bench.request("GET", "/api/v1/session").header("cookie", &both), 200).await;
    }
    one.json(one.page(&Browser { cookie: both.clone(), ..here }, "DELETE", "/api/v1/session"), 204).await;
    one.problem(one.request("GET", "/api/v1/session").header("cookie", &both), 401).await;
    other.json(other.request("GET", "/api/v1/session").header("cookie", &both), 200).await;
    one.stop().await;
    other.stop().await;
}
