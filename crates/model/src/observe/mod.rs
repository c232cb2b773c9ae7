//! Shapes of what a dashboard shows beyond the things themselves: lines of a
//! log, lists with their filters, the fleet over time, the state of the
//! server. They are answers only: nothing here is stored or changes anything.

mod administration;
mod fleet;
mod lines;
mod lists;

pub use administration::*;
pub use fleet::*;
pub use lines::*;
pub use lists::*;
