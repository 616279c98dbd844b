//! The objects that tell an API server of CloneSets: the definition of the kind, and who is asked about its objects.
//!
//! Source: cloneset.md 1.1, 1.5, 1.6.

use serde_json::Value;

use super::KIND;
pub use crate::kruise::definition::CONVERT_PATH;
use crate::kruise::definition::{self, Names, column, wide_column};

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
/// Where defaults are filled in.
pub const MUTATE_PATH: &str = "/mutate-apps-kruise-io-cloneset";
/// Where CloneSets are judged.
pub const VALIDATE_PATH: &str = "/validate-apps-kruise-io-cloneset";

/// The `CustomResourceDefinition`. `client` is the `clientConfig` of who converts, which is asked at [`CONVERT_PATH`].
pub fn definition(client: &Value) -> Value {
    let names = Names {
        kind: KIND,
        list: "CloneSetList",
        plural: PLURAL,
        singular: "cloneset",
        short: &["clone"],
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
        wide_column(
            "SELECTOR",
            ".status.labelSelector",
            "Which pods are looked after.",
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
