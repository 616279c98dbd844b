use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn now() -> Timestamp {
    at(100_000)
}

/// A pod that has been ready on a node since time 0, but for what `change` makes of it.
fn pod(name: &str, change: impl FnOnce(&mut Value)) -> Pod {
    let mut pod = json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": name, "labels": {"app": "a"},
            "creationTimestamp": at(0),
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "a", "uid": "1", "controller": true}],
        },
        "spec": {"nodeName": "n"},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at(0)}],
        },
    });
    change(&mut pod);
    serde_json::from_value(pod).unwrap()
}

fn set(replicas: i64, min_ready_seconds: i64) -> ReplicaSet {
    let set = json!({
        "metadata": {"name": "a", "namespace": "default", "uid": "1", "resourceVersion": "5", "generation": 2},
        "spec": {
            "replicas": replicas, "minReadySeconds": min_ready_seconds, "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": []}},
        },
    });
    serde_json::from_value(set).unwrap()
}

fn writes(set: &ReplicaSet, pods: &[&Pod], failure: Option<&Failure>) -> Vec<String> {
    let plan = decide(set, pods, &BTreeMap::new(), failure, now());
    let shown = plan
        .steps
        .iter()
        .map(|step| format!("{} {}", step.write.method, step.write.path));
    shown.collect()
}

const STATUS: &str = "PATCH /apis/apps/v1/namespaces/default/replicasets/a/status";
const CREATE: &str = "POST /api/v1/namespaces/default/pods";

#[test]
fn there_are_as_many_pods_as_are_asked_for() {
    assert_eq!(writes(&set(2, 0), &[], None), [CREATE, CREATE, STATUS]);
    let (a, b) = (pod("a", |_| {}), pod("b", |_| {}));
    assert_eq!(writes(&set(2, 0), &[&a, &b], None), [STATUS]);
    assert_eq!(writes(&set(1, 0), &[&a, &b], None).len(), 2);
    let ended = pod("c", |pod| pod["status"]["phase"] = json!("Failed"));
    assert_eq!(
        writes(&set(2, 0), &[&a, &ended], None),
        [CREATE, STATUS],
        "what has ended does not count"
    );
    let mut leaving = set(5, 0);
    leaving.metadata.deletion_timestamp = Some(now());
    assert_eq!(
        writes(&leaving, &[&a], None),
        [STATUS],
        "a set that goes makes nothing"
    );
}

#[test]
fn after_a_failure_one_pod_is_tried_before_the_others() {
    let failure = Failure {
        code: 403,
        reason: "FailedCreate",
        message: "quota".to_owned(),
        times: 1,
    };
    assert_eq!(writes(&set(9, 0), &[], Some(&failure)), [CREATE, STATUS]);
    let status = status_of(&set(9, 0), &[], Some(&failure), now());
    let [condition] = status.conditions.as_slice() else {
        panic!("{status:?}")
    };
    assert_eq!(
        (
            condition.kind.as_str(),
            condition.reason.as_str(),
            condition.message.as_str()
        ),
        ("ReplicaFailure", "FailedCreate", "quota")
    );
}

#[test]
fn pods_are_taken_and_let_go_by_their_labels() {
    let orphan = pod("o", |pod| pod["metadata"]["ownerReferences"] = json!([]));
    let stranger = pod("s", |pod| pod["metadata"]["labels"] = json!({"app": "b"}));
    let path = |name: &str| format!("PATCH /api/v1/namespaces/default/pods/{name}");
    assert_eq!(
        writes(&set(1, 0), &[&orphan, &stranger], None),
        [path("o"), path("s")]
    );
}

/// Each pod goes before the next.
#[test]
fn those_that_do_the_least_go_first() {
    let ready_since = |seconds: i64| {
        move |pod: &mut Value| {
            pod["status"]["conditions"][0]["lastTransitionTime"] = json!(at(seconds));
        }
    };
    let order = [
        pod("unplaced", |pod| pod["spec"] = json!({})),
        pod("pending", |pod| pod["status"] = json!({"phase": "Pending"})),
        pod("unready", |pod| pod["status"]["conditions"] = json!([])),
        pod("cheap", |pod| {
            pod["metadata"]["annotations"] = json!({"controller.kubernetes.io/pod-deletion-cost": "-1"});
        }),
        pod("crowded", |pod| pod["spec"]["nodeName"] = json!("full")),
        pod("young", ready_since(99_990)),
        pod("middle", ready_since(99_000)),
        pod("restarted", |pod| {
            pod["status"]["containerStatuses"] = json!([{"restartCount": 3}]);
        }),
        pod("newer", |pod| {
            pod["metadata"]["creationTimestamp"] = json!(at(99_990));
        }),
        pod("last", |_| {}),
    ];
    let neighbours = BTreeMap::from([("full", 7), ("n", 1)]);
    let pods: Vec<&Pod> = order.iter().rev().collect();
    for n in 0..order.len() {
        let going = first_to_go(&pods, n, &neighbours, now());
        let going: Vec<&str> = going.iter().map(|pod| pod.metadata.name.as_str()).collect();
        let wanted: Vec<&str> = order
            .iter()
            .take(n)
            .map(|pod| pod.metadata.name.as_str())
            .collect();
        assert_eq!(going, wanted);
    }
}

#[test]
fn a_pod_is_available_when_it_was_ready_for_long_enough() {
    let fresh = pod("a", |pod| {
        pod["status"]["conditions"][0]["lastTransitionTime"] = json!(at(99_990));
    });
    let plan = decide(&set(1, 30), &[&fresh], &BTreeMap::new(), None, now());
    assert_eq!(plan.again, Some(at(100_020)));
    let status = status_of(&set(1, 30), &[&fresh], None, now());
    assert_eq!((status.ready_replicas, status.available_replicas), (1, 0));
    let status = status_of(&set(1, 30), &[&fresh], None, at(100_020));
    assert_eq!(status.available_replicas, 1);
}
