//! Attempts to get out, or to harm what is outside. This binary runs itself
//! inside a cell: there it makes the forbidden calls and prints what it got.
//! It also runs itself as an ordinary user, where that is possible.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    reason = "tests of raw system calls"
)]

use fleetfoot_driver::{Command, Driver};
use fleetfoot_driver_conformance::{
    World, alive, as_an_ordinary_user, eventually, finish, fresh_tag, line, marker, processes,
};
use fleetfoot_driver_sandbox::{Network, Root, SandboxDriver, SandboxOptions};
use fleetfoot_model::spec::Limits;
use std::collections::HashMap;
use std::os::linux::net::SocketAddrExt;
use std::path::{Path, PathBuf};

fn options() -> SandboxOptions {
    SandboxOptions { tag: fresh_tag(), network: Network::None, ..SandboxOptions::default() }
}

/// A cell, or `None` (said why) where the machine cannot make one.
async fn world(options: SandboxOptions) -> Option<World> {
    let scratch = tempfile::tempdir().unwrap();
    let probe = SandboxDriver::probe(options.clone(), scratch.path()).await;
    if !probe.usable {
        eprintln!("skipped: no sandbox on this machine: {probe:#?}");
        return None;
    }
    let driver = Box::new(SandboxDriver::new(options).unwrap());
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
        say("setuid", libc::setuid(0).into());
        say("setgroups", libc::setgroups(1, [0].as_ptr()).into());
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
        // Process 1 cannot be ended from inside.
        libc::kill(1, libc::SIGKILL);
        libc::kill(1, libc::SIGTERM);
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
async fn forbidden_calls_are_refused() {
    let Some(world) = world(options()).await else { return };
    let (exit, out) = world.run(own_binary(&world, "inside_calls")).await;
    assert_eq!(exit.code, Some(0), "{out}");
    let calls = answers(&out, "call");
    assert!(calls.len() > 40, "{out}");
    for (name, got) in &calls {
        let expected: &[&str] = match *name {
            "clone3" | "unheard-of" => &["ENOSYS"],
            "kill-outside" | "ptrace-outside" => &["ESRCH"],
            "nice" => &["EPERM", "EACCES"],
            "setuid" | "chown" => &["EPERM", "errno 22"],
            _ => &["EPERM"],
        };
        assert!(expected.contains(got), "{name}: {got}\n{out}");
    }
    let files = answers(&out, "file");
    assert!(files.len() > 20, "{out}");
    for (name, got) in files {
        assert_eq!(got, "refused", "{name}");
    }
    for (name, got) in answers(&out, "empty") {
        assert_eq!(got, "0", "{name}");
    }
    world.cell.tear_down().await.unwrap();
}

#[tokio::test]
async fn no_rights_are_left() {
    let Some(world) = world(options()).await else { return };
    let (_, out) = world.script("cat /proc/self/status; echo; cat /proc/self/mountinfo").await;
    let field = |name: &str| out.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(
        (field("NoNewPrivs:"), field("Seccomp:"), field("Seccomp_filters:")),
        ("1".into(), "2".into(), "1".into())
    );
    let mounts: Vec<&str> = out.lines().filter(|l| l.contains(" - ")).collect();
    assert!(mounts.len() > 10);
    for mount in mounts {
        let field = |n: usize| mount.split(' ').nth(n).unwrap();
        let (place, flags) = (field(4), field(5));
        assert!(flags.contains("nosuid"), "{mount}");
        let workspace = world.outside().to_str().unwrap();
        let mine = ["/tmp", "/home", "/proc", "/dev"].iter().any(|p| place.starts_with(p))
            || place.starts_with(workspace);
        assert!(flags.starts_with("ro") || mine, "writable: {mount}");
    }
    let record = world.cell.record();
    assert_eq!(record.capabilities, Some(Vec::new()));
    assert!(record.seccomp.unwrap().starts_with("sha256:"));
    for namespace in ["user", "mount", "pid", "ipc", "uts", "cgroup", "net"] {
        assert!(record.namespaces.iter().any(|n| n == namespace));
        let kind = namespace.replace("mount", "mnt");
        let own = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        let (_, inside) = world.script(&format!("readlink /proc/self/ns/{kind}")).await;
        assert_ne!(inside.trim(), own.to_str().unwrap(), "{namespace}");
    }
    let root = rustix::process::geteuid().is_root();
    let (_, id) = world.script("id -u; cat /proc/self/uid_map").await;
    assert!(!id.starts_with("0\n"), "{id}");
    assert!(!root || record.user == "1000:1000 (host 64900:64900)", "{}", record.user);
    world.cell.tear_down().await.unwrap();
}

#[tokio::test]
async fn files_of_the_host_are_out_of_reach() {
    let Some(world) = world(options()).await else { return };
    let secret = world.outside().join("secret");
    std::fs::write(&secret, "top secret").unwrap();
    let link = world.workspace().join("link");
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    std::os::unix::fs::symlink("../secret", world.workspace().join("relative")).unwrap();
    let secret = secret.display();
    let script = format!(
        "cat {secret}; cat link; cat relative; cat ../secret; cat /proc/1/root{secret}; cat /proc/self/root{secret}; \
         ln {secret} hard; ls /home /root /var; cat /proc/*/environ | tr '\\0' '\\n'; ls -d /proc/[0-9]* | wc -l"
    );
    let (_, out) = world.script(&script).await;
    assert!(!out.contains("top secret"), "{out}");
    assert!(!out.contains("CARGO"), "no environment of ours: {out}");
    let seen: usize = out.lines().last().unwrap().trim().parse().unwrap();
    assert!(seen < 8, "only its own processes: {out}");
    // Descriptors of this process, marked or not.
    let open = std::fs::File::open("/etc/hostname").unwrap();
    unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&open), libc::F_SETFD, 0) };
    let (_, out) = world.script("ls /proc/self/fd | wc -l; ls -l /proc/self/fd | grep -c socket").await;
    assert_eq!(out.split_whitespace().collect::<Vec<_>>(), ["4", "0"]);
    // What is written to private places is nowhere on the host.
    let name = format!("fleetfoot-private-{}", marker());
    let (exit, _) =
        world.script(&format!("for d in /tmp /dev/shm $HOME /var/tmp; do echo x > $d/{name}; done")).await;
    assert_eq!(exit.code, Some(0));
    for place in ["/tmp", "/dev/shm", "/var/tmp"] {
        assert!(!Path::new(place).join(&name).exists());
    }
    world.cell.tear_down().await.unwrap();
}

/// Values of the environment are secrets: no other user of the host may see them.
#[tokio::test]
async fn no_other_user_sees_the_environment() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: cannot become somebody else");
        return;
    }
    let Some(world) = world(options()).await else { return };
    let mut command = world.sh("echo ready; exec sleep 600");
    command.env.insert("SECRET".into(), "a-secret-value".into());
    let mut running = world.cell.start(command).await.unwrap();
    assert_eq!(line(&mut running).await, "ready");
    let pid = running.pid;
    for user in ["1234", "65534"] {
        let look = std::process::Command::new("setpriv")
            .args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups", "cat"])
            .arg(format!("/proc/{pid}/environ"))
            .output();
        let Ok(look) = look else { return };
        assert!(!look.status.success() && look.stdout.is_empty(), "{user} can read it");
    }
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(!String::from_utf8_lossy(&line).contains("a-secret-value"));
    world.cell.tear_down().await.unwrap();
}

#[tokio::test]
async fn the_network_is_what_was_asked_for() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let name = format!("fleetfoot-{}", marker());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _abstract = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    for network in [Network::None, Network::Host] {
        let Some(world) = world(SandboxOptions { network, ..options() }).await else { return };
        let mut command = own_binary(&world, "inside_network");
        command.env.insert("TCP".into(), port.to_string());
        command.env.insert("ABSTRACT".into(), name.clone());
        let (_, out) = world.run(command).await;
        let got = answers(&out, "net");
        let scoped = world.cell.record().landlock_abi.is_some_and(|abi| abi >= 6);
        match network {
            Network::Host => {
                assert_eq!(got["loopback-of-host"], "ALLOWED", "{out}");
                if scoped {
                    assert_eq!(got["abstract"], "refused", "{out}");
                }
            }
            _ => {
                assert_eq!(
                    (got["loopback-of-host"], got["abstract"], got["metadata"]),
                    ("refused", "refused", "refused")
                );
            }
        }
        assert_eq!(got["own-loopback"], "ALLOWED", "{out}");
        assert_eq!(world.cell.record().network, network.as_str());
        world.cell.tear_down().await.unwrap();
    }
}

/// An address of this machine that is neither loopback nor private: what a job may reach.
fn public_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.77:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    let std::net::IpAddr::V4(v4) = address else { return None };
    (!v4.is_private() && !v4.is_loopback() && !v4.is_link_local()).then_some(address)
}

/// Network stacks that this process started.
fn stacks_of(parent: u32) -> Vec<u32> {
    let stat = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = stat(pid);
        let father = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)).map(str::to_owned);
        stat.contains("(slirp4netns)") && father == Some(parent.to_string())
    })
    .collect()
}

#[tokio::test]
async fn a_private_network_reaches_out_but_not_in() {
    let scratch = tempfile::tempdir().unwrap();
    let options = SandboxOptions { network: Network::Private, ..options() };
    let probe = SandboxDriver::probe(options.clone(), scratch.path()).await;
    let check = probe.checks.iter().find(|c| c.name == "private-network").unwrap();
    assert_eq!(check.works, probe.usable);
    if !check.works {
        assert!(check.fix.as_ref().unwrap().contains("slirp4netns"));
        eprintln!("skipped: no private network: {}", check.found);
        return;
    }
    let world = World::new(Box::new(SandboxDriver::new(options).unwrap()), Limits::default()).await;
    let ours = stacks_of(std::process::id());
    assert!(!ours.is_empty());
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut command = own_binary(&world, "inside_private_network");
    command.env.insert("PORT".into(), port.to_string());
    if let Some(address) = public_address() {
        command.env.insert("PUBLIC".into(), address.to_string());
    }
    let (exit, out) = world.run(command).await;
    assert_eq!(exit.code, Some(0), "{out}");
    for (name, got) in answers(&out, "net") {
        assert_eq!(got, if name == "public" { "ALLOWED" } else { "refused" }, "{name}\n{out}");
    }
    assert_eq!(world.script("cat /etc/resolv.conf").await.1, "nameserver 10.0.2.3\n");
    assert_eq!(world.cell.record().network, "private");
    world.cell.tear_down().await.unwrap();
    eventually("the network stack is gone", || !ours.iter().any(|pid| alive(*pid))).await;
}

/// Hidden: runs inside only.
#[test]
fn inside_private_network() {
    let Ok(port) = std::env::var("PORT") else { return };
    let port: u16 = port.parse().unwrap();
    let wait = std::time::Duration::from_millis(500);
    let connect = |name: &str, address: &str| {
        let address = format!("{address}:{port}").parse().unwrap();
        let wait = if name == "public" { 20 * wait } else { wait };
        let got = std::net::TcpStream::connect_timeout(&address, wait);
        println!("\n{name}: {got:?}\nnet {name}: {}", if got.is_ok() { "ALLOWED" } else { "refused" });
    };
    for address in
        ["127.0.0.1", "10.0.2.2", "169.254.169.254", "10.1.2.3", "192.168.1.1", "172.16.0.1", "100.64.0.1"]
    {
        connect(address, address);
    }
    if let Ok(address) = std::env::var("PUBLIC") {
        connect("public", &address);
    }
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

/// A fence that breaks tools is switched off by its users.
#[tokio::test]
async fn ordinary_tools_work() {
    let Some(world) = world(options()).await else { return };
    let mut ran = Vec::new();
    for (tool, script) in [
        ("id", "id; whoami; getent passwd $(id -u); test \"$HOME\" = /home/fleetfoot && touch ~/x"),
        ("ps", "ps -ef && nproc && uptime && df . && mktemp"),
        (
            "tar",
            "mkdir t && touch t/x && tar --owner=77 --group=77 -cf t.tar t && rm -r t && tar xf t.tar && ls t/x",
        ),
        (
            "git",
            "git init -q r && cd r && echo x > f && git add f && git -c user.name=n -c user.email=e@x commit -qm m && git log --oneline && git clone -q . ../clone",
        ),
        (
            "python3",
            "python3 -c 'import multiprocessing as m, ssl, socket, tempfile, subprocess, threading; l = m.Lock(); print(m.Pool(2).map(abs, [-1, -2])); socket.create_server((\"127.0.0.1\", 0)); subprocess.run([\"true\"], check=True)'",
        ),
        ("perl", "perl -e 'my $p = fork(); exit 0 unless $p; waitpid $p, 0; print $?'"),
        ("cc", "printf 'int main(void){return 0;}' > a.c && cc -o a a.c && ./a"),
        ("make", "printf 'all: a b\\na b:\\n\\tsleep 0.01; echo $@\\n' > Makefile && make -s -j4"),
        ("script", "script -qc 'test -t 1 && echo terminal' /dev/null"),
        ("gdb", "gdb --version"),
        ("strace", "strace -f -o trace true && grep -q execve trace"),
        ("flock", "flock lock echo locked"),
        ("unshare", "! unshare -U true"),
    ] {
        if !world.script(&format!("command -v {tool}")).await.1.contains('/') {
            continue;
        }
        let mut command = Command { merge_output: true, ..world.sh(&format!("set -e; {script}")) };
        command.env.insert("HOME".into(), "/root".into());
        let (exit, out) = world.run(command).await;
        assert_eq!(exit.code, Some(0), "{tool}: {out}");
        ran.push(tool);
    }
    assert!(ran.contains(&"id"));
    world.cell.tear_down().await.unwrap();
    eprintln!("tried: {}", ran.join(", "));
}

#[tokio::test]
async fn what_needs_no_call_of_its_own() {
    let Some(world) = world(options()).await else { return };
    fleetfoot_driver_conformance::escape::run_all(world).await;
}

#[tokio::test]
async fn private_places_are_limited() {
    let options = SandboxOptions { tmp_bytes: 4 << 20, shm_bytes: 1 << 20, ..options() };
    let Some(world) = world(options).await else { return };
    for place in ["/tmp", "/dev/shm", "/home/fleetfoot"] {
        let (exit, out) = world
            .script(&format!("head -c 8000000 /dev/zero > {place}/big; rc=$?; rm {place}/big; exit $rc"))
            .await;
        assert_ne!(exit.code, Some(0), "{place}: {out}");
        assert!(out.contains("No space"), "{out}");
    }
    world.cell.tear_down().await.unwrap();
}

/// Whether the machine can limit workspaces.
fn volumes() -> bool {
    let able = rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists();
    if !able {
        eprintln!("skipped: volumes need root and loop devices");
    }
    able
}

#[tokio::test]
async fn the_workspace_can_be_limited() {
    let options = SandboxOptions { workspace_bytes: Some(16 << 20), ..options() };
    if !volumes() {
        return;
    }
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts().lines().count();
    let world = World::new(Box::new(SandboxDriver::new(options).unwrap()), Limits::default()).await;
    assert_eq!(world.cell.record().limits["workspace_bytes"], (16 << 20).to_string());
    let (exit, out) = world.script("echo small > small; head -c 32000000 /dev/zero > big").await;
    assert!(exit.code != Some(0) && out.contains("No space"), "{exit:?} {out}");
    assert_eq!(std::fs::read_to_string(world.workspace().join("small")).unwrap(), "small\n");
    assert!(world.script("rm big && echo x > other").await.0.code == Some(0), "there is room again");
    world.cell.tear_down().await.unwrap();
    assert!(std::fs::read_dir(world.workspace()).unwrap().next().is_none());
    assert_eq!(std::fs::read_dir(world.outside()).unwrap().count(), 2, "the image is gone");
    eventually("nothing is mounted any more", || mounts().lines().count() <= before).await;
}

#[tokio::test]
async fn an_image_can_be_the_root() {
    let dir = tempfile::tempdir().unwrap();
    // A small image made of the host's own programs.
    for name in ["bin", "lib", "lib64", "usr", "etc"] {
        let Ok(found) = std::fs::symlink_metadata(format!("/{name}")) else { continue };
        if found.is_symlink() {
            std::os::unix::fs::symlink(
                std::fs::read_link(format!("/{name}")).unwrap(),
                dir.path().join(name),
            )
            .unwrap();
        } else {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
    }
    std::fs::write(dir.path().join("etc/image-release"), "an image").unwrap();
    let root = Root::Directory(dir.path().into());
    let error = SandboxDriver::new(SandboxOptions { root: Root::Directory("/nowhere".into()), ..options() });
    assert!(error.unwrap_err().to_string().contains("/nowhere"));
    let copied = ["sh", "cat"].iter().all(|program| {
        let target = dir.path().join("usr/bin");
        std::fs::create_dir_all(&target).unwrap();
        std::fs::copy(format!("/usr/bin/{program}"), target.join(program)).is_ok()
    });
    if !copied || !dir.path().join("bin").exists() {
        eprintln!("skipped: no programs to make an image of");
        return;
    }
    let libraries = std::process::Command::new("ldd").args(["/usr/bin/sh", "/usr/bin/cat"]).output().unwrap();
    for word in String::from_utf8_lossy(&libraries.stdout)
        .split_whitespace()
        .filter(|w| w.starts_with("/lib") && !w.ends_with(':'))
    {
        let real = std::fs::canonicalize(word).unwrap();
        let target = dir.path().join(word.trim_start_matches('/'));
        let target = if word.starts_with("/lib") && dir.path().join("lib").is_symlink() {
            dir.path().join("usr").join(word.trim_start_matches('/'))
        } else {
            target
        };
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(real, target).unwrap();
    }
    let driver = SandboxDriver::new(SandboxOptions { root, ..options() }).unwrap();
    let world = World::new(Box::new(driver), Limits::default()).await;
    let (exit, out) = world.script("cat /etc/image-release; echo x > /etc/y").await;
    assert!(out.starts_with("an image"), "{exit:?} {out}");
    assert_ne!(exit.code, Some(0), "the image is read-only");
    world.cell.tear_down().await.unwrap();
}

/// Hidden: a runner that is about to be killed.
#[tokio::test]
async fn victim() {
    let Ok(tag) = std::env::var("FLEETFOOT_VICTIM") else { return };
    let workspace_bytes = std::env::var_os("VOLUME").map(|_| 16 << 20);
    let network = if std::env::var_os("PRIVATE").is_some() { Network::Private } else { Network::None };
    let driver = SandboxDriver::new(SandboxOptions { tag, workspace_bytes, network, ..options() }).unwrap();
    let world = World::new(Box::new(driver), Limits::default()).await;
    let marker = std::env::var("MARKER").unwrap();
    let script = format!("setsid env -i sleep {marker} & (sleep {marker} &) ; echo ready; sleep {marker}");
    let mut running = world.cell.start(world.sh(&script)).await.unwrap();
    assert_eq!(line(&mut running).await, "ready");
    println!("\nattempt {} {}", world.attempt, world.outside().display());
    let _ = finish(running).await;
}

#[tokio::test]
async fn a_killed_runner_leaves_nothing() {
    let Some(probe) = world(options()).await else { return };
    probe.cell.tear_down().await.unwrap();
    drop(probe);
    let with_volume = volumes();
    let (tag, marker) = (fresh_tag(), marker());
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut victim = tokio::process::Command::new(std::env::current_exe().unwrap());
    if with_volume {
        victim.env("VOLUME", "1");
    }
    let scratch = tempfile::tempdir().unwrap();
    let private = SandboxOptions { network: Network::Private, ..options() };
    let with_network = SandboxDriver::probe(private, scratch.path()).await.usable;
    if with_network {
        victim.env("PRIVATE", "1");
    }
    let mut victim = victim
        .args(["--exact", "victim", "--nocapture"])
        .env("FLEETFOOT_VICTIM", &tag)
        .env("MARKER", &marker)
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(victim.stdout.take().unwrap()));
    let (attempt, directory) = loop {
        let line = lines.next_line().await.unwrap().expect("the victim failed");
        if let Some((attempt, directory)) = line.strip_prefix("attempt ").and_then(|l| l.split_once(' ')) {
            break (attempt.parse().unwrap(), PathBuf::from(directory));
        }
    };
    assert!(processes(&marker).len() >= 3);
    let ours = || mounts().lines().filter(|l| l.contains(directory.to_str().unwrap())).count();
    assert_eq!(ours(), usize::from(with_volume), "nothing but the volume is mounted on the host");
    let stacks = stacks_of(victim.id().unwrap());
    assert_eq!(stacks.len(), usize::from(with_network));
    victim.kill().await.unwrap();
    eventually("everything dies with the runner", || processes(&marker).is_empty()).await;
    eventually("so does the network stack", || !stacks.iter().any(|pid| alive(*pid))).await;
    let driver = SandboxDriver::new(SandboxOptions { tag: tag.clone(), ..options() }).unwrap();
    driver.sweep(attempt).await.unwrap();
    drop(driver);
    let groups = std::process::Command::new("find")
        .args(["/sys/fs/cgroup", "-name", &format!("*{tag}*")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&groups.stdout), "");
    assert_eq!(ours(), 0);
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 2, "the image is gone");
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn paths_that_would_hide_the_system_are_refused() {
    let Some(world) = world(options()).await else { return };
    for path in ["/", "/usr/x", "/proc", "relative", "/tmp/../etc"] {
        let request = fleetfoot_driver::CellRequest::new(world.attempt, path.into(), world.temp());
        assert!(world.driver.prepare(request).await.is_err(), "{path}");
    }
    world.cell.tear_down().await.unwrap();
}

#[test]
fn everything_holds_for_an_ordinary_user() {
    as_an_ordinary_user();
}
