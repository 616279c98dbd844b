//! hub.md D16: the owner of a node asks for the update of a CloneSet's pod, which stays and is updated in place.

use crate::world::{World, kubectl_is_there};

const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

fn manifest(image: &str) -> String {
    format!(
        "apiVersion: apps.kruise.io/v1alpha1\nkind: CloneSet\nmetadata:\n  name: web\n  annotations: \
         {{apps.openyurt.io/update-strategy: OTA}}\nspec:\n  replicas: 3\n  selector: {{matchLabels: {{app: web}}}}\n  \
         updateStrategy: {{type: InPlaceIfPossible}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec: \
         {{containers: [{{name: nginx, image: '{image}'}}]}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_node_starts_the_update_of_a_clonesets_pod() {
    if !kubectl_is_there() {
        return;
    }
    let world = World::with_hubs(&NODES).await;
    world.apply(&manifest("nginx:1.19.4")).await;
    all(&world, "pods", "--for=condition=PodNeedUpgrade=False").await;
    all(&world, "clone", "--for=jsonpath={.status.readyReplicas}=3").await;

    world.apply(&manifest("nginx:1.19.5")).await;
    all(&world, "pods", "--for=condition=PodNeedUpgrade=True").await;
    let before = pods(&world).await;
    let is_old = |pod: &&Pod| pod.image == "nginx:1.19.4";
    assert_eq!(
        before.iter().filter(is_old).count(),
        3,
        "nobody asked: {before:?}"
    );

    let Pod { name, node, .. } = &before[1];
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
    let said = world.pitstop_ok(&["why", "clone/web"]).await;
    assert!(said.contains("the owner of its node decides"), "{said}");
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
