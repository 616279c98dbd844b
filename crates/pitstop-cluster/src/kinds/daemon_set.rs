//! DaemonSets. Source: daemonset.md A1, B3.

use jiff::Timestamp;
use pitstop_api::keys;
use serde_json::{Value, json};

use super::fields::{entries, integer, list, map_mut, or, set_missing, text};
use super::pod_template::{default_spec, nonnegative, validate_template};
use super::{Column, FieldError, Kind, Subresource, age, metadata};

const SELECTOR_OPERATORS: &[&str] = &["DoesNotExist", "Exists", "In", "NotIn"];

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
    validate_update: |new, old| {
        let mut errors = Vec::new();
        if new.pointer("/spec/selector") != old.pointer("/spec/selector") {
            let selector = new.pointer("/spec/selector").cloned().unwrap_or_default();
            errors.push(FieldError::invalid(
                "spec.selector",
                selector,
                "field is immutable",
            ));
        }
        errors
    },
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
    errors.extend(validate_selector(object));
    match object.pointer("/spec/template") {
        Some(template) => errors.extend(validate_template(template, "spec.template")),
        None => errors.push(FieldError::required("spec.template", "")),
    }
    let policy = text(object, "/spec/template/spec/restartPolicy");
    if ["OnFailure", "Never"].contains(&policy) {
        let field = "spec.template.spec.restartPolicy";
        errors.push(FieldError::not_supported(field, policy, &["Always"]));
    }
    if object
        .pointer("/spec/template/spec/activeDeadlineSeconds")
        .is_some()
    {
        let why = "activeDeadlineSeconds in DaemonSet is not Supported";
        errors.push(FieldError::forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            why,
        ));
    }
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

fn validate_selector(object: &Value) -> Vec<FieldError> {
    let Some(selector) = object.pointer("/spec/selector") else {
        return vec![FieldError::required("spec.selector", "")];
    };
    let mut errors = metadata::labels(selector, "/matchLabels", "spec.selector.matchLabels");
    let expressions = list(selector, "/matchExpressions");
    for (index, expression) in expressions.iter().enumerate() {
        errors.extend(validate_requirement(
            expression,
            &format!("spec.selector.matchExpressions[{index}]"),
        ));
    }
    let well_formed = errors.is_empty();
    let labels = object
        .pointer("/spec/template/metadata/labels")
        .cloned()
        .unwrap_or_else(|| json!({}));
    let empty = entries(selector, "/matchLabels").next().is_none() && expressions.is_empty();
    if well_formed && !empty && !selects(selector, &labels) {
        let why = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid("spec.template.metadata.labels", labels, why));
    }
    if empty {
        let why = "empty selector is invalid for daemonset";
        errors.push(FieldError::invalid("spec.selector", selector.clone(), why));
    }
    errors
}

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

fn selects(selector: &Value, labels: &Value) -> bool {
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

/// The number, or the number before the percent sign; 0 for what is neither.
fn amount(value: &Value) -> i64 {
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

fn amount_problem(value: &Value) -> Option<&'static str> {
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

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let status = |name: &str| Value::from(integer(object, &format!("/status/{name}")).unwrap_or_default());
    let containers = list(object, "/spec/template/spec/containers");
    let joined = |pointer: &str| {
        let texts: Vec<&str> = containers
            .iter()
            .map(|container| text(container, pointer))
            .collect();
        Value::from(texts.join(","))
    };
    let node_selector: Vec<String> = entries(object, "/spec/template/spec/nodeSelector")
        .map(equals)
        .collect();
    vec![
        age::name(object),
        status("desiredNumberScheduled"),
        status("currentNumberScheduled"),
        status("numberReady"),
        status("updatedNumberScheduled"),
        status("numberAvailable"),
        Value::from(or(&node_selector.join(","), "<none>")),
        age::age(object, now),
        joined("/name"),
        joined("/image"),
        Value::from(selector_text(object)),
    ]
}

fn equals((key, value): (&str, &Value)) -> String {
    format!("{key}={}", value.as_str().unwrap_or_default())
}

fn selector_text(object: &Value) -> String {
    let mut parts: Vec<String> = entries(object, "/spec/selector/matchLabels")
        .map(equals)
        .collect();
    for expression in list(object, "/spec/selector/matchExpressions") {
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

#[cfg(test)]
mod tests;
