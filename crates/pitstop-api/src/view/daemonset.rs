//! DaemonSets as decisions see them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::advanced_daemonset::AdvancedDaemonSet;
use super::condition::PodCondition;
use super::meta::{MetaWire, Uid, ViewError};
use super::pod::ConditionWire;
use crate::WorkloadKind;
use crate::keys;
use crate::placement::NodeConstraints;
use crate::selector::{LabelSelector, Labels};

/// A DaemonSet. There are few of them, so the template stays whole.
#[derive(Debug, Clone, PartialEq)]
pub struct DaemonSetView {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Identity.
    pub uid: Uid,
    /// Version of the object that this view was made from.
    pub resource_version: u64,
    /// Raised when the spec changes.
    pub generation: i64,
    /// Set while it terminates.
    pub deleted_at: Option<Timestamp>,
    /// Labels.
    pub labels: Labels,
    /// Annotations.
    pub annotations: Labels,
    /// `spec.selector`.
    pub selector: LabelSelector,
    /// `spec.template`, as the server defaulted it.
    pub template: Arc<Value>,
    /// Where the template's pods may run, read from the template.
    pub placement: NodeConstraints,
    /// `spec.updateStrategy`.
    pub strategy: UpdateStrategy,
    /// `spec.minReadySeconds`. Units: seconds. Range: 0..
    pub min_ready_seconds: u32,
    /// `spec.revisionHistoryLimit`, 10 when absent.
    pub revision_history_limit: u32,
    /// `status`.
    pub status: DaemonSetStatus,
    /// `status.conditions`, by type. The DaemonSet's own controller neither writes nor removes any.
    pub conditions: BTreeMap<String, PodCondition>,
    /// What one of `apps.kruise.io` says beyond this; `None` for one of `apps`.
    pub advanced: Option<Arc<AdvancedDaemonSet>>,
}

/// `spec.updateStrategy`. The numbers stay raw JSON: a decision says what is wrong with them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpdateStrategy {
    /// `type`.
    pub kind: StrategyType,
    /// `rollingUpdate.maxUnavailable`.
    pub max_unavailable: Option<Value>,
    /// `rollingUpdate.maxSurge`.
    pub max_surge: Option<Value>,
}

/// `spec.updateStrategy.type`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StrategyType {
    /// `RollingUpdate`, also when absent.
    #[default]
    RollingUpdate,
    /// `OnDelete`.
    OnDelete,
    /// Something that this version does not know: nothing is done.
    Other(String),
}

/// `status` of a DaemonSet. Source: daemonset.md A12.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DaemonSetStatus {
    /// Nodes that run a pod and should.
    pub current_number_scheduled: u32,
    /// Nodes that run a pod and should not.
    pub number_misscheduled: u32,
    /// Nodes that should run a pod.
    pub desired_number_scheduled: u32,
    /// Of those with a pod: nodes whose pod is ready.
    pub number_ready: u32,
    /// The generation that was acted on last.
    #[serde(skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// Nodes whose pod is at the current revision.
    #[serde(skip_serializing_if = "is_none_left")]
    pub updated_number_scheduled: u32,
    /// Nodes whose pod is available.
    #[serde(skip_serializing_if = "is_none_left")]
    pub number_available: u32,
    /// Nodes that should have an available pod and have none.
    #[serde(skip_serializing_if = "is_none_left")]
    pub number_unavailable: u32,
    /// How often a revision name was taken by other data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i32>,
    /// Hash of the revision that pods are brought to. Only those of `apps.kruise.io` say so. Source: daemonset.md D1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_revision: Option<Arc<str>>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_none_left(value: &u32) -> bool {
    *value == 0
}

impl DaemonSetView {
    /// Annotation `deprecated.daemonset.template.generation`.
    pub fn template_generation(&self) -> Option<i64> {
        self.annotations.get(keys::TEMPLATE_GENERATION)?.parse().ok()
    }

    /// The kind of its objects.
    pub fn workload_kind(&self) -> WorkloadKind {
        match self.advanced {
            None => WorkloadKind::DaemonSet,
            Some(_) => WorkloadKind::AdvancedDaemonSet,
        }
    }

    /// Reads one of `apps.kruise.io` as the API serves it, in the version that is stored.
    ///
    /// # Errors
    /// The object is not a DaemonSet, or its uid is none.
    pub fn advanced_from_json(json: &[u8]) -> Result<Self, ViewError> {
        let advanced = AdvancedDaemonSet::from_json(json)?;
        let mut view = Self::from_json(json)?;
        view.advanced = Some(Arc::new(advanced));
        Ok(view)
    }

    /// Reads one of `apps` as the API serves it.
    ///
    /// # Errors
    /// The object is not a DaemonSet, or its uid is none.
    pub fn from_json(json: &[u8]) -> Result<Self, ViewError> {
        let malformed = |e: serde_json::Error| ViewError {
            field: "DaemonSet",
            problem: e.to_string(),
        };
        let wire: Wire = serde_json::from_slice(json).map_err(malformed)?;
        let template_spec = wire
            .spec
            .template
            .get("spec")
            .cloned()
            .unwrap_or(Value::Object(serde_json::Map::new()));
        let rolling = wire.spec.update_strategy.rolling_update;
        Ok(Self {
            uid: wire.metadata.uid()?,
            resource_version: wire.metadata.version(),
            generation: wire.metadata.generation.unwrap_or_default(),
            deleted_at: wire.metadata.deletion_timestamp,
            namespace: wire.metadata.namespace.into(),
            name: wire.metadata.name.into(),
            labels: wire.metadata.labels,
            annotations: wire.metadata.annotations,
            selector: wire.spec.selector,
            placement: serde_json::from_value(template_spec).map_err(malformed)?,
            template: Arc::new(wire.spec.template),
            strategy: UpdateStrategy {
                kind: match wire.spec.update_strategy.kind.as_str() {
                    "" | "RollingUpdate" => StrategyType::RollingUpdate,
                    "OnDelete" => StrategyType::OnDelete,
                    other => StrategyType::Other(other.to_owned()),
                },
                max_unavailable: rolling.max_unavailable,
                max_surge: rolling.max_surge,
            },
            min_ready_seconds: u32::try_from(wire.spec.min_ready_seconds).unwrap_or_default(),
            revision_history_limit: wire
                .spec
                .revision_history_limit
                .map_or(10, |n| u32::try_from(n).unwrap_or_default()),
            conditions: wire
                .status
                .conditions
                .iter()
                .map(|condition| (condition.kind.clone(), condition.into()))
                .collect(),
            status: wire.status.counts,
            advanced: None,
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Wire {
    metadata: MetaWire,
    spec: SpecWire,
    status: StatusWire,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StatusWire {
    #[serde(flatten)]
    counts: DaemonSetStatus,
    conditions: Vec<ConditionWire>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct SpecWire {
    selector: LabelSelector,
    template: Value,
    update_strategy: StrategyWire,
    min_ready_seconds: i32,
    revision_history_limit: Option<i32>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct StrategyWire {
    #[serde(rename = "type")]
    kind: String,
    rolling_update: RollingWire,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RollingWire {
    max_unavailable: Option<Value>,
    max_surge: Option<Value>,
}
