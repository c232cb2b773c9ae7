//! The exchange with a provider: its description, its keys, the way there and
//! back, and the proof. Descriptions and keys are kept for a while; a key that
//! is not known is looked for again, at most once a minute.

use crate::account::{Account, Grant};
use crate::error::{ErrorKind, OidcError};
use crate::pending::{Begun, LIFE, Pending};
use crate::random;
use crate::settings::{ProviderSettings, Settings, is_safe};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use parking_lot::Mutex;
use reqwest::{Client, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq as _;

/// How long a description and keys are kept.
const KEEP: Duration = Duration::from_secs(3600);
/// How often keys are looked for that are not among those that we have.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Longest wait for an answer of a provider.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer.
const MOST: usize = 1 << 20;
/// Clocks may differ by this much, seconds.
const SKEW: u64 = 60;
/// Signatures that count. Never what a client secret could make.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::RS256, Algorithm::ES256];

/// The way to a provider.
#[derive(Debug)]
pub struct Started {
    /// Where the browser goes.
    pub location: String,
    /// What its cookie must hold when it comes back. Letters, digits, `-` and `_`.
    pub cookie: String,
    /// How long the cookie lives, seconds.
    pub max_age: u64,
}

/// What the browser brings back.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Answer {
    /// Which sign-in it belongs to.
    pub state: Option<String>,
    /// What is exchanged for the proof.
    pub code: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
    /// Who sent the browser back, if the provider says so.
    pub iss: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Description {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

struct Provider {
    settings: ProviderSettings,
    description: Mutex<Option<(Instant, Arc<Description>)>>,
    keys: Mutex<Option<(Instant, Arc<JwkSet>)>>,
}

/// This server as the party that relies on providers.
pub struct Relying {
    providers: Vec<Provider>,
    http: Client,
    /// Public address of this server.
    own: String,
    pending: Pending,
}

impl std::fmt::Debug for Relying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<_> = self.providers.iter().map(|p| p.settings.id.as_str()).collect();
        f.debug_struct("Relying").field("providers", &ids).finish_non_exhaustive()
    }
}

fn unproven(why: impl Into<String>) -> OidcError {
    OidcError::new(ErrorKind::Unproven, why)
}

fn unavailable(why: impl Into<String>) -> OidcError {
    OidcError::new(ErrorKind::Unavailable, why)
}

impl Relying {
    /// A relying party at this public address. Nothing is asked of the providers yet.
    ///
    /// # Errors
    /// If the settings make no sense or TLS cannot be used.
    pub fn new(settings: Settings, own: &str) -> Result<Self, String> {
        settings.check()?;
        let http = Client::builder()
            .timeout(PATIENCE)
            .connect_timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| e.to_string())?;
        let providers = settings
            .providers
            .into_iter()
            .map(|settings| Provider { settings, description: Mutex::default(), keys: Mutex::default() })
            .collect();
        Ok(Self { providers, http, own: own.trim_end_matches('/').to_owned(), pending: Pending::default() })
    }

    /// The settings of every provider, in their order.
    pub fn providers(&self) -> impl Iterator<Item = &ProviderSettings> {
        self.providers.iter().map(|p| &p.settings)
    }

    fn provider(&self, id: &str) -> Result<&Provider, OidcError> {
        self.providers
            .iter()
            .find(|p| p.settings.id == id)
            .ok_or_else(|| OidcError::new(ErrorKind::Unknown, format!("there is no provider '{id}'")))
    }

    fn callback(&self, id: &str) -> String {
        format!("{}/auth/oidc/{id}/callback", self.own)
    }

    /// Begins a sign-in; afterwards the browser goes to `back`.
    ///
    /// # Errors
    /// `Unknown`, `Unavailable`.
    pub async fn start(&self, id: &str, back: &str) -> Result<Started, OidcError> {
        let provider = self.provider(id)?;
        let description = self.describe(provider).await?;
        let (state, nonce, verifier, cookie) = (random()?, random()?, random()?, random()?);
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let mut url = Url::parse(&description.authorization_endpoint)
            .map_err(|_| unavailable("the authorisation endpoint is not an address"))?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &provider.settings.client_id)
            .append_pair("redirect_uri", &self.callback(id))
            .append_pair("scope", &provider.settings.scopes.join(" "))
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let begun =
            Begun { provider: id.to_owned(), nonce, verifier, back: back.to_owned(), cookie: cookie.clone() };
        self.pending.begin(state, begun, Instant::now());
        Ok(Started { location: url.into(), cookie, max_age: LIFE.as_secs() })
    }

    /// Ends a sign-in: the account, and where the browser goes.
    ///
    /// # Errors
    /// Every kind but `NotAllowed`.
    pub async fn finish(
        &self,
        id: &str,
        answer: &Answer,
        cookie: Option<&str>,
    ) -> Result<(Account, String), OidcError> {
        let provider = self.provider(id)?;
        let state = answer.state.as_deref().unwrap_or_default();
        let begun = self.pending.take(id, state, cookie, Instant::now()).ok_or_else(|| {
            OidcError::new(ErrorKind::Stale, "no sign-in of this browser waits for this answer")
        })?;
        let shown = |text: &str| text.chars().filter(|c| !c.is_control()).take(100).collect::<String>();
        if let Some(iss) = answer.iss.as_deref().filter(|iss| *iss != provider.settings.issuer) {
            return Err(unproven(format!("the answer is from {}", shown(iss))));
        }
        if let Some(error) = &answer.error {
            return Err(OidcError::new(ErrorKind::Denied, format!("the provider says {}", shown(error))));
        }
        let code = answer.code.as_deref().ok_or_else(|| unproven("the answer holds no code"))?;
        let token = self.exchange(provider, code, &begun.verifier).await?;
        let claims = self.verify(provider, &token, &begun.nonce).await?;
        let account = Account::read(&claims, &provider.settings.groups_claim)?;
        Ok((account, begun.back))
    }

    /// What the settings say about an account of a provider.
    ///
    /// # Errors
    /// `NotAllowed`, `Unknown`.
    pub fn grant(&self, id: &str, account: &Account) -> Result<Grant, OidcError> {
        account.grant(&self.provider(id)?.settings)
    }

    async fn describe(&self, provider: &Provider) -> Result<Arc<Description>, OidcError> {
        if let Some((at, known)) = &*provider.description.lock()
            && at.elapsed() < KEEP
        {
            return Ok(Arc::clone(known));
        }
        let issuer = &provider.settings.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let found: Description = self.get(&url).await?;
        if found.issuer != *issuer {
            return Err(unavailable(format!("{url} describes another issuer")));
        }
        for url in [&found.authorization_endpoint, &found.token_endpoint, &found.jwks_uri] {
            if !is_safe(url) {
                return Err(unavailable(format!("{url} is not an https address")));
            }
        }
        let found = Arc::new(found);
        *provider.description.lock() = Some((Instant::now(), Arc::clone(&found)));
        Ok(found)
    }

    /// The code for an identity token.
    async fn exchange(&self, provider: &Provider, code: &str, verifier: &str) -> Result<String, OidcError> {
        let description = self.describe(provider).await?;
        let settings = &provider.settings;
        let mut form = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code.to_owned()),
            ("redirect_uri", self.callback(&settings.id)),
            ("code_verifier", verifier.to_owned()),
        ];
        let methods = &description.token_endpoint_auth_methods_supported;
        // Basic is what a provider takes that does not say.
        let basic = methods.is_empty() || methods.iter().any(|m| m == "client_secret_basic");
        let mut request = self.http.post(&description.token_endpoint);
        match &settings.client_secret {
            Some(secret) if basic => {
                let pair = format!("{}:{}", encoded(&settings.client_id), encoded(secret));
                request = request.header("authorization", format!("Basic {}", STANDARD.encode(pair)));
            }
            Some(secret) => {
                form.push(("client_id", settings.client_id.clone()));
                form.push(("client_secret", secret.clone()));
            }
            None => form.push(("client_id", settings.client_id.clone())),
        }
        let body: Vec<_> = form.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .body(body.join("&"));
        let response = request.send().await.map_err(|e| unavailable(format!("the token endpoint: {e}")))?;
        let status = response.status();
        if status.is_client_error() {
            return Err(unproven(format!("the provider did not take the code ({status})")));
        }
        let tokens: Tokens = read(response).await?;
        Ok(tokens.id_token)
    }

    /// The claims of a token that proves who this is.
    async fn verify(
        &self,
        provider: &Provider,
        token: &str,
        nonce: &str,
    ) -> Result<Map<String, Value>, OidcError> {
        let settings = &provider.settings;
        let header = decode_header(token).map_err(|e| unproven(format!("the token cannot be read: {e}")))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(unproven(format!("the token is signed with {:?}", header.alg)));
        }
        let key = self.key(provider, header.kid.as_deref(), header.alg).await?;
        let mut validation = Validation::new(header.alg);
        validation.leeway = SKEW;
        validation.validate_nbf = true;
        validation.set_audience(&[&settings.client_id]);
        validation.set_issuer(&[&settings.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let claims = decode::<Map<String, Value>>(token, &key, &validation)
            .map_err(|e| unproven(format!("the token does not hold: {e}")))?
            .claims;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let same = text("nonce").is_some_and(|n| n.as_bytes().ct_eq(nonce.as_bytes()).into());
        if !same {
            return Err(unproven("the token is for another sign-in"));
        }
        let others = claims.get("aud").and_then(Value::as_array).is_some_and(|all| all.len() > 1);
        if text("azp").map_or(others, |azp| azp != settings.client_id) {
            return Err(unproven("the token was made for another client"));
        }
        Ok(claims)
    }

    async fn key(
        &self,
        provider: &Provider,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<DecodingKey, OidcError> {
        let known = provider.keys.lock().clone();
        if let Some((at, keys)) = known {
            if at.elapsed() < KEEP
                && let Some(key) = pick(&keys, kid, algorithm)
            {
                return Ok(key);
            }
            if at.elapsed() < LOOK_AGAIN {
                return Err(unproven("the token is signed with a key that the provider does not publish"));
            }
        }
        let description = self.describe(provider).await?;
        let keys: Arc<JwkSet> = Arc::new(self.get(&description.jwks_uri).await?);
        *provider.keys.lock() = Some((Instant::now(), Arc::clone(&keys)));
        pick(&keys, kid, algorithm)
            .ok_or_else(|| unproven("the token is signed with a key that the provider does not publish"))
    }

    async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, OidcError> {
        let request = self.http.get(url).header("accept", "application/json");
        read(request.send().await.map_err(|e| unavailable(format!("{url}: {e}")))?).await
    }
}

/// The key of this id that can make such signatures; without an id the only one that can.
fn pick(keys: &JwkSet, kid: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
    use jsonwebtoken::jwk::AlgorithmParameters as Parameters;
    let fits = |key: &&Jwk| {
        let kind = match algorithm {
            Algorithm::RS256 => matches!(key.algorithm, Parameters::RSA(_)),
            _ => matches!(key.algorithm, Parameters::EllipticCurve(_)),
        };
        let stated = key.common.key_algorithm.is_none_or(|stated| {
            stated.to_string().parse::<Algorithm>().is_ok_and(|stated| stated == algorithm)
        });
        let signs = matches!(key.common.public_key_use, None | Some(PublicKeyUse::Signature));
        let named = kid.is_none_or(|kid| key.common.key_id.as_deref() == Some(kid));
        kind && stated && signs && named
    };
    let mut fitting = keys.keys.iter().filter(fits);
    let first = fitting.next()?;
    if fitting.next().is_some() {
        return None;
    }
    DecodingKey::from_jwk(first).ok()
}

async fn read<T: DeserializeOwned>(mut response: Response) -> Result<T, OidcError> {
    let (status, url) = (response.status(), response.url().clone());
    if !status.is_success() {
        return Err(unavailable(format!("{url} answers {status}")));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| unavailable(format!("{url}: {e}")))? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST {
            return Err(unavailable(format!("{url} answers with more than {MOST} bytes")));
        }
    }
    serde_json::from_slice(&body).map_err(|e| unavailable(format!("{url} does not answer as it should: {e}")))
}

/// Percent encoding of everything but plain text.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
