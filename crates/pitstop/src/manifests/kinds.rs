//! The kinds that pitstop brings: their definitions, and who is asked when their objects are written or converted.

use pitstop_api::image_pull::{self, Kind, SECRETS_NAMESPACE};
use pitstop_api::kruise::definition::CONVERT_PATH;
use pitstop_api::{cloneset, daemonset, statefulset};
use pitstop_controller::Controller;
use pitstop_controller::webhook::CONFIGURATION;
use serde_json::{Value, json};

/// Definitions and webhook configurations of the kinds of these controllers, in the order in which they are made: no
/// object is written before somebody judges it.
///
/// `client` is the `clientConfig` of who answers at a path; `namespace` is where those run who do.
pub fn objects(client: impl Fn(&str) -> Value, controllers: &[Controller], namespace: &str) -> Vec<Value> {
    let configuration = |kind: &str, webhooks: Vec<Value>| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": CONFIGURATION},
            "webhooks": webhooks,
        })
    };
    let (mut mutating, mut validating, mut definitions) = (Vec::new(), Vec::new(), Vec::new());
    if controllers.contains(&Controller::AdvancedDaemonSet) {
        use daemonset::definition;
        mutating.push(definition::mutating(&client(definition::MUTATE_PATH)));
        validating.push(definition::validating(&client(definition::VALIDATE_PATH)));
        definitions.push(definition::definition(&client(CONVERT_PATH)));
    }
    if controllers.contains(&Controller::CloneSet) {
        use cloneset::definition;
        mutating.push(definition::mutating(&client(definition::MUTATE_PATH)));
        validating.push(definition::validating(&client(definition::VALIDATE_PATH)));
        definitions.push(definition::definition(&client(CONVERT_PATH)));
    }
    if controllers.contains(&Controller::StatefulSet) {
        use statefulset::definition;
        mutating.push(definition::mutating(&client(definition::MUTATE_PATH)));
        validating.push(definition::validating(&client(definition::VALIDATE_PATH)));
        let needed = ["kube-system", namespace];
        validating.push(definition::guarding(&client(definition::EVICTION_PATH), &needed));
        definitions.push(definition::definition(&client(CONVERT_PATH)));
    }
    if controllers.contains(&Controller::ImagePullJob) {
        for kind in Kind::ALL {
            mutating.push(image_pull::definition::mutating(kind, &client));
            validating.push(image_pull::definition::validating(kind, &client));
            definitions.push(image_pull::definition::definition(kind));
        }
    }
    let mut objects = vec![
        configuration("MutatingWebhookConfiguration", mutating),
        configuration("ValidatingWebhookConfiguration", validating),
    ];
    objects.extend(definitions);
    objects
}

/// Names of the definitions of the kinds of these controllers.
pub fn definitions(controllers: &[Controller]) -> Vec<String> {
    let mut names = Vec::new();
    if controllers.contains(&Controller::AdvancedDaemonSet) {
        names.push(daemonset::definition::NAME.to_owned());
    }
    if controllers.contains(&Controller::CloneSet) {
        names.push(cloneset::definition::NAME.to_owned());
    }
    if controllers.contains(&Controller::StatefulSet) {
        names.push(statefulset::definition::NAME.to_owned());
    }
    if controllers.contains(&Controller::ImagePullJob) {
        names.extend(Kind::ALL.map(image_pull::definition::name));
    }
    names
}

/// The namespace of the secrets that the nodes may read.
pub fn secrets_namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SECRETS_NAMESPACE}})
}
