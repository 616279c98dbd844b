//! What a hub may do on a real API server, by each identity that it may have. Source: hub.md B3.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use pitstop::connect::ConnectArgs;
use serde_json::{Value, json};

use crate::background::Background;
use crate::control_plane::{NODE, NODE_TOKEN};
use crate::ota::MANIFEST;
use crate::real::Plane;
use crate::world::{Said, World, kubectl_is_there, words};

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
    let waits = [
        "wait",
        "--for=condition=PodNeedUpgrade=True",
        "pods",
        "-l",
        "app=nginx",
    ];
    world.kubectl(&[&waits[..], &["--timeout=90s"]].concat()).await;
    let said = world
        .kubectl(&["get", "pods", "-l", "app=nginx", "-o", "wide", "--no-headers"])
        .await;
    let lines = words(&said);
    let on = |node: &str| lines.iter().find(|line| line[6] == node).unwrap()[0].to_owned();
    let pods = NODES.map(on);
    (world, pods)
}

/// Starts `pitstop hub` for [`NODE`]. Returns where it answers.
async fn hub(folder: &Path, kubeconfig: &Path, more: &[&str]) -> (Background, String) {
    let (state, kubeconfig) = (folder.join("hub"), kubeconfig.display().to_string());
    let arguments = [
        "hub",
        "--node-name",
        NODE,
        "--serve-port",
        "0",
        "--kubeconfig",
        &kubeconfig,
        "--state",
        state.to_str().unwrap(),
    ];
    let mut hub = Background::spawn(
        folder,
        Path::new("/nonexistent"),
        &[&arguments[..], more].concat(),
    );
    let line = hub.next_line().await;
    let address = line.strip_prefix("hub of node edge-1 on ").unwrap();
    (hub, address.to_owned())
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
    let (world, [own, other]) = waiting(plane).await;
    let folder = tempfile::tempdir().unwrap();
    let (hub, address) = hub(folder.path(), &kubeconfig, &[]).await;

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
    end(world, hub).await;
}

/// B3 `sa`, v1-v3: what `pitstop manifests --hub` prints is enough, and allows nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_account_of_the_daemonset_it_sets_conditions_and_deletes_nothing() {
    if !kubectl_is_there() {
        return;
    }
    let Some(plane) = Plane::take().await else { return };
    let writable = plane.running().write_kubeconfig("a-hub", "");
    let (world, [own, other]) = waiting(plane).await;
    let manifests = world
        .pitstop_ok(&["manifests", "--hub", "--image", "pitstop:test"])
        .await;
    world.apply(&manifests).await;
    let kubeconfig = account(&world, &writable).await;
    let folder = tempfile::tempdir().unwrap();
    let (hub, address) = hub(folder.path(), &kubeconfig, &["--executor", "request"]).await;

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
    world
        .kubectl_with(&["delete", "--wait=false", "-f", "-"], &manifests)
        .await;
    end(world, hub).await;
}

/// A kubeconfig with the token of the hub's pod on [`NODE`].
async fn account(world: &World, file: &Path) -> PathBuf {
    let ready = "--for=jsonpath={.status.numberReady}=2";
    world
        .kubectl(&[
            "wait",
            ready,
            "ds/pitstop-hub",
            "-n",
            "pitstop-hub",
            "--timeout=90s",
        ])
        .await;
    let field = format!("--field-selector=spec.nodeName={NODE}");
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
