//! Which pods a `NoExecute` taint drives away, and when.
//!
//! Source: embedded-cluster.md 16.2, rule 4.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use pitstop_api::placement::NO_EXECUTE;
use pitstop_api::view::Uid;
use serde_json::json;

use super::super::wire::{Node, Pod};
use super::super::writes::{Event, Write, seconds};
use super::scaled;

/// Event source of evictions.
const SOURCE: &str = "taint-eviction-controller";

/// Pods whose toleration runs out.
#[derive(Debug)]
pub(super) struct Evictions {
    time_scale: f64,
    due: BTreeMap<String, BTreeSet<(Timestamp, Uid)>>,
}

/// How long a pod may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    Forever,
    Until(Timestamp),
    No,
}

impl Evictions {
    pub(super) fn new(time_scale: f64) -> Self {
        Self {
            time_scale,
            due: BTreeMap::new(),
        }
    }

    /// Evicts a pod, or notes when to.
    pub(super) fn judge(&mut self, node: &Node, pod: &Pod, uid: Uid, now: Timestamp) -> Option<Write> {
        match stay(node, pod, self.time_scale, now) {
            Stay::Forever => None,
            Stay::Until(at) if at > now => {
                let due = self.due.entry(node.metadata.name.clone()).or_default();
                due.retain(|(_, other)| *other != uid);
                due.insert((at, uid));
                None
            }
            Stay::Until(_) | Stay::No => evict(pod, now),
        }
    }

    /// The taints of a node changed, or it is gone.
    pub(super) fn forget(&mut self, node: &str) {
        self.due.remove(node);
    }

    /// Pods whose time is over, with their nodes.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Vec<(String, Uid)> {
        let mut taken = Vec::new();
        for (node, due) in &mut self.due {
            while due.first().is_some_and(|(at, _)| *at <= now) {
                taken.extend(due.pop_first().map(|(_, uid)| (node.clone(), uid)));
            }
        }
        self.due.retain(|_, due| !due.is_empty());
        taken
    }
}

fn stay(node: &Node, pod: &Pod, time_scale: f64, now: Timestamp) -> Stay {
    let mut stay = Stay::Forever;
    for taint in node.spec.taints.iter().filter(|t| t.taint.effect == NO_EXECUTE) {
        let tolerations = pod.spec.tolerations.iter();
        let covering: Vec<_> = tolerations.filter(|t| t.tolerates(&taint.taint)).collect();
        if covering.is_empty() {
            return Stay::No;
        }
        let limit = covering.iter().filter_map(|t| t.toleration_seconds).min();
        if let Some(limit) = limit {
            let limit = Duration::from_secs(u64::try_from(limit).unwrap_or(0));
            let since = taint.time_added.unwrap_or(now);
            let until = since
                .checked_add(scaled(limit, time_scale))
                .unwrap_or(Timestamp::MAX);
            stay = match stay {
                Stay::Until(earlier) => Stay::Until(earlier.min(until)),
                _ => Stay::Until(until),
            };
        }
    }
    stay
}

/// Deletes a pod, saying why, unless it is on its way already.
pub(super) fn evict(pod: &Pod, now: Timestamp) -> Option<Write> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": seconds(now),
    });
    let body = json!({ "metadata": { "uid": pod.metadata.uid }, "status": { "conditions": [condition] } });
    let event = Event {
        source: SOURCE,
        kind: "Pod",
        meta: &pod.metadata,
        uid: &pod.metadata.uid,
        is_warning: false,
        reason: "TaintManagerEviction",
        message: format!("Marking for deletion Pod {}", pod.full_name()),
        now,
    };
    let delete = Write::delete(pod.path(), &pod.metadata.uid, None, None);
    let marked = Write::strategic(format!("{}/status", pod.path()), body);
    Some(marked.then(delete.then(event.write())))
}

#[cfg(test)]
mod tests {
    use pitstop_api::keys;

    use super::*;

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates_every_taint() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let at = |seconds: i64| Timestamp::from_second(now.as_second() + seconds).unwrap();
        let taint = |key: &str, age: i64| json!({"key": key, "effect": "NoExecute", "timeAdded": at(-age).to_string()});
        let tolerates = |key: &str, seconds: Option<i64>| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
        let unreachable = keys::TAINT_UNREACHABLE;
        for (why, taints, tolerations, scale, want) in [
            ("no taint", json!([]), json!([]), 1.0, Stay::Forever),
            (
                "another effect",
                json!([{"key": "a", "effect": "NoSchedule"}]),
                json!([]),
                1.0,
                Stay::Forever,
            ),
            ("untolerated", json!([taint("a", 0)]), json!([]), 1.0, Stay::No),
            (
                "without limit",
                json!([taint(unreachable, 0)]),
                json!([tolerates(unreachable, None)]),
                1.0,
                Stay::Forever,
            ),
            (
                "from when the taint was added",
                json!([taint(unreachable, 60)]),
                json!([tolerates(unreachable, Some(300))]),
                1.0,
                Stay::Until(at(240)),
            ),
            (
                "faster",
                json!([taint(unreachable, 0)]),
                json!([tolerates(unreachable, Some(300))]),
                10.0,
                Stay::Until(at(30)),
            ),
            (
                "the smallest limit counts",
                json!([taint("a", 0), taint("b", 0)]),
                json!([
                    tolerates("a", Some(20)),
                    tolerates("b", Some(10)),
                    tolerates("b", Some(90))
                ]),
                1.0,
                Stay::Until(at(10)),
            ),
            (
                "one of two is not tolerated",
                json!([taint("a", 0), taint("b", 0)]),
                json!([tolerates("a", None)]),
                1.0,
                Stay::No,
            ),
        ] {
            let node: Node = serde_json::from_value(json!({"spec": {"taints": taints}})).unwrap();
            let pod: Pod = serde_json::from_value(json!({"spec": {"tolerations": tolerations}})).unwrap();
            assert_eq!(stay(&node, &pod, scale, now), want, "{why}");
        }
    }
}
