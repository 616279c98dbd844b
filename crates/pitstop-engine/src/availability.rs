//! When a pod is ready, and when it is available.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::view::{Phase, PodCondition, PodView};

/// So many seconds later, or the end of time.
pub(crate) fn later(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX)
}

/// Is the pod available: ready, and for longer than `minReadySeconds`?
///
/// Exactly at the boundary it is not available yet. A transition in the future, as another
/// clock may write it, is waited for.
///
/// Units: seconds. Source: daemonset.md, preamble; example N20.
pub fn is_available(pod: &PodView, min_ready_seconds: u32, now: Timestamp) -> bool {
    pod.is_ready()
        && (min_ready_seconds == 0 || available_at(pod, min_ready_seconds).is_some_and(|at| at < now))
}

/// The moment after which a ready pod is available; `None` when it is not ready or never said since when.
///
/// After an update in place that left it ready, as a resize does, the time counts from the end of the update (inplace.md
/// 13.15).
pub fn available_at(pod: &PodView, min_ready_seconds: u32) -> Option<Timestamp> {
    let ready_since = pod.ready.filter(|ready| ready.is_true)?.since?;
    let changed_at = pod.in_place.as_ref().and_then(|view| view.changed_while_ready);
    let since = changed_at.map_or(ready_since, |at| at.max(ready_since));
    since
        .checked_add(SignedDuration::from_secs(i64::from(min_ready_seconds)))
        .ok()
}

/// Does the pod run, is it ready for longer than these seconds, and is no update in place under way?
///
/// A pod that a lifecycle hook holds may be; it does not count as available.
///
/// Units: seconds. Source: inplace.md 9; cloneset.md 5.
pub fn is_update_ready(pod: &PodView, min_ready_seconds: u32, now: Timestamp) -> bool {
    let update_ready = pod.in_place.as_ref().and_then(|view| view.update_ready.as_ref());
    pod.phase == Phase::Running
        && update_ready.is_none_or(PodCondition::is_true)
        && is_available(pod, min_ready_seconds, now)
}

/// How long to wait for a moment to have passed: a millisecond beyond it, since availability is strict.
pub(crate) fn until(now: Timestamp, at: Timestamp) -> Duration {
    let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
    wait.saturating_add(Duration::from_millis(1))
}
