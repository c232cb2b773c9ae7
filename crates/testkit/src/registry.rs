//! A registry of images in the test's own process: enough of the protocol for
//! an engine to pull from, with or without a password. What it was asked is
//! remembered.

use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

/// The header that the right user and password (`user`, `secret`) make.
const RIGHT: &str = "Basic dXNlcjpzZWNyZXQ=";

#[derive(Default)]
struct Shelf {
    /// By `NAME TAG` and `NAME DIGEST`: type and bytes of a manifest.
    manifests: HashMap<String, Vec<u8>>,
    blobs: HashMap<String, Vec<u8>>,
    asked: Vec<String>,
    private: bool,
    down: bool,
}

/// A registry at a port of the loopback; gone with the test.
#[derive(Clone)]
pub struct FakeRegistry {
    address: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
}

impl std::fmt::Debug for FakeRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeRegistry").field("address", &self.address).finish_non_exhaustive()
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

impl Default for FakeRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeRegistry {
    /// Starts one, open to everybody.
    ///
    /// # Panics
    /// If there is no port.
    #[must_use]
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its number");
        let shelf = Arc::<Mutex<Shelf>>::default();
        let ours = shelf.clone();
        // It ends with the process: nothing waits for it.
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let shelf = ours.clone();
                std::thread::spawn(move || serve(&stream, &shelf));
            }
        });
        Self { address, shelf }
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for user `user` and password `secret` from now on.
    pub fn make_private(&self) {
        self.lock().private = true;
    }

    /// Answers nothing but errors, or works again.
    pub fn set_down(&self, down: bool) {
        self.lock().down = down;
    }

    /// The requests until now, `METHOD PATH`.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.lock().asked.clone()
    }

    /// Offers an image made of a directory, with these variables; answers its digest.
    ///
    /// # Panics
    /// If it cannot be packed.
    #[must_use]
    pub fn add(&self, name: &str, tag: &str, root: &Path, env: &[&str]) -> String {
        let tar =
            Command::new("tar").arg("-C").arg(root).args(["-cf", "-", "."]).output().expect("tar").stdout;
        let config = serde_json::json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": { "Env": env, "Cmd": ["/bin/sh"] },
            "rootfs": { "type": "layers", "diff_ids": [digest(&tar)] },
            "history": [{ "created_by": "a test" }],
        })
        .to_string()
        .into_bytes();
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "size": config.len(),
                "digest": digest(&config),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "size": tar.len(),
                "digest": digest(&tar),
            }],
        })
        .to_string()
        .into_bytes();
        let id = digest(&manifest);
        let mut shelf = self.lock();
        shelf.blobs.insert(digest(&tar), tar);
        shelf.blobs.insert(digest(&config), config);
        shelf.manifests.insert(format!("{name} {tag}"), manifest.clone());
        shelf.manifests.insert(format!("{name} {id}"), manifest);
        id
    }
}

fn serve(stream: &TcpStream, shelf: &Mutex<Shelf>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let (mut authorization, mut length) = (String::new(), 0u64);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            match name.to_ascii_lowercase().as_str() {
                "authorization" => authorization = value.to_owned(),
                "content-length" => length = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        let _ = std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink());
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (status, kind, body) = answer(method, path, &authorization, shelf);
        let mut head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: {kind}\r\n", body.len());
        if status.starts_with("401") {
            head += "WWW-Authenticate: Basic realm=\"test\"\r\n";
        } else if path.contains("/manifests/") {
            head += &format!("Docker-Content-Digest: {}\r\n", digest(&body));
        }
        head += "Docker-Distribution-Api-Version: registry/2.0\r\n\r\n";
        let mut out = stream;
        let body = if method == "HEAD" { &[][..] } else { &body };
        if out.write_all(head.as_bytes()).and_then(|()| out.write_all(body)).is_err() {
            return;
        }
    }
}

fn answer(
    method: &str,
    path: &str,
    authorization: &str,
    shelf: &Mutex<Shelf>,
) -> (&'static str, &'static str, Vec<u8>) {
    const JSON: &str = "application/json";
    let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
    shelf.asked.push(format!("{method} {path}"));
    let error = |code: &str| {
        serde_json::json!({ "errors": [{ "code": code, "message": code }] }).to_string().into_bytes()
    };
    if shelf.down {
        return ("503 Service Unavailable", JSON, error("UNAVAILABLE"));
    }
    if shelf.private && authorization != RIGHT {
        return ("401 Unauthorized", JSON, error("UNAUTHORIZED"));
    }
    let path = path.trim_start_matches("/v2/");
    if let Some((name, reference)) = path.split_once("/manifests/") {
        return match shelf.manifests.get(&format!("{name} {reference}")) {
            Some(bytes) => ("200 OK", "application/vnd.oci.image.manifest.v1+json", bytes.clone()),
            None => ("404 Not Found", JSON, error("MANIFEST_UNKNOWN")),
        };
    }
    if let Some((_, digest)) = path.split_once("/blobs/") {
        return match shelf.blobs.get(digest) {
            Some(bytes) => ("200 OK", "application/octet-stream", bytes.clone()),
            None => ("404 Not Found", JSON, error("BLOB_UNKNOWN")),
        };
    }
    ("200 OK", JSON, b"{}".to_vec())
}
