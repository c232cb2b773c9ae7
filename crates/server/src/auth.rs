//! Who is asking. The token comes in `Authorization: Bearer` and nowhere else
//! (never in the address, where logs would keep it); whether it is good, and
//! what it allows, is the control plane's business.

use crate::app::App;
use crate::error::{Answer, Failure};
use crate::extract::Id;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use fleetfoot_control::{Permission, Principal};
use fleetfoot_model::{Code, RunnerId};

/// Any authenticated caller.
pub(crate) struct Caller(pub(crate) Principal);
/// A caller that may see runs, jobs, logs and runners.
pub(crate) struct Reader(pub(crate) Principal);
/// A caller that may submit and steer runs.
pub(crate) struct Writer(pub(crate) Principal);
/// A caller that may manage runners and tokens.
pub(crate) struct Admin(pub(crate) Principal);
/// The runner named in the path, or an admin acting for it.
pub(crate) struct AsRunner(pub(crate) Principal, pub(crate) RunnerId);

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
    let token = bearer(&parts.headers)?.ok_or_else(|| {
        Failure::new(Code::Unauthorized, "this needs a token").with_hint(
            "send `Authorization: Bearer TOKEN`; an admin creates one with `fleetfoot token create`",
        )
    })?;
    Ok(app.control.authenticate(token).await?)
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

impl FromRequestParts<App> for AsRunner {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let who = authenticate(parts, app).await?;
        let Id(id) = Id::<RunnerId>::from_request_parts(parts, app).await?;
        who.require_runner(id)?;
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
