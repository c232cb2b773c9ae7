//! What workflows a repository has at a ref, and what they take when somebody
//! starts them by hand.

use super::dispatch::find_ref;
use super::process::KIND;
use super::{Trouble, directories};
use crate::{Control, Permission, Principal, Problem};
use fleetfoot_model::observe::{WorkflowList, WorkflowView};
use indexmap::IndexMap;

impl Control {
    /// Workflows of a repository, at a branch, a tag or a full ref; absent means the default branch.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `forge_unreachable`.
    pub async fn workflows(
        &self,
        who: &Principal,
        repository: u64,
        git_ref: Option<&str>,
    ) -> Result<WorkflowList, Problem> {
        who.require(Permission::Read)?;
        let row = self.repository_row(repository).await?;
        let mirror = self.inner.mirror_of(&row)?;
        let lock = self.inner.lock_of(row.id);
        let alone = lock.lock().await;
        mirror.prepare().await.map_err(Trouble::from)?;
        let located = find_ref(&mirror, &row, git_ref).await?;
        let files = mirror.workflows(&located.sha, directories(row.forge)).await.map_err(Trouble::from)?;
        drop(alone);
        let workflows = files
            .into_iter()
            .map(|file| {
                // What it calls does not matter for what it takes.
                match self.inner.documents.parse(KIND, &file.path, &file.text, &IndexMap::new()) {
                    Ok(document) => {
                        let inputs = document.dispatch_inputs();
                        WorkflowView {
                            name: document.name().unwrap_or(&file.path).to_owned(),
                            dispatch: inputs.is_some(),
                            inputs: inputs.unwrap_or_default(),
                            path: file.path,
                            error: None,
                        }
                    }
                    Err(problem) => WorkflowView {
                        name: file.path.clone(),
                        path: file.path,
                        dispatch: false,
                        inputs: Vec::new(),
                        error: Some(problem.detail),
                    },
                }
            })
            .collect();
        Ok(WorkflowList { git_ref: located.git_ref, sha: located.sha, workflows })
    }
}
