//! Defaults that several kinds have.

use serde_json::{Map, Value};

use crate::fields::{list_mut, map_mut};
use crate::pod_template::default_fields;

/// The standard defaults of pods and claims. What is missing altogether is left to validation.
pub(crate) fn default_templates(spec: &mut Map<String, Value>) {
    if let Some(pod) = spec
        .get_mut("template")
        .and_then(|template| template.get_mut("spec"))
    {
        default_fields(pod);
    }
    if let Some(claims) = spec.get_mut("volumeClaimTemplates") {
        for claim in list_mut(claims, "") {
            set_unset(map_mut(claim, &["spec"]), "volumeMode", "Filesystem");
            set_unset(map_mut(claim, &["status"]), "phase", "Pending");
        }
    }
}

/// Sets what is absent or null.
pub(crate) fn set_unset(map: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    if map.get(name).is_none_or(Value::is_null) {
        map.insert(name.to_owned(), value.into());
    }
}

/// Sets text that is absent, null or empty.
pub(crate) fn set_empty(map: &mut Map<String, Value>, name: &str, value: &str) {
    let written = map.get(name).and_then(Value::as_str).unwrap_or_default();
    if written.is_empty() {
        map.insert(name.to_owned(), value.into());
    }
}
