//! One run of CloneSets or StatefulSets: few nodes, one workload to which everything happens, and sometimes a crowd of
//! others; then calm, in which everything must come to rest.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use pitstop::embedded::kinds;
use pitstop_api::{keys, reasons};
use pitstop_engine::feature_gates::FeatureGates;
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::mutant::Mutant;
use crate::objects::{is_ready, owner, text};
use crate::stage::{self, MERGE, PODS, Report, Stage};
use crate::storm::{Fault, Omitted};

mod hooks;
mod judge;
mod kind;
mod wish;

pub(crate) use kind::Kind;
pub(crate) use wish::WORKS;
pub(crate) use wish::ordinals::N_FOCUSES;
pub(crate) use wish::ordinals::{ARBITER, arbiter_service};
use wish::ordinals::{Focus, Source, class};
use wish::{Wish, instance_of};

/// The workload.
pub(crate) const NAME: &str = "web";
const N_NODES: usize = 6;
/// How many others there are when everything changes at once.
const CROWD: usize = 8;
/// How long things go wrong.
const STORM: Duration = Duration::from_mins(5);
/// How long it may take until everything is at rest afterwards.
const RECOVERY: Duration = Duration::from_mins(30);
/// How long nothing may be written then: longer than a resync.
const REST: Duration = Duration::from_mins(6);
/// How long the last status and what it brings may take.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked whether everything is as it should be.
const LOOKS_EVERY: Duration = Duration::from_secs(5);
/// One in so many pods begins to work, or is done, between two things that happen.
const N_TURNS: u32 = 6;
/// Those that work on until an update is forced: one in so many is done.
const N_LONG_TURNS: u32 = 40;
/// Those of which it matters who has idled for long.
const N_SLOW_TURNS: u32 = 15;
/// Longer than the deadline of a rollout, and what it takes to see it.
const PAST_DEADLINE: Duration = Duration::from_secs(wish::DEADLINE + 60);
pub(crate) const SERVICES: &str = "/api/v1/namespaces/default/services";
const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
/// The gate with which claims grow.
const GROWS: &str = "StatefulSetAutoResizePVCGate=true";
/// The arbiter falls silent, or speaks again, in one of so many cases between two things that happen.
const SILENT_IN: u32 = 8;
/// How long pods work that nobody was told of, before there is a new version: longer than what was said before counts.
const UNHEARD: Duration = Duration::from_secs(26);

/// Plays a seed of CloneSets.
pub(crate) fn play_clonesets(seed: u64, mutant: Mutant, omitted: Omitted) -> Report {
    play(Kind::CloneSet, seed, mutant, omitted)
}

/// Plays a seed of StatefulSets.
pub(crate) fn play_statefulsets(seed: u64, mutant: Mutant, omitted: Omitted) -> Report {
    play(Kind::StatefulSet, seed, mutant, omitted)
}

fn play(kind: Kind, seed: u64, mutant: Mutant, omitted: Omitted) -> Report {
    stage::run(async {
        let mut world = World::new(kind, seed, mutant, omitted).await;
        world.storm_rages().await;
        // What is done wrong is seen in the storm; only what is not done needs the calm.
        if mutant.shows_in_calm() {
            world.calm_returns().await;
        }
        world.report()
    })
}

struct World {
    stage: Stage,
    kind: Kind,
    /// Where the workload is.
    path: String,
    /// What people have wished for last.
    wish: Wish,
    /// Images that worked, the newest last.
    images: Vec<String>,
    has_crowd: bool,
}

/// What can be seen of a pod, without what nobody wants to read.
fn without_owners(pod: &Value) -> Value {
    let mut metadata = pod["metadata"].clone();
    metadata["managedFields"].take();
    json!({"metadata": metadata, "containers": pod["status"]["containerStatuses"], "spec": pod["spec"]["containers"]})
}

/// Was it made, or changed, for a version that cannot run?
fn is_broken(pod: &Value) -> bool {
    let image = text(&pod["spec"]["containers"][0]["image"]);
    image.starts_with("bad/") || image.starts_with("unready/")
}

impl World {
    async fn new(kind: Kind, seed: u64, mutant: Mutant, omitted: Omitted) -> Self {
        let mut stage = Stage::open(seed, mutant, omitted, N_NODES).await;
        stage.gates = GROWS.parse::<FeatureGates>().unwrap();
        kinds::install(&stage.cluster, &stage.gates).await.unwrap();
        if kind == Kind::StatefulSet {
            stage.add(SERVICES, &arbiter_service()).await;
            stage.add(CLASSES, &class()).await;
        }
        stage.begin(&kind.history(), &[kind.controller()]).await;
        let wish = Wish::draw(&mut stage.random, kind, seed);
        stage.arbiter.set_surprise(wish.surprise());
        tokio::spawn(hooks::act(stage.client.clone()));
        Self {
            kind,
            path: format!("{}/{NAME}", kind.collection()),
            images: vec![wish.image.clone()],
            stage,
            wish,
            has_crowd: false,
        }
    }

    /// Its pods, those aside that were taken from it.
    async fn ours(&self) -> Vec<Value> {
        let mut pods = self.stage.pods().await;
        pods.retain(|pod| !owner(pod).is_empty() && pod["metadata"]["labels"]["app"] == NAME);
        pods
    }

    async fn any_pod(&mut self) -> Option<String> {
        let pods = self.ours().await;
        let pod = pods.get(self.stage.random.random_range(0..pods.len().max(1)))?;
        Some(pod["metadata"]["name"].as_str()?.to_owned())
    }

    /// Says what is wished for.
    async fn tell(&self) {
        let patch = self.wish.patch();
        let answer = self
            .stage
            .call(Method::PATCH, &self.path, MERGE, Some(&patch))
            .await;
        assert!(answer.is_some(), "nobody takes {patch}");
    }

    async fn storm_rages(&mut self) {
        let object = self.wish.object(NAME);
        let answer = self
            .stage
            .call(Method::POST, &self.kind.collection(), None, Some(&object))
            .await;
        assert!(answer.is_some(), "nobody takes {object}");
        self.stage.add_stranger().await;
        let began_at = self.stage.clock.now();
        let changes = [0.2, 0.6].map(|part| began_at + STORM.mul_f64(part));
        let mut n_changed = 0;
        while self.stage.clock.now() < began_at + STORM {
            sleep(self.stage.storm.duration(1_000..10_000)).await;
            self.work_comes_and_goes().await;
            let now = self.stage.clock.now();
            if changes.get(n_changed).is_some_and(|at| *at <= now) {
                n_changed += 1;
                self.work_begins_unheard().await;
                self.those_that_work_come_last().await;
                self.a_new_version().await;
            }
            match self.stage.random.random_range(0..4) {
                0 => self.the_world_turns().await,
                1 => self.a_pod_is_touched().await,
                _ => self.somebody_edits().await,
            }
        }
    }

    async fn a_new_version(&mut self) {
        let image = format!("example.com/web:{}", self.images.len() + 1);
        self.images.push(image.clone());
        self.wish.new_version(image);
        self.tell().await;
    }

    async fn the_world_turns(&mut self) {
        match self.stage.random.random_range(0..10) {
            0..=2 => {
                self.stage.a_node_goes_or_comes().await;
            }
            3 => self.stage.a_node_is_replaced().await,
            4 | 5 => self.stage.a_replica_is_cut_off().await,
            6 => self.stage.a_replica_crashes(),
            7 => self.stage.a_clock_jumps(),
            8 => {
                let pods = self.ours().await;
                let names = pods.iter().map(|pod| text(&pod["metadata"]["name"]));
                let paths: Vec<String> = names.map(|name| format!("{PODS}/{name}")).collect();
                self.stage.labels_flap(&paths).await;
            }
            _ => self.everybody_changes().await,
        }
    }

    /// Many workloads are made, or changed, at once.
    async fn everybody_changes(&mut self) {
        let what = format!("{CROWD} other {}s change at once", self.kind.as_str());
        if !self.stage.storm.inject(Fault::Load, &what) {
            return;
        }
        let image = format!("example.com/web:{}", self.images.len());
        let collection = self.kind.collection();
        for n in 0..CROWD {
            let name = format!("other-{n}");
            let path = format!("{collection}/{name}");
            if self.has_crowd {
                let template = json!({"spec": {"containers": [{"name": "web", "image": image}]}});
                let patch = json!({"spec": {"template": template}});
                self.stage.call(Method::PATCH, &path, MERGE, Some(&patch)).await;
            } else {
                let object = Wish::of_the_crowd(&image, self.kind).object(&name);
                self.stage
                    .call(Method::POST, &collection, None, Some(&object))
                    .await;
            }
        }
        self.has_crowd = true;
    }

    async fn a_pod_is_touched(&mut self) {
        let Some(pod) = self.any_pod().await else { return };
        let path = format!("{PODS}/{pod}");
        let draw = self.stage.random.random_range(0..6);
        match draw {
            0 if self.edits(&format!("{pod} is deleted by hand")) => self.stage.delete_by_hand(&pod).await,
            1 => self.stage.relabel(&pod).await,
            2 => self.stage.hold(&pod).await,
            3 if self.edits(&format!("{pod} is marked")) => {
                let patch = json!({"metadata": {"labels": {(keys::SPECIFIED_DELETE): "true"}}});
                self.stage.call(Method::PATCH, &path, MERGE, Some(&patch)).await;
            }
            4 if self.kind == Kind::CloneSet && self.edits(&format!("{pod} is named")) => {
                let patch = json!({"spec": {"scaleStrategy": {"podsToDelete": [pod]}}});
                self.stage
                    .call(Method::PATCH, &self.path, MERGE, Some(&patch))
                    .await;
            }
            5 if self
                .stage
                .storm
                .inject(Fault::Denied, &format!("{pod} is evicted")) =>
            {
                let found = self.stage.call(Method::GET, &path, None, None).await;
                let uid = found.map(|pod| text(&pod["metadata"]["uid"])).unwrap_or_default();
                self.stage.deeds.theirs(uid);
                let eviction = json!({
                    "apiVersion": "policy/v1", "kind": "Eviction",
                    "metadata": {"name": pod, "namespace": "default"},
                });
                let path = format!("{path}/eviction");
                self.stage.call(Method::POST, &path, None, Some(&eviction)).await;
            }
            _ => {}
        }
    }

    /// Some pods begin to work, and others are done. What cannot serve does not begin.
    async fn work_comes_and_goes(&mut self) {
        if !self.wish.has_work() {
            return;
        }
        let pods = self.ours().await;
        if self.wish.source() != Source::Labels {
            self.the_arbiter_comes_and_goes();
            let arbiter = &self.stage.arbiter;
            let is_gone = |name: &&String| pods.iter().all(|pod| pod["metadata"]["name"] != name.as_str());
            for pod in arbiter.working().iter().filter(is_gone) {
                arbiter.set_work(pod, false);
            }
        }
        for pod in pods {
            let works = self.works(&pod);
            let n_turns = match self.wish.focus() {
                Focus::Deadline if works => N_LONG_TURNS,
                Focus::Priorities => N_SLOW_TURNS,
                _ => N_TURNS,
            };
            let turns = self.stage.random.random_range(0..n_turns) == 0;
            if turns && (works || is_ready(&pod)) {
                self.set_work(&pod, !works).await;
            }
        }
    }

    /// The arbiter falls silent, and then pods begin to work: what it said before is not true any more.
    async fn work_begins_unheard(&mut self) {
        // One that is asked right before says so then.
        let is_asked = match self.wish.focus() {
            Focus::Arbiter(source) => source != Source::Http { claims: true },
            _ => false,
        };
        let what = "the arbiter falls silent while pods begin to work";
        if !is_asked || !self.stage.storm.inject(Fault::Refused, what) {
            return;
        }
        self.stage.arbiter.set_silent(true);
        for pod in self.ours().await.iter().filter(|pod| is_ready(pod)) {
            self.set_work(pod, true).await;
        }
        sleep(UNHEARD).await;
    }

    /// Pods that would go first by their ordinals work, and the others idle, for as long as it takes until everybody knows.
    async fn those_that_work_come_last(&mut self) {
        if self.wish.focus() != Focus::Priorities {
            return;
        }
        let mut pods = self.ours().await;
        pods.sort_by_key(|pod| wish::ordinal_of(pod["metadata"]["name"].as_str().unwrap_or_default()));
        let n_idle = pods.len() / 2;
        for (at, pod) in pods.iter().enumerate() {
            self.set_work(pod, at >= n_idle).await;
        }
        sleep(UNHEARD).await;
    }

    fn the_arbiter_comes_and_goes(&mut self) {
        let (arbiter, storm) = (&self.stage.arbiter, &self.stage.storm);
        let turns = self.stage.random.random_range(0..SILENT_IN) == 0;
        if arbiter.is_silent() {
            // One that is asked right before is of no use while it is silent.
            let is_back = turns || self.wish.source() == Source::Http { claims: true };
            arbiter.set_silent(!is_back);
        } else if turns && storm.inject(Fault::Refused, "the arbiter falls silent") {
            arbiter.set_silent(true);
        }
    }

    /// Does a pod work, as whoever knows says?
    fn works(&self, pod: &Value) -> bool {
        match self.wish.source() {
            Source::Labels => wish::works(pod),
            Source::Http { .. } | Source::Exec => {
                let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                self.stage.arbiter.works(name)
            }
        }
    }

    /// A pod works from now on, or is done; one that has changed since is left alone.
    async fn set_work(&self, pod: &Value, works: bool) {
        let metadata = &pod["metadata"];
        if self.wish.source() != Source::Labels {
            self.stage.arbiter.set_work(&text(&metadata["name"]), works);
            return;
        }
        let path = format!("{PODS}/{}", text(&metadata["name"]));
        let patch = json!({"metadata": {
            "labels": {(WORKS): works.to_string()}, "resourceVersion": metadata["resourceVersion"],
        }});
        self.stage.call(Method::PATCH, &path, MERGE, Some(&patch)).await;
    }

    fn edits(&self, what: &str) -> bool {
        self.stage.storm.inject(Fault::Edit, what)
    }

    async fn somebody_edits(&mut self) {
        if self.stage.random.random_range(0..5) == 0 {
            self.a_version_is_broken().await;
            return;
        }
        let before = self.wish.clone();
        let what = self.wish.change(&mut self.stage.random, &self.images);
        if self.edits(&what) {
            self.tell().await;
        } else {
            self.wish = before;
        }
    }

    async fn a_version_is_broken(&mut self) {
        let broken = if self.stage.random.random() {
            "bad/web:1"
        } else {
            "unready/web:1"
        };
        if !self.stage.storm.inject(Fault::BrokenVersion, broken) {
            return;
        }
        let before = std::mem::replace(&mut self.wish.image, broken.to_owned());
        self.tell().await;
        sleep(self.stage.storm.duration(20_000..60_000)).await;
        self.wish.image = before;
        self.tell().await;
    }

    /// All faults end. L3: a version that cannot run says so. L1: everything gets where it should be, and then nothing is
    /// written any more.
    async fn calm_returns(&mut self) {
        self.stage.calm().await;
        self.wish.goes_on(&mut self.stage.random);
        self.tell().await;
        let explains = self.kind == Kind::CloneSet && self.wish.is_explained && self.wish.moves_pods();
        if explains && self.comes_to_rest().await {
            self.is_explained().await;
        }
        if self.wish.protects() && self.comes_to_rest().await {
            self.those_that_work_are_named().await;
            for pod in self.ours().await.iter().filter(|pod| self.works(pod)) {
                self.set_work(pod, false).await;
            }
        }
        if !self.comes_to_rest().await {
            return;
        }
        // The last status and what it brings.
        sleep(SETTLES_WITHIN).await;
        let n_writes = || self.stage.deeds.n_writes.load(Ordering::Relaxed);
        let before = n_writes();
        sleep(REST).await;
        let n_writes = n_writes() - before;
        // When an arbiter was heard last is told once in a minute.
        let n_told = if self.wish.source() == Source::Labels {
            0
        } else {
            REST.as_secs() / 60 + 1
        };
        if n_writes > n_told {
            self.stage.violations.push(format!(
                "L1: {n_writes} writes after everything was done, the last of them {}",
                self.stage.history.last_change()
            ));
        }
        if let Some(problem) = self.unfinished().await {
            self.stage
                .violations
                .push(format!("L1: it did not stay so: {problem}"));
        }
    }

    /// Says whether everything gets where it should be.
    async fn comes_to_rest(&mut self) -> bool {
        let deadline = self.stage.clock.now() + RECOVERY;
        while let Some(problem) = self.unfinished().await {
            // Nobody keeps by a partition what cannot run.
            if self.wish.partition > 0 && self.ours().await.iter().any(is_broken) {
                self.wish.partition = 0;
                self.tell().await;
            }
            self.an_old_pod_goes().await;
            self.what_cannot_run_is_done().await;
            if self.stage.clock.now() >= deadline {
                self.stage
                    .violations
                    .push(format!("L1: {RECOVERY:?} after the storm {problem}"));
                return false;
            }
            sleep(LOOKS_EVERY).await;
        }
        true
    }

    /// A pod may begin to work right before it gets a version that cannot run, and one that works gets it where updates are
    /// forced. It is left alone for as long as somebody says that it works (statefulset.md 16.2): whoever knows says so no
    /// more.
    async fn what_cannot_run_is_done(&self) {
        let mut pods = self.ours().await;
        pods.retain(|pod| is_broken(pod) && self.works(pod));
        for pod in pods {
            self.set_work(&pod, false).await;
        }
    }

    /// Under `OnDelete`, people replace the pods, one after the other, but those that the partition keeps.
    async fn an_old_pod_goes(&mut self) {
        let mut old = self.ours().await;
        old.retain(|pod| !self.wish.is_met_by(pod));
        let is_left = old.len() > self.wish.kept();
        if let (false, true, Some(pod)) = (self.wish.moves_pods(), is_left, old.first()) {
            let pod = text(&pod["metadata"]["name"]);
            self.stage.delete_by_hand(&pod).await;
        }
    }

    /// L3: a rollout of what cannot run stops, and says after its deadline that it is stuck.
    async fn is_explained(&mut self) {
        let good = std::mem::replace(&mut self.wish.image, "bad/web:2".to_owned());
        self.tell().await;
        sleep(PAST_DEADLINE).await;
        let workload = self.stage.call(Method::GET, &self.path, None, None).await;
        let status = workload.unwrap_or_default()["status"].take();
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let mut progress = conditions.filter(|condition| condition["type"] == reasons::PROGRESSING);
        let is_said = progress.any(|condition| condition["reason"] == reasons::PROGRESS_DEADLINE_EXCEEDED);
        if !is_said {
            self.stage
                .violations
                .push(format!("L3: a rollout that is stuck does not say so: {status}"));
        }
        self.wish.image = good;
        self.tell().await;
    }

    /// L3: where nothing goes on since the rest works, the status says so, and whom it waits for.
    async fn those_that_work_are_named(&mut self) {
        let wish = &self.wish;
        let mut pods = self.ours().await;
        pods.retain(|pod| !wish.keeps_surplus(pod, self.works(pod)));
        let old = pods.iter().filter(|pod| !wish.is_met_by(pod));
        let n_old = old.clone().count();
        let names = old
            .filter(|pod| self.works(pod))
            .map(|pod| text(&pod["metadata"]["name"]));
        let working: BTreeSet<String> = names.collect();
        if n_old <= wish.kept() {
            return;
        }
        sleep(SETTLES_WITHIN).await;
        let workload = self.stage.call(Method::GET, &self.path, None, None).await;
        let status = workload.unwrap_or_default()["status"].take();
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let mut blocked = conditions.filter(|condition| condition["type"] == reasons::UPDATE_BLOCKED);
        let is_said =
            blocked.any(|one| one["status"] == "True" && one["reason"] == reasons::ALL_REMAINING_PROTECTED);
        let waiting = status["protection"]["waiting"].as_array().into_iter().flatten();
        let waiting: BTreeSet<String> = waiting.map(text).collect();
        if !is_said || waiting != working {
            self.stage
                .violations
                .push(format!("L3: {working:?} work, and the status says {status}"));
        }
    }

    /// What is not yet as it should be.
    async fn unfinished(&self) -> Option<String> {
        let (wish, all) = (&self.wish, self.ours().await);
        let n_wanted = wish.replicas;
        let is_kept = |pod: &Value| wish.keeps_surplus(pod, self.works(pod));
        let (surplus, pods): (Vec<Value>, Vec<Value>) = all.iter().cloned().partition(is_kept);
        if pods.len() != n_wanted {
            let pods: Vec<Value> = pods.iter().map(without_owners).collect();
            return Some(format!(
                "there are {} pods, not {n_wanted} of {wish:?}: {}",
                pods.len(),
                Value::from(pods)
            ));
        }
        let is_well = |pod: &&Value| {
            is_ready(pod)
                && pod["metadata"]["deletionTimestamp"].is_null()
                && pod["metadata"]["labels"][keys::LIFECYCLE_STATE] == "Normal"
        };
        let n_well = pods.iter().filter(is_well).count();
        if n_well < n_wanted {
            let states: Vec<Value> = pods
                .iter()
                .filter(|pod| !is_well(pod))
                .map(without_owners)
                .collect();
            return Some(format!(
                "{n_well} of {n_wanted} pods are well of {wish:?}: {}",
                Value::from(states)
            ));
        }
        let old = pods.iter().filter(|pod| !wish.is_met_by(pod));
        let n_old = old.clone().count();
        let n_kept = if wish.protects() {
            wish.kept().max(old.filter(|pod| self.works(pod)).count())
        } else {
            wish.kept()
        };
        if n_old > n_kept {
            return Some(format!(
                "{n_old} of {n_wanted} pods are not as the template, and {n_kept} may be: {wish:?}"
            ));
        }
        let workload = self.stage.call(Method::GET, &self.path, None, None).await?;
        let status = &workload["status"];
        let n_new = all.iter().filter(|pod| wish.is_met_by(pod)).count();
        let is_told = status["observedGeneration"] == workload["metadata"]["generation"]
            && status["replicas"] == all.len()
            && status["availableReplicas"] == n_wanted + surplus.iter().filter(is_well).count()
            && status["updatedReplicas"] == n_new;
        if !is_told {
            return Some(format!("the status is {status}, with {n_new} new pods"));
        }
        let waits = self.unclaimed(&all).await.or(self.unfinished_crowd().await);
        let is_held = wish.protects() && pods.iter().any(|pod| self.works(pod));
        match waits {
            None if n_kept == 0 && !is_held => self.small_claims(&pods).await,
            waits => waits,
        }
    }

    /// Claims without a pod, and pods without a claim.
    async fn unclaimed(&self, pods: &[Value]) -> Option<String> {
        if !self.wish.has_claims {
            return None;
        }
        let list = self.stage.call(Method::GET, CLAIMS, None, None).await?;
        let claims: BTreeSet<String> = list["items"].as_array()?.iter().map(instance_of).collect();
        let pods: BTreeSet<String> = pods.iter().map(instance_of).collect();
        // The claim of an ordinal stays where others take its pod away.
        let is_enough = if self.wish.reuses_claims || self.kind == Kind::StatefulSet {
            claims.is_superset(&pods)
        } else {
            claims == pods
        };
        (!is_enough).then(|| format!("claims are {claims:?}, pods {pods:?}"))
    }

    /// Claims that ask for less than they are to, or have less than they ask for.
    async fn small_claims(&self, pods: &[Value]) -> Option<String> {
        let wanted = self.wish.claims_grow_to().filter(|_| self.wish.moves_pods())?;
        let list = self.stage.call(Method::GET, CLAIMS, None, None).await?;
        let used: BTreeSet<String> = pods.iter().map(instance_of).collect();
        let is_small = |claim: &&Value| {
            let wanted = format!("{wanted}Gi");
            let has = &claim["status"]["capacity"]["storage"];
            let asks = &claim["spec"]["resources"]["requests"]["storage"];
            used.contains(&instance_of(claim)) && [asks, has].into_iter().any(|size| *size != wanted)
        };
        let small = list["items"].as_array()?.iter().find(is_small)?;
        Some(format!(
            "{} is small: {}, {}",
            small["metadata"]["name"], small["spec"], small["status"]
        ))
    }

    async fn unfinished_crowd(&self) -> Option<String> {
        if !self.has_crowd {
            return None;
        }
        let collection = self.kind.collection();
        let list = self.stage.call(Method::GET, &collection, None, None).await?;
        let mut others = list["items"].as_array()?.iter();
        let is_done = |other: &&Value| {
            let status = &other["status"];
            status["observedGeneration"] == other["metadata"]["generation"]
                && status["updatedReadyReplicas"] == other["spec"]["replicas"]
        };
        let waits = others.find(|other| other["metadata"]["name"] != NAME && !is_done(other))?;
        Some(format!(
            "{} is left behind: {}",
            waits["metadata"]["name"], waits["status"]
        ))
    }

    fn report(self) -> Report {
        let entries = self.stage.history.take();
        let violations = judge::judge(self.kind, &entries, &self.stage.deeds, self.stage.arbiter.turns());
        self.stage.close(entries, violations)
    }
}
