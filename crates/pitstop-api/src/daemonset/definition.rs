//! The objects that tell an API server of DaemonSets of `apps.kruise.io`: the definition of the kind, and who is asked
//! about its objects.
//!
//! Source: daemonset.md D1.

use serde_json::Value;

use super::KIND;
use crate::kruise::definition::{self, Names, column, wide_column};

mod schema;
#[cfg(test)]
mod tests;

/// Plural name.
pub const PLURAL: &str = "daemonsets";
/// Name of the definition.
pub const NAME: &str = "daemonsets.apps.kruise.io";
/// Name of the webhook that fills in defaults.
pub const MUTATING: &str = "mdaemonset.kb.io";
/// Name of the webhook that judges.
pub const VALIDATING: &str = "vdaemonset.kb.io";
/// Where defaults are filled in.
pub const MUTATE_PATH: &str = "/mutate-apps-kruise-io-daemonset";
/// Where DaemonSets are judged.
pub const VALIDATE_PATH: &str = "/validate-apps-kruise-io-daemonset";

/// The `CustomResourceDefinition`. `client` is the `clientConfig` of who converts.
pub fn definition(client: &Value) -> Value {
    let names = Names {
        kind: KIND,
        list: "DaemonSetList",
        plural: PLURAL,
        singular: "daemonset",
        short: &["daemon", "ads"],
        is_scalable: false,
    };
    definition::definition(client, names, &columns(), schema::schema)
}

fn columns() -> Vec<Value> {
    let count =
        |name: &str, field: &str, why: &str| column(name, "integer", &format!(".status.{field}"), why);
    vec![
        count(
            "DESIRED",
            "desiredNumberScheduled",
            "How many nodes should run a pod.",
        ),
        count(
            "CURRENT",
            "currentNumberScheduled",
            "How many of those have a pod.",
        ),
        count(
            "READY",
            "numberReady",
            "How many of those have one that is ready.",
        ),
        count(
            "UP-TO-DATE",
            "updatedNumberScheduled",
            "How many of those have one of the newest revision.",
        ),
        count(
            "AVAILABLE",
            "numberAvailable",
            "How many of those have one that has been ready for long enough.",
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
    definition::webhook(VALIDATING, client, PLURAL, &["CREATE", "UPDATE"])
}
