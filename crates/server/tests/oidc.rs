//! Signing in through a provider, over real HTTP with really signed tokens, and
//! every way in which somebody might try to cheat.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod support;

use fleetfoot_server::ServerOptions;
use fleetfoot_testkit::{FakeOidc, Lie, OIDC_CLIENT, OIDC_SECRET};
use jsonwebtoken::Algorithm;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use support::Bench;

fn ada() -> Value {
    json!({ "sub": "248289761001", "preferred_username": "Ada", "name": "Ada Lovelace",
        "email": "ada@example.org", "email_verified": true, "groups": ["dev"] })
}

struct Browser<'b> {
    bench: &'b Bench,
    http: Client,
}

/// How far a sign-in came.
struct Way {
    /// The cookie that ties it to the browser.
    cookie: String,
    /// Where the provider sends the browser.
    callback: String,
}

async fn bench(provider: &FakeOidc, extra: &str) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), format!("{OIDC_SECRET}\n")).unwrap();
    let file = dir.path().join("sign-in.toml");
    let text = format!(
        "[[provider]]\nid = 'corp'\nname = 'Corp'\nissuer = '{}'\nclient_id = '{OIDC_CLIENT}'\n\
         client_secret_file = 'secret'\n{extra}\n\
         [[provider]]\nid = 'gone'\nname = 'Gone'\nissuer = 'http://127.0.0.1:9'\nclient_id = 'x'\n",
        provider.issuer()
    );
    std::fs::write(&file, text).unwrap();
    let sign_in = fleetfoot_oidc::Settings::read(&file).unwrap();
    Bench::with(ServerOptions { sign_in, ..ServerOptions::default() }).await
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers()[name].to_str().unwrap()
}

impl<'b> Browser<'b> {
    fn new(bench: &'b Bench) -> Self {
        Self { bench, http: Client::builder().redirect(Policy::none()).build().unwrap() }
    }

    /// To the provider and back to the door.
    async fn go(&self, back: &str) -> Way {
        let url = format!("{}/auth/oidc/corp/start?back={back}", self.bench.url);
        let away = self.http.get(url).send().await.unwrap();
        assert_eq!(away.status(), 303);
        let set = header(&away, "set-cookie").to_owned();
        assert!(set.ends_with("; Path=/auth/oidc/; Max-Age=600; HttpOnly; SameSite=Lax"), "{set}");
        let there = self.http.get(header(&away, "location")).send().await.unwrap();
        assert_eq!(there.status(), 302, "{}", there.text().await.unwrap());
        Way {
            cookie: set.split(';').next().unwrap().to_owned(),
            callback: header(&there, "location").to_owned(),
        }
    }

    async fn come(&self, callback: &str, cookie: &str) -> Response {
        self.http.get(callback).header("cookie", cookie).send().await.unwrap()
    }

    /// The whole way; the session's cookie.
    async fn sign_in(&self) -> Result<String, String> {
        let way = self.go("/ui/runs").await;
        outcome(&self.come(&way.callback, &way.cookie).await)
    }

    async fn whoami(&self, cookie: &str) -> Value {
        self.bench.json(self.bench.request("GET", "/api/v1/session").header("cookie", cookie), 200).await
    }
}

/// The session's cookie, or the word of the sign-in page.
fn outcome(response: &Response) -> Result<String, String> {
    assert_eq!(response.status(), 303);
    let cookies: Vec<_> =
        response.headers().get_all("set-cookie").iter().map(|v| v.to_str().unwrap()).collect();
    assert!(
        cookies.iter().any(|c| c.starts_with("fleetfoot_oidc_") && c.contains("=; ")),
        "the cookie of the way is gone"
    );
    let session = cookies.iter().find(|c| c.starts_with("fleetfoot_session_"));
    match header(response, "location").strip_prefix("/ui/sign-in?error=") {
        Some(word) => {
            assert_eq!(session, None);
            Err(word.to_owned())
        }
        None => Ok(session.unwrap().split(';').next().unwrap().to_owned()),
    }
}

#[tokio::test]
async fn an_account_becomes_a_user_and_stays_one() {
    let provider = FakeOidc::new(ada());
    let bench = bench(&provider, "default_role = 'member'").await;
    let browser = Browser::new(&bench);
    let ways = bench.json(bench.request("GET", "/api/v1/sign-in"), 200).await;
    assert_eq!(ways["oidc"][0], json!({ "id": "corp", "name": "Corp" }));
    // A local user of that name is somebody else.
    let local = json!({ "name": "ada", "role": "admin", "password": "correct horse" });
    bench.json(bench.admin("POST", "/api/v1/users").json(&local), 201).await;

    let way = browser.go("/ui/runs%3Fstatus%3Dfailed").await;
    let home = browser.come(&way.callback, &way.cookie).await;
    assert_eq!(header(&home, "location"), "/ui/runs?status=failed");
    let me = browser.whoami(&outcome(&home).unwrap()).await;
    assert_eq!(
        (&me["name"], &me["display_name"], &me["role"], &me["method"], &me["provider"]),
        (&json!("ada-2"), &json!("Ada Lovelace"), &json!("member"), &json!("oidc"), &json!("corp"))
    );
    // The subject is who it is, whatever else changes; ES256 counts too.
    provider.set_claims(json!({ "sub": "248289761001", "preferred_username": "countess" }));
    provider.set_algorithm(Algorithm::ES256);
    let again = browser.whoami(&browser.sign_in().await.unwrap()).await;
    assert_eq!(again["user"], me["user"]);
    // Nobody is sent elsewhere.
    for back in ["https://evil.example/", "//evil.example", "/ui/%0d%0ax", "/api/v1/session"] {
        let way = browser.go(back).await;
        assert_eq!(header(&browser.come(&way.callback, &way.cookie).await, "location"), "/ui/", "{back}");
    }
    // Disabled here is disabled, whatever the provider says.
    let user = format!("/api/v1/users/{}", me["user"]);
    bench.json(bench.admin("PATCH", &user).json(&json!({ "disabled": true })), 200).await;
    assert_eq!(browser.sign_in().await, Err("not_allowed".to_owned()));
    bench.stop().await;
}

#[tokio::test]
async fn tokens_that_prove_nothing_are_refused() {
    let provider = FakeOidc::new(ada());
    let bench = bench(&provider, "default_role = 'member'").await;
    let browser = Browser::new(&bench);
    for lie in [
        Lie::Nonce,
        Lie::NoNonce,
        Lie::Audience,
        Lie::AuthorizedParty,
        Lie::Issuer,
        Lie::Expired,
        Lie::Future,
        Lie::Key,
        Lie::Unsigned,
        Lie::Symmetric,
        Lie::Tampered,
    ] {
        provider.lie(Some(lie));
        assert_eq!(browser.sign_in().await, Err("unproven".to_owned()), "{lie:?}");
    }
    let users = bench.json(bench.admin("GET", "/api/v1/users"), 200).await;
    assert_eq!(users["items"], json!([]), "nobody was made");
    provider.lie(None);
    browser.sign_in().await.unwrap();
    bench.stop().await;
}

#[tokio::test]
async fn answers_count_once_and_in_the_browser_that_asked() {
    let provider = FakeOidc::new(ada());
    let bench = bench(&provider, "default_role = 'member'").await;
    let browser = Browser::new(&bench);
    let stale = Err("stale".to_owned());
    // Replayed.
    let way = browser.go("/ui/").await;
    outcome(&browser.come(&way.callback, &way.cookie).await).unwrap();
    assert_eq!(outcome(&browser.come(&way.callback, &way.cookie).await), stale);
    // In another browser, and then nowhere any more.
    let (mine, theirs) = (browser.go("/ui/").await, browser.go("/ui/").await);
    assert_eq!(outcome(&browser.come(&theirs.callback, &mine.cookie).await), stale);
    assert_eq!(outcome(&browser.come(&theirs.callback, &theirs.cookie).await), stale);
    assert_eq!(outcome(&browser.come(&mine.callback, "x=y").await), stale);
    // Invented, and of another provider.
    let invented = format!("{}/auth/oidc/corp/callback?code=x&state=y", bench.url);
    assert_eq!(outcome(&browser.come(&invented, &mine.cookie).await), stale);
    let way = browser.go("/ui/").await;
    let elsewhere = way.callback.replace("/corp/", "/gone/");
    assert_eq!(outcome(&browser.come(&elsewhere, &way.cookie).await), stale);
    // A code that the provider does not know; a person who says no; an answer of somebody else.
    let way = browser.go("/ui/").await;
    let (base, query) = way.callback.split_once('?').unwrap();
    let state = query.split('&').find(|p| p.starts_with("state=")).unwrap();
    let guessed = browser.come(&format!("{base}?code=guessed&{state}"), &way.cookie).await;
    assert_eq!(outcome(&guessed), Err("unproven".to_owned()));
    let way = browser.go("/ui/").await;
    let state = way.callback.split_once("&state=").unwrap().1;
    let denied = browser.come(&format!("{base}?error=access_denied&state={state}"), &way.cookie).await;
    assert_eq!(outcome(&denied), Err("denied".to_owned()));
    let way = browser.go("/ui/").await;
    let mixed = browser.come(&format!("{}&iss=https%3A%2F%2Fevil.example", way.callback), &way.cookie).await;
    assert_eq!(outcome(&mixed), Err("unproven".to_owned()));
    // Providers that are not there.
    for (id, word) in [("gone", "unavailable"), ("nobody", "unknown_provider")] {
        let url = format!("{}/auth/oidc/{id}/start", bench.url);
        let answer = browser.http.get(url).send().await.unwrap();
        assert_eq!(outcome(&answer), Err(word.to_owned()));
    }
    bench.stop().await;
}

#[tokio::test]
async fn groups_and_domains_decide_what_somebody_may_do() {
    let provider = FakeOidc::new(ada());
    let extra = "allowed_domains = ['example.org']\nroles = { admin = ['ops'], member = ['dev'] }";
    let bench = bench(&provider, extra).await;
    let browser = Browser::new(&bench);
    let first = browser.sign_in().await.unwrap();
    assert_eq!(browser.whoami(&first).await["role"], "member");
    let with = |changes: Value| {
        let mut claims = ada();
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        provider.set_claims(claims);
    };
    // Groups are followed, at once in every session.
    with(json!({ "groups": ["dev", "ops"] }));
    browser.sign_in().await.unwrap();
    assert_eq!(browser.whoami(&first).await["role"], "admin");
    for refused in [
        json!({ "groups": ["sales"] }),
        json!({ "email": "ada@evil.example" }),
        json!({ "email_verified": false }),
        json!({ "email": null }),
    ] {
        with(refused.clone());
        assert_eq!(browser.sign_in().await, Err("not_allowed".to_owned()), "{refused}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn without_a_role_only_whom_an_admin_made() {
    let provider = FakeOidc::new(ada());
    let bench = bench(&provider, "").await;
    let browser = Browser::new(&bench);
    assert_eq!(browser.sign_in().await, Err("not_allowed".to_owned()));
    let made = json!({ "name": "ada", "role": "read_only",
        "identity": { "provider": "corp", "subject": "248289761001" } });
    bench.json(bench.admin("POST", "/api/v1/users").json(&made), 201).await;
    let me = browser.whoami(&browser.sign_in().await.unwrap()).await;
    assert_eq!((&me["name"], &me["role"]), (&json!("ada"), &json!("read_only")));
    bench.stop().await;
}
