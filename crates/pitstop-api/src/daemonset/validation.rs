//! Which DaemonSets of `apps.kruise.io` are refused, and in which words. Source: daemonset.md D1, A1.
//!
//! One set of rules for both versions. Rules of `metadata` are the server's own. Upstream names `partition` and
//! `rollingUpdateType` with `rollingUpdate` twice in their paths, takes a text that is no percentage for zero, and does not
//! look at `burstReplicas` and at the selector of nodes: here the paths are those of the fields, and all of it is judged.

use serde_json::Value;

use super::{KIND, Version};
use crate::fields::text;
use crate::kruise::template;
use crate::pod_template::nonnegative;
use crate::validate::{
    FieldError, amount, amount_problem, label_selector_errors, selector_errors, template_errors,
};

#[cfg(test)]
mod tests;

/// Where the fields of rolling updates are, as JSON pointer and as messages name it.
const ROLLING: (&str, &str) = (
    "/spec/updateStrategy/rollingUpdate",
    "spec.updateStrategy.rollingUpdate",
);

/// What makes an object no DaemonSet at all: it is of another kind or version, or its template has fields of a wrong type,
/// of which the schema of the kind says nothing.
///
/// # Errors
/// The field, and what it should be.
pub fn decode(object: &Value) -> Result<Version, String> {
    let version = Version::of_object(object, KIND).ok_or_else(|| {
        let (kind, api_version) = (text(object, "/kind"), text(object, "/apiVersion"));
        format!("{kind} of {api_version} is no DaemonSet of apps.kruise.io that is known here")
    })?;
    match object.get("spec").and_then(template::misshapen) {
        Some(problem) => Err(problem),
        None => Ok(version),
    }
}

/// What is wrong with a DaemonSet, in its own version, after defaults. `old` is the stored object in the same version.
///
/// What was wrong before is no reason to refuse a change: an object that others admitted has to let go of its finalizers.
pub fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let Some(version) = Version::of_object(object, KIND) else {
        let given = text(object, "/apiVersion");
        return vec![FieldError::invalid("apiVersion", given, "unknown version")];
    };
    let mut errors = errors_of(object, version);
    if let Some(old) = old {
        let before = errors_of(old, version);
        errors.retain(|error| !before.contains(error));
        errors.extend(frozen(object, old, version));
    }
    errors
}

fn errors_of(object: &Value, version: Version) -> Vec<FieldError> {
    let mut errors = selector_errors(object, "daemonset");
    errors.extend(template_errors(object, "DaemonSet"));
    errors.extend(nonnegative(
        object,
        "/spec/minReadySeconds",
        "spec.minReadySeconds",
    ));
    errors.extend(strategy(object, version));
    errors.extend(nonnegative(
        object,
        "/spec/revisionHistoryLimit",
        "spec.revisionHistoryLimit",
    ));
    errors.extend(amount_at(object, "/spec/burstReplicas", "spec.burstReplicas"));
    if object
        .pointer("/spec/lifecycle/inPlaceUpdate")
        .is_some_and(|hook| !hook.is_null())
    {
        let why = "inPlaceUpdate hook has not supported yet";
        errors.push(FieldError::forbidden("spec.lifecycle.inPlaceUpdate", why));
    }
    errors
}

fn strategy(object: &Value, version: Version) -> Vec<FieldError> {
    let (pointer, path) = ROLLING;
    match text(object, "/spec/updateStrategy/type") {
        "OnDelete" => return Vec::new(),
        "RollingUpdate" => {}
        other => {
            let kinds = ["RollingUpdate", "OnDelete"];
            return vec![FieldError::not_supported("spec.updateStrategy", other, &kinds)];
        }
    }
    let Some(rolling) = object.pointer(pointer).filter(|rolling| rolling.is_object()) else {
        return vec![FieldError::required(path, "")];
    };
    let mut errors = Vec::new();
    for name in ["maxUnavailable", "maxSurge"] {
        errors.extend(amount_at(rolling, &format!("/{name}"), &format!("{path}.{name}")));
    }
    let is_set = |name: &str| rolling.get(name).is_some_and(|value| amount(value) != 0);
    let (has_unavailable, has_surge) = (is_set("maxUnavailable"), is_set("maxSurge"));
    match (has_unavailable, has_surge) {
        (true, true) => {
            let surge = rolling.get("maxSurge").cloned().unwrap_or_default();
            let why = "may not be set when maxUnavailable is non-zero";
            errors.push(FieldError::invalid(format!("{path}.maxSurge"), surge, why));
        }
        // A text that is no amount has been named already.
        (false, false) if errors.is_empty() => {
            let why = "cannot be 0 when maxSurge is 0";
            errors.push(FieldError::required(format!("{path}.maxUnavailable"), why));
        }
        _ => {}
    }
    errors.extend(rolling_type(rolling, version, (has_unavailable, has_surge)));
    errors.extend(amount_at(rolling, "/partition", &format!("{path}.partition")));
    if let Some(selector) = rolling.get("selector").filter(|selector| !selector.is_null()) {
        errors.extend(label_selector_errors(selector, &format!("{path}.selector")));
    }
    errors
}

fn rolling_type(
    rolling: &Value,
    version: Version,
    (has_unavailable, has_surge): (bool, bool),
) -> Option<FieldError> {
    let path = ROLLING.1;
    let known: &[&str] = match version {
        Version::V1alpha1 => &["Standard", "Surging", "InPlaceIfPossible"],
        Version::V1beta1 => &["Standard", "InPlaceIfPossible"],
    };
    match text(rolling, "/rollingUpdateType") {
        "" | "Standard" => None,
        "InPlaceIfPossible" => {
            let why = "must be 0 for InPlaceIfPossible type";
            has_surge.then(|| FieldError::required(format!("{path}.maxSurge"), why))
        }
        "Surging" if version == Version::V1alpha1 => {
            let why = "must be 0 for Surging type";
            has_unavailable.then(|| FieldError::required(format!("{path}.maxUnavailable"), why))
        }
        other => Some(FieldError::not_supported(
            format!("{path}.rollingUpdateType"),
            other,
            known,
        )),
    }
}

/// A number of at least 0, or a percentage of at most 100; or nothing.
fn amount_at(object: &Value, pointer: &str, field: &str) -> Option<FieldError> {
    let value = object.pointer(pointer).filter(|value| !value.is_null())?;
    let why = amount_problem(value)?;
    Some(FieldError::invalid(field, value.clone(), why))
}

/// The selector stays. Source: daemonset.md D1; upstream's words.
fn frozen(object: &Value, old: &Value, version: Version) -> Option<FieldError> {
    let pointer = "/spec/selector";
    if object.pointer(pointer) == old.pointer(pointer) {
        return None;
    }
    let scale = match version {
        Version::V1alpha1 => "",
        Version::V1beta1 => "'scaleStrategy', ",
    };
    let why = format!(
        "updates to daemonset spec for fields other than 'BurstReplicas', 'template', 'lifecycle', {scale}\
         'updateStrategy', 'minReadySeconds', and 'revisionHistoryLimit' are forbidden"
    );
    Some(FieldError::forbidden("spec", why))
}
