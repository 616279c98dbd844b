//! States for tests: what a cluster would answer.

use pitstop_api::keys;
use pitstop_engine::feature_gates::FeatureGates;
use pitstop_engine::revision;
use pitstop_engine::snapshot::file::{SnapshotFile, Workload};
use serde_json::{Value, json};

/// Uid of the DaemonSet.
pub(crate) const UID: &str = "11111111-0000-4000-8000-000000000001";
const BEFORE: &str = "2026-01-01T00:00:00Z";

/// `agent` in namespace `edge` under AdvancedRollingUpdate, at revision `one` (`app:1`) on ready nodes, one hour later.
pub(crate) fn settled(nodes: &[&str]) -> SnapshotFile {
    SnapshotFile {
        version: 1,
        now: "2026-01-01T01:00:00Z".parse().unwrap(),
        workload: Workload::DaemonSet(daemonset("app:1", 1)),
        revisions: vec![revision("one", 1, "app:1")],
        pods: nodes.iter().map(|node| pod(node, "one", "app:1")).collect(),
        claims: Vec::new(),
        classes: Vec::new(),
        nodes: nodes.iter().map(|node| self::node(node, "True")).collect(),
        failed_pods: Vec::new(),
        pulls: None,
        resizes_in_place: false,
        gates: FeatureGates::default(),
    }
}

/// The same while `app:2` rolls out: the first node is done, the last one lost its network five minutes ago.
pub(crate) fn half_way(nodes: &[&str]) -> SnapshotFile {
    let mut file = settled(nodes);
    file.workload = Workload::DaemonSet(daemonset("app:2", 2));
    file.workload.object_mut()["status"]["observedGeneration"] = json!(2);
    file.revisions.push(revision("two", 2, "app:2"));
    file.pods[0] = pod(nodes[0], "two", "app:2");
    let last = nodes.len() - 1;
    file.nodes[last] = node(nodes[last], "Unknown");
    file.nodes[last]["status"]["conditions"][0]["lastTransitionTime"] = json!("2026-01-01T00:55:00Z");
    file
}

/// The same with a history, newest last, whose newest revision is the target (`app:N` for N revisions).
pub(crate) fn at_revisions(nodes: &[&str], hashes: &[&str]) -> SnapshotFile {
    let mut file = settled(nodes);
    let image = |number: i64| format!("app:{number}");
    let numbered = (1..).zip(hashes);
    file.revisions = numbered
        .map(|(number, hash)| revision(hash, number, &image(number)))
        .collect();
    let newest = i64::try_from(hashes.len()).unwrap();
    file.workload = Workload::DaemonSet(daemonset(&image(newest), 1));
    file
}

/// `app:2` waits under OTA, and the owners of the first nodes have let it in. Names of nodes: hexadecimal digits.
pub(crate) fn under_ota(nodes: &[&str], n_updated: usize) -> SnapshotFile {
    let mut file = settled(nodes);
    file.workload = Workload::DaemonSet(daemonset("app:2", 2));
    file.workload.object_mut()["metadata"]["annotations"][keys::OPENYURT_UPDATE_STRATEGY] = json!("OTA");
    file.workload.object_mut()["status"]["observedGeneration"] = json!(2);
    file.revisions.push(revision("two", 2, "app:2"));
    for (pod, node) in file.pods.iter_mut().zip(nodes).take(n_updated) {
        *pod = self::pod(node, "two", "app:2");
    }
    file
}

/// The object with this image, not yet observed beyond generation 1.
pub(crate) fn daemonset(image: &str, generation: i64) -> Value {
    json!({
        "metadata": {
            "name": "agent", "namespace": "edge", "uid": UID, "generation": generation, "resourceVersion": "7",
            "annotations": {(keys::OPENYURT_UPDATE_STRATEGY): "AdvancedRollingUpdate"},
        },
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "updateStrategy": {"type": "OnDelete"},
            "template": template(image),
        },
        "status": {"observedGeneration": 1, "numberAvailable": 3, "desiredNumberScheduled": 3},
    })
}

fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "agent"}},
        "spec": {"containers": [{"name": "app", "image": image}]},
    })
}

fn owner() -> Value {
    json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": UID, "controller": true}])
}

fn revision(hash: &str, number: i64, image: &str) -> Value {
    json!({
        "metadata": {
            "name": format!("agent-{hash}"),
            "uid": format!("44444444-0000-4000-8000-00000000000{number}"),
            "labels": {"app": "agent", (keys::REVISION_HASH): hash},
            "annotations": {(keys::CHANGE_CAUSE): format!("use {image}")},
            "ownerReferences": owner(),
        },
        "revision": number,
        "data": revision::data_of(&template(image)),
    })
}

fn pod(node: &str, hash: &str, image: &str) -> Value {
    json!({
        "metadata": {
            "name": format!("agent-{node}"), "namespace": "edge",
            "uid": format!("22222222-0000-4000-8000-{node:0>12}"),
            "labels": {"app": "agent", (keys::REVISION_HASH): hash}, "ownerReferences": owner(),
        },
        "spec": {"nodeName": node, "containers": [{"name": "app", "image": image}]},
        "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": BEFORE}]},
    })
}

fn node(name: &str, ready: &str) -> Value {
    json!({
        "metadata": {"name": name, "uid": format!("33333333-0000-4000-8000-{name:0>12}")},
        "status": {"conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": BEFORE}]},
    })
}
