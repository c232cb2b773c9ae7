//! Bytes of artifacts and caches: receiving parts, reading back, digests.
//!
//! A part becomes an object with a name of its own and is written once; only afterwards its row is
//! added, guarded by the state of the blob. So nothing that was sealed can be changed by a late
//! write, and an upload that dies leaves nothing that anybody sees.

use crate::error::{ErrorKind, Result, ServiceError};
use crate::grant::{Access, Grant, Kind};
use crate::running::{LARGEST, Turn};
use crate::{Services, Shelf};
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use fleetfoot_objects::Objects;
use fleetfoot_store::{BlobRow, BlobStatus, Guarded, PartRow, Verified};
use futures_util::stream::{BoxStream, Stream, StreamExt, TryStreamExt};
use parking_lot::Mutex;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that are read at once, and handed out at once.
const PIECE: u64 = 8 << 20;
/// Pieces of one download under way at the same time: the next is read while one is sent.
const AHEAD: usize = 2;
/// The bytes of a request.
pub type Body = BoxStream<'static, io::Result<Bytes>>;

/// A sealed blob, to be read.
#[derive(Clone)]
pub struct Content {
    objects: Objects,
    blob: BlobRow,
    /// Length in bytes.
    pub length: u64,
}

impl Content {
    /// A validator that changes with the content: a sealed blob never does.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("\"{}-{}\"", self.blob.id, self.blob.generation)
    }

    /// The bytes of a range, verified piece by piece; two pieces are in memory at most.
    pub fn stream(&self, range: Range<u64>) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        let objects = self.objects.clone();
        futures_util::stream::iter(pieces(&self.blob, range))
            .map(move |piece| {
                let objects = objects.clone();
                // A task of its own: it reads and verifies on another core while this one sends.
                tokio::spawn(async move {
                    if piece.whole {
                        objects.get(&piece.key).await
                    } else {
                        objects.get_range(&piece.key, piece.range).await
                    }
                })
            })
            .buffered(AHEAD)
            .map(|done| match done {
                Ok(read) => read.map_err(ServiceError::from),
                Err(e) => Err(ServiceError::new(ErrorKind::Internal, format!("reading ended early: {e}"))),
            })
    }
}

struct Piece {
    key: String,
    range: Range<u64>,
    /// It is all of its object.
    whole: bool,
}

/// The pieces of objects that make up a range of a blob.
fn pieces(blob: &BlobRow, range: Range<u64>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut begin = 0;
    for part in blob.committed() {
        let from = range.start.saturating_sub(begin).min(part.size);
        let to = range.end.saturating_sub(begin).min(part.size);
        begin += part.size;
        if from >= to {
            continue;
        }
        let key = object_key(blob.id, &part.object);
        if from == 0 && to == part.size && part.size <= 2 * PIECE {
            pieces.push(Piece { key, range: 0..to, whole: true });
            continue;
        }
        let mut at = from;
        while at < to {
            // At multiples of the piece, so that no MiB is read twice for its checksum.
            let end = to.min((at / PIECE + 1) * PIECE);
            pieces.push(Piece { key: key.clone(), range: at..end, whole: false });
            at = end;
        }
    }
    pieces
}

fn object_key(blob: u64, object: &str) -> String {
    format!("blobs/{blob}/{object}")
}

impl Services {
    pub(crate) fn shelf(&self, kind: Kind) -> &Shelf {
        match kind {
            Kind::Artifact => &self.artifacts,
            Kind::Cache => &self.caches,
        }
    }

    /// Receives one block, the whole content, or a part at an offset.
    async fn receive(&self, grant: &Grant, block: String, place: Place, body: Body) -> Result<u64> {
        let shelf = self.shelf(grant.kind);
        let blob = open(shelf, grant).await?;
        let room = self.room(shelf, &blob, &block, place.length).await?;
        let object = random_name()?;
        let key = object_key(grant.blob, &object);
        let (body, exceeded) = bounded(body, room);
        // Only blocks of artifacts: caches have no digest to compare.
        let small = grant.kind == Kind::Artifact && place.position.is_none();
        let turn = small.then(|| self.running.begin(grant.kind, grant.blob)).flatten();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keeps = turn.is_some() && place.length.is_some_and(|l| l <= LARGEST);
        let body = if keeps { keeping(body, Arc::clone(&kept)) } else { body };
        let stored = match shelf.objects.put_stream(&key, body).await {
            Ok(stored) => stored.length,
            Err(_) if exceeded.load(Ordering::Relaxed) > room => return Err(self.over(room)),
            Err(e) => return Err(e.into()),
        };
        let part = PartRow { object: object.clone(), block, position: place.position, size: stored };
        let fits = place.length.is_none_or(|length| length == stored);
        let staged = match fits {
            true => shelf.store.stage_part(grant.blob, part).await?,
            false => Guarded::Refused,
        };
        match staged {
            Guarded::Done(replaced) => {
                // A turn that is dropped here is one that does not fit.
                if let Some(turn) = turn.filter(|_| keeps && replaced.is_none()) {
                    let pieces = std::mem::take(&mut *kept.lock());
                    hash(turn, object, pieces).await;
                }
                if let Some(old) = replaced {
                    forget(shelf, grant.blob, &old).await;
                }
                Ok(stored)
            }
            Guarded::Refused => {
                let _ = shelf.objects.delete(&key).await;
                Err(if fits {
                    ServiceError::conflict("this is complete already and does not change any more")
                } else {
                    ServiceError::invalid("the body is not as long as its range")
                })
            }
        }
    }

    /// Bytes that a part may have.
    async fn room(&self, shelf: &Shelf, blob: &BlobRow, block: &str, length: Option<u64>) -> Result<u64> {
        let others: u64 = blob.parts.iter().filter(|p| p.block != block).map(|p| p.size).sum();
        let used = shelf.store.project_bytes(&blob.project).await?;
        let mine = self.limits.blob_bytes.saturating_sub(others);
        let room = mine.min(self.limits.project_bytes.saturating_sub(used));
        if length.unwrap_or(1) > room { Err(self.over(room)) } else { Ok(room) }
    }

    fn over(&self, room: u64) -> ServiceError {
        // The clients know the word "insufficient usage" and do not try again.
        ServiceError::new(
            ErrorKind::Quota,
            format!("insufficient usage: the quota of the project leaves {room} bytes for this part"),
        )
    }

    /// Receives a block of a block blob; it is staged until the list of blocks names it.
    ///
    /// # Errors
    /// `Conflict` if the blob is sealed, `Quota`, or what the store says.
    pub async fn put_block(&self, grant: &Grant, block: &str, length: Option<u64>, body: Body) -> Result<()> {
        let place = Place { position: None, length };
        self.receive(grant, format!("={block}"), place, body).await.map(drop)
    }

    /// Makes these blocks the content.
    ///
    /// # Errors
    /// `Invalid` if one of them is not there, `Conflict` if the blob is sealed.
    pub async fn put_block_list(&self, grant: &Grant, blocks: Vec<String>) -> Result<()> {
        let shelf = self.shelf(grant.kind);
        open(shelf, grant).await?;
        let blocks = blocks.into_iter().map(|b| format!("={b}")).collect();
        self.commit(shelf, grant.blob, blocks).await
    }

    async fn commit(&self, shelf: &Shelf, blob: u64, blocks: Vec<String>) -> Result<()> {
        let dropped = shelf.store.commit_parts(blob, blocks).await?;
        let dropped = dropped
            .done()
            .ok_or_else(|| ServiceError::invalid("the list names a block that was not sent, or one twice"))?;
        for object in dropped {
            forget(shelf, blob, &object).await;
        }
        Ok(())
    }

    /// Receives the whole content at once.
    ///
    /// # Errors
    /// As [`Services::put_block`].
    pub async fn put_whole(&self, grant: &Grant, length: Option<u64>, body: Body) -> Result<()> {
        let whole = "@whole".to_owned();
        self.receive(grant, whole.clone(), Place { position: None, length }, body).await?;
        self.commit(self.shelf(grant.kind), grant.blob, vec![whole]).await
    }

    /// Begins anew, with nothing.
    ///
    /// # Errors
    /// As [`Services::put_block`].
    pub async fn create_append(&self, grant: &Grant) -> Result<()> {
        let shelf = self.shelf(grant.kind);
        open(shelf, grant).await?;
        self.commit(shelf, grant.blob, Vec::new()).await
    }

    /// Receives bytes for the end.
    ///
    /// # Errors
    /// As [`Services::put_block`].
    pub async fn append(&self, grant: &Grant, length: Option<u64>, body: Body) -> Result<()> {
        let end = open(self.shelf(grant.kind), grant).await?.length();
        let place = Place { position: Some(end), length };
        self.receive(grant, format!("@{end}"), place, body).await.map(drop)
    }

    /// Receives the bytes of a range, in any order; whether they join is looked at in the end.
    ///
    /// # Errors
    /// As [`Services::put_block`], `Invalid` if the body is not as long as the range.
    pub(crate) async fn put_range(&self, grant: &Grant, range: Range<u64>, body: Body) -> Result<()> {
        if range.end > self.limits.blob_bytes {
            return Err(self.over(self.limits.blob_bytes));
        }
        let place = Place { position: Some(range.start), length: Some(range.end - range.start) };
        self.receive(grant, format!("@{}", range.start), place, body).await.map(drop)
    }

    /// A sealed blob.
    ///
    /// # Errors
    /// `Missing` if there is none.
    pub async fn content(&self, grant: &Grant) -> Result<Content> {
        self.content_of(grant.kind, grant.blob).await
    }

    pub(crate) async fn content_of(&self, kind: Kind, id: u64) -> Result<Content> {
        let shelf = self.shelf(kind);
        let blob = shelf.store.blob(id).await?.filter(|b| b.status == BlobStatus::Sealed);
        let blob = blob.ok_or_else(|| ServiceError::missing("there is no such blob"))?;
        Ok(Content { objects: shelf.objects.clone(), length: blob.length(), blob })
    }

    /// Reads an open blob as it is now: its length, and its SHA-256 if that is wanted. Fails unless its
    /// parts join and have `size` bytes together.
    pub(crate) async fn verify(
        &self,
        kind: Kind,
        id: u64,
        size: u64,
        hash: bool,
    ) -> Result<(Verified, [u8; 32])> {
        let shelf = self.shelf(kind);
        let blob = shelf.store.blob(id).await?.filter(|b| b.status == BlobStatus::Open);
        let blob = blob.ok_or_else(|| ServiceError::conflict("this is complete already"))?;
        if !joins(&blob) {
            return Err(ServiceError::invalid("the parts leave a gap or overlap"));
        }
        let length = blob.length();
        if length != size {
            return Err(ServiceError::invalid(format!("{length} bytes arrived and not {size}")));
        }
        let verified = Verified { blob: id, generation: blob.generation, size };
        let content = Content { objects: shelf.objects.clone(), length, blob };
        let objects = content.blob.committed().map(|p| p.object.as_str());
        let digest = match self.running.digest(kind, id, objects) {
            _ if !hash => [0; 32],
            Some(digest) => digest,
            None => sha256(&content).await?,
        };
        Ok((verified, digest))
    }
}

/// Where a part goes, and how long it has to be.
#[derive(Clone, Copy)]
struct Place {
    position: Option<u64>,
    length: Option<u64>,
}

/// Parts at offsets must follow each other without a gap; blocks have a place, not an offset.
fn joins(blob: &BlobRow) -> bool {
    let mut end = 0;
    blob.committed().all(|part| {
        let fits = !part.block.starts_with('@') || part.block == "@whole" || part.position == Some(end);
        end += part.size;
        fits
    })
}

async fn open(shelf: &Shelf, grant: &Grant) -> Result<BlobRow> {
    let blob = shelf.store.blob(grant.blob).await?;
    let blob = blob.filter(|b| b.status != BlobStatus::Condemned && b.attempt == grant.attempt);
    let blob = blob.ok_or_else(|| ServiceError::missing("there is no such blob"))?;
    if blob.status == BlobStatus::Sealed || grant.access == Access::Read {
        return Err(ServiceError::conflict("this is complete already and does not change any more"));
    }
    Ok(blob)
}

/// Deletes an object that nothing refers to; what stays is deleted with its blob.
async fn forget(shelf: &Shelf, blob: u64, object: &str) {
    if let Err(e) = shelf.objects.delete(&object_key(blob, object)).await {
        tracing::warn!(blob, object, error = %e, "cannot delete a replaced part");
    }
}

async fn sha256(content: &Content) -> Result<[u8; 32]> {
    let mut stream = std::pin::pin!(content.stream(0..content.length));
    let mut context = Context::new(&SHA256);
    while let Some(bytes) = stream.try_next().await? {
        let hashed = tokio::task::spawn_blocking(move || {
            context.update(&bytes);
            context
        });
        context = hashed
            .await
            .map_err(|e| ServiceError::new(ErrorKind::Internal, format!("hashing ended early: {e}")))?;
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    Ok(out)
}

/// A body that fails behind `limit` bytes, and how many came.
fn bounded(body: Body, limit: u64) -> (Body, Arc<AtomicU64>) {
    let seen = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&seen);
    let body = body.map(move |piece| {
        let piece = piece?;
        let so_far = counter.fetch_add(piece.len() as u64, Ordering::Relaxed) + piece.len() as u64;
        if so_far > limit { Err(io::Error::other("the body is too long")) } else { Ok(piece) }
    });
    (body.boxed(), seen)
}

/// A body of which the pieces are kept.
fn keeping(body: Body, kept: Arc<Mutex<Vec<Bytes>>>) -> Body {
    body.inspect(move |piece| {
        if let Ok(piece) = piece {
            kept.lock().push(piece.clone());
        }
    })
    .boxed()
}

/// Hashes a block that was stored, when it is its turn.
async fn hash(turn: Turn, object: String, pieces: Vec<Bytes>) {
    let hashing = tokio::task::spawn_blocking(move || turn.done(object, pieces));
    // Without it the bytes are read again in the end.
    let _ = hashing.await;
}

/// A name that no other object has.
fn random_name() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|_| ServiceError::new(ErrorKind::Internal, "the operating system gave no random bytes"))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetfoot_model::ids::{AttemptRef, Epoch, JobId};

    fn blob(sizes: &[u64]) -> BlobRow {
        let parts = sizes.iter().zip(0_u64..);
        BlobRow {
            id: 1,
            project: String::new(),
            attempt: AttemptRef { job: JobId(1), attempt: 1, epoch: Epoch(9) },
            status: BlobStatus::Sealed,
            generation: 0,
            parts: parts
                .map(|(size, i)| PartRow {
                    object: format!("o{i}"),
                    block: format!("=b{i}"),
                    position: Some(i),
                    size: *size,
                })
                .collect(),
        }
    }

    #[test]
    fn a_range_is_made_of_pieces() {
        let show = |sizes: &[u64], range| {
            let all = pieces(&blob(sizes), range);
            all.iter().map(|p| format!("{}:{:?}:{}", &p.key[8..], p.range, p.whole)).collect::<Vec<_>>()
        };
        assert_eq!(show(&[5, 0, 7], 0..12), ["o0:0..5:true", "o2:0..7:true"]);
        assert_eq!(show(&[5, 7], 3..6), ["o0:3..5:false", "o1:0..1:false"]);
        assert!(show(&[5], 5..5).is_empty());
        let large = 3 * PIECE;
        let parts = show(&[large], 1..large);
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[1], format!("o0:{}..{}:false", PIECE, 2 * PIECE));
    }

    #[test]
    fn parts_at_offsets_join() {
        let with = |parts: &[(&str, u64, u64)]| {
            let mut blob = blob(&[]);
            blob.parts = parts
                .iter()
                .map(|(block, position, size)| PartRow {
                    object: String::new(),
                    block: (*block).to_owned(),
                    position: Some(*position),
                    size: *size,
                })
                .collect();
            joins(&blob)
        };
        assert!(with(&[("@0", 0, 4), ("@4", 4, 2)]));
        assert!(!with(&[("@0", 0, 4), ("@5", 5, 2)]));
        assert!(!with(&[("@0", 0, 4), ("@3", 3, 2)]));
        assert!(!with(&[("@4", 4, 2)]));
        assert!(with(&[("=a", 0, 4), ("=b", 1, 2)]));
    }
}
