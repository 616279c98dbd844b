//! Seed 001, first half, step by step: two nodes lose their network during an upgrade and catch up when they return.

use crate::world::{World, is_pod_name, kubectl_is_there, squeezed, words};

pub(crate) const CONTROL_PLANE: &str = "openyurt-e2e-test-control-plane";
pub(crate) const WORKERS: [&str; 3] = [
    "openyurt-e2e-test-worker",
    "openyurt-e2e-test-worker2",
    "openyurt-e2e-test-worker3",
];

const MANIFEST: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: nginx-daemonset
  annotations:
    apps.openyurt.io/update-strategy: auto
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

/// One line of `kubectl get pods -o wide`: pod, node.
async fn pods(world: &World) -> Vec<(String, String)> {
    let said = world
        .kubectl(&["get", "pods", "-o", "wide", "--no-headers", "-l", "app=nginx"])
        .await;
    let mut pods: Vec<(String, String)> = words(&said)
        .into_iter()
        .map(|line| {
            assert!(is_pod_name(line[0], "nginx-daemonset"), "{line:?}");
            (line[6].to_owned(), line[0].to_owned())
        })
        .collect();
    pods.sort();
    pods
}

#[tokio::test(flavor = "multi_thread")]
async fn seed_001_nodes_that_are_away_are_passed_over_and_catch_up() {
    if !kubectl_is_there() {
        return;
    }
    seed_001(World::given(&WORKERS, Some(CONTROL_PLANE)).await).await;
}

/// The story, on any cluster.
pub(crate) async fn seed_001(world: World) {
    // Create daemonset instance, get its pods.
    assert_eq!(
        world.apply(MANIFEST).await,
        "daemonset.apps/nginx-daemonset created\n"
    );
    world
        .kubectl(&[
            "wait",
            "--for=jsonpath={.status.numberAvailable}=3",
            "ds/nginx-daemonset",
            "--timeout=60s",
        ])
        .await;
    let at_first = pods(&world).await;
    let on: Vec<&str> = at_first.iter().map(|(node, _)| node.as_str()).collect();
    assert_eq!(on, WORKERS, "one pod on each worker, none on the control plane");

    disconnect(&world).await;
    let frozen = upgrade_while_away(&world, &at_first).await;
    reconnect(&world, &frozen).await;
    world.kubectl(&["delete", "ds", "nginx-daemonset"]).await;
    world.stop().await;
}

/// Simulate cloud-edge network disconnection.
async fn disconnect(world: &World) {
    let network = "sim.pitstop.io/network=disconnected";
    let said = world
        .kubectl(&["annotate", "--overwrite", "node", WORKERS[1], WORKERS[2], network])
        .await;
    assert_eq!(said.lines().count(), 2, "{said}");
    for node in &WORKERS[1..] {
        let node = format!("node/{node}");
        world
            .kubectl(&["wait", "--for=condition=Ready=Unknown", &node, "--timeout=90s"])
            .await;
    }
    let said = world.kubectl(&["get", "nodes", "-o", "wide"]).await;
    let lines = words(&said);
    let states: Vec<(&str, &str, &str)> = lines[1..]
        .iter()
        .filter(|line| line[0].starts_with("openyurt-e2e-test-"))
        .map(|line| (line[0], line[1], line[2]))
        .collect();
    assert_eq!(
        states,
        [
            (CONTROL_PLANE, "Ready", "control-plane"),
            (WORKERS[0], "Ready", "<none>"),
            (WORKERS[1], "NotReady", "<none>"),
            (WORKERS[2], "NotReady", "<none>"),
        ]
    );
    // Both taints, so the numbers are those of a real cluster. They are counted when the DaemonSet is looked at
    // next: a taint alone does not make kube-controller-manager 1.34 do that (`syncNodeUpdate`).
    let taint =
        r#"--for=jsonpath={.spec.taints[?(@.effect=="NoSchedule")].key}=node.kubernetes.io/unreachable"#;
    world
        .kubectl(&["wait", taint, "node", WORKERS[1], WORKERS[2], "--timeout=60s"])
        .await;
}

/// Update daemonset: the pods on the two disconnected nodes are not upgraded for the time being.
async fn upgrade_while_away(world: &World, at_first: &[(String, String)]) -> Vec<(String, String)> {
    let said = world
        .kubectl(&["set", "image", "ds/nginx-daemonset", "nginx=nginx:1.19.5"])
        .await;
    assert_eq!(said, "daemonset.apps/nginx-daemonset image updated\n");
    let said = world
        .pitstop_ok(&[
            "status",
            "ds/nginx-daemonset",
            "--wait",
            "reachable",
            "--timeout",
            "60s",
        ])
        .await;
    assert_eq!(
        said,
        "daemonset.apps/nginx-daemonset: updated 1 of 3, waiting for 2 not-ready nodes: \
         openyurt-e2e-test-worker2, openyurt-e2e-test-worker3\n"
    );
    let now = pods(world).await;
    assert_ne!(
        now[0], at_first[0],
        "the pod on the worker that answers is a new one"
    );
    assert_eq!(now[1..], at_first[1..], "the pods on the disconnected nodes stay");

    let said = world.pitstop_ok(&["why", &format!("pod/{}", now[1].1)]).await;
    assert!(
        said.starts_with(&format!("pod/{} waits (NodeNotReady): ", now[1].1)),
        "{said}"
    );
    let said = world
        .kubectl_any(&["rollout", "status", "ds/nginx-daemonset"])
        .await;
    assert!(
        said.stderr
            .contains("rollout status is only available for RollingUpdate strategy type")
    );
    now
}

/// Restore the network: the pods on all nodes are upgraded, without anyone acting.
async fn reconnect(world: &World, frozen: &[(String, String)]) {
    let network = "sim.pitstop.io/network=connected";
    world
        .kubectl(&["annotate", "--overwrite", "node", WORKERS[1], WORKERS[2], network])
        .await;
    for node in &WORKERS[1..] {
        let node = format!("node/{node}");
        world
            .kubectl(&["wait", "--for=condition=Ready", &node, "--timeout=90s"])
            .await;
    }
    let said = world
        .pitstop_ok(&[
            "status",
            "ds/nginx-daemonset",
            "--wait",
            "all",
            "--timeout",
            "90s",
        ])
        .await;
    assert_eq!(said, "daemonset.apps/nginx-daemonset: updated 3 of 3, done\n");
    let last = pods(world).await;
    assert_eq!(last[0], frozen[0], "the upgraded pod is not touched again");
    assert_ne!(last[1], frozen[1]);
    assert_ne!(last[2], frozen[2]);
    for (_, pod) in &last {
        let said = world.kubectl(&["describe", "pod", pod]).await;
        let lines: Vec<String> = said.lines().map(squeezed).collect();
        for want in [
            "Image: nginx:1.19.5",
            "State: Running",
            "Ready: True",
            "Restart Count: 0",
        ] {
            assert!(
                lines.iter().any(|line| line == want),
                "{want} is missing:\n{said}"
            );
        }
        assert!(said.contains("docker.io/library/nginx@sha256:"), "{said}");
    }
}
