//! The wall clock of the command line: for elapsed times on a screen and for
//! a clock-skew check, never for a decision of the control plane.

use fleetfoot_model::Timestamp;

/// Now.
#[expect(clippy::disallowed_methods, reason = "the rim: this is where time enters the command line")]
pub(crate) fn now() -> Timestamp {
    Timestamp::from_micros(jiff::Timestamp::now().as_microsecond())
}
