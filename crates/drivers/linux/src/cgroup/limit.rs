//! Which files of a group hold which limit, and what is then in force. Plain
//! values: what is written is decided here, and written by [`super::cell`]. It
//! must never call a limit in force that holds in part only without saying so.

use super::Version;
use fleetfoot_model::spec::Limits;
use std::fs;

/// One line for one file of a group.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) file: &'static str,
    pub(super) text: String,
    /// Without it the limit does not hold.
    pub(super) required: bool,
}

/// What a controller has to be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) settings: Vec<Setting>,
    /// Name and value of the limits that hold then.
    pub(super) in_force: Vec<(&'static str, String)>,
}

impl Told {
    fn set(&mut self, file: &'static str, text: impl Into<String>) {
        self.settings.push(Setting { file, text: text.into(), required: true });
    }

    fn try_to_set(&mut self, file: &'static str, text: impl Into<String>) {
        self.settings.push(Setting { file, text: text.into(), required: false });
    }

    fn holds(&mut self, name: &'static str, value: impl Into<String>) {
        self.in_force.push((name, value.into()));
    }
}

/// What `controller` is told about these limits; `disks` are the numbers of the machine's.
pub(super) fn told(version: Version, controller: &str, limits: &Limits, disks: &[String]) -> Told {
    let mut told = Told::default();
    match controller {
        "pids" => pids(&mut told, limits),
        "memory" => memory(&mut told, version, limits),
        "cpu" => cpu(&mut told, version, limits),
        "blkio" | "io" => disk_rates(&mut told, version, limits, disks),
        _ => {}
    }
    told
}

fn pids(told: &mut Told, limits: &Limits) {
    // More than this no kernel can have, and it refuses to be told so.
    const MOST: u64 = 4 << 20;
    let Some(pids) = limits.pids.map(|pids| pids.min(MOST)) else { return };
    told.set("pids.max", pids.to_string());
    told.holds("pids", pids.to_string());
}

fn memory(told: &mut Told, version: Version, limits: &Limits) {
    let Some(bytes) = limits.memory_bytes else { return };
    let text = bytes.to_string();
    match version {
        Version::V2 => {
            told.set("memory.max", &text);
            told.try_to_set("memory.swap.max", "0");
        }
        Version::V1 => {
            told.set("memory.limit_in_bytes", &text);
            // Memory and swap together; absent where swap is not accounted.
            told.try_to_set("memory.memsw.limit_in_bytes", &text);
        }
    }
    told.holds("memory_bytes", text);
}

fn cpu(told: &mut Told, version: Version, limits: &Limits) {
    const PERIOD_US: f64 = 100_000.0;
    let Some(cpus) = limits.cpus else { return };
    // The kernel takes no quota below a millisecond.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let quota = (cpus * PERIOD_US).clamp(1_000.0, 1e12) as u64;
    match version {
        Version::V2 => told.set("cpu.max", format!("{quota} {PERIOD_US}")),
        Version::V1 => {
            told.set("cpu.cfs_period_us", PERIOD_US.to_string());
            told.set("cpu.cfs_quota_us", quota.to_string());
        }
    }
    told.holds("cpus", cpus.to_string());
}

/// Rates hold for each disk of the machine: which one a file lies on is not always to be known.
fn disk_rates(told: &mut Told, version: Version, limits: &Limits, disks: &[String]) {
    let rates = [
        (limits.read_bytes_per_second, "read_bytes_per_second", "rbps", "blkio.throttle.read_bps_device"),
        (limits.write_bytes_per_second, "write_bytes_per_second", "wbps", "blkio.throttle.write_bps_device"),
    ];
    for (rate, name, key, file) in rates {
        let Some(rate) = rate else { continue };
        for disk in disks {
            match version {
                Version::V2 => told.set("io.max", format!("{disk} {key}={rate}")),
                Version::V1 => told.set(file, format!("{disk} {rate}")),
            }
        }
        if disks.is_empty() {
            continue;
        }
        // Version 1 does not know whose a page is that the kernel writes later.
        let in_part = version == Version::V1 && key == "wbps";
        told.holds(name, if in_part { format!("{rate} ({PAST_THE_CACHE})") } else { rate.to_string() });
    }
}

/// Of a rate of writing that version 1 of control groups holds.
pub const PAST_THE_CACHE: &str = "past the page cache only";

/// The disks of this machine: name (`sda`) and number (`8:0`). What is only memory or a file is none:
/// its bytes come from a disk, or from nowhere.
pub fn disks() -> Vec<(String, String)> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().filter_map(Result::ok);
    let disk = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let real = !["loop", "ram", "zram"].iter().any(|kind| name.starts_with(kind));
        let number = fs::read_to_string(entry.path().join("dev")).ok().filter(|_| real)?;
        Some((name, number.trim().to_owned()))
    };
    entries.filter_map(disk).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Limits {
        Limits {
            pids: Some(64),
            memory_bytes: Some(1 << 30),
            cpus: Some(1.5),
            read_bytes_per_second: Some(1000),
            write_bytes_per_second: Some(2000),
        }
    }

    /// Every line that is written, `file: text`, those that may fail in brackets; then what holds.
    fn shown(version: Version, controller: &str) -> Vec<String> {
        let told = told(version, controller, &all(), &["8:0".into(), "259:1".into()]);
        let lines = told.settings.into_iter().map(|s| {
            let line = format!("{}: {}", s.file, s.text);
            if s.required { line } else { format!("[{line}]") }
        });
        lines.chain(told.in_force.into_iter().map(|(name, value)| format!("{name} = {value}"))).collect()
    }

    #[test]
    fn each_version_has_its_own_files() {
        use Version::{V1, V2};
        assert_eq!(shown(V2, "pids"), ["pids.max: 64", "pids = 64"]);
        assert_eq!(shown(V1, "pids"), ["pids.max: 64", "pids = 64"]);
        assert_eq!(
            shown(V2, "memory"),
            ["memory.max: 1073741824", "[memory.swap.max: 0]", "memory_bytes = 1073741824"]
        );
        assert_eq!(
            shown(V1, "memory"),
            [
                "memory.limit_in_bytes: 1073741824",
                "[memory.memsw.limit_in_bytes: 1073741824]",
                "memory_bytes = 1073741824"
            ]
        );
        assert_eq!(shown(V2, "cpu"), ["cpu.max: 150000 100000", "cpus = 1.5"]);
        assert_eq!(shown(V1, "cpu"), ["cpu.cfs_period_us: 100000", "cpu.cfs_quota_us: 150000", "cpus = 1.5"]);
        assert_eq!(
            shown(V2, "io"),
            [
                "io.max: 8:0 rbps=1000",
                "io.max: 259:1 rbps=1000",
                "io.max: 8:0 wbps=2000",
                "io.max: 259:1 wbps=2000",
                "read_bytes_per_second = 1000",
                "write_bytes_per_second = 2000"
            ]
        );
        assert_eq!(
            shown(V1, "blkio"),
            [
                "blkio.throttle.read_bps_device: 8:0 1000",
                "blkio.throttle.read_bps_device: 259:1 1000",
                "blkio.throttle.write_bps_device: 8:0 2000",
                "blkio.throttle.write_bps_device: 259:1 2000",
                "read_bytes_per_second = 1000",
                "write_bytes_per_second = 2000 (past the page cache only)"
            ]
        );
    }

    #[test]
    fn nothing_asked_is_nothing_told() {
        for controller in super::super::LIMITS {
            assert_eq!(told(Version::V2, controller, &Limits::default(), &["8:0".into()]), Told::default());
        }
        // A machine without disks has nothing that could be slowed.
        assert_eq!(told(Version::V2, "io", &all(), &[]), Told::default());
        let tiny = Limits { cpus: Some(0.000_1), ..Limits::default() };
        assert_eq!(told(Version::V2, "cpu", &tiny, &[]).settings[0].text, "1000 100000");
        let huge = Limits { pids: Some(u64::MAX), ..Limits::default() };
        assert_eq!(told(Version::V2, "pids", &huge, &[]).in_force, [("pids", "4194304".to_owned())]);
    }
}
