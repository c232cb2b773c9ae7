//! The files that the dashboard shows for a new runner, taken as they are
//! (`web/src/routes/fleet/ways/`, which the tests of the dashboard compare with
//! what it shows): systemd and the schemas of Kubernetes judge theirs, and
//! Docker Compose runs its own, with the image of our Dockerfile.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking and say why they skip"
)]

use fleetfoot_testkit::{EngineKind, FULL_IMAGE, PrivateEngine, TestServer, wait_until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_fleetfoot");
const MINUTE: Duration = Duration::from_secs(60);

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// What the dashboard shows for one way to run a runner.
fn shown(way: &str) -> String {
    let file = repository().join(format!("web/src/routes/fleet/ways/{way}.txt"));
    std::fs::read_to_string(file).unwrap()
}

/// The text between two lines: what a shell would hand on from a here-document.
fn here_document(text: &str, opened_by: &str) -> String {
    let after = text.split_once(&format!("{opened_by}\n")).unwrap().1;
    format!("{}\n", after.split_once("\nEND").unwrap().0)
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn judge_manifest(text: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("manifest.yaml");
    std::fs::write(&file, text).unwrap();
    Command::new("python3")
        .args(["-m", "kubernetes_validate", "--strict"])
        .arg(&file)
        .env("PYTHONPATH", repository().join("target/python/lib"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn kubernetes_would_take_the_manifests() {
    let manifests = here_document(&shown("kubernetes"), "kubectl apply -f - <<'END'");
    assert_eq!(manifests.matches("\nkind: ").count(), 2, "{manifests}");
    if !repository().join("target/python/installed").exists() {
        eprintln!("skipped: no kubernetes-validate; next: scripts/tools.sh test");
        return;
    }
    let judged = judge_manifest(&manifests);
    assert!(judged.status.success(), "{}", words(&judged));
    // The judge knows every key: a slip does not pass.
    let slip = manifests.replace("volumeMounts:", "volumeMount:");
    let judged = judge_manifest(&slip);
    assert!(!judged.status.success() && words(&judged).contains("volumeMount"), "{}", words(&judged));
}

#[test]
fn systemd_would_take_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("skipped: no systemd-analyze on this machine; next: scripts/tools.sh test");
        return;
    }
    let dialog =
        here_document(&shown("systemd"), "/etc/systemd/system/fleetfoot-runner.service >/dev/null <<'END'");
    let packaged =
        std::fs::read_to_string(repository().join("docs/systemd/fleetfoot-runner.service")).unwrap();
    let printed = Command::new(BINARY).args(["runner", "systemd-unit"]).output().unwrap();
    for unit in [dialog, packaged, String::from_utf8(printed.stdout).unwrap()] {
        // The program is looked for where it will be installed, which is not here.
        let verified = verify_unit(&unit.replace("/usr/local/bin/fleetfoot", BINARY));
        assert!(
            verified.status.success() && words(&verified).trim().is_empty(),
            "{}\n{unit}",
            words(&verified)
        );
    }
    let verified = verify_unit("[Service]\nExecStart=/bin/true\nDelegat=yes\n");
    assert!(words(&verified).contains("Delegat"), "{}", words(&verified));
}

fn verify_unit(text: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fleetfoot-runner.service");
    std::fs::write(&file, text).unwrap();
    Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output().unwrap()
}

/// Docker Compose on a private engine, with the file of the dashboard and the little that this place needs.
struct Compose<'a> {
    engine: &'a PrivateEngine,
    dir: tempfile::TempDir,
}

impl<'a> Compose<'a> {
    fn new(engine: &'a PrivateEngine, file: &str, image: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("compose.yaml"), file).unwrap();
        // The server of the test is on loopback, which only the host's network reaches.
        let local = format!("services:\n  runner:\n    image: {image}\n    network_mode: host\n");
        std::fs::write(dir.path().join("local.yaml"), local).unwrap();
        Self { engine, dir }
    }

    fn run(&self, args: &[&str]) -> String {
        let output = Command::new("docker-compose")
            .args(["--project-name", "ways", "--file", "compose.yaml", "--file", "local.yaml"])
            .args(args)
            .current_dir(self.dir.path())
            .env("DOCKER_HOST", format!("unix://{}", self.engine.socket().display()))
            .env("HOME", self.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", words(&output));
        words(&output)
    }
}

impl Drop for Compose<'_> {
    fn drop(&mut self) {
        // Whatever a test that failed has left.
        let _ = self.engine.cli(&["rm", "--force", "--volumes", "ways_runner_1"]);
    }
}

/// The image of our Dockerfile, on an image that is made of programs of this machine.
fn make_image(engine: &PrivateEngine, tag: &str) {
    engine.add_full_image();
    let built = Command::new("sh")
        .args(["scripts/image.sh", BINARY, tag])
        .current_dir(repository())
        .env("DOCKER_HOST", format!("unix://{}", engine.socket().display()))
        .env("ENGINE", "docker")
        .env("BASE", FULL_IMAGE)
        .env("PACKAGES", "")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", words(&built));
}

#[test]
fn docker_compose_runs_a_runner_that_keeps_its_identity() {
    if Command::new("docker-compose").arg("version").output().is_err() {
        eprintln!("skipped: no docker-compose on this machine; next: scripts/tools.sh test");
        return;
    }
    let Some(engine) = PrivateEngine::start(EngineKind::Docker, &[]) else { return };
    make_image(&engine, "localhost/fleetfoot:test");
    let server = TestServer::server(BINARY, &[]);
    let file = shown("compose")
        .replace("https://ci.example.org", server.url())
        .replace("ffreg_example", &server.registration_token());
    let compose = Compose::new(&engine, &file, "localhost/fleetfoot:test");

    compose.run(&["up", "--detach"]);
    let only = |state: &str| {
        let found = server.cli().run(&["runner", "list", "--output", "json"]).json();
        let items = found["items"].as_array().unwrap();
        assert!(items.len() <= 1, "one runner: {items:?}");
        items.iter().find(|r| r["state"] == state).cloned()
    };
    let runner: Value = wait_until("the runner of the container", MINUTE, || only("idle"));
    let labels = runner["labels"].as_array().unwrap();
    assert!(labels.contains(&"big box".into()), "{runner}");

    let workflow = "on: push\njobs:\n  who:\n    runs-on: [linux, big box]\n    steps:\n      - run: id -u\n";
    let path = server.data().join("who.yml");
    std::fs::write(&path, workflow).unwrap();
    let done = server.cli().run(&["submit", path.to_str().unwrap(), "--watch"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.lines().any(|l| l.ends_with("1000")), "{done:?}");

    // Another container, the same volume, and a token that is used up.
    compose.run(&["up", "--detach", "--force-recreate"]);
    let again = wait_until("the runner to come back", MINUTE, || {
        only("idle").filter(|r| r["last_seen_at"] != runner["last_seen_at"])
    });
    assert_eq!(again["id"], runner["id"]);
    compose.run(&["down", "--volumes"]);
    wait_until("the runner to leave", MINUTE, || only("offline"));
}
