//! Blobs by key over the `object_store` crate. Adds what artifacts and caches
//! need and that crate leaves open: checked keys, a seal behind every object
//! so that no wrong byte is ever answered, durable local writes, retention.
//! It never interprets a payload.

mod config;
mod key;
mod seal;
mod stream;

pub use config::ObjectsConfig;
pub use stream::ObjectStream;

use crate::{Digest, ObjectError};
use bytes::{Bytes, BytesMut};
use fleetfoot_model::Timestamp;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use futures_util::{Stream, pin_mut};
use key::Prefix;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};
use seal::{BLOCK, Seal, Sealer, payload_length};
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Larger payloads are uploaded in parts of this many bytes.
const PART: usize = 8 << 20;
/// Parts of one upload under way at the same time.
const PARALLEL_PARTS: usize = 4;

/// What is known about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Length of the payload in bytes.
    pub length: u64,
    /// BLAKE3 of the payload.
    pub digest: Digest,
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// Its key.
    pub key: String,
    /// Length of the payload in bytes.
    pub length: u64,
    /// When it was stored, by the clock of the store.
    pub modified: Timestamp,
}

/// What a sweep deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Objects or logs.
    pub count: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A store of blobs by key. Cheap to clone.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Prefix,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Objects").field(&self.store.to_string()).finish()
    }
}

impl Objects {
    fn new(store: Arc<dyn ObjectStore>, prefix: Prefix) -> Self {
        Self { store, prefix }
    }

    /// Writes, reads and deletes a small object, to find out early whether the
    /// configuration works.
    ///
    /// # Errors
    /// If any of the three fails.
    pub async fn check(&self) -> Result<(), ObjectError> {
        let key = "fleetfoot-check";
        self.put(key, Bytes::from_static(b"check")).await?;
        self.get(key).await?;
        self.delete(key).await
    }

    /// Stores `body` under `key`, replacing what was there. Durable when it returns.
    ///
    /// # Errors
    /// If the key is bad or the store fails; the old object is unharmed then.
    pub async fn put(&self, key: &str, body: Bytes) -> Result<ObjectInfo, ObjectError> {
        self.put_stream(key, futures_util::stream::iter([Ok(body)])).await
    }

    /// Stores a stream of unknown length under `key`. If the stream fails,
    /// nothing is stored.
    ///
    /// # Errors
    /// If the key is bad, the stream fails or the store fails; the old object is unharmed then.
    pub async fn put_stream<S>(&self, key: &str, body: S) -> Result<ObjectInfo, ObjectError>
    where
        S: Stream<Item = io::Result<Bytes>> + Send,
    {
        let path = self.prefix.path(key)?;
        let remote = |e| ObjectError::remote("storing", key, e);
        let failed = |e| ObjectError::io(format!("receiving object {key:?}"), e);
        let mut sealer = Sealer::new();
        let (mut head, mut held) = (Vec::new(), 0);
        pin_mut!(body);
        let large = loop {
            let Some(piece) = body.next().await else { break false };
            let piece = piece.map_err(failed)?;
            sealer.update(&piece);
            held += piece.len();
            head.push(piece);
            if held > PART {
                break true;
            }
        };
        if !large {
            let (seal, digest, length) = sealer.finish();
            head.push(seal.into());
            self.store.put(&path, PutPayload::from_iter(head)).await.map_err(remote)?;
            return Ok(ObjectInfo { key: key.to_owned(), length, digest });
        }
        let upload = self.store.put_multipart(&path).await.map_err(remote)?;
        let mut upload = Upload(Some(WriteMultipart::new_with_chunk_size(upload, PART)));
        for piece in head {
            upload.send(piece).await.map_err(remote)?;
        }
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(failed)?;
            sealer.update(&piece);
            upload.send(piece).await.map_err(remote)?;
        }
        let (seal, digest, length) = sealer.finish();
        upload.send(seal.into()).await.map_err(remote)?;
        upload.finish().await.map_err(remote)?;
        Ok(ObjectInfo { key: key.to_owned(), length, digest })
    }

    /// The whole payload, verified. For objects that fit into memory; see
    /// [`Objects::stream`] for the others.
    ///
    /// # Errors
    /// If the object is missing or corrupt, or the store fails.
    pub async fn get(&self, key: &str) -> Result<Bytes, ObjectError> {
        let path = self.prefix.path(key)?;
        let remote = |e| ObjectError::remote("reading", key, e);
        let found = self.store.get(&path).await.map_err(remote)?;
        let size = found.meta.size;
        let mut bytes = found.bytes().await.map_err(remote)?;
        let length = payload_length(size).unwrap_or(0);
        let corrupt = |why: &str| corrupt(key, why);
        let split = usize::try_from(length).unwrap_or(usize::MAX);
        if bytes.len() as u64 != size || split > bytes.len() {
            return Err(corrupt("it ended early"));
        }
        let seal = Seal::parse(size, &bytes.split_off(split)).map_err(corrupt)?;
        if Digest::of(&bytes) != seal.digest {
            return Err(corrupt("its digest differs"));
        }
        Ok(bytes)
    }

    /// Bytes `range` of the payload; every MiB it touches is verified.
    ///
    /// # Errors
    /// If the range lies outside, the object is missing or corrupt, or the store fails.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, ObjectError> {
        let (meta, seal) = self.seal(key).await?;
        let Range { start, end } = range;
        if start > end || end > seal.length {
            return Err(ObjectError::BadRange {
                what: format!("object {key:?}"),
                start,
                end,
                length: seal.length,
            });
        }
        if start == end {
            return Ok(Bytes::new());
        }
        let first = start / BLOCK;
        let covering = first * BLOCK..(end.div_ceil(BLOCK) * BLOCK).min(seal.length);
        let bytes = self.bytes_at(key, &meta, covering.clone()).await?;
        for (block, index) in bytes.chunks(BLOCK as usize).zip(first..) {
            if !seal.block_matches(index, block) {
                return Err(corrupt(key, "a block fails its checksum"));
            }
        }
        let from = (start - covering.start) as usize;
        Ok(bytes.slice(from..from + (end - start) as usize))
    }

    /// Streams the payload. Every piece is verified before it is handed out.
    ///
    /// # Errors
    /// If the object is missing or corrupt, or the store fails.
    pub async fn stream(&self, key: &str) -> Result<ObjectStream, ObjectError> {
        let (meta, seal) = self.seal(key).await?;
        let options = pinned(&meta).with_range(Some(0..seal.length.max(1)));
        let found = self.store.get_opts(&meta.location, options).await;
        let found = found.map_err(|e| ObjectError::remote("reading", key, e))?;
        Ok(ObjectStream::new(key, found.into_stream(), seal))
    }

    /// Length and digest.
    ///
    /// # Errors
    /// If the object is missing or its seal is corrupt, or the store fails.
    pub async fn head(&self, key: &str) -> Result<ObjectInfo, ObjectError> {
        let (_, seal) = self.seal(key).await?;
        Ok(ObjectInfo { key: key.to_owned(), length: seal.length, digest: seal.digest })
    }

    /// Deletes the object; a missing one is no error.
    ///
    /// # Errors
    /// If the key is bad or the store fails.
    pub async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        let path = self.prefix.path(key)?;
        match self.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(ObjectError::remote("deleting", key, e)),
        }
    }

    /// The objects whose keys begin with the whole segments of `prefix` (all
    /// if it is empty), in no particular order.
    ///
    /// # Errors
    /// If the prefix is bad or the store fails.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ListEntry>, ObjectError> {
        self.list_stream(prefix)?.try_collect().await
    }

    /// Like [`Objects::list`], without holding all of it in memory.
    ///
    /// # Errors
    /// If the prefix is bad; the items carry the store's errors.
    pub fn list_stream(
        &self,
        prefix: &str,
    ) -> Result<BoxStream<'static, Result<ListEntry, ObjectError>>, ObjectError> {
        let path = self.prefix.listing(prefix)?;
        let (named, root) = (prefix.to_owned(), self.prefix.clone());
        let listed = self.store.list(Some(&path)).filter_map(move |found| {
            let entry = match found {
                Ok(meta) => root.key(&meta.location).map(|key| {
                    let modified = Timestamp(meta.last_modified.timestamp_micros());
                    Ok(ListEntry { key, length: payload_length(meta.size).unwrap_or(0), modified })
                }),
                Err(e) => Some(Err(ObjectError::remote("listing", &named, e))),
            };
            std::future::ready(entry)
        });
        Ok(listed.boxed())
    }

    /// Deletes the objects below `prefix` that were stored before
    /// `older_than` and that `keep` does not hold. Repeating is harmless.
    ///
    /// # Errors
    /// If the store fails; what was deleted stays deleted.
    pub async fn sweep(
        &self,
        prefix: &str,
        older_than: Timestamp,
        keep: impl Fn(&ListEntry) -> bool + Send,
    ) -> Result<Swept, ObjectError> {
        let mut swept = Swept::default();
        let mut listed = self.list_stream(prefix)?;
        while let Some(entry) = listed.try_next().await? {
            if entry.modified < older_than && !keep(&entry) {
                self.delete(&entry.key).await?;
                swept.count += 1;
                swept.bytes += entry.length;
            }
        }
        Ok(swept)
    }

    /// Reads and checks the seal.
    async fn seal(&self, key: &str) -> Result<(ObjectMeta, Seal), ObjectError> {
        let path = self.prefix.path(key)?;
        let meta = self.store.head(&path).await.map_err(|e| ObjectError::remote("reading", key, e))?;
        let size = meta.size;
        let length =
            payload_length(size).ok_or_else(|| corrupt(key, "its size is not that of a sealed object"))?;
        let tail = self.bytes_at(key, &meta, length..size).await?;
        let seal = Seal::parse(size, &tail).map_err(|why| corrupt(key, why))?;
        Ok((meta, seal))
    }

    async fn bytes_at(&self, key: &str, meta: &ObjectMeta, range: Range<u64>) -> Result<Bytes, ObjectError> {
        let remote = |e| ObjectError::remote("reading", key, e);
        let wanted = range.end - range.start;
        let options = pinned(meta).with_range(Some(range));
        let found = self.store.get_opts(&meta.location, options).await.map_err(remote)?;
        let bytes = found.bytes().await.map_err(remote)?;
        if bytes.len() as u64 == wanted { Ok(bytes) } else { Err(corrupt(key, "it ended early")) }
    }
}

/// An upload in parts that takes its parts back unless it is finished, also
/// when the caller goes away in the middle: parts left behind cost money and
/// are not listed.
struct Upload(Option<WriteMultipart>);

impl Upload {
    async fn send(&mut self, piece: Bytes) -> object_store::Result<()> {
        if let Some(upload) = &mut self.0 {
            upload.wait_for_capacity(PARALLEL_PARTS).await?;
            upload.put(piece);
        }
        Ok(())
    }

    async fn finish(mut self) -> object_store::Result<()> {
        match self.0.take() {
            // It takes its parts back itself if it fails.
            Some(upload) => upload.finish().await.map(drop),
            None => Ok(()),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let (Some(upload), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                let _ = upload.abort().await;
            });
        }
    }
}

/// The object as it was when `meta` was read, not one that replaced it since.
fn pinned(meta: &ObjectMeta) -> GetOptions {
    GetOptions::new().with_if_match(meta.e_tag.clone())
}

fn corrupt(key: &str, why: &str) -> ObjectError {
    ObjectError::corrupt(format!("object {key:?}"), why)
}

/// Joins the pieces of one block.
fn join(pieces: &mut Vec<Bytes>) -> Bytes {
    if let [only] = pieces.as_mut_slice() {
        let only = std::mem::take(only);
        pieces.clear();
        return only;
    }
    let mut out = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in pieces.drain(..) {
        out.extend_from_slice(&piece);
    }
    out.freeze()
}

#[cfg(test)]
mod tests;
