//! Job containers, their networks, what is refused, and the trial of an engine.

use crate::world::{World, left, left_of, options};
use fleetfoot_driver::DriverErrorKind;
use fleetfoot_driver::containers::{Container, Containers};
use fleetfoot_driver_conformance::finish;
use fleetfoot_driver_container::{ContainerEngine, ContainerOptions};
use fleetfoot_model::spec::Limits;
use fleetfoot_testkit::{EngineKind, PrivateEngine};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

pub(crate) async fn job_container(engine: &PrivateEngine) {
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

pub(crate) fn rustix_uid() -> u32 {
    std::fs::metadata("/proc/self").unwrap().uid()
}

pub(crate) async fn networks(engine: &PrivateEngine) {
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

pub(crate) async fn trial(engine: &PrivateEngine) {
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

pub(crate) async fn refusals(engine: &PrivateEngine) {
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

/// As an engine that lost the root of a container between mounting it and starting the runtime: whoever
/// looks at the mounts sees the first container's root go, and the second one stay.
pub(crate) async fn a_root_that_is_lost(engine: &PrivateEngine) {
    let world = World::new(options(engine)).await;
    // The image is looked for before anything is mounted.
    let container = world.container("").await;
    let data = engine.socket().with_file_name("data");
    let thief = std::thread::spawn(move || {
        let mut first: Option<String> = None;
        for _ in 0..20_000 {
            let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
            let paths = mounts.lines().filter_map(|l| l.split(' ').nth(1));
            let ours =
                |p: &&str| Path::new(p).starts_with(&data) && p.ends_with("/merged") && !p.contains("-init/");
            for path in paths.filter(ours) {
                if first.get_or_insert_with(|| path.to_owned()) != path {
                    return true;
                }
                let _ = std::process::Command::new("umount").args(["--lazy", path]).status();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    });
    let cell = world.group.cell(container).await.unwrap();
    assert!(thief.join().unwrap(), "no second container was made");
    assert_eq!(world.script(cell.as_ref(), "ls / | grep -c bin; echo ok").await.1, "1\nok\n");
    world.group.tear_down(false).await.unwrap();
    assert_eq!(left_of(engine, &world).await, Vec::<String>::new());
}
