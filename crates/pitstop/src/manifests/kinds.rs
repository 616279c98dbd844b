//! The kinds that pitstop brings: their definitions, and who is asked when their objects are written or converted.

use pitstop_api::cloneset::definition;
use pitstop_controller::webhook::CONFIGURATION;
use serde_json::{Value, json};

/// Definitions and webhook configurations, in the order in which they are made: no object is written before somebody
/// judges it.
///
/// `client` is the `clientConfig` of who answers at a path.
pub fn objects(client: impl Fn(&str) -> Value) -> Vec<Value> {
    let configuration = |kind: &str, webhook: Value| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": CONFIGURATION},
            "webhooks": [webhook],
        })
    };
    vec![
        configuration(
            "MutatingWebhookConfiguration",
            definition::mutating(&client(definition::MUTATE_PATH)),
        ),
        configuration(
            "ValidatingWebhookConfiguration",
            definition::validating(&client(definition::VALIDATE_PATH)),
        ),
        definition::definition(&client(definition::CONVERT_PATH)),
    ]
}
