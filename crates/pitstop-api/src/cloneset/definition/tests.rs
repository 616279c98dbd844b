//! The definition against cloneset.md 1.1-1.3.

use serde_json::json;

use super::*;
use crate::cloneset::{GROUP, Version};

fn definition_of(version: Version) -> Value {
    let versions = definition(&json!({}))["spec"]["versions"].clone();
    let index = usize::from(version == Version::V1beta1);
    versions[index].clone()
}

fn properties(version: Version, pointer: &str) -> Vec<String> {
    let schema = definition_of(version)["schema"]["openAPIV3Schema"].clone();
    let found = pointer
        .split('.')
        .filter(|name| !name.is_empty())
        .fold(schema, |schema, name| match name {
            "*" => schema["items"].clone(),
            name => schema["properties"][name].clone(),
        });
    found["properties"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn names_versions_and_subresources() {
    let crd = definition(&json!({"url": "https://here"}));
    assert_eq!(crd["metadata"]["name"], format!("{PLURAL}.{GROUP}"));
    assert_eq!(crd["spec"]["names"]["shortNames"], json!(["clone"]));
    let convert = &crd["spec"]["conversion"]["webhook"];
    assert_eq!(convert["clientConfig"], json!({"url": "https://here"}));
    assert_eq!(convert["conversionReviewVersions"], json!(["v1", "v1beta1"]));
    for (version, name, is_stored) in [
        (Version::V1alpha1, "v1alpha1", false),
        (Version::V1beta1, "v1beta1", true),
    ] {
        let document = definition_of(version);
        assert_eq!(
            (&document["name"], &document["served"], &document["storage"]),
            (&json!(name), &json!(true), &json!(is_stored))
        );
        let scale = &document["subresources"]["scale"];
        assert_eq!(scale["specReplicasPath"], ".spec.replicas");
        assert_eq!(scale["statusReplicasPath"], ".status.replicas");
        assert_eq!(scale["labelSelectorPath"], ".status.labelSelector");
        assert_eq!(document["subresources"]["status"], json!({}));
    }
}

#[test]
fn columns_are_the_same_in_both_versions() {
    let wide = |column: &Value| column["priority"] == 1;
    for version in Version::ALL {
        let columns = definition_of(version)["additionalPrinterColumns"].clone();
        let columns: Vec<(&str, bool)> = columns
            .as_array()
            .unwrap()
            .iter()
            .map(|column| (column["name"].as_str().unwrap_or_default(), wide(column)))
            .collect();
        assert_eq!(
            columns,
            [
                ("DESIRED", false),
                ("UPDATED", false),
                ("UPDATED_READY", false),
                ("UPDATED_AVAILABLE", false),
                ("READY", false),
                ("TOTAL", false),
                ("AGE", false),
                ("CONTAINERS", true),
                ("IMAGES", true),
                ("SELECTOR", true),
            ]
        );
    }
}

#[test]
fn fields_of_the_versions() {
    let (alpha, beta) = (Version::V1alpha1, Version::V1beta1);
    let spec = [
        "lifecycle",
        "minReadySeconds",
        "progressDeadlineSeconds",
        "replicas",
        "revisionHistoryLimit",
        "scaleStrategy",
        "selector",
        "template",
        "updateStrategy",
        "volumeClaimTemplates",
    ];
    let rolling = [
        "inPlaceUpdateStrategy",
        "maxSurge",
        "maxUnavailable",
        "partition",
        "paused",
    ];
    let order = ["priorityStrategy", "scatterStrategy"];
    for version in [alpha, beta] {
        assert_eq!(properties(version, "spec"), spec);
        assert_eq!(properties(version, "status").len(), 13);
        assert_eq!(
            properties(version, "status.conditions.*"),
            [
                "lastTransitionTime",
                "lastUpdateTime",
                "message",
                "reason",
                "status",
                "type"
            ]
        );
    }
    assert_eq!(
        properties(alpha, "spec.updateStrategy"),
        [&rolling[..], &order, &["type"]].concat()
    );
    assert_eq!(properties(beta, "spec.updateStrategy"), ["rollingUpdate", "type"]);
    assert_eq!(
        properties(beta, "spec.updateStrategy.rollingUpdate"),
        [&rolling[..], &["podUpdatePolicy"], &order].concat()
    );
    assert_eq!(
        properties(alpha, "spec.scaleStrategy"),
        ["disablePVCReuse", "maxUnavailable", "podsToDelete"]
    );
    assert_eq!(
        properties(beta, "spec.scaleStrategy"),
        [
            "enablePVCReuse",
            "excludePreparingDelete",
            "maxUnavailable",
            "podsToDelete"
        ]
    );
    let in_place = "inPlaceUpdateStrategy";
    assert_eq!(
        properties(alpha, &format!("spec.updateStrategy.{in_place}")),
        ["gracePeriodSeconds"]
    );
    assert_eq!(
        properties(beta, &format!("spec.updateStrategy.rollingUpdate.{in_place}")).len(),
        4
    );
}

#[test]
fn every_field_is_described_and_none_is_bounded() {
    fn walk(schema: &Value, path: &str) {
        for word in ["enum", "minimum", "maximum", "pattern"] {
            assert!(schema.get(word).is_none(), "{path} has {word}");
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            let is_described = field["description"]
                .as_str()
                .is_some_and(|text| text.ends_with('.'));
            assert!(is_described || path == ".metadata", "{path}");
            walk(field, &path);
        }
        if let Some(items) = schema.get("items") {
            walk(items, &format!("{path}[]"));
        }
    }
    for version in Version::ALL {
        walk(&definition_of(version)["schema"]["openAPIV3Schema"], "");
    }
}

#[test]
fn the_only_default_is_that_claims_are_not_reused() {
    let crd = definition(&json!({})).to_string();
    assert_eq!(crd.matches("\"default\"").count(), 1);
    let schema = definition_of(Version::V1beta1)["schema"]["openAPIV3Schema"].clone();
    let reuse = schema.pointer("/properties/spec/properties/scaleStrategy/properties/enablePVCReuse");
    assert_eq!(reuse.unwrap()["default"], false);
}

#[test]
fn requests_wait_for_the_webhooks() {
    let (mutating, validating) = (mutating(&json!({})), validating(&json!({})));
    for (webhook, name, operations) in [
        (&mutating, "mcloneset.kb.io", json!(["CREATE", "UPDATE"])),
        (
            &validating,
            "vcloneset.kb.io",
            json!(["CREATE", "UPDATE", "DELETE"]),
        ),
    ] {
        assert_eq!(
            (&webhook["name"], &webhook["failurePolicy"]),
            (&json!(name), &json!("Fail"))
        );
        let rule = &webhook["rules"][0];
        assert_eq!(
            (&rule["operations"], &rule["resources"]),
            (&operations, &json!(["clonesets"]))
        );
        assert_eq!(rule["apiVersions"], json!(["v1alpha1", "v1beta1"]));
    }
}
