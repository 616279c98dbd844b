use super::*;

fn node(name: &str, taints: serde_json::Value) -> Arc<Node> {
    let node = json!({
        "metadata": {"name": name, "uid": "0", "labels": {"kubernetes.io/hostname": name}},
        "spec": {"taints": taints},
        "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "2"}},
    });
    Arc::new(serde_json::from_value(node).unwrap())
}

fn pod(n: u32, spec: serde_json::Value) -> (Arc<Pod>, Uid) {
    let mut pod = json!({
        "metadata": {"name": format!("p{n}"), "namespace": "default", "uid": format!("{n}")},
        "spec": {"schedulerName": "default-scheduler", "containers": []},
    });
    pod["spec"]
        .as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    (Arc::new(serde_json::from_value(pod).unwrap()), Uid(u128::from(n)))
}

fn targets(writes: &[Write]) -> Vec<String> {
    let bodies = writes.iter().filter_map(|w| w.body.as_ref());
    bodies
        .filter_map(|b| b.pointer("/target/name")?.as_str().map(str::to_owned))
        .collect()
}

fn messages(writes: &[Write]) -> Vec<String> {
    let bodies = writes.iter().filter_map(|w| w.body.as_ref());
    bodies
        .filter_map(|b| b.get("message")?.as_str().map(str::to_owned))
        .collect()
}

#[test]
fn a_pod_goes_where_it_fits_and_says_why_it_does_not() {
    let now = Timestamp::UNIX_EPOCH;
    let mut scheduler = Scheduler::default();
    let tainted = json!([{"key": "role", "value": "db", "effect": "NoSchedule"}]);
    scheduler.on_node(&node("a", json!([])), false, now);
    scheduler.on_node(&node("b", tainted), false, now);
    let big = json!({"containers": [{"resources": {"requests": {"cpu": "700m"}}}]});
    let (first, uid) = pod(1, big.clone());
    assert_eq!(targets(&scheduler.on_pod(&first, uid, false, now)), ["a"]);
    let (second, uid) = pod(2, big);
    let refused = scheduler.on_pod(&second, uid, false, now);
    assert_eq!(
        messages(&refused),
        ["0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {role: db}."]
    );
    assert!(
        scheduler.retry_all(now).is_empty(),
        "the same refusal is told once"
    );
    assert_eq!(
        targets(&scheduler.on_node(&node("b", json!([])), false, now)),
        ["b"],
        "it fits when the taint goes"
    );
}

#[test]
fn a_pod_of_a_daemonset_looks_at_its_node_alone() {
    let now = Timestamp::UNIX_EPOCH;
    let mut scheduler = Scheduler::default();
    let field = json!({"key": "metadata.name", "operator": "In", "values": ["b"]});
    let term = json!({"nodeSelectorTerms": [{"matchFields": [field]}]});
    let affinity =
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
    scheduler.on_node(&node("a", json!([])), false, now);
    let (waiting, uid) = pod(1, affinity);
    assert!(targets(&scheduler.on_pod(&waiting, uid, false, now)).is_empty());
    assert_eq!(
        targets(&scheduler.on_node(&node("b", json!([])), false, now)),
        ["b"]
    );
}

#[test]
fn a_pod_that_goes_makes_room_at_once() {
    let now = Timestamp::UNIX_EPOCH;
    let mut scheduler = Scheduler::default();
    scheduler.on_node(&node("a", json!([])), false, now);
    let spec = json!({"containers": [{"ports": [{"hostPort": 80, "protocol": "TCP"}]}]});
    let (first, first_uid) = pod(1, spec.clone());
    assert_eq!(targets(&scheduler.on_pod(&first, first_uid, false, now)), ["a"]);
    let (second, uid) = pod(2, spec);
    assert_eq!(
        messages(&scheduler.on_pod(&second, uid, false, now)),
        ["0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."]
    );
    assert_eq!(targets(&scheduler.on_pod(&first, first_uid, true, now)), ["a"]);
}

#[test]
fn a_binding_is_told_also_when_the_watch_was_faster() {
    let now = Timestamp::UNIX_EPOCH;
    let mut scheduler = Scheduler::default();
    scheduler.on_node(&node("a", json!([])), false, now);
    let (first, uid) = pod(1, json!({}));
    scheduler.on_pod(&first, uid, false, now);
    let (bound, _) = pod(1, json!({"nodeName": "a"}));
    scheduler.on_pod(&bound, uid, false, now);
    assert_eq!(
        messages(&scheduler.on_bound(uid, true, now)),
        ["Successfully assigned default/p1 to a"]
    );
}

#[test]
fn a_refused_binding_waits_for_the_next_occasion() {
    let now = Timestamp::UNIX_EPOCH;
    let mut scheduler = Scheduler::default();
    scheduler.on_node(&node("a", json!([])), false, now);
    let (first, uid) = pod(1, json!({}));
    scheduler.on_pod(&first, uid, false, now);
    assert!(scheduler.on_bound(uid, false, now).is_empty(), "not in a circle");
    assert_eq!(targets(&scheduler.retry_all(now)), ["a"]);
}

#[test]
fn several_terms_leave_a_choice() {
    let now = Timestamp::UNIX_EPOCH;
    let mut scheduler = Scheduler::default();
    scheduler.on_node(&node("a", json!([])), false, now);
    let named = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]});
    let labelled = json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "Exists"}]});
    let terms = json!({"nodeSelectorTerms": [named, labelled]});
    let affinity =
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}});
    let (first, uid) = pod(1, affinity);
    assert_eq!(targets(&scheduler.on_pod(&first, uid, false, now)), ["a"]);
}
