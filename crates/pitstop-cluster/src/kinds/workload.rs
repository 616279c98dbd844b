//! What kinds that make pods from a template share: selectors, templates, amounts, cells.

use serde_json::Value;

use super::fields::{entries, list, or, text};
use super::pod_template::validate_template;
use super::{FieldError, metadata};

const SELECTOR_OPERATORS: &[&str] = &["DoesNotExist", "Exists", "In", "NotIn"];

/// What is wrong with `spec.selector`: it has to be there, to ask for something, and to select the template's pods.
/// An empty one is called invalid for `owner`.
pub(super) fn selector_errors(object: &Value, owner: &str) -> Vec<FieldError> {
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
pub(super) fn label_selector_errors(selector: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = metadata::labels(selector, "/matchLabels", &format!("{field}.matchLabels"));
    for (index, expression) in list(selector, "/matchExpressions").iter().enumerate() {
        errors.extend(validate_requirement(
            expression,
            &format!("{field}.matchExpressions[{index}]"),
        ));
    }
    errors
}

/// What is wrong with `spec.template` of a kind whose pods run for ever.
pub(super) fn template_errors(object: &Value, kind: &str) -> Vec<FieldError> {
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
pub(super) fn immutable_selector(new: &Value, old: &Value) -> Vec<FieldError> {
    immutable(new, old, "/spec/selector", "spec.selector")
}

/// Once set, the value at `pointer` stays.
pub(super) fn immutable(new: &Value, old: &Value, pointer: &str, field: &str) -> Vec<FieldError> {
    if new.pointer(pointer) == old.pointer(pointer) {
        return Vec::new();
    }
    let value = new.pointer(pointer).cloned().unwrap_or_default();
    vec![FieldError::invalid(field, value, "field is immutable")]
}

/// Names, images and the selector: the wide cells.
pub(super) fn wide_cells(object: &Value) -> [Value; 3] {
    let containers = list(object, "/spec/template/spec/containers");
    let joined = |pointer: &str| {
        let texts: Vec<&str> = containers
            .iter()
            .map(|container| text(container, pointer))
            .collect();
        Value::from(texts.join(","))
    };
    [
        joined("/name"),
        joined("/image"),
        Value::from(selector_text(object, "/spec/selector")),
    ]
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
    let problems = metadata::key_problems(key);
    errors.extend(
        problems
            .into_iter()
            .map(|why| FieldError::invalid(format!("{field}.key"), key, why)),
    );
    errors
}

/// Does a selector select these labels?
pub(super) fn selects(selector: &Value, labels: &Value) -> bool {
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

/// The number, or the number before the percent sign; 0 for what is neither.
pub(super) fn amount(value: &Value) -> i64 {
    match value {
        Value::Number(number) => number.as_i64().unwrap_or_default(),
        Value::String(text) => percent(text).unwrap_or_default(),
        _ => 0,
    }
}

fn percent(text: &str) -> Option<i64> {
    let digits = text
        .strip_suffix('%')
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// Why a value is no amount.
pub(super) fn amount_problem(value: &Value) -> Option<&'static str> {
    match value {
        Value::String(text) => match percent(text) {
            None => Some(
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', \
                 regex used for validation is '[0-9]+%')",
            ),
            Some(number) if number > 100 => Some("must not be greater than 100%"),
            Some(_) => None,
        },
        value if amount(value) < 0 => Some("must be greater than or equal to 0"),
        _ => None,
    }
}

/// `key=value`.
pub(super) fn equals((key, value): (&str, &Value)) -> String {
    format!("{key}={}", value.as_str().unwrap_or_default())
}

/// A selector of labels in its written form.
pub(super) fn selector_text(object: &Value, pointer: &str) -> String {
    let mut parts: Vec<String> = entries(object, &format!("{pointer}/matchLabels"))
        .map(equals)
        .collect();
    for expression in list(object, &format!("{pointer}/matchExpressions")) {
        let key = text(expression, "/key");
        let mut values: Vec<&str> = list(expression, "/values")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        values.sort_unstable();
        parts.push(match text(expression, "/operator") {
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            operator => format!("{key} {} ({})", operator.to_lowercase(), values.join(",")),
        });
    }
    parts.sort();
    or(&parts.join(","), "<none>").to_owned()
}
