//! What an update in place looks at, beyond what every pod shows.
//!
//! It is held only for pods that say that they may be updated in place, so that others stay lean; and what is the same
//! for all pods of a revision is a part of its own, which stores keep once.
//!
//! Source: inplace.md 2, 4, 6.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::condition::PodCondition;
use super::labels::KeyValues;
use super::meta::MetaWire;
use super::pod::{ContainerStatusWire, ContainerWire, PodSpecWire, PodStatusWire};
use crate::{keys, reasons};

/// Resources by name, as written: `cpu` and `250m`.
pub type Quantities = BTreeMap<Arc<str>, Arc<str>>;

/// What an update in place looks at, beyond [`PodView`](super::PodView).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InPlaceView {
    /// The part of the spec that pods of one revision have in common.
    pub spec: Arc<InPlaceSpec>,
    /// Annotations about the update, and those that containers read.
    pub annotations: KeyValues,
    /// What holds the pod after its deletion.
    pub finalizers: Vec<Arc<str>>,
    /// `metadata.generation`; 0 where the server keeps none.
    pub generation: i64,
    /// `status.observedGeneration`: the generation that its kubelet acted on last, where it says so.
    pub observed_generation: Option<i64>,
    /// Its containers as its kubelet reported them last.
    pub statuses: Vec<ContainerStatus>,
    /// Condition `InPlaceUpdateReady`.
    pub update_ready: Option<PodCondition>,
    /// Condition `KruisePodReady`.
    pub kruise_ready: Option<PodCondition>,
    /// Condition `PodResizePending`: its node has not taken new resources over.
    pub resize_pending: Option<PodCondition>,
    /// When its last update in place was seen to be complete, if the pod stayed ready all the time, as in a resize.
    ///
    /// `minReadySeconds` count from then on: condition `Ready` tells nothing of this update. Source: inplace.md 13.15.
    pub changed_while_ready: Option<Timestamp>,
}

/// What pods of one revision have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct InPlaceSpec {
    /// Its containers, in order.
    pub containers: Vec<ContainerSpec>,
    /// `conditionType` of its readiness gates.
    pub readiness_gates: Vec<Arc<str>>,
    /// `restartPolicy`: what becomes of a container that has ended.
    pub restart_policy: RestartPolicy,
}

/// `spec.restartPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RestartPolicy {
    /// `Always`, also when absent.
    #[default]
    Always,
    /// `OnFailure`.
    OnFailure,
    /// `Never`, or something that this version does not know.
    Never,
}

/// One container of a spec.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ContainerSpec {
    /// Name.
    pub name: Arc<str>,
    /// Image reference.
    pub image: Arc<str>,
    /// What it asks for and may use at most.
    pub resources: Resources,
    /// Its environment variables that hold a label or an annotation.
    pub env: Vec<MetadataEnv>,
    /// Launch priority: containers of a higher one are started, and updated, before others.
    pub priority: Option<i32>,
    /// Is it restarted when its cpu changes?
    pub restarts_for_cpu: bool,
    /// Is it restarted when its memory changes?
    pub restarts_for_memory: bool,
}

/// `resources` of a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// The most that it may use.
    #[serde(skip_serializing_if = "Quantities::is_empty")]
    pub limits: Quantities,
    /// What it asks for.
    #[serde(skip_serializing_if = "Quantities::is_empty")]
    pub requests: Quantities,
}

impl Resources {
    /// Does it name none?
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty() && self.requests.is_empty()
    }
}

/// An environment variable that holds a label or an annotation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MetadataEnv {
    /// Its name.
    pub name: Arc<str>,
    /// What it holds.
    pub key: MetadataKey,
}

/// A label or an annotation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MetadataKey {
    /// The label of this key.
    Label(Arc<str>),
    /// The annotation of this key.
    Annotation(Arc<str>),
}

impl MetadataKey {
    /// Reads `metadata.labels['key']` or `metadata.annotations['key']`.
    pub fn of_field_path(path: &str) -> Option<Self> {
        let (field, key) = path.strip_suffix("']")?.split_once("['")?;
        match field {
            "metadata.labels" => Some(Self::Label(key.into())),
            "metadata.annotations" => Some(Self::Annotation(key.into())),
            _ => None,
        }
    }
}

/// One container as its kubelet reported it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ContainerStatus {
    /// Name.
    pub name: Arc<str>,
    /// The image reference as the runtime names it.
    pub image: Arc<str>,
    /// Digest of the image; empty before it was pulled.
    pub image_id: Arc<str>,
    /// Which container it is; another after each start. Empty before the first.
    pub container_id: Arc<str>,
    /// How often it was started again.
    pub restart_count: i32,
    /// Do its probes pass?
    pub is_ready: bool,
    /// What it does.
    pub state: ContainerState,
    /// The resources that it runs with; `None` where the kubelet does not say.
    pub resources: Option<Resources>,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ContainerState {
    /// It runs.
    Running {
        /// Since when.
        since: Option<Timestamp>,
    },
    /// It is not started yet.
    Waiting {
        /// Why: `ImagePullBackOff` and the like.
        reason: Arc<str>,
    },
    /// It has ended.
    Terminated {
        /// Its exit code.
        exit_code: i32,
        /// Why: `Completed`, `Error` and the like.
        reason: Arc<str>,
    },
}

impl Default for ContainerState {
    fn default() -> Self {
        Self::Waiting { reason: "".into() }
    }
}

impl InPlaceView {
    /// The container of this name in the spec.
    pub fn container(&self, name: &str) -> Option<&ContainerSpec> {
        self.spec
            .containers
            .iter()
            .find(|container| *container.name == *name)
    }

    /// The container of this name as it was reported.
    pub fn status(&self, name: &str) -> Option<&ContainerStatus> {
        self.statuses.iter().find(|status| *status.name == *name)
    }

    /// Does the pod have this readiness gate?
    pub fn has_gate(&self, condition: &str) -> bool {
        self.spec.readiness_gates.iter().any(|gate| **gate == *condition)
    }

    /// The annotation under the first of these keys that is there and not empty.
    pub fn annotation(&self, keys: &[&str]) -> Option<&str> {
        let mut values = keys.iter().filter_map(|key| self.annotations.get(key));
        values.find(|value| !value.is_empty()).map(String::as_str)
    }

    /// How far the last update in place is, as JSON.
    pub fn state(&self) -> Option<&str> {
        self.annotation(&[keys::INPLACE_STATE, keys::INPLACE_STATE_OLD])
    }

    /// The update in place that waits for the end of a grace period, as JSON.
    pub fn grace(&self) -> Option<&str> {
        self.annotation(&[keys::INPLACE_GRACE, keys::INPLACE_GRACE_OLD])
    }

    /// The view of a pod that may be updated in place: one of the kinds that do so, one with the readiness gate, or one with
    /// an update under way.
    pub(super) fn of(metadata: &MetaWire, spec: &PodSpecWire, status: &PodStatusWire) -> Option<Self> {
        let gates = &spec.readiness_gates;
        let has_gate = gates
            .iter()
            .any(|gate| gate.condition_type == reasons::INPLACE_UPDATE_READY);
        let has_state = [keys::INPLACE_STATE, keys::INPLACE_STATE_OLD]
            .iter()
            .any(|key| metadata.annotations.contains_key(*key));
        let is_ours = metadata
            .owner_references
            .iter()
            .any(|owner| owner.controller == Some(true) && owner.api_version.starts_with("apps.kruise.io/"));
        if !is_ours && !has_gate && !has_state {
            return None;
        }
        let mut containers: Vec<ContainerSpec> = spec.containers.iter().map(ContainerSpec::from).collect();
        let launch = metadata.annotations.get(keys::CONTAINER_LAUNCH_PRIORITY);
        let is_ordered = launch.is_some_and(|launch| launch == "Ordered");
        give_priorities(&mut containers, &spec.containers, is_ordered);
        let annotations = metadata.annotations.iter();
        let annotations = annotations.filter(|(key, _)| is_read(key, &containers));
        let condition = |kind: &str| {
            let found = status.conditions.iter().find(|condition| condition.kind == kind);
            found.map(PodCondition::from)
        };
        Some(Self {
            annotations: annotations
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            finalizers: metadata
                .finalizers
                .iter()
                .map(|name| name.as_str().into())
                .collect(),
            generation: metadata.generation.unwrap_or_default(),
            observed_generation: status.observed_generation,
            statuses: status
                .container_statuses
                .iter()
                .map(ContainerStatus::from)
                .collect(),
            update_ready: condition(reasons::INPLACE_UPDATE_READY),
            kruise_ready: condition(reasons::KRUISE_POD_READY),
            resize_pending: condition(reasons::POD_RESIZE_PENDING).filter(PodCondition::is_true),
            changed_while_ready: metadata
                .annotations
                .get(keys::INPLACE_STATE)
                .and_then(|state| changed_while_ready(state, condition("Ready")?.since?)),
            spec: Arc::new(InPlaceSpec {
                containers,
                readiness_gates: gates
                    .iter()
                    .map(|gate| gate.condition_type.as_str().into())
                    .collect(),
                restart_policy: match spec.restart_policy.as_str() {
                    "" | "Always" => RestartPolicy::Always,
                    "OnFailure" => RestartPolicy::OnFailure,
                    _ => RestartPolicy::Never,
                },
            }),
        })
    }
}

/// The launch priorities that the author of a pod meant, where no admission has made barriers of them: those of `Ordered` fall
/// from 0 on, others are the numbers in the environment, of which one is not 0 and not all are equal.
///
/// Differs from upstream, where only the barriers count, so that a pod that was made while its webhooks were away has none.
///
/// Source: inplace.md 4.2.
fn give_priorities(containers: &mut [ContainerSpec], wires: &[ContainerWire], is_ordered: bool) {
    if containers.iter().any(|container| container.priority.is_some()) {
        return;
    }
    let written = |wire: &ContainerWire| wire.env.iter().find_map(EnvWire::written_priority);
    let meant: Vec<i32> = if is_ordered {
        (0..=i32::MAX).take(wires.len()).map(|i| -i).collect()
    } else {
        wires.iter().map(|wire| written(wire).unwrap_or(0)).collect()
    };
    if meant.iter().all(|priority| Some(priority) == meant.first()) {
        return;
    }
    for (container, priority) in containers.iter_mut().zip(meant) {
        container.priority = Some(priority);
    }
}

/// The times of an update in place, of all that its annotation holds.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Times {
    began_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StateTimes {
    pitstop: Times,
}

/// When the update with this state was complete, if it began after the pod had become ready last.
fn changed_while_ready(state: &str, ready_since: Timestamp) -> Option<Timestamp> {
    let times = serde_json::from_str::<StateTimes>(state).ok()?.pitstop;
    times
        .completed_at
        .filter(|_| times.began_at.is_some_and(|began_at| ready_since < began_at))
}

/// Annotations that decisions read.
pub(super) const READ: [&str; 9] = [
    keys::INPLACE_STATE,
    keys::INPLACE_STATE_OLD,
    keys::INPLACE_GRACE,
    keys::INPLACE_GRACE_OLD,
    keys::RUNTIME_CONTAINERS,
    keys::LIFECYCLE_TIMESTAMP,
    keys::POD_DELETION_COST,
    keys::ARBITER_OVERRIDE,
    keys::UPGRADE_PLAN,
];

fn is_read(key: &str, containers: &[ContainerSpec]) -> bool {
    let names_it = |env: &MetadataEnv| matches!(&env.key, MetadataKey::Annotation(named) if **named == *key);
    READ.contains(&key) || containers.iter().flat_map(|c| &c.env).any(names_it)
}

impl From<&ContainerWire> for ContainerSpec {
    fn from(wire: &ContainerWire) -> Self {
        let restarts_for = |resource: &str| {
            let policies = wire.resize_policy.iter();
            policies
                .filter(|policy| policy.resource_name == resource)
                .any(|policy| policy.restart_policy == "RestartContainer")
        };
        Self {
            name: wire.name.as_str().into(),
            image: wire.image.as_str().into(),
            resources: wire.resources.clone(),
            env: wire.env.iter().filter_map(EnvWire::metadata).collect(),
            priority: wire.env.iter().find_map(EnvWire::priority),
            restarts_for_cpu: restarts_for("cpu"),
            restarts_for_memory: restarts_for("memory"),
        }
    }
}

impl From<&ContainerStatusWire> for ContainerStatus {
    fn from(wire: &ContainerStatusWire) -> Self {
        let state = &wire.state;
        let state = match (&state.running, &state.terminated, &state.waiting) {
            (Some(running), _, _) => ContainerState::Running {
                since: running.started_at,
            },
            (_, Some(ended), _) => ContainerState::Terminated {
                exit_code: ended.exit_code,
                reason: ended.reason.as_str().into(),
            },
            (_, _, waiting) => ContainerState::Waiting {
                reason: waiting
                    .as_ref()
                    .map_or("", |waiting| waiting.reason.as_str())
                    .into(),
            },
        };
        Self {
            name: wire.name.as_str().into(),
            image: wire.image.as_str().into(),
            image_id: wire.image_id.as_str().into(),
            container_id: wire.container_id.as_str().into(),
            restart_count: wire.restart_count,
            is_ready: wire.ready,
            state,
            resources: wire.resources.clone(),
        }
    }
}

/// One readiness gate.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GateWire {
    /// The condition that it waits for.
    pub condition_type: String,
}

/// One environment variable, as far as it is read.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EnvWire {
    /// Name.
    pub name: String,
    /// Value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Where its value is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvSourceWire>,
}

/// Where the value of an environment variable is from, as far as it is read.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EnvSourceWire {
    /// A field of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_ref: Option<FieldRefWire>,
    /// A key of a config map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRefWire>,
}

/// A field of the pod.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FieldRefWire {
    /// Its path.
    pub field_path: String,
}

/// A key of a config map.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct KeyRefWire {
    /// The config map.
    pub name: String,
    /// The key.
    pub key: String,
}

/// What becomes of a container whose resources change.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResizePolicyWire {
    /// The resource.
    pub resource_name: String,
    /// `NotRequired` or `RestartContainer`.
    pub restart_policy: String,
}

impl EnvWire {
    /// Reads a list, and forgets variables that a decision does not look at: they may hold secrets.
    pub(super) fn read_those_of_metadata<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Self>, D::Error> {
        let mut list = Vec::<Self>::deserialize(deserializer)?;
        list.retain(|variable| {
            let is_priority = variable.priority().is_some() || variable.written_priority().is_some();
            is_priority || variable.metadata().is_some()
        });
        Ok(list)
    }

    /// The label or annotation that it holds. Source: inplace.md 3, step 7.
    pub fn metadata(&self) -> Option<MetadataEnv> {
        let field = self.value_from.as_ref()?.field_ref.as_ref()?;
        let counts = self.value.is_empty() && !keys::SIDECAR_VERSIONS.contains(&self.name.as_str());
        let key = MetadataKey::of_field_path(&field.field_path).filter(|_| counts)?;
        Some(MetadataEnv {
            name: self.name.as_str().into(),
            key,
        })
    }

    /// The launch priority that it gives its container. Source: inplace.md 4.2, step 2.
    fn priority(&self) -> Option<i32> {
        let source = self.value_from.as_ref()?.config_map_key_ref.as_ref()?;
        let is_barrier = self.name == keys::CONTAINER_BARRIER;
        let number = source
            .key
            .strip_prefix(keys::BARRIER_PREFIX)
            .filter(|_| is_barrier)?;
        number.parse().ok()
    }

    /// The launch priority that the author of the pod wrote.
    fn written_priority(&self) -> Option<i32> {
        let is_written = self.name == keys::CONTAINER_PRIORITY && self.value_from.is_none();
        self.value.parse().ok().filter(|_| is_written)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NodeNames, PodWire};

    #[test]
    fn values_of_the_environment_are_not_kept() {
        let json = r#"{"metadata":{"name":"p","uid":"00000000-0000-0000-0000-000000000009"},
            "spec":{"readinessGates":[{"conditionType":"InPlaceUpdateReady"}],"containers":[{"name":"c","image":"i","env":[
                {"name":"PASSWORD","value":"secret"},
                {"name":"TOKEN","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}},
                {"name":"ZONE","valueFrom":{"fieldRef":{"fieldPath":"metadata.labels['zone']"}}},
                {"name":"KRUISE_CONTAINER_BARRIER","valueFrom":{"configMapKeyRef":{"name":"p-barrier","key":"p_-3"}}}]}]}}"#;
        let wire: PodWire = serde_json::from_str(json).unwrap();
        let text = serde_json::to_string(&wire).unwrap();
        assert!(
            !text.contains("PASSWORD") && !text.contains("secret") && !text.contains("TOKEN"),
            "{text}"
        );
        let view = wire.view(&mut NodeNames::default()).unwrap().in_place.unwrap();
        let container = &view.spec.containers[0];
        assert_eq!((container.env.len(), container.priority), (1, Some(-3)));
    }

    /// inplace.md 4.2: barriers are given by the annotation, or by the environment if one number is not 0 and not all are equal.
    #[test]
    fn containers_have_the_launch_priorities_that_were_written() {
        let barrier = r#"{"name":"KRUISE_CONTAINER_BARRIER","valueFrom":{"configMapKeyRef":{"name":"p-barrier","key":"p_7"}}}"#;
        let written = |value: &str| format!(r#"{{"name":"KRUISE_CONTAINER_PRIORITY","value":"{value}"}}"#);
        for (case, annotation, env, want) in [
            ("nothing", "", [String::new(), String::new()], [None, None]),
            (
                "one number",
                "",
                [written("5"), String::new()],
                [Some(5), Some(0)],
            ),
            (
                "below the others",
                "",
                [String::new(), written("-1")],
                [Some(0), Some(-1)],
            ),
            ("all equal", "", [written("5"), written("5")], [None, None]),
            ("all 0", "", [written("0"), String::new()], [None, None]),
            ("no number", "", [written("high"), String::new()], [None, None]),
            (
                "Ordered",
                "Ordered",
                [String::new(), String::new()],
                [Some(0), Some(-1)],
            ),
            (
                "Ordered and numbers",
                "Ordered",
                [String::new(), written("5")],
                [Some(0), Some(-1)],
            ),
            (
                "another value",
                "ordered",
                [String::new(), String::new()],
                [None, None],
            ),
            (
                "barriers",
                "Ordered",
                [String::new(), barrier.to_owned()],
                [None, Some(7)],
            ),
        ] {
            let json = format!(
                r#"{{"metadata":{{"name":"p","uid":"00000000-0000-0000-0000-000000000009",
                    "annotations":{{"apps.kruise.io/container-launch-priority":"{annotation}"}}}},
                    "spec":{{"readinessGates":[{{"conditionType":"InPlaceUpdateReady"}}],
                    "containers":[{{"name":"a","image":"i","env":[{}]}},{{"name":"b","image":"i","env":[{}]}}]}}}}"#,
                env[0], env[1]
            );
            let wire: PodWire = serde_json::from_str(&json).unwrap();
            let view = wire.view(&mut NodeNames::default()).unwrap().in_place.unwrap();
            let priorities: Vec<Option<i32>> = view.spec.containers.iter().map(|c| c.priority).collect();
            assert_eq!(priorities, want, "{case}");
        }
    }
}
