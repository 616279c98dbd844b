//! Rollouts of DaemonSets over nodes that come and go, and of versions that do not work: W1 to W4, W7, W8, W13, W15
//! and W16 of the worked rollouts, on both servers. W14 takes minutes: it is played in virtual time, in
//! `simulation/worked_daemons.rs`. W17 is in `real/faults.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::{Value, json};

use crate::reasons::{Model, Stage, is_ready};
use crate::world::{Server, on_both_servers};

on_both_servers!(
    nodes_that_are_away_are_left_out_and_counted,
    a_version_that_costs_nodes_is_stopped,
    broken_versions_break_one_pod_between_them,
    pods_that_only_just_became_ready_do_not_all_go_at_once,
    a_limit_of_zero_is_the_default_and_told,
    the_old_name_of_the_model_is_understood,
    nodes_that_come_back_together_are_updated_within_both_limits,
    a_node_in_maintenance_frees_its_slot,
    a_node_that_flaps_is_not_touched,
    a_pod_that_works_is_left_alone,
);

/// AdvancedRollingUpdate with these annotations beside.
fn advanced(annotations: &[(&str, &str)]) -> Model {
    let mut all = json!({"apps.openyurt.io/update-strategy": "AdvancedRollingUpdate"});
    for (key, value) in annotations {
        all[*key] = json!(value);
    }
    Model::Annotated(all)
}

fn names(n: usize) -> Vec<String> {
    (1..=n).map(|i| format!("n{i:02}")).collect()
}

fn of(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

async fn network(stage: &Stage, nodes: &[&str], state: &str) {
    let network = format!("sim.pitstop.io/network={state}");
    let arguments = [&["annotate", "--overwrite", "node"], nodes, &[&network]].concat();
    stage.world.kubectl(&arguments).await;
    let ready = if state == "connected" { "True" } else { "Unknown" };
    let condition = format!("--for=condition=Ready={ready}");
    let arguments = [&["wait", &condition, "--timeout=90s", "node"], nodes].concat();
    stage.world.kubectl(&arguments).await;
}

async fn patch_node(stage: &Stage, node: &str, is_status: bool, patch: Value) {
    let nodes: Api<Node> = Api::all(stage.world.client());
    let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
    let patched = if is_status {
        nodes.patch_status(node, &params, &patch).await
    } else {
        nodes.patch(node, &params, &patch).await
    };
    patched.unwrap();
}

fn image(pod: &Pod) -> &str {
    pod.spec.as_ref().unwrap().containers[0].image.as_deref().unwrap()
}

/// Is there a pod of this image on the node? For a moment there is none at all.
async fn has(stage: &Stage, node: &str, wanted: &str) -> bool {
    let there = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods = stage.pods.list(&there).await.unwrap();
    pods.iter().any(|pod| image(pod) == wanted)
}

/// Does a pod of this image serve on the node?
async fn serves(stage: &Stage, node: &str, wanted: &str) -> bool {
    let there = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods = stage.pods.list(&there).await.unwrap();
    pods.iter().any(|pod| image(pod) == wanted && is_ready(pod))
}

/// The uid of the pod on each node.
async fn uids(stage: &Stage) -> BTreeMap<String, String> {
    let pods = stage.pods.list(&ListParams::default()).await.unwrap();
    let on_node = |pod: Pod| {
        (
            pod.spec.as_ref().unwrap().node_name.clone().unwrap(),
            pod.uid().unwrap(),
        )
    };
    pods.into_iter().map(on_node).collect()
}

/// How many nodes were without a pod that serves, or is only waited for, at most: every change of a pod, in order.
async fn most_in_flight(stage: &Stage, n_nodes: usize, most: &AtomicUsize) {
    let mut by_uid: BTreeMap<String, Pod> = BTreeMap::new();
    let list = stage.pods.list(&ListParams::default()).await.unwrap();
    let version = list.metadata.resource_version.clone().unwrap();
    by_uid.extend(list.items.into_iter().map(|pod| (pod.uid().unwrap(), pod)));
    let mut changes = stage
        .pods
        .watch(&WatchParams::default(), &version)
        .await
        .unwrap()
        .boxed();
    while let Some(change) = changes.try_next().await.unwrap() {
        match change {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => _ = by_uid.insert(pod.uid().unwrap(), pod),
            WatchEvent::Deleted(pod) => _ = by_uid.remove(&pod.uid().unwrap()),
            WatchEvent::Bookmark(_) | WatchEvent::Error(_) => {}
        }
        let stays = |pod: &&Pod| {
            pod.metadata.deletion_timestamp.is_none() && (image(pod) == "app:1" || is_ready(pod))
        };
        let n_there = by_uid.values().filter(stays).count();
        most.fetch_max(n_nodes.saturating_sub(n_there), Ordering::Relaxed);
    }
}

/// W1: nodes that are away cost no budget, and the condition says how many were left out.
async fn nodes_that_are_away_are_left_out_and_counted(server: Server) {
    let names = names(12);
    let nodes = of(&names);
    let model = advanced(&[
        ("apps.openyurt.io/max-unavailable", "1"),
        ("pitstop.io/progress-deadline-seconds", "600"),
    ]);
    let Some(stage) = Stage::played_on(server, &nodes, model).await else {
        return;
    };
    network(&stage, &nodes[9..], "disconnected").await;
    let most = AtomicUsize::new(0);
    let rollout = async {
        stage.set_image("app:2").await;
        stage
            .until("all that answer are updated", || async {
                let daemonset = serde_json::to_value(stage.daemonset().await).unwrap();
                let conditions = daemonset["status"]["conditions"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                conditions.iter().any(|condition| {
                    condition["type"] == "Progressing"
                        && condition["status"] == "True"
                        && condition["reason"] == "NodesExcluded"
                        && condition["message"].as_str().unwrap().contains("excluded=3")
                })
            })
            .await;
    };
    tokio::select! {
        () = rollout => {}
        () = most_in_flight(&stage, nodes.len(), &most) => panic!("the watch ended"),
    }
    assert_eq!(most.load(Ordering::Relaxed), 1, "one at a time");
    for (i, node) in nodes.iter().enumerate() {
        let want = if i < 9 { "app:2" } else { "app:1" };
        assert_eq!(image(&stage.pod_on(node).await), want, "{node}");
    }
    network(&stage, &nodes[9..], "connected").await;
    stage.settled("app:2").await;
    stage.stop().await;
}

/// W2: every node that gets the new version falls silent. The guard stops the rollout when two are lost (issue 9: no more than
/// one less, and as many as may be unavailable); the others are never touched, also not when the old image comes back.
async fn a_version_that_costs_nodes_is_stopped(server: Server) {
    let names = names(20);
    let nodes = of(&names);
    let model = advanced(&[("apps.openyurt.io/max-unavailable", "2")]);
    let Some(stage) = Stage::played_on(server, &nodes, model).await else {
        return;
    };
    // Longer than either cluster takes to see that a node is silent.
    stage.min_ready_seconds(10).await;
    let before = uids(&stage).await;
    stage.set_image("app:2").await;
    let silences = async {
        let mut silent = BTreeSet::new();
        loop {
            for node in &nodes {
                if !silent.contains(node) && serves(&stage, node, "app:2").await {
                    let cut =
                        json!({"metadata": {"annotations": {"sim.pitstop.io/network": "disconnected"}}});
                    patch_node(&stage, node, false, cut).await;
                    silent.insert(node);
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let told = tokio::select! {
        () = silences => unreachable!(),
        told = stage.told("NodesLostAfterUpdate") => told,
    };
    assert!(
        told.contains("updated nodes turned NotReady within 5 minutes of it (the guard acts from 2 on)"),
        "{told}"
    );
    stage.expect("n20", "NodesLostAfterUpdate").await;
    let daemonset = serde_json::to_value(stage.daemonset().await).unwrap();
    let conditions = daemonset["status"]["conditions"].as_array().unwrap();
    assert!(
        conditions
            .iter()
            .any(|condition| condition["type"] == "pitstop.io/NodesLost" && condition["status"] == "True"),
        "{conditions:?}"
    );
    // Two nodes are not marked NotReady in the same moment: the first to be leaves room for another update.
    let touched = |now: &BTreeMap<String, String>| {
        let mut nodes = nodes.clone();
        nodes.retain(|node| now.get(*node) != Some(&before[*node]));
        nodes
    };
    let lost = touched(&uids(&stage).await);
    assert!(
        (2..=3).contains(&lost.len()),
        "one less than the guard's two, and two that may be unavailable: {lost:?}"
    );
    network(&stage, &lost, "connected").await;
    stage.set_image("app:1").await;
    stage.settled("app:1").await;
    assert_eq!(touched(&uids(&stage).await), lost, "nobody touches another");
    stage.stop().await;
}

/// W3: three broken versions one after the other: each takes the place of the broken pod, and two of three always serve.
async fn broken_versions_break_one_pod_between_them(server: Server) {
    let nodes = ["a", "b", "c"];
    let model = advanced(&[("apps.openyurt.io/max-unavailable", "1")]);
    let Some(stage) = Stage::played_on(server, &nodes, model).await else {
        return;
    };
    let most = AtomicUsize::new(0);
    let rollout = async {
        for broken in ["one:bad", "two:bad", "three:bad"] {
            stage.set_image(broken).await;
            stage
                .until("one pod is of the broken version", || has(&stage, "a", broken))
                .await;
            stage.expect("a", "NotReady").await;
            for node in ["b", "c"] {
                stage.expect(node, "MaxUnavailable").await;
            }
        }
        stage.set_image("app:2").await;
        stage.settled("app:2").await;
    };
    tokio::select! {
        () = rollout => {}
        () = most_in_flight(&stage, nodes.len(), &most) => panic!("the watch ended"),
    }
    assert_eq!(most.load(Ordering::Relaxed), 1, "two of three always serve");
    stage.stop().await;
}

/// W4: a version comes while no pod has been ready for `minReadySeconds` yet, and another soon after: one pod at a time.
async fn pods_that_only_just_became_ready_do_not_all_go_at_once(server: Server) {
    let nodes = ["a", "b", "c", "d"];
    let model = advanced(&[("apps.openyurt.io/max-unavailable", "1")]);
    let Some(stage) = Stage::played_on(server, &nodes, model).await else {
        return;
    };
    stage.min_ready_seconds(4).await;
    let most = AtomicUsize::new(0);
    let rollout = async {
        stage.set_image("app:2").await;
        stage
            .until("the first is updated", || serves(&stage, "a", "app:2"))
            .await;
        stage.set_image("app:3").await;
        stage.settled("app:3").await;
    };
    tokio::select! {
        () = rollout => {}
        () = most_in_flight(&stage, nodes.len(), &most) => panic!("the watch ended"),
    }
    assert_eq!(most.load(Ordering::Relaxed), 1, "one at a time");
    stage.stop().await;
}

/// W7, the compatible line: zero is no limit but the default, 10 % of all nodes that should run a pod, and an event says so.
async fn a_limit_of_zero_is_the_default_and_told(server: Server) {
    let names = names(12);
    let nodes = of(&names);
    let model = advanced(&[("apps.openyurt.io/max-unavailable", "0%")]);
    let Some(stage) = Stage::played_on(server, &nodes, model).await else {
        return;
    };
    let told = stage.told("MaxUnavailableIgnored").await;
    assert!(told.contains("apps.openyurt.io/max-unavailable"), "{told}");
    network(&stage, &nodes[10..], "disconnected").await;
    let most = AtomicUsize::new(0);
    let rollout = async {
        stage.set_image("app:2").await;
        stage
            .until("all that answer are updated", || async {
                let pods = stage.pods.list(&ListParams::default()).await.unwrap();
                let updated = pods.iter().filter(|pod| image(pod) == "app:2" && is_ready(pod));
                updated.count() == 10
            })
            .await;
    };
    tokio::select! {
        () = rollout => {}
        () = most_in_flight(&stage, nodes.len(), &most) => panic!("the watch ended"),
    }
    assert_eq!(
        most.load(Ordering::Relaxed),
        2,
        "10 % of 12, rounded up, those that are away included"
    );
    stage.stop().await;
}

/// W8: the old name of the model does what the new one does, and an event names that.
async fn the_old_name_of_the_model_is_understood(server: Server) {
    let nodes = ["a", "b"];
    let model = Model::Annotated(json!({"apps.openyurt.io/update-strategy": "auto"}));
    let Some(stage) = Stage::played_on(server, &nodes, model).await else {
        return;
    };
    let told = stage.told("StrategyAlias").await;
    assert!(told.contains("AdvancedRollingUpdate"), "{told}");
    network(&stage, &["b"], "disconnected").await;
    stage.set_image("app:2").await;
    stage.expect("b", "NodeNotReady").await;
    stage
        .until("the other one is updated", || serves(&stage, "a", "app:2"))
        .await;
    network(&stage, &["b"], "connected").await;
    stage.settled("app:2").await;
    stage.stop().await;
}

/// W13: all nodes come back together, all outdated: neither the common limit nor that of a pool is ever exceeded.
async fn nodes_that_come_back_together_are_updated_within_both_limits(server: Server) {
    let names = names(16);
    let nodes = of(&names);
    let model = advanced(&[
        ("apps.openyurt.io/max-unavailable", "50%"),
        ("pitstop.io/max-unavailable-per-pool", "1"),
        ("pitstop.io/min-node-ready-seconds", "2"),
    ]);
    let Some(stage) = Stage::played_on(server, &nodes, model).await else {
        return;
    };
    for (i, node) in nodes.iter().enumerate() {
        let pool = format!("pool-{}", i % 4);
        let labels = json!({"metadata": {"labels": {"apps.openyurt.io/nodepool": pool}}});
        patch_node(&stage, node, false, labels).await;
    }
    network(&stage, &nodes, "disconnected").await;
    stage.set_image("app:2").await;
    let most = AtomicUsize::new(0);
    let rollout = async {
        network(&stage, &nodes, "connected").await;
        stage.settled("app:2").await;
    };
    tokio::select! {
        () = rollout => {}
        () = most_in_flight(&stage, nodes.len(), &most) => panic!("the watch ended"),
    }
    let most = most.load(Ordering::Relaxed);
    assert!(
        (1..=4).contains(&most),
        "{most} in flight; 8 may be, and 1 in each of 4 pools"
    );
    stage.stop().await;
}

/// W15: a node is put in maintenance while its pod is on its way: its slot is free, and it is caught up afterwards.
async fn a_node_in_maintenance_frees_its_slot(server: Server) {
    let model = advanced(&[("apps.openyurt.io/max-unavailable", "1")]);
    let Some(stage) = Stage::played_on(server, &["a", "b"], model).await else {
        return;
    };
    stage.set_image("app:bad").await;
    stage.expect("a", "NotReady").await;
    stage.expect("b", "MaxUnavailable").await;
    let maintenance = |status: &str| {
        json!({"status": {"conditions": [{"type": "MaintenanceInProgress", "status": status, "reason": "Disk",
            "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
    };
    patch_node(&stage, "a", true, maintenance("True")).await;
    stage.expect("a", "NodeInMaintenance").await;
    stage.expect("b", "NotReady").await;
    stage.set_image("app:3").await;
    stage
        .until("the other node is updated", || serves(&stage, "b", "app:3"))
        .await;
    assert_eq!(
        image(&stage.pod_on("a").await),
        "app:bad",
        "nobody touches it meanwhile"
    );
    patch_node(&stage, "a", true, maintenance("False")).await;
    stage.settled("app:3").await;
    stage.stop().await;
}

/// W16: a node that turns NotReady again sooner than it counts as settled is never touched; one that stays is caught up.
async fn a_node_that_flaps_is_not_touched(server: Server) {
    let model = advanced(&[("pitstop.io/min-node-ready-seconds", "5")]);
    let Some(stage) = Stage::played_on(server, &["a", "b"], model).await else {
        return;
    };
    let flap = async |is_ready: bool| {
        let value = (!is_ready).to_string();
        let patch = json!({"metadata": {"annotations": {"sim.pitstop.io/not-ready": value}}});
        patch_node(&stage, "b", false, patch).await;
    };
    flap(false).await;
    stage.set_image("app:2").await;
    stage.expect("b", "NodeNotReady").await;
    let before = stage.pod_on("b").await.uid();
    for _ in 0..6 {
        flap(true).await;
        tokio::time::sleep(Duration::from_millis(1200)).await;
        flap(false).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    assert_eq!(stage.pod_on("b").await.uid(), before);
    stage
        .until("the other one is updated", || serves(&stage, "a", "app:2"))
        .await;
    flap(true).await;
    stage.expect("b", "NodeUnsettled").await;
    stage.settled("app:2").await;
    stage.stop().await;
}

/// `pitstop.io/update-protection`: who works is said by a label of the pod, at any time.
async fn a_pod_that_works_is_left_alone(server: Server) {
    let protection = r#"{"podSelector":{"matchLabels":{"working":"true"}},"unknownPolicy":"Idle"}"#;
    let model = advanced(&[
        ("apps.openyurt.io/max-unavailable", "1"),
        ("pitstop.io/update-protection", protection),
    ]);
    let Some(stage) = Stage::played_on(server, &["a", "b"], model).await else {
        return;
    };
    let pod = stage.pod_on("a").await;
    let works = async |works: &str| {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"working": works}}}));
        let (name, params) = (pod.name_any(), PatchParams::default());
        stage.pods.patch(&name, &params, &patch).await.unwrap();
    };
    works("true").await;
    stage.set_image("app:2").await;
    stage
        .until("the one that idles is updated", || serves(&stage, "b", "app:2"))
        .await;
    let told = stage.expect("a", "Protected").await;
    assert!(told.contains("while it works"), "{told}");
    assert_eq!(stage.pod_on("a").await.uid(), pod.uid());
    works("false").await;
    stage.settled("app:2").await;
    stage.stop().await;
}
