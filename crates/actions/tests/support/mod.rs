//! A forge made of directories, and a git that a test can interfere with.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use fleetfoot_actions::{ActionCache, CacheConfig, RemoteReference};
use fleetfoot_testkit::GitRepository;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Working trees, a mirror made of them, and a cache directory.
pub(crate) struct Forge {
    pub(crate) dir: TempDir,
}

impl Forge {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn mirror(&self) -> PathBuf {
        self.path("mirror")
    }

    pub(crate) fn cache_dir(&self) -> PathBuf {
        self.path("cache")
    }

    /// A repository with an action at its root and one in `sub`.
    pub(crate) fn repository(&self, name: &str) -> GitRepository {
        let repository = GitRepository::new(self.path("work").join(name));
        repository.write("action.yml", &format!("name: {name}\nruns: {{using: node20, main: index.js}}\n"));
        repository.write("index.js", "console.log('main')\n");
        repository.write("sub/action.yml", "name: sub\nruns: {using: node20, main: ../index.js}\n");
        repository
    }

    /// Puts the repository, as it is now, into the mirror.
    pub(crate) fn publish(&self, name: &str, repository: &GitRepository) -> PathBuf {
        let target = self.mirror().join(format!("{name}.git"));
        if target.exists() {
            std::fs::remove_dir_all(&target).unwrap();
        }
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        let to = target.to_str().unwrap();
        repository.git(&["clone", "--quiet", "--mirror", repository.path().to_str().unwrap(), to]);
        target
    }

    pub(crate) fn config(&self) -> CacheConfig {
        CacheConfig {
            mirror: Some(self.mirror().to_str().unwrap().to_owned()),
            ..CacheConfig::new(self.cache_dir())
        }
    }

    pub(crate) fn cache(&self) -> ActionCache {
        ActionCache::new(self.config())
    }

    /// A `git` that runs these lines of shell first; `$real` is the true one. Answers a PATH that has it.
    pub(crate) fn false_git(&self, lines: &str) -> (String, String) {
        let path = std::env::var("PATH").unwrap();
        let real = std::env::split_paths(&path).map(|p| p.join("git")).find(|p| p.is_file()).unwrap();
        let bin = self.path("bin");
        std::fs::create_dir_all(&bin).unwrap();
        let script = format!("#!/bin/sh\nreal='{}'\n{lines}\nexec \"$real\" \"$@\"\n", real.display());
        std::fs::write(bin.join("git"), script).unwrap();
        std::fs::set_permissions(bin.join("git"), std::fs::Permissions::from_mode(0o755)).unwrap();
        ("PATH".to_owned(), format!("{}:{path}", bin.display()))
    }
}

pub(crate) fn reference(text: &str) -> RemoteReference {
    RemoteReference::parse(text).unwrap()
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What is in `.tmp` of a cache, except what living caches of this process have there.
pub(crate) fn leftovers(cache: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(cache.join(".tmp")).unwrap().map(|e| e.unwrap().path()).collect()
}
