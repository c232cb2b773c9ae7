//! Building from a `Dockerfile`, with the context that it may see. The build
//! runs in the engine, in the network of the attempt; its steps are fenced off
//! by the engine's own defaults, with the CPUs of the job, and its memory if that is below
//! 2 GiB (the client cannot say more); its
//! limit of processes does not hold for them, engines have no word for that in
//! a build. It must never send
//! anything from outside the context, also not through a link.

use super::{credentials, describe, look};
use crate::config::Network;
use crate::error;
use crate::group::ContainerGroup;
use crate::names;
use bollard::query_parameters::BuildImageOptionsBuilder;
use bytes::Bytes;
use fleetfoot_driver::containers::Image;
use fleetfoot_driver::{DriverError, DriverErrorKind};
use fleetfoot_model::spec::Limits;
use futures_util::{StreamExt, TryStreamExt};
use globset::{GlobBuilder, GlobMatcher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio_util::io::ReaderStream;

pub(super) async fn build(
    group: &ContainerGroup,
    context: &Path,
    dockerfile: &Path,
) -> Result<Image, DriverError> {
    let outside = || {
        let message = format!("the Dockerfile '{}' is not inside its context", dockerfile.display());
        DriverError::new(DriverErrorKind::Invalid, message)
    };
    let file = context.join(dockerfile);
    let real = |p: &Path| {
        std::fs::canonicalize(p).map_err(|e| DriverError::io(format!("cannot read '{}'", p.display()), e))
    };
    let (context, file) = (real(context)?, real(&file)?);
    let inside = file.strip_prefix(&context).map_err(|_| outside())?;
    let inside = inside.to_str().ok_or_else(outside)?.to_owned();
    let mut tar = pack(&context, &inside)?;
    let Some(stdout) = tar.stdout.take() else {
        return Err(DriverError::new(DriverErrorKind::Other, "cannot read the packed context"));
    };
    group.network_is_there().await?;
    let result = send(group, stdout, &inside).await;
    // It ended with its output; with an error it may still have some.
    let _ = tar.start_kill();
    let _ = tar.wait().await;
    let id = result?;
    let found = look(group, &id).await?.ok_or_else(|| {
        DriverError::new(DriverErrorKind::NotFound, "the image was built, but the engine does not have it")
    })?;
    Ok(describe(found, &format!("Dockerfile:{inside}"), &id))
}

async fn send(
    group: &ContainerGroup,
    tar: tokio::process::ChildStdout,
    dockerfile: &str,
) -> Result<String, DriverError> {
    let client = &group.shared.client;
    let labels = names::labels(&group.shared.tag, group.request.cell.attempt, "image");
    let tag =
        format!("fleetfoot-{}:{}", group.shared.next(), fleetfoot_driver::containers::Group::network(group))
            .to_ascii_lowercase();
    // The tag of an image: repository in small letters, and the attempt.
    let tag = tag
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.:".contains(c) { c } else { '-' })
        .collect::<String>();
    let network = match group.shared.options.network {
        Network::None => "none".to_owned(),
        _ => fleetfoot_driver::containers::Group::network(group),
    };
    let options = BuildImageOptionsBuilder::new()
        .dockerfile(dockerfile)
        .t(&tag)
        .rm(true)
        .forcerm(true)
        .labels(&labels)
        .networkmode(&network);
    let options = limited(options, &group.request.cell.limits).build();
    let body = ReaderStream::new(tar).map_ok(Bytes::from);
    let (known, troubles) = credentials::all(&group.shared.options).await;
    for why in troubles {
        (group.request.notes)(&format!("some registries are asked without credentials: {why}"));
    }
    let mut stream = client.docker.build_image(options, Some(known), Some(bollard::body_try_stream(body)));
    let mut line = String::new();
    let mut id = None;
    while let Some(step) = stream.next().await {
        let step = step.map_err(|e| failed(group, &e))?;
        if let Some(error) = step.error_detail.and_then(|d| d.message) {
            return Err(failed(group, &bollard::errors::Error::DockerStreamError { error }));
        }
        id = step.aux.and_then(|a| a.id).or(id);
        line.push_str(step.stream.as_deref().unwrap_or_default());
        while let Some((first, rest)) = line.split_once('\n') {
            if !first.trim().is_empty() {
                (group.request.notes)(first.trim_end());
            }
            line = rest.to_owned();
        }
    }
    // Podman does not tell the id in a field; the tag is only ours.
    Ok(id.unwrap_or(tag))
}

/// The limits that a build can have.
fn limited(options: BuildImageOptionsBuilder, limits: &Limits) -> BuildImageOptionsBuilder {
    /// Microseconds in which a quota is used up.
    const PERIOD: i32 = 100_000;
    let mut options = options;
    if let Some(bytes) = limits.memory_bytes {
        // The client of the engine cannot say more than 2 GiB; a lower limit than the job's would be wrong.
        if let Ok(bytes) = i32::try_from(bytes) {
            options = options.memory(bytes).memswap(bytes);
        }
    }
    if let Some(cpus) = limits.cpus {
        #[expect(clippy::cast_possible_truncation, reason = "CPUs are few, and rounding is fine")]
        let quota = (cpus * f64::from(PERIOD)).round() as i32;
        options = options.cpuperiod(PERIOD).cpuquota(quota.max(1000));
    }
    options
}

fn failed(group: &ContainerGroup, e: &bollard::errors::Error) -> DriverError {
    let error = error::engine(&group.shared.client.endpoint, "build the image of the action", e);
    let missing = ["pull access denied", "manifest unknown", "not found: manifest"]
        .iter()
        .any(|w| error.message.contains(w));
    let kind = if missing { DriverErrorKind::NotFound } else { error.kind };
    DriverError { kind, ..error }
}

/// Packs the files of the context that `.dockerignore` leaves. Links go in as links.
fn pack(context: &Path, dockerfile: &str) -> Result<tokio::process::Child, DriverError> {
    let text = std::fs::read_to_string(context.join(format!("{dockerfile}.dockerignore")))
        .or_else(|_| std::fs::read_to_string(context.join(".dockerignore")))
        .unwrap_or_default();
    let rules = Rules::parse(&text);
    let mut list = Vec::new();
    walk(context, Path::new(""), &rules, dockerfile, &mut list)
        .map_err(|e| DriverError::io(format!("cannot read the context '{}'", context.display()), e))?;
    let failed = |e| DriverError::io("cannot pack the context of the build", e);
    // The list is in a file, so that nobody has to write and read at the same time.
    let mut names = tempfile_in(&std::env::temp_dir()).map_err(failed)?;
    names.write_all(&list).map_err(failed)?;
    std::io::Seek::rewind(&mut names).map_err(failed)?;
    tokio::process::Command::new("tar")
        .args(["--create", "--directory"])
        .arg(context)
        .args(["--no-recursion", "--null", "--verbatim-files-from", "--files-from=-"])
        .stdin(Stdio::from(names))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| {
            DriverError::io(
                "cannot start tar, which packs the context of a build; next: apt-get install tar",
                e,
            )
        })
}

/// A file without a name.
fn tempfile_in(_dir: &Path) -> std::io::Result<std::fs::File> {
    let fd = rustix::fs::memfd_create("context", rustix::fs::MemfdFlags::CLOEXEC)?;
    Ok(fd.into())
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
