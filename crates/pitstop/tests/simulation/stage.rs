//! What every story is played on: a cluster with nodes, two replicas of the controllers, and a storm over all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use pitstop_api::{SharedClock, keys};
use pitstop_cluster::informer::request;
use pitstop_cluster::node::{Fleet, FleetConfig, NodeSpec};
use pitstop_cluster::{Cluster, Config, VirtualClock};
use pitstop_controller::api::{KubeApi, Resource};
use pitstop_controller::{Config as ControllerConfig, Controller, Replica};
use pitstop_engine::feature_gates::FeatureGates;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::arbiter::Arbiter;
use crate::faulty::{Deeds, Fate, Faulty};
use crate::history::{self, Entry, History};
use crate::mutant::Mutant;
use crate::objects::text;
use crate::skewed::Skewed;
use crate::storm::{Fault, Injected, Omitted, Storm};

/// A pod of somebody else.
pub(crate) const STRANGER: &str = "stranger";
/// Half of what a silent node is given.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How many changes come at once when labels flap.
const N_FLAPS: usize = 150;
/// How far the clock of a replica may be off. Units: seconds. Source: reliability.md 1, F10.
const SKEW: i64 = 5;
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";
pub(crate) const MERGE: Option<&str> = Some("application/merge-patch+json");
pub(crate) const STRATEGIC: Option<&str> = Some("application/strategic-merge-patch+json");

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

/// Plays a seed: with a controller that is broken in this way, and without these faults.
pub(crate) type Play = fn(u64, Mutant, Omitted) -> Report;

/// Runs a story in virtual time.
pub(crate) fn run(story: impl Future<Output = Report>) -> Report {
    block_on(story)
}

/// Runs anything in virtual time.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(Box::pin(work))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    CutOff,
    Removed,
}

pub(crate) struct Stage {
    pub(crate) clock: SharedClock,
    pub(crate) began_at: Timestamp,
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    pub(crate) history: History,
    pub(crate) storm: Arc<Storm>,
    pub(crate) arbiter: Arc<Arbiter>,
    /// What the controllers may do.
    pub(crate) gates: FeatureGates,
    pub(crate) deeds: Arc<Deeds>,
    pub(crate) random: StdRng,
    pub(crate) violations: Vec<String>,
    fleet: Fleet,
    mutant: Mutant,
    fates: Vec<Arc<Fate>>,
    clocks: Vec<Arc<Skewed>>,
    n_nodes: usize,
    /// What ends with the storm at the latest, by node: is it cut off, or is it not there?
    lost: BTreeMap<String, Lost>,
}

impl Stage {
    /// A cluster with so many nodes, and nobody at work yet.
    pub(crate) async fn open(seed: u64, mutant: Mutant, omitted: Omitted, n_nodes: usize) -> Self {
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
        let config = FleetConfig {
            clock: Arc::clone(&clock),
            heartbeat: Some(HEARTBEAT),
            ..FleetConfig::default()
        };
        let fleet = Fleet::start(cluster.client_as("system:nodes"), config)
            .await
            .unwrap();
        let storm = Arc::new(Storm::new(random.random(), Arc::clone(&clock), omitted));
        Self {
            began_at: clock.now(),
            client: cluster.client(),
            history: History::default(),
            deeds: Arc::new(Deeds::default()),
            arbiter: Arbiter::open(Arc::clone(&clock), Arc::clone(&storm)),
            gates: FeatureGates::default(),
            fates: Vec::new(),
            clocks: Vec::new(),
            lost: BTreeMap::new(),
            violations: Vec::new(),
            clock,
            cluster,
            storm,
            random,
            fleet,
            mutant,
            n_nodes,
        }
    }

    /// Nodes come, these kinds are written down from now on, and two replicas of the controllers go to work.
    pub(crate) async fn begin(&mut self, kinds: &[Resource], controllers: &[Controller]) {
        let version = self.cluster.resource_version();
        self.history = History::follow(self.client.clone(), kinds, version, &self.clock).await;
        for node in 1..=self.n_nodes {
            let spec = NodeSpec::new(&format!("n{node}"));
            self.fleet.add(spec).await.unwrap();
        }
        for (name, skew) in [("first", SKEW), ("second", -SKEW)] {
            let fate = Arc::new(Fate::default());
            let api = Faulty {
                inner: Arc::new(KubeApi::new(self.cluster.client_as(name))),
                storm: Arc::clone(&self.storm),
                deeds: Arc::clone(&self.deeds),
                fate: Arc::clone(&fate),
                mutant: self.mutant,
                arbiter: Arc::clone(&self.arbiter),
            };
            let clock = Skewed::by(skew, Arc::clone(&self.clock));
            let seed = self.random.random();
            let mut config = ControllerConfig::new(Arc::clone(&clock) as SharedClock, name, seed);
            config.set_gates(self.gates.clone());
            config.controllers = controllers.iter().copied().collect::<BTreeSet<_>>();
            tokio::spawn(live(api, config));
            self.fates.push(fate);
            self.clocks.push(clock);
        }
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: Option<&Value>,
    ) -> Option<Value> {
        request(&self.client, method, path, kind, body).await.ok()
    }

    pub(crate) async fn pods(&self) -> Vec<Value> {
        let list = self.call(Method::GET, PODS, None, None).await.unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// Makes an object.
    pub(crate) async fn add(&self, collection: &str, object: &Value) {
        let answer = self.call(Method::POST, collection, None, Some(object)).await;
        assert!(answer.is_some(), "nobody takes {object}");
    }

    /// A pod that is nobody's business.
    pub(crate) async fn add_stranger(&self) {
        let stranger = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": STRANGER, "labels": {"app": "other"}},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "example.com/other:1"}]},
        });
        self.call(Method::POST, PODS, None, Some(&stranger))
            .await
            .unwrap();
    }

    pub(crate) fn any_node(&mut self) -> String {
        format!("n{}", self.random.random_range(1..=self.n_nodes))
    }

    /// A node is cut off, or is back: says which one, and whether it is connected now.
    pub(crate) async fn a_node_goes_or_comes(&mut self) -> Option<(String, bool)> {
        let node = self.any_node();
        match self.lost.get(&node) {
            Some(Lost::CutOff) => {
                self.connect(&node).await;
                self.lost.remove(&node);
                Some((node, true))
            }
            None if self.storm.inject(Fault::NodeAway, &node) => {
                let path = format!("/api/v1/nodes/{node}");
                let patch = json!({"metadata": {"annotations": {(keys::SIM_NETWORK): "disconnected"}}});
                self.call(Method::PATCH, &path, MERGE, Some(&patch))
                    .await
                    .unwrap();
                self.lost.insert(node.clone(), Lost::CutOff);
                Some((node, false))
            }
            _ => None,
        }
    }

    async fn connect(&self, node: &str) {
        let path = format!("/api/v1/nodes/{node}");
        let patch = json!({"metadata": {"annotations": {(keys::SIM_NETWORK): null}}});
        self.call(Method::PATCH, &path, MERGE, Some(&patch))
            .await
            .unwrap();
    }

    pub(crate) async fn a_node_is_replaced(&mut self) {
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

    pub(crate) async fn delete_by_hand(&self, pod: &str) {
        let path = format!("{PODS}/{pod}");
        if let Some(found) = self.call(Method::GET, &path, None, None).await {
            self.deeds.theirs(text(&found["metadata"]["uid"]));
        }
        self.call(Method::DELETE, &path, None, None).await;
    }

    /// A pod is released, and later taken away by whoever wanted to look at it.
    pub(crate) async fn relabel(&self, pod: &str) {
        if !self
            .storm
            .inject(Fault::Edit, &format!("{pod} gets another label"))
        {
            return;
        }
        let patch = json!({"metadata": {"labels": {"app": "debug"}}});
        let path = format!("{PODS}/{pod}");
        self.call(Method::PATCH, &path, MERGE, Some(&patch)).await;
        sleep(self.storm.duration(5_000..30_000)).await;
        self.delete_by_hand(pod).await;
    }

    /// Somebody's finalizer holds a pod for some time.
    pub(crate) async fn hold(&self, pod: &str) {
        const FINALIZER: &str = "example.com/holds";
        if !self
            .storm
            .inject(Fault::Edit, &format!("a finalizer holds {pod}"))
        {
            return;
        }
        let path = format!("{PODS}/{pod}");
        let patch = json!({"metadata": {"finalizers": [FINALIZER]}});
        self.call(Method::PATCH, &path, STRATEGIC, Some(&patch)).await;
        sleep(self.storm.duration(5_000..40_000)).await;
        let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
        self.call(Method::PATCH, &path, STRATEGIC, Some(&patch)).await;
    }

    pub(crate) async fn a_replica_is_cut_off(&mut self) {
        let which = self.random.random_range(0..self.fates.len());
        if self.storm.inject(Fault::CutOff, &format!("replica {which}")) {
            self.fates[which].is_cut_off.store(true, Ordering::Relaxed);
            sleep(self.storm.duration(1_000..30_000)).await;
            self.fates[which].is_cut_off.store(false, Ordering::Relaxed);
        }
    }

    pub(crate) fn a_replica_crashes(&mut self) {
        let which = self.random.random_range(0..self.fates.len());
        if self.storm.inject(Fault::Crash, &format!("replica {which}")) {
            self.fates[which].crash.notify_one();
        }
    }

    /// The clock of a replica is set, within what clocks may differ.
    pub(crate) fn a_clock_jumps(&mut self) {
        let which = self.random.random_range(0..self.clocks.len());
        let seconds = self.random.random_range(-SKEW..=SKEW);
        if self
            .storm
            .inject(Fault::ClockJump, &format!("replica {which} is {seconds} s ahead"))
        {
            self.clocks[which].set(seconds);
        }
    }

    /// A label of each of these objects flaps as fast as it can.
    pub(crate) async fn labels_flap(&mut self, paths: &[String]) {
        if paths.is_empty()
            || !self
                .storm
                .inject(Fault::Load, &format!("{N_FLAPS} changes of labels at once"))
        {
            return;
        }
        for n in 0..N_FLAPS {
            let path = &paths[n % paths.len()];
            let patch = json!({"metadata": {"labels": {"example.com/flap": n.to_string()}}});
            self.call(Method::PATCH, path, MERGE, Some(&patch)).await;
        }
        for path in paths {
            let patch = json!({"metadata": {"labels": {"example.com/flap": null}}});
            self.call(Method::PATCH, path, MERGE, Some(&patch)).await;
        }
    }

    /// Nothing goes wrong from now on, and all clocks show the same.
    pub(crate) fn nothing_goes_wrong(&self) {
        self.storm.ends();
        self.arbiter.set_silent(false);
        for clock in &self.clocks {
            clock.set(0);
        }
    }

    /// The storm is over, and all nodes are there: says which ones were cut off.
    pub(crate) async fn calm(&mut self) -> Vec<String> {
        self.storm.ends();
        self.arbiter.set_silent(false);
        let mut connected = Vec::new();
        for (node, lost) in std::mem::take(&mut self.lost) {
            match lost {
                Lost::CutOff => {
                    self.connect(&node).await;
                    connected.push(node);
                }
                Lost::Removed => self.fleet.add(NodeSpec::new(&node)).await.unwrap(),
            }
        }
        connected
    }

    /// What came of it; `violations` come before those that were noted on the way.
    pub(crate) fn close(self, entries: Vec<Entry>, mut violations: Vec<String>) -> Report {
        violations.extend(self.violations);
        drop(self.cluster);
        Report {
            injected: self.storm.injected(),
            violations,
            entries,
            lasted: self.clock.now().duration_since(self.began_at),
        }
    }
}

/// A process that is started again whenever it ends.
async fn live(api: Faulty, mut config: ControllerConfig) {
    let fate = Arc::clone(&api.fate);
    loop {
        fate.is_fresh.store(true, Ordering::Relaxed);
        let (api, life) = (Arc::new(api.clone()), config.clone());
        let runs = async {
            if let Ok(mut replica) = Replica::start_on(api, life).await {
                while replica.next().await.is_ok() {}
            }
        };
        tokio::select! {
            biased;
            () = fate.crash.notified() => {}
            () = runs => {}
        }
        config.seed = config.seed.wrapping_add(1);
        sleep(Duration::from_secs(3)).await;
    }
}
