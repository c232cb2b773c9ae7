//! How paths of the host are called inside. One mapping for job containers
//! and actions: the workspace is `/github/workspace`, the temporary directory
//! `/github/runner_temp`, and three of its subdirectories have the names that
//! actions know. Everything else keeps the name that its mount gives it. It
//! must never map a path that is not mounted to one that is.

use fleetfoot_driver::{CellRequest, Mount};
use std::path::{Path, PathBuf};

/// Subdirectories of the temporary directory that actions know by names of their own.
const KNOWN: [(&str, &str); 3] = [
    ("_github_home", "/github/home"),
    ("_github_workflow", "/github/workflow"),
    ("_runner_file_commands", "/github/file_commands"),
];

/// Pairs of host and inside, longest host path first.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    pub(crate) mounts: Vec<Mount>,
}

impl Paths {
    /// The mapping of a request. The known subdirectories are made if they are missing.
    pub(crate) fn new(request: &CellRequest) -> std::io::Result<Self> {
        let at = |host: PathBuf, inside: &str| Mount { host, inside: inside.into(), writable: true };
        let mut mounts = vec![
            at(request.workspace.clone(), "/github/workspace"),
            at(request.temp.clone(), "/github/runner_temp"),
        ];
        for (name, inside) in KNOWN {
            let host = request.temp.join(name);
            std::fs::create_dir_all(&host)?;
            mounts.push(at(host, inside));
        }
        let own: Vec<PathBuf> = mounts.iter().map(|m| m.host.clone()).collect();
        mounts.extend(request.mounts.iter().filter(|m| !own.contains(&m.host)).cloned());
        Ok(Self { mounts })
    }

    pub(crate) fn with(&self, more: &[Mount]) -> Self {
        let mut mounts = self.mounts.clone();
        mounts.extend(more.iter().cloned());
        Self { mounts }
    }

    /// The longest mount that holds the path decides.
    pub(crate) fn inside(&self, host: &Path) -> PathBuf {
        let holding = self.mounts.iter().filter(|m| host.starts_with(&m.host));
        let Some(mount) = holding.max_by_key(|m| m.host.components().count()) else {
            return host.to_path_buf();
        };
        match host.strip_prefix(&mount.host) {
            Ok(rest) if rest.as_os_str().is_empty() => mount.inside.clone(),
            Ok(rest) => mount.inside.join(rest),
            Err(_) => host.to_path_buf(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetfoot_model::ids::{AttemptRef, Epoch, JobId};

    #[test]
    fn the_longest_mount_decides_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let attempt = AttemptRef { job: JobId(1), attempt: 1, epoch: Epoch(1) };
        let (workspace, temp) = (dir.path().join("w"), dir.path().join("t"));
        std::fs::create_dir(&temp).unwrap();
        let mut request = CellRequest::new(attempt, workspace.clone(), temp.clone());
        request.mounts.push(Mount::read_only("/opt/tools"));
        let paths = Paths::new(&request).unwrap();
        let inside = |p: &Path| paths.inside(p).display().to_string();
        assert_eq!(inside(&workspace), "/github/workspace");
        assert_eq!(inside(&workspace.join("a/b")), "/github/workspace/a/b");
        assert_eq!(inside(&temp.join("x.sh")), "/github/runner_temp/x.sh");
        assert_eq!(inside(&temp.join("_runner_file_commands/e")), "/github/file_commands/e");
        assert_eq!(inside(&temp.join("_github_homely")), "/github/runner_temp/_github_homely");
        assert_eq!(inside(Path::new("/opt/tools/x")), "/opt/tools/x");
        assert_eq!(inside(Path::new("/etc/passwd")), "/etc/passwd");
        assert_eq!(inside(&dir.path().join("w2")), dir.path().join("w2").display().to_string());
    }
}
