//! An artifact of protocol 3 as one ZIP file, made while it is sent. The thread that packs waits for
//! whoever reads: nothing is kept.

use crate::blobs::Content;
use crate::error::{ErrorKind, Result, ServiceError};
use bytes::Bytes;
use fleetfoot_store::FileRow;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use std::io::{self, Read, Write};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Sender, channel};
use zip::write::{SimpleFileOptions, ZipWriter};

/// Bytes of one piece of the answer.
const PIECE: usize = 256 << 10;

/// The ZIP file of these files. Files that were sent compressed are unpacked, and end in an error if
/// they are longer than their sender said.
pub fn zip_of_files(files: Vec<(FileRow, Content)>) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    let (sender, receiver) = channel(2);
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || {
        let failed = sender.clone();
        if let Err(e) = pack(files, sender, &handle) {
            // Whoever went away does not want to know.
            let e = ServiceError::new(ErrorKind::Internal, format!("packing an artifact failed: {e}"));
            let _ = failed.blocking_send(Err(e));
        }
    });
    futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|piece| (piece, receiver))
    })
}

fn pack(files: Vec<(FileRow, Content)>, sender: Sender<Result<Bytes>>, handle: &Handle) -> io::Result<()> {
    let out = Pieces { sender, buffer: Vec::with_capacity(PIECE) };
    let mut zip = ZipWriter::new_stream(out);
    let options = SimpleFileOptions::default().large_file(true);
    for (file, content) in files {
        zip.start_file(file.path.as_str(), options)?;
        let stored = Stored { stream: content.stream(0..content.length).boxed(), rest: Bytes::new(), handle };
        let mut limited: Box<dyn Read> = if file.gzip {
            Box::new(flate2::read::GzDecoder::new(stored).take(file.length.saturating_add(1)))
        } else {
            Box::new(stored)
        };
        let copied = io::copy(&mut limited, &mut zip)?;
        if file.gzip && copied > file.length {
            return Err(io::Error::other(format!("'{}' is longer than its sender said", file.path)));
        }
    }
    zip.finish()?.into_inner().flush()
}

/// Bytes of a blob for a thread that may block.
struct Stored<'h> {
    stream: BoxStream<'static, Result<Bytes>>,
    rest: Bytes,
    handle: &'h Handle,
}

impl Read for Stored<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.handle.block_on(self.stream.next()) {
                None => return Ok(0),
                Some(piece) => self.rest = piece.map_err(io::Error::other)?,
            }
        }
        let now = self.rest.split_to(self.rest.len().min(out.len()));
        out[..now.len()].copy_from_slice(&now);
        Ok(now.len())
    }
}

/// Sends what is written, piece by piece.
struct Pieces {
    sender: Sender<Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE)));
        self.sender.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
