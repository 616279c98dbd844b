//! The definition against daemonset.md D1.

use serde_json::json;

use super::*;
use crate::kruise::Version;

fn definition_of(version: Version) -> Value {
    let versions = definition(&json!({}))["spec"]["versions"].clone();
    versions[usize::from(version == Version::V1beta1)].clone()
}

fn properties(version: Version, pointer: &str) -> Vec<String> {
    let schema = definition_of(version)["schema"]["openAPIV3Schema"].clone();
    let found = pointer
        .split('.')
        .fold(schema, |schema, name| schema["properties"][name].clone());
    found["properties"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn names_versions_and_subresources() {
    let crd = definition(&json!({"url": "https://here"}));
    assert_eq!(crd["metadata"]["name"], NAME);
    assert_eq!(crd["spec"]["names"]["shortNames"], json!(["daemon", "ads"]));
    for (version, is_stored) in [(Version::V1alpha1, false), (Version::V1beta1, true)] {
        let document = definition_of(version);
        assert_eq!(
            (&document["served"], &document["storage"]),
            (&json!(true), &json!(is_stored))
        );
        assert_eq!(
            document["subresources"],
            json!({"status": {}}),
            "nobody scales it"
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
                "DESIRED integer .status.desiredNumberScheduled",
                "CURRENT integer .status.currentNumberScheduled",
                "READY integer .status.numberReady",
                "UP-TO-DATE integer .status.updatedNumberScheduled",
                "AVAILABLE integer .status.numberAvailable",
                "AGE date .metadata.creationTimestamp",
                "CONTAINERS string .spec.template.spec.containers[*].name wide",
                "IMAGES string .spec.template.spec.containers[*].image wide",
            ]
        );
    }
}

#[test]
fn fields_of_the_versions() {
    let common = [
        "burstReplicas",
        "lifecycle",
        "minReadySeconds",
        "revisionHistoryLimit",
        "selector",
        "template",
        "updateStrategy",
    ];
    assert_eq!(properties(Version::V1alpha1, "spec"), common);
    let mut newer: Vec<&str> = common.into_iter().chain(["scaleStrategy"]).collect();
    newer.sort_unstable();
    assert_eq!(properties(Version::V1beta1, "spec"), newer);
    for (version, revision) in [
        (Version::V1alpha1, "daemonSetHash"),
        (Version::V1beta1, "updateRevision"),
    ] {
        assert!(properties(version, "status").contains(&revision.to_owned()));
        assert_eq!(
            properties(version, "spec.updateStrategy.rollingUpdate"),
            [
                "maxSurge",
                "maxUnavailable",
                "partition",
                "paused",
                "rollingUpdateType",
                "selector"
            ]
        );
    }
}
