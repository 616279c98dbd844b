//! The objects that tell an API server of a kind: its definition, and who is asked about its objects.
//!
//! Source: cloneset.md 1.1, 1.5, 1.6; statefulset.md 2.1; daemonset.md D1.

use serde_json::{Value, json};

use super::{GROUP, Version};

/// Where versions are converted.
pub const CONVERT_PATH: &str = "/convert";

/// What a kind is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    pub(crate) kind: &'static str,
    pub(crate) list: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) short: &'static [&'static str],
    /// Does it have replicas that others may set?
    pub(crate) is_scalable: bool,
}

/// The `CustomResourceDefinition` of a kind in both versions. `client` is the `clientConfig` of who
/// converts, which is asked at [`CONVERT_PATH`].
pub(crate) fn definition(
    client: &Value,
    names: Names,
    columns: &[Value],
    schema: impl Fn(Version) -> Value,
) -> Value {
    let mut subresources = json!({"status": {}});
    if names.is_scalable {
        subresources["scale"] = json!({
            "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.labelSelector",
        });
    }
    let version = |version: Version| {
        json!({
            "name": version.name(),
            "served": true,
            "storage": version == Version::V1beta1,
            "subresources": subresources,
            "additionalPrinterColumns": columns,
            "schema": {"openAPIV3Schema": schema(version)},
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{GROUP}", names.plural)},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.kind, "listKind": names.list, "plural": names.plural, "singular": names.singular,
                "shortNames": names.short,
            },
            "conversion": {
                "strategy": "Webhook",
                "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1", "v1beta1"]},
            },
            "versions": Version::ALL.map(version),
        },
    })
}

/// A column of `kubectl get`.
pub(crate) fn column(name: &str, kind: &str, path: &str, why: &str) -> Value {
    json!({"name": name, "type": kind, "jsonPath": path, "description": why})
}

/// A column of texts that `kubectl get -o wide` has.
pub(crate) fn wide_column(name: &str, path: &str, why: &str) -> Value {
    json!({"name": name, "type": "string", "jsonPath": path, "description": why, "priority": 1})
}

/// The entry of a webhook configuration. `client` is the `clientConfig` of who is asked.
pub(crate) fn webhook(name: &str, client: &Value, plural: &str, operations: &[&str]) -> Value {
    json!({
        "name": name,
        "clientConfig": client,
        "rules": [{
            "apiGroups": [GROUP], "apiVersions": Version::ALL.map(Version::name), "operations": operations,
            "resources": [plural], "scope": "Namespaced",
        }],
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "timeoutSeconds": 10,
        "admissionReviewVersions": ["v1", "v1beta1"],
    })
}
