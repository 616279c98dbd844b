//! Claims and volumes on simulated nodes, under virtual time. Source: embedded-cluster.md 16.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "shared/world.rs"]
mod world;

use serde_json::{Value, json};

use crate::world::{PODS, World, condition};

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const VOLUMES: &str = "/api/v1/persistentvolumes";

fn claim(name: &str, class: Option<&str>) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}},
    }})
}

fn pod_with(claim: &str) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {
        "containers": [{"name": "c", "image": "nginx:1"}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
    }})
}

fn phase(object: &Value) -> &str {
    object["status"]["phase"].as_str().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_claim_lives_from_create_to_delete_with_its_pod() {
    let world = World::start(&["n1"]).await;
    world.post(PODS, pod_with("data")).await;
    let waiting = world
        .until(&format!("{PODS}/web"), "unschedulable", |pod| {
            condition(pod, "PodScheduled") == "False"
        })
        .await;
    let message = waiting["status"]["conditions"][0]["message"].as_str().unwrap();
    assert!(
        message.contains(r#"persistentvolumeclaim "data" not found"#),
        "{message}"
    );

    let made = world.post(CLAIMS, claim("data", None)).await;
    assert_eq!(
        made["metadata"]["finalizers"],
        json!(["kubernetes.io/pvc-protection"])
    );
    assert_eq!(phase(&made), "Pending");
    let path = format!("{CLAIMS}/data");
    let bound = world.until(&path, "bound", |claim| phase(claim) == "Bound").await;
    let name = format!("pvc-{}", made["metadata"]["uid"].as_str().unwrap());
    assert_eq!(bound["spec"]["volumeName"], name);
    assert_eq!(bound["status"]["capacity"], json!({"storage": "1Gi"}));
    let volume_path = format!("{VOLUMES}/{name}");
    let volume = world
        .until(&volume_path, "bound", |volume| phase(volume) == "Bound")
        .await;
    assert_eq!(volume["spec"]["claimRef"]["name"], "data");
    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Delete");
    world.until_ready(&format!("{PODS}/web")).await;

    // It stays while the pod uses it, and takes its volume along.
    world.delete(&path, "Background").await;
    tokio::time::sleep(std::time::Duration::from_secs(90)).await;
    assert!(world.get(&path).await["metadata"]["deletionTimestamp"].is_string());
    world.delete(&format!("{PODS}/web"), "Background").await;
    world.until_gone(&path).await;
    world.until_gone(&volume_path).await;
}

#[tokio::test(start_paused = true)]
async fn a_class_may_wait_for_a_pod_and_a_volume_may_be_out_of_reach() {
    let world = World::start(&["n1", "n2"]).await;
    let class = json!({"metadata": {"name": "late"}, "provisioner": "example.com/disk",
        "volumeBindingMode": "WaitForFirstConsumer", "reclaimPolicy": "Retain"});
    world.post("/apis/storage.k8s.io/v1/storageclasses", class).await;
    // A volume that only one node reaches, and that asks for the claim.
    let local = json!({"metadata": {"name": "local"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "5Gi"}, "storageClassName": "late",
        "claimRef": {"namespace": "default", "name": "data"}, "local": {"path": "/disk"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}]}]}},
    }});
    world.post(VOLUMES, local).await;
    world.post(CLAIMS, claim("data", Some("late"))).await;
    world.post(CLAIMS, claim("later", Some("late"))).await;
    world
        .until(&format!("{CLAIMS}/data"), "bound", |claim| {
            phase(claim) == "Bound"
        })
        .await;
    world.post(PODS, pod_with("data")).await;
    let pod = world.until_ready(&format!("{PODS}/web")).await;
    assert_eq!(pod["spec"]["nodeName"], "n2");

    assert_eq!(
        phase(&world.get(&format!("{CLAIMS}/later")).await),
        "Pending",
        "nobody uses it"
    );
    let mut second = pod_with("later");
    second["metadata"]["name"] = json!("second");
    world.post(PODS, second).await;
    let later = world
        .until(&format!("{CLAIMS}/later"), "bound", |claim| {
            phase(claim) == "Bound"
        })
        .await;
    assert!(later["metadata"]["annotations"]["volume.kubernetes.io/selected-node"].is_string());
    // What is retained waits for somebody to look at it.
    let volume = format!("{VOLUMES}/{}", later["spec"]["volumeName"].as_str().unwrap());
    world.delete(&format!("{PODS}/second"), "Background").await;
    world.delete(&format!("{CLAIMS}/later"), "Background").await;
    world
        .until(&volume, "released", |volume| phase(volume) == "Released")
        .await;
}
