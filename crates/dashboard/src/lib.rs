//! The built dashboard, as bytes in the program: every file of `web/dist`,
//! compressed when the program was built, and none if the dashboard was not
//! built before. It knows files, not HTTP.

#[cfg(test)]
mod pack;

use flate2::read::GzDecoder;
use std::borrow::Cow;
use std::io::Read as _;

/// A file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Path, without a slash at its beginning.
    pub path: &'static str,
    /// Media type.
    pub media_type: &'static str,
    /// Whether `body` is compressed with gzip.
    pub gzip: bool,
    /// Hash of the content.
    pub hash: &'static str,
    /// The body.
    pub body: &'static [u8],
}

impl Asset {
    /// The body for a client that takes no gzip.
    ///
    /// # Panics
    /// Never: what was compressed by the build script decompresses.
    #[must_use]
    pub fn plain(&self) -> Cow<'static, [u8]> {
        if !self.gzip {
            return Cow::Borrowed(self.body);
        }
        let mut plain = Vec::new();
        GzDecoder::new(self.body).read_to_end(&mut plain).expect("a body of the build script");
        Cow::Owned(plain)
    }

    /// Whether its name holds a hash of its content, so that it never changes.
    #[must_use]
    pub fn is_immutable(&self) -> bool {
        self.path.starts_with(ASSETS)
    }
}

/// Where the files with a hash in their names are.
pub const ASSETS: &str = "assets/";
/// The page.
pub const INDEX: &str = "index.html";

/// Every file, by path; empty if the dashboard was not built when this program was.
pub const FILES: &[Asset] = include!(concat!(env!("OUT_DIR"), "/table.rs"));

/// The file at a path.
#[must_use]
pub fn find(files: &[Asset], path: &str) -> Option<Asset> {
    files.binary_search_by(|file| file.path.cmp(path)).ok().map(|at| files[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_and_compressed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("assets/deep")).unwrap();
        let script = "console.log('fleetfoot');\n".repeat(100);
        for (path, text) in [
            ("index.html", "<!doctype html>"),
            ("assets/app-4f.js", script.as_str()),
            ("assets/app-4f.js.map", "{}"),
            ("assets/deep/x.svg", "<svg/>"),
            (".vite", "hidden"),
            ("what.ever", "?"),
        ] {
            std::fs::write(dir.path().join(path), text).unwrap();
        }
        let packed = pack::files(dir.path()).unwrap();
        let shown: Vec<_> = packed.iter().map(|f| (f.path.as_str(), f.media_type, f.gzip)).collect();
        assert_eq!(
            shown,
            [
                ("assets/app-4f.js", "text/javascript; charset=utf-8", true),
                ("assets/deep/x.svg", "image/svg+xml", false),
                ("index.html", "text/html; charset=utf-8", false),
                ("what.ever", "application/octet-stream", false),
            ]
        );
        assert_ne!(packed[0].hash, packed[1].hash);
        let body: &'static [u8] = packed[0].body.clone().leak();
        let asset = Asset { path: "a", media_type: "b", gzip: true, hash: "c", body };
        assert_eq!(asset.plain(), script.as_bytes());
        assert!(asset.body.len() < script.len() / 10);
    }

    /// Whatever was built: the page is there if anything is, in order, and every body opens.
    #[test]
    fn what_is_embedded_is_whole() {
        assert!(FILES.is_sorted_by(|a, b| a.path < b.path));
        assert_eq!(find(FILES, INDEX).is_some(), !FILES.is_empty());
        for file in FILES {
            assert!(!file.plain().is_empty(), "{}", file.path);
            assert_eq!(find(FILES, file.path), Some(*file));
        }
    }
}
