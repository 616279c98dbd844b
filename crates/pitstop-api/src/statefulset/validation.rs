//! Which StatefulSets are refused, and in which words. Source: statefulset.md 2.2, 2.4, 15.1, 16.1.
//!
//! Rules of `metadata` are the server's own, but for the length of names.

use serde_json::Value;

use super::{KIND, Version};
use crate::StorageClasses;
use crate::fields::{integer, list, text};
use crate::kruise::{template, validation};
use crate::pod_template::nonnegative;
use crate::validate::{FieldError, NameRule, name_problems, selector_errors, template_errors};
use crate::view::{Reserved, range_of};

mod claims;
mod strategy;
#[cfg(test)]
mod tests;

/// What is known of the cluster when a StatefulSet is judged.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// May the resources of running containers change? Then `InPlaceOnly` lets them.
    pub resizes_in_place: bool,
    /// Do claims grow with their templates (gate `StatefulSetAutoResizePVCGate`)? Then these are the classes of storage.
    pub classes: Option<StorageClasses>,
}

/// Characters that the label of a revision adds to the name: a hyphen and a hash. Source: statefulset.md 15.1 row 20.
const REVISION_SUFFIX: usize = 11;

/// What makes an object no StatefulSet at all: it is of another kind or version, or its templates have fields of a wrong
/// type, of which the schema of the kind says nothing.
///
/// # Errors
/// The field, and what it should be.
pub fn decode(object: &Value) -> Result<Version, String> {
    let version = Version::of_object(object, KIND).ok_or_else(|| {
        let (kind, api_version) = (text(object, "/kind"), text(object, "/apiVersion"));
        format!("{kind} of {api_version} is no StatefulSet that is known here")
    })?;
    match object.get("spec").and_then(template::misshapen) {
        Some(problem) => Err(problem),
        None => Ok(version),
    }
}

/// Does it matter which classes of storage there are: may claims grow with templates that change?
pub fn needs_classes(object: &Value, old: &Value) -> bool {
    claims::follow(object) && object.pointer(claims::TEMPLATES) != old.pointer(claims::TEMPLATES)
}

/// What is wrong with a StatefulSet, in its own version, after defaults. `old` is the stored object in the same version.
///
/// What was wrong before is no reason to refuse a change: an object that others admitted has to let go of its finalizers.
pub fn validate(object: &Value, old: Option<&Value>, surroundings: &Surroundings) -> Vec<FieldError> {
    if Version::of_object(object, KIND).is_none() {
        let given = text(object, "/apiVersion");
        return vec![FieldError::invalid("apiVersion", given, "unknown version")];
    }
    let mut errors = errors_of(object);
    if let Some(old) = old {
        let before = errors_of(old);
        errors.retain(|error| !before.contains(error));
        errors.extend(frozen(object, old));
        if let Some(classes) = &surroundings.classes {
            errors.extend(claims::growth(object, old, classes));
        }
        let policy = "/spec/updateStrategy/rollingUpdate/podUpdatePolicy";
        if text(object, policy) == "InPlaceOnly" {
            errors.extend(in_place_only(object, old, surroundings.resizes_in_place));
        }
    }
    errors
}

fn errors_of(object: &Value) -> Vec<FieldError> {
    let mut errors = name(object);
    errors.extend(management(object));
    errors.extend(reserved(object));
    errors.extend(strategy::errors(object));
    errors.extend(claims::retention(object));
    errors.extend(claims::update_strategy(object));
    for field in ["replicas", "revisionHistoryLimit"] {
        errors.extend(nonnegative(
            object,
            &format!("/spec/{field}"),
            &format!("spec.{field}"),
        ));
    }
    errors.extend(nonnegative(object, "/spec/ordinals/start", "spec.ordinals.start"));
    errors.extend(room(object));
    errors.extend(selector_errors(object, "statefulset"));
    errors.extend(template_errors(&validation::with_claims(object), "StatefulSet"));
    errors
}

/// Pods are named after it, and carry the name of a revision as label. Source: statefulset.md 2.4.1, 15.1 row 20.
fn name(object: &Value) -> Vec<FieldError> {
    const FIELD: &str = "metadata.name";
    let name = text(object, "/metadata/name");
    let invalid = |why| FieldError::invalid(FIELD, name, why);
    let mut errors: Vec<FieldError> = name_problems(name, NameRule::Label)
        .into_iter()
        .map(invalid)
        .collect();
    let most = 63 - REVISION_SUFFIX;
    if errors.is_empty() && name.len() > most {
        errors.push(invalid(format!(
            "must be no more than {most} characters: pods carry it, and a hash, as label of their revision"
        )));
    }
    errors
}

/// Source: statefulset.md 2.4.2.
fn management(object: &Value) -> Option<FieldError> {
    const FIELD: &str = "spec.podManagementPolicy";
    match text(object, "/spec/podManagementPolicy") {
        "" => Some(FieldError::required(FIELD, "")),
        "OrderedReady" | "Parallel" => None,
        other => Some(FieldError::invalid(
            FIELD,
            other,
            "must be 'OrderedReady' or 'Parallel'",
        )),
    }
}

/// Source: statefulset.md 2.4.3; upstream names `spec` as the field.
fn reserved(object: &Value) -> Vec<FieldError> {
    let entries = list(object, "/spec/reserveOrdinals");
    let problems = entries.iter().enumerate().flat_map(|(i, entry)| {
        let mut problems = Vec::new();
        match entry {
            Value::String(text) => {
                let is_pair = text
                    .split_once('-')
                    .is_some_and(|(first, last)| is_digits(first) && is_digits(last));
                if !is_pair {
                    problems.push(format!("{i} th reserve ordinal is not a valid range: {text}"));
                }
                if range_of(entry).is_none() {
                    problems.push(format!(
                        "{i} th reserve ordinal is invalid: {text}, err = invalid range {text}"
                    ));
                }
            }
            entry if range_of(entry).is_none() => {
                problems.push(format!("{i} th reserve ordinal is negative: {entry}"));
            }
            _ => {}
        }
        problems
    });
    problems
        .map(|why| FieldError::invalid("spec", entries.to_vec(), why))
        .collect()
}

/// There is an ordinal for every pod: they end at the largest int32. Source: statefulset.md 3.
fn room(object: &Value) -> Option<FieldError> {
    let start = u32::try_from(integer(object, "/spec/ordinals/start")?).ok()?;
    let room = Reserved::of(list(object, "/spec/reserveOrdinals")).room(start);
    let wanted = replicas(object);
    let why = format!(
        "ordinals end at {}: {room} are left from there on that are not reserved, and spec.replicas is {wanted}",
        i32::MAX
    );
    (room < wanted).then(|| FieldError::invalid("spec.ordinals.start", start, why))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Selector, service and management policy stay. Source: statefulset.md 2.4.8.
fn frozen(object: &Value, old: &Value) -> Option<FieldError> {
    const WHY: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                       'reserveOrdinals', 'lifecycle', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy', \
                       `volumeClaimTemplates`, `VolumeClaimUpdateStrategy` and 'updateStrategy' are forbidden";
    let is_changed = |field: &str| {
        let pointer = format!("/spec/{field}");
        object.pointer(&pointer) != old.pointer(&pointer)
    };
    let of_text = |field: &str| {
        let pointer = format!("/spec/{field}");
        text(object, &pointer) != text(old, &pointer)
    };
    (is_changed("selector") || of_text("serviceName") || of_text("podManagementPolicy"))
        .then(|| FieldError::forbidden("spec", WHY))
}

/// Under `InPlaceOnly` a template may change only in what pods can take while they run. Source: statefulset.md 2.4.9.
fn in_place_only(object: &Value, old: &Value, resizes: bool) -> Option<FieldError> {
    let refused = validation::not_in_place(object, old, resizes)?;
    let why = format!(
        "invalid template modified with InPlaceOnly strategy: {} {}, currently only image update is allowed for \
         InPlaceOnly",
        refused.op, refused.path
    );
    Some(FieldError::forbidden("spec", why))
}

/// How many pods are wanted.
fn replicas(object: &Value) -> u32 {
    u32::try_from(integer(object, "/spec/replicas").unwrap_or(1)).unwrap_or_default()
}

/// What is allowed and still worth a warning.
pub fn warnings(object: &Value) -> Vec<String> {
    strategy::warnings(object)
}
