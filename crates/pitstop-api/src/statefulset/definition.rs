//! The objects that tell an API server of StatefulSets: the definition of the kind, and who is asked about its objects.
//!
//! Source: statefulset.md 2.1.

use serde_json::{Value, json};

use super::KIND;
use crate::keys;
use crate::kruise::definition::{self, Names, column, wide_column};

mod schema;
#[cfg(test)]
mod tests;

/// Plural name.
pub const PLURAL: &str = "statefulsets";
/// Name of the definition.
pub const NAME: &str = "statefulsets.apps.kruise.io";
/// Name of the webhook that fills in defaults.
pub const MUTATING: &str = "mstatefulset.kb.io";
/// Name of the webhook that judges.
pub const VALIDATING: &str = "vstatefulset.kb.io";
/// Where defaults are filled in.
pub const MUTATE_PATH: &str = "/mutate-apps-kruise-io-statefulset";
/// Where StatefulSets are judged.
pub const VALIDATE_PATH: &str = "/validate-apps-kruise-io-statefulset";

/// Where evictions of pods are judged.
pub const EVICTION_PATH: &str = "/validate-pods-eviction";

/// The `CustomResourceDefinition`. `client` is the `clientConfig` of who converts.
pub fn definition(client: &Value) -> Value {
    let names = Names {
        kind: KIND,
        list: "StatefulSetList",
        plural: PLURAL,
        singular: "statefulset",
        short: &["sts", "asts"],
        is_scalable: true,
    };
    definition::definition(client, names, &columns(), schema::schema)
}

fn columns() -> Vec<Value> {
    vec![
        column(
            "DESIRED",
            "integer",
            ".spec.replicas",
            "How many pods are wanted.",
        ),
        column(
            "CURRENT",
            "integer",
            ".status.replicas",
            "How many pods there are.",
        ),
        column(
            "UPDATED",
            "integer",
            ".status.updatedReplicas",
            "How many have the newest revision.",
        ),
        column(
            "READY",
            "integer",
            ".status.readyReplicas",
            "How many pods are ready.",
        ),
        column("AGE", "date", ".metadata.creationTimestamp", "When it was made."),
        wide_column(
            "CONTAINERS",
            ".spec.template.spec.containers[*].name",
            "Names of the containers.",
        ),
        wide_column(
            "IMAGES",
            ".spec.template.spec.containers[*].image",
            "Images of the containers.",
        ),
    ]
}

/// The entry of a `MutatingWebhookConfiguration`. `client` is asked at [`MUTATE_PATH`].
pub fn mutating(client: &Value) -> Value {
    definition::webhook(MUTATING, client, PLURAL, &["CREATE", "UPDATE"])
}

/// The entry of a `ValidatingWebhookConfiguration`. `client` is asked at [`VALIDATE_PATH`].
pub fn validating(client: &Value) -> Value {
    definition::webhook(VALIDATING, client, PLURAL, &["CREATE", "UPDATE", "DELETE"])
}

/// How long evictions wait to be judged: as long as an arbiter may take, and no webhook may take longer. Units: seconds.
pub const EVICTION_WEBHOOK_SECONDS: u32 = 30;

/// The entry of a `ValidatingWebhookConfiguration` for `evictionGuard`. `client` is asked at [`EVICTION_PATH`].
///
/// Pods cannot be told apart by what an eviction says, so it is asked about those of all namespaces but these, where what
/// the cluster itself needs runs. While it does not answer, evictions go on: nodes of others must not wait for pitstop.
pub fn guarding(client: &Value, but_in: &[&str]) -> Value {
    json!({
        "name": keys::EVICTION_WEBHOOK,
        "clientConfig": client,
        "namespaceSelector": {"matchExpressions": [
            {"key": keys::NAMESPACE_NAME, "operator": "NotIn", "values": but_in},
        ]},
        "rules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/eviction"],
            "scope": "Namespaced",
        }],
        "failurePolicy": "Ignore",
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "timeoutSeconds": EVICTION_WEBHOOK_SECONDS,
        "admissionReviewVersions": ["v1", "v1beta1"],
    })
}
