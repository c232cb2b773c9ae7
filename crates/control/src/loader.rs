//! Documents that another document calls: what a request brought along is used
//! as it is; what lies in other repositories is asked from a [`WorkflowLoader`].
//! What was found goes with the run, so that nothing is ever asked again for it:
//! a restart and a re-run see the same text.

use crate::Inner;
use async_trait::async_trait;
use fleetfoot_model::plan::Document;
use fleetfoot_model::{Code, Problem};
use futures_util::future::try_join_all;
use indexmap::IndexMap;
use std::sync::Arc;
use std::time::Duration;

/// Documents that may come with one request.
const MAX_FILES: usize = 100;
/// How long a loader may take for what one document calls directly.
const PATIENCE: Duration = Duration::from_secs(120);
/// Rounds of asking: every round goes one level deeper.
const MAX_ROUNDS: usize = 20;

/// Finds documents in other repositories.
#[async_trait]
pub trait WorkflowLoader: Send + Sync + std::fmt::Debug {
    /// The text of `OWNER/REPO/PATH@REF`.
    ///
    /// # Errors
    /// A problem that says what could not be had, for whoever submits.
    async fn load(&self, reference: &str) -> Result<String, Problem>;
}

/// Parses a document with all that it calls, and adds to `files` what had to be found.
pub(crate) async fn parse(
    inner: &Inner,
    kind: &str,
    path: &str,
    text: &str,
    files: &mut IndexMap<String, String>,
) -> Result<Arc<dyn Document>, Problem> {
    if files.len() > MAX_FILES {
        return Err(Problem::new(Code::BadRequest, format!("a run takes at most {MAX_FILES} files")));
    }
    for _ in 0..MAX_ROUNDS {
        let document = inner.documents.parse(kind, path, text, files)?;
        let missing = document.missing();
        if missing.is_empty() {
            return Ok(document);
        }
        files.extend(find(inner, path, missing).await?);
    }
    Err(Problem::new(Code::BadDocument, format!("{path} calls documents without an end")))
}

async fn find(inner: &Inner, path: &str, missing: Vec<String>) -> Result<Vec<(String, String)>, Problem> {
    if let Some(local) = missing.iter().find(|reference| reference.starts_with("./")) {
        return Err(Problem::new(
            Code::BadDocument,
            format!("{path} calls {local}, which was not sent along"),
        )
        .with_hint("send its text in `files`, under the reference as written; fleetfoot submit does that"));
    }
    let Some(loader) = &inner.options.loader else {
        let first = missing.first().map_or("", String::as_str);
        return Err(Problem::new(
            Code::BadDocument,
            format!("{path} calls {first}, and there is nothing here that could fetch it"),
        )
        .with_hint("send its text in `files`, under the reference as written"));
    };
    let loads = missing.into_iter().map(|reference| async move {
        let text = loader.load(&reference).await?;
        Ok::<_, Problem>((reference, text))
    });
    match tokio::time::timeout(PATIENCE, try_join_all(loads)).await {
        Ok(found) => found,
        Err(_) => Err(Problem::new(
            Code::BadDocument,
            format!("what {path} calls was not found within {} s", PATIENCE.as_secs()),
        )
        .with_hint("try again, or look whether the repositories can be reached from the server")),
    }
}
