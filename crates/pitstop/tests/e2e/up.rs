//! `pitstop up`, the program itself: started, stopped, started again, started twice.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const LIMIT: Duration = Duration::from_secs(60);

fn pitstop(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pitstop"));
    command
        .env_clear()
        .env("HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// A running `up` that has said its greeting.
struct Up {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    server: String,
}

impl Up {
    async fn start(home: &Path, arguments: &[&str]) -> Self {
        let mut child = pitstop(home)
            .args(["up", "--port", "0", "--time-scale", "10", "--node-grace", "3s"])
            .args(arguments)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut server = String::new();
        let greeting = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some(address) = line.strip_prefix("cluster      ") {
                    address.clone_into(&mut server);
                }
                if line == "Ctrl-C stops it." {
                    return;
                }
            }
            panic!("`pitstop up` ended before its greeting");
        };
        tokio::time::timeout(LIMIT, greeting)
            .await
            .expect("a greeting in time");
        Self { child, lines, server }
    }

    /// SIGTERM, as a service manager sends it; SIGINT is handled alike.
    async fn stop(self) -> String {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
        assert!(sent.success());
        drop(self.lines);
        let output = tokio::time::timeout(LIMIT, self.child.wait_with_output()).await;
        let output = output.expect("it stops in time").unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        stderr
    }
}

async fn said(home: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = pitstop(home).args(arguments).output();
    let output = tokio::time::timeout(LIMIT, output)
        .await
        .expect("it ends in time")
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[tokio::test]
async fn it_goes_on_where_it_was() {
    let home = tempfile::tempdir().unwrap();
    let up = Up::start(home.path(), &["--node-names", "a,b", "--control-plane-node"]).await;
    let first_server = up.server.clone();
    let (code, stdout, stderr) = said(home.path(), &["node", "list", "-o", "json"]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stderr.starts_with("note: using the cluster of the running `pitstop up` ("),
        "which cluster is used is said when none was named: {stderr}"
    );
    let names = |text: &str| -> Vec<String> {
        let list: serde_json::Value = serde_json::from_str(text).unwrap();
        let items = list["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&stdout), ["a", "b", "control-plane"]);
    let (code, ..) = said(home.path(), &["node", "remove", "b"]).await;
    assert_eq!(code, Some(0));
    let stderr = up.stop().await;
    assert!(
        stderr.ends_with("stopped; `pitstop up` goes on where it was\n"),
        "{stderr}"
    );

    let up = Up::start(home.path(), &[]).await;
    let (_, stdout, _) = said(home.path(), &["node", "list", "-o", "json"]).await;
    assert_eq!(
        names(&stdout),
        ["a", "control-plane"],
        "a node that was removed stays away"
    );
    assert!(!first_server.is_empty());
    up.stop().await;
    let (code, _, stderr) = said(home.path(), &["status"]).await;
    assert_eq!(code, Some(1));
    assert!(
        stderr.ends_with("hint: start a cluster with `pitstop up`, or choose one with --kubeconfig FILE\n"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_second_one_says_plainly_what_is_in_use() {
    let home = tempfile::tempdir().unwrap();
    let up = Up::start(home.path(), &[]).await;
    let (code, _, stderr) = said(home.path(), &["up", "--port", "0"]).await;
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("is in use by another pitstop (process "),
        "{stderr}"
    );
    assert!(
        stderr.ends_with(
            "hint: stop the other one, or keep this one elsewhere with --data DIR and --port PORT\n"
        ),
        "{stderr}"
    );
    let port = up.server.rsplit(':').next().unwrap();
    let other = home.path().join("other");
    let data = other.to_str().unwrap();
    let (code, _, stderr) = said(home.path(), &["up", "--data", data, "--port", port]).await;
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains(&format!("127.0.0.1:{port} is in use by another program")),
        "{stderr}"
    );
    assert!(stderr.contains("--port"), "{stderr}");
    up.stop().await;
}

#[tokio::test]
async fn a_kubeconfig_of_the_user_is_not_touched() {
    let home = tempfile::tempdir().unwrap();
    let theirs = home.path().join("config");
    std::fs::write(&theirs, "apiVersion: v1\nkind: Config\n").unwrap();
    let path = theirs.to_str().unwrap();
    let (code, _, stderr) = said(home.path(), &["up", "--port", "0", "--write-kubeconfig", path]).await;
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("exists and was not written by pitstop"),
        "{stderr}"
    );
    assert_eq!(
        std::fs::read_to_string(&theirs).unwrap(),
        "apiVersion: v1\nkind: Config\n"
    );
    assert!(
        !home.path().join(".local").exists(),
        "it is refused before anything is made"
    );
}

#[tokio::test]
async fn controllers_outside_wait_for_those_inside() {
    let home = tempfile::tempdir().unwrap();
    let up = Up::start(home.path(), &[]).await;
    let arguments = ["controller", "--metrics-addr", "127.0.0.1:0"];
    let mut child = pitstop(home.path()).args(arguments).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let waiting = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.starts_with(
                "waiting for the lease kube-system/pitstop-controller, held by pitstop-up (renewed ",
            ) {
                return true;
            }
        }
        false
    };
    assert!(tokio::time::timeout(LIMIT, waiting).await.unwrap());
    child.kill().await.unwrap();
    up.stop().await;

    let up = Up::start(home.path(), &["--controllers", "off"]).await;
    let mut child = pitstop(home.path())
        .args(arguments)
        .args(["--controllers", "native-daemonset,daemon-pod-updater"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = tokio::time::timeout(LIMIT, lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(
        first.starts_with(
            "running native-daemonset, daemon-pod-updater; health and metrics on http://127.0.0.1:"
        ),
        "{first}"
    );
    child.kill().await.unwrap();
    up.stop().await;
}

#[tokio::test]
async fn simulated_nodes_attach_from_another_process() {
    let home = tempfile::tempdir().unwrap();
    let up = Up::start(home.path(), &["--nodes", "0", "--control-plane-node"]).await;
    let mut simulate = pitstop(home.path())
        .args(["simulate", "--nodes", "2", "--time-scale", "10"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(simulate.stdout.take().unwrap()).lines();
    let first = tokio::time::timeout(LIMIT, lines.next_line())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first.as_deref(), Some("simulating 2 nodes: sim-1 sim-2"));
    let arguments = [
        "node",
        "reconnect",
        "sim-1",
        "sim-2",
        "--wait",
        "--timeout",
        "30s",
    ];
    let (code, _, stderr) = said(home.path(), &arguments).await;
    assert_eq!(code, Some(0), "{stderr}");
    // Without the process that plays them, they fall silent.
    simulate.kill().await.unwrap();
    let arguments = ["node", "disconnect", "sim-1", "--wait", "--timeout", "30s"];
    let (code, _, stderr) = said(home.path(), &arguments).await;
    assert_eq!(code, Some(0), "{stderr}");
    up.stop().await;
}
