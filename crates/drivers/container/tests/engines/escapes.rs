//! What the boundary promises, tried from inside.

use crate::world::{World, left_of, options};
use fleetfoot_driver_conformance::finish;
use fleetfoot_model::spec::Limits;
use fleetfoot_testkit::PrivateEngine;

/// What the boundary promises, tried from inside as root of the container.
pub(crate) async fn escapes(engine: &PrivateEngine) {
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
