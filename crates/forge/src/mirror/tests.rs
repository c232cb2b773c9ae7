//! Names, messages and credentials: what must never reach git or people as it is.

use super::*;

#[test]
fn names_and_addresses() {
    for good in ["refs/heads/main", "HEAD", "a-b", "refs/tags/v1.0", &"a1".repeat(20)] {
        assert!(is_ref_name(good), "{good}");
    }
    for bad in
        ["", "-x", "--upload-pack=x", "a..b", "a b", "a:b", "a~1", "a^", "x@{1}", "/a", "a\n", "a.lock"]
    {
        assert!(!is_ref_name(bad), "{bad}");
    }
    for good in ["https://x/o/r", "git@host:o/r.git", "ssh://git@host/o/r", "/srv/r.git", "file:///srv/r.git"]
    {
        assert_eq!(problem_of_url(good), None, "{good}");
    }
    for bad in [
        "",
        "-x",
        "ext::sh -c x",
        "ext::sh",
        "o/r",
        "https://u:p@h/r",
        "https://tok@h/r",
        "ftp://x/y",
        "a b",
        "--upload-pack=x:y",
    ] {
        assert!(problem_of_url(bad).is_some(), "{bad}");
    }
}

#[test]
fn refs_of_a_listing() {
    let sha = "1".repeat(40);
    let other = "2".repeat(40);
    let text = format!(
        "ref: refs/heads/main\tHEAD\n{sha}\tHEAD\n{sha}\trefs/heads/main\n{other}\trefs/tags/v1\n{sha}\trefs/tags/v1^{{}}\nnonsense\n"
    );
    let refs = parse_refs(&text);
    assert_eq!(refs.default_branch.as_deref(), Some("main"));
    assert_eq!(refs.refs.len(), 2);
    assert_eq!(refs.refs["refs/tags/v1"], sha);
}

/// What a forge over HTTP is asked, answered with this status.
fn request_seen_with(status: &'static str, token: Option<&str>) -> (String, GitError) {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/acme/app.git", listener.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut seen, mut bytes) = (String::new(), [0; 1024]);
        while !seen.contains("\r\n\r\n") {
            let n = stream.read(&mut bytes).unwrap();
            seen.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
        write!(stream, "HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        seen
    });
    let dir = tempfile::tempdir().unwrap();
    let mirror = Mirror::new(dir.path().join("1.git"), url, token.map(str::to_owned));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(mirror.remote_refs()).unwrap_err();
    (asked.join().unwrap(), error)
}

#[test]
fn the_token_travels_in_a_header_and_follows_no_redirect() {
    let (seen, error) = request_seen_with("403", Some("hunter2"));
    let basic = STANDARD.encode("x-access-token:hunter2");
    assert!(seen.contains(&format!("Authorization: Basic {basic}")), "{seen}");
    assert!(!seen.lines().next().unwrap().contains("hunter2"));
    assert_eq!(error.kind, GitErrorKind::Denied, "{error}");
    let (_, redirected) = request_seen_with("302", Some("hunter2"));
    assert!(!redirected.message.contains("hunter2"));
    assert!(!redirected.message.contains("127.0.0.1:9 port"), "it was not followed: {redirected}");
    let (seen, error) = request_seen_with("404", None);
    assert!(!seen.contains("Authorization"), "{seen}");
    assert_eq!(error.kind, GitErrorKind::Denied, "{error}");
}

#[test]
fn failures_have_kinds_and_no_secrets() {
    let mirror = Mirror::new("/m/1.git", "https://x", Some("hunter2".into()));
    let kind = |text: &str| mirror.failure("fetch", text).kind;
    assert_eq!(
        kind("fatal: unable to access 'https://x/': Could not resolve host: x"),
        GitErrorKind::Unreachable
    );
    assert_eq!(kind("fatal: couldn't find remote ref refs/heads/x"), GitErrorKind::Missing);
    assert_eq!(kind("fatal: Authentication failed for 'https://x'"), GitErrorKind::Denied);
    assert_eq!(kind("fatal: bad object"), GitErrorKind::Broken);
    let told = mirror.failure("fetch", "fatal: hunter2 in /m/1.git is bad").message;
    assert_eq!(told, "git fetch: *** in the mirror is bad");
}
