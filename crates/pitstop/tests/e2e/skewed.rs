//! A clock that is some seconds off.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use pitstop_api::{Clock, SharedClock};

#[derive(Debug)]
pub(crate) struct Skewed {
    right: SharedClock,
    seconds: AtomicI64,
}

impl Skewed {
    /// Positive: ahead of the right one.
    pub(crate) fn by(seconds: i64, right: SharedClock) -> Arc<Self> {
        Arc::new(Self {
            right,
            seconds: AtomicI64::new(seconds),
        })
    }

    pub(crate) fn seconds(&self) -> i64 {
        self.seconds.load(Ordering::Relaxed)
    }

    #[allow(dead_code, reason = "not every suite sets clocks right")]
    pub(crate) fn set(&self, seconds: i64) {
        self.seconds.store(seconds, Ordering::Relaxed);
    }
}

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        self.right.now() + SignedDuration::from_secs(self.seconds())
    }
}
