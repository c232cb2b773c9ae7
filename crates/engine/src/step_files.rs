//! The files of one step through which it speaks to the runner, fresh for
//! every step and read once when it has ended.

use crate::envfile::{self, EnvFileError};
use crate::held::HeldDir;
use crate::workspace::Workspace;
use std::io;
use std::path::{Path, PathBuf};

/// Largest step summary, bytes.
const MAX_SUMMARY: u64 = 1 << 20;

/// Variable, stem of the file name.
const FILES: [(&str, &str); 5] = [
    ("GITHUB_ENV", "set_env"),
    ("GITHUB_OUTPUT", "set_output"),
    ("GITHUB_PATH", "add_path"),
    ("GITHUB_STATE", "save_state"),
    ("GITHUB_STEP_SUMMARY", "step_summary"),
];

/// The files of one step.
#[derive(Debug)]
pub(crate) struct StepFiles {
    names: [String; 5],
    paths: [PathBuf; 5],
    held: HeldDir,
}

/// What a step wrote.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) env: Vec<(String, String)>,
    pub(crate) outputs: Vec<(String, String)>,
    pub(crate) state: Vec<(String, String)>,
    pub(crate) paths: Vec<String>,
    pub(crate) summary: Option<String>,
    /// The first file that could not be used makes the step fail.
    pub(crate) error: Option<String>,
    /// Worth a warning, nothing more.
    pub(crate) warning: Option<String>,
}

impl StepFiles {
    /// Makes the files, empty: tools look whether they exist before they write.
    pub(crate) fn create(workspace: &Workspace, key: &str) -> io::Result<Self> {
        let files = Self::named(workspace, key);
        for name in &files.names {
            files.held.write(name, b"", 0o666)?;
        }
        Ok(files)
    }

    /// The files of the step with this key, whether they exist or not.
    pub(crate) fn named(workspace: &Workspace, key: &str) -> Self {
        let names = FILES.map(|(_, stem)| format!("{stem}_{key}"));
        let paths = names.each_ref().map(|name| workspace.files.join(name));
        Self { names, paths, held: workspace.held_files.clone() }
    }

    /// The variables that name the files.
    pub(crate) fn variables(
        &self,
        inside: &dyn Fn(&Path) -> PathBuf,
    ) -> impl Iterator<Item = (String, String)> {
        FILES
            .iter()
            .zip(&self.paths)
            .map(move |((name, _), path)| ((*name).to_owned(), inside(path).to_string_lossy().into_owned()))
    }

    /// Reads what the step wrote; empty files cost one look each.
    pub(crate) fn read(&self) -> Written {
        let mut written = Written::default();
        let [env, output, path, state, summary] = &self.names;
        let content = |name: &str, limit: u64| Ok::<_, ReadError>(self.held.read(name, limit)?);
        let pairs =
            |file: &str, name: &str, error: &mut Option<String>| match content(file, envfile::MAX_FILE)
                .and_then(|b| Ok(envfile::parse_pairs(&b)?))
            {
                Ok(pairs) => pairs,
                Err(e) => {
                    error.get_or_insert_with(|| format!("cannot use the file ${name}: {e}"));
                    Vec::new()
                }
            };
        written.env = pairs(env, "GITHUB_ENV", &mut written.error);
        written.outputs = pairs(output, "GITHUB_OUTPUT", &mut written.error);
        written.state = pairs(state, "GITHUB_STATE", &mut written.error);
        match content(path, envfile::MAX_FILE).and_then(|b| Ok(envfile::parse_paths(&b)?)) {
            Ok(paths) => written.paths = paths,
            Err(e) => {
                written.error.get_or_insert_with(|| format!("cannot use the file $GITHUB_PATH: {e}"));
            }
        }
        match content(summary, MAX_SUMMARY) {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => written.summary = Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(e) => written.warning = Some(format!("the step summary is left out: {e}")),
        }
        written
    }
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Format(#[from] EnvFileError),
    #[error("{0}")]
    Io(#[from] io::Error),
}
