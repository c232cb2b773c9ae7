//! The machine as the runner sees it: description and load, from the kernel's
//! own files. Never starts a process.

use fleetfoot_model::sync::{ResourceSample, SystemInfo};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};

/// Name of this host.
#[must_use]
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The machine; `work_dir` tells which disk counts.
#[must_use]
pub fn describe(work_dir: &Path) -> SystemInfo {
    let uname = rustix::system::uname();
    SystemInfo {
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
        hostname: hostname(),
        cpus: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        memory_bytes: memory().map_or(0, |m| m.total),
        disk_bytes: disk(work_dir).0,
    }
}

/// Size and free bytes of the file system that holds `path`.
pub(crate) fn disk(path: &Path) -> (u64, u64) {
    rustix::fs::statvfs(path)
        .map_or((0, 0), |s| (s.f_blocks.saturating_mul(s.f_frsize), s.f_bavail.saturating_mul(s.f_frsize)))
}

struct Memory {
    total: u64,
    available: u64,
}

fn memory() -> Option<Memory> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|l| l.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some(Memory { total: field("MemTotal:")?, available: field("MemAvailable:")? })
}

/// Busy and total clock ticks of all CPUs since boot.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().take(8).map_while(|t| t.parse().ok()).collect();
    let total: u64 = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some((total - idle, total))
}

/// Measures the load since the last call.
#[derive(Debug)]
pub struct Sampler {
    work_dir: PathBuf,
    keep_free: u64,
    last: Mutex<(u64, u64)>,
}

impl Sampler {
    /// For the disk of `work_dir`; below `keep_free` bytes the machine counts as unable to work.
    #[must_use]
    pub fn new(work_dir: &Path, keep_free: u64) -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        Self {
            work_dir: work_dir.to_owned(),
            keep_free,
            last: Mutex::new(cpu_ticks(&stat).unwrap_or((0, 0))),
        }
    }

    /// The load, and why the machine cannot work if it cannot.
    pub fn sample(&self) -> (ResourceSample, Option<String>) {
        let ticks = std::fs::read_to_string("/proc/stat").ok().and_then(|s| cpu_ticks(&s));
        let mut cpu = 0.0;
        if let Some((busy, total)) = ticks {
            let mut last = self.last.lock();
            let (was_busy, was_total) = std::mem::replace(&mut *last, (busy, total));
            let whole = total.saturating_sub(was_total);
            #[expect(clippy::cast_precision_loss, reason = "a share of ticks needs no precision")]
            if whole > 0 {
                cpu = (busy.saturating_sub(was_busy) as f64 / whole as f64).min(1.0);
            }
        }
        let (_, free) = disk(&self.work_dir);
        let sample = ResourceSample {
            cpu,
            memory_used_bytes: memory().map_or(0, |m| m.total.saturating_sub(m.available)),
            disk_free_bytes: free,
        };
        let error = (free < self.keep_free).then(|| {
            format!(
                "only {} MiB are free on the disk of {} (keep_free is {} MiB)",
                free >> 20,
                self.work_dir.display(),
                self.keep_free >> 20
            )
        });
        (sample, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describes_this_machine() {
        let system = describe(Path::new("/"));
        assert!(
            system.cpus >= 1 && system.memory_bytes > 1 << 20 && system.disk_bytes > 1 << 20,
            "{system:?}"
        );
        assert!(!system.kernel.is_empty() && !system.hostname.is_empty());
    }

    #[test]
    fn samples_the_load_and_notices_a_full_disk() {
        let (sample, error) = Sampler::new(Path::new("/"), 0).sample();
        assert!((0.0..=1.0).contains(&sample.cpu) && sample.memory_used_bytes > 0, "{sample:?}");
        assert_eq!(error, None);
        let (_, error) = Sampler::new(Path::new("/"), u64::MAX).sample();
        assert!(error.unwrap().contains("free on the disk of /"));
    }

    #[test]
    fn reads_the_first_line_of_proc_stat() {
        assert_eq!(cpu_ticks("cpu  10 1 5 80 4 0 0 0 7 7\ncpu0 1\n"), Some((16, 100)));
        assert_eq!(cpu_ticks("nothing"), None);
    }
}
