//! When a pod is ready, and when it is available.

use jiff::{SignedDuration, Timestamp};
use pitstop_api::view::PodView;

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
pub fn available_at(pod: &PodView, min_ready_seconds: u32) -> Option<Timestamp> {
    let since = pod.ready.filter(|ready| ready.is_true)?.since?;
    since
        .checked_add(SignedDuration::from_secs(i64::from(min_ready_seconds)))
        .ok()
}
