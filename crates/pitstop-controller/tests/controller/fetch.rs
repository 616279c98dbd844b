//! A snapshot by plain requests, for `why`, `plan`, `status` and `snapshot`.

use pitstop_api::WorkloadKind;
use pitstop_controller::Error;
use pitstop_controller::api::{Resource, Verb};
use pitstop_controller::fetch::snapshot_file_at;
use pitstop_engine::snapshot::file::AnySnapshot;
use serde_json::{Value, json};

use crate::scripted::{Scripted, daemonset_json, node_json, pod_json, refused, uid};

fn list(items: &[Value], continue_at: &str) -> Value {
    json!({ "metadata": { "resourceVersion": "9", "continue": continue_at }, "items": items })
}

#[tokio::test]
async fn a_file_holds_what_the_workload_owns_or_could_adopt_and_only_what_is_looked_at() {
    let api = Scripted::new(|call| {
        let is_second_page = call.query.iter().any(|(key, _)| *key == "continue");
        Ok(match (call.verb, call.resource) {
            (Verb::Get, _) => {
                let mut daemonset = daemonset_json();
                daemonset["metadata"]["managedFields"] = json!([{ "manager": "kubectl" }]);
                daemonset
            }
            (_, Resource::Pods) if is_second_page => {
                let mut orphan = pod_json(3, "b", 3);
                orphan["metadata"]["ownerReferences"] = json!([]);
                list(&[orphan], "")
            }
            (_, Resource::Pods) => {
                let mut secret = pod_json(2, "a", 2);
                secret["spec"]["containers"][0]["env"] = json!([{ "name": "TOKEN", "value": "hidden" }]);
                let mut strangers = pod_json(4, "a", 4);
                strangers["metadata"]["ownerReferences"][0]["uid"] = json!(uid(99));
                list(&[secret, strangers], "more")
            }
            (_, Resource::Nodes) => list(&[node_json(200, "a", 5, true), node_json(201, "b", 6, false)], ""),
            _ => list(&[], ""),
        })
    });
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let file = snapshot_file_at(api.as_ref(), now, WorkloadKind::DaemonSet, "default", "agent")
        .await
        .unwrap();
    let text = serde_json::to_string(&file).unwrap();
    assert!(
        !text.contains("hidden") && !text.contains("managedFields"),
        "{text}"
    );
    let loaded = file.load().unwrap();
    let AnySnapshot::DaemonSet(snapshot) = loaded.snapshot() else {
        panic!("a file of a DaemonSet")
    };
    let pods: Vec<&str> = snapshot.pods.iter().map(|pod| &*pod.name).collect();
    assert_eq!(pods, ["agent-2", "agent-3"]);
    assert_eq!(snapshot.nodes.iter().count(), 2);
    assert_eq!(snapshot.daemonset.generation, 2);
    assert!(api.writes().is_empty());
}

/// spec/README.md, `preheat`: Jobs are asked for only where images are pulled ahead.
#[tokio::test]
async fn jobs_that_pull_images_are_in_the_file_with_their_pods() {
    for is_preheated in [false, true] {
        let api = Scripted::new(move |call| {
            Ok(match (call.verb, call.resource) {
                (Verb::Get, _) => {
                    let mut daemonset = daemonset_json();
                    if is_preheated {
                        daemonset["metadata"]["annotations"]["pitstop.io/preheat"] = json!("true");
                    }
                    daemonset
                }
                (_, Resource::Jobs) => {
                    let owner =
                        json!([{ "apiVersion": "v1", "kind": "Pod", "name": "agent-2", "uid": uid(2) }]);
                    let metadata = json!({ "name": "pull", "uid": uid(50), "ownerReferences": owner });
                    list(&[json!({ "metadata": metadata })], "")
                }
                (_, Resource::Pods) => {
                    let mut pulls = pod_json(51, "a", 4);
                    pulls["metadata"]["ownerReferences"][0]["uid"] = json!(uid(50));
                    list(&[pod_json(2, "a", 2), pulls], "")
                }
                (_, Resource::Nodes) => list(&[node_json(200, "a", 5, true)], ""),
                _ => list(&[], ""),
            })
        });
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let file = snapshot_file_at(api.as_ref(), now, WorkloadKind::DaemonSet, "default", "agent")
            .await
            .unwrap();
        let asked = api
            .calls()
            .into_iter()
            .find(|call| call.resource == Resource::Jobs);
        let selector = asked.map(|call| call.query);
        let want = vec![
            ("limit", "500".to_owned()),
            ("labelSelector", "pitstop.io/image-pre-pull".to_owned()),
        ];
        assert_eq!(selector, is_preheated.then_some(want));
        let loaded = file.load().unwrap();
        let AnySnapshot::DaemonSet(snapshot) = loaded.snapshot() else {
            panic!("a file of a DaemonSet")
        };
        assert_eq!(snapshot.pods.len(), 1, "a Job's pod is none of the workload's");
        let pulls = snapshot.pulls.map(|pulls| pulls.len());
        assert_eq!(pulls, is_preheated.then_some(1));
        let n_pods = loaded.pulls.as_ref().map(|pulls| pulls[0].1.len());
        assert_eq!(n_pods, is_preheated.then_some(1));
    }
}

#[tokio::test]
async fn a_daemonset_that_is_not_there_is_named() {
    let api = Scripted::new(|_| Err(refused(404, "NotFound", "no")));
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let error = snapshot_file_at(api.as_ref(), now, WorkloadKind::DaemonSet, "default", "agent")
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }));
    assert_eq!(error.to_string(), "DaemonSet \"default/agent\" not found");
}
