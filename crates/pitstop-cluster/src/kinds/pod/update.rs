//! What may change in a pod after its creation. Source: embedded-cluster.md 6.6.

use serde_json::Value;

use crate::kinds::FieldError;
use crate::kinds::fields::{entries, integer, keep, list, list_mut, map_mut, text};

const ALLOWED: &str = "pod updates may not change fields other than \
     `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only \
     additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
     previously negative)";

/// Rules of a change from `old` to `new`.
pub(super) fn validate(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for name in ["containers", "initContainers"] {
        let pointer = format!("/spec/{name}");
        if list(new, &pointer).len() != list(old, &pointer).len() {
            let why = if name == "containers" {
                "pod updates may not add or remove containers"
            } else {
                "pod updates may not add or remove init containers"
            };
            errors.push(FieldError::forbidden(format!("spec.{name}"), why));
            return errors;
        }
    }
    for list_name in ["initContainers", "containers"] {
        for (index, container) in list(new, &format!("/spec/{list_name}")).iter().enumerate() {
            let image = text(container, "/image");
            let field = format!("spec.{list_name}[{index}].image");
            if image.is_empty() {
                errors.push(FieldError::required(field, ""));
            } else if image.trim() != image {
                let why = "must not have leading or trailing whitespace";
                errors.push(FieldError::invalid(field, image, why));
            }
        }
    }
    errors.extend(deadline(new, old));
    errors.extend(tolerations(new, old));
    errors.extend(scheduling_gates(new, old));
    if with_allowed_changes_undone(new, old).get("spec") != old.get("spec") {
        errors.push(FieldError::forbidden("spec", ALLOWED));
    }
    errors
}

/// The new object, but for everything that may change as it was.
fn with_allowed_changes_undone(new: &Value, old: &Value) -> Value {
    let mut undone = new.clone();
    for pointer in ["/spec/containers", "/spec/initContainers"] {
        for (container, before) in list_mut(&mut undone, pointer).iter_mut().zip(list(old, pointer)) {
            keep(container, before, &[], "image");
        }
    }
    for name in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        keep(&mut undone, old, &["spec"], name);
    }
    let grace = "/spec/terminationGracePeriodSeconds";
    if integer(old, grace).is_some_and(|seconds| seconds < 0) && integer(new, grace) == Some(1) {
        keep(&mut undone, old, &["spec"], "terminationGracePeriodSeconds");
    }
    if !list(old, "/spec/schedulingGates").is_empty() {
        undo_tightening(&mut undone, new, old);
    }
    undone
}

/// A pod that waits at a gate may become more demanding about its node.
fn undo_tightening(undone: &mut Value, new: &Value, old: &Value) {
    let kept = |key: &str, value: &Value| {
        new.pointer("/spec/nodeSelector")
            .and_then(|selector| selector.get(key))
            == Some(value)
    };
    if entries(old, "/spec/nodeSelector").all(|(key, value)| kept(key, value)) {
        keep(undone, old, &["spec"], "nodeSelector");
    }
    if old.pointer("/spec/affinity/nodeAffinity").is_none()
        && new.pointer("/spec/affinity/nodeAffinity").is_some()
    {
        keep(undone, old, &["spec", "affinity"], "nodeAffinity");
        let empty = undone.pointer("/spec/affinity") == Some(&Value::Object(serde_json::Map::new()));
        if empty && old.pointer("/spec/affinity").is_none() {
            map_mut(undone, &["spec"]).remove("affinity");
        }
    }
}

fn deadline(new: &Value, old: &Value) -> Option<FieldError> {
    const FIELD: &str = "spec.activeDeadlineSeconds";
    const POINTER: &str = "/spec/activeDeadlineSeconds";
    match (integer(new, POINTER), integer(old, POINTER)) {
        (None, Some(_)) => Some(FieldError::invalid(
            FIELD,
            Value::Null,
            "must not update from a positive integer to nil value",
        )),
        (Some(now), Some(before)) if now > before => Some(FieldError::invalid(
            FIELD,
            now,
            "must be less than or equal to previous value",
        )),
        _ => None,
    }
}

/// Existing tolerations stay; only their seconds may change.
fn tolerations(new: &Value, old: &Value) -> Option<FieldError> {
    let identity = |toleration: &Value| {
        let mut toleration = toleration.clone();
        map_mut(&mut toleration, &[]).remove("tolerationSeconds");
        toleration
    };
    let now: Vec<Value> = list(new, "/spec/tolerations").iter().map(identity).collect();
    let kept = list(old, "/spec/tolerations")
        .iter()
        .all(|toleration| now.contains(&identity(toleration)));
    (!kept).then(|| {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        FieldError::forbidden("spec.tolerations", why)
    })
}

fn scheduling_gates(new: &Value, old: &Value) -> Vec<FieldError> {
    let before = list(old, "/spec/schedulingGates");
    let added = list(new, "/spec/schedulingGates")
        .iter()
        .enumerate()
        .filter(|(_, gate)| !before.contains(gate));
    added
        .map(|(index, gate)| {
            let name = text(gate, "/name");
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            FieldError::forbidden(format!("spec.schedulingGates[{index}].name"), why)
        })
        .collect()
}
