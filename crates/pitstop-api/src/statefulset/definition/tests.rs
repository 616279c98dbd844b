//! The definition against statefulset.md 2.1-2.3.

use serde_json::json;

use super::*;
use crate::kruise::Version;

fn definition_of(version: Version) -> Value {
    let versions = definition(&json!({}))["spec"]["versions"].clone();
    versions[usize::from(version == Version::V1beta1)].clone()
}

fn properties(version: Version, pointer: &str) -> Vec<String> {
    let schema = definition_of(version)["schema"]["openAPIV3Schema"].clone();
    let found = pointer.split('.').fold(schema, |schema, name| match name {
        "*" => schema["items"].clone(),
        name => schema["properties"][name].clone(),
    });
    found["properties"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn names_versions_and_subresources() {
    let crd = definition(&json!({"url": "https://here"}));
    assert_eq!(crd["metadata"]["name"], NAME);
    assert_eq!(crd["spec"]["names"]["shortNames"], json!(["sts", "asts"]));
    assert_eq!(crd["spec"]["names"]["listKind"], "StatefulSetList");
    assert_eq!(
        crd["spec"]["conversion"]["webhook"]["conversionReviewVersions"],
        json!(["v1", "v1beta1"])
    );
    for (version, is_stored) in [(Version::V1alpha1, false), (Version::V1beta1, true)] {
        let document = definition_of(version);
        assert_eq!(
            (&document["served"], &document["storage"]),
            (&json!(true), &json!(is_stored))
        );
        assert_eq!(
            document["subresources"],
            json!({"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.labelSelector"}})
        );
    }
}

#[test]
fn columns_are_those_of_upstream() {
    for version in Version::ALL {
        let columns = definition_of(version)["additionalPrinterColumns"].clone();
        let columns: Vec<String> = columns
            .as_array()
            .unwrap()
            .iter()
            .map(|column| {
                let text = |key: &str| column[key].as_str().unwrap_or_default();
                let wide = if column["priority"] == 1 { " wide" } else { "" };
                format!("{} {} {}{wide}", text("name"), text("type"), text("jsonPath"))
            })
            .collect();
        assert_eq!(
            columns,
            [
                "DESIRED integer .spec.replicas",
                "CURRENT integer .status.replicas",
                "UPDATED integer .status.updatedReplicas",
                "READY integer .status.readyReplicas",
                "AGE date .metadata.creationTimestamp",
                "CONTAINERS string .spec.template.spec.containers[*].name wide",
                "IMAGES string .spec.template.spec.containers[*].image wide",
            ]
        );
    }
}

#[test]
fn fields_of_the_versions() {
    let (alpha, beta) = (Version::V1alpha1, Version::V1beta1);
    let common = [
        "podManagementPolicy",
        "replicas",
        "revisionHistoryLimit",
        "selector",
        "serviceName",
        "template",
        "updateStrategy",
        "volumeClaimTemplates",
    ];
    let newer = [
        "lifecycle",
        "ordinals",
        "persistentVolumeClaimRetentionPolicy",
        "reserveOrdinals",
        "scaleStrategy",
        "volumeClaimUpdateStrategy",
    ];
    let sorted = |lists: &[&[&str]]| {
        let mut all: Vec<String> = lists.concat().iter().map(ToString::to_string).collect();
        all.sort();
        all
    };
    let found = |version, pointer| {
        let mut found = properties(version, pointer);
        found.sort();
        found
    };
    assert_eq!(found(alpha, "spec"), sorted(&[&common]));
    assert_eq!(found(beta, "spec"), sorted(&[&common, &newer]));
    let rolling = [
        "inPlaceUpdateStrategy",
        "maxUnavailable",
        "minReadySeconds",
        "partition",
        "paused",
        "podUpdatePolicy",
        "unorderedUpdate",
    ];
    let path = "spec.updateStrategy.rollingUpdate";
    assert_eq!(found(alpha, path), sorted(&[&rolling]));
    assert_eq!(
        found(beta, path),
        sorted(&[&rolling, &["pausedCreates", "protection"]])
    );
    assert_eq!(properties(alpha, "status").len(), 11);
    assert_eq!(properties(beta, "status").len(), 15);
    assert_eq!(
        properties(beta, "status.volumeClaims.*").len(),
        3,
        "volumeClaimName, compatibleReplicas, compatibleReadyReplicas"
    );
}

#[test]
fn what_has_to_be_there() {
    for version in Version::ALL {
        let schema = definition_of(version)["schema"]["openAPIV3Schema"]["properties"].clone();
        assert_eq!(schema["spec"]["required"], json!(["selector", "template"]));
        assert_eq!(
            schema["status"]["required"],
            json!([
                "replicas",
                "readyReplicas",
                "availableReplicas",
                "currentReplicas",
                "updatedReplicas"
            ])
        );
        let template = &schema["spec"]["properties"]["template"];
        assert_eq!(template["x-kubernetes-preserve-unknown-fields"], true);
    }
    let beta = definition_of(Version::V1beta1);
    let partition = beta
        .pointer("/schema/openAPIV3Schema/properties/spec/properties/updateStrategy/properties/rollingUpdate/properties/partition")
        .unwrap();
    assert_eq!(partition["x-kubernetes-int-or-string"], true, "15.2");
}

#[test]
fn who_is_asked_about_what() {
    let client = json!({"url": "https://here"});
    for (webhook, name, operations) in [
        (mutating(&client), MUTATING, json!(["CREATE", "UPDATE"])),
        (
            validating(&client),
            VALIDATING,
            json!(["CREATE", "UPDATE", "DELETE"]),
        ),
    ] {
        assert_eq!(webhook["name"], name);
        assert_eq!(webhook["failurePolicy"], "Fail");
        assert_eq!(
            webhook["rules"][0],
            json!({"apiGroups": ["apps.kruise.io"], "apiVersions": ["v1alpha1", "v1beta1"], "operations": operations,
                "resources": ["statefulsets"], "scope": "Namespaced"})
        );
    }
}

/// 16.1, `evictionGuard`
#[test]
fn evictions_are_judged_outside_of_what_the_cluster_needs() {
    let webhook = guarding(
        &json!({"url": "https://here"}),
        &["kube-system", "pitstop-system"],
    );
    assert_eq!(
        webhook["rules"],
        json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/eviction"],
            "scope": "Namespaced"}])
    );
    assert_eq!(
        webhook["namespaceSelector"]["matchExpressions"],
        json!([{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "pitstop-system"]}])
    );
    assert_eq!(
        (&webhook["failurePolicy"], &webhook["clientConfig"]["url"]),
        (&json!("Ignore"), &json!("https://here"))
    );
}
