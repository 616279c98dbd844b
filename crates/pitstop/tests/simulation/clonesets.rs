//! One run of CloneSets: few nodes, one CloneSet to which everything happens, and sometimes a crowd of others; then calm,
//! in which everything must come to rest.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use pitstop::embedded::kinds;
use pitstop_api::{keys, reasons};
use pitstop_controller::Controller;
use pitstop_controller::api::Resource;
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::mutant::Mutant;
use crate::objects::{is_ready, owner, text};
use crate::stage::{self, MERGE, PODS, Report, Stage};
use crate::storm::{Fault, Omitted};

mod hooks;
mod judge;
mod wish;

use wish::Wish;

/// The CloneSet.
pub(crate) const NAME: &str = "web";
/// Where CloneSets are.
pub(crate) const COLLECTION: &str = "/apis/apps.kruise.io/v1beta1/namespaces/default/clonesets";
const CLONESET: &str = "/apis/apps.kruise.io/v1beta1/namespaces/default/clonesets/web";
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
/// Longer than the deadline of a rollout, and what it takes to see it.
const PAST_DEADLINE: Duration = Duration::from_secs(wish::DEADLINE + 60);
/// What the history consists of.
const KINDS: [Resource; 4] = [
    Resource::Pods,
    Resource::CloneSets,
    Resource::ControllerRevisions,
    Resource::Claims,
];

/// Plays a seed.
pub(crate) fn play(seed: u64, mutant: Mutant, omitted: Omitted) -> Report {
    stage::run(async {
        let mut world = World::new(seed, mutant, omitted).await;
        world.storm_rages().await;
        world.calm_returns().await;
        world.report()
    })
}

struct World {
    stage: Stage,
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
    async fn new(seed: u64, mutant: Mutant, omitted: Omitted) -> Self {
        let mut stage = Stage::open(seed, mutant, omitted, N_NODES).await;
        kinds::install(&stage.cluster).await.unwrap();
        stage.begin(&KINDS, &[Controller::CloneSet]).await;
        let wish = Wish::draw(&mut stage.random);
        tokio::spawn(hooks::act(stage.client.clone()));
        Self {
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
            .call(Method::PATCH, CLONESET, MERGE, Some(&patch))
            .await;
        assert!(answer.is_some(), "nobody takes {patch}");
    }

    async fn storm_rages(&mut self) {
        let object = self.wish.object(NAME);
        let answer = self
            .stage
            .call(Method::POST, COLLECTION, None, Some(&object))
            .await;
        assert!(answer.is_some(), "nobody takes {object}");
        self.stage.add_stranger().await;
        let began_at = self.stage.clock.now();
        let changes = [0.2, 0.6].map(|part| began_at + STORM.mul_f64(part));
        let mut n_changed = 0;
        while self.stage.clock.now() < began_at + STORM {
            sleep(self.stage.storm.duration(1_000..10_000)).await;
            let now = self.stage.clock.now();
            if changes.get(n_changed).is_some_and(|at| *at <= now) {
                n_changed += 1;
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
        self.wish.image = image;
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
        let what = format!("{CROWD} other CloneSets change at once");
        if !self.stage.storm.inject(Fault::Load, &what) {
            return;
        }
        let image = format!("example.com/web:{}", self.images.len());
        for n in 0..CROWD {
            let name = format!("other-{n}");
            let path = format!("{COLLECTION}/{name}");
            if self.has_crowd {
                let template = json!({"spec": {"containers": [{"name": "web", "image": image}]}});
                let patch = json!({"spec": {"template": template}});
                self.stage.call(Method::PATCH, &path, MERGE, Some(&patch)).await;
            } else {
                let object = Wish::of_the_crowd(&image).object(&name);
                self.stage
                    .call(Method::POST, COLLECTION, None, Some(&object))
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
            4 if self.edits(&format!("{pod} is named")) => {
                let patch = json!({"spec": {"scaleStrategy": {"podsToDelete": [pod]}}});
                self.stage
                    .call(Method::PATCH, CLONESET, MERGE, Some(&patch))
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
        if self.wish.is_explained && self.wish.moves_pods() && self.comes_to_rest().await {
            self.is_explained().await;
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
        if n_writes > 0 {
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
        // Nobody keeps by a partition what cannot run.
        if self.ours().await.iter().any(is_broken) {
            self.wish.partition = 0;
            self.tell().await;
        }
        let deadline = self.stage.clock.now() + RECOVERY;
        while let Some(problem) = self.unfinished().await {
            self.an_old_pod_goes().await;
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

    /// Under `OnDelete`, people replace the pods, one after the other, but those that the partition keeps.
    async fn an_old_pod_goes(&mut self) {
        let mut old = self.ours().await;
        old.retain(|pod| !self.wish.is_met_by(pod));
        let is_left = old.len() > self.wish.partition.min(self.wish.replicas);
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
        let cloneset = self.stage.call(Method::GET, CLONESET, None, None).await;
        let status = cloneset.unwrap_or_default()["status"].take();
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

    /// What is not yet as it should be.
    async fn unfinished(&self) -> Option<String> {
        let (wish, pods) = (&self.wish, self.ours().await);
        let n_wanted = wish.replicas;
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
        let n_new = pods.iter().filter(|pod| wish.is_met_by(pod)).count();
        if n_new < n_wanted - wish.partition.min(n_wanted) {
            return Some(format!(
                "{n_new} of {n_wanted} pods are as the template: {wish:?}"
            ));
        }
        let cloneset = self.stage.call(Method::GET, CLONESET, None, None).await?;
        let status = &cloneset["status"];
        let is_told = status["observedGeneration"] == cloneset["metadata"]["generation"]
            && status["replicas"] == n_wanted
            && status["availableReplicas"] == n_wanted
            && status["updatedReplicas"] == n_new;
        if !is_told {
            return Some(format!("the status is {status}, with {n_new} new pods"));
        }
        self.unclaimed(&pods).await.or(self.unfinished_crowd().await)
    }

    /// Claims without a pod, and pods without a claim.
    async fn unclaimed(&self, pods: &[Value]) -> Option<String> {
        if !self.wish.has_claims {
            return None;
        }
        let path = "/api/v1/namespaces/default/persistentvolumeclaims";
        let list = self.stage.call(Method::GET, path, None, None).await?;
        let id = |object: &Value| text(&object["metadata"]["labels"][keys::INSTANCE_ID]);
        let claims: BTreeSet<String> = list["items"].as_array()?.iter().map(id).collect();
        let pods: BTreeSet<String> = pods.iter().map(id).collect();
        let is_enough = if self.wish.reuses_claims {
            claims.is_superset(&pods)
        } else {
            claims == pods
        };
        (!is_enough).then(|| format!("claims are {claims:?}, pods {pods:?}"))
    }

    async fn unfinished_crowd(&self) -> Option<String> {
        if !self.has_crowd {
            return None;
        }
        let list = self.stage.call(Method::GET, COLLECTION, None, None).await?;
        let mut others = list["items"].as_array()?.iter();
        let is_done = |cloneset: &&Value| {
            let status = &cloneset["status"];
            status["observedGeneration"] == cloneset["metadata"]["generation"]
                && status["updatedReadyReplicas"] == cloneset["spec"]["replicas"]
        };
        let waits = others.find(|other| other["metadata"]["name"] != NAME && !is_done(other))?;
        Some(format!(
            "{} is left behind: {}",
            waits["metadata"]["name"], waits["status"]
        ))
    }

    fn report(self) -> Report {
        let entries = self.stage.history.take();
        let violations = judge::judge(&entries, &self.stage.deeds);
        self.stage.close(entries, violations)
    }
}
