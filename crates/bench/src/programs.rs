//! The programs that measured steps run: this binary itself, so that no
//! shell's start is measured with them. Each reads what it needs from the
//! script file that the engine wrote.

use crate::host::wall_ns;
use sha2::{Digest, Sha256};
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Bytes of a line, with its end.
pub(crate) const LINE: usize = 80;
/// Lines of the block that is printed again and again.
const BLOCK: u64 = 8192;

fn words(file: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(file)?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

fn tell(socket: &str, time: u64) -> anyhow::Result<()> {
    UnixDatagram::unbound()?.send_to(&time.to_le_bytes(), socket)?;
    Ok(())
}

/// `started` is when this process began to run.
pub(crate) fn stamp(file: &Path, started: u64) -> anyhow::Result<()> {
    if let Some(socket) = words(file)?.first() {
        tell(socket, started)?;
    }
    Ok(())
}

/// Says 0 when it is ready, and the time when the interrupt came.
pub(crate) fn trap(file: &Path) -> anyhow::Result<()> {
    let words = words(file)?;
    let socket = words.first().map(String::as_str).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
        tell(socket, 0)?;
        interrupt.recv().await;
        tell(socket, wall_ns())
    })
}

/// Lines that differ from each other, so that a lost or doubled one shows in the digest.
fn block() -> Vec<u8> {
    (0..BLOCK)
        .flat_map(|n| format!("{n:>8} {:<70}\n", "the quick brown fox jumps over the lazy dog").into_bytes())
        .collect()
}

/// Calls `sink` with pieces of the output of [`lines`].
fn pieces(lines: u64, mut sink: impl FnMut(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let block = block();
    for _ in 0..lines / BLOCK {
        sink(&block)?;
    }
    sink(&block[..usize::try_from(lines % BLOCK)? * LINE])
}

/// Prints as many lines as the file says.
pub(crate) fn lines(file: &Path) -> anyhow::Result<()> {
    let count = words(file)?.first().map_or(Ok(0), |w| w.parse())?;
    let mut out = std::fs::File::from(rustix::io::dup(std::io::stdout())?);
    pieces(count, |bytes| Ok(out.write_all(bytes)?))
}

/// SHA-256 of what [`lines`] prints.
pub(crate) fn lines_digest(count: u64) -> anyhow::Result<Vec<u8>> {
    let mut digest = Sha256::new();
    pieces(count, |bytes| {
        digest.update(bytes);
        Ok(())
    })?;
    Ok(digest.finalize().to_vec())
}

/// Hashes a block again and again, and prints the nanoseconds that it took.
pub(crate) fn spin(rounds: u64) -> anyhow::Result<()> {
    let begun = std::time::Instant::now();
    let mut block = block();
    for _ in 0..rounds {
        let digest = Sha256::digest(&block);
        block[..digest.len()].copy_from_slice(&digest);
    }
    let took = begun.elapsed().as_nanos();
    let mut out = std::io::stdout();
    writeln!(out, "{took} {}", block[0])?;
    Ok(())
}
