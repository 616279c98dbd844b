//! Defaults that several kinds have.

use serde_json::{Map, Value};

use crate::fields::{list_mut, map_mut};
use crate::pod_template::{CONTAINER_LISTS, default_fields};
use crate::quantity;

/// What an administrator decides about what is written to the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gates {
    /// `StatefulSetAutoDeletePVC`: claims go by `persistentVolumeClaimRetentionPolicy`.
    pub deletes_claims: bool,
    /// `StatefulSetAutoResizePVCGate`: claims grow with their templates.
    pub resizes_claims: bool,
    /// `TemplateNoDefaults`: templates of pods and claims stay as they are written.
    pub leaves_templates: bool,
    /// `ResourcesDeletionProtection`: a label keeps workloads from being deleted.
    pub protects_deletion: bool,
}

impl Default for Gates {
    /// Those of upstream.
    fn default() -> Self {
        Self {
            deletes_claims: true,
            resizes_claims: false,
            leaves_templates: false,
            protects_deletion: false,
        }
    }
}

/// The standard defaults of pods and claims. What is missing altogether is left to validation.
pub(crate) fn default_templates(spec: &mut Map<String, Value>) {
    if let Some(pod) = spec
        .get_mut("template")
        .and_then(|template| template.get_mut("spec"))
    {
        default_fields(pod);
        for container in CONTAINER_LISTS {
            list_mut(pod, container)
                .iter_mut()
                .for_each(write_quantities_one_way);
        }
    }
    if let Some(claims) = spec.get_mut("volumeClaimTemplates") {
        for claim in list_mut(claims, "") {
            set_unset(map_mut(claim, &["spec"]), "volumeMode", "Filesystem");
            set_unset(map_mut(claim, &["status"]), "phase", "Pending");
        }
    }
}

/// Writes each amount of a container as the server writes those of pods: OpenKruise compares templates byte by byte, and
/// what it reads comes out of its types like this. What is no amount is left to validation.
fn write_quantities_one_way(container: &mut Value) {
    for list in ["/resources/limits", "/resources/requests"] {
        let amounts = container.pointer_mut(list).and_then(Value::as_object_mut);
        for amount in amounts.into_iter().flat_map(|amounts| amounts.values_mut()) {
            let written = quantity::text_of(amount).map(|text| quantity::canonical(&text));
            if let Some(Ok(written)) = written {
                *amount = Value::from(written);
            }
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
