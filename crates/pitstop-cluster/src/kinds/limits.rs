//! Quotas, limits, priorities and pod templates, which are only stored.
//!
//! Source: embedded-cluster.md 12, 13.

use serde_json::{Value, json};

use super::fields::{entries, flag, integer, list, list_mut, map_mut, set_missing, text};
use super::pod_template::{default_spec, validate_template};
use super::workload::{equals, immutable};
use super::{Column, FieldError, Kind, MetadataChecks, Subresource, age};

/// The highest value of a class that is not the system's own.
const HIGHEST: i64 = 1_000_000_000;

pub(super) const LIMIT_RANGE: Kind = Kind {
    short_names: &["limits"],
    is_only_stored: true,
    default: |object| {
        let limits = list_mut(object, "/spec/limits").iter_mut();
        limits.for_each(default_limits_of_containers);
    },
    columns: &[Column::NAME, Column::CREATED_AT],
    cells: |object, _| {
        vec![
            age::name(object),
            Value::from(text(object, "/metadata/creationTimestamp")),
        ]
    },
    metadata_checks: MetadataChecks::WHOLE,
    is_made_by_update: true,
    ..Kind::plain("LimitRange", "limitranges", "limitrange")
};

/// What a container may have at most is what it gets where it asks for nothing, and so is what it must have at least.
///
/// Source: what Kubernetes 1.34 makes of a `LimitRange`.
fn default_limits_of_containers(limit: &mut Value) {
    if text(limit, "/type") != "Container" {
        return;
    }
    for (from, to) in [
        ("max", "default"),
        ("default", "defaultRequest"),
        ("min", "defaultRequest"),
    ] {
        let amounts = limit.get(from).and_then(Value::as_object).cloned();
        for (resource, amount) in amounts.into_iter().flatten() {
            set_missing(map_mut(limit, &[to]), &resource, amount);
        }
    }
}

pub(super) const RESOURCE_QUOTA: Kind = Kind {
    short_names: &["quota"],
    subresources: &[Subresource::Status],
    is_only_stored: true,
    prepare_create: |object, _| {
        map_mut(object, &[]).insert("status".to_owned(), json!({}));
    },
    columns: &[
        Column::NAME,
        Column::string("Request"),
        Column::string("Limit"),
        Column::AGE,
    ],
    cells: |object, now| {
        let shown = |wants_limits: bool| {
            let hard = entries(object, "/status/hard");
            let hard = hard.filter(|(name, _)| name.starts_with("limits.") == wants_limits);
            let shown: Vec<String> = hard
                .map(|(name, hard)| {
                    let used = object.pointer("/status/used").and_then(|used| used.get(name));
                    let amount =
                        |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("0").to_owned();
                    format!("{name}: {}/{}", amount(used), amount(Some(hard)))
                })
                .collect();
            Value::from(shown.join(", "))
        };
        vec![
            age::name(object),
            shown(false),
            shown(true),
            age::age(object, now),
        ]
    },
    metadata_checks: MetadataChecks::CHANGE,
    ..Kind::plain("ResourceQuota", "resourcequotas", "resourcequota")
};

pub(super) const PRIORITY_CLASS: Kind = Kind {
    group: "scheduling.k8s.io",
    namespaced: false,
    short_names: &["pc"],
    stored_as: ("scheduling.k8s.io", "priorityclasses"),
    has_generation: true,
    default: |object| set_missing(map_mut(object, &[]), "preemptionPolicy", "PreemptLowerPriority"),
    validate: |object| {
        let name = text(object, "/metadata/name");
        let value = integer(object, "/value").unwrap_or_default();
        if name.starts_with("system-") {
            let known = [
                ("system-cluster-critical", 2_000_000_000),
                ("system-node-critical", 2_000_001_000),
            ];
            if known.contains(&(name, value)) {
                return Vec::new();
            }
            let why = "priority class names with 'system-' prefix are reserved for system use only";
            return vec![FieldError::forbidden("metadata.name", why)];
        }
        if value > HIGHEST {
            let why = format!("maximum allowed value of a user defined priority is {HIGHEST}");
            return vec![FieldError::forbidden("value", &why)];
        }
        Vec::new()
    },
    validate_update: |new, old| {
        let mut errors = Vec::new();
        if new.get("value") != old.get("value") {
            errors.push(FieldError::forbidden("value", "may not be changed in an update."));
        }
        errors.extend(immutable(new, old, "/preemptionPolicy", "preemptionPolicy"));
        errors
    },
    columns: &[
        Column::NAME,
        Column::integer("Value"),
        Column::boolean("Global-Default"),
        Column::AGE,
        Column::string("PreemptionPolicy"),
    ],
    cells: |object, now| {
        vec![
            age::name(object),
            Value::from(integer(object, "/value").unwrap_or_default()),
            Value::from(flag(object, "/globalDefault")),
            age::age(object, now),
            Value::from(text(object, "/preemptionPolicy")),
        ]
    },
    metadata_checks: MetadataChecks::CHANGE,
    ..Kind::plain("PriorityClass", "priorityclasses", "priorityclass")
};

pub(super) const POD_TEMPLATE: Kind = Kind {
    has_generation: true,
    is_only_stored: true,
    default: |object| {
        let template = map_mut(object, &["template"]);
        default_spec(template.entry("spec").or_insert(Value::Null));
    },
    validate: |object| match object.get("template") {
        Some(template) => validate_template(template, "template"),
        None => Vec::new(),
    },
    columns: &[
        Column::NAME,
        Column::string("Containers"),
        Column::string("Images"),
        Column::string("Pod Labels"),
    ],
    cells: |object, _| {
        let containers = list(object, "/template/spec/containers");
        let joined = |pointer: &str| {
            let texts: Vec<&str> = containers
                .iter()
                .map(|container| text(container, pointer))
                .collect();
            Value::from(texts.join(","))
        };
        let labels: Vec<String> = entries(object, "/template/metadata/labels").map(equals).collect();
        let labels = if labels.is_empty() {
            "<none>".to_owned()
        } else {
            labels.join(",")
        };
        vec![
            age::name(object),
            joined("/name"),
            joined("/image"),
            Value::from(labels),
        ]
    },
    metadata_checks: MetadataChecks::CHANGE,
    ..Kind::plain("PodTemplate", "podtemplates", "podtemplate")
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_systems_own_classes_are_reserved() {
        let class = |name: &str, value: i64| json!({"metadata": {"name": name}, "value": value});
        let cases = [
            ("mine", 1000, None),
            (
                "mine",
                1_000_000_001,
                Some("value: Forbidden: maximum allowed value of a user defined priority is 1000000000"),
            ),
            ("system-node-critical", 2_000_001_000, None),
            (
                "system-mine",
                1,
                Some(
                    "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only",
                ),
            ),
        ];
        for (name, value, wanted) in cases {
            let errors = (PRIORITY_CLASS.validate)(&class(name, value));
            assert_eq!(errors.first().map(ToString::to_string).as_deref(), wanted);
        }
    }

    #[test]
    fn cells_of_quotas() {
        let now = "2026-01-01T00:02:00Z".parse().unwrap();
        let quota = json!({"status": {"hard": {"pods": "5", "limits.cpu": "2"}, "used": {"pods": "1"}}});
        let cells = (RESOURCE_QUOTA.cells)(&quota, now);
        assert_eq!(cells[1..3], [json!("pods: 1/5"), json!("limits.cpu: 0/2")]);
    }

    /// What a real server answers.
    #[test]
    fn containers_get_what_they_may_have_at_most() {
        let mut range = json!({"spec": {"limits": [
            {"type": "Container", "max": {"cpu": "2", "memory": "1Gi"}, "min": {"cpu": "1", "pods": "1"}},
            {"type": "Pod", "max": {"cpu": "4"}},
        ]}});
        (LIMIT_RANGE.default)(&mut range);
        let amounts = json!({"cpu": "2", "memory": "1Gi"});
        assert_eq!(range["spec"]["limits"][0]["default"], amounts);
        let requests = json!({"cpu": "2", "memory": "1Gi", "pods": "1"});
        assert_eq!(range["spec"]["limits"][0]["defaultRequest"], requests);
        assert_eq!(
            range["spec"]["limits"][1],
            json!({"type": "Pod", "max": {"cpu": "4"}})
        );
    }
}
