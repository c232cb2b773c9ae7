//! The keys: the master key in its file, the data keys that it seals, and the
//! change of the master key. A key is never written in clear but to the key
//! file, and a file that rows still need is never removed.
//!
//! **Rotation.** The new master key is written to `secret.key.next` and flushed
//! before anything is sealed with it. Rows are then sealed again, each naming
//! the master key by its fingerprint, so that either file may be needed at any
//! moment and both are there. When no row needs the old one, the new file
//! takes its name, which is one atomic step. Whoever finds both files at start
//! goes on where the other stopped.

use super::{NONCE, VaultError, random};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Name of the key file.
pub(super) const FILE: &str = "secret.key";
/// Name of the file with the master key that takes over.
pub(super) const NEXT: &str = "secret.key.next";

/// 32 secret bytes.
#[derive(Clone)]
pub(super) struct Key(pub(super) [u8; 32]);

impl Key {
    pub(super) fn random() -> Result<Self, VaultError> {
        random().map(Self)
    }

    /// Tells keys apart without telling anything about them.
    pub(super) fn fingerprint(&self) -> [u8; 8] {
        let hash = blake3::derive_key("fleetfoot 2026 fingerprint of a master key", &self.0);
        let mut short = [0; 8];
        short.copy_from_slice(&hash[..8]);
        short
    }

    /// Nonce and sealed bytes; `None` without randomness.
    pub(super) fn seal(&self, clear: &[u8], about: &[u8]) -> Option<Vec<u8>> {
        let nonce: [u8; NONCE] = random().ok()?;
        let sealed = XChaCha20Poly1305::new(&self.0.into())
            .encrypt(&XNonce::from(nonce), Payload { msg: clear, aad: about })
            .ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    /// What [`seal`](Self::seal) sealed about the same thing.
    pub(super) fn open(&self, sealed: &[u8], about: &[u8]) -> Option<Vec<u8>> {
        let (nonce, bytes) = sealed.split_at_checked(NONCE)?;
        let nonce: [u8; NONCE] = nonce.try_into().ok()?;
        XChaCha20Poly1305::new(&self.0.into())
            .decrypt(&XNonce::from(nonce), Payload { msg: bytes, aad: about })
            .ok()
    }
}

/// The key files of a data directory.
pub(super) struct KeyFiles {
    dir: PathBuf,
}

impl KeyFiles {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The master key; made on first use, and then `true`.
    pub(super) fn current(&self) -> Result<(Key, bool), VaultError> {
        if let Some(key) = self.read(FILE)? {
            return Ok((key, false));
        }
        if self.dir.join(NEXT).exists() {
            return Err(VaultError::BadKey(self.dir.join(FILE).display().to_string()));
        }
        let key = Key::random()?;
        self.write(FILE, &key)?;
        Ok((key, true))
    }

    /// The master key that takes over, if a rotation was begun.
    pub(super) fn next(&self) -> Result<Option<Key>, VaultError> {
        self.read(NEXT)
    }

    pub(super) fn write_next(&self, key: &Key) -> Result<(), VaultError> {
        self.write(NEXT, key)
    }

    /// The new key file takes the place of the old one.
    pub(super) fn take_over(&self) -> Result<(), VaultError> {
        let done = std::fs::rename(self.dir.join(NEXT), self.dir.join(FILE)).and_then(|()| self.flush());
        done.map_err(|e| self.failed(FILE, e))
    }

    fn read(&self, name: &str) -> Result<Option<Key>, VaultError> {
        let path = self.dir.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => match bytes.try_into() {
                Ok(key) => Ok(Some(Key(key))),
                Err(_) => Err(VaultError::BadKey(path.display().to_string())),
            },
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.failed(name, e)),
        }
    }

    /// All of it or nothing, also if the machine stops: under another name first.
    fn write(&self, name: &str, key: &Key) -> Result<(), VaultError> {
        let (path, draft) = (self.dir.join(name), self.dir.join(format!("{name}.draft")));
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&draft)?;
            file.write_all(&key.0)?;
            file.sync_all()?;
            std::fs::rename(&draft, &path)?;
            self.flush()
        };
        write().map_err(|e| self.failed(name, e))
    }

    fn flush(&self) -> std::io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn failed(&self, name: &str, source: std::io::Error) -> VaultError {
        VaultError::KeyFile { path: self.dir.join(name).display().to_string(), source }
    }
}
