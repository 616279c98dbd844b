//! Plans for StatefulSets become requests. Source: statefulset.md 16.4, 16.5.

use pitstop_api::view::{ProtectionStatus, StatefulSetStatus, StatefulSetView, Uid};
use pitstop_controller::api::{CallError, Refusal, Resource, Verb};
use pitstop_controller::events::About;
use pitstop_controller::executor::{InstancesWork, Whom};
use pitstop_engine::inplace::{Endpoint, PodWrite};
use pitstop_engine::statefulset::{Action, ClaimWhy, NewPod, PatchWhy, Plan, Removal};
use serde_json::{Value, json};

use crate::clonesets::{Bench, mk_bench};
use crate::scripted::refused;

/// With this in `status`, and these annotations.
fn set(status: &Value, annotations: &Value) -> StatefulSetView {
    let json = json!({
        "metadata": {
            "name": "web", "namespace": "default", "uid": Uid(1).to_string(), "resourceVersion": "5",
            "annotations": annotations,
        },
        "spec": { "selector": { "matchLabels": { "app": "web" } }, "template": {} },
        "status": status,
    });
    StatefulSetView::from_json(json.to_string().as_bytes()).unwrap()
}

async fn carry_out(bench: &Bench, set: &StatefulSetView, plan: Plan) -> bool {
    let whom = Whom {
        controller: "statefulset",
        source: "statefulset-controller",
        about: About::from(set),
    };
    let work = InstancesWork::of_statefulset(whom, set, plan);
    bench.carry_out_work(&work).await.0.is_ok()
}

fn protects(protected: u32) -> Plan {
    Plan {
        status: Some(StatefulSetStatus {
            protection: Some(ProtectionStatus {
                protected,
                ..ProtectionStatus::default()
            }),
            ..StatefulSetStatus::default()
        }),
        ..Plan::default()
    }
}

/// The API server of a definition that has `status.protection`, or lacks it.
fn server(has_the_field: bool) -> Bench {
    mk_bench(move |call| {
        let mut kept = json!({
            "metadata": { "name": "web", "namespace": "default", "uid": Uid(1).to_string(), "resourceVersion": "6" },
            "spec": { "selector": { "matchLabels": { "app": "web" } }, "template": {} }, "status": {},
        });
        if has_the_field && let Some(body) = &call.body {
            kept["status"] = body["status"].clone();
        }
        Ok::<_, CallError>(kept)
    })
}

/// What was written of protection, one word a request: the field, or the text of the annotation.
fn told(bench: &Bench) -> Vec<String> {
    let writes = bench.api.writes();
    let one = writes.iter().map(|call| {
        assert_eq!(call.verb, Verb::MergePatch);
        let body = call.body.as_ref().unwrap();
        match body.pointer("/metadata/annotations") {
            Some(annotations) => {
                assert_eq!(
                    body["metadata"]["resourceVersion"], "6",
                    "for what the status has left"
                );
                annotations["pitstop.io/protection-status"]
                    .as_str()
                    .map_or_else(|| "removed".to_owned(), str::to_owned)
            }
            None => format!("status {}", body["status"]["protection"]["protected"]),
        }
    });
    one.collect()
}

/// 16.5: what the server drops is said in an annotation.
#[tokio::test]
async fn what_is_protected_is_told_in_an_annotation_where_there_is_no_field() {
    let says = r#"{"protected":3,"protectedOld":0,"effectivePartition":0}"#;
    let annotated = || json!({ "pitstop.io/protection-status": says });
    let plain = || set(&json!({}), &json!({}));
    let noted = || set(&json!({}), &annotated());
    for (has_the_field, before, wanted, told_then) in [
        (true, plain(), 3, vec!["status 3"]),
        (false, plain(), 3, vec!["status 3", says]),
        (
            false,
            set(&json!({ "replicas": 1 }), &annotated()),
            3,
            vec!["status 3"],
        ),
        (true, noted(), 2, vec!["status 2", "removed"]),
    ] {
        let bench = server(has_the_field);
        assert!(carry_out(&bench, &before, protects(wanted)).await);
        assert_eq!(told(&bench), told_then, "{has_the_field} {:?}", before.status);
    }
    let bench = server(false);
    let nothing = Plan {
        status: Some(StatefulSetStatus::default()),
        ..Plan::default()
    };
    assert!(carry_out(&bench, &noted(), nothing).await);
    assert_eq!(told(&bench), ["status null", "removed"]);
    assert!(carry_out(&bench, &noted(), protects(3)).await);
    assert_eq!(bench.api.writes().len(), 2, "it says the same already");
}

/// 16.4: labels that tell what an arbiter says are written by somebody of their own.
#[tokio::test]
async fn labels_of_the_arbiter_have_a_manager_of_their_own() {
    let bench = mk_bench(|_| {
        Ok(json!({ "metadata": {
            "name": "web-0", "namespace": "default", "uid": Uid(9).to_string(), "resourceVersion": "41",
        } }))
    });
    let patch = |why| Action::PatchPod {
        name: "web-0".into(),
        uid: Uid(9),
        resource_version: 40,
        writes: vec![PodWrite {
            endpoint: Endpoint::Pod,
            patch: json!({ "metadata": { "labels": { "working": "true" } } }),
        }],
        why,
    };
    for (why, manager) in [
        (PatchWhy::ArbiterLabel, "pitstop-arbiter"),
        (PatchWhy::Refresh, "pitstop-controller"),
    ] {
        let plan = Plan {
            actions: vec![patch(why)],
            ..Plan::default()
        };
        assert!(carry_out(&bench, &set(&json!({}), &json!({})), plan).await);
        let written = bench.api.writes().pop().unwrap();
        assert!(
            written.query.contains(&("fieldManager", manager.to_owned())),
            "{written:?}"
        );
    }
}

/// S1: the name of an ordinal may be taken by a pod that never becomes its own, which nobody would find out otherwise.
#[tokio::test]
async fn a_name_that_somebody_else_has_is_told() {
    let owned = |by: Uid| json!([{ "apiVersion": "v1", "kind": "X", "name": "x", "uid": by.to_string(), "controller": true }]);
    for (app, owners, is_told) in [
        ("web", json!([]), false),
        ("other", json!([]), true),
        ("web", owned(Uid(1)), false),
        ("web", owned(Uid(2)), true),
    ] {
        let there = json!({ "metadata": {
            "name": "web-0", "namespace": "default", "uid": Uid(9).to_string(), "resourceVersion": "41",
            "labels": { "app": app }, "ownerReferences": owners,
        } });
        let bench = mk_bench(move |call| match call.verb {
            Verb::Create => Err(refused(409, "AlreadyExists", "pods \"web-0\" already exists")),
            _ => Ok(there.clone()),
        });
        let set = set(&json!({}), &json!({}));
        let whom = Whom {
            controller: "statefulset",
            source: "statefulset-controller",
            about: About::from(&set),
        };
        let new = NewPod {
            name: "web-0".into(),
            instance: "0".into(),
            revision: "web-a".into(),
            manifest: json!({ "metadata": { "name": "web-0" } }),
            claims: Vec::new(),
        };
        let plan = Plan {
            actions: vec![Action::CreatePod(new)],
            ..Plan::default()
        };
        let (_, failures) = bench
            .carry_out_work(&InstancesWork::of_statefulset(whom, &set, plan))
            .await;
        assert_eq!(failures.scale.is_some(), is_told, "{app} {owners}: {failures:?}");
    }
}

/// What somebody who looks at the StatefulSet reads after this action, where the server takes it or refuses it.
async fn events(action: Action, is_taken: bool) -> Vec<String> {
    let made = json!({ "metadata": {
        "name": "web-0", "namespace": "default", "uid": Uid(9).to_string(), "resourceVersion": "41",
    } });
    let bench = mk_bench(move |call| match call.resource {
        Resource::Pods | Resource::Claims if !is_taken => Err(refused(422, "Invalid", "no")),
        _ => Ok(made.clone()),
    });
    let plan = Plan {
        actions: vec![action],
        ..Plan::default()
    };
    assert_eq!(
        carry_out(&bench, &set(&json!({}), &json!({})), plan).await,
        is_taken
    );
    bench.api.events()
}

/// 10.1: the table. Of ImagePullJobs, see `executor_doubts` and cloneset.md 18.26; of claims that differ, the decision tells.
#[tokio::test]
async fn events_have_the_words_of_upstream() {
    let patch = |why| Action::PatchPod {
        name: "web-0".into(),
        uid: Uid(9),
        resource_version: 40,
        writes: vec![PodWrite {
            endpoint: Endpoint::Pod,
            patch: json!({ "metadata": {} }),
        }],
        why,
    };
    let create = Action::CreatePod(NewPod {
        name: "web-0".into(),
        instance: "0".into(),
        revision: "web-b".into(),
        manifest: json!({ "metadata": { "name": "web-0" } }),
        claims: Vec::new(),
    });
    let delete = Action::DeletePod {
        name: "web-0".into(),
        uid: Uid(9),
        resource_version: Some(40),
        claims: Vec::new(),
        why: Removal::Outdated,
    };
    let claim = Action::CreateClaim {
        pod: "web-0".into(),
        manifest: json!({ "metadata": { "name": "data-web-0" } }),
    };
    let resize = Action::PatchClaim {
        name: "data-web-0".into(),
        uid: Uid(9),
        resource_version: 40,
        pod: "web-0".into(),
        patch: json!({ "spec": {} }),
        why: ClaimWhy::Resize,
    };
    let in_place = patch(PatchWhy::UpdateInPlace {
        revision: "web-b".into(),
    });
    for (action, done, refused) in [
        (
            create,
            "SuccessfulCreate: create Pod web-0 in StatefulSet web successful",
            &["FailedCreate: create Pod web-0 in StatefulSet web failed error: ERR"][..],
        ),
        (
            patch(PatchWhy::Identity),
            "SuccessfulUpdate: update Pod web-0 in StatefulSet web successful",
            &["FailedUpdate: update Pod web-0 in StatefulSet web failed error: ERR"],
        ),
        (
            delete,
            "SuccessfulDelete: delete Pod web-0 in StatefulSet web successful",
            &[
                "FailedDelete: delete Pod web-0 in StatefulSet web failed error: ERR",
                "FailedDelete: failed to delete pod web-0: ERR",
            ],
        ),
        (
            claim,
            "SuccessfulCreate: create Claim data-web-0 Pod web-0 in StatefulSet web success",
            &["FailedCreate: create Claim data-web-0 for Pod web-0 in StatefulSet web failed error: ERR"],
        ),
        (
            resize,
            "SuccessfulResize: resize Claim data-web-0 Pod web-0 in StatefulSet web success",
            &["FailedResize: resize Claim data-web-0 for Pod web-0 in StatefulSet web failed error: ERR"],
        ),
        (
            in_place,
            "SuccessfulUpdatePodInPlace: successfully update pod web-0 in-place(revision web-b)",
            &["FailedUpdatePodInPlace: failed to update pod web-0 in-place(revision web-b): ERR"],
        ),
    ] {
        assert_eq!(events(action.clone(), true).await, [done]);
        let error = refused_text();
        let refused: Vec<String> = refused.iter().map(|text| text.replace("ERR", &error)).collect();
        assert_eq!(events(action, false).await, refused);
    }
}

fn refused_text() -> String {
    refused(422, "Invalid", "no").to_string()
}

/// 10.1: a name that is taken is nobody's news, and still a failure.
#[tokio::test]
async fn a_pod_whose_name_is_taken_is_told_to_nobody() {
    let somebody = json!({ "metadata": { "name": "web-0", "namespace": "default", "uid": Uid(8).to_string(),
        "resourceVersion": "7", "ownerReferences": [{ "apiVersion": "v1", "kind": "Other", "name": "o",
            "uid": Uid(7).to_string(), "controller": true }] } });
    let bench = mk_bench(move |call| match call.verb {
        Verb::Create if call.resource == Resource::Pods => Err(CallError::AlreadyExists(Refusal::default())),
        _ => Ok(somebody.clone()),
    });
    let plan = Plan {
        actions: vec![Action::CreatePod(NewPod {
            name: "web-0".into(),
            instance: "0".into(),
            revision: "web-b".into(),
            manifest: json!({ "metadata": { "name": "web-0" } }),
            claims: Vec::new(),
        })],
        ..Plan::default()
    };
    assert!(!carry_out(&bench, &set(&json!({}), &json!({})), plan).await);
    assert_eq!(bench.api.events(), Vec::<String>::new());
}
