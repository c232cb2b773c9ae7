//! What a private network must hold, alike for every boundary that has one:
//! out into the world, but not to the neighbourhood of the machine. It is
//! tried in a world of its own, a network namespace of the test that has
//! public, private and metadata addresses with somebody who listens on all of
//! them: an address that merely is not there would prove nothing.

use crate::World;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Set in the world of its own; a directory with a shared mount in it.
const WORLD: &str = "FLEETFOOT_WORLD";
/// Addresses in that world that a job may reach.
const PUBLIC: [&str; 2] = ["203.0.113.7", "2001:db8::7"];
/// Those that it may not, although somebody listens there.
const NEAR: [&str; 8] = [
    "10.77.0.1",
    "172.20.0.1",
    "192.168.77.1",
    "169.254.169.254",
    "100.64.7.7",
    "198.18.0.7",
    "fd12:3456::7",
    "fd00:ec2::254",
];
/// The host itself, as it could be called from inside.
const HOST: [&str; 7] =
    ["127.0.0.1", "10.0.2.2", "::1", "fd00::2", "fe80::2", "::ffff:10.77.0.1", "::ffff:169.254.169.254"];

/// Runs one test of this binary, which does nothing elsewhere, in a world of its own. Says why if there
/// can be none.
pub fn in_a_world_of_its_own(test: &str) {
    let shared = tempfile::tempdir().unwrap();
    let addresses: String = PUBLIC.iter().chain(&NEAR).fold(String::new(), |script, address| {
        let (length, more) = if address.contains(':') { ("128", "nodad") } else { ("32", "") };
        format!("{script}ip addr add {address}/{length} dev out {more}\n")
    });
    // The mount is shared, and so is the one in it: whoever lets go of it carelessly takes it from us.
    let script = format!(
        "set -e\nip link set lo up\nip link add out type veth peer name away\n\
         ip link set away up\nip link set out up\n{addresses}\
         ip route add default dev out\nip -6 route add default dev out\n\
         mount -t tmpfs none \"${WORLD}\"\nmount --make-shared \"${WORLD}\"\nmkdir \"${WORLD}/sub\"\n\
         mount -t tmpfs none \"${WORLD}/sub\"\nexec \"$@\"\n"
    );
    let world = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "sh", "-c", script, "sh"]).env(WORLD, shared.path());
        command
    };
    let able = world(&script).arg("true").output();
    match able {
        Ok(done) if done.status.success() => {}
        other => return eprintln!("skipped: no network of the test's own can be made here: {other:?}"),
    }
    let own = std::env::current_exe().unwrap();
    let done = world(&script).arg(own).args(["--exact", test, "--nocapture"]).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{text}\n{}", String::from_utf8_lossy(&done.stderr));
    assert!(text.contains("1 passed"), "the hidden test has another name: {text}");
    eprintln!("{}", String::from_utf8_lossy(&done.stderr));
}

/// Whether this process is in a world of its own.
#[must_use]
pub fn is_world_of_its_own() -> bool {
    std::env::var_os(WORLD).is_some()
}

/// Connects as a job does; answers with a line.
fn ask(address: &str, port: u16) -> String {
    format!(
        "(timeout 3 bash -c 'exec 3<>/dev/tcp/{address}/{port}') 2>/dev/null && echo '{address} ALLOWED'\n"
    )
}

/// What leads where, in the world of its own, in a cell whose network is private.
pub async fn leads_out_and_nowhere_else(world: World) {
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for address in PUBLIC.iter().chain(&NEAR) {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        TcpStream::connect_timeout(&address, Duration::from_secs(3)).expect("somebody listens everywhere");
    }
    let bash = |script: String| crate::Command { program: "bash".into(), ..world.sh(&script) };
    for address in PUBLIC {
        // Addresses of IPv6 take the kernel a second or two to be sure of.
        let script = format!(
            "for i in $(seq 40); do if {}then exit; fi; sleep 0.25; done",
            ask(address, port).replace('\n', "; ")
        );
        let (_, out) = world.run(bash(script)).await;
        assert_eq!(out, format!("{address} ALLOWED\n"));
    }
    let script: String = NEAR.iter().chain(&HOST).map(|address| ask(address, port)).collect();
    assert_eq!(world.run(bash(script)).await.1, "", "the neighbourhood of the machine");
    let (_, servers) = world.script("cat /etc/resolv.conf").await;
    assert_eq!(servers, "nameserver 10.0.2.3\n");
    assert_eq!(world.cell.record().network, "private");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let shared = PathBuf::from(std::env::var_os(WORLD).unwrap()).join("sub");
    assert!(mounts.contains(shared.to_str().unwrap()), "no mount of the host was let go of");
    world.cell.tear_down().await.unwrap();
}

/// Somebody who greets on a port of the host's loopback.
fn service(text: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(text.as_bytes());
        }
    });
    port
}

/// Services of the job are reached by their port, and nothing else of the host's loopback.
pub async fn services_are_reached(world: World) {
    let (given, other) = (service("given\n"), service("not given\n"));
    world.cell.reach(given).await.unwrap();
    world.cell.reach(given).await.unwrap();
    let ask =
        |port: u16| format!("(exec 3<>/dev/tcp/127.0.0.1/{port} && cat <&3) 2>/dev/null || echo refused");
    let bash = |script: &str| crate::Command { program: "bash".into(), ..world.sh(script) };
    let script = format!("{}; {}", ask(given), ask(other));
    // The machine's own way to it stays as it is, and after the end of everything a new start has it too.
    assert_eq!(world.run(bash(&script)).await.1, "given\nrefused\n");
    world.cell.kill_all().await;
    assert_eq!(world.run(bash(&script)).await.1, "given\nrefused\n");
    let many = format!("for i in 1 2 3 4 5 6 7 8; do ({}) & done; wait", ask(given));
    assert_eq!(world.run(bash(&many)).await.1, "given\n".repeat(8));
    world.cell.reach(80).await.unwrap();
    let low = "(exec 3<>/dev/tcp/127.0.0.1/80) && echo connected; grep CapEff /proc/self/status";
    assert_eq!(world.run(bash(low)).await.1, "connected\nCapEff:\t0000000000000000\n");
    world.cell.tear_down().await.unwrap();
}
