//! Workflows that another one calls, from the checkout around it. Reads only
//! below the root of the checkout, and asks no other repository.

use crate::document::DocumentFile;
use crate::error::{CliError, Result};
use fleetfoot_model::Source;
use fleetfoot_workflow::WorkflowDocument;
use indexmap::IndexMap;
use std::path::{Path, PathBuf};

/// The root to which `./` in a call refers: of the checkout; without one, the directory that has
/// `.github`; failing that, the current one.
pub(crate) fn root(file: &DocumentFile, path: &Path) -> PathBuf {
    if let Some(checkout) = &file.checkout {
        return checkout.root.clone();
    }
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let absolute = path.canonicalize().unwrap_or_else(|_| here.join(path));
    let above = absolute.ancestors().find(|dir| dir.file_name().is_some_and(|name| name == ".github"));
    above.and_then(Path::parent).map_or(here, Path::to_owned)
}

/// The texts of all local workflows that a document calls, directly or through others, by reference.
/// A document with errors calls nothing: its errors are told by whoever uses it.
pub(crate) fn local(file: &DocumentFile, path: &Path) -> Result<IndexMap<String, String>> {
    gather(file, path, Err)
}

/// The same without those that cannot be read.
pub(crate) fn readable(file: &DocumentFile, path: &Path) -> IndexMap<String, String> {
    gather(file, path, |_| Ok(())).unwrap_or_default()
}

fn gather(
    file: &DocumentFile,
    path: &Path,
    wrong: impl Fn(CliError) -> Result<()>,
) -> Result<IndexMap<String, String>> {
    let mut files = IndexMap::new();
    if file.kind() != "workflow" || !mentions_calls(&file.bytes) {
        return Ok(files);
    }
    let source = Source::new(file.name.clone(), file.bytes.clone());
    let root = root(file, path);
    loop {
        let Ok(document) = WorkflowDocument::parse_with(&source, &files) else { return Ok(files) };
        let missing = fleetfoot_model::plan::Document::missing(&document);
        let before = files.len();
        for reference in missing.into_iter().filter(|r| r.starts_with("./")) {
            match read(&root, &reference, &file.name) {
                Ok(text) => drop(files.insert(reference, text)),
                Err(error) => wrong(error)?,
            }
        }
        if files.len() == before {
            return Ok(files);
        }
    }
}

fn read(root: &Path, reference: &str, caller: &str) -> Result<String> {
    let path = root.join(reference.trim_start_matches("./"));
    let wrong = |e: &(dyn std::error::Error + 'static)| {
        CliError::usage(format!("{caller} calls {reference}, which cannot be read"))
            .because(e)
            .hint(format!("it is looked for as {}", path.display()))
    };
    let inside = path.canonicalize().map_err(|e| wrong(&e))?;
    // A link must not carry files of this machine to a server.
    if !root.canonicalize().is_ok_and(|root| inside.starts_with(root)) {
        return Err(CliError::usage(format!(
            "{caller} calls {reference}, which is a link out of the checkout"
        )));
    }
    let bytes = std::fs::read(&inside).map_err(|e| wrong(&e))?;
    String::from_utf8(bytes).map_err(|e| wrong(&e))
}

/// Parsing twice costs more than this look.
fn mentions_calls(bytes: &[u8]) -> bool {
    let needle = b"uses";
    bytes.windows(needle.len()).any(|window| window == needle)
        && bytes.windows(4).any(|window| window == b".yml" || window == b"yaml")
}
