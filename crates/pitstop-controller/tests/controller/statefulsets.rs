//! Plans for StatefulSets become requests. Source: statefulset.md 16.4, 16.5.

use pitstop_api::view::{ProtectionStatus, StatefulSetStatus, StatefulSetView, Uid};
use pitstop_controller::api::{CallError, Verb};
use pitstop_controller::events::About;
use pitstop_controller::executor::{InstancesWork, Whom};
use pitstop_engine::inplace::{Endpoint, PodWrite};
use pitstop_engine::statefulset::{Action, PatchWhy, Plan};
use serde_json::{Value, json};

use crate::clonesets::{Bench, mk_bench};

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
