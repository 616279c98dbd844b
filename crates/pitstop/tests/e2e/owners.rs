//! hub.md D16, D17: the owner of a node asks for the update of a pod that stays and is updated in place.

use crate::world::{World, kubectl_is_there};

const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

/// A kind whose pods stay.
struct Kind {
    version: &'static str,
    name: &'static str,
    /// By which name kubectl and pitstop know it.
    word: &'static str,
    /// What its spec has beside what all have.
    spec: &'static str,
}

const CLONES: Kind = Kind {
    version: "v1alpha1",
    name: "CloneSet",
    word: "clone",
    spec: "updateStrategy: {type: InPlaceIfPossible}",
};

const STATEFUL: Kind = Kind {
    version: "v1beta1",
    name: "StatefulSet",
    word: "asts",
    spec: "updateStrategy: {rollingUpdate: {podUpdatePolicy: InPlaceIfPossible}}",
};

fn manifest(kind: &Kind, image: &str) -> String {
    let Kind {
        version, name, spec, ..
    } = kind;
    format!(
        "apiVersion: apps.kruise.io/{version}
kind: {name}
metadata:
  name: web
  annotations: {{apps.openyurt.io/update-strategy: OTA}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: web}}}}
  {spec}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      readinessGates: [{{conditionType: InPlaceUpdateReady}}]
      containers: [{{name: nginx, image: '{image}'}}]
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_node_starts_the_update_of_a_clonesets_pod() {
    owners_start_the_update(&CLONES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_node_starts_the_update_of_a_statefulsets_pod() {
    owners_start_the_update(&STATEFUL).await;
}

async fn owners_start_the_update(kind: &Kind) {
    if !kubectl_is_there() {
        return;
    }
    let world = World::with_hubs(&NODES).await;
    world.apply(&manifest(kind, "nginx:1.19.4")).await;
    all(&world, kind.word, "--for=jsonpath={.status.readyReplicas}=3").await;
    all(&world, "pods", "--for=condition=PodNeedUpgrade=False").await;

    world.apply(&manifest(kind, "nginx:1.19.5")).await;
    all(&world, "pods", "--for=condition=PodNeedUpgrade=True").await;
    let before = pods(&world).await;
    let is_old = |pod: &&Pod| pod.image == "nginx:1.19.4";
    assert_eq!(
        before.iter().filter(is_old).count(),
        3,
        "nobody asked: {before:?}"
    );

    let Pod { name, node, .. } = &before[1];
    let plan = "jsonpath={.metadata.annotations['pitstop\\.io/upgrade-plan']}";
    let offered = world.kubectl(&["get", "pod", name, "-o", plan]).await;
    let offered: serde_json::Value = serde_json::from_str(&offered).unwrap();
    assert_eq!(offered["method"], "InPlace");
    assert_eq!(
        offered["images"],
        serde_json::json!([{"container": "nginx", "image": "nginx:1.19.5"}])
    );
    let overview = "127.0.0.1:10267/pitstop/v1/pods";
    let said = world
        .pitstop_ok(&["node", "shell", node, "--", "curl", "-s", overview])
        .await;
    assert!(said.contains(r#""method":"InPlace""#), "the hub knows it: {said}");
    let url = format!("127.0.0.1:10267/openyurt.io/v1/namespaces/default/pods/{name}/upgrade");
    let said = world
        .pitstop_ok(&["node", "shell", node, "--", "curl", "-s", "-X", "POST", &url])
        .await;
    assert_eq!(said, format!("Start updating pod default/{name}"));
    let pod = format!("pod/{name}");
    for condition in [
        "PodNeedUpgrade=False",
        "pitstop.io/UpgradeRequested=False",
        "Ready",
    ] {
        let wanted = format!("--for=condition={condition}");
        world.kubectl(&["wait", &wanted, &pod, "--timeout=60s"]).await;
    }
    let after = pods(&world).await;
    for (was, is) in before.iter().zip(&after) {
        assert_eq!((&was.uid, &was.node), (&is.uid, &is.node), "nothing was deleted");
        let image = if was.name == *name {
            "nginx:1.19.5"
        } else {
            "nginx:1.19.4"
        };
        assert_eq!(is.image, image, "{after:?}");
    }
    let offered = world.kubectl(&["get", "pod", name, "-o", plan]).await;
    assert_eq!(offered, "", "nothing is offered any more");
    let said = world.pitstop_ok(&["why", &format!("{}/web", kind.word)]).await;
    assert!(said.contains("the owner of its node decides"), "{said}");
    // A second time there is nothing to ask for.
    let said = world
        .pitstop_ok(&["node", "shell", node, "--", "curl", "-s", "-X", "POST", &url])
        .await;
    assert!(
        said.ends_with("update status is False, can not be updated"),
        "{said}"
    );
    world.stop().await;
}

#[derive(Debug)]
struct Pod {
    name: String,
    uid: String,
    node: String,
    image: String,
}

async fn pods(world: &World) -> Vec<Pod> {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.spec.nodeName} \
                {.status.containerStatuses[0].image}{\"\\n\"}{end}";
    let said = world.kubectl(&["get", "pods", "-l", "app=web", "-o", path]).await;
    let pod = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let [name, uid, node, image] = [(); 4].map(|()| words.next().unwrap());
        Pod {
            name,
            uid,
            node,
            image,
        }
    };
    said.lines().map(pod).collect()
}

async fn all(world: &World, kind: &str, wanted: &str) {
    let of_web = if kind == "pods" { "-lapp=web" } else { "web" };
    world
        .kubectl(&["wait", wanted, kind, of_web, "--timeout=60s"])
        .await;
}
