//! `options:` of a container, as people know them from the command line of
//! Docker. Pure. Words are split as a shell splits them and looked up in a
//! list; what is not on it is refused by name. A value never becomes an
//! option: what follows an option that takes a value is its value, whatever
//! it looks like, and what stands alone is refused.

use fleetfoot_driver::{DriverError, DriverErrorKind};
use std::time::Duration;

/// What may be asked for, as fields. Absent means the engine's or the image's own choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// `--health-cmd`: a shell command, as Docker has it.
    pub health_cmd: Option<String>,
    /// `--health-interval`.
    pub health_interval: Option<Duration>,
    /// `--health-timeout`.
    pub health_timeout: Option<Duration>,
    /// `--health-start-period`.
    pub health_start_period: Option<Duration>,
    /// `--health-start-interval`.
    pub health_start_interval: Option<Duration>,
    /// `--health-retries`.
    pub health_retries: Option<u32>,
    /// `--no-healthcheck`.
    pub no_healthcheck: bool,
    /// `--hostname`.
    pub hostname: Option<String>,
    /// `--add-host`, `NAME:ADDRESS`.
    pub add_host: Vec<String>,
    /// `--env`.
    pub env: Vec<(String, String)>,
    /// `--label`; never one of ours.
    pub label: Vec<(String, String)>,
    /// `--memory`, bytes.
    pub memory: Option<u64>,
    /// `--cpus`.
    pub cpus: Option<f64>,
    /// `--pids-limit`.
    pub pids: Option<u64>,
    /// `--shm-size`, bytes.
    pub shm_size: Option<u64>,
    /// `--tmpfs`: path and mount options.
    pub tmpfs: Vec<(String, String)>,
    /// `--ulimit`: name, soft, hard.
    pub ulimit: Vec<(String, i64, i64)>,
    /// `--user`.
    pub user: Option<String>,
    /// `--workdir`.
    pub workdir: Option<String>,
    /// `--entrypoint`.
    pub entrypoint: Option<String>,
    /// `--network-alias`.
    pub network_alias: Vec<String>,
    /// `--read-only`.
    pub read_only: bool,
    /// `--init`.
    pub init: bool,
    /// `--stop-timeout`, seconds.
    pub stop_timeout: Option<i64>,
    /// `--stop-signal`.
    pub stop_signal: Option<String>,
    /// `--dns`.
    pub dns: Vec<String>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--platform`.
    pub platform: Option<String>,
    /// `--mac-address`.
    pub mac_address: Option<String>,
    /// `--cap-drop`.
    pub cap_drop: Vec<String>,
    /// `--privileged`, if the operator allows it.
    pub privileged: bool,
    /// `--cap-add`, if the operator allows it.
    pub cap_add: Vec<String>,
    /// `--device`, if the operator allows it: host, container, rights.
    pub device: Vec<(String, String, String)>,
    /// `--security-opt`, if the operator allows it.
    pub security_opt: Vec<String>,
    /// `--sysctl`, if the operator allows it.
    pub sysctl: Vec<(String, String)>,
    /// `--ipc`, if the operator allows it.
    pub ipc: Option<String>,
    /// `--pid`, if the operator allows it.
    pub pid: Option<String>,
    /// `--group-add`, if the operator allows it.
    pub group_add: Vec<String>,
    /// `--gpus`, if the operator allows it.
    pub gpus: Option<String>,
}

/// Options that everybody may use.
pub const ALLOWED: [&str; 35] = [
    "--add-host",
    "--cap-drop",
    "--cpus",
    "--dns",
    "--dns-search",
    "--entrypoint",
    "--env",
    "--health-cmd",
    "--health-interval",
    "--health-retries",
    "--health-start-interval",
    "--health-start-period",
    "--health-timeout",
    "--hostname",
    "--init",
    "--label",
    "--mac-address",
    "--memory",
    "--name",
    "--network-alias",
    "--no-healthcheck",
    "--pids-limit",
    "--platform",
    "--pull",
    "--quiet",
    "--read-only",
    "--restart",
    "--rm",
    "--shm-size",
    "--stop-signal",
    "--stop-timeout",
    "--tmpfs",
    "--ulimit",
    "--user",
    "--workdir",
];

/// Options that an operator may allow (`allowed_options`): each of them opens the fence.
pub const ALLOWABLE: [&str; 9] = [
    "--cap-add",
    "--device",
    "--gpus",
    "--group-add",
    "--ipc",
    "--pid",
    "--privileged",
    "--security-opt",
    "--sysctl",
];

/// Options without a value of their own; `=true` and `=false` may follow.
const SWITCHES: [&str; 7] =
    ["--init", "--no-healthcheck", "--privileged", "--quiet", "--read-only", "--rm", "--tty"];

/// Options that are never taken, with what to use instead.
const INSTEAD: [(&str, &str); 6] = [
    ("--volume", "`volumes:` of the container"),
    ("--mount", "`volumes:` of the container"),
    ("--volumes-from", "`volumes:` of the container"),
    ("--publish", "`ports:` of the container"),
    ("--network", "nothing: the containers of a job share a network of their own"),
    ("--net", "nothing: the containers of a job share a network of their own"),
];

fn long(short: &str) -> Option<&'static str> {
    Some(match short {
        "-e" => "--env",
        "-h" => "--hostname",
        "-l" => "--label",
        "-m" => "--memory",
        "-u" => "--user",
        "-w" => "--workdir",
        "-v" => "--volume",
        "-p" => "--publish",
        "-q" => "--quiet",
        _ => return None,
    })
}

fn invalid(message: impl Into<String>) -> DriverError {
    DriverError::new(DriverErrorKind::Invalid, message)
}

/// Shown in messages: whole words, not too long, nothing that moves the cursor.
fn shown(word: &str) -> String {
    let short: String = word.chars().take(60).map(|c| if c.is_control() { '?' } else { c }).collect();
    if word.chars().count() > 60 { format!("{short}...") } else { short }
}

/// Reads `options:`. `operator` are the options that the operator allows on top.
///
/// # Errors
/// `Invalid` with what is wrong and what would allow it.
pub fn parse(text: &str, operator: &[String]) -> Result<Parsed, DriverError> {
    if text.contains('\0') {
        return Err(invalid("the options of the container contain a NUL byte"));
    }
    let words = shlex::split(text).ok_or_else(|| {
        invalid("the options of the container have a quote or backslash without its other half")
    })?;
    let mut words = words.into_iter();
    let mut parsed = Parsed::default();
    while let Some(word) = words.next() {
        let (name, mut value) = name_of(&word)?;
        check_allowed(&name, operator)?;
        if SWITCHES.contains(&name.as_str()) {
            let on = match value.as_deref() {
                None | Some("true" | "1") => true,
                Some("false" | "0") => false,
                Some(other) => return Err(invalid(format!("'{name}' is on or off, not '{}'", shown(other)))),
            };
            parsed.switch(&name, on);
            continue;
        }
        if value.is_none() {
            value = words.next();
        }
        let value = value.ok_or_else(|| invalid(format!("the option '{name}' needs a value")))?;
        parsed.set(&name, value)?;
    }
    Ok(parsed)
}

/// The long name of an option, and the value if it is in the same word.
fn name_of(word: &str) -> Result<(String, Option<String>), DriverError> {
    if word.starts_with("--") && word.len() > 2 {
        return Ok(match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word.to_owned(), None),
        });
    }
    if word.starts_with('-') && word.len() >= 2 && word.is_char_boundary(2) {
        let (short, rest) = word.split_at(2);
        let name = long(short).unwrap_or(short).to_owned();
        let rest = rest.strip_prefix('=').unwrap_or(rest);
        let value = (word.len() > 2).then(|| rest.to_owned());
        return Ok((name, value));
    }
    let message = format!(
        "'{}' in the options of the container is not an option; image and command have keys of their own",
        shown(word)
    );
    Err(invalid(message))
}

fn check_allowed(name: &str, operator: &[String]) -> Result<(), DriverError> {
    if ALLOWED.contains(&name) {
        return Ok(());
    }
    if let Some((_, instead)) = INSTEAD.iter().find(|(n, _)| *n == name) {
        return Err(invalid(format!("the option '{name}' is not allowed; use {instead}")));
    }
    if ALLOWABLE.contains(&name) {
        if operator.iter().any(|o| o.trim_start_matches('-') == name.trim_start_matches('-')) {
            return Ok(());
        }
        return Err(invalid(format!(
            "the option '{name}' is not allowed: it opens the fence around the job; the operator of the runner can \
             allow it with `allowed_options = [\"{name}\"]`"
        )));
    }
    Err(invalid(format!("the option '{}' is not allowed; allowed are {}", shown(name), ALLOWED.join(", "))))
}

impl Parsed {
    fn switch(&mut self, name: &str, on: bool) {
        match name {
            "--init" => self.init = on,
            "--no-healthcheck" => self.no_healthcheck = on,
            "--privileged" => self.privileged = on,
            "--read-only" => self.read_only = on,
            // `--rm` and `--quiet` are what happens anyway.
            _ => {}
        }
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), DriverError> {
        match name {
            "--health-cmd" => self.health_cmd = Some(value),
            "--health-interval" => self.health_interval = Some(duration(name, &value)?),
            "--health-timeout" => self.health_timeout = Some(duration(name, &value)?),
            "--health-start-period" => self.health_start_period = Some(duration(name, &value)?),
            "--health-start-interval" => self.health_start_interval = Some(duration(name, &value)?),
            "--health-retries" => self.health_retries = Some(number(name, &value)?),
            "--hostname" => self.hostname = Some(host_name(name, value)?),
            "--add-host" => self.add_host.push(value),
            "--env" => self.env.push(pair(name, &value)?),
            "--label" => {
                let (key, value) = pair(name, &value).or_else(|_| Ok((value.clone(), String::new())))?;
                if key.starts_with("fleetfoot.") {
                    return Err(invalid("labels that begin with 'fleetfoot.' belong to the runner"));
                }
                self.label.push((key, value));
            }
            "--memory" => self.memory = Some(bytes(name, &value)?),
            "--cpus" => self.cpus = Some(positive(name, &value)?),
            "--pids-limit" => self.pids = Some(number(name, &value)?),
            "--shm-size" => self.shm_size = Some(bytes(name, &value)?),
            "--tmpfs" => self.tmpfs.push(tmpfs(&value)?),
            "--ulimit" => self.ulimit.push(ulimit(&value)?),
            "--user" => self.user = Some(value),
            "--workdir" => self.workdir = Some(absolute(name, value)?),
            "--entrypoint" => self.entrypoint = Some(value),
            "--network-alias" => self.network_alias.push(host_name(name, value)?),
            "--stop-timeout" => self.stop_timeout = Some(number::<u16>(name, &value)?.into()),
            "--stop-signal" => self.stop_signal = Some(value),
            "--dns" => self.dns.push(address(name, value)?),
            "--dns-search" => self.dns_search.push(value),
            "--platform" => self.platform = Some(value),
            "--mac-address" => self.mac_address = Some(value),
            "--cap-drop" => self.cap_drop.push(value),
            "--cap-add" => self.cap_add.push(value),
            "--device" => self.device.push(device(&value)?),
            "--security-opt" => self.security_opt.push(value),
            "--sysctl" => self.sysctl.push(pair(name, &value)?),
            "--ipc" => self.ipc = Some(value),
            "--pid" => self.pid = Some(value),
            "--group-add" => self.group_add.push(value),
            "--gpus" => self.gpus = Some(value),
            // Names are ours, `--restart` and `--pull` change nothing in a container that is started once.
            _ => {}
        }
        Ok(())
    }
}

fn wrong(name: &str, value: &str, wanted: &str) -> DriverError {
    invalid(format!("'{}' is not a value for '{name}': {wanted}", shown(value)))
}

/// As Go writes durations: `1m30s`, `500ms`.
fn duration(name: &str, text: &str) -> Result<Duration, DriverError> {
    let wanted = "a duration like 10s or 1m30s";
    let bad = || wrong(name, text, wanted);
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, 0f64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let value: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += value
            * match &rest[..letters] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(bad()),
            };
        rest = &rest[letters..];
    }
    if text.is_empty() || total > 1e6 {
        return Err(bad());
    }
    Duration::try_from_secs_f64(total).map_err(|_| bad())
}

/// `512m`, `1.5g`, `1024`.
fn bytes(name: &str, text: &str) -> Result<u64, DriverError> {
    let bad = || wrong(name, text, "a size like 512m or 2g");
    let lower = text.to_ascii_lowercase();
    let split = lower.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(lower.len());
    let value: f64 = lower[..split].trim().parse().map_err(|_| bad())?;
    let unit = match lower[split..].trim_end_matches("ib").trim_end_matches('b') {
        "" => 1u64,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return Err(bad()),
    };
    #[expect(clippy::cast_precision_loss, reason = "a power of two")]
    let total = value * unit as f64;
    if !(1.0..1e18).contains(&total) {
        return Err(bad());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range, checked above")]
    Ok(total as u64)
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, DriverError> {
    text.parse().map_err(|_| wrong(name, text, "a number, not negative"))
}

fn positive(name: &str, text: &str) -> Result<f64, DriverError> {
    let value = text.parse::<f64>().ok().filter(|v| (0.01..100_000.0).contains(v));
    value.ok_or_else(|| wrong(name, text, "a number above 0"))
}

fn pair(name: &str, text: &str) -> Result<(String, String), DriverError> {
    let split = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = split.ok_or_else(|| wrong(name, text, "it is written as NAME=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn host_name(name: &str, text: String) -> Result<String, DriverError> {
    let fine = !text.is_empty()
        && text.len() <= 253
        && !text.starts_with(['-', '.'])
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if fine { Ok(text) } else { Err(wrong(name, &text, "a host name")) }
}

fn address(name: &str, text: String) -> Result<String, DriverError> {
    match text.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(text),
        Err(_) => Err(wrong(name, &text, "an address")),
    }
}

fn absolute(name: &str, text: String) -> Result<String, DriverError> {
    if text.starts_with('/') { Ok(text) } else { Err(wrong(name, &text, "an absolute path")) }
}

fn tmpfs(text: &str) -> Result<(String, String), DriverError> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    Ok((absolute("--tmpfs", path.to_owned())?, options.to_owned()))
}

/// `nofile=1024:2048`; -1 is no limit.
fn ulimit(text: &str) -> Result<(String, i64, i64), DriverError> {
    let bad = || wrong("--ulimit", text, "it is written as NAME=SOFT:HARD");
    let (name, values) = text.split_once('=').ok_or_else(bad)?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let value = |v: &str| v.parse::<i64>().ok().filter(|v| *v >= -1).ok_or_else(bad);
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase()) {
        return Err(bad());
    }
    Ok((name.to_owned(), value(soft)?, value(hard)?))
}

fn device(text: &str) -> Result<(String, String, String), DriverError> {
    let mut parts = text.split(':');
    let host = parts.next().unwrap_or_default();
    let inside = parts.next().unwrap_or(host);
    let rights = parts.next().unwrap_or("rwm");
    let fine = host.starts_with('/') && inside.starts_with('/') && rights.chars().all(|c| "rwm".contains(c));
    if !fine || parts.next().is_some() {
        return Err(wrong("--device", text, "it is written as HOST:CONTAINER:rwm"));
    }
    Ok((host.to_owned(), inside.to_owned(), rights.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Parsed {
        parse(text, &[]).unwrap()
    }

    #[test]
    fn what_people_write() {
        let got = parsed(
            "--health-cmd \"pg_isready -U 'me'\" --health-interval=10s --health-timeout 1m30s --health-retries 5 \
             -e A=b=c --env 'X= --privileged' --memory 1.5g --cpus 2 --shm-size=64m --tmpfs /t:size=1m --ulimit \
             nofile=10:20 -u 1000:1000 --workdir /w --hostname box --network-alias db --read-only --init --rm \
             --dns 127.0.0.1 --add-host a:1.2.3.4 -m 2g",
        );
        assert_eq!(got.health_cmd.as_deref(), Some("pg_isready -U 'me'"));
        assert_eq!(got.health_timeout, Some(Duration::from_secs(90)));
        assert_eq!(got.env[1], ("X".into(), " --privileged".into()));
        assert_eq!((got.memory, got.cpus, got.shm_size), (Some(2 << 30), Some(2.0), Some(64 << 20)));
        assert_eq!(got.ulimit, [("nofile".into(), 10, 20)]);
        assert!(got.read_only && got.init && !got.privileged);
        assert_eq!(parsed("  \n "), Parsed::default());
        // What follows an option that wants a value is its value.
        assert_eq!(parsed("--health-cmd --privileged").health_cmd.as_deref(), Some("--privileged"));
    }

    #[test]
    fn what_is_refused_says_what_is_allowed() {
        for bad in [
            "--privileged",
            "--privileged=true",
            "--pid host",
            "--ipc=host",
            "--network=host",
            "--net host",
            "--device /dev/sda",
            "--security-opt seccomp=unconfined",
            "--cap-add ALL",
            "--volumes-from x",
            "--mount type=bind",
            "-v /:/x",
            "-v/:/x",
            "-p 80",
            "--userns=host",
            "--uts host",
            "--cgroup-parent x",
            "--runtime x",
            "--oom-score-adj -1000",
            "-it",
            "--",
            "-",
            "alpine",
            "--env",
            "--memory x",
            "--memory -1",
            "--cpus 0",
            "--hostname -x",
            "--hostname 'a b'",
            "--dns x",
            "--workdir x",
            "--ulimit x",
            "--label fleetfoot.runner=x",
            "--tmpfs x",
            "--read-only=maybe",
            "'",
        ] {
            let error = parse(bad, &[]).unwrap_err();
            assert_eq!(error.kind, DriverErrorKind::Invalid, "{bad}");
        }
        let text = parse("--device /dev/fuse", &[]).unwrap_err().to_string();
        assert!(text.contains("allowed_options = [\"--device\"]"), "{text}");
        let text = parse("--frobnicate", &[]).unwrap_err().to_string();
        assert!(text.contains("allowed are --add-host"), "{text}");
        let got =
            parse("--device /dev/fuse --privileged", &["--device".into(), "privileged".into()]).unwrap();
        assert_eq!(got.device, [("/dev/fuse".into(), "/dev/fuse".into(), "rwm".into())]);
        assert!(got.privileged);
        // Not even the operator: what has a place of its own.
        assert!(parse("--network host", &["--network".into()]).is_err());
    }

    proptest! {
        #[test]
        fn the_fence_stays_closed(text in "[-a-z0-9 ='\"\\n,:/\\\\]{0,60}") {
            if let Ok(got) = parse(&text, &[]) {
                prop_assert!(!got.privileged && got.cap_add.is_empty() && got.device.is_empty());
                prop_assert!(got.security_opt.is_empty() && got.pid.is_none() && got.ipc.is_none());
                prop_assert!(got.sysctl.is_empty() && got.group_add.is_empty() && got.gpus.is_none());
            }
        }

        #[test]
        fn a_quoted_value_stays_a_value(value in "[^\\x00]{0,40}") {
            let text = format!("--health-cmd {} --init", shlex::try_quote(&value).unwrap());
            let got = parse(&text, &[]).unwrap();
            prop_assert_eq!(got, Parsed { health_cmd: Some(value), init: true, ..Parsed::default() });
        }
    }
}
