//! CloneSets as decisions see them: `apps.kruise.io/v1beta1`, which is what the server stores.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use status::{CloneSetCondition, CloneSetStatus};

use super::lifecycle::Lifecycle;
use super::meta::{MetaWire, Uid, ViewError};
use super::update_order::{PriorityStrategy, ScatterTerm};
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
    pub kind: CloneSetUpdateType,
    /// `rollingUpdate`. It may be absent, which under `OnDelete` has its own budget (cloneset.md 1.4), and it may be
    /// there under `OnDelete` too.
    pub rolling: Option<RollingUpdate>,
}

/// `spec.updateStrategy.type`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CloneSetUpdateType {
    /// `RollingUpdate`, also when absent.
    #[default]
    RollingUpdate,
    /// `OnDelete`.
    OnDelete,
    /// Something that this version does not know: nothing is done.
    Other(String),
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

/// `rollingUpdate.podUpdatePolicy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PodUpdatePolicy {
    /// `ReCreate`, also when absent: pods are replaced.
    #[default]
    ReCreate,
    /// `InPlaceIfPossible`: pods stay where the change allows it.
    InPlaceIfPossible,
    /// `InPlaceOnly`: pods stay, or are not updated.
    InPlaceOnly,
    /// Something that this version does not know: nothing is done.
    Other(String),
}

/// `rollingUpdate.inPlaceUpdateStrategy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InPlaceUpdateStrategy {
    /// `gracePeriodSeconds`: how long a pod is not ready before its image changes. Units: seconds.
    pub grace_period_seconds: u32,
    /// `imagePreDownloadParallelism`, a number or its digits. Units: nodes at once.
    pub image_pre_download_parallelism: Option<u32>,
    /// `imagePreDownloadTimeoutSeconds`. Units: seconds.
    pub image_pre_download_timeout_seconds: Option<u32>,
    /// `imagePreDownloadMinUpdatedReadyPods`. Units: pods.
    pub image_pre_download_min_updated_ready_pods: Option<u32>,
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
            kind: match kind.as_str() {
                "" | "RollingUpdate" => CloneSetUpdateType::RollingUpdate,
                "OnDelete" => CloneSetUpdateType::OnDelete,
                _ => CloneSetUpdateType::Other(kind),
            },
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

impl InPlaceUpdateStrategy {
    fn read(object: &Value) -> Result<Self, ViewError> {
        let path = "spec.updateStrategy.rollingUpdate.inPlaceUpdateStrategy";
        let wire: InPlaceWire = read(object, path)?;
        let count = |number: i32| u32::try_from(number).unwrap_or_default();
        Ok(Self {
            grace_period_seconds: count(wire.grace_period_seconds),
            image_pre_download_parallelism: wire.image_pre_download_parallelism.as_ref().and_then(whole),
            image_pre_download_timeout_seconds: wire.image_pre_download_timeout_seconds.map(count),
            image_pre_download_min_updated_ready_pods: wire
                .image_pre_download_min_updated_ready_pods
                .map(count),
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct InPlaceWire {
    grace_period_seconds: i32,
    image_pre_download_parallelism: Option<Value>,
    image_pre_download_timeout_seconds: Option<i32>,
    image_pre_download_min_updated_ready_pods: Option<i32>,
}

impl From<String> for PodUpdatePolicy {
    fn from(text: String) -> Self {
        match text.as_str() {
            "" | "ReCreate" => Self::ReCreate,
            "InPlaceIfPossible" => Self::InPlaceIfPossible,
            "InPlaceOnly" => Self::InPlaceOnly,
            _ => Self::Other(text),
        }
    }
}

impl<'de> Deserialize<'de> for PodUpdatePolicy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// A number, or the digits of one.
fn whole(value: &Value) -> Option<u32> {
    match value {
        Value::String(text) => text.parse::<i32>().ok()?.try_into().ok(),
        value => value.as_i64()?.try_into().ok(),
    }
}

/// The value at a path; its default where it is absent or null.
fn read<T: DeserializeOwned + Default>(object: &Value, path: &'static str) -> Result<T, ViewError> {
    let mut keys = path.split('.');
    let value = keys.try_fold(object, |value, key| value.get(key));
    match value {
        None | Some(Value::Null) => Ok(T::default()),
        Some(value) => T::deserialize(value).map_err(|error| ViewError {
            field: path,
            problem: error.to_string(),
        }),
    }
}

/// A number of at least 0.
fn count(object: &Value, path: &'static str) -> Result<Option<u32>, ViewError> {
    let number: Option<i32> = read(object, path)?;
    Ok(number.map(|number| u32::try_from(number).unwrap_or_default()))
}
