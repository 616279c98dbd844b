//! StatefulSets of `apps.kruise.io` as decisions see them: v1beta1, which is what the server stores.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

pub use protection::{Arbiter, ArbiterLabel, ArbiterProbe, FailurePolicy, HttpProbe, Protection};
pub use reserved::Reserved;
pub(crate) use reserved::range_of;
pub use status::{ClaimStatus, ProtectionStatus, StatefulSetCondition, StatefulSetStatus};

use super::lifecycle::Lifecycle;
use super::meta::{MetaWire, Uid, ViewError};
use super::read::{count, read};
use super::update_order::PriorityStrategy;
use super::update_policy::{InPlaceUpdateStrategy, PodUpdatePolicy, UpdateType};
use crate::amount::Amount;
use crate::fields::{list, text};
use crate::keys;
use crate::selector::{LabelSelector, Labels};

mod protection;
mod reserved;
mod status;
#[cfg(test)]
mod tests;

/// A protection, or what is wrong with what was written.
pub type ProtectionRead = Result<Arc<Protection>, Arc<str>>;

/// A StatefulSet. There are few of them, so the templates stay whole.
#[derive(Debug, Clone, PartialEq)]
pub struct StatefulSetView {
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
    /// Is `spec.volumeClaimUpdateStrategy.type` `OnPodRollingUpdate`: do claims grow with their templates?
    pub resizes_claims: bool,
    /// `spec.serviceName`.
    pub service_name: Arc<str>,
    /// Is `spec.podManagementPolicy` `Parallel`? Otherwise one pod after the other comes and goes.
    pub is_parallel: bool,
    /// `spec.updateStrategy.type`.
    pub update: UpdateType,
    /// `spec.updateStrategy.rollingUpdate`.
    pub rolling: Option<RollingStatefulSet>,
    /// `spec.lifecycle`.
    pub lifecycle: Lifecycle,
    /// `spec.scaleStrategy.maxUnavailable`: how many pods may be unavailable while pods are added; `None`: any number.
    pub scale_max_unavailable: Option<Amount>,
    /// `spec.persistentVolumeClaimRetentionPolicy`.
    pub retention: ClaimRetention,
    /// `spec.reserveOrdinals`.
    pub reserved: Reserved,
    /// `spec.ordinals.start`. Range: 0..; what is below counts as 0.
    pub start: u32,
    /// `spec.revisionHistoryLimit`, 10 when absent.
    pub revision_history_limit: u32,
    /// Which pods an update leaves alone; an error says what cannot be read, and then none is updated.
    pub protection: Option<ProtectionRead>,
    /// `status`. Where the definition of the kind lacks `protection`, that is what the annotation says.
    pub status: StatefulSetStatus,
    /// Is there an annotation with the status of protection?
    pub annotates_protection: bool,
}

/// `spec.updateStrategy.rollingUpdate`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RollingStatefulSet {
    /// `podUpdatePolicy`.
    pub pod_update_policy: PodUpdatePolicy,
    /// `partition`, or the annotation that overrides it: how many pods stay at old revisions.
    pub partition: Option<Amount>,
    /// `maxUnavailable`, 1 when absent.
    pub max_unavailable: Option<Amount>,
    /// `paused`.
    pub is_paused: bool,
    /// `unorderedUpdate`: is it there, so that pods are not updated in the order of their ordinals?
    pub is_unordered: bool,
    /// `unorderedUpdate.priorityStrategy`.
    pub priority: PriorityStrategy,
    /// `inPlaceUpdateStrategy`.
    pub in_place: InPlaceUpdateStrategy,
    /// `minReadySeconds`. Units: seconds.
    pub min_ready_seconds: u32,
    /// Is `pausedCreates` `Current`: do pods that are created while it is paused come at the current revision? Source:
    /// statefulset.md 15.1 row 25.
    pub creates_current_while_paused: bool,
}

/// `spec.persistentVolumeClaimRetentionPolicy`: when claims go. What is neither `Retain` nor `Delete` counts as `Retain`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClaimRetention {
    /// Is `whenDeleted` `Delete`: do claims go with the StatefulSet?
    pub deletes_with_set: bool,
    /// Is `whenScaled` `Delete`: does a claim go when its pod is one too many?
    pub deletes_when_scaled: bool,
}

/// The fields of which the view takes a word.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RetentionWire {
    when_deleted: String,
    when_scaled: String,
}

impl StatefulSetView {
    /// Reads the object as the API serves it in version v1beta1.
    ///
    /// Negative numbers, which admission refuses, count as 0.
    ///
    /// # Errors
    /// A field has a type that the schema of the kind does not allow; the error names it.
    pub fn from_json(json: &[u8]) -> Result<Self, ViewError> {
        let mut object: Value = serde_json::from_slice(json).map_err(|error| ViewError {
            field: "StatefulSet",
            problem: error.to_string(),
        })?;
        let template = object.pointer_mut("/spec/template").map(Value::take);
        let object = &object;
        let mut metadata: MetaWire = read(object, "metadata")?;
        let mut status: StatefulSetStatus = read(object, "status")?;
        // Ours, and no annotation of anything else; what cannot be read is written anew.
        let annotated = metadata.annotations.remove(keys::PROTECTION_STATUS);
        if let (None, Some(text)) = (&status.protection, &annotated) {
            status.protection = serde_json::from_str(text).ok();
        }
        let kind: String = read(object, "spec.updateStrategy.type")?;
        let policy: String = read(object, "spec.podManagementPolicy")?;
        let claims: String = read(object, "spec.volumeClaimUpdateStrategy.type")?;
        let retention: RetentionWire = read(object, "spec.persistentVolumeClaimRetentionPolicy")?;
        Ok(Self {
            uid: metadata.uid()?,
            resource_version: metadata.version(),
            generation: metadata.generation.unwrap_or_default(),
            deleted_at: metadata.deletion_timestamp,
            replicas: count(object, "spec.replicas")?.unwrap_or(1),
            selector: read(object, "spec.selector")?,
            template: Arc::new(template.unwrap_or_default()),
            claim_templates: read::<Vec<Value>>(object, "spec.volumeClaimTemplates")?.into(),
            resizes_claims: claims == "OnPodRollingUpdate",
            service_name: read(object, "spec.serviceName")?,
            is_parallel: policy == "Parallel",
            update: kind.into(),
            rolling: RollingStatefulSet::read(object, &metadata.annotations)?,
            lifecycle: read(object, "spec.lifecycle")?,
            scale_max_unavailable: read(object, "spec.scaleStrategy.maxUnavailable")?,
            retention: ClaimRetention {
                deletes_with_set: retention.when_deleted == "Delete",
                deletes_when_scaled: retention.when_scaled == "Delete",
            },
            reserved: Reserved::of(&read::<Vec<Value>>(object, "spec.reserveOrdinals")?),
            start: count(object, "spec.ordinals.start")?.unwrap_or_default(),
            revision_history_limit: count(object, "spec.revisionHistoryLimit")?.unwrap_or(10),
            protection: protection(object, &metadata.annotations)?,
            status,
            annotates_protection: annotated.is_some(),
            namespace: metadata.namespace.into(),
            name: metadata.name.into(),
            labels: metadata.labels,
            annotations: metadata.annotations,
        })
    }

    /// Has its rollout been paused?
    pub fn is_paused(&self) -> bool {
        self.rolling.as_ref().is_some_and(|rolling| rolling.is_paused)
    }

    /// May pods be updated in any order? Protection needs that. Source: statefulset.md 16.1.
    pub fn is_unordered(&self) -> bool {
        self.protection.is_some() || self.rolling.as_ref().is_some_and(|rolling| rolling.is_unordered)
    }

    /// How long a pod has to be ready before it is available. Units: seconds.
    pub fn min_ready_seconds(&self) -> u32 {
        self.rolling
            .as_ref()
            .map_or(0, |rolling| rolling.min_ready_seconds)
    }
}

impl RollingStatefulSet {
    fn read(object: &Value, annotations: &Labels) -> Result<Option<Self>, ViewError> {
        let written: Option<Value> = read(object, "spec.updateStrategy.rollingUpdate")?;
        if written.is_none() {
            return Ok(None);
        }
        let unordered: Option<Value> = read(object, "spec.updateStrategy.rollingUpdate.unorderedUpdate")?;
        let priority = "spec.updateStrategy.rollingUpdate.unorderedUpdate.priorityStrategy";
        let creates: String = read(object, "spec.updateStrategy.rollingUpdate.pausedCreates")?;
        let minimum = count(object, "spec.updateStrategy.rollingUpdate.minReadySeconds")?;
        let partition: Option<Value> = read(object, "spec.updateStrategy.rollingUpdate.partition")?;
        Ok(Some(Self {
            pod_update_policy: read(object, "spec.updateStrategy.rollingUpdate.podUpdatePolicy")?,
            partition: match annotations.get(keys::PARTITION) {
                Some(text) => Some(partition_of(&annotated_number(text))),
                None => partition.as_ref().map(partition_of),
            },
            max_unavailable: read(object, "spec.updateStrategy.rollingUpdate.maxUnavailable")?,
            is_paused: read(object, "spec.updateStrategy.rollingUpdate.paused")?,
            is_unordered: unordered.is_some(),
            priority: read(object, priority)?,
            in_place: InPlaceUpdateStrategy::read(object)?,
            min_ready_seconds: minimum.unwrap_or_default(),
            creates_current_while_paused: creates == "Current",
        }))
    }
}

/// A number or a percentage as an annotation holds it: digits are a number.
pub(crate) fn annotated_number(text: &str) -> Value {
    text.parse::<i64>()
        .map_or_else(|_| Value::from(text), Value::from)
}

/// What a percentage has to be as partition: whole, and from 0% to 100%. Source: statefulset.md 15.2.
pub(crate) fn is_partition_percent(text: &str) -> bool {
    let digits = text.strip_suffix('%').unwrap_or_default();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number && digits.parse::<u8>().is_ok_and(|percent| percent <= 100)
}

fn partition_of(written: &Value) -> Amount {
    match written.as_str() {
        Some(text) if !is_partition_percent(text) => Amount::Other(written.to_string().into()),
        _ => Amount::of(written),
    }
}

/// The field, or else the annotation for clusters whose definition of the kind does not know the field. Source:
/// statefulset.md 16.1.
fn protection(object: &Value, annotations: &Labels) -> Result<Option<ProtectionRead>, ViewError> {
    const FIELD: &str = "spec.updateStrategy.rollingUpdate.protection";
    let field: Option<Value> = read(object, FIELD)?;
    let (place, written) = match (field, annotations.get(keys::UPDATE_PROTECTION)) {
        (Some(field), _) => (FIELD.to_owned(), Ok(field)),
        (None, Some(text)) => (
            keys::annotation_field(keys::UPDATE_PROTECTION),
            serde_json::from_str(text).map_err(|error| error.to_string()),
        ),
        (None, None) => return Ok(None),
    };
    let read = written.and_then(|value| Protection::of(&value));
    let read = read.and_then(|read| {
        let label = read.arbiter.as_ref().and_then(|arbiter| arbiter.label.as_ref());
        let selector = object.pointer("/spec/selector").unwrap_or(&Value::Null);
        match label.and_then(|label| label_key_problem(&label.key, selector)) {
            Some(why) => Err(format!("arbiter.label.key {why}")),
            None => Ok(read),
        }
    });
    let read = read.map_err(|why| format!("{place}: {why}"));
    Ok(Some(read.map(Arc::new).map_err(Arc::from)))
}

/// Why an arbiter must not write a label: with it pods would not be those of their StatefulSet any more. `selector`: that of
/// the StatefulSet.
pub(crate) fn label_key_problem(key: &str, selector: &Value) -> Option<&'static str> {
    let selects = selector
        .pointer("/matchLabels")
        .and_then(|labels| labels.get(key));
    let mut expressions = list(selector, "/matchExpressions").iter();
    if selects.is_some() || expressions.any(|expression| text(expression, "/key") == key) {
        return Some("is a key of spec.selector: pods would leave the StatefulSet");
    }
    keys::is_reserved(key).then_some("belongs to Kubernetes, OpenKruise or pitstop")
}
