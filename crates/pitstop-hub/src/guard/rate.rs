//! How often each user may call.
//!
//! Source: hub.md B10 (limits).

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Access, Rejection};
use crate::settings::Limits;

/// Users whose buckets are kept; beyond that strangers share the bucket of unknown users.
const MAX_USERS: usize = 256;

/// A bucket that fills by itself.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
    at: Instant,
}

impl Bucket {
    fn full(now: Instant, (_, burst): (f64, f64)) -> Self {
        Self {
            level: burst,
            at: now,
        }
    }

    fn fill(&mut self, now: Instant, (rate, burst): (f64, f64)) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * rate;
        self.level = (self.level + gained).min(burst);
        self.at = now;
    }

    /// Seconds until one may be taken; none if now.
    fn wait(&self, (rate, _): (f64, f64)) -> Option<u64> {
        // A hair below one is one: the rest is rounding.
        let missing = 1.0 - 1e-9 - self.level;
        (missing > 0.0).then(|| {
            let wait = Duration::try_from_secs_f64(missing / rate).unwrap_or(Duration::MAX);
            wait.as_secs()
                .saturating_add(u64::from(wait.subsec_nanos() > 0))
                .max(1)
        })
    }
}

#[derive(Debug, Clone, Copy)]
struct User {
    reads: Bucket,
    changes: Bucket,
}

/// What was taken of the buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn;

/// The buckets of all users.
#[derive(Debug)]
pub(crate) struct Rates {
    limits: Limits,
    users: BTreeMap<Option<u32>, User>,
    changes: Bucket,
}

impl Rates {
    pub(crate) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            users: BTreeMap::new(),
            changes: Bucket::full(now, limits.all_changes),
        }
    }

    /// One request of a user.
    ///
    /// # Errors
    /// It is one too many; with the seconds to wait.
    pub(crate) fn take(&mut self, uid: Option<u32>, access: Access, now: Instant) -> Result<Turn, Rejection> {
        let limits = self.limits;
        let mut uid = uid;
        if !self.users.contains_key(&uid) && self.users.len() >= MAX_USERS {
            self.forget(now);
            if self.users.len() >= MAX_USERS {
                uid = None;
            }
        }
        let user = self.users.entry(uid).or_insert_with(|| User {
            reads: Bucket::full(now, limits.reads),
            changes: Bucket::full(now, limits.changes),
        });
        if access == Access::Change {
            user.changes.fill(now, limits.changes);
            self.changes.fill(now, limits.all_changes);
            let waits = [
                user.changes.wait(limits.changes),
                self.changes.wait(limits.all_changes),
            ];
            if let Some(wait) = waits.into_iter().flatten().max() {
                return Err(Rejection::Rate(wait));
            }
            user.changes.level -= 1.0;
            self.changes.level -= 1.0;
        } else {
            user.reads.fill(now, limits.reads);
            if let Some(wait) = user.reads.wait(limits.reads) {
                return Err(Rejection::Rate(wait));
            }
            user.reads.level -= 1.0;
        }
        Ok(Turn)
    }

    /// Forgets users whose buckets are full again: they are as good as new.
    fn forget(&mut self, now: Instant) {
        let limits = self.limits;
        self.users.retain(|_, user| {
            user.reads.fill(now, limits.reads);
            user.changes.fill(now, limits.changes);
            user.reads.level < limits.reads.1 || user.changes.level < limits.changes.1
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // hub.md D49 and B10: burst 5, then one each 5 s.
    #[test]
    fn the_sixth_change_waits_five_seconds() {
        let start = Instant::now();
        let mut rates = Rates::new(Limits::default(), start);
        for _ in 0..5 {
            assert_eq!(rates.take(Some(1), Access::Change, start), Ok(Turn));
        }
        assert_eq!(
            rates.take(Some(1), Access::Change, start),
            Err(Rejection::Rate(5))
        );
        let later = start + Duration::from_secs(5);
        assert_eq!(rates.take(Some(1), Access::Change, later), Ok(Turn));
        assert_eq!(
            rates.take(Some(1), Access::Change, later),
            Err(Rejection::Rate(5))
        );
    }

    // hub.md B10: 10 a minute over all users; reads have buckets of their own.
    #[test]
    fn all_users_together_change_ten_times_a_minute() {
        let start = Instant::now();
        let mut rates = Rates::new(Limits::default(), start);
        let made = (0..100).filter(|uid| rates.take(Some(*uid), Access::Change, start).is_ok());
        assert_eq!(made.count(), 10);
        assert_eq!(
            rates.take(Some(500), Access::Change, start),
            Err(Rejection::Rate(6))
        );
        assert_eq!(rates.take(Some(500), Access::Read, start), Ok(Turn));
    }

    #[test]
    fn forty_reads_at_once_then_twenty_a_second() {
        let start = Instant::now();
        let mut rates = Rates::new(Limits::default(), start);
        let mut read = |at| rates.take(None, Access::Read, at).is_ok();
        assert_eq!((0..100).filter(|_| read(start)).count(), 40);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| read(later)).count(), 20);
    }

    #[test]
    fn a_crowd_of_users_takes_bounded_memory() {
        let start = Instant::now();
        let mut rates = Rates::new(Limits::default(), start);
        for uid in 0..10_000 {
            let _ = rates.take(Some(uid), Access::Read, start);
        }
        assert!(rates.users.len() <= MAX_USERS + 1);
        assert_eq!(
            rates.take(Some(99_999), Access::Read, start + Duration::from_secs(60)),
            Ok(Turn)
        );
        assert!(rates.users.len() <= 2);
    }
}
