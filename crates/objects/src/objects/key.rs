//! Keys of objects: `segment/segment/…`. Checked before they become a path,
//! so that no key reaches outside the store.

use crate::ObjectError;
use object_store::path::Path;

/// Longest key in bytes (the limit of S3).
const MAX_KEY: usize = 1024;
/// Longest segment in bytes: a file name with room for a temporary suffix.
const MAX_SEGMENT: usize = 240;

/// The part of every path that the configuration names.
#[derive(Clone, Debug)]
pub(super) struct Prefix(Path);

impl Prefix {
    pub(super) fn parse(text: &str) -> Result<Self, ObjectError> {
        let text = text.trim_matches('/');
        if text.is_empty() {
            return Ok(Self(Path::default()));
        }
        check(text).map(Self)
    }

    /// The path of `key` in the store.
    pub(super) fn path(&self, key: &str) -> Result<Path, ObjectError> {
        Ok(self.join(&check(key)?))
    }

    /// Like [`Prefix::path`], for a listing: everything if empty.
    pub(super) fn listing(&self, prefix: &str) -> Result<Path, ObjectError> {
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if prefix.is_empty() { Ok(self.0.clone()) } else { self.path(prefix) }
    }

    fn join(&self, key: &Path) -> Path {
        self.0.parts().chain(key.parts()).collect()
    }

    /// The key of a listed path.
    pub(super) fn key(&self, path: &Path) -> Option<String> {
        let rest: Path = path.prefix_match(&self.0)?.collect();
        Some(rest.as_ref().to_owned())
    }
}

fn check(key: &str) -> Result<Path, ObjectError> {
    let bad = |reason| ObjectError::BadKey { key: key.to_owned(), reason };
    if key.is_empty() {
        return Err(bad("it is empty"));
    }
    if key.len() > MAX_KEY {
        return Err(bad("it is longer than 1024 bytes"));
    }
    for segment in key.split('/') {
        match segment {
            "" => return Err(bad("it has an empty segment")),
            "." | ".." => return Err(bad("it has a segment '.' or '..'")),
            _ if segment.len() > MAX_SEGMENT => return Err(bad("it has a segment of more than 240 bytes")),
            _ => {}
        }
    }
    // '#' marks the temporary files of the local store; '%' would make two spellings of one key.
    if key.chars().any(|c| c.is_control() || matches!(c, '\\' | '#' | '%')) {
        return Err(bad("it has a control character, a backslash, a '#' or a '%'"));
    }
    Path::parse(key).map_err(|_| bad("it has a character that needs encoding"))
}
