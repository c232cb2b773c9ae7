//! Private container engines for tests: a `dockerd` and a `podman system
//! service`, each with directories and a socket of its own, and images that
//! are made here, because none can be pulled. Ended by pid; what they mounted
//! goes with them. They must never touch an engine of the machine.
//!
//! The least that works on a machine where everything is scarce:
//! - Docker without a default bridge and without touching the firewall
//!   (`--bridge none --iptables=false --ip-forward=false`): networks of one's
//!   own, names in them, and published ports (by the userland proxy) work,
//!   only the way out does not. So several such daemons live side by side.
//! - Podman with `runc` and the file driver for control groups, because `crun`
//!   refuses machines with both kinds of them, and with limits of open files
//!   below the hard limit, which a root without `CAP_SYS_RESOURCE` cannot
//!   raise. Its health checks need systemd; drivers have to do without.

use crate::roots::{full_root, small_root};
use crate::users::User;
use crate::wait::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Names of networks older than this belong to an engine that has ended.
const NAMES_LIVE: Duration = Duration::from_secs(15 * 60);
/// How long an engine may take to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(40);

/// Image with busybox and nothing else.
pub const SMALL_IMAGE: &str = "localhost/fleetfoot-test/busybox:1";
/// Image with the shell, the tools and the libraries of this machine.
pub const FULL_IMAGE: &str = "localhost/fleetfoot-test/full:1";

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// `dockerd`.
    Docker,
    /// `podman system service`.
    Podman,
    /// The same for an ordinary user, who has no rights on the machine.
    RootlessPodman,
}

impl EngineKind {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman | Self::RootlessPodman => "podman",
        }
    }

    /// Its name, and what is special about it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::RootlessPodman => "podman without root",
            other => other.name(),
        }
    }
}

/// A running engine; ended when dropped.
#[derive(Debug)]
pub struct PrivateEngine {
    kind: EngineKind,
    child: Child,
    /// Whose it is, if not root's.
    user: Option<User>,
    directory: TempDir,
    /// Removed when the engine is gone.
    _bridge: Option<Bridge>,
}

/// A bridge that a private Docker has for its default network.
#[derive(Debug)]
struct Bridge(String);

impl Bridge {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = std::process::id().wrapping_mul(8).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let bridge = Self(format!("ffb{}", number % 1_000_000));
        let address = format!("10.203.{}.1/24", number % 256);
        bridge.ip(&["link", "add", "name", &bridge.0, "type", "bridge"]);
        bridge.ip(&["address", "add", &address, "dev", &bridge.0]);
        bridge.ip(&["link", "set", &bridge.0, "up"]);
        bridge
    }

    fn name(&self) -> &str {
        &self.0
    }

    #[expect(clippy::unused_self, reason = "only for one that is there")]
    fn ip(&self, args: &[&str]) {
        let done = Command::new("ip").args(args).status().expect("ip");
        assert!(done.success(), "ip {args:?}");
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "delete", &self.0]).status();
    }
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|d| d.join(program).is_file())
}

/// What is missing for a private engine, in words; `None` if it can be tried.
#[must_use]
pub fn engine_missing(kind: EngineKind) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("private engines need root".into());
    }
    let needed: &[&str] = match kind {
        EngineKind::Docker => &["dockerd", "docker", "containerd", "runc", "iptables", "busybox", "tar"],
        EngineKind::Podman => &["podman", "conmon", "runc", "iptables", "busybox", "tar"],
        EngineKind::RootlessPodman => {
            &["podman", "conmon", "runc", "busybox", "tar", "newuidmap", "slirp4netns", "setpriv", "unshare"]
        }
    };
    let missing: Vec<&str> = needed.iter().copied().filter(|p| !has(p)).collect();
    (!missing.is_empty())
        .then(|| format!("not installed: {}; next: scripts/tools.sh test", missing.join(", ")))
}

impl PrivateEngine {
    /// Starts one and loads the small image. `insecure` are registries (`127.0.0.1:PORT`) that speak
    /// plain HTTP. `None`, with the reason printed, where the machine cannot.
    ///
    /// # Panics
    /// If everything is there and it does not start.
    #[must_use]
    pub fn start(kind: EngineKind, insecure: &[String]) -> Option<Self> {
        Self::start_at(kind, insecure, None, None)
    }

    /// The same with a default network for containers that name none, as an engine has it that was just
    /// installed: Docker gets a bridge of its own for it.
    ///
    /// # Panics
    /// If everything is there and it does not start.
    #[must_use]
    pub fn start_with_default_network(kind: EngineKind) -> Option<Self> {
        let bridge = (kind == EngineKind::Docker && engine_missing(kind).is_none()).then(Bridge::new);
        Self::start_at(kind, &[], bridge, None)
    }

    /// The same with so many bytes for images and containers.
    ///
    /// # Panics
    /// If everything is there and it does not start.
    #[must_use]
    pub fn start_on_a_small_disk(kind: EngineKind, insecure: &[String], bytes: u64) -> Option<Self> {
        Self::start_at(kind, insecure, None, Some(bytes))
    }

    fn start_at(
        kind: EngineKind,
        insecure: &[String],
        bridge: Option<Bridge>,
        disk: Option<u64>,
    ) -> Option<Self> {
        if let Some(reason) = engine_missing(kind) {
            #[expect(clippy::print_stderr, reason = "tests say why something was not tested")]
            {
                eprintln!("skipped: {}: {reason}", kind.label());
            }
            return None;
        }
        // Names of sockets are short.
        let directory = tempfile::Builder::new().prefix("ffe").tempdir_in("/tmp").expect("a directory");
        if let Some(bytes) = disk {
            let name = if kind == EngineKind::Docker { "data" } else { "graph" };
            small_disk(&directory.path().join(name), bytes);
        }
        let user = (kind == EngineKind::RootlessPodman).then(|| User::new(directory.path()));
        let child = match kind {
            EngineKind::Docker => {
                docker(directory.path(), insecure, bridge.as_ref().map_or("none", Bridge::name))
            }
            EngineKind::Podman => {
                forget_names();
                podman(directory.path(), insecure, None)
            }
            EngineKind::RootlessPodman => {
                let id = user.as_ref().map(User::id);
                std::os::unix::fs::chown(directory.path(), id, id).expect("an owner");
                podman(directory.path(), insecure, user.as_ref())
            }
        };
        let mut engine = Self { kind, child, user, directory, _bridge: bridge };
        let mut state = None;
        wait_until(&format!("{} to answer\n{}", kind.name(), engine.log()), PATIENCE, || {
            state = engine.child.try_wait().expect("the state of the engine");
            assert!(state.is_none(), "{} ended: {state:?}\n{}", kind.name(), engine.log());
            engine.cli(&["version"]).status.success().then_some(())
        });
        engine.import(SMALL_IMAGE, &small_root(engine.directory.path()));
        #[expect(clippy::print_stderr, reason = "tests say what was tested")]
        {
            eprintln!("tested: {} at {}", kind.label(), engine.socket().display());
        }
        Some(engine)
    }

    /// Which it is.
    #[must_use]
    pub const fn kind(&self) -> EngineKind {
        self.kind
    }

    /// Its API socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("s.sock")
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Runs the engine's own command line against it.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn cli(&self, args: &[&str]) -> std::process::Output {
        self.command(args).output().expect("the command line of the engine")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = match self.kind {
            EngineKind::Docker => {
                let mut command = Command::new("docker");
                command.arg("--host").arg(format!("unix://{}", self.socket().display()));
                command.env("DOCKER_CONFIG", self.directory.path());
                command
            }
            EngineKind::Podman | EngineKind::RootlessPodman => {
                let mut command = Command::new("podman");
                command.arg("--url").arg(format!("unix://{}", self.socket().display()));
                command
            }
        };
        command.args(args).stdin(Stdio::null());
        command
    }

    /// Runs the command line; answers what it printed.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn output(&self, args: &[&str]) -> String {
        let output = self.cli(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Makes a network that is kept for one use, as those of jobs are.
    ///
    /// # Panics
    /// If the engine does not make it.
    pub fn make_network(&self, name: &str) {
        let _ = self.output(&["network", "create", name]);
    }

    /// Makes an image of a directory.
    ///
    /// # Panics
    /// If the engine does not take it.
    pub fn import(&self, name: &str, root: &Path) {
        let tar = root.with_extension("tar");
        let packed =
            Command::new("tar").arg("-C").arg(root).arg("-cf").arg(&tar).arg(".").status().expect("tar");
        assert!(packed.success(), "tar of {}", root.display());
        let _ = self.output(&["import", &tar.display().to_string(), name]);
        let _ = fs::remove_file(tar);
    }

    /// The ordinary user whose engine it is, or who is let in: an engine of root gives such a user its
    /// socket, as membership in its group does.
    ///
    /// # Panics
    /// If the socket is not the test's.
    #[must_use]
    pub fn user(&self) -> User {
        use std::os::unix::fs::{PermissionsExt, chown};
        if let Some(user) = &self.user {
            return user.clone();
        }
        let user = User::new(self.directory.path());
        chown(self.socket(), None, Some(user.id())).expect("the group of the socket");
        fs::set_permissions(self.socket(), fs::Permissions::from_mode(0o660)).expect("rights of the socket");
        user
    }

    /// Adds the image with the shell, git, node and coreutils of this machine, as far as it has them.
    pub fn add_full_image(&self) {
        let root = self.directory.path().join("full");
        full_root(&root);
        self.import(FULL_IMAGE, &root);
        let _ = fs::remove_dir_all(&root);
    }

    /// Ends it as a machine that loses power does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, as an operator does.
    pub fn stop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        wait_until("the engine to end", PATIENCE, || self.child.try_wait().expect("the state of the engine"));
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|state| state.is_none()) {
            // What tests left running would keep mounts busy.
            let all = self.cli(&["ps", "--all", "--quiet"]);
            let ids = String::from_utf8_lossy(&all.stdout).into_owned();
            let mut args = vec!["rm", "--force", "--volumes"];
            args.extend(ids.split_whitespace());
            if args.len() > 3 {
                let _ = self.cli(&args);
            }
            let networks = self.cli(&["network", "ls", "--format", "{{.Name}}"]);
            let _ = self.cli(&["network", "prune", "--force"]);
            if self.kind == EngineKind::Podman {
                for name in
                    String::from_utf8_lossy(&networks.stdout).lines().filter(|n| n.starts_with("fleetfoot-"))
                {
                    let _ = fs::remove_file(Path::new("/run/containers/networks/aardvark-dns").join(name));
                }
            }
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            for _ in 0..1000 {
                if self.child.try_wait().is_ok_and(|state| state.is_some()) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(user) = &self.user {
            user.end_processes();
        }
        end_leftovers(self.directory.path());
        unmount_below(self.directory.path());
    }
}

/// Processes of the engine that outlive it (its containerd, shims, monitors) name its directory.
fn end_leftovers(directory: &Path) {
    let needle = directory.display().to_string();
    let me = std::process::id();
    for entry in fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&line).replace('\0', " ");
        let program = words.split(' ').next().unwrap_or_default();
        let known =
            ["containerd", "containerd-shim-runc-v2", "conmon", "docker-proxy", "aardvark-dns", "dockerd"];
        let is_known = known.iter().any(|k| program.rsplit('/').next() == Some(*k));
        if is_known
            && words.contains(&needle)
            && pid.unsigned_abs() != me
            && let Some(pid) = Pid::from_raw(pid)
        {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn unmount_below(directory: &Path) {
    let prefix = directory.display().to_string();
    for _ in 0..20 {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mut ours: Vec<&str> =
            mounts.lines().filter_map(|l| l.split(' ').nth(1)).filter(|p| p.starts_with(&prefix)).collect();
        if ours.is_empty() {
            return;
        }
        ours.sort_by_key(|p| std::cmp::Reverse(p.len()));
        for path in ours {
            let _ = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

/// A disk of its own, unmounted with everything else below the directory of an engine.
fn small_disk(directory: &Path, bytes: u64) {
    fs::create_dir(directory).expect("a directory");
    let size = format!("size={bytes}");
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory).status();
    assert!(done.expect("mount").success(), "a small disk");
}

fn log_to(directory: &Path, command: &mut Command) -> Child {
    let log = fs::File::create(directory.join("log")).expect("a log");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::from(log.try_clone().expect("a log")))
        .stderr(Stdio::from(log))
        .spawn()
        .expect("the engine starts")
}

fn docker(directory: &Path, insecure: &[String], bridge: &str) -> Child {
    let path = |name: &str| directory.join(name).display().to_string();
    let mut command = Command::new("dockerd");
    command.args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")]);
    command.arg("-H").arg(format!("unix://{}", path("s.sock")));
    command.args(["--bridge", bridge, "--iptables=false", "--ip6tables=false", "--ip-forward=false"]);
    command.args(["--ip-masq=false", "--storage-driver", "overlay2", "--log-level", "warn"]);
    // Only few networks fit into what engines take by themselves.
    command.args(["--default-address-pool", "base=10.201.0.0/16,size=24"]);
    for registry in insecure {
        command.args(["--insecure-registry", registry]);
    }
    log_to(directory, &mut command)
}

fn podman(directory: &Path, insecure: &[String], user: Option<&User>) -> Child {
    let path = |name: &str| directory.join(name).display().to_string();
    let write = |name: &str, text: String| fs::write(directory.join(name), text).expect("a configuration");
    let most = rustix::process::getrlimit(rustix::process::Resource::Nproc).maximum;
    let most = most.unwrap_or(u64::MAX).min(16_384);
    write(
        "containers.conf",
        format!(
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc={most}:{most}\"]\n[engine]\n\
             runtime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n"
        ),
    );
    let registries: String =
        insecure.iter().map(|r| format!("[[registry]]\nlocation = \"{r}\"\ninsecure = true\n")).collect();
    write("registries.conf", format!("unqualified-search-registries = [\"docker.io\"]\n{registries}"));
    write("policy.json", "{\"default\":[{\"type\":\"insecureAcceptAnything\"}]}".into());
    let of_root = || {
        let mut command = Command::new("podman");
        // Monitors of containers leave notes where they were started.
        command.current_dir(directory);
        command
    };
    let mut command = user.map_or_else(of_root, |user| user.command_with_ids("podman"));
    command.args(["--root", &path("graph"), "--runroot", &path("run"), "--tmpdir", &path("tmp")]);
    command.args(["--network-config-dir", &path("networks"), "--storage-driver", "overlay"]);
    command.args(["system", "service", "--time", "0"]).arg(format!("unix://{}", path("s.sock")));
    command.env("CONTAINERS_CONF", path("containers.conf"));
    command.env("CONTAINERS_REGISTRIES_CONF", path("registries.conf"));
    log_to(directory, &mut command)
}

/// Podman's name server keeps the names of networks in one place for the whole machine: what an engine
/// that was ended left there would answer for new containers with the same addresses. Those of engines
/// that live are younger, or belong to a test that takes very long.
fn forget_names() {
    let entries = fs::read_dir("/run/containers/networks/aardvark-dns").into_iter().flatten().flatten();
    for entry in entries.filter(|e| e.file_name().to_string_lossy().starts_with("fleetfoot-")) {
        let written = entry.metadata().and_then(|m| m.modified()).ok();
        if written.and_then(|w| w.elapsed().ok()).is_some_and(|age| age > NAMES_LIVE) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
