//! What kinds that make pods from a template share: selectors and templates.

use serde_json::Value;

use super::{FieldError, key_problems, labels};
use crate::fields::{entries, list, text};
use crate::pod_template::validate_template;

const SELECTOR_OPERATORS: &[&str] = &["DoesNotExist", "Exists", "In", "NotIn"];

/// What is wrong with `spec.selector`: it has to be there, to ask for something, and to select the template's pods.
/// An empty one is called invalid for `owner`.
pub fn selector_errors(object: &Value, owner: &str) -> Vec<FieldError> {
    let mismatch = |labels| {
        let why = "`selector` does not match template `labels`";
        FieldError::invalid("spec.template.metadata.labels", labels, why)
    };
    let Some(selector) = object.pointer("/spec/selector") else {
        let labels = object.pointer("/spec/template/metadata/labels").cloned();
        // None selects nothing, which no labels match.
        let mut errors = vec![mismatch(labels.unwrap_or_default())];
        if owner != "daemonset" {
            errors.insert(0, FieldError::required("spec.selector", ""));
        }
        return errors;
    };
    let mut errors = label_selector_errors(selector, "spec.selector");
    let expressions = list(selector, "/matchExpressions");
    let well_formed = errors.is_empty();
    let labels = object
        .pointer("/spec/template/metadata/labels")
        .cloned()
        .unwrap_or_default();
    let empty = entries(selector, "/matchLabels").next().is_none() && expressions.is_empty();
    if well_formed && !empty && !selects(selector, &labels) {
        errors.push(mismatch(labels));
    }
    if empty {
        let why = format!("empty selector is invalid for {owner}");
        errors.push(FieldError::invalid("spec.selector", selector.clone(), why));
    }
    errors
}

/// What is wrong with a selector of labels, whatever it selects.
pub fn label_selector_errors(selector: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = labels(selector, "/matchLabels", &format!("{field}.matchLabels"));
    for (index, expression) in list(selector, "/matchExpressions").iter().enumerate() {
        errors.extend(validate_requirement(
            expression,
            &format!("{field}.matchExpressions[{index}]"),
        ));
    }
    errors
}

/// What is wrong with `spec.template` of a kind whose pods run for ever.
pub fn template_errors(object: &Value, kind: &str) -> Vec<FieldError> {
    let mut errors = match object.pointer("/spec/template") {
        Some(template) => validate_template(template, "spec.template"),
        None => vec![FieldError::required("spec.template", "")],
    };
    let policy = text(object, "/spec/template/spec/restartPolicy");
    if !["", "Always"].contains(&policy) {
        let field = "spec.template.spec.restartPolicy";
        errors.push(FieldError::not_supported(field, policy, &["Always"]));
    }
    if object
        .pointer("/spec/template/spec/activeDeadlineSeconds")
        .is_some()
    {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            &why,
        ));
    }
    errors
}

/// Once set, a selector stays.
pub fn immutable_selector(new: &Value, old: &Value) -> Vec<FieldError> {
    immutable(new, old, "/spec/selector", "spec.selector")
}

/// Once set, the value at `pointer` stays.
pub fn immutable(new: &Value, old: &Value, pointer: &str, field: &str) -> Vec<FieldError> {
    if new.pointer(pointer) == old.pointer(pointer) {
        return Vec::new();
    }
    let value = new.pointer(pointer).cloned().unwrap_or_default();
    vec![FieldError::invalid(field, value, "field is immutable")]
}

/// Does a selector select these labels?
pub fn selects(selector: &Value, labels: &Value) -> bool {
    let equal = entries(selector, "/matchLabels").all(|(key, value)| labels.get(key) == Some(value));
    equal
        && list(selector, "/matchExpressions").iter().all(|expression| {
            let value = labels.get(text(expression, "/key"));
            let listed = value.is_some_and(|value| list(expression, "/values").contains(value));
            match text(expression, "/operator") {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// What is wrong with one expression of a selector.
fn validate_requirement(expression: &Value, field: &str) -> Vec<FieldError> {
    let (key, operator) = (text(expression, "/key"), text(expression, "/operator"));
    let values = list(expression, "/values").len();
    let mut errors = Vec::new();
    match operator {
        "In" | "NotIn" if values == 0 => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(format!("{field}.values"), why));
        }
        "Exists" | "DoesNotExist" if values > 0 => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(format!("{field}.values"), why));
        }
        known if SELECTOR_OPERATORS.contains(&known) => {}
        other => {
            errors.push(FieldError::invalid(
                format!("{field}.operator"),
                other,
                "not a valid selector operator",
            ));
        }
    }
    let problems = key_problems(key);
    errors.extend(
        problems
            .into_iter()
            .map(|why| FieldError::invalid(format!("{field}.key"), key, why)),
    );
    errors
}
