//! Seed 003 to its end: the DaemonSet of the seed is held, tried on one node first, let go on, and goes back by itself. Source:
//! spec/README.md, "Our own keys"; issue 9.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::rolling::{MANIFEST, NEW, NODES};
use crate::world::{Said, Server, World, on_both_servers};

on_both_servers!(seed_003_is_held_and_tried_on_one_node_first);

const SET: &str = "daemonset.apps/filebeat-ds";

async fn seed_003_is_held_and_tried_on_one_node_first(server: Server) {
    let Some(world) = World::on(server, &NODES).await else {
        return;
    };
    world.apply(MANIFEST).await;
    let status = ["rollout", "status", "ds/filebeat-ds", "--timeout=100s"];
    let on_all = "--for=jsonpath={.status.desiredNumberScheduled}=5";
    world
        .kubectl(&["wait", "ds/filebeat-ds", on_all, "--timeout=100s"])
        .await;
    world.kubectl(&status).await;
    is_turned_into_one_that_can_be_held(&world).await;
    is_tried_on_one_node_first(&world).await;
    is_paused(&world).await;
    is_given_up(&world).await;
    goes_back_by_itself(&world).await;
    pulls_ahead(&world).await;
    is_held_with_outdated_pods(&world).await;
    goes_back_and_restarts(&world).await;
    world.kubectl(&["delete", "ds", "filebeat-ds"]).await;
    world.stop().await;
}

/// Of each node: the uid and the image of its pod.
async fn pods(world: &World) -> BTreeMap<String, (String, String)> {
    let said = world
        .kubectl(&["get", "pods", "-l", "app=filebeat", "-o", "json"])
        .await;
    let list: Value = serde_json::from_str(&said).unwrap();
    let seen = |pod: &Value| {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        (
            text("/spec/nodeName"),
            (text("/metadata/uid"), text("/spec/containers/0/image")),
        )
    };
    list["items"].as_array().unwrap().iter().map(seen).collect()
}

async fn settled(world: &World) -> String {
    let wait = ["status", "ds/filebeat-ds", "--wait", "all", "--timeout", "90s"];
    world.pitstop_ok(&wait).await.trim_end().to_owned()
}

async fn set_image(world: &World, image: &str) {
    let image = format!("filebeat={image}");
    world.kubectl(&["set", "image", "ds/filebeat-ds", &image]).await;
}

/// Waits for an event about it.
async fn told(world: &World, reason: &str, words: &str) {
    let selector = format!("--field-selector=involvedObject.name=filebeat-ds,reason={reason}");
    let get = ["get", "events", &selector, "-o", "jsonpath={.items[*].message}"];
    for _ in 0..120 {
        if world.kubectl(&get).await.contains(words) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    panic!("nothing was told about {reason}: {words}");
}

/// Our keys do nothing where the cluster's own controller replaces pods; the one patch that changes that, with what was asked for,
/// restarts nothing.
async fn is_turned_into_one_that_can_be_held(world: &World) {
    world
        .kubectl(&["annotate", "ds/filebeat-ds", "pitstop.io/partition=1"])
        .await;
    told(world, "NeedsOnDelete", "pitstop.io/partition: no effect").await;
    world
        .kubectl(&["annotate", "ds/filebeat-ds", "pitstop.io/partition-"])
        .await;
    let before = pods(world).await;
    let said = world.pitstop_ok(&["resume", "ds/filebeat-ds"]).await;
    assert_eq!(said, format!("{SET} is not paused\n"));
    let cannot = "cannot be held back";
    let said = world.pitstop(&CANARY_ON_NODE_1).await;
    let patch = offered(&said, &[cannot, "restarts nothing"]);
    assert!(patch.contains("pitstop.io/canary-nodes"), "{patch}");
    let said = world.pitstop(&["pause", "ds/filebeat-ds"]).await;
    let patch = offered(&said, &[cannot, "restarts nothing"]);
    world
        .kubectl(&["patch", "ds/filebeat-ds", "--type", "merge", "-p", &patch])
        .await;
    assert_eq!(settled(world).await, format!("{SET}: updated 5 of 5, done"));
    assert_eq!(pods(world).await, before, "nothing was restarted");
    let said = world.pitstop_ok(&["resume", "ds/filebeat-ds"]).await;
    assert_eq!(said, format!("{SET} resumed\n"), "the patch had paused it");
}

const CANARY_ON_NODE_1: [&str; 5] = [
    "canary",
    "start",
    "ds/filebeat-ds",
    "--nodes",
    "kubernetes.io/hostname=node-1",
];

/// The patch in an error that offers it, with these words.
fn offered(said: &Said, words: &[&str]) -> String {
    assert_eq!(said.status.code(), Some(2), "{said:?}");
    for word in words {
        assert!(said.stderr.contains(word), "{word}: {said:?}");
    }
    assert!(said.stderr.contains("--convert"), "{said:?}");
    let (_, patch) = said.stderr.split_once("--type merge -p '").unwrap();
    patch.split_once('\'').unwrap().0.to_owned()
}

async fn is_tried_on_one_node_first(world: &World) {
    let before = pods(world).await;
    let canary = "kubernetes.io/hostname=node-3";
    let said = world
        .pitstop_ok(&["canary", "start", "ds/filebeat-ds", "--nodes", canary])
        .await;
    assert_eq!(said, format!("{SET} is updated on 1 node only\n"));
    set_image(world, NEW).await;
    let done = format!("{SET}: updated 1 of 5, 4 outside the canary, done");
    assert_eq!(settled(world).await, done);
    for (node, (uid, image)) in pods(world).await {
        let is_canary = node == "node-3";
        assert_eq!(image == NEW, is_canary, "{node}");
        assert_eq!(uid != before[&node].0, is_canary, "{node}");
    }
}

/// It is held before it goes on to the other nodes, and let go again.
async fn is_paused(world: &World) {
    let before = pods(world).await;
    let said = world.pitstop_ok(&["pause", "ds/filebeat-ds"]).await;
    assert_eq!(said, format!("{SET} paused\n"));
    let said = world.pitstop_ok(&["canary", "promote", "ds/filebeat-ds"]).await;
    assert_eq!(said, format!("{SET} promoted\n"));
    let why = world.pitstop_ok(&["why", "ds/filebeat-ds", "-o", "json"]).await;
    assert_eq!(why.matches(r#""reason": "Paused""#).count(), 4, "{why}");
    // What is missing is made all the same: the cluster's own controller does that, at the newest version.
    let on = "--field-selector=spec.nodeName=node-5";
    let name = world
        .kubectl(&["get", "pods", on, "-o", "jsonpath={.items[0].metadata.name}"])
        .await;
    world.kubectl(&["delete", "pod", &name]).await;
    let whole = "--for=jsonpath={.status.updatedNumberScheduled}=2";
    world
        .kubectl(&["wait", whole, "ds/filebeat-ds", "--timeout=60s"])
        .await;
    let now = pods(world).await;
    for node in ["node-1", "node-2", "node-4"] {
        assert_eq!(now[node], before[node], "{node} is held");
    }
    let said = world.pitstop_ok(&["resume", "ds/filebeat-ds"]).await;
    assert_eq!(said, format!("{SET} resumed\n"));
    assert_eq!(settled(world).await, format!("{SET}: updated 5 of 5, done"));
    assert!(pods(world).await.values().all(|(_, image)| image == NEW));
}

/// A canary that does not work goes back to what the others have, which nobody touches.
async fn is_given_up(world: &World) {
    let before = pods(world).await;
    let canary = "kubernetes.io/hostname in (node-1)";
    world
        .pitstop_ok(&["canary", "start", "ds/filebeat-ds", "--nodes", canary])
        .await;
    set_image(world, "filebeat:bad").await;
    let wrong = "--for=jsonpath={.status.numberAvailable}=4";
    world
        .kubectl(&["wait", wrong, "ds/filebeat-ds", "--timeout=60s"])
        .await;
    let said = world.pitstop_ok(&["canary", "abort", "ds/filebeat-ds"]).await;
    assert!(
        said.starts_with(&format!("{SET} aborted: back to revision ")),
        "{said}"
    );
    assert_eq!(settled(world).await, format!("{SET}: updated 5 of 5, done"));
    expect_touched(world, &before, &["node-1"]).await;
}

/// A bad image is taken back without a hand when its deadline has passed, and the nodes that work are left alone.
async fn goes_back_by_itself(world: &World) {
    let deadline = [
        "annotate",
        "ds/filebeat-ds",
        "pitstop.io/progress-deadline-seconds=4",
        "pitstop.io/on-failure=Rollback",
    ];
    world.kubectl(&deadline).await;
    let before = pods(world).await;
    set_image(world, "filebeat:bad").await;
    told(world, "RollingBack", "revision").await;
    assert_eq!(settled(world).await, format!("{SET}: updated 5 of 5, done"));
    expect_touched(world, &before, &["node-1"]).await;
}

/// Images that take long are waited for, and who asks why hears of it.
async fn pulls_ahead(world: &World) {
    let before = pods(world).await;
    let annotations = [
        "annotate",
        "ds/filebeat-ds",
        "pitstop.io/progress-deadline-seconds-",
        "pitstop.io/on-failure-",
        "pitstop.io/preheat=true",
    ];
    world.kubectl(&annotations).await;
    set_image(world, "slow/filebeat:1").await;
    let mut why = String::new();
    for _ in 0..120 {
        why = world.pitstop_ok(&["why", "ds/filebeat-ds", "-o", "json"]).await;
        if why.contains(r#""reason": "PullingImages""#) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    assert!(why.contains(r#""reason": "PullingImages""#), "{why}");
    assert!(!why.contains(r#""reason": "Updating""#), "{why}");
    assert_eq!(
        pods(world).await,
        before,
        "nobody goes before its images are there"
    );
    set_image(world, NEW).await;
    let off = ["annotate", "ds/filebeat-ds", "pitstop.io/preheat-"];
    world.kubectl(&off).await;
    assert_eq!(settled(world).await, format!("{SET}: updated 5 of 5, done"));
    assert_eq!(pods(world).await, before);
}

/// Pods that wait for hands are outdated. What would let some of them go says so; the patch that pauses lets none go.
async fn is_held_with_outdated_pods(world: &World) {
    let by_hand = [
        "annotate",
        "--overwrite",
        "ds/filebeat-ds",
        "apps.openyurt.io/max-unavailable=100%",
        "apps.openyurt.io/update-strategy-",
    ];
    world.kubectl(&by_hand).await;
    let before = pods(world).await;
    let said = world.pitstop_ok(&["restart", "ds/filebeat-ds"]).await;
    assert!(
        said.contains("its pods are replaced when somebody deletes them"),
        "{said}"
    );
    let outdated = "--for=jsonpath={.status.observedGeneration}";
    let generation = ["get", "ds/filebeat-ds", "-o", "jsonpath={.metadata.generation}"];
    let outdated = format!("{outdated}={}", world.kubectl(&generation).await);
    world
        .kubectl(&["wait", &outdated, "ds/filebeat-ds", "--timeout=60s"])
        .await;
    let nothing = "nothing to hold";
    let said = world.pitstop(&CANARY_ON_NODE_1).await;
    offered(&said, &[nothing, "replaces the outdated pods on node-1, as many"]);
    assert!(!said.stderr.contains("restarts nothing"), "{said:?}");
    let said = world.pitstop(&["set-partition", "ds/filebeat-ds", "0"]).await;
    offered(&said, &[nothing, "on node-1, node-2, node-3 and 2 more, as many"]);
    let said = world.pitstop(&["pause", "ds/filebeat-ds"]).await;
    let patch = offered(&said, &[nothing, "restarts nothing"]);
    world
        .kubectl(&["patch", "ds/filebeat-ds", "--type", "merge", "-p", &patch])
        .await;
    let why = world.pitstop_ok(&["why", "ds/filebeat-ds", "-o", "json"]).await;
    assert_eq!(why.matches(r#""reason": "Paused""#).count(), 5, "{why}");
    let said = world.pitstop(&["restart", "ds/filebeat-ds"]).await;
    assert!(said.stderr.contains("is paused"), "{said:?}");
    assert_eq!(pods(world).await, before, "nothing was restarted");
    world.pitstop_ok(&["resume", "ds/filebeat-ds"]).await;
    assert_eq!(settled(world).await, format!("{SET}: updated 5 of 5, done"));
    are_all_others(world, &before).await;
}

/// Under AdvancedRollingUpdate, too, a version can be taken back, and all pods be replaced.
async fn goes_back_and_restarts(world: &World) {
    let before = pods(world).await;
    let said = world.pitstop_ok(&["undo", "ds/filebeat-ds"]).await;
    assert!(
        said.contains("rolled back to revision ") && said.contains(NEW),
        "{said}"
    );
    assert_eq!(settled(world).await, format!("{SET}: updated 5 of 5, done"));
    let then = are_all_others(world, &before).await;
    let said = world.pitstop_ok(&["restart", "ds/filebeat-ds"]).await;
    assert_eq!(said, format!("{SET} restarted\n"));
    assert_eq!(settled(world).await, format!("{SET}: updated 5 of 5, done"));
    are_all_others(world, &then).await;
}

/// Another pod of the same image is on every node.
async fn are_all_others(
    world: &World,
    before: &BTreeMap<String, (String, String)>,
) -> BTreeMap<String, (String, String)> {
    let now = pods(world).await;
    for (node, (uid, image)) in &now {
        assert_eq!(image, NEW, "{node}");
        assert_ne!(*uid, before[node].0, "{node}");
    }
    now
}

async fn expect_touched(world: &World, before: &BTreeMap<String, (String, String)>, touched: &[&str]) {
    for (node, (uid, image)) in pods(world).await {
        assert_eq!(image, NEW, "{node}");
        assert_eq!(uid != before[&node].0, touched.contains(&&*node), "{node}");
    }
}
