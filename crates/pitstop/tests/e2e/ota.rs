//! Seeds 000 and 001, second halves: the owner of a node sees that a new version waits and starts the upgrade with one
//! request on the node; and the same with the cloud cut off.

use std::time::Duration;

use serde_json::Value;

use crate::real::Plane;
use crate::world::{World, is_pod_name, kubectl_is_there, words};

const NODES: [&str; 3] = [
    "openyurt-e2e-test-worker",
    "openyurt-e2e-test-worker2",
    "openyurt-e2e-test-worker3",
];

pub(crate) const MANIFEST: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: nginx-daemonset
  annotations:
    apps.openyurt.io/update-strategy: ota
spec:
  selector:
    matchLabels:
      app: nginx
  updateStrategy:
    type: OnDelete
  template:
    metadata:
      labels:
        app: nginx
    spec:
      containers:
      - name: nginx
        image: nginx:1.19.4
";

/// An image with nothing in it but its own program.
const BARE: &str = "nginx:distroless";
/// How long something may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn seed_001_the_owner_of_a_node_starts_the_upgrade() {
    if kubectl_is_there() {
        story(World::with_hubs(&NODES).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn seed_001_the_owner_of_a_node_starts_the_upgrade_on_a_real_control_plane() {
    if !kubectl_is_there() {
        return;
    }
    let Some(plane) = Plane::take().await else { return };
    story(World::real_with_hubs(plane, &NODES).await).await;
}

/// A command on a node, as `docker exec` in the seed.
async fn on_node(world: &World, node: &str, command: &[&str]) -> String {
    world
        .pitstop_ok(&[&["node", "shell", node, "--"], command].concat())
        .await
}

/// `curl -X POST` of the seed, on a node.
async fn post(world: &World, node: &str, pod: &str, action: &str) -> String {
    let url = format!("127.0.0.1:10267/openyurt.io/v1/namespaces/default/pods/{pod}/{action}");
    on_node(world, node, &["curl", "-s", "-X", "POST", &url]).await
}

/// The pod of a node.
async fn pod_on(world: &World, node: &str) -> String {
    let field = format!("--field-selector=spec.nodeName={node}");
    let said = world
        .kubectl(&[
            "get",
            "pods",
            "-l",
            "app=nginx",
            &field,
            "-o",
            "wide",
            "--no-headers",
        ])
        .await;
    let lines = words(&said);
    assert_eq!(lines.len(), 1, "{said}");
    assert!(is_pod_name(lines[0][0], "nginx-daemonset"), "{said}");
    lines[0][0].to_owned()
}

/// Waits until a condition of a pod has this status.
async fn condition(world: &World, pod: &str, kind: &str, status: &str) {
    let wanted = format!("--for=condition={kind}={status}");
    world
        .kubectl(&["wait", &wanted, &format!("pod/{pod}"), "--timeout=90s"])
        .await;
}

/// Waits until a pod is gone and its successor on the node is ready at this image.
async fn replaced(world: &World, node: &str, old: &str, image: &str) -> String {
    world
        .kubectl(&["wait", "--for=delete", &format!("pod/{old}"), "--timeout=90s"])
        .await;
    let all = "--for=jsonpath={.status.numberReady}=3";
    world
        .kubectl(&["wait", all, "ds/nginx-daemonset", "--timeout=90s"])
        .await;
    let new = pod_on(world, node).await;
    assert_ne!(new, old);
    condition(world, &new, "Ready", "True").await;
    assert_eq!(image_of(world, &new).await, image);
    new
}

async fn image_of(world: &World, pod: &str) -> String {
    let path = "jsonpath={.spec.containers[0].image}";
    world.kubectl(&["get", "pod", pod, "-o", path]).await
}

async fn story(world: World) {
    let created = world.apply(MANIFEST).await;
    assert_eq!(created, "daemonset.apps/nginx-daemonset created\n");
    let all = "--for=jsonpath={.status.numberReady}=3";
    world
        .kubectl(&["wait", all, "ds/nginx-daemonset", "--timeout=90s"])
        .await;
    let [first, second, third] = [
        pod_on(&world, NODES[0]).await,
        pod_on(&world, NODES[1]).await,
        pod_on(&world, NODES[2]).await,
    ];
    for pod in [&first, &second, &third] {
        condition(&world, pod, "PodNeedUpgrade", "False").await;
    }

    world
        .kubectl(&["set", "image", "ds/nginx-daemonset", "nginx=nginx:1.19.5"])
        .await;
    for pod in [&first, &second, &third] {
        condition(&world, pod, "PodNeedUpgrade", "True").await;
        assert_eq!(image_of(&world, pod).await, "nginx:1.19.4", "nobody asked for it");
    }
    let said = world.kubectl(&["describe", "pods", &second]).await;
    let line = said.lines().find(|line| line.contains("PodNeedUpgrade")).unwrap();
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>(),
        ["PodNeedUpgrade", "True"]
    );

    its_own_pods_and_no_others(&world, &first, &second).await;
    assert_eq!(
        post(&world, NODES[1], &second, "upgrade").await,
        format!("Start updating pod default/{second}")
    );
    replaced(&world, NODES[1], &second, "nginx:1.19.5").await;
    assert_eq!(pod_on(&world, NODES[0]).await, first);
    assert_eq!(pod_on(&world, NODES[2]).await, third);

    who_has_consented(&world).await;
    images_come_ahead(&world, &first).await;
    cut_off(&world, &third).await;
    world
        .pitstop_ok(&[
            "status",
            "ds/nginx-daemonset",
            "--wait",
            "consented",
            "--timeout",
            "60s",
        ])
        .await;
    world.kubectl(&["delete", "ds", "nginx-daemonset"]).await;
    world.stop().await;
}

/// A3 to A5, B11: what the owner sees.
async fn its_own_pods_and_no_others(world: &World, first: &str, second: &str) {
    let said = on_node(world, NODES[1], &["curl", "-s", "127.0.0.1:10267/pods"]).await;
    let list: Value = serde_json::from_str(&said).unwrap();
    let names: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pod| pod["metadata"]["name"].as_str().unwrap())
        .filter(|name| name.starts_with("nginx"))
        .collect();
    assert_eq!(names, [second]);
    // D3: the rules of nodes hide the pods of others, so that for this hub there is none.
    assert_eq!(
        post(world, NODES[1], first, "upgrade").await,
        format!("Get pod failed, pods \"{first}\" not found")
    );
    let said = world.pitstop_ok(&["ota", "list", "--node", NODES[1]]).await;
    assert!(said.contains(second) && said.contains("upgradable"), "{said}");
    let said = world.pitstop_ok(&["ota", "list", "--fleet"]).await;
    assert!(NODES.iter().all(|node| said.contains(node)), "{said}");
}

/// W18: where the owners have agreed it is done, and elsewhere it is not.
async fn who_has_consented(world: &World) {
    let consented = [
        "status",
        "ds/nginx-daemonset",
        "--wait",
        "consented",
        "--timeout",
        "60s",
    ];
    let said = world.pitstop_ok(&consented).await;
    assert_eq!(
        said,
        "daemonset.apps/nginx-daemonset: updated 1 of 3, 2 waiting for consent\n"
    );
    let all = ["status", "ds/nginx-daemonset", "--wait", "all", "--timeout", "1s"];
    let said = world.pitstop(&all).await;
    assert_eq!(said.status.code(), Some(3), "{}", said.stderr);
    assert!(said.stderr.contains("2 waiting for consent"), "{}", said.stderr);
}

/// A6, C9: the images first, also where an image has no `true` in it.
async fn images_come_ahead(world: &World, pod: &str) {
    let image = |image: &str| format!("nginx={image}");
    world
        .kubectl(&["set", "image", "ds/nginx-daemonset", &image(BARE)])
        .await;
    waits_for(world, pod, BARE).await;
    assert_eq!(
        post(world, NODES[0], pod, "imagepull").await,
        format!("Image pre-pull requested for pod default/{pod}")
    );
    condition(world, pod, "PodImageReady", "True").await;
    let said = world
        .pitstop_ok(&[
            "ota",
            "upgrade",
            pod,
            "--node",
            NODES[0],
            "--wait",
            "--timeout",
            "90s",
        ])
        .await;
    assert_eq!(said, format!("pod/{pod}: Start updating pod default/{pod}\n"));
    replaced(world, NODES[0], pod, BARE).await;
}

/// Waits until the newest revision, which has this image, is the one that waits for a pod.
async fn waits_for(world: &World, pod: &str, image: &str) {
    let path = format!(
        "jsonpath={{.items[?(@.data.spec.template.spec.containers[0].image=='{image}')].metadata.labels.controller-revision-hash}}"
    );
    let deadline = tokio::time::Instant::now() + LIMIT;
    let hash = loop {
        let said = world.kubectl(&["get", "controllerrevisions", "-o", &path]).await;
        if !said.is_empty() {
            break said;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "no revision has image {image}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let wanted = format!(
        "--for=jsonpath={{.status.conditions[?(@.type==\"PodNeedUpgrade\")].message}}=controllerrevision: {hash}"
    );
    world
        .kubectl(&["wait", &wanted, &format!("pod/{pod}"), "--timeout=90s"])
        .await;
}

/// W11, D22, D28, D32: with the cloud cut off the request is kept, and carried out when it can be.
async fn cut_off(world: &World, pod: &str) {
    let node = NODES[2];
    world.pitstop_ok(&["node", "disconnect", node, "--wait"]).await;
    let accepted =
        format!("Upgrade of pod default/{pod} accepted, will start when allowed: Pending/Connection");
    assert_eq!(post(world, node, pod, "upgrade").await, accepted);
    assert_eq!(
        post(world, node, pod, "upgrade").await,
        accepted,
        "the same request"
    );
    assert_eq!(pending(world, node).await.len(), 1);
    let said = world.pitstop_ok(&["ota", "pending", "--fleet"]).await;
    assert_eq!(said, format!("node {node}: unknown, it is cut off\n"));

    let id = pending(world, node).await[0]["id"].as_str().unwrap().to_owned();
    world.pitstop_ok(&["ota", "cancel", &id, "--node", node]).await;
    assert_eq!(pending(world, node).await, [] as [Value; 0]);
    assert_eq!(
        post(world, node, pod, "upgrade").await,
        accepted,
        "it may be asked again"
    );

    world.pitstop_ok(&["node", "reconnect", node]).await;
    replaced(world, node, pod, BARE).await;
    let deadline = tokio::time::Instant::now() + LIMIT;
    while !pending(world, node).await.is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "it is still pending");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn pending(world: &World, node: &str) -> Vec<Value> {
    let said = world
        .pitstop_ok(&["ota", "pending", "--node", node, "-o", "json"])
        .await;
    let report: Value = serde_json::from_str(&said).unwrap();
    report["items"].as_array().unwrap().clone()
}
