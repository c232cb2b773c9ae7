//! Keys of a job that GitHub does not have, and the one of GitHub that is
//! checked here but means nothing to us (snapshots): a warning says so.

use super::Extensions;
use super::allowed;
use super::read::scalar_text;
use crate::source::Report;
use crate::yaml::{Entry, Kind, Node};
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::spec::{Limits, RetryPolicy};

impl Report<'_> {
    pub(super) fn extensions(&mut self, entries: &[Entry]) -> Extensions {
        let mut read = Extensions::default();
        for entry in entries {
            let node = &entry.value;
            match entry.name() {
                "queue" => read.queue = self.queue(node),
                "priority" => {
                    let number = self.number(node, -1000.0, 1000.0, true).unwrap_or_default();
                    #[expect(clippy::cast_possible_truncation, reason = "whole and within -1000 to 1000")]
                    let number = number as i32;
                    read.priority = number;
                }
                "queue-timeout-minutes" => read.queue_timeout_seconds = self.literal_minutes(node),
                "idle-timeout-minutes" => read.idle_timeout_seconds = self.literal_minutes(node),
                "min-boundary" => {
                    let known = Boundary::ALL.map(Boundary::as_str);
                    read.min_boundary =
                        self.one_of(node, &known).and_then(|w| w.parse().ok()).unwrap_or_default();
                }
                "retry" => read.retry = self.retry(node),
                "limits" => read.limits = self.limits(node),
                _ => {}
            }
        }
        read
    }

    fn queue(&mut self, node: &Node) -> Option<String> {
        let name = self.word(node)?;
        let good = name.len() <= 100 && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
        if !good {
            self.unexpected(node, "the name of a queue: letters, digits, '.', '_', '-', '/'");
        }
        good.then_some(name)
    }

    fn retry(&mut self, node: &Node) -> RetryPolicy {
        let mut retry = RetryPolicy::default();
        let known = ["max-attempts", "on", "exit-codes", "backoff-seconds", "backoff-cap-seconds"];
        let Some(fields) = self.fields(node, &known, "'retry'") else { return retry };
        // Whoever writes `retry` wants at least one; with no cause given, a lost runner is it.
        retry.max_attempts = 2;
        if let Some(n) = fields.get("max-attempts").and_then(|n| self.whole(n, 1, 100)) {
            retry.max_attempts = u32::try_from(n).unwrap_or(1);
        }
        match fields.get("on") {
            Some(n) => {
                for (at, cause) in self.words(n) {
                    if cause == "lost-runner" {
                        retry.on_lost_runner = true;
                    } else {
                        let message = format!("Unexpected value '{}'", crate::source::clip(&cause, 100));
                        self.error(at, "unexpected-value", message).hint = Some(
                            "Expected lost-runner; exit codes have a key of their own: exit-codes".to_owned(),
                        );
                    }
                }
            }
            None => retry.on_lost_runner = fields.get("exit-codes").is_none(),
        }
        if let Some(n) = fields.get("exit-codes") {
            let items = match &n.kind {
                Kind::Sequence(items) => items.as_slice(),
                _ => std::slice::from_ref(n),
            };
            let codes = items.iter().filter_map(|item| self.whole(item, 1, 255));
            retry.on_exit_codes = codes.filter_map(|code| i32::try_from(code).ok()).collect();
        }
        if let Some(n) = fields.get("backoff-seconds").and_then(|n| self.number(n, 0.0, 86_400.0, false)) {
            retry.backoff_seconds = n;
        }
        if let Some(n) = fields.get("backoff-cap-seconds").and_then(|n| self.number(n, 0.0, 86_400.0, false))
        {
            retry.backoff_cap_seconds = n;
        }
        retry
    }

    fn limits(&mut self, node: &Node) -> Limits {
        let mut limits = Limits::default();
        let Some(fields) = self.fields(node, &["cpus", "memory", "pids", "read", "write"], "'limits'") else {
            return limits;
        };
        limits.cpus = fields.get("cpus").and_then(|n| self.number(n, 0.01, 4096.0, false));
        limits.pids = fields.get("pids").and_then(|n| self.whole(n, 1, 4_194_304));
        limits.memory_bytes = fields.get("memory").and_then(|n| self.size(n, "an amount of memory"));
        let rate = "an amount in a second";
        limits.read_bytes_per_second = fields.get("read").and_then(|n| self.size(n, rate));
        limits.write_bytes_per_second = fields.get("write").and_then(|n| self.size(n, rate));
        limits
    }

    fn size(&mut self, node: &Node, what: &str) -> Option<u64> {
        let bytes = node.as_scalar().and_then(|s| memory(&scalar_text(s)));
        if bytes.is_none() {
            self.unexpected(node, &format!("{what}, such as 512MiB or 2GiB, of at least 1MiB"));
        }
        bytes
    }

    fn whole(&mut self, node: &Node, least: u32, most: u32) -> Option<u64> {
        let number = self.number(node, f64::from(least), f64::from(most), true)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and within u32")]
        Some(number as u64)
    }

    pub(super) fn snapshot(&mut self, entry: &Entry) {
        let node = &entry.value;
        if let Kind::Mapping(_) = &node.kind {
            let Some(fields) = self.fields(node, &["image-name", "version", "if"], "'snapshot'") else {
                return;
            };
            match fields.get("image-name") {
                Some(n) => drop(self.non_empty(n, None)),
                None => self.missing(node.start, "image-name"),
            }
            if let Some(n) = fields.get("version") {
                self.non_empty(n, None);
            }
            if let Some(n) = fields.get("if") {
                self.condition(n, &allowed::SNAPSHOT_IF);
            }
        } else {
            self.non_empty(node, None);
        }
        self.not_enforced(entry.key.start, "snapshot", "No image is made of the runner");
    }
}

/// `512MiB`, `2G`, `1.5 GB` or bytes; powers of 1024 except `KB`, `MB`, `GB`, `TB`.
fn memory(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "ki" | "kib" => 1024.0,
        "m" | "mi" | "mib" => 1024.0 * 1024.0,
        "g" | "gi" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "t" | "ti" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        _ => return None,
    };
    let bytes = (number * factor).round();
    let plausible = (1024.0 * 1024.0..=2f64.powi(50)).contains(&bytes);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and within 2^50")]
    plausible.then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::memory;

    #[test]
    fn amounts_of_memory() {
        assert_eq!(memory("512MiB"), Some(512 * 1024 * 1024));
        assert_eq!(memory("2g"), Some(2 * 1024 * 1024 * 1024));
        assert_eq!(memory("1.5 GB"), Some(1_500_000_000));
        assert_eq!(memory("1048576"), Some(1_048_576));
        for bad in ["", "12", "MiB", "-5MiB", "1 parsec", "1e99", "99999TiB"] {
            assert_eq!(memory(bad), None, "{bad}");
        }
    }
}
