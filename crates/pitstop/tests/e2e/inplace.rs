//! Seed 004: the image of a CloneSet changes, and its pods stay: same name, uid, node and address.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::cloneset::{FIRST, SECOND};
use crate::world::{World, kubectl_is_there, words};

pub(crate) const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
/// `minReadySeconds` of the second manifest, and what it is here: this test does not wait for minutes.
const MIN_READY: (&str, &str) = ("minReadySeconds: 30", "minReadySeconds: 2");

#[tokio::test(flavor = "multi_thread")]
async fn seed_004_the_container_restarts_and_the_pod_stays() {
    if kubectl_is_there() {
        let world = World::embedded(&NODES, None).await;
        story(&world).await;
        world.stop().await;
    }
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
pub(crate) async fn story(world: &World) {
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

    world.apply(&SECOND.replace(MIN_READY.0, MIN_READY.1)).await;
    until(world, "observedGeneration", "2").await;
    until(world, "updatedAvailableReplicas", "4").await;
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
            apart >= SignedDuration::from_secs(2),
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
