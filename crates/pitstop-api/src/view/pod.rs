//! Pods as decisions see them.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::condition::{PodCondition, UpgradeConditions};
use super::inplace::{EnvWire, GateWire, InPlaceView, ResizePolicyWire, Resources};
use super::labels::PodLabels;
use super::meta::{ControllerRef, MetaWire, Uid, ViewError};
use super::{NodeNames, NodeSlot};
use crate::keys;
use crate::placement::{Affinity, NodeConstraints};

/// A pod, lean.
#[derive(Debug, Clone, PartialEq)]
pub struct PodView {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Identity.
    pub uid: Uid,
    /// Version of the object that this view was made from.
    pub resource_version: u64,
    /// Labels.
    pub labels: PodLabels,
    /// Who controls it.
    pub controller: Option<ControllerRef>,
    /// The node that it runs on or is meant for.
    pub node: Option<NodeSlot>,
    /// Is it bound to that node (`spec.nodeName` set)?
    pub bound: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its deletion was asked for; set while it terminates.
    pub deleted_at: Option<Timestamp>,
    /// `status.phase`.
    pub phase: Phase,
    /// Condition `Ready`; absent before a kubelet reported.
    pub ready: Option<ReadyCondition>,
    /// Is condition `ContainersReady` True? It stays so where condition `Ready` became False since the node is away.
    pub are_containers_ready: bool,
    /// Images of the containers, in order.
    pub images: Arc<[Arc<str>]>,
    /// Why a container waits or ended, of the first container that does not run: `ImagePullBackOff` and the like.
    pub trouble: Option<Arc<str>>,
    /// Are the images of all its containers on its node? A container that was made, or failed to start, has its image.
    pub has_images: bool,
    /// Conditions about its upgrade; `None` when it has none.
    pub upgrade: Option<Arc<UpgradeConditions>>,
    /// What an update in place looks at; `None` for a pod that is not updated in place.
    pub in_place: Option<Arc<InPlaceView>>,
}

/// Condition `Ready` of a pod or node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyCondition {
    /// Is the status `True`?
    pub is_true: bool,
    /// `lastTransitionTime`.
    pub since: Option<Timestamp>,
}

/// `status.phase` of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Not all containers were started yet.
    #[default]
    Pending,
    /// Running.
    Running,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, one badly.
    Failed,
    /// Anything else.
    Unknown,
}

impl PodView {
    /// Is it on its way out?
    pub fn is_terminating(&self) -> bool {
        self.deleted_at.is_some()
    }

    /// Has it come to its end, in phase Succeeded or Failed?
    pub fn is_terminal(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Is condition `Ready` True?
    pub fn is_ready(&self) -> bool {
        self.ready.is_some_and(|ready| ready.is_true)
    }

    /// Condition `PodNeedUpgrade`.
    pub fn need_upgrade(&self) -> Option<&PodCondition> {
        self.upgrade.as_ref()?.need_upgrade.as_ref()
    }

    /// Condition `PodImageReady`.
    pub fn image_ready(&self) -> Option<&PodCondition> {
        self.upgrade.as_ref()?.image_ready.as_ref()
    }

    /// Condition `pitstop.io/NodeLost`.
    pub fn node_lost(&self) -> Option<&PodCondition> {
        self.upgrade.as_ref()?.node_lost.as_ref()
    }

    /// The revision that the owner of its node asked for, through a hub that may not delete pods. Source: hub.md B4.
    pub fn requested_revision(&self) -> Option<&str> {
        let requested = self.upgrade.as_ref()?.upgrade_requested.as_ref()?;
        requested.is_true().then(|| requested.revision())
    }

    /// The revision in its label.
    pub fn revision_hash(&self) -> Option<&str> {
        self.labels.get(keys::REVISION_HASH).map(String::as_str)
    }

    /// The template generation in its label.
    pub fn template_generation(&self) -> Option<i64> {
        self.labels.get(keys::POD_TEMPLATE_GENERATION)?.parse().ok()
    }
}

/// A pod on the wire, as far as it is read.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct PodWire {
    /// Metadata.
    pub metadata: MetaWire,
    /// Spec.
    pub spec: PodSpecWire,
    /// Status.
    pub status: PodStatusWire,
}

/// `spec` of a pod, as far as it is read.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpecWire {
    /// The node that it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Affinity, which names the node that a pod of a DaemonSet is meant for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Its containers.
    pub containers: Vec<ContainerWire>,
    /// What has to be true before it is ready, beside its containers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub readiness_gates: Vec<GateWire>,
    /// What becomes of a container that has ended.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub restart_policy: String,
}

/// One container, as far as it is read.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerWire {
    /// Name.
    pub name: String,
    /// Image reference.
    pub image: String,
    /// What it asks for and may use at most.
    #[serde(skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Those of its environment variables that hold metadata or its launch priority; what others hold is not kept.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "EnvWire::read_those_of_metadata"
    )]
    pub env: Vec<EnvWire>,
    /// What becomes of it when its resources change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resize_policy: Vec<ResizePolicyWire>,
}

/// `status` of a pod, as far as it is read.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatusWire {
    /// Phase.
    pub phase: String,
    /// Conditions.
    pub conditions: Vec<ConditionWire>,
    /// Containers.
    pub container_statuses: Vec<ContainerStatusWire>,
    /// The generation that its kubelet acted on last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// One condition, as far as it is read.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConditionWire {
    /// Type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// CamelCase word for why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Text for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When the status changed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Timestamp>,
}

/// The state of one container, as far as it is read.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatusWire {
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// State.
    pub state: ContainerStateWire,
    /// The image reference as the runtime names it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Which container it is.
    #[serde(rename = "containerID", skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// How often it was started again.
    #[serde(skip_serializing_if = "is_zero")]
    pub restart_count: i32,
    /// Do its probes pass?
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ready: bool,
    /// The resources that it runs with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Digest of the image that it was made from; empty before.
    #[serde(rename = "imageID", skip_serializing_if = "String::is_empty")]
    pub image_id: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &i32) -> bool {
    *value == 0
}

/// Why a container waits that was or could be made, so that its image is there. Source: daemonset.md, Better than
/// upstream 13, and the kubelet's order: pull, configure, create, start.
const AFTER_THE_PULL: [&str; 5] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "PostStartHookError",
    "CrashLoopBackOff",
];

impl ContainerStatusWire {
    /// Is its image on the node?
    fn has_image(&self) -> bool {
        let waits_after = |reason: &StateReasonWire| AFTER_THE_PULL.contains(&reason.reason.as_str());
        !self.image_id.is_empty()
            || self.state.terminated.is_some()
            || self.state.waiting.as_ref().is_some_and(waits_after)
    }
}

/// Which state a container is in.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ContainerStateWire {
    /// It runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<RunningWire>,
    /// It waits, for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<StateReasonWire>,
    /// It ended, for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated: Option<StateReasonWire>,
}

/// That a container runs.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RunningWire {
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
}

/// Why a container is in its state.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StateReasonWire {
    /// CamelCase word.
    pub reason: String,
    /// With what a container has ended.
    #[serde(skip_serializing_if = "is_zero")]
    pub exit_code: i32,
}

/// The condition `Ready` among others.
pub(super) fn ready_condition(conditions: &[ConditionWire]) -> Option<ReadyCondition> {
    condition(conditions, crate::reasons::READY)
}

/// The condition of this type among others, as far as it is true and since when.
pub(super) fn condition(conditions: &[ConditionWire], kind: &str) -> Option<ReadyCondition> {
    let ready = conditions.iter().find(|condition| condition.kind == kind)?;
    Some(ReadyCondition {
        is_true: ready.status == "True",
        since: ready.last_transition_time,
    })
}

impl PodWire {
    /// The view of this pod.
    ///
    /// # Errors
    /// The uid is none.
    pub fn view(self, nodes: &mut NodeNames) -> Result<PodView, ViewError> {
        let uid = self.metadata.uid()?;
        let in_place = InPlaceView::of(&self.metadata, &self.spec, &self.status).map(Arc::new);
        let bound = self
            .spec
            .node_name
            .as_deref()
            .is_some_and(|name| !name.is_empty());
        let placement = NodeConstraints {
            node_name: self.spec.node_name,
            affinity: self.spec.affinity,
            ..NodeConstraints::default()
        };
        let statuses = &self.status.container_statuses;
        let has_images = !statuses.is_empty()
            && statuses.len() == self.spec.containers.len()
            && statuses.iter().all(ContainerStatusWire::has_image);
        let trouble = self.status.container_statuses.iter().find_map(|status| {
            let reason = status
                .state
                .waiting
                .as_ref()
                .or(status.state.terminated.as_ref())?;
            (!reason.reason.is_empty()).then(|| reason.reason.as_str().into())
        });
        let unscheduled = || {
            let conditions = self.status.conditions.iter();
            let mut found = conditions.filter(|condition| condition.kind == "PodScheduled");
            let condition = found.find(|condition| condition.status == "False")?;
            Some(format!("{}: {}", condition.reason, condition.message).into())
        };
        let trouble = trouble.or_else(unscheduled);
        Ok(PodView {
            uid,
            resource_version: self.metadata.version(),
            controller: self.metadata.controller(),
            node: placement.target_node().map(|name| nodes.slot(name)),
            bound,
            created_at: self.metadata.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH),
            deleted_at: self.metadata.deletion_asked_at(),
            phase: match self.status.phase.as_str() {
                "" | "Pending" => Phase::Pending,
                "Running" => Phase::Running,
                "Succeeded" => Phase::Succeeded,
                "Failed" => Phase::Failed,
                _ => Phase::Unknown,
            },
            ready: ready_condition(&self.status.conditions),
            are_containers_ready: condition(&self.status.conditions, crate::reasons::CONTAINERS_READY)
                .is_some_and(|condition| condition.is_true),
            images: self
                .spec
                .containers
                .iter()
                .map(|c| Arc::from(c.image.as_str()))
                .collect(),
            trouble,
            has_images,
            in_place,
            upgrade: UpgradeConditions::among(&self.status.conditions).map(Arc::new),
            namespace: self.metadata.namespace.into(),
            name: self.metadata.name.into(),
            labels: self.metadata.labels.into(),
        })
    }
}
