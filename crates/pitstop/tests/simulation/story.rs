//! One run: a cluster with twenty nodes, two replicas of the controllers, a DaemonSet whose template changes twice, and a
//! storm; then calm, in which everything must come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use pitstop::hubs::user_of;
use pitstop_api::{SharedClock, keys};
use pitstop_cluster::informer::request;
use pitstop_cluster::node::{Fleet, FleetConfig, NodeSpec};
use pitstop_cluster::{Cluster, Config, VirtualClock};
use pitstop_controller::api::KubeApi;
use pitstop_controller::{Config as ControllerConfig, Replica};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::faulty::{Deeds, Fate, Faulty};
use crate::history::{self, Entry, History};
use crate::judge::{Rules, judge};
use crate::mutant::Mutant;
use crate::objects::{is_ready, node_of, owner};
use crate::owners::{Consents, LOOKS_EVERY, Owner};
use crate::skewed::Skewed;
use crate::storm::{Fault, Injected, Omitted, Storm};

/// The DaemonSet.
pub(crate) const NAME: &str = "agent";
/// A pod of somebody else.
pub(crate) const STRANGER: &str = "stranger";
const N_NODES: usize = 20;
/// Half of what a silent node is given.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How long things go wrong.
const STORM: Duration = Duration::from_mins(5);
/// How long it may take until everything is at rest afterwards.
const RECOVERY: Duration = Duration::from_mins(30);
/// How long nothing may be written then: longer than a resync.
const REST: Duration = Duration::from_mins(6);
/// How long the last status and what it brings may take: a hub that was cut off waits up to 30 s before it says more.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);
const DAEMONSET: &str = "/apis/apps/v1/namespaces/default/daemonsets/agent";
const PODS: &str = "/api/v1/namespaces/default/pods";
const MERGE: Option<&str> = Some("application/merge-patch+json");
const STRATEGIC: Option<&str> = Some("application/strategic-merge-patch+json");

/// Which rollout model is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model {
    /// `AdvancedRollingUpdate` on `OnDelete`.
    Advanced,
    /// `RollingUpdate`.
    Native,
    /// `OTA` on `OnDelete`: the owner of each node decides.
    Ota,
}

/// What one run brought.
pub(crate) struct Report {
    pub(crate) injected: Vec<Injected>,
    pub(crate) violations: Vec<String>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) lasted: SignedDuration,
}

impl Report {
    pub(crate) fn hash(&self) -> u64 {
        history::hash(&self.entries)
    }
}

/// Plays a seed.
pub(crate) fn play(seed: u64, mutant: Mutant, omitted: Omitted) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(Box::pin(async {
        let mut world = World::new(seed, mutant, omitted).await;
        world.storm_rages().await;
        world.calm_returns().await;
        world.report()
    }))
}

struct World {
    clock: SharedClock,
    began_at: Timestamp,
    cluster: Cluster,
    client: Client,
    fleet: Fleet,
    history: History,
    storm: Arc<Storm>,
    deeds: Arc<Deeds>,
    fates: Vec<Arc<Fate>>,
    model: Model,
    allowed: usize,
    random: StdRng,
    /// The image that the template names.
    image: u32,
    /// What ends with the storm at the latest, by node: is it cut off, or is it not there?
    lost: BTreeMap<String, Lost>,
    violations: Vec<String>,
    /// The owners of the nodes, by node; under OTA only.
    owners: BTreeMap<String, Owner>,
    consents: Arc<Consents>,
    /// What the hubs keep.
    disks: TempDir,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    CutOff,
    Removed,
}

impl World {
    async fn new(seed: u64, mutant: Mutant, omitted: Omitted) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock: SharedClock = Arc::new(VirtualClock::starting_at(start));
        let cluster = Cluster::start(Config {
            clock: Arc::clone(&clock),
            seed: Some(seed),
            ..Config::default()
        })
        .await
        .unwrap();
        let client = cluster.client();
        let history = History::follow(client.clone(), cluster.resource_version(), Arc::clone(&clock)).await;
        let config = FleetConfig {
            clock: Arc::clone(&clock),
            heartbeat: Some(HEARTBEAT),
            ..FleetConfig::default()
        };
        let fleet = Fleet::start(cluster.client_as("system:nodes"), config)
            .await
            .unwrap();
        for node in 1..=N_NODES {
            fleet.add(NodeSpec::new(&format!("n{node}"))).await.unwrap();
        }
        let storm = Arc::new(Storm::new(random.random(), Arc::clone(&clock), omitted));
        let deeds = Arc::new(Deeds::default());
        let mut fates = Vec::new();
        for (name, skew) in [("first", 5), ("second", -5)] {
            let fate = Arc::new(Fate::default());
            let api = Faulty {
                inner: Arc::new(KubeApi::new(cluster.client_as(name))),
                storm: Arc::clone(&storm),
                deeds: Arc::clone(&deeds),
                fate: Arc::clone(&fate),
                mutant,
            };
            let clock = Skewed::by(skew, Arc::clone(&clock));
            tokio::spawn(live(name, api, clock, random.random()));
            fates.push(fate);
        }
        let model = match seed % 8 {
            7 => Model::Ota,
            n if n % 2 == 0 => Model::Advanced,
            _ => Model::Native,
        };
        let (disks, consents) = (disks(), Arc::new(Consents::default()));
        let mut owners = BTreeMap::new();
        if model == Model::Ota {
            for node in (1..=N_NODES).map(|n| format!("n{n}")) {
                let clients = (cluster.client_as(&user_of(&node)), client.clone());
                let folder = disks.path().join(&node);
                let how = (random.random(), random.random());
                let owner = Owner::new(
                    &node,
                    clients,
                    Arc::clone(&clock),
                    folder,
                    how,
                    Arc::clone(&consents),
                );
                owners.insert(node.clone(), owner.await);
            }
        }
        Self {
            began_at: clock.now(),
            clock,
            cluster,
            client,
            fleet,
            history,
            storm,
            deeds,
            fates,
            model,
            allowed: random.random_range(1..=3),
            random,
            image: 1,
            lost: BTreeMap::new(),
            violations: Vec::new(),
            owners,
            consents,
            disks,
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: Option<&Value>,
    ) -> Option<Value> {
        request(&self.client, method, path, kind, body).await.ok()
    }

    async fn pods(&self) -> Vec<Value> {
        let list = self.call(Method::GET, PODS, None, None).await.unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// The pods of the DaemonSet.
    async fn ours(&self) -> Vec<Value> {
        let mut pods = self.pods().await;
        pods.retain(|pod| !owner(pod).is_empty());
        pods
    }

    async fn create_workload(&self) {
        let max_unavailable = self.allowed;
        let update_strategy = match self.model {
            Model::Advanced | Model::Ota => json!({"type": "OnDelete"}),
            Model::Native => {
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": max_unavailable}})
            }
        };
        let annotations = match self.model {
            Model::Advanced => json!({
                (keys::OPENYURT_UPDATE_STRATEGY): "AdvancedRollingUpdate",
                (keys::OPENYURT_MAX_UNAVAILABLE): max_unavailable.to_string(),
            }),
            Model::Native => json!({}),
            Model::Ota => json!({ (keys::OPENYURT_UPDATE_STRATEGY): "OTA" }),
        };
        let daemonset = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": NAME, "annotations": annotations},
            "spec": {
                "selector": {"matchLabels": {"app": NAME}},
                "updateStrategy": update_strategy,
                "template": {
                    "metadata": {"labels": {"app": NAME}},
                    "spec": {"containers": [{"name": "agent", "image": "example.com/agent:1"}]},
                },
            },
        });
        let collection = "/apis/apps/v1/namespaces/default/daemonsets";
        self.call(Method::POST, collection, None, Some(&daemonset))
            .await
            .unwrap();
        let stranger = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": STRANGER, "labels": {"app": "other"}},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "example.com/other:1"}]},
        });
        self.call(Method::POST, PODS, None, Some(&stranger))
            .await
            .unwrap();
    }

    /// The template names another image.
    async fn set_image(&mut self, image: &str) {
        let containers = json!([{"name": "agent", "image": image}]);
        let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        self.call(Method::PATCH, DAEMONSET, STRATEGIC, Some(&patch))
            .await
            .unwrap();
    }

    async fn storm_rages(&mut self) {
        self.create_workload().await;
        let ends_at = self.clock.now() + STORM;
        // Two template changes at least, and what else the seed draws.
        let changes = [0.2, 0.6].map(|part| self.clock.now() + STORM.mul_f64(part));
        let mut n_changed = 0;
        while self.clock.now() < ends_at {
            sleep(self.storm.duration(1_000..10_000)).await;
            if changes.get(n_changed).is_some_and(|at| *at <= self.clock.now()) {
                n_changed += 1;
                self.image += 1;
                let image = format!("example.com/agent:{}", self.image);
                self.set_image(&image).await;
            }
            self.something_happens().await;
            self.an_owner_acts().await;
        }
        assert_eq!(n_changed, changes.len());
    }

    async fn something_happens(&mut self) {
        match self.random.random_range(0..16) {
            0..=4 => self.a_node_goes_or_comes().await,
            5 | 6 => self.a_node_is_replaced().await,
            7 => self.a_version_is_broken().await,
            8 => self.the_rollout_is_undone().await,
            9 => self.a_pod_is_deleted_by_hand().await,
            10 => self.a_pod_is_relabelled().await,
            11 => self.a_finalizer_holds_a_pod().await,
            12 | 13 => self.a_replica_is_cut_off().await,
            14 => self.a_replica_crashes(),
            _ => {}
        }
    }

    /// Under OTA: an owner decides, or something befalls the hub.
    async fn an_owner_acts(&mut self) {
        if self.model != Model::Ota {
            return;
        }
        let node = self.any_node();
        let draw = self.random.random_range(0..10);
        let Some(owner) = self.owners.get_mut(&node) else {
            return;
        };
        match draw {
            0 if self.storm.inject(Fault::HubCrash, &node) => owner.crash().await,
            1 => {
                let seconds = self.storm.duration(1_000..400_000_000).as_secs();
                let seconds = i64::try_from(seconds).unwrap() - 200_000;
                if self
                    .storm
                    .inject(Fault::ClockJump, &format!("{node} by {seconds} s"))
                {
                    owner.set_clock(seconds);
                }
            }
            _ => owner.decide().await,
        }
    }

    fn any_node(&mut self) -> String {
        format!("n{}", self.random.random_range(1..=N_NODES))
    }

    async fn a_node_goes_or_comes(&mut self) {
        let node = self.any_node();
        match self.lost.get(&node) {
            Some(Lost::CutOff) => {
                self.connect(&node).await;
                self.lost.remove(&node);
            }
            None if self.storm.inject(Fault::NodeAway, &node) => {
                let path = format!("/api/v1/nodes/{node}");
                let patch = json!({"metadata": {"annotations": {(keys::SIM_NETWORK): "disconnected"}}});
                self.call(Method::PATCH, &path, MERGE, Some(&patch))
                    .await
                    .unwrap();
                if let Some(owner) = self.owners.get(&node) {
                    owner.set_connected(false);
                }
                self.lost.insert(node, Lost::CutOff);
            }
            _ => {}
        }
    }

    async fn connect(&self, node: &str) {
        let path = format!("/api/v1/nodes/{node}");
        let patch = json!({"metadata": {"annotations": {(keys::SIM_NETWORK): null}}});
        self.call(Method::PATCH, &path, MERGE, Some(&patch))
            .await
            .unwrap();
        if let Some(owner) = self.owners.get(node) {
            owner.set_connected(true);
        }
    }

    async fn a_node_is_replaced(&mut self) {
        let node = self.any_node();
        match self.lost.get(&node) {
            Some(Lost::Removed) => {
                self.fleet.add(NodeSpec::new(&node)).await.unwrap();
                self.lost.remove(&node);
            }
            None if self.storm.inject(Fault::NodeReplaced, &node) => {
                self.fleet.remove(&node).await.unwrap();
                self.lost.insert(node, Lost::Removed);
            }
            _ => {}
        }
    }

    async fn a_version_is_broken(&mut self) {
        if !self
            .storm
            .inject(Fault::BrokenVersion, "the image cannot be pulled")
        {
            return;
        }
        self.set_image("bad/agent:1").await;
        sleep(self.storm.duration(20_000..60_000)).await;
        let image = format!("example.com/agent:{}", self.image);
        self.set_image(&image).await;
    }

    async fn the_rollout_is_undone(&mut self) {
        if self.storm.inject(Fault::Edit, "back to the version before") {
            let image = format!("example.com/agent:{}", self.image.saturating_sub(1).max(1));
            self.set_image(&image).await;
        }
    }

    async fn any_pod(&mut self) -> Option<String> {
        let pods = self.ours().await;
        let pod = pods.get(self.random.random_range(0..pods.len().max(1)))?;
        Some(pod["metadata"]["name"].as_str()?.to_owned())
    }

    async fn a_pod_is_deleted_by_hand(&mut self) {
        if let Some(pod) = self.any_pod().await
            && self
                .storm
                .inject(Fault::Edit, &format!("{pod} is deleted by hand"))
        {
            self.call(Method::DELETE, &format!("{PODS}/{pod}"), None, None)
                .await;
        }
    }

    /// It is released, and later taken away by whoever wanted to look at it.
    async fn a_pod_is_relabelled(&mut self) {
        if let Some(pod) = self.any_pod().await
            && self
                .storm
                .inject(Fault::Edit, &format!("{pod} gets another label"))
        {
            let path = format!("{PODS}/{pod}");
            let patch = json!({"metadata": {"labels": {"app": "debug"}}});
            self.call(Method::PATCH, &path, MERGE, Some(&patch)).await;
            sleep(self.storm.duration(5_000..30_000)).await;
            self.call(Method::DELETE, &path, None, None).await;
        }
    }

    async fn a_finalizer_holds_a_pod(&mut self) {
        if let Some(pod) = self.any_pod().await
            && self
                .storm
                .inject(Fault::Edit, &format!("a finalizer holds {pod}"))
        {
            let path = format!("{PODS}/{pod}");
            let patch = json!({"metadata": {"finalizers": ["example.com/holds"]}});
            self.call(Method::PATCH, &path, MERGE, Some(&patch)).await;
            sleep(self.storm.duration(5_000..40_000)).await;
            self.release(&pod).await;
        }
    }

    async fn release(&self, pod: &str) {
        let patch = json!({"metadata": {"finalizers": null}});
        let path = format!("{PODS}/{pod}");
        self.call(Method::PATCH, &path, MERGE, Some(&patch)).await;
    }

    async fn a_replica_is_cut_off(&mut self) {
        let which = self.random.random_range(0..self.fates.len());
        if self.storm.inject(Fault::CutOff, &format!("replica {which}")) {
            self.fates[which].is_cut_off.store(true, Ordering::Relaxed);
            sleep(self.storm.duration(1_000..30_000)).await;
            self.fates[which].is_cut_off.store(false, Ordering::Relaxed);
        }
    }

    fn a_replica_crashes(&mut self) {
        let which = self.random.random_range(0..self.fates.len());
        if self.storm.inject(Fault::Crash, &format!("replica {which}")) {
            self.fates[which].crash.notify_one();
        }
    }

    /// All faults end. L1: everything gets where it should be, and then nothing is written any more. L2: nodes that come
    /// back are caught up.
    async fn calm_returns(&mut self) {
        self.storm.ends();
        for (node, lost) in std::mem::take(&mut self.lost) {
            match lost {
                Lost::CutOff => self.connect(&node).await,
                Lost::Removed => self.fleet.add(NodeSpec::new(&node)).await.unwrap(),
            }
        }
        let image = format!("example.com/agent:{}", self.image);
        self.set_image(&image).await;
        let deadline = self.clock.now() + RECOVERY;
        loop {
            let problem = self.unfinished(&image).await;
            let Some(problem) = problem else { break };
            if self.clock.now() >= deadline {
                self.violations
                    .push(format!("L1: {RECOVERY:?} after the storm {problem}"));
                return;
            }
            for owner in self.owners.values() {
                owner.decide().await;
            }
            sleep(LOOKS_EVERY).await;
        }
        // The last status and what it brings.
        sleep(SETTLES_WITHIN).await;
        let before = self.deeds.n_writes.load(Ordering::Relaxed) + self.consents.n_writes();
        sleep(REST).await;
        let n_writes = self.deeds.n_writes.load(Ordering::Relaxed) + self.consents.n_writes() - before;
        if n_writes > 0 {
            self.violations
                .push(format!("L1: {n_writes} writes after everything was done"));
        }
        if let Some(problem) = self.unfinished(&image).await {
            self.violations.push(format!("L1: it did not stay so: {problem}"));
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
        let daemonset = self.call(Method::GET, DAEMONSET, None, None).await?;
        let status = &daemonset["status"];
        let generation = &daemonset["metadata"]["generation"];
        let is_told = status["observedGeneration"] == *generation
            && status["updatedNumberScheduled"] == N_NODES
            && status["numberAvailable"] == N_NODES;
        (!is_told).then(|| format!("the status is {status}"))
    }

    fn report(mut self) -> Report {
        let entries = self.history.take();
        if self.model == Model::Ota {
            self.violations.extend(self.consents.violations());
            let deleted = self.deeds.outdated.lock().unwrap();
            for uid in deleted.iter().filter(|uid| !self.consents.has_any(uid)) {
                let text =
                    format!("S4: the controller deletes pod {uid}, whose owner did not agree to anything");
                self.violations.push(text);
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
            ours: self.deeds.deleted.lock().unwrap().iter().cloned().collect(),
        };
        let mut violations = judge(&entries, &rules);
        violations.extend(self.violations);
        drop((self.cluster, self.owners, self.disks));
        Report {
            injected: self.storm.injected(),
            violations,
            entries,
            lasted: self.clock.now().duration_since(self.began_at),
        }
    }
}

/// A folder in memory where there is one: disks are not what is simulated.
fn disks() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// A process that is started again whenever it ends.
async fn live(name: &'static str, api: Faulty, clock: SharedClock, seed: u64) {
    let fate = Arc::clone(&api.fate);
    for life in 0_u64.. {
        fate.is_fresh.store(true, Ordering::Relaxed);
        let config = ControllerConfig::new(Arc::clone(&clock), name, seed.wrapping_add(life));
        let api = Arc::new(api.clone());
        let runs = async {
            if let Ok(mut replica) = Replica::start_on(api, config).await {
                while replica.next().await.is_ok() {}
            }
        };
        tokio::select! {
            biased;
            () = fate.crash.notified() => {}
            () = runs => {}
        }
        sleep(Duration::from_secs(3)).await;
    }
}
