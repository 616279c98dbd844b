//! The built-in controllers, with simulated nodes, under virtual time. Source: embedded-cluster.md 11, 16, 20.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "shared/world.rs"]
mod world;

use std::time::Duration;

use pitstop_api::keys;
use serde_json::{Value, json};

use crate::world::{PODS, World, condition};

const SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";

/// The newest version of all objects.
async fn version(world: &World) -> Value {
    let list = world.get("/api/v1/namespaces").await;
    list["metadata"]["resourceVersion"].clone()
}

async fn set_network(world: &World, node: &str, state: &str) {
    let patch = json!({"metadata": {"annotations": {keys::SIM_NETWORK: state}}});
    world.merge(&format!("/api/v1/nodes/{node}"), patch).await;
}

fn taints(node: &Value) -> Vec<String> {
    let taints = node
        .pointer("/spec/taints")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut taints: Vec<String> = taints
        .iter()
        .map(|t| format!("{}:{}", t["key"].as_str().unwrap(), t["effect"].as_str().unwrap()))
        .collect();
    taints.sort();
    taints
}

fn pod(name: &str, owner: Option<&Value>) -> Value {
    let owners = owner.map(|owner| {
        json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}])
    });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "x"}, "ownerReferences": owners},
        "spec": {"containers": [{"name": "c", "image": "nginx:1"}]},
    })
}

fn daemonset() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "x"},
        "spec": {
            "selector": {"matchLabels": {"app": "x"}},
            "template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {"containers": [{"name": "c", "image": "nginx:1"}]},
            },
        },
    })
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_given_to_a_node_that_is_ready_and_runs_there() {
    let world = World::start(&["n1"]).await;
    world.post(PODS, pod("web", None)).await;
    let pod = world.until_ready(&format!("{PODS}/web")).await;
    assert_eq!(pod["spec"]["nodeName"], "n1");
    let node = world
        .until("/api/v1/nodes/n1", "untainted", |n| taints(n).is_empty())
        .await;
    assert_eq!(condition(&node, "Ready"), "True");
}

#[tokio::test(start_paused = true)]
async fn example_19_a_silent_node_is_marked_and_what_does_not_tolerate_it_goes() {
    let world = World::start(&["n1", "n2"]).await;
    world.until_ready("/api/v1/nodes/n1").await;
    world.until_ready("/api/v1/nodes/n2").await;
    let mut bare = pod("bare", None);
    bare["spec"]["nodeName"] = json!("n1");
    world.post(PODS, bare).await;
    let mut daemon = pod("daemon", None);
    daemon["spec"]["nodeName"] = json!("n1");
    daemon["spec"]["tolerations"] =
        json!([{"key": keys::TAINT_UNREACHABLE, "operator": "Exists", "effect": "NoExecute"}]);
    world.post(PODS, daemon).await;
    world.until_ready(&format!("{PODS}/bare")).await;
    world.until_ready(&format!("{PODS}/daemon")).await;

    set_network(&world, "n1", "disconnected").await;
    let start = tokio::time::Instant::now();
    let node = world
        .until("/api/v1/nodes/n1", "unknown", |n| {
            condition(n, "Ready") == "Unknown"
        })
        .await;
    let passed = start.elapsed().as_secs();
    assert!(
        (30..=46).contains(&passed),
        "after {passed} s; the last lease may be 10 s old"
    );
    let ready = node["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["type"] == "Ready")
        .unwrap();
    assert_eq!(ready["reason"], "NodeStatusUnknown");
    assert_eq!(ready["message"], "Kubelet stopped posting node status.");
    let both = [
        format!("{}:NoExecute", keys::TAINT_UNREACHABLE),
        format!("{}:NoSchedule", keys::TAINT_UNREACHABLE),
    ];
    world
        .until("/api/v1/nodes/n1", "both taints", |n| taints(n) == both)
        .await;
    let unready = |p: &Value| condition(p, "Ready") == "False";
    world
        .until(&format!("{PODS}/daemon"), "pod not ready", unready)
        .await;

    let gone = |p: &Value| p["metadata"]["deletionTimestamp"].is_string();
    world.until(&format!("{PODS}/bare"), "evicted", gone).await;
    let passed = start.elapsed().as_secs();
    assert!((330..=360).contains(&passed), "evicted after {passed} s");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(
        world.find(&format!("{PODS}/bare")).await.is_some(),
        "nobody confirms while the node is cut off"
    );
    let daemon = world.get(&format!("{PODS}/daemon")).await;
    assert!(daemon["metadata"]["deletionTimestamp"].is_null());
    assert_eq!(daemon["status"]["phase"], "Running");

    set_network(&world, "n1", "connected").await;
    world.until_ready("/api/v1/nodes/n1").await;
    world
        .until("/api/v1/nodes/n1", "untainted", |n| taints(n).is_empty())
        .await;
    world.until_gone(&format!("{PODS}/bare")).await;
    world.until_ready(&format!("{PODS}/daemon")).await;
}

#[tokio::test(start_paused = true)]
async fn example_9_dependents_follow_their_owner_as_the_policy_says() {
    for policy in ["Background", "Orphan", "Foreground"] {
        let world = World::start(&["n1"]).await;
        let owner = world.post(SETS, daemonset()).await;
        world.post(PODS, pod("web", Some(&owner))).await;
        world.until_ready(&format!("{PODS}/web")).await;
        world.delete(&format!("{SETS}/x"), policy).await;
        match policy {
            "Orphan" => {
                world.until_gone(&format!("{SETS}/x")).await;
                let pod = world.get(&format!("{PODS}/web")).await;
                assert!(pod["metadata"]["ownerReferences"].is_null(), "{pod:#}");
                assert!(pod["metadata"]["deletionTimestamp"].is_null());
            }
            "Foreground" => {
                let set = world.get(&format!("{SETS}/x")).await;
                assert_eq!(set["metadata"]["finalizers"], json!(["foregroundDeletion"]));
                world.until_gone(&format!("{SETS}/x")).await;
                assert!(
                    world.find(&format!("{PODS}/web")).await.is_none(),
                    "the pod goes first"
                );
            }
            _ => {
                world.until_gone(&format!("{SETS}/x")).await;
                world.until_gone(&format!("{PODS}/web")).await;
            }
        }
    }
}

/// embedded-cluster.md 22.25: an owner is its uid, not its name.
#[tokio::test(start_paused = true)]
async fn trap_25_another_owner_of_the_same_name_keeps_nothing() {
    let world = World::start(&["n1"]).await;
    let first = world.post(SETS, daemonset()).await;
    world.delete(&format!("{SETS}/x"), "Orphan").await;
    world.until_gone(&format!("{SETS}/x")).await;
    let second = world.post(SETS, daemonset()).await;
    let named = |name: &str, owner: &Value| {
        json!({"metadata": {"name": name, "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet",
            "name": "x", "uid": owner["metadata"]["uid"]}]}})
    };
    let maps = "/api/v1/namespaces/default/configmaps";
    world.post(maps, named("of-the-second", &second)).await;
    world.post(maps, named("of-the-first", &first)).await;
    world.until_gone(&format!("{maps}/of-the-first")).await;
    assert!(world.find(&format!("{maps}/of-the-second")).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_owner_never_was_is_collected() {
    let world = World::start(&["n1"]).await;
    let owner = json!({"metadata": {"name": "ghost", "uid": "00000000-0000-4000-8000-000000000001"}});
    world.post(PODS, pod("web", Some(&owner))).await;
    world.until_gone(&format!("{PODS}/web")).await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_has_an_account_and_goes_with_all_that_is_in_it() {
    let world = World::start(&["n1"]).await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}});
    world.post("/api/v1/namespaces", namespace).await;
    let account = "/api/v1/namespaces/team/serviceaccounts/default";
    world.until(account, "account", |a| !a.is_null()).await;
    world.post("/api/v1/namespaces/team/pods", pod("web", None)).await;
    world.until_ready("/api/v1/namespaces/team/pods/web").await;
    world.delete("/api/v1/namespaces/team", "Background").await;
    world.until_gone("/api/v1/namespaces/team").await;
    assert!(world.find("/api/v1/namespaces/team/pods/web").await.is_none());
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_node_that_was_removed_are_collected() {
    let world = World::start(&["n1"]).await;
    world.post(PODS, pod("web", None)).await;
    world.until_ready(&format!("{PODS}/web")).await;
    world.delete("/api/v1/nodes/n1", "Background").await;
    world.until_gone(&format!("{PODS}/web")).await;
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_node_goes_with_the_node() {
    let world = World::start(&["n1"]).await;
    world.until_ready("/api/v1/nodes/n1").await;
    let node = world.get("/api/v1/nodes/n1").await;
    let lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": node["metadata"]["uid"]});
    let object = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "held", "ownerReferences": [owner]}, "spec": {},
    });
    world.post(lease, object).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(world.find(&format!("{lease}/held")).await.is_some());
    world.delete("/api/v1/nodes/n1", "Background").await;
    world.until_gone(&format!("{lease}/held")).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_two_owners_never_were_is_collected() {
    let world = World::start(&[]).await;
    let mut orphan = pod("web", None);
    let owner = |n: u32| {
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": format!("ghost{n}"),
            "uid": format!("00000000-0000-4000-8000-00000000000{n}")})
    };
    orphan["metadata"]["ownerReferences"] = json!([owner(1), owner(2)]);
    world.post(PODS, orphan).await;
    world.until_gone(&format!("{PODS}/web")).await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_waits_for_what_a_finalizer_holds_and_says_so() {
    let world = World::start(&[]).await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}});
    world.post("/api/v1/namespaces", namespace).await;
    let held = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
    let maps = "/api/v1/namespaces/team/configmaps";
    world.post(maps, held).await;
    world.delete("/api/v1/namespaces/team", "Background").await;
    let namespace = "/api/v1/namespaces/team";
    let told = |n: &Value| condition(n, "NamespaceFinalizersRemaining") == "True";
    world.until(namespace, "told", told).await;
    let before = version(&world).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(version(&world).await, before, "waiting writes nothing");
    let free = json!({"metadata": {"finalizers": null}});
    let path = format!("{maps}/held");
    world.merge(&path, free).await;
    world.until_gone(namespace).await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_others_hold_too_goes_when_they_let_go() {
    let world = World::start(&[]).await;
    let path = "/api/v1/namespaces/team";
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "team", "finalizers": ["example.com/hold"]}});
    world.post("/api/v1/namespaces", namespace).await;
    world.delete(path, "Background").await;
    let finalized = |n: &Value| n.pointer("/spec/finalizers").is_none();
    world.until(path, "finalized", finalized).await;
    let free = json!({"metadata": {"finalizers": null}});
    world.merge(path, free).await;
    world.until_gone(path).await;
}

#[tokio::test(start_paused = true)]
async fn a_cordoned_node_says_so_in_its_taints() {
    let world = World::start(&["n1"]).await;
    world.until_ready("/api/v1/nodes/n1").await;
    for (unschedulable, want) in [
        (true, vec![format!("{}:NoSchedule", keys::TAINT_UNSCHEDULABLE)]),
        (false, vec![]),
    ] {
        let patch = json!({"spec": {"unschedulable": unschedulable}});
        world.merge("/api/v1/nodes/n1", patch).await;
        world
            .until("/api/v1/nodes/n1", "taints", |n| taints(n) == want)
            .await;
    }
}

/// embedded-cluster.md 11 and 14: what a definition brought owns, is owned, and goes, as everything else does.
#[tokio::test(start_paused = true)]
async fn custom_objects_own_others_and_go_with_their_namespace() {
    let world = World::start(&[]).await;
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let definition = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": schema},
                {"name": "v1beta1", "served": true, "storage": false, "schema": schema},
            ],
        },
    });
    world.post(definitions, definition).await;
    let widgets = "/apis/example.com/v1/namespaces/team/widgets";
    world
        .post("/api/v1/namespaces", json!({"metadata": {"name": "team"}}))
        .await;
    world.until(widgets, "served", |list| !list.is_null()).await;
    let widget =
        |name: &str| json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}});
    let owner = world.post(widgets, widget("owner")).await;
    world.post(widgets, widget("other")).await;
    let maps = "/api/v1/namespaces/team/configmaps";
    // Owners may be named in any version that is served.
    for version in ["v1", "v1beta1"] {
        let map = json!({"metadata": {"name": version, "ownerReferences": [{
            "apiVersion": format!("example.com/{version}"), "kind": "Widget", "name": "owner",
            "uid": owner["metadata"]["uid"],
        }]}});
        world.post(maps, map).await;
    }
    tokio::time::sleep(Duration::from_secs(120)).await;
    for version in ["v1", "v1beta1"] {
        assert!(
            world.find(&format!("{maps}/{version}")).await.is_some(),
            "its owner is there"
        );
    }
    world.delete(&format!("{widgets}/owner"), "Background").await;
    for version in ["v1", "v1beta1"] {
        world.until_gone(&format!("{maps}/{version}")).await;
    }
    world.delete("/api/v1/namespaces/team", "Background").await;
    world.until_gone("/api/v1/namespaces/team").await;
    assert!(world.find(&format!("{widgets}/other")).await.is_none());
}
