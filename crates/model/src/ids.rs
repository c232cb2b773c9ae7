//! Typed ids. All ids are positive integers handed out by the control plane:
//! short to type, cheap to index, and below 2^53 so that JSON carries them
//! exactly.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
        )]
        #[serde(transparent)]
        #[schema(value_type = u64, minimum = 1)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map(Self)
            }
        }
    };
}

id!(
    /// One execution of one document.
    RunId
);
id!(
    /// The unit that is queued, matched and leased.
    JobId
);
id!(
    /// An agent that executes jobs.
    RunnerId
);
id!(
    /// An API, registration or runner token (never the secret itself).
    TokenId
);
id!(
    /// A person who signs in.
    UserId
);
id!(
    /// The fencing number of a lease: strictly increasing over the life of an
    /// installation, never reused, not even after a restore of a backup (it is
    /// derived from the wall clock in microseconds, see `control`).
    Epoch
);

/// Number of a try of a job, starting at 1.
pub type AttemptNumber = u32;

/// The fencing token that every write of a runner carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct AttemptRef {
    /// The job.
    pub job: JobId,
    /// Which try of it, from 1.
    pub attempt: AttemptNumber,
    /// The lease under which this try runs.
    pub epoch: Epoch,
}

impl fmt::Display for AttemptRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.job, self.attempt, self.epoch)
    }
}

impl FromStr for AttemptRef {
    type Err = String;
    /// Parses the form that [`AttemptRef`] prints: `JOB.ATTEMPT.EPOCH`.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let bad = || format!("'{s}' is not JOB.ATTEMPT.EPOCH");
        let mut parts = s.split('.');
        let mut next = || parts.next().and_then(|p| p.parse::<u64>().ok()).ok_or_else(bad);
        let (job, attempt, epoch) = (next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(bad());
        }
        Ok(Self { job: JobId(job), attempt: u32::try_from(attempt).map_err(|_| bad())?, epoch: Epoch(epoch) })
    }
}
