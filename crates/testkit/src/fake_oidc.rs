//! An OpenID provider for tests, over real HTTP: description, keys, codes that
//! work once, PKCE, client authentication, and tokens that are really signed. It
//! lies in the ways in which an attacker would, when it is asked to.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

/// The client that the provider knows.
pub const OIDC_CLIENT: &str = "fleetfoot";
/// Its secret, with characters that must be encoded.
pub const OIDC_SECRET: &str = "s3cret+/%:é";

/// In which way the next token is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// The nonce of another sign-in.
    Nonce,
    /// No nonce at all.
    NoNonce,
    /// For another client.
    Audience,
    /// For several clients, and made for another one.
    AuthorizedParty,
    /// From another issuer.
    Issuer,
    /// Expired.
    Expired,
    /// Valid later.
    Future,
    /// Signed by a key that is not published, under the id of one that is.
    Key,
    /// Not signed at all (`alg` is `none`).
    Unsigned,
    /// Signed with the client's secret.
    Symmetric,
    /// The claims were changed after they were signed.
    Tampered,
}

struct Code {
    challenge: String,
    nonce: Option<String>,
    redirect_uri: String,
}

struct State {
    issuer: String,
    algorithm: Mutex<Algorithm>,
    claims: Mutex<Map<String, Value>>,
    lie: Mutex<Option<Lie>>,
    codes: Mutex<HashMap<String, Code>>,
    counter: AtomicU64,
    ended: AtomicBool,
}

/// A provider with one account.
pub struct FakeOidc {
    state: Arc<State>,
    serving: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for FakeOidc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeOidc").field("issuer", &self.state.issuer).finish_non_exhaustive()
    }
}

/// Keys of all fakes of a process: making one takes a while. The second RSA key is never published.
struct Keys {
    rsa: EncodingKey,
    other: EncodingKey,
    ec: EncodingKey,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    let rsa = || {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key");
        let der: Pkcs8V1Der<'_> = pair.as_der().expect("its bytes");
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der.as_ref())
        );
        EncodingKey::from_rsa_pem(pem.as_bytes()).expect("a key")
    };
    KEYS.get_or_init(|| {
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Keys { rsa: rsa(), other: rsa(), ec: EncodingKey::from_ec_der(ec.expect("a key").as_ref()) }
    })
}

impl FakeOidc {
    /// A provider whose account has these claims.
    ///
    /// # Panics
    /// If the network of this machine cannot be used.
    #[must_use]
    pub fn new(claims: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let issuer = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(State {
            issuer,
            algorithm: Mutex::new(Algorithm::RS256),
            claims: Mutex::default(),
            lie: Mutex::default(),
            codes: Mutex::default(),
            counter: AtomicU64::new(1),
            ended: AtomicBool::new(false),
        });
        let serving = std::thread::spawn({
            let state = Arc::clone(&state);
            move || serve(&listener, &state)
        });
        let fake = Self { state, serving: Some(serving) };
        fake.set_claims(claims);
        fake
    }

    /// Its issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.state.issuer
    }

    /// Changes what it says about the account.
    ///
    /// # Panics
    /// If these are no claims.
    pub fn set_claims(&self, claims: Value) {
        let Value::Object(claims) = claims else { panic!("claims are an object") };
        *self.state.claims.lock().expect("the claims") = claims;
    }

    /// Signs with this algorithm from now on: RS256 or ES256.
    ///
    /// # Panics
    /// If a thread panicked before.
    pub fn set_algorithm(&self, algorithm: Algorithm) {
        *self.state.algorithm.lock().expect("the algorithm") = algorithm;
    }

    /// Lies like this from now on.
    ///
    /// # Panics
    /// If a thread panicked before.
    pub fn lie(&self, lie: Option<Lie>) {
        *self.state.lie.lock().expect("the lie") = lie;
    }
}

impl Drop for FakeOidc {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        // The accepting thread looks at the flag when somebody comes.
        let _ = TcpStream::connect(self.state.issuer.trim_start_matches("http://"));
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
    }
}

fn serve(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        if state.ended.load(Ordering::Relaxed) {
            return;
        }
        let (Ok(stream), state) = (stream, Arc::clone(state)) else { continue };
        std::thread::spawn(move || {
            let _ = answer(stream, &state);
        });
    }
}

/// One request a connection.
fn answer(stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or(0),
            "authorization" => authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (status, location, answer) = match (method, path) {
        ("GET", "/.well-known/openid-configuration") => (200, None, description(&state.issuer)),
        ("GET", "/keys") => (200, None, json!({ "keys": published() })),
        ("GET", "/authorize") => match authorize(state, &pairs(query)) {
            Ok(location) => (302, Some(location), Value::Null),
            Err(why) => (400, None, json!({ "error": "invalid_request", "error_description": why })),
        },
        ("POST", "/token") => {
            let form = pairs(&String::from_utf8_lossy(&body));
            match token(state, &form, authorization.as_deref()) {
                Ok(token) => {
                    (200, None, json!({ "token_type": "Bearer", "access_token": "x", "id_token": token }))
                }
                Err(why) => (400, None, json!({ "error": "invalid_grant", "error_description": why })),
            }
        }
        _ => (404, None, json!({ "error": "not_found" })),
    };
    let (text, location) =
        (answer.to_string(), location.map_or(String::new(), |l| format!("location: {l}\r\n")));
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} X\r\n{location}content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    )?;
    stream.flush()?;
    stream.shutdown(Shutdown::Write)
}

fn description(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        "code_challenge_methods_supported": ["S256"],
    })
}

fn published() -> Vec<Jwk> {
    [("rsa-1", &keys().rsa, Algorithm::RS256), ("ec-1", &keys().ec, Algorithm::ES256)]
        .into_iter()
        .map(|(id, key, algorithm)| {
            let mut jwk = Jwk::from_encoding_key(key, algorithm).expect("a public key");
            jwk.common.key_id = Some(id.to_owned());
            jwk
        })
        .collect()
}

/// The person says yes at once.
fn authorize(state: &State, query: &HashMap<String, String>) -> Result<String, &'static str> {
    let get = |name: &str| query.get(name).cloned().ok_or("a parameter is missing");
    let scopes = get("scope")?;
    if get("response_type")? != "code"
        || get("client_id")? != OIDC_CLIENT
        || !scopes.split(' ').any(|s| s == "openid")
    {
        return Err("not a request of this client");
    }
    if get("code_challenge_method")? != "S256" {
        return Err("no proof key");
    }
    let code = format!("code/{}+x", state.counter.fetch_add(1, Ordering::Relaxed));
    let redirect_uri = get("redirect_uri")?;
    let location = format!("{redirect_uri}?code={}&state={}", escaped(&code), escaped(&get("state")?));
    let begun = Code { challenge: get("code_challenge")?, nonce: query.get("nonce").cloned(), redirect_uri };
    state.codes.lock().expect("the codes").insert(code, begun);
    Ok(location)
}

fn token(
    state: &State,
    form: &HashMap<String, String>,
    authorization: Option<&str>,
) -> Result<String, &'static str> {
    let expected = STANDARD.encode(format!("{OIDC_CLIENT}:{}", escaped(OIDC_SECRET)));
    if authorization != Some(&format!("Basic {expected}")) {
        return Err("the client is not who it says");
    }
    let get = |name: &str| form.get(name).map(String::as_str).ok_or("a parameter is missing");
    // Whatever comes of it, a code works once.
    let code = state.codes.lock().expect("the codes").remove(get("code")?).ok_or("no such code")?;
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(get("code_verifier")?));
    if get("grant_type")? != "authorization_code" || get("redirect_uri")? != code.redirect_uri {
        return Err("not the request that the code is for");
    }
    if challenge != code.challenge {
        return Err("the proof key is wrong");
    }
    Ok(signed(state, code.nonce))
}

fn signed(state: &State, nonce: Option<String>) -> String {
    let lie = *state.lie.lock().expect("the lie");
    let now = get_current_timestamp();
    let mut claims = state.claims.lock().expect("the claims").clone();
    let mut set = |name: &str, value: Value| {
        claims.insert(name.to_owned(), value);
    };
    set("iss", json!(if lie == Some(Lie::Issuer) { "https://evil.example" } else { &state.issuer }));
    set(
        "aud",
        match lie {
            Some(Lie::Audience) => json!("another"),
            Some(Lie::AuthorizedParty) => json!([OIDC_CLIENT, "another"]),
            _ => json!(OIDC_CLIENT),
        },
    );
    if lie == Some(Lie::AuthorizedParty) {
        set("azp", json!("another"));
    }
    set("iat", json!(now));
    set("exp", json!(if lie == Some(Lie::Expired) { now - 3600 } else { now + 300 }));
    if lie == Some(Lie::Future) {
        set("nbf", json!(now + 3600));
    }
    match lie {
        Some(Lie::NoNonce) => {}
        Some(Lie::Nonce) => set("nonce", json!("of another sign-in")),
        _ => set("nonce", json!(nonce)),
    }
    let algorithm = *state.algorithm.lock().expect("the algorithm");
    let (id, key) = match algorithm {
        Algorithm::ES256 => ("ec-1", &keys().ec),
        _ => ("rsa-1", &keys().rsa),
    };
    let header = |algorithm: Algorithm| Header { kid: Some(id.to_owned()), ..Header::new(algorithm) };
    let sign = |algorithm, key| encode(&header(algorithm), &claims, key).expect("a token");
    match lie {
        Some(Lie::Key) => sign(Algorithm::RS256, &keys().other),
        Some(Lie::Symmetric) => sign(Algorithm::HS256, &EncodingKey::from_secret(OIDC_SECRET.as_bytes())),
        Some(Lie::Unsigned) => {
            let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
            format!("{}.{}.", part(json!({ "alg": "none", "kid": id })), part(Value::Object(claims.clone())))
        }
        Some(Lie::Tampered) => {
            let good = sign(algorithm, key);
            let mut parts: Vec<_> = good.split('.').map(str::to_owned).collect();
            let mut changed = claims.clone();
            changed.insert("sub".to_owned(), json!("somebody else"));
            parts[1] = URL_SAFE_NO_PAD.encode(Value::Object(changed).to_string());
            parts.join(".")
        }
        _ => sign(algorithm, key),
    }
}

fn pairs(text: &str) -> HashMap<String, String> {
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (plain(k), plain(v))).collect()
}

fn plain(text: &str) -> String {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}
