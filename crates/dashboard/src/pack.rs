//! Reads the built files of the dashboard and compresses them. Used by the
//! build script; what it leaves out is not served.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// A file as it is embedded.
#[derive(Debug)]
pub(crate) struct Packed {
    /// Path under the directory, with slashes.
    pub(crate) path: String,
    /// Media type by its extension.
    pub(crate) media_type: &'static str,
    /// Whether the body is compressed.
    pub(crate) gzip: bool,
    /// Hash of the content, for the entity tag.
    pub(crate) hash: String,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// Every file below a directory, by path. Nothing that is hidden, and no source maps.
pub(crate) fn files(dir: &Path) -> io::Result<Vec<Packed>> {
    let mut found = Vec::new();
    walk(dir, "", &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn walk(dir: &Path, prefix: &str, found: &mut Vec<Packed>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|n| !n.starts_with('.') && !n.ends_with(".map")) else {
            continue;
        };
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &format!("{path}/"), found)?;
        } else {
            found.push(pack(path, fs::read(entry.path())?)?);
        }
    }
    Ok(())
}

fn pack(path: String, plain: Vec<u8>) -> io::Result<Packed> {
    let hash = blake3::hash(&plain).to_hex()[..24].to_owned();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&plain)?;
    let packed = encoder.finish()?;
    // Pictures and fonts are compressed already.
    let gzip = packed.len() < plain.len() / 10 * 9;
    let media_type = media_type(&path);
    Ok(Packed { path, media_type, gzip, hash, body: if gzip { packed } else { plain } })
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
