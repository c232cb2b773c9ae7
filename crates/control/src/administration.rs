//! Audit log and backup.

use crate::actor::store_problem;
use crate::{Control, Permission, Principal};
use fleetfoot_model::api::{AuditEntry, Page};
use fleetfoot_model::{Code, Problem};
use serde_json::json;
use std::path::Path;

/// Entries of a page at most.
const MAX_PAGE: usize = 500;

impl Control {
    /// Audit entries, newest first.
    ///
    /// # Errors
    /// `forbidden`, `bad_request` for a cursor that is not ours.
    pub async fn audit(
        &self,
        who: &Principal,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<AuditEntry>, Problem> {
        who.require(Permission::Administer)?;
        let cursor = cursor
            .map(str::parse::<u64>)
            .transpose()
            .map_err(|_| Problem::new(Code::BadRequest, "the cursor is not one that this server gave"))?;
        let limit = limit.clamp(1, MAX_PAGE);
        let mut items = self.inner.store.audit(cursor, limit + 1).await.map_err(|e| store_problem(&e))?;
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = more.then(|| items.last().map(|e| e.id.to_string())).flatten();
        Ok(Page { items, next_cursor })
    }

    /// Online backup to a new file on the server.
    ///
    /// # Errors
    /// `forbidden`, `bad_request` for a path that is not absolute or exists.
    pub async fn backup(&self, who: &Principal, to: &Path) -> Result<(), Problem> {
        who.require(Permission::Administer)?;
        let bad = |detail: String| Problem::new(Code::BadRequest, detail);
        if !to.is_absolute() {
            return Err(bad(format!("{} is not an absolute path", to.display())));
        }
        if to.exists() {
            return Err(bad(format!("{} exists already", to.display())).with_hint("choose a new file"));
        }
        self.inner.store.backup(to).await.map_err(|e| store_problem(&e))?;
        let audit = self.audit_op(who, "backup", &to.display().to_string(), json!({}));
        self.apply(vec![audit]).await
    }
}
