//! What is written to a pod, before it is cut into requests.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pitstop_api::reasons;
use pitstop_api::view::{PodCondition, Resources};
use serde_json::{Map, Value, json};

use super::Live;

/// Everything that one decision changes about one pod.
///
/// Changes that several rules want can be put together, so that a pod is written as rarely as possible: labels and
/// annotations travel with a condition, since the status subresource of pods takes them too.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Change {
    /// Strategic merge patch of `metadata`.
    pub metadata: Map<String, Value>,
    /// Conditions to set, by type.
    pub conditions: BTreeMap<&'static str, PodCondition>,
    /// Images to set, by container.
    pub images: BTreeMap<String, String>,
    /// Resources to set, by container.
    pub resources: BTreeMap<String, Resources>,
}

/// One request. Each takes the resourceVersion that the one before it left as its precondition.
#[derive(Debug, Clone, PartialEq)]
pub struct PodWrite {
    /// Where it goes.
    pub endpoint: Endpoint,
    /// Strategic merge patch.
    pub patch: Value,
}

/// A part of the API of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// The pod itself.
    Pod,
    /// Subresource `status`.
    Status,
    /// Subresource `resize`.
    Resize,
}

impl Change {
    /// Does it change nothing?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Sets a label.
    pub fn label(&mut self, key: &str, value: &str) {
        self.set("labels", key, Value::from(value));
    }

    /// Sets an annotation.
    pub fn annotation(&mut self, key: &str, value: &str) {
        self.set("annotations", key, Value::from(value));
    }

    /// Takes an annotation off.
    pub fn drop_annotation(&mut self, key: &str) {
        self.set("annotations", key, Value::Null);
    }

    fn set(&mut self, map: &str, key: &str, value: Value) {
        let entry = self.metadata.entry(map).or_insert_with(|| json!({}));
        if let Some(map) = entry.as_object_mut() {
            map.insert(key.to_owned(), value);
        }
    }

    /// Sets a condition.
    pub fn condition(&mut self, kind: &'static str, condition: PodCondition) {
        self.conditions.insert(kind, condition);
    }

    /// Adds what another rule changes; where both change the same, the other wins.
    pub fn merge(&mut self, other: Self) {
        merge_metadata(&mut self.metadata, other.metadata);
        self.conditions.extend(other.conditions);
        self.images.extend(other.images);
        self.resources.extend(other.resources);
    }

    /// The requests, in their order.
    ///
    /// A pod is out of service before its containers change: the status goes first. Where no container changes, one
    /// request carries metadata and conditions together. Source: inplace.md 4.1, 13.3.
    pub fn writes(self, live: Live<'_>, now: Timestamp) -> Vec<PodWrite> {
        let mut writes = Vec::new();
        let mut metadata = self.metadata;
        let conditions: Vec<Value> = with_ready(&self.conditions, live, now)
            .iter()
            .map(|(kind, condition)| condition_json(kind, condition))
            .collect();
        if !conditions.is_empty() {
            let mut patch = Map::from_iter([("status".to_owned(), json!({ "conditions": conditions }))]);
            if self.images.is_empty() && !metadata.is_empty() {
                patch.insert(
                    "metadata".to_owned(),
                    Value::Object(std::mem::take(&mut metadata)),
                );
            }
            writes.push(PodWrite {
                endpoint: Endpoint::Status,
                patch: Value::Object(patch),
            });
        }
        let mut patch = Map::new();
        if !metadata.is_empty() {
            patch.insert("metadata".to_owned(), Value::Object(metadata));
        }
        if !self.images.is_empty() {
            let containers = self.images.iter();
            let containers: Vec<Value> = containers
                .map(|(name, image)| json!({ "name": name, "image": image }))
                .collect();
            patch.insert("spec".to_owned(), json!({ "containers": containers }));
        }
        if !patch.is_empty() {
            writes.push(PodWrite {
                endpoint: Endpoint::Pod,
                patch: Value::Object(patch),
            });
        }
        writes.extend(resize(live, &self.resources));
        writes
    }
}

/// Puts one strategic merge patch of metadata on top of another.
pub(super) fn merge_metadata(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(into)), Value::Object(from)) => into.extend(from),
            (Some(Value::Array(into)), Value::Array(from)) if !key.starts_with("$setElementOrder") => {
                let added: Vec<Value> = from.into_iter().filter(|item| !into.contains(item)).collect();
                into.extend(added);
            }
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// The request that resizes containers: only cpu and memory, and only what differs from the pod.
///
/// Source: inplace.md 4.1.
fn resize(live: Live<'_>, wanted: &BTreeMap<String, Resources>) -> Option<PodWrite> {
    let mut containers = Vec::new();
    for container in &live.view.spec.containers {
        let Some(wanted) = wanted.get(&*container.name) else {
            continue;
        };
        let missing = missing_resources(&container.resources, wanted);
        if !missing.is_empty() {
            containers.push(json!({ "name": container.name, "resources": missing }));
        }
    }
    (!containers.is_empty()).then(|| PodWrite {
        endpoint: Endpoint::Resize,
        patch: json!({ "spec": { "containers": containers } }),
    })
}

/// The cpu and memory of `wanted` that differ from what is there.
pub(super) fn missing_resources(present: &Resources, wanted: &Resources) -> Resources {
    let missing = |present: &pitstop_api::view::Quantities, wanted: &pitstop_api::view::Quantities| {
        let is_same = |name: &str, value: &str| {
            present
                .get(name)
                .is_some_and(|have| super::quantity::are_equal(have, value))
        };
        wanted
            .iter()
            .filter(|(name, value)| matches!(&***name, "cpu" | "memory") && !is_same(name, value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    Resources {
        limits: missing(&present.limits, &wanted.limits),
        requests: missing(&present.requests, &wanted.requests),
    }
}

/// The conditions, and with one of a readiness gate that is False, condition Ready: endpoints do not wait for the kubelet.
///
/// Only where all containers are ready, since otherwise the kubelet says another reason. That it becomes True again is the
/// kubelet's to say. Source: inplace.md 5.2. Differs from upstream, which writes no time of the transition.
fn with_ready<'a>(
    conditions: &'a BTreeMap<&'static str, PodCondition>,
    live: Live<'_>,
    now: Timestamp,
) -> Vec<(&'a str, PodCondition)> {
    let mut all: Vec<(&str, PodCondition)> = conditions
        .iter()
        .map(|(kind, condition)| (*kind, condition.clone()))
        .collect();
    let view = live.view;
    let is_one_false = conditions
        .iter()
        .any(|(kind, condition)| !condition.is_true() && view.has_gate(kind));
    if is_one_false && live.pod.is_ready() && live.pod.are_containers_ready {
        let known = [
            (reasons::INPLACE_UPDATE_READY, &view.update_ready),
            (reasons::KRUISE_POD_READY, &view.kruise_ready),
        ];
        let mut messages = Vec::new();
        for (kind, present) in known.into_iter().filter(|(kind, _)| view.has_gate(kind)) {
            match conditions.get(kind).or(present.as_ref()) {
                Some(condition) if condition.is_true() => {}
                Some(condition) => messages.push(format!(
                    "the status of pod readiness gate \"{kind}\" is not \"True\", but {}",
                    condition.status.as_str()
                )),
                None => messages.push(format!(
                    "corresponding condition of pod readiness gate \"{kind}\" does not exist."
                )),
            }
        }
        all.push((
            reasons::READY,
            PodCondition {
                status: false.into(),
                reason: reasons::READINESS_GATES_NOT_READY.into(),
                message: messages.join(", ").into(),
                since: Some(now),
            },
        ));
    }
    all
}

/// A condition as the API takes it; a reason or message that is empty is taken off.
fn condition_json(kind: &str, condition: &PodCondition) -> Value {
    let text = |text: &str| {
        if text.is_empty() {
            Value::Null
        } else {
            Value::from(text)
        }
    };
    json!({
        "type": kind,
        "status": condition.status.as_str(),
        "reason": text(&condition.reason),
        "message": text(&condition.message),
        "lastTransitionTime": condition.since.map(|at| whole_seconds(at).to_string()),
    })
}

/// A moment as the API keeps it.
pub(super) fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
