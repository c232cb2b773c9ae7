//! `hashFiles(...)`: one SHA-256 over the SHA-256 of every matching file of
//! the workspace, in order of their paths. It must never read outside the
//! workspace.

use globset::{GlobBuilder, GlobMatcher};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The longest that hashing may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// The hash in hexadecimal, or an empty text if no file matches. `inside` is what the job calls the workspace.
///
/// # Errors
/// A bad pattern, an unreadable file, or too many files for the time allowed.
pub(crate) fn hash_files(workspace: &Path, inside: &Path, patterns: &[String]) -> Result<String, String> {
    let mut follow = false;
    let mut matchers: Vec<(bool, GlobMatcher)> = Vec::new();
    for line in patterns.iter().flat_map(|p| p.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "--follow-symbolic-links" {
            follow = true;
            continue;
        }
        let (wanted, pattern) = match line.strip_prefix('!') {
            Some(rest) => (false, rest.trim()),
            None => (true, line),
        };
        let relative = Path::new(pattern).strip_prefix(inside).map_or_else(
            |_| pattern.trim_start_matches("./").to_owned(),
            |p| p.to_string_lossy().into_owned(),
        );
        // A directory stands for everything in it.
        for glob in [relative.clone(), format!("{}/**", relative.trim_end_matches('/'))] {
            let glob = GlobBuilder::new(&glob)
                .literal_separator(true)
                .build()
                .map_err(|e| format!("'{pattern}' is not a pattern: {}", e.kind()))?;
            matchers.push((wanted, glob.compile_matcher()));
        }
    }
    if !matchers.iter().any(|(wanted, _)| *wanted) {
        return Err("hashFiles needs at least one pattern".into());
    }
    let started = Instant::now();
    let mut found = Vec::new();
    walk(workspace, follow, &mut |relative| {
        // The last pattern that matches decides.
        let matched =
            matchers.iter().rev().find(|(_, m)| m.is_match(relative)).is_some_and(|(wanted, _)| *wanted);
        if matched {
            found.push(relative.to_path_buf());
        }
        started.elapsed() < DEADLINE
    })?;
    if found.is_empty() {
        return Ok(String::new());
    }
    found.sort();
    let mut all = Sha256::new();
    for relative in found {
        if started.elapsed() > DEADLINE {
            return Err(format!("hashing took longer than {} seconds", DEADLINE.as_secs()));
        }
        let mut one = Sha256::new();
        fs::File::open(workspace.join(&relative))
            .and_then(|mut file| io::copy(&mut file, &mut one))
            .map_err(|e| format!("cannot read '{}': {e}", relative.display()))?;
        all.update(one.finalize());
    }
    let mut hex = String::with_capacity(64);
    for byte in all.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(hex)
}

/// Visits every regular file by its path below `root`, until `visit` says no.
fn walk(root: &Path, follow: bool, visit: &mut dyn FnMut(&Path) -> bool) -> Result<(), String> {
    let mut directories = vec![PathBuf::new()];
    while let Some(relative) = directories.pop() {
        let Ok(entries) = fs::read_dir(root.join(&relative)) else { continue };
        for entry in entries.filter_map(Result::ok) {
            let path = relative.join(entry.file_name());
            let Ok(mut kind) = entry.file_type() else { continue };
            if kind.is_symlink() {
                let target = fs::canonicalize(root.join(&path)).ok();
                let inside = target.as_ref().is_some_and(|t| t.starts_with(root));
                match target.filter(|_| follow && inside).and_then(|t| fs::metadata(t).ok()) {
                    // Links to directories are not followed: they may form a circle.
                    Some(meta) if meta.is_file() => kind = meta.file_type(),
                    _ => continue,
                }
            }
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_file() && !visit(&path) {
                return Err(format!("hashing took longer than {} seconds", DEADLINE.as_secs()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_hashes_in_order_of_paths() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("b.lock", "b");
        write("sub/a.lock", "a");
        write("sub/skip.lock", "x");
        let hash = |patterns: &[&str]| {
            hash_files(dir.path(), dir.path(), &patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>())
        };
        let digest = |bytes: &[u8]| Sha256::digest(bytes);
        let mut expected = Sha256::new();
        expected.update(digest(b"b"));
        expected.update(digest(b"a"));
        let expected: String = expected.finalize().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hash(&["**/*.lock", "!**/skip.lock"]).unwrap(), expected);
        assert_eq!(hash(&["**/*.lock\n!sub/skip.lock"]).unwrap(), expected);
        assert_eq!(hash(&["sub", "!sub/skip.lock"]).unwrap(), hash(&["sub/a.lock"]).unwrap());
        assert_eq!(hash(&["*.none"]).unwrap(), "");
        assert!(hash(&["[z-a]"]).is_err());
        assert!(hash(&["!x"]).is_err());
    }
}
