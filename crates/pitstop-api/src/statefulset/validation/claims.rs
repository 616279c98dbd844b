//! Rules of claims: when they go, and how their templates may change.

use serde_json::Value;

use crate::StorageClasses;
use crate::claim::ClaimDisk;
use crate::fields::{list, text};
use crate::storage::Expansion;
use crate::validate::FieldError;

/// Where templates of claims are.
pub(super) const TEMPLATES: &str = "/spec/volumeClaimTemplates";

/// Source: statefulset.md 2.2; upstream's words.
pub(super) fn retention(object: &Value) -> Vec<FieldError> {
    let written = object.pointer("/spec/persistentVolumeClaimRetentionPolicy");
    let Some(written) = written.filter(|written| written.is_object()) else {
        return Vec::new();
    };
    let wrong = ["whenDeleted", "whenScaled"].into_iter().filter_map(|field| {
        let policy = text(written, &format!("/{field}"));
        let path = format!("spec.persistentVolumeClaimRetentionPolicy.{field}");
        // Where the gate is off nobody fills it in, and it counts as Retain.
        let is_known = ["", "Retain", "Delete"].contains(&policy);
        (!is_known).then(|| FieldError::not_supported(path, policy, &["Retain", "Delete"]))
    });
    wrong.collect()
}

/// Source: statefulset.md 2.2. Upstream's words for what is none of the kinds that there are.
pub(super) fn update_strategy(object: &Value) -> Option<FieldError> {
    const KINDS: [&str; 2] = ["OnPodRollingUpdate", "OnDelete"];
    let written = text(object, "/spec/volumeClaimUpdateStrategy/type");
    // Where the gate is off nobody fills it in, and claims stay as they are.
    let is_known = written.is_empty() || KINDS.contains(&written);
    (!is_known).then(|| FieldError::not_supported("spec.volumeClaimUpdateStrategy.type", written, &KINDS))
}

/// Do claims grow with their templates, where the gate is on?
pub(super) fn follow(object: &Value) -> bool {
    text(object, "/spec/volumeClaimUpdateStrategy/type") == "OnPodRollingUpdate"
}

/// Where claims grow with their templates, nothing but their size may change. Source: statefulset.md 2.4.10.
///
/// Differs from upstream, which judges the strategy of the old object (15.1 row 16).
pub(super) fn growth(object: &Value, old: &Value, classes: &StorageClasses) -> Option<FieldError> {
    const FIELD: &str = "spec.volumeClaimTemplates";
    if !follow(object) {
        return None;
    }
    let templates = list(object, TEMPLATES);
    let before = list(old, TEMPLATES);
    if templates.len() != before.len() {
        let why = "volumeClaimTemplate can not be added or deleted when OnRollingUpdate";
        return Some(FieldError::invalid(FIELD, templates.to_vec(), why));
    }
    templates.iter().find_map(|template| {
        let name = text(template, "/metadata/name");
        let path = format!("{FIELD}[{name}]");
        let same = before
            .iter()
            .find(|before| text(before, "/metadata/name") == name);
        let Some(before) = same else {
            let why = "volumeClaimTemplate name can not be modified";
            return Some(FieldError::forbidden(format!("{path}.name"), why));
        };
        let (new, old) = (ClaimDisk::of(template), ClaimDisk::of(before));
        if new.class != old.class || new.access_modes != old.access_modes {
            let why = "volumeClaimTemplate can not be modified when OnRollingUpdate";
            return Some(FieldError::invalid(path, template.clone(), why));
        }
        if new.request == old.request {
            return None;
        }
        resized(new.class.as_deref(), classes, &path)
    })
}

fn resized(class: Option<&str>, classes: &StorageClasses, path: &str) -> Option<FieldError> {
    let name = classes.class_of(class)?;
    match classes.expansion(name) {
        Some(Expansion::Allowed | Expansion::Unsaid) => None,
        Some(Expansion::Refused) => Some(FieldError::forbidden(
            format!("{path}.spec.resources.requests.storage"),
            format!("storage class {name} does not support volume expansion"),
        )),
        None => Some(FieldError::invalid(
            format!("{path}.spec.storageClassName"),
            name,
            "can not get sc",
        )),
    }
}
