use proptest::prelude::*;

use super::*;

fn beta(spec: &Value) -> Value {
    json!({ "apiVersion": "apps.kruise.io/v1beta1", "kind": KIND, "metadata": { "name": "web" }, "spec": spec })
}

fn to(object: &Value, version: Version) -> Value {
    convert(object.clone(), version.api_version()).unwrap()
}

/// statefulset.md 2.5: each field that v1alpha1 lacks comes back.
#[test]
fn what_v1alpha1_lacks_is_kept_in_an_annotation() {
    let rolling = |fields: Value| json!({ "replicas": 5, "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": fields } });
    for (spec, left) in [
        (json!({ "replicas": 3 }), json!({ "replicas": 3 })),
        (json!({ "reserveOrdinals": [1, "2-5"] }), json!({})),
        (
            json!({ "lifecycle": { "preDelete": { "markPodNotReady": true } } }),
            json!({}),
        ),
        (json!({ "scaleStrategy": { "maxUnavailable": "20%" } }), json!({})),
        (
            json!({ "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Delete" } }),
            json!({}),
        ),
        (json!({ "ordinals": { "start": 2 } }), json!({})),
        (
            json!({ "volumeClaimUpdateStrategy": { "type": "OnDelete" } }),
            json!({}),
        ),
        (
            rolling(json!({ "partition": 3, "paused": true })),
            rolling(json!({ "partition": 3, "paused": true })),
        ),
        (
            rolling(json!({ "protection": { "minProtected": 1 } })),
            rolling(json!({})),
        ),
        (rolling(json!({ "pausedCreates": "Current" })), rolling(json!({}))),
        (
            rolling(json!({ "partition": "60%" })),
            rolling(json!({ "partition": 3 })),
        ),
    ] {
        let stored = beta(&spec);
        let alpha = to(&stored, Version::V1alpha1);
        assert_eq!(alpha["spec"], left, "{spec}");
        assert_eq!(to(&alpha, Version::V1beta1), stored, "{spec}");
    }
}

/// statefulset.md 15.2: what somebody writes in v1alpha1 stands.
#[test]
fn what_is_written_in_v1alpha1_stands() {
    let stored =
        beta(&json!({ "replicas": 5, "updateStrategy": { "rollingUpdate": { "partition": "60%" } } }));
    let mut alpha = to(&stored, Version::V1alpha1);
    alpha["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(1);
    let back = to(&alpha, Version::V1beta1);
    assert_eq!(back["spec"]["updateStrategy"]["rollingUpdate"]["partition"], 1);
    let mut alpha = to(&stored, Version::V1alpha1);
    alpha["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
    assert_eq!(
        to(&alpha, Version::V1beta1)["spec"]["updateStrategy"],
        json!({ "type": "OnDelete" })
    );
}

/// statefulset.md 2.5
#[test]
fn the_status_loses_what_v1alpha1_lacks() {
    let mut stored = beta(&json!({}));
    stored["status"] =
        json!({ "replicas": 3, "updatedReadyReplicas": 1, "volumeClaims": [], "labelSelector": "a=b" });
    let alpha = to(&stored, Version::V1alpha1);
    assert_eq!(alpha["status"], json!({ "replicas": 3, "labelSelector": "a=b" }));
}

#[test]
fn others_are_refused() {
    for (object, wanted, why) in [
        (
            json!({ "apiVersion": "apps/v1", "kind": KIND }),
            "apps.kruise.io/v1beta1",
            "StatefulSet of apps/v1 is no StatefulSet that can be converted",
        ),
        (
            json!({ "apiVersion": "apps.kruise.io/v1beta1", "kind": "CloneSet" }),
            "apps.kruise.io/v1alpha1",
            "CloneSet of apps.kruise.io/v1beta1 is no StatefulSet that can be converted",
        ),
        (
            beta(&json!({})),
            "apps.kruise.io/v2",
            "StatefulSets have no version apps.kruise.io/v2",
        ),
    ] {
        assert_eq!(convert(object, wanted).unwrap_err().to_string(), why);
    }
    let part = json!({ "apiVersion": "apps.kruise.io/v1beta1", "kind": KIND, "metadata": {} });
    assert_eq!(
        to(&part, Version::V1alpha1)["apiVersion"],
        "apps.kruise.io/v1alpha1"
    );
}

/// Values of the fields, each there or not.
fn specs() -> impl Strategy<Value = Value> {
    let field = |name: &'static str, value: Value| {
        any::<bool>().prop_map(move |is_there| is_there.then(|| (name.to_owned(), value.clone())))
    };
    let spec = (
        field("reserveOrdinals", json!([1, "2-5"])),
        field("lifecycle", json!({})),
        field("ordinals", json!({ "start": 1 })),
        field("replicas", json!(4)),
    );
    let partition = prop_oneof![Just(json!(2)), (0_u32..=100).prop_map(|n| json!(format!("{n}%")))];
    let rolling = (
        field("protection", json!({ "minProtected": 1 })),
        prop::option::of(partition),
    );
    (spec, prop::option::of(rolling)).prop_map(|((a, b, c, d), rolling)| {
        let mut spec: Map<String, Value> = [a, b, c, d].into_iter().flatten().collect();
        if let Some((protection, partition)) = rolling {
            let mut rolling: Map<String, Value> = protection.into_iter().collect();
            rolling.extend(partition.map(|value| ("partition".to_owned(), value)));
            spec.insert("updateStrategy".to_owned(), json!({ "rollingUpdate": rolling }));
        }
        spec.into()
    })
}

proptest! {
    #[test]
    fn there_and_back_nothing_is_lost(spec in specs()) {
        let stored = beta(&spec);
        prop_assert_eq!(to(&to(&stored, Version::V1alpha1), Version::V1beta1), stored);
    }
}
