//! Gives pods to nodes.
//!
//! Source: embedded-cluster.md 16.1. A pod of a DaemonSet names its node, so only that node is looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use pitstop_api::keys;
use pitstop_api::placement::{NO_EXECUTE, NO_SCHEDULE, Taint, untolerated};
use pitstop_api::view::Uid;
use serde_json::json;

use super::wire::{Node, Pod};
use super::writes::{Asked, Event, Write, seconds};

/// Event source of the scheduler.
const SOURCE: &str = "default-scheduler";

/// What of a node pods use up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Amount {
    /// Units: thousandths of a processor.
    cpu: u64,
    /// Units: bytes.
    memory: u64,
    /// Units: pods.
    pods: u64,
}

/// A node, and what is used of it.
#[derive(Debug)]
struct Place {
    node: Arc<Node>,
    taints: Vec<Taint>,
    allocatable: Amount,
    used: Amount,
}

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
    /// Pods with a node, and what they use of it.
    bound: HashMap<Uid, (String, Amount)>,
    waiting: BTreeMap<Uid, Waiting>,
    waiting_for: HashMap<String, BTreeSet<Uid>>,
    binding: BTreeSet<Uid>,
}

impl Scheduler {
    pub(super) fn on_pod(&mut self, pod: &Arc<Pod>, uid: Uid, is_gone: bool, now: Timestamp) -> Vec<Write> {
        if is_gone || pod.is_terminal() {
            self.unbind(uid);
            self.stop_waiting(uid);
            return Vec::new();
        }
        if !pod.spec.node_name.is_empty() {
            self.stop_waiting(uid);
            self.bind(uid, &pod.spec.node_name, pod);
            return Vec::new();
        }
        let is_ours = pod.spec.scheduler_name == SOURCE
            && pod.spec.scheduling_gates.is_empty()
            && pod.metadata.deletion_timestamp.is_none();
        if !is_ours {
            self.stop_waiting(uid);
            return Vec::new();
        }
        let target = pod.placement().target_node().map(str::to_owned);
        if let Some(target) = &target {
            self.waiting_for.entry(target.clone()).or_default().insert(uid);
        }
        let told = self
            .waiting
            .remove(&uid)
            .map(|waiting| waiting.told)
            .unwrap_or_default();
        self.waiting.insert(
            uid,
            Waiting {
                pod: Arc::clone(pod),
                target,
                told,
            },
        );
        self.schedule(uid, now)
    }

    pub(super) fn on_node(&mut self, node: &Arc<Node>, is_gone: bool, now: Timestamp) -> Vec<Write> {
        let name = &node.metadata.name;
        if is_gone {
            self.places.remove(name);
            return Vec::new();
        }
        let mut taints: Vec<Taint> = node.spec.taints.iter().map(|t| t.taint.clone()).collect();
        if node.spec.unschedulable {
            taints.push(Taint {
                key: keys::TAINT_UNSCHEDULABLE.to_owned(),
                value: String::new(),
                effect: NO_SCHEDULE.to_owned(),
            });
        }
        let status = &node.status.allocatable;
        let allocatable = Amount {
            cpu: thousandths(&status.cpu).unwrap_or(u64::MAX),
            memory: units(&status.memory).unwrap_or(u64::MAX),
            pods: units(&status.pods).unwrap_or(u64::MAX),
        };
        let before = self.places.remove(name);
        let changed = before.as_ref().is_none_or(|place| {
            place.taints != taints
                || place.allocatable != allocatable
                || place.node.metadata.labels != node.metadata.labels
        });
        let used = match before {
            Some(place) => place.used,
            None => self.used_on(name),
        };
        self.places.insert(
            name.clone(),
            Place {
                node: Arc::clone(node),
                taints,
                allocatable,
                used,
            },
        );
        if changed {
            self.retry(name, now)
        } else {
            Vec::new()
        }
    }

    /// Pods that may fit now that a node changed: those that name it, and those that name none.
    fn retry(&mut self, node: &str, now: Timestamp) -> Vec<Write> {
        let named = self.waiting_for.get(node).into_iter().flatten().copied();
        let free = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.target.is_none())
            .map(|(uid, _)| *uid);
        let candidates: Vec<Uid> = named.chain(free).collect();
        candidates
            .into_iter()
            .flat_map(|uid| self.schedule(uid, now))
            .collect()
    }

    /// Tries every pod that waits again. Source: embedded-cluster.md 16.1, every 60 s.
    pub(super) fn retry_all(&mut self, now: Timestamp) -> Vec<Write> {
        let all: Vec<Uid> = self.waiting.keys().copied().collect();
        all.into_iter().flat_map(|uid| self.schedule(uid, now)).collect()
    }

    /// The server answered a binding: if it refused, the pod waits again.
    pub(super) fn on_bound(&mut self, uid: Uid, accepted: bool, now: Timestamp) -> Vec<Write> {
        self.binding.remove(&uid);
        if accepted {
            let Some(waiting) = self.waiting.get(&uid) else {
                return Vec::new();
            };
            let Some((node, _)) = self.bound.get(&uid) else {
                return Vec::new();
            };
            let message = format!("Successfully assigned {} to {node}", waiting.pod.full_name());
            return vec![tell(&waiting.pod, false, "Scheduled", message, now)];
        }
        self.unbind(uid);
        Vec::new()
    }

    fn schedule(&mut self, uid: Uid, now: Timestamp) -> Vec<Write> {
        if self.binding.contains(&uid) {
            return Vec::new();
        }
        let Some(waiting) = self.waiting.get(&uid) else {
            return Vec::new();
        };
        let pod = Arc::clone(&waiting.pod);
        match self.choose(&pod, waiting.target.as_deref()) {
            Ok(node) => {
                self.bind(uid, &node, &pod);
                self.binding.insert(uid);
                let body = json!({
                    "apiVersion": "v1", "kind": "Binding",
                    "metadata": { "name": pod.metadata.name, "namespace": pod.metadata.namespace, "uid": pod.metadata.uid },
                    "target": { "apiVersion": "v1", "kind": "Node", "name": node },
                });
                vec![Write::post(format!("{}/binding", pod.path()), body).asked_by(Asked::Bind(uid))]
            }
            Err(why) => {
                let Some(waiting) = self.waiting.get_mut(&uid) else {
                    return Vec::new();
                };
                if waiting.told == why {
                    return Vec::new();
                }
                waiting.told.clone_from(&why);
                let condition = json!({
                    "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why,
                    "lastProbeTime": null, "lastTransitionTime": seconds(now),
                });
                let status = json!({ "metadata": { "uid": pod.metadata.uid }, "status": { "conditions": [condition] } });
                vec![
                    Write::strategic(format!("{}/status", pod.path()), status),
                    tell(&pod, true, "FailedScheduling", why, now),
                ]
            }
        }
    }

    /// The node for a pod: of those that fit the one with the fewest pods; or why none fits.
    fn choose(&self, pod: &Pod, target: Option<&str>) -> Result<String, String> {
        let placement = pod.placement();
        let wants = wanted(pod);
        let mut problems: BTreeMap<String, u32> = BTreeMap::new();
        let mut best: Option<(u64, u64, &str)> = None;
        let looked_at: Vec<&Place> = match target {
            Some(name) => self.places.get(name).into_iter().collect(),
            None => self.places.values().collect(),
        };
        let n_others = self.places.len() - looked_at.len();
        if n_others > 0 {
            let others = u32::try_from(n_others).unwrap_or(u32::MAX);
            problems.insert(
                "node(s) didn't match Pod's node affinity/selector".to_owned(),
                others,
            );
        }
        for place in looked_at {
            let name = place.node.metadata.name.as_str();
            match fits(place, &placement, wants) {
                Ok(()) => {
                    let score = (place.used.pods, crate::node::hash(name.as_bytes()), name);
                    if best.is_none_or(|best| score < best) {
                        best = Some(score);
                    }
                }
                Err(problem) => *problems.entry(problem).or_default() += 1,
            }
        }
        best.map(|(_, _, name)| name.to_owned()).ok_or_else(|| {
            let listed: Vec<String> = problems
                .into_iter()
                .map(|(problem, n)| format!("{n} {problem}"))
                .collect();
            let n = self.places.len();
            if listed.is_empty() {
                format!("0/{n} nodes are available.")
            } else {
                format!("0/{n} nodes are available: {}.", listed.join(", "))
            }
        })
    }

    fn bind(&mut self, uid: Uid, node: &str, pod: &Pod) {
        if self.bound.contains_key(&uid) {
            return;
        }
        let amount = wanted(pod);
        self.bound.insert(uid, (node.to_owned(), amount));
        if let Some(place) = self.places.get_mut(node) {
            place.used = place.used.plus(amount);
        }
    }

    fn unbind(&mut self, uid: Uid) {
        if let Some((node, amount)) = self.bound.remove(&uid)
            && let Some(place) = self.places.get_mut(&node)
        {
            place.used = place.used.minus(amount);
        }
    }

    #[allow(clippy::iter_over_hash_type, reason = "a sum does not depend on the order")]
    fn used_on(&self, name: &str) -> Amount {
        let mut used = Amount::default();
        for (node, amount) in self.bound.values() {
            if node == name {
                used = used.plus(*amount);
            }
        }
        used
    }

    fn stop_waiting(&mut self, uid: Uid) {
        if let Some(target) = self.waiting.remove(&uid).and_then(|waiting| waiting.target)
            && let Some(waiting) = self.waiting_for.get_mut(&target)
        {
            waiting.remove(&uid);
            if waiting.is_empty() {
                self.waiting_for.remove(&target);
            }
        }
    }
}

impl Amount {
    fn plus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_add(other.cpu),
            memory: self.memory.saturating_add(other.memory),
            pods: self.pods.saturating_add(other.pods),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(other.cpu),
            memory: self.memory.saturating_sub(other.memory),
            pods: self.pods.saturating_sub(other.pods),
        }
    }
}

fn fits(
    place: &Place,
    placement: &pitstop_api::placement::NodeConstraints,
    wants: Amount,
) -> Result<(), String> {
    let meta = &place.node.metadata;
    if !placement.selects(&meta.name, &meta.labels) {
        return Err("node(s) didn't match Pod's node affinity/selector".to_owned());
    }
    if let Some(taint) = untolerated(&place.taints, &placement.tolerations, &[NO_SCHEDULE, NO_EXECUTE]) {
        if taint.key == keys::TAINT_UNSCHEDULABLE {
            return Err("node(s) were unschedulable".to_owned());
        }
        return Err(format!(
            "node(s) had untolerated taint {{{}: {}}}",
            taint.key, taint.value
        ));
    }
    let after = place.used.plus(wants);
    if after.pods > place.allocatable.pods {
        return Err("Too many pods".to_owned());
    }
    if wants.cpu > 0 && after.cpu > place.allocatable.cpu {
        return Err("Insufficient cpu".to_owned());
    }
    if wants.memory > 0 && after.memory > place.allocatable.memory {
        return Err("Insufficient memory".to_owned());
    }
    Ok(())
}

fn wanted(pod: &Pod) -> Amount {
    let one = Amount {
        cpu: 0,
        memory: 0,
        pods: 1,
    };
    pod.spec.containers.iter().fold(one, |sum, container| {
        let requests = &container.resources.requests;
        sum.plus(Amount {
            cpu: thousandths(&requests.cpu).unwrap_or(0),
            memory: units(&requests.memory).unwrap_or(0),
            pods: 0,
        })
    })
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

/// A quantity in thousandths, rounded up.
fn thousandths(quantity: &str) -> Option<u64> {
    match quantity.strip_suffix('m') {
        Some(number) => number.parse().ok(),
        None => scaled(quantity, 1000),
    }
}

/// A quantity in whole units, rounded up.
fn units(quantity: &str) -> Option<u64> {
    scaled(quantity, 1)
}

/// A decimal number with a suffix of the decimal or binary kind, times `factor`.
fn scaled(quantity: &str, factor: u64) -> Option<u64> {
    const SUFFIXES: [(&str, u64); 10] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
    ];
    let suffixed = SUFFIXES
        .iter()
        .find_map(|(suffix, unit)| Some((quantity.strip_suffix(suffix)?, *unit)));
    let (number, unit) = suffixed.unwrap_or((quantity, 1));
    let unit = unit.checked_mul(factor)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = u32::try_from(fraction.len()).ok().filter(|digits| *digits <= 9)?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part: u64 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let part = u128::from(part)
        .checked_mul(u128::from(unit))?
        .div_ceil(u128::from(10_u64.pow(digits)));
    whole.checked_mul(unit)?.checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "builders take what the macro makes")]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_compared_by_value() {
        for (text, milli, whole) in [
            ("1", Some(1000), Some(1)),
            ("100m", Some(100), None),
            ("1.5", Some(1500), Some(2)),
            ("16Gi", Some(17_179_869_184_000), Some(17_179_869_184)),
            ("2k", Some(2_000_000), Some(2000)),
            ("", Some(0), Some(0)),
            ("many", None, None),
        ] {
            assert_eq!((thousandths(text), units(text)), (milli, whole), "{text}");
        }
    }

    fn node(name: &str, taints: serde_json::Value) -> Arc<Node> {
        let node = json!({
            "metadata": {"name": name, "uid": "0", "labels": {"kubernetes.io/hostname": name}},
            "spec": {"taints": taints},
            "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "2"}},
        });
        Arc::new(serde_json::from_value(node).unwrap())
    }

    fn pod(n: u32, spec: serde_json::Value) -> (Arc<Pod>, Uid) {
        let mut pod = json!({
            "metadata": {"name": format!("p{n}"), "namespace": "default", "uid": format!("{n}")},
            "spec": {"schedulerName": "default-scheduler", "containers": []},
        });
        pod["spec"]
            .as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        (Arc::new(serde_json::from_value(pod).unwrap()), Uid(u128::from(n)))
    }

    fn targets(writes: &[Write]) -> Vec<String> {
        let bodies = writes.iter().filter_map(|w| w.body.as_ref());
        bodies
            .filter_map(|b| b.pointer("/target/name")?.as_str().map(str::to_owned))
            .collect()
    }

    fn messages(writes: &[Write]) -> Vec<String> {
        let bodies = writes.iter().filter_map(|w| w.body.as_ref());
        bodies
            .filter_map(|b| b.get("message")?.as_str().map(str::to_owned))
            .collect()
    }

    #[test]
    fn a_pod_goes_where_it_fits_and_says_why_it_does_not() {
        let now = Timestamp::UNIX_EPOCH;
        let mut scheduler = Scheduler::default();
        let tainted = json!([{"key": "role", "value": "db", "effect": "NoSchedule"}]);
        scheduler.on_node(&node("a", json!([])), false, now);
        scheduler.on_node(&node("b", tainted), false, now);
        let big = json!({"containers": [{"resources": {"requests": {"cpu": "700m"}}}]});
        let (first, uid) = pod(1, big.clone());
        assert_eq!(targets(&scheduler.on_pod(&first, uid, false, now)), ["a"]);
        let (second, uid) = pod(2, big);
        let refused = scheduler.on_pod(&second, uid, false, now);
        assert_eq!(
            messages(&refused),
            ["0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {role: db}."]
        );
        assert!(
            scheduler.retry_all(now).is_empty(),
            "the same refusal is told once"
        );
        assert_eq!(
            targets(&scheduler.on_node(&node("b", json!([])), false, now)),
            ["b"],
            "it fits when the taint goes"
        );
    }

    #[test]
    fn a_pod_of_a_daemonset_looks_at_its_node_alone() {
        let now = Timestamp::UNIX_EPOCH;
        let mut scheduler = Scheduler::default();
        let field = json!({"key": "metadata.name", "operator": "In", "values": ["b"]});
        let term = json!({"nodeSelectorTerms": [{"matchFields": [field]}]});
        let affinity =
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
        scheduler.on_node(&node("a", json!([])), false, now);
        let (waiting, uid) = pod(1, affinity);
        assert!(targets(&scheduler.on_pod(&waiting, uid, false, now)).is_empty());
        assert_eq!(
            targets(&scheduler.on_node(&node("b", json!([])), false, now)),
            ["b"]
        );
    }
}
