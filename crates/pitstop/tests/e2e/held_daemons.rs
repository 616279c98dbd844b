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

/// Our keys do nothing where the cluster's own controller replaces pods; the one patch that changes that restarts nothing.
async fn is_turned_into_one_that_can_be_held(world: &World) {
    world
        .kubectl(&["annotate", "ds/filebeat-ds", "pitstop.io/partition=1"])
        .await;
    told(world, "NeedsOnDelete", "pitstop.io/partition: no effect").await;
    world
        .kubectl(&["annotate", "ds/filebeat-ds", "pitstop.io/partition-"])
        .await;
    let before = pods(world).await;
    let patches = [
        offered(&world.pitstop(&["pause", "ds/filebeat-ds"]).await),
        offered(
            &world
                .pitstop(&[
                    "canary",
                    "start",
                    "ds/filebeat-ds",
                    "--nodes",
                    "kubernetes.io/hostname=node-1",
                ])
                .await,
        ),
    ];
    assert_eq!(patches[0], patches[1]);
    world
        .kubectl(&["patch", "ds/filebeat-ds", "--type", "merge", "-p", &patches[0]])
        .await;
    assert_eq!(settled(world).await, format!("{SET}: updated 5 of 5, done"));
    assert_eq!(pods(world).await, before, "nothing was restarted");
}

/// The patch in an error that offers it.
fn offered(said: &Said) -> String {
    assert_eq!(said.status.code(), Some(2), "{said:?}");
    assert!(
        said.stderr.contains("cannot be held back") && said.stderr.contains("--convert"),
        "{said:?}"
    );
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

async fn expect_touched(world: &World, before: &BTreeMap<String, (String, String)>, touched: &[&str]) {
    for (node, (uid, image)) in pods(world).await {
        assert_eq!(image, NEW, "{node}");
        assert_eq!(uid != before[&node].0, touched.contains(&&*node), "{node}");
    }
}
