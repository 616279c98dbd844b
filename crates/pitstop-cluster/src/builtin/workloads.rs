//! The controllers of workloads: Deployments, ReplicaSets, Jobs, services, disruption budgets.
//!
//! Each of them looks at what there is and decides on the next writes, as a function of objects and time. [`Queue`]
//! says when a workload is looked at.

mod amounts;
mod budgets;
mod deployments;
mod endpoints;
mod jobs;
mod objects;
mod ownership;
mod queue;
mod replicas;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use pitstop_api::keys;
use pitstop_api::selector::LabelSelector;
use pitstop_api::view::{MetaWire, Uid};
use serde_json::Value;
use tokio::sync::mpsc;

use super::selection::{Controller, Selection};
use super::wire::Pod;
use super::writes::Write;
use crate::informer::{self, Change, Object};
use budgets::{Member, PartOf};
use objects::{Budget, Deployment, Endpoints, Job, ReplicaSet, Service, Slice};
pub(super) use queue::Taken;
use queue::{Key, Plan, Queue, Sort, Step};

/// A change that a watch has shown.
#[derive(Debug)]
pub(super) enum Seen {
    Deployment(Change<Deployment>),
    ReplicaSet(Change<ReplicaSet>),
    Budget(Change<Budget>),
    Job(Change<Job>),
    Service(Change<Service>),
    Endpoints(Change<Endpoints>),
    Slice(Change<Slice>),
}

/// Watches every kind that is looked after here.
pub(super) fn watch_all(client: &Client) -> mpsc::Receiver<Seen> {
    let (sender, receiver) = mpsc::channel(1024);
    watch(client, "/apis/apps/v1/deployments", &sender, Seen::Deployment);
    watch(client, "/apis/apps/v1/replicasets", &sender, Seen::ReplicaSet);
    watch(
        client,
        "/apis/policy/v1/poddisruptionbudgets",
        &sender,
        Seen::Budget,
    );
    watch(client, "/apis/batch/v1/jobs", &sender, Seen::Job);
    watch(client, "/api/v1/services", &sender, Seen::Service);
    watch(client, "/api/v1/endpoints", &sender, Seen::Endpoints);
    let slices = "/apis/discovery.k8s.io/v1/endpointslices";
    watch(client, slices, &sender, Seen::Slice);
    receiver
}

fn watch<T: Object>(
    client: &Client,
    path: &str,
    sender: &mpsc::Sender<Seen>,
    seen: impl Fn(Change<T>) -> Seen + Send + 'static,
) {
    let changes = informer::watch::<T>(client.clone(), path);
    tokio::spawn(informer::forward(changes, sender.clone(), seen));
}

/// Objects by namespace and name.
type Objects<T> = BTreeMap<(String, String), Arc<T>>;

/// What the controllers know.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    queue: Queue,
    unsynced: Unsynced,
    deployments: Objects<Deployment>,
    sets: Objects<ReplicaSet>,
    budgets: Objects<Budget>,
    jobs: Objects<Job>,
    services: Objects<Service>,
    endpoints: Objects<Endpoints>,
    slices: Objects<Slice>,
    pods: Pods,
    /// Somebody else looks after these.
    left_out: BTreeSet<Sort>,
}

/// The watches that have not listed everything yet.
#[derive(Debug)]
struct Unsynced(BTreeSet<Sort>);

impl Default for Unsynced {
    fn default() -> Self {
        Self(BTreeSet::from([
            Sort::Deployment,
            Sort::ReplicaSet,
            Sort::Budget,
            Sort::Job,
            Sort::Service,
            Sort::Endpoints,
            Sort::Slice,
            Sort::Pod,
        ]))
    }
}

/// Pods, and those of a controller or of none.
#[derive(Debug, Default)]
struct Pods {
    by_uid: HashMap<Uid, Arc<Pod>>,
    by_namespace: HashMap<String, BTreeSet<Uid>>,
    /// By the uid of their controller.
    owned: HashMap<String, BTreeSet<Uid>>,
    /// By namespace: pods without a controller.
    orphans: HashMap<String, BTreeSet<Uid>>,
}

impl Workloads {
    pub(super) fn new(controllers: &Selection) -> Self {
        let all = [
            (Sort::Deployment, Controller::Deployment),
            (Sort::ReplicaSet, Controller::ReplicaSet),
            (Sort::Budget, Controller::Disruption),
            (Sort::Job, Controller::Job),
            (Sort::Service, Controller::Endpoints),
        ];
        let left_out = all.into_iter().filter(|(_, by)| !controllers.has(*by));
        Self {
            left_out: left_out.map(|(sort, _)| sort).collect(),
            ..Self::default()
        }
    }

    /// How long until there is something to do, if nothing happens until then.
    pub(super) fn next_wake(&self, now: Timestamp) -> Option<Duration> {
        let at = self.queue.next()?;
        Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
    }

    /// A watch has shown something.
    pub(super) fn on_seen(&mut self, seen: Seen) {
        match seen {
            Seen::Deployment(change) => {
                let changed = store(&mut self.deployments, &mut self.queue, Sort::Deployment, change);
                match changed {
                    Some(deployment) => self.touch_budgets_of(&deployment.metadata.namespace),
                    None => {
                        self.unsynced.0.remove(&Sort::Deployment);
                    }
                }
            }
            Seen::ReplicaSet(change) => {
                match store(&mut self.sets, &mut self.queue, Sort::ReplicaSet, change) {
                    Some(set) => {
                        self.touch_owner_of_set(&set);
                        self.touch_budgets_of(&set.metadata.namespace);
                    }
                    None => {
                        self.unsynced.0.remove(&Sort::ReplicaSet);
                    }
                }
            }
            Seen::Budget(change) => {
                if store(&mut self.budgets, &mut self.queue, Sort::Budget, change).is_none() {
                    self.unsynced.0.remove(&Sort::Budget);
                }
            }
            Seen::Job(change) => {
                if store(&mut self.jobs, &mut self.queue, Sort::Job, change).is_none() {
                    self.unsynced.0.remove(&Sort::Job);
                }
            }
            Seen::Service(change) => {
                if store(&mut self.services, &mut self.queue, Sort::Service, change).is_none() {
                    self.unsynced.0.remove(&Sort::Service);
                }
            }
            Seen::Endpoints(change) => {
                match store(&mut self.endpoints, &mut self.queue, Sort::Endpoints, change) {
                    Some(endpoints) => {
                        let meta = &endpoints.metadata;
                        self.queue
                            .touch(Key::new(Sort::Service, &meta.namespace, &meta.name));
                    }
                    None => {
                        self.unsynced.0.remove(&Sort::Endpoints);
                    }
                }
            }
            Seen::Slice(change) => match store(&mut self.slices, &mut self.queue, Sort::Slice, change) {
                Some(slice) => {
                    let meta = &slice.metadata;
                    if let Some(service) = meta.labels.get(keys::SERVICE_NAME) {
                        self.queue
                            .touch(Key::new(Sort::Service, &meta.namespace, service));
                    }
                }
                None => {
                    self.unsynced.0.remove(&Sort::Slice);
                }
            },
        }
    }

    /// All pods were listed.
    pub(super) fn on_pods_synced(&mut self) {
        self.queue.synced(Sort::Pod);
        self.unsynced.0.remove(&Sort::Pod);
    }

    /// A pod is there, changed or gone.
    pub(super) fn on_pod(&mut self, pod: &Arc<Pod>, uid: Uid, is_gone: bool) {
        let before = self.pods.set(pod, uid, is_gone);
        self.queue.progress(Sort::Pod, pod.metadata.version());
        self.touch_owner_of_pod(pod);
        self.touch_selectors_of(pod);
        let Some(before) = before else { return };
        if before.metadata.labels != pod.metadata.labels {
            self.touch_selectors_of(&before);
        }
        if controller(&before.metadata) != controller(&pod.metadata) {
            self.touch_owner_of_pod(&before);
        }
    }

    /// Looks at what is to be looked at.
    pub(super) fn work(&mut self, now: Timestamp) -> Vec<Write> {
        if !self.unsynced.0.is_empty() {
            return Vec::new();
        }
        let mut writes = Vec::new();
        for key in self.queue.due(now) {
            if self.left_out.contains(&key.sort) {
                self.queue.forget(&key);
                continue;
            }
            match self.decide(&key, now) {
                Some(plan) => writes.extend(self.queue.begin(&key, plan, now)),
                None => self.queue.forget(&key),
            }
        }
        writes
    }

    /// A step of a plan was taken.
    pub(super) fn on_taken(
        &mut self,
        taken: Taken,
        result: Result<Value, u16>,
        message: String,
        now: Timestamp,
    ) -> Vec<Write> {
        self.queue.on_taken(taken, result, message, now)
    }

    /// What a workload does next; `None` if it is gone.
    fn decide(&self, key: &Key, now: Timestamp) -> Option<Plan> {
        let failure = self.queue.failure(key);
        let place = (key.namespace.clone(), key.name.clone());
        match key.sort {
            Sort::Deployment => {
                let deployment = self.deployments.get(&place)?;
                let sets: Vec<&ReplicaSet> = self.sets_in(&key.namespace).collect();
                let owned = sets.iter().map(|set| {
                    let uid = set.metadata.uid.as_str();
                    (uid, self.pods.owned_by(uid).collect())
                });
                let owned: BTreeMap<&str, Vec<&Pod>> = owned.collect();
                Some(deployments::decide(deployment, &sets, &owned, failure, now))
            }
            Sort::ReplicaSet => {
                let set = self.sets.get(&place)?;
                let own = self.pods.owned_by(&set.metadata.uid);
                let pods: Vec<&Pod> = own.chain(self.pods.orphans_in(&key.namespace)).collect();
                let neighbours = self.neighbours(set);
                Some(replicas::decide(set, &pods, &neighbours, failure, now))
            }
            Sort::Budget => {
                let budget = self.budgets.get(&place)?;
                Some(budgets::decide(budget, &self.members_of(budget), now))
            }
            Sort::Job => {
                let job = self.jobs.get(&place);
                let left = self.left_behind(key, job.map(|job| job.metadata.uid.as_str()));
                let Some(job) = job.filter(|_| left.is_empty()) else {
                    return (!left.is_empty()).then(|| Plan::of(left));
                };
                let own = self.pods.owned_by(&job.metadata.uid);
                let pods: Vec<&Pod> = own.chain(self.pods.orphans_in(&key.namespace)).collect();
                Some(jobs::decide(job, &pods, now))
            }
            Sort::Service => self.decide_service(key, &place),
            Sort::Pod | Sort::Endpoints | Sort::Slice => None,
        }
    }

    fn sets_in<'a>(&'a self, namespace: &str) -> impl Iterator<Item = &'a ReplicaSet> {
        in_namespace(&self.sets, namespace)
    }

    /// How many pods of the same workload are on each node, those of its other sets included.
    fn neighbours(&self, set: &ReplicaSet) -> BTreeMap<&str, usize> {
        let owner = controller(&set.metadata);
        let kin = |other: &&ReplicaSet| {
            other.metadata.uid == set.metadata.uid
                || (owner.is_some() && controller(&other.metadata) == owner)
        };
        let mut neighbours = BTreeMap::new();
        for kin in self.sets_in(&set.metadata.namespace).filter(kin) {
            let pods = self.pods.owned_by(&kin.metadata.uid);
            for pod in pods.filter(|pod| replicas::is_active(pod)) {
                let n: &mut usize = neighbours.entry(pod.spec.node_name.as_str()).or_default();
                *n = n.saturating_add(1);
            }
        }
        neighbours
    }

    fn decide_service(&self, key: &Key, place: &(String, String)) -> Option<Plan> {
        let endpoints = self.endpoints.get(place).map(|endpoints| &**endpoints);
        let Some(service) = self.services.get(place) else {
            return Some(Plan::of(vec![endpoints::forget(endpoints?)?]));
        };
        let mut slices: Vec<&Slice> = in_namespace(&self.slices, &key.namespace).collect();
        slices.retain(|slice| slice.metadata.labels.get(keys::SERVICE_NAME) == Some(&key.name));
        let pods = self.pods.in_namespace(&key.namespace);
        Some(endpoints::decide(service, endpoints, &slices, pods))
    }

    /// Lets go of pods that a Job of this name has left behind.
    fn left_behind(&self, key: &Key, uid: Option<&str>) -> Vec<Step> {
        let pods = self.pods.in_namespace(&key.namespace);
        let left = pods.filter(|pod| {
            let mut owners = pod.metadata.owner_references.iter();
            let owner = owners.find(|owner| owner.controller == Some(true) && owner.kind == "Job");
            match owner {
                Some(owner) => owner.name == key.name && Some(owner.uid.as_str()) != uid,
                // Its Job let it go when it was deleted.
                None => uid.is_none() && pod.metadata.labels.get(keys::JOB_NAME) == Some(&key.name),
            }
        });
        left.filter_map(jobs::release).collect()
    }

    /// The pods that a budget takes in.
    fn members_of(&self, budget: &Budget) -> Vec<Member<'_>> {
        let selector = budget.spec.selector.as_ref().and_then(LabelSelector::selector);
        let Some(selector) = selector else {
            return Vec::new();
        };
        let pods = self.pods.in_namespace(&budget.metadata.namespace);
        let pods = pods.filter(|pod| selector.matches(&pod.metadata.labels));
        pods.map(|pod| Member {
            pod,
            part_of: self.part_of(pod),
        })
        .collect()
    }

    /// What a pod is part of: the Deployment of its ReplicaSet, or the set itself.
    fn part_of<'a>(&'a self, pod: &'a Pod) -> PartOf<'a> {
        let meta = &pod.metadata;
        let owner = meta
            .owner_references
            .iter()
            .find(|owner| owner.controller == Some(true));
        let Some(owner) = owner else {
            return PartOf::Alone;
        };
        let place = |name: &str| (meta.namespace.clone(), name.to_owned());
        let set = self
            .sets
            .get(&place(&owner.name))
            .filter(|set| set.metadata.uid == owner.uid);
        let Some(set) = set else {
            return PartOf::Unscaled(owner.kind.to_lowercase());
        };
        let owners = &set.metadata.owner_references;
        let above = owners.iter().find(|owner| owner.controller == Some(true));
        let above = above.and_then(|owner| self.deployments.get(&place(&owner.name)));
        match above {
            Some(deployment) => PartOf::Scaled(&deployment.metadata.uid, deployment.spec.replicas),
            None => PartOf::Scaled(&set.metadata.uid, set.spec.replicas),
        }
    }

    /// A workload was scaled: budgets that count in percentages look again.
    fn touch_budgets_of(&mut self, namespace: &str) {
        for budget in in_namespace(&self.budgets, namespace) {
            self.queue
                .touch(Key::new(Sort::Budget, namespace, &budget.metadata.name));
        }
    }

    /// What selects a pod looks again.
    fn touch_selectors_of(&mut self, pod: &Pod) {
        let meta = &pod.metadata;
        for service in in_namespace(&self.services, &meta.namespace) {
            if endpoints::selects(service, &meta.labels) {
                self.queue
                    .touch(Key::new(Sort::Service, &meta.namespace, &service.metadata.name));
            }
        }
        for budget in in_namespace(&self.budgets, &meta.namespace) {
            let selector = budget.spec.selector.as_ref().and_then(LabelSelector::selector);
            if selector.is_some_and(|selector| selector.matches(&meta.labels)) {
                self.queue
                    .touch(Key::new(Sort::Budget, &meta.namespace, &budget.metadata.name));
            }
        }
    }

    fn touch_owner_of_set(&mut self, set: &ReplicaSet) {
        let meta = &set.metadata;
        let owner = meta
            .owner_references
            .iter()
            .find(|owner| owner.controller == Some(true));
        match owner {
            Some(owner) if owner.kind == "Deployment" => {
                self.queue
                    .touch(Key::new(Sort::Deployment, &meta.namespace, &owner.name));
            }
            Some(_) => {}
            None => {
                let near = in_namespace(&self.deployments, &meta.namespace);
                for deployment in near {
                    let selector = deployment.spec.selector.selector();
                    if selector.is_some_and(|selector| selector.matches(&meta.labels)) {
                        let name = &deployment.metadata.name;
                        self.queue
                            .touch(Key::new(Sort::Deployment, &meta.namespace, name));
                    }
                }
            }
        }
    }

    fn touch_owner_of_pod(&mut self, pod: &Pod) {
        let meta = &pod.metadata;
        let owner = meta
            .owner_references
            .iter()
            .find(|owner| owner.controller == Some(true));
        match owner {
            Some(owner) if owner.kind == "ReplicaSet" => {
                self.queue
                    .touch(Key::new(Sort::ReplicaSet, &meta.namespace, &owner.name));
                // A Deployment that recreates waits for the last pod of its old sets.
                let place = (meta.namespace.clone(), owner.name.clone());
                if let Some(set) = self.sets.get(&place).cloned() {
                    self.touch_owner_of_set(&set);
                }
            }
            Some(owner) if owner.kind == "Job" => {
                self.queue
                    .touch(Key::new(Sort::Job, &meta.namespace, &owner.name));
            }
            Some(_) => {}
            None => {
                for job in in_namespace(&self.jobs, &meta.namespace) {
                    let selector = job.spec.selector.selector();
                    if selector.is_some_and(|selector| selector.matches(&meta.labels)) {
                        self.queue
                            .touch(Key::new(Sort::Job, &meta.namespace, &job.metadata.name));
                    }
                }
                for set in in_namespace(&self.sets, &meta.namespace) {
                    let selector = set.spec.selector.selector();
                    if selector.is_some_and(|selector| selector.matches(&meta.labels)) {
                        let name = &set.metadata.name;
                        self.queue
                            .touch(Key::new(Sort::ReplicaSet, &meta.namespace, name));
                    }
                }
            }
        }
    }
}

/// Keeps what a watch has shown, and returns it; `None` when everything was listed.
fn store<T: Object>(
    objects: &mut Objects<T>,
    queue: &mut Queue,
    sort: Sort,
    change: Change<T>,
) -> Option<Arc<T>> {
    let (object, is_gone) = match change {
        Change::Applied(object) => (object, false),
        Change::Deleted(object) => (object, true),
        Change::Synced => {
            queue.synced(sort);
            return None;
        }
    };
    let meta = object.meta();
    let place = (meta.namespace.clone(), meta.name.clone());
    if is_gone {
        objects.remove(&place);
    } else {
        objects.insert(place, Arc::clone(&object));
    }
    queue.touch(Key::new(sort, &meta.namespace, &meta.name));
    queue.progress(sort, meta.version());
    Some(object)
}

fn in_namespace<'a, T>(objects: &'a Objects<T>, namespace: &str) -> impl Iterator<Item = &'a T> {
    let namespace = namespace.to_owned();
    objects
        .range((namespace.clone(), String::new())..)
        .take_while(move |((place, _), _)| *place == namespace)
        .map(|(_, object)| &**object)
}

/// The uid of the controller of an object.
fn controller(meta: &MetaWire) -> Option<&str> {
    let mut owners = meta.owner_references.iter();
    owners
        .find(|owner| owner.controller == Some(true))
        .map(|owner| owner.uid.as_str())
}

impl Pods {
    /// Keeps a pod as it is now, and returns it as it was.
    fn set(&mut self, pod: &Arc<Pod>, uid: Uid, is_gone: bool) -> Option<Arc<Pod>> {
        let before = if is_gone {
            self.by_uid.remove(&uid)
        } else {
            self.by_uid.insert(uid, Arc::clone(pod))
        };
        if let Some(before) = &before {
            self.unlist(before, uid);
        }
        let namespace = &pod.metadata.namespace;
        let near = self.by_namespace.entry(namespace.clone()).or_default();
        if is_gone {
            near.remove(&uid);
            if near.is_empty() {
                self.by_namespace.remove(namespace);
            }
        } else {
            near.insert(uid);
        }
        if !is_gone {
            self.list_of(pod).insert(uid);
        }
        before
    }

    fn list_of(&mut self, pod: &Pod) -> &mut BTreeSet<Uid> {
        match controller(&pod.metadata) {
            Some(owner) => self.owned.entry(owner.to_owned()).or_default(),
            None => self.orphans.entry(pod.metadata.namespace.clone()).or_default(),
        }
    }

    fn unlist(&mut self, pod: &Pod, uid: Uid) {
        let list = self.list_of(pod);
        list.remove(&uid);
        if list.is_empty() {
            match controller(&pod.metadata) {
                Some(owner) => self.owned.remove(owner),
                None => self.orphans.remove(&pod.metadata.namespace),
            };
        }
    }

    fn owned_by(&self, uid: &str) -> impl Iterator<Item = &Pod> {
        self.those(self.owned.get(uid))
    }

    fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Pod> {
        self.those(self.by_namespace.get(namespace))
    }

    fn orphans_in(&self, namespace: &str) -> impl Iterator<Item = &Pod> {
        self.those(self.orphans.get(namespace))
    }

    fn those<'a>(&'a self, uids: Option<&'a BTreeSet<Uid>>) -> impl Iterator<Item = &'a Pod> {
        let uids = uids.into_iter().flatten();
        uids.filter_map(|uid| self.by_uid.get(uid)).map(|pod| &**pod)
    }
}
