//! How often pods of phase Failed were replaced, from the events that say so.
//!
//! The DaemonSet's own controller keeps this in its memory; what it told the world is enough to say why a failed pod is
//! not replaced yet. Source: daemonset.md A8, A13.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use pitstop_engine::snapshot::file::{FailedPodsOf, SnapshotFile};

/// Longest delay. Units: seconds. Source: daemonset.md A8.
const LONGEST: u32 = 900;

/// Does it matter at all?
pub(super) fn has_failed_pod(file: &SnapshotFile) -> bool {
    file.pods.iter().any(|pod| pod["status"]["phase"] == "Failed")
}

/// One entry for each node, from `FailedDaemonPod` events about the newest revision.
pub(super) fn from_events(file: &SnapshotFile, events: &[Event]) -> Vec<FailedPodsOf> {
    let uid = file.workload.object()["metadata"]["uid"]
        .as_str()
        .unwrap_or_default();
    let generation = file.workload.object()["status"]["observedGeneration"]
        .as_i64()
        .unwrap_or_default();
    let since = newest_revision(file);
    // Count and last time, by node.
    let mut replaced: BTreeMap<&str, (u32, Timestamp)> = BTreeMap::new();
    for event in events
        .iter()
        .filter(|event| event.involved_object.uid.as_deref() == Some(uid))
    {
        let (Some(node), Some(at)) = (event.message.as_deref().and_then(node_of), last_seen(event)) else {
            continue;
        };
        if since.is_some_and(|since| at < since) {
            continue;
        }
        let n = u32::try_from(event.count.unwrap_or(1)).unwrap_or(1).max(1);
        let entry = replaced.entry(node).or_insert((0, at));
        *entry = (entry.0.saturating_add(n), entry.1.max(at));
    }
    replaced
        .into_iter()
        .map(|(node, (n, at))| FailedPodsOf {
            node: node.to_owned(),
            generation,
            // 1, 2, 4, ... seconds.
            delay_seconds: 1_u32.checked_shl(n - 1).unwrap_or(LONGEST).clamp(1, LONGEST),
            at,
        })
        .collect()
}

fn newest_revision(file: &SnapshotFile) -> Option<Timestamp> {
    let newest = file
        .revisions
        .iter()
        .max_by_key(|revision| revision["revision"].as_i64())?;
    newest["metadata"]["creationTimestamp"]
        .as_str()
        .map(str::parse)?
        .ok()
}

fn last_seen(event: &Event) -> Option<Timestamp> {
    let time = event.last_timestamp.as_ref().map(|time| time.0);
    time.or_else(|| event.event_time.as_ref().map(|time| time.0))
}

/// `Found failed daemon pod NS/POD on node NODE, will try to kill it`.
fn node_of(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once(" on node ")?;
    rest.strip_suffix(", will try to kill it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{decide, sample};

    fn event(node: &str, count: i32, at: &str) -> Event {
        serde_json::from_value(serde_json::json!({
            "metadata": {},
            "involvedObject": {"uid": sample::UID},
            "reason": "FailedDaemonPod",
            "message": format!("Found failed daemon pod edge/agent-x on node {node}, will try to kill it"),
            "count": count,
            "lastTimestamp": at,
        }))
        .unwrap()
    }

    #[test]
    fn the_delay_doubles_with_each_replacement() {
        let file = sample::settled(&["a", "b"]);
        let events = [
            event("a", 1, "2026-01-01T00:59:00Z"),
            event("a", 2, "2026-01-01T00:59:57Z"),
            event("b", 40, "2026-01-01T00:59:00Z"),
        ];
        let found = from_events(&file, &events);
        let found: Vec<(&str, u32)> = found
            .iter()
            .map(|of| (of.node.as_str(), of.delay_seconds))
            .collect();
        assert_eq!(found, [("a", 4), ("b", 900)]);
    }

    #[test]
    fn a_failed_pod_that_was_replaced_too_recently_says_so() {
        let mut file = sample::settled(&["a"]);
        file.pods[0]["status"]["phase"] = "Failed".into();
        file.workload.object_mut()["spec"]["updateStrategy"]["type"] = "RollingUpdate".into();
        assert!(has_failed_pod(&file));
        file.failed_pods = from_events(&file, &[event("a", 5, "2026-01-01T00:59:58Z")]);
        let rollout = decide(&file).unwrap().rollout;
        let (_, waiting) = rollout.waiting().next().unwrap();
        assert_eq!(waiting.reason, "BackOff");
        assert_eq!(
            waiting.explanation,
            "its phase is Failed; it is replaced in 14s (back-off)"
        );
    }
}
