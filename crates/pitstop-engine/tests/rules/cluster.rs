//! A cluster small enough to be written in one line, in the notation of daemonset.md, and a model of what happens to it.
//!
//! `n1R old+, n2N new- T` is a Ready node `n1` with an available pod at the old revision, and a node `n2` that is not
//! ready, with an unavailable pod at the new revision and a terminating one. `.` is no pod; `v3+` names a version; `*old+`
//! has the readiness gate of pods that can be updated in place.
//!
//! A cluster starts from a healthy workload in the middle of a rollout from `v1` to `v2` that its own controller has
//! observed; a test changes what it is about. Times are seconds after [`BASE`].

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::placement::{NO_EXECUTE, NO_SCHEDULE, Taint};
use pitstop_api::selector::{LabelSelector, Labels};
use pitstop_api::view::{
    ControllerRef, DaemonSetStatus, DaemonSetView, JobView, NodeNames, NodeSlot, NodeView, OwnerKind, Phase,
    PodView, ReadyCondition, RevisionView, StrategyType, Uid, UpdateStrategy,
};
use pitstop_api::{keys, reasons};
use pitstop_engine::daemonset::{advanced, native};
use pitstop_engine::instances::PatchWhy;
use pitstop_engine::plan::{Action, OwnedObject, Plan, Reason};
use pitstop_engine::revision::{data_of, hash_of, labels_of, name_of};
use pitstop_engine::snapshot::{CreatedPod, DeletedPod, FailedPods, InFlight, Nodes, Pull, Snapshot};
use serde_json::{Value, json};

use crate::gated::{self, gated, write};

/// Second 0 of every test.
pub(crate) const BASE: &str = "2026-01-01T00:00:00Z";
/// The uid of the DaemonSet; everything else counts up from it.
pub(crate) const OURS: Uid = Uid(1);
/// The uid of some other controller.
pub(crate) const THEIRS: Uid = Uid(2);

/// The moment `seconds` after [`BASE`].
pub(crate) fn at(seconds: i64) -> Timestamp {
    BASE.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

/// Condition Ready with this status since this second.
#[allow(clippy::unnecessary_wraps, reason = "it is what the field of a view holds")]
pub(crate) fn ready(is_true: bool, since: i64) -> Option<ReadyCondition> {
    Some(ReadyCondition {
        is_true,
        since: Some(at(since)),
    })
}

/// The template of a version.
pub(crate) fn template(version: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "agent" } },
        "spec": { "containers": [{ "name": "agent", "image": format!("agent:{version}") }] },
    })
}

/// The hash of a version.
pub(crate) fn hash(version: &str) -> Arc<str> {
    hash_of(&template(version), None).into()
}

/// The state of a cluster as far as decisions about one DaemonSet see it.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) now: Timestamp,
    pub(crate) daemonset: DaemonSetView,
    pub(crate) revisions: Vec<RevisionView>,
    pub(crate) pods: Vec<PodView>,
    pub(crate) names: NodeNames,
    pub(crate) nodes: Vec<Option<Arc<NodeView>>>,
    pub(crate) by_name: Vec<NodeSlot>,
    pub(crate) in_flight: InFlight,
    pub(crate) failed_pods: Vec<FailedPods>,
    /// Jobs that pull images: the Job, are they there, what is wrong.
    pub(crate) pulls: Vec<(JobView, bool, Option<&'static str>)>,
    pub(crate) may_adopt: bool,
    next_uid: u128,
}

impl Cluster {
    /// A DaemonSet under native RollingUpdate, maxUnavailable 1.
    pub(crate) fn native(picture: &str) -> Self {
        let mut cluster = Self {
            now: at(0),
            daemonset: daemonset(),
            revisions: Vec::new(),
            pods: Vec::new(),
            names: NodeNames::default(),
            nodes: Vec::new(),
            by_name: Vec::new(),
            in_flight: InFlight::default(),
            failed_pods: Vec::new(),
            pulls: Vec::new(),
            may_adopt: true,
            next_uid: 100,
        };
        cluster.publish("v1", 1);
        cluster.publish("v2", 2);
        for entry in picture
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
        {
            let mut words = entry.split_whitespace();
            let node = words.next().unwrap();
            let (name, state) = node.split_at(node.len() - 1);
            cluster.add_node(name, state == "R");
            for pod in words.filter(|word| *word != ".") {
                cluster.add_pod(name, pod);
            }
        }
        cluster
    }

    /// `n` Ready nodes that all have this pod, or none for `.`.
    pub(crate) fn native_on(n: usize, pod: &str) -> Self {
        Self::native(&picture_of(n, pod))
    }

    /// A DaemonSet under AdvancedRollingUpdate, max-unavailable 1.
    pub(crate) fn advanced(picture: &str) -> Self {
        Self::native(picture)
            .on_delete()
            .annotation(keys::OPENYURT_UPDATE_STRATEGY, "AdvancedRollingUpdate")
            .annotation(keys::OPENYURT_MAX_UNAVAILABLE, "1")
    }

    /// `n` Ready nodes that all have this pod, under AdvancedRollingUpdate.
    pub(crate) fn advanced_on(n: usize, pod: &str) -> Self {
        Self::advanced(&picture_of(n, pod))
    }

    pub(crate) fn on_delete(mut self) -> Self {
        self.daemonset.strategy = UpdateStrategy {
            kind: StrategyType::OnDelete,
            ..UpdateStrategy::default()
        };
        self
    }

    /// maxUnavailable where the strategy has it: a field of RollingUpdate, else the annotation.
    pub(crate) fn max_unavailable(mut self, value: impl Into<Value>) -> Self {
        let value = value.into();
        if self.daemonset.strategy.kind == StrategyType::RollingUpdate {
            self.daemonset.strategy.max_unavailable = Some(value);
            self
        } else {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.annotation(keys::OPENYURT_MAX_UNAVAILABLE, &text)
        }
    }

    /// maxSurge, and maxUnavailable 0 with it.
    pub(crate) fn max_surge(mut self, value: impl Into<Value>) -> Self {
        self.daemonset.strategy.max_surge = Some(value.into());
        self.max_unavailable(0)
    }

    pub(crate) fn annotation(mut self, key: &str, value: &str) -> Self {
        self.daemonset.annotations.insert(key.into(), value.into());
        self
    }

    pub(crate) fn without_annotation(mut self, key: &str) -> Self {
        self.daemonset.annotations.remove(key);
        self
    }

    pub(crate) fn min_ready_seconds(mut self, seconds: u32) -> Self {
        self.daemonset.min_ready_seconds = seconds;
        self
    }

    pub(crate) fn at(mut self, seconds: i64) -> Self {
        self.now = at(seconds);
        self
    }

    /// Changes what is under the closure, for the one thing that a test is about.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Switches the template to a version; the DaemonSet's own controller has not seen it yet.
    pub(crate) fn edit_template(&mut self, version: &str) {
        self.daemonset.template = Arc::new(template(version));
        self.daemonset.generation += 1;
        let generation = self.daemonset.template_generation().unwrap_or_default() + 1;
        self.daemonset
            .annotations
            .insert(keys::TEMPLATE_GENERATION.into(), generation.to_string());
    }

    /// Switches the template to a version that its own controller has seen.
    pub(crate) fn now_at_version(mut self, version: &str) -> Self {
        self.edit_template(version);
        self.daemonset.status.observed_generation = self.daemonset.generation;
        let next = self.revisions.iter().map(|r| r.revision).max().unwrap_or(0) + 1;
        let hash = hash(version);
        match self.revisions.iter_mut().find(|r| *r.hash() == *hash) {
            Some(known) => known.revision = next,
            None => self.publish(version, next),
        }
        self
    }

    pub(crate) fn publish(&mut self, version: &str, revision: i64) {
        let uid = self.new_uid();
        self.revisions.push(revision_of(uid, version, revision));
    }

    pub(crate) fn new_uid(&mut self) -> Uid {
        self.next_uid += 1;
        Uid(self.next_uid)
    }

    pub(crate) fn add_node(&mut self, name: &str, is_ready: bool) {
        let slot = self.names.slot(name);
        let uid = self.new_uid();
        self.nodes.resize(self.names.len(), None);
        let node = NodeView {
            name: name.into(),
            slot,
            uid,
            resource_version: 1,
            created_at: at(-1800),
            labels: Labels::from([(keys::HOSTNAME.into(), name.into())]),
            taints: if is_ready { Vec::new() } else { not_ready_taints() },
            unschedulable: false,
            ready: ready(is_ready, -1800),
            maintenance: None,
        };
        self.nodes[slot.index()] = Some(Arc::new(node));
        self.sort_nodes();
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        let slot = self.names.slot(name);
        self.nodes[slot.index()] = None;
        self.sort_nodes();
    }

    fn sort_nodes(&mut self) {
        let mut present: Vec<_> = self.nodes.iter().flatten().collect();
        present.sort_by(|a, b| a.name.cmp(&b.name));
        self.by_name = present.into_iter().map(|node| node.slot).collect();
    }

    pub(crate) fn node_mut(&mut self, name: &str) -> &mut NodeView {
        let slot = self.names.slot(name);
        Arc::make_mut(self.nodes[slot.index()].as_mut().unwrap())
    }

    /// The node controller's view of a node that comes or goes: condition and both taints.
    pub(crate) fn set_ready(&mut self, name: &str, is_ready: bool) {
        let since = Some(self.now);
        let node = self.node_mut(name);
        node.ready = Some(ReadyCondition {
            is_true: is_ready,
            since,
        });
        let added = not_ready_taints();
        node.taints.retain(|taint| !added.contains(taint));
        if !is_ready {
            node.taints.extend(added);
        }
    }

    /// Adds a pod by its word: `old+`, `new-`, `T`, `v3+`, `*old+`; `!old+` has the label `working=true`.
    pub(crate) fn add_pod(&mut self, node: &str, word: &str) -> &mut PodView {
        let slot = self.names.slot(node);
        self.nodes.resize(self.names.len(), None);
        let (is_gated, word) = word.strip_prefix('*').map_or((false, word), |word| (true, word));
        let (works, word) = word.strip_prefix('!').map_or((false, word), |word| (true, word));
        let (version, sign) = match word {
            "T" => ("old", "T"),
            word => word.split_at(word.len() - 1),
        };
        let version = match version {
            "old" => "v1",
            "new" => "v2",
            other => other,
        };
        let generation = version.trim_start_matches('v').parse().unwrap();
        let uid = self.new_uid();
        let created_at = -1000 + i64::try_from(self.pods.len()).unwrap();
        let mut pod = pod(uid, slot, &hash(version), Some(generation), at(created_at));
        pod.phase = Phase::Running;
        pod.ready = ready(sign != "-", -500);
        pod.in_place = is_gated.then(|| Arc::new(gated(version)));
        if works {
            pod.labels.insert("working".into(), "true".into());
        }
        if sign == "T" {
            pod.deleted_at = Some(at(-10));
        }
        self.pods.push(pod);
        self.pods.last_mut().unwrap()
    }

    /// The first pod of a node.
    pub(crate) fn pod_on(&mut self, node: &str) -> &mut PodView {
        let slot = self.names.slot(node);
        self.pods.iter_mut().find(|pod| pod.node == Some(slot)).unwrap()
    }

    pub(crate) fn snapshot(&self) -> Snapshot<'_> {
        self.snapshot_of(&self.pods)
    }

    /// The snapshot with pods as a store showed them at some time.
    pub(crate) fn snapshot_of<'a>(&'a self, pods: &'a [PodView]) -> Snapshot<'a> {
        Snapshot {
            now: self.now,
            daemonset: &self.daemonset,
            revisions: self.revisions.iter().collect(),
            pods: pods.iter().collect(),
            nodes: Nodes {
                names: &self.names,
                by_slot: &self.nodes,
                by_name: &self.by_name,
            },
            in_flight: self.in_flight.clone(),
            failed_pods: &self.failed_pods,
            pulls: Some(
                self.pulls
                    .iter()
                    .map(|(job, has_images, trouble)| Pull {
                        job,
                        has_images: *has_images,
                        trouble: *trouble,
                    })
                    .collect(),
            ),
            may_adopt: self.may_adopt,
        }
    }

    pub(crate) fn plan_native(&self) -> Plan {
        native::plan(&self.snapshot())
    }

    pub(crate) fn plan_advanced(&self) -> Plan {
        advanced::plan(&self.snapshot())
    }

    /// What the native controller does to pods now, in the words of the spec.
    pub(crate) fn native_does(&self) -> String {
        self.words(&self.plan_native())
    }

    /// What AdvancedRollingUpdate does to pods now, in the words of the spec.
    pub(crate) fn advanced_does(&self) -> String {
        self.words(&self.plan_advanced())
    }

    /// Pod actions by node: `del n1 n2; create n3`, or `nothing`.
    pub(crate) fn words(&self, plan: &Plan) -> String {
        let mut by_verb: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for action in &plan.actions {
            let (verb, node) = match action {
                Action::DeletePod { node, .. } => ("del", node.map_or("?", |slot| self.names.name(slot))),
                Action::CreatePod { node, .. } => ("create", self.names.name(*node)),
                Action::PatchPod { uid, why, .. } => {
                    let pod = self.pods.iter().find(|pod| pod.uid == *uid).unwrap();
                    let verb = match why {
                        PatchWhy::Refresh => "refresh",
                        _ => "patch",
                    };
                    (verb, self.names.name(pod.node.unwrap()))
                }
                _ => continue,
            };
            by_verb.entry(verb).or_default().push(node);
        }
        let phrases: Vec<String> = by_verb
            .iter_mut()
            .rev()
            .map(|(verb, nodes)| {
                nodes.sort_unstable();
                format!("{verb} {}", nodes.join(" "))
            })
            .collect();
        if phrases.is_empty() {
            "nothing".into()
        } else {
            phrases.join("; ")
        }
    }

    /// The reason for the first pod of a node, or for the node without a pod.
    pub(crate) fn reason(&self, plan: &Plan, node: &str) -> Option<Reason> {
        let slot = self.names.get(node);
        let waiting = plan.waiting.iter().find(|w| w.node == slot);
        waiting.map(|w| w.reason.clone())
    }

    /// The effects of a plan on the API server, each with its preconditions; the answers go into the ledger.
    pub(crate) fn apply(&mut self, plan: &Plan) {
        for action in &plan.actions {
            self.apply_one(action);
        }
        if let Some(status) = &plan.status {
            self.daemonset.status = status.clone();
        }
        for failed in &plan.failed_pods {
            self.failed_pods.retain(|known| known.node != failed.node);
            self.failed_pods.push(*failed);
        }
    }

    /// The effect of an action that nobody hears of.
    pub(crate) fn carry_out(&mut self, action: &Action) {
        let ours = self.in_flight.clone();
        self.apply_one(action);
        self.in_flight = ours;
    }

    fn apply_one(&mut self, action: &Action) {
        match action {
            Action::DeletePod {
                uid,
                resource_version,
                node,
                ..
            } => {
                let now = self.now;
                let found = self.pods.iter_mut().find(|pod| pod.uid == *uid);
                let holds = |pod: &PodView| resource_version.is_none_or(|v| v == pod.resource_version);
                if let Some(pod) = found.filter(|pod| holds(pod)) {
                    pod.deleted_at.get_or_insert(now);
                    pod.resource_version += 1;
                    let (uid, node) = (*uid, *node);
                    self.in_flight.deleted.push(DeletedPod { uid, node, at: now });
                }
            }
            Action::PatchPod {
                uid,
                resource_version,
                writes,
                ..
            } => {
                let found = self.pods.iter_mut().find(|pod| pod.uid == *uid);
                if let Some(pod) = found.filter(|pod| pod.resource_version == *resource_version) {
                    write(pod, writes);
                }
            }
            Action::CreatePod { node, hash } => {
                let uid = self.new_uid();
                let pod = pod(uid, *node, hash, self.daemonset.template_generation(), self.now);
                self.in_flight.created.push(CreatedPod {
                    uid,
                    name: Arc::clone(&pod.name),
                    node: *node,
                    hash: Arc::clone(hash),
                    at: self.now,
                });
                self.pods.push(pod);
            }
            Action::RelabelPod { uid, hash, .. } => {
                if let Some(pod) = self.pods.iter_mut().find(|pod| pod.uid == *uid) {
                    pod.labels.insert(keys::REVISION_HASH.into(), hash.to_string());
                    pod.resource_version += 1;
                }
            }
            Action::SetPodCondition {
                uid, kind, condition, ..
            } => {
                if let Some(pod) = self.pods.iter_mut().find(|pod| pod.uid == *uid) {
                    let upgrade = Arc::make_mut(pod.upgrade.get_or_insert_default());
                    let place = match *kind {
                        reasons::NODE_LOST => &mut upgrade.node_lost,
                        reasons::POD_IMAGE_READY => &mut upgrade.image_ready,
                        _ => &mut upgrade.need_upgrade,
                    };
                    *place = Some(condition.clone());
                    pod.resource_version += 1;
                }
            }
            Action::SetCondition { kind, condition } => {
                let conditions = &mut self.daemonset.conditions;
                conditions.insert((*kind).to_owned(), condition.clone());
            }
            Action::RollBack { hash, data, .. } => {
                self.daemonset.template = Arc::new(data["spec"]["template"].clone());
                self.daemonset.generation += 1;
                self.daemonset.status.observed_generation = self.daemonset.generation;
                let next = self.revisions.iter().map(|r| r.revision).max().unwrap() + 1;
                for known in self.revisions.iter_mut().filter(|r| r.hash() == &**hash) {
                    known.revision = next;
                }
            }
            Action::CreateJob(_) | Action::DeleteJob { .. } => {}
            Action::Adopt { object, uid, .. } => self.set_controller(*object, *uid, Some(OURS)),
            Action::Release { object, uid, .. } => self.set_controller(*object, *uid, None),
            Action::CreateRevision(new) => {
                let uid = self.new_uid();
                let mut revision = revision_of(uid, "v0", new.revision);
                revision.name = new.name.as_str().into();
                revision.labels =
                    Arc::new(Labels::from([(keys::REVISION_HASH.into(), new.hash.to_string())]));
                Arc::make_mut(&mut revision.labels).insert("app".into(), "agent".into());
                revision.data = Arc::new(new.data.clone());
                self.revisions.push(revision);
            }
            Action::RenumberRevision { uid, revision, .. } => {
                for known in self.revisions.iter_mut().filter(|r| r.uid == *uid) {
                    known.revision = *revision;
                }
            }
            Action::LabelRevision { uid, hash, .. } => {
                for known in self.revisions.iter_mut().filter(|r| r.uid == *uid) {
                    Arc::make_mut(&mut known.labels).insert(keys::REVISION_HASH.into(), hash.to_string());
                }
            }
            Action::DeleteRevision { uid, .. } => self.revisions.retain(|r| r.uid != *uid),
        }
    }

    fn set_controller(&mut self, object: OwnedObject, uid: Uid, controller: Option<Uid>) {
        let controller = controller.map(|uid| ControllerRef {
            uid,
            kind: OwnerKind::DaemonSet,
        });
        match object {
            OwnedObject::Pod => {
                for pod in self.pods.iter_mut().filter(|pod| pod.uid == uid) {
                    pod.controller = controller;
                    pod.resource_version += 1;
                }
            }
            OwnedObject::Revision => {
                for revision in self.revisions.iter_mut().filter(|r| r.uid == uid) {
                    revision.controller = controller;
                }
            }
        }
    }

    /// The kubelet of a node: terminating pods go, others become ready unless something ails them. One that is cut off
    /// does nothing.
    pub(crate) fn kubelet(&mut self, slot: NodeSlot) {
        let node = self.nodes.get(slot.index()).and_then(Option::as_ref);
        if !node.is_some_and(|node| node.is_ready()) {
            return;
        }
        let now = self.now;
        self.pods
            .retain(|pod| pod.node != Some(slot) || pod.deleted_at.is_none());
        for pod in self.pods.iter_mut().filter(|pod| pod.node == Some(slot)) {
            gated::kubelet(pod, now);
        }
        let waiting = |pod: &&mut PodView| {
            pod.node == Some(slot)
                && pod.in_place.is_none()
                && !pod.is_ready()
                && !pod.is_terminal()
                && pod.trouble.is_none()
        };
        for pod in self.pods.iter_mut().filter(waiting) {
            pod.phase = Phase::Running;
            pod.bound = true;
            pod.ready = Some(ReadyCondition {
                is_true: true,
                since: Some(now),
            });
            pod.resource_version += 1;
        }
    }

    /// Every kubelet, and the collector of pods on nodes that do not exist. Did any of them do anything?
    pub(crate) fn kubelets(&mut self) -> bool {
        let before = self.pods.clone();
        for slot in self.by_name.clone() {
            self.kubelet(slot);
        }
        let nodes = &self.nodes;
        let exists = |slot: NodeSlot| nodes.get(slot.index()).is_some_and(Option::is_some);
        self.pods.retain(|pod| pod.node.is_none_or(exists));
        self.pods != before
    }

    /// The stores catch up: nothing of ours is unseen.
    pub(crate) fn stores_catch_up(&mut self) {
        self.in_flight = InFlight::default();
    }

    pub(crate) fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// What happens from here while all kubelets do their work within a second: one line for each plan that touches a
    /// pod, until nothing happens any more.
    pub(crate) fn story(&mut self, controllers: &[fn(&Snapshot<'_>) -> Plan]) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..1000 {
            let mut acted = false;
            for plan in controllers {
                let plan = plan(&self.snapshot());
                let words = self.words(&plan);
                acted |= !plan.actions.is_empty() || plan.status.is_some() || plan.requeue_after.is_some();
                if words != "nothing" {
                    lines.push(words);
                }
                self.apply(&plan);
                self.stores_catch_up();
            }
            acted |= self.kubelets();
            self.pass(1);
            if !acted {
                return lines;
            }
        }
        panic!("it never settles: {lines:?}");
    }

    pub(crate) fn native_story(&mut self) -> Vec<String> {
        self.story(&[native::plan])
    }

    pub(crate) fn advanced_story(&mut self) -> Vec<String> {
        self.story(&[native::plan, advanced::plan])
    }
}

/// Names of pods in a plan's deletes.
pub(crate) fn deleted_uids(plan: &Plan) -> Vec<Uid> {
    let uid = |action: &Action| match action {
        Action::DeletePod { uid, .. } => Some(*uid),
        _ => None,
    };
    plan.actions.iter().filter_map(uid).collect()
}

/// Reasons of the events of a plan.
pub(crate) fn events(plan: &Plan) -> Vec<&str> {
    plan.events.iter().map(|event| event.reason).collect()
}

fn picture_of(n: usize, pod: &str) -> String {
    let width = n.to_string().len();
    let entries: Vec<String> = (1..=n).map(|i| format!("n{i:0width$}R {pod}")).collect();
    entries.join(", ")
}

/// What the node controller puts on a node that is not ready.
pub(crate) fn not_ready_taints() -> Vec<Taint> {
    let taint = |effect: &str| Taint {
        key: keys::TAINT_NOT_READY.into(),
        value: String::new(),
        effect: effect.into(),
    };
    vec![taint(NO_SCHEDULE), taint(NO_EXECUTE)]
}

fn daemonset() -> DaemonSetView {
    DaemonSetView {
        namespace: "default".into(),
        name: "agent".into(),
        uid: OURS,
        resource_version: 1,
        generation: 2,
        deleted_at: None,
        labels: Labels::new(),
        annotations: Labels::from([(keys::TEMPLATE_GENERATION.into(), "2".into())]),
        selector: LabelSelector {
            match_labels: Labels::from([("app".into(), "agent".into())]),
            ..LabelSelector::default()
        },
        template: Arc::new(template("v2")),
        placement: pitstop_api::placement::NodeConstraints::default(),
        strategy: UpdateStrategy::default(),
        min_ready_seconds: 0,
        revision_history_limit: 10,
        status: DaemonSetStatus {
            observed_generation: 2,
            ..DaemonSetStatus::default()
        },
        conditions: BTreeMap::new(),
        advanced: None,
    }
}

fn revision_of(uid: Uid, version: &str, revision: i64) -> RevisionView {
    let template = template(version);
    let hash = hash_of(&template, None);
    let labels = labels_of(&template, &hash);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    RevisionView {
        name: name_of("agent", &hash).into(),
        uid,
        resource_version: 1,
        labels: Arc::new(labels.iter().map(|(k, v)| (k.clone(), text(v))).collect()),
        annotations: Arc::default(),
        controller: Some(ControllerRef {
            uid: OURS,
            kind: OwnerKind::DaemonSet,
        }),
        is_terminating: false,
        created_at: at(-3600),
        revision,
        data: Arc::new(data_of(&template)),
    }
}

fn pod(uid: Uid, node: NodeSlot, hash: &str, generation: Option<i64>, created_at: Timestamp) -> PodView {
    let mut labels = Labels::from([
        ("app".into(), "agent".into()),
        (keys::REVISION_HASH.into(), hash.into()),
    ]);
    if let Some(generation) = generation {
        labels.insert(keys::POD_TEMPLATE_GENERATION.into(), generation.to_string());
    }
    PodView {
        namespace: "default".into(),
        name: format!("agent-{}", uid.0).into(),
        uid,
        resource_version: 1,
        labels: labels.into(),
        controller: Some(ControllerRef {
            uid: OURS,
            kind: OwnerKind::DaemonSet,
        }),
        node: Some(node),
        bound: true,
        created_at,
        deleted_at: None,
        phase: Phase::Pending,
        ready: None,
        images: Arc::new([]),
        trouble: None,
        are_containers_ready: true,
        has_images: false,
        upgrade: None,
        in_place: None,
    }
}
