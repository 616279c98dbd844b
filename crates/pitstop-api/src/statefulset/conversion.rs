//! StatefulSets from one version to the other. Source: statefulset.md 2.5, 15.2.
//!
//! Nothing of a spec is lost on the way there and back: what v1alpha1 has no field for is kept in an annotation of the
//! object's form in that version. Upstream drops it.

use serde_json::{Map, Value, json};

use super::{KIND, Version};
use crate::amount::{self, Amount};
use crate::fields::{integer, map_mut};
use crate::keys;
use crate::kruise::{self, ConversionError};

#[cfg(test)]
mod tests;

/// Fields of the spec that v1alpha1 does not have.
const OF_SPEC: [&str; 6] = [
    "reserveOrdinals",
    "lifecycle",
    "scaleStrategy",
    "persistentVolumeClaimRetentionPolicy",
    "ordinals",
    "volumeClaimUpdateStrategy",
];

/// Fields of `rollingUpdate` that v1alpha1 does not have.
const OF_ROLLING: [&str; 2] = ["pausedCreates", "protection"];

/// Fields of the status that v1alpha1 does not have.
const OF_STATUS: [&str; 4] = [
    "updatedReadyReplicas",
    "updatedAvailableReplicas",
    "volumeClaims",
    "protection",
];

/// Where the fields of rolling updates are.
const ROLLING: [&str; 3] = ["spec", "updateStrategy", "rollingUpdate"];

/// What the annotation keeps of `rollingUpdate`.
const ROLLING_KEY: &str = "rollingUpdate";

/// A StatefulSet in another version. Of its metadata, annotations may change.
///
/// # Errors
/// It is no StatefulSet, or one of the versions is not known.
pub fn convert(object: Value, wanted: &str) -> Result<Value, ConversionError> {
    kruise::convert(object, KIND, wanted, |object, wanted| match wanted {
        Version::V1alpha1 => to_v1alpha1(object),
        Version::V1beta1 => to_v1beta1(object),
    })
}

fn to_v1alpha1(object: &mut Value) {
    let replicas = integer(object, "/spec/replicas").unwrap_or(1);
    let spec = map_mut(object, &["spec"]);
    let mut kept: Map<String, Value> = take(spec, &OF_SPEC);
    if object
        .pointer("/spec/updateStrategy/rollingUpdate")
        .is_some_and(Value::is_object)
    {
        let rolling = map_mut(object, &ROLLING);
        let mut kept_rolling = take(rolling, &OF_ROLLING);
        if let Some(written) = rolling.get("partition").filter(|value| value.is_string()) {
            let replicas = u32::try_from(replicas).unwrap_or_default();
            let number = amount::partition(Some(&Amount::of(written)), replicas).unwrap_or_default();
            kept_rolling.insert(
                "partition".to_owned(),
                json!({ "written": written, "as": number }),
            );
            rolling.insert("partition".to_owned(), number.into());
        }
        if !kept_rolling.is_empty() {
            kept.insert(ROLLING_KEY.to_owned(), kept_rolling.into());
        }
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        take(status, &OF_STATUS);
    }
    if !kept.is_empty() {
        let text = Value::from(kept).to_string();
        let annotations = map_mut(object, &["metadata", "annotations"]);
        annotations.insert(keys::STATEFULSET_V1BETA1.to_owned(), text.into());
    }
}

fn to_v1beta1(object: &mut Value) {
    let Some(Value::Object(mut kept)) = kept(object) else {
        return;
    };
    let rolling = kept.remove(ROLLING_KEY);
    let spec = map_mut(object, &["spec"]);
    for (name, value) in kept {
        spec.entry(name).or_insert(value);
    }
    let Some(Value::Object(mut rolling)) = rolling else {
        return;
    };
    // Somebody has chosen another strategy, or another partition, in the meantime: that stays.
    if object
        .pointer("/spec/updateStrategy/rollingUpdate")
        .is_none_or(|rolling| !rolling.is_object())
    {
        return;
    }
    let partition = rolling.remove("partition");
    let now = map_mut(object, &ROLLING);
    for (name, value) in rolling {
        now.entry(name).or_insert(value);
    }
    if let Some(partition) = partition
        && let (Some(written), Some(number)) = (partition.get("written"), partition.get("as"))
        && now.get("partition") == Some(number)
    {
        now.insert("partition".to_owned(), written.clone());
    }
}

/// What the annotation keeps; it is taken away, and with it an empty map of annotations.
fn kept(object: &mut Value) -> Option<Value> {
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    let annotations = metadata.get_mut("annotations")?.as_object_mut()?;
    let text = annotations.remove(keys::STATEFULSET_V1BETA1)?;
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    serde_json::from_str(text.as_str()?).ok()
}

/// Fields of a map, taken out.
fn take(map: &mut Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    let found = names
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), map.remove(*name)?)));
    found.collect()
}
