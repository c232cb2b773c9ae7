//! Signing in through OpenID providers: the way there and the way back, for
//! browsers. Whatever goes wrong leads to the sign-in page with a word for it;
//! the words that others sent stay in the log.

use super::session;
use crate::app::App;
use crate::auth::session_secret;
use crate::cookies::{Cookie, find};
use crate::peer;
use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use fleetfoot_control::{ExternalAccount, SignedIn};
use fleetfoot_model::Code;
use fleetfoot_model::users::Identity;
use fleetfoot_oidc::{Answer, ErrorKind, OidcError};
use serde::Deserialize;

/// Where the cookie is sent that ties a sign-in to the browser that began it.
const COOKIE_PATH: &str = "/auth/oidc/";
/// Where people land who name no other place.
const HOME: &str = "/ui/";
/// Longest address to come back to.
const LONGEST_BACK: usize = 2000;

/// The routes; they are for browsers, and not in the API's document.
pub(super) fn routes() -> Router<App> {
    Router::new().route("/auth/oidc/{id}/start", get(start)).route("/auth/oidc/{id}/callback", get(callback))
}

#[derive(Debug, Deserialize)]
struct Start {
    /// Where to go afterwards.
    back: Option<String>,
}

/// Sends the browser to the provider.
async fn start(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(query): Query<Start>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    match app.relying.start(&id, place(query.back.as_deref())).await {
        Ok(started) => {
            let secure = peer::secure_cookies(&parts.headers, &app.options);
            let (name, max_age) = (app.cookies.sign_in(secure), started.max_age);
            let cookie = Cookie { name, value: &started.cookie, path: COOKIE_PATH, max_age, secure };
            to(&started.location, [cookie.header()])
        }
        Err(error) => refused(&app, &parts, &id, error.kind.as_str(), &error.to_string()),
    }
}

/// Takes the browser back, with or without proof of an account.
async fn callback(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(answer): Query<Answer>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let cookie = app.cookies.sign_in(peer::secure_cookies(&parts.headers, &app.options));
    let (account, back) = match prove(&app, &id, &answer, find(&parts.headers, cookie)).await {
        Ok(proven) => proven,
        Err(error) => {
            if matches!(error.kind, ErrorKind::Unproven | ErrorKind::NotAllowed) {
                app.control.note_refused_account(peer::address(&parts, &app.options)).await;
            }
            return refused(&app, &parts, &id, error.kind.as_str(), &error.to_string());
        }
    };
    let (control, from) = (app.control.clone(), peer::address(&parts, &app.options));
    let before = session_secret(&parts.headers, &app).map(str::to_owned);
    let signed_in = app.change(async move {
        let signed_in = control.sign_in_with_account(account, from).await?;
        if let Some(before) = before {
            control.sign_out(&before).await?;
        }
        Ok::<SignedIn, _>(signed_in)
    });
    match signed_in.await {
        Ok(signed_in) => {
            let session = session::begin(&app, &parts.headers, &signed_in);
            to(&back, [session, forget(&app, &parts)])
        }
        Err(failure) => {
            let (problem, _) = failure.public();
            let word = match problem.code {
                Code::Forbidden => ErrorKind::NotAllowed.as_str(),
                _ => ErrorKind::Unavailable.as_str(),
            };
            refused(&app, &parts, &id, word, &problem.detail)
        }
    }
}

async fn prove(
    app: &App,
    id: &str,
    answer: &Answer,
    cookie: Option<&str>,
) -> Result<(ExternalAccount, String), OidcError> {
    let (account, back) = app.relying.finish(id, answer, cookie).await?;
    let grant = app.relying.grant(id, &account)?;
    let external = ExternalAccount {
        name: account.suggested_name(),
        display_name: account.name.unwrap_or_default(),
        identity: Identity { provider: id.to_owned(), subject: account.subject },
        role: grant.role,
        default_role: grant.default_role,
    };
    Ok((external, back))
}

/// To the sign-in page, with a word about what went wrong.
fn refused(app: &App, parts: &Parts, id: &str, word: &str, why: &str) -> Response {
    tracing::warn!(provider = id, reason = word, why, "signing in through a provider failed");
    to(&format!("/ui/sign-in?error={word}"), [forget(app, parts)])
}

fn forget(app: &App, parts: &Parts) -> HeaderValue {
    let secure = peer::secure_cookies(&parts.headers, &app.options);
    Cookie { name: app.cookies.sign_in(secure), value: "", path: COOKIE_PATH, max_age: 0, secure }.header()
}

fn to<const N: usize>(location: &str, cookies: [HeaderValue; N]) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    // What cannot be an address in a header leads home.
    let location = HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static(HOME));
    headers.insert(header::LOCATION, location);
    for cookie in cookies {
        headers.append(header::SET_COOKIE, cookie);
    }
    response
}

/// A place within the dashboard, and nowhere else.
fn place(back: Option<&str>) -> &str {
    let plain = |b: &str| b.len() <= LONGEST_BACK && b.bytes().all(|c| c.is_ascii_graphic() && c != b'\\');
    back.filter(|b| b.starts_with(HOME) && plain(b)).unwrap_or(HOME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for good in ["/ui/", "/ui/runs/7?tab=log#L10", "/ui/runs?q=%2F%2Fx"] {
            assert_eq!(place(Some(good)), good);
        }
        let long = format!("/ui/{}", "x".repeat(LONGEST_BACK));
        for bad in [
            "",
            "/",
            "//evil.example",
            "https://evil.example/ui/",
            "/ui",
            "/ui/\r\nx: y",
            "/ui/\\x",
            "/uix",
            &long,
        ] {
            assert_eq!(place(Some(bad)), HOME, "{bad}");
        }
        assert_eq!(place(None), HOME);
    }
}
