//! A clock that follows the runtime's timers: with paused time a day passes in a second.

use jiff::{SignedDuration, Timestamp};
use pitstop_api::Clock;
use tokio::time::Instant;

/// Time that begins at a given moment and passes as the timers of the tokio runtime do.
#[derive(Debug, Clone, Copy)]
pub struct VirtualClock {
    start: Timestamp,
    began: Instant,
}

impl VirtualClock {
    /// A clock that shows `start` now. Must be called within a tokio runtime.
    pub fn starting_at(start: Timestamp) -> Self {
        Self {
            start,
            began: Instant::now(),
        }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.began.elapsed()).unwrap_or(SignedDuration::MAX);
        self.start.checked_add(passed).unwrap_or(Timestamp::MAX)
    }
}
