//! Keys of the services, all derived from the key of the vault, and what is signed with them: the
//! runtime token of a job (a JWT, because clients read it) and addresses of blobs. Nothing is stored:
//! a token is made again from its attempt, and is good only while the attempt is.

use crate::error::{ErrorKind, Result, ServiceError};
use crate::job::{CacheScopes, Job};
use fleetfoot_model::ids::{AttemptRef, RunId};
use fleetfoot_model::time::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

const AUDIENCE: &str = "fleetfoot-services";

/// What a runtime token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeClaims {
    /// Who it is for: these services.
    pub aud: String,
    /// The attempt, `JOB.ATTEMPT.EPOCH`.
    pub sub: String,
    /// `Actions.Results:RUN:ATTEMPT`, from which clients read the ids that they send back.
    pub scp: String,
    /// Scopes of caches as JSON, as GitHub writes them.
    pub ac: String,
    /// When the attempt was leased, in seconds.
    pub iat: i64,
    /// After this it is no good in any case, in seconds.
    pub exp: i64,
}

/// One scope in the claim `ac`: 1 reads, 3 reads and writes.
#[derive(Serialize)]
struct AccessClaim<'a> {
    #[serde(rename = "Scope")]
    scope: &'a str,
    #[serde(rename = "Permission")]
    permission: u8,
}

/// The keys.
#[derive(Clone)]
pub struct Keys {
    runtime: [u8; 32],
    address: [u8; 32],
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Keys {
    /// Derives the keys from secret bytes that stay the same for an installation.
    #[must_use]
    pub fn derive(secret: &[u8; 32]) -> Self {
        Self {
            runtime: blake3::derive_key("fleetfoot 2026 services runtime token", secret),
            address: blake3::derive_key("fleetfoot 2026 services blob address", secret),
        }
    }

    /// The runtime token of an attempt: the same whenever it is made. `life` is in seconds.
    ///
    /// # Errors
    /// `Internal` if it cannot be signed.
    pub fn runtime_token(&self, job: &Job, life: u64) -> Result<String> {
        // An epoch is the microsecond of its lease, so that no clock is needed here.
        let iat = i64::try_from(job.attempt.epoch.0 / 1_000_000).unwrap_or(i64::MAX);
        let claims = RuntimeClaims {
            aud: AUDIENCE.to_owned(),
            sub: job.attempt.to_string(),
            scp: format!("Actions.Results:{}:{}", job.run_id(), job.job_id()),
            ac: access(&job.caches),
            iat,
            exp: iat.saturating_add_unsigned(life),
        };
        encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(&self.runtime))
            .map_err(|e| ServiceError::new(ErrorKind::Internal, format!("a token cannot be signed: {e}")))
    }

    /// Attempt and run of a runtime token that we made and that has not expired. Whether the attempt
    /// still runs is another question.
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub fn runtime_claims(&self, token: &str, now: Timestamp) -> Result<(AttemptRef, RunId)> {
        let bad = || ServiceError::new(ErrorKind::Unauthenticated, "the runtime token is not valid here");
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        // Compared below with the time that we were given.
        validation.validate_exp = false;
        let key = DecodingKey::from_secret(&self.runtime);
        let claims = decode::<RuntimeClaims>(token, &key, &validation).map_err(|_| bad())?.claims;
        if claims.exp <= now.0 / 1_000_000 {
            return Err(ServiceError::new(ErrorKind::Unauthenticated, "the runtime token has expired"));
        }
        let run = claims.scp.split(':').nth(1).and_then(|r| r.parse().ok()).ok_or_else(bad)?;
        Ok((claims.sub.parse().map_err(|_| bad())?, RunId(run)))
    }

    /// Signs the text of an address.
    pub(crate) fn sign(&self, text: &str) -> String {
        blake3::keyed_hash(&self.address, text.as_bytes()).to_hex().to_string()
    }

    /// Whether the signature is ours, in constant time.
    pub(crate) fn signed(&self, text: &str, signature: &str) -> bool {
        self.sign(text).as_bytes().ct_eq(signature.as_bytes()).into()
    }
}

fn access(scopes: &CacheScopes) -> String {
    let all: Vec<_> = scopes
        .read
        .iter()
        .map(|scope| {
            let writes = scopes.write.as_ref() == Some(scope);
            AccessClaim { scope, permission: if writes { 3 } else { 1 } }
        })
        .collect();
    // Strings and numbers always serialise.
    serde_json::to_string(&all).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetfoot_model::ids::{Epoch, JobId};

    fn job(epoch: u64) -> Job {
        Job {
            attempt: AttemptRef { job: JobId(7), attempt: 2, epoch: Epoch(epoch) },
            run: RunId(5),
            project: "default".to_owned(),
            caches: CacheScopes {
                repository: "o/a".to_owned(),
                read: vec!["refs/heads/x".to_owned(), "refs/heads/main".to_owned()],
                write: Some("refs/heads/x".to_owned()),
            },
        }
    }

    #[test]
    fn a_runtime_token_is_the_same_again_and_names_its_attempt() {
        let keys = Keys::derive(&[1; 32]);
        let job = job(1_000_000_000);
        let token = keys.runtime_token(&job, 60).unwrap();
        assert_eq!(token, keys.runtime_token(&job, 60).unwrap());
        let (attempt, run) = keys.runtime_claims(&token, Timestamp(1_000_000_000)).unwrap();
        assert_eq!((attempt, run), (job.attempt, RunId(5)));
        assert!(keys.runtime_claims(&token, Timestamp(1_060_000_000)).is_err(), "expired");
        assert!(Keys::derive(&[2; 32]).runtime_claims(&token, Timestamp(1_000_000_000)).is_err());
        assert!(keys.runtime_claims(&token[..token.len() - 2], Timestamp(0)).is_err());
    }

    #[test]
    fn a_token_without_a_signature_is_refused() {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
        let keys = Keys::derive(&[1; 32]);
        let token = keys.runtime_token(&job(1_000_000_000), 60).unwrap();
        let payload = token.split('.').nth(1).unwrap();
        let text = String::from_utf8(B64.decode(payload).unwrap()).unwrap();
        assert!(text.contains("\"scp\":\"Actions.Results:5:7.2.1000000000\""), "{text}");
        assert!(text.contains(r#"{\"Scope\":\"refs/heads/main\",\"Permission\":1}"#), "{text}");
        let none = format!("{}.{payload}.", B64.encode(r#"{"alg":"none","typ":"JWT"}"#));
        assert!(keys.runtime_claims(&none, Timestamp(1_000_000_000)).is_err());
    }
}
