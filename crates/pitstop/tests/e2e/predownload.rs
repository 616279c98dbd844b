//! Images are there before the containers that need them restart.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::real::site::eventually;
use crate::world::{Server, World, kubectl_is_there, words};

pub(crate) const NODES: [&str; 4] = ["node-1", "node-2", "node-3", "node-4"];
/// Shipped profile: a pull takes 60 s, which is 6 s where nodes are ten times as fast.
const SLOW: &str = "slow/app:2";
/// What a restart takes at most when its image is there: far less than the pull.
const QUICK: Duration = Duration::from_secs(5);

/// A CloneSet of four pods on four nodes, of which one at a time is updated, and none before `partition` says so.
fn shop(image: &str, partition: u32) -> String {
    format!(
        "apiVersion: apps.kruise.io/v1beta1\nkind: CloneSet\nmetadata: {{name: shop}}\nspec:\n  replicas: 4\n  selector: \
         {{matchLabels: {{app: shop}}}}\n  updateStrategy:\n    type: RollingUpdate\n    rollingUpdate:\n      \
         podUpdatePolicy: InPlaceIfPossible\n      maxUnavailable: 1\n      partition: {partition}\n      \
         inPlaceUpdateStrategy: {{imagePreDownloadParallelism: 4}}\n  template:\n    metadata: {{labels: {{app: shop}}}}\n    \
         spec:\n      containers: [{{name: app, image: '{image}'}}]\n      topologySpreadConstraints:\n      - {{maxSkew: 1, \
         topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {{matchLabels: {{app: \
         shop}}}}}}\n"
    )
}

const BAD: &str = "apiVersion: apps.kruise.io/v1alpha1\nkind: ImagePullJob\nmetadata: {name: broken}\nspec:\n  image: bad/app:1\n  \
                   selector: {names: [node-1, node-2]}\n  parallelism: 2\n  pullPolicy: {backoffLimit: 0}\n";

#[tokio::test(flavor = "multi_thread")]
async fn images_are_pulled_before_containers_restart() {
    if kubectl_is_there() {
        let gate = "PreDownloadImageForInPlaceUpdate=true";
        let Some(world) = World::with_gates(Server::Embedded, &NODES, gate).await else {
            return;
        };
        story(&world).await;
        waits_for_room(&world).await;
        world.kubectl(&["delete", "node", "node-4"]).await;
        eventually("the NodeImage goes with its node", || async {
            let said = world.kubectl_any(&["get", "nodeimage", "node-4"]).await;
            said.stderr.contains("not found")
        })
        .await;
        world.stop().await;
    }
}

/// daemonset.md D2: with the gate on, nodes have the image of a DaemonSet of `apps.kruise.io` before their turn, and the job
/// goes when the rollout is over.
#[tokio::test(flavor = "multi_thread")]
async fn images_of_daemonsets_are_pulled_ahead_where_the_gate_is_on() {
    let gate = "PreDownloadImageForDaemonSetUpdate=true";
    let Some(world) = World::with_gates(Server::Embedded, &NODES, gate).await else {
        return;
    };
    for node in NODES {
        is(&world, &format!("nodeimage/{node}"), ".metadata.name", node).await;
    }
    let agent = |image: &str| {
        format!(
            "apiVersion: apps.kruise.io/v1beta1\nkind: DaemonSet\nmetadata:\n  name: agent\n  annotations: \
             {{apps.kruise.io/image-predownload-parallelism: '4'}}\nspec:\n  selector: {{matchLabels: {{app: agent}}}}\n  \
             template:\n    metadata: {{labels: {{app: agent}}}}\n    spec: {{containers: [{{name: app, image: \
             '{image}'}}]}}\n"
        )
    };
    world.apply(&agent("fast/app:1")).await;
    is(&world, "ads/agent", ".status.numberReady", "4").await;
    let jobs = ["get", "imagepulljobs", "-o", "name"];
    assert_eq!(
        world.kubectl(&jobs).await,
        "",
        "nothing was pulled for the first revision"
    );
    world.apply(&agent(SLOW)).await;
    eventually("there is a job", || async {
        let said = world.kubectl(&jobs).await;
        said.contains("imagepulljob.apps.kruise.io/agent-") && said.trim_end().ends_with("-app")
    })
    .await;
    is(&world, "ads/agent", ".status.updatedNumberScheduled", "4").await;
    is(&world, "ads/agent", ".status.numberReady", "4").await;
    let created = ["get", "events", "--field-selector=reason=CreatedImagePullJob"];
    let said = world.kubectl(&created).await;
    assert!(said.contains("for image: slow/app:2"), "{said}");
    eventually("the job goes", || async { world.kubectl(&jobs).await.is_empty() }).await;
    world.stop().await;
}

async fn is(world: &World, object: &str, path: &str, want: &str) {
    let path = format!("jsonpath={{{path}}}");
    eventually(&format!("{object} {path} is {want}"), || async {
        let said = world.kubectl_any(&["get", object, "-o", &path]).await;
        said.status.success() && said.stdout == want
    })
    .await;
}

async fn pods(world: &World) -> Vec<Value> {
    let said = world
        .kubectl(&["get", "pods", "-l", "app=shop", "-o", "json"])
        .await;
    let list: Value = serde_json::from_str(&said).unwrap();
    list["items"].as_array().unwrap().clone()
}

/// The story, whichever server keeps it.
pub(crate) async fn story(world: &World) {
    for node in NODES {
        is(world, &format!("nodeimage/{node}"), ".metadata.name", node).await;
    }
    let labels = "jsonpath={.metadata.labels.kubernetes\\.io/hostname}";
    let label = world.kubectl(&["get", "nodeimage", "node-1", "-o", labels]).await;
    assert_eq!(label, "node-1", "it has the labels of its node");

    pulls_ahead(world).await;
    tells_what_went_wrong(world).await;
    refuses_what_cannot_be_meant(world).await;
    forgets_what_is_deleted(world).await;
}

/// A slow image comes to the nodes while no pod is touched; then the pods restart at once.
async fn pulls_ahead(world: &World) {
    world.apply(&shop("nginx:1.19.4", 0)).await;
    is(world, "clone/shop", ".status.readyReplicas", "4").await;
    let before = pods(world).await;
    world.apply(&shop(SLOW, 4)).await;
    let listed = || async { world.kubectl(&["get", "imagepulljobs", "--no-headers"]).await };
    eventually("a job appears", || async { listed().await.starts_with("shop-") }).await;
    let said = listed().await;
    let job = format!("imagepulljob/{}", words(&said)[0][0]);
    assert!(job.ends_with("-app"), "{job}");
    is(world, &job, ".status.message", "job has completed").await;
    let table = world.kubectl(&["get", &job]).await;
    let lines = words(&table);
    assert_eq!(
        lines[0],
        ["NAME", "TOTAL", "ACTIVE", "SUCCEED", "FAILED", "AGE", "MESSAGE"]
    );
    assert_eq!(lines[1][1..5], ["4", "0", "4", "0"], "{table}");
    for node in NODES {
        is(world, &format!("nodeimage/{node}"), ".status.succeeded", "1").await;
    }
    for (pod, then) in pods(world).await.iter().zip(&before) {
        assert_eq!(
            pod["status"]["containerStatuses"], then["status"]["containerStatuses"],
            "nothing has restarted"
        );
    }

    let begun_at = Instant::now();
    world.apply(&shop(SLOW, 3)).await;
    is(world, "clone/shop", ".status.updatedReadyReplicas", "1").await;
    let took = begun_at.elapsed();
    assert!(took < QUICK, "{took:?}");
    world.apply(&shop(SLOW, 0)).await;
    is(world, "clone/shop", ".status.updatedReadyReplicas", "4").await;
    eventually("its jobs go when the rollout is over", || async {
        listed().await.is_empty()
    })
    .await;
    let events = world
        .kubectl(&[
            "get",
            "events",
            "--field-selector=reason=CreatedImagePullJob",
            "--no-headers",
        ])
        .await;
    assert!(events.contains(&format!("for image: {SLOW}")), "{events}");
}

/// A job that somebody has written, whose image is not there.
async fn tells_what_went_wrong(world: &World) {
    world.apply(BAD).await;
    is(
        world,
        "imagepulljob/broken",
        ".status.failedNodes",
        "[\"node-1\",\"node-2\"]",
    )
    .await;
    is(
        world,
        "imagepulljob/broken",
        ".status.message",
        "job has completed",
    )
    .await;
    eventually("the nodes say why", || async {
        let told = world.kubectl(&["describe", "imagepulljob", "broken"]).await;
        told.contains("PullImageFailed")
            && told.contains("node-2: Image bad/app:1: rpc error: code = NotFound")
    })
    .await;
    let path = "jsonpath={.status.imageStatuses.bad/app.tags[0].phase}";
    assert_eq!(
        world.kubectl(&["get", "nodeimage", "node-1", "-o", path]).await,
        "Failed"
    );
}

/// inplace.md 13.18: a node that is short of disk says so, and pulls when it has room again.
async fn waits_for_room(world: &World) {
    let annotate = async |mark: &str| world.kubectl(&["annotate", "node", "node-3", mark]).await;
    annotate("sim.pitstop.io/disk-pressure=true").await;
    let condition = ".status.conditions[?(@.type==\"DiskPressure\")].status";
    is(world, "node/node-3", condition, "True").await;
    let job = BAD.replace("bad/app:1", "fast/app:7").replace("broken", "roomy");
    world
        .apply(&job.replace("names: [node-1, node-2]", "names: [node-3]"))
        .await;
    let path = |field: &str| format!(".status.imageStatuses.fast/app.tags[0].{field}");
    let why = "the node is short of disk (DiskPressure); it is pulled when there is room again";
    is(world, "nodeimage/node-3", &path("message"), why).await;
    is(world, "nodeimage/node-3", &path("phase"), "Waiting").await;
    annotate("sim.pitstop.io/disk-pressure-").await;
    is(world, "imagepulljob/roomy", ".status.succeeded", "1").await;
    is(world, "node/node-3", condition, "False").await;
}

async fn refuses_what_cannot_be_meant(world: &World) {
    let both = BAD.replace("parallelism: 2", "podSelector: {matchLabels: {app: shop}}");
    let said = world.kubectl_with(&["apply", "-f", "-"], &both).await;
    assert!(
        said.stderr.contains("spec.podSelector: Forbidden"),
        "{}",
        said.stderr
    );
}

/// With a job goes what it wanted of the nodes.
async fn forgets_what_is_deleted(world: &World) {
    world
        .kubectl(&["delete", "imagepulljob", "broken", "--timeout=60s"])
        .await;
    for node in ["node-1", "node-2"] {
        is(world, &format!("nodeimage/{node}"), ".spec.images.bad/app", "").await;
    }
    world.kubectl(&["delete", "clone", "shop"]).await;
    let gone = ["wait", "--for=delete", "pods", "-l", "app=shop", "--timeout=60s"];
    world.kubectl(&gone).await;
}
