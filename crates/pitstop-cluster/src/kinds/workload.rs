//! What kinds that make pods from a template share: selectors, templates, amounts, cells.

pub(super) use pitstop_api::validate::{
    amount, amount_problem, immutable, immutable_selector, label_selector_errors, selector_errors,
    template_errors,
};
use serde_json::Value;

use super::fields::{entries, list, or, text};

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
