use pitstop_api::keys;
use serde_json::{Value, json};

use super::*;

const GRACE: Duration = Duration::from_secs(40);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn node(name: &str, ready: &str, taints: &Value) -> Arc<Node> {
    let conditions: Vec<Value> = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"]
        .iter()
        .map(|kind| json!({"type": kind, "status": if *kind == "Ready" { ready } else { "False" }}))
        .collect();
    let node = json!({
        "metadata": {"name": name, "uid": "u", "resourceVersion": "1"},
        "spec": {"taints": taints}, "status": {"conditions": conditions},
    });
    Arc::new(serde_json::from_value(node).unwrap())
}

fn pod(n: u32, node: &str) -> (Arc<Pod>, Uid) {
    let pod = json!({
        "metadata": {"name": format!("p{n}"), "namespace": "default", "uid": format!("{n}")},
        "spec": {"nodeName": node}, "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    });
    (Arc::new(serde_json::from_value(pod).unwrap()), Uid(u128::from(n)))
}

/// Conditions that a write sets, by type and status.
fn conditions(writes: &[Write]) -> Vec<String> {
    let bodies = writes.iter().filter_map(|write| write.body.as_ref());
    let conditions = bodies.filter_map(|body| body.pointer("/status/conditions")?.as_array());
    conditions
        .flatten()
        .map(|c| {
            format!(
                "{}={}",
                c["type"].as_str().unwrap(),
                c["status"].as_str().unwrap()
            )
        })
        .collect()
}

/// Nodes whose taints are written, with whether `NoExecute` is among them.
fn tainted(writes: &[Write]) -> Vec<(String, bool)> {
    let taints = |write: &Write| {
        let taints = write.body.as_ref()?.pointer("/spec/taints")?.as_array()?.clone();
        let name = write.path.rsplit('/').next()?.to_owned();
        Some((name, taints.iter().any(|t| t["effect"] == "NoExecute")))
    };
    writes.iter().filter_map(taints).collect()
}

#[test]
fn a_node_is_unknown_when_neither_lease_nor_heartbeat_moved_for_the_grace() {
    let mut lifecycle = Lifecycle::new(GRACE, 1.0);
    lifecycle.on_node(&node("n1", "True", &json!([])), false, at(0));
    lifecycle.on_lease("n1", Some("a"), at(10));
    assert!(lifecycle.tick(at(50)).is_empty(), "40 s are allowed");
    lifecycle.on_lease("n1", Some("a"), at(50));
    assert_eq!(
        conditions(&lifecycle.tick(at(51))),
        [
            "Ready=Unknown",
            "MemoryPressure=Unknown",
            "DiskPressure=Unknown",
            "PIDPressure=Unknown"
        ],
        "the same lease again is no sign of life"
    );
    lifecycle.on_lease("n1", Some("b"), at(52));
    assert!(lifecycle.tick(at(55)).is_empty());
}

#[test]
fn a_node_that_never_reported_has_longer() {
    let mut lifecycle = Lifecycle::new(GRACE, 1.0);
    let bare = json!({"metadata": {"name": "n1", "uid": "u"}});
    lifecycle.on_node(&Arc::new(serde_json::from_value(bare).unwrap()), false, at(0));
    assert!(lifecycle.tick(at(60)).is_empty());
    let writes = lifecycle.tick(at(61));
    let body = writes[0].body.as_ref().unwrap();
    let ready = body.pointer("/status/conditions/0").unwrap();
    assert_eq!(ready["reason"], "NodeStatusNeverUpdated");
}

#[test]
fn pods_of_a_node_that_turns_unready_are_marked_once() {
    let mut lifecycle = Lifecycle::new(GRACE, 1.0);
    let (first, uid) = pod(1, "n1");
    lifecycle.on_pod(&first, uid, false, at(0));
    let unknown = node("n1", "Unknown", &json!([]));
    assert_eq!(
        conditions(&lifecycle.on_node(&unknown, false, at(0))),
        ["Ready=False"],
        "also when it was unready at the first sight"
    );
    assert!(conditions(&lifecycle.on_node(&unknown, false, at(1))).is_empty());
    assert!(conditions(&lifecycle.on_pod(&first, uid, false, at(1))).is_empty());
    let (second, uid) = pod(2, "n1");
    assert_eq!(
        conditions(&lifecycle.on_pod(&second, uid, false, at(2))),
        ["Ready=False"]
    );
}

#[test]
fn nodes_are_evicted_one_in_ten_seconds() {
    let mut lifecycle = Lifecycle::new(GRACE, 1.0);
    for name in ["a", "b"] {
        lifecycle.on_node(&node(name, "Unknown", &json!([])), false, at(0));
    }
    for name in ["c", "d", "e"] {
        lifecycle.on_node(&node(name, "True", &json!([])), false, at(0));
        lifecycle.on_lease(name, Some("a"), at(0));
    }
    let evicted = |writes: Vec<Write>| -> Vec<String> {
        let evicting = tainted(&writes).into_iter().filter(|(_, evicting)| *evicting);
        evicting.map(|(name, _)| name).collect()
    };
    assert_eq!(evicted(lifecycle.tick(at(5))), ["a"]);
    assert!(evicted(lifecycle.tick(at(10))).is_empty());
    assert_eq!(evicted(lifecycle.tick(at(15))), ["b"]);
}

#[test]
fn taints_are_lifted_while_everything_is_silent() {
    let mut lifecycle = Lifecycle::new(GRACE, 1.0);
    let taint = |effect: &str| json!({"key": keys::TAINT_UNREACHABLE, "effect": effect});
    let both = json!([taint("NoSchedule"), taint("NoExecute")]);
    assert!(tainted(&lifecycle.on_node(&node("a", "Unknown", &both), false, at(0))).is_empty());
    assert_eq!(tainted(&lifecycle.tick(at(5))), [("a".to_owned(), false)]);
}

#[test]
fn simulated_time_runs_faster_and_the_grace_does_not() {
    let lifecycle = Lifecycle::new(GRACE, 1.0);
    assert_eq!(lifecycle.period(), Duration::from_secs(5));
    let lifecycle = Lifecycle::new(GRACE, 10.0);
    assert_eq!(lifecycle.period(), Duration::from_millis(500));
    let lifecycle = Lifecycle::new(Duration::from_millis(800), 1.0);
    assert_eq!(lifecycle.period(), Duration::from_millis(100));
}

#[test]
fn a_node_has_its_labels_under_their_old_names_too() {
    let mut lifecycle = Lifecycle::new(GRACE, 1.0);
    let with = |labels: Value| {
        let node = json!({"metadata": {"name": "n1", "uid": "u", "labels": labels}});
        Arc::new(serde_json::from_value::<Node>(node).unwrap())
    };
    let mut written = |labels: Value| {
        let writes = lifecycle.on_node(&with(labels), false, at(0));
        let mut bodies = writes.into_iter().filter_map(|write| write.body);
        bodies.find_map(|body| body.pointer("/metadata/labels").cloned())
    };
    assert_eq!(written(json!({})), None);
    let named = json!({keys::OS: "linux", keys::ARCH: "arm64", "beta.kubernetes.io/arch": "amd64"});
    assert_eq!(
        written(named),
        Some(json!({"beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": "arm64"}))
    );
    let whole = json!({keys::OS: "linux", "beta.kubernetes.io/os": "linux"});
    assert_eq!(written(whole), None);
}
