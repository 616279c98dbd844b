//! `kubectl logs` and `kubectl exec`: what is asked of the kubelets of simulated nodes, through whatever API server.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use crate::world::{World, words};

/// Names of the nodes.
pub(crate) const NODES: [&str; 1] = ["node-1"];

/// How long a log may take to tell what happened.
const LIMIT: Duration = Duration::from_secs(30);

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: nginx
    image: nginx:1.19.4
    env: [{name: GREETING, value: hello}]
    readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1, failureThreshold: 1}
";

/// Logs are shown and followed to their end, commands run, and one that moves a file away breaks the probe.
pub(crate) async fn logs_and_exec(world: World) {
    world.apply(POD).await;
    ready(&world, "true").await;

    let nodes = world
        .kubectl(&["get", "nodes", "-o", "wide", "--no-headers"])
        .await;
    assert!(words(&nodes)[0][5].starts_with("172."), "{nodes}");

    let line = logs(&world).await;
    commands(&world).await;
    debug(&world).await;
    probe(&world).await;
    follow(&world, &line).await;
    let said = exec(&world, &["true"]).await;
    assert_eq!(said.0, Some(1));
    assert!(said.2.contains("pods \"web\" not found"), "{}", said.2);
    world.stop().await;
}

/// Returns the only line.
async fn logs(world: &World) -> String {
    let line = world.kubectl(&["logs", "web"]).await;
    assert!(
        line.ends_with("Z nginx started image=nginx:1.19.4 restart=0\n"),
        "{line}"
    );
    let stamped = world
        .kubectl(&["logs", "web", "-c", "nginx", "--timestamps", "--tail=1"])
        .await;
    assert!(stamped.ends_with(&format!(" {line}")), "{stamped}");
    let said = world.kubectl_any(&["logs", "web", "--previous"]).await;
    let want = "previous terminated container \"nginx\" in pod \"web\" not found";
    assert!(said.stderr.contains(want), "{}", said.stderr);
    let said = world.kubectl_any(&["logs", "web", "-c", "nosuch"]).await;
    assert!(
        !said.status.success() && said.stderr.contains("nosuch"),
        "{}",
        said.stderr
    );
    line
}

/// A container that looks into the pod, which `exec` reaches as well.
async fn debug(world: &World) {
    let added = [
        "debug",
        "web",
        "--profile=general",
        "--image=nginx:1.20.0",
        "-c",
        "looks",
    ];
    world.kubectl(&added).await;
    let runs = "--for=jsonpath={.status.ephemeralContainerStatuses[0].state.running}";
    world.kubectl(&["wait", "pod/web", runs, "--timeout=60s"]).await;
    let said = world
        .kubectl_any(&["exec", "web", "-c", "looks", "--", "nginx", "-v"])
        .await;
    assert_eq!(said.stderr, "nginx version: nginx/1.20.0\n");
}

async fn commands(world: &World) {
    let said = exec(world, &["nginx", "-v"]).await;
    assert_eq!(
        (said.0, said.2.as_str()),
        (Some(0), "nginx version: nginx/1.19.4\n")
    );
    let said = exec(world, &["sh", "-c", "echo $GREETING from $(hostname)"]).await;
    assert_eq!(said.0, Some(126), "{said:?}");
    let said = exec(world, &["sh", "-c", "echo $GREETING from $HOSTNAME; exit 3"]).await;
    assert_eq!(
        (said.0, said.1.as_str(), said.2.as_str()),
        (
            Some(3),
            "hello from web\n",
            "command terminated with exit code 3\n"
        )
    );
    // As kubectl speaks to servers that know no WebSocket.
    let mut command = world.kubectl_command();
    command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false");
    let said = command
        .args(["exec", "web", "--", "sh", "-c", "echo spdy; exit 5"])
        .output()
        .await
        .unwrap();
    assert_eq!(
        (said.status.code(), said.stdout.as_slice()),
        (Some(5), &b"spdy\n"[..]),
        "{said:?}"
    );
    // Larger than any buffer on the way.
    let long = "0123456789abcdef\n".repeat(20_000);
    let said = world
        .kubectl_with(&["exec", "-i", "web", "--", "cat"], &long)
        .await;
    assert!(
        said.status.success() && said.stdout == long,
        "{} {}",
        said.stdout.len(),
        said.stderr
    );
    let script = "echo one > /tmp/f\ncat /tmp/f\nexit 4\n";
    let said = world
        .kubectl_with(&["exec", "-i", "web", "--", "sh"], script)
        .await;
    assert_eq!(
        (said.status.code(), said.stdout.as_str()),
        (Some(4), "one\n"),
        "{}",
        said.stderr
    );
}

/// A file that is moved away breaks the probe, and mends it when it is back.
async fn probe(world: &World) {
    let page = "/usr/share/nginx/html/index.html";
    assert_eq!(exec(world, &["mv", page, "/tmp/index.html"]).await.0, Some(0));
    ready(world, "false").await;
    assert_eq!(exec(world, &["ls", page]).await.0, Some(1));
    assert_eq!(exec(world, &["mv", "/tmp/index.html", page]).await.0, Some(0));
    ready(world, "true").await;
}

/// A log that is followed ends with its container.
async fn follow(world: &World, line: &str) {
    let mut follower = world.kubectl_command();
    let mut follower = follower
        .args(["logs", "-f", "web"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut followed = vec![0; line.len()];
    let mut output = follower.stdout.take().unwrap();
    timeout(LIMIT, output.read_exact(&mut followed))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(String::from_utf8(followed).unwrap(), line);
    world.kubectl(&["delete", "pod", "web"]).await;
    let mut rest = String::new();
    timeout(LIMIT, output.read_to_string(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(rest.ends_with("Z nginx ended code=0\n"), "{rest}");
    let ended = timeout(LIMIT, follower.wait()).await.unwrap().unwrap();
    assert!(ended.success(), "{ended}");
}

/// Code, stdout, stderr.
async fn exec(world: &World, command: &[&str]) -> (Option<i32>, String, String) {
    let arguments = [&["exec", "web", "--"], command].concat();
    let said = world.kubectl_any(&arguments).await;
    (said.status.code(), said.stdout, said.stderr)
}

async fn ready(world: &World, status: &str) {
    let condition = format!("--for=condition=Ready={status}");
    world
        .kubectl(&["wait", &condition, "pod/web", "--timeout=60s"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_exec_on_the_embedded_server() {
    if !crate::world::kubectl_is_there() {
        return;
    }
    logs_and_exec(World::embedded(&NODES, None).await).await;
}
