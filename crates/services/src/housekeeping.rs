//! Passes without input, harmless to repeat: what expired, what was never finished, what is beyond a
//! quota, and the objects of all of that.

use crate::error::Result;
use crate::{Services, Shelf};
use fleetfoot_model::time::Timestamp;

/// Entries of one kind that one pass deletes at most.
const BATCH: usize = 500;

/// What a pass deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Artifacts.
    pub artifacts: u64,
    /// Caches.
    pub caches: u64,
}

impl Services {
    /// One pass.
    ///
    /// # Errors
    /// If a store fails; what was deleted stays deleted.
    pub async fn sweep(&self, now: Timestamp) -> Result<Swept> {
        let mut swept = Swept::default();
        let unfinished = now - self.limits.unfinished;
        for id in self.artifacts.store.stale_artifacts(now, unfinished, BATCH).await? {
            swept.artifacts += u64::from(self.artifacts.store.delete_artifact(id).await?);
        }
        let idle = now - self.limits.cache_idle;
        for id in self.caches.store.stale_caches(idle, unfinished, BATCH).await? {
            swept.caches += u64::from(self.caches.store.delete_cache(id).await?);
        }
        swept.caches += self.evict().await?;
        self.sweep_blobs(&self.artifacts).await?;
        self.sweep_blobs(&self.caches).await?;
        Ok(swept)
    }

    /// Deletes the objects of condemned blobs, then their rows: also those that no row names, which an
    /// upload left that was killed between the two.
    pub(crate) async fn sweep_blobs(&self, shelf: &Shelf) -> Result<()> {
        for blob in shelf.store.condemned_blobs(BATCH).await? {
            for object in shelf.objects.list(&format!("blobs/{blob}")).await? {
                shelf.objects.delete(&object.key).await?;
            }
            shelf.store.forget_blob(blob).await?;
        }
        Ok(())
    }
}
