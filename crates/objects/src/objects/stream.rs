//! Streaming an object with verification: a block is handed out after its
//! checksum was compared, and the end is reached only if the digest agrees.

use super::seal::{BLOCK, Seal};
use super::{ObjectInfo, corrupt, join};
use crate::{Digest, ObjectError};
use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt, try_unfold};

/// The payload of an object in verified pieces.
pub struct ObjectStream {
    info: ObjectInfo,
    inner: BoxStream<'static, object_store::Result<Bytes>>,
    seal: Seal,
    hasher: blake3::Hasher,
    /// Received and not yet verified.
    rest: Bytes,
    /// Bytes handed out.
    done: u64,
}

impl ObjectStream {
    pub(super) fn new(key: &str, inner: BoxStream<'static, object_store::Result<Bytes>>, seal: Seal) -> Self {
        let info = ObjectInfo { key: key.to_owned(), length: seal.length, digest: seal.digest };
        Self { info, inner, seal, hasher: blake3::Hasher::new(), rest: Bytes::new(), done: 0 }
    }

    /// Key, length and digest.
    #[must_use]
    pub fn info(&self) -> &ObjectInfo {
        &self.info
    }

    /// The next piece (up to 1 MiB); `None` after the last one.
    ///
    /// # Errors
    /// If the store fails or the object is corrupt.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ObjectError> {
        let missing = self.info.length - self.done;
        if missing == 0 {
            return match Digest(*self.hasher.finalize().as_bytes()) == self.info.digest {
                true => Ok(None),
                false => Err(corrupt(&self.info.key, "its digest differs")),
            };
        }
        let want = missing.min(BLOCK) as usize;
        let mut pieces = vec![std::mem::take(&mut self.rest)];
        let mut held = pieces[0].len();
        while held < want {
            match self.inner.next().await {
                Some(Ok(piece)) => {
                    held += piece.len();
                    pieces.push(piece);
                }
                Some(Err(e)) => return Err(ObjectError::remote("reading", &self.info.key, e)),
                None => return Err(corrupt(&self.info.key, "it ended early")),
            }
        }
        pieces.retain(|p| !p.is_empty());
        let mut block = join(&mut pieces);
        self.rest = block.split_off(want);
        if !self.seal.block_matches(self.done / BLOCK, &block) {
            return Err(corrupt(&self.info.key, "a block fails its checksum"));
        }
        self.hasher.update(&block);
        self.done += want as u64;
        Ok(Some(block))
    }

    /// As a stream, for an HTTP body.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, ObjectError>> + Send + 'static {
        try_unfold(self, |mut this| async move { Ok(this.next().await?.map(|bytes| (bytes, this))) })
    }
}
