//! Simulated nodes against the embedded API server, under virtual time. Source: embedded-cluster.md 17, 20.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use kube::Client;
use pitstop_api::keys;
use pitstop_cluster::builtin::Selection;
use pitstop_cluster::informer::{is_status, request};
use pitstop_cluster::node::{Fleet, FleetConfig, NodeSpec};
use pitstop_cluster::{Cluster, Config, VirtualClock};
use serde_json::{Value, json};

const POD: &str = "/api/v1/namespaces/default/pods/web";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

struct World {
    client: Client,
    _cluster: Cluster,
    fleet: Fleet,
}

async fn world() -> World {
    world_of(FleetConfig::default()).await
}

/// A node of a fleet with this configuration, whose clock is the cluster's.
async fn world_of(config: FleetConfig) -> World {
    let clock = Arc::new(VirtualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
    let cluster = Cluster::start(Config {
        clock: clock.clone(),
        seed: Some(7),
        controllers: Selection::none(),
        ..Config::default()
    })
    .await
    .unwrap();
    let client = cluster.client();
    let fleet = Fleet::start(client.clone(), FleetConfig { clock, ..config })
        .await
        .unwrap();
    fleet.add(NodeSpec::new("n1")).await.unwrap();
    World {
        client,
        _cluster: cluster,
        fleet,
    }
}

impl World {
    async fn get(&self, path: &str) -> Value {
        request(&self.client, Method::GET, path, None, None)
            .await
            .unwrap()
    }

    async fn patch(&self, path: &str, patch: Value) -> Value {
        request(&self.client, Method::PATCH, path, Some(STRATEGIC), Some(&patch))
            .await
            .unwrap()
    }

    async fn run(&self, spec: Value) {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec});
        request(
            &self.client,
            Method::POST,
            "/api/v1/namespaces/default/pods",
            None,
            Some(&pod),
        )
        .await
        .unwrap();
    }

    /// Waits, in virtual time, until the object satisfies the condition.
    async fn until(&self, path: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..20_000 {
            let object = self.get(path).await;
            if condition(&object) {
                return object;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{what} never came true: {:#}", self.get(path).await);
    }

    async fn until_ready(&self) -> Value {
        self.until(POD, "pod ready", |pod| condition(pod, "Ready") == "True")
            .await
    }
}

fn condition(object: &Value, kind: &str) -> String {
    let conditions = object
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let found = conditions.iter().find(|c| c["type"] == kind);
    found
        .and_then(|c| c["status"].as_str())
        .unwrap_or_default()
        .to_owned()
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

    world.run(one("nginx:1.19.4")).await;
    let pod = world.until_ready().await;
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

/// Example 17.
#[tokio::test(start_paused = true)]
async fn a_changed_image_restarts_that_container_and_nothing_else() {
    let world = world().await;
    let spec = json!({"nodeName": "n1", "containers": [{"name": "a", "image": "app:1"}, {"name": "b", "image": "side:1"}]});
    world.run(spec).await;
    let before = world.until_ready().await;
    world
        .patch(
            POD,
            json!({"spec": {"containers": [{"name": "a", "image": "app:2"}]}}),
        )
        .await;
    world
        .until(POD, "not ready", |pod| condition(pod, "Ready") == "False")
        .await;
    let after = world.until_ready().await;
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

/// Example 18.
#[tokio::test(start_paused = true)]
async fn an_image_that_cannot_be_pulled_backs_off_and_restarts_nothing() {
    let world = world().await;
    world.run(one("bad/nginx:1")).await;
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
            json!({"spec": {"containers": [{"name": "c", "image": "nginx:1"}]}}),
        )
        .await;
    assert_eq!(
        world.until_ready().await["status"]["containerStatuses"][0]["restartCount"],
        0
    );
}

#[tokio::test(start_paused = true)]
async fn a_crashing_container_backs_off_and_counts_its_restarts() {
    let world = world().await;
    world.run(one("crash/app:1")).await;
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
    world.run(one("nginx:1")).await;
    world.until_ready().await;
    let answer = request(&world.client, Method::DELETE, POD, None, None)
        .await
        .unwrap();
    assert_eq!(answer["metadata"]["deletionGracePeriodSeconds"], 30);
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        match request(&world.client, Method::GET, POD, None, None).await {
            Err(error) if is_status(&error, 404) => return,
            other => drop(other.unwrap()),
        }
    }
    panic!("the pod is still there");
}

/// Its node says once that it has stopped, and after each time that it was cut off, but not over and over.
#[tokio::test(start_paused = true)]
async fn a_stopped_pod_that_a_finalizer_holds_costs_nothing() {
    let world = world().await;
    world.run(one("nginx:1")).await;
    world.until_ready().await;
    let finalizers = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
    world.patch(POD, finalizers(json!(["example.com/holds"]))).await;
    request(&world.client, Method::DELETE, POD, None, None)
        .await
        .unwrap();
    let cut = |state: &str| json!({"metadata": {"annotations": {keys::SIM_NETWORK: state}}});
    for state in ["disconnected", "connected"] {
        tokio::time::sleep(Duration::from_secs(40)).await;
        world.patch("/api/v1/nodes/n1", cut(state)).await;
    }
    // Virtual time passes only while nobody is busy.
    tokio::time::sleep(Duration::from_secs(40)).await;
    let pod = world.get(POD).await;
    assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 0);
    let removal = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/holds"]}});
    world.patch(POD, removal).await;
    let gone = request(&world.client, Method::GET, POD, None, None).await;
    assert!(gone.is_err_and(|error| is_status(&error, 404)));
}

/// Example 20, and 17.6: what the cloud does is not seen while the node is cut off.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_sees_nothing_and_catches_up_when_it_returns() {
    let world = world().await;
    world.run(one("nginx:1")).await;
    world.until_ready().await;
    let cut = |state: &str| json!({"metadata": {"annotations": {keys::SIM_NETWORK: state}}});
    world.patch("/api/v1/nodes/n1", cut("disconnected")).await;
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1";
    tokio::time::sleep(Duration::from_secs(1)).await;
    let silent = world.get(lease).await["spec"]["renewTime"].clone();
    world
        .patch(
            POD,
            json!({"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}),
        )
        .await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    let pod = world.get(POD).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["image"], "nginx:1");
    assert_eq!(world.get(lease).await["spec"]["renewTime"], silent);

    world.patch("/api/v1/nodes/n1", cut("connected")).await;
    let pod = world
        .until(POD, "restarted", |pod| {
            pod["status"]["containerStatuses"][0]["restartCount"] == 1
        })
        .await;
    assert_eq!(pod["status"]["containerStatuses"][0]["image"], "nginx:2");
    assert_ne!(world.get(lease).await["spec"]["renewTime"], silent);
}

/// Example 21.
#[tokio::test(start_paused = true)]
async fn a_readiness_gate_belongs_to_its_controller() {
    let world = world().await;
    let gates = json!([{"conditionType": "InPlaceUpdateReady"}]);
    let mut spec = one("nginx:1");
    spec["readinessGates"] = gates;
    world.run(spec).await;
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
        .patch(&format!("{POD}/status"), json!({"status": {"conditions": own}}))
        .await;
    world.until_ready().await;
    world
        .patch(
            POD,
            json!({"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}),
        )
        .await;
    world
        .until(POD, "not ready", |pod| condition(pod, "Ready") == "False")
        .await;
    let pod = world.until_ready().await;
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
    world.run(one("nginx:1")).await;
    world.until_ready().await;
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
    world.run(one("nginx:1")).await;
    let before = world.until_ready().await;
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
            json!({"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}),
        )
        .await;
    world
        .until(POD, "restarted", |pod| {
            pod["status"]["containerStatuses"][0]["restartCount"] == 1
        })
        .await;
}
