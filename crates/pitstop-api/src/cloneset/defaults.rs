//! What is filled in when a CloneSet is written. Source: cloneset.md 1.5.

use serde_json::{Map, Value, json};

use super::{KIND, Version};
use crate::fields::map_mut;
pub use crate::kruise::defaults::Gates;
use crate::kruise::defaults::{default_templates, set_empty, set_unset};

#[cfg(test)]
mod tests;

/// `maxUnavailable` where none is written.
const MAX_UNAVAILABLE: &str = "20%";

/// Fills in the defaults of a CloneSet in its own version. `old` is the stored object, in the same version, on updates.
///
/// The template gets defaults only where it is new or changed: a controller of another Kubernetes version, whose
/// defaults differ, must not make a new revision of a template that nobody touched.
pub fn default(object: &mut Value, old: Option<&Value>, gates: Gates) {
    let Some(version) = Version::of_object(object, KIND) else {
        return;
    };
    let is_new_template =
        old.is_none_or(|old| old.pointer("/spec/template") != object.pointer("/spec/template"));
    let spec = map_mut(object, &["spec"]);
    set_unset(spec, "replicas", 1);
    set_unset(spec, "revisionHistoryLimit", 10);
    if is_new_template && !gates.leaves_templates {
        default_templates(spec);
    }
    let strategy = map_mut(object, &["spec", "updateStrategy"]);
    match version {
        Version::V1alpha1 => {
            default_policy(strategy, version.policy());
            default_amounts(strategy);
        }
        Version::V1beta1 => {
            set_empty(strategy, "type", "RollingUpdate");
            if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
                set_unset(strategy, "rollingUpdate", json!({}));
                let rolling = map_mut(object, &["spec", "updateStrategy", "rollingUpdate"]);
                default_policy(rolling, version.policy());
                default_amounts(rolling);
            }
        }
    }
}

fn default_policy(strategy: &mut Map<String, Value>, field: &str) {
    set_empty(strategy, field, "ReCreate");
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
