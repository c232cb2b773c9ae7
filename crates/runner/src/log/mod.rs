//! The way of a log from a step to the server: a bounded queue in memory, a
//! spool file only while the server does not keep up, and one uploader that
//! sends pieces in order. Bytes are dropped here only after the server has
//! them on disk; a step is held up only when memory and spool are full.

mod frames;
mod pipe;
mod spool;
mod upload;

pub(crate) use pipe::{Limits, LogPipe};
pub(crate) use spool::Spool;
pub(crate) use upload::{Outcome, upload};
