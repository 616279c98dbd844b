//! Notices that nodes fall silent, marks them and their pods, and evicts what does not tolerate it.
//!
//! Source: embedded-cluster.md 16.2.

mod eviction;
mod marks;
mod zones;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::reasons::READY;
use pitstop_api::view::Uid;

use super::wire::{Node, Pod};
use super::writes::Write;
use eviction::Evictions;
use marks::{Health, mark_pod, old_labels, taint, tell, unknown};
use zones::Pace;

/// How often silent nodes are looked for. Source: embedded-cluster.md 16.2.
const MONITOR: Duration = Duration::from_secs(5);
/// A node that never reported gets so long to start. Units: parts of the node grace, 60 s of 40 s.
const STARTUP_FACTOR: f64 = 1.5;
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
    health: Health,
    /// Is the `NoExecute` taint wanted?
    is_evicting: bool,
}

/// The controller's view.
#[derive(Debug)]
pub(super) struct Lifecycle {
    grace: Duration,
    time_scale: f64,
    nodes: BTreeMap<String, Watched>,
    leases: BTreeMap<String, String>,
    pods: BTreeMap<String, BTreeMap<Uid, Arc<Pod>>>,
    evictions: Evictions,
    /// When the next node of a zone may get its `NoExecute` taint.
    next_in_zone: BTreeMap<String, Timestamp>,
}

impl Lifecycle {
    pub(super) fn new(grace: Duration, time_scale: f64) -> Self {
        let time_scale = if time_scale > 0.0 { time_scale } else { 1.0 };
        Self {
            grace,
            time_scale,
            nodes: BTreeMap::new(),
            leases: BTreeMap::new(),
            pods: BTreeMap::new(),
            evictions: Evictions::new(time_scale),
            next_in_zone: BTreeMap::new(),
        }
    }

    /// How often [`Lifecycle::tick`] is to be called: every five seconds, and oftener for a short grace.
    pub(super) fn period(&self) -> Duration {
        let scaled = MONITOR.div_f64(self.time_scale.max(1.0));
        scaled.min(self.grace / 8).max(Duration::from_millis(20))
    }

    pub(super) fn on_lease(&mut self, node: &str, renewed: Option<&str>, now: Timestamp) {
        let Some(renewed) = renewed else {
            self.leases.remove(node);
            return;
        };
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
                if pods.is_empty() {
                    self.pods.remove(node);
                }
            }
            return Vec::new();
        }
        let pods = self.pods.entry(node.clone()).or_default();
        let before = pods.insert(uid, Arc::clone(pod));
        let Some(watched) = self.nodes.get(node) else {
            return Vec::new();
        };
        let mut writes = Vec::new();
        if before.is_none() && watched.health.is_bad() {
            writes.extend(mark_pod(pod, now));
        }
        if before.is_none_or(|before| before.spec.tolerations != pod.spec.tolerations) {
            writes.extend(self.evictions.judge(&watched.node, pod, uid, now));
        }
        writes
    }

    pub(super) fn on_node(&mut self, node: &Arc<Node>, is_gone: bool, now: Timestamp) -> Vec<Write> {
        let name = &node.metadata.name;
        if is_gone {
            self.nodes.remove(name);
            self.evictions.forget(name);
            return Vec::new();
        }
        let conditions = node.status.conditions.iter();
        let heartbeat = conditions
            .filter(|c| c.kind == READY)
            .find_map(|c| c.last_heartbeat_time);
        let health = Health::of(node);
        let known = self
            .nodes
            .remove(name)
            .filter(|w| w.node.metadata.uid == node.metadata.uid);
        let before = known.as_ref().map(|watched| Arc::clone(&watched.node));
        let mut watched = known.unwrap_or_else(|| Watched {
            node: Arc::clone(node),
            lease: self.leases.get(name).cloned().unwrap_or_default(),
            heartbeat,
            seen_at: now,
            health,
            is_evicting: false,
        });
        if watched.heartbeat != heartbeat {
            watched.heartbeat = heartbeat;
            watched.seen_at = now;
        }
        let had = std::mem::replace(&mut watched.health, health);
        watched.node = Arc::clone(node);
        watched.is_evicting = !health.is_ready() && (watched.is_evicting || marks::has_evicting_taint(node));
        let mut writes: Vec<Write> = taint(node, watched.is_evicting, now).into_iter().collect();
        writes.extend(old_labels(node));
        self.nodes.insert(name.clone(), watched);

        if had.is_ready() != health.is_ready() {
            writes.push(tell(node, health.is_ready(), now));
        }
        let was_fine = before.is_none() || had.is_ready();
        let pods = self.pods.get(name).into_iter().flatten();
        if was_fine && health.is_bad() {
            writes.extend(pods.clone().filter_map(|(_, pod)| mark_pod(pod, now)));
        }
        if before.is_none_or(|before| before.spec.taints != node.spec.taints) {
            self.evictions.forget(name);
            for (uid, pod) in pods {
                writes.extend(self.evictions.judge(node, pod, *uid, now));
            }
        }
        writes
    }

    /// Looks at the clock: which nodes were silent for too long, which taints and evictions are due.
    pub(super) fn tick(&mut self, now: Timestamp) -> Vec<Write> {
        let mut writes = Vec::new();
        let grace = SignedDuration::try_from(self.grace).unwrap_or(SignedDuration::MAX);
        for watched in self.nodes.values() {
            let allowed = match watched.health {
                Health::NeverReported => grace.mul_f64(STARTUP_FACTOR),
                _ => grace,
            };
            if now.duration_since(watched.seen_at) > allowed {
                writes.extend(unknown(&watched.node, now));
            }
        }
        writes.extend(self.pace(now));
        for (node, uid) in self.evictions.take_due(now) {
            let pod = self.pods.get(&node).and_then(|pods| pods.get(&uid));
            writes.extend(pod.and_then(|pod| eviction::evict(pod, now)));
        }
        writes
    }

    /// Silent nodes get their `NoExecute` taint one after the other. While everything is silent none has one: then it is
    /// rather the control plane that is cut off.
    fn pace(&mut self, now: Timestamp) -> Vec<Write> {
        let zone_of = |watched: &Watched| {
            watched
                .node
                .metadata
                .labels
                .get(ZONE)
                .cloned()
                .unwrap_or_default()
        };
        let zones = zones::count(self.nodes.values().map(|w| (zone_of(w), w.health.is_ready())));
        let mut writes = Vec::new();
        if zones::is_all_silent(&zones) {
            for watched in self.nodes.values_mut().filter(|watched| watched.is_evicting) {
                watched.is_evicting = false;
                writes.extend(taint(&watched.node, false, now));
            }
            return writes;
        }
        for watched in self.nodes.values_mut() {
            if watched.health.is_ready() || watched.is_evicting {
                continue;
            }
            let zone = zone_of(watched);
            let Some(Pace::Every(interval)) = zones.get(&zone).map(zones::Zone::pace) else {
                continue;
            };
            let next = self.next_in_zone.entry(zone).or_insert(Timestamp::MIN);
            if now < *next {
                continue;
            }
            *next = now.checked_add(scaled(interval, self.time_scale)).unwrap_or(now);
            watched.is_evicting = true;
            writes.extend(taint(&watched.node, true, now));
        }
        writes
    }
}

/// A simulated duration as it passes for us. Source: embedded-cluster.md 17.7.
fn scaled(duration: Duration, time_scale: f64) -> SignedDuration {
    let scaled = Duration::try_from_secs_f64(duration.as_secs_f64() / time_scale).unwrap_or(duration);
    SignedDuration::try_from(scaled).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests;
