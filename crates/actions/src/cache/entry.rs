//! One entry of the cache, and the proof that it is what its name says. An
//! entry is a directory with `tree/`, the files of one commit, and `marker`:
//! the commit object and the list of all files with the ids of their contents.
//! The id of the commit follows from the commit object, the tree in it from
//! the list, and the list from the files: a changed byte, mode or link breaks
//! the chain. Nobody can forge a marker without forging the commit's id.

use crate::files;
use sha1::{Digest, Sha1};
use sha2::Sha256;
use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::ffi::OsStr;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"fleetfoot-action 1\n";
/// The largest marker, in bytes: room for some hundred thousand files.
const MAX_MARKER: u64 = 64 * 1024 * 1024;
/// The deepest directory.
const MAX_DEPTH: usize = 200;

/// Where the files of an entry are.
pub(super) fn tree(entry: &Path) -> PathBuf {
    entry.join("tree")
}

/// Writes the marker of an entry: a raw commit object, and what `git ls-tree -r -z` says of it.
pub(super) fn write_marker(entry: &Path, commit: &[u8], listing: &[u8]) -> io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(format!("{}\n", commit.len()).as_bytes());
    bytes.extend_from_slice(commit);
    bytes.extend_from_slice(listing);
    std::fs::write(entry.join("marker"), bytes)
}

/// Whether an entry is exactly its commit. Files that do not belong to it (left by a program that
/// writes beside its scripts) are removed, so that no later job runs them. Blocks.
pub(super) fn verify(entry: &Path, sha: &str) -> bool {
    let Some(marker) = read_marker(entry) else { return false };
    let Some((commit, items)) = parse_marker(&marker) else { return false };
    let format = if sha.len() == 64 { Format::Sha256 } else { Format::Sha1 };
    if hex(&format.object("commit", commit)) != sha {
        return false;
    }
    let named = commit.strip_prefix(b"tree ").and_then(|rest| rest.split(|b| *b == b'\n').next());
    let computed = tree_id(format, &items, 0, 0).map(|id| hex(&id));
    if named.is_none() || named != computed.as_ref().map(String::as_bytes) {
        return false;
    }
    let root = tree(entry);
    items.iter().all(|item| item.is_on_disk(format, &root)) && remove_strangers(&root, &items).is_ok()
}

/// A number that changes whenever a file of the entry does; `None` if it cannot be read. The change
/// time is part of it, which no program can set.
pub(super) fn fingerprint(entry: &Path) -> Option<u64> {
    let mut sum = stamp(&entry.join("marker"))?;
    let mut open = vec![tree(entry)];
    sum = sum.wrapping_add(stamp(&open[0])?);
    while let Some(dir) = open.pop() {
        for found in std::fs::read_dir(dir).ok()? {
            let found = found.ok()?;
            let path = found.path();
            sum = sum.wrapping_add(stamp(&path)?);
            if found.file_type().ok()?.is_dir() {
                open.push(path);
            }
        }
    }
    Some(sum)
}

fn stamp(path: &Path) -> Option<u64> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    let mut hasher = DefaultHasher::new();
    (path, meta.dev(), meta.ino(), meta.mode(), meta.size()).hash(&mut hasher);
    (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()).hash(&mut hasher);
    Some(hasher.finish())
}

#[derive(Clone, Copy)]
enum Format {
    Sha1,
    Sha256,
}

impl Format {
    fn object(self, kind: &str, content: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => object::<Sha1>(kind, content),
            Self::Sha256 => object::<Sha256>(kind, content),
        }
    }

    fn blob(self, path: &Path, size: u64) -> io::Result<Vec<u8>> {
        match self {
            Self::Sha1 => blob::<Sha1>(path, size),
            Self::Sha256 => blob::<Sha256>(path, size),
        }
    }
}

fn object<D: Digest>(kind: &str, content: &[u8]) -> Vec<u8> {
    let mut digest = D::new();
    digest.update(format!("{kind} {}\0", content.len()).as_bytes());
    digest.update(content);
    digest.finalize().to_vec()
}

fn blob<D: Digest>(path: &Path, size: u64) -> io::Result<Vec<u8>> {
    let mut digest = D::new();
    digest.update(format!("blob {size}\0").as_bytes());
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest.finalize().to_vec()),
            read => digest.update(&buffer[..read]),
        }
    }
}

/// One line of the list.
struct Item<'m> {
    mode: &'m [u8],
    id: Vec<u8>,
    path: &'m [u8],
}

impl Item<'_> {
    fn is_on_disk(&self, format: Format, root: &Path) -> bool {
        let path = root.join(OsStr::from_bytes(self.path));
        let Ok(meta) = std::fs::symlink_metadata(&path) else {
            // A submodule is not fetched.
            return self.mode == b"160000";
        };
        let executable = meta.mode() & 0o100 != 0;
        let content = match self.mode {
            b"160000" => return meta.is_dir(),
            b"120000" if meta.is_symlink() => {
                std::fs::read_link(&path).map(|to| format.object("blob", &to.into_os_string().into_vec()))
            }
            b"100644" | b"100664" if meta.is_file() && !executable => format.blob(&path, meta.len()),
            b"100755" if meta.is_file() && executable => format.blob(&path, meta.len()),
            _ => return false,
        };
        content.is_ok_and(|id| id == self.id)
    }
}

fn read_marker(entry: &Path) -> Option<Vec<u8>> {
    let path = entry.join("marker");
    if !std::fs::symlink_metadata(&path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_MARKER).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn parse_marker(bytes: &[u8]) -> Option<(&[u8], Vec<Item<'_>>)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let end = rest.iter().position(|b| *b == b'\n')?;
    let length: usize = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
    let (commit, listing) = rest[end + 1..].split_at_checked(length)?;
    let mut items = Vec::new();
    for line in listing.split(|b| *b == 0).filter(|line| !line.is_empty()) {
        let tab = line.iter().position(|b| *b == b'\t')?;
        let (head, path) = (&line[..tab], &line[tab + 1..]);
        let mut words = head.split(|b| *b == b' ');
        let (mode, _, id) = (words.next()?, words.next()?, unhex(words.next()?)?);
        let parts = path.split(|b| *b == b'/');
        let mut depth = 0;
        for part in parts {
            depth += 1;
            if matches!(part, b"" | b"." | b"..") || part.eq_ignore_ascii_case(b".git") {
                return None;
            }
        }
        if depth > MAX_DEPTH {
            return None;
        }
        items.push(Item { mode, id, path });
    }
    Some((commit, items))
}

/// The id of the tree that these files make, whose paths begin at `start`.
fn tree_id(format: Format, items: &[Item<'_>], start: usize, depth: usize) -> Option<Vec<u8>> {
    if depth > MAX_DEPTH {
        return None;
    }
    let mut content = Vec::new();
    let mut i = 0;
    while let Some(item) = items.get(i) {
        let rest = item.path.get(start..)?;
        let (mode, name, id) = match rest.iter().position(|b| *b == b'/') {
            None => {
                i += 1;
                (item.mode, rest, item.id.clone())
            }
            Some(slash) => {
                let prefix = item.path.get(..=start + slash)?;
                let inside = items[i..].iter().take_while(|other| other.path.starts_with(prefix)).count();
                let id = tree_id(format, &items[i..i + inside], prefix.len(), depth + 1)?;
                i += inside;
                (b"40000".as_slice(), &rest[..slash], id)
            }
        };
        content.extend_from_slice(mode);
        content.push(b' ');
        content.extend_from_slice(name);
        content.push(0);
        content.extend_from_slice(&id);
    }
    Some(format.object("tree", &content))
}

/// Removes what is not on the list. Fails if a directory of it is something else, such as a link to
/// files that only look right at this moment.
fn remove_strangers(root: &Path, items: &[Item<'_>]) -> io::Result<()> {
    let known: HashSet<&[u8]> = items.iter().map(|item| item.path).collect();
    let mut directories: HashSet<&[u8]> = HashSet::new();
    for item in items {
        let slashes = item.path.iter().enumerate().filter(|(_, b)| **b == b'/');
        directories.extend(slashes.map(|(at, _)| &item.path[..at]));
    }
    let mut open = vec![root.to_owned()];
    if !std::fs::symlink_metadata(root)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    while let Some(dir) = open.pop() {
        for found in std::fs::read_dir(dir)? {
            let found = found?;
            let path = found.path();
            let relative = path.strip_prefix(root).unwrap_or(&path).as_os_str().as_bytes();
            let is_dir = found.file_type()?.is_dir();
            if directories.contains(relative) && !is_dir {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            if !directories.contains(relative) && !known.contains(relative) {
                files::remove(&path)?;
            } else if is_dir {
                open.push(path);
            }
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
