//! DaemonSets of `apps.kruise.io` from one version to the other. Source: daemonset.md D1.
//!
//! Nothing of a spec is lost on the way there and back. Where a field of one version is an annotation of the other, the
//! field wins; upstream leaves the annotation behind, so that a field that is taken back comes back with the next reader
//! of v1alpha1.

use serde_json::{Map, Value, json};

use super::{KIND, Version};
use crate::fields::{flag, map_mut};
use crate::keys;
use crate::kruise::{self, ConversionError};

/// Where the fields of rolling updates are.
const ROLLING: &str = "/spec/updateStrategy/rollingUpdate";

/// A DaemonSet in another version. Of its metadata, annotations may change.
///
/// # Errors
/// It is no DaemonSet of `apps.kruise.io`, or one of the versions is not known.
pub fn convert(object: Value, wanted: &str) -> Result<Value, ConversionError> {
    kruise::convert(object, KIND, wanted, |object, wanted| match wanted {
        Version::V1alpha1 => to_v1alpha1(object),
        Version::V1beta1 => to_v1beta1(object),
    })
}

fn to_v1beta1(object: &mut Value) {
    if let Some(rolling) = object.pointer_mut(ROLLING).and_then(Value::as_object_mut)
        && rolling.get("rollingUpdateType").and_then(Value::as_str) == Some("Surging")
    {
        rolling.insert("rollingUpdateType".to_owned(), "Standard".into());
    }
    if take_annotation(object).is_some_and(|value| value == "true") {
        let scale = map_mut(object, &["spec", "scaleStrategy"]);
        scale.insert("partitionedScaling".to_owned(), true.into());
    }
    rename(object, "daemonSetHash", "updateRevision");
}

fn to_v1alpha1(object: &mut Value) {
    let is_partitioned = flag(object, "/spec/scaleStrategy/partitionedScaling");
    map_mut(object, &["spec"]).remove("scaleStrategy");
    take_annotation(object);
    if is_partitioned {
        let annotations = map_mut(object, &["metadata", "annotations"]);
        annotations.insert(keys::PROGRESSIVE_CREATE_POD.to_owned(), json!("true"));
    }
    rename(object, "updateRevision", "daemonSetHash");
}

/// The annotation that v1alpha1 has in place of `partitionedScaling`; it is taken away, and with it an empty map.
fn take_annotation(object: &mut Value) -> Option<Value> {
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    let annotations = metadata.get_mut("annotations")?.as_object_mut()?;
    let taken = annotations.remove(keys::PROGRESSIVE_CREATE_POD);
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    taken
}

/// A field of the status under its name in the other version.
fn rename(object: &mut Value, from: &str, to: &str) {
    let status: Option<&mut Map<String, Value>> = object.get_mut("status").and_then(Value::as_object_mut);
    if let Some(status) = status
        && let Some(value) = status.remove(from)
    {
        status.insert(to.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: Version, annotations: &Value, spec: &Value, status: &Value) -> Value {
        json!({
            "apiVersion": version.api_version(), "kind": KIND, "metadata": { "name": "d", "annotations": annotations },
            "spec": spec, "status": status,
        })
    }

    /// daemonset.md D1: what the two versions call differently.
    #[test]
    fn fields_have_the_names_of_their_version() {
        let progressive = json!({ "team": "edge", (keys::PROGRESSIVE_CREATE_POD): "true" });
        let old = object(
            Version::V1alpha1,
            &progressive,
            &json!({ "burstReplicas": 3 }),
            &json!({ "numberReady": 1, "daemonSetHash": "abc" }),
        );
        let new = object(
            Version::V1beta1,
            &json!({ "team": "edge" }),
            &json!({ "burstReplicas": 3, "scaleStrategy": { "partitionedScaling": true } }),
            &json!({ "numberReady": 1, "updateRevision": "abc" }),
        );
        assert_eq!(convert(old.clone(), "apps.kruise.io/v1beta1").unwrap(), new);
        assert_eq!(convert(new, "apps.kruise.io/v1alpha1").unwrap(), old);
    }

    #[test]
    fn surging_becomes_standard() {
        let rolling = |name: &str| json!({ "updateStrategy": { "rollingUpdate": { "rollingUpdateType": name, "maxSurge": 1 } } });
        let old = object(
            Version::V1alpha1,
            &json!({ "a": "b" }),
            &rolling("Surging"),
            &json!({}),
        );
        let new = convert(old, "apps.kruise.io/v1beta1").unwrap();
        assert_eq!(new["spec"], rolling("Standard"));
    }

    /// A field that is taken back must not come back.
    #[test]
    fn the_annotation_follows_the_field() {
        let stale = json!({ (keys::PROGRESSIVE_CREATE_POD): "true" });
        let off = json!({ "scaleStrategy": { "partitionedScaling": false } });
        let new = object(Version::V1beta1, &stale, &off, &json!({}));
        let old = convert(new, "apps.kruise.io/v1alpha1").unwrap();
        assert_eq!(old["metadata"], json!({ "name": "d" }));
        assert_eq!(old["spec"], json!({}));
    }

    #[test]
    fn what_is_no_such_daemonset_is_refused() {
        let native = json!({ "apiVersion": "apps/v1", "kind": KIND });
        assert!(convert(native, "apps.kruise.io/v1beta1").is_err());
        let known = object(Version::V1beta1, &json!({}), &json!({}), &json!({}));
        assert!(convert(known, "apps.kruise.io/v2").is_err());
    }
}
