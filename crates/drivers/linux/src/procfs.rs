//! Reads `/proc`: who a process is, whose child it is, and whether it carries
//! our marker. Everything here is a snapshot that may be outdated by the time
//! it is read; callers re-check through a pidfd before they act. It must never
//! fail because a process ended meanwhile.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// What `/proc/PID/stat` says about a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Process id.
    pub pid: i32,
    /// State letter.
    pub state: u8,
    /// Id of the parent.
    pub parent: i32,
    /// Id of the session.
    pub session: i32,
    /// Start in clock ticks since boot.
    pub start_ticks: u64,
}

impl Stat {
    /// Ended, but not yet collected by its parent.
    #[must_use]
    pub const fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

/// Reads one process; `None` if it is gone.
#[must_use]
pub fn stat(pid: i32) -> Option<Stat> {
    parse_stat(pid, &std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in field 2 may contain anything, so fields are counted from its last `)`.
fn parse_stat(pid: i32, text: &[u8]) -> Option<Stat> {
    let close = text.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let _group = fields.next()?;
    let session = fields.next()?.parse().ok()?;
    let start_ticks = fields.nth(15)?.parse().ok()?;
    Some(Stat { pid, state, parent, session, start_ticks })
}

/// All processes that can be seen now.
#[must_use]
pub fn all() -> Vec<Stat> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(stat)
        .collect()
}

/// Whether the environment with which `pid` was started has all of these `NAME=VALUE` entries.
pub fn has_markers(pid: i32, markers: &[String]) -> bool {
    let Ok(environ) = std::fs::read(format!("/proc/{pid}/environ")) else { return false };
    markers.iter().all(|m| environ.split(|b| *b == 0).any(|entry| entry == m.as_bytes()))
}

/// Sends SIGKILL to exactly this process: the pid may have been given away since it was read.
pub fn kill_exactly(process: &Stat) {
    let Some(pid) = Pid::from_raw(process.pid) else { return };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if stat(process.pid).is_some_and(|now| now.start_ticks == process.start_ticks) {
        let _ = pidfd_send_signal(pidfd, Signal::KILL);
    }
}

/// The counter of processes that the kernel ended for memory, over the whole machine.
#[must_use]
pub fn machine_oom_kills() -> u64 {
    let text = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    keyed(&text, "oom_kill")
}

/// The number after `key` in a file of `key number` lines; 0 if there is none.
#[must_use]
pub fn keyed(text: &str, key: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(k, _)| *k == key)
        .and_then(|(_, v)| v.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let text = b"42 (a ) b (x) R 7 8 9 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 555 1 1";
        let got = parse_stat(42, text).unwrap();
        assert_eq!(got, Stat { pid: 42, state: b'R', parent: 7, session: 9, start_ticks: 555 });
    }

    #[test]
    fn reads_this_very_process() {
        let me = i32::try_from(std::process::id()).unwrap();
        let got = stat(me).unwrap();
        assert!(!got.is_dead() && got.start_ticks > 0);
        assert!(all().iter().any(|p| p.pid == me));
    }

    #[test]
    fn keyed_numbers() {
        assert_eq!(keyed("low 1\noom_kill 3\n", "oom_kill"), 3);
        assert_eq!(keyed("low 1\n", "oom_kill"), 0);
    }
}
