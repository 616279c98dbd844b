//! A cluster to play on, and the programs that a user has.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::Client;
use kube::api::{DeleteParams, ListParams, PostParams};
use pitstop::cli::gates::Gates;
use pitstop::connect::ConnectArgs;
use pitstop::embedded::{Embedded, NodeNames, Options};
use pitstop::hubs::Which;
use pitstop_cluster::Authorization;
use pitstop_cluster::builtin::Selection;
use pitstop_cluster::node::NodeSpec;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::background::Background;
use crate::control_plane::{GARBAGE_OF_SUITES, Managers};
use crate::real::Plane;
use crate::real::cloneset::forget_kinds;

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
    kubectl: PathBuf,
    managers: Option<Managers>,
}

enum Cluster {
    /// Ours, in this process.
    Embedded(Box<Embedded>),
    /// Somebody else's, with our nodes and controllers attached.
    External(Box<External>),
}

struct External {
    /// `pitstop simulate`.
    nodes: Background,
    /// `pitstop controller`.
    controller: Background,
    names: Vec<String>,
    client: Client,
    /// The control plane, if it is one that the suite started.
    plane: Option<Plane>,
}

/// A quick embedded cluster with these nodes, in memory.
fn options(nodes: &[&str]) -> Options {
    Options {
        data: None,
        addr: "127.0.0.1:0".parse().unwrap(),
        node_grace: NODE_GRACE,
        time_scale: TIME_SCALE,
        cluster_controllers: Selection::all(),
        controllers: true,
        gates: Gates::default(),
        nodes: NodeNames::Given(nodes.iter().map(ToString::to_string).collect()),
        hubs: None,
        control_plane: None,
        authorization: Authorization::AlwaysAllow,
    }
}

/// On whose API server a story is played.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Server {
    /// Ours, with our controllers for everything, in this process.
    Embedded,
    /// The real one, with the cluster's own controllers, and ours as a process with the rights that are printed.
    Real,
}

/// Makes two tests of each story, a function of [`Server`].
macro_rules! on_both_servers {
    ($($story:ident),+ $(,)?) => {
        mod embedded {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $story() {
                    super::$story(crate::world::Server::Embedded).await;
                }
            )+
        }

        mod real {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $story() {
                    super::$story(crate::world::Server::Real).await;
                }
            )+
        }
    };
}
pub(crate) use on_both_servers;

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
    /// These nodes on such a server, and kubectl. `None`: one of them is not on this machine, which was said.
    pub(crate) async fn on(server: Server, nodes: &[&str]) -> Option<Self> {
        Some(match server {
            Server::Embedded if kubectl_is_there() => Self::embedded(nodes, None).await,
            Server::Embedded => return None,
            Server::Real => {
                let plane = Plane::take().await?;
                let kubectl = plane.kubectl();
                Self::real(plane, kubectl, nodes, None).await
            }
        })
    }

    /// As [`World::on`], with the kinds that pitstop brings, and with these gates, such as `StatefulSetAutoResizePVCGate=true`.
    pub(crate) async fn with_gates(server: Server, nodes: &[&str], gates: &str) -> Option<Self> {
        Some(match server {
            Server::Embedded if kubectl_is_there() => {
                let mut options = options(nodes);
                options.gates.feature_gates = gates.parse().unwrap();
                Self::start(options, nodes).await
            }
            Server::Embedded => return None,
            Server::Real => {
                let plane = Plane::take().await?;
                let kubectl = plane.kubectl();
                Self::real_with_kinds_and(plane, kubectl, nodes, &format!("--feature-gates={gates}")).await
            }
        })
    }

    /// An embedded cluster with these nodes.
    pub(crate) async fn embedded(nodes: &[&str], control_plane: Option<&str>) -> Self {
        let mut options = options(nodes);
        options.control_plane = control_plane.map(str::to_owned);
        Self::start(options, nodes).await
    }

    /// An embedded cluster that decides by roles. The controllers have the rights that `pitstop manifests` asks for, and
    /// no others.
    pub(crate) async fn guarded(nodes: &[&str]) -> Self {
        let mut options = options(nodes);
        options.authorization = Authorization::Rbac;
        Self::start(options, nodes).await
    }

    /// An embedded cluster as slow as life: a node without heartbeats keeps its state for the length of a test.
    pub(crate) async fn unhurried(nodes: &[&str]) -> Self {
        let mut options = options(nodes);
        options.node_grace = Duration::from_secs(600);
        options.time_scale = 1.0;
        Self::start(options, nodes).await
    }

    /// An embedded API server with simulated nodes, and the real scheduler and controllers of Kubernetes.
    pub(crate) async fn of_others(programs: &Path, nodes: &[&str]) -> Self {
        let mut options = options(nodes);
        options.cluster_controllers = Selection::none();
        options.controllers = false;
        let mut world = Self::begin(options).await;
        world.managers = Some(Managers::start(programs, &world.kubeconfig, NODE_GRACE));
        world.wait_for_nodes(nodes).await;
        world
    }

    async fn start(options: Options, nodes: &[&str]) -> Self {
        let world = Self::begin(options).await;
        world.wait_for_nodes(nodes).await;
        world
    }

    async fn begin(options: Options) -> Self {
        let embedded = Embedded::start(options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        pitstop::kubeconfig_file::write(&kubeconfig, embedded.kubeconfig()).unwrap();
        Self {
            cluster: Cluster::Embedded(Box::new(embedded)),
            folder,
            kubeconfig,
            kubectl: PathBuf::from("kubectl"),
            managers: None,
        }
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
        let attached = Attached {
            client,
            controller: kubeconfig.clone(),
            kubeconfig,
            kubectl: PathBuf::from("kubectl"),
            plane: None,
            arguments: Vec::new(),
        };
        Self::attach(attached, nodes, control_plane, "none").await
    }

    /// An embedded cluster whose nodes have hubs, and that decides by roles.
    pub(crate) async fn with_hubs(nodes: &[&str]) -> Self {
        let mut options = options(nodes);
        options.authorization = Authorization::Rbac;
        options.hubs = Some((Which::All, 0));
        Self::start(options, nodes).await
    }

    /// As [`World::real`], and the nodes have hubs.
    pub(crate) async fn real_with_hubs(plane: Plane, nodes: &[&str]) -> Self {
        let attached = Attached {
            client: plane.client().await,
            controller: plane.controller_kubeconfig().await,
            kubeconfig: plane.kubeconfig(),
            kubectl: "kubectl".into(),
            plane: Some(plane),
            arguments: Vec::new(),
        };
        Self::attach(attached, nodes, None, "all").await
    }

    /// A real control plane, with our nodes and controller attached as processes of their own. The controller has the
    /// rights that `pitstop manifests` asks for, and no others.
    pub(crate) async fn real(
        plane: Plane,
        kubectl: PathBuf,
        nodes: &[&str],
        control_plane: Option<&str>,
    ) -> Self {
        let attached = Attached {
            client: plane.client().await,
            controller: plane.controller_kubeconfig().await,
            kubeconfig: plane.kubeconfig(),
            kubectl,
            plane: Some(plane),
            arguments: Vec::new(),
        };
        Self::attach(attached, nodes, control_plane, "none").await
    }

    /// As [`World::real`], with the kinds that pitstop brings: their definitions, their webhooks and their controllers.
    pub(crate) async fn real_with_kinds(plane: Plane, kubectl: PathBuf, nodes: &[&str]) -> Self {
        Self::real_with_kinds_and(plane, kubectl, nodes, "--feature-gates=").await
    }

    async fn real_with_kinds_and(plane: Plane, kubectl: PathBuf, nodes: &[&str], gates: &str) -> Self {
        let controllers = [
            pitstop_controller::Controller::DaemonPodUpdater,
            pitstop_controller::Controller::AdvancedDaemonSet,
            pitstop_controller::Controller::CloneSet,
            pitstop_controller::Controller::StatefulSet,
        ];
        let attached = Attached {
            client: plane.client().await,
            controller: plane.authorize(&controllers, None).await,
            kubeconfig: plane.kubeconfig(),
            kubectl,
            plane: Some(plane),
            arguments: vec![
                "--controllers=daemon-pod-updater,daemonset,cloneset,statefulset".to_owned(),
                "--webhook-addr=127.0.0.1:0".to_owned(),
                "--webhook-host=127.0.0.1".to_owned(),
                gates.to_owned(),
            ],
        };
        Self::attach(attached, nodes, None, "none").await
    }

    /// As [`World::real_with_kinds`], and images are pulled ahead.
    pub(crate) async fn real_with_pulls(plane: Plane, kubectl: PathBuf, nodes: &[&str]) -> Self {
        let controllers = [
            pitstop_controller::Controller::DaemonPodUpdater,
            pitstop_controller::Controller::CloneSet,
            pitstop_controller::Controller::ImagePullJob,
        ];
        let attached = Attached {
            client: plane.client().await,
            controller: plane.authorize(&controllers, None).await,
            kubeconfig: plane.kubeconfig(),
            kubectl,
            plane: Some(plane),
            arguments: vec![
                "--controllers=daemon-pod-updater,cloneset,imagepulljob".to_owned(),
                "--feature-gates=PreDownloadImageForInPlaceUpdate=true".to_owned(),
                "--node-image-after=1s".to_owned(),
                "--webhook-addr=127.0.0.1:0".to_owned(),
                "--webhook-host=127.0.0.1".to_owned(),
            ],
        };
        Self::attach(attached, nodes, None, "none").await
    }

    async fn attach(to: Attached, nodes: &[&str], control_plane: Option<&str>, hubs: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        let simulate = Background::start(
            folder.path(),
            &to.kubeconfig,
            &[
                "simulate",
                "--time-scale",
                "10",
                "--hubs",
                hubs,
                "--hub-port",
                "0",
                "--node-names",
                &names.join(","),
            ],
        )
        .await;
        if let Some(name) = control_plane {
            let node: Node = serde_json::from_value(NodeSpec::control_plane(name).object()).unwrap();
            let api: kube::Api<Node> = kube::Api::all(to.client.clone());
            api.create(&PostParams::default(), &node).await.unwrap();
            names.push(name.to_owned());
        }
        let controller = Background::start(
            folder.path(),
            &to.controller,
            &["controller", "--metrics-addr", "127.0.0.1:0"]
                .into_iter()
                .chain(to.arguments.iter().map(String::as_str))
                .collect::<Vec<&str>>(),
        )
        .await;
        let world = Self {
            cluster: Cluster::External(Box::new(External {
                nodes: simulate,
                controller,
                names: names.clone(),
                client: to.client,
                plane: to.plane,
            })),
            folder,
            kubeconfig: to.kubeconfig,
            kubectl: to.kubectl,
            managers: None,
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        world.wait_for_nodes(&names).await;
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

    /// The real control plane of this world.
    pub(crate) fn plane(&self) -> &Plane {
        match &self.cluster {
            Cluster::External(external) => external.plane.as_ref().unwrap(),
            Cluster::Embedded(_) => panic!("this cluster is embedded"),
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
        // While it still answers: else they would say that it does not.
        drop(self.managers);
        match self.cluster {
            Cluster::Embedded(embedded) => embedded.stop().await,
            Cluster::External(external) => external.stop().await,
        }
    }

    /// Ends it, and takes away from a real control plane what the kinds that pitstop brings have brought.
    pub(crate) async fn stop_with_kinds(self) {
        if let Cluster::External(external) = &self.cluster
            && let Some(plane) = &external.plane
        {
            forget_kinds(&plane.kubectl(), &plane.kubeconfig()).await;
        }
        self.stop().await;
    }

    /// kubectl, with something on stdin.
    pub(crate) async fn kubectl_with(&self, arguments: &[&str], stdin: &str) -> Said {
        let mut command = self.kubectl_command();
        command.args(arguments);
        run(command, stdin).await
    }

    /// kubectl, not yet started.
    pub(crate) fn kubectl_command(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.folder.path().join("kube-cache"))
            .env("GOGC", GARBAGE_OF_SUITES.to_string())
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

    /// The same with another kubectl.
    pub(crate) fn with_kubectl(self, kubectl: PathBuf) -> Self {
        Self { kubectl, ..self }
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

/// What to attach nodes and a controller to.
struct Attached {
    client: Client,
    /// Kubeconfig of the administrator.
    kubeconfig: PathBuf,
    /// Kubeconfig of the controller.
    controller: PathBuf,
    kubectl: PathBuf,
    plane: Option<Plane>,
    /// Further arguments of the controller.
    arguments: Vec<String>,
}

impl External {
    async fn stop(self) {
        self.controller.stop().await;
        self.nodes.stop().await;
        let api: kube::Api<Node> = kube::Api::all(self.client.clone());
        for name in &self.names {
            api.delete(name, &DeleteParams::default()).await.unwrap();
        }
        bury_pods(&self.client, &self.names).await;
        if let Some(plane) = self.plane {
            // The next story looks at its own events only.
            let events: kube::Api<Event> = kube::Api::namespaced(self.client, "default");
            events
                .delete_collection(&DeleteParams::default(), &ListParams::default())
                .await
                .unwrap();
            plane.leave();
        }
    }
}

/// Nobody is left on the nodes to end their pods, and the next story may have pods of the same labels.
async fn bury_pods(client: &Client, nodes: &[String]) {
    let all: kube::Api<Pod> = kube::Api::all(client.clone());
    for pod in all.list(&ListParams::default()).await.unwrap() {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        if node.is_some_and(|node| nodes.contains(node)) {
            let namespace = pod.metadata.namespace.unwrap_or_default();
            let pods: kube::Api<Pod> = kube::Api::namespaced(client.clone(), &namespace);
            let name = pod.metadata.name.unwrap_or_default();
            let at_once = DeleteParams::default().grace_period(0);
            match pods.delete(&name, &at_once).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => panic!("pod {name} cannot be deleted: {error}"),
            }
        }
    }
}

/// The stories count nodes: those that the cluster brings must keep ordinary pods away.
async fn expect_no_workers(client: &Client) {
    let api: kube::Api<Node> = kube::Api::all(client.clone());
    for node in api.list(&ListParams::default()).await.unwrap() {
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
