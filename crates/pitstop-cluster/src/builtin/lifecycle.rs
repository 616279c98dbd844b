//! Notices that nodes fall silent, marks them and their pods, and evicts what does not tolerate it.
//!
//! Source: embedded-cluster.md 16.2.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::keys;
use pitstop_api::placement::{NO_EXECUTE, NO_SCHEDULE, Taint};
use pitstop_api::view::Uid;
use serde_json::{Value, json};

use super::wire::{Node, Pod, TaintAt};
use super::writes::{Event, Write, seconds};

/// Event source of the controller.
const SOURCE: &str = "node-controller";
/// Event source of evictions.
const EVICTION_SOURCE: &str = "taint-eviction-controller";
/// A node that never reported gets so long to start. Units: real seconds, times the ratio of the node grace to 40 s.
const STARTUP_FACTOR: f64 = 1.5;
/// Nodes that get their `NoExecute` taint within this time, one each. Source: embedded-cluster.md 16.2, 0.1 a second.
const EVICTION_INTERVAL: Duration = Duration::from_secs(10);
/// The same in a large zone of which most is silent. Source: embedded-cluster.md 16.2, 0.01 a second.
const SLOW_EVICTION_INTERVAL: Duration = Duration::from_secs(100);
/// A zone is in trouble when this share of it is silent. Units: per cent.
const UNHEALTHY: usize = 55;
/// A zone above this size is large. Units: nodes.
const LARGE_ZONE: usize = 50;
/// Label that names the zone of a node.
const ZONE: &str = "topology.kubernetes.io/zone";

/// What is known about one node.
#[derive(Debug)]
struct Watched {
    node: Arc<Node>,
    lease: String,
    heartbeat: Option<Timestamp>,
    /// When a sign of life was seen last, by our own clock.
    seen_at: Timestamp,
    was_ready: bool,
    /// When the `NoExecute` taint was asked for.
    marked: bool,
}

/// The controller's view.
#[derive(Debug)]
pub(super) struct Lifecycle {
    grace: Duration,
    time_scale: f64,
    nodes: BTreeMap<String, Watched>,
    leases: BTreeMap<String, String>,
    pods: BTreeMap<String, BTreeMap<Uid, Arc<Pod>>>,
    /// Evictions whose toleration runs out.
    due: BTreeSet<(Timestamp, Uid, String)>,
    next_eviction: Timestamp,
}

impl Lifecycle {
    pub(super) fn new(grace: Duration, time_scale: f64) -> Self {
        Self {
            grace,
            time_scale: if time_scale > 0.0 { time_scale } else { 1.0 },
            nodes: BTreeMap::new(),
            leases: BTreeMap::new(),
            pods: BTreeMap::new(),
            due: BTreeSet::new(),
            next_eviction: Timestamp::UNIX_EPOCH,
        }
    }

    /// How often [`Lifecycle::tick`] is to be called: every five seconds, and oftener for a short grace.
    pub(super) fn period(&self) -> Duration {
        (self.grace / 8).clamp(Duration::from_millis(20), Duration::from_secs(5))
    }

    fn scaled(&self, duration: Duration) -> SignedDuration {
        let scaled =
            Duration::try_from_secs_f64(duration.as_secs_f64() / self.time_scale).unwrap_or(duration);
        SignedDuration::try_from(scaled).unwrap_or(SignedDuration::MAX)
    }

    pub(super) fn on_lease(&mut self, node: &str, renewed: &str, now: Timestamp) {
        self.leases.insert(node.to_owned(), renewed.to_owned());
        if let Some(watched) = self.nodes.get_mut(node)
            && watched.lease != renewed
        {
            renewed.clone_into(&mut watched.lease);
            watched.seen_at = now;
        }
    }

    pub(super) fn on_pod(&mut self, pod: &Arc<Pod>, uid: Uid, is_gone: bool, now: Timestamp) -> Vec<Write> {
        let node = &pod.spec.node_name;
        if node.is_empty() {
            return Vec::new();
        }
        if is_gone {
            if let Some(pods) = self.pods.get_mut(node) {
                pods.remove(&uid);
            }
            return Vec::new();
        }
        let before = self
            .pods
            .entry(node.clone())
            .or_default()
            .insert(uid, Arc::clone(pod));
        if before.is_some() {
            Vec::new()
        } else {
            self.evict(node, &[uid], now)
        }
    }

    pub(super) fn on_node(&mut self, node: &Arc<Node>, is_gone: bool, now: Timestamp) -> Vec<Write> {
        let name = node.metadata.name.clone();
        if is_gone {
            self.nodes.remove(&name);
            return Vec::new();
        }
        let heartbeat = node
            .status
            .conditions
            .iter()
            .find(|c| c.kind == "Ready")
            .and_then(|c| c.last_heartbeat_time);
        let is_ready = node.status.condition("Ready") == Some("True");
        let lease = self.leases.get(&name).cloned().unwrap_or_default();
        let known = self
            .nodes
            .get(&name)
            .is_some_and(|w| w.node.metadata.uid == node.metadata.uid);
        if !known {
            let watched = Watched {
                node: Arc::clone(node),
                lease,
                heartbeat,
                seen_at: now,
                was_ready: is_ready,
                marked: false,
            };
            self.nodes.insert(name.clone(), watched);
        }
        let Some(watched) = self.nodes.get_mut(&name) else {
            return Vec::new();
        };
        let old_taints: Vec<Taint> = watched.node.spec.taints.iter().map(|t| t.taint.clone()).collect();
        watched.node = Arc::clone(node);
        if watched.heartbeat != heartbeat {
            watched.heartbeat = heartbeat;
            watched.seen_at = now;
        }
        let turned = watched.was_ready != is_ready;
        watched.was_ready = is_ready;
        let mut writes: Vec<Write> = taint(watched, now).into_iter().collect();
        if turned {
            let (reason, text) = if is_ready {
                ("NodeReady", "NodeReady")
            } else {
                ("NodeNotReady", "NodeNotReady")
            };
            writes.push(tell(
                node,
                reason,
                format!("Node {name} status is now: {text}"),
                now,
            ));
            if !is_ready {
                writes.extend(self.mark_pods(&name, now));
            }
        }
        let taints: Vec<Taint> = node.spec.taints.iter().map(|t| t.taint.clone()).collect();
        if taints != old_taints || !known {
            let pods: Vec<Uid> = self
                .pods
                .get(&name)
                .into_iter()
                .flat_map(BTreeMap::keys)
                .copied()
                .collect();
            self.due.retain(|(_, _, on)| *on != name);
            writes.extend(self.evict(&name, &pods, now));
        }
        writes
    }

    /// The pods of a node that fell silent are not ready any more, as far as anyone can tell.
    fn mark_pods(&self, name: &str, now: Timestamp) -> Vec<Write> {
        let pods = self.pods.get(name).into_iter().flat_map(BTreeMap::values);
        pods.filter(|pod| pod.status.condition("Ready") == Some("True"))
            .flat_map(|pod| {
                let condition = json!({ "type": "Ready", "status": "False", "lastTransitionTime": seconds(now) });
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
                [Write::strategic(format!("{}/status", pod.path()), body), event.write()]
            })
            .collect()
    }

    /// Looks at the clock: which nodes were silent for too long, which taints and evictions are due.
    pub(super) fn tick(&mut self, now: Timestamp) -> Vec<Write> {
        let mut writes = Vec::new();
        let grace = SignedDuration::try_from(self.grace).unwrap_or(SignedDuration::MAX);
        for (name, watched) in &mut self.nodes {
            let never_reported = watched.node.status.condition("Ready").is_none();
            let allowed = if never_reported {
                grace.mul_f64(STARTUP_FACTOR)
            } else {
                grace
            };
            if now.duration_since(watched.seen_at) > allowed {
                writes.extend(unknown(name, &watched.node, now));
            }
        }
        writes.extend(self.mark_for_eviction(now));
        writes.extend(self.evict_due(now));
        writes
    }

    /// Silent nodes get their `NoExecute` taint one after the other, and none while everything is silent: then it is
    /// rather the control plane that is cut off.
    fn mark_for_eviction(&mut self, now: Timestamp) -> Option<Write> {
        let mut zones: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for watched in self.nodes.values() {
            let zone = watched.node.metadata.labels.get(ZONE).map_or("", String::as_str);
            let counts = zones.entry(zone).or_default();
            counts.0 += 1;
            counts.1 += usize::from(!watched.was_ready);
        }
        let all_silent = zones.values().all(|(n, silent)| n == silent);
        if all_silent || now < self.next_eviction {
            return None;
        }
        let interval = |zone: &str| match zones.get(zone) {
            Some((n, silent)) if silent * 100 < n * UNHEALTHY => Some(EVICTION_INTERVAL),
            Some((n, _)) if *n > LARGE_ZONE => Some(SLOW_EVICTION_INTERVAL),
            _ => None,
        };
        let next = self.nodes.values().find_map(|watched| {
            let zone = watched.node.metadata.labels.get(ZONE).map_or("", String::as_str);
            (!watched.was_ready && !watched.marked)
                .then(|| Some((watched.node.metadata.name.clone(), interval(zone)?)))?
        });
        let (name, interval) = next?;
        self.next_eviction = now.checked_add(self.scaled(interval)).unwrap_or(now);
        let watched = self.nodes.get_mut(&name)?;
        watched.marked = true;
        taint(watched, now)
    }

    /// Deletes what does not tolerate the `NoExecute` taints of its node, now or when its time is over.
    fn evict(&mut self, name: &str, pods: &[Uid], now: Timestamp) -> Vec<Write> {
        let Some(watched) = self.nodes.get(name) else {
            return Vec::new();
        };
        let taints: Vec<&TaintAt> = watched
            .node
            .spec
            .taints
            .iter()
            .filter(|t| t.taint.effect == NO_EXECUTE)
            .collect();
        if taints.is_empty() {
            return Vec::new();
        }
        let mut writes = Vec::new();
        for uid in pods {
            let Some(pod) = self.pods.get(name).and_then(|pods| pods.get(uid)) else {
                continue;
            };
            if pod.metadata.deletion_timestamp.is_some() {
                continue;
            }
            match tolerated_for(pod, &taints) {
                None => writes.extend(evict_now(pod, now)),
                Some(None) => {}
                Some(Some(wait)) => {
                    let since = taints.iter().filter_map(|t| t.time_added).max().unwrap_or(now);
                    let due = since.checked_add(self.scaled(wait)).unwrap_or(now);
                    self.due.insert((due, *uid, name.to_owned()));
                }
            }
        }
        writes
    }

    fn evict_due(&mut self, now: Timestamp) -> Vec<Write> {
        let mut writes = Vec::new();
        while self.due.first().is_some_and(|(due, ..)| *due <= now) {
            let Some((_, uid, node)) = self.due.pop_first() else {
                break;
            };
            if let Some(pod) = self.pods.get(&node).and_then(|pods| pods.get(&uid))
                && pod.metadata.deletion_timestamp.is_none()
            {
                writes.extend(evict_now(pod, now));
            }
        }
        writes
    }
}

/// How long a pod tolerates these taints: not at all (`None`), for ever (`Some(None)`), or so long.
#[allow(clippy::option_option, reason = "three answers that a comment names")]
fn tolerated_for(pod: &Pod, taints: &[&TaintAt]) -> Option<Option<Duration>> {
    let mut shortest: Option<Duration> = None;
    for taint in taints {
        let covering: Vec<_> = pod
            .spec
            .tolerations
            .iter()
            .filter(|t| t.tolerates(&taint.taint))
            .collect();
        if covering.is_empty() {
            return None;
        }
        let limit = covering.iter().filter_map(|t| t.toleration_seconds).min();
        let limit = limit.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        shortest = [shortest, limit].into_iter().flatten().min();
    }
    Some(shortest)
}

fn evict_now(pod: &Pod, now: Timestamp) -> Vec<Write> {
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": seconds(now),
    });
    let body = json!({ "metadata": { "uid": pod.metadata.uid }, "status": { "conditions": [condition] } });
    let event = Event {
        source: EVICTION_SOURCE,
        kind: "Pod",
        meta: &pod.metadata,
        uid: &pod.metadata.uid,
        is_warning: false,
        reason: "TaintManagerEviction",
        message: format!("Marking for deletion Pod {}", pod.full_name()),
        now,
    };
    vec![
        Write::strategic(format!("{}/status", pod.path()), body),
        event.write(),
        Write::delete(pod.path(), &pod.metadata.uid, None, None),
    ]
}

/// The conditions of a silent node, unless they say so already.
fn unknown(name: &str, node: &Node, now: Timestamp) -> Option<Write> {
    const KINDS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
    let stale = |kind: &&&str| node.status.condition(kind) != Some("Unknown");
    let conditions: Vec<Value> = KINDS
        .iter()
        .filter(stale)
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
    let body = json!({ "metadata": { "uid": node.metadata.uid }, "status": { "conditions": conditions } });
    (!conditions.is_empty()).then(|| Write::strategic(format!("/api/v1/nodes/{name}/status"), body))
}

/// Brings the taints of a node to what its condition Ready says, unless they are right.
fn taint(watched: &mut Watched, now: Timestamp) -> Option<Write> {
    let node = &watched.node;
    let (wanted, other) = match node.status.condition("Ready") {
        Some("True") => (None, [keys::TAINT_NOT_READY, keys::TAINT_UNREACHABLE]),
        Some("False") | None => (Some(keys::TAINT_NOT_READY), [keys::TAINT_UNREACHABLE; 2]),
        Some(_) => (Some(keys::TAINT_UNREACHABLE), [keys::TAINT_NOT_READY; 2]),
    };
    if wanted.is_none() {
        watched.marked = false;
    }
    let is_evicting = node.spec.taints.iter().any(|t| {
        t.taint.effect == NO_EXECUTE
            && [keys::TAINT_NOT_READY, keys::TAINT_UNREACHABLE].contains(&t.taint.key.as_str())
    });
    watched.marked |= is_evicting && wanted.is_some();
    let mut taints: Vec<TaintAt> = node
        .spec
        .taints
        .iter()
        .filter(|t| !other.contains(&t.taint.key.as_str()))
        .cloned()
        .collect();
    if let Some(key) = wanted {
        let effects = [Some(NO_SCHEDULE), watched.marked.then_some(NO_EXECUTE)];
        for effect in effects.into_iter().flatten() {
            if !taints
                .iter()
                .any(|t| t.taint.key == key && t.taint.effect == effect)
            {
                let taint = Taint {
                    key: key.to_owned(),
                    value: String::new(),
                    effect: effect.to_owned(),
                };
                let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
                taints.push(TaintAt {
                    taint,
                    time_added: Some(whole),
                });
            }
        }
    }
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

fn tell(node: &Node, reason: &'static str, message: String, now: Timestamp) -> Write {
    let (meta, uid) = (&node.metadata, node.metadata.name.as_str());
    Event {
        source: SOURCE,
        kind: "Node",
        meta,
        uid,
        is_warning: false,
        reason,
        message,
        now,
    }
    .write()
}
