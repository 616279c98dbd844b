//! What a DaemonSet rollout costs on a real API server: pitstop's, and the same one by Kubernetes' own controller.
//!
//! `cargo bench -p pitstop --bench real_cluster [-- NODES [ROUNDS]] [pitstop|native] [max=10%|max=1]`. Needs a real
//! control plane (`cargo xtask control-plane`). Every program runs on this machine, so the less the rest of it does, the
//! steadier the figures.
//!
//! One DaemonSet with a pod on each of 1,000 simulated nodes gets a new image, with max-unavailable 10 % and 1. CPU and
//! memory are those of the controller's process alone, read from `/proc`; writes and reactions are read from the audit
//! log. A reaction is the time from the answer to the status write that makes a pod Ready to the arrival of the delete
//! that this write has made possible: with max-unavailable `m`, the `k`-th Ready pod permits delete number `m + k`. It
//! holds the way of the watch event through the API server. Goals: issue "The same story on a real API server", 4.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark prints its figures and stops when it cannot"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use pitstop_api::{Clock as _, SystemClock};
use serde_json::json;

use audit::{Audit, Reactions};
use background::Background;
use control_plane::{ControlPlane, Tuning, programs};
use process::Usage;

#[path = "real_cluster/audit.rs"]
mod audit;
#[path = "../tests/e2e/background.rs"]
#[allow(
    dead_code,
    clippy::match_wild_err_arm,
    reason = "written for tests, which use more of it"
)]
mod background;
#[path = "../tests/e2e/control_plane.rs"]
#[allow(dead_code, reason = "written for tests, which use more of it")]
mod control_plane;
#[path = "real_cluster/process.rs"]
mod process;

/// How much faster than life the pods of the nodes stop and start: about 40 ms in all, so that a thousand one after the
/// other end in minutes.
const TIME_SCALE: &str = "50";
/// Heartbeats of a thousand nodes are not what is measured, and nobody looks at them in this control plane.
const HEARTBEAT: &str = "10m";
/// How long things may take to come to rest before and after a measurement.
const SETTLE: Duration = Duration::from_secs(4);
/// No step takes longer.
const LIMIT: Duration = Duration::from_mins(30);
/// The users that the audit log tells apart.
const PITSTOP: &str = "pitstop";
const NODES: &str = "nodes";
const NATIVE: &str = "system:serviceaccount:kube-system:daemon-set-controller";
/// Name and namespace of the workload.
const NAME: &str = "agent";

/// Whose rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum System {
    /// `OnDelete` and `AdvancedRollingUpdate`, by `pitstop controller`.
    Pitstop,
    /// `RollingUpdate`, by kube-controller-manager.
    Native,
}

impl System {
    fn name(self) -> &'static str {
        match self {
            Self::Pitstop => "pitstop controller, AdvancedRollingUpdate",
            Self::Native => "kube-controller-manager, RollingUpdate",
        }
    }

    fn user(self) -> &'static str {
        match self {
            Self::Pitstop => PITSTOP,
            Self::Native => NATIVE,
        }
    }
}

/// A control plane with nodes.
struct World {
    client: Client,
    folder: tempfile::TempDir,
    nodes: Background,
    controller_kubeconfig: PathBuf,
    n_nodes: usize,
    plane: ControlPlane,
}

/// What a rollout took.
struct Figures {
    system: System,
    budget: &'static str,
    n_pods: usize,
    took: Duration,
    before: Usage,
    after: Usage,
    nodes_cpu: f64,
    writes: Vec<(String, usize)>,
    reactions: Reactions,
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut numbers = arguments.iter().filter_map(|a| a.parse::<usize>().ok());
    let n_nodes = numbers.next().unwrap_or(1_000);
    let n_rounds = numbers.next().unwrap_or(1);
    // Of a group of words, those that are given; all of them where none is.
    let is_wanted = |word: &str, group: [&str; 2]| {
        let has = |word: &str| arguments.iter().any(|a| a == word);
        has(word) || !group.into_iter().any(has)
    };
    let Some(programs) = programs() else { return };
    println!("{}", process::machine());
    println!(
        "pitstop {}, Kubernetes {}, {n_nodes} simulated nodes, --time-scale {TIME_SCALE}",
        env!("CARGO_PKG_VERSION"),
        control_plane_version(&programs).await
    );
    let world = World::start(programs, n_nodes).await;
    let mut all = Vec::new();
    for _ in 0..n_rounds {
        for budget in ["10%", "1"] {
            if !is_wanted(&format!("max={budget}"), ["max=10%", "max=1"]) {
                continue;
            }
            for (word, system) in [("pitstop", System::Pitstop), ("native", System::Native)] {
                if !is_wanted(word, ["pitstop", "native"]) {
                    continue;
                }
                let figures = world.rollout(system, budget).await;
                figures.tell();
                all.push(figures);
            }
        }
    }
    table(&all);
    world.nodes.stop().await;
}

async fn control_plane_version(programs: &Path) -> String {
    let output = tokio::process::Command::new(programs.join("kube-apiserver"))
        .arg("--version")
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().trim_start_matches("Kubernetes ").to_owned()
}

impl World {
    async fn start(programs: PathBuf, n_nodes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("audit-policy.yaml");
        std::fs::write(&policy, audit::policy(&[PITSTOP, NATIVE], NODES)).unwrap();
        let tokens = folder.path().join("tokens.csv");
        let line = |user: &str| format!("{user},{user},{user},\"system:masters\"\n");
        std::fs::write(&tokens, ["admin", PITSTOP, NODES].map(line).concat()).unwrap();
        let tuning = Tuning {
            api_server: vec![
                format!("--audit-policy-file={}", policy.display()),
                format!("--token-auth-file={}", tokens.display()),
                "--audit-log-mode=batch".to_owned(),
                // Nobody would take the taint away that a node begins with.
                "--disable-admission-plugins=TaintNodesByCondition".to_owned(),
                "--max-requests-inflight=4000".to_owned(),
                "--max-mutating-requests-inflight=2000".to_owned(),
            ],
            controller_manager: vec![
                "--controllers=*,-nodelifecycle,-nodeipam,-node-route-controller,-service-lb-controller"
                    .to_owned(),
            ],
            ..Tuning::default()
        };
        let plane = ControlPlane::start(programs, tuning).await;
        let nodes_kubeconfig = plane.write_kubeconfig(NODES, NODES);
        let controller_kubeconfig = plane.write_kubeconfig(PITSTOP, PITSTOP);
        let count = n_nodes.to_string();
        let arguments = [
            "simulate",
            "--nodes",
            &count,
            "--time-scale",
            TIME_SCALE,
            "--heartbeat",
            HEARTBEAT,
        ];
        let nodes = Background::start(folder.path(), &nodes_kubeconfig, &arguments).await;
        let client = plane.client().await;
        let world = Self {
            client,
            folder,
            nodes,
            controller_kubeconfig,
            n_nodes,
            plane,
        };
        world.until_nodes_are_ready().await;
        world
    }

    async fn until_nodes_are_ready(&self) {
        let api: Api<Node> = Api::all(self.client.clone());
        until("nodes are Ready", async || {
            let listed = api.list(&ListParams::default()).await.unwrap();
            let ready = listed.iter().filter(|node| {
                let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
                conditions
                    .into_iter()
                    .flatten()
                    .any(|c| c.type_ == "Ready" && c.status == "True")
            });
            ready.count() == self.n_nodes
        })
        .await;
    }

    /// One rollout, from a DaemonSet made for it to its end.
    async fn rollout(&self, system: System, budget: &'static str) -> Figures {
        let namespace = self.make_workload(system, budget).await;
        let controller = match system {
            System::Pitstop => Some(self.start_controller().await),
            System::Native => None,
        };
        let pid = controller
            .as_ref()
            .map_or_else(|| self.plane.controller_manager_pid(), Background::pid);
        tokio::time::sleep(SETTLE).await;

        let begun_at = SystemClock.now();
        let (before, nodes_before) = (Usage::of(pid), Usage::of(self.nodes.pid()));
        let begin = Instant::now();
        let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), &namespace);
        let image =
            json!({"spec": {"template": {"spec": {"containers": [{"name": NAME, "image": "agent:2"}]}}}});
        api.patch(NAME, &PatchParams::default(), &Patch::Strategic(image))
            .await
            .unwrap();
        self.until_updated(&api).await;
        let took = begin.elapsed();
        tokio::time::sleep(SETTLE).await;
        let (after, nodes_after) = (Usage::of(pid), Usage::of(self.nodes.pid()));

        let audit = Audit::read(&self.plane.audit_log(), &namespace, begun_at);
        let max_unavailable = match budget.strip_suffix('%') {
            Some(percent) => (self.n_nodes * percent.parse::<usize>().unwrap()).div_ceil(100),
            None => budget.parse().unwrap(),
        };
        let figures = Figures {
            system,
            budget,
            n_pods: self.n_nodes,
            took,
            before,
            after,
            nodes_cpu: nodes_after.cpu - nodes_before.cpu,
            writes: audit.writes(system.user()),
            reactions: audit.reactions(system.user(), NODES, max_unavailable),
        };
        if let Some(controller) = controller {
            controller.stop().await;
        }
        self.remove_workload(&namespace).await;
        figures
    }

    async fn start_controller(&self) -> Background {
        let arguments = ["controller", "--metrics-addr", "127.0.0.1:0"];
        Background::start(self.folder.path(), &self.controller_kubeconfig, &arguments).await
    }

    /// A DaemonSet whose pods are all Ready, in a namespace of its own.
    async fn make_workload(&self, system: System, budget: &str) -> String {
        let named = json!({"metadata": {"generateName": "bench-"}});
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let namespace = namespaces
            .create(&PostParams::default(), &serde_json::from_value(named).unwrap())
            .await
            .unwrap()
            .name_any();
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
            Api::namespaced(self.client.clone(), &namespace);
        until("there is a service account", async || {
            accounts.get_opt("default").await.unwrap().is_some()
        })
        .await;
        let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), &namespace);
        api.create(&PostParams::default(), &daemonset(system, budget))
            .await
            .unwrap();
        self.until_updated(&api).await;
        namespace
    }

    async fn remove_workload(&self, namespace: &str) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces
            .delete(namespace, &DeleteParams::default())
            .await
            .unwrap();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        until("the pods are gone", async || {
            pods.list(&ListParams::default().limit(1))
                .await
                .unwrap()
                .items
                .is_empty()
        })
        .await;
    }

    async fn until_updated(&self, api: &Api<DaemonSet>) {
        let wanted = i32::try_from(self.n_nodes).unwrap();
        until("the DaemonSet is up to date", async || {
            let object = api.get(NAME).await.unwrap();
            let DaemonSetStatus {
                observed_generation,
                updated_number_scheduled,
                number_available,
                ..
            } = object.status.unwrap_or_default();
            observed_generation >= object.metadata.generation
                && updated_number_scheduled == Some(wanted)
                && number_available == Some(wanted)
        })
        .await;
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < LIMIT, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Images need no pull, so that pods start at once.
fn daemonset(system: System, budget: &str) -> DaemonSet {
    let (annotations, strategy) = match system {
        System::Pitstop => (
            json!({
                pitstop_api::keys::OPENYURT_UPDATE_STRATEGY: "AdvancedRollingUpdate",
                pitstop_api::keys::OPENYURT_MAX_UNAVAILABLE: budget,
            }),
            json!({"type": "OnDelete"}),
        ),
        System::Native => {
            let max = budget
                .parse::<i32>()
                .map_or_else(|_| json!(budget), |count| json!(count));
            (
                json!({}),
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": max}}),
            )
        }
    };
    let profile = json!([{"image": "*", "pullSeconds": 0.0}]).to_string();
    serde_json::from_value(json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": NAME, "annotations": annotations},
        "spec": {
            "selector": {"matchLabels": {"app": NAME}},
            "updateStrategy": strategy,
            "template": {
                "metadata": {
                    "labels": {"app": NAME},
                    "annotations": {(pitstop_api::keys::SIM_IMAGE_PROFILE): profile},
                },
                "spec": {"containers": [{"name": NAME, "image": "agent:1"}]},
            },
        },
    }))
    .unwrap()
}

impl Figures {
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    fn per_pod(&self, n: usize) -> f64 {
        n as f64 / self.n_pods as f64
    }

    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    fn cpu_per_thousand(&self) -> f64 {
        (self.after.cpu - self.before.cpu) / self.n_pods as f64 * 1000.0
    }

    fn n_writes(&self) -> usize {
        self.writes.iter().map(|(_, n)| n).sum()
    }

    /// What does not fit into the table.
    fn tell(&self) {
        println!(
            "\n{}, max-unavailable {}: {} pods in {:.1?}; the simulated nodes used {:.1} CPU s",
            self.system.name(),
            self.budget,
            self.n_pods,
            self.took,
            self.nodes_cpu
        );
        for (what, n) in &self.writes {
            println!("  {n:6} {what}");
        }
        println!("  reactions: {}", self.reactions);
    }
}

fn table(all: &[Figures]) {
    println!(
        "\n| system | max-unavailable | CPU s per 1,000 upgraded pods | memory, MiB (peak) | writes per pod \
         | pod Ready -> next delete, ms p50 / p99 |"
    );
    println!("|---|---|---|---|---|---|");
    for figures in all {
        println!(
            "| {} | {} | {:.2} | {:.1} ({:.1}) | {:.2} | {:.1} / {:.1} |",
            figures.system.name(),
            figures.budget,
            figures.cpu_per_thousand(),
            figures.after.resident,
            figures.after.peak,
            figures.per_pod(figures.n_writes()),
            figures.reactions.quantile(0.5),
            figures.reactions.quantile(0.99),
        );
    }
}
