//! StatefulSets and replication controllers, which are only stored. Source: embedded-cluster.md 6.4, 12, 13.

use serde_json::{Value, json};

use super::fields::{entries, integer, list_mut, map_mut, or, set_missing};
use super::pod_template::{default_spec, nonnegative};
use super::workload::{equals, selector_errors, selector_text, template_errors, wide_cells};
use super::{Column, FieldError, Kind, MetadataChecks, NameRule, Subresource, age, counters};

/// What may change in the spec of a StatefulSet.
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

pub(super) const STATEFUL_SET: Kind = Kind {
    group: "apps",
    short_names: &["sts"],
    categories: &["all"],
    stored_as: ("apps", "statefulsets"),
    name_rule: NameRule::Label,
    subresources: &[Subresource::Scale, Subresource::Status],
    has_generation: true,
    is_only_stored: true,
    default: default_stateful_set,
    prepare_create: |object, _| {
        map_mut(object, &[]).insert(
            "status".to_owned(),
            json!({"replicas": 0, "availableReplicas": 0}),
        );
    },
    validate: |object| {
        let number = |name: &str| nonnegative(object, &format!("/spec/{name}"), &format!("spec.{name}"));
        let mut errors = Vec::new();
        errors.extend(number("replicas"));
        errors.extend(selector_errors(object, "statefulset"));
        errors.extend(template_errors(object, "StatefulSet"));
        errors.extend(number("minReadySeconds"));
        errors.extend(number("revisionHistoryLimit"));
        errors
    },
    validate_update: |new, old| {
        let kept = |object: &Value| {
            let mut spec = object.get("spec").cloned().unwrap_or_default();
            let map = map_mut(&mut spec, &[]);
            map.retain(|name, _| !MUTABLE.contains(&name.as_str()));
            spec
        };
        if kept(new) == kept(old) {
            return Vec::new();
        }
        let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                   'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                   'minReadySeconds' are forbidden";
        vec![FieldError::forbidden("spec", why)]
    },
    scale_selector: |object| selector_text(object, "/spec/selector"),
    validate_status: counters::of_stateful_set,
    columns: &[
        Column::NAME,
        Column::string("Ready"),
        Column::AGE,
        Column::wide("Containers"),
        Column::wide("Images"),
    ],
    cells: |object, now| {
        let number = |pointer: &str| integer(object, pointer).unwrap_or_default();
        let ready = format!("{}/{}", number("/status/readyReplicas"), number("/spec/replicas"));
        let [containers, images, _] = wide_cells(object);
        vec![
            age::name(object),
            Value::from(ready),
            age::age(object, now),
            containers,
            images,
        ]
    },
    metadata_checks: MetadataChecks::CHANGE_LAST,
    ..Kind::plain("StatefulSet", "statefulsets", "statefulset")
};

pub(super) const REPLICATION_CONTROLLER: Kind = Kind {
    short_names: &["rc"],
    categories: &["all"],
    subresources: &[Subresource::Scale, Subresource::Status],
    has_generation: true,
    is_only_stored: true,
    default: default_controller,
    prepare_create: |object, _| {
        map_mut(object, &[]).insert("status".to_owned(), json!({"replicas": 0}));
    },
    validate: controller_errors,
    // A changed one is checked twice.
    validate_update: |new, _| controller_errors(new),
    scale_selector: map_text,
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
    cells: |object, now| {
        let number = |pointer: &str| Value::from(integer(object, pointer).unwrap_or_default());
        let [containers, images, _] = wide_cells(object);
        vec![
            age::name(object),
            number("/spec/replicas"),
            number("/status/replicas"),
            number("/status/readyReplicas"),
            age::age(object, now),
            containers,
            images,
            Value::from(or(&map_text(object), "<none>")),
        ]
    },
    metadata_checks: MetadataChecks::WHOLE_FIRST,
    orphans_by_default: true,
    ..Kind::plain(
        "ReplicationController",
        "replicationcontrollers",
        "replicationcontroller",
    )
};

fn default_stateful_set(object: &mut Value) {
    let spec = map_mut(object, &["spec"]);
    set_missing(spec, "replicas", 1);
    set_missing(spec, "podManagementPolicy", "OrderedReady");
    set_missing(spec, "revisionHistoryLimit", 10);
    let strategy = map_mut(spec.entry("updateStrategy").or_insert(Value::Null), &[]);
    set_missing(strategy, "type", "RollingUpdate");
    if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
        let rolling = map_mut(strategy.entry("rollingUpdate").or_insert(Value::Null), &[]);
        set_missing(rolling, "partition", 0);
    }
    let policy = spec
        .entry("persistentVolumeClaimRetentionPolicy")
        .or_insert(Value::Null);
    let policy = map_mut(policy, &[]);
    set_missing(policy, "whenDeleted", "Retain");
    set_missing(policy, "whenScaled", "Retain");
    let template = map_mut(object, &["spec", "template"]);
    default_spec(template.entry("spec").or_insert(Value::Null));
    for claim in list_mut(object, "/spec/volumeClaimTemplates") {
        set_missing(map_mut(claim, &[]), "apiVersion", "v1");
        set_missing(map_mut(claim, &[]), "kind", "PersistentVolumeClaim");
        set_missing(map_mut(claim, &["spec"]), "volumeMode", "Filesystem");
        set_missing(map_mut(claim, &["status"]), "phase", "Pending");
    }
}

fn default_controller(object: &mut Value) {
    let labels = object.pointer("/spec/template/metadata/labels").cloned();
    if let Some(labels) = labels {
        set_missing(map_mut(object, &["spec"]), "selector", labels.clone());
        set_missing(map_mut(object, &["metadata"]), "labels", labels);
    }
    set_missing(map_mut(object, &["spec"]), "replicas", 1);
    let template = map_mut(object, &["spec", "template"]);
    default_spec(template.entry("spec").or_insert(Value::Null));
}

/// A selector that is a plain map.
fn map_text(object: &Value) -> String {
    let parts: Vec<String> = entries(object, "/spec/selector").map(equals).collect();
    parts.join(",")
}

fn controller_errors(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    errors.extend(nonnegative(object, "/spec/replicas", "spec.replicas"));
    errors.extend(nonnegative(
        object,
        "/spec/minReadySeconds",
        "spec.minReadySeconds",
    ));
    if entries(object, "/spec/selector").next().is_none() {
        errors.push(FieldError::required("spec.selector", ""));
    }
    let labels = object.pointer("/spec/template/metadata/labels");
    let has = |(name, value): (&str, &Value)| labels.and_then(|labels| labels.get(name)) == Some(value);
    if !entries(object, "/spec/selector").all(has) {
        let why = "`selector` does not match template `labels`";
        let labels = labels.cloned().unwrap_or(Value::Null);
        errors.push(FieldError::invalid("spec.template.metadata.labels", labels, why));
    }
    errors.extend(template_errors(object, "ReplicationController"));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    /// embedded-cluster.md 13.
    #[test]
    fn defaults_of_stateful_sets() {
        let mut set = json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}}]}});
        default_stateful_set(&mut set);
        let spec = &set["spec"];
        assert_eq!(spec["podManagementPolicy"], "OrderedReady");
        assert_eq!(
            spec["updateStrategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
        );
        assert_eq!(
            spec["persistentVolumeClaimRetentionPolicy"],
            json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
        );
        assert_eq!(
            spec["volumeClaimTemplates"][0]["spec"]["volumeMode"],
            "Filesystem"
        );
    }

    /// embedded-cluster.md 6.4.
    #[test]
    fn little_of_a_stateful_set_may_change() {
        let old = json!({"spec": {"replicas": 1, "serviceName": "a"}});
        assert!(
            (STATEFUL_SET.validate_update)(&json!({"spec": {"replicas": 2, "serviceName": "a"}}), &old)
                .is_empty()
        );
        let errors =
            (STATEFUL_SET.validate_update)(&json!({"spec": {"replicas": 1, "serviceName": "b"}}), &old);
        assert!(
            errors[0]
                .to_string()
                .starts_with("spec: Forbidden: updates to statefulset spec")
        );
    }

    #[test]
    fn a_replication_controller_selects_the_labels_of_its_template() {
        let mut controller = json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}});
        default_controller(&mut controller);
        assert_eq!(controller["spec"]["selector"], json!({"a": "b"}));
        assert_eq!(map_text(&controller), "a=b");
        assert_eq!(controller["metadata"]["labels"]["a"], "b");
    }
}
