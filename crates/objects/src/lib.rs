//! Bytes outside the database, in two rooms:
//!
//! - [`LogStore`]: what the steps of an attempt wrote, as bytes at offsets:
//!   append-only, idempotent, durable before it is acknowledged, checked when
//!   it is read.
//! - [`Objects`]: blobs by key (artifacts, caches, archived logs) in a local
//!   directory, S3, Azure Blob or GCS, each sealed with its digest.
//!
//! This crate moves bytes and knows nothing about who may see them: it must
//! never decide about leases, permissions or the life of a job, and it must
//! never answer bytes that fail their checksum.

mod digest;
mod error;
mod logs;
mod objects;

pub use digest::Digest;
pub use error::{AppendError, ErrorKind, ObjectError};
pub use logs::{
    LineRange, LineTotal, LogChunk, LogFollower, LogOptions, LogPattern, LogStatistics, LogStore, LogWatch,
    StoredLog,
};
pub use objects::{ListEntry, ObjectInfo, ObjectStream, Objects, ObjectsConfig, Swept};
