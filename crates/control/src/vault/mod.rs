//! Secrets at rest and derived tokens. One 32-byte master key in `secret.key`
//! (mode 0600) outside the database seals data keys, which the database keeps;
//! data keys seal stored secrets and the secrets of runs (XChaCha20-Poly1305),
//! each bound to what it belongs to, so that no row can be moved; a keyed
//! BLAKE3 hash makes job tokens, which are therefore stored nowhere. Nothing
//! here reads or writes the database: rows come in and go out.

mod keys;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleetfoot_model::Timestamp;
use fleetfoot_model::api::TokenKind;
use fleetfoot_model::ids::{AttemptRef, RunId};
use fleetfoot_model::projects::Scope;
use fleetfoot_store::{DataKeyRow, WrappedKey};
use indexmap::IndexMap;
use keys::{Key, KeyFiles};
use parking_lot::RwLock;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

const NONCE: usize = 24;
/// Begins the sealed secrets of a run; what lacks it was sealed before there were data keys.
const RUN_FORMAT: &[u8; 4] = b"FFR2";
/// What data keys are for.
const SECRET: &str = "secret";
const RUN: &str = "run";
const TOKEN: &str = "token";

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
    /// The key file does not hold 32 bytes, or is gone in the middle of a rotation.
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
    /// Sealed with another key, for another purpose, or damaged.
    #[error("the {0} cannot be opened with this key")]
    Text(String),
    /// Sealed with another key, for another place, or damaged.
    #[error(
        "secret {name} ({scope}) cannot be opened: its row was changed or moved, or secret.key is not the key of this database; set it again"
    )]
    Secret {
        /// Its name.
        name: String,
        /// Where it was found.
        scope: Scope,
    },
    /// A data key does not open under its master key.
    #[error("data key {0} is damaged: restore the database from a backup")]
    DataKey(u64),
}

/// A data key in clear.
#[derive(Clone)]
struct DataKey {
    id: u64,
    purpose: String,
    project: String,
    created_at: Timestamp,
    key: Key,
}

struct Masters {
    current: Key,
    /// Takes over: everything new is sealed with it.
    next: Option<Key>,
}

impl Masters {
    fn sealing(&self) -> &Key {
        self.next.as_ref().unwrap_or(&self.current)
    }
}

/// The keys and what is done with them.
pub struct Vault {
    files: KeyFiles,
    /// The key file was made just now: nothing was ever sealed with it.
    fresh: bool,
    /// Some data keys need a master key that is not here.
    locked: AtomicBool,
    masters: RwLock<Masters>,
    /// From the oldest.
    data: RwLock<Vec<DataKey>>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(..)")
    }
}

impl Vault {
    /// Reads the master key, or makes one on first use. Data keys come with [`Vault::unlock`].
    ///
    /// # Errors
    /// If the file cannot be read, made, or is damaged.
    pub fn open(data_dir: &Path) -> Result<Self, VaultError> {
        let files = KeyFiles::new(data_dir);
        let (current, fresh) = files.current()?;
        let next = files.next()?;
        Ok(Self {
            files,
            fresh,
            locked: AtomicBool::new(false),
            masters: RwLock::new(Masters { current, next }),
            data: RwLock::new(Vec::new()),
        })
    }

    /// Opens the data keys. Those that need a master key that is not here (a database without its key
    /// file) stay as they are, and nothing that they seal opens; answers the fingerprints of the master
    /// keys that are missing.
    ///
    /// # Errors
    /// If a key is damaged.
    pub fn unlock(&self, rows: &[DataKeyRow]) -> Result<Vec<String>, VaultError> {
        let masters = self.masters.read();
        let mut data = Vec::with_capacity(rows.len());
        let mut strange: Vec<String> = Vec::new();
        for row in rows {
            let mut known = [Some(&masters.current), masters.next.as_ref()].into_iter().flatten();
            let Some(master) = known.find(|m| m.fingerprint() == row.master) else {
                strange.push(hex(&row.master));
                continue;
            };
            let clear = master.open(&row.sealed, &about_key(row.id, &row.purpose, &row.project));
            let key = clear.and_then(|c| c.try_into().ok()).ok_or(VaultError::DataKey(row.id))?;
            data.push(DataKey {
                id: row.id,
                purpose: row.purpose.clone(),
                project: row.project.clone(),
                created_at: row.created_at,
                key: Key(key),
            });
        }
        data.sort_by_key(|k| (k.created_at, k.id));
        *self.data.write() = data;
        strange.sort();
        strange.dedup();
        self.locked.store(!strange.is_empty(), Ordering::Release);
        Ok(strange)
    }

    /// The keys that every installation has and this one lacks, to be stored and unlocked. An
    /// installation from before there were data keys goes on with the key that it used.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn missing(&self, now: Timestamp) -> Result<Vec<DataKeyRow>, VaultError> {
        let lacks = |purpose: &&str| !self.data.read().iter().any(|k| k.purpose == *purpose);
        let mut rows = Vec::new();
        for purpose in [RUN, TOKEN].into_iter().filter(|p| lacks(p)) {
            let locked = self.locked.load(Ordering::Acquire);
            let random = self.fresh || locked;
            let key = if random { Key::random()? } else { self.masters.read().current.clone() };
            // A key that takes the place of a locked one never counts for what was before it.
            let from = if locked { now } else { Timestamp(0) };
            rows.push(self.wrap(random_id()?, purpose, "", &key, from)?);
        }
        Ok(rows)
    }

    /// A data key for the stored secrets of a project, unless there is one.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn missing_for(&self, project: &str, now: Timestamp) -> Result<Option<DataKeyRow>, VaultError> {
        if self.newest(SECRET, project).is_some() {
            return Ok(None);
        }
        self.wrap(random_id()?, SECRET, project, &Key::random()?, now).map(Some)
    }

    /// Whether there can be stored secrets at all.
    pub(crate) fn has_secrets(&self) -> bool {
        self.data.read().iter().any(|k| k.purpose == SECRET)
    }

    fn newest(&self, purpose: &str, project: &str) -> Option<DataKey> {
        self.data.read().iter().rev().find(|k| k.purpose == purpose && k.project == project).cloned()
    }

    fn wrap(
        &self,
        id: u64,
        purpose: &str,
        project: &str,
        key: &Key,
        created_at: Timestamp,
    ) -> Result<DataKeyRow, VaultError> {
        let masters = self.masters.read();
        let master = masters.sealing();
        let sealed = master.seal(&key.0, &about_key(id, purpose, project)).ok_or(VaultError::Random)?;
        Ok(DataKeyRow {
            id,
            purpose: purpose.to_owned(),
            project: project.to_owned(),
            master: master.fingerprint(),
            sealed,
            created_at,
        })
    }

    // -- rotation --------------------------------------------------------------

    /// Whether a rotation was begun and not finished.
    #[must_use]
    pub fn is_rotating(&self) -> bool {
        self.masters.read().next.is_some()
    }

    /// Makes the master key that is to take over, unless there is one already.
    ///
    /// # Errors
    /// If its file cannot be written.
    pub fn begin_rotation(&self) -> Result<(), VaultError> {
        let mut masters = self.masters.write();
        if masters.next.is_none() {
            let key = Key::random()?;
            self.files.write_next(&key)?;
            masters.next = Some(key);
        }
        Ok(())
    }

    /// Those of the rows that the old master key seals, sealed with the new one: what changes of them.
    ///
    /// # Errors
    /// If one cannot be opened.
    pub fn rewrap(&self, rows: &[DataKeyRow]) -> Result<Vec<WrappedKey>, VaultError> {
        let masters = self.masters.read();
        let to = masters.sealing().fingerprint();
        let from = masters.current.fingerprint();
        let mut changed = Vec::new();
        for row in rows.iter().filter(|r| r.master == from && from != to) {
            let about = about_key(row.id, &row.purpose, &row.project);
            let clear = masters.current.open(&row.sealed, &about).ok_or(VaultError::DataKey(row.id))?;
            let sealed = masters.sealing().seal(&clear, &about).ok_or(VaultError::Random)?;
            changed.push(WrappedKey { id: row.id, master: to, sealed });
        }
        Ok(changed)
    }

    /// New data keys beside those that are there, for everything that is sealed from `at` on.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn successors(&self, at: Timestamp) -> Result<Vec<DataKeyRow>, VaultError> {
        let mut kinds: Vec<(String, String)> =
            self.data.read().iter().map(|k| (k.purpose.clone(), k.project.clone())).collect();
        kinds.sort();
        kinds.dedup();
        kinds
            .into_iter()
            .map(|(purpose, project)| self.wrap(random_id()?, &purpose, &project, &Key::random()?, at))
            .collect()
    }

    /// No row needs the old master key any more: its file goes, the new one takes its name.
    ///
    /// # Errors
    /// If the file cannot be renamed; both are there then.
    pub fn finish_rotation(&self) -> Result<(), VaultError> {
        let mut masters = self.masters.write();
        if let Some(next) = masters.next.clone() {
            self.files.take_over()?;
            masters.current = next;
            masters.next = None;
        }
        Ok(())
    }

    /// Fingerprint of the master key that seals.
    #[must_use]
    pub fn master(&self) -> String {
        hex(&self.masters.read().sealing().fingerprint())
    }

    // -- stored secrets ----------------------------------------------------------

    /// Seals a stored secret: the data key's id and the sealed value. The data key of the project must
    /// be there ([`Vault::missing_for`]).
    ///
    /// # Errors
    /// If it is not, or there is no randomness.
    pub fn seal_secret(&self, scope: &Scope, name: &str, value: &str) -> Result<(u64, Vec<u8>), VaultError> {
        let bad = || VaultError::Secret { name: name.to_owned(), scope: scope.clone() };
        let key = self.newest(SECRET, scope.project()).ok_or_else(bad)?;
        let sealed = key.key.seal(value.as_bytes(), &about_secret(scope, name)).ok_or(VaultError::Random)?;
        Ok((key.id, sealed))
    }

    /// Opens what [`Vault::seal_secret`] sealed for the same place and name.
    ///
    /// # Errors
    /// If it is from another place, or damaged.
    pub fn open_secret(
        &self,
        scope: &Scope,
        name: &str,
        key: u64,
        sealed: &[u8],
    ) -> Result<String, VaultError> {
        let data = self.data.read();
        let key = data.iter().find(|k| k.id == key && k.purpose == SECRET && k.project == scope.project());
        key.and_then(|k| k.key.open(sealed, &about_secret(scope, name)))
            .and_then(|clear| String::from_utf8(clear).ok())
            .ok_or_else(|| VaultError::Secret { name: name.to_owned(), scope: scope.clone() })
    }

    // -- secrets of a run ----------------------------------------------------------

    /// Encrypts the secrets of a run; no secrets give no bytes.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn seal(&self, run: RunId, secrets: &IndexMap<String, String>) -> Result<Vec<u8>, VaultError> {
        if secrets.is_empty() {
            return Ok(Vec::new());
        }
        let key = self.newest(RUN, "").ok_or(VaultError::Sealed(run))?;
        let clear = serde_json::to_vec(secrets).map_err(|_| VaultError::Sealed(run))?;
        let sealed = key.key.seal(&clear, &about_run(run)).ok_or(VaultError::Random)?;
        Ok([&RUN_FORMAT[..], &key.id.to_be_bytes(), &sealed].concat())
    }

    /// Decrypts what [`Vault::seal`] made for the same run.
    ///
    /// # Errors
    /// If the bytes are not ours.
    pub fn open_secrets(&self, run: RunId, sealed: &[u8]) -> Result<IndexMap<String, String>, VaultError> {
        if sealed.is_empty() {
            return Ok(IndexMap::new());
        }
        let clear = self.open_run(sealed, &about_run(run)).ok_or(VaultError::Sealed(run))?;
        serde_json::from_slice(&clear).map_err(|_| VaultError::Sealed(run))
    }

    // -- what repositories are reached with --------------------------------------------

    /// Encrypts a text for one purpose (`webhook of repository 3`).
    ///
    /// # Errors
    /// If there is no randomness.
    pub(crate) fn seal_text(&self, purpose: &str, text: &str) -> Result<Vec<u8>, VaultError> {
        let key = self.newest(RUN, "").ok_or_else(|| VaultError::Text(purpose.to_owned()))?;
        let sealed = key.key.seal(text.as_bytes(), &about_text(purpose)).ok_or(VaultError::Random)?;
        Ok([&RUN_FORMAT[..], &key.id.to_be_bytes(), &sealed].concat())
    }

    /// Decrypts what [`Vault::seal_text`] made for the same purpose.
    ///
    /// # Errors
    /// If the bytes are not ours.
    pub(crate) fn open_text(&self, purpose: &str, sealed: &[u8]) -> Result<String, VaultError> {
        let clear = self.open_run(sealed, &about_text(purpose));
        clear.and_then(|c| String::from_utf8(c).ok()).ok_or_else(|| VaultError::Text(purpose.to_owned()))
    }

    fn open_run(&self, sealed: &[u8], about: &[u8]) -> Option<Vec<u8>> {
        let data = self.data.read();
        let mut keys = data.iter().filter(|k| k.purpose == RUN);
        let named = sealed.strip_prefix(RUN_FORMAT).and_then(|rest| rest.split_first_chunk::<8>());
        if let Some((id, bytes)) = named
            && let Some(key) = keys.clone().find(|k| k.id == u64::from_be_bytes(*id))
        {
            return key.key.open(bytes, about);
        }
        keys.find_map(|k| k.key.open(sealed, about))
    }

    // -- job tokens ------------------------------------------------------------------

    /// The token of an attempt: names the attempt, and proves that we made it. Epochs are moments, so
    /// that an attempt keeps its token when there is a newer key.
    #[must_use]
    pub fn job_token(&self, attempt: AttemptRef) -> String {
        let epoch = Timestamp(i64::try_from(attempt.epoch.0).unwrap_or(i64::MAX));
        let data = self.data.read();
        let mut keys = data.iter().rev().filter(|k| k.purpose == TOKEN);
        let key = keys.clone().find(|k| k.created_at <= epoch).or_else(|| keys.next_back());
        // Without any key nothing is unlocked yet, and nothing may be let in.
        let key = key.map_or_else(|| random().unwrap_or_default(), |k| k.key.0);
        let mac = blake3::keyed_hash(&key, format!("job-token {attempt}").as_bytes());
        format!("{}{attempt}.{}", TokenKind::Job.prefix(), URL_SAFE_NO_PAD.encode(mac.as_bytes()))
    }

    /// Secret bytes for one purpose, the same for the life of the installation: from its first key.
    #[must_use]
    pub fn derived(&self, purpose: &str) -> [u8; 32] {
        let data = self.data.read();
        let first = data.iter().find(|k| k.purpose == TOKEN);
        // Without any key nothing is unlocked yet, and nothing may be let in.
        let key = first.map_or_else(|| random().unwrap_or_default(), |k| k.key.0);
        *blake3::keyed_hash(&key, format!("derived key for {purpose}").as_bytes()).as_bytes()
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

fn about_text(purpose: &str) -> Vec<u8> {
    format!("fleetfoot {purpose}").into_bytes()
}

fn about_run(run: RunId) -> Vec<u8> {
    format!("fleetfoot run secrets {run}").into_bytes()
}

fn about_key(id: u64, purpose: &str, project: &str) -> Vec<u8> {
    parts(&["fleetfoot data key", &id.to_string(), purpose, project])
}

fn about_secret(scope: &Scope, name: &str) -> Vec<u8> {
    parts(&["fleetfoot secret", scope.word(), scope.project(), &scope.environment_key(), name])
}

/// Each with its length before it, so that no two lists are the same bytes.
fn parts(all: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in all {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// An id that nobody can have used: 62 random bits.
fn random_id() -> Result<u64, VaultError> {
    Ok((u64::from_be_bytes(random()?) >> 2) | 1)
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
mod tests;
