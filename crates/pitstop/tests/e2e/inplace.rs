//! Seed 004: the image of a CloneSet changes, and its pods stay: same name, uid, node and address.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::real::site::eventually;
use crate::seed_004::{FIRST, SECOND};
use crate::world::{Server, World, kubectl_is_there, words};

pub(crate) const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
/// `minReadySeconds` of the second manifest. Units: seconds.
pub(crate) const MIN_READY: u32 = 30;
/// What it is on the embedded cluster: that test does not wait for minutes. Under virtual time the simulation plays it as it
/// is written.
const MIN_READY_HERE: u32 = 2;

#[tokio::test(flavor = "multi_thread")]
async fn seed_004_the_container_restarts_and_the_pod_stays() {
    if kubectl_is_there() {
        let world = World::embedded(&NODES, None).await;
        story(&world, MIN_READY_HERE).await;
        world.stop().await;
    }
}

/// Seed 004, section 2: with a grace period a pod leaves its service before its container restarts; the three policies;
/// and as many new pods at once as may be unavailable.
#[tokio::test(flavor = "multi_thread")]
async fn seed_004_grace_period_policies_and_limits() {
    if !kubectl_is_there() {
        return;
    }
    let world = World::embedded(&NODES, None).await;
    policies_and_limits(&world).await;
    resizes(&world).await;
    says_that_a_node_is_away(&world).await;
    world.stop().await;
}

/// cloneset.md 18.22: with the gate on, raising `partition` takes updated pods back; those who ask what would be decided are
/// told of the gate by the lease of the controllers.
#[tokio::test(flavor = "multi_thread")]
async fn partition_rolls_back_where_its_gate_is_on() {
    let gates = "CloneSetPartitionRollback=true";
    let Some(world) = World::with_gates(Server::Embedded, &NODES, gates).await else {
        return;
    };
    let strategy = |partition: u32| format!("{{type: InPlaceIfPossible, partition: {partition}}}");
    world.apply(&web(2, "nginx:1.19.4", &strategy(2))).await;
    all_are(&world, "readyReplicas", 2).await;
    world.apply(&web(2, "nginx:1.19.5", &strategy(1))).await;
    all_are(&world, "updatedReadyReplicas", 1).await;
    let snapshot = world.pitstop_ok(&["snapshot", "clone/web"]).await;
    let snapshot: Value = serde_json::from_str(&snapshot).unwrap();
    assert_eq!(snapshot["featureGates"], gates);
    world.pitstop_ok(&["set-partition", "clone/web", "2"]).await;
    all_are(&world, "updatedReplicas", 0).await;
    all_are(&world, "readyReplicas", 2).await;
    let images = "jsonpath={.items[*].spec.containers[0].image}";
    let images = world
        .kubectl(&["get", "pods", "-l", "app=web", "-o", images])
        .await;
    assert_eq!(images, "nginx:1.19.4 nginx:1.19.4");
    world.stop().await;
}

/// A template that pods cannot take while they run, under the policy that replaces none: going back is refused, and the hint
/// says what works.
#[tokio::test(flavor = "multi_thread")]
async fn in_place_only_has_a_way_back_from_what_no_pod_can_take() {
    if !kubectl_is_there() {
        return;
    }
    let world = World::embedded(&NODES[..1], None).await;
    world.apply(&web(1, "nginx:1.19.4", "{type: ReCreate}")).await;
    all_are(&world, "readyReplicas", 1).await;
    let (pod, ..) = the_pod(&world).await;
    let with_volume = |strategy: &str| {
        web(1, "nginx:1.19.4", strategy)
            .replace("spec: {containers:", "spec: {volumes: [{name: v}], containers:")
    };
    world.apply(&with_volume("{type: ReCreate, paused: true}")).await;
    world.apply(&with_volume("{type: InPlaceOnly}")).await;
    let stuck = "find Pod ";
    eventually("the pod cannot take it", || async {
        let said = world
            .kubectl(&["get", "clone", "web", "-o", "jsonpath={.status.conditions}"])
            .await;
        said.contains(stuck) && said.contains("update strategy is InPlaceOnly but can not update in-place")
    })
    .await;

    let refused = world.pitstop(&["undo", "clone/web"]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("for InPlaceOnly, but found remove /volumes"),
        "{}",
        refused.stderr
    );
    let hints: Vec<&str> = refused.stderr.split('`').skip(1).step_by(2).collect();
    for hint in &hints {
        let words: Vec<&str> = hint
            .split_whitespace()
            .map(|word| word.trim_matches('\''))
            .collect();
        match words.as_slice() {
            ["kubectl", rest @ ..] => drop(world.kubectl(rest).await),
            ["pitstop", rest @ ..] => drop(world.pitstop_ok(rest).await),
            _ => panic!("{hint} is no command"),
        }
    }
    assert_eq!(hints.len(), 6, "{}", refused.stderr);
    all_are(&world, "updatedReadyReplicas", 1).await;
    assert_eq!(
        the_pod(&world).await,
        (pod, "nginx:1.19.4".to_owned(), "0".to_owned())
    );
    let policy = "jsonpath={.spec.updateStrategy.rollingUpdate.podUpdatePolicy}";
    assert_eq!(
        world.kubectl(&["get", "clone", "web", "-o", policy]).await,
        "InPlaceOnly"
    );
    world.stop().await;
}

/// A CloneSet of one pod on this node, whose container reads an annotation of its pod.
fn reader(name: &str, node: &str, version: &str) -> String {
    let field = |variable: &str, path: &str| {
        format!("{{name: {variable}, valueFrom: {{fieldRef: {{fieldPath: \"{path}\"}}}}}}")
    };
    let env = [
        field("VERSION", "metadata.annotations['version']"),
        field("APP", "metadata.labels['app']"),
        field("NAME", "metadata.name"),
        field("SPACE", "metadata.namespace"),
        field("ID", "metadata.uid"),
        field("NODE", "spec.nodeName"),
        field("ACCOUNT", "spec.serviceAccountName"),
        field("ADDRESS", "status.podIP"),
        field("HOST", "status.hostIP"),
    ]
    .join(", ");
    format!(
        "apiVersion: apps.kruise.io/v1beta1\nkind: CloneSet\nmetadata: {{name: {name}}}\nspec:\n  replicas: 1\n  selector: \
         {{matchLabels: {{app: {name}}}}}\n  updateStrategy: {{rollingUpdate: {{podUpdatePolicy: InPlaceIfPossible}}}}\n  \
         template:\n    metadata: {{labels: {{app: {name}}}, annotations: {{version: {version}}}}}\n    spec:\n      \
         nodeSelector: {{kubernetes.io/hostname: {node}}}\n      containers:\n      - {{name: app, image: 'nginx:1.19.4', env: \
         [{env}]}}\n"
    )
}

/// inplace.md 2.3, 6.3, 13.8: a container that reads an annotation is restarted in place when it changes, where its node has
/// an agent; where it has none, another pod takes its place.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_container_reads_of_its_pod_changes_in_place() {
    if !kubectl_is_there() {
        return;
    }
    let nodes = ["node-1", "node-2"];
    let world = World::embedded(&nodes, None).await;
    world
        .kubectl(&["annotate", "node", "node-2", "sim.pitstop.io/no-agents=true"])
        .await;
    let pod = async |name: &str| -> Value {
        let selector = format!("app={name}");
        let said = world
            .kubectl(&["get", "pods", "-l", &selector, "-o", "json"])
            .await;
        serde_json::from_str::<Value>(&said).unwrap()["items"][0].take()
    };
    let is_at = async |name: &str, version: &str, within: &str| {
        world
            .apply(&reader(
                name,
                if name == "reader" { nodes[0] } else { nodes[1] },
                version,
            ))
            .await;
        let (object, within) = (format!("clone/{name}"), format!("--timeout={within}"));
        for wanted in [
            "--for=jsonpath={.status.observedGeneration}=".to_owned()
                + if version == "one" { "1" } else { "2" },
            "--for=jsonpath={.status.updatedReadyReplicas}=1".to_owned(),
        ] {
            world.kubectl(&["wait", &wanted, &object, &within]).await;
        }
        pod(name).await
    };
    let deaf = is_at("deaf", "one", "60s").await;
    let before = is_at("reader", "one", "60s").await;
    let name = before["metadata"]["name"].as_str().unwrap();
    let shows = async |variable: &str| {
        let said = world.kubectl(&["exec", name, "--", "printenv", variable]).await;
        said.trim_end().to_owned()
    };
    for (variable, pointer) in [
        ("APP", "/metadata/labels/app"),
        ("NAME", "/metadata/name"),
        ("SPACE", "/metadata/namespace"),
        ("ID", "/metadata/uid"),
        ("NODE", "/spec/nodeName"),
        ("ACCOUNT", "/spec/serviceAccountName"),
        ("ADDRESS", "/status/podIP"),
        ("HOST", "/status/hostIP"),
    ] {
        let want = before
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default();
        assert_eq!(shows(variable).await, want, "{variable}");
    }
    assert_eq!(shows("VERSION").await, "one");

    let report = "/metadata/annotations/apps.kruise.io~1runtime-containers-meta";
    let reported = |pod: &Value| pod.pointer(report).is_some();
    eventually("its agent tells what runs", || async {
        reported(&pod("reader").await)
    })
    .await;
    let after = is_at("reader", "two", "60s").await;
    assert_eq!(
        after["metadata"]["uid"], before["metadata"]["uid"],
        "the pod stays"
    );
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 1);
    assert_eq!(shows("VERSION").await, "two");

    assert!(!reported(&pod("deaf").await), "no agent tells anything");
    let replaced = is_at("deaf", "two", "150s").await;
    assert_ne!(replaced["metadata"]["uid"], deaf["metadata"]["uid"]);
    world.stop().await;
}

/// The parts of section 2, one after the other.
pub(crate) async fn policies_and_limits(world: &World) {
    leaves_its_service_first(world).await;
    in_place_only_never_replaces(world).await;
    goes_back_from_an_image_that_is_not_there(world).await;
    recreate_replaces(world).await;
    scales_as_far_as_pods_may_be_unavailable(world).await;
}

/// A CloneSet named `web` behind a service, with this strategy.
fn web(replicas: u32, image: &str, strategy: &str) -> String {
    format!(
        "apiVersion: apps.kruise.io/v1alpha1\nkind: CloneSet\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n  \
         selector: {{matchLabels: {{app: web}}}}\n  updateStrategy: {strategy}\n  template:\n    metadata: {{labels: {{app: \
         web}}}}\n    spec: {{containers: [{{name: nginx, image: '{image}', ports: [{{containerPort: 80}}]}}]}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}\n"
    )
}

async fn all_are(world: &World, field: &str, n: u32) {
    let wanted = format!("--for=jsonpath={{.status.{field}}}={n}");
    world
        .kubectl(&["wait", &wanted, "clone/web", "--timeout=60s"])
        .await;
}

/// Name and uid, image, and restarts of the only pod.
async fn the_pod(world: &World) -> (String, String, String) {
    let path = "jsonpath={.items[*].metadata.name}/{.items[*].metadata.uid} {.items[*].spec.containers[0].image} \
                {.items[*].status.containerStatuses[0].restartCount}";
    let said = world.kubectl(&["get", "pods", "-l", "app=web", "-o", path]).await;
    let words: Vec<&str> = said.split_whitespace().collect();
    (words[0].to_owned(), words[1].to_owned(), words[2].to_owned())
}

async fn leaves_its_service_first(world: &World) {
    let strategy = "{type: InPlaceIfPossible, inPlaceUpdateStrategy: {gracePeriodSeconds: 4}}";
    world.apply(&web(1, "nginx:1.19.4", strategy)).await;
    all_are(world, "readyReplicas", 1).await;
    let slice = [
        "wait",
        "endpointslices",
        "-l",
        "kubernetes.io/service-name=web",
        "--timeout=60s",
    ];
    let serves = async |ready: &str| {
        let wanted = format!("--for=jsonpath={{.endpoints[0].conditions.ready}}={ready}");
        world.kubectl(&[&slice[..], &[&wanted]].concat()).await;
    };
    serves("true").await;
    let (pod, ..) = the_pod(world).await;
    world.apply(&web(1, "nginx:1.19.5", strategy)).await;
    serves("false").await;
    let during = the_pod(world).await;
    assert_eq!(
        during,
        (pod.clone(), "nginx:1.19.4".to_owned(), "0".to_owned()),
        "its containers are as they were when it has left"
    );
    all_are(world, "updatedReadyReplicas", 1).await;
    assert_eq!(
        the_pod(world).await,
        (pod, "nginx:1.19.5".to_owned(), "1".to_owned())
    );
    serves("true").await;
}

async fn in_place_only_never_replaces(world: &World) {
    let strategy = "{type: InPlaceOnly}";
    let (pod, ..) = the_pod(world).await;
    world.apply(&web(1, "nginx:1.21.1", strategy)).await;
    all_are(world, "observedGeneration", 3).await;
    all_are(world, "updatedReadyReplicas", 1).await;
    let (same, image, _) = the_pod(world).await;
    assert_eq!((same, image.as_str()), (pod, "nginx:1.21.1"));
    let more = web(1, "nginx:1.21.1", strategy).replace("containerPort: 80", "containerPort: 81");
    let said = world.kubectl_with(&["apply", "-f", "-"], &more).await;
    assert!(
        said.stderr
            .contains("only allowed to update images in spec for InPlaceOnly"),
        "{}",
        said.stderr
    );
}

async fn recreate_replaces(world: &World) {
    let (pod, ..) = the_pod(world).await;
    world.apply(&web(1, "nginx:1.25.1", "{type: ReCreate}")).await;
    let (name, _) = pod.split_once('/').unwrap();
    world
        .kubectl(&["wait", "--for=delete", &format!("pod/{name}"), "--timeout=60s"])
        .await;
    all_are(world, "updatedReadyReplicas", 1).await;
    let (other, image, restarts) = the_pod(world).await;
    assert_ne!(other, pod);
    assert_eq!((image.as_str(), restarts.as_str()), ("nginx:1.25.1", "0"));
}

async fn scales_as_far_as_pods_may_be_unavailable(world: &World) {
    let limit = r#"{"spec":{"replicas":4,"scaleStrategy":{"maxUnavailable":1}}}"#;
    world
        .kubectl(&["patch", "clone", "web", "--type=merge", "-p", limit])
        .await;
    all_are(world, "readyReplicas", 4).await;
    let events = world
        .kubectl(&[
            "get",
            "events",
            "--field-selector=reason=ScaleUpLimited",
            "--no-headers",
        ])
        .await;
    assert!(
        events.contains("scaleUp is limited because of scaleStrategy.maxUnavailable, limit: 1"),
        "{events}"
    );
    let made = "jsonpath={range .items[*]}{.metadata.creationTimestamp} {.status.conditions[?(@.type==\"Ready\")].lastTransitionTime}{\"\\n\"}{end}";
    let said = world.kubectl(&["get", "pods", "-l", "app=web", "-o", made]).await;
    let mut lives: Vec<Vec<Timestamp>> = words(&said)
        .iter()
        .map(|line| line.iter().map(|at| at.parse().unwrap()).collect())
        .collect();
    lives.sort();
    for pair in lives.windows(2) {
        assert!(
            pair[1][0] >= pair[0][1],
            "the next is made when the one before serves: {said}"
        );
    }
    world.kubectl(&["delete", "clone/web", "svc/web"]).await;
}

/// What may not change of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    uid: String,
    node: String,
    ip: String,
}

/// The pods of the seed, by name.
async fn pods(world: &World) -> BTreeMap<String, Value> {
    let said = world
        .kubectl(&["get", "pods", "-l", "app=nginxweb1", "-o", "json"])
        .await;
    let list: Value = serde_json::from_str(&said).unwrap();
    let pods = list["items"].as_array().unwrap().iter();
    let alive = pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    alive
        .map(|pod| (pod["metadata"]["name"].as_str().unwrap().to_owned(), pod.clone()))
        .collect()
}

fn identity(pod: &Value) -> Identity {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
    Identity {
        uid: text("/metadata/uid"),
        node: text("/spec/nodeName"),
        ip: text("/status/podIP"),
    }
}

async fn until(world: &World, field: &str, value: &str) {
    let wanted = format!("--for=jsonpath={{.status.{field}}}={value}");
    world
        .kubectl(&["wait", &wanted, "clone/nginxweb1", "--timeout=120s"])
        .await;
}

async fn version(world: &World, pod: &str) -> String {
    let said = world
        .kubectl_any(&["exec", "-it", pod, "--", "nginx", "-v"])
        .await;
    assert!(said.status.success(), "{}", said.stderr);
    format!("{}{}", said.stdout, said.stderr)
}

/// The story of the seed, whichever server keeps it.
pub(crate) async fn story(world: &World, min_ready_seconds: u32) {
    world.apply(FIRST).await;
    until(world, "readyReplicas", "5").await;
    let before = pods(world).await;
    assert_eq!(before.len(), 5);
    for (name, pod) in &before {
        let (owner, id) = name.rsplit_once('-').unwrap();
        assert_eq!((owner, id.len()), ("nginxweb1", 5), "{name}");
        assert_eq!(
            pod["metadata"]["labels"]["apps.kruise.io/cloneset-instance-id"], id,
            "{name}"
        );
        assert_eq!(
            pod["metadata"]["ownerReferences"][0]["kind"], "CloneSet",
            "{name}"
        );
    }
    let said = world.kubectl(&["get", "clonesets"]).await;
    let lines = words(&said);
    assert_eq!(
        lines[0][..6],
        [
            "NAME",
            "DESIRED",
            "UPDATED",
            "UPDATED_READY",
            "UPDATED_AVAILABLE",
            "READY"
        ]
    );
    assert_eq!(lines[1][..6], ["nginxweb1", "5", "5", "5", "5", "5"], "{said}");
    let some = before.keys().next().unwrap();
    let old_version = version(world, some).await;
    assert!(
        old_version.contains("nginx version: nginx/1.27.5"),
        "{old_version}"
    );

    let min_ready = |seconds: u32| format!("minReadySeconds: {seconds}");
    let second = SECOND.replace(&min_ready(MIN_READY), &min_ready(min_ready_seconds));
    assert!(second.contains(&min_ready(min_ready_seconds)), "{second}");
    world.apply(&second).await;
    until(world, "observedGeneration", "2").await;
    // As it is written it takes longer than one command may.
    let first = if min_ready_seconds == MIN_READY { 2 } else { 4 };
    for available in first..=4 {
        until(world, "updatedAvailableReplicas", &available.to_string()).await;
    }
    until(world, "replicas", "4").await;
    let after = pods(world).await;
    assert_eq!(after.len(), 4, "one pod goes");
    let mut started: Vec<Timestamp> = Vec::new();
    for (name, pod) in &after {
        assert_eq!(identity(pod), identity(&before[name]), "{name}");
        assert_eq!(pod["spec"]["containers"][0]["image"], "nginx:latest", "{name}");
        let status = &pod["status"]["containerStatuses"][0];
        assert_eq!(status["restartCount"], 1, "{name}");
        let at = status["state"]["running"]["startedAt"].as_str().unwrap();
        started.push(at.parse().unwrap());
    }
    started.sort_unstable();
    for pair in started.windows(2) {
        let apart = pair[1].duration_since(pair[0]);
        assert!(
            apart >= SignedDuration::from_secs(min_ready_seconds.into()),
            "one at a time: {started:?}"
        );
    }
    let new_version = version(world, after.keys().next().unwrap()).await;
    assert!(
        new_version.contains("nginx version: nginx/1.29.3"),
        "{new_version}"
    );
    let events = world
        .kubectl(&[
            "get",
            "events",
            "--field-selector=reason=SuccessfulUpdatePodInPlace",
            "--no-headers",
        ])
        .await;
    assert!(events.contains("in-place(revision nginxweb1-"), "{events}");

    world.kubectl(&["delete", "clone", "nginxweb1"]).await;
    world
        .kubectl(&[
            "wait",
            "--for=delete",
            "pods",
            "-l",
            "app=nginxweb1",
            "--timeout=60s",
        ])
        .await;
}

/// users.md W10: the old image comes back while the new one cannot be pulled.
async fn goes_back_from_an_image_that_is_not_there(world: &World) {
    let strategy = "{type: InPlaceIfPossible}";
    let (pod, image, restarts) = the_pod(world).await;
    world.apply(&web(1, "bad/nginx:1", strategy)).await;
    let waits = "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff";
    let name = format!("pod/{}", pod.split('/').next().unwrap());
    world.kubectl(&["wait", waits, &name, "--timeout=60s"]).await;
    // 13.13: told where a user looks, and over when it is over.
    let failed = "--for=condition=FailedUpdate=";
    world
        .kubectl(&["wait", &format!("{failed}True"), "clone/web", "--timeout=60s"])
        .await;
    let told = world.kubectl(&["describe", "clone/web"]).await;
    let event = format!(
        "update of {} in-place does not go on: the new image of container nginx cannot be pulled",
        name.replace('/', " ")
    );
    assert!(told.matches(&event).count() >= 2, "condition and event: {told}");
    world.apply(&web(1, &image, strategy)).await;
    // Restarted: the container of the old image was stopped for the new one.
    let ready = format!("--for=jsonpath={{.status.containerStatuses[0].image}}={image}");
    world.kubectl(&["wait", &ready, &name, "--timeout=60s"]).await;
    world
        .kubectl(&["wait", "--for=condition=Ready", &name, "--timeout=60s"])
        .await;
    all_are(world, "updatedReadyReplicas", 1).await;
    world
        .kubectl(&["wait", &format!("{failed}False"), "clone/web", "--timeout=60s"])
        .await;
    let (same, now, times) = the_pod(world).await;
    assert_eq!((same, now), (pod, image));
    assert_ne!(times, restarts);
}

/// design.md L3: a pod whose node is away during its update waits for the node, and for nothing else.
async fn says_that_a_node_is_away(world: &World) {
    let gone = ["wait", "--for=delete", "pods", "-l", "app=web", "--timeout=60s"];
    world.kubectl_any(&gone).await;
    let policy = "{type: InPlaceOnly}";
    world.apply(&web(1, "nginx:1.19.4", policy)).await;
    all_are(world, "updatedAvailableReplicas", 1).await;
    let path = "jsonpath={.items[0].spec.nodeName}";
    let node = world.kubectl(&["get", "pods", "-l", "app=web", "-o", path]).await;
    world.pitstop_ok(&["node", "disconnect", &node]).await;
    let unknown = ["wait", "--for=condition=Ready=Unknown", "--timeout=60s"];
    world
        .kubectl(&[&unknown[..], &[&format!("node/{node}")]].concat())
        .await;
    world.apply(&web(1, "nginx:1.19.5", policy)).await;
    all_are(world, "updatedReplicas", 1).await;
    let said = world.pitstop_ok(&["why", "clone/web"]).await;
    assert!(said.contains("its node is not ready for "), "{said}");
    assert!(
        said.contains("; the pod counts as unavailable until the node returns"),
        "{said}"
    );
    world.pitstop_ok(&["node", "reconnect", &node]).await;
    all_are(world, "updatedAvailableReplicas", 1).await;
}

/// inplace.md 1.3, 13.9: cpu and memory change while the containers run; what the server refuses leads there by replacement,
/// and so does what the node cannot give.
pub(crate) async fn resizes(world: &World) {
    let manifest = |cpu: &str, memory: &str| {
        let resources = format!("resources: {{requests: {{cpu: {cpu}, memory: {memory}}}}}, ports:");
        // Those of the container come before those of the service.
        web(1, "nginx:1.19.4", "{type: InPlaceIfPossible}").replacen("ports:", &resources, 1)
    };
    // Those of the part before.
    let gone = ["wait", "--for=delete", "pods", "-l", "app=web", "--timeout=60s"];
    world.kubectl_any(&gone).await;
    world.apply(&manifest("100m", "64Mi")).await;
    all_are(world, "updatedAvailableReplicas", 1).await;
    let before = the_pod(world).await;
    world.apply(&manifest("200m", "128Mi")).await;
    let actual = "--for=jsonpath={.status.containerStatuses[0].resources.requests.cpu}=200m";
    let pod = format!("pod/{}", before.0.split('/').next().unwrap());
    world.kubectl(&["wait", actual, &pod, "--timeout=60s"]).await;
    all_are(world, "updatedAvailableReplicas", 1).await;
    assert_eq!(
        the_pod(world).await,
        before,
        "the same pod, and its container was not restarted"
    );

    // Beyond what a node has.
    world.apply(&manifest("9", "128Mi")).await;
    world
        .kubectl(&["wait", "--for=delete", &pod, "--timeout=60s"])
        .await;
    world
        .kubectl(&["delete", "clone/web", "svc/web", "--timeout=60s"])
        .await;
}
