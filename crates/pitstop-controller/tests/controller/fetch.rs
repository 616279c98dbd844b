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
