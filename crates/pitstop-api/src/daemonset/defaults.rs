//! What is filled in when a DaemonSet of `apps.kruise.io` is written. Source: daemonset.md D1.

use serde_json::{Map, Value, json};

use super::{KIND, Version};
use crate::fields::map_mut;
use crate::kruise::defaults::{default_templates, set_empty, set_unset};

/// `burstReplicas` where none is written. Units: pods.
pub const BURST_REPLICAS: u32 = 250;

/// Fills in the defaults of a DaemonSet in its own version. `old` is the stored object, in the same version, on updates.
///
/// The template gets defaults only where it is new or changed: a controller of another Kubernetes version, whose
/// defaults differ, must not make a new revision of a template that nobody touched.
pub fn default(object: &mut Value, old: Option<&Value>) {
    let Some(version) = Version::of_object(object, KIND) else {
        return;
    };
    let is_new_template =
        old.is_none_or(|old| old.pointer("/spec/template") != object.pointer("/spec/template"));
    let spec = map_mut(object, &["spec"]);
    set_unset(spec, "burstReplicas", BURST_REPLICAS);
    set_unset(spec, "revisionHistoryLimit", 10);
    if is_new_template {
        default_templates(spec);
    }
    let strategy = map_mut(object, &["spec", "updateStrategy"]);
    set_empty(strategy, "type", "RollingUpdate");
    if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
        set_unset(strategy, "rollingUpdate", json!({}));
        let rolling = map_mut(object, &["spec", "updateStrategy", "rollingUpdate"]);
        if version == Version::V1alpha1 {
            replace_surging(rolling);
        }
        default_rolling(rolling);
    }
}

/// `Surging` is an old name of `Standard` with a surge pod.
fn replace_surging(rolling: &mut Map<String, Value>) {
    const TYPE: &str = "rollingUpdateType";
    if rolling.get(TYPE).and_then(Value::as_str) == Some("Surging") {
        set_unset(rolling, "maxSurge", 1);
        set_unset(rolling, "maxUnavailable", 0);
        rolling.insert(TYPE.to_owned(), "Standard".into());
    }
}

/// Only where both amounts are unset do they get defaults, so that `maxSurge` alone is legal, unlike in `apps/v1`.
fn default_rolling(rolling: &mut Map<String, Value>) {
    set_empty(rolling, "rollingUpdateType", "Standard");
    let is_unset = |name: &str| rolling.get(name).is_none_or(Value::is_null);
    if is_unset("maxUnavailable") && is_unset("maxSurge") {
        set_unset(rolling, "maxUnavailable", 1);
        set_unset(rolling, "maxSurge", 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaulted(version: Version, spec: &Value) -> Value {
        let mut object =
            json!({ "apiVersion": version.api_version(), "kind": KIND, "metadata": {}, "spec": spec });
        default(&mut object, None);
        let once = object.clone();
        default(&mut object, Some(&once));
        assert_eq!(object, once, "{version:?}: again");
        object["spec"].clone()
    }

    fn rolling(version: Version, rolling: &Value) -> Value {
        let spec = json!({ "updateStrategy": { "rollingUpdate": rolling } });
        defaulted(version, &spec)["updateStrategy"]["rollingUpdate"].clone()
    }

    /// daemonset.md D1: the table.
    #[test]
    fn absent_fields_get_their_defaults() {
        for version in Version::ALL {
            let want = json!({
                "burstReplicas": 250, "revisionHistoryLimit": 10,
                "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": {
                    "rollingUpdateType": "Standard", "maxUnavailable": 1, "maxSurge": 0 } },
            });
            assert_eq!(defaulted(version, &json!({})), want, "{version:?}");
        }
    }

    #[test]
    fn what_is_written_stays() {
        let written = json!({ "burstReplicas": "10%", "revisionHistoryLimit": 0, "updateStrategy": { "type": "OnDelete" } });
        for version in Version::ALL {
            assert_eq!(defaulted(version, &written), written, "{version:?}");
        }
    }

    /// daemonset.md D1: amounts get defaults only if both are unset.
    #[test]
    fn one_amount_alone_stays_alone() {
        for version in Version::ALL {
            for alone in [json!({ "maxSurge": 1 }), json!({ "maxUnavailable": "20%" })] {
                let mut want = alone.clone();
                want["rollingUpdateType"] = "Standard".into();
                assert_eq!(rolling(version, &alone), want, "{version:?}");
            }
        }
    }

    /// daemonset.md D19.
    #[test]
    fn surging_of_v1alpha1_is_standard_with_a_surge_pod() {
        let surging = |mut amounts: Value| {
            amounts["rollingUpdateType"] = "Surging".into();
            amounts
        };
        let standard = |amounts: &[(&str, Value)]| {
            let mut all = json!({ "rollingUpdateType": "Standard" });
            for (name, value) in amounts {
                all[*name] = value.clone();
            }
            all
        };
        for (given, want) in [
            (
                json!({}),
                standard(&[("maxSurge", json!(1)), ("maxUnavailable", json!(0))]),
            ),
            (
                json!({ "maxSurge": "30%" }),
                standard(&[("maxSurge", json!("30%")), ("maxUnavailable", json!(0))]),
            ),
        ] {
            assert_eq!(rolling(Version::V1alpha1, &surging(given)), want);
        }
        let unknown = surging(json!({ "maxSurge": 1 }));
        assert_eq!(
            rolling(Version::V1beta1, &unknown),
            unknown,
            "v1beta1 does not know it"
        );
    }

    #[test]
    fn other_kinds_are_left_alone() {
        let mut native = json!({ "apiVersion": "apps/v1", "kind": KIND, "spec": {} });
        let before = native.clone();
        default(&mut native, None);
        assert_eq!(native, before);
    }
}
