//! `pitstop demo`: the stories, told in plain lines when piped.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

async fn demo(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_pitstop"))
        .env_clear()
        .env("HOME", folder.path())
        .env("TMPDIR", folder.path())
        .arg("demo")
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(100), output)
        .await
        .expect("the demo ends within its time")
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}\n{stdout}\n{stderr}");
    assert!(
        !stdout.contains('\u{1b}'),
        "no colours and no cursor movements when piped:\n{stdout}"
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing is left behind"
    );
    stdout
}

/// Whoever ends it before its end finds nothing of it either.
#[tokio::test]
async fn a_demo_that_is_ended_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_pitstop"))
        .env_clear()
        .env("HOME", folder.path())
        .env("TMPDIR", folder.path())
        .arg("demo")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next_line().await.unwrap().is_some(), "it plays");
    let process = child.id().unwrap().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-TERM", &process])
        .status();
    assert!(killed.unwrap().success());
    // It goes on to print until it has stopped.
    let rest = async { while lines.next_line().await.unwrap().is_some() {} };
    let (output, ()) = tokio::join!(child.wait_with_output(), rest);
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("stopped before its end"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn the_auto_story_passes_over_nodes_that_are_away() {
    let said = demo(&["auto"]).await;
    for want in [
        "$ kubectl set image ds/nginx-daemonset nginx=nginx:1.19.5",
        "waits: NodeNotReady",
        "$ pitstop why ds/nginx-daemonset",
        ": 3 of 3 pods run nginx:1.19.5",
        "at most 1 of 1 allowed pods unavailable at once",
        "2 nodes were away: they cost no budget",
    ] {
        assert!(said.contains(want), "{want:?} is missing:\n{said}");
    }
    assert!(said.contains("openyurt-e2e-test-worker3"), "{said}");
}

#[tokio::test]
async fn the_ota_story_lets_owners_decide() {
    let said = demo(&["ota"]).await;
    for want in [
        "waits: WaitingForOwner",
        "$ curl -X POST http://127.0.0.1:10267/openyurt.io/v1/namespaces/default/pods/nginx-daemonset-",
        "  Start updating pod default/nginx-daemonset-",
        "accepted, will start when allowed: Pending/Connection",
        ": 3 of 3 pods run nginx:1.19.5",
        "one request was kept while its node was cut off",
    ] {
        assert!(said.contains(want), "{want:?} is missing:\n{said}");
    }
}

#[tokio::test]
async fn its_parameters_change_the_story() {
    let said = demo(&["auto", "--nodes", "5", "--image", "nginx:1.25"]).await;
    assert!(said.contains(": 5 of 5 pods run nginx:1.25"), "{said}");
    assert!(
        said.contains("Cut the network of openyurt-e2e-test-worker4 and openyurt-e2e-test-worker5"),
        "{said}"
    );
}

#[tokio::test]
async fn the_rolling_story_goes_node_by_node() {
    let said = demo(&[
        "rolling",
        "--nodes",
        "3",
        "--image",
        "ikubernetes/filebeat:5.6.7-alpine",
    ])
    .await;
    assert!(
        said.contains(": 3 of 3 pods run ikubernetes/filebeat:5.6.7-alpine"),
        "{said}"
    );
    assert!(
        said.contains("at most 1 of 1 allowed pods unavailable at once"),
        "{said}"
    );
    assert!(said.contains("waits: MaxUnavailable"), "{said}");
}

#[tokio::test]
async fn the_inplace_story_keeps_the_pods() {
    let said = demo(&["inplace"]).await;
    for want in [
        "$ pitstop set image clone/nginxweb1 nginx=nginx:latest",
        "waits: InPlace",
        ": 4 of 4 pods run nginx:latest",
        "at most 1 of 1 allowed pods unavailable at once",
    ] {
        assert!(said.contains(want), "{want:?} is missing:\n{said}");
    }
    let stayed = said
        .lines()
        .filter(|line| line.contains("same uid, same node node-"));
    assert_eq!(
        stayed
            .filter(|line| line.ends_with("its container restarted once"))
            .count(),
        4,
        "{said}"
    );
}

#[tokio::test]
async fn the_protect_story_leaves_instances_alone_that_work() {
    let said = demo(&["protect"]).await;
    for want in [
        "$ kubectl label --overwrite pod sample-0 sample-2 sample-4 working=true",
        "$ pitstop set image asts/sample main=alpine:3.18.0",
        "  pod/sample-2 waits (Protected): it is protected while it works",
        ": 5 of 5 pods run alpine:3.18.0",
        "at most 1 of 1 allowed pods unavailable at once",
        "6 times an instance worked while others were updated: none of them was touched",
    ] {
        assert!(said.contains(want), "{want:?} is missing:\n{said}");
    }
}

#[tokio::test]
async fn the_canary_story_waits_for_its_promotion() {
    let said = demo(&["canary"]).await;
    for want in [
        "$ pitstop canary start ds/filebeat-ds --nodes kubernetes.io/hostname=node-1",
        "waits (Canary): ",
        "$ pitstop canary promote ds/filebeat-ds",
        ": 4 of 4 pods run ikubernetes/filebeat:5.6.6-alpine",
        "at most 1 of 1 allowed pods unavailable at once",
    ] {
        assert!(said.contains(want), "{want:?} is missing:\n{said}");
    }
    let (before, _) = said.split_once("$ pitstop canary promote").unwrap();
    let replaced = before.lines().filter(|line| line.contains(" waits: Terminating"));
    assert!(replaced.clone().all(|line| line.contains("node-1")), "{said}");
}

/// users.md W2: every updated node is lost; the guard leaves the others alone.
#[tokio::test]
async fn the_guard_story_loses_two_nodes_and_no_more() {
    let said = demo(&["guard"]).await;
    for want in [
        "waits (NodesLostAfterUpdate): ",
        "Go back to example.com/agent:1",
        ": 8 of 8 pods run example.com/agent:1",
        "2 of 8 nodes were lost before the guard stopped it; the pods of 6 were never touched",
    ] {
        assert!(said.contains(want), "{want:?} is missing:\n{said}");
    }
    assert_eq!(said.matches(" runs it, and falls silent").count(), 2, "{said}");
}
