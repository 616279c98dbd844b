//! Simulated nodes against the embedded API server, under virtual time. Source: embedded-cluster.md 17, 20.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "shared/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use pitstop_api::keys;
use pitstop_cluster::VirtualClock;
use pitstop_cluster::builtin::Selection;
use pitstop_cluster::node::{Fleet, FleetConfig};
use serde_json::{Value, json};

use crate::world::{PODS, STRATEGIC, World, condition};

const POD: &str = "/api/v1/namespaces/default/pods/web";

async fn world() -> World {
    world_of(FleetConfig::default()).await
}

/// A node of a fleet with this configuration, and no controllers.
async fn world_of(config: FleetConfig) -> World {
    World::start_with(&["n1"], Selection::none(), config).await
}

async fn run(world: &World, spec: Value) {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec});
    world.post(PODS, pod).await;
}

fn waiting(pod: &Value) -> &str {
    pod.pointer("/status/containerStatuses/0/state/waiting/reason")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn one(image: &str) -> Value {
    json!({"nodeName": "n1", "containers": [{"name": "c", "image": image}]})
}

#[tokio::test(start_paused = true)]
async fn a_node_registers_and_a_pod_on_it_becomes_ready() {
    let world = world().await;
    let node = world
        .until("/api/v1/nodes/n1", "node ready", |node| {
            condition(node, "Ready") == "True"
        })
        .await;
    assert_eq!(node["spec"]["podCIDR"], "10.244.0.0/24");
    assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], "v1.34.2");
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1";
    let first = world.get(lease).await["spec"]["renewTime"].clone();
    world
        .until(lease, "lease renewed", |lease| {
            lease["spec"]["renewTime"] != first
        })
        .await;

    run(&world, one("nginx:1.19.4")).await;
    let pod = world.until_ready(POD).await;
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(pod["status"]["podIP"], "10.244.0.2");
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(
        (&status["ready"], &status["restartCount"]),
        (&json!(true), &json!(0))
    );
    assert!(
        status["imageID"]
            .as_str()
            .unwrap()
            .starts_with("docker.io/library/nginx@sha256:"),
        "{status}"
    );
    let events = world.get("/api/v1/namespaces/default/events").await;
    let reasons: Vec<_> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["reason"].as_str().unwrap())
        .collect();
    for reason in ["Pulling", "Pulled", "Created", "Started"] {
        assert!(reasons.contains(&reason), "{reason} in {reasons:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn example_17_a_changed_image_restarts_that_container_and_nothing_else() {
    let world = world().await;
    let spec = json!({"nodeName": "n1", "containers": [{"name": "a", "image": "app:1"}, {"name": "b", "image": "side:1"}]});
    run(&world, spec).await;
    let before = world.until_ready(POD).await;
    world
        .patch(
            POD,
            STRATEGIC,
            json!({"spec": {"containers": [{"name": "a", "image": "app:2"}]}}),
        )
        .await;
    world
        .until(POD, "not ready", |pod| condition(pod, "Ready") == "False")
        .await;
    let after = world.until_ready(POD).await;
    let of = |pod: &Value, i: usize, key: &str| pod["status"]["containerStatuses"][i][key].clone();
    assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
    assert_eq!(before["status"]["podIP"], after["status"]["podIP"]);
    assert_eq!(of(&after, 0, "restartCount"), 1);
    assert_ne!(of(&before, 0, "imageID"), of(&after, 0, "imageID"));
    assert_ne!(of(&before, 0, "containerID"), of(&after, 0, "containerID"));
    assert_eq!(
        after["status"]["containerStatuses"][0]["lastState"]["terminated"]["reason"],
        "Completed"
    );
    assert_eq!(
        before["status"]["containerStatuses"][1],
        after["status"]["containerStatuses"][1]
    );
}

/// `kubectl debug`: what looks into a pod runs beside it, never again once it has ended, and nothing waits for it.
#[tokio::test(start_paused = true)]
async fn an_ephemeral_container_runs_beside_the_others_once() {
    let world = world().await;
    run(&world, one("nginx:1.19.4")).await;
    let before = world.until_ready(POD).await;
    let containers = json!([
        {"name": "looks", "image": "busybox:1"},
        {"name": "ends", "image": "busybox:1", "command": ["true"]},
        {"name": "none", "image": "nope:bad"},
    ]);
    let path = format!("{POD}/ephemeralcontainers");
    let patch = json!({"spec": {"ephemeralContainers": containers}});
    world.patch(&path, STRATEGIC, patch).await;
    let state = |pod: &Value, i: usize, pointer: &str| {
        let pointer = format!("/status/ephemeralContainerStatuses/{i}/state/{pointer}");
        pod.pointer(&pointer).cloned()
    };
    let after = world
        .until(POD, "one runs, one ended", |pod| {
            state(pod, 0, "running").is_some() && state(pod, 1, "terminated").is_some()
        })
        .await;
    assert_eq!(state(&after, 1, "terminated/reason"), Some(json!("Completed")));
    tokio::time::sleep(Duration::from_secs(600)).await;
    let later = world.get(POD).await;
    assert_eq!(
        state(&later, 1, "terminated"),
        state(&after, 1, "terminated"),
        "once"
    );
    assert!(
        state(&later, 0, "running").is_some() && state(&later, 2, "waiting").is_some(),
        "{later}"
    );
    assert_eq!(later["status"]["phase"], "Running");
    assert_eq!(condition(&later, "Ready"), "True");
    assert_eq!(
        later["status"]["containerStatuses"],
        before["status"]["containerStatuses"]
    );
}

#[tokio::test(start_paused = true)]
async fn example_18_an_image_that_cannot_be_pulled_backs_off_and_restarts_nothing() {
    let world = world().await;
    run(&world, one("bad/nginx:1")).await;
    world
        .until(POD, "ErrImagePull", |pod| waiting(pod) == "ErrImagePull")
        .await;
    let pod = world
        .until(POD, "ImagePullBackOff", |pod| waiting(pod) == "ImagePullBackOff")
        .await;
    assert_eq!(condition(&pod, "Ready"), "False");
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(
        world.get(POD).await["status"]["containerStatuses"][0]["restartCount"],
        0
    );
    world
        .patch(
            POD,
            STRATEGIC,
            json!({"spec": {"containers": [{"name": "c", "image": "nginx:1"}]}}),
        )
        .await;
    assert_eq!(
        world.until_ready(POD).await["status"]["containerStatuses"][0]["restartCount"],
        0
    );
}

#[tokio::test(start_paused = true)]
async fn a_crashing_container_backs_off_and_counts_its_restarts() {
    let world = world().await;
    run(&world, one("crash/app:1")).await;
    world
        .until(POD, "CrashLoopBackOff", |pod| waiting(pod) == "CrashLoopBackOff")
        .await;
    let restarts = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["restartCount"]
            .as_u64()
            .unwrap()
    };
    let pod = world.until(POD, "two restarts", |pod| restarts(pod) >= 2).await;
    assert_eq!(
        pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"],
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_stops_within_its_grace_and_goes() {
    let world = world().await;
    run(&world, one("nginx:1")).await;
    world.until_ready(POD).await;
    world.delete(POD, "Background").await;
    let begun = tokio::time::Instant::now();
    assert_eq!(world.get(POD).await["metadata"]["deletionGracePeriodSeconds"], 30);
    world.until_gone(POD).await;
    assert!(
        begun.elapsed() <= Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}

/// Its node says once that it has stopped, and after each time that it was cut off, but not over and over.
#[tokio::test(start_paused = true)]
async fn a_stopped_pod_that_a_finalizer_holds_costs_nothing() {
    let world = world().await;
    run(&world, one("nginx:1")).await;
    world.until_ready(POD).await;
    let finalizers = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
    world
        .patch(POD, STRATEGIC, finalizers(json!(["example.com/holds"])))
        .await;
    world.delete(POD, "Background").await;
    let cut = |state: &str| json!({"metadata": {"annotations": {keys::SIM_NETWORK: state}}});
    for state in ["disconnected", "connected"] {
        tokio::time::sleep(Duration::from_secs(40)).await;
        world.patch("/api/v1/nodes/n1", STRATEGIC, cut(state)).await;
    }
    // Virtual time passes only while nobody is busy.
    tokio::time::sleep(Duration::from_secs(40)).await;
    let pod = world.get(POD).await;
    assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 0);
    let removal = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/holds"]}});
    world.patch(POD, STRATEGIC, removal).await;
    assert_eq!(world.find(POD).await, None);
}

/// And 17.6: what the cloud does is not seen while the node is cut off.
#[tokio::test(start_paused = true)]
async fn example_20_a_node_that_was_cut_off_catches_up_when_it_returns() {
    let world = world().await;
    run(&world, one("nginx:1")).await;
    world.until_ready(POD).await;
    let cut = |state: &str| json!({"metadata": {"annotations": {keys::SIM_NETWORK: state}}});
    world
        .patch("/api/v1/nodes/n1", STRATEGIC, cut("disconnected"))
        .await;
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1";
    tokio::time::sleep(Duration::from_secs(1)).await;
    let silent = world.get(lease).await["spec"]["renewTime"].clone();
    world
        .patch(
            POD,
            STRATEGIC,
            json!({"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}),
        )
        .await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    let pod = world.get(POD).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["image"], "nginx:1");
    assert_eq!(world.get(lease).await["spec"]["renewTime"], silent);

    world.patch("/api/v1/nodes/n1", STRATEGIC, cut("connected")).await;
    let pod = world
        .until(POD, "restarted", |pod| {
            pod["status"]["containerStatuses"][0]["restartCount"] == 1
        })
        .await;
    assert_eq!(pod["status"]["containerStatuses"][0]["image"], "nginx:2");
    assert_ne!(world.get(lease).await["spec"]["renewTime"], silent);
}

#[tokio::test(start_paused = true)]
async fn example_21_a_readiness_gate_belongs_to_its_controller() {
    let world = world().await;
    let gates = json!([{"conditionType": "InPlaceUpdateReady"}]);
    let mut spec = one("nginx:1");
    spec["readinessGates"] = gates;
    run(&world, spec).await;
    let pod = world
        .until(POD, "containers ready", |pod| {
            condition(pod, "ContainersReady") == "True"
        })
        .await;
    assert_eq!(condition(&pod, "Ready"), "False");
    let own = json!([
        {"type": "InPlaceUpdateReady", "status": "True"},
        {"type": "PodNeedUpgrade", "status": "False"},
    ]);
    world
        .patch(
            &format!("{POD}/status"),
            STRATEGIC,
            json!({"status": {"conditions": own}}),
        )
        .await;
    world.until_ready(POD).await;
    world
        .patch(
            POD,
            STRATEGIC,
            json!({"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}),
        )
        .await;
    world
        .until(POD, "not ready", |pod| condition(pod, "Ready") == "False")
        .await;
    let pod = world.until_ready(POD).await;
    assert_eq!(
        (
            condition(&pod, "InPlaceUpdateReady"),
            condition(&pod, "PodNeedUpgrade")
        ),
        ("True".into(), "False".into())
    );
}

/// With a heartbeat of their own, leases do not run as fast as the rest.
#[tokio::test(start_paused = true)]
async fn heartbeats_need_not_run_as_fast_as_pods_start() {
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1";
    let world = world_of(FleetConfig {
        time_scale: 1000.0,
        heartbeat: Some(Duration::from_secs(60)),
        ..FleetConfig::default()
    })
    .await;
    run(&world, one("nginx:1")).await;
    world.until_ready(POD).await;
    let first = world.get(lease).await["spec"]["renewTime"].clone();
    tokio::time::sleep(Duration::from_secs(55)).await;
    assert_eq!(world.get(lease).await["spec"]["renewTime"], first);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_ne!(world.get(lease).await["spec"]["renewTime"], first);
}

/// A node that somebody else registers is played too, and a new fleet goes on with what an earlier one left.
#[tokio::test(start_paused = true)]
async fn a_new_fleet_goes_on_where_an_earlier_one_was() {
    let mut world = world().await;
    run(&world, one("nginx:1")).await;
    let before = world.until_ready(POD).await;
    let (client, clock) = (
        world.client.clone(),
        VirtualClock::starting_at("2026-01-01T01:00:00Z".parse().unwrap()),
    );
    let config = FleetConfig {
        clock: Arc::new(clock),
        ..FleetConfig::default()
    };
    world.fleet = Fleet::start(client, config).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let after = world.get(POD).await;
    assert_eq!(
        before["status"]["containerStatuses"],
        after["status"]["containerStatuses"]
    );
    world
        .patch(
            POD,
            STRATEGIC,
            json!({"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}),
        )
        .await;
    world
        .until(POD, "restarted", |pod| {
            pod["status"]["containerStatuses"][0]["restartCount"] == 1
        })
        .await;
}
