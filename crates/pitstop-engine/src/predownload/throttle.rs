//! How often an agent writes. Source: inplace.md 11.5, 4.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::availability::until;

/// One write in so long, on average.
const INTERVAL: SignedDuration = SignedDuration::from_secs(2);
/// What may be used up at once: five writes.
const SAVED: SignedDuration = SignedDuration::from_secs(8);

/// Lets writes through, half a one each second, five at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Throttle {
    /// When all that was let through is paid for.
    paid_at: Option<Timestamp>,
}

impl Throttle {
    /// Lets a write through now.
    ///
    /// # Errors
    /// It has to wait for so long.
    pub fn take(&mut self, now: Timestamp) -> Result<(), Duration> {
        let paid_at = self.paid_at.map_or(now, |at| at.max(now));
        let free_at = paid_at.saturating_sub(SAVED).unwrap_or(paid_at);
        if free_at > now {
            return Err(until(now, free_at));
        }
        self.paid_at = Some(paid_at.saturating_add(INTERVAL).unwrap_or(paid_at));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// inplace.md 11.5: rate 0.5/s, burst 5.
    #[test]
    fn five_at_once_and_then_one_each_two_seconds() {
        let start = Timestamp::UNIX_EPOCH;
        let mut throttle = Throttle::default();
        for _ in 0..5 {
            assert_eq!(throttle.take(start), Ok(()));
        }
        let wait = throttle.take(start).unwrap_err();
        assert_eq!(wait.as_secs(), 2);
        let later = start + SignedDuration::from_secs(2);
        assert_eq!(throttle.take(later), Ok(()));
        assert!(throttle.take(later).is_err());
        let much_later = start + SignedDuration::from_secs(100);
        for _ in 0..5 {
            assert_eq!(throttle.take(much_later), Ok(()));
        }
        assert!(throttle.take(much_later).is_err());
    }
}
