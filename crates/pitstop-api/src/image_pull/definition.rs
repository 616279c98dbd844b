//! The objects that tell an API server of the two kinds: their definitions, and who is asked about their objects.
//!
//! Source: inplace.md 11.3, 11.4.

use serde_json::{Value, json};

use super::{GROUP, Kind, VERSIONS};

mod schema;

/// Where defaults are filled in.
pub const MUTATE_PATHS: [&str; 2] = [
    "/mutate-apps-kruise-io-imagepulljob",
    "/mutate-apps-kruise-io-nodeimage",
];
/// Where objects are judged.
pub const VALIDATE_PATHS: [&str; 2] = [
    "/validate-apps-kruise-io-imagepulljob",
    "/validate-apps-kruise-io-nodeimage",
];

/// Name of the definition of a kind.
pub fn name(kind: Kind) -> String {
    format!("{}.{GROUP}", kind.plural())
}

/// The `CustomResourceDefinition` of a kind. Its versions differ in nothing, so nobody has to convert.
pub fn definition(kind: Kind) -> Value {
    let scope = match kind {
        Kind::Job => "Namespaced",
        Kind::NodeImage => "Cluster",
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name(kind)},
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": {
                "kind": kind.name(), "listKind": format!("{}List", kind.name()), "plural": kind.plural(),
                "singular": kind.singular(),
            },
            "conversion": {"strategy": "None"},
            "versions": VERSIONS.map(|version| json!({
                "name": version,
                "served": true,
                "storage": version == "v1beta1",
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns(kind),
                "schema": {"openAPIV3Schema": schema::schema(kind)},
            })),
        },
    })
}

fn columns(kind: Kind) -> Vec<Value> {
    let number = |name: &str, field: &str, why: &str| json!({"name": name, "type": "integer", "jsonPath": format!(".status.{field}"), "description": why});
    let age = json!({
        "name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": "When it was made.",
    });
    match kind {
        Kind::Job => vec![
            number("TOTAL", "desired", "How many nodes are meant."),
            number("ACTIVE", "active", "How many pull it."),
            number("SUCCEED", "succeeded", "How many have it."),
            number("FAILED", "failed", "How many could not pull it."),
            age,
            json!({
                "name": "MESSAGE", "type": "string", "jsonPath": ".status.message", "description": "How far it is.",
            }),
        ],
        Kind::NodeImage => vec![
            number("DESIRED", "desired", "How many images are wanted."),
            number("PULLING", "pulling", "How many are being pulled."),
            number("SUCCEED", "succeeded", "How many are there."),
            number("FAILED", "failed", "How many could not be pulled."),
            age,
        ],
    }
}

/// Name of the webhook that fills in defaults, and where it answers.
pub fn mutating_at(kind: Kind) -> (String, &'static str) {
    (format!("m{}.kb.io", kind.singular()), path(kind, MUTATE_PATHS))
}

/// Name of the webhook that judges, and where it answers.
pub fn validating_at(kind: Kind) -> (String, &'static str) {
    (format!("v{}.kb.io", kind.singular()), path(kind, VALIDATE_PATHS))
}

/// The entry of a `MutatingWebhookConfiguration`. `client` says who answers at a path.
pub fn mutating(kind: Kind, client: impl Fn(&str) -> Value) -> Value {
    let (name, path) = mutating_at(kind);
    webhook(kind, &name, &client(path), &["CREATE", "UPDATE"])
}

/// The entry of a `ValidatingWebhookConfiguration`. `client` says who answers at a path.
pub fn validating(kind: Kind, client: impl Fn(&str) -> Value) -> Value {
    let operations: &[&str] = match kind {
        Kind::Job => &["CREATE", "UPDATE", "DELETE"],
        Kind::NodeImage => &["CREATE", "UPDATE"],
    };
    let (name, path) = validating_at(kind);
    webhook(kind, &name, &client(path), operations)
}

fn path(kind: Kind, [job, node_image]: [&'static str; 2]) -> &'static str {
    match kind {
        Kind::Job => job,
        Kind::NodeImage => node_image,
    }
}

fn webhook(kind: Kind, name: &str, client: &Value, operations: &[&str]) -> Value {
    let scope = match kind {
        Kind::Job => "Namespaced",
        Kind::NodeImage => "Cluster",
    };
    json!({
        "name": name,
        "clientConfig": client,
        "rules": [{
            "apiGroups": [GROUP], "apiVersions": VERSIONS, "operations": operations,
            "resources": [kind.plural()], "scope": scope,
        }],
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "timeoutSeconds": 10,
        "admissionReviewVersions": ["v1", "v1beta1"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_served_and_one_is_stored() {
        for kind in Kind::ALL {
            let definition = definition(kind);
            let of = |field: &str| -> Vec<Value> {
                let versions = definition["spec"]["versions"].as_array().unwrap().iter();
                versions.map(|version| version[field].clone()).collect()
            };
            assert_eq!(of("name"), [json!("v1alpha1"), json!("v1beta1")]);
            assert_eq!(of("storage"), [json!(false), json!(true)]);
            assert_eq!(
                definition["metadata"]["name"],
                format!("{}.apps.kruise.io", kind.plural())
            );
        }
    }

    /// The columns of upstream, in its order.
    #[test]
    fn tables_show_how_far_pulls_are() {
        let names = |kind: Kind| -> Vec<String> {
            let columns = columns(kind).into_iter();
            columns
                .map(|column| column["name"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(
            names(Kind::Job),
            ["TOTAL", "ACTIVE", "SUCCEED", "FAILED", "AGE", "MESSAGE"]
        );
        assert_eq!(
            names(Kind::NodeImage),
            ["DESIRED", "PULLING", "SUCCEED", "FAILED", "AGE"]
        );
    }

    #[test]
    fn each_kind_has_webhooks_of_its_own() {
        let here = |path: &str| json!({ "url": path });
        let job = validating(Kind::Job, here);
        assert_eq!(job["name"], "vimagepulljob.kb.io");
        assert_eq!(
            job["clientConfig"]["url"],
            "/validate-apps-kruise-io-imagepulljob"
        );
        assert_eq!(
            job["rules"][0]["operations"],
            json!(["CREATE", "UPDATE", "DELETE"])
        );
        let node = mutating(Kind::NodeImage, here);
        assert_eq!(node["rules"][0]["scope"], "Cluster");
        assert_eq!(node["clientConfig"]["url"], "/mutate-apps-kruise-io-nodeimage");
    }
}
