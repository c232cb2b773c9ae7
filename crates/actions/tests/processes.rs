//! Several processes share one cache: they fetch once, and one that is killed
//! in the middle leaves nothing that anybody would use.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use fleetfoot_actions::{ActionCache, CacheConfig};
use fleetfoot_testkit::wait_until;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::{Forge, leftovers, read, reference};

const DEADLINE: Duration = Duration::from_secs(30);

/// Not a test of its own: what the other processes do. They wait for a file, so that they begin together.
#[tokio::test]
async fn child() {
    let Ok(arguments) = std::env::var("FLEETFOOT_ACTIONS_CHILD") else { return };
    let [cache, mirror, path, go, text] = arguments.split('|').collect::<Vec<_>>()[..] else { panic!() };
    let config = CacheConfig {
        mirror: Some(mirror.to_owned()),
        env: vec![("PATH".to_owned(), path.to_owned())],
        ..CacheConfig::new(cache)
    };
    wait_until("the start", DEADLINE, || Path::new(go).exists().then_some(()));
    let fetched = ActionCache::new(config).fetch(&reference(text)).await.unwrap();
    assert!(fetched.dir.join("action.yml").is_file());
    println!("cached={}", fetched.cached);
}

fn start(forge: &Forge, path: &str, go: &Path, text: &str) -> Child {
    let (cache, mirror) = (forge.cache_dir(), forge.mirror());
    let arguments =
        [cache.to_str().unwrap(), mirror.to_str().unwrap(), path, go.to_str().unwrap(), text].join("|");
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env("FLEETFOOT_ACTIONS_CHILD", arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn first_use_from_many_processes_fetches_once() {
    let forge = Forge::new();
    let work = forge.repository("a/x");
    let sha = work.commit("first");
    forge.publish("a/x", &work);
    let go = forge.path("go");
    let path = std::env::var("PATH").unwrap();
    let children: Vec<Child> = (0..6).map(|_| start(&forge, &path, &go, "a/x@main")).collect();
    std::fs::write(&go, "").unwrap();
    let mut fresh = 0;
    for child in children {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        fresh += usize::from(said.contains("cached=false"));
    }
    assert_eq!(fresh, 1);
    let entries: Vec<_> = std::fs::read_dir(forge.cache_dir().join("a/x")).unwrap().collect();
    assert_eq!(entries.len(), 1);
    assert!(forge.cache_dir().join("a/x").join(sha).join("tree/action.yml").is_file());
    assert!(leftovers(&forge.cache_dir()).is_empty(), "{:?}", leftovers(&forge.cache_dir()));
}

#[tokio::test]
async fn a_kill_in_the_middle_leaves_nothing() {
    let forge = Forge::new();
    let work = forge.repository("a/x");
    let sha = work.commit("first");
    forge.publish("a/x", &work);
    let go = forge.path("go");
    std::fs::write(&go, "").unwrap();
    // In the middle of the fetch, and when half of the files are written.
    for stage in ["fetch", "checkout-index"] {
        let pid = forge.path("pid");
        let _ = std::fs::remove_file(&pid);
        let hang = format!(
            "if [ \"$1\" = {stage} ]; then [ {stage} = fetch ] || echo half > index.js; echo $$ > '{0}.new'; mv '{0}.new' '{0}'; exec sleep 1000; fi",
            pid.display()
        );
        let (_, path) = forge.false_git(&hang);
        let mut child = start(&forge, &path, &go, "a/x@main");
        let git = wait_until("a git that hangs", DEADLINE, || std::fs::read_to_string(&pid).ok());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!forge.cache_dir().join("a/x").exists());
        assert!(!leftovers(&forge.cache_dir()).is_empty(), "what the dead process left");
        Command::new("kill").args(["-9", git.trim()]).status().unwrap();
    }
    let cache = forge.cache();
    let fetched = cache.fetch(&reference("a/x@main")).await.unwrap();
    assert_eq!((fetched.sha, fetched.cached), (sha, false));
    assert_eq!(read(&fetched.root.join("index.js")), "console.log('main')\n");
    assert_eq!(leftovers(&forge.cache_dir()).len(), 2, "only what belongs to this process");
    // The living are left alone.
    let other = forge.cache();
    other.fetch(&reference("a/x@main")).await.unwrap();
    assert_eq!(leftovers(&forge.cache_dir()).len(), 4);
    drop((cache, other));
    assert!(leftovers(&forge.cache_dir()).is_empty());
}
