//! How a workload of `apps.kruise.io` has its pods updated.

use serde::Deserialize;
use serde_json::Value;

use super::meta::ViewError;
use super::read::read;
use crate::Amount;

/// `spec.updateStrategy.type`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum UpdateType {
    /// `RollingUpdate`, also when absent.
    #[default]
    RollingUpdate,
    /// `OnDelete`.
    OnDelete,
    /// Something that this version does not know: nothing is done.
    Other(String),
}

impl From<String> for UpdateType {
    fn from(text: String) -> Self {
        match text.as_str() {
            "" | "RollingUpdate" => Self::RollingUpdate,
            "OnDelete" => Self::OnDelete,
            _ => Self::Other(text),
        }
    }
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
    /// `imagePreDownloadParallelism`. Units: nodes at once, or a share of the replicas (inplace.md 13.16).
    pub image_pre_download_parallelism: Option<Amount>,
    /// `imagePreDownloadTimeoutSeconds`. Units: seconds.
    pub image_pre_download_timeout_seconds: Option<u32>,
    /// `imagePreDownloadMinUpdatedReadyPods`. Units: pods, or a share of the replicas (inplace.md 13.16).
    pub image_pre_download_min_updated_ready_pods: Option<Amount>,
}

impl InPlaceUpdateStrategy {
    pub(super) fn read(object: &Value) -> Result<Self, ViewError> {
        let path = "spec.updateStrategy.rollingUpdate.inPlaceUpdateStrategy";
        let wire: InPlaceWire = read(object, path)?;
        let count = |number: i32| u32::try_from(number).unwrap_or_default();
        Ok(Self {
            grace_period_seconds: count(wire.grace_period_seconds),
            image_pre_download_parallelism: wire.image_pre_download_parallelism.as_ref().map(Amount::of_text),
            image_pre_download_timeout_seconds: wire.image_pre_download_timeout_seconds.map(count),
            image_pre_download_min_updated_ready_pods: wire
                .image_pre_download_min_updated_ready_pods
                .as_ref()
                .map(Amount::of_text),
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct InPlaceWire {
    grace_period_seconds: i32,
    image_pre_download_parallelism: Option<Value>,
    image_pre_download_timeout_seconds: Option<i32>,
    image_pre_download_min_updated_ready_pods: Option<Value>,
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
