//! Which workload is looked at next.
//!
//! * The first mark of an idle key decides when it is due, a few milliseconds later; marks in between fold into it and
//!   do not put it off, so a busy key is never hidden.
//! * One worker has a key at a time. Marks meanwhile make it due again as soon as it is done.
//! * Keys are handed out in the order in which they became due, so that none starves.
//! * A key that fails is due again after 5 ms, doubling up to 1000 s, or up to 30 s where only a person can help. News
//!   does not wait for that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// How long a mark waits for others where somebody waits for what comes of it.
pub const COALESCE: Duration = Duration::from_millis(3);
/// The first and the longest wait after failures. Source: daemonset.md A3.
pub const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1000));

/// The longest wait where a right is missing: nobody tells us when it was granted.
pub const UNTIL_GRANTED: Duration = Duration::from_secs(30);

/// A queue of keys, each at most once.
#[derive(Debug)]
pub struct Queue<K> {
    inner: Mutex<Inner<K>>,
    changed: Notify,
}

#[derive(Debug)]
struct Inner<K> {
    entries: BTreeMap<K, Entry>,
    due: BTreeSet<(Instant, u64, K)>,
    n_marks: u64,
    is_closed: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Entry {
    /// When it is due, and its place in the order.
    due: Option<(Instant, u64)>,
    is_running: bool,
    /// Marked while it ran, and how long that may wait.
    again_within: Option<Duration>,
    n_failures: u32,
}

/// How work on a key ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Well. Look again after this long even if nothing happens.
    Ok(Option<Duration>),
    /// The state that it was decided on is not the state of the world. Look again at once, as after a mark.
    Again,
    /// Badly. Look again after a while that grows, and no sooner than this.
    Failed(Option<Duration>),
    /// A right is missing. Look again after a while that grows up to [`UNTIL_GRANTED`].
    NotAllowed,
}

/// How long the queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Keys that are due and that no worker has.
    pub n_due: usize,
    /// Keys that will be due later.
    pub n_delayed: usize,
    /// For how long the first of them has been due.
    pub oldest_for: Duration,
}

impl<K: Ord + Clone + Debug> Default for Queue<K> {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                entries: BTreeMap::new(),
                due: BTreeSet::new(),
                n_marks: 0,
                is_closed: false,
            }),
            changed: Notify::new(),
        }
    }
}

impl<K: Ord + Clone + Debug> Queue<K> {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Something happened to this key. It may wait so long for other marks, but does not put off an earlier one.
    pub fn mark(&self, key: &K, within: Duration) {
        let mut inner = self.lock();
        let entry = inner.entries.entry(key.clone()).or_default();
        if entry.is_running {
            entry.again_within = Some(entry.again_within.map_or(within, |other| other.min(within)));
            return;
        }
        inner.schedule(key, Instant::now() + within);
        drop(inner);
        self.changed.notify_one();
    }

    /// The next key, when one is due; `None` once the queue is closed. Call [`Queue::done`] with it afterwards.
    pub async fn next(&self) -> Option<K> {
        loop {
            let changed = self.changed.notified();
            let wait_until = {
                let mut inner = self.lock();
                if inner.is_closed {
                    drop(inner);
                    self.changed.notify_one();
                    return None;
                }
                match inner.due.first().cloned() {
                    Some((at, _, key)) if at <= Instant::now() => {
                        inner.due.pop_first();
                        let entry = inner.entries.entry(key.clone()).or_default();
                        entry.due = None;
                        entry.is_running = true;
                        let has_more = !inner.due.is_empty();
                        drop(inner);
                        if has_more {
                            self.changed.notify_one();
                        }
                        return Some(key);
                    }
                    first => first.map(|(at, _, _)| at),
                }
            };
            match wait_until {
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = sleep_until(at) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// Work on a key has ended.
    pub fn done(&self, key: &K, done: Done) {
        let mut inner = self.lock();
        let now = Instant::now();
        let Some(entry) = inner.entries.get_mut(key) else {
            return;
        };
        entry.is_running = false;
        let mut due = entry.again_within.take().map(|within| now + within);
        match done {
            Done::Ok(after) => {
                entry.n_failures = 0;
                let later = after.map(|after| now + after);
                due = due.into_iter().chain(later).min();
            }
            Done::Again => due = Some(now + COALESCE),
            Done::Failed(_) | Done::NotAllowed => {
                let wait = match done {
                    Done::Failed(at_least) => back_off(entry.n_failures).max(at_least.unwrap_or_default()),
                    _ => back_off(entry.n_failures).min(UNTIL_GRANTED),
                };
                entry.n_failures = entry.n_failures.saturating_add(1);
                due = Some(due.map_or(now + wait, |due| due.min(now + wait)));
            }
        }
        match due {
            Some(due) => inner.schedule(key, due),
            None => {
                inner.entries.remove(key);
            }
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// How often work on this key failed in a row.
    pub fn n_failures(&self, key: &K) -> u32 {
        self.lock().entries.get(key).map_or(0, |entry| entry.n_failures)
    }

    /// No key is handed out any more.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// How long the queue is now.
    pub fn depth(&self) -> Depth {
        let inner = self.lock();
        let now = Instant::now();
        let n_due = inner.due.iter().take_while(|(at, _, _)| *at <= now).count();
        Depth {
            n_due,
            n_delayed: inner.due.len() - n_due,
            oldest_for: inner
                .due
                .first()
                .map_or(Duration::ZERO, |(at, _, _)| now.saturating_duration_since(*at)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord + Clone> Inner<K> {
    /// Makes a key due at `at`, unless it is due earlier already.
    fn schedule(&mut self, key: &K, at: Instant) {
        self.n_marks += 1;
        let place = (at, self.n_marks);
        let entry = self.entries.entry(key.clone()).or_default();
        if let Some((due, n)) = entry.due {
            if due <= at {
                return;
            }
            self.due.remove(&(due, n, key.clone()));
        }
        entry.due = Some(place);
        self.due.insert((place.0, place.1, key.clone()));
    }
}

/// The wait after the `n`-th failure in a row, counted from 0.
fn back_off(n: u32) -> Duration {
    let (first, last) = BACK_OFF;
    first.saturating_mul(1 << n.min(20)).min(last)
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    const AGES: Duration = Duration::from_hours(24);

    async fn is_due_within(queue: &Queue<&'static str>, wait: Duration) -> Option<&'static str> {
        timeout(wait, queue.next()).await.ok().flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn marks_within_milliseconds_fold_into_one_and_do_not_put_it_off() {
        let queue = Queue::new();
        let begun_at = Instant::now();
        queue.mark(&"a", COALESCE);
        advance(Duration::from_millis(2)).await;
        queue.mark(&"a", COALESCE);
        assert_eq!(queue.next().await, Some("a"));
        assert!(
            begun_at.elapsed() <= Duration::from_millis(4),
            "{:?}",
            begun_at.elapsed()
        );
        queue.done(&"a", Done::Ok(None));
        assert_eq!(is_due_within(&queue, AGES).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_urgent_waits_for_what_is_and_no_longer_than_it_may() {
        const LONG: Duration = Duration::from_millis(50);
        let queue = Queue::new();
        let mark_both = || {
            queue.mark(&"a", LONG);
            queue.mark(&"a", COALESCE);
            queue.mark(&"a", LONG);
        };
        mark_both();
        assert_eq!(is_due_within(&queue, Duration::from_millis(5)).await, Some("a"));
        mark_both();
        queue.done(&"a", Done::Ok(None));
        assert_eq!(
            is_due_within(&queue, Duration::from_millis(5)).await,
            Some("a"),
            "while it ran"
        );
        queue.mark(&"a", LONG);
        queue.done(&"a", Done::Ok(None));
        assert_eq!(is_due_within(&queue, Duration::from_millis(45)).await, None);
        assert_eq!(is_due_within(&queue, Duration::from_millis(10)).await, Some("a"));
        queue.done(&"a", Done::Ok(None));
        assert_eq!(is_due_within(&queue, AGES).await, None, "once for them all");
    }

    #[tokio::test(start_paused = true)]
    async fn one_worker_has_a_key_at_a_time_and_marks_meanwhile_are_not_lost() {
        let queue = Queue::new();
        queue.mark(&"a", COALESCE);
        assert_eq!(queue.next().await, Some("a"));
        queue.mark(&"a", COALESCE);
        assert_eq!(is_due_within(&queue, AGES).await, None, "still being worked on");
        queue.done(&"a", Done::Ok(None));
        assert_eq!(is_due_within(&queue, Duration::from_millis(10)).await, Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_5_ms_doubling_to_1000_s_and_success_starts_afresh() {
        let queue = Queue::new();
        queue.mark(&"a", COALESCE);
        let mut waits = Vec::new();
        for _ in 0..21 {
            let begun_at = Instant::now();
            queue.next().await.unwrap();
            waits.push(begun_at.elapsed().as_millis());
            queue.done(&"a", Done::Failed(None));
        }
        // The runtime's timers have a resolution of one millisecond.
        for (wait, want) in waits[1..].iter().zip([5, 10, 20, 40, 80, 160, 320, 640]) {
            assert!((want..=want + 1).contains(wait), "{waits:?}");
        }
        assert!((1_000_000..=1_000_001).contains(&waits[20]), "{waits:?}");
        queue.next().await.unwrap();
        assert_eq!(queue.n_failures(&"a"), 21);
        queue.done(&"a", Done::Ok(None));
        assert_eq!(queue.n_failures(&"a"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn news_does_not_wait_for_the_back_off() {
        let queue = Queue::new();
        queue.mark(&"a", COALESCE);
        queue.next().await.unwrap();
        queue.done(&"a", Done::Failed(Some(Duration::from_mins(1))));
        assert_eq!(is_due_within(&queue, Duration::from_secs(59)).await, None);
        queue.mark(&"a", COALESCE);
        assert_eq!(is_due_within(&queue, Duration::from_millis(5)).await, Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_delay_and_a_mark_the_earlier_counts() {
        let queue = Queue::new();
        queue.mark(&"a", COALESCE);
        queue.next().await.unwrap();
        queue.done(&"a", Done::Ok(Some(Duration::from_secs(10))));
        let begun_at = Instant::now();
        assert_eq!(queue.next().await, Some("a"));
        assert_eq!(begun_at.elapsed().as_secs(), 10);
        queue.done(&"a", Done::Ok(Some(Duration::from_secs(10))));
        queue.mark(&"a", COALESCE);
        let begun_at = Instant::now();
        assert_eq!(queue.next().await, Some("a"));
        assert!(begun_at.elapsed() < Duration::from_secs(1));
        queue.done(&"a", Done::Ok(None));
        assert_eq!(
            is_due_within(&queue, AGES).await,
            None,
            "the delay went with the mark"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_handed_out_in_the_order_in_which_they_became_due() {
        let queue = Queue::new();
        for key in ["c", "a", "b"] {
            queue.mark(&key, COALESCE);
        }
        for want in ["c", "a", "b"] {
            assert_eq!(queue.next().await, Some(want));
        }
        assert_eq!(queue.depth(), Depth::default());
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_key_does_not_starve_others() {
        let queue = Queue::new();
        queue.mark(&"busy", COALESCE);
        queue.mark(&"quiet", COALESCE);
        assert_eq!(queue.next().await, Some("busy"));
        queue.mark(&"busy", COALESCE);
        queue.done(&"busy", Done::Again);
        assert_eq!(queue.next().await, Some("quiet"));
        assert_eq!(queue.next().await, Some("busy"));
    }

    #[tokio::test(start_paused = true)]
    async fn depth_and_age_tell_what_waits() {
        let queue = Queue::new();
        queue.mark(&"a", COALESCE);
        queue.mark(&"b", COALESCE);
        assert_eq!((queue.depth().n_due, queue.depth().n_delayed), (0, 2));
        advance(Duration::from_millis(103)).await;
        let depth = queue.depth();
        assert_eq!((depth.n_due, depth.n_delayed), (2, 0));
        assert_eq!(depth.oldest_for, Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_queue_lets_all_workers_go() {
        let queue = std::sync::Arc::new(Queue::<&str>::new());
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let queue = std::sync::Arc::clone(&queue);
                tokio::spawn(async move { queue.next().await })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.mark(&"a", COALESCE);
        queue.close();
        for worker in workers {
            assert_eq!(worker.await.unwrap(), None);
        }
    }
}
