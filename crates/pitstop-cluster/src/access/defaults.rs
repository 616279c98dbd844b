//! Roles and bindings that every cluster with RBAC starts with.

use serde::Deserialize;
use serde_json::{Value, json};

use super::policy::Rule;

/// Vendored as data: see the notice in it.
const DATA: &str = include_str!("defaults.json");

const LABEL: &str = "kubernetes.io/bootstrapping";
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const API_VERSION: &str = "rbac.authorization.k8s.io/v1";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    cluster_roles: Vec<Value>,
    cluster_role_bindings: Vec<Value>,
    roles: Vec<Value>,
    role_bindings: Vec<Value>,
}

/// Whoever plays the nodes of this process reads for all of them at once, and acts as each of them.
const SIMULATED_NODES: &str = "pitstop:simulated-nodes";

/// The user that plays the nodes.
pub(crate) const FLEET: &str = "system:nodes";

/// All of them, in an order in which they can be made: roles before their bindings.
pub(crate) fn objects() -> Vec<Value> {
    let Ok(data) = serde_json::from_str::<Data>(DATA) else {
        return Vec::new();
    };
    let lists = [
        ("ClusterRole", data.cluster_roles),
        ("Role", data.roles),
        ("ClusterRoleBinding", data.cluster_role_bindings),
        ("RoleBinding", data.role_bindings),
    ];
    let mut objects: Vec<Value> = lists
        .into_iter()
        .flat_map(|(kind, list)| list.into_iter().map(move |object| whole(kind, object)))
        .collect();
    objects.extend(simulated_nodes());
    objects
}

fn whole(kind: &str, mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), API_VERSION.into());
        fields.insert("kind".to_owned(), kind.into());
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("annotations".to_owned(), json!({ AUTO_UPDATE: "true" }));
        let labels = metadata.entry("labels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(LABEL.to_owned(), "rbac-defaults".into());
        }
    }
    object
}

fn simulated_nodes() -> [Value; 2] {
    let metadata = json!({"name": SIMULATED_NODES});
    let group = "rbac.authorization.k8s.io";
    [
        json!({
            "apiVersion": API_VERSION, "kind": "ClusterRole", "metadata": metadata,
            "rules": [
                {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch", "create", "patch", "update", "delete"]},
                {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch", "update"]},
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "delete"]},
                {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch", "update"]},
                {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
                {"apiGroups": ["apps.kruise.io"], "resources": ["nodeimages"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": ["apps.kruise.io"], "resources": ["nodeimages/status"], "verbs": ["patch", "update"]},
                {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "list", "watch", "create", "patch", "update", "delete"]},
            ],
        }),
        json!({
            "apiVersion": API_VERSION, "kind": "ClusterRoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": SIMULATED_NODES},
            "subjects": [{"apiGroup": group, "kind": "User", "name": FLEET}],
        }),
    ]
}

/// What every node may do besides what [`super::nodes`] looks at more closely: the rules of `system:node`.
pub(crate) fn node_rules() -> Vec<Rule> {
    let role = objects()
        .into_iter()
        .find(|object| object.pointer("/metadata/name").and_then(Value::as_str) == Some("system:node"));
    let rules = role.and_then(|mut role| role.get_mut("rules").map(Value::take));
    rules
        .and_then(|rules| serde_json::from_value(rules).ok())
        .unwrap_or_default()
}
