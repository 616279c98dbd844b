//! DaemonSets. Source: daemonset.md A1, B3.

use jiff::Timestamp;
use pitstop_api::keys;
use serde_json::{Value, json};

use super::fields::{entries, integer, map_mut, or, set_missing, text};
use super::pod_template::{default_spec, nonnegative};
use super::workload::{
    amount, amount_problem, equals, immutable_selector, selector_errors, template_errors, wide_cells,
};
use super::{Column, FieldError, Kind, MetadataChecks, Subresource, age, counters};

pub(super) const KIND: Kind = Kind {
    group: "apps",
    short_names: &["ds"],
    categories: &["all"],
    stored_as: ("apps", "daemonsets"),
    subresources: &[Subresource::Status],
    has_generation: true,
    default,
    prepare_create: |object, _| {
        let status = json!({
            "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
        });
        map_mut(object, &[]).insert("status".to_owned(), status);
        set_template_generation(object, template_generation(object).max(1));
    },
    prepare_update: |new, old| {
        let changed = defaulted_template(new) != defaulted_template(old);
        set_template_generation(new, template_generation(old).max(1) + i64::from(changed));
    },
    validate,
    validate_update: immutable_selector,
    validate_status: counters::of_daemon_set,
    columns: &[
        Column::NAME,
        Column::integer("Desired"),
        Column::integer("Current"),
        Column::integer("Ready"),
        Column::integer("Up-to-date"),
        Column::integer("Available"),
        Column::string("Node Selector"),
        Column::AGE,
        Column::wide("Containers"),
        Column::wide("Images"),
        Column::wide("Selector"),
    ],
    cells,
    metadata_checks: MetadataChecks::CHANGE,
    ..Kind::plain("DaemonSet", "daemonsets", "daemonset")
};

fn default(object: &mut Value) {
    let spec = map_mut(object, &["spec"]);
    set_missing(spec, "revisionHistoryLimit", 10);
    let strategy = map_mut(spec.entry("updateStrategy").or_insert(Value::Null), &[]);
    set_missing(strategy, "type", "RollingUpdate");
    if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
        let rolling = map_mut(strategy.entry("rollingUpdate").or_insert(Value::Null), &[]);
        set_missing(rolling, "maxUnavailable", 1);
        set_missing(rolling, "maxSurge", 0);
    }
    let template = map_mut(object, &["spec", "template"]);
    default_spec(template.entry("spec").or_insert(Value::Null));
}

/// The annotation that counts changes of the template, 0 if it is missing or no number.
fn template_generation(object: &Value) -> i64 {
    object
        .pointer("/metadata/annotations")
        .and_then(|annotations| annotations.get(keys::TEMPLATE_GENERATION))
        .and_then(Value::as_str)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

fn set_template_generation(object: &mut Value, generation: i64) {
    let annotations = map_mut(object, &["metadata", "annotations"]);
    annotations.insert(
        keys::TEMPLATE_GENERATION.to_owned(),
        Value::from(generation.to_string()),
    );
}

/// The template with its defaults, so that spelling out a default is no change.
fn defaulted_template(object: &Value) -> Option<Value> {
    let mut template = object.pointer("/spec/template").cloned()?;
    default_spec(map_mut(&mut template, &[]).entry("spec").or_insert(Value::Null));
    Some(template)
}

fn validate(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    errors.extend(selector_errors(object, "daemonset"));
    errors.extend(template_errors(object, "DaemonSet"));
    errors.extend(nonnegative(
        object,
        "/spec/minReadySeconds",
        "spec.minReadySeconds",
    ));
    errors.extend(validate_strategy(object));
    errors.extend(nonnegative(
        object,
        "/spec/revisionHistoryLimit",
        "spec.revisionHistoryLimit",
    ));
    errors
}

fn validate_strategy(object: &Value) -> Vec<FieldError> {
    const ROLLING: &str = "spec.updateStrategy.rollingUpdate";
    match text(object, "/spec/updateStrategy/type") {
        "OnDelete" => return Vec::new(),
        "RollingUpdate" => {}
        other => {
            return vec![FieldError::not_supported(
                "spec.updateStrategy",
                other,
                &["RollingUpdate", "OnDelete"],
            )];
        }
    }
    let Some(rolling) = object.pointer("/spec/updateStrategy/rollingUpdate") else {
        return vec![FieldError::required(ROLLING, "")];
    };
    let unavailable = rolling.get("maxUnavailable").cloned().unwrap_or_default();
    let surge = rolling.get("maxSurge").cloned().unwrap_or_default();
    let mut errors = Vec::new();
    for (name, value) in [("maxUnavailable", &unavailable), ("maxSurge", &surge)] {
        errors.extend(
            amount_problem(value)
                .map(|why| FieldError::invalid(format!("{ROLLING}.{name}"), value.clone(), why)),
        );
    }
    match (amount(&unavailable), amount(&surge)) {
        (0, 0) => {
            let why = "cannot be 0 when maxSurge is 0";
            errors.push(FieldError::required(format!("{ROLLING}.maxUnavailable"), why));
        }
        (0, _) | (_, 0) => {}
        _ => {
            let why = "may not be set when maxUnavailable is non-zero";
            errors.push(FieldError::invalid(format!("{ROLLING}.maxSurge"), surge, why));
        }
    }
    errors
}

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let status = |name: &str| Value::from(integer(object, &format!("/status/{name}")).unwrap_or_default());
    let node_selector: Vec<String> = entries(object, "/spec/template/spec/nodeSelector")
        .map(equals)
        .collect();
    let [containers, images, selector] = wide_cells(object);
    vec![
        age::name(object),
        status("desiredNumberScheduled"),
        status("currentNumberScheduled"),
        status("numberReady"),
        status("updatedNumberScheduled"),
        status("numberAvailable"),
        Value::from(or(&node_selector.join(","), "<none>")),
        age::age(object, now),
        containers,
        images,
        selector,
    ]
}

#[cfg(test)]
mod tests;
