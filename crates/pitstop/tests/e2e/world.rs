//! A cluster to play on, and the programs that a user has.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use kube::Client;
use pitstop::connect::ConnectArgs;
use pitstop::embedded::{Controllers, Embedded, NodeNames, Nodes, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// No single command takes longer, on a busy machine with two cores.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);
/// Simulated nodes start, stop and report this much faster than real ones.
const TIME_SCALE: f64 = 10.0;
/// How long a node may be silent.
const NODE_GRACE: Duration = Duration::from_secs(3);

/// A cluster, and a folder for the files of a test.
pub(crate) struct World {
    cluster: Cluster,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) kubeconfig: PathBuf,
}

enum Cluster {
    /// Ours, in this process.
    Embedded(Box<Embedded>),
    /// Somebody else's, with our nodes and controllers attached.
    External(Box<External>),
}

struct External {
    nodes: Nodes,
    /// None if somebody runs them already.
    controllers: Option<Controllers>,
    names: Vec<String>,
    client: Client,
}

/// What a program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Is the real kubectl there? If not: say so once, or fail where it is required.
pub(crate) fn kubectl_is_there() -> bool {
    let found = std::process::Command::new("kubectl")
        .args(["version", "--client"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        let required = std::env::var_os("PITSTOP_REQUIRE_KUBECTL").is_some_and(|value| value == "1");
        assert!(
            !required,
            "kubectl is not on the PATH, and PITSTOP_REQUIRE_KUBECTL=1 asks for it"
        );
        // Not with eprintln: the test runner would swallow it.
        let _ = writeln!(
            std::io::stderr(),
            "kubectl was not found: this end-to-end suite did not run"
        );
    }
    found
}

impl World {
    /// An embedded cluster with these nodes.
    pub(crate) async fn embedded(nodes: &[&str], control_plane: Option<&str>) -> Self {
        Self::paced(nodes, control_plane, TIME_SCALE, NODE_GRACE).await
    }

    /// An embedded cluster as slow as life: a node without heartbeats keeps its state for the length of a test.
    pub(crate) async fn unhurried(nodes: &[&str]) -> Self {
        Self::paced(nodes, None, 1.0, Duration::from_secs(600)).await
    }

    async fn paced(
        nodes: &[&str],
        control_plane: Option<&str>,
        time_scale: f64,
        node_grace: Duration,
    ) -> Self {
        let embedded = Embedded::start(Options {
            data: None,
            addr: "127.0.0.1:0".parse().unwrap(),
            node_grace,
            time_scale,
            controllers: true,
            nodes: NodeNames::Given(nodes.iter().map(ToString::to_string).collect()),
            control_plane: control_plane.map(str::to_owned),
        })
        .await
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        pitstop::kubeconfig_file::write(&kubeconfig, embedded.kubeconfig()).unwrap();
        let world = Self {
            cluster: Cluster::Embedded(Box::new(embedded)),
            folder,
            kubeconfig,
        };
        world.wait_for_nodes(nodes).await;
        world
    }

    /// The cluster that `PITSTOP_E2E_KUBECONFIG` names, or an embedded one.
    pub(crate) async fn given(nodes: &[&str], control_plane: Option<&str>) -> Self {
        let Some(kubeconfig) = std::env::var_os("PITSTOP_E2E_KUBECONFIG").map(PathBuf::from) else {
            return Self::embedded(nodes, control_plane).await;
        };
        let connect = ConnectArgs {
            kubeconfig: Some(kubeconfig.clone()),
            context: None,
        };
        let client = connect.connect().await.unwrap().client;
        expect_no_workers(&client).await;
        let simulated = Nodes::start(client.clone(), 1.0).await.unwrap();
        let mut names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        simulated.add(&names, control_plane).await.unwrap();
        names.extend(control_plane.map(str::to_owned));
        let controllers = match Controllers::start_upgrades(client.clone()).await {
            Ok(controllers) => Some(controllers),
            Err(error)
                if error
                    .to_string()
                    .contains("another pitstop controller is at work") =>
            {
                None
            }
            Err(error) => panic!("{error}"),
        };
        let world = Self {
            cluster: Cluster::External(Box::new(External {
                nodes: simulated,
                controllers,
                names,
                client,
            })),
            folder: tempfile::tempdir().unwrap(),
            kubeconfig,
        };
        world.wait_for_nodes(nodes).await;
        world
    }

    async fn wait_for_nodes(&self, names: &[&str]) {
        for name in names {
            self.pitstop_ok(&["node", "reconnect", name, "--wait", "--timeout", "60s"])
                .await;
        }
    }

    /// A client, for what kubectl has no command for.
    pub(crate) fn client(&self) -> Client {
        match &self.cluster {
            Cluster::Embedded(embedded) => embedded.client(),
            Cluster::External(external) => external.client.clone(),
        }
    }

    /// Stops pitstop's controllers, native ones included, so that a state stands still.
    pub(crate) async fn stop_controllers(&mut self) {
        if let Cluster::Embedded(embedded) = &mut self.cluster {
            embedded.stop_controllers().await;
        }
    }

    /// Ends it. An external cluster is left as it was found.
    pub(crate) async fn stop(self) {
        match self.cluster {
            Cluster::Embedded(embedded) => embedded.stop().await,
            Cluster::External(external) => {
                let External {
                    nodes,
                    controllers,
                    names,
                    client,
                } = *external;
                if let Some(controllers) = controllers {
                    controllers.stop().await;
                }
                nodes.stop().await;
                let api: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(client);
                for name in names {
                    api.delete(&name, &kube::api::DeleteParams::default())
                        .await
                        .unwrap();
                }
            }
        }
    }

    /// kubectl, with something on stdin.
    pub(crate) async fn kubectl_with(&self, arguments: &[&str], stdin: &str) -> Said {
        let mut command = self.kubectl_command();
        command.args(arguments);
        run(command, stdin).await
    }

    /// kubectl, not yet started.
    pub(crate) fn kubectl_command(&self) -> Command {
        let mut command = Command::new("kubectl");
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.folder.path().join("kube-cache"))
            .kill_on_drop(true);
        command
    }

    /// kubectl, as it ends.
    pub(crate) async fn kubectl_any(&self, arguments: &[&str]) -> Said {
        self.kubectl_with(arguments, "").await
    }

    /// kubectl, which must succeed. Returns stdout.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        self.kubectl_any(arguments)
            .await
            .expect_success("kubectl", arguments)
    }

    /// The minor version of kubectl.
    pub(crate) async fn kubectl_minor(&self) -> u32 {
        let said = self.kubectl(&["version", "--client", "-o", "json"]).await;
        let version: serde_json::Value = serde_json::from_str(&said).unwrap();
        let minor = version["clientVersion"]["minor"].as_str().unwrap();
        minor.trim_end_matches('+').parse().unwrap()
    }

    /// `kubectl apply -f -`, which must succeed. Returns stdout.
    pub(crate) async fn apply(&self, manifest: &str) -> String {
        let arguments = ["apply", "-f", "-"];
        self.kubectl_with(&arguments, manifest)
            .await
            .expect_success("kubectl", &arguments)
    }

    /// `pitstop`, as it ends.
    pub(crate) async fn pitstop(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pitstop"));
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .args(arguments)
            .kill_on_drop(true);
        run(command, "").await
    }

    /// `pitstop`, which must succeed. Returns stdout.
    pub(crate) async fn pitstop_ok(&self, arguments: &[&str]) -> String {
        self.pitstop(arguments).await.expect_success("pitstop", arguments)
    }
}

impl Said {
    pub(crate) fn expect_success(self, program: &str, arguments: &[&str]) -> String {
        assert!(
            self.status.success(),
            "{program} {}: {}\nstdout: {}\nstderr: {}",
            arguments.join(" "),
            self.status,
            self.stdout,
            self.stderr
        );
        self.stdout
    }
}

/// The stories count nodes: those that the cluster brings must keep ordinary pods away.
async fn expect_no_workers(client: &Client) {
    let api: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(client.clone());
    for node in api.list(&kube::api::ListParams::default()).await.unwrap() {
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        assert!(
            taints.iter().any(|taint| taint.effect == "NoSchedule"),
            "node {:?} of the cluster runs ordinary pods; taint it for this suite: kubectl taint node NAME e2e:NoSchedule",
            node.metadata.name.unwrap_or_default()
        );
    }
}

async fn run(mut command: Command, stdin: &str) -> Said {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let stdin = stdin.to_owned();
    let feed = async move { input.write_all(stdin.as_bytes()).await };
    let all = async { tokio::join!(feed, child.wait_with_output()) };
    let (fed, output) = tokio::time::timeout(COMMAND_LIMIT, all)
        .await
        .unwrap_or_else(|_| panic!("{shown} did not end"));
    // A program that needs no input may end before it was fed.
    drop(fed);
    let output = output.unwrap();
    Said {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A `kubectl get -w` in the background.
pub(crate) struct Watching {
    child: tokio::process::Child,
}

impl Watching {
    /// Starts it.
    pub(crate) fn start(world: &World, arguments: &[&str]) -> Self {
        let mut command = world.kubectl_command();
        command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self {
            child: command.spawn().unwrap(),
        }
    }

    /// Ends it, and returns what it had printed.
    pub(crate) async fn stop(mut self) -> String {
        self.child.start_kill().unwrap();
        let mut text = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .await
            .unwrap();
        text
    }
}

/// The words of each line.
pub(crate) fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .map(|line| line.split_whitespace().collect())
        .collect()
}

/// A line with one blank between words.
pub(crate) fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Is this a name that the DaemonSet controller makes for `daemonset`? Source: daemonset.md A4.
pub(crate) fn is_pod_name(text: &str, daemonset: &str) -> bool {
    text.strip_prefix(daemonset)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|suffix| {
            suffix.len() == 5 && suffix.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c))
        })
}
