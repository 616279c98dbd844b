//! What is filled in when a CloneSet is written. Source: cloneset.md 1.5.

use serde_json::{Map, Value, json};

use super::Version;
use crate::fields::{list_mut, map_mut};
use crate::pod_template::default_spec;

#[cfg(test)]
mod tests;

/// `maxUnavailable` where none is written.
const MAX_UNAVAILABLE: &str = "20%";

/// Fills in the defaults of a CloneSet in its own version. `old` is the stored object, in the same version, on updates.
///
/// The template gets defaults only where it is new or changed: a controller of another Kubernetes version, whose
/// defaults differ, must not make a new revision of a template that nobody touched.
pub fn default(object: &mut Value, old: Option<&Value>) {
    let Some(version) = Version::of_object(object) else {
        return;
    };
    let is_new_template =
        old.is_none_or(|old| old.pointer("/spec/template") != object.pointer("/spec/template"));
    let spec = map_mut(object, &["spec"]);
    set_unset(spec, "replicas", 1);
    set_unset(spec, "revisionHistoryLimit", 10);
    if is_new_template {
        default_templates(spec);
    }
    let strategy = map_mut(object, &["spec", "updateStrategy"]);
    match version {
        Version::V1alpha1 => {
            default_policy(strategy, version.policy());
            default_amounts(strategy);
        }
        Version::V1beta1 => {
            if strategy
                .get("type")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .is_empty()
            {
                strategy.insert("type".to_owned(), "RollingUpdate".into());
            }
            if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
                set_unset(strategy, "rollingUpdate", json!({}));
                let rolling = map_mut(object, &["spec", "updateStrategy", "rollingUpdate"]);
                default_policy(rolling, version.policy());
                default_amounts(rolling);
            }
        }
    }
}

/// The standard defaults of pods and claims. What is missing altogether is left to validation.
fn default_templates(spec: &mut Map<String, Value>) {
    if let Some(pod) = spec
        .get_mut("template")
        .and_then(|template| template.get_mut("spec"))
    {
        default_spec(pod);
    }
    if let Some(claims) = spec.get_mut("volumeClaimTemplates") {
        for claim in list_mut(claims, "") {
            set_unset(map_mut(claim, &["spec"]), "volumeMode", "Filesystem");
            set_unset(map_mut(claim, &["status"]), "phase", "Pending");
        }
    }
}

fn default_policy(strategy: &mut Map<String, Value>, field: &str) {
    if strategy
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .is_empty()
    {
        strategy.insert(field.to_owned(), "ReCreate".into());
    }
    if matches!(
        strategy.get(field).and_then(Value::as_str),
        Some("InPlaceIfPossible" | "InPlaceOnly")
    ) {
        set_unset(strategy, "inPlaceUpdateStrategy", json!({}));
    }
}

fn default_amounts(strategy: &mut Map<String, Value>) {
    set_unset(strategy, "partition", 0);
    set_unset(strategy, "maxUnavailable", MAX_UNAVAILABLE);
    set_unset(strategy, "maxSurge", 0);
}

/// Sets what is absent or null.
fn set_unset(map: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    if map.get(name).is_none_or(Value::is_null) {
        map.insert(name.to_owned(), value.into());
    }
}
