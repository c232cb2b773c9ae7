//! The context of a build: the files below its directory that `.dockerignore`
//! leaves, packed by `tar`. It must never send anything from outside, also not
//! through a link.

use fleetfoot_driver::{DriverError, DriverErrorKind};
use globset::{GlobBuilder, GlobMatcher};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Packs the files of the context that `.dockerignore` leaves into a file without a name, at its beginning.
/// Links go in as links.
pub(super) async fn pack(
    context: &Path,
    dockerfile: &str,
    below: &Path,
) -> Result<std::fs::File, DriverError> {
    let text = std::fs::read_to_string(context.join(format!("{dockerfile}.dockerignore")))
        .or_else(|_| std::fs::read_to_string(context.join(".dockerignore")))
        .unwrap_or_default();
    let rules = Rules::parse(&text);
    let mut list = Vec::new();
    walk(context, Path::new(""), &rules, dockerfile, &mut list)
        .map_err(|e| DriverError::io(format!("cannot read the context '{}'", context.display()), e))?;
    let failed = |e| DriverError::io("cannot pack the context of the build", e);
    // The list is in a file, so that nobody has to write and read at the same time.
    let names = rustix::fs::memfd_create("names", rustix::fs::MemfdFlags::CLOEXEC);
    let mut names = std::fs::File::from(names.map_err(|e| failed(e.into()))?);
    names.write_all(&list).and_then(|()| names.rewind()).map_err(failed)?;
    let mut packed = nameless(below).map_err(failed)?;
    let tar = tokio::process::Command::new("tar")
        .args(["--create", "--directory"])
        .arg(context)
        .args(["--no-recursion", "--null", "--verbatim-files-from", "--files-from=-"])
        .stdin(Stdio::from(names))
        .stdout(Stdio::from(packed.try_clone().map_err(failed)?))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| {
            DriverError::io(
                "cannot start tar, which packs the context of a build; next: apt-get install tar",
                e,
            )
        })?;
    let done = tar.wait_with_output().await.map_err(failed)?;
    // 1 means that a file changed while it was read.
    if !matches!(done.status.code(), Some(0 | 1)) {
        let said = String::from_utf8_lossy(&done.stderr).lines().last().unwrap_or_default().to_owned();
        let kind =
            if said.contains("No space left") { DriverErrorKind::DiskFull } else { DriverErrorKind::Other };
        return Err(DriverError::new(kind, format!("cannot pack the context of the build: {said}")));
    }
    packed.rewind().map_err(failed)?;
    Ok(packed)
}

/// A file on disk that is gone with its last descriptor.
fn nameless(below: &Path) -> std::io::Result<std::fs::File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open(below, flags, Mode::RUSR | Mode::WUSR)?.into())
}

fn walk(
    root: &Path,
    below: &Path,
    rules: &Rules,
    dockerfile: &str,
    list: &mut Vec<u8>,
) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let mut entries: Vec<_> = std::fs::read_dir(root.join(below))?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = below.join(entry.file_name());
        let kind = entry.file_type()?;
        let kept = !rules.ignores(&path) || path.as_os_str() == dockerfile;
        // Sockets, pipes and devices are nothing that an image could have.
        if kept && (kind.is_file() || kind.is_dir() || kind.is_symlink()) {
            list.extend_from_slice(b"./");
            list.extend_from_slice(path.as_os_str().as_bytes());
            list.push(0);
        }
        if kind.is_dir() && (kept || rules.has_exceptions || Path::new(dockerfile).starts_with(&path)) {
            walk(root, &path, rules, dockerfile, list)?;
        }
    }
    Ok(())
}

/// `.dockerignore`: the last rule that fits decides; a rule for a directory holds for all below.
struct Rules {
    rules: Vec<(GlobMatcher, bool)>,
    has_exceptions: bool,
}

impl Rules {
    fn parse(text: &str) -> Self {
        let mut rules = Vec::new();
        for line in text.trim_start_matches('\u{feff}').lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (pattern, ignore) = match line.strip_prefix('!') {
                Some(rest) => (rest.trim(), false),
                None => (line, true),
            };
            let parts: PathBuf = Path::new(pattern)
                .components()
                .filter(|c| matches!(c, std::path::Component::Normal(_)))
                .collect();
            let glob = GlobBuilder::new(&parts.to_string_lossy()).literal_separator(true).build();
            rules.extend(glob.ok().map(|g| (g.compile_matcher(), ignore)));
        }
        let has_exceptions = rules.iter().any(|(_, ignore)| !ignore);
        Self { rules, has_exceptions }
    }

    fn ignores(&self, path: &Path) -> bool {
        let fits =
            |rule: &GlobMatcher| path.ancestors().any(|p| !p.as_os_str().is_empty() && rule.is_match(p));
        self.rules.iter().rev().find(|(rule, _)| fits(rule)).is_some_and(|(_, ignore)| *ignore)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_fits_decides() {
        let rules = Rules::parse("# comment\n*.md\n!README.md\n/target/\n**/node_modules\nsecret*/\n");
        let ignored = |p: &str| rules.ignores(Path::new(p));
        assert!(
            ignored("a.md")
                && ignored("target/x/y")
                && ignored("node_modules/a")
                && ignored("x/node_modules")
        );
        assert!(ignored("secrets/key"));
        assert!(!ignored("README.md") && !ignored("sub/a.md") && !ignored("src/target"));
    }
}
