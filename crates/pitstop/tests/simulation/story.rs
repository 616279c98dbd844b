//! One run of DaemonSets: twenty nodes, a DaemonSet whose template changes twice, and a storm; then calm, in which
//! everything must come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use pitstop::embedded::kinds;
use pitstop::hubs::user_of;
use pitstop_api::{keys, reasons};
use pitstop_controller::Controller;
use pitstop_controller::api::Resource;
use pitstop_engine::feature_gates::FeatureGates;
use rand::RngExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::instances::WORKS;
use crate::judge::{CANARIES, CANARY, PROTECTION, Rules, judge};
use crate::mutant::Mutant;
use crate::objects::{is_ready, node_of, owner};
use crate::owners::{Consents, LOOKS_EVERY, Owner};
use crate::stage::{self, MERGE, PODS, Report, STRATEGIC, Stage};
use crate::storm::{Fault, Omitted};

/// The DaemonSet.
pub(crate) const NAME: &str = "agent";
const N_NODES: usize = 20;
/// How long things go wrong.
const STORM: Duration = Duration::from_mins(5);
/// How long it may take until everything is at rest afterwards.
const RECOVERY: Duration = Duration::from_mins(30);
/// How long nothing may be written then: longer than a resync.
const REST: Duration = Duration::from_mins(6);
/// How long the last status and what it brings may take: a hub that was cut off waits up to 30 s before it says more.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);
const NATIVE: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const KRUISE: &str = "/apis/apps.kruise.io/v1beta1/namespaces/default/daemonsets";
/// Where the fields of rolling updates are.
const ROLLING: [&str; 3] = ["spec", "updateStrategy", "rollingUpdate"];

/// Which rollout model is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model {
    /// `AdvancedRollingUpdate` on `OnDelete`.
    Advanced,
    /// `RollingUpdate`.
    Native,
    /// `OTA` on `OnDelete`: the owner of each node decides.
    Ota,
    /// `RollingUpdate` of the kind of `apps.kruise.io`.
    Kruise,
}

impl Model {
    /// Where its DaemonSets are.
    fn collection(self) -> &'static str {
        match self {
            Self::Kruise => KRUISE,
            Self::Advanced | Self::Native | Self::Ota => NATIVE,
        }
    }

    fn resource(self) -> Resource {
        match self {
            Self::Kruise => Resource::AdvancedDaemonSets,
            Self::Advanced | Self::Native | Self::Ota => Resource::DaemonSets,
        }
    }

    fn controllers(self) -> &'static [Controller] {
        match self {
            Self::Kruise => &[Controller::AdvancedDaemonSet],
            Self::Advanced | Self::Native | Self::Ota => {
                &[Controller::NativeDaemonSet, Controller::DaemonPodUpdater]
            }
        }
    }
}

/// Plays a seed.
pub(crate) fn play(seed: u64, mutant: Mutant, omitted: Omitted) -> Report {
    let model = match seed % 8 {
        7 => Model::Ota,
        n if n % 2 == 0 => Model::Advanced,
        _ => Model::Native,
    };
    play_with(model, seed, mutant, omitted)
}

/// Plays a seed with a DaemonSet of `apps.kruise.io`.
pub(crate) fn play_kruise(seed: u64, mutant: Mutant, omitted: Omitted) -> Report {
    play_with(Model::Kruise, seed, mutant, omitted)
}

fn play_with(model: Model, seed: u64, mutant: Mutant, omitted: Omitted) -> Report {
    stage::run(async {
        let mut world = World::new(model, seed, mutant, omitted).await;
        world.storm_rages().await;
        world.calm_returns().await;
        world.report()
    })
}

struct World {
    stage: Stage,
    model: Model,
    /// Do its pods stay when they are updated?
    in_place: bool,
    /// Our own keys, as far as they are on the DaemonSet; `None`: somebody does without them.
    keys: Option<BTreeMap<&'static str, &'static str>>,
    allowed: usize,
    /// The image that the template names.
    image: u32,
    /// The owners of the nodes, by node; under OTA only.
    owners: BTreeMap<String, Owner>,
    consents: Arc<Consents>,
    /// What the hubs keep.
    disks: TempDir,
}

impl World {
    async fn new(model: Model, seed: u64, mutant: Mutant, omitted: Omitted) -> Self {
        let mut stage = Stage::open(seed, mutant, omitted, N_NODES).await;
        if model == Model::Kruise {
            kinds::install(&stage.cluster, &FeatureGates::default())
                .await
                .unwrap();
        }
        let history = [
            Resource::Pods,
            Resource::Nodes,
            model.resource(),
            Resource::ControllerRevisions,
        ];
        stage.begin(&history, model.controllers()).await;
        let (disks, consents) = (disks(), Arc::new(Consents::default()));
        let mut owners = BTreeMap::new();
        if model == Model::Ota {
            for node in (1..=N_NODES).map(|n| format!("n{n}")) {
                let clients = (stage.cluster.client_as(&user_of(&node)), stage.client.clone());
                let folder = disks.path().join(&node);
                let how = (stage.random.random(), stage.random.random());
                let clock = Arc::clone(&stage.clock);
                let owner = Owner::new(&node, clients, clock, folder, how, Arc::clone(&consents));
                owners.insert(node.clone(), owner.await);
            }
        }
        Self {
            allowed: stage.random.random_range(1..=3),
            stage,
            model,
            in_place: match model {
                Model::Advanced => seed % 8 >= 4,
                Model::Kruise => seed % 2 == 1,
                Model::Native | Model::Ota => false,
            },
            keys: (model == Model::Advanced && seed % 4 == 2).then(BTreeMap::new),
            image: 1,
            owners,
            consents,
            disks,
        }
    }

    /// The pods of the DaemonSet.
    async fn ours(&self) -> Vec<Value> {
        let mut pods = self.stage.pods().await;
        pods.retain(|pod| !owner(pod).is_empty());
        pods
    }

    /// The DaemonSet.
    fn path(&self) -> String {
        format!("{}/{NAME}", self.model.collection())
    }

    /// Kinds that are defined know no strategic patch.
    async fn patch(&self, patch: &Value) -> Option<Value> {
        let kind = if self.model == Model::Kruise {
            MERGE
        } else {
            STRATEGIC
        };
        self.stage
            .call(Method::PATCH, &self.path(), kind, Some(patch))
            .await
    }

    async fn create_workload(&self) {
        let max_unavailable = self.allowed;
        let update_strategy = match self.model {
            Model::Advanced | Model::Ota => json!({"type": "OnDelete"}),
            Model::Native => {
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": max_unavailable}})
            }
            Model::Kruise => {
                let how = if self.in_place {
                    "InPlaceIfPossible"
                } else {
                    "Standard"
                };
                json!({"type": "RollingUpdate", "rollingUpdate": {
                    "rollingUpdateType": how, "maxUnavailable": max_unavailable}})
            }
        };
        let policy = if self.in_place {
            "InPlaceIfPossible"
        } else {
            "ReCreate"
        };
        let gate = json!({"conditionType": reasons::INPLACE_UPDATE_READY});
        // Of `apps.kruise.io`, pods have it beside the template.
        let is_in_template = self.in_place && self.model == Model::Advanced;
        let gates: Vec<Value> = is_in_template.then_some(gate).into_iter().collect();
        let annotations = match self.model {
            Model::Advanced => json!({
                (keys::POD_UPDATE_POLICY): policy,
                (keys::OPENYURT_UPDATE_STRATEGY): "AdvancedRollingUpdate",
                (keys::OPENYURT_MAX_UNAVAILABLE): max_unavailable.to_string(),
            }),
            Model::Native | Model::Kruise => json!({}),
            Model::Ota => json!({ (keys::OPENYURT_UPDATE_STRATEGY): "OTA" }),
        };
        let api_version = match self.model {
            Model::Kruise => "apps.kruise.io/v1beta1",
            Model::Advanced | Model::Native | Model::Ota => "apps/v1",
        };
        let daemonset = json!({
            "apiVersion": api_version, "kind": "DaemonSet",
            "metadata": {"name": NAME, "annotations": annotations},
            "spec": {
                "selector": {"matchLabels": {"app": NAME}},
                "updateStrategy": update_strategy,
                "template": {
                    "metadata": {"labels": {"app": NAME}},
                    "spec": {
                        "readinessGates": gates,
                        "containers": [{"name": "agent", "image": "example.com/agent:1"}],
                    },
                },
            },
        });
        self.stage
            .call(Method::POST, self.model.collection(), None, Some(&daemonset))
            .await
            .unwrap();
        self.stage.add_stranger().await;
    }

    /// The template names another image.
    async fn set_image(&mut self, image: &str) {
        let containers = json!([{"name": "agent", "image": image}]);
        let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        self.patch(&patch).await.unwrap();
    }

    async fn storm_rages(&mut self) {
        self.create_workload().await;
        let ends_at = self.stage.clock.now() + STORM;
        // Two template changes at least, and what else the seed draws.
        let changes = [0.2, 0.6].map(|part| self.stage.clock.now() + STORM.mul_f64(part));
        let mut n_changed = 0;
        while self.stage.clock.now() < ends_at {
            sleep(self.stage.storm.duration(1_000..10_000)).await;
            if changes
                .get(n_changed)
                .is_some_and(|at| *at <= self.stage.clock.now())
            {
                n_changed += 1;
                self.image += 1;
                let image = format!("example.com/agent:{}", self.image);
                self.set_image(&image).await;
            }
            self.something_happens().await;
            self.a_key_changes().await;
            self.a_field_changes().await;
            self.an_owner_acts().await;
        }
        assert_eq!(n_changed, changes.len());
    }

    async fn something_happens(&mut self) {
        match self.stage.random.random_range(0..17) {
            0..=4 => {
                if let Some((node, is_connected)) = self.stage.a_node_goes_or_comes().await
                    && let Some(owner) = self.owners.get(&node)
                {
                    owner.set_connected(is_connected);
                }
            }
            5 | 6 => self.stage.a_node_is_replaced().await,
            7 => self.a_version_is_broken().await,
            8 => self.the_rollout_is_undone().await,
            9 => self.a_pod_is_deleted_by_hand().await,
            10 => {
                if let Some(pod) = self.any_pod().await {
                    self.stage.relabel(&pod).await;
                }
            }
            11 => {
                if let Some(pod) = self.any_pod().await {
                    self.stage.hold(&pod).await;
                }
            }
            12 | 13 => self.stage.a_replica_is_cut_off().await,
            14 => self.stage.a_replica_crashes(),
            15 => {
                let nodes: Vec<String> = (0..3)
                    .map(|_| format!("/api/v1/nodes/{}", self.stage.any_node()))
                    .collect();
                self.stage.labels_flap(&nodes).await;
            }
            // The clocks of hubs jump where there are some.
            16 if self.model == Model::Kruise => self.stage.a_clock_jumps(),
            _ => self.a_pod_gets_or_ends_its_work().await,
        }
    }

    /// Somebody puts one of our own keys on the DaemonSet, or takes it off again.
    async fn a_key_changes(&mut self) {
        let Some(set) = &mut self.keys else { return };
        let (key, value) = match self.stage.random.random_range(0..16) {
            0 | 1 => (keys::PAUSED, "true"),
            2 => (keys::PARTITION, "40%"),
            3 | 4 => (keys::CANARY_NODES, CANARY),
            5 => (keys::MIN_NODE_READY_SECONDS, "20"),
            6 => (keys::MAX_UNAVAILABLE_PER_POOL, "1"),
            7 => (keys::NODE_LOSS_GUARD, "off"),
            8 => (keys::PARTITION, "malformed"),
            9 => (keys::PACE, "adaptive"),
            10 => (keys::PROGRESS_DEADLINE_SECONDS, "30"),
            11 => (keys::ON_FAILURE, "Rollback"),
            12 | 13 => (keys::UPDATE_PROTECTION, PROTECTION),
            _ => return,
        };
        let is_taken_off = set.remove(key).is_some();
        if !is_taken_off {
            set.insert(key, value);
        }
        let value = (!is_taken_off).then_some(value);
        self.annotate(&json!({ (key): value })).await;
    }

    /// Of `apps.kruise.io`: somebody holds the rollout, or a part of it, or lets it go on.
    async fn a_field_changes(&mut self) {
        if self.model != Model::Kruise {
            return;
        }
        let rolling = match self.stage.random.random_range(0..14) {
            0 => json!({"paused": true}),
            1 | 2 => json!({"paused": false}),
            3 => json!({"partition": "40%"}),
            4 => json!({"partition": null}),
            5 => json!({"selector": {"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": CANARIES}]}}),
            6 => json!({"selector": null}),
            _ => return,
        };
        self.roll(&rolling).await;
    }

    async fn roll(&self, rolling: &Value) {
        let patch = ROLLING
            .iter()
            .rev()
            .fold(rolling.clone(), |inner, name| json!({ (*name): inner }));
        self.patch(&patch).await.unwrap();
    }

    async fn annotate(&self, annotations: &Value) {
        let patch = json!({"metadata": {"annotations": annotations}});
        self.patch(&patch).await.unwrap();
    }

    /// Under OTA: an owner decides, or something befalls the hub.
    async fn an_owner_acts(&mut self) {
        if self.model != Model::Ota {
            return;
        }
        let node = self.stage.any_node();
        let draw = self.stage.random.random_range(0..10);
        let Some(owner) = self.owners.get_mut(&node) else {
            return;
        };
        match draw {
            0 if self.stage.storm.inject(Fault::HubCrash, &node) => owner.crash().await,
            1 => {
                let seconds = self.stage.storm.duration(1_000..400_000_000).as_secs();
                let seconds = i64::try_from(seconds).unwrap() - 200_000;
                if self
                    .stage
                    .storm
                    .inject(Fault::ClockJump, &format!("{node} by {seconds} s"))
                {
                    owner.set_clock(seconds);
                }
            }
            _ => owner.decide().await,
        }
    }

    async fn a_version_is_broken(&mut self) {
        if !self
            .stage
            .storm
            .inject(Fault::BrokenVersion, "the image cannot be pulled")
        {
            return;
        }
        self.set_image("bad/agent:1").await;
        sleep(self.stage.storm.duration(20_000..60_000)).await;
        let image = format!("example.com/agent:{}", self.image);
        self.set_image(&image).await;
    }

    async fn the_rollout_is_undone(&mut self) {
        if self.stage.storm.inject(Fault::Edit, "back to the version before") {
            let image = format!("example.com/agent:{}", self.image.saturating_sub(1).max(1));
            self.set_image(&image).await;
        }
    }

    async fn any_pod(&mut self) -> Option<String> {
        let pods = self.ours().await;
        let pod = pods.get(self.stage.random.random_range(0..pods.len().max(1)))?;
        Some(pod["metadata"]["name"].as_str()?.to_owned())
    }

    /// Where somebody uses our own keys: what a pod's labels say about its work changes.
    async fn a_pod_gets_or_ends_its_work(&mut self) {
        if self.keys.is_none() {
            return;
        }
        let works = self.stage.random.random_bool(0.5).to_string();
        if let Some(pod) = self.any_pod().await {
            let patch = json!({"metadata": {"labels": {(WORKS): works}}});
            let path = format!("{PODS}/{pod}");
            // It may be gone by now.
            self.stage.call(Method::PATCH, &path, MERGE, Some(&patch)).await;
        }
    }

    async fn a_pod_is_deleted_by_hand(&mut self) {
        if let Some(pod) = self.any_pod().await
            && self
                .stage
                .storm
                .inject(Fault::Edit, &format!("{pod} is deleted by hand"))
        {
            self.stage.delete_by_hand(&pod).await;
        }
    }

    /// All faults end. L1: everything gets where it should be, and then nothing is written any more. L2: nodes that come
    /// back are caught up.
    async fn calm_returns(&mut self) {
        for node in self.stage.calm().await {
            if let Some(owner) = self.owners.get(&node) {
                owner.set_connected(true);
            }
        }
        for key in self.keys.take().into_iter().flat_map(BTreeMap::into_keys) {
            self.annotate(&json!({ (key): null })).await;
        }
        if self.model == Model::Kruise {
            self.roll(&json!({"paused": null, "partition": null, "selector": null}))
                .await;
        }
        let image = format!("example.com/agent:{}", self.image);
        self.set_image(&image).await;
        let deadline = self.stage.clock.now() + RECOVERY;
        loop {
            let problem = self.unfinished(&image).await;
            let Some(problem) = problem else { break };
            if self.stage.clock.now() >= deadline {
                self.stage
                    .violations
                    .push(format!("L1: {RECOVERY:?} after the storm {problem}"));
                return;
            }
            for owner in self.owners.values() {
                owner.decide().await;
            }
            self.resume_where_stopped().await;
            sleep(LOOKS_EVERY).await;
        }
        // The last status and what it brings.
        sleep(SETTLES_WITHIN).await;
        let before = self.stage.deeds.n_writes.load(Ordering::Relaxed) + self.consents.n_writes();
        sleep(REST).await;
        let n_writes = self.stage.deeds.n_writes.load(Ordering::Relaxed) + self.consents.n_writes() - before;
        if n_writes > 0 {
            self.stage
                .violations
                .push(format!("L1: {n_writes} writes after everything was done"));
        }
        if let Some(problem) = self.unfinished(&image).await {
            self.stage
                .violations
                .push(format!("L1: it did not stay so: {problem}"));
        }
    }

    /// Nodes that a storm takes right after their update look like nodes that the update costs: the guard stops the rollout,
    /// and somebody lets it go on.
    async fn resume_where_stopped(&mut self) {
        let daemonset = self.stage.call(Method::GET, &self.path(), None, None).await;
        let conditions = daemonset.map(|daemonset| daemonset["status"]["conditions"].clone());
        let is_stop = |one: &Value| one["type"] == reasons::NODES_LOST && one["status"] == "True";
        if conditions.is_some_and(|all| all.as_array().is_some_and(|all| all.iter().any(is_stop))) {
            // Later than any clock here has it.
            let at = (self.stage.clock.now() + Duration::from_secs(10)).to_string();
            let patch = json!({"metadata": {"annotations": {(keys::RESUMED_AT): at}}});
            self.patch(&patch).await;
        }
    }

    /// What is not yet as it should be.
    async fn unfinished(&self, image: &str) -> Option<String> {
        let pods = self.ours().await;
        let nodes: BTreeSet<String> = pods.iter().map(node_of).collect();
        if pods.len() != N_NODES || nodes.len() != N_NODES {
            return Some(format!("there are {} pods on {} nodes", pods.len(), nodes.len()));
        }
        let is_done = |pod: &&Value| {
            is_ready(pod)
                && pod["metadata"]["deletionTimestamp"].is_null()
                && pod["spec"]["containers"][0]["image"] == image
        };
        let n_done = pods.iter().filter(is_done).count();
        if n_done < N_NODES {
            return Some(format!("{n_done} of {N_NODES} pods run {image}"));
        }
        let daemonset = self.stage.call(Method::GET, &self.path(), None, None).await?;
        let status = &daemonset["status"];
        let generation = &daemonset["metadata"]["generation"];
        let is_told = status["observedGeneration"] == *generation
            && status["updatedNumberScheduled"] == N_NODES
            && status["numberAvailable"] == N_NODES;
        (!is_told).then(|| format!("the status is {status}"))
    }

    fn report(mut self) -> Report {
        let entries = self.stage.history.take();
        let deeds = Arc::clone(&self.stage.deeds);
        if self.model == Model::Ota {
            self.stage.violations.extend(self.consents.violations());
            let deleted = deeds.outdated.lock().unwrap();
            for uid in deleted.iter().filter(|uid| !self.consents.has_any(uid)) {
                let text =
                    format!("S4: the controller deletes pod {uid}, whose owner did not agree to anything");
                self.stage.violations.push(text);
            }
        }
        let rules = Rules {
            // Owners do not wait for each other.
            allowed: if self.model == Model::Ota {
                N_NODES
            } else {
                self.allowed
            },
            passes_over: self.model == Model::Advanced,
            only_those_that_take_part: self.model == Model::Kruise,
            ours: deeds.deleted(),
            upgrades: deeds.outdated.lock().unwrap().iter().cloned().collect(),
        };
        let violations = judge(&entries, &rules);
        drop((self.owners, self.disks));
        self.stage.close(entries, violations)
    }
}

/// A folder in memory where there is one: disks are not what is simulated.
fn disks() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}
