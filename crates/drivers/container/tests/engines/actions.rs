//! Actions that are containers, and images that are built for them.

use crate::world::{World, left_of, options, words};
use fleetfoot_driver::containers::{Container, ImageSource};
use fleetfoot_driver::{DriverErrorKind, Signal};
use fleetfoot_driver_conformance::{alive, finish, line};
use fleetfoot_model::spec::Limits;
use fleetfoot_testkit::{PrivateEngine, SMALL_IMAGE};
use std::time::Duration;

pub(crate) async fn actions(engine: &PrivateEngine) {
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
    let error = world.group.run(none).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::NotFound, "{error}");
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

/// Steps of a build have the limits of the job, and no word of a `Dockerfile` widens the fence.
pub(crate) async fn builds(engine: &PrivateEngine) {
    let limits = Limits { memory_bytes: Some(3 << 30), pids: Some(24), cpus: Some(0.5), ..Limits::default() };
    let world = World::with(options(engine), limits).await;
    let context = world.dir.path().join("recipe");
    std::fs::create_dir(&context).unwrap();
    let build = async |recipe: &str| {
        std::fs::write(context.join("Dockerfile"), format!("FROM {SMALL_IMAGE}\n{recipe}\n")).unwrap();
        let source = ImageSource::Build { context: context.clone(), dockerfile: "Dockerfile".into() };
        world.notes.lock().unwrap().clear();
        let built = world.group.image(&source).await;
        (built, world.notes.lock().unwrap().join("\n"))
    };
    // What the build sees of itself; a group of the second version shows less from inside.
    let shown = "RUN grep CapEff /proc/self/status; cat /proc/self/cgroup; id -u";
    let (built, notes) = build(shown).await;
    built.unwrap_or_else(|e| panic!("{e}\n{notes}"));
    let capabilities =
        notes.lines().find_map(|l| l.strip_prefix("CapEff:")).unwrap_or_else(|| panic!("{notes}"));
    let capabilities = u64::from_str_radix(capabilities.trim(), 16).unwrap();
    // SYS_MODULE SYS_RAWIO SYS_PTRACE SYS_ADMIN SYS_BOOT SYS_TIME NET_ADMIN
    for bit in [16, 17, 19, 21, 22, 25, 12] {
        assert_eq!(capabilities & (1 << bit), 0, "capability {bit}: {notes}");
    }
    assert!(notes.contains("-build-"), "the build is not in the group that limits it: {notes}");
    assert!(!notes.contains("does not hold"), "{notes}");
    for (file, value) in [
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "3221225472"),
        ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000"),
    ] {
        if std::path::Path::new(file).exists() {
            let (built, notes) = build(&format!("RUN sh -c 'echo value $(cat {file})'")).await;
            built.unwrap();
            assert!(notes.contains(&format!("value {value}")), "{file}: {notes}");
        }
    }
    let (built, notes) = build(
        "RUN i=0; while [ $i -lt 80 ]; do sleep 60 >/dev/null 2>&1 & i=$((i+1)); done; echo all of them",
    )
    .await;
    let error = built.expect_err("80 processes where 24 are allowed");
    assert!(!notes.contains("\nall of them"), "{error}: {notes}");
    // Each of these is refused, or does nothing.
    let lines = [
        ("--security=insecure", "grep -q 'CapEff.*3fffff\\|CapEff.*1ff' /proc/self/status"),
        ("--network=host", "test $(ls /sys/class/net | wc -l) -gt 2"),
        ("--mount=type=bind,source=/etc,target=/x", "grep -q . /x/machine-id"),
        ("--privileged", "true"),
        ("--device=/dev/mem", "ls /dev/mem"),
    ];
    for (flag, proof) in lines {
        let (built, notes) = build(&format!("RUN {flag} if {proof}; then echo it is wider; fi")).await;
        assert!(!notes.lines().any(|l| l == "it is wider"), "{flag}: {built:?}\n{notes}");
        if let Err(error) = built {
            assert!(error.to_string().contains("cannot build the image of the action: "), "{error}");
        }
    }
    world.group.tear_down(false).await.unwrap();
    assert_eq!(left_of(engine, &world).await, Vec::<String>::new());
    let name = format!("fleetfoot-{}", world.options.tag);
    let mut find = std::process::Command::new("find");
    find.args(["/sys/fs/cgroup", "-maxdepth", "3", "-name", &format!("{name}*")]);
    let found = find.output().unwrap().stdout;
    assert_eq!(String::from_utf8_lossy(&found), "", "control groups of builds stay");
}
