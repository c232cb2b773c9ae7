//! Identity tokens: who a job is, signed with RS256, for others to verify with the published keys.
//!
//! The keys live in a directory of their own beside the key of the vault, one PEM file each (mode
//! 0600), named after the microsecond of their making. The newest signs; older ones stay published
//! until every token that they signed has expired. A key never leaves its file.

use crate::error::{ErrorKind, Result, ServiceError};
use crate::job::IdentityClaims;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize, PublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fleetfoot_model::time::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use parking_lot::Mutex;
use serde::Serialize;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Life of a token.
const LIFE: Duration = Duration::from_secs(600);
/// After this long a new key signs.
const ROTATION: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long a key is published after the next one signs: longer than any token lives and any verifier
/// keeps a set of keys.
const OVERLAP: Duration = Duration::from_secs(2 * 24 * 3600);
/// Clocks of verifiers may be behind ours by this much.
const SKEW: Duration = Duration::from_secs(60);

/// `/.well-known/openid-configuration`.
#[derive(Debug, Serialize)]
pub struct Discovery {
    issuer: String,
    jwks_uri: String,
    subject_types_supported: [&'static str; 2],
    response_types_supported: [&'static str; 1],
    claims_supported: &'static [&'static str],
    id_token_signing_alg_values_supported: [&'static str; 1],
    scopes_supported: [&'static str; 1],
}

const CLAIMS: &[&str] = &[
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "iss",
    "jti",
    "actor",
    "actor_id",
    "base_ref",
    "environment",
    "event_name",
    "head_ref",
    "job_workflow_ref",
    "job_workflow_sha",
    "ref",
    "ref_type",
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "repository_visibility",
    "run_attempt",
    "run_id",
    "run_number",
    "runner_environment",
    "sha",
    "workflow",
    "workflow_ref",
    "workflow_sha",
];

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwk {
    kty: &'static str,
    alg: &'static str,
    r#use: &'static str,
    /// Its id: the thumbprint of RFC 7638.
    pub kid: String,
    /// Modulus.
    pub n: String,
    /// Exponent.
    pub e: String,
}

/// The published keys.
#[derive(Debug, Serialize)]
pub struct Jwks {
    /// Newest first.
    pub keys: Vec<Jwk>,
}

/// A token as it is signed.
#[derive(Serialize)]
struct Token<'a> {
    iss: &'a str,
    aud: &'a str,
    jti: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    #[serde(flatten)]
    claims: &'a IdentityClaims,
}

struct Key {
    made: Timestamp,
    jwk: Jwk,
    signing: EncodingKey,
    file: PathBuf,
}

/// Signs identity tokens.
pub struct Issuer {
    url: String,
    dir: PathBuf,
    keys: Mutex<Vec<Arc<Key>>>,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("url", &self.url).finish_non_exhaustive()
    }
}

fn unusable(what: &str, path: &Path, e: impl std::fmt::Display) -> ServiceError {
    ServiceError::new(ErrorKind::Internal, format!("{what} {}: {e}", path.display()))
}

impl Issuer {
    /// Reads the keys in `dir`. `url` is the public address of the server. Cheap: the first key is made
    /// when it is first needed.
    ///
    /// # Errors
    /// `Internal` if a file cannot be read or is no key.
    pub fn open(dir: &Path, url: &str) -> Result<Self> {
        let mut keys = Vec::new();
        match std::fs::read_dir(dir) {
            Ok(entries) => {
                for entry in entries.flatten() {
                    let path = entry.path();
                    let made = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok());
                    if let (Some(made), Some("pem")) = (made, path.extension().and_then(|e| e.to_str())) {
                        keys.push(Arc::new(Key::read(Timestamp(made), path)?));
                    }
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(unusable("cannot read", dir, e)),
        }
        keys.sort_by_key(|k| std::cmp::Reverse(k.made));
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { url, dir: dir.to_owned(), keys: Mutex::new(keys) })
    }

    /// What verifiers read first.
    #[must_use]
    pub fn discovery(&self) -> Discovery {
        Discovery {
            issuer: self.url.clone(),
            jwks_uri: format!("{}/.well-known/jwks", self.url),
            subject_types_supported: ["public", "pairwise"],
            response_types_supported: ["id_token"],
            claims_supported: CLAIMS,
            id_token_signing_alg_values_supported: ["RS256"],
            scopes_supported: ["openid"],
        }
    }

    /// The keys with which tokens are verified. Makes the first one if there is none. Blocks: a new key
    /// takes a good part of a second.
    ///
    /// # Errors
    /// `Internal` if a key cannot be made.
    pub fn jwks(&self, now: Timestamp) -> Result<Jwks> {
        self.current(now)?;
        Ok(Jwks { keys: self.keys.lock().iter().map(|k| k.jwk.clone()).collect() })
    }

    /// A token for a job. Without an audience it is for the owner of the repository. Blocks, as
    /// [`Issuer::jwks`].
    ///
    /// # Errors
    /// `Invalid` for a bad audience, `Internal` if it cannot be signed.
    pub fn token(&self, claims: &IdentityClaims, audience: Option<&str>, now: Timestamp) -> Result<String> {
        let default = format!("{}/{}", self.url, claims.repository_owner);
        let aud = audience.filter(|a| !a.is_empty()).unwrap_or(&default);
        if aud.len() > 1024 || aud.chars().any(char::is_control) {
            return Err(ServiceError::invalid("the audience is too long or has a control character"));
        }
        let key = self.current(now)?;
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|e| ServiceError::new(ErrorKind::Internal, e.to_string()))?;
        let seconds = |t: Timestamp| t.0 / 1_000_000;
        let token = Token {
            iss: &self.url,
            aud,
            jti: URL_SAFE_NO_PAD.encode(id),
            iat: seconds(now),
            nbf: seconds(now - SKEW),
            exp: seconds(now + LIFE),
            claims,
        };
        let header = Header { kid: Some(key.jwk.kid.clone()), ..Header::new(Algorithm::RS256) };
        encode(&header, &token, &key.signing).map_err(|e| {
            ServiceError::new(ErrorKind::Internal, format!("an identity token cannot be signed: {e}"))
        })
    }

    /// The key that signs now; rotates when it is old.
    fn current(&self, now: Timestamp) -> Result<Arc<Key>> {
        let mut keys = self.keys.lock();
        if let Some(newest) = keys.first().filter(|k| now.since(k.made) < ROTATION).cloned() {
            // Those that the newest one replaced long enough ago.
            if now.since(newest.made) > OVERLAP {
                for old in keys.drain(1..) {
                    let _ = std::fs::remove_file(&old.file);
                }
            }
            return Ok(newest);
        }
        let made = Arc::new(Key::make(&self.dir, now)?);
        keys.insert(0, Arc::clone(&made));
        Ok(made)
    }
}

impl Key {
    fn make(dir: &Path, now: Timestamp) -> Result<Self> {
        let failed = |e: &dyn std::fmt::Display| unusable("cannot make a key in", dir, e);
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|e| failed(&e))?;
        let der = pair.as_der().map_err(|e| failed(&e))?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| failed(&e))?;
        let file = dir.join(format!("{}.pem", now.0));
        // Under another name first: a file that is there is whole.
        let part = dir.join(format!("{}.part", now.0));
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)
            .and_then(|mut f| f.write_all(pem(der.as_ref()).as_bytes()).and_then(|()| f.sync_all()))
            .and_then(|()| std::fs::rename(&part, &file));
        written.map_err(|e| failed(&e))?;
        Self::read(now, file)
    }

    fn read(made: Timestamp, file: PathBuf) -> Result<Self> {
        let bad = |e: &dyn std::fmt::Display| unusable("cannot use the key", &file, e);
        let text = std::fs::read_to_string(&file).map_err(|e| bad(&e))?;
        let body: String = text.lines().filter(|l| !l.starts_with("-----")).collect();
        let der = STANDARD.decode(body.trim()).map_err(|e| bad(&e))?;
        let pair = KeyPair::from_pkcs8(&der).map_err(|e| bad(&e))?;
        let signing = EncodingKey::from_rsa_pem(text.as_bytes()).map_err(|e| bad(&e))?;
        let public = PublicKeyComponents::<Vec<u8>>::from(aws_lc_rs::signature::KeyPair::public_key(&pair));
        let (n, e) = (URL_SAFE_NO_PAD.encode(public.n), URL_SAFE_NO_PAD.encode(public.e));
        let canonical = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        let thumbprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes());
        let kid = URL_SAFE_NO_PAD.encode(thumbprint);
        Ok(Self { made, jwk: Jwk { kty: "RSA", alg: "RS256", r#use: "sig", kid, n, e }, signing, file })
    }
}

fn pem(der: &[u8]) -> String {
    let mut text = "-----BEGIN PRIVATE KEY-----\n".to_owned();
    let body = STANDARD.encode(der);
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text + "-----END PRIVATE KEY-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
    use serde_json::Value;
    use std::os::unix::fs::PermissionsExt as _;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

    fn verify(jwks: &Jwks, token: &str) -> Value {
        let kid = decode_header(token).unwrap().kid.unwrap();
        let jwk = jwks.keys.iter().find(|k| k.kid == kid).expect("the key is published");
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        let key = DecodingKey::from_rsa_components(&jwk.n, &jwk.e).unwrap();
        decode::<Value>(token, &key, &validation).unwrap().claims
    }

    #[test]
    fn tokens_verify_with_the_published_keys_across_restart_and_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("oidc");
        let claims = IdentityClaims {
            sub: "repo:o/a:ref:x".to_owned(),
            repository_owner: "o".to_owned(),
            ..Default::default()
        };
        let issuer = Issuer::open(&dir, "https://ci.example/").unwrap();
        let token = issuer.token(&claims, None, NOW).unwrap();
        let seen = verify(&issuer.jwks(NOW).unwrap(), &token);
        assert_eq!(seen["iss"], "https://ci.example");
        assert_eq!(seen["aud"], "https://ci.example/o");
        assert_eq!(seen["sub"], "repo:o/a:ref:x");
        assert_eq!(seen["exp"].as_i64().unwrap() - seen["iat"].as_i64().unwrap(), 600);
        let files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|f| f.unwrap().path()).collect();
        assert_eq!(files.len(), 1);
        assert_eq!(std::fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);

        let again = Issuer::open(&dir, "https://ci.example").unwrap();
        verify(&again.jwks(NOW).unwrap(), &token);
        let later = NOW + ROTATION;
        let new = again.token(&claims, Some("sts.example"), later).unwrap();
        let both = again.jwks(later).unwrap();
        assert_eq!(both.keys.len(), 2);
        verify(&both, &token);
        assert_eq!(verify(&both, &new)["aud"], "sts.example");
        let one = again.jwks(later + OVERLAP + SKEW).unwrap();
        assert_eq!(one.keys.len(), 1);
        verify(&one, &new);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    }
}
