//! Deletes pods that nobody will ever confirm: on nodes that are gone, and ended ones beyond a number.
//!
//! Source: embedded-cluster.md 16, 16.2 rule 5.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::view::Uid;

use super::wire::Pod;
use super::writes::Write;

/// Pods on a node that is gone are deleted after this long. Source: embedded-cluster.md 16.
const QUARANTINE: Duration = Duration::from_secs(40);
/// Ended pods that are kept. Source: embedded-cluster.md 16.
const ENDED: usize = 12_500;

/// The controller's view.
#[derive(Debug)]
pub(super) struct PodGc {
    quarantine: SignedDuration,
    nodes: BTreeSet<String>,
    nodes_synced: bool,
    bound: HashMap<String, BTreeMap<Uid, Arc<Pod>>>,
    /// Nodes that are not there while pods say that they run on them, and since when.
    lost: BTreeMap<String, Timestamp>,
    /// Pods that ended, the oldest first.
    ended: BTreeMap<(Option<Timestamp>, Uid), Arc<Pod>>,
}

impl PodGc {
    pub(super) fn new(time_scale: f64) -> Self {
        let quarantine = Duration::try_from_secs_f64(QUARANTINE.as_secs_f64() / time_scale);
        let quarantine = quarantine
            .ok()
            .and_then(|quarantine| SignedDuration::try_from(quarantine).ok());
        Self {
            quarantine: quarantine.unwrap_or(SignedDuration::from_secs(40)),
            nodes: BTreeSet::new(),
            nodes_synced: false,
            bound: HashMap::new(),
            lost: BTreeMap::new(),
            ended: BTreeMap::new(),
        }
    }

    pub(super) fn on_node(&mut self, name: &str, is_gone: bool, now: Timestamp) {
        if is_gone {
            self.nodes.remove(name);
            self.notice(name, now);
        } else {
            self.nodes.insert(name.to_owned());
            self.lost.remove(name);
        }
    }

    /// All nodes were listed: those that pods name and that were not among them are lost.
    pub(super) fn on_nodes_synced(&mut self, now: Timestamp) {
        self.nodes_synced = true;
        let mut named: Vec<String> = self.bound.keys().cloned().collect();
        named.sort_unstable();
        for name in named {
            self.notice(&name, now);
        }
    }

    pub(super) fn on_pod(&mut self, pod: &Arc<Pod>, uid: Uid, is_gone: bool, now: Timestamp) {
        let key = (pod.metadata.creation_timestamp, uid);
        if pod.is_terminal() && !is_gone {
            self.ended.insert(key, Arc::clone(pod));
        } else {
            self.ended.remove(&key);
        }
        let node = &pod.spec.node_name;
        if node.is_empty() {
            return;
        }
        let pods = self.bound.entry(node.clone()).or_default();
        if is_gone {
            pods.remove(&uid);
        } else {
            pods.insert(uid, Arc::clone(pod));
        }
        if pods.is_empty() {
            self.bound.remove(node);
            self.lost.remove(node);
        } else {
            self.notice(node, now);
        }
    }

    /// Looks at the clock.
    pub(super) fn tick(&mut self, now: Timestamp) -> Vec<Write> {
        let quarantine = self.quarantine;
        let over = self.lost.iter_mut();
        let over = over.filter(|(_, since)| now.duration_since(**since) >= quarantine);
        let mut writes = Vec::new();
        for (name, since) in over {
            // What could not be deleted is tried again after the same time.
            *since = now;
            let pods = self.bound.get(name).into_iter().flat_map(BTreeMap::values);
            writes.extend(pods.map(|pod| remove(pod)));
        }
        let n_over = self.ended.len().saturating_sub(ENDED);
        writes.extend(self.ended.values().take(n_over).map(|pod| remove(pod)));
        writes
    }

    fn notice(&mut self, node: &str, now: Timestamp) {
        if self.nodes_synced && !self.nodes.contains(node) && self.bound.contains_key(node) {
            self.lost.entry(node.to_owned()).or_insert(now);
        }
    }
}

fn remove(pod: &Pod) -> Write {
    Write::delete(pod.path(), &pod.metadata.uid, Some(0), None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(n: u32, node: &str, phase: &str) -> (Arc<Pod>, Uid) {
        let pod = json!({
            "metadata": {"name": format!("p{n}"), "namespace": "default", "uid": format!("{n}")},
            "spec": {"nodeName": node}, "status": {"phase": phase},
        });
        (Arc::new(serde_json::from_value(pod).unwrap()), Uid(u128::from(n)))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn pods_outlive_their_node_by_a_while() {
        let mut gc = PodGc::new(2.0);
        let (pod, uid) = pod(1, "n1", "Running");
        gc.on_pod(&pod, uid, false, at(0));
        assert!(gc.tick(at(100)).is_empty(), "nodes were not listed yet");
        gc.on_nodes_synced(at(100));
        assert!(gc.tick(at(119)).is_empty(), "40 s at twice the speed");
        assert_eq!(gc.tick(at(120)).len(), 1);
        gc.on_node("n1", false, at(121));
        assert!(gc.tick(at(200)).is_empty(), "the node is back");
        gc.on_node("n1", true, at(200));
        gc.on_pod(&pod, uid, true, at(201));
        assert!(gc.tick(at(300)).is_empty(), "nothing is left there");
    }

    #[test]
    fn ended_pods_are_kept_up_to_a_number() {
        let mut gc = PodGc::new(1.0);
        for n in 0..=u32::try_from(ENDED).unwrap() {
            let (pod, uid) = pod(n, "", "Succeeded");
            gc.on_pod(&pod, uid, false, at(0));
        }
        let paths: Vec<String> = gc.tick(at(0)).into_iter().map(|write| write.path).collect();
        assert_eq!(paths, ["/api/v1/namespaces/default/pods/p0"], "the oldest");
    }
}
