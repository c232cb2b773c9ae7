//! The same over the ways in which git talks: an address of files, git's own
//! protocol, and HTTP with credentials that no command line shows.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use fleetfoot_actions::{ActionCache, ActionErrorKind, CacheConfig};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Forge, read, reference};

/// Whether git has this part, which distributions package on their own.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn git_has(part: &str) -> bool {
    let output = Command::new("git").arg("--exec-path").output().unwrap();
    let there = Path::new(String::from_utf8_lossy(&output.stdout).trim()).join(part).exists();
    if !there {
        eprintln!("git has no {part} here: skipped");
    }
    there
}

/// A server on a port of its own; it ends with the test.
fn serve(answer: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

/// Fetches by branch and by commit, and says what a missing repository gives.
async fn fetch(forge: &Forge, config: &CacheConfig, sha: &str) -> ActionErrorKind {
    let cache = ActionCache::new(config.clone());
    let branch = cache.fetch(&reference("a/x@main")).await.unwrap();
    assert_eq!((branch.sha.as_str(), branch.cached), (sha, false));
    assert_eq!(read(&branch.root.join("index.js")), "console.log('main')\n");
    std::fs::remove_dir_all(forge.cache_dir().join("a")).unwrap();
    let pinned = cache.fetch(&reference(&format!("a/x/sub@{sha}"))).await.unwrap();
    assert!(!pinned.cached);
    std::fs::remove_dir_all(forge.cache_dir().join("a")).unwrap();
    cache.fetch(&reference("a/none@main")).await.unwrap_err().kind()
}

fn published() -> (Forge, String) {
    let forge = Forge::new();
    let work = forge.repository("a/x");
    let sha = work.commit("first");
    forge.publish("a/x", &work);
    (forge, sha)
}

#[tokio::test]
async fn an_address_of_files() {
    let (forge, sha) = published();
    let mirror = Some(format!("file://{}/", forge.mirror().display()));
    let config = CacheConfig { mirror, ..forge.config() };
    assert_eq!(fetch(&forge, &config, &sha).await, ActionErrorKind::MissingInMirror);
}

#[tokio::test]
async fn the_protocol_of_git() {
    if !git_has("git-daemon") {
        return;
    }
    let (forge, sha) = published();
    let root = forge.mirror();
    let address = serve(move |stream| {
        let base = format!("--base-path={}", root.display());
        let (input, output) = (OwnedFd::from(stream.try_clone().unwrap()), OwnedFd::from(stream));
        let _ = Command::new("git")
            .args(["daemon", "--inetd", "--export-all", &base])
            .stdin(input)
            .stdout(output)
            .stderr(Stdio::null())
            .status();
    });
    let mirror = CacheConfig { mirror: Some(format!("git://{address}")), ..forge.config() };
    assert_eq!(fetch(&forge, &mirror, &sha).await, ActionErrorKind::MissingInMirror);
    // As a forge: the address has no .git, and what is missing is missing there.
    let base = CacheConfig { mirror: None, base_url: format!("git://{address}"), ..forge.config() };
    assert_eq!(fetch(&forge, &base, &sha).await, ActionErrorKind::NotFound);
}

/// One request, answered by `git http-backend`; without the right user it is refused.
fn backend(stream: TcpStream, root: &Path) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => drop(headers.insert(name.to_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let mut body = vec![0; headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let mut stream = stream;
    // "me:hunter22"
    if headers.get("authorization").map(String::as_str) != Some("Basic bWU6aHVudGVyMjI=") {
        let refusal = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return stream.write_all(refusal.as_bytes()).ok();
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(&body).ok()?;
    let output = child.wait_with_output().ok()?.stdout;
    let text = String::from_utf8_lossy(&output);
    let status = text.strip_prefix("Status: ").and_then(|rest| rest.lines().next()).unwrap_or("200 OK");
    stream.write_all(format!("HTTP/1.1 {status}\r\nConnection: close\r\n").as_bytes()).ok()?;
    stream.write_all(&output).ok()
}

#[tokio::test]
async fn http_with_credentials_that_nobody_sees() {
    if !git_has("git-http-backend") || !git_has("git-remote-http") {
        return;
    }
    let (forge, sha) = published();
    let root: PathBuf = forge.mirror();
    let address = serve(move |stream| {
        let _ = backend(stream, &root);
    });
    let log = forge.path("argv");
    let env = vec![forge.false_git(&format!("echo \"$@\" >> '{}'", log.display()))];
    let mirror = Some(format!("http://me:hunter22@{address}"));
    let config = CacheConfig { mirror, env: env.clone(), ..forge.config() };
    assert_eq!(fetch(&forge, &config, &sha).await, ActionErrorKind::MissingInMirror);

    let header = "Authorization: Basic bWU6aHVudGVyMjI=".to_owned();
    let git_config = vec![(format!("http.http://{address}/.extraHeader"), header)];
    let base_url = format!("http://{address}");
    let base = CacheConfig { mirror: None, base_url, git_config, env, ..forge.config() };
    assert_eq!(fetch(&forge, &base, &sha).await, ActionErrorKind::NotFound);
    let without = CacheConfig { git_config: Vec::new(), ..base };
    let error = ActionCache::new(without).fetch(&reference("a/x@main")).await.unwrap_err();
    assert_eq!(error.kind(), ActionErrorKind::NotFound);
    assert!(error.to_string().contains("credentials"), "{error}");

    let argv = read(&log);
    assert!(argv.contains("ls-remote") && argv.contains("fetch"), "{argv}");
    assert!(!argv.contains("hunter22") && !argv.contains("bWU6aHVudGVyMjI"), "{argv}");
}

/// One request for a file as it lies there.
fn static_file(mut stream: TcpStream, root: &Path) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let target = line.split_whitespace().nth(1)?.to_owned();
    while reader.read_line(&mut line).ok()? > 2 {}
    let path = root.join(target.split('?').next()?.trim_start_matches('/'));
    let (status, body) = match std::fs::read(path) {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&body).ok()
}

#[tokio::test]
async fn http_of_mere_files() {
    if !git_has("git-remote-http") {
        return;
    }
    let (forge, sha) = published();
    let status =
        Command::new("git").arg("-C").arg(forge.mirror().join("a/x.git")).arg("update-server-info").status();
    assert!(status.unwrap().success());
    let root = forge.mirror();
    let address = serve(move |stream| {
        let _ = static_file(stream, &root);
    });
    let config = CacheConfig { mirror: Some(format!("http://{address}")), ..forge.config() };
    assert_eq!(fetch(&forge, &config, &sha).await, ActionErrorKind::MissingInMirror);
}
