//! Signed addresses of blobs: which blob, for whom, for what and until when. An address says all of
//! that itself, so that nothing is stored; it is no good for anything that it does not say.

use crate::error::{ErrorKind, Result, ServiceError};
use crate::token::Keys;
use fleetfoot_model::ids::AttemptRef;
use fleetfoot_model::time::Timestamp;
use std::collections::HashMap;
use std::time::Duration;

/// Life of an address for reading.
const READ_LIFE: Duration = Duration::from_secs(600);
/// Life of an address for writing; it also ends with its attempt.
const WRITE_LIFE: Duration = Duration::from_secs(24 * 3600);

/// What an address allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading a sealed blob.
    Read,
    /// Writing an open one.
    Write,
}

/// Which shelf a blob stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Artifact,
    Cache,
}

/// What a signed address says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub(crate) kind: Kind,
    pub(crate) blob: u64,
    /// For whom it was made: it is no good when that attempt is over.
    pub attempt: AttemptRef,
    /// What it allows.
    pub access: Access,
    expires: i64,
    /// Media type of the answer.
    pub media_type: String,
    /// File name of the answer.
    pub name: String,
}

impl Grant {
    pub(crate) fn read(kind: Kind, blob: u64, attempt: AttemptRef, now: Timestamp) -> Self {
        Self::new(kind, blob, attempt, Access::Read, now + READ_LIFE)
    }

    pub(crate) fn write(kind: Kind, blob: u64, attempt: AttemptRef, now: Timestamp) -> Self {
        Self::new(kind, blob, attempt, Access::Write, now + WRITE_LIFE)
    }

    fn new(kind: Kind, blob: u64, attempt: AttemptRef, access: Access, until: Timestamp) -> Self {
        let (media_type, name) = ("application/octet-stream".to_owned(), String::new());
        Self { kind, blob, attempt, access, expires: until.0 / 1_000_000, media_type, name }
    }

    pub(crate) fn named(mut self, media_type: &str, name: String) -> Self {
        self.media_type = media_type.to_owned();
        self.name = name;
        self
    }

    fn fields(&self) -> [(&'static str, String); 6] {
        let kind = if self.kind == Kind::Artifact { "artifact" } else { "cache" };
        let access = if self.access == Access::Read { "r" } else { "w" };
        [
            ("of", kind.to_owned()),
            ("op", access.to_owned()),
            ("by", self.attempt.to_string()),
            ("exp", self.expires.to_string()),
            ("rsct", self.media_type.clone()),
            ("rscn", self.name.clone()),
        ]
    }

    /// What is signed: no field can hold a line break.
    fn text(&self) -> String {
        let mut text = format!("{}", self.blob);
        for (name, value) in self.fields() {
            text.push_str(&format!("\n{name}={value}"));
        }
        text
    }

    /// The address below `base`, which ends with a slash.
    pub(crate) fn url(&self, keys: &Keys, base: &str) -> String {
        let mut url = format!("{base}_services/blobs/{}?", self.blob);
        for (name, value) in self.fields() {
            url.push_str(&format!("{name}={}&", encode(&value)));
        }
        url + "sig=" + &keys.sign(&self.text())
    }

    /// Reads an address back.
    ///
    /// # Errors
    /// `Denied` if we did not make it or its time is over.
    pub fn parse(keys: &Keys, blob: u64, query: &HashMap<String, String>, now: Timestamp) -> Result<Self> {
        let bad = || ServiceError::new(ErrorKind::Denied, "the address is not signed by this server");
        let get = |name: &str| query.get(name).map(String::as_str).ok_or_else(bad);
        let grant = Self {
            kind: match get("of")? {
                "artifact" => Kind::Artifact,
                "cache" => Kind::Cache,
                _ => return Err(bad()),
            },
            blob,
            attempt: get("by")?.parse().map_err(|_| bad())?,
            access: match get("op")? {
                "r" => Access::Read,
                "w" => Access::Write,
                _ => return Err(bad()),
            },
            expires: get("exp")?.parse().map_err(|_| bad())?,
            media_type: get("rsct")?.to_owned(),
            name: get("rscn")?.to_owned(),
        };
        if grant.media_type.contains('\n')
            || grant.name.contains('\n')
            || !keys.signed(&grant.text(), get("sig")?)
        {
            return Err(bad());
        }
        if grant.expires <= now.0 / 1_000_000 {
            return Err(ServiceError::new(ErrorKind::Denied, "the address has expired"));
        }
        Ok(grant)
    }
}

/// Percent-encodes everything but unreserved characters.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetfoot_model::ids::{Epoch, JobId};

    const NOW: Timestamp = Timestamp(1_000_000_000_000);

    fn grant() -> Grant {
        let attempt = AttemptRef { job: JobId(1), attempt: 1, epoch: Epoch(9) };
        Grant::read(Kind::Artifact, 7, attempt, NOW).named("application/zip", "a b&c=ü.zip".to_owned())
    }

    fn query(url: &str) -> HashMap<String, String> {
        let (_, query) = url.split_once('?').unwrap();
        query.split('&').map(|p| p.split_once('=').unwrap()).map(|(k, v)| (k.to_owned(), decode(v))).collect()
    }

    fn decode(text: &str) -> String {
        let mut out = Vec::new();
        let mut bytes = text.bytes();
        while let Some(b) = bytes.next() {
            let mut hex = || char::from(bytes.next().unwrap()).to_digit(16).unwrap() as u8;
            out.push(if b == b'%' { hex() * 16 + hex() } else { b });
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn addresses_are_ours_for_a_while_and_for_one_thing() {
        let keys = Keys::derive(&[3; 32]);
        let url = grant().url(&keys, "http://127.0.0.1:1/");
        assert!(
            url.starts_with("http://127.0.0.1:1/_services/blobs/7?of=artifact&op=r&by=1.1.9&exp="),
            "{url}"
        );
        let good = query(&url);
        assert_eq!(Grant::parse(&keys, 7, &good, NOW).unwrap(), grant());
        assert!(Grant::parse(&keys, 8, &good, NOW).is_err(), "another blob");
        assert!(Grant::parse(&keys, 7, &good, NOW + READ_LIFE).is_err(), "expired");
        assert!(Grant::parse(&Keys::derive(&[4; 32]), 7, &good, NOW).is_err(), "another server");
        for name in ["of", "op", "by", "exp", "rsct", "rscn", "sig"] {
            let mut bent = good.clone();
            let value = match name {
                "of" => "cache",
                "op" => "w",
                "by" => "1.1.10",
                "exp" => "9999999999",
                _ => "x",
            };
            bent.insert(name.to_owned(), value.to_owned());
            assert!(Grant::parse(&keys, 7, &bent, NOW).is_err(), "{name}");
            bent.remove(name);
            assert!(Grant::parse(&keys, 7, &bent, NOW).is_err(), "without {name}");
        }
    }
}
