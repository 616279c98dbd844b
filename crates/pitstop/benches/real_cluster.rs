//! What a rollout costs on a real API server: pitstop's, and that of a DaemonSet by Kubernetes' own controller.
//!
//! `cargo bench -p pitstop --bench real_cluster [-- NODES [ROUNDS]] [pitstop|native|daemonset|daemonset-in-place|cloneset|
//! statefulset] [max=10%|max=1] [pods=N] [first=N]`. Needs a real control plane (`cargo xtask control-plane`). Every program
//! runs on this machine, so the less the rest of it does, the steadier the figures.
//!
//! A workload with 1,000 pods gets a new image, with max-unavailable 10 % and 1: a DaemonSet with a pod on each node, native
//! or of `apps.kruise.io`, or a CloneSet or StatefulSet whose pods are updated in place, `pods` of them (as many as nodes where
//! that is not said). The `first` of them get it (all) while a partition keeps the others, which Kubernetes' own controller cannot. CPU and memory are those of the controller's process alone, read from `/proc`;
//! writes and reactions are read from the audit log. A reaction is the time from the answer to the status write that makes a
//! pod Ready to the arrival of the first write to the pod whose turn this has made possible: with max-unavailable `m`, the
//! `k`-th Ready pod permits begin number `m + k`. It holds the way of the watch event through the API server. Goals: issues
//! "The same story on a real API server", 4, and "In-place update and CloneSet", 4, which "Advanced StatefulSet" shares.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark prints its figures and stops when it cannot"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt as _};
use pitstop_api::{Clock as _, SystemClock, WorkloadKind};
use serde_json::{Value, json};

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
    /// A DaemonSet of `apps.kruise.io`, by `pitstop controller`, which replaces its pods.
    Advanced,
    /// The same, in place.
    AdvancedInPlace,
    /// A CloneSet, in place, by `pitstop controller`.
    CloneSet,
    /// A StatefulSet of `apps.kruise.io`, in place and in parallel, by `pitstop controller`.
    StatefulSet,
}

/// The words that name them.
const SYSTEMS: [(&str, System); 6] = [
    ("pitstop", System::Pitstop),
    ("native", System::Native),
    ("daemonset", System::Advanced),
    ("daemonset-in-place", System::AdvancedInPlace),
    ("cloneset", System::CloneSet),
    ("statefulset", System::StatefulSet),
];

impl System {
    fn name(self) -> &'static str {
        match self {
            Self::Pitstop => "pitstop controller, AdvancedRollingUpdate",
            Self::Native => "kube-controller-manager, RollingUpdate",
            Self::Advanced => "pitstop controller, Advanced DaemonSet",
            Self::AdvancedInPlace => "pitstop controller, Advanced DaemonSet in place",
            Self::CloneSet => "pitstop controller, CloneSet in place",
            Self::StatefulSet => "pitstop controller, StatefulSet in place",
        }
    }

    fn kind(self) -> WorkloadKind {
        match self {
            Self::Pitstop | Self::Native => WorkloadKind::DaemonSet,
            Self::Advanced | Self::AdvancedInPlace => WorkloadKind::AdvancedDaemonSet,
            Self::CloneSet => WorkloadKind::CloneSet,
            Self::StatefulSet => WorkloadKind::StatefulSet,
        }
    }

    fn user(self) -> &'static str {
        match self {
            Self::Native => NATIVE,
            _ => PITSTOP,
        }
    }

    /// Of a kind that pitstop brings: its value of `--controllers`.
    fn flag(self) -> Option<&'static str> {
        match self {
            Self::Pitstop | Self::Native => None,
            Self::Advanced | Self::AdvancedInPlace => Some("--controllers=daemonset"),
            Self::CloneSet => Some("--controllers=cloneset"),
            Self::StatefulSet => Some("--controllers=statefulset"),
        }
    }

    /// Do the pods stay?
    fn is_in_place(self) -> bool {
        matches!(self, Self::AdvancedInPlace | Self::CloneSet | Self::StatefulSet)
    }
}

/// The words that name the values of max-unavailable.
const BUDGETS: [(&str, &str); 2] = [("max=10%", "10%"), ("max=1", "1")];

/// A control plane with nodes.
struct World {
    client: Client,
    folder: tempfile::TempDir,
    nodes: Background,
    controller_kubeconfig: PathBuf,
    n_nodes: usize,
    size: Size,
    programs: PathBuf,
    plane: ControlPlane,
}

/// How large workloads are.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// Pods of a CloneSet or StatefulSet.
    n_pods: usize,
    /// How many pods get the new image; `None`: all of them.
    first: Option<usize>,
}

/// What a rollout took.
struct Figures {
    system: System,
    budget: &'static str,
    /// Pods that got the new image.
    n_pods: usize,
    of_pods: usize,
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
    let is_wanted = |word: &str, group: &[&str]| {
        let has = |word: &str| arguments.iter().any(|a| a == word);
        has(word) || !group.iter().any(|word| has(word))
    };
    let number = |name: &str| {
        arguments
            .iter()
            .find_map(|a| a.strip_prefix(name)?.parse::<usize>().ok())
    };
    let n_pods = number("pods=").unwrap_or(n_nodes);
    let size = Size {
        n_pods,
        first: number("first="),
    };
    let Some(programs) = programs() else { return };
    println!("{}", process::machine());
    println!(
        "pitstop {}, Kubernetes {}, {n_nodes} simulated nodes, --time-scale {TIME_SCALE}",
        env!("CARGO_PKG_VERSION"),
        control_plane_version(&programs).await
    );
    let world = World::start(programs, n_nodes, size).await;
    let words = SYSTEMS.map(|(word, _)| word);
    let parts: Vec<(System, &'static str)> = BUDGETS
        .into_iter()
        .filter(|(word, _)| is_wanted(word, &BUDGETS.map(|(word, _)| word)))
        .flat_map(|(_, budget)| SYSTEMS.map(|(word, system)| (word, system, budget)))
        .filter(|(word, ..)| is_wanted(word, &words))
        .map(|(_, system, budget)| (system, budget))
        .collect();
    let n_parts = n_rounds * parts.len();
    let mut all = Vec::new();
    for (n, (system, budget)) in parts.into_iter().cycle().take(n_parts).enumerate() {
        all.push(world.rollout(system, budget, n + 1 < n_parts).await);
    }
    // The rows once more, without what was printed between them.
    heading();
    all.iter().for_each(Figures::row);
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
    async fn start(programs: PathBuf, n_nodes: usize, size: Size) -> Self {
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
            garbage: 100,
            ..Tuning::default()
        };
        let plane = ControlPlane::start(programs.clone(), tuning).await;
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
            // Nobody asks their owners.
            "--hubs",
            "none",
        ];
        let nodes = Background::start(folder.path(), &nodes_kubeconfig, &arguments).await;
        let client = plane.client().await;
        let world = Self {
            client,
            folder,
            nodes,
            controller_kubeconfig,
            n_nodes,
            size,
            programs,
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

    /// One rollout, from a workload made for it to its end. The workload is removed if another part follows.
    async fn rollout(&self, system: System, budget: &'static str, is_followed: bool) -> Figures {
        // Pods of a kind that pitstop brings are made by its controller, whose webhooks are asked about it.
        let mut controller = match system.flag() {
            Some(_) => Some(self.start_controller(system).await),
            None => None,
        };
        let namespace = self.make_workload(system, budget).await;
        if system == System::Pitstop {
            controller = Some(self.start_controller(system).await);
        }
        let pid = controller
            .as_ref()
            .map_or_else(|| self.plane.controller_manager_pid(), Background::pid);
        tokio::time::sleep(SETTLE).await;

        let begun_at = SystemClock.now();
        let (before, nodes_before) = (Usage::of(pid), Usage::of(self.nodes.pid()));
        let begin = Instant::now();
        let api = self.workloads(system, &namespace);
        let containers = json!([{"name": NAME, "image": "agent:2"}]);
        let image = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        api.patch(NAME, &PatchParams::default(), &Patch::Merge(image))
            .await
            .unwrap();
        let (n_pods, n_updated) = self.sizes(system);
        self.until_updated(&api, n_pods, n_updated).await;
        let took = begin.elapsed();
        tokio::time::sleep(SETTLE).await;
        let (after, nodes_after) = (Usage::of(pid), Usage::of(self.nodes.pid()));

        let audit = Audit::read(&self.plane.audit_log(), &namespace, begun_at);
        let max_unavailable = match budget.strip_suffix('%') {
            Some(percent) => (n_pods * percent.parse::<usize>().unwrap()).div_ceil(100),
            None => budget.parse().unwrap(),
        };
        let figures = Figures {
            system,
            budget,
            n_pods: n_updated,
            of_pods: n_pods,
            took,
            before,
            after,
            nodes_cpu: nodes_after.cpu - nodes_before.cpu,
            writes: audit.writes(system.user()),
            reactions: if system.is_in_place() {
                audit.reactions_in_place(system.user(), NODES, max_unavailable)
            } else {
                audit.reactions(system.user(), NODES, max_unavailable)
            },
        };
        figures.tell();
        // By the controller, which is asked for other versions of what goes.
        if is_followed {
            self.remove_workload(&namespace).await;
        }
        if let Some(controller) = controller {
            controller.stop().await;
        }
        figures
    }

    /// How many pods there are, and how many of them get the new image.
    fn sizes(&self, system: System) -> (usize, usize) {
        let n_pods = match system {
            System::CloneSet | System::StatefulSet => self.size.n_pods,
            _ => self.n_nodes,
        };
        let first = self.size.first.filter(|_| system != System::Native);
        (n_pods, first.map_or(n_pods, |first| first.min(n_pods)))
    }

    fn workloads(&self, system: System, namespace: &str) -> Api<DynamicObject> {
        let kind = system.kind();
        let gvk = GroupVersionKind::gvk(kind.group(), kind.version(), kind.kind());
        let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural());
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    async fn start_controller(&self, system: System) -> Background {
        let mut arguments = vec!["controller", "--metrics-addr", "127.0.0.1:0"];
        if let Some(flag) = system.flag() {
            self.apply_kinds().await;
            arguments.extend([flag, "--webhook-addr=127.0.0.1:0", "--webhook-host=127.0.0.1"]);
        }
        Background::start(self.folder.path(), &self.controller_kubeconfig, &arguments).await
    }

    /// What `pitstop manifests` prints, of which the kinds and their webhooks matter here. Once is enough: the controller keeps
    /// them.
    async fn apply_kinds(&self) {
        let gvk = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
        let definitions: Api<DynamicObject> =
            Api::all_with(self.client.clone(), &ApiResource::from_gvk(&gvk));
        let name = pitstop_api::cloneset::definition::NAME;
        if definitions.get_metadata_opt(name).await.unwrap().is_some() {
            return;
        }
        let program = env!("CARGO_BIN_EXE_pitstop");
        let printed = tokio::process::Command::new(program)
            .args(["manifests", "--controllers=daemonset,cloneset,statefulset"])
            .output()
            .await
            .unwrap();
        let file = self.folder.path().join("kinds.yaml");
        std::fs::write(&file, printed.stdout).unwrap();
        let applied = tokio::process::Command::new(self.programs.join("kubectl"))
            .arg("--kubeconfig")
            .arg(&self.controller_kubeconfig)
            .args(["apply", "--server-side", "-f"])
            .arg(&file)
            .output()
            .await
            .unwrap();
        assert!(
            applied.status.success(),
            "{}",
            String::from_utf8_lossy(&applied.stderr)
        );
    }

    /// A workload whose pods are all Ready, in a namespace of its own.
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
        let api = self.workloads(system, &namespace);
        let (n_pods, n_updated) = self.sizes(system);
        let object = match system {
            System::Pitstop | System::Native => daemonset(system, budget, n_pods - n_updated),
            System::Advanced | System::AdvancedInPlace => advanced(system, budget, n_pods - n_updated),
            System::CloneSet => cloneset(budget, n_pods, n_pods - n_updated),
            System::StatefulSet => statefulset(budget, n_pods, n_pods - n_updated),
        };
        let object = serde_json::from_value(object).unwrap();
        // Webhooks answer from the moment on when their certificate is in place.
        until("the workload is accepted", async || {
            api.create(&PostParams::default(), &object).await.is_ok()
        })
        .await;
        self.until_updated(&api, n_pods, n_pods).await;
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

    async fn until_updated(&self, api: &Api<DynamicObject>, n_pods: usize, n_updated: usize) {
        until("the workload is up to date", async || {
            let object = api.get(NAME).await.unwrap();
            let status = &object.data["status"];
            let count = |names: [&str; 2]| {
                let counts = names.into_iter().find_map(|name| status[name].as_u64());
                usize::try_from(counts.unwrap_or_default()).unwrap()
            };
            status["observedGeneration"].as_i64() >= object.metadata.generation
                && count(["updatedNumberScheduled", "updatedAvailableReplicas"]) >= n_updated
                && count(["numberAvailable", "availableReplicas"]) == n_pods
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

/// Of its pods, `kept` stay at the image that they have.
fn daemonset(system: System, budget: &str, kept: usize) -> Value {
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": amount(budget)}});
    let (mut annotations, mut strategy) = (json!({}), rolling);
    if system == System::Pitstop {
        annotations = json!({
            pitstop_api::keys::OPENYURT_UPDATE_STRATEGY: "AdvancedRollingUpdate",
            pitstop_api::keys::OPENYURT_MAX_UNAVAILABLE: budget,
        });
        strategy = json!({"type": "OnDelete"});
    }
    if kept > 0 {
        annotations[pitstop_api::keys::PARTITION] = kept.to_string().into();
    }
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": NAME, "annotations": annotations},
        "spec": {
            "selector": {"matchLabels": {"app": NAME}},
            "updateStrategy": strategy,
            "template": template(),
        },
    })
}

/// Of its pods, `kept` stay at the image that they have.
fn advanced(system: System, budget: &str, kept: usize) -> Value {
    let rolling_type = if system.is_in_place() {
        "InPlaceIfPossible"
    } else {
        "Standard"
    };
    json!({
        "apiVersion": "apps.kruise.io/v1beta1", "kind": "DaemonSet",
        "metadata": {"name": NAME},
        "spec": {
            "selector": {"matchLabels": {"app": NAME}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {
                "rollingUpdateType": rolling_type, "maxUnavailable": amount(budget), "partition": kept,
            }},
            "template": template(),
        },
    })
}

/// Of `n_pods`, `kept` stay at the image that they have.
fn cloneset(budget: &str, n_pods: usize, kept: usize) -> Value {
    json!({
        "apiVersion": "apps.kruise.io/v1beta1", "kind": "CloneSet",
        "metadata": {"name": NAME},
        "spec": {
            "replicas": n_pods,
            "selector": {"matchLabels": {"app": NAME}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {
                "podUpdatePolicy": "InPlaceIfPossible", "maxUnavailable": amount(budget), "partition": kept,
            }},
            "template": template(),
        },
    })
}

/// The same with identities: what makes them updatable in place is in the template, where OpenKruise wants it.
fn statefulset(budget: &str, n_pods: usize, kept: usize) -> Value {
    let mut object = cloneset(budget, n_pods, kept);
    object["kind"] = "StatefulSet".into();
    object["spec"]["podManagementPolicy"] = "Parallel".into();
    object["spec"]["template"]["spec"]["readinessGates"] =
        json!([{"conditionType": pitstop_api::reasons::INPLACE_UPDATE_READY}]);
    object
}

fn amount(budget: &str) -> Value {
    budget
        .parse::<i32>()
        .map_or_else(|_| json!(budget), |count| json!(count))
}

/// Images need no pull, so that pods start at once.
fn template() -> Value {
    let profile = json!([{"image": "*", "pullSeconds": 0.0}]).to_string();
    json!({
        "metadata": {
            "labels": {"app": NAME},
            "annotations": {(pitstop_api::keys::SIM_IMAGE_PROFILE): profile},
        },
        "spec": {"containers": [{"name": NAME, "image": "agent:1"}]},
    })
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
            "\n{}, max-unavailable {}: {} of {} pods in {:.1?}; the simulated nodes used {:.1} CPU s",
            self.system.name(),
            self.budget,
            self.n_pods,
            self.of_pods,
            self.took,
            self.nodes_cpu
        );
        for (what, n) in &self.writes {
            println!("  {n:6} {what}");
        }
        println!("  reactions: {}", self.reactions);
        heading();
        self.row();
    }

    fn row(&self) {
        println!(
            "| {} | {} of {} | {} | {:.2} | {:.1} ({:.1}) | {:.2} | {:.1} / {:.1} |",
            self.system.name(),
            self.n_pods,
            self.of_pods,
            self.budget,
            self.cpu_per_thousand(),
            self.after.resident,
            self.after.peak,
            self.per_pod(self.n_writes()),
            self.reactions.quantile(0.5),
            self.reactions.quantile(0.99),
        );
    }
}

fn heading() {
    println!(
        "\n| system | pods | max-unavailable | CPU s per 1,000 upgraded pods | memory, MiB (peak) | writes per pod \
         | pod Ready -> next begin, ms p50 / p99 |"
    );
    println!("|---|---|---|---|---|---|---|");
}
