//! Programs that we did not write run unmodified on the embedded API server: the scheduler and the controllers of
//! Kubernetes in place of ours, and kwok.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use crate::control_plane::{missing, programs};
use crate::world::{World, kubectl_is_there};
use crate::{rolling, workloads};

const FLEET: &str = r#"
apiVersion: v1
kind: Node
metadata:
  name: kwok-1
  annotations: {kwok.x-k8s.io/node: fake}
  labels: {type: kwok}
spec: {taints: [{key: kwok.x-k8s.io/node, value: fake, effect: NoSchedule}]}
status:
  allocatable: {cpu: "32", memory: 256Gi, pods: "110"}
  capacity: {cpu: "32", memory: 256Gi, pods: "110"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: fake}
spec:
  replicas: 3
  selector: {matchLabels: {app: fake}}
  template:
    metadata: {labels: {app: fake}}
    spec:
      nodeSelector: {type: kwok}
      tolerations: [{key: kwok.x-k8s.io/node, operator: Exists}]
      containers: [{name: fake, image: fake-image}]
"#;

/// kwok brings up nodes and pods beside our own.
#[tokio::test(flavor = "multi_thread")]
async fn kwok_simulates_nodes() {
    let (true, Some(kwok)) = (kubectl_is_there(), kwok()) else {
        return;
    };
    let world = World::embedded(&["node-1"], None).await;
    let _kwok = Command::new(kwok.join(xtask::kwok::PROGRAM))
        .env_clear()
        .env("HOME", world.folder.path())
        .arg("--kubeconfig")
        .arg(&world.kubeconfig)
        .arg("--config")
        .arg(kwok.join(xtask::kwok::STAGES))
        .args([
            "--manage-all-nodes=false",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            "--node-lease-duration-seconds=40",
            "--server-address=127.0.0.1:0",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    world.apply(FLEET).await;
    world
        .kubectl(&["wait", "node/kwok-1", "--for=condition=Ready", "--timeout=60s"])
        .await;
    world
        .kubectl(&["rollout", "status", "deploy/fake", "--timeout=60s"])
        .await;
    let nodes = [
        "get",
        "pods",
        "-l",
        "app=fake",
        "-o",
        "jsonpath={.items[*].spec.nodeName}",
    ];
    assert_eq!(world.kubectl(&nodes).await, "kwok-1 kwok-1 kwok-1");
    // It says that the pods have ended, as a kubelet does.
    world
        .kubectl(&["delete", "deploy/fake", "--cascade=foreground", "--timeout=60s"])
        .await;
    world.stop().await;
}

/// The folder with kwok. `None`: it was not built on this machine, which was said.
fn kwok() -> Option<PathBuf> {
    let folder = xtask::kwok::cached(&xtask::root()).unwrap();
    if xtask::kwok::is_whole(&folder) {
        return Some(folder);
    }
    missing("kwok, which `cargo xtask kwok` builds");
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn daemonsets_roll_with_the_real_controller_manager_and_scheduler() {
    let (true, Some(programs)) = (kubectl_is_there(), programs()) else {
        return;
    };
    rolling::seed_003(World::of_others(&programs, &rolling::NODES).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_jobs_and_drains_work_with_the_real_controller_manager_and_scheduler() {
    let (true, Some(programs)) = (kubectl_is_there(), programs()) else {
        return;
    };
    workloads::story(World::of_others(&programs, &workloads::NODES).await).await;
}
