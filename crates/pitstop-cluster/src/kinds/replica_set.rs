//! ReplicaSets. Source: embedded-cluster.md 6.4, 12, 13.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fields::{integer, map_mut, set_missing};
use super::pod_template::{default_spec, nonnegative};
use super::workload::{immutable_selector, selector_errors, selector_text, template_errors, wide_cells};
use super::{Column, FieldError, FieldKey, Kind, MetadataChecks, Subresource, age, counters};

pub(super) const KIND: Kind = Kind {
    group: "apps",
    short_names: &["rs"],
    categories: &["all"],
    stored_as: ("apps", "replicasets"),
    subresources: &[Subresource::Scale, Subresource::Status],
    has_generation: true,
    field_keys: &[FieldKey {
        key: "status.replicas",
        pointers: &["/status/replicas"],
        absent: "0",
    }],
    default,
    prepare_create: |object, _| {
        map_mut(object, &[]).insert("status".to_owned(), json!({"replicas": 0}));
    },
    validate,
    validate_update: immutable_selector,
    scale_selector: |object| selector_text(object, "/spec/selector"),
    validate_status: counters::of_replicas,
    columns: &[
        Column::NAME,
        Column::integer("Desired"),
        Column::integer("Current"),
        Column::integer("Ready"),
        Column::AGE,
        Column::wide("Containers"),
        Column::wide("Images"),
        Column::wide("Selector"),
    ],
    cells,
    metadata_checks: MetadataChecks::CHANGE_LAST,
    ..Kind::plain("ReplicaSet", "replicasets", "replicaset")
};

fn default(object: &mut Value) {
    set_missing(map_mut(object, &["spec"]), "replicas", 1);
    let template = map_mut(object, &["spec", "template"]);
    default_spec(template.entry("spec").or_insert(Value::Null));
}

fn validate(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    errors.extend(nonnegative(object, "/spec/replicas", "spec.replicas"));
    errors.extend(nonnegative(
        object,
        "/spec/minReadySeconds",
        "spec.minReadySeconds",
    ));
    errors.extend(selector_errors(object, "deployment"));
    errors.extend(template_errors(object, "ReplicaSet"));
    errors
}

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let number = |pointer: &str| Value::from(integer(object, pointer).unwrap_or_default());
    let [containers, images, selector] = wide_cells(object);
    vec![
        age::name(object),
        number("/spec/replicas"),
        number("/status/replicas"),
        number("/status/readyReplicas"),
        age::age(object, now),
        containers,
        images,
        selector,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> Value {
        let mut set = json!({
            "metadata": {"name": "a", "namespace": "default"},
            "spec": {
                "selector": {"matchLabels": {"app": "a"}},
                "template": {
                    "metadata": {"labels": {"app": "a"}},
                    "spec": {"containers": [{"name": "c", "image": "c:1"}]},
                },
            },
        });
        default(&mut set);
        set
    }

    /// embedded-cluster.md 13: "ReplicaSet replicas 1".
    #[test]
    fn there_is_one_replica_unless_another_number_is_given() {
        assert_eq!(set()["spec"]["replicas"], 1);
        assert!(validate(&set()).is_empty());
    }

    #[test]
    fn wrong_sets_are_refused_in_upstreams_words() {
        let cases = [
            (
                "/spec/replicas",
                json!(-1),
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                "/spec/selector",
                json!({}),
                "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
            ),
            (
                "/spec/selector",
                json!({"matchLabels": {"app": "b"}}),
                "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template \
                 `labels`",
            ),
            (
                "/spec/template/spec/restartPolicy",
                json!("Never"),
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            ),
        ];
        for (pointer, value, wanted) in cases {
            let mut set = set();
            *set.pointer_mut(pointer).unwrap() = value;
            let errors: Vec<String> = validate(&set).iter().map(ToString::to_string).collect();
            assert_eq!(errors, [wanted]);
        }
    }
}
