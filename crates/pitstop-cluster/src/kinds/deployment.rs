//! Deployments. Source: embedded-cluster.md 6.2, 6.4, 12, 13.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fields::{integer, map_mut, set_missing, text};
use super::pod_template::{default_spec, nonnegative};
use super::workload::{
    amount, amount_problem, immutable_selector, selector_errors, selector_text, template_errors, wide_cells,
};
use super::{Column, FieldError, Kind, MetadataChecks, Subresource, age, counters};

pub(super) const KIND: Kind = Kind {
    group: "apps",
    short_names: &["deploy"],
    categories: &["all"],
    stored_as: ("apps", "deployments"),
    subresources: &[Subresource::Scale, Subresource::Status],
    has_generation: true,
    default,
    prepare_create: |object, _| {
        map_mut(object, &[]).insert("status".to_owned(), json!({}));
    },
    prepare_update: |new, old| {
        // Annotations are copied to ReplicaSets, so that a change of them has to be observed as one of the spec has.
        let annotations = "/metadata/annotations";
        if new.pointer(annotations) != old.pointer(annotations)
            && new.get("spec") == old.get("spec")
            && let Some(generation) = integer(old, "/metadata/generation")
        {
            map_mut(new, &["metadata"]).insert("generation".to_owned(), generation.saturating_add(1).into());
        }
    },
    validate,
    validate_update: immutable_selector,
    scale_selector: |object| selector_text(object, "/spec/selector"),
    validate_status: counters::of_deployment,
    columns: &[
        Column::NAME,
        Column::string("Ready"),
        Column::string("Up-to-date"),
        Column::string("Available"),
        Column::AGE,
        Column::wide("Containers"),
        Column::wide("Images"),
        Column::wide("Selector"),
    ],
    cells,
    metadata_checks: MetadataChecks::CHANGE_LAST,
    ..Kind::plain("Deployment", "deployments", "deployment")
};

fn default(object: &mut Value) {
    let spec = map_mut(object, &["spec"]);
    set_missing(spec, "replicas", 1);
    set_missing(spec, "revisionHistoryLimit", 10);
    set_missing(spec, "progressDeadlineSeconds", 600);
    let strategy = map_mut(spec.entry("strategy").or_insert(Value::Null), &[]);
    set_missing(strategy, "type", "RollingUpdate");
    if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
        let rolling = map_mut(strategy.entry("rollingUpdate").or_insert(Value::Null), &[]);
        set_missing(rolling, "maxUnavailable", "25%");
        set_missing(rolling, "maxSurge", "25%");
    }
    let template = map_mut(object, &["spec", "template"]);
    default_spec(template.entry("spec").or_insert(Value::Null));
}

fn validate(object: &Value) -> Vec<FieldError> {
    let number = |name: &str| nonnegative(object, &format!("/spec/{name}"), &format!("spec.{name}"));
    let mut errors = Vec::new();
    errors.extend(number("replicas"));
    errors.extend(selector_errors(object, "deployment"));
    errors.extend(template_errors(object, "ReplicaSet"));
    errors.extend(validate_strategy(object));
    errors.extend(number("minReadySeconds"));
    errors.extend(number("revisionHistoryLimit"));
    errors.extend(number("progressDeadlineSeconds"));
    if let Some(deadline) = integer(object, "/spec/progressDeadlineSeconds")
        && deadline <= integer(object, "/spec/minReadySeconds").unwrap_or_default()
    {
        let why = "must be greater than minReadySeconds";
        errors.push(FieldError::invalid("spec.progressDeadlineSeconds", deadline, why));
    }
    errors
}

fn validate_strategy(object: &Value) -> Vec<FieldError> {
    const ROLLING: &str = "spec.strategy.rollingUpdate";
    let rolling = object.pointer("/spec/strategy/rollingUpdate");
    match (text(object, "/spec/strategy/type"), rolling) {
        ("Recreate", Some(_)) => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            vec![FieldError::forbidden(ROLLING, why)]
        }
        ("Recreate", None) => Vec::new(),
        ("RollingUpdate", None) => {
            vec![FieldError::required(
                ROLLING,
                "this should be defaulted and never be nil",
            )]
        }
        ("RollingUpdate", Some(rolling)) => validate_rolling(rolling, ROLLING),
        (other, _) => {
            let supported = &["Recreate", "RollingUpdate"];
            vec![FieldError::not_supported("spec.strategy.type", other, supported)]
        }
    }
}

fn validate_rolling(rolling: &Value, field: &str) -> Vec<FieldError> {
    let unavailable = rolling.get("maxUnavailable").cloned().unwrap_or_default();
    let surge = rolling.get("maxSurge").cloned().unwrap_or_default();
    let mut errors = Vec::new();
    for (name, value) in [("maxUnavailable", &unavailable), ("maxSurge", &surge)] {
        // More than all pods cannot be missing, while any number may come on top.
        let problem = amount_problem(value)
            .filter(|why| name == "maxUnavailable" || *why != "must not be greater than 100%");
        errors.extend(problem.map(|why| FieldError::invalid(format!("{field}.{name}"), value.clone(), why)));
    }
    if errors.is_empty() && amount(&unavailable) == 0 && amount(&surge) == 0 {
        let why = "may not be 0 when `maxSurge` is 0";
        errors.push(FieldError::invalid(
            format!("{field}.maxUnavailable"),
            unavailable,
            why,
        ));
    }
    errors
}

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let number = |pointer: &str| integer(object, pointer).unwrap_or_default();
    let [containers, images, selector] = wide_cells(object);
    vec![
        age::name(object),
        Value::from(format!(
            "{}/{}",
            number("/status/readyReplicas"),
            number("/spec/replicas")
        )),
        Value::from(number("/status/updatedReplicas")),
        Value::from(number("/status/availableReplicas")),
        age::age(object, now),
        containers,
        images,
        selector,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(change: impl FnOnce(&mut Value)) -> Value {
        let mut deployment = json!({
            "metadata": {"name": "a", "namespace": "default", "generation": 3},
            "spec": {
                "selector": {"matchLabels": {"app": "a"}},
                "template": {
                    "metadata": {"labels": {"app": "a"}},
                    "spec": {"containers": [{"name": "c", "image": "c:1"}]},
                },
            },
        });
        change(&mut deployment);
        default(&mut deployment);
        deployment
    }

    fn errors(object: &Value) -> Vec<String> {
        validate(object).iter().map(ToString::to_string).collect()
    }

    /// embedded-cluster.md 13.
    #[test]
    fn defaults() {
        let spec = deployment(|_| {})["spec"].clone();
        assert_eq!(
            (
                &spec["replicas"],
                &spec["revisionHistoryLimit"],
                &spec["progressDeadlineSeconds"]
            ),
            (&json!(1), &json!(10), &json!(600))
        );
        assert_eq!(
            spec["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
        );
        let recreate = deployment(|d| d["spec"]["strategy"] = json!({"type": "Recreate"}));
        assert_eq!(recreate["spec"]["strategy"], json!({"type": "Recreate"}));
        assert!(errors(&recreate).is_empty());
    }

    #[test]
    fn wrong_deployments_are_refused_in_upstreams_words() {
        let rolling = |unavailable: Value, surge: Value| json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}});
        let cases = [
            (
                "strategy",
                rolling(json!(0), json!("0%")),
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
            ),
            (
                "strategy",
                rolling(json!("101%"), json!("200%")),
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ),
            (
                "strategy",
                json!({"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}),
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            ),
            (
                "strategy",
                json!({"type": "Blue"}),
                "spec.strategy.type: Unsupported value: \"Blue\": supported values: \"Recreate\", \"RollingUpdate\"",
            ),
            (
                "minReadySeconds",
                json!(600),
                "spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds",
            ),
            (
                "replicas",
                json!(-2),
                "spec.replicas: Invalid value: -2: must be greater than or equal to 0",
            ),
        ];
        for (field, value, wanted) in cases {
            assert_eq!(errors(&deployment(|d| d["spec"][field] = value)), [wanted]);
        }
    }

    #[test]
    fn annotations_raise_the_generation() {
        let old = deployment(|_| {});
        let mut new = deployment(|d| d["metadata"]["annotations"] = json!({"a": "b"}));
        (KIND.prepare_update)(&mut new, &old);
        assert_eq!(new["metadata"]["generation"], 4);
        let mut same = old.clone();
        (KIND.prepare_update)(&mut same, &old);
        assert_eq!(same["metadata"]["generation"], 3);
    }
}
