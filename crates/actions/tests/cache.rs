//! The cache with real repositories: what it gives, what it refuses, and that
//! nothing but a complete commit is ever used.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use fleetfoot_actions::{ActionCache, ActionErrorKind, CacheConfig, RemoteReference};
use fleetfoot_testkit::GitRepository;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;
use support::{Forge, leftovers, read, reference};

#[tokio::test]
async fn branches_tags_commits_and_sub_paths() {
    let forge = Forge::new();
    let work = forge.repository("a/x");
    let first = work.commit("first");
    work.git(&["tag", "-a", "v1", "-m", "annotated"]);
    work.git(&["branch", "v1"]);
    work.write("index.js", "second\n");
    let second = work.commit("second");
    work.git(&["branch", "--force", "v1", "main"]);
    work.git(&["branch", "feature/one"]);
    forge.publish("a/x", &work);
    let cache = forge.cache();

    let tag = cache.fetch(&reference("a/x@v1")).await.unwrap();
    assert_eq!((tag.sha.as_str(), tag.cached), (first.as_str(), false), "a tag wins, and is peeled");
    assert_eq!(read(&tag.dir.join("index.js")), "console.log('main')\n");
    assert!(!tag.root.join(".git").exists());
    let branch = cache.fetch(&reference("a/x/sub@feature/one")).await.unwrap();
    assert_eq!((branch.sha.as_str(), branch.cached), (second.as_str(), false));
    assert_eq!(branch.dir, branch.root.join("sub"));
    assert_eq!(branch.manifest().unwrap().name, "sub");
    assert_eq!(read(&branch.file("../index.js").unwrap()), "second\n");
    let explicit = cache.fetch(&reference("A/X@refs/heads/main")).await.unwrap();
    assert!(explicit.cached, "forges know no upper and lower case");
    let pinned = cache.fetch(&reference(&format!("A/x@{}", first.to_uppercase()))).await.unwrap();
    assert_eq!((pinned.sha, pinned.cached, &pinned.root), (first, true, &tag.root));
    let (text, sha) = cache.file("a", "x", "main", "sub/action.yml").await.unwrap();
    assert!(text.starts_with("name: sub") && sha == second);
}

#[tokio::test]
async fn each_failure_has_its_words() {
    let forge = Forge::new();
    let work = forge.repository("a/x");
    let sha = work.commit("first");
    work.git(&["tag", "-a", "t", "-m", "annotated"]);
    let tag_object = work.git(&["rev-parse", "t"]);
    forge.publish("a/x", &work);
    let cache = forge.cache();
    let fail = async |text: &str| {
        let error = cache.fetch(&reference(text)).await.unwrap_err();
        (error.kind(), error.to_string().replace(forge.dir.path().to_str().unwrap(), "DIR"))
    };
    insta::assert_debug_snapshot!(fail("a/none@v1").await, @r#"
    (
        MissingInMirror,
        "the mirror of actions has no 'DIR/mirror/a/none.git', and nothing but the mirror is asked. Add the repository: git clone --mirror <its address> 'DIR/mirror/a/none.git'",
    )
    "#);
    insta::assert_debug_snapshot!(fail("a/x@v9").await, @r#"
    (
        NotFound,
        "'a/x@v9': no branch or tag 'v9' in 'DIR/mirror/a/x.git'. Check the spelling; to see what there is: git ls-remote DIR/mirror/a/x.git",
    )
    "#);
    let (kind, message) = fail(&format!("a/x@{}", &sha[..8])).await;
    assert_eq!(kind, ActionErrorKind::NotFound);
    assert!(message.contains("abbreviated commit"), "{message}");
    let (kind, message) = fail(&format!("a/x@{}", "0".repeat(40))).await;
    assert_eq!(kind, ActionErrorKind::NotFound, "{message}");
    assert!(message.contains("no commit 0000"), "{message}");
    let (kind, message) = fail(&format!("a/x@{tag_object}")).await;
    assert_eq!(kind, ActionErrorKind::NotFound, "{message}");
    let (kind, message) = fail("a/x/nowhere@main").await;
    assert_eq!(kind, ActionErrorKind::NotFound);
    assert!(message.contains("no directory 'nowhere'"), "{message}");
    let (kind, _) = fail("a/x/index.js@main").await;
    assert_eq!(kind, ActionErrorKind::NotFound);
    assert_eq!(cache.file("a", "x", "main", "none.yml").await.unwrap_err().kind(), ActionErrorKind::NotFound);
    assert_eq!(cache.file("a", "x", "main", "sub").await.unwrap_err().kind(), ActionErrorKind::NotFound);
    assert_eq!(leftovers(&forge.cache_dir()).len(), 2, "the directory of this process and its lock");
    assert!(
        std::fs::read_dir(leftovers(&forge.cache_dir()).iter().find(|p| p.is_dir()).unwrap())
            .unwrap()
            .all(|e| e.unwrap().file_name() == "gitconfig")
    );
    drop(cache);
    assert!(leftovers(&forge.cache_dir()).is_empty());
}

#[tokio::test]
async fn an_unreachable_forge() {
    let forge = Forge::new();
    // Nobody listens on a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = CacheConfig {
        base_url: format!("http://me:hunter22@127.0.0.1:{port}/"),
        ..CacheConfig::new(forge.cache_dir())
    };
    let error = ActionCache::new(config).fetch(&reference("a/x@v1")).await.unwrap_err();
    assert_eq!(error.kind(), ActionErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains(&format!("http://127.0.0.1:{port}/a/x")), "{error}");
    assert!(!error.to_string().contains("hunter22"), "{error}");
}

#[tokio::test]
async fn policies_come_before_anything_else() {
    let forge = Forge::new();
    let config = CacheConfig {
        allowed_owners: vec!["Actions".to_owned(), "docker/login-action".to_owned()],
        sha_only: true,
        ..CacheConfig::new(forge.cache_dir())
    };
    let cache = ActionCache::new(config);
    let error = cache.fetch(&reference("evil/x@v1")).await.unwrap_err();
    assert_eq!(error.kind(), ActionErrorKind::NotAllowed);
    assert!(error.to_string().contains("Actions, docker/login-action"), "{error}");
    let error = cache.fetch(&reference("docker/other@v1")).await.unwrap_err();
    assert_eq!(error.kind(), ActionErrorKind::NotAllowed);
    for pinnable in ["actions/checkout@v4", "Docker/Login-Action@main"] {
        let error = cache.fetch(&reference(pinnable)).await.unwrap_err();
        assert_eq!(error.kind(), ActionErrorKind::NotPinned);
    }
    let error = cache.file("evil", "x", "main", "a.yml").await.unwrap_err();
    assert_eq!(error.kind(), ActionErrorKind::NotAllowed);
    // Parts written by hand are looked at as well.
    for (owner, repo, path, git_ref) in [
        ("..", "x", None, "v1"),
        ("a", "..", None, "v1"),
        ("a", "x", Some("../../y"), "v1"),
        ("a", "x", None, "--upload-pack=touch /tmp/x"),
        ("a/b", "x", None, "v1"),
        ("a", "x", Some("/abs"), "v1"),
    ] {
        let reference = RemoteReference {
            owner: owner.to_owned(),
            repo: repo.to_owned(),
            path: path.map(str::to_owned),
            git_ref: git_ref.to_owned(),
        };
        let error = cache.fetch(&reference).await.unwrap_err();
        assert_eq!(error.kind(), ActionErrorKind::BadReference, "{reference:?}");
    }
    assert_eq!(
        cache.file("a", "x", "v1", "../secret").await.unwrap_err().kind(),
        ActionErrorKind::BadReference
    );
    assert!(!forge.cache_dir().exists());
}

#[tokio::test]
async fn a_tag_moves_between_jobs_and_not_within_one() {
    let forge = Forge::new();
    let work = forge.repository("a/x");
    let first = work.commit("first");
    work.git(&["tag", "v1"]);
    forge.publish("a/x", &work);
    let cache = forge.cache();
    let job = cache.for_job();
    assert_eq!(job.fetch(&reference("a/x@v1")).await.unwrap().sha, first);
    work.write("index.js", "moved\n");
    let second = work.commit("second");
    work.git(&["tag", "--force", "v1"]);
    forge.publish("a/x", &work);
    assert_eq!(job.fetch(&reference("a/x@v1")).await.unwrap().sha, first);
    let next = cache.for_job().fetch(&reference("a/x@v1")).await.unwrap();
    assert_eq!((next.sha.as_str(), next.cached), (second.as_str(), false));

    // Without the remote, a commit that was fetched is still there, a tag is not.
    std::fs::remove_dir_all(forge.mirror()).unwrap();
    for cache in [cache.for_job(), forge.cache()] {
        let pinned = cache.fetch(&reference(&format!("a/x@{first}"))).await.unwrap();
        assert!(pinned.cached);
        let error = cache.fetch(&reference("a/x@v1")).await.unwrap_err();
        assert_eq!(error.kind(), ActionErrorKind::MissingInMirror);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_first_use_fetches_once() {
    let forge = Forge::new();
    let work = forge.repository("a/x");
    let sha = work.commit("first");
    forge.publish("a/x", &work);
    let caches: Vec<ActionCache> = (0..3).map(|_| forge.cache()).collect();
    let tasks: Vec<_> = (0..30)
        .map(|i| {
            let cache = if i % 2 == 0 { caches[i % 3].clone() } else { caches[i % 3].for_job() };
            tokio::spawn(async move { cache.fetch(&reference("a/x@main")).await.unwrap() })
        })
        .collect();
    let mut fresh = 0;
    for task in tasks {
        let fetched = task.await.unwrap();
        assert_eq!(fetched.sha, sha);
        assert!(fetched.dir.join("action.yml").is_file());
        fresh += usize::from(!fetched.cached);
    }
    assert_eq!(fresh, 1);
}

#[tokio::test]
async fn what_was_tampered_with_is_not_used() {
    let forge = Forge::new();
    let work = forge.repository("a/x");
    work.write("lib/deep/a.js", "a\n");
    let sha = work.commit("first");
    forge.publish("a/x", &work);
    let pinned = reference(&format!("a/x@{sha}"));
    let cache = forge.cache();
    let root = cache.fetch(&pinned).await.unwrap().root;
    let marker = root.parent().unwrap().join("marker");
    assert!(cache.fetch(&pinned).await.unwrap().cached);

    // What programs leave beside their scripts goes away, without a fetch.
    std::fs::create_dir(root.join("__pycache__")).unwrap();
    std::fs::write(root.join("__pycache__/x.pyc"), "evil").unwrap();
    std::fs::write(root.join("lib/node_modules"), "evil").unwrap();
    assert!(cache.fetch(&pinned).await.unwrap().cached);
    assert!(!root.join("__pycache__").exists() && !root.join("lib/node_modules").exists());

    let elsewhere = forge.path("elsewhere");
    let changes: [(&str, &dyn Fn()); 8] = [
        ("content", &|| std::fs::write(root.join("index.js"), "console.log('evil')\n").unwrap()),
        ("same size", &|| std::fs::write(root.join("index.js"), "console.log('mAin')\n").unwrap()),
        ("mode", &|| {
            std::fs::set_permissions(root.join("index.js"), std::fs::Permissions::from_mode(0o755)).unwrap();
        }),
        ("missing", &|| std::fs::remove_file(root.join("sub/action.yml")).unwrap()),
        ("link to the same", &|| {
            std::fs::rename(root.join("lib"), &elsewhere).unwrap();
            symlink(&elsewhere, root.join("lib")).unwrap();
        }),
        ("half a marker", &|| {
            let half = std::fs::read(&marker).unwrap();
            std::fs::write(&marker, &half[..half.len() / 2]).unwrap();
        }),
        ("no marker", &|| std::fs::remove_file(&marker).unwrap()),
        ("a marker of other files", &|| {
            let text = std::fs::read(&marker).unwrap();
            let at = text.windows(8).position(|w| w == b"index.js").unwrap();
            let mut other = text;
            other[at] = b'j';
            std::fs::write(&marker, other).unwrap();
            std::fs::rename(root.join("index.js"), root.join("jndex.js")).unwrap();
        }),
    ];
    for (what, change) in changes {
        for cache in [cache.clone(), forge.cache()] {
            assert!(cache.fetch(&pinned).await.unwrap().cached, "before {what}");
            let _ = std::fs::remove_dir_all(&elsewhere);
            change();
            let again = cache.fetch(&pinned).await.unwrap();
            assert!(!again.cached, "{what}");
            assert_eq!(read(&root.join("index.js")), "console.log('main')\n", "{what}");
            assert_eq!(read(&root.join("lib/deep/a.js")), "a\n", "{what}");
        }
    }
}

#[tokio::test]
async fn files_are_as_they_are_stored() {
    let forge = Forge::new();
    let work = forge.repository("a/x");
    let program = work.path().join("ran");
    work.write(
        ".gitattributes",
        "*.txt text eol=crlf\n*.id ident\n*.evil filter=evil\n*.u16 text working-tree-encoding=UTF-16\n",
    );
    for (name, text) in [("a.txt", "a\nb\n"), ("b.id", "$Id$\n"), ("c.evil", "c\n"), ("empty", "")] {
        work.write(name, text);
    }
    work.write(".gitmodules", "[submodule \"s\"]\n\tpath = s\n\turl = ../other\n");
    work.write("run.sh", "#!/bin/sh\n");
    work.git(&["update-index", "--add", "--chmod=+x", "run.sh"]);
    std::fs::set_permissions(work.path().join("run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink("sub/action.yml", work.path().join("inside.yml")).unwrap();
    symlink("/etc", work.path().join("outside")).unwrap();
    symlink("/etc/passwd", work.path().join("passwd.yml")).unwrap();
    symlink("../../../../../../../../etc/passwd", work.path().join("sub/up.yml")).unwrap();
    work.commit("files");
    let module = format!("160000,{},s", "1".repeat(40));
    work.git(&["update-index", "--add", "--cacheinfo", &module]);
    work.git(&["commit", "--quiet", "--message", "module"]);
    let bare = forge.publish("a/x", &work);
    // Configuration in the mirror that would run a program if git asked for it.
    let hook = format!("touch {}", program.display());
    work.git(&["-C", bare.to_str().unwrap(), "config", "uploadpack.packObjectsHook", &hook]);

    let cache = forge.cache();
    let fetched = cache.fetch(&reference("a/x@main")).await.unwrap();
    let root = &fetched.root;
    assert_eq!(read(&root.join("a.txt")), "a\nb\n");
    assert_eq!(read(&root.join("b.id")), "$Id$\n");
    assert_eq!(read(&root.join("c.evil")), "c\n");
    assert_eq!(read(&root.join("empty")), "");
    let mode = std::fs::metadata(root.join("run.sh")).unwrap().permissions().mode();
    assert_ne!(mode & 0o100, 0);
    assert!(!program.exists());
    assert!(
        forge.cache().fetch(&reference("a/x@main")).await.unwrap().cached,
        "links and modules are proven"
    );

    assert!(fetched.file("inside.yml").is_ok());
    for escape in ["passwd.yml", "outside/passwd", "sub/up.yml", "../../../x", "/etc/passwd"] {
        assert_eq!(fetched.file(escape).unwrap_err().kind(), ActionErrorKind::NotFound, "{escape}");
    }
    for escape in ["passwd.yml", "outside/passwd", "sub/up.yml"] {
        let error = cache.file("a", "x", "main", escape).await.unwrap_err();
        assert_eq!(error.kind(), ActionErrorKind::NotFound, "{escape}");
    }
    let error = cache.fetch(&reference("a/x/outside@main")).await.unwrap_err();
    assert_eq!(error.kind(), ActionErrorKind::NotFound);
}

#[tokio::test]
async fn repositories_of_sha256() {
    let forge = Forge::new();
    let path = forge.path("work/a/x");
    std::fs::create_dir_all(&path).unwrap();
    let made = std::process::Command::new("git")
        .args(["init", "--quiet", "--object-format=sha256", "--initial-branch=main"])
        .arg(&path)
        .status()
        .unwrap();
    if !made.success() {
        eprintln!("this git has no SHA-256: skipped");
        return;
    }
    let work = GitRepository::new(&path);
    work.write("d/action.yml", "runs: {using: node20, main: a.js}\n");
    let sha = work.commit("first");
    forge.publish("a/x", &work);
    assert_eq!(sha.len(), 64);
    assert_eq!(forge.cache().fetch(&reference("a/x/d@main")).await.unwrap().sha, sha);
    assert!(forge.cache().fetch(&reference(&format!("a/x/d@{sha}"))).await.unwrap().cached);
}

#[tokio::test]
async fn a_server_that_gives_no_single_commits() {
    let forge = Forge::new();
    let work = forge.repository("a/x");
    let sha = work.commit("first");
    work.write("index.js", "second\n");
    work.commit("second");
    forge.publish("a/x", &work);
    let refuse = "case \"$*\" in *--depth=1*) echo 'error: Server does not allow request for unadvertised object' >&2; exit 128;; esac";
    let config = fleetfoot_actions::CacheConfig { env: vec![forge.false_git(refuse)], ..forge.config() };
    let fetched = ActionCache::new(config).fetch(&reference(&format!("a/x@{sha}"))).await.unwrap();
    assert_eq!(read(&fetched.root.join("index.js")), "console.log('main')\n");
}

#[tokio::test]
async fn a_git_that_hangs_is_ended_with_its_children() {
    let forge = Forge::new();
    let work = forge.repository("a/x");
    work.commit("first");
    forge.publish("a/x", &work);
    let pid = forge.path("pid");
    let hang = format!(
        "if [ \"$1\" = fetch ]; then sleep 1000 & echo $! > '{0}.new'; mv '{0}.new' '{0}'; wait; fi",
        pid.display()
    );
    let config =
        CacheConfig { env: vec![forge.false_git(&hang)], timeout: Duration::from_secs(2), ..forge.config() };
    let error = ActionCache::new(config).fetch(&reference("a/x@main")).await.unwrap_err();
    assert_eq!(error.kind(), ActionErrorKind::Timeout, "{error}");
    let stat = format!("/proc/{}/stat", read(&pid).trim());
    fleetfoot_testkit::wait_until("the end of the child", Duration::from_secs(10), || {
        let alive = std::fs::read_to_string(&stat).is_ok_and(|s| !s.contains(") Z "));
        (!alive).then_some(())
    });
}
