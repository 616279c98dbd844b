//! `pitstop.io/pod-update-policy` with kubectl: the pods of a DaemonSet stay, and their containers start again.

use serde_json::Value;

use crate::world::{Server, World, on_both_servers};

const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

const MANIFEST: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: agent
  annotations:
    apps.openyurt.io/update-strategy: AdvancedRollingUpdate
    apps.openyurt.io/max-unavailable: '1'
    pitstop.io/pod-update-policy: InPlaceIfPossible
spec:
  selector: {matchLabels: {app: agent}}
  updateStrategy: {type: OnDelete}
  template:
    metadata: {labels: {app: agent}}
    spec:
      readinessGates: [{conditionType: InPlaceUpdateReady}]
      containers: [{name: agent, image: 'nginx:1.19.4'}]
";

on_both_servers!(pods_of_a_daemonset_stay);

/// What may not change of a pod, and what has to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    node: String,
    uid: String,
    image: String,
    restarts: i64,
    revision: String,
}

async fn pods(world: &World) -> Vec<Seen> {
    let said = world
        .kubectl(&["get", "pods", "-l", "app=agent", "-o", "json"])
        .await;
    let list: Value = serde_json::from_str(&said).unwrap();
    let seen = |pod: &Value| {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        Seen {
            node: text("/spec/nodeName"),
            uid: text("/metadata/uid"),
            image: text("/status/containerStatuses/0/image"),
            restarts: pod["status"]["containerStatuses"][0]["restartCount"]
                .as_i64()
                .unwrap(),
            revision: text("/metadata/labels/controller-revision-hash"),
        }
    };
    let mut pods: Vec<Seen> = list["items"].as_array().unwrap().iter().map(seen).collect();
    pods.sort_by(|a, b| a.node.cmp(&b.node));
    pods
}

async fn is_done(world: &World) -> String {
    let wait = ["status", "ds/agent", "--wait", "all", "--timeout", "90s"];
    world.pitstop_ok(&wait).await
}

async fn pods_of_a_daemonset_stay(server: Server) {
    let Some(world) = World::on(server, &NODES).await else {
        return;
    };
    world.apply(MANIFEST).await;
    is_done(&world).await;
    let at_first = pods(&world).await;
    assert_eq!(at_first.len(), 3, "their gates are opened");

    world
        .kubectl(&["set", "image", "ds/agent", "agent=nginx:1.19.5"])
        .await;
    is_done(&world).await;
    let then = pods(&world).await;
    for (before, after) in at_first.iter().zip(&then) {
        assert_eq!(
            (&after.node, &after.uid),
            (&before.node, &before.uid),
            "the same pod on the same node"
        );
        assert!(after.image.ends_with("nginx:1.19.5"), "{after:?}");
        assert_eq!(
            after.restarts,
            before.restarts + 1,
            "its container started again once"
        );
        assert_ne!(after.revision, before.revision);
    }
    let counted = [
        "get",
        "ds/agent",
        "-o",
        "jsonpath={.status.updatedNumberScheduled} {.status.numberAvailable}",
    ];
    assert_eq!(
        world.kubectl(&counted).await,
        "3 3",
        "its own controller counts them as updated"
    );
    let told = [
        "get",
        "events",
        "--field-selector=reason=SuccessfulUpdatePodInPlace",
        "-o",
        "jsonpath={.items[*].message}",
    ];
    let told = world.kubectl(&told).await;
    assert!(told.contains("successfully update pod agent-"), "{told}");

    labels_alone_start_nothing_again(&world, &then).await;
    what_cannot_stay_is_told_and_left(&world).await;
    world.kubectl(&["delete", "ds", "agent"]).await;
    world.stop().await;
}

async fn labels_alone_start_nothing_again(world: &World, before: &[Seen]) {
    let patch = r#"{"spec":{"template":{"metadata":{"labels":{"team":"edge"}}}}}"#;
    world
        .kubectl(&["patch", "ds/agent", "--type=merge", "-p", patch])
        .await;
    is_done(world).await;
    let labelled = world
        .kubectl(&["get", "pods", "-l", "team=edge", "-o", "name"])
        .await;
    assert_eq!(labelled.lines().count(), 3, "{labelled}");
    let after = pods(world).await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((&after.uid, after.restarts), (&before.uid, before.restarts));
    }
}

async fn what_cannot_stay_is_told_and_left(world: &World) {
    let before = pods(world).await;
    world
        .kubectl(&[
            "annotate",
            "--overwrite",
            "ds/agent",
            "pitstop.io/pod-update-policy=InPlaceOnly",
        ])
        .await;
    let patch = r#"[{"op":"add","path":"/spec/template/spec/containers/0/command","value":["nginx"]}]"#;
    world
        .kubectl(&["patch", "ds/agent", "--type=json", "-p", patch])
        .await;
    let failed = "--field-selector=reason=FailedUpdatePodInPlace";
    let mut told = String::new();
    for _ in 0..120 {
        let said = world
            .kubectl(&["get", "events", failed, "-o", "jsonpath={.items[*].message}"])
            .await;
        if !said.is_empty() {
            told = said;
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    assert!(
        told.contains("update strategy is InPlaceOnly but can not update in-place")
            && told.contains("command"),
        "{told}"
    );
    let why = world.pitstop_ok(&["why", "ds/agent", "-o", "json"]).await;
    assert_eq!(why.matches(r#""reason": "NotInPlace""#).count(), 3, "{why}");
    assert_eq!(pods(world).await, before, "nothing was touched");
}
