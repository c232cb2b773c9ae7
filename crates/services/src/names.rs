//! Which names of artifacts, files and caches are accepted. What the clients refuse is refused here
//! too, and everything that could reach outside a directory when somebody unpacks it.

use crate::error::{Result, ServiceError};

/// Longest name of an artifact and longest segment of a path, in bytes.
const MAX_NAME: usize = 255;
/// Longest path of a file, in bytes.
const MAX_PATH: usize = 1024;
/// Longest key of a cache, in characters.
const MAX_KEY: usize = 512;
/// Longest version of a cache, in bytes; clients send 64 hexadecimal digits.
const MAX_VERSION: usize = 128;

/// Characters that the clients refuse in paths, because some file system does not take them.
const FORBIDDEN: &[char] = &['"', ':', '<', '>', '|', '*', '?'];

/// Checks the name of an artifact.
///
/// # Errors
/// `Invalid`, with what is wrong.
pub fn artifact_name(name: &str) -> Result<()> {
    segment("artifact name", name)?;
    if name.contains('/') {
        return Err(refused("artifact name", name, "has a '/'"));
    }
    Ok(())
}

/// Checks the path of a file within an artifact.
///
/// # Errors
/// `Invalid`, with what is wrong.
pub fn file_path(path: &str) -> Result<()> {
    let what = "file path";
    if path.len() > MAX_PATH {
        return Err(refused(what, path, "is longer than 1024 bytes"));
    }
    if path.starts_with('/') {
        return Err(refused(what, path, "is absolute"));
    }
    path.split('/').try_for_each(|s| segment(what, s))
}

fn segment(what: &'static str, text: &str) -> Result<()> {
    let lower = text.to_ascii_lowercase();
    let why = if text.is_empty() {
        "is empty or has an empty segment"
    } else if text.len() > MAX_NAME {
        "is longer than 255 bytes"
    } else if text.trim() == "." || text.trim() == ".." {
        "has a segment '.' or '..'"
    } else if text.contains('\\') {
        "has a backslash"
    } else if ["%2f", "%5c", "%2e", "%00", "%25"].iter().any(|e| lower.contains(e)) {
        "has an encoded separator"
    } else if text.chars().any(|c| c.is_control() || FORBIDDEN.contains(&c)) {
        "has a control character or one of \" : < > | * ?"
    } else {
        return Ok(());
    };
    Err(refused(what, text, why))
}

/// Checks the key of a cache, or the beginning of one.
///
/// # Errors
/// `Invalid`, with what is wrong.
pub fn cache_key(key: &str) -> Result<()> {
    let why = if key.is_empty() {
        "is empty"
    } else if key.chars().count() > MAX_KEY {
        "is longer than 512 characters"
    } else if key.contains(',') {
        "has a comma"
    } else if key.chars().any(char::is_control) {
        "has a control character"
    } else {
        return Ok(());
    };
    Err(refused("cache key", key, why))
}

/// Checks the version of a cache.
pub(crate) fn cache_version(version: &str) -> Result<()> {
    let good = !version.is_empty()
        && version.len() <= MAX_VERSION
        && version.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if good { Ok(()) } else { Err(refused("cache version", version, "is not a hash")) }
}

fn refused(what: &str, text: &str, why: &str) -> ServiceError {
    let mut shown: String = text.escape_debug().take(80).collect();
    if text.chars().count() > 80 {
        shown.push('…');
    }
    ServiceError::invalid(format!("the {what} '{shown}' {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        for bad in [
            "",
            ".",
            "..",
            " ..",
            "a/b",
            "/etc/passwd",
            "..\\x",
            "a\\b",
            "a\0b",
            "a\nb",
            "%2e%2e%2f",
            "a%2Fb",
            "a%5cb",
            "a%252fb",
            "a:b",
            "a*",
            "what?",
            "<x>",
            "a|b",
            "\"q\"",
            "a\u{7f}",
        ] {
            assert!(artifact_name(bad).is_err(), "{bad:?}");
        }
        assert!(artifact_name(&"x".repeat(256)).is_err());
        for good in ["dist", "my artifact", "über-1.2_3", "100%", "a..b", "...", "日本"] {
            assert!(artifact_name(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn hostile_paths_are_refused() {
        for bad in [
            "",
            "/a",
            "a//b",
            "a/",
            "../a",
            "a/../b",
            "a/./b",
            "a/..",
            "a\\..\\b",
            "a/%2e%2e/b",
            "a\0",
            "c:/x",
            "a/ .. /b",
        ] {
            assert!(file_path(bad).is_err(), "{bad:?}");
        }
        assert!(file_path(&"a/".repeat(600)).is_err());
        for good in ["a", "a/b c/d.txt", ".hidden/x", "a/..b"] {
            assert!(file_path(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn keys_of_caches() {
        for good in ["a", "Linux-cargo-123", "a/b\\c:*", &"x".repeat(512), &"ü".repeat(512)] {
            assert!(cache_key(good).is_ok(), "{good:?}");
        }
        for bad in ["", "a,b", "a\nb", &"x".repeat(513)] {
            assert!(cache_key(bad).is_err(), "{bad:?}");
        }
        assert!(cache_version("0123abcdef").is_ok());
        assert!(
            cache_version("").is_err() && cache_version("a b").is_err() && cache_version("../x").is_err()
        );
    }
}
