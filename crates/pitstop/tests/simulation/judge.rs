//! The invariants, checked on the true history after every write.
//!
//! Source: design.md section 5, S1, S2, S3, S7 and S8.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use pitstop_api::{keys, reasons};
use pitstop_controller::api::Resource;
use serde_json::Value;

use crate::history::Entry;
use crate::instances::WORKS;
use crate::objects::{is_ready, node_of, owner, text};

/// What a decision is based on may be this old: the longest lag of a watch, and a write that came late.
const OLDEST_VIEW: SignedDuration = SignedDuration::from_secs(25);

/// Nodes of the canary, as a label selector.
pub(crate) const CANARY: &str = "kubernetes.io/hostname in (n1,n2,n3,n4)";
/// Their names.
pub(crate) const CANARIES: [&str; 4] = ["n1", "n2", "n3", "n4"];

/// Pods whose label [`WORKS`] says so are left alone.
pub(crate) const PROTECTION: &str =
    r#"{"podSelector":{"matchLabels":{"example.com/works":"true"}},"unknownPolicy":"Idle"}"#;
/// What holds pods back.
const HOLDS: [&str; 4] = [
    keys::PAUSED,
    keys::CANARY_NODES,
    keys::PARTITION,
    keys::UPDATE_PROTECTION,
];

/// What is judged by.
pub(crate) struct Rules {
    /// How many pods may be down because of us.
    pub(crate) allowed: usize,
    /// Are nodes that are not Ready left alone, and cost nothing?
    pub(crate) passes_over: bool,
    /// Do only those nodes count that take part in the rollout? Of DaemonSets of `apps.kruise.io` a partition and a selector
    /// say which. Source: daemonset.md D2.
    pub(crate) only_those_that_take_part: bool,
    /// Uids of the pods that we deleted.
    pub(crate) ours: BTreeSet<String>,
    /// Of those: that were deleted for a rollout.
    pub(crate) upgrades: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct Pod {
    name: String,
    owner: String,
    node: String,
    hash: String,
    is_ready: bool,
    /// Do its labels say that it works?
    works: bool,
    /// Is it out of service for an update in place?
    is_updating: bool,
    is_terminating: bool,
    is_over: bool,
}

/// Everything that must not have happened.
pub(crate) fn judge(entries: &[Entry], rules: &Rules) -> Vec<String> {
    let mut court = Court {
        rules,
        pods: BTreeMap::new(),
        nodes: BTreeMap::new(),
        revisions: BTreeMap::new(),
        daemonsets: BTreeMap::new(),
        holds: BTreeMap::new(),
        debts: BTreeSet::new(),
        violations: Vec::new(),
    };
    for entry in entries {
        court.hear(entry);
    }
    court.violations
}

struct Court<'a> {
    rules: &'a Rules,
    /// By uid.
    pods: BTreeMap<String, Pod>,
    /// Is it Ready, and since when is it so?
    nodes: BTreeMap<String, (bool, Timestamp)>,
    /// The template that each revision stands for, by its hash.
    revisions: BTreeMap<String, Value>,
    /// The template of each DaemonSet, by uid, and since when it is so.
    daemonsets: BTreeMap<String, (Value, Timestamp)>,
    /// Each annotation of each DaemonSet that holds pods back, by uid and key, and since when it says so.
    holds: BTreeMap<(String, &'static str), (Value, Timestamp)>,
    /// Nodes on which we took down a pod that was available, and none is available yet.
    debts: BTreeSet<String>,
    violations: Vec<String>,
}

impl Court<'_> {
    fn hear(&mut self, entry: &Entry) {
        let object = &entry.object;
        let is_gone = entry.event == "DELETED";
        match entry.kind {
            Resource::Pods => self.hear_pod(entry, is_gone),
            Resource::Nodes => {
                let name = text(&object["metadata"]["name"]);
                if is_gone {
                    self.debts.remove(&name);
                    self.nodes.remove(&name);
                    return;
                }
                let now = is_ready(object);
                let (was, since) = self.nodes.entry(name).or_insert((now, entry.at));
                if *was != now {
                    (*was, *since) = (now, entry.at);
                }
            }
            Resource::ControllerRevisions if !is_gone => {
                let hash = text(&object["metadata"]["labels"][keys::REVISION_HASH]);
                self.revisions
                    .insert(hash, images(&object["data"]["spec"]["template"]));
            }
            Resource::DaemonSets | Resource::AdvancedDaemonSets => {
                let (uid, template) = (
                    text(&object["metadata"]["uid"]),
                    images(&object["spec"]["template"]),
                );
                for key in HOLDS {
                    let value = &held_by(object, key);
                    let known = self.holds.entry((uid.clone(), key));
                    let known = known.or_insert_with(|| (value.clone(), entry.at));
                    if known.0 != *value {
                        *known = (value.clone(), entry.at);
                    }
                }
                let known = self
                    .daemonsets
                    .entry(uid)
                    .or_insert_with(|| (template.clone(), entry.at));
                if known.0 != template {
                    *known = (template, entry.at);
                }
            }
            _ => {}
        }
    }

    fn hear_pod(&mut self, entry: &Entry, is_gone: bool) {
        let object = &entry.object;
        let uid = text(&object["metadata"]["uid"]);
        let phase = object["status"]["phase"].as_str().unwrap_or_default();
        let pod = Pod {
            name: text(&object["metadata"]["name"]),
            owner: owner(object),
            node: node_of(object),
            hash: text(&object["metadata"]["labels"][keys::REVISION_HASH]),
            is_ready: is_ready(object) && !is_updating(object),
            works: object["metadata"]["labels"][WORKS] == "true",
            is_updating: is_updating(object),
            is_terminating: is_gone || !object["metadata"]["deletionTimestamp"].is_null(),
            is_over: matches!(phase, "Failed" | "Succeeded"),
        };
        let before = self.pods.get(&uid).cloned();
        let begins_to_end = pod.is_terminating && before.as_ref().is_none_or(|before| !before.is_terminating);
        let is_upgrade = pod.is_updating || self.rules.upgrades.contains(&uid);
        let leaves = pod.is_updating && before.as_ref().is_some_and(|before| !before.is_updating);
        let is_ours = leaves || (begins_to_end && self.rules.ours.contains(&uid));
        if let (true, Some(before)) = (is_ours, before) {
            self.judge_deletion(entry, &before, is_upgrade);
        }
        if is_gone {
            self.pods.remove(&uid);
            return;
        }
        if pod.is_ready && !pod.is_terminating {
            self.debts.remove(&pod.node);
        }
        let (owner, node) = (pod.owner.clone(), pod.node.clone());
        self.pods.insert(uid, pod);
        self.judge_identity(entry, &owner, &node);
    }

    /// We took down this pod, which was so right before: deleted it, or began to update it in place.
    fn judge_deletion(&mut self, entry: &Entry, pod: &Pod, is_upgrade: bool) {
        let Pod { name, node, .. } = pod;
        let Some((template, since)) = self.daemonsets.get(&pod.owner) else {
            self.violation("S7", entry, &format!("{name} belongs to somebody else"));
            return;
        };
        if !self.nodes.contains_key(node) {
            // Not an upgrade: what has no node has no place.
            return;
        }
        let is_old_news = |since: Timestamp| entry.at.duration_since(since) > OLDEST_VIEW;
        let is_up_to_date = self.revisions.get(&pod.hash) == Some(template);
        if is_up_to_date && pod.is_ready && is_old_news(*since) {
            self.violation("S2", entry, &format!("{name} was up to date and Ready"));
        }
        if let Some((false, since)) = self.nodes.get(node)
            && self.rules.passes_over
            && is_old_news(*since)
        {
            self.violation("S3", entry, &format!("{name} was on {node}, which is not Ready"));
        }
        if !pod.is_ready {
            return;
        }
        if is_upgrade && !is_up_to_date {
            self.judge_holds(entry, pod);
        }
        self.debts.insert(node.clone());
        // A node that has just come back may not be known to be back. On one that is away the native model counts the
        // pods that are there, but asks for none: its taint keeps them away.
        let has_pod = |node: &String| {
            self.pods
                .values()
                .any(|other| other.owner == pod.owner && other.node == *node)
        };
        let counts = |node: &&String| match self.nodes.get(*node) {
            Some((true, since)) if is_old_news(*since) => true,
            Some(_) => !self.rules.passes_over && has_pod(node),
            None => false,
        };
        let takes_part = |node: &&String| !self.may_be_left_out(entry, &pod.owner, node);
        let down = self.debts.iter().filter(counts).filter(takes_part);
        let down: Vec<&String> = down.collect();
        if down.len() > self.rules.allowed {
            let what = format!("with {name}, {down:?} are down because of us");
            self.violation("S1", entry, &what);
        }
    }

    /// Does a partition or a selector leave this node out, or did it as far as we may know? Nodes that have a pod of the
    /// newest version, or none, always take part.
    fn may_be_left_out(&self, entry: &Entry, owner: &str, node: &str) -> bool {
        if !self.rules.only_those_that_take_part {
            return false;
        }
        let template = self.daemonsets.get(owner).map(|(template, _)| template);
        let is_narrow = |key: &'static str| {
            let known = self.holds.get(&(owner.to_owned(), key));
            known.is_some_and(|(value, since)| {
                !value.is_null() || entry.at.duration_since(*since) <= OLDEST_VIEW
            })
        };
        let mut there = self
            .pods
            .values()
            .filter(|pod| pod.owner == owner && pod.node == node && !pod.is_terminating)
            .peekable();
        let is_old = there.peek().is_some() && there.all(|pod| self.revisions.get(&pod.hash) != template);
        is_old && (is_narrow(keys::CANARY_NODES) || is_narrow(keys::PARTITION))
    }

    /// What somebody wrote on the DaemonSet holds this pod where it is.
    fn judge_holds(
        &mut self,
        entry: &Entry,
        Pod {
            name,
            owner,
            node,
            works,
            ..
        }: &Pod,
    ) {
        let says = |key: &'static str| {
            let (value, since) = self.holds.get(&(owner.clone(), key))?;
            let is_known = entry.at.duration_since(*since) > OLDEST_VIEW;
            value.as_str().filter(|_| is_known)
        };
        let is_paused = says(keys::PAUSED) == Some("true");
        let is_outside = says(keys::CANARY_NODES).is_some() && !CANARIES.contains(&node.as_str());
        let is_protected = *works && says(keys::UPDATE_PROTECTION).is_some();
        if is_paused {
            self.violation(
                "S5",
                entry,
                &format!("{name} is updated, and the rollout is paused"),
            );
        }
        if is_outside {
            self.violation(
                "S5",
                entry,
                &format!("{name} is updated on {node}, outside the canary"),
            );
        }
        if is_protected {
            self.violation("S5", entry, &format!("{name} is updated, and it works"));
        }
    }

    fn judge_identity(&mut self, entry: &Entry, owner: &str, node: &str) {
        if !self.daemonsets.contains_key(owner) {
            return;
        }
        let there = self
            .pods
            .values()
            .filter(|pod| pod.owner == owner && pod.node == node && !pod.is_terminating && !pod.is_over);
        let names: Vec<String> = there.map(|pod| pod.name.clone()).collect();
        if names.len() > 1 {
            self.violation("S8", entry, &format!("{names:?} run on {node} at once"));
        }
    }

    fn violation(&mut self, invariant: &str, entry: &Entry, what: &str) {
        self.violations.push(format!("{invariant} at {entry}: {what}"));
    }
}

/// What a key says that holds pods; those of `apps.kruise.io` have fields for it.
fn held_by(daemonset: &Value, key: &str) -> Value {
    if daemonset["apiVersion"] == "apps/v1" {
        return daemonset["metadata"]["annotations"][key].clone();
    }
    let rolling = &daemonset["spec"]["updateStrategy"]["rollingUpdate"];
    let is_held = match key {
        keys::PAUSED => rolling["paused"] == true,
        keys::PARTITION => !rolling["partition"].is_null(),
        keys::CANARY_NODES => rolling["selector"].is_object(),
        // It has no counterpart.
        _ => false,
    };
    is_held.then_some("true").into()
}

/// What of a template the story changes.
fn images(template: &Value) -> Value {
    let containers = template["spec"]["containers"].as_array();
    let images = containers
        .into_iter()
        .flatten()
        .map(|container| container["image"].clone());
    images.collect()
}

/// Is the pod out of service for an update in place?
fn is_updating(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one["type"] == reasons::INPLACE_UPDATE_READY && one["status"] == "False")
}
