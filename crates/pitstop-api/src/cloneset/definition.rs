//! The objects that tell an API server of CloneSets: the definition of the kind, and who is asked about its objects.
//!
//! Source: cloneset.md 1.1, 1.5, 1.6.

use serde_json::{Value, json};

use super::{GROUP, KIND, Version};

mod schema;
#[cfg(test)]
mod tests;

/// Plural name.
pub const PLURAL: &str = "clonesets";
/// Name of the definition.
pub const NAME: &str = "clonesets.apps.kruise.io";
/// Name of the webhook that fills in defaults.
pub const MUTATING: &str = "mcloneset.kb.io";
/// Name of the webhook that judges.
pub const VALIDATING: &str = "vcloneset.kb.io";
/// Where versions are converted.
pub const CONVERT_PATH: &str = "/convert";
/// Where defaults are filled in.
pub const MUTATE_PATH: &str = "/mutate-apps-kruise-io-cloneset";
/// Where CloneSets are judged.
pub const VALIDATE_PATH: &str = "/validate-apps-kruise-io-cloneset";

/// The `CustomResourceDefinition`. `client` is the `clientConfig` of who converts, which is asked at [`CONVERT_PATH`].
pub fn definition(client: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND, "listKind": "CloneSetList", "plural": PLURAL, "singular": "cloneset",
                "shortNames": ["clone"],
            },
            "conversion": {
                "strategy": "Webhook",
                "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1", "v1beta1"]},
            },
            "versions": Version::ALL.map(version),
        },
    })
}

fn version(version: Version) -> Value {
    json!({
        "name": version.name(),
        "served": true,
        "storage": version == Version::V1beta1,
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.labelSelector",
            },
        },
        "additionalPrinterColumns": columns(),
        "schema": {"openAPIV3Schema": schema::schema(version)},
    })
}

fn columns() -> Vec<Value> {
    let column = |name: &str, kind: &str, path: &str, why: &str| json!({"name": name, "type": kind, "jsonPath": path, "description": why});
    let mut columns = vec![
        column(
            "DESIRED",
            "integer",
            ".spec.replicas",
            "How many pods are wanted.",
        ),
        column(
            "UPDATED",
            "integer",
            ".status.updatedReplicas",
            "How many have the newest revision.",
        ),
        column(
            "UPDATED_READY",
            "integer",
            ".status.updatedReadyReplicas",
            "How many of those are ready.",
        ),
        column(
            "UPDATED_AVAILABLE",
            "integer",
            ".status.updatedAvailableReplicas",
            "How many of those have been ready for long enough.",
        ),
        column(
            "READY",
            "integer",
            ".status.readyReplicas",
            "How many pods are ready.",
        ),
        column("TOTAL", "integer", ".status.replicas", "How many pods there are."),
        column("AGE", "date", ".metadata.creationTimestamp", "When it was made."),
    ];
    for (name, path, why) in [
        (
            "CONTAINERS",
            ".spec.template.spec.containers[*].name",
            "Names of the containers.",
        ),
        (
            "IMAGES",
            ".spec.template.spec.containers[*].image",
            "Images of the containers.",
        ),
        (
            "SELECTOR",
            ".status.labelSelector",
            "Which pods are looked after.",
        ),
    ] {
        let mut column = column(name, "string", path, why);
        if let Some(column) = column.as_object_mut() {
            column.insert("priority".to_owned(), 1.into());
        }
        columns.push(column);
    }
    columns
}

/// The entry of a `MutatingWebhookConfiguration`. `client` is asked at [`MUTATE_PATH`].
pub fn mutating(client: &Value) -> Value {
    webhook(MUTATING, client, &["CREATE", "UPDATE"])
}

/// The entry of a `ValidatingWebhookConfiguration`. `client` is asked at [`VALIDATE_PATH`].
pub fn validating(client: &Value) -> Value {
    webhook(VALIDATING, client, &["CREATE", "UPDATE", "DELETE"])
}

fn webhook(name: &str, client: &Value, operations: &[&str]) -> Value {
    json!({
        "name": name,
        "clientConfig": client,
        "rules": [{
            "apiGroups": [GROUP], "apiVersions": Version::ALL.map(Version::name), "operations": operations,
            "resources": [PLURAL], "scope": "Namespaced",
        }],
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "timeoutSeconds": 10,
        "admissionReviewVersions": ["v1", "v1beta1"],
    })
}
