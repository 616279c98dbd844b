//! Claims of StatefulSets that grow with their templates, before the pods that use them are updated. Source: statefulset.md 8,
//! 2.4.10.

use serde_json::json;

use crate::stateful::NODES;
use crate::world::{Server, World, on_both_servers};

on_both_servers!(claims_grow_with_their_templates);

const SET: &str = "asts/disks";

/// Two classes, and a volume for each of the claims: nobody makes volumes on the real server.
const STORAGE: &str = "\
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: grows}
provisioner: example.com/disk
allowVolumeExpansion: true
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: fixed}
provisioner: example.com/disk
allowVolumeExpansion: false
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: disk-a}
spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}, storageClassName: grows, hostPath: {path: /tmp/a}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: disk-b}
spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}, storageClassName: grows, hostPath: {path: /tmp/b}}
";

fn manifest(name: &str, replicas: u32, image: &str, class: &str, size: &str) -> String {
    json!({
        "apiVersion": "apps.kruise.io/v1beta1", "kind": "StatefulSet", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": image}]},
            },
            "volumeClaimUpdateStrategy": {"type": "OnPodRollingUpdate"},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": class,
                "resources": {"requests": {"storage": size}},
            }}],
        },
    })
    .to_string()
}

/// Waits until a claim asks for this much, and gives it that on the real server, where no driver does.
async fn resize(world: &World, server: Server, ordinal: u32, size: &str) {
    let claim = format!("pvc/data-disks-{ordinal}");
    let asks = format!("--for=jsonpath={{.spec.resources.requests.storage}}={size}");
    world.kubectl(&["wait", &asks, &claim, "--timeout=60s"]).await;
    if matches!(server, Server::Real) {
        let patch = json!({"status": {"capacity": {"storage": size}}}).to_string();
        world
            .kubectl(&[
                "patch",
                &claim,
                "--subresource=status",
                "--type=merge",
                "-p",
                &patch,
            ])
            .await;
    }
    let has = format!("--for=jsonpath={{.status.capacity.storage}}={size}");
    world.kubectl(&["wait", &has, &claim, "--timeout=60s"]).await;
}

async fn field(world: &World, object: &str, path: &str) -> String {
    let path = format!("jsonpath={{{path}}}");
    world.kubectl(&["get", object, "-o", &path]).await
}

/// Waits until all pods are at the newest revision, and available.
async fn at_rest(world: &World) {
    let generation = field(world, SET, ".metadata.generation").await;
    for wanted in [
        format!("observedGeneration}}={generation}"),
        "updatedReplicas}=2".to_owned(),
        "availableReplicas}=2".to_owned(),
    ] {
        let wanted = format!("--for=jsonpath={{.status.{wanted}");
        world.kubectl(&["wait", &wanted, SET, "--timeout=90s"]).await;
    }
}

async fn uids(world: &World) -> String {
    let path = "jsonpath={.items[*].metadata.uid}";
    world
        .kubectl(&["get", "pods", "-l", "app=disks", "-o", path])
        .await
}

async fn claims_grow_with_their_templates(server: Server) {
    let gates = "StatefulSetAutoResizePVCGate=true";
    let Some(world) = World::with_gates(server, &NODES, gates).await else {
        return;
    };
    world.apply(STORAGE).await;
    world
        .apply(&manifest("disks", 2, "example.com/disks:1", "grows", "1Gi"))
        .await;
    at_rest(&world).await;
    refusals(&world).await;

    // The pod whose turn it is waits for its claim, and the other for its turn.
    let before = uids(&world).await;
    world
        .apply(&manifest("disks", 2, "example.com/disks:2", "grows", "2Gi"))
        .await;
    if matches!(server, Server::Real) {
        let asks = "--for=jsonpath={.spec.resources.requests.storage}=2Gi";
        world
            .kubectl(&["wait", asks, "pvc/data-disks-1", "--timeout=60s"])
            .await;
        assert_eq!(uids(&world).await, before, "its claim is still small");
        let other = field(&world, "pvc/data-disks-0", ".spec.resources.requests.storage").await;
        assert_eq!(other, "1Gi", "one at a time");
    }
    for ordinal in [1, 0] {
        resize(&world, server, ordinal, "2Gi").await;
    }
    at_rest(&world).await;
    let after = uids(&world).await;
    assert!(
        before.split(' ').all(|uid| !after.contains(uid)),
        "{before} {after}"
    );
    let owner = r".metadata.annotations.apps\.kruise\.io/owned-by-asts";
    assert_eq!(field(&world, "pvc/data-disks-1", owner).await, "disks");

    // A claim that grows restarts nobody.
    world
        .apply(&manifest("disks", 2, "example.com/disks:2", "grows", "3Gi"))
        .await;
    for ordinal in [1, 0] {
        resize(&world, server, ordinal, "3Gi").await;
    }
    let told = r#"[{"compatibleReadyReplicas":2,"compatibleReplicas":2,"volumeClaimName":"data"}]"#;
    let wanted = "--for=jsonpath={.status.volumeClaims[0].compatibleReadyReplicas}=2";
    world.kubectl(&["wait", wanted, SET, "--timeout=60s"]).await;
    assert_eq!(field(&world, SET, ".status.volumeClaims").await, told);
    at_rest(&world).await;
    assert_eq!(uids(&world).await, after, "the same pods");
    explained(&world, server).await;
    assert_eq!(uids(&world).await, after, "the same pods");
    let events = [
        "get",
        "events",
        "--field-selector",
        "reason=SuccessfulResize",
        "-o",
    ];
    let events = world
        .kubectl(&[&events[..], &["jsonpath={.items[*].message}"]].concat())
        .await;
    assert!(
        events.contains("resize Claim data-disks-1 Pod disks-1 in StatefulSet disks success"),
        "{events}"
    );
    leave(world).await;
}

/// Whoever asks what would be done, and why pods wait, hears of classes what the controller knows of them.
async fn explained(world: &World, server: Server) {
    let next = |size: &str| manifest("disks", 2, "example.com/disks:2", "grows", size);
    let file = world.folder.path().join("next.json");
    std::fs::write(&file, next("4Gi")).unwrap();
    let planned = world.pitstop_ok(&["plan", "-f", file.to_str().unwrap()]).await;
    assert!(planned.contains("data-disks-1"), "{planned}");
    // A class that says nothing passes the webhook, and lets nothing grow.
    let says = async |expands: &str| {
        let patch = format!("{{\"allowVolumeExpansion\": {expands}}}");
        world
            .kubectl(&["patch", "storageclass", "grows", "--type=merge", "-p", &patch])
            .await;
    };
    says("null").await;
    world.apply(&next("4Gi")).await;
    let why = world.pitstop_ok(&["why", SET]).await;
    let cannot = "storage class \"grows\" of pvc data-disks-1 does not allow volume expansion";
    assert!(why.contains(cannot), "{why}");
    says("true").await;
    // Nobody tells the controller of classes: it looks again every half a minute, or when anything else happens.
    world.kubectl(&["annotate", SET, "example.com/look=again"]).await;
    for ordinal in [1, 0] {
        resize(world, server, ordinal, "4Gi").await;
    }
    at_rest(world).await;
}

/// What upstream's webhook refuses: another class, and another size where the class allows none.
async fn refusals(world: &World) {
    let refused = async |manifest: &str, why: &str| {
        let said = world.kubectl_with(&["apply", "-f", "-"], manifest).await;
        assert!(!said.status.success() && said.stderr.contains(why), "{said:?}");
    };
    refused(
        &manifest("disks", 2, "example.com/disks:1", "fixed", "1Gi"),
        "volumeClaimTemplate can not be modified when OnRollingUpdate",
    )
    .await;
    let fixed = |size: &str| manifest("fixed", 0, "example.com/disks:1", "fixed", size);
    world.apply(&fixed("1Gi")).await;
    refused(
        &fixed("2Gi"),
        "spec.volumeClaimTemplates[data].spec.resources.requests.storage: Forbidden: storage class fixed does not support \
         volume expansion",
    )
    .await;
    // Where claims are left alone, their templates may say anything.
    let on_delete = |size: &str| fixed(size).replace("OnPodRollingUpdate", "OnDelete");
    world.apply(&on_delete("2Gi")).await;
}

async fn leave(world: World) {
    world.kubectl(&["delete", "asts", "--all", "--timeout=60s"]).await;
    let gone = ["wait", "--for=delete", "pods", "-l", "app=disks", "--timeout=60s"];
    world.kubectl(&gone).await;
    world.kubectl(&["delete", "pvc", "--all", "--timeout=60s"]).await;
    world
        .kubectl(&["delete", "pv", "disk-a", "disk-b", "--timeout=60s"])
        .await;
    world.kubectl(&["delete", "storageclass", "grows", "fixed"]).await;
    world.stop_with_kinds().await;
}
