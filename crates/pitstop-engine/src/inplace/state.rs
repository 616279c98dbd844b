//! The annotations by which an update in place survives whoever began it.
//!
//! They are those of upstream, to the byte, and one more member that others do not look at: [`Proof`], which holds what
//! is needed to tell that a container really was replaced. Source: inplace.md 2.1, 2.2, 13.1.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use pitstop_api::selector::Labels;
use pitstop_api::view::{InPlaceView, Resources};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::UpdateSpec;
use super::hash::go_json;

/// `apps.kruise.io/inplace-update-state`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UpdateState {
    /// The revision that the update leads to.
    pub revision: String,
    /// When it was begun, in whole seconds.
    pub update_timestamp: Option<Timestamp>,
    /// The images of containers just before theirs were changed; null when there are none.
    pub last_container_statuses: Option<BTreeMap<String, LastStatus>>,
    /// Has the environment of containers to be refreshed?
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub update_env_from_metadata: bool,
    /// Do resources change?
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub update_resources: bool,
    /// Do images change?
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub update_images: bool,
    /// Images of containers whose turn comes later.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub next_container_images: BTreeMap<String, String>,
    /// Metadata that containers read whose turn comes later.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub next_container_ref_metadata: BTreeMap<String, RefMetadata>,
    /// Resources of containers whose turn comes later.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub next_container_resources: BTreeMap<String, Resources>,
    /// What has to be true before their turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_check_before_next: Option<PreCheck>,
    /// The containers that were changed, batch by batch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub container_batches_record: Vec<BatchRecord>,
    /// What tells that containers were replaced.
    #[serde(rename = "pitstop", skip_serializing_if = "Proof::is_none")]
    pub proof: Proof,
}

/// The image of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LastStatus {
    /// Its digest.
    #[serde(rename = "imageID")]
    pub image_id: String,
}

/// Labels and annotations that a container reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RefMetadata {
    /// Labels.
    pub labels: Labels,
    /// Annotations.
    pub annotations: Labels,
}

/// What upstream's metadata looks like in JSON: with a time of creation that is always null.
#[derive(Serialize, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RefMetadataWire {
    creation_timestamp: Option<Value>,
    #[serde(skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
    #[serde(skip_serializing_if = "Labels::is_empty")]
    annotations: Labels,
}

impl Serialize for RefMetadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RefMetadataWire {
            creation_timestamp: None,
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RefMetadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = RefMetadataWire::deserialize(deserializer)?;
        Ok(Self {
            labels: wire.labels,
            annotations: wire.annotations,
        })
    }
}

/// What has to be true before the next batch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PreCheck {
    /// Containers that have to be ready.
    pub containers_required_ready: Vec<String>,
}

/// Containers that were changed together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchRecord {
    /// When, in whole seconds.
    pub timestamp: Option<Timestamp>,
    /// Their names, sorted.
    pub containers: Vec<String>,
}

/// What tells that containers were replaced, and by what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Proof {
    /// When the update was begun, exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub began_at: Option<Timestamp>,
    /// The revision that the pod had, while no container has been touched for this update: it can still be taken back.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from_revision: String,
    /// When containers were changed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_at: Option<Timestamp>,
    /// `metadata.generation` of the pod after that; 0 where the server keeps none.
    #[serde(skip_serializing_if = "is_zero")]
    pub generation: i64,
    /// The containers whose images were changed since an update was last seen to be complete.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub containers: BTreeMap<String, Replaced>,
    /// The resources that containers are to have, as far as they were changed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, Resources>,
    /// When the update was seen to be complete. It is not judged again after that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
}

impl Proof {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// A container whose image was changed, as it was just before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Replaced {
    /// Which container it was; empty when none had been started.
    #[serde(rename = "containerID", skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// How often it had been started again.
    pub restart_count: i32,
    /// The image that it had when an update was last seen to be complete.
    pub from_image: String,
    /// Which container that was.
    #[serde(rename = "fromContainerID", skip_serializing_if = "String::is_empty")]
    pub from_container_id: String,
    /// The image that it is to have.
    pub to_image: String,
    /// Images that it was to have in between, by updates that were never seen to be complete.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub superseded: Vec<String>,
    /// Digests that it was seen to run since.
    #[serde(rename = "imageIDs", skip_serializing_if = "Vec::is_empty")]
    pub image_ids: Vec<String>,
}

/// An annotation that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("annotation {key} is malformed: {problem}")]
pub struct Malformed {
    /// Its key.
    pub key: &'static str,
    /// What is wrong.
    pub problem: String,
}

impl UpdateState {
    /// The state of a pod; `None` when it was never updated in place.
    ///
    /// # Errors
    /// The annotation is not of this form.
    pub fn of(view: &InPlaceView) -> Result<Option<Self>, Malformed> {
        read(pitstop_api::keys::INPLACE_STATE, view.state())
    }

    /// The annotation.
    pub fn to_json(&self) -> String {
        go_json(self)
    }

    /// Are there containers whose turn comes later?
    pub fn has_next(&self) -> bool {
        !self.next_container_images.is_empty()
            || !self.next_container_ref_metadata.is_empty()
            || !self.next_container_resources.is_empty()
    }

    /// When the update was begun.
    pub fn began_at(&self) -> Option<Timestamp> {
        self.proof.began_at.or(self.update_timestamp)
    }
}

/// `apps.kruise.io/inplace-update-grace`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GraceState {
    /// The revision that the update leads to.
    pub revision: String,
    /// New images, by container.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub container_images: BTreeMap<String, String>,
    /// Metadata that containers read, by container.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub container_ref_metadata: BTreeMap<String, RefMetadata>,
    /// New resources, by container.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub container_resources: BTreeMap<String, Resources>,
    /// Strategic merge patch of all other metadata.
    #[serde(with = "base64_json", skip_serializing_if = "Option::is_none")]
    pub meta_data_patch: Option<Value>,
    /// Has the environment of containers to be refreshed?
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub update_env_from_metadata: bool,
    /// How long the pod is not ready before its containers change. Units: seconds.
    #[serde(skip_serializing_if = "is_zero_seconds")]
    pub grace_seconds: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero_seconds(value: &u32) -> bool {
    *value == 0
}

/// JSON as bytes in base64, as Go writes them.
mod base64_json {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_json::Value;

    #[allow(clippy::ref_option, reason = "the signature serde asks for")]
    pub(super) fn serialize<S: Serializer>(value: &Option<Value>, serializer: S) -> Result<S::Ok, S::Error> {
        let json = value.as_ref().map(super::go_json).unwrap_or_default();
        serializer.serialize_str(&STANDARD.encode(json))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        let value = serde_json::from_slice(&bytes).map_err(serde::de::Error::custom)?;
        Ok(Some(value))
    }
}

impl GraceState {
    /// The update of a pod that waits for the end of its grace period.
    ///
    /// # Errors
    /// The annotation is not of this form.
    pub fn of(view: &InPlaceView) -> Result<Option<Self>, Malformed> {
        read(pitstop_api::keys::INPLACE_GRACE, view.grace())
    }

    /// The annotation.
    pub fn to_json(&self) -> String {
        go_json(self)
    }

    /// When it ends, for an update of this state; `None` when that never says when it began.
    pub fn ends_at(&self, state: &UpdateState) -> Option<Timestamp> {
        let began_at = state.began_at()?;
        let grace = SignedDuration::from_secs(i64::from(self.grace_seconds));
        Some(began_at.checked_add(grace).unwrap_or(Timestamp::MAX))
    }
}

impl From<&UpdateSpec> for GraceState {
    fn from(spec: &UpdateSpec) -> Self {
        Self {
            revision: spec.revision.clone(),
            container_images: spec.images.clone(),
            container_ref_metadata: spec.ref_metadata.clone(),
            container_resources: spec.resources.clone(),
            meta_data_patch: spec.metadata_patch.clone(),
            update_env_from_metadata: spec.update_env,
            grace_seconds: spec.grace_seconds,
        }
    }
}

impl From<GraceState> for UpdateSpec {
    fn from(grace: GraceState) -> Self {
        Self {
            revision: grace.revision,
            images: grace.container_images,
            resources: grace.container_resources,
            ref_metadata: grace.container_ref_metadata,
            metadata_patch: grace.meta_data_patch,
            update_env: grace.update_env_from_metadata,
            init_readers: BTreeSet::new(),
            grace_seconds: 0,
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(
    key: &'static str,
    annotation: Option<&str>,
) -> Result<Option<T>, Malformed> {
    let Some(text) = annotation else {
        return Ok(None);
    };
    serde_json::from_str(text).map(Some).map_err(|error| Malformed {
        key,
        problem: error.to_string(),
    })
}
