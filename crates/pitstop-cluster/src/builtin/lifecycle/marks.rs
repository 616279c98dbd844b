//! What a node's health makes of its conditions, its taints and its pods.
//!
//! Source: embedded-cluster.md 16.2, rules 1 to 3.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pitstop_api::keys;
use pitstop_api::placement::{NO_EXECUTE, NO_SCHEDULE, Taint};
use pitstop_api::reasons::READY;
use serde_json::{Value, json};

use super::super::wire::{Node, Pod, TaintAt};
use super::super::writes::{Event, Write, seconds};

/// Event source of the controller.
const SOURCE: &str = "node-controller";

/// Taints that follow a condition other than Ready.
const BY_CONDITION: [(&str, &str); 4] = [
    ("MemoryPressure", keys::TAINT_MEMORY_PRESSURE),
    ("DiskPressure", keys::TAINT_DISK_PRESSURE),
    ("PIDPressure", keys::TAINT_PID_PRESSURE),
    ("NetworkUnavailable", keys::TAINT_NETWORK_UNAVAILABLE),
];

/// What the condition Ready of a node says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Ready,
    NotReady,
    Unknown,
    NeverReported,
}

impl Health {
    pub(super) fn of(node: &Node) -> Self {
        match node.status.condition(READY) {
            Some("True") => Self::Ready,
            Some("False") => Self::NotReady,
            Some(_) => Self::Unknown,
            None => Self::NeverReported,
        }
    }

    pub(super) fn is_ready(self) -> bool {
        self == Self::Ready
    }

    /// Does somebody say that it is not ready?
    pub(super) fn is_bad(self) -> bool {
        matches!(self, Self::NotReady | Self::Unknown)
    }
}

/// The pods of a node that fell silent are not ready any more, as far as anyone can tell.
pub(super) fn mark_pod(pod: &Pod, now: Timestamp) -> Option<Write> {
    if pod.status.condition(READY) != Some("True") {
        return None;
    }
    let condition = json!({ "type": READY, "status": "False", "lastTransitionTime": seconds(now) });
    let body = json!({ "metadata": { "uid": pod.metadata.uid }, "status": { "conditions": [condition] } });
    let event = Event {
        source: SOURCE,
        kind: "Pod",
        meta: &pod.metadata,
        uid: &pod.metadata.uid,
        is_warning: true,
        reason: "NodeNotReady",
        message: "Node is not ready".to_owned(),
        now,
    };
    Some(Write::strategic(format!("{}/status", pod.path()), body).then(event.write()))
}

/// The conditions of a silent node, unless they say so already.
pub(super) fn unknown(node: &Node, now: Timestamp) -> Option<Write> {
    const KINDS: [&str; 4] = [READY, "MemoryPressure", "DiskPressure", "PIDPressure"];
    let conditions: Vec<Value> = KINDS
        .iter()
        .filter(|kind| node.status.condition(kind) != Some("Unknown"))
        .map(|kind| {
            let (reason, message) = match node.status.condition(kind) {
                Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
                None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
            };
            json!({
                "type": kind, "status": "Unknown", "reason": reason, "message": message,
                "lastTransitionTime": seconds(now),
            })
        })
        .collect();
    // A report of the node that is on its way must not be overwritten: the version says that there was none.
    let body = json!({
        "metadata": { "uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version },
        "status": { "conditions": conditions },
    });
    let path = format!("/api/v1/nodes/{}/status", node.metadata.name);
    (!conditions.is_empty()).then(|| Write::strategic(path, body))
}

/// Does it have a `NoExecute` taint of this controller?
pub(super) fn has_evicting_taint(node: &Node) -> bool {
    let mut taints = node.spec.taints.iter().map(|t| &t.taint);
    taints.any(|t| {
        t.effect == NO_EXECUTE && [keys::TAINT_NOT_READY, keys::TAINT_UNREACHABLE].contains(&t.key.as_str())
    })
}

/// Brings the taints of a node to what its conditions say, unless they are right.
pub(super) fn taint(node: &Node, is_evicting: bool, now: Timestamp) -> Option<Write> {
    let taints = tainted(node, is_evicting, now);
    if taints == node.spec.taints {
        return None;
    }
    // The list is written as a whole: a change of somebody else in between must not be lost.
    let body = json!({
        "metadata": { "uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version },
        "spec": { "taints": taints },
    });
    Some(Write::strategic(
        format!("/api/v1/nodes/{}", node.metadata.name),
        body,
    ))
}

/// The taints that a node should have: those of others as they are, then ours.
fn tainted(node: &Node, is_evicting: bool, now: Timestamp) -> Vec<TaintAt> {
    let health = match Health::of(node) {
        Health::Ready => None,
        Health::NotReady | Health::NeverReported => Some(keys::TAINT_NOT_READY),
        Health::Unknown => Some(keys::TAINT_UNREACHABLE),
    };
    let by_condition = BY_CONDITION
        .iter()
        .filter(|(condition, _)| node.status.condition(condition) == Some("True"))
        .map(|(_, key)| (*key, NO_SCHEDULE));
    let wanted: Vec<(&str, &str)> = health
        .map(|key| (key, NO_SCHEDULE))
        .into_iter()
        .chain(health.filter(|_| is_evicting).map(|key| (key, NO_EXECUTE)))
        .chain(by_condition)
        .chain(
            node.spec
                .unschedulable
                .then_some((keys::TAINT_UNSCHEDULABLE, NO_SCHEDULE)),
        )
        .collect();
    let is_wanted = |t: &Taint| wanted.contains(&(t.key.as_str(), t.effect.as_str()));
    let there = node.spec.taints.iter();
    let mut taints: Vec<TaintAt> = there
        .filter(|t| !is_ours(&t.taint) || is_wanted(&t.taint))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if taints
            .iter()
            .any(|t| t.taint.key == key && t.taint.effect == effect)
        {
            continue;
        }
        let taint = Taint {
            key: key.to_owned(),
            value: String::new(),
            effect: effect.to_owned(),
        };
        taints.push(TaintAt {
            taint,
            time_added: Some(Timestamp::from_second(now.as_second()).unwrap_or(now)),
        });
    }
    taints
}

/// Does this controller decide about it? The taints about Ready in both effects, the others as `NoSchedule`.
fn is_ours(taint: &Taint) -> bool {
    let key = taint.key.as_str();
    match key {
        keys::TAINT_NOT_READY | keys::TAINT_UNREACHABLE => {
            [NO_SCHEDULE, NO_EXECUTE].contains(&&*taint.effect)
        }
        keys::TAINT_UNSCHEDULABLE => taint.effect == NO_SCHEDULE,
        _ => taint.effect == NO_SCHEDULE && BY_CONDITION.iter().any(|(_, ours)| *ours == key),
    }
}

/// Says that a node turned ready, or not ready any more. `kubectl describe node` finds it by the node's name.
pub(super) fn tell(node: &Node, is_ready: bool, now: Timestamp) -> Write {
    let reason = if is_ready { "NodeReady" } else { "NodeNotReady" };
    let (meta, uid) = (&node.metadata, node.metadata.name.as_str());
    Event {
        source: SOURCE,
        kind: "Node",
        meta,
        uid,
        is_warning: false,
        reason,
        message: format!("Node {} status is now: {reason}", meta.name),
        now,
    }
    .write()
}

/// Labels of nodes under the names that they had before, which selectors may still ask for. Source: Kubernetes 1.34,
/// node lifecycle controller.
const OLD_LABELS: [(&str, &str); 2] = [
    (keys::OS, "beta.kubernetes.io/os"),
    (keys::ARCH, "beta.kubernetes.io/arch"),
];

/// Gives a node the labels that it lacks under their old names.
pub(super) fn old_labels(node: &Node) -> Option<Write> {
    let labels = &node.metadata.labels;
    let missing: BTreeMap<&str, &String> = OLD_LABELS
        .iter()
        .filter_map(|(new, old)| Some((*old, labels.get(*new)?)))
        .filter(|(old, value)| labels.get(*old) != Some(*value))
        .collect();
    let body = json!({"metadata": {"uid": node.metadata.uid, "labels": missing}});
    (!missing.is_empty()).then(|| Write::merge(format!("/api/v1/nodes/{}", node.metadata.name), body))
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_follow_conditions_and_leave_others_alone() {
        let (not_ready, unreachable) = (keys::TAINT_NOT_READY, keys::TAINT_UNREACHABLE);
        let ready = |status: &str| json!([{"type": "Ready", "status": status}]);
        let taint = |key: &str, effect: &str| json!({"key": key, "effect": effect});
        for (why, conditions, before, is_evicting, want) in [
            (
                "never reported",
                json!([]),
                json!([]),
                false,
                vec![(not_ready, NO_SCHEDULE)],
            ),
            (
                "ready",
                ready("True"),
                json!([taint(not_ready, NO_SCHEDULE), taint("mine", "NoSchedule")]),
                false,
                vec![("mine", NO_SCHEDULE)],
            ),
            (
                "not ready",
                ready("False"),
                json!([]),
                true,
                vec![(not_ready, NO_SCHEDULE), (not_ready, NO_EXECUTE)],
            ),
            (
                "swapped at once",
                ready("Unknown"),
                json!([taint(not_ready, NO_SCHEDULE), taint(not_ready, NO_EXECUTE)]),
                true,
                vec![(unreachable, NO_SCHEDULE), (unreachable, NO_EXECUTE)],
            ),
            (
                "lifted while everything is silent",
                ready("Unknown"),
                json!([taint(unreachable, NO_SCHEDULE), taint(unreachable, NO_EXECUTE)]),
                false,
                vec![(unreachable, NO_SCHEDULE)],
            ),
            (
                "pressure",
                json!([{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "True"}]),
                json!([]),
                false,
                vec![(keys::TAINT_DISK_PRESSURE, NO_SCHEDULE)],
            ),
            (
                "pressure is over",
                ready("True"),
                json!([taint(keys::TAINT_DISK_PRESSURE, NO_SCHEDULE)]),
                false,
                vec![],
            ),
        ] {
            let node = json!({"spec": {"taints": before}, "status": {"conditions": conditions}});
            let node: Node = serde_json::from_value(node).unwrap();
            let taints = tainted(&node, is_evicting, Timestamp::UNIX_EPOCH);
            let got: Vec<(&str, &str)> = taints
                .iter()
                .map(|t| (t.taint.key.as_str(), t.taint.effect.as_str()))
                .collect();
            assert_eq!(got, want, "{why}");
        }
    }
}
