//! `kubectl apply --server-side`, the same commands against both servers. Source: embedded-cluster.md 9.4 and 19.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::real::Plane;
use crate::world::{World, kubectl_is_there};

/// On no node, so that nobody but us writes to it.
const SET: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: applied, namespace: default, labels: {app: applied}}
spec:
  selector: {matchLabels: {app: applied}}
  template:
    metadata: {labels: {app: applied}}
    spec:
      nodeSelector: {no: node}
      containers:
      - {name: main, image: 'main:1', ports: [{containerPort: 80}]}
      - {name: side, image: 'side:1'}
";
const SIDE: &str = "      - {name: side, image: 'side:1'}\n";

struct Kubectl<'a> {
    program: &'a Path,
    kubeconfig: &'a Path,
}

impl Kubectl<'_> {
    /// Exit code, what it said, and what it complained about.
    async fn run(&self, arguments: &[&str], stdin: &str) -> (Option<i32>, String, String) {
        let mut command = Command::new(self.program);
        command.arg("--kubeconfig").arg(self.kubeconfig).args(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(stdin.as_bytes()).await.unwrap();
        drop(input);
        let output = child.wait_with_output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    async fn ok(&self, arguments: &[&str], stdin: &str) -> String {
        let (code, said, complaint) = self.run(arguments, stdin).await;
        assert_eq!(code, Some(0), "kubectl {arguments:?}: {complaint}");
        said
    }

    async fn apply(&self, manifest: &str, more: &[&str]) -> String {
        let arguments = [&["apply", "--server-side", "-f", "-"], more].concat();
        self.ok(&arguments, manifest).await
    }

    async fn object(&self, name: &str) -> Value {
        let said = self
            .ok(&["get", name, "-o", "json", "--show-managed-fields"], "")
            .await;
        serde_json::from_str(&said).unwrap()
    }
}

/// Manager, operation and fields of those that write to the main endpoint.
fn owners(object: &Value) -> Vec<Value> {
    let entries = object["metadata"]["managedFields"].as_array().unwrap().iter();
    let main = entries.filter(|entry| entry.get("subresource").is_none());
    main.map(|entry| json!([entry["manager"], entry["operation"], entry["fieldsV1"]]))
        .collect()
}

async fn story(kubectl: Kubectl<'_>) {
    let applied = "daemonset.apps/applied serverside-applied\n";
    let dry = kubectl.apply(SET, &["--dry-run=server"]).await;
    assert_eq!(
        dry,
        "daemonset.apps/applied serverside-applied (server dry run)\n"
    );
    assert_eq!(kubectl.apply(SET, &[]).await, applied);
    let made = kubectl.object("daemonset/applied").await;
    assert_eq!(kubectl.apply(SET, &[]).await, applied);
    let again = kubectl.object("daemonset/applied").await;
    assert_eq!(again["metadata"]["generation"], made["metadata"]["generation"]);

    // Another manager changes a field: from now on it is a conflict to apply the old one.
    kubectl
        .ok(&["set", "image", "daemonset/applied", "main=main:2"], "")
        .await;
    let (code, _, complaint) = kubectl.run(&["apply", "--server-side", "-f", "-"], SET).await;
    assert_eq!(code, Some(1));
    let conflict = "error: Apply failed with 1 conflict: conflict with \"kubectl-set\" using apps/v1: \
                    .spec.template.spec.containers[name=\"main\"].image\n";
    assert!(complaint.starts_with(conflict), "{complaint}");
    let (code, diff, _) = kubectl
        .run(&["diff", "--server-side", "--force-conflicts", "-f", "-"], SET)
        .await;
    assert_eq!(code, Some(1));
    assert!(
        diff.contains("-      - image: main:2\n+      - image: main:1\n"),
        "{diff}"
    );
    assert_eq!(kubectl.apply(SET, &["--force-conflicts"]).await, applied);

    // What is left out goes.
    assert_eq!(kubectl.apply(&SET.replace(SIDE, ""), &[]).await, applied);
    let object = kubectl.object("daemonset/applied").await;
    let containers = object["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap();
    let names: Vec<&str> = containers.iter().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(names, ["main"]);
    let ports = json!({"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}});
    let main = json!({".": {}, "f:name": {}, "f:image": {}, "f:ports": ports});
    let fields = json!({
        "f:metadata": {"f:labels": {"f:app": {}}},
        "f:spec": {"f:selector": {}, "f:template": {
            "f:metadata": {"f:labels": {"f:app": {}}},
            "f:spec": {"f:nodeSelector": {}, "f:containers": {"k:{\"name\":\"main\"}": main}},
        }},
    });
    assert_eq!(owners(&object), [json!(["kubectl", "Apply", fields])]);
    kubectl.ok(&["delete", "daemonset/applied"], "").await;
}

/// From client-side to server-side apply, without a conflict with oneself.
async fn migration(kubectl: Kubectl<'_>) {
    let map =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: moved, namespace: default}\ndata: {a: '1'}\n";
    kubectl.ok(&["apply", "-f", "-"], map).await;
    let said = kubectl.apply(&map.replace("'1'", "'2'"), &[]).await;
    assert_eq!(said, "configmap/moved serverside-applied\n");
    let object = kubectl.object("configmap/moved").await;
    let last = "kubectl.kubernetes.io/last-applied-configuration";
    let left: Value =
        serde_json::from_str(object["metadata"]["annotations"][last].as_str().unwrap()).unwrap();
    assert_eq!(left["data"], json!({"a": "2"}));
    let annotation = json!({"f:metadata": {"f:annotations": {format!("f:{last}"): {}}}});
    let mut owners = owners(&object);
    owners.sort_by_key(ToString::to_string);
    assert_eq!(
        owners,
        [
            json!(["kubectl", "Apply", {"f:data": {"f:a": {}}}]),
            json!(["kubectl-last-applied", "Apply", annotation]),
        ]
    );
    kubectl.ok(&["delete", "configmap/moved"], "").await;
}

async fn play(program: &Path, kubeconfig: &Path) {
    story(Kubectl { program, kubeconfig }).await;
    migration(Kubectl { program, kubeconfig }).await;
    let kubectl = Kubectl { program, kubeconfig };
    let said = kubectl
        .ok(&["explain", "ds.spec.updateStrategy.rollingUpdate"], "")
        .await;
    assert!(
        said.contains("FIELD: rollingUpdate <RollingUpdateDaemonSet>"),
        "{said}"
    );
    assert!(said.contains("maxUnavailable\t<IntOrString>"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_works_with_ours() {
    if !kubectl_is_there() {
        return;
    }
    let world = World::embedded(&["node-1"], None).await;
    play("kubectl".as_ref(), &world.kubeconfig).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_works_with_a_real_control_plane() {
    let Some(plane) = Plane::take().await else { return };
    play(&plane.kubectl(), &plane.kubeconfig()).await;
    plane.leave();
}
