//! Attempts to get out, or to harm what is outside. This binary runs itself
//! inside a cell: there it makes the forbidden calls and prints what it got.
//! Much of what a shared kernel has to refuse is harmless here (the kernel of
//! the guest answers it); what counts is that nothing of it reaches the host.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    reason = "tests of raw system calls"
)]

use fleetfoot_driver::{CellRequest, Command, Driver, Mount, Root};
use fleetfoot_driver_conformance::{World, alive, eventually, finish, fresh_tag, line, marker};
use fleetfoot_driver_gvisor::{GvisorDriver, GvisorOptions, Network};
use fleetfoot_model::spec::Limits;
use std::collections::HashMap;
use std::os::linux::net::SocketAddrExt;
use std::path::{Path, PathBuf};

fn options() -> GvisorOptions {
    GvisorOptions { tag: fresh_tag(), network: Network::None, ..GvisorOptions::default() }
}

/// The platform that works here, or `None` (said why) where none does. Tried once.
async fn platform() -> Option<String> {
    static FOUND: tokio::sync::OnceCell<Option<String>> = tokio::sync::OnceCell::const_new();
    let found = FOUND.get_or_init(|| async {
        let scratch = tempfile::tempdir().unwrap();
        let probe = GvisorDriver::probe(options(), scratch.path()).await;
        if !probe.usable {
            eprintln!("skipped: no gVisor on this machine: {probe:#?}");
        }
        probe.platform
    });
    found.await.clone()
}

async fn world(options: GvisorOptions) -> Option<World> {
    let platform = platform().await?;
    let options = GvisorOptions { platform: Some(platform), ..options };
    let driver = Box::new(GvisorDriver::new(options).unwrap());
    Some(World::new(driver, Limits::default()).await)
}

/// This binary inside, doing one of the hidden tests.
fn own_binary(world: &World, test: &str) -> Command {
    let copy = world.workspace().join("this-binary");
    if !copy.exists() {
        // By another process: a descriptor for writing that a fork elsewhere in this one inherits for a
        // moment would make the file busy.
        let done = std::process::Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&copy).status();
        assert!(done.unwrap().success());
    }
    Command {
        program: world.cell.inside(&copy).display().to_string(),
        args: ["--exact", test, "--nocapture", "--test-threads=1"].map(str::to_owned).to_vec(),
        env: HashMap::from([("FLEETFOOT_INSIDE".into(), std::process::id().to_string())]),
        working_directory: world.workspace(),
        merge_output: true,
        ..Command::default()
    }
}

fn errno(rc: libc::c_long) -> String {
    if rc == -1 {
        let code = std::io::Error::last_os_error().raw_os_error().unwrap();
        match code {
            libc::EPERM => "EPERM".into(),
            libc::EACCES => "EACCES".into(),
            libc::ENOSYS => "ENOSYS".into(),
            libc::ESRCH => "ESRCH".into(),
            libc::ENOENT => "ENOENT".into(),
            libc::EROFS => "EROFS".into(),
            other => format!("errno {other}"),
        }
    } else {
        format!("ALLOWED {rc}")
    }
}

/// Hidden: runs inside only.
#[test]
fn inside_calls() {
    let Ok(outside) = std::env::var("FLEETFOOT_INSIDE") else { return };
    let outside: libc::pid_t = outside.parse().unwrap();
    let say = |name: &str, rc: libc::c_long| println!("\ncall {name}: {}", errno(rc));
    let zero = [0_u64; 32];
    let (z, text) = (zero.as_ptr(), c"/tmp".as_ptr());
    unsafe {
        for (name, number) in [
            ("unshare", libc::SYS_unshare),
            ("setns", libc::SYS_setns),
            ("keyctl", libc::SYS_keyctl),
            ("add_key", libc::SYS_add_key),
            ("request_key", libc::SYS_request_key),
            ("bpf", libc::SYS_bpf),
            ("userfaultfd", libc::SYS_userfaultfd),
            ("io_uring_setup", libc::SYS_io_uring_setup),
            ("perf_event_open", libc::SYS_perf_event_open),
            ("open_by_handle_at", libc::SYS_open_by_handle_at),
            ("pidfd_getfd", libc::SYS_pidfd_getfd),
            ("pivot_root", libc::SYS_pivot_root),
            ("chroot", libc::SYS_chroot),
            ("init_module", libc::SYS_init_module),
            ("kexec_load", libc::SYS_kexec_load),
            ("reboot", libc::SYS_reboot),
            ("swapon", libc::SYS_swapon),
            ("syslog", libc::SYS_syslog),
            ("acct", libc::SYS_acct),
            ("quotactl", libc::SYS_quotactl),
            ("fanotify_init", libc::SYS_fanotify_init),
            ("settimeofday", libc::SYS_settimeofday),
            ("sethostname", libc::SYS_sethostname),
            ("umount2", libc::SYS_umount2),
            ("open_tree", libc::SYS_open_tree),
            ("fsopen", libc::SYS_fsopen),
            ("mount_setattr", libc::SYS_mount_setattr),
            ("clone3", libc::SYS_clone3),
            ("unheard-of", 590),
        ] {
            say(name, libc::syscall(number, 0x1000_0000_u64, z, z, z, z));
        }
        say("mount", libc::mount(text, text, c"tmpfs".as_ptr(), 0, std::ptr::null()).into());
        for (name, flag) in
            [("user", libc::CLONE_NEWUSER), ("mount", libc::CLONE_NEWNS), ("net", libc::CLONE_NEWNET)]
        {
            let flags = (flag | libc::SIGCHLD) as u64;
            let rc = libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0);
            if rc == 0 {
                libc::_exit(0);
            }
            say(&format!("clone-{name}"), rc);
        }
        for (name, family, kind) in [
            ("packet", libc::AF_PACKET, libc::SOCK_RAW),
            ("raw", libc::AF_INET, libc::SOCK_RAW),
            ("alg", libc::AF_ALG, libc::SOCK_SEQPACKET),
            ("vsock", libc::AF_VSOCK, libc::SOCK_STREAM),
        ] {
            let protocol = if name == "raw" { libc::IPPROTO_ICMP } else { 0 };
            say(&format!("socket-{name}"), libc::socket(family, kind, protocol).into());
        }
        say("mknod", libc::mknod(c"device".as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(1, 3)).into());
        say("setuid", libc::syscall(libc::SYS_setuid, 0));
        say("setgroups", libc::syscall(libc::SYS_setgroups, 1, [0].as_ptr()));
        say("chown", libc::chown(c".".as_ptr(), 0, 0).into());
        say("ptrace-init", libc::ptrace(libc::PTRACE_ATTACH, 1, 0, 0));
        say("ptrace-outside", libc::ptrace(libc::PTRACE_ATTACH, outside, 0, 0));
        say("kill-outside", libc::kill(outside, 0).into());
        let mut byte = 0_u8;
        let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        let remote = libc::iovec { iov_base: zero.as_ptr().cast_mut().cast(), iov_len: 1 };
        say(
            "read-memory-init",
            libc::process_vm_readv(1, &raw const local, 1, &raw const remote, 1, 0) as libc::c_long,
        );
        say("tiocsti", libc::ioctl(0, libc::TIOCSTI, &raw const byte).into());
        say("nice", libc::setpriority(libc::PRIO_PROCESS, 0, -10).into());
        let raised = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        say("raise-limit", libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised).into());
    }
    let open = |name: &str, path: &str, write: bool| {
        let result = std::fs::OpenOptions::new().read(!write).write(write).open(path);
        let code = result.err().map_or("ALLOWED".to_owned(), |e| {
            let code = e.raw_os_error().unwrap_or(0);
            match code {
                libc::EPERM | libc::EACCES | libc::EROFS | libc::ENOENT | libc::EISDIR => "refused".into(),
                other => format!("errno {other}"),
            }
        });
        println!("\nfile {name} {path}: {code}");
    };
    for path in [
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/1/mem",
        "/proc/1/oom_score_adj",
        "/etc/passwd",
        "/usr/bin/env",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/new-file",
        "/dev/new",
        "/proc/irq/default_smp_affinity",
        "/home",
        "/dev/mem",
        "/dev/kmsg",
        "/dev/vda",
        "/dev/sda",
    ] {
        open("write", path, true);
    }
    for path in [
        "/proc/1/environ",
        "/proc/1/mem",
        "/proc/1/maps",
        "/proc/1/root/etc/shadow",
        "/proc/1/cwd/x",
        "/etc/shadow",
        "/proc/1/fd/0",
    ] {
        open("read", path, false);
    }
    println!(
        "\nfile exe-of-1: {}",
        std::fs::read_link("/proc/1/exe").map_or("refused".into(), |p| format!("ALLOWED {p:?}"))
    );
    for path in ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug"] {
        println!("\nempty {path}: {}", std::fs::read(path).map_or(0, |b| b.len()));
    }
}

fn answers<'a>(out: &'a str, kind: &str) -> HashMap<&'a str, &'a str> {
    let lines = out.lines().filter_map(|l| l.strip_prefix(kind)?.strip_prefix(' ')?.rsplit_once(": "));
    lines.collect()
}

#[tokio::test]
async fn calls_do_not_reach_the_host() {
    for network in [Network::None, Network::Private] {
        if network == Network::Private && fleetfoot_driver_linux::network::program().is_none() {
            eprintln!("skipped with a private network: no slirp4netns");
            continue;
        }
        if let Some(world) = world(GvisorOptions { network, ..options() }).await {
            calls_stay_in(world).await;
        }
    }
}

async fn calls_stay_in(world: World) {
    let (exit, out) = world.run(own_binary(&world, "inside_calls")).await;
    assert_eq!(exit.code, Some(0), "{out}");
    let calls = answers(&out, "call");
    assert!(calls.len() > 40, "{out}");
    // Namespaces of the guest's own kernel, and what that kernel allows its own processes.
    let harmless = ["clone-user", "clone-mount", "unshare", "tiocsti", "nice"];
    for (name, got) in &calls {
        match *name {
            "kill-outside" | "ptrace-outside" => assert_eq!(*got, "ESRCH", "{name}"),
            name if harmless.contains(&name) => {}
            _ => assert!(!got.starts_with("ALLOWED"), "{name}: {got}\n{out}"),
        }
    }
    let files = answers(&out, "file");
    assert!(files.len() > 20, "{out}");
    for (name, got) in files {
        // Process 1 holds nothing of the host: no environment, `/dev/null`, and a socket that no path opens.
        let harmless = ["read /proc/1/environ", "read /proc/1/maps", "read /proc/1/fd/0"].contains(&name);
        assert!(got == "refused" || harmless, "{name}: {got}\n{out}");
    }
    for (name, got) in answers(&out, "empty") {
        assert_eq!(got, "0", "{name}");
    }
    world.cell.tear_down().await.unwrap();
}

#[tokio::test]
async fn no_rights_are_left() {
    let Some(world) = world(options()).await else { return };
    let (_, out) = world.script("cat /proc/self/status; echo; cat /proc/mounts").await;
    let field = |name: &str| out.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    let outside = world.outside().to_str().unwrap();
    for mount in out.lines().filter(|l| l.contains(" 9p ") || l.contains(" lisafs ")) {
        let words: Vec<&str> = mount.split(' ').collect();
        assert!(words[3].starts_with("ro") || words[1].starts_with(outside), "writable: {mount}");
    }
    let record = world.cell.record();
    assert_eq!((record.capabilities, record.network.as_str()), (Some(Vec::new()), "none"));
    let host = rustix::system::uname().release().to_string_lossy().into_owned();
    let (_, kernel) = world.script("uname -r").await;
    assert_eq!(record.kernel, kernel.trim(), "the record names the kernel that the job sees");
    assert_ne!(record.kernel, host);
    assert!(record.driver.contains("runsc ") && record.driver.ends_with(')'), "{}", record.driver);
    for namespace in ["mount", "pid", "ipc", "uts", "net"] {
        assert!(record.namespaces.iter().any(|n| n == namespace), "{:?}", record.namespaces);
    }
    let (_, id) = world.script("id -u").await;
    let mapped = record.namespaces.iter().any(|n| n == "user");
    assert_eq!(id.trim(), if mapped { "1000" } else { "0" });
    // gVisor itself is nobody on the host, where it can be.
    let status = std::fs::read_dir("/proc").unwrap().filter_map(|e| {
        let path = e.ok()?.path();
        let line = std::fs::read(path.join("cmdline")).ok()?;
        let own = String::from_utf8_lossy(&line).contains(&format!("{}/", world.attempt));
        let kernel = line.starts_with(b"runsc-sandbox");
        (own && kernel).then(|| std::fs::read_to_string(path.join("status")).ok())?
    });
    for status in status {
        let uid = status.lines().find_map(|l| l.strip_prefix("Uid:")).unwrap();
        assert!(!mapped || !uid.split_whitespace().any(|id| id == "0"), "{uid}");
    }
    world.cell.tear_down().await.unwrap();
}

#[tokio::test]
async fn files_of_the_host_are_out_of_reach() {
    let Some(world) = world(options()).await else { return };
    let secret = world.outside().join("secret");
    std::fs::write(&secret, "top secret").unwrap();
    std::os::unix::fs::symlink(&secret, world.workspace().join("link")).unwrap();
    std::os::unix::fs::symlink("../secret", world.workspace().join("relative")).unwrap();
    let fifo = world.workspace().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(world.workspace().join("socket")).unwrap();
    listener.set_nonblocking(true).unwrap();
    let secret = secret.display();
    let script = format!(
        "cat {secret}; cat link; cat relative; cat ../secret; cat /proc/1/root{secret}; cat /proc/self/root{secret}; \
         ln {secret} hard; cat /proc/*/environ | tr '\\0' '\\n'; set -- /proc/[0-9]*; echo $#"
    );
    let (_, out) = world.script(&script).await;
    assert!(!out.contains("top secret"), "{out}");
    assert!(!out.contains("CARGO"), "no environment of ours: {out}");
    let seen: usize = out.lines().last().unwrap().trim().parse().unwrap();
    assert!(seen < 8, "only its own processes: {out}");
    // A socket of the host in the workspace leads nowhere: an engine's socket would be the way out.
    let connect = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('socket')";
    let (exit, _) = world.script(&format!("python3 -c \"{connect}\"")).await;
    assert_ne!(exit.code, Some(0));
    assert!(listener.accept().is_err(), "nobody came through");
    // Descriptors of this process, marked or not.
    let open = std::fs::File::open("/etc/hostname").unwrap();
    unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&open), libc::F_SETFD, 0) };
    assert_eq!(world.script("set -- /proc/self/fd/*; echo $#").await.1, "4\n");
    // What is written to private places is nowhere on the host.
    let name = format!("fleetfoot-private-{}", marker());
    let mut command =
        world.sh(&format!("for d in /tmp /dev/shm $HOME /var/tmp; do echo x > $d/{name} || exit 1; done"));
    command.env.insert("HOME".into(), "/root".into());
    let (exit, out) = world.run(Command { merge_output: true, ..command }).await;
    assert_eq!(exit.code, Some(0), "{out}");
    for place in ["/tmp", "/dev/shm", "/var/tmp"] {
        assert!(!Path::new(place).join(&name).exists());
    }
    world.cell.tear_down().await.unwrap();
}

#[tokio::test]
async fn mounts_are_what_was_asked_for() {
    let Some(outer) = world(options()).await else { return };
    let dir = tempfile::tempdir().unwrap();
    for name in ["workspace", "temp", "read", "write"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("read").join("file"), "hooks").unwrap();
    std::fs::write(path("alone"), "a file").unwrap();
    let mut request = CellRequest::new(outer.attempt, path("workspace"), path("temp"));
    request.attempt.attempt += 1;
    request.mounts = vec![
        Mount::read_only(path("read")),
        Mount::writable(path("write")),
        Mount::read_only(path("alone")),
        Mount::read_only(path("not-there")),
    ];
    let cell = outer.driver.prepare(request).await.unwrap();
    let show = |name: &str| path(name).display().to_string();
    let script = format!(
        "cat {0}/file {2}; echo x > {0}/new; echo x > {2}; echo y > {1}/new && echo wrote",
        show("read"),
        show("write"),
        show("alone")
    );
    let command = Command { working_directory: path("workspace"), ..outer.sh(&script) };
    let (_, out) = finish(cell.start(command).await.unwrap()).await;
    assert_eq!(out, "hooksa filewrote\n");
    assert!(!path("read").join("new").exists());
    assert_eq!(std::fs::read_to_string(path("alone")).unwrap(), "a file");
    assert_eq!(std::fs::read_to_string(path("write").join("new")).unwrap(), "y\n");
    cell.tear_down().await.unwrap();
    outer.cell.tear_down().await.unwrap();
}

#[tokio::test]
async fn the_network_is_what_was_asked_for() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let name = format!("fleetfoot-{}", marker());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _abstract = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    for network in [Network::None, Network::Host] {
        let Some(world) = world(GvisorOptions { network, ..options() }).await else { return };
        let mut command = own_binary(&world, "inside_network");
        command.env.insert("TCP".into(), port.to_string());
        command.env.insert("ABSTRACT".into(), name.clone());
        let (_, out) = world.run(command).await;
        let got = answers(&out, "net");
        let loopback = if network == Network::Host { "ALLOWED" } else { "refused" };
        assert_eq!(got["loopback-of-host"], loopback, "{out}");
        // Its names belong to the guest, whatever the network is.
        assert_eq!((got["abstract"], got["own-loopback"]), ("refused", "ALLOWED"), "{out}");
        if network == Network::None {
            assert_eq!(got["metadata"], "refused");
        }
        assert_eq!(world.cell.record().network, network.as_str());
        world.cell.tear_down().await.unwrap();
    }
}

#[tokio::test]
async fn what_needs_no_call_of_its_own() {
    let Some(world) = world(options()).await else { return };
    fleetfoot_driver_conformance::escape::run_all(world).await;
}

#[tokio::test]
async fn private_places_are_limited() {
    let options = GvisorOptions { tmp_bytes: 4 << 20, shm_bytes: 1 << 20, ..options() };
    let Some(world) = world(options).await else { return };
    for place in ["/tmp", "/dev/shm", "/home"] {
        let (exit, out) = world
            .script(&format!("head -c 8000000 /dev/zero > {place}/big; rc=$?; rm {place}/big; exit $rc"))
            .await;
        assert_ne!(exit.code, Some(0), "{place}: {out}");
        assert!(out.contains("No space"), "{out}");
    }
    world.cell.tear_down().await.unwrap();
}

/// Process 1 belongs to the job's user: who ends or stops it harms this cell alone.
#[tokio::test]
async fn a_job_that_ends_process_1_ends_its_own_cell() {
    let Some(world) = world(options()).await else { return };
    let (exit, _) = world.script("kill -9 1; sleep 600").await;
    assert_eq!(exit.signal, Some(9));
    assert_eq!(world.script("echo again").await.1, "again\n", "the next command gets a new one");
    // Not before process 1 has said that the command runs.
    let script = "while [ ! -e go ]; do sleep 0.1; done; kill -STOP 1; exec sleep 600";
    let running = world.cell.start(world.sh(script)).await.unwrap();
    std::fs::write(world.workspace().join("go"), "").unwrap();
    world.cell.kill_all().await;
    assert_eq!(finish(running).await.0.signal, Some(9));
    assert_eq!(world.script("echo again").await.1, "again\n");
    world.cell.tear_down().await.unwrap();
}

#[tokio::test]
async fn a_fork_bomb_and_a_flood_stay_inside() {
    let Some(world) = world(options()).await else { return };
    let limits = Limits { pids: Some(64), ..Limits::default() };
    let mut request = CellRequest::new(world.attempt, world.workspace(), world.temp());
    request.attempt.attempt += 1;
    request.limits = limits;
    let cell = world.driver.prepare(request).await.unwrap();
    let bomb = cell.start(world.sh("f() { f | f & }; f; sleep 600")).await.unwrap();
    let (exit, _) = world.script("echo neighbours work").await;
    assert_eq!(exit.code, Some(0));
    cell.kill_all().await;
    assert!(!alive(bomb.pid));
    finish(bomb).await;
    cell.tear_down().await.unwrap();
    world.cell.tear_down().await.unwrap();
}

/// A small image made of the host's own programs.
fn image(dir: &Path) -> bool {
    for name in ["bin", "lib", "lib64"] {
        if let Ok(to) = std::fs::read_link(format!("/{name}")) {
            std::os::unix::fs::symlink(to, dir.join(name)).unwrap();
        }
    }
    let copy = |from: &Path| {
        let real = std::fs::canonicalize(from).unwrap();
        // Where `/lib` and `/bin` are links, names begin with their target.
        let text = from.to_str().unwrap();
        let inside = if text.starts_with("/usr") { text.to_owned() } else { format!("/usr{text}") };
        let target = dir.join(inside.trim_start_matches('/'));
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(real, target).unwrap();
    };
    std::fs::create_dir_all(dir.join("etc")).unwrap();
    std::fs::write(dir.join("etc/image-release"), "an image").unwrap();
    std::fs::write(dir.join("etc/resolv.conf"), "nameserver 192.0.2.1\n").unwrap();
    ["sh", "cat", "true"].iter().for_each(|program| copy(&Path::new("/usr/bin").join(program)));
    let libraries = std::process::Command::new("ldd").args(["/usr/bin/sh", "/usr/bin/cat"]).output().unwrap();
    for word in String::from_utf8_lossy(&libraries.stdout).split_whitespace() {
        if word.starts_with("/lib") && !word.ends_with(':') {
            copy(Path::new(word));
        }
    }
    dir.join("bin").exists()
}

#[tokio::test]
async fn an_image_can_be_the_root() {
    let Some(world) = world(options()).await else { return };
    let dir = tempfile::tempdir().unwrap();
    if !image(dir.path()) {
        eprintln!("skipped: this system has no merged /usr to make an image of");
        return;
    }
    let before = std::fs::read_dir(dir.path()).unwrap().count();
    let mut request = CellRequest::new(world.attempt, world.workspace(), world.temp());
    request.attempt.attempt += 1;
    request.root = Some(Root {
        directory: dir.path().into(),
        image: "sha256:abc".into(),
        env: vec![("FROM_IMAGE".into(), "yes".into()), ("PATH".into(), "/nowhere".into())],
    });
    let cell = world.driver.prepare(request).await.unwrap();
    assert_eq!(cell.record().image.as_deref(), Some("sha256:abc"));
    let script = "cat /etc/image-release; echo; echo $FROM_IMAGE; cat /etc/resolv.conf /etc/shadow; \
                  echo x > /etc/y; echo x > /usr/y; echo in > made";
    let (exit, out) = finish(cell.start(world.sh(script)).await.unwrap()).await;
    assert_eq!((exit.code, out.as_str()), (Some(0), "an image\nyes\n"), "no name server without a network");
    assert!(!dir.path().join("usr/y").exists() && !dir.path().join("etc/y").exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), before, "the image is as it was");
    assert_eq!(std::fs::read_to_string(world.workspace().join("made")).unwrap(), "in\n");
    cell.tear_down().await.unwrap();
    let mut request = CellRequest::new(world.attempt, world.workspace(), world.temp());
    request.attempt.attempt += 2;
    request.root = Some(Root { directory: "/nowhere".into(), image: String::new(), env: Vec::new() });
    assert!(world.driver.prepare(request).await.is_err());
    world.cell.tear_down().await.unwrap();
}

/// Hidden: a runner that is about to be killed.
#[tokio::test]
async fn victim() {
    let Ok(tag) = std::env::var("FLEETFOOT_VICTIM") else { return };
    let state = Some(std::env::var_os("STATE").unwrap().into());
    let network =
        if fleetfoot_driver_linux::network::program().is_some() { Network::Private } else { Network::None };
    let world = world(GvisorOptions { tag, state, network, ..options() }).await.unwrap();
    let script = "setsid sleep 600 & (sleep 600 &) ; echo ready; sleep 600";
    let mut running = world.cell.start(world.sh(script)).await.unwrap();
    assert_eq!(line(&mut running).await, "ready");
    println!("\nattempt {} {} {}", world.attempt, running.pid, world.outside().display());
    let _ = finish(running).await;
}

#[tokio::test]
async fn a_killed_runner_leaves_nothing() {
    if platform().await.is_none() {
        return;
    }
    let (tag, state) = (fresh_tag(), tempfile::tempdir().unwrap());
    let mut victim = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env("FLEETFOOT_VICTIM", &tag)
        .env("STATE", state.path())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(victim.stdout.take().unwrap()));
    let (attempt, pid, directory) = loop {
        let line = lines.next_line().await.unwrap().expect("the victim failed");
        let Some(rest) = line.strip_prefix("attempt ") else { continue };
        let words: Vec<&str> = rest.split(' ').collect();
        break (words[0].parse().unwrap(), words[1].parse::<u32>().unwrap(), PathBuf::from(words[2]));
    };
    assert!(alive(pid));
    let text = state.path().display().to_string();
    let ours = || fleetfoot_driver_conformance::processes(&text).len();
    assert!(ours() >= 2, "runsc and its kernel");
    // The way out of its private network is named by a descriptor of the runner.
    let stack = format!("/proc/{}/fd/", victim.id().unwrap());
    let stacks = || fleetfoot_driver_conformance::processes(&stack).len();
    assert_eq!(stacks() > 0, fleetfoot_driver_linux::network::program().is_some());
    victim.kill().await.unwrap();
    eventually("everything dies with the runner", || ours() == 0 && !alive(pid)).await;
    eventually("so does the network stack", || stacks() == 0).await;
    let driver =
        GvisorDriver::new(GvisorOptions { tag: tag.clone(), state: Some(state.path().into()), ..options() })
            .unwrap();
    driver.sweep(attempt).await.unwrap();
    drop(driver);
    let groups = std::process::Command::new("find")
        .args(["/sys/fs/cgroup", "-name", &format!("*{tag}*")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&groups.stdout), "");
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0, "bundle and state are gone");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&text) && !mounts.contains(directory.to_str().unwrap()));
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn a_full_disk_is_said_and_leaves_nothing() {
    let Some(platform) = platform().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let mount = |args: &[&str]| std::process::Command::new(args[0]).args(&args[1..]).arg(dir.path()).status();
    assert!(mount(&["mount", "-t", "tmpfs", "-o", "size=64k", "none"]).unwrap().success());
    let options = GvisorOptions { state: Some(dir.path().into()), platform: Some(platform), ..options() };
    let driver = GvisorDriver::new(options).unwrap();
    let work = tempfile::tempdir().unwrap();
    let attempt = fleetfoot_model::ids::AttemptRef {
        job: fleetfoot_model::ids::JobId(1),
        attempt: 1,
        epoch: fleetfoot_model::ids::Epoch(1),
    };
    let request = CellRequest::new(attempt, work.path().into(), work.path().into());
    let error = driver.prepare(request).await.err().unwrap();
    drop(driver);
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert!(mount(&["umount"]).unwrap().success());
    assert!(error.message.contains("No space left"), "{error}");
    assert_eq!(left, 0, "nothing is left of the cell");
}

#[tokio::test]
async fn paths_that_would_hide_the_system_are_refused() {
    let Some(world) = world(options()).await else { return };
    for path in ["/", "/usr/x", "/proc", "relative", "/tmp/../etc"] {
        let mut request = CellRequest::new(world.attempt, path.into(), world.temp());
        request.attempt.attempt += 1;
        assert!(world.driver.prepare(request).await.is_err(), "{path}");
    }
    world.cell.tear_down().await.unwrap();
}

/// A platform that hangs costs its trial and nothing else.
#[tokio::test]
async fn a_probe_is_bounded() {
    let scratch = tempfile::tempdir().unwrap();
    let trial = std::time::Duration::from_millis(700);
    let begun = std::time::Instant::now();
    let kvm = GvisorOptions { platform: Some("kvm".into()), trial, ..options() };
    let probe = GvisorDriver::probe(kvm, scratch.path()).await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(15), "{:?}", begun.elapsed());
    let check = probe.checks.iter().find(|c| c.name == "cell" || c.name == "runsc").unwrap();
    assert!(probe.usable || probe.checks.iter().any(|c| !c.works && c.fix.is_some()), "{check:?}");
    let nonsense = GvisorOptions { platform: Some("magic".into()), ..options() };
    assert!(!GvisorDriver::probe(nonsense, scratch.path()).await.usable);
    let missing = GvisorOptions { runsc: Some("/nowhere/runsc".into()), ..options() };
    let probe = GvisorDriver::probe(missing, scratch.path()).await;
    assert!(!probe.usable && probe.checks[0].fix.as_ref().unwrap().contains("package runsc"));
}

/// Hidden: runs inside only.
#[test]
fn inside_network() {
    let (Ok(port), Ok(name)) = (std::env::var("TCP"), std::env::var("ABSTRACT")) else { return };
    let say = |name: &str, ok: bool| println!("\nnet {name}: {}", if ok { "ALLOWED" } else { "refused" });
    say("loopback-of-host", std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok());
    let metadata = "169.254.169.254:80".parse().unwrap();
    say(
        "metadata",
        std::net::TcpStream::connect_timeout(&metadata, std::time::Duration::from_millis(300)).is_ok(),
    );
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    say("abstract", std::os::unix::net::UnixStream::connect_addr(&address).is_ok());
    let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    say("own-loopback", std::net::TcpStream::connect(own.local_addr().unwrap()).is_ok());
}
