//! Disruption budgets. Source: embedded-cluster.md 10.4, 12, 16.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fields::{integer, map_mut, text};
use super::workload::{amount_problem, label_selector_errors};
use super::{Column, FieldError, Kind, MetadataChecks, Subresource, age};

pub(super) const KIND: Kind = Kind {
    group: "policy",
    short_names: &["pdb"],
    stored_as: ("policy", "poddisruptionbudgets"),
    subresources: &[Subresource::Status],
    has_generation: true,
    default: |object| {
        map_mut(object, &["spec"]);
    },
    prepare_create: |object, _| {
        let status = json!({
            "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0,
        });
        map_mut(object, &[]).insert("status".to_owned(), status);
    },
    validate,
    columns: &[
        Column::NAME,
        Column::string("Min Available"),
        Column::string("Max Unavailable"),
        Column::integer("Allowed Disruptions"),
        Column::AGE,
    ],
    cells,
    metadata_checks: MetadataChecks {
        on_create: false,
        on_update: false,
        whole_on_update: 0,
        on_status: false,
        standard_finalizers: false,
        needs_version: true,
        ..MetadataChecks::USUAL
    },
    ..Kind::plain(
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        "poddisruptionbudget",
    )
};

fn validate(object: &Value) -> Vec<FieldError> {
    let spec = object.get("spec").cloned().unwrap_or_else(|| json!({}));
    let mut errors = Vec::new();
    if spec.get("minAvailable").is_some() && spec.get("maxUnavailable").is_some() {
        let why = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid("spec", spec.clone(), why));
    }
    for name in ["minAvailable", "maxUnavailable"] {
        let Some(value) = spec.get(name) else { continue };
        let problem = amount_problem(value);
        errors.extend(problem.map(|why| FieldError::invalid(format!("spec.{name}"), value.clone(), why)));
    }
    let policy = text(&spec, "/unhealthyPodEvictionPolicy");
    if !["", "AlwaysAllow", "IfHealthyBudget"].contains(&policy) {
        let field = "spec.unhealthyPodEvictionPolicy";
        let supported = &["AlwaysAllow", "IfHealthyBudget"];
        errors.push(FieldError::not_supported(field, policy, supported));
    }
    if let Some(selector) = spec.get("selector") {
        errors.extend(label_selector_errors(selector, "spec.selector"));
    }
    errors
}

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let amount = |pointer: &str| match object.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => "N/A".to_owned(),
    };
    vec![
        age::name(object),
        Value::from(amount("/spec/minAvailable")),
        Value::from(amount("/spec/maxUnavailable")),
        Value::from(integer(object, "/status/disruptionsAllowed").unwrap_or_default()),
        age::age(object, now),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_budgets_are_refused_in_upstreams_words() {
        let cases = [
            (
                json!({"minAvailable": 1, "maxUnavailable": 1}),
                "spec: Invalid value: {\"maxUnavailable\":1,\"minAvailable\":1}: minAvailable and maxUnavailable \
                 cannot be both set",
            ),
            (
                json!({"minAvailable": -1}),
                "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                json!({"maxUnavailable": "101%"}),
                "spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ),
            (
                json!({"unhealthyPodEvictionPolicy": "Never"}),
                "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Never\": supported values: \"AlwaysAllow\", \
                 \"IfHealthyBudget\"",
            ),
        ];
        for (spec, wanted) in cases {
            let errors: Vec<String> = validate(&json!({"spec": spec}))
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(errors, [wanted]);
        }
    }

    /// embedded-cluster.md 12.
    #[test]
    fn cells_of_budgets() {
        let now = "2026-01-01T00:02:00Z".parse().unwrap();
        let budget = json!({
            "metadata": {"name": "b", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 2},
        });
        let wanted = [json!("b"), json!("50%"), json!("N/A"), json!(2), json!("2m")];
        assert_eq!(cells(&budget, now), wanted);
    }
}
