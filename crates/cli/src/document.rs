//! Documents on this machine: reading them, telling their kind, and naming
//! them as their repository does. What they mean is for the dialects.

use crate::error::{CliError, Result};
use crate::git::{self, Checkout};
use fleetfoot_model::Source;
use fleetfoot_model::plan::Dialect;
use fleetfoot_workflow::WorkflowDialect;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where GitHub looks for workflows.
const WORKFLOWS: &str = ".github/workflows";
/// The server's own limit is lower; this one only keeps a mistake (a disk image) out of memory.
const LARGEST: u64 = 64 << 20;

/// A document as read.
#[derive(Debug)]
pub(crate) struct DocumentFile {
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Its name in messages: relative to its repository where it is in one.
    pub(crate) name: String,
    /// The checkout that it is in.
    pub(crate) checkout: Option<Checkout>,
}

/// Reads a document; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<DocumentFile> {
    let shown = path.display();
    let unreadable = |e: std::io::Error| {
        let missing = e.kind() == std::io::ErrorKind::NotFound;
        let error = CliError::usage(format!("{shown} cannot be read")).because(&e);
        if missing {
            error.hint("name a workflow or job file, for example .github/workflows/ci.yml")
        } else {
            error
        }
    };
    let mut bytes = Vec::new();
    let mut take =
        |reader: &mut dyn Read| reader.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable);
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let (name, checkout) = if path.as_os_str() == "-" {
        take(&mut std::io::stdin().lock())?;
        ("<stdin>".to_owned(), git::checkout(&here))
    } else {
        if path.is_dir() {
            return Err(CliError::usage(format!("{shown} is a directory")).hint("name the files in it"));
        }
        take(&mut std::fs::File::open(path).map_err(unreadable)?)?;
        let absolute = path.canonicalize().unwrap_or_else(|_| here.join(path));
        let parent = absolute.parent().unwrap_or(&here);
        // Each question costs the start of a git process.
        let checkout =
            git::checkout(parent).or_else(|| if parent == here { None } else { git::checkout(&here) });
        let inside = checkout.as_ref().and_then(|c| absolute.strip_prefix(&c.root).ok());
        (inside.unwrap_or(path).display().to_string(), checkout)
    };
    if bytes.len() as u64 > LARGEST {
        return Err(CliError::usage(format!(
            "{shown} is larger than {} MiB; it is no document",
            LARGEST >> 20
        )));
    }
    Ok(DocumentFile { bytes, name, checkout })
}

/// The files of a directory of workflows, in order of their names.
pub(crate) fn in_directory(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir)
        .map_err(|e| CliError::usage(format!("{} cannot be read", dir.display())).because(&e))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file() && path.extension().is_some_and(|e| e == "yml" || e == "yaml"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(CliError::usage(format!("{} contains no .yml or .yaml files", dir.display())));
    }
    Ok(files)
}

/// The files of `.github/workflows` of the checkout around the current directory.
pub(crate) fn workflows_here() -> Result<Vec<PathBuf>> {
    let plain = Path::new(WORKFLOWS);
    if plain.is_dir() {
        return in_directory(plain);
    }
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    match here.ancestors().map(|d| d.join(WORKFLOWS)).find(|d| d.is_dir()) {
        Some(dir) => in_directory(&dir),
        None => Err(CliError::usage(format!("there is no {WORKFLOWS} here or above"))
            .hint("name a workflow or job file")
            .next("fleetfoot run -W FILE")),
    }
}

impl DocumentFile {
    /// As text. What no server would read is refused here, with the place and words of the dialects.
    pub(crate) fn text(&self) -> Result<String> {
        let text = std::str::from_utf8(&self.bytes);
        if let Ok(text) = text
            && text.len() <= fleetfoot_workflow::MAX_BYTES
        {
            return Ok(text.to_owned());
        }
        match WorkflowDialect.parse(&Source::new(self.name.clone(), self.bytes.clone())) {
            Err(findings) => Err(CliError::findings(findings)),
            Ok(_) => Err(CliError::usage(format!("{} is no document", self.name))),
        }
    }

    /// The kind of the document by its top-level keys: `jobs` makes a workflow, `steps` a plain job.
    pub(crate) fn kind(&self) -> &'static str {
        let has = |key: &[u8]| {
            self.bytes.split(|b| *b == b'\n').any(|line| {
                let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
                let quoted = line.first().is_some_and(|b| matches!(b, b'"' | b'\''));
                let line = &line[usize::from(quoted)..];
                line.strip_prefix(key).is_some_and(|rest| {
                    let rest = &rest[usize::from(quoted).min(rest.len())..];
                    rest.trim_ascii_start().first() == Some(&b':')
                })
            })
        };
        if has(b"steps") && !has(b"jobs") { "job" } else { "workflow" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &[u8]) -> DocumentFile {
        DocumentFile { bytes: text.to_vec(), name: "a.yml".to_owned(), checkout: None }
    }

    #[test]
    fn the_kind_shows_in_the_keys() {
        for (text, kind) in [
            ("on: push\njobs:\n  a:\n    steps: []\n", "workflow"),
            ("name: x\nsteps:\n- run: true\n", "job"),
            ("'steps' :\n- run: true\n", "job"),
            ("jobsteps: 1\n", "workflow"),
            ("", "workflow"),
        ] {
            assert_eq!(document(text.as_bytes()).kind(), kind, "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_located() {
        let error = document(b"a: 1\n\xc3\xa4b\xff\n").text().unwrap_err();
        assert!(error.render(crate::style::Style::PLAIN).contains("a.yml:2:3"));
        let error = document(&vec![b'#'; 10 << 20]).text().unwrap_err();
        let shown = error.render(crate::style::Style::PLAIN);
        assert!(shown.contains("a.yml:1:1: error[too-large]"), "{shown}");
    }
}
