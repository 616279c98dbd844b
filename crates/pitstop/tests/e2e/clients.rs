//! Clients that others wrote: the Go program of `tests/clients`, built with client-go and controller-runtime.
//!
//! It needs Go and, the first time, the module proxy. Without Go the suite says that it did not run;
//! `PITSTOP_REQUIRE_GO=1` makes that a failure.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::real::Plane;
use crate::world::World;

/// How long the program may take, on a busy machine with two cores.
const RUN_LIMIT: Duration = Duration::from_secs(600);
/// How long its build may take with nothing in Go's cache.
const BUILD_LIMIT: Duration = Duration::from_secs(1200);

/// The program, built once. `None`: there is no Go on this machine, which was said.
async fn program() -> Option<&'static Path> {
    static BUILT: OnceCell<Option<PathBuf>> = OnceCell::const_new();
    BUILT.get_or_init(build).await.as_deref()
}

async fn build() -> Option<PathBuf> {
    if !go_is_there() {
        return None;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    let mut go = Command::new("go");
    go.args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(source);
    let output = finish(go, BUILD_LIMIT).await;
    assert!(
        output.status.success(),
        "go build: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(program)
}

fn go_is_there() -> bool {
    let found = std::process::Command::new("go")
        .arg("version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        let required = std::env::var_os("PITSTOP_REQUIRE_GO").is_some_and(|value| value == "1");
        assert!(
            !required,
            "go is not on the PATH, and PITSTOP_REQUIRE_GO=1 asks for it"
        );
        // Not with eprintln: the test runner would swallow it.
        let _ = writeln!(
            std::io::stderr(),
            "go was not found: the suite with Go clients did not run"
        );
    }
    found
}

/// Runs all checks against a cluster.
async fn check(program: &Path, kubeconfig: &Path) {
    let mut command = Command::new(program);
    command
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .env_remove("KUBECONFIG");
    let output = finish(command, RUN_LIMIT).await;
    let said = String::from_utf8_lossy(&output.stdout);
    let failed: Vec<&str> = said.lines().filter(|line| !line.starts_with("ok ")).collect();
    let is_good = output.status.success() && failed.is_empty() && !said.is_empty();
    assert!(
        is_good,
        "{}\n{}\n{}",
        output.status,
        failed.join("\n"),
        String::from_utf8_lossy(&output.stderr)
    );
}

async fn finish(mut command: Command, limit: Duration) -> Output {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    timeout(limit, output)
        .await
        .unwrap_or_else(|_| panic!("{shown} did not end"))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn go_clients_work_with_the_embedded_cluster() {
    let Some(program) = program().await else { return };
    let world = World::embedded(&["node-1"], None).await;
    check(program, &world.kubeconfig).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn go_clients_work_with_a_real_control_plane() {
    let Some(program) = program().await else { return };
    let Some(plane) = Plane::take().await else { return };
    check(program, &plane.kubeconfig()).await;
    plane.leave();
}
