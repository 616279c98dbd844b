//! Clients that others wrote: the Go program of `tests/clients`, built with client-go and controller-runtime.
//!
//! It needs Go and, the first time, the module proxy. Without Go the suite says that it did not run;
//! `PITSTOP_REQUIRE_GO=1` makes that a failure.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{ChildStdout, Command};
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
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    let output = go("go", &["build", "-o", program.to_str().unwrap(), "."]).await;
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
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = command.kill_on_drop(true).spawn().unwrap();
    let stdout = running.stdout.take().unwrap();
    let mut stderr = running.stderr.take().unwrap();
    let mut complaints = String::new();
    let all = async {
        tokio::join!(
            show(stdout),
            stderr.read_to_string(&mut complaints),
            running.wait()
        )
    };
    let ended = timeout(RUN_LIMIT, all).await;
    let (failed, _, status) = ended.unwrap_or_else(|_| panic!("the checks took longer than {RUN_LIMIT:?}"));
    let status = status.unwrap();
    let is_good = status.success() && failed.is_empty();
    assert!(is_good, "{status}\n{}\n{complaints}", failed.join("\n"));
}

/// Passes on each line as it comes, for those who look on, and returns those that do not say `ok`.
#[allow(
    clippy::print_stdout,
    reason = "the test runner shows it of a test that failed, and with --nocapture"
)]
async fn show(stdout: ChildStdout) -> Vec<String> {
    let mut lines = BufReader::new(stdout).lines();
    let mut failed = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        println!("{line}");
        if !line.starts_with("ok ") {
            failed.push(line);
        }
    }
    failed
}

/// Runs Go in the folder of the program.
async fn go(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(source());
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    timeout(BUILD_LIMIT, output)
        .await
        .unwrap_or_else(|_| panic!("{program} {arguments:?} did not end"))
        .unwrap()
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients")
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

#[tokio::test]
async fn the_go_program_is_formatted_and_vetted() {
    // The build comes first: both must not fetch the same modules at the same time.
    if program().await.is_none() {
        return;
    }
    for (program, arguments) in [("gofmt", &["-l", "."][..]), ("go", &["vet", "./..."])] {
        let output = go(program, arguments).await;
        let is_clean = output.status.success() && output.stdout.is_empty();
        let said = [output.stdout, output.stderr].concat();
        assert!(
            is_clean,
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&said)
        );
    }
}
