//! What is filled in when a StatefulSet is written. Source: statefulset.md 2.2.

use serde_json::{Map, Value, json};

use super::{KIND, Version};
use crate::fields::map_mut;
pub use crate::kruise::defaults::Gates;
use crate::kruise::defaults::{default_templates, set_empty, set_unset};

/// Fills in the defaults of a StatefulSet in its own version. `old` is the stored object, in the same version, on updates.
///
/// The template gets defaults only where it is new or changed: a controller of another Kubernetes version, whose
/// defaults differ, must not make a new revision of a template that nobody touched.
pub fn default(object: &mut Value, old: Option<&Value>, gates: Gates) {
    let Some(version) = Version::of_object(object, KIND) else {
        return;
    };
    let is_new_template =
        old.is_none_or(|old| old.pointer("/spec/template") != object.pointer("/spec/template"));
    set_empty(map_mut(object, &["spec"]), "podManagementPolicy", "OrderedReady");
    let strategy = map_mut(object, &["spec", "updateStrategy"]);
    set_empty(strategy, "type", "RollingUpdate");
    if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
        set_unset(strategy, "rollingUpdate", json!({}));
        default_rolling(map_mut(object, &["spec", "updateStrategy", "rollingUpdate"]));
    }
    if version == Version::V1beta1 {
        if gates.deletes_claims {
            let retention = map_mut(object, &["spec", "persistentVolumeClaimRetentionPolicy"]);
            set_empty(retention, "whenDeleted", "Retain");
            set_empty(retention, "whenScaled", "Retain");
        }
        if gates.resizes_claims {
            let strategy = map_mut(object, &["spec", "volumeClaimUpdateStrategy"]);
            set_empty(strategy, "type", "OnDelete");
        }
    }
    let spec = map_mut(object, &["spec"]);
    set_unset(spec, "replicas", 1);
    set_unset(spec, "revisionHistoryLimit", 10);
    if is_new_template && !gates.leaves_templates {
        default_templates(spec);
    }
}

fn default_rolling(rolling: &mut Map<String, Value>) {
    set_unset(rolling, "partition", 0);
    set_unset(rolling, "maxUnavailable", 1);
    set_empty(rolling, "podUpdatePolicy", "ReCreate");
    if rolling.get("podUpdatePolicy").and_then(Value::as_str) != Some("ReCreate") {
        set_unset(rolling, "inPlaceUpdateStrategy", json!({}));
    }
    set_unset(rolling, "minReadySeconds", 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: Version, spec: &Value) -> Value {
        json!({ "apiVersion": version.api_version(), "kind": KIND, "metadata": {}, "spec": spec })
    }

    /// statefulset.md 2.2: the table.
    #[test]
    fn absent_fields_get_their_defaults() {
        for version in Version::ALL {
            let mut bare = object(version, &json!({}));
            default(&mut bare, None, Gates::default());
            let mut want = json!({
                "podManagementPolicy": "OrderedReady", "replicas": 1, "revisionHistoryLimit": 10,
                "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": {
                    "partition": 0, "maxUnavailable": 1, "podUpdatePolicy": "ReCreate", "minReadySeconds": 0 } },
            });
            if version == Version::V1beta1 {
                want["persistentVolumeClaimRetentionPolicy"] =
                    json!({ "whenDeleted": "Retain", "whenScaled": "Retain" });
            }
            assert_eq!(bare["spec"], want, "{version:?}");
            let once = bare.clone();
            default(&mut bare, Some(&once), Gates::default());
            assert_eq!(bare, once, "{version:?}: again");
        }
    }

    #[test]
    fn what_is_written_stays() {
        let written = json!({
            "podManagementPolicy": "Parallel", "replicas": 0, "revisionHistoryLimit": 0,
            "updateStrategy": { "type": "OnDelete" },
            "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Delete", "whenScaled": "Retain" },
        });
        let mut kept = object(Version::V1beta1, &written);
        default(&mut kept, None, Gates::default());
        assert_eq!(kept["spec"], written);
        let rolling = json!({ "updateStrategy": { "rollingUpdate": { "partition": "60%", "podUpdatePolicy": "InPlaceOnly" } } });
        let mut percent = object(Version::V1beta1, &rolling);
        default(&mut percent, None, Gates::default());
        let rolling = &percent["spec"]["updateStrategy"]["rollingUpdate"];
        assert_eq!(
            (&rolling["partition"], &rolling["inPlaceUpdateStrategy"]),
            (&json!("60%"), &json!({}))
        );
    }

    #[test]
    fn gates_decide_what_claims_get() {
        let defaulted = |deletes_claims, resizes_claims| {
            let mut bare = object(Version::V1beta1, &json!({}));
            let gates = Gates {
                deletes_claims,
                resizes_claims,
                ..Gates::default()
            };
            default(&mut bare, None, gates);
            let spec = bare["spec"].as_object().unwrap().clone();
            (
                spec.contains_key("persistentVolumeClaimRetentionPolicy"),
                spec.contains_key("volumeClaimUpdateStrategy"),
            )
        };
        assert_eq!(defaulted(true, false), (true, false));
        assert_eq!(defaulted(false, true), (false, true));
    }

    #[test]
    fn templates_get_defaults_when_they_change() {
        let with = |image: &str| {
            object(
                Version::V1beta1,
                &json!({ "template": { "spec": { "containers": [{ "name": "c", "image": image }] } },
                    "volumeClaimTemplates": [{ "metadata": { "name": "data" } }] }),
            )
        };
        let policy = |object: &Value| object.pointer("/spec/template/spec/restartPolicy").cloned();
        let old = with("i:1");
        let mut same = with("i:1");
        default(&mut same, Some(&old), Gates::default());
        assert_eq!(policy(&same), None);
        let mut other = with("i:2");
        default(&mut other, Some(&old), Gates::default());
        assert_eq!(policy(&other), Some(json!("Always")));
        assert_eq!(
            other["spec"]["volumeClaimTemplates"][0]["spec"]["volumeMode"],
            "Filesystem"
        );
    }

    #[test]
    fn other_kinds_are_left_alone() {
        let mut other = json!({ "apiVersion": "apps/v1", "kind": KIND, "spec": {} });
        let before = other.clone();
        default(&mut other, None, Gates::default());
        assert_eq!(other, before);
    }
}
