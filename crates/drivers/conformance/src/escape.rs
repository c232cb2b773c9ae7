//! Attempts to get out that need no system call of their own, alike for every
//! boundary that says it holds them. Beside these, drivers have those that run
//! their test binary inside.

use crate::{Command, World, alive, eventually, finish, line};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

/// A program with the setuid bit, owned by the runner's user, gives a job nothing.
pub async fn a_setuid_program_gives_no_rights(world: &World) {
    let program = world.workspace().join("become-owner");
    let cat = ["/usr/bin/id", "/bin/id"].iter().find(|p| std::path::Path::new(p).exists()).unwrap();
    std::fs::copy(cat, &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o6755)).unwrap();
    let (exit, out) = world.script("id -u; id -g; ./become-owner -u; ./become-owner -g").await;
    let ids: Vec<&str> = out.lines().collect();
    assert_eq!((exit.code, &ids[..2]), (Some(0), &ids[2..]), "{out}");
    // Nor one that the job makes itself.
    let (_, out) = world.script("cp become-owner mine; chmod 6755 mine; ./mine -u").await;
    assert_eq!(out.lines().last(), Some(ids[0]), "{out}");
}

/// Sockets of the host that have a path cannot be connected to.
pub async fn sockets_of_the_host_are_out_of_reach(world: &World) {
    let path = world.outside().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::os::unix::fs::symlink(&path, world.workspace().join("way")).unwrap();
    for place in [path.to_str().unwrap(), "way", "../socket"] {
        let connect = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])";
        let args = ["-c", connect, place].map(str::to_owned).to_vec();
        let command = Command { program: "python3".into(), args, merge_output: true, ..world.sh("") };
        let (exit, out) = world.run(command).await;
        assert!(exit.code != Some(0) && out.contains("Error"), "{place}: {out}");
    }
    assert!(listener.accept().is_err(), "nobody came through");
}

/// What a job prints waits for its reader: a flood fills no memory of ours and ends when it is ended.
pub async fn a_flood_waits_for_its_reader(world: &World) {
    let mut flood = world.cell.start(world.sh("echo begun; exec yes 0123456789abcdef")).await.unwrap();
    assert_eq!(line(&mut flood).await, "begun");
    let written = || {
        let io = std::fs::read_to_string("/proc/self/status").unwrap();
        let rss = io.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap().trim().to_owned();
        rss.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let before = written();
    // Neighbours work while it is not read, and it does not grow.
    for _ in 0..5 {
        assert_eq!(world.script("echo here").await.1, "here\n");
    }
    let mut some = vec![0; 1 << 20];
    flood.stdout.read_exact(&mut some).await.unwrap();
    assert!(some.starts_with(b"0123456789abcdef\n"));
    assert!(written() < before + (64 << 10), "{} KiB grew to {}", before, written());
    // Still nobody reads.
    flood.handle.kill_tree();
    let exit = tokio::time::timeout(Duration::from_secs(20), flood.handle.wait()).await.unwrap();
    assert!(exit.signal.is_some(), "{exit:?}");
}

/// What a job leaves in its workspace: nothing of it is a device, a file of the host under a second name,
/// or somebody else's; and links lead nowhere while the job runs.
pub async fn odd_files_harm_nobody(world: &World) {
    let secret = world.outside().join("secret");
    std::fs::write(&secret, "top secret").unwrap();
    let script = format!(
        "ln -s {0} link; ln -s ../../../../../../..{0} climb; ln {0} hard; ln link hard-link; \
         mkfifo fifo; mknod device b 7 0; mknod null c 1 3; ln /etc/passwd passwd; ln /usr/bin/env program; \
         for f in link climb hard hard-link passwd; do timeout 2 cat $f; done; chown 0:0 fifo; exit 0",
        secret.display()
    );
    let (_, out) = world.script(&script).await;
    assert!(!out.contains("top secret"), "{out}");
    assert_eq!(std::fs::metadata(&secret).unwrap().nlink(), 1, "no second name for it");
    let owner = std::fs::metadata(world.workspace()).unwrap().uid();
    for entry in std::fs::read_dir(world.workspace()).unwrap() {
        let entry = entry.unwrap();
        let found = std::fs::symlink_metadata(entry.path()).unwrap();
        let kind = found.file_type();
        assert!(!kind.is_block_device() && !kind.is_char_device(), "{:?} is a device", entry.path());
        assert!(found.nlink() == 1 || kind.is_dir() || kind.is_symlink(), "{:?} has names", entry.path());
        assert_eq!(found.uid(), owner, "{:?} is somebody else's", entry.path());
    }
}

/// A process that leaves its session, its parent and its environment ends with the cell.
pub async fn a_daemon_does_not_outlive_its_cell(world: &World) {
    let script =
        "(setsid env -i sh -c 'exec >/dev/null 2>&1 </dev/null; (sleep 600 &) & sleep 600' &) ; exit 0";
    let running = world.cell.start(world.sh(script)).await.unwrap();
    let pid = running.pid;
    assert_eq!(finish(running).await.0.code, Some(0));
    world.cell.kill_all().await;
    eventually("the command is gone", || !alive(pid)).await;
    let count = "n=0; for p in /proc/[0-9]*; do c=$(tr '\\0' ' ' <$p/cmdline 2>/dev/null); \
                 case $c in 'sleep 600 '*) n=$((n+1));; esac; done; echo $n";
    assert_eq!(world.script(count).await.1, "0\n");
}

/// All of them, one after another in one cell.
pub async fn run_all(world: World) {
    a_setuid_program_gives_no_rights(&world).await;
    sockets_of_the_host_are_out_of_reach(&world).await;
    a_flood_waits_for_its_reader(&world).await;
    odd_files_harm_nobody(&world).await;
    a_daemon_does_not_outlive_its_cell(&world).await;
    world.cell.tear_down().await.unwrap();
}
