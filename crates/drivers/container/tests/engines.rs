//! Job containers, services, actions, pulls, clean-up and faults, against each
//! engine of the machine. One engine per test, in
//! which the parts run side by side.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "tests")]

use fleetfoot_driver::containers::{
    Container, Containers, Credentials, Group, GroupRequest, Image, ImageSource,
};
use fleetfoot_driver::{Cell, CellRequest, Command, DriverErrorKind, Signal};
use fleetfoot_driver_conformance::{alive, eventually, finish, fresh_tag, line};
use fleetfoot_driver_container::{
    ContainerEngine, ContainerOptions, Endpoint, Keep, KeepPolicy, Network, Pull,
};
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId};
use fleetfoot_model::spec::Limits;
use fleetfoot_testkit::{EngineKind, FakeRegistry, PrivateEngine, SMALL_IMAGE};
use indexmap::IndexMap;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

static NEXT: AtomicU64 = AtomicU64::new(1000);

struct World {
    options: ContainerOptions,
    engine: ContainerEngine,
    group: Arc<dyn Group>,
    attempt: AttemptRef,
    notes: Arc<Mutex<Vec<String>>>,
    dir: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        // Containers that still run hold what they have mounted.
        let _ = self.options.directory.as_ref().map(std::fs::remove_dir_all);
    }
}

fn options(engine: &PrivateEngine) -> ContainerOptions {
    let tag = fresh_tag();
    ContainerOptions {
        directory: Some(std::env::temp_dir().join(format!("ff-{tag}"))),
        tag,
        endpoint: Endpoint::Socket(engine.socket()),
        pull: Pull::Missing,
        ..ContainerOptions::default()
    }
}

impl World {
    async fn new(options: ContainerOptions) -> Self {
        Self::with(options, Limits::default()).await
    }

    async fn with(options: ContainerOptions, limits: Limits) -> Self {
        let engine = ContainerEngine::new(options.clone()).unwrap();
        Self::at(engine, options, limits).await
    }

    async fn at(engine: ContainerEngine, options: ContainerOptions, limits: Limits) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let attempt = AttemptRef { job: JobId(number), attempt: 1, epoch: Epoch(3) };
        let dir = tempfile::tempdir().unwrap();
        for name in ["workspace", "temp"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let cell = CellRequest {
            limits,
            ..CellRequest::new(attempt, dir.path().join("workspace"), dir.path().join("temp"))
        };
        let notes = Arc::<Mutex<Vec<String>>>::default();
        let ours = notes.clone();
        let request =
            GroupRequest { cell, notes: Arc::new(move |l: &str| ours.lock().unwrap().push(l.to_owned())) };
        let group = engine.open(request).await.unwrap();
        Self { options, engine, group, attempt, notes, dir }
    }

    async fn image(&self) -> Image {
        let source = ImageSource::Reference { reference: SMALL_IMAGE.into(), credentials: None };
        self.group.image(&source).await.unwrap()
    }

    async fn container(&self, options: &str) -> Container {
        Container {
            image: self.image().await,
            env: IndexMap::new(),
            ports: Vec::new(),
            volumes: Vec::new(),
            options: options.into(),
            entrypoint: None,
            command: None,
            mounts: Vec::new(),
            working_directory: None,
        }
    }

    async fn cell(&self, options: &str) -> Box<dyn Cell> {
        self.group.cell(self.container(options).await).await.unwrap()
    }

    fn workspace(&self) -> PathBuf {
        self.dir.path().join("workspace")
    }

    fn sh(&self, script: &str) -> Command {
        Command {
            program: "sh".into(),
            args: vec!["-c".into(), script.into()],
            working_directory: self.workspace(),
            merge_output: true,
            ..Command::default()
        }
    }

    async fn script(&self, cell: &dyn Cell, script: &str) -> (Option<i32>, String) {
        let running = cell.start(self.sh(script)).await.unwrap_or_else(|e| panic!("{script}: {e}"));
        let (exit, out) = finish(running).await;
        (exit.code, out)
    }

    async fn action(&self, container: Container) -> (Option<i32>, Option<i32>, String) {
        let (exit, out) = finish(self.group.run(container).await.unwrap()).await;
        (exit.code, exit.signal, out)
    }
}

/// Everything at the engine that carries the tag, when nothing is under way any more.
async fn left_of(engine: &PrivateEngine, world: &World) -> Vec<String> {
    world.engine.close().await;
    left(engine, &world.options.tag)
}

fn words(list: &[&str]) -> Option<Vec<String>> {
    Some(list.iter().map(|w| (*w).to_owned()).collect())
}

/// Everything at the engine that carries the tag.
fn left(engine: &PrivateEngine, tag: &str) -> Vec<String> {
    let filter = format!("label=fleetfoot.runner={tag}");
    let mut all = Vec::new();
    for (args, what) in [
        (vec!["ps", "--all", "--quiet"], "container"),
        (vec!["network", "ls", "--quiet"], "network"),
        (vec!["volume", "ls", "--quiet"], "volume"),
        (vec!["images", "--quiet"], "image"),
    ] {
        let mut args = args;
        args.extend(["--filter", &filter]);
        all.extend(engine.output(&args).lines().filter(|l| !l.is_empty()).map(|l| format!("{what} {l}")));
    }
    all
}

async fn job_container(engine: &PrivateEngine) {
    let world = World::new(options(engine)).await;
    let mut container =
        world.container("--hostname box -e FROM_OPTIONS='a b' --add-host other:127.0.0.9").await;
    container.env.insert("FROM_CONTAINER".into(), "--privileged\n\"x\"=,".into());
    container.volumes = vec!["data:/data".into(), "/scratch".into()];
    let cell = world.group.cell(container).await.unwrap();
    let cell = cell.as_ref();
    let (code, out) = world
        .script(cell, "echo $PATH; echo \"$FROM_CONTAINER|$FROM_OPTIONS|$HOME\"; hostname; grep other /etc/hosts; touch /data/x /scratch/y; pwd")
        .await;
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("--privileged\n\"x\"=,|a b|/root\nbox\n127.0.0.9"), "{out}");
    assert!(out.starts_with("/usr/local/sbin") && out.ends_with("/github/workspace\n"), "{out}");
    // The variables of a command win.
    let mut command = world.sh("echo $FROM_OPTIONS");
    command.env.insert("FROM_OPTIONS".into(), "mine".into());
    assert_eq!(finish(cell.start(command).await.unwrap()).await.1, "mine\n");
    // Files of any user are given back, links are not followed.
    std::fs::write(world.dir.path().join("outside"), "").unwrap();
    std::os::unix::fs::chown(world.dir.path().join("outside"), Some(7), Some(7)).unwrap();
    std::os::unix::fs::symlink(world.dir.path().join("outside"), world.workspace().join("link")).unwrap();
    let script = "mkdir -p d/e && touch d/e/f && chown -R 1234:1234 d && chmod 700 d && chown -h 99 link";
    assert_eq!(world.script(cell, script).await.0, Some(0));
    assert_eq!(std::fs::metadata(world.workspace().join("d")).unwrap().uid(), 1234);
    let id = cell.id().unwrap();
    assert_eq!(engine.output(&["inspect", "--format", "{{.Id}}", &id]), id);
    let record = cell.record();
    assert!(record.driver.contains(engine.kind().name()) && record.image.is_some(), "{record:?}");
    cell.tear_down().await.unwrap();
    world.group.tear_down(false).await.unwrap();
    world.group.tear_down(false).await.unwrap();
    let me = rustix_uid();
    for path in ["d", "d/e", "d/e/f", "link"] {
        assert_eq!(std::fs::symlink_metadata(world.workspace().join(path)).unwrap().uid(), me, "{path}");
    }
    assert_eq!(std::fs::metadata(world.dir.path().join("outside")).unwrap().uid(), 7);
    assert_eq!(left_of(engine, &world).await, Vec::<String>::new());
}

fn rustix_uid() -> u32 {
    std::fs::metadata("/proc/self").unwrap().uid()
}

async fn networks(engine: &PrivateEngine) {
    let options = options(engine);
    let first = World::new(options.clone()).await;
    let ours = first.engine.clone();
    let next = async || World::at(ours.clone(), options.clone(), Limits::default()).await;
    let _cell = first.cell("").await;
    ours.settle().await;
    // Made beforehand, and only for one.
    let (second, third) = (next().await, next().await);
    let names: Vec<String> = [&first, &second, &third].map(|w| w.group.network()).to_vec();
    assert!(
        names[1].contains("-spare-") && !names[0].contains("spare") && !names[2].contains("spare"),
        "{names:?}"
    );
    let cell = second.cell("").await;
    let id = cell.id().unwrap();
    let of_it = engine.output(&[
        "inspect",
        "--format",
        "{{range $n, $_ := .NetworkSettings.Networks}}{{$n}} {{end}}{{.Id}}",
        &id,
    ]);
    assert_eq!(of_it, format!("{} {id}", names[1]));
    let (code, out) = second.script(cell.as_ref(), "ip -4 addr show dev eth0").await;
    assert_eq!(code, Some(0), "{out}");
    // A sweep of the living takes neither a network in use nor one that waits.
    ours.settle().await;
    let living = [first.attempt, second.attempt, third.attempt];
    assert_eq!(ours.sweep_except(&living).await.unwrap(), Vec::<String>::new());
    let fourth = next().await;
    assert!(fourth.group.network().contains("-spare-"));
    // One that a dead runner had taken is found again, and only that.
    let successor = ContainerEngine::new(options.clone()).unwrap();
    successor.sweep(fourth.attempt).await.unwrap();
    let all = engine.output(&["network", "ls", "--format", "{{.Name}}"]);
    assert!(!all.contains(&fourth.group.network()) && names.iter().all(|n| all.contains(n)), "{all}");
    // After an attempt its network goes, though nobody waits for it.
    second.group.tear_down(false).await.unwrap();
    ours.settle().await;
    let all = engine.output(&["network", "ls", "--format", "{{.Name}}"]);
    assert!(!all.contains(&names[1]), "{all}");
    for world in [&first, &third] {
        world.group.tear_down(false).await.unwrap();
    }
    assert_eq!(left_of(engine, &first).await, Vec::<String>::new());
}

async fn trial(engine: &PrivateEngine) {
    let options = options(engine);
    let scratch = tempfile::tempdir().unwrap();
    let probe = ContainerEngine::probe(options.clone(), scratch.path()).await;
    assert!(probe.usable && probe.checks.iter().all(|c| c.works), "{probe:?}");
    assert_eq!(probe.checks.iter().map(|c| c.name).collect::<Vec<_>>(), ["engine", "container", "limits"]);
    assert_eq!(left(engine, &format!("probe-{}", options.tag)), Vec::<String>::new());
    // An engine that answers, and has nothing to run containers with. (Podman takes no runtime from us.)
    if engine.kind() == EngineKind::Podman {
        return;
    }
    let broken = ContainerOptions { runtime: Some("no-such-runtime".into()), ..options.clone() };
    let probe = ContainerEngine::probe(broken, scratch.path()).await;
    let bad = probe.checks.iter().find(|c| !c.works).unwrap();
    assert!(!probe.usable && bad.name == "container" && bad.fix.is_some(), "{probe:?}");
    println!("{}: {}; {}", engine.kind().name(), bad.found, bad.fix.clone().unwrap());
    assert_eq!(left(engine, &format!("probe-{}", options.tag)), Vec::<String>::new());
}

async fn services(engine: &PrivateEngine) {
    let world = World::new(options(engine)).await;
    let mut web = world
        .container("--health-cmd 'test -e /tmp/ready' --health-interval 500ms --health-retries 20 --network-alias other-name")
        .await;
    web.ports = vec!["80".into()];
    let script = "echo starting; mkdir -p /www; echo hello > /www/index.html; (sleep 1; touch /tmp/ready) & exec httpd -f -p 80 -h /www";
    web.command = words(&["sh", "-c", script]);
    let service = world.group.service("web", web).await.unwrap();
    world.group.wait_healthy(&service).await.unwrap();
    let port = service.ports["80"];
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello\n"), "{answer}");
    let cell = world.cell("").await;
    for name in ["web", "other-name"] {
        // Podman's name server reads its names anew while other networks come and go.
        let script = format!(
            "for i in $(seq 50); do wget -qO- http://{name}/ 2>/dev/null && exit; sleep 0.2; done; exit 1"
        );
        let (code, out) = world.script(cell.as_ref(), &script).await;
        assert_eq!((code, out.as_str()), (Some(0), "hello\n"), "{name}");
    }
    let logs = world.group.service_logs().await;
    assert_eq!((logs[0].0.as_str(), String::from_utf8_lossy(&logs[0].1).trim()), ("web", "starting"));
    // Without a health check, to run is enough; what ends says why.
    let mut plain = world.container("").await;
    plain.command = words(&["sleep", "600"]);
    let plain = world.group.service("plain", plain).await.unwrap();
    world.group.wait_healthy(&plain).await.unwrap();
    let mut broken = world.container("--health-cmd 'exit 1' --health-interval 1s").await;
    broken.command = words(&["sh", "-c", "echo no such database >&2; exit 3"]);
    let broken = world.group.service("broken", broken).await.unwrap();
    let error = world.group.wait_healthy(&broken).await.unwrap_err().to_string();
    assert!(error.contains("'broken' ended with code 3") && error.contains("no such database"), "{error}");
    let mut ill = world.container("--health-cmd 'exit 1' --health-interval 200ms --health-retries 2").await;
    ill.command = words(&["sh", "-c", "echo feeling bad; exec sleep 600"]);
    let ill = world.group.service("ill", ill).await.unwrap();
    let error = world.group.wait_healthy(&ill).await.unwrap_err().to_string();
    assert!(error.contains("'ill' is unhealthy") && error.contains("feeling bad"), "{error}");
    // Another attempt has a network of its own.
    let stranger = World::new(options(engine)).await;
    let cell = stranger.cell("").await;
    assert_ne!(stranger.script(cell.as_ref(), "wget -T 2 -qO- http://web/").await.0, Some(0));
    stranger.group.tear_down(false).await.unwrap();
    world.group.tear_down(true).await.unwrap();
    assert_eq!(left_of(engine, &world).await, Vec::<String>::new());
}

async fn actions(engine: &PrivateEngine) {
    let world = World::new(options(engine)).await;
    let mut action = world.container("").await;
    action.entrypoint = words(&["/bin/sh", "-c"]);
    action.command = words(&["pwd; echo $INPUT_X; echo out > made; echo err >&2; (sleep 600 &) ; exit 7"]);
    action.env.insert("INPUT_X".into(), "a=b,c \"d\"".into());
    action.working_directory = Some(world.group.inside(&world.workspace()));
    let (code, signal, out) = world.action(action.clone()).await;
    assert_eq!((code, signal, out.as_str()), (Some(7), None, "/github/workspace\na=b,c \"d\"\nerr\n"));
    assert_eq!(std::fs::read_to_string(world.workspace().join("made")).unwrap(), "out\n");
    // One that ignores everybody dies by force.
    action.command = words(&["trap '' TERM INT; echo ready; while :; do sleep 0.1; done"]);
    let mut running = world.group.run(action.clone()).await.unwrap();
    assert_eq!(line(&mut running).await, "ready");
    running.handle.signal(Signal::Terminate);
    running.handle.signal(Signal::Interrupt);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(alive(running.pid));
    running.handle.signal(Signal::Kill);
    assert_eq!(finish(running).await.0.signal, Some(9));
    let mut none = action.clone();
    none.entrypoint = words(&["/no/such/program"]);
    assert_eq!(world.group.run(none).await.unwrap_err().kind, DriverErrorKind::NotFound);
    // From a Dockerfile, without what is ignored, and never from outside of its directory.
    let context = world.dir.path().join("action");
    std::fs::create_dir_all(context.join("sub")).unwrap();
    std::fs::write(
        context.join("Dockerfile"),
        format!("FROM {SMALL_IMAGE}\nCOPY . /here/\nENV BUILT=yes\nENTRYPOINT [\"ls\", \"/here\"]\n"),
    )
    .unwrap();
    std::fs::write(context.join(".dockerignore"), "secret*\n").unwrap();
    for name in ["secret.txt", "file with space", "sub/x"] {
        std::fs::write(context.join(name), "x").unwrap();
    }
    let source = ImageSource::Build { context: context.clone(), dockerfile: "Dockerfile".into() };
    let image = world.group.image(&source).await.unwrap();
    assert!(image.env.iter().any(|(k, v)| k == "BUILT" && v == "yes"), "{image:?}");
    let (code, _, out) = world.action(Container { image, ..world.container("").await }).await;
    assert_eq!((code, out.as_str()), (Some(0), "Dockerfile\nfile with space\nsub\n"));
    let outside = ImageSource::Build { context, dockerfile: "../x".into() };
    std::fs::write(world.dir.path().join("x"), "FROM x").unwrap();
    assert_eq!(world.group.image(&outside).await.unwrap_err().kind, DriverErrorKind::Invalid);
    // The root of an image, for boundaries without an engine.
    let root = world.group.unpack(&world.image().await).await.unwrap();
    assert!(root.join("bin/busybox").exists() && root.join("etc/passwd").exists());
    assert_eq!(world.group.unpack(&world.image().await).await.unwrap(), root);
    world.group.tear_down(false).await.unwrap();
    assert_eq!(left_of(engine, &world).await, Vec::<String>::new());
}

async fn refusals(engine: &PrivateEngine) {
    let limits =
        Limits { memory_bytes: Some(256 << 20), pids: Some(50), cpus: Some(1.0), ..Limits::default() };
    let world = World::with(options(engine), limits).await;
    let try_it = async |change: &dyn Fn(&mut Container)| {
        let mut container = world.container("").await;
        change(&mut container);
        let error = world.group.cell(container).await.err().expect("it is refused");
        (error.kind, error.to_string())
    };
    for (text, wanted) in [
        ("--privileged", "allowed_options"),
        ("--network host", "network of their own"),
        ("-v /:/host", "`volumes:`"),
        ("--cap-add=SYS_ADMIN", "allowed_options"),
        ("--pid=host", "allowed_options"),
        ("alpine --privileged", "not an option"),
        ("--hostname 'a", "quote"),
        ("--user", "needs a value"),
    ] {
        let (kind, message) = try_it(&|c| c.options = text.into()).await;
        assert!(kind == DriverErrorKind::Invalid && message.contains(wanted), "{text}: {message}");
    }
    let (kind, message) = try_it(&|c| c.volumes = vec!["/var/run/docker.sock:/s".into()]).await;
    assert!(kind == DriverErrorKind::Invalid && message.contains("allowed_volumes"), "{message}");
    assert_eq!(try_it(&|c| c.ports = vec!["80 --privileged".into()]).await.0, DriverErrorKind::Invalid);
    assert_eq!(try_it(&|c| c.options = "--memory 1g".into()).await.0, DriverErrorKind::LimitExceeded);
    assert_eq!(try_it(&|c| c.options = "--cpus 4".into()).await.0, DriverErrorKind::LimitExceeded);
    world.group.tear_down(true).await.unwrap();
    // A link below an allowed directory does not lead out of it.
    let mut open = options(engine);
    let shared = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc", shared.path().join("out")).unwrap();
    open.allowed_volumes = vec![shared.path().to_owned()];
    let world = World::new(open).await;
    let mut container = world.container("").await;
    container.volumes = vec![format!("{}:/s:ro", shared.path().display())];
    let cell = world.group.cell(container.clone()).await.unwrap();
    assert_ne!(world.script(cell.as_ref(), "touch /s/x").await.0, Some(0));
    container.volumes = vec![format!("{}/out:/s", shared.path().display())];
    assert_eq!(world.group.cell(container).await.err().unwrap().kind, DriverErrorKind::Invalid);
    world.group.tear_down(false).await.unwrap();
}

/// What the boundary promises, tried from inside as root of the container.
async fn escapes(engine: &PrivateEngine) {
    let limits = Limits { memory_bytes: Some(128 << 20), ..Limits::default() };
    let world = World::with(options(engine), limits).await;
    std::fs::write(world.dir.path().join("host-secret"), "x").unwrap();
    let cell = world.cell("").await;
    let cell = cell.as_ref();
    let fails = [
        ("a file of the host by its path", format!("cat {}/host-secret", world.dir.path().display())),
        (
            "the root of the host through /proc",
            format!("cat /proc/1/root{}/host-secret", world.dir.path().display()),
        ),
        ("sysrq", "echo h > /proc/sysrq-trigger".into()),
        ("settings of the kernel", "echo 1 > /proc/sys/kernel/panic".into()),
        ("mount", "mount -t tmpfs none /mnt || mount -t tmpfs none /tmp".into()),
        ("bind mount", "mkdir -p /tmp/b && mount -o bind /etc /tmp/b".into()),
        ("a device", "mknod /tmp/sda b 8 0".into()),
        ("memory of the machine", "cat /dev/mem /dev/kmem /dev/port".into()),
        ("a user namespace", "unshare -Ur true".into()),
        ("a mount namespace", "unshare -m true".into()),
        ("chroot out", format!("chroot /proc/1/root/../../.. ls {}", env!("CARGO_MANIFEST_DIR"))),
        ("the engine's socket", "ls /var/run/docker.sock /run/docker.sock /run/podman/podman.sock".into()),
        ("the keeper's descriptors", "readlink /proc/1/fd/3 || echo x > /proc/1/fd/3".into()),
        ("the keeper's memory", "cat /proc/1/mem".into()),
        ("the keeper's program", "echo x > /.fleetfoot/keeper".into()),
        ("the keeper's socket", "ls /.fleetfoot/socket".into()),
        ("the host name of the machine", "hostname owned".into()),
        ("the clock", "date -s 2001-01-01; test $(date +%Y) = 2001".into()),
        ("the interfaces", "ip link add dummy0 type dummy".into()),
        ("raw packets", "arping -c 1 127.0.0.1 || ping -I lo -c 1 -W 1 -p ff 10.255.255.1".into()),
        ("a cgroup", "cd /sys/fs/cgroup; cd memory; mkdir x".into()),
        ("kernel messages", "dmesg -c".into()),
    ];
    for (what, script) in fails {
        let (code, out) = world.script(cell, &script).await;
        assert_ne!(code, Some(0), "{what}: {out}");
    }
    // Not before its start is known: it may end whoever tells.
    let script = "until test -e go; do sleep 0.05; done; kill -9 1; kill -9 -1; true";
    let running = cell.start(world.sh(script)).await.unwrap();
    std::fs::write(world.workspace().join("go"), "").unwrap();
    let (_, out) = finish(running).await;
    let (code, again) = world.script(cell, "echo still here").await;
    assert_eq!((code, again.as_str()), (Some(0), "still here\n"), "{out}");
    let (_, status) =
        world.script(cell, "grep -E 'NoNewPrivs|Seccomp:|CapEff|CapBnd' /proc/self/status").await;
    let field = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap_or_default();
        line.split_whitespace().last().unwrap_or_default().to_owned()
    };
    assert_eq!((field("NoNewPrivs"), field("Seccomp")), ("1".into(), "2".into()), "{status}");
    // CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID NET_BIND_SERVICE SYS_CHROOT
    assert_eq!(field("CapBnd"), "00000000000404fb", "{status}");
    let (_, env) = world.script(cell, "env; cat /proc/1/environ 2>/dev/null; true").await;
    assert!(!env.contains("CARGO") && !env.contains(&world.options.tag), "{env}");
    // A process of the host has no number here; one listening on its loopback is another machine's.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_ne!(world.script(cell, &format!("nc -w 1 127.0.0.1 {port} </dev/null")).await.0, Some(0));
    let (_, processes) = world.script(cell, "ls /proc | grep -c '^[0-9]'").await;
    assert!(processes.trim().parse::<u32>().unwrap() < 10, "{processes}");
    // The directories of the attempt are there, and nothing beside them.
    let beside = format!("ls /github/workspace/../..{}", env!("CARGO_MANIFEST_DIR"));
    assert_ne!(world.script(cell, &beside).await.0, Some(0));
    world.group.tear_down(false).await.unwrap();
    assert_eq!(left_of(engine, &world).await, Vec::<String>::new());
}

async fn keeping_and_sweeping(engine: &PrivateEngine) {
    let keep = KeepPolicy { keep: Keep::Failed, count: 1, ..KeepPolicy::default() };
    let kept_options = ContainerOptions { keep, spare_networks: 0, ..options(engine) };
    for failed in [false, true, true] {
        let world = World::new(kept_options.clone()).await;
        let _cell = world.cell("").await;
        world.group.tear_down(failed).await.unwrap();
    }
    let living = World::new(kept_options.clone()).await;
    let cell = living.cell("").await;
    let dead = World::new(kept_options.clone()).await;
    let mut container = dead.container("").await;
    container.volumes = vec!["cache:/c".into()];
    let gone = dead.group.cell(container).await.unwrap();
    let stranger = World::new(options(engine)).await;
    let strange = stranger.cell("").await;
    let kept = living.engine.kept().await.unwrap();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(
        kept.iter().all(|k| k.failed && k.image == SMALL_IMAGE) && kept[0].finished_at >= kept[1].finished_at
    );
    // What a dead runner left goes; what lives, what is kept, and what is another's stays.
    let removed = living.engine.sweep_except(&[living.attempt]).await.unwrap();
    assert_eq!(removed.len(), 4, "container, network, volume, and one kept too many: {removed:?}");
    assert!(gone.start(dead.sh("true")).await.is_err());
    for (world, cell) in [(&living, &cell), (&stranger, &strange)] {
        assert_eq!(world.script(cell.as_ref(), "echo ok").await.1, "ok\n");
    }
    assert_eq!(living.engine.sweep_except(&[living.attempt]).await.unwrap(), Vec::<String>::new());
    let kept = living.engine.kept().await.unwrap();
    assert_eq!(kept.len(), 1);
    assert!(living.engine.remove_kept(&["nothing".into()]).await.is_err());
    living.engine.remove_kept(&[kept[0].id.clone()]).await.unwrap();
    living.group.tear_down(false).await.unwrap();
    stranger.engine.sweep(stranger.attempt).await.unwrap();
    stranger.engine.sweep(stranger.attempt).await.unwrap();
    for world in [&living, &dead, &stranger] {
        assert_eq!(left_of(engine, world).await, Vec::<String>::new());
    }
}

async fn pulls(engine: &PrivateEngine, open: &FakeRegistry, private: &FakeRegistry) {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("bin")).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists()).unwrap();
    std::fs::copy(busybox, root.path().join("bin/sh")).unwrap();
    let digest = open.add("library/thing", "1", root.path(), &["PATH=/bin", "WHERE=mirror"]);
    let _ = private.add("team/app", "2", root.path(), &["WHERE=private"]);
    private.make_private();
    let mut config = options(engine);
    config.pull = Pull::Always;
    config.mirrors = vec![format!("http://{}", open.host())];
    let world = World::new(config.clone()).await;
    let pull = async |world: &World, reference: &str, who: Option<(&str, &str)>| {
        let credentials = who.map(|(u, p)| Credentials { username: u.into(), password: p.into() });
        world.group.image(&ImageSource::Reference { reference: reference.into(), credentials }).await
    };
    // From the mirror, by name and by digest.
    let image = pull(&world, "thing:1", None).await.unwrap();
    assert_eq!(image.digest.as_deref(), Some(digest.as_str()), "{image:?}");
    assert!(image.env.contains(&("WHERE".into(), "mirror".into())));
    let notes = world.notes.lock().unwrap().clone();
    assert!(notes.iter().any(|n| n.starts_with("pulling 127.0.0.1")) && notes.len() < 10, "{notes:?}");
    let same = pull(&world, &format!("{}/library/thing@{digest}", open.host()), None).await.unwrap();
    assert_eq!(same.id, image.id);
    let (code, _, out) = world
        .action(Container {
            image,
            command: words(&["/bin/sh", "-c", "echo $WHERE"]),
            ..world.container("").await
        })
        .await;
    assert_eq!((code, out.as_str()), (Some(0), "mirror\n"));
    // Not there, not allowed, not right, right.
    let error = pull(&world, &format!("{}/library/none:1", open.host()), None).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::NotFound, "{error}");
    let app = format!("{}/team/app:2", private.host());
    for who in [None, Some(("user", "wrong-password"))] {
        let error = pull(&world, &app, who).await.unwrap_err();
        assert!(
            error.kind == DriverErrorKind::Denied && !error.to_string().contains("wrong-password"),
            "{error}"
        );
    }
    let image = pull(&world, &app, Some(("user", "secret"))).await.unwrap();
    assert!(image.env.contains(&("WHERE".into(), "private".into())));
    // What is here is not for those who may not have it; a registry that is down is another matter.
    assert_eq!(pull(&world, &app, None).await.unwrap_err().kind, DriverErrorKind::Denied);
    private.set_down(true);
    let again = pull(&world, &app, Some(("user", "secret"))).await.unwrap();
    assert_eq!(again.id, image.id);
    let error = pull(&world, &format!("{}/team/other:1", private.host()), None).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Unavailable, "{error}");
    private.set_down(false);
    let error = pull(&world, "127.0.0.1:1/nobody/there:1", None).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Unavailable, "{error}");
    // The runner's own credentials; the mirror is down, and the registry itself is asked.
    let file = world.dir.path().join("config.json");
    std::fs::write(
        &file,
        format!("{{\"auths\":{{\"{}\":{{\"auth\":\"dXNlcjpzZWNyZXQ=\"}}}}}}", private.host()),
    )
    .unwrap();
    let own = World::new(ContainerOptions { credentials_file: Some(file), ..config }).await;
    pull(&own, &app, None).await.unwrap();
    for world in [&world, &own] {
        world.group.tear_down(false).await.unwrap();
        world.engine.close().await;
    }
    assert_eq!(left_of(engine, &world).await, Vec::<String>::new());
}

/// Plays a runner that dies: opens a cell, tells, and waits for its end.
#[tokio::test]
#[ignore = "started by another test, in a process of its own"]
async fn a_runner_that_dies() {
    let Ok(socket) = std::env::var("FF_SOCKET") else { return };
    let (tag, directory) = (std::env::var("FF_TAG").unwrap(), std::env::var("FF_DIRECTORY").unwrap());
    let options = ContainerOptions {
        tag,
        directory: Some(directory.into()),
        endpoint: Endpoint::Socket(socket.into()),
        pull: Pull::Missing,
        ..ContainerOptions::default()
    };
    let world = World::new(options).await;
    let cell = world.cell("").await;
    let running = cell.start(world.sh("setsid sleep 600 & exec sleep 600")).await.unwrap();
    println!("\nREADY {} {}", running.pid, world.attempt);
    std::future::pending::<()>().await;
}

async fn the_runner_is_killed(engine: &PrivateEngine) {
    let options = options(engine);
    let neighbour = World::new(ContainerOptions { tag: fresh_tag(), ..options.clone() }).await;
    let cell = neighbour.cell("").await;
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_runner_that_dies", "--ignored", "--nocapture"])
        .env("FF_SOCKET", engine.socket())
        .env("FF_TAG", &options.tag)
        .env("FF_DIRECTORY", options.directory.as_ref().unwrap())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
    let ready = lines.find_map(|l| l.unwrap().strip_prefix("READY ").map(str::to_owned)).unwrap();
    let (pid, attempt) = ready.split_once(' ').unwrap();
    let (pid, attempt): (u32, AttemptRef) = (pid.parse().unwrap(), attempt.parse().unwrap());
    assert!(alive(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    // The connection is gone, and with it the keeper, and with it everything.
    eventually("the command is gone", || !alive(pid)).await;
    let successor = ContainerEngine::new(options.clone()).unwrap();
    successor.sweep(attempt).await.unwrap();
    assert_eq!(left(engine, &options.tag), Vec::<String>::new());
    assert_eq!(neighbour.script(cell.as_ref(), "echo ok").await.1, "ok\n");
    neighbour.group.tear_down(false).await.unwrap();
}

/// One part: all of them are seen, also if one fails.
async fn part(name: &str, work: impl Future<Output = ()>) -> Option<&str> {
    use futures_util::FutureExt;
    std::panic::AssertUnwindSafe(Box::pin(work)).catch_unwind().await.is_err().then_some(name)
}

async fn everything(kind: EngineKind) {
    let (open, private) = (FakeRegistry::new(), FakeRegistry::new());
    let insecure = [open.host(), private.host()];
    let Some(engine) = PrivateEngine::start(kind, &insecure) else { return };
    let about = ContainerEngine::new(options(&engine)).unwrap().about().await.unwrap();
    assert_eq!(about.name, kind.name());
    let begin = Instant::now();
    // Side by side, as attempts are at a runner: none may disturb another.
    let results = tokio::join!(
        part("job container", job_container(&engine)),
        part("networks", networks(&engine)),
        part("trial", trial(&engine)),
        part("services", services(&engine)),
        part("actions", actions(&engine)),
        part("refusals", refusals(&engine)),
        part("escapes", escapes(&engine)),
        part("keeping and sweeping", keeping_and_sweeping(&engine)),
        part("pulls", pulls(&engine, &open, &private)),
        part("the runner is killed", the_runner_is_killed(&engine)),
    );
    let failed: Vec<&str> = <[Option<&str>; 10]>::from(results).into_iter().flatten().collect();
    assert_eq!(failed, Vec::<&str>::new(), "parts that failed");
    eprintln!("  {}: {:.1} s", kind.name(), begin.elapsed().as_secs_f64());
    the_engine_stops(engine).await;
}

/// Last, because nothing can be done at it any more.
async fn the_engine_stops(mut engine: PrivateEngine) {
    let mut config = options(&engine);
    config.patience = Duration::from_secs(5);
    // Nobody could remove a network afterwards.
    config.network = Network::None;
    let world = World::new(config.clone()).await;
    let cell = world.cell("").await;
    let running = cell.start(world.sh("sleep 600")).await.unwrap();
    let (pid, begin) = (running.pid, Instant::now());
    engine.stop();
    if engine.kind() == EngineKind::Docker {
        assert_eq!(finish(running).await.0.signal, Some(9), "the step ends with its engine");
        let error = cell.start(world.sh("true")).await.unwrap_err();
        assert!(error.to_string().contains("the container has ended"), "{error}");
    } else {
        // Podman's containers do not need their engine.
        assert!(alive(pid));
        assert_eq!(world.script(cell.as_ref(), "echo ok").await.1, "ok\n");
    }
    let error = world.group.tear_down(true).await.unwrap_err();
    assert!(error.kind == DriverErrorKind::Unavailable && error.to_string().contains("next: "), "{error}");
    let error = match ContainerEngine::new(config) {
        Ok(engine) => engine.about().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind, DriverErrorKind::Unavailable, "{error}");
    assert!(begin.elapsed() < Duration::from_secs(40), "in bounded time");
    drop(cell);
    eventually("nothing runs any more", || !alive(pid)).await;
}

#[tokio::test]
async fn docker() {
    Box::pin(everything(EngineKind::Docker)).await;
}

#[tokio::test]
async fn podman() {
    Box::pin(everything(EngineKind::Podman)).await;
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_said_to_be() {
    let config = ContainerOptions {
        endpoint: Endpoint::Socket("/nonexistent/docker.sock".into()),
        ..ContainerOptions::default()
    };
    let error = ContainerEngine::new(config).unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Unavailable);
    assert!(error.to_string().contains("next: systemctl start docker"), "{error}");
}
