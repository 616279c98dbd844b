//! Rules of where a pod may run: tolerations and node affinity. Messages are those of upstream.

use serde_json::Value;

use crate::fields::{list, text};
use crate::validate::{self, FieldError};

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const NODE_OPERATORS: &[&str] = &["DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn"];

/// Rules of tolerations.
pub(super) fn validate_tolerations(spec: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, toleration) in list(spec, "/tolerations").iter().enumerate() {
        let field = format!("{field}.tolerations[{index}]");
        let (key, effect) = (text(toleration, "/key"), text(toleration, "/effect"));
        let operator = text(toleration, "/operator");
        if !key.is_empty() {
            let problems = validate::key_problems(key);
            errors.extend(
                problems
                    .into_iter()
                    .map(|why| FieldError::invalid(format!("{field}.key"), key, why)),
            );
        } else if operator != "Exists" {
            let why =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(format!("{field}.operator"), operator, why));
        }
        if toleration.get("tolerationSeconds").is_some() && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(format!("{field}.effect"), effect, why));
        }
        match operator {
            "" | "Equal" => {}
            "Exists" if text(toleration, "/value").is_empty() => {}
            "Exists" => {
                let why = "value must be empty when `operator` is 'Exists'";
                errors.push(FieldError::invalid(
                    format!("{field}.operator"),
                    text(toleration, "/value"),
                    why,
                ));
            }
            other => errors.push(FieldError::not_supported(
                format!("{field}.operator"),
                other,
                &["Equal", "Exists"],
            )),
        }
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            errors.push(FieldError::not_supported(
                format!("{field}.effect"),
                effect,
                EFFECTS,
            ));
        }
    }
    errors
}

/// Rules of required node affinity.
pub(super) fn validate_node_affinity(spec: &Value, field: &str) -> Vec<FieldError> {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let mut errors = Vec::new();
    let Some(required) = spec.pointer(&format!("/affinity/nodeAffinity/{REQUIRED}")) else {
        return errors;
    };
    let field = format!("{field}.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms");
    let terms = list(required, "/nodeSelectorTerms");
    if terms.is_empty() {
        errors.push(FieldError::required(
            &field,
            "must have at least one node selector term",
        ));
    }
    for (term_index, term) in terms.iter().enumerate() {
        for (index, expression) in list(term, "/matchExpressions").iter().enumerate() {
            let field = format!("{field}[{term_index}].matchExpressions[{index}]");
            errors.extend(validate_expression(expression, &field));
        }
        for (index, expression) in list(term, "/matchFields").iter().enumerate() {
            let field = format!("{field}[{term_index}].matchFields[{index}]");
            let key = text(expression, "/key");
            if key != "metadata.name" {
                errors.push(FieldError::invalid(
                    format!("{field}.key"),
                    key,
                    "not a valid field selector key",
                ));
            }
        }
    }
    errors
}

fn validate_expression(expression: &Value, field: &str) -> Vec<FieldError> {
    let operator = text(expression, "/operator");
    let values = list(expression, "/values").len();
    let field_values = format!("{field}.values");
    let mut errors = Vec::new();
    match operator {
        "In" | "NotIn" if values == 0 => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(field_values, why));
        }
        "Exists" | "DoesNotExist" if values > 0 => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(field_values, why));
        }
        "Gt" | "Lt" if values != 1 => {
            let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.push(FieldError::required(field_values, why));
        }
        known if NODE_OPERATORS.contains(&known) => {}
        other => {
            errors.push(FieldError::invalid(
                format!("{field}.operator"),
                other,
                "not a valid selector operator",
            ));
        }
    }
    let key = text(expression, "/key");
    let problems = validate::key_problems(key);
    errors.extend(
        problems
            .into_iter()
            .map(|why| FieldError::invalid(format!("{field}.key"), key, why)),
    );
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tolerations_and_affinity_are_checked() {
        let term = |expression: Value| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [expression]}],
            }}}})
        };
        let cases = [
            (
                json!({"tolerations": [{"key": ""}]}),
                "operator must be Exists when `key` is empty",
            ),
            (
                json!({"tolerations": [{"key": "a", "operator": "X"}]}),
                "Unsupported value: \"X\"",
            ),
            (
                json!({"tolerations": [{"key": "a", "tolerationSeconds": 1}]}),
                "effect must be 'NoExecute'",
            ),
            (
                term(json!({"key": "a", "operator": "In"})),
                "must be specified when `operator` is 'In' or 'NotIn'",
            ),
            (
                term(json!({"key": "a", "operator": "X"})),
                "not a valid selector operator",
            ),
            (
                json!({"tolerations": [{"key": "a", "effect": "X"}]}),
                "supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            ),
        ];
        for (spec, wanted) in cases {
            let mut errors = validate_tolerations(&spec, "spec");
            errors.extend(validate_node_affinity(&spec, "spec"));
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert!(
                errors.len() == 1 && errors[0].contains(wanted),
                "{errors:?} has no {wanted}"
            );
        }
    }
}
