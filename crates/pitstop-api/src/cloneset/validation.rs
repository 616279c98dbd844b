//! Which CloneSets are refused, and in which words. Source: cloneset.md 1.2, 1.6, 18.
//!
//! One set of rules for both versions; upstream's differ (18.1, 18.2). Rules of `metadata` are the server's own.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{KIND, Version};
use crate::amount::Amount;
use crate::fields::{integer, list, text};
use crate::kruise::template;
use crate::kruise::validation::{not_in_place, with_claims};
use crate::pod_template::nonnegative;
use crate::validate::{FieldError, selector_errors, template_errors};

mod strategy;
#[cfg(test)]
mod tests;

/// What is known of the cluster when a CloneSet is judged.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The pods that [`pods_to_look_up`] names, as the server has them, or why they could not be read.
    pub pods: BTreeMap<String, Result<Value, String>>,
    /// May the resources of running containers change? Then `InPlaceOnly` lets them.
    pub resizes_in_place: bool,
}

/// What makes an object no CloneSet at all: it is of another kind or version, or its templates have fields of a wrong
/// type, of which the schema of the kind says nothing.
///
/// # Errors
/// The field, and what it should be.
pub fn decode(object: &Value) -> Result<Version, String> {
    let version = Version::of_object(object, KIND).ok_or_else(|| {
        let (kind, api_version) = (text(object, "/kind"), text(object, "/apiVersion"));
        format!("{kind} of {api_version} is no CloneSet that is known here")
    })?;
    match object.get("spec").and_then(template::misshapen) {
        Some(problem) => Err(problem),
        None => Ok(version),
    }
}

/// Names that a request adds to `podsToDelete`: their pods have to be looked up before it is judged.
pub fn pods_to_look_up<'a>(object: &'a Value, old: Option<&Value>) -> Vec<&'a str> {
    let before = old.map(|old| list(old, PODS_TO_DELETE)).unwrap_or_default();
    list(object, PODS_TO_DELETE)
        .iter()
        .filter(|name| !before.contains(name))
        .filter_map(Value::as_str)
        .collect()
}

/// What is wrong with a CloneSet, in its own version, after defaults. `old` is the stored object in the same version.
///
/// What was wrong before is no reason to refuse a change: an object that others admitted has to let go of its finalizers.
pub fn validate(object: &Value, old: Option<&Value>, surroundings: &Surroundings) -> Vec<FieldError> {
    let Some(version) = Version::of_object(object, KIND) else {
        return vec![FieldError::invalid(
            "apiVersion",
            text(object, "/apiVersion"),
            "unknown version",
        )];
    };
    let mut errors = errors_of(object, old, version, surroundings);
    if let Some(old) = old {
        let before = errors_of(old, Some(old), version, surroundings);
        errors.retain(|error| !before.contains(error));
        errors.extend(selector_change(object, old));
        errors.extend(in_place_only(object, old, version, surroundings.resizes_in_place));
    }
    errors
}

/// What is wrong with an object by itself, and with the pods that it adds to those that are to be deleted.
fn errors_of(
    object: &Value,
    old: Option<&Value>,
    version: Version,
    surroundings: &Surroundings,
) -> Vec<FieldError> {
    let mut errors: Vec<FieldError> = nonnegative(object, "/spec/replicas", "spec.replicas")
        .into_iter()
        .collect();
    errors.extend(selector_errors(object, "cloneset"));
    errors.extend(template_errors(&with_claims(object), "cloneset"));
    errors.extend(scale_strategy(object, old, surroundings));
    errors.extend(strategy::errors(object, version));
    errors.extend(deadline(object));
    for field in ["minReadySeconds", "revisionHistoryLimit"] {
        errors.extend(nonnegative(
            object,
            &format!("/spec/{field}"),
            &format!("spec.{field}"),
        ));
    }
    errors
}

const PODS_TO_DELETE: &str = "/spec/scaleStrategy/podsToDelete";

/// Rules of `spec.scaleStrategy`. Duplicates end its judgement, as upstream.
fn scale_strategy(object: &Value, old: Option<&Value>, surroundings: &Surroundings) -> Vec<FieldError> {
    const FIELD: &str = "spec.scaleStrategy.podsToDelete";
    let names = list(object, PODS_TO_DELETE);
    let mut seen = BTreeSet::new();
    let twice: Vec<&str> = names
        .iter()
        .filter_map(Value::as_str)
        .filter(|name| !seen.insert(*name))
        .collect();
    if !twice.is_empty() {
        let why = format!("duplicated items [{}]", twice.join(" "));
        return vec![FieldError::invalid(FIELD, names.to_vec(), why)];
    }
    let uid = text(object, "/metadata/uid");
    let mut errors: Vec<FieldError> = pods_to_look_up(object, old)
        .into_iter()
        .filter_map(|name| {
            let problem = pod_problem(surroundings.pods.get(name), name, uid)?;
            Some(FieldError::invalid(
                FIELD,
                name,
                format!("find pod {name} {problem}"),
            ))
        })
        .collect();
    let field = "spec.scaleStrategy.maxUnavailable";
    if let Some(written) = object
        .pointer("/spec/scaleStrategy/maxUnavailable")
        .filter(|value| !value.is_null())
    {
        errors.extend(amount(Some(written), field, "maxUnavailable", 0).err());
    }
    errors
}

/// Why a pod cannot be deleted on behalf of the CloneSet with this uid.
fn pod_problem(pod: Option<&Result<Value, String>>, name: &str, uid: &str) -> Option<String> {
    let pod = match pod {
        Some(Ok(pod)) => pod,
        Some(Err(why)) => return Some(format!("failed: {why}")),
        None => return Some(format!("failed: pods {name:?} not found")),
    };
    if !text(pod, "/metadata/deletionTimestamp").is_empty() {
        return Some("already terminating".to_owned());
    }
    let owned = list(pod, "/metadata/ownerReferences").iter().any(|owner| {
        owner.get("controller") == Some(&Value::Bool(true)) && !uid.is_empty() && text(owner, "/uid") == uid
    });
    (!owned).then(|| "owner is not this CloneSet".to_owned())
}

/// A number of pods for a total, percentages rounded up, in upstream's words where it is none.
fn amount(written: Option<&Value>, field: &str, name: &str, replicas: u32) -> Result<u32, FieldError> {
    let value = written.cloned().unwrap_or_default();
    let is_negative = value.as_i64().is_some_and(|number| number < 0)
        || value
            .as_str()
            .is_some_and(|text| text.starts_with('-') && text.ends_with('%'));
    if is_negative {
        return Err(FieldError::invalid(
            field,
            value,
            "must be greater than or equal to 0",
        ));
    }
    Amount::of(&value).scaled_up(replicas).map_err(|_| {
        let why = match value.as_str() {
            None if value.is_null() => "nil value for IntOrString".to_owned(),
            Some(text) => match text.strip_suffix('%') {
                None => "invalid value for IntOrString: invalid type: string is not a percentage".to_owned(),
                Some(number) => format!(
                    "invalid value for IntOrString: invalid value {text:?}: strconv.ParseFloat: parsing {number:?}: \
                     invalid syntax"
                ),
            },
            None => "invalid type: neither int nor percentage".to_owned(),
        };
        FieldError::invalid(field, value, format!("failed GetScaledValueFromIntOrPercent for {name}: {why}"))
    })
}

/// Rules of `spec.progressDeadlineSeconds`.
fn deadline(object: &Value) -> Vec<FieldError> {
    const FIELD: &str = "spec.progressDeadlineSeconds";
    let Some(seconds) = integer(object, "/spec/progressDeadlineSeconds") else {
        return Vec::new();
    };
    let mut errors: Vec<FieldError> = nonnegative(object, "/spec/progressDeadlineSeconds", FIELD)
        .into_iter()
        .collect();
    let is_off = seconds == i64::from(i32::MAX);
    if !is_off && seconds <= integer(object, "/spec/minReadySeconds").unwrap_or_default() {
        errors.push(FieldError::invalid(
            FIELD,
            seconds,
            "must be greater than minReadySeconds",
        ));
    }
    errors
}

/// Of the fields of the spec, the selector alone stays as it is.
fn selector_change(object: &Value, old: &Value) -> Option<FieldError> {
    const WHY: &str = "updates to cloneset spec for fields other than 'replicas', 'template', 'lifecycle', \
                       'scaleStrategy', 'updateStrategy', 'minReadySeconds', 'progressDeadlineSeconds', \
                       'volumeClaimTemplates' and 'revisionHistoryLimit' are forbidden";
    let pointer = "/spec/selector";
    (object.pointer(pointer) != old.pointer(pointer)).then(|| FieldError::forbidden("spec", WHY))
}

/// Under `InPlaceOnly` a template may change only in what pods can take while they run.
fn in_place_only(object: &Value, old: &Value, version: Version, resizes: bool) -> Option<FieldError> {
    if text(object, &format!("{}/{}", version.rolling(), version.policy())) != "InPlaceOnly" {
        return None;
    }
    let refused = not_in_place(object, old, resizes)?;
    let why = format!(
        "only allowed to update images in spec for InPlaceOnly, but found {} {}",
        refused.op, refused.path
    );
    Some(FieldError::forbidden("spec", why))
}
