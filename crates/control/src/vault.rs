//! Secrets at rest and derived tokens. One 32-byte key in `secret.key` (mode
//! 0600) outside the database: XChaCha20-Poly1305 seals the secrets of a run,
//! bound to its id; a keyed BLAKE3 hash makes job tokens, which are therefore
//! stored nowhere.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use fleetfoot_model::api::TokenKind;
use fleetfoot_model::ids::{AttemptRef, RunId};
use indexmap::IndexMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use subtle::ConstantTimeEq as _;
use thiserror::Error;

const NONCE: usize = 24;

/// Why the vault refused.
#[derive(Debug, Error)]
pub enum VaultError {
    /// The key file cannot be read or made.
    #[error("cannot use the key file {path}")]
    KeyFile {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The key file does not hold 32 bytes.
    #[error(
        "the key file {0} is damaged: restore it from your backup, sealed secrets cannot be read without it"
    )]
    BadKey(String),
    /// No randomness.
    #[error("the operating system gave no random bytes")]
    Random,
    /// Sealed with another key, for another run, or damaged.
    #[error("the secrets of run {0} cannot be opened with this key")]
    Sealed(RunId),
}

/// The key and what is done with it.
pub struct Vault {
    key: [u8; 32],
    cipher: XChaCha20Poly1305,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(..)")
    }
}

impl Vault {
    /// Reads the key, or makes one on first use.
    ///
    /// # Errors
    /// If the file cannot be read, made, or is damaged.
    pub fn open(data_dir: &Path) -> Result<Self, VaultError> {
        let path = data_dir.join("secret.key");
        let name = path.display().to_string();
        let key = match std::fs::read(&path) {
            Ok(bytes) => bytes.try_into().map_err(|_| VaultError::BadKey(name))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let key: [u8; 32] = random()?;
                write_new(&path, &key).map_err(|source| VaultError::KeyFile { path: name, source })?;
                key
            }
            Err(source) => return Err(VaultError::KeyFile { path: name, source }),
        };
        Ok(Self { key, cipher: XChaCha20Poly1305::new(&key.into()) })
    }

    /// Encrypts the secrets of a run; no secrets give no bytes.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn seal(&self, run: RunId, secrets: &IndexMap<String, String>) -> Result<Vec<u8>, VaultError> {
        if secrets.is_empty() {
            return Ok(Vec::new());
        }
        let nonce: [u8; NONCE] = random()?;
        let clear = serde_json::to_vec(secrets).map_err(|_| VaultError::Sealed(run))?;
        let aad = aad(run);
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: &clear, aad: &aad })
            .map_err(|_| VaultError::Sealed(run))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Decrypts what [`Vault::seal`] made for the same run.
    ///
    /// # Errors
    /// If the bytes are not ours.
    pub fn open_secrets(&self, run: RunId, sealed: &[u8]) -> Result<IndexMap<String, String>, VaultError> {
        if sealed.is_empty() {
            return Ok(IndexMap::new());
        }
        let bad = || VaultError::Sealed(run);
        let (nonce, bytes) = sealed.split_at_checked(NONCE).ok_or_else(bad)?;
        let nonce: [u8; NONCE] = nonce.try_into().map_err(|_| bad())?;
        let aad = aad(run);
        let clear = self
            .cipher
            .decrypt(&XNonce::from(nonce), Payload { msg: bytes, aad: &aad })
            .map_err(|_| bad())?;
        serde_json::from_slice(&clear).map_err(|_| bad())
    }

    /// The token of an attempt: names the attempt, and proves that we made it.
    #[must_use]
    pub fn job_token(&self, attempt: AttemptRef) -> String {
        let mac = blake3::keyed_hash(&self.key, format!("job-token {attempt}").as_bytes());
        format!("{}{attempt}.{}", TokenKind::Job.prefix(), URL_SAFE_NO_PAD.encode(mac.as_bytes()))
    }

    /// Secret bytes for one purpose, the same for the life of the key.
    #[must_use]
    pub fn derived(&self, purpose: &str) -> [u8; 32] {
        *blake3::keyed_hash(&self.key, format!("derived key for {purpose}").as_bytes()).as_bytes()
    }

    /// The attempt of a job token, if we made the token. Whether the attempt still runs is another question.
    #[must_use]
    pub fn attempt_of(&self, token: &str) -> Option<AttemptRef> {
        let (attempt, _) = token.strip_prefix(TokenKind::Job.prefix())?.rsplit_once('.')?;
        let attempt: AttemptRef = attempt.parse().ok()?;
        let expected = self.job_token(attempt);
        bool::from(expected.as_bytes().ct_eq(token.as_bytes())).then_some(attempt)
    }
}

fn aad(run: RunId) -> Vec<u8> {
    format!("fleetfoot run secrets {run}").into_bytes()
}

fn write_new(path: &Path, key: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key)?;
    file.sync_all()
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], VaultError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| VaultError::Random)?;
    Ok(bytes)
}

/// A new token of a kind: its prefix and 256 random bits.
pub(crate) fn new_token(kind: TokenKind) -> Result<String, VaultError> {
    Ok(format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(random::<32>()?)))
}

/// What is stored of a token.
pub(crate) fn token_hash(token: &str) -> [u8; 32] {
    *blake3::hash(token.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetfoot_model::ids::{Epoch, JobId};

    fn vault() -> (tempfile::TempDir, Vault) {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        (dir, vault)
    }

    #[test]
    fn secrets_open_only_for_their_run_and_unchanged() {
        let (_dir, vault) = vault();
        let secrets = IndexMap::from([("TOKEN".to_owned(), "hunter2-hunter2".to_owned())]);
        let sealed = vault.seal(RunId(1), &secrets).unwrap();
        assert!(!sealed.windows(7).any(|w| w == b"hunter2"));
        assert_eq!(vault.open_secrets(RunId(1), &sealed).unwrap(), secrets);
        assert!(vault.open_secrets(RunId(2), &sealed).is_err());
        let mut bent = sealed.clone();
        *bent.last_mut().unwrap() ^= 1;
        assert!(vault.open_secrets(RunId(1), &bent).is_err());
        assert!(vault.open_secrets(RunId(1), &sealed[..10]).is_err());
    }

    #[test]
    fn the_key_survives_a_restart_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let (dir, vault) = vault();
        let attempt = AttemptRef { job: JobId(7), attempt: 1, epoch: Epoch(99) };
        let token = vault.job_token(attempt);
        let again = Vault::open(dir.path()).unwrap();
        assert_eq!(again.attempt_of(&token), Some(attempt));
        let mode = std::fs::metadata(dir.path().join("secret.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_job_token_cannot_be_bent_to_another_attempt() {
        let (_dir, vault) = vault();
        let token = vault.job_token(AttemptRef { job: JobId(7), attempt: 1, epoch: Epoch(99) });
        assert_eq!(vault.attempt_of(&token.replace("ffj_7", "ffj_8")), None);
        assert_eq!(vault.attempt_of("ffj_"), None);
        assert_eq!(vault.attempt_of("ffj_1.1.1.x"), None);
    }
}
