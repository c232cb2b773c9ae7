//! Data keys between vault and store: unlocking at start, a key for a project
//! that gets its first secret, and the rotation of the master key while
//! everything goes on.

use crate::actor::store_problem;
use crate::vault::{Vault, VaultError};
use crate::{Control, Permission, Principal};
use fleetfoot_model::projects::KeyRotated;
use fleetfoot_model::{Code, Problem, Timestamp};
use fleetfoot_store::Store;
use serde_json::json;
use std::time::Duration;
use tracing::{info, warn};

/// Data keys wrapped in one transaction.
const BATCH: usize = 100;
/// New data keys count from this far in the future, so that they are known by then.
const AHEAD: Duration = Duration::from_secs(5);

pub(crate) fn vault_problem(e: &VaultError) -> Problem {
    Problem::new(Code::Internal, e.to_string())
}

/// Opens the data keys, makes those that are missing, and ends a rotation that was interrupted.
pub(crate) async fn unlock(vault: &Vault, store: &dyn Store, now: Timestamp) -> Result<(), Problem> {
    let fail = |e| store_problem(&e);
    let rows = store.data_keys().await.map_err(fail)?;
    let strange = vault.unlock(&rows).map_err(|e| vault_problem(&e))?;
    if !strange.is_empty() {
        warn!(
            master_keys = strange.join(", "),
            "secret.key does not hold the key with which the database was sealed: stored secrets cannot be read; \
             put back the key file that belongs to this database, or set them again"
        );
    }
    let missing = vault.missing(now).map_err(|e| vault_problem(&e))?;
    if !missing.is_empty() {
        store.add_data_keys(missing).await.map_err(fail)?;
        reload(vault, store).await?;
    }
    if vault.is_rotating() {
        let wrapped = wrap_all(vault, store).await?;
        info!(data_keys = wrapped, "ended the rotation of the master key that was interrupted");
    }
    Ok(())
}

async fn reload(vault: &Vault, store: &dyn Store) -> Result<(), Problem> {
    let rows = store.data_keys().await.map_err(|e| store_problem(&e))?;
    vault.unlock(&rows).map(drop).map_err(|e| vault_problem(&e))
}

/// Wraps what the old master key seals, and lets go of it when there is nothing left.
async fn wrap_all(vault: &Vault, store: &dyn Store) -> Result<u64, Problem> {
    let mut wrapped = 0;
    loop {
        let rows = store.data_keys().await.map_err(|e| store_problem(&e))?;
        let mut changed = vault.rewrap(&rows).map_err(|e| vault_problem(&e))?;
        if changed.is_empty() {
            break;
        }
        changed.truncate(BATCH);
        wrapped += changed.len() as u64;
        store.wrap_data_keys(changed).await.map_err(|e| store_problem(&e))?;
    }
    vault.finish_rotation().map_err(|e| vault_problem(&e))?;
    Ok(wrapped)
}

impl Control {
    /// Makes sure that the secrets of a project have a data key.
    pub(crate) async fn data_key(&self, project: &str) -> Result<(), Problem> {
        let _one = self.inner.keys.lock().await;
        let (vault, store) = (&self.inner.vault, &*self.inner.store);
        let missing = vault.missing_for(project, self.inner.clock.wall()).map_err(|e| vault_problem(&e))?;
        if let Some(row) = missing {
            store.add_data_keys(vec![row]).await.map_err(|e| store_problem(&e))?;
            reload(vault, store).await?;
        }
        Ok(())
    }

    /// Replaces the master key: every data key is sealed with a new one, and whatever is sealed from
    /// now on gets new data keys. Killed on the way, the next start goes on with it.
    ///
    /// # Errors
    /// `forbidden`; `internal` if the key file cannot be written.
    pub async fn rotate_key(&self, who: &Principal) -> Result<KeyRotated, Problem> {
        who.require(Permission::Administer)?;
        let _one = self.inner.keys.lock().await;
        let (vault, store) = (&self.inner.vault, &*self.inner.store);
        vault.begin_rotation().map_err(|e| vault_problem(&e))?;
        let epoch = store.high_water().await.map_err(|e| store_problem(&e))?.epoch;
        let epoch = Timestamp(i64::try_from(epoch).unwrap_or(i64::MAX));
        let from = self.inner.clock.wall().max(epoch) + AHEAD;
        let fresh = vault.successors(from).map_err(|e| vault_problem(&e))?;
        store.add_data_keys(fresh).await.map_err(|e| store_problem(&e))?;
        reload(vault, store).await?;
        let data_keys = wrap_all(vault, store).await?;
        let master_key = vault.master();
        let detail = json!({ "master_key": master_key, "data_keys": data_keys });
        self.apply(vec![self.audit_op(who, "secret.rotate_key", "key", detail)]).await?;
        info!(data_keys, "the master key was rotated");
        Ok(KeyRotated { master_key, data_keys })
    }
}
