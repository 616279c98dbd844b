//! DaemonSets of `apps.kruise.io` with kubectl and our commands: partition, pause, canary, in place, surge, undo.
//! Source: daemonset.md part D.

use serde_json::Value;

use crate::world::{World, kubectl_is_there, words};

pub(crate) const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
const SET: &str = "daemonset.apps.kruise.io/agent";

const MANIFEST: &str = "
apiVersion: apps.kruise.io/v1beta1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: 'nginx:1.19.4'}]
";

#[tokio::test(flavor = "multi_thread")]
async fn daemonsets_of_openkruise_roll_out() {
    if kubectl_is_there() {
        let world = World::embedded(&NODES, None).await;
        story(&world).await;
        world.stop().await;
    }
}

/// A pod: its node, uid, last digit of its image, and how often its container was started again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    node: String,
    uid: String,
    version: char,
    restarts: i64,
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
            version: text("/spec/containers/0/image").chars().last().unwrap(),
            restarts: pod["status"]["containerStatuses"][0]["restartCount"]
                .as_i64()
                .unwrap(),
        }
    };
    let mut pods: Vec<Seen> = list["items"].as_array().unwrap().iter().map(seen).collect();
    pods.sort_by(|a, b| a.node.cmp(&b.node));
    pods
}

/// The last digits of the images, by node.
async fn versions(world: &World) -> String {
    pods(world).await.iter().map(|pod| pod.version).collect()
}

async fn settled(world: &World) -> String {
    let wait = ["status", "ads/agent", "--wait", "all", "--timeout", "90s"];
    world.pitstop_ok(&wait).await.trim_end().to_owned()
}

async fn patch(world: &World, rolling: &str) {
    let patch = format!("{{\"spec\":{{\"updateStrategy\":{{\"rollingUpdate\":{rolling}}}}}}}");
    world.kubectl(&["patch", SET, "--type=merge", "-p", &patch]).await;
}

async fn set_image(world: &World, image: &str) {
    let image = format!("web={image}");
    let said = world.pitstop_ok(&["set", "image", "ads/agent", &image]).await;
    assert_eq!(said, format!("{SET} image updated\n"));
}

async fn status(world: &World, field: &str) -> String {
    let path = format!("jsonpath={{.status.{field}}}");
    world.kubectl(&["get", SET, "-o", &path]).await
}

async fn messages(world: &World, reason: &str) -> String {
    // Other tests leave events of DaemonSets, too.
    let uid = ["get", "ads", "agent", "-o", "jsonpath={.metadata.uid}"];
    let uid = world.kubectl(&uid).await;
    let field = format!("--field-selector=involvedObject.uid={uid},reason={reason}");
    let path = "jsonpath={range .items[*]}{.message}{\"\\n\"}{end}";
    world.kubectl(&["get", "events", &field, "-o", path]).await
}

pub(crate) async fn story(world: &World) {
    begins(world).await;
    keeps_a_part(world).await;
    is_held(world).await;
    goes_back(world).await;
    tries_some_nodes_first(world).await;
    leaves_service_before_it_goes(world).await;
    refuses(world).await;
    is_told_apart(world).await;
    goes(world).await;
    // Another one of the name: of each, so many events are kept.
    begins(world).await;
    stays_in_place(world).await;
    surges(world).await;
    goes(world).await;
}

async fn goes(world: &World) {
    world.kubectl(&["delete", SET, "--timeout=60s"]).await;
    let gone = ["wait", "--for=delete", "pods", "-l", "app=agent", "--timeout=60s"];
    world.kubectl(&gone).await;
}

async fn begins(world: &World) {
    let said = world.apply(MANIFEST).await;
    assert_eq!(said, format!("{SET} created\n"));
    assert_eq!(settled(world).await, format!("{SET}: updated 3 of 3, done"));
    let ready = "--for=jsonpath={.status.numberAvailable}=3";
    world.kubectl(&["wait", ready, SET, "--timeout=60s"]).await;
    let listed = world.kubectl(&["get", "ads"]).await;
    let rows = words(&listed);
    assert_eq!(
        rows[0],
        [
            "NAME",
            "DESIRED",
            "CURRENT",
            "READY",
            "UP-TO-DATE",
            "AVAILABLE",
            "AGE"
        ]
    );
    assert_eq!(rows[1][..6], ["agent", "3", "3", "3", "3", "3"]);
    let owner = "jsonpath={.items[0].metadata.ownerReferences[0].apiVersion} {.items[0].spec.readinessGates}";
    let said = world
        .kubectl(&["get", "pods", "-l", "app=agent", "-o", owner])
        .await;
    assert_eq!(
        said,
        r#"apps.kruise.io/v1beta1 [{"conditionType":"KruisePodReady"}]"#
    );
    // The older version calls the revision otherwise.
    let hash = status(world, "updateRevision").await;
    let older = "daemonsets.v1alpha1.apps.kruise.io";
    let path = "jsonpath={.status.daemonSetHash} {.spec.burstReplicas}";
    let said = world.kubectl(&["get", older, "agent", "-o", path]).await;
    assert_eq!(said, format!("{hash} 250"));
    let described = world.kubectl(&["describe", SET]).await;
    assert!(
        described.contains("daemonset-controller") && described.contains("Created pod: agent-"),
        "{described}"
    );
}

/// D6: the others keep what they have.
async fn keeps_a_part(world: &World) {
    let before = pods(world).await;
    let said = world.pitstop_ok(&["set-partition", "ads/agent", "2"]).await;
    assert_eq!(said, format!("{SET} keeps 2\n"));
    let file = world.folder.path().join("agent.yaml");
    std::fs::write(&file, MANIFEST.replace("1.19.4", "1.19.5")).unwrap();
    let planned = world.pitstop_ok(&["plan", "-f", file.to_str().unwrap()]).await;
    assert!(
        planned.contains("create revision") && planned.contains("Outdated"),
        "{planned}"
    );
    set_image(world, "nginx:1.19.5").await;
    let done = format!("{SET}: updated 1 of 3, 2 kept by partition, done");
    assert_eq!(settled(world).await, done);
    let after = pods(world).await;
    assert_eq!(after[..2], before[..2], "the same pods");
    assert_eq!(versions(world).await, "445");
    let why = world.pitstop_ok(&["why", "ads/agent"]).await;
    assert!(why.contains("partition keeps 2 pods at their revision"), "{why}");
}

/// D13: nothing is updated, and what is missing is made.
async fn is_held(world: &World) {
    let said = world.pitstop_ok(&["pause", "ads/agent"]).await;
    assert_eq!(said, format!("{SET} paused\n"));
    world.pitstop_ok(&["set-partition", "ads/agent", "0"]).await;
    let why = world.pitstop_ok(&["why", "ads/agent", "-o", "json"]).await;
    assert_eq!(why.matches(r#""reason": "Paused""#).count(), 2, "{why}");
    let name = "jsonpath={.items[0].metadata.name}";
    let on = "--field-selector=spec.nodeName=node-1";
    let pod = world
        .kubectl(&["get", "pods", "-l", "app=agent", on, "-o", name])
        .await;
    world.kubectl(&["delete", "pod", &pod]).await;
    let whole = "--for=jsonpath={.status.updatedNumberScheduled}=2";
    world.kubectl(&["wait", whole, SET, "--timeout=60s"]).await;
    let said = world.pitstop_ok(&["resume", "ads/agent"]).await;
    assert_eq!(said, format!("{SET} resumed\n"));
    assert_eq!(settled(world).await, format!("{SET}: updated 3 of 3, done"));
    assert_eq!(versions(world).await, "555");
}

async fn goes_back(world: &World) {
    let history = world.pitstop_ok(&["history", "ads/agent"]).await;
    assert!(
        history.contains("nginx:1.19.4") && history.contains("nginx:1.19.5"),
        "{history}"
    );
    // The field is what counts for this kind, whatever an annotation says.
    let annotation = "pitstop.io/partition";
    world
        .kubectl(&["annotate", SET, &format!("{annotation}=3")])
        .await;
    let said = world.pitstop_ok(&["set-partition", "ads/agent", "1"]).await;
    assert_eq!(said, format!("{SET} keeps 1\n"));
    world.kubectl(&["annotate", SET, &format!("{annotation}-")]).await;
    let said = world.pitstop(&["undo", "ads/agent"]).await;
    assert_eq!(
        said.stdout,
        format!("{SET} rolled back to revision 1 (nginx:1.19.4)\n")
    );
    let stays =
        "1 pod stays at its version, kept by partition; `pitstop set-partition ads/agent 0` brings it back";
    assert!(said.stderr.contains(stays), "{said:?}");
    let kept = format!("{SET}: updated 2 of 3, 1 kept by partition, done");
    assert_eq!(settled(world).await, kept);
    assert_eq!(versions(world).await, "544");
    world.pitstop_ok(&["set-partition", "ads/agent", "0"]).await;
    assert_eq!(settled(world).await, format!("{SET}: updated 3 of 3, done"));
    assert_eq!(versions(world).await, "444");
    let before = pods(world).await;
    let said = world.pitstop_ok(&["restart", "ads/agent"]).await;
    assert_eq!(said, format!("{SET} restarted\n"));
    settled(world).await;
    for (old, new) in before.iter().zip(pods(world).await) {
        assert_ne!(old.uid, new.uid, "{} has another pod", new.node);
    }
}

/// D3: the field `selector` of the kind is what our command writes.
async fn tries_some_nodes_first(world: &World) {
    world
        .kubectl(&["label", "node", "node-2", "ring=canary", "--overwrite"])
        .await;
    let start = ["canary", "start", "ads/agent", "--nodes", "ring=canary"];
    let said = world.pitstop_ok(&start).await;
    assert_eq!(said, format!("{SET} is updated on 1 node only\n"));
    set_image(world, "nginx:1.19.6").await;
    let done = format!("{SET}: updated 1 of 3, 2 outside the canary, done");
    assert_eq!(settled(world).await, done);
    assert_eq!(versions(world).await, "464");
    let said = world.pitstop_ok(&["canary", "promote", "ads/agent"]).await;
    assert_eq!(said, format!("{SET} promoted\n"));
    assert_eq!(settled(world).await, format!("{SET}: updated 3 of 3, done"));
    assert_eq!(versions(world).await, "666");
}

/// D14, inplace.md 7: a pod that a hook holds before its deletion is out of service, and goes when it is let go.
async fn leaves_service_before_it_goes(world: &World) {
    let hook =
        r#"{"spec":{"lifecycle":{"preDelete":{"labelsHandler":{"hold":"yes"},"markPodNotReady":true}}}}"#;
    world.kubectl(&["patch", SET, "--type=merge", "-p", hook]).await;
    let on = "--field-selector=spec.nodeName=node-3";
    let pod = ["get", "pods", "-l", "app=agent", on, "-o", "name"];
    let pod = world.kubectl(&pod).await.trim().to_owned();
    world.kubectl(&["label", &pod, "hold=yes"]).await;
    set_image(world, "nginx:1.19.5").await;
    let is_out = ["wait", "--for=condition=Ready=False", &pod, "--timeout=60s"];
    world.kubectl(&is_out).await;
    let state = r"jsonpath={.metadata.labels.lifecycle\.apps\.kruise\.io/state}";
    assert_eq!(
        world.kubectl(&["get", &pod, "-o", state]).await,
        "PreparingDelete"
    );
    assert_eq!(versions(world).await, "666", "the others wait for it");
    world.kubectl(&["label", &pod, "hold-"]).await;
    assert_eq!(settled(world).await, format!("{SET}: updated 3 of 3, done"));
    assert_eq!(versions(world).await, "555");
    let no_hook = r#"{"spec":{"lifecycle":null}}"#;
    world
        .kubectl(&["patch", SET, "--type=merge", "-p", no_hook])
        .await;
}

/// D15, D17: pods that were made before lack the gate and are replaced once; after that they stay.
async fn stays_in_place(world: &World) {
    patch(world, r#"{"rollingUpdateType":"InPlaceIfPossible"}"#).await;
    let before = pods(world).await;
    set_image(world, "nginx:1.19.7").await;
    settled(world).await;
    let gated = pods(world).await;
    for (old, new) in before.iter().zip(&gated) {
        assert_ne!(old.uid, new.uid, "{} has another pod", new.node);
    }
    let told = messages(world, "NotInPlace").await;
    assert!(
        told.contains("pods are replaced rather than updated in place"),
        "{told}"
    );
    set_image(world, "nginx:1.19.8").await;
    settled(world).await;
    let after = pods(world).await;
    for (old, new) in gated.iter().zip(&after) {
        assert_eq!((&old.node, &old.uid), (&new.node, &new.uid), "the pod stays");
        assert_eq!((new.version, new.restarts), ('8', old.restarts + 1));
    }
    let told = messages(world, "SuccessfulUpdatePodInPlace").await;
    assert!(
        told.lines()
            .all(|line| line.starts_with("successfully update pod agent-") && line.ends_with(" in-place"))
            && told.lines().count() == 3,
        "{told}"
    );
    assert_eq!(status(world, "updatedNumberScheduled").await, "3");
    let said = world.pitstop(&["restart", "ads/agent"]).await;
    assert!(
        said.stderr.contains("would restart no container"),
        "{}",
        said.stderr
    );
}

/// A new pod comes beside the old one.
async fn surges(world: &World) {
    patch(
        world,
        r#"{"rollingUpdateType":"Standard","maxSurge":1,"maxUnavailable":0}"#,
    )
    .await;
    let before = pods(world).await;
    set_image(world, "nginx:1.19.9").await;
    settled(world).await;
    let after = pods(world).await;
    assert_eq!(after.len(), 3);
    for (old, new) in before.iter().zip(&after) {
        assert_ne!(old.uid, new.uid);
    }
    assert_eq!(versions(world).await, "999");
}

/// Whoever names a kind that has nothing of the name hears of the other, and whoever holds what does not roll out of the patch
/// that makes it.
async fn is_told_apart(world: &World) {
    let said = world.pitstop(&["status", "ds/agent"]).await;
    assert_eq!(said.status.code(), Some(4), "{}", said.stderr);
    assert!(
        said.stderr.ends_with("hint: there is ads/agent\n"),
        "{}",
        said.stderr
    );
    let said = world.pitstop(&["status", "ads"]).await;
    assert!(
        said.stderr.contains("\"ads\" is a kind; write ads/NAME"),
        "{}",
        said.stderr
    );
    let json: Value =
        serde_json::from_str(&world.pitstop_ok(&["status", "ads/agent", "-o", "json"]).await).unwrap();
    assert_eq!(json["items"][0]["apiVersion"], "apps.kruise.io/v1beta1");
    let shown = world
        .pitstop_ok(&["history", "ads/agent", "--revision", "2"])
        .await;
    assert!(
        shown.starts_with(&format!("{SET} with revision #2\n")) && shown.contains("image: nginx:1.19.5"),
        "{shown}"
    );
    let on_delete = r#"{"spec":{"updateStrategy":{"type":"OnDelete"}}}"#;
    world
        .kubectl(&["patch", SET, "--type=merge", "-p", on_delete])
        .await;
    for arguments in [
        &["pause", "ads/agent"][..],
        &["set-partition", "ads/agent", "1"],
        &["canary", "start", "ads/agent", "--nodes", "ring=canary"],
    ] {
        let said = world.pitstop(arguments).await;
        assert_eq!(said.status.code(), Some(2), "{arguments:?}: {}", said.stderr);
        assert!(
            said.stderr.contains("nothing to hold"),
            "{arguments:?}: {}",
            said.stderr
        );
    }
    let said = world.pitstop(&["pause", "ads/agent", "--convert"]).await;
    assert!(
        said.status.code() == Some(2) && said.stderr.contains("--convert"),
        "{}",
        said.stderr
    );
    let said = world.pitstop(&["pause", "ads/agent"]).await;
    let (_, patch) = said.stderr.split_once("--type merge -p '").unwrap();
    let patch = patch.split_once('\'').unwrap().0;
    world.kubectl(&["patch", SET, "--type=merge", "-p", patch]).await;
    let said = world.pitstop_ok(&["resume", "ads/agent"]).await;
    assert_eq!(said, format!("{SET} resumed\n"), "it was paused");
}

/// D18, D1: what cannot be is refused, with the field and the words of upstream.
async fn refuses(world: &World) {
    let rolling = r#"{"spec":{"updateStrategy":{"rollingUpdate":{
        "rollingUpdateType":"InPlaceIfPossible","maxSurge":1,"maxUnavailable":0}}}}"#;
    let selector = r#"{"spec":{"selector":{"matchLabels":{"app":"other"}}}}"#;
    for (patch, words) in [
        (
            rolling,
            "spec.updateStrategy.rollingUpdate.maxSurge: Required value: must be 0 for InPlaceIfPossible type",
        ),
        (
            selector,
            "updates to daemonset spec for fields other than 'BurstReplicas', 'template', 'lifecycle', 'scaleStrategy'",
        ),
    ] {
        let said = world
            .kubectl_any(&["patch", SET, "--type=merge", "-p", patch])
            .await;
        assert!(
            !said.status.success() && said.stderr.contains(words),
            "{}",
            said.stderr
        );
    }
}
