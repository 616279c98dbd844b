//! What a DaemonSet of `apps.kruise.io` says beyond one of `apps`: v1beta1, which is what the server stores.

use serde::Deserialize;
use serde_json::Value;

use super::lifecycle::Lifecycle;
use super::meta::ViewError;
use super::read::read;
use crate::selector::LabelSelector;

/// The fields beyond those of a native DaemonSet. The numbers stay raw JSON: a decision says what is wrong with them.
///
/// Source: daemonset.md D1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdvancedDaemonSet {
    /// `updateStrategy.rollingUpdate.rollingUpdateType`.
    pub rolling_type: RollingType,
    /// `updateStrategy.rollingUpdate.selector`: nodes whose pods are updated.
    pub node_selector: Option<LabelSelector>,
    /// `updateStrategy.rollingUpdate.partition`: how many pods stay at their revision.
    pub partition: Option<Value>,
    /// `updateStrategy.rollingUpdate.paused`.
    pub is_paused: bool,
    /// `burstReplicas`: how many pods are made, and deleted, in one pass.
    pub burst_replicas: Option<Value>,
    /// `lifecycle`.
    pub lifecycle: Lifecycle,
    /// `scaleStrategy.partitionedScaling`: are pods that the partition would keep not made at all?
    pub scales_by_partition: bool,
}

/// How pods of a rolling update become new.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RollingType {
    /// `Standard`, also when absent: they are replaced.
    #[default]
    Standard,
    /// `InPlaceIfPossible`: they stay where the change allows it.
    InPlaceIfPossible,
    /// Something that this version does not know: nothing is done.
    Other(String),
}

impl From<String> for RollingType {
    fn from(text: String) -> Self {
        match text.as_str() {
            "" | "Standard" => Self::Standard,
            "InPlaceIfPossible" => Self::InPlaceIfPossible,
            _ => Self::Other(text),
        }
    }
}

impl<'de> Deserialize<'de> for RollingType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl AdvancedDaemonSet {
    pub(super) fn from_json(json: &[u8]) -> Result<Self, ViewError> {
        let object: Value = serde_json::from_slice(json).map_err(|error| ViewError {
            field: "DaemonSet",
            problem: error.to_string(),
        })?;
        let rolling: RollingWire = read(&object, "spec.updateStrategy.rollingUpdate")?;
        let scale: ScaleWire = read(&object, "spec.scaleStrategy")?;
        Ok(Self {
            rolling_type: rolling.rolling_update_type,
            node_selector: rolling.selector,
            partition: rolling.partition,
            is_paused: rolling.paused.unwrap_or_default(),
            burst_replicas: read(&object, "spec.burstReplicas")?,
            lifecycle: read(&object, "spec.lifecycle")?,
            scales_by_partition: scale.partitioned_scaling,
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RollingWire {
    rolling_update_type: RollingType,
    selector: Option<LabelSelector>,
    partition: Option<Value>,
    paused: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ScaleWire {
    partitioned_scaling: bool,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::view::DaemonSetView;

    fn view(spec: &Value) -> DaemonSetView {
        let object = json!({
            "metadata": { "name": "agent", "namespace": "edge", "uid": "00000000-0000-0000-0000-000000000001" },
            "spec": spec,
        });
        DaemonSetView::advanced_from_json(object.to_string().as_bytes()).unwrap()
    }

    /// daemonset.md D1.
    #[test]
    fn fields_are_read() {
        let bare = view(&json!({ "selector": {}, "template": {} }));
        assert_eq!(bare.advanced.as_deref(), Some(&AdvancedDaemonSet::default()));
        let full = view(&json!({
            "selector": {}, "template": {}, "burstReplicas": "10%", "scaleStrategy": { "partitionedScaling": true },
            "lifecycle": { "preDelete": { "labelsHandler": { "hold": "yes" } } },
            "updateStrategy": { "rollingUpdate": {
                "rollingUpdateType": "InPlaceIfPossible", "partition": 3, "paused": true,
                "selector": { "matchLabels": { "tier": "canary" } } } },
        }));
        let advanced = full.advanced.as_deref().unwrap();
        assert_eq!(advanced.rolling_type, RollingType::InPlaceIfPossible);
        assert_eq!(
            (&advanced.partition, &advanced.burst_replicas),
            (&Some(json!(3)), &Some(json!("10%")))
        );
        assert!(advanced.is_paused && advanced.scales_by_partition);
        assert!(advanced.lifecycle.pre_delete.is_some());
        let selector = advanced.node_selector.clone().unwrap();
        assert_eq!(selector.match_labels.len(), 1);
    }
}
