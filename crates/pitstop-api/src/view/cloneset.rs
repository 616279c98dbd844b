//! CloneSets as decisions see them: `apps.kruise.io/v1beta1`, which is what the server stores.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

pub use status::{CloneSetCondition, CloneSetStatus};

use super::lifecycle::Lifecycle;
use super::meta::{MetaWire, Uid, ViewError};
use super::read::{count, read};
use super::update_order::{PriorityStrategy, ScatterTerm};
use super::update_policy::{InPlaceUpdateStrategy, PodUpdatePolicy, UpdateType};
use crate::amount::Amount;
use crate::selector::{LabelSelector, Labels};

mod status;
#[cfg(test)]
mod tests;

/// `progressDeadlineSeconds` that switches the deadline off.
const NO_DEADLINE: u32 = 2_147_483_647;

/// A CloneSet. There are few of them, so the templates stay whole.
#[derive(Debug, Clone, PartialEq)]
pub struct CloneSetView {
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
    /// `spec.replicas`, 1 when absent. Units: pods.
    pub replicas: u32,
    /// `spec.selector`.
    pub selector: LabelSelector,
    /// `spec.template`, as it is stored, fields that this version does not know included.
    pub template: Arc<Value>,
    /// `spec.volumeClaimTemplates`, as they are stored.
    pub claim_templates: Arc<[Value]>,
    /// `spec.scaleStrategy`.
    pub scale: ScaleStrategy,
    /// `spec.updateStrategy`.
    pub update: CloneSetUpdateStrategy,
    /// `spec.lifecycle`.
    pub lifecycle: Lifecycle,
    /// `spec.minReadySeconds`. Units: seconds. Range: 0..
    pub min_ready_seconds: u32,
    /// `spec.progressDeadlineSeconds`; `None` when there is no deadline, also when it is written as 2147483647.
    /// Units: seconds.
    pub progress_deadline_seconds: Option<u32>,
    /// `spec.revisionHistoryLimit`, 10 when absent.
    pub revision_history_limit: u32,
    /// `status`.
    pub status: CloneSetStatus,
}

/// `spec.scaleStrategy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScaleStrategy {
    /// `podsToDelete`: names of pods that go first.
    pub pods_to_delete: Vec<Arc<str>>,
    /// `maxUnavailable`: how many pods may be unavailable while pods are added; `None`: any number.
    pub max_unavailable: Option<Amount>,
    /// `enablePVCReuse`: do new pods take claims that lost theirs?
    pub reuses_claims: bool,
    /// `excludePreparingDelete`: are pods that prepare for their deletion no longer counted as replicas?
    pub excludes_preparing_delete: bool,
}

/// `spec.updateStrategy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloneSetUpdateStrategy {
    /// `type`.
    pub kind: UpdateType,
    /// `rollingUpdate`. It may be absent, which under `OnDelete` has its own budget (cloneset.md 1.4), and it may be
    /// there under `OnDelete` too.
    pub rolling: Option<RollingUpdate>,
}

/// `spec.updateStrategy.rollingUpdate`. Amounts stay as written: how each is scaled is in [`crate::cloneset::scaling`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RollingUpdate {
    /// `podUpdatePolicy`.
    pub pod_update_policy: PodUpdatePolicy,
    /// `partition`: how many pods stay at old revisions.
    pub partition: Option<Amount>,
    /// `maxUnavailable`.
    pub max_unavailable: Option<Amount>,
    /// `maxSurge`.
    pub max_surge: Option<Amount>,
    /// `paused`.
    pub is_paused: bool,
    /// `priorityStrategy`.
    pub priority: PriorityStrategy,
    /// `scatterStrategy`.
    pub scatter: Vec<ScatterTerm>,
    /// `inPlaceUpdateStrategy`.
    pub in_place: InPlaceUpdateStrategy,
}

impl CloneSetView {
    /// Reads the object as the API serves it in version v1beta1.
    ///
    /// Negative numbers, which admission refuses, count as 0.
    ///
    /// # Errors
    /// A field has a type that the schema of the kind does not allow; the error names it.
    pub fn from_json(json: &[u8]) -> Result<Self, ViewError> {
        let mut object: Value = serde_json::from_slice(json).map_err(|error| ViewError {
            field: "CloneSet",
            problem: error.to_string(),
        })?;
        let template = object.pointer_mut("/spec/template").map(Value::take);
        let object = &object;
        let metadata: MetaWire = read(object, "metadata")?;
        Ok(Self {
            uid: metadata.uid()?,
            resource_version: metadata.version(),
            generation: metadata.generation.unwrap_or_default(),
            deleted_at: metadata.deletion_timestamp,
            namespace: metadata.namespace.into(),
            name: metadata.name.into(),
            labels: metadata.labels,
            annotations: metadata.annotations,
            replicas: count(object, "spec.replicas")?.unwrap_or(1),
            selector: read(object, "spec.selector")?,
            template: Arc::new(template.unwrap_or_default()),
            claim_templates: read::<Vec<Value>>(object, "spec.volumeClaimTemplates")?.into(),
            scale: ScaleStrategy::read(object)?,
            update: CloneSetUpdateStrategy::read(object)?,
            lifecycle: read(object, "spec.lifecycle")?,
            min_ready_seconds: count(object, "spec.minReadySeconds")?.unwrap_or_default(),
            progress_deadline_seconds: count(object, "spec.progressDeadlineSeconds")?
                .filter(|seconds| *seconds != NO_DEADLINE),
            revision_history_limit: count(object, "spec.revisionHistoryLimit")?.unwrap_or(10),
            status: read(object, "status")?,
        })
    }

    /// Has its rollout been paused?
    pub fn is_paused(&self) -> bool {
        self.update
            .rolling
            .as_ref()
            .is_some_and(|rolling| rolling.is_paused)
    }
}

impl ScaleStrategy {
    fn read(object: &Value) -> Result<Self, ViewError> {
        Ok(Self {
            pods_to_delete: read(object, "spec.scaleStrategy.podsToDelete")?,
            max_unavailable: read(object, "spec.scaleStrategy.maxUnavailable")?,
            reuses_claims: read(object, "spec.scaleStrategy.enablePVCReuse")?,
            excludes_preparing_delete: read(object, "spec.scaleStrategy.excludePreparingDelete")?,
        })
    }
}

impl CloneSetUpdateStrategy {
    fn read(object: &Value) -> Result<Self, ViewError> {
        let kind: String = read(object, "spec.updateStrategy.type")?;
        let rolling: Option<Value> = read(object, "spec.updateStrategy.rollingUpdate")?;
        Ok(Self {
            kind: kind.into(),
            rolling: rolling.map(|_| RollingUpdate::read(object)).transpose()?,
        })
    }
}

impl RollingUpdate {
    fn read(object: &Value) -> Result<Self, ViewError> {
        Ok(Self {
            pod_update_policy: read(object, "spec.updateStrategy.rollingUpdate.podUpdatePolicy")?,
            partition: read(object, "spec.updateStrategy.rollingUpdate.partition")?,
            max_unavailable: read(object, "spec.updateStrategy.rollingUpdate.maxUnavailable")?,
            max_surge: read(object, "spec.updateStrategy.rollingUpdate.maxSurge")?,
            is_paused: read(object, "spec.updateStrategy.rollingUpdate.paused")?,
            priority: read(object, "spec.updateStrategy.rollingUpdate.priorityStrategy")?,
            scatter: read(object, "spec.updateStrategy.rollingUpdate.scatterStrategy")?,
            in_place: InPlaceUpdateStrategy::read(object)?,
        })
    }
}
