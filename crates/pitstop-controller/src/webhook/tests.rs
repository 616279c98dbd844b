//! Reviews as an API server sends them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::json;

use super::*;
use crate::api::{Call, CallError, Lines, Refusal};

/// An API server with one pod, `mine`, of the CloneSet `u-1`.
struct OnePod;

impl Api for OnePod {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(async move {
            assert_eq!(
                call.path_and_query().rsplit_once('/').unwrap().0,
                "/api/v1/namespaces/shop/pods"
            );
            match call.name.as_deref() {
                Some("mine") => Ok(Bytes::from_static(
                    br#"{"metadata":{"ownerReferences":[{"uid":"u-1","controller":true}]}}"#,
                )),
                _ => Err(CallError::NotFound(Refusal::default())),
            }
        })
    }

    fn watch(&self, _: Call) -> BoxFuture<'_, Result<Lines, CallError>> {
        Box::pin(async { Err(CallError::LeaseLost) })
    }
}

async fn ask(path: &str, review: &Value) -> Value {
    let webhooks = Webhooks::new(Arc::new(OnePod), false);
    webhooks.answer(path, review).await.unwrap()
}

fn cloneset(version: &str, more: &Value) -> Value {
    let mut object = json!({
        "apiVersion": format!("apps.kruise.io/{version}"), "kind": "CloneSet",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]},
            },
        },
    });
    for (name, value) in more.as_object().unwrap() {
        object["spec"][name] = value.clone();
    }
    object
}

fn admission(operation: &str, object: &Value, old: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "r-1", "operation": operation, "namespace": "shop", "name": "web", "object": object,
            "oldObject": old,
        },
    })
}

/// The object as the patch of an answer makes it.
fn patched(object: &Value, answer: &Value) -> Value {
    assert_eq!(answer["response"]["patchType"], "JSONPatch");
    let patch = STANDARD
        .decode(answer["response"]["patch"].as_str().unwrap())
        .unwrap();
    let mut object = object.clone();
    for step in serde_json::from_slice::<Vec<Value>>(&patch).unwrap() {
        assert_eq!(step["op"], "add", "defaults are added");
        let (parent, name) = step["path"].as_str().unwrap().rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[name] = step["value"].clone();
    }
    object
}

#[tokio::test]
async fn defaults_are_a_patch_that_ends_with_itself() {
    for version in ["v1alpha1", "v1beta1"] {
        let object = cloneset(version, &json!({}));
        let answer = ask(
            clonesets::definition::MUTATE_PATH,
            &admission("CREATE", &object, &Value::Null),
        )
        .await;
        assert_eq!(
            (
                &answer["kind"],
                &answer["response"]["uid"],
                &answer["response"]["allowed"]
            ),
            (&json!("AdmissionReview"), &json!("r-1"), &json!(true))
        );
        let object = patched(&object, &answer);
        assert_eq!(object["spec"]["replicas"], 1);
        assert_eq!(object["spec"]["template"]["spec"]["restartPolicy"], "Always");
        // cloneset.md 1.5 (5): no patch when nothing changed.
        let again = ask(
            clonesets::definition::MUTATE_PATH,
            &admission("UPDATE", &object, &object),
        )
        .await;
        assert_eq!(again["response"], json!({"uid": "r-1", "allowed": true}));
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_as_message_and_causes() {
    let object = cloneset("v1beta1", &json!({"replicas": -1, "minReadySeconds": -2}));
    let answer = ask(
        clonesets::definition::VALIDATE_PATH,
        &admission("CREATE", &object, &Value::Null),
    )
    .await;
    let negative = |value: i32| format!("Invalid value: {value}: must be greater than or equal to 0");
    assert_eq!(answer["response"]["allowed"], false);
    assert_eq!(
        answer["response"]["status"],
        json!({
            "status": "Failure", "code": 422, "reason": "Invalid",
            "message": format!("[spec.replicas: {}, spec.minReadySeconds: {}]", negative(-1), negative(-2)),
            "details": {"group": "apps.kruise.io", "kind": "CloneSet", "name": "web", "causes": [
                {"reason": "FieldValueInvalid", "message": negative(-1), "field": "spec.replicas"},
                {"reason": "FieldValueInvalid", "message": negative(-2), "field": "spec.minReadySeconds"},
            ]},
        })
    );
}

#[tokio::test]
async fn pods_that_are_to_be_deleted_are_looked_up() {
    let object = cloneset(
        "v1beta1",
        &json!({"scaleStrategy": {"podsToDelete": ["mine", "gone"]}}),
    );
    let answer = ask(
        clonesets::definition::VALIDATE_PATH,
        &admission("UPDATE", &object, &cloneset("v1beta1", &json!({}))),
    )
    .await;
    assert_eq!(
        answer["response"]["status"]["message"],
        "spec.scaleStrategy.podsToDelete: Invalid value: \"gone\": find pod gone failed: pods \"gone\" not found"
    );
}

#[tokio::test]
async fn protected_objects_are_not_deleted() {
    let mut object = cloneset("v1beta1", &json!({"replicas": 2}));
    let answer = ask(
        clonesets::definition::VALIDATE_PATH,
        &admission("DELETE", &Value::Null, &object),
    )
    .await;
    assert_eq!(answer["response"]["allowed"], true);
    object["metadata"]["labels"] = json!({"policy.kruise.io/delete-protection": "Cascading"});
    for protects_deletion in [false, true] {
        let gates = Gates {
            protects_deletion,
            ..Gates::default()
        };
        let webhooks = Webhooks::new(Arc::new(OnePod), false).with_gates(gates);
        for (kind, path) in [
            ("CloneSet", clonesets::definition::VALIDATE_PATH),
            ("StatefulSet", statefulsets::definition::VALIDATE_PATH),
        ] {
            object["kind"] = json!(kind);
            let review = admission("DELETE", &Value::Null, &object);
            let answer = webhooks.answer(path, &review).await.unwrap();
            let code = answer["response"]["status"]["code"].as_u64();
            assert_eq!(code, protects_deletion.then_some(403), "{kind}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_a_bad_request() {
    let object = cloneset("v1beta1", &json!({"template": {"spec": {"containers": "none"}}}));
    for path in [
        clonesets::definition::MUTATE_PATH,
        clonesets::definition::VALIDATE_PATH,
    ] {
        let answer = ask(path, &admission("CREATE", &object, &Value::Null)).await;
        let status = &answer["response"]["status"];
        assert_eq!(
            (&status["code"], &status["message"]),
            (
                &json!(400),
                &json!("spec.template.spec.containers: expected a list")
            )
        );
        let answer = ask(path, &json!({"kind": "Pod"})).await;
        assert_eq!(
            answer["response"]["status"]["message"],
            "expected an object of kind AdmissionReview with a request"
        );
        let answer = ask(
            path,
            &admission("CREATE", &cloneset("v2", &json!({})), &Value::Null),
        )
        .await;
        assert_eq!(answer["response"]["status"]["code"], 400);
    }
}

#[tokio::test]
async fn what_is_stored_lets_go_of_its_finalizers_whatever_it_says() {
    let mut old = cloneset(
        "v1beta1",
        &json!({"template": {"spec": {"containers": "none"}}, "replicas": -1}),
    );
    old["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let mut object = old.clone();
    object["metadata"]["finalizers"] = json!([]);
    for path in [
        clonesets::definition::MUTATE_PATH,
        clonesets::definition::VALIDATE_PATH,
    ] {
        let answer = ask(path, &admission("UPDATE", &object, &old)).await;
        assert_eq!(answer["response"]["allowed"], true, "{path}: {answer}");
    }
}

#[tokio::test]
async fn objects_are_converted_in_their_order() {
    let review = |wanted: &str| {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1beta1", "kind": "ConversionReview",
            "request": {"uid": "c-1", "desiredAPIVersion": wanted, "objects": [
                cloneset("v1alpha1", &json!({"updateStrategy": {"type": "InPlaceOnly"}})), cloneset("v1beta1", &json!({})),
            ]},
        })
    };
    let answer = ask(CONVERT_PATH, &review("apps.kruise.io/v1beta1")).await;
    assert_eq!(answer["apiVersion"], "apiextensions.k8s.io/v1beta1");
    let response = &answer["response"];
    assert_eq!(
        (&response["uid"], &response["result"]),
        (&json!("c-1"), &json!({"status": "Success"}))
    );
    let objects = response["convertedObjects"].as_array().unwrap();
    assert_eq!(objects.len(), 2);
    assert!(
        objects
            .iter()
            .all(|object| object["apiVersion"] == "apps.kruise.io/v1beta1")
    );
    let rolling = &objects[0]["spec"]["updateStrategy"]["rollingUpdate"];
    assert_eq!(rolling["podUpdatePolicy"], "InPlaceOnly");
    let answer = ask(CONVERT_PATH, &review("apps.kruise.io/v9")).await;
    assert_eq!(
        answer["response"]["result"],
        json!({"status": "Failed", "message": "CloneSets have no version apps.kruise.io/v9"})
    );
}

/// An API server with a class of storage that lets claims grow, and one that does not; or one that says nothing.
struct TwoClasses {
    answers: bool,
}

impl Api for TwoClasses {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Bytes, CallError>> {
        assert_eq!(call.path_and_query(), "/apis/storage.k8s.io/v1/storageclasses");
        Box::pin(async {
            if !self.answers {
                return Err(CallError::Unreachable("cut".to_owned()));
            }
            Ok(Bytes::from_static(
                br#"{"items":[{"metadata":{"name":"grows"},"allowVolumeExpansion":true},
                    {"metadata":{"name":"fixed"},"allowVolumeExpansion":false}]}"#,
            ))
        })
    }

    fn watch(&self, _: Call) -> BoxFuture<'_, Result<Lines, CallError>> {
        Box::pin(async { Err(CallError::LeaseLost) })
    }
}

/// statefulset.md 2.4.10: classes are read where a claim is to grow, and nobody is let through unread.
#[tokio::test]
async fn claims_of_statefulsets_grow_where_their_class_lets_them() {
    use statefulsets::definition::{MUTATE_PATH, VALIDATE_PATH};
    let set = |strategy: &str, class: &str, size: &str| {
        let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "storageClassName": class, "resources": {"requests": {"storage": size}}}});
        let more = json!({"volumeClaimUpdateStrategy": {"type": strategy}, "volumeClaimTemplates": [claim],
            "podManagementPolicy": "Parallel"});
        let mut object = cloneset("v1beta1", &more);
        object["kind"] = json!("StatefulSet");
        pitstop_api::statefulset::defaults::default(&mut object, None, Gates::default());
        object
    };
    let says = async |strategy: &str, class: &str, is_on: bool, answers: bool| {
        let gates = Gates {
            resizes_claims: is_on,
            ..Gates::default()
        };
        let webhooks = Webhooks::new(Arc::new(TwoClasses { answers }), false).with_gates(gates);
        let review = admission(
            "UPDATE",
            &set(strategy, class, "2Gi"),
            &set(strategy, class, "1Gi"),
        );
        let answer = webhooks.answer(VALIDATE_PATH, &review).await.unwrap();
        answer["response"]["status"]["code"].as_u64()
    };
    for (strategy, class, is_on, answers, refused) in [
        ("OnPodRollingUpdate", "grows", true, true, None),
        ("OnPodRollingUpdate", "fixed", true, true, Some(422)),
        ("OnPodRollingUpdate", "fixed", true, false, Some(500)),
        ("OnPodRollingUpdate", "fixed", false, false, None),
        ("OnDelete", "fixed", true, false, None),
    ] {
        assert_eq!(
            says(strategy, class, is_on, answers).await,
            refused,
            "{strategy} {class} {is_on} {answers}"
        );
    }
    let gates = Gates {
        resizes_claims: true,
        ..Gates::default()
    };
    let webhooks = Webhooks::new(Arc::new(OnePod), false).with_gates(gates);
    let mut bare = cloneset("v1beta1", &json!({}));
    bare["kind"] = json!("StatefulSet");
    let review = admission("CREATE", &bare, &Value::Null);
    let defaulted = patched(&bare, &webhooks.answer(MUTATE_PATH, &review).await.unwrap());
    assert_eq!(defaulted["spec"]["volumeClaimUpdateStrategy"]["type"], "OnDelete");
}

/// Sources: statefulset.md 2.1, 2.2, 2.4.7, 2.5.
#[tokio::test]
async fn statefulsets_are_defaulted_judged_and_converted() {
    use statefulsets::definition::{MUTATE_PATH, VALIDATE_PATH};
    let set = |version: &str, more: &Value| {
        let mut object = cloneset(version, more);
        object["kind"] = json!("StatefulSet");
        object
    };
    let object = set("v1beta1", &json!({}));
    let answer = ask(MUTATE_PATH, &admission("CREATE", &object, &Value::Null)).await;
    let defaulted = patched(&object, &answer);
    assert_eq!(defaulted["spec"]["podManagementPolicy"], "OrderedReady");
    assert_eq!(
        defaulted["spec"]["updateStrategy"]["rollingUpdate"]["podUpdatePolicy"],
        "ReCreate"
    );
    let answer = ask(VALIDATE_PATH, &admission("CREATE", &defaulted, &Value::Null)).await;
    assert_eq!(answer["response"]["allowed"], true, "{answer}");
    let mut unordered = defaulted.clone();
    unordered["spec"]["updateStrategy"]["rollingUpdate"]["unorderedUpdate"] = json!({});
    let answer = ask(VALIDATE_PATH, &admission("CREATE", &unordered, &Value::Null)).await;
    let status = &answer["response"]["status"];
    assert_eq!(
        (&status["code"], &status["details"]["kind"]),
        (&json!(422), &json!("StatefulSet"))
    );
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("unorderedUpdate can only work with Parallel PodManagementPolicyType"),
        "{status}"
    );
    let review = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "request": {"uid": "c-1", "desiredAPIVersion": "apps.kruise.io/v1alpha1", "objects": [defaulted]},
    });
    let answer = ask(CONVERT_PATH, &review).await;
    let converted = &answer["response"]["convertedObjects"][0];
    assert_eq!(
        (&converted["kind"], &converted["apiVersion"]),
        (&json!("StatefulSet"), &json!("apps.kruise.io/v1alpha1"))
    );
    // What is allowed and still worth a warning.
    let mut few = defaulted;
    few["spec"]["podManagementPolicy"] = json!("Parallel");
    few["spec"]["updateStrategy"]["rollingUpdate"]["protection"] =
        json!({"podSelector": {"matchLabels": {"working": "true"}}, "minProtected": 9});
    let answer = ask(VALIDATE_PATH, &admission("CREATE", &few, &Value::Null)).await;
    assert_eq!(answer["response"]["allowed"], true, "{answer}");
    assert_eq!(
        answer["response"]["warnings"].as_array().map(Vec::len),
        Some(1),
        "{answer}"
    );
}

#[tokio::test]
async fn nothing_is_anywhere_else() {
    let webhooks = Webhooks::new(Arc::new(OnePod), false);
    assert_eq!(webhooks.answer("/", &json!({})).await, None);
}
