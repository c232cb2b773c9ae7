//! `actions/checkout` against real repositories.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Job, run_step, uses_step};
use fleetfoot_model::spec::Repository;
use fleetfoot_model::state::Conclusion;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

fn git(directory: &Path, args: &[&str]) -> String {
    let out = Command::new("git")
        .current_dir(directory)
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

struct Origin {
    dir: tempfile::TempDir,
    first: String,
    second: String,
}

impl Origin {
    /// Two commits on `main`, a tag `v1` on the first, a branch `topic` with one more.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        std::fs::create_dir(&work).unwrap();
        git(&work, &["init", "-q", "-b", "main"]);
        let commit = |name: &str| {
            std::fs::write(work.join(name), name).unwrap();
            git(&work, &["add", "."]);
            git(&work, &["commit", "-q", "-m", name]);
            git(&work, &["rev-parse", "HEAD"])
        };
        let first = commit("one");
        git(&work, &["tag", "v1"]);
        let second = commit("two");
        git(&work, &["checkout", "-q", "-b", "topic"]);
        commit("three");
        git(&work, &["checkout", "-q", "main"]);
        git(dir.path(), &["clone", "-q", "--bare", "work", "bare.git"]);
        Self { dir, first, second }
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    fn url(&self) -> String {
        format!("file://{}", self.dir.path().join("bare.git").display())
    }

    fn repository(&self, git_ref: &str, sha: &str) -> Repository {
        Repository {
            url: self.url(),
            name: Some("o/r".into()),
            git_ref: Some(git_ref.into()),
            sha: Some(sha.into()),
        }
    }
}

const SHOW: &str =
    "ls; git rev-parse HEAD; git rev-parse --abbrev-ref HEAD; git log --oneline | wc -l; git status --short";

fn job(with: &[(&str, &str)]) -> Job {
    Job::new(vec![uses_step("get", "actions/checkout@v4", with), run_step("show", SHOW)])
}

#[tokio::test]
async fn the_commit_of_the_run_on_its_branch() {
    let origin = Origin::new();
    let mut job = job(&[]);
    job.assignment.repository = Some(origin.repository("refs/heads/main", &origin.first));
    job.spec().outputs.insert("commit".into(), "${{ steps.get.outputs.commit }}".into());
    job.spec().outputs.insert("ref".into(), "${{ steps.get.outputs.ref }}".into());
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{}", job.sink.all());
    assert_eq!(job.sink.out(), format!("one\n{}\nmain\n1\n", origin.first));
    assert_eq!(result.outputs["commit"], origin.first);
    assert_eq!(result.outputs["ref"], "refs/heads/main");
    assert_eq!(job.step("get").name, "Run actions/checkout@v4");
}

#[tokio::test]
async fn refs_depths_and_paths() {
    let origin = Origin::new();
    let third = git(&origin.work(), &["rev-parse", "topic"]);
    for (with, expected) in [
        (&[("ref", "topic")][..], format!("one\nthree\ntwo\n{third}\ntopic\n1\n")),
        (&[("ref", "v1")], format!("one\n{}\nHEAD\n1\n", origin.first)),
        (
            &[("ref", "refs/heads/topic"), ("fetch-depth", "0")],
            format!("one\nthree\ntwo\n{third}\ntopic\n3\n"),
        ),
        (&[("ref", &origin.first)], format!("one\n{}\nHEAD\n1\n", origin.first)),
        (&[("fetch-depth", "0")], format!("one\ntwo\n{}\nmain\n2\n", origin.second)),
        (&[("repository", "o/r")], format!("one\ntwo\n{}\nmain\n1\n", origin.second)),
        (&[("repository", &origin.url())], format!("one\ntwo\n{}\nmain\n1\n", origin.second)),
    ] {
        let mut job = job(with);
        job.assignment.repository = Some(origin.repository("refs/heads/main", &origin.second));
        let result = job.run().await;
        assert_eq!(result.conclusion, Conclusion::Success, "{with:?}: {}", job.sink.all());
        assert_eq!(job.sink.out(), expected, "{with:?}");
    }
    let mut job = Job::new(vec![
        uses_step("get", "actions/checkout@v4", &[("path", "./sub/dir"), ("repository", &origin.url())]),
        uses_step(
            "again",
            "actions/checkout@v3",
            &[("path", "sub/dir"), ("repository", &origin.url()), ("ref", "topic")],
        ),
        run_step("show", "ls sub/dir"),
    ]);
    job.assignment.repository = None;
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{}", job.sink.all());
    assert_eq!(job.sink.out(), "one\nthree\ntwo\n");
}

#[tokio::test]
async fn what_cannot_be_checked_out() {
    let origin = Origin::new();
    let marker = origin.dir.path().join("pwned");
    let ext = format!("ext::sh -c touch% {}", marker.display());
    for (with, part) in [
        (&[("ref", "no-such")][..], "no branch or tag 'no-such'"),
        (&[("ref", "--upload-pack=touch /tmp/x")], "cannot be a repository or a ref"),
        (&[("repository", "-x@y")], "cannot be a repository or a ref"),
        (&[("repository", "other/repo")], "is not the one of this run"),
        (&[("path", "../out")], "is not inside the workspace"),
        (&[("path", "/etc")], "is not inside the workspace"),
        (&[("fetch-depth", "x")], "'x' is not a number"),
        (&[("repository", "/no/such/repository")], "exit code 128"),
        (&[("repository", &format!("{ext} @"))], "exit code 128"),
    ] {
        let mut job = job(with);
        job.assignment.repository = Some(origin.repository("refs/heads/main", &origin.second));
        let result = job.run().await;
        assert_eq!(result.conclusion, Conclusion::Failure, "{with:?}");
        let message = job.step("get").message.unwrap();
        assert!(message.contains(part), "{with:?}: {message}\n{}", job.sink.all());
        assert_eq!(job.step("show").conclusion, Some(Conclusion::Skipped));
    }
    assert!(!marker.exists());
}

#[tokio::test]
async fn a_token_reaches_the_server_and_nothing_else() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = vec![0; 8192];
        let mut got = 0;
        while !request[..got].ends_with(b"\r\n\r\n") {
            got += stream.read(&mut request[got..]).unwrap();
        }
        // The command line of git, while it waits for us.
        let argv: Vec<String> = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|e| std::fs::read(e.ok()?.path().join("cmdline")).ok())
            .map(|c| String::from_utf8_lossy(&c).replace('\0', " "))
            .filter(|c| c.contains("git"))
            .collect();
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .unwrap();
        (String::from_utf8_lossy(&request[..got]).into_owned(), argv)
    });
    let url = format!("http://{address}/o/r.git");
    let mut after = run_step("show", "cat .git/config; git config --list --show-origin; env");
    after.condition = Some("always()".into());
    let job = Job::new(vec![
        uses_step(
            "get",
            "actions/checkout@v4",
            &[("repository", &url), ("token", "s3cret-token"), ("ref", "main")],
        ),
        after,
    ]);
    job.run().await;
    let (request, argv) = server.join().unwrap();
    let basic = "eC1hY2Nlc3MtdG9rZW46czNjcmV0LXRva2Vu";
    assert!(
        request.to_ascii_lowercase().contains(&format!("authorization: basic {basic}").to_ascii_lowercase()),
        "{request}"
    );
    assert!(!argv.is_empty() && argv.iter().all(|a| !a.contains("s3cret") && !a.contains(basic)));
    let all = job.sink.all();
    assert!(!all.contains(basic) && !all.contains("extraheader"), "{all}");
}

#[tokio::test]
async fn a_local_run_sees_the_working_tree() {
    let origin = Origin::new();
    let work = origin.work();
    std::fs::write(work.join("two"), "changed").unwrap();
    std::fs::remove_file(work.join("one")).unwrap();
    std::fs::write(work.join(".gitignore"), "ignored\n").unwrap();
    std::fs::write(work.join("ignored"), "x").unwrap();
    std::fs::create_dir(work.join("new")).unwrap();
    std::fs::write(work.join("new/file"), "x").unwrap();
    std::os::unix::fs::symlink("two", work.join("link")).unwrap();
    let job = job(&[]).context("fleetfoot", json!({"overlay": work.to_str().unwrap()}));
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{}", job.sink.all());
    assert_eq!(
        job.sink.out(),
        format!(
            "link\nnew\ntwo\n{}\nmain\n2\n D one\n M two\n?? .gitignore\n?? link\n?? new/\n",
            origin.second
        )
    );
    let plain = tempfile::tempdir().unwrap();
    std::fs::write(plain.path().join("file"), "x").unwrap();
    let job = Job::new(vec![uses_step("get", "actions/checkout@v4", &[]), run_step("show", "ls")])
        .context("fleetfoot", json!({"overlay": plain.path().to_str().unwrap()}));
    assert_eq!(job.run().await.conclusion, Conclusion::Success);
    assert_eq!(job.sink.out(), "file\n");
}

#[tokio::test]
async fn a_neighbour_by_name_and_a_sparse_tree() {
    let origin = Origin::new();
    let root = origin.dir.path().join("forge");
    std::fs::create_dir_all(root.join("o")).unwrap();
    for name in ["r", "other"] {
        std::os::unix::fs::symlink(origin.dir.path().join("bare.git"), root.join(format!("o/{name}.git")))
            .unwrap();
    }
    let mut job = Job::new(vec![
        uses_step(
            "get",
            "actions/checkout@v4",
            &[
                ("repository", "o/other"),
                ("sparse-checkout", "one\n"),
                ("sparse-checkout-cone-mode", "false"),
            ],
        ),
        run_step("show", "ls; git remote get-url origin"),
    ]);
    job.assignment.repository = Some(Repository {
        url: format!("file://{}/o/r.git", root.display()),
        ..origin.repository("refs/heads/main", &origin.second)
    });
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{}", job.sink.all());
    assert_eq!(job.sink.out(), format!("one\nfile://{}/o/other.git\n", root.display()));
}
