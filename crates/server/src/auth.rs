//! Who is asking. A token comes in `Authorization: Bearer`, a session in its
//! cookie, and neither in the address, where logs would keep it; whether it is
//! good, and what it allows, is the control plane's business. A cookie is sent
//! by the browser whoever asks for it, so what changes something needs a proof
//! that a page of this server asked.

use crate::app::App;
use crate::cookies;
use crate::error::{Answer, Failure};
use crate::extract::Id;
use crate::peer::secure_cookies;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, header};
use fleetfoot_control::{Credential, Permission, Principal, Session, Standing};
use fleetfoot_model::{Code, RunnerId, UserId};

/// The header with the token that a page sends along when it changes something.
pub(crate) const CSRF_HEADER: HeaderName = HeaderName::from_static("x-fleetfoot-csrf");
/// Where a browser says which page asked.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Any authenticated caller.
pub(crate) struct Caller(pub(crate) Principal);
/// A caller that may see runs, jobs, logs and runners.
pub(crate) struct Reader(pub(crate) Principal);
/// A caller that may submit and steer runs.
pub(crate) struct Writer(pub(crate) Principal);
/// A caller that may manage runners and tokens.
pub(crate) struct Admin(pub(crate) Principal);
/// What the caller proved to be somebody with, for an answer that stays open.
pub(crate) struct Proof(pub(crate) Credential);
/// The runner named in the path, or an admin acting for it.
pub(crate) struct AsRunner(pub(crate) Principal, pub(crate) RunnerId);

/// The user named in the path, or an admin.
pub(crate) struct AsUser(pub(crate) Principal, pub(crate) UserId);

/// The bearer token of a request, if it has one.
pub(crate) fn bearer(headers: &HeaderMap) -> Answer<Option<&str>> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let malformed = || {
        Failure::new(Code::Unauthorized, "the Authorization header does not hold a bearer token")
            .with_hint("send `Authorization: Bearer TOKEN`")
    };
    let (scheme, token) = value.to_str().map_err(|_| malformed())?.split_once(' ').ok_or_else(malformed)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(malformed());
    }
    Ok(Some(token))
}

async fn authenticate(parts: &Parts, app: &App) -> Answer<Principal> {
    if let Some(token) = bearer(&parts.headers)? {
        return Ok(app.control.authenticate(token).await?);
    }
    match session_of(parts, app).await? {
        Some((session, _)) => Ok(session.principal),
        None => Err(nobody()),
    }
}

fn nobody() -> Failure {
    Failure::new(Code::Unauthorized, "this needs a token, or somebody who is signed in")
        .with_hint("send `Authorization: Bearer TOKEN`; an admin creates one with `fleetfoot token create`")
}

/// The secret of the session, as the cookie has it.
pub(crate) fn session_secret<'h>(headers: &'h HeaderMap, app: &App) -> Option<&'h str> {
    cookies::find(headers, app.cookies.session(secure_cookies(headers, &app.options)))
}

/// The session of a request with its secret, if there is a cookie; for what changes something only
/// if a page of this server asked.
pub(crate) async fn session_of<'p>(parts: &'p Parts, app: &App) -> Answer<Option<(Session, &'p str)>> {
    let Some(secret) = session_secret(&parts.headers, app) else { return Ok(None) };
    let session = app.control.session(secret).await?;
    if !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        require_same_origin(&parts.headers)?;
        let given = parts.headers.get(CSRF_HEADER).and_then(|v| v.to_str().ok());
        if !given.is_some_and(|given| app.control.is_csrf_token(secret, given)) {
            return Err(Failure::new(
                Code::Forbidden,
                "the proof that this page may change something is missing or wrong",
            )
            .with_hint(
                "send the csrf_token of GET /api/v1/session as X-Fleetfoot-CSRF, or use a bearer token",
            ));
        }
    }
    Ok(Some((session, secret)))
}

/// Every browser says which page asked. What it says in `Origin` was compared at the entrance.
fn require_same_origin(headers: &HeaderMap) -> Answer<()> {
    let same = match headers.get(FETCH_SITE) {
        Some(site) => site == "same-origin",
        None => headers.contains_key(header::ORIGIN),
    };
    if same {
        return Ok(());
    }
    Err(Failure::new(Code::Forbidden, "a page of another origin may not change anything here")
        .with_hint("programs use a bearer token instead of the cookie"))
}

/// For signing in, where there is no session yet: refuses what a browser says comes from elsewhere.
pub(crate) fn refuse_other_sites(headers: &HeaderMap) -> Answer<()> {
    match headers.get(FETCH_SITE) {
        Some(site) if site != "same-origin" && site != "none" => {
            Err(Failure::new(Code::Forbidden, "a page of another origin may not sign anybody in here"))
        }
        _ => Ok(()),
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        authenticate(parts, app).await.map(Self)
    }
}

macro_rules! caller_with {
    ($name:ident, $permission:ident) => {
        impl FromRequestParts<App> for $name {
            type Rejection = Failure;
            /// Checked before the body is read: who may not do it need not send it.
            async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
                let who = authenticate(parts, app).await?;
                who.require(Permission::$permission)?;
                Ok(Self(who))
            }
        }
    };
}
caller_with!(Reader, Read);
caller_with!(Writer, Write);
caller_with!(Admin, Administer);

impl FromRequestParts<App> for Proof {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        if let Some(token) = bearer(&parts.headers)? {
            return Ok(Self(Credential::Token(token.to_owned())));
        }
        let secret = session_secret(&parts.headers, app).ok_or_else(nobody)?;
        Ok(Self(Credential::Session(secret.to_owned())))
    }
}

impl Proof {
    /// The right of `who`, authenticated by this, to an answer that stays open.
    pub(crate) fn standing(self, app: &App, who: &Principal, needs: Permission) -> Standing {
        app.control.standing(who, self.0, needs)
    }
}

impl FromRequestParts<App> for AsRunner {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let who = authenticate(parts, app).await?;
        let Id(id) = Id::<RunnerId>::from_request_parts(parts, app).await?;
        who.require_runner(id)?;
        Ok(Self(who, id))
    }
}

impl FromRequestParts<App> for AsUser {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let who = authenticate(parts, app).await?;
        let Id(id) = Id::<UserId>::from_request_parts(parts, app).await?;
        who.require_user(id)?;
        Ok(Self(who, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn with(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))])
    }

    #[test]
    fn only_bearer_tokens_count() {
        assert_eq!(bearer(&HeaderMap::new()).unwrap(), None);
        assert_eq!(bearer(&with("Bearer ffa_x")).unwrap(), Some("ffa_x"));
        assert_eq!(bearer(&with("bearer   ffa_x")).unwrap(), Some("ffa_x"));
        for bad in ["ffa_x", "Basic ffa_x", "Bearer", "Bearer  "] {
            assert_eq!(bearer(&with(bad)).unwrap_err().0.code, Code::Unauthorized, "{bad}");
        }
    }
}
