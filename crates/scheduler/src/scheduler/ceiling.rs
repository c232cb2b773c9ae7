//! What a job asks for and what a runner allows, in numbers that can be keys.
//! It knows how to compare and to name them, and nothing of jobs or runners.

use fleetfoot_model::spec::Limits;

/// CPUs, memory and processes. As a wish, 0 means that nothing is asked for; as
/// an offer, the largest number means that nothing is forbidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ceiling {
    /// Thousandths of a CPU.
    millicpus: u64,
    /// Bytes.
    memory: u64,
    /// Processes and threads.
    pids: u64,
}

impl Ceiling {
    /// A job that asks for nothing in particular.
    pub const NOTHING: Self = Self { millicpus: 0, memory: 0, pids: 0 };
    /// A runner that forbids nothing.
    pub const EVERYTHING: Self = Self { millicpus: u64::MAX, memory: u64::MAX, pids: u64::MAX };

    /// What a job asks for.
    #[must_use]
    pub fn asked(limits: &Limits) -> Self {
        Self::of(limits, Self::NOTHING)
    }

    /// The most that a runner allows.
    #[must_use]
    pub fn allowed(limits: &Limits) -> Self {
        Self::of(limits, Self::EVERYTHING)
    }

    fn of(limits: &Limits, absent: Self) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it saturates, as it should"
        )]
        let millicpus = limits.cpus.map_or(absent.millicpus, |cpus| (cpus * 1000.0).round() as u64);
        Self {
            millicpus,
            memory: limits.memory_bytes.unwrap_or(absent.memory),
            pids: limits.pids.unwrap_or(absent.pids),
        }
    }

    /// Whether a runner that allows `self` may take a job that asks for `asked`.
    #[must_use]
    pub const fn allows(&self, asked: &Self) -> bool {
        asked.millicpus <= self.millicpus && asked.memory <= self.memory && asked.pids <= self.pids
    }

    /// What a runner that allows `self` refuses of `asked`, in words.
    pub(super) fn refused(&self, asked: &Self) -> Vec<String> {
        let mut refused = Vec::new();
        if asked.millicpus > self.millicpus {
            refused.push(format!(
                "{} CPUs (allows {})",
                thousandths(asked.millicpus),
                thousandths(self.millicpus)
            ));
        }
        if asked.memory > self.memory {
            refused.push(format!(
                "{} MiB of memory (allows {})",
                mebibytes(asked.memory),
                mebibytes(self.memory)
            ));
        }
        if asked.pids > self.pids {
            refused.push(format!("{} processes (allows {})", asked.pids, self.pids));
        }
        refused
    }
}

/// `1.5`
fn thousandths(n: u64) -> String {
    format!("{}.{:03}", n / 1000, n % 1000).trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Rounded up: what is asked for is never shown as less than it is.
const fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
