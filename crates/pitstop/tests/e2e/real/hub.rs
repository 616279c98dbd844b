//! What a hub may do on a real API server, by each identity that it may have. Source: hub.md B3.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use pitstop::connect::ConnectArgs;
use serde_json::{Value, json};

use crate::background::Background;
use crate::control_plane::{BOOTSTRAP_TOKEN, NODE, NODE_TOKEN};
use crate::ota::MANIFEST;
use crate::real::Plane;
use crate::real::site::eventually;
use crate::real::webhook::{Served, serve};
use crate::world::{Said, World, kubectl_is_there};

const NODES: [&str; 2] = [NODE, "edge-2"];

/// A world in which a new version waits on both nodes; and the pods of the nodes.
async fn waiting(plane: Plane) -> (World, [String; 2]) {
    let world = World::real(plane, "kubectl".into(), &NODES, None).await;
    world.apply(MANIFEST).await;
    let both = "--for=jsonpath={.status.numberReady}=2";
    world
        .kubectl(&["wait", both, "ds/nginx-daemonset", "--timeout=90s"])
        .await;
    world
        .kubectl(&["set", "image", "ds/nginx-daemonset", "nginx=nginx:1.19.5"])
        .await;
    let pods = own_pods(&world).await;
    for pod in &pods {
        let condition = "--for=condition=PodNeedUpgrade=True";
        world
            .kubectl(&["wait", condition, &format!("pod/{pod}"), "--timeout=90s"])
            .await;
    }
    (world, pods)
}

/// The pods of the DaemonSet, by node. Those that an earlier story left on nodes that are gone are none of them.
async fn own_pods(world: &World) -> [String; 2] {
    let uid = world
        .kubectl(&["get", "ds", "nginx-daemonset", "-o", "jsonpath={.metadata.uid}"])
        .await;
    let said = world
        .kubectl(&["get", "pods", "-l", "app=nginx", "-o", "json"])
        .await;
    let list: Value = serde_json::from_str(&said).unwrap();
    NODES.map(|node| {
        let is_own = |pod: &&Value| {
            pod["metadata"]["ownerReferences"][0]["uid"] == uid && pod["spec"]["nodeName"] == node
        };
        let own = list["items"].as_array().unwrap().iter().find(is_own).unwrap();
        own["metadata"]["name"].as_str().unwrap().to_owned()
    })
}

/// Starts `pitstop hub` for a node. Returns where it answers.
async fn hub(folder: &Path, node: &str, more: &[&str]) -> (Background, String) {
    let state = folder.join(node);
    let arguments = [
        "hub",
        "--node-name",
        node,
        "--serve-port",
        "0",
        "--state",
        state.to_str().unwrap(),
    ];
    let mut hub = Background::spawn(
        folder,
        Path::new("/nonexistent"),
        &[&arguments[..], more].concat(),
    );
    let line = hub.next_line().await;
    let address = line.strip_prefix(&format!("hub of node {node} on ")).unwrap();
    (hub, address.to_owned())
}

/// Until the hub knows its pods from where it is told to.
async fn is_connected(address: &str) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let status = curl(&[&format!("{address}/pitstop/v1/status")]).await;
        if status.contains(r#""connected":true"#) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{status}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn curl(arguments: &[&str]) -> String {
    let output = tokio::process::Command::new("curl")
        .arg("-s")
        .args(arguments)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "curl {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn post(address: &str, pod: &str) -> String {
    let url = format!("{address}/openyurt.io/v1/namespaces/default/pods/{pod}/upgrade");
    curl(&["-X", "POST", &url]).await
}

/// kubectl as somebody else.
async fn as_hub(world: &World, kubeconfig: &Path, arguments: &[&str]) -> Said {
    let path = kubeconfig.display().to_string();
    world
        .kubectl_any(&[&["--kubeconfig", &path], arguments].concat())
        .await
}

/// kubectl as somebody else, who must be refused for this reason.
async fn refused(world: &World, kubeconfig: &Path, arguments: &[&str], why: &str) {
    let said = as_hub(world, kubeconfig, arguments).await;
    assert!(
        !said.status.success() && said.stderr.contains(why),
        "{arguments:?}: {}",
        said.stderr
    );
}

async fn is_replaced(world: &World, pod: &str) {
    world
        .kubectl(&["wait", "--for=delete", &format!("pod/{pod}"), "--timeout=90s"])
        .await;
}

async fn end(world: World, hub: Background) {
    hub.stop().await;
    world.kubectl(&["delete", "ds", "nginx-daemonset"]).await;
    world.stop().await;
}

/// B3 `node`: the authorizer of nodes and `NodeRestriction` keep it to its own pods.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_token_of_its_node_it_touches_its_own_pods_and_nothing_else() {
    if !kubectl_is_there() {
        return;
    }
    let Some(plane) = Plane::take().await else { return };
    let kubeconfig = plane.running().write_kubeconfig("a-node", NODE_TOKEN);
    let bootstrap = plane.running().write_kubeconfig("a-machine", BOOTSTRAP_TOKEN);
    let (world, [own, other]) = waiting(plane).await;
    let folder = tempfile::tempdir().unwrap();
    let path = kubeconfig.display().to_string();
    let (first, address) = hub(folder.path(), NODE, &["--kubeconfig", &path]).await;

    eventually("the hub has listed its pods", || async {
        !post(&address, &other).await.ends_with("were never listed")
    })
    .await;
    let hidden = format!("Get pod failed, pods \"{other}\" not found");
    assert_eq!(post(&address, &other).await, hidden, "the authorizer hides it");
    refused(&world, &kubeconfig, &["delete", "pod", &other], "forbidden").await;
    refused(
        &world,
        &kubeconfig,
        &["label", "pod", &own, "mine=1"],
        "forbidden",
    )
    .await;
    refused(&world, &kubeconfig, &["get", "daemonsets"], "forbidden").await;

    assert_eq!(
        post(&address, &own).await,
        format!("Start updating pod default/{own}")
    );
    is_replaced(&world, &own).await;
    let said = curl(&[&format!("{address}/pods")]).await;
    assert!(!said.contains(&other), "{said}");
    world.kubectl(&["get", "pod", &other]).await;
    first.stop().await;

    let second = with_a_certificate_of_its_own(&world, &bootstrap, folder.path(), &other).await;
    end(world, second).await;
}

/// B3 `csr`: the hub of the other node asks for a certificate; somebody approves; it is that node, and no other.
async fn with_a_certificate_of_its_own(
    world: &World,
    bootstrap: &Path,
    folder: &Path,
    other: &str,
) -> Background {
    world
        .kubectl(&[
            "create",
            "clusterrolebinding",
            "nodes-bootstrap",
            "--clusterrole=system:node-bootstrapper",
            "--group=system:bootstrappers",
        ])
        .await;
    let path = bootstrap.display().to_string();
    let (hub, address) = hub(
        folder,
        "edge-2",
        &["--identity", "csr", "--bootstrap-kubeconfig", &path],
    )
    .await;
    let request = format!("{}/{}", "csr", waits_for_approval(world).await);
    let said = post(&address, other).await;
    assert!(said.starts_with("Get pod failed"), "it is not let in yet: {said}");
    world
        .kubectl(&["certificate", "approve", &request["csr/".len()..]])
        .await;
    is_connected(&address).await;
    let status = curl(&[&format!("{address}/pitstop/v1/status")]).await;
    assert!(status.contains(r#""identity":"csr""#), "{status}");
    assert_eq!(
        post(&address, other).await,
        format!("Start updating pod default/{other}")
    );
    is_replaced(world, other).await;
    world
        .kubectl(&["delete", "clusterrolebinding", "nodes-bootstrap"])
        .await;
    world.kubectl(&["delete", &request]).await;
    hub
}

/// The name of the only request for a certificate, once there is one.
async fn waits_for_approval(world: &World) -> String {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let name = "jsonpath={.items[*].metadata.name}";
        let names = world.kubectl(&["get", "csr", "-o", name]).await;
        if !names.is_empty() {
            return names;
        }
        assert!(tokio::time::Instant::now() < deadline, "nothing was asked for");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// B3 `sa`, v1-v3: what `pitstop manifests --hub` prints is enough, and allows nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_account_of_the_daemonset_it_sets_conditions_and_deletes_nothing() {
    if !kubectl_is_there() {
        return;
    }
    let Some(plane) = Plane::take().await else { return };
    let writable = ["a-hub", "another-hub"].map(|name| plane.running().write_kubeconfig(name, ""));
    let (world, [own, other]) = waiting(plane).await;
    let manifests = world
        .pitstop_ok(&["manifests", "--hub", "--image", "pitstop:test"])
        .await;
    world.apply(&manifests).await;
    let kubeconfig = account(&world, &writable[0], NODE).await;
    let folder = tempfile::tempdir().unwrap();
    let path = kubeconfig.display().to_string();
    let arguments = ["--executor", "request", "--kubeconfig", &path];
    let (first, address) = hub(folder.path(), NODE, &arguments).await;

    let connect = ConnectArgs {
        kubeconfig: Some(kubeconfig.clone()),
        context: None,
    };
    let pods: Api<Pod> = Api::namespaced(connect.connect().await.unwrap().client, "default");
    let set = |kind: &str| json!({ "status": { "conditions": [{ "type": kind, "status": "False" }] } });
    let patch = async |pod: &str, patch: &Value| {
        let patched = pods
            .patch_status(pod, &PatchParams::default(), &Patch::Strategic(patch))
            .await;
        patched.map_or_else(|error| error.to_string(), |_| String::new())
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    // A policy is in force a moment after it was made.
    loop {
        let said = patch(&other, &set("pitstop.io/Test")).await;
        if said.contains("a hub may only touch pods of its own node") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{said}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut labelled = set("pitstop.io/Test");
    labelled["metadata"] = json!({ "annotations": { "mine": "1" } });
    for (text, why) in [
        (
            set("Ready"),
            "a hub may only change conditions PodImageReady and pitstop.io/...",
        ),
        (labelled, "a hub may not change labels or annotations"),
        (
            json!({ "status": { "phase": "Failed" } }),
            "a hub may only change conditions",
        ),
    ] {
        let said = patch(&own, &text).await;
        assert!(said.contains(why), "{text}: {said}");
    }
    refused(&world, &kubeconfig, &["delete", "pod", &own], "forbidden").await;
    assert_eq!(patch(&own, &set("pitstop.io/Test")).await, "");

    assert_eq!(
        post(&address, &own).await,
        format!("Start updating pod default/{own}")
    );
    is_replaced(&world, &own).await;
    world.kubectl(&["get", "pod", &other]).await;
    let warnings = "jsonpath={.status.typeChecking.expressionWarnings}";
    let policy = ["get", "validatingadmissionpolicy", "pitstop-hub", "-o", warnings];
    assert_eq!(
        world.kubectl(&policy).await,
        "",
        "the expressions fit the types of pods"
    );
    first.stop().await;

    let second = with_the_pods_of_its_kubelet(&world, &writable[1], folder.path(), &other).await;
    world
        .kubectl_with(&["delete", "--wait=false", "-f", "-"], &manifests)
        .await;
    end(world, second).await;
}

/// B3 `sa` with `--pods-source=kubelet`: no right to read pods from the API server is left, and none is needed.
async fn with_the_pods_of_its_kubelet(
    world: &World,
    writable: &Path,
    folder: &Path,
    other: &str,
) -> Background {
    let manifests = world
        .pitstop_ok(&[
            "manifests",
            "--hub",
            "--pods-source",
            "kubelet",
            "--image",
            "pitstop:test",
        ])
        .await;
    world.apply(&manifests).await;
    let kubeconfig = account(world, writable, "edge-2").await;
    refused(world, &kubeconfig, &["get", "pods"], "forbidden").await;
    let kubelet = kubelet_of(world, "edge-2").await;
    let authority = folder.join("kubelet.crt");
    std::fs::write(&authority, &kubelet.certificate).unwrap();
    let (path, url) = (
        kubeconfig.display().to_string(),
        format!("https://{}", kubelet.addr),
    );
    let arguments = [
        "--executor",
        "request",
        "--kubeconfig",
        &path,
        "--pods-source",
        "kubelet",
        "--kubelet-url",
        &url,
        "--kubelet-certificate-authority",
        authority.to_str().unwrap(),
    ];
    let (hub, address) = hub(folder, "edge-2", &arguments).await;
    is_connected(&address).await;
    let version = "jsonpath={.metadata.resourceVersion}";
    let before = world.kubectl(&["get", "pod", other, "-o", version]).await;
    let preview = format!("{address}/openyurt.io/v1/namespaces/default/pods/{other}/upgrade?dryRun=true");
    curl(&["-X", "POST", &preview]).await;
    let after = world.kubectl(&["get", "pod", other, "-o", version]).await;
    assert_eq!(after, before, "to look at a pod changes nothing");
    assert_eq!(
        post(&address, other).await,
        format!("Start updating pod default/{other}")
    );
    is_replaced(world, other).await;
    kubelet.task.abort();
    hub
}

/// What a kubelet says at `/pods`, to those that the API server lets read it.
async fn kubelet_of(world: &World, node: &'static str) -> Served {
    let client = world.client();
    let pods = move |headers: HeaderMap| async move {
        let bearer = headers.get("authorization").and_then(|value| value.to_str().ok());
        let token = bearer
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default();
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": { "token": token },
        });
        let who = create(&client, "/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
        let user = &who["status"]["user"];
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {
                "user": user["username"], "uid": user["uid"], "groups": user["groups"],
                "resourceAttributes": { "verb": "get", "resource": "nodes", "subresource": "pods", "name": node },
            },
        });
        let may = create(
            &client,
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            &review,
        )
        .await;
        if may["status"]["allowed"] != true {
            return (StatusCode::FORBIDDEN, Json(may));
        }
        let path = format!("/api/v1/pods?fieldSelector=spec.nodeName={node}");
        let request = Request::get(path).body(Vec::new()).unwrap();
        let list = client.request::<Value>(request).await.unwrap();
        (StatusCode::OK, Json(list))
    };
    serve(&[node], Router::new().route("/pods", get(pods))).await
}

async fn create(client: &kube::Client, path: &str, object: &Value) -> Value {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes())
        .unwrap();
    client.request(request).await.unwrap()
}

/// A kubeconfig with the token of the hub's pod on a node.
async fn account(world: &World, file: &Path, node: &str) -> PathBuf {
    world
        .kubectl(&[
            "rollout",
            "status",
            "ds/pitstop-hub",
            "-n",
            "pitstop-hub",
            "--timeout=90s",
        ])
        .await;
    let field = format!("--field-selector=spec.nodeName={node},status.phase=Running");
    let name = "jsonpath={.items[0].metadata.name}";
    let pod = world
        .kubectl(&["get", "pods", "-n", "pitstop-hub", &field, "-o", name])
        .await;
    let token = world
        .kubectl(&[
            "create",
            "token",
            "pitstop-hub",
            "-n",
            "pitstop-hub",
            "--bound-object-kind=Pod",
            "--bound-object-name",
            &pod,
        ])
        .await;
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(
        file,
        text.replace("token: ''", &format!("token: '{}'", token.trim())),
    )
    .unwrap();
    file.to_owned()
}
