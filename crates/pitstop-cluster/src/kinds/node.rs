//! Nodes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use pitstop_api::keys;
use serde_json::{Value, json};

use super::fields::{entries, flag, list, map_mut, or, set_missing, text};
use super::{Column, Creation, FieldError, FieldKey, Kind, Subresource, age, metadata};

const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "PreferNoSchedule"];

/// Prefix of role labels; the rest of the key is the role.
const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
/// Label whose value is a role.
const ROLE_LABEL: &str = "kubernetes.io/role";

pub(super) const KIND: Kind = Kind {
    short_names: &["no"],
    namespaced: false,
    subresources: &[Subresource::Proxy, Subresource::Status],
    field_keys: &[FieldKey {
        key: "spec.unschedulable",
        pointers: &["/spec/unschedulable"],
        absent: "false",
    }],
    default: |object| {
        if let Some(capacity) = object.pointer("/status/capacity").cloned() {
            set_missing(map_mut(object, &["status"]), "allocatable", capacity);
        }
    },
    prepare_create: start_not_ready,
    validate: taints,
    columns: &[
        Column::NAME,
        Column::string("Status"),
        Column::string("Roles"),
        Column::AGE,
        Column::string("Version"),
        Column::wide("Internal-IP"),
        Column::wide("External-IP"),
        Column::wide("OS-Image"),
        Column::wide("Kernel-Version"),
        Column::wide("Container-Runtime"),
    ],
    cells,
    ..Kind::plain("Node", "nodes", "node")
};

/// A new node takes no pods until it was ready once; the node lifecycle controller removes the taint. A node keeps the
/// status that it is created with. Source: embedded-cluster.md 6.1, 16.2.
fn start_not_ready(object: &mut Value, _: &Creation<'_>) {
    let there = list(object, "/spec/taints")
        .iter()
        .any(|taint| text(taint, "/key") == keys::TAINT_NOT_READY && text(taint, "/effect") == "NoSchedule");
    if there {
        return;
    }
    let taint = json!({"key": keys::TAINT_NOT_READY, "effect": "NoSchedule"});
    match map_mut(object, &["spec"])
        .entry("taints")
        .or_insert_with(|| json!([]))
    {
        Value::Array(taints) => taints.push(taint),
        other => *other = json!([taint]),
    }
}

fn taints(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, taint) in list(object, "/spec/taints").iter().enumerate() {
        let field = format!("metadata.taints[{index}]");
        let (key, value, effect) = (text(taint, "/key"), text(taint, "/value"), text(taint, "/effect"));
        let problems = metadata::key_problems(key);
        errors.extend(
            problems
                .into_iter()
                .map(|why| FieldError::invalid(format!("{field}.key"), key, why)),
        );
        let problems = metadata::label_value_problems(value);
        errors.extend(
            problems
                .into_iter()
                .map(|why| FieldError::invalid(format!("{field}.value"), value, why)),
        );
        if effect.is_empty() {
            errors.push(FieldError::required(format!("{field}.effect"), ""));
        } else if !EFFECTS.contains(&effect) {
            errors.push(FieldError::not_supported(
                format!("{field}.effect"),
                effect,
                EFFECTS,
            ));
        }
        if !seen.insert((key, effect)) {
            errors.push(FieldError {
                detail: "taints must be unique by key and effect pair".to_owned(),
                ..FieldError::duplicate(field, taint.clone())
            });
        }
    }
    errors
}

fn cells(node: &Value, now: Timestamp) -> Vec<Value> {
    let info = |name: &str| text(node, &format!("/status/nodeInfo/{name}")).to_owned();
    let known = |name: &str| Value::from(or(&info(name), "<unknown>"));
    vec![
        age::name(node),
        Value::from(status(node)),
        Value::from(roles(node)),
        age::age(node, now),
        Value::from(info("kubeletVersion")),
        Value::from(address(node, "InternalIP")),
        Value::from(address(node, "ExternalIP")),
        known("osImage"),
        known("kernelVersion"),
        known("containerRuntimeVersion"),
    ]
}

fn status(node: &Value) -> String {
    let ready = list(node, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == "Ready");
    let mut status = match ready.map(|condition| text(condition, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if flag(node, "/spec/unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Value) -> String {
    let roles: BTreeSet<&str> = entries(node, "/metadata/labels")
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None if key == ROLE_LABEL => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    let roles: Vec<&str> = roles.into_iter().collect();
    or(&roles.join(","), "<none>").to_owned()
}

fn address(node: &Value, kind: &str) -> String {
    let address = list(node, "/status/addresses")
        .iter()
        .find(|address| text(address, "/type") == kind);
    or(
        address
            .map(|address| text(address, "/address"))
            .unwrap_or_default(),
        "<none>",
    )
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_node_starts_not_ready_and_keeps_its_status() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let creation = Creation::at(now);
        let mut node = json!({"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "4"}}});
        (KIND.default)(&mut node);
        (KIND.prepare_create)(&mut node, &creation);
        let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
        assert_eq!(node["spec"]["taints"], json!([taint]));
        assert_eq!(
            node["status"],
            json!({"capacity": {"cpu": "4"}, "allocatable": {"cpu": "4"}})
        );
        let once = node.clone();
        (KIND.prepare_create)(&mut node, &creation);
        assert_eq!(node, once);
        assert!((KIND.validate)(&node).is_empty());
    }

    #[test]
    fn taints_are_checked() {
        let node = json!({"metadata": {"name": "n"}, "spec": {"taints": [
            {"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}, {"key": "b c", "effect": "No"},
            {"key": "a"},
        ]}});
        let errors: Vec<String> = (KIND.validate)(&node).iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 4, "{errors:?}");
        assert!(errors[0].starts_with("metadata.taints[1]: Duplicate value"));
        assert!(
            errors[2].contains(r#"Unsupported value: "No": supported values: "NoExecute", "NoSchedule""#)
        );
        assert_eq!(errors[3], "metadata.taints[3].effect: Required value");
    }

    /// embedded-cluster.md 12, "Node cells".
    #[test]
    fn cells_of_nodes() {
        let now = "2026-01-03T00:00:00Z".parse().unwrap();
        let node = json!({
            "metadata": {
                "name": "n1", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": ""},
            },
            "spec": {"unschedulable": true},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1.34.2", "osImage": "Linux"},
            },
        });
        let wanted = json!([
            "n1",
            "Ready,SchedulingDisabled",
            "control-plane,worker",
            "2d",
            "v1.34.2",
            "10.0.0.1",
            "<none>",
            "Linux",
            "<unknown>",
            "<unknown>"
        ]);
        assert_eq!(Value::from(cells(&node, now)), wanted);
        for (condition, wanted) in [
            (json!([{"type": "Ready", "status": "Unknown"}]), "NotReady"),
            (json!([{"type": "Ready", "status": "False"}]), "NotReady"),
            (json!([]), "Unknown"),
        ] {
            assert_eq!(status(&json!({"status": {"conditions": condition}})), wanted);
        }
    }
}
