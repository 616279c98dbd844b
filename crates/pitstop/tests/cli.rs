//! What the command line says without a cluster: help texts, mistakes, completions.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::process::{Command, Output};

fn pitstop(arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_pitstop"))
        .env_clear()
        .env("HOME", home.path())
        .env("COLUMNS", "100")
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(arguments: &[&str]) -> String {
    let output = pitstop(arguments);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help() {
    insta::assert_snapshot!(stdout(&["--help"]));
}

#[test]
fn help_of_commands() {
    for command in [
        "up",
        "demo",
        "controller",
        "manifests",
        "simulate",
        "hub",
        "status",
        "history",
        "images",
        "set-partition",
        "set",
        "pause",
        "resume",
        "undo",
        "restart",
        "why",
        "plan",
        "snapshot",
        "completion",
    ] {
        insta::assert_snapshot!(format!("help_{command}"), stdout(&[command, "--help"]));
    }
    insta::assert_snapshot!("help_set_image", stdout(&["set", "image", "--help"]));
    for command in ["list", "disconnect", "reconnect", "add", "remove", "shell"] {
        insta::assert_snapshot!(
            format!("help_node_{command}"),
            stdout(&["node", command, "--help"])
        );
    }
    for command in ["list", "upgrade", "pull", "pending", "cancel"] {
        insta::assert_snapshot!(format!("help_ota_{command}"), stdout(&["ota", command, "--help"]));
    }
}

#[test]
fn mistakes_in_what_was_typed_end_with_2() {
    for arguments in [
        vec![],
        vec!["nosuch"],
        vec!["up", "--node-grace", "soon"],
        vec!["up", "--nodes", "3", "--node-names", "a,b"],
        vec!["status", "deployment/x"],
        vec!["why", "a/b/c"],
        vec!["set", "image", "clone/x", "nginx"],
        vec!["undo", "clone/x", "--to-revision", "0"],
        vec!["demo", "--nodes", "1"],
        vec!["set-partition", "sts/x", "some"],
        vec!["set-partition", "sts/x", "-1"],
        vec!["demo", "guard", "--nodes", "3"],
        vec!["history", "ads/x", "--revision", "0"],
        vec!["images", "("],
        vec!["plan"],
        vec!["status", "--log", "==="],
    ] {
        let output = pitstop(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            output.stdout.is_empty(),
            "{arguments:?}: mistakes are talk, not data"
        );
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_negative_partition_is_no_flag() {
    let output = pitstop(&["set-partition", "sts/x", "-1"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("\"-1\" is neither a number nor a percentage from 0% to 100%"),
        "{said}"
    );
}

#[test]
fn without_a_cluster_the_last_line_says_how_to_get_one() {
    let output = pitstop(&["status"]);
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stderr), @r"
    error: no kubeconfig was given and there is none at ~/.kube/config
    hint: start a cluster with `pitstop up`, or choose one with --kubeconfig FILE
    ");
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = stdout(&["completion", shell]);
        for command in ["up", "demo", "why", "plan", "disconnect"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
}
