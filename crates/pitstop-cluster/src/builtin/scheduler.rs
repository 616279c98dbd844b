//! Gives pods to nodes.
//!
//! Source: embedded-cluster.md 16.1. A pod of a DaemonSet names its node, so only that node is looked at.

mod fit;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use pitstop_api::placement::NodeConstraints;
use pitstop_api::view::Uid;
use serde_json::json;

use super::volumes::{Key, Readiness};
use super::wire::{Node, Pod};
use super::writes::{Asked, Event, Write, seconds};
use fit::{Place, Used, Wants};

/// Event source of the scheduler.
const SOURCE: &str = "default-scheduler";

/// Why a node that the pod does not name is no choice.
const NO_MATCH: &str = "node(s) didn't match Pod's node affinity/selector";

/// Why a node will not do from which a volume cannot be reached.
const OUT_OF_REACH: &str = "node(s) didn't match PersistentVolume's node affinity";

/// A pod without a node.
#[derive(Debug)]
struct Waiting {
    pod: Arc<Pod>,
    target: Option<String>,
    told: String,
}

/// The scheduler's view.
#[derive(Debug, Default)]
pub(super) struct Scheduler {
    places: BTreeMap<String, Place>,
    /// What is used of each node that pods name, whether it is there or not.
    used: HashMap<String, Used>,
    /// Pods with a node, and what they use of it.
    bound: HashMap<Uid, (String, Wants)>,
    waiting: BTreeMap<Uid, Waiting>,
    /// Those that wait for one certain node, by its name.
    waiting_for: HashMap<String, BTreeSet<Uid>>,
    /// Those that wait for any node.
    waiting_for_any: BTreeSet<Uid>,
    /// Pods whose binding the server is asked for.
    binding: HashMap<Uid, Arc<Pod>>,
    /// Claims that pods may use.
    claims: BTreeMap<Key, Readiness>,
    /// Are all claims known? Until then no pod that uses one is given a node.
    claims_known: bool,
}

impl Scheduler {
    pub(super) fn on_pod(&mut self, pod: &Arc<Pod>, uid: Uid, is_gone: bool, now: Timestamp) -> Vec<Write> {
        if is_gone || pod.is_terminal() {
            self.stop_waiting(uid);
            return self.unbind(uid, now);
        }
        if !pod.spec.node_name.is_empty() {
            self.stop_waiting(uid);
            return self.bind(uid, &pod.spec.node_name, pod, now);
        }
        let told = self.stop_waiting(uid).unwrap_or_default();
        let is_ours = pod.spec.scheduler_name == SOURCE
            && pod.spec.scheduling_gates.is_empty()
            && pod.metadata.deletion_timestamp.is_none();
        if !is_ours {
            return Vec::new();
        }
        let target = target(&pod.placement());
        match &target {
            Some(target) => self.waiting_for.entry(target.clone()).or_default().insert(uid),
            None => self.waiting_for_any.insert(uid),
        };
        let pod = Arc::clone(pod);
        self.waiting.insert(uid, Waiting { pod, target, told });
        self.schedule(uid, now)
    }

    pub(super) fn on_node(&mut self, node: &Arc<Node>, is_gone: bool, now: Timestamp) -> Vec<Write> {
        let name = &node.metadata.name;
        if is_gone {
            self.places.remove(name);
            return Vec::new();
        }
        let place = Place::of(node);
        let before = self.places.get(name);
        let has_changed = before.is_none_or(|before| before.differs(&place));
        self.places.insert(name.clone(), place);
        if has_changed {
            self.retry(name, now)
        } else {
            Vec::new()
        }
    }

    /// A claim has changed; `None`: it is not there.
    pub(super) fn on_claim(
        &mut self,
        claim: &Key,
        readiness: Option<Readiness>,
        now: Timestamp,
    ) -> Vec<Write> {
        if self.claims.get(claim) == readiness.as_ref() {
            return Vec::new();
        }
        match readiness {
            Some(readiness) => self.claims.insert(claim.clone(), readiness),
            None => self.claims.remove(claim),
        };
        let (namespace, name) = claim;
        let uses = |pod: &Pod| pod.metadata.namespace == *namespace && pod.spec.claims.contains(name);
        self.retry_those(now, uses)
    }

    /// All claims are known that there were at the start.
    pub(super) fn on_claims_known(&mut self, now: Timestamp) -> Vec<Write> {
        if std::mem::replace(&mut self.claims_known, true) {
            return Vec::new();
        }
        self.retry_those(now, |pod| !pod.spec.claims.is_empty())
    }

    fn retry_those(&mut self, now: Timestamp, is_meant: impl Fn(&Pod) -> bool) -> Vec<Write> {
        let meant = self.waiting.iter().filter(|(_, waiting)| is_meant(&waiting.pod));
        let meant: Vec<Uid> = meant.map(|(uid, _)| *uid).collect();
        meant
            .into_iter()
            .flat_map(|uid| self.schedule(uid, now))
            .collect()
    }

    /// Why no node will do, whatever the nodes are like.
    fn hindrance(&self, pod: &Pod) -> Option<String> {
        for name in &pod.spec.claims {
            match self.claims.get(&(pod.metadata.namespace.clone(), name.clone())) {
                None => return Some(format!("persistentvolumeclaim {name:?} not found")),
                Some(Readiness::Ending) => {
                    return Some(format!("persistentvolumeclaim {name:?} is being deleted"));
                }
                Some(Readiness::Unbound) => {
                    return Some("pod has unbound immediate PersistentVolumeClaims".to_owned());
                }
                Some(Readiness::Bound(_) | Readiness::WaitsForPod) => {}
            }
        }
        None
    }

    /// Can all volumes of a pod be reached from a node?
    fn reaches(&self, pod: &Pod, node: &Node) -> bool {
        pod.spec.claims.iter().all(|name| {
            let claim = self.claims.get(&(pod.metadata.namespace.clone(), name.clone()));
            match claim {
                Some(Readiness::Bound(terms)) if !terms.is_empty() => terms
                    .iter()
                    .any(|term| term.matches(&node.metadata.name, &node.metadata.labels)),
                _ => true,
            }
        })
    }

    /// Pods that may fit now that a node changed: those that name it, and those that name none.
    fn retry(&mut self, node: &str, now: Timestamp) -> Vec<Write> {
        let named = self.waiting_for.get(node).into_iter().flatten();
        let candidates: Vec<Uid> = named.chain(&self.waiting_for_any).copied().collect();
        let tried = candidates.into_iter().flat_map(|uid| self.schedule(uid, now));
        tried.collect()
    }

    /// Tries every pod that waits again. Source: embedded-cluster.md 16.1, every 60 s.
    pub(super) fn retry_all(&mut self, now: Timestamp) -> Vec<Write> {
        let all: Vec<Uid> = self.waiting.keys().copied().collect();
        all.into_iter().flat_map(|uid| self.schedule(uid, now)).collect()
    }

    /// The server answered a binding: if it refused, the pod waits again.
    pub(super) fn on_bound(&mut self, uid: Uid, is_accepted: bool, now: Timestamp) -> Vec<Write> {
        let Some(pod) = self.binding.remove(&uid) else {
            return Vec::new();
        };
        if !is_accepted {
            // A watch has told, or will tell, why: unless it said that the pod has a node, the place is free again.
            if self.waiting.contains_key(&uid) {
                self.release(uid);
            }
            return Vec::new();
        }
        let Some((node, _)) = self.bound.get(&uid) else {
            return Vec::new();
        };
        let message = format!("Successfully assigned {} to {node}", pod.full_name());
        vec![tell(&pod, false, "Scheduled", message, now)]
    }

    fn schedule(&mut self, uid: Uid, now: Timestamp) -> Vec<Write> {
        if self.binding.contains_key(&uid) {
            return Vec::new();
        }
        let Some(waiting) = self.waiting.get(&uid) else {
            return Vec::new();
        };
        let pod = Arc::clone(&waiting.pod);
        if !pod.spec.claims.is_empty() && !self.claims_known {
            return Vec::new();
        }
        match self.choose(&pod, waiting.target.as_deref()) {
            Ok(node) => {
                self.binding.insert(uid, Arc::clone(&pod));
                let mut writes = self.bind(uid, &node, &pod, now);
                let body = json!({
                    "apiVersion": "v1", "kind": "Binding",
                    "metadata": { "name": pod.metadata.name, "namespace": pod.metadata.namespace, "uid": pod.metadata.uid },
                    "target": { "apiVersion": "v1", "kind": "Node", "name": node },
                });
                let path = format!("{}/binding", pod.path());
                writes.push(Write::post(path, body).asked_by(Asked::Bind(uid)));
                writes
            }
            Err(why) => self.refuse(uid, &pod, why, now),
        }
    }

    /// Says why a pod has to wait, once for each text.
    fn refuse(&mut self, uid: Uid, pod: &Pod, why: String, now: Timestamp) -> Vec<Write> {
        match self.waiting.get_mut(&uid) {
            Some(waiting) if waiting.told != why => waiting.told.clone_from(&why),
            _ => return Vec::new(),
        }
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why,
            "lastProbeTime": null, "lastTransitionTime": seconds(now),
        });
        let status =
            json!({ "metadata": { "uid": pod.metadata.uid }, "status": { "conditions": [condition] } });
        vec![
            Write::strategic(format!("{}/status", pod.path()), status),
            tell(pod, true, "FailedScheduling", why, now),
        ]
    }

    /// The node for a pod: of those that fit the one with the fewest pods; or why none fits.
    fn choose(&self, pod: &Pod, target: Option<&str>) -> Result<String, String> {
        if let Some(why) = self.hindrance(pod) {
            return Err(format!("0/{} nodes are available: {why}.", self.places.len()));
        }
        let placement = pod.placement();
        let (wants, nothing) = (Wants::of(pod), Used::default());
        let mut problems: BTreeMap<String, usize> = BTreeMap::new();
        let mut best: Option<(u64, u64, &str)> = None;
        let looked_at: Vec<&Place> = match target {
            Some(name) => self.places.get(name).into_iter().collect(),
            None => self.places.values().collect(),
        };
        let n_others = self.places.len().saturating_sub(looked_at.len());
        if n_others > 0 {
            problems.insert(NO_MATCH.to_owned(), n_others);
        }
        for place in looked_at {
            let name = place.node.metadata.name.as_str();
            let used = self.used.get(name).unwrap_or(&nothing);
            let mut found = place.problems(&placement, &wants, used);
            if found.is_empty() && !self.reaches(pod, &place.node) {
                found.push(OUT_OF_REACH.to_owned());
            }
            if found.is_empty() {
                let score = (used.amount.pods, crate::node::hash(name.as_bytes()), name);
                best = Some(best.map_or(score, |best| best.min(score)));
            }
            for problem in found {
                *problems.entry(problem).or_default() += 1;
            }
        }
        best.map(|(_, _, name)| name.to_owned())
            .ok_or_else(|| explain(self.places.len(), &problems))
    }

    /// Notes that a pod takes its part of a node.
    fn bind(&mut self, uid: Uid, node: &str, pod: &Pod, now: Timestamp) -> Vec<Write> {
        if self.bound.get(&uid).is_some_and(|(on, _)| on == node) {
            return Vec::new();
        }
        let writes = self.unbind(uid, now);
        let wants = Wants::of(pod);
        self.used.entry(node.to_owned()).or_default().add(&wants);
        self.bound.insert(uid, (node.to_owned(), wants));
        writes
    }

    /// Gives back what a pod took of its node, for others to try.
    fn unbind(&mut self, uid: Uid, now: Timestamp) -> Vec<Write> {
        match self.release(uid) {
            Some(node) => self.retry(&node, now),
            None => Vec::new(),
        }
    }

    fn release(&mut self, uid: Uid) -> Option<String> {
        let (node, wants) = self.bound.remove(&uid)?;
        if let Some(used) = self.used.get_mut(&node) {
            used.remove(&wants);
            if used.amount.pods == 0 {
                self.used.remove(&node);
            }
        }
        Some(node)
    }

    /// Returns what the pod was told last.
    fn stop_waiting(&mut self, uid: Uid) -> Option<String> {
        let waiting = self.waiting.remove(&uid)?;
        self.waiting_for_any.remove(&uid);
        if let Some(target) = waiting.target
            && let Some(others) = self.waiting_for.get_mut(&target)
        {
            others.remove(&uid);
            if others.is_empty() {
                self.waiting_for.remove(&target);
            }
        }
        Some(waiting.told)
    }
}

/// The one node that a pod may run on: its affinity consists of a single term that names it.
fn target(placement: &NodeConstraints) -> Option<String> {
    let affinity = placement.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    match required.node_selector_terms.as_slice() {
        [_] => placement.target_node().map(str::to_owned),
        _ => None,
    }
}

/// `0/5 nodes are available: 1 Insufficient cpu, 4 node(s) had untolerated taint {k: v}.`
fn explain(n_nodes: usize, problems: &BTreeMap<String, usize>) -> String {
    if problems.is_empty() {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut listed: Vec<String> = problems
        .iter()
        .map(|(problem, n)| format!("{n} {problem}"))
        .collect();
    listed.sort_unstable();
    format!("0/{n_nodes} nodes are available: {}.", listed.join(", "))
}

fn tell(pod: &Pod, is_warning: bool, reason: &'static str, message: String, now: Timestamp) -> Write {
    let (meta, uid) = (&pod.metadata, pod.metadata.uid.as_str());
    Event {
        source: SOURCE,
        kind: "Pod",
        meta,
        uid,
        is_warning,
        reason,
        message,
        now,
    }
    .write()
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "builders take what the macro makes")]
mod tests;
