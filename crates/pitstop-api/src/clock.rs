//! Time is injected: a simulation must be able to run a day in a second.

use std::sync::Arc;

use jiff::Timestamp;

/// Where "now" comes from. Waiting is done with the timers of the async runtime, which tests pause.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// A clock that many tasks read.
pub type SharedClock = Arc<dyn Clock>;

/// The clock of the machine. Only programs use it; tests and simulations bring their own.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the machine's clock"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
