//! Signing in and out, and who is signed in. The secret of a session leaves in
//! a cookie and nowhere else.

use crate::app::App;
use crate::auth::{bearer, refuse_other_sites, session_of, session_secret};
use crate::cookies::Cookie;
use crate::error::{Answer, Failure};
use crate::extract::{Json, parse_json, read_body, require_json};
use crate::peer;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleetfoot_control::SignedIn;
use fleetfoot_model::Code;
use fleetfoot_model::users::{OidcWay, SessionView, SignIn, SignInWays};

/// Largest body of a sign-in.
const SIGN_IN_LIMIT: usize = 16 << 10;

/// Who is asking: by a session, or by a bearer token.
#[utoipa::path(get, path = "/session", operation_id = "get_session", tag = "sign-in",
    responses((status = 200, body = SessionView)))]
pub(super) async fn show(State(app): State<App>, request: Request) -> Answer<Json<SessionView>> {
    let (parts, _) = request.into_parts();
    if let Some(token) = bearer(&parts.headers)? {
        let who = app.control.authenticate(token).await?;
        return Ok(Json(app.control.bearer_view(&who).await?));
    }
    match session_of(&parts, &app).await? {
        Some((session, secret)) => Ok(Json(app.control.session_view(&session, secret))),
        None => {
            Err(Failure::new(Code::Unauthorized, "nobody is signed in").with_hint("POST /api/v1/session"))
        }
    }
}

/// Sign in, with name and password or with an API token. The answer sets the cookie.
#[utoipa::path(post, path = "/session", operation_id = "sign_in", tag = "sign-in", security(()),
    request_body = SignIn, responses((status = 201, body = SessionView)))]
pub(super) async fn create(State(app): State<App>, request: Request) -> Answer<Response> {
    let (parts, body) = request.into_parts();
    refuse_other_sites(&parts.headers)?;
    let from = peer::address(&parts, &app.options);
    let body = read_body(&parts, body, SIGN_IN_LIMIT, &app).await?;
    require_json(&parts)?;
    let request: SignIn = parse_json(&body)?;
    let (control, before) = (app.control.clone(), session_secret(&parts.headers, &app).map(str::to_owned));
    let signed_in = app
        .change(async move {
            let signed_in = control.sign_in(request, from).await?;
            if let Some(before) = before {
                // Signing in again replaces: nothing of the earlier session stays usable.
                control.sign_out(&before).await?;
            }
            Ok(signed_in)
        })
        .await?;
    let view = signed_in.view.clone();
    let cookie = begin(&app, &parts.headers, &signed_in);
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, cookie)], Json(view)).into_response())
}

/// Sign out: the session ends, and so does the cookie. Without a session nothing happens.
#[utoipa::path(delete, path = "/session", operation_id = "sign_out", tag = "sign-in", security(()),
    responses((status = 204)))]
pub(super) async fn delete(State(app): State<App>, request: Request) -> Answer<Response> {
    let (parts, _) = request.into_parts();
    let secret = match session_of(&parts, &app).await {
        Ok(found) => found.map(|(_, secret)| secret.to_owned()),
        // It is over already.
        Err(refused) if refused.0.code == Code::Unauthorized => None,
        Err(refused) => return Err(refused),
    };
    if let Some(secret) = secret {
        let control = app.control.clone();
        app.change(async move { control.sign_out(&secret).await }).await?;
    }
    let secure = peer::secure_cookies(&parts.headers, &app.options);
    let ended = Cookie { name: app.cookies.session(secure), value: "", path: "/", max_age: 0, secure };
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, ended.header())]).into_response())
}

/// Which ways of signing in there are, beside an API token.
#[utoipa::path(get, path = "/sign-in", operation_id = "sign_in_ways", tag = "sign-in", security(()),
    responses((status = 200, body = SignInWays)))]
pub(super) async fn ways(State(app): State<App>) -> Answer<Json<SignInWays>> {
    let oidc = app.relying.providers().map(|p| OidcWay { id: p.id.clone(), name: p.name.clone() }).collect();
    Ok(Json(SignInWays { password: app.control.passwords_exist().await?, oidc }))
}

/// The cookie of a session that just began.
pub(super) fn begin(app: &App, headers: &HeaderMap, signed_in: &SignedIn) -> header::HeaderValue {
    let secure = peer::secure_cookies(headers, &app.options);
    let cookie = Cookie {
        name: app.cookies.session(secure),
        value: &signed_in.secret,
        path: "/",
        max_age: signed_in.expires_at.since(app.control.now()).as_secs(),
        secure,
    };
    cookie.header()
}
