//! Controllers inside the process: scheduler, node lifecycle, garbage collection, namespaces, service accounts, pod GC.
//!
//! They are ordinary clients, so what others see is what they would see of a real cluster. Each of them is a state that
//! changes go into and writes come out of; this loop feeds them, and carries the writes out.
//!
//! Source: embedded-cluster.md 11, 16.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use pitstop_api::SharedClock;
use pitstop_api::view::Uid;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::informer::{Change, watch};
use crate::kinds::{self, Kind};

mod garbage;
mod lifecycle;
mod namespaces;
mod scheduler;
mod wire;
mod writes;

use garbage::{Garbage, path_of};
use lifecycle::Lifecycle;
use namespaces::{Namespaces, is_watched};
use scheduler::Scheduler;
use wire::{Lease, Meta, Namespace, Node, Pod};
use writes::{Answer, Asked, Write, Writer};

/// Pods that wait for a node are looked at again after this long. Source: embedded-cluster.md 16.1.
const RETRY: Duration = Duration::from_secs(60);
/// Pods on a node that is gone are deleted after this long. Source: embedded-cluster.md 16.
const QUARANTINE: Duration = Duration::from_secs(40);

/// How the controllers run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where "now" comes from; waiting uses the runtime's timers.
    pub clock: SharedClock,
    /// How long a node may be silent before it is NotReady. Source: embedded-cluster.md 16.2, 40 s.
    pub node_grace: Duration,
    /// Simulated durations run this many times faster; the node grace does not. Range: above 0.
    pub time_scale: f64,
    /// Certificate that every namespace carries in its `kube-root-ca.crt`.
    pub ca_certificate: Option<String>,
}

/// Running controllers. Dropped, they stop.
#[derive(Debug)]
pub struct Handle {
    task: JoinHandle<()>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts the controllers. Must be called within a tokio runtime.
pub fn spawn(client: Client, config: Config) -> Handle {
    let keeper = Keeper::new(client, config);
    Handle {
        task: tokio::spawn(keeper.run()),
    }
}

struct Keeper {
    config: Config,
    writer: Writer,
    answers: mpsc::UnboundedReceiver<Answer>,
    pods: mpsc::Receiver<Change<Pod>>,
    nodes: mpsc::Receiver<Change<Node>>,
    leases: mpsc::Receiver<Change<Lease>>,
    namespaces: mpsc::Receiver<Change<Namespace>>,
    objects: mpsc::Receiver<(&'static Kind, Change<Meta>)>,
    unsynced: BTreeSet<(&'static str, &'static str)>,
    scheduler: Scheduler,
    lifecycle: Lifecycle,
    garbage: Garbage,
    namespace_lifecycle: Namespaces,
    node_names: BTreeSet<String>,
    nodes_synced: bool,
    bound: BTreeMap<String, BTreeMap<Uid, Arc<Pod>>>,
    /// Nodes that are gone while pods say that they run there.
    lost: BTreeMap<String, Instant>,
}

impl Keeper {
    fn new(client: Client, config: Config) -> Self {
        let (writer, answers) = Writer::new(client.clone());
        let (unsynced, objects) = watch_all(&client);
        Self {
            writer,
            answers,
            pods: watch(client.clone(), "/api/v1/pods"),
            nodes: watch(client.clone(), "/api/v1/nodes"),
            leases: watch(
                client.clone(),
                "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
            ),
            namespaces: watch(client, "/api/v1/namespaces"),
            objects,
            unsynced,
            scheduler: Scheduler::default(),
            lifecycle: Lifecycle::new(config.node_grace, config.time_scale),
            garbage: Garbage::default(),
            namespace_lifecycle: Namespaces::new(config.ca_certificate.clone()),
            node_names: BTreeSet::new(),
            nodes_synced: false,
            bound: BTreeMap::new(),
            lost: BTreeMap::new(),
            config,
        }
    }

    async fn run(mut self) {
        let mut tick = interval(self.lifecycle.period());
        let mut retry = interval(RETRY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let writes = tokio::select! {
                Some(change) = self.nodes.recv() => self.on_node(change),
                Some(change) = self.pods.recv() => self.on_pod(change),
                Some(change) = self.leases.recv() => self.on_lease(change),
                Some(change) = self.namespaces.recv() => self.on_namespace(change),
                Some((kind, change)) = self.objects.recv() => self.on_object(kind, change),
                Some(answer) = self.answers.recv() => self.on_answer(answer),
                _ = tick.tick() => self.on_tick(),
                _ = retry.tick() => self.scheduler.retry_all(self.now()),
                else => return,
            };
            for write in writes {
                self.writer.begin(write);
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    fn on_node(&mut self, change: Change<Node>) -> Vec<Write> {
        let now = self.now();
        let (node, is_gone) = match change {
            Change::Applied(node) => (node, false),
            Change::Deleted(node) => (node, true),
            Change::Synced => {
                self.nodes_synced = true;
                let lost = self
                    .bound
                    .keys()
                    .filter(|name| !self.node_names.contains(*name))
                    .cloned();
                self.lost.extend(lost.map(|name| (name, Instant::now())));
                return Vec::new();
            }
        };
        let name = node.metadata.name.clone();
        if is_gone {
            self.node_names.remove(&name);
            self.lost.insert(name, Instant::now());
        } else {
            self.lost.remove(&name);
            self.node_names.insert(name);
        }
        let mut writes = self.lifecycle.on_node(&node, is_gone, now);
        writes.extend(self.scheduler.on_node(&node, is_gone, now));
        writes
    }

    fn on_pod(&mut self, change: Change<Pod>) -> Vec<Write> {
        let now = self.now();
        let (pod, is_gone) = match change {
            Change::Applied(pod) => (pod, false),
            Change::Deleted(pod) => (pod, true),
            Change::Synced => return Vec::new(),
        };
        let Ok(uid) = pod.metadata.uid() else {
            return Vec::new();
        };
        let node = &pod.spec.node_name;
        if !node.is_empty() {
            let on_node = self.bound.entry(node.clone()).or_default();
            if is_gone {
                on_node.remove(&uid);
            } else {
                on_node.insert(uid, Arc::clone(&pod));
            }
            if on_node.is_empty() {
                self.bound.remove(node);
            }
            if self.nodes_synced && !self.node_names.contains(node) {
                self.lost.entry(node.clone()).or_insert_with(Instant::now);
            }
        }
        let mut writes = self.scheduler.on_pod(&pod, uid, is_gone, now);
        writes.extend(self.lifecycle.on_pod(&pod, uid, is_gone, now));
        writes
    }

    fn on_lease(&mut self, change: Change<Lease>) -> Vec<Write> {
        if let Change::Applied(lease) = change {
            self.lifecycle
                .on_lease(&lease.metadata.name, &lease.spec.renew_time, self.now());
        }
        Vec::new()
    }

    fn on_namespace(&mut self, change: Change<Namespace>) -> Vec<Write> {
        let now = self.now();
        match change {
            Change::Applied(namespace) => {
                self.namespace_lifecycle
                    .on_namespace(&namespace, false, &self.garbage, now)
            }
            Change::Deleted(namespace) => {
                self.namespace_lifecycle
                    .on_namespace(&namespace, true, &self.garbage, now)
            }
            Change::Synced => Vec::new(),
        }
    }

    fn on_object(&mut self, kind: &'static Kind, change: Change<Meta>) -> Vec<Write> {
        let now = self.now();
        match change {
            Change::Applied(meta) => {
                let Ok(uid) = meta.metadata.common.uid() else {
                    return Vec::new();
                };
                let namespace = meta.metadata.common.namespace.clone();
                let mut writes = self.garbage.on_applied(kind, meta, uid, self.unsynced.is_empty());
                if self.unsynced.is_empty() {
                    writes.extend(self.namespace_lifecycle.on_object(&namespace, &self.garbage, now));
                }
                writes
            }
            Change::Deleted(meta) => {
                let Ok(uid) = meta.metadata.common.uid() else {
                    return Vec::new();
                };
                let mut writes = self.garbage.on_deleted(&meta, uid);
                let common = &meta.metadata.common;
                writes.extend(self.namespace_lifecycle.on_object_gone(
                    &common.namespace,
                    kind.kind,
                    &common.name,
                    &self.garbage,
                    now,
                ));
                writes
            }
            Change::Synced => {
                let was_unsynced = self.unsynced.remove(&(kind.group, kind.plural));
                if was_unsynced && self.unsynced.is_empty() {
                    self.garbage.on_synced()
                } else {
                    Vec::new()
                }
            }
        }
    }

    fn on_answer(&mut self, answer: Answer) -> Vec<Write> {
        let now = self.now();
        match answer.asked {
            Asked::Bind(uid) => self.scheduler.on_bound(uid, answer.result.is_ok(), now),
            Asked::Owner { dependent, owner } => self.garbage.on_owner(dependent, owner, &answer.result),
            Asked::Namespace(name) => self.namespace_lifecycle.on_finalized(&name, &self.garbage, now),
        }
    }

    fn on_tick(&mut self) -> Vec<Write> {
        let mut writes = self.lifecycle.tick(self.now());
        let quarantine =
            Duration::try_from_secs_f64(QUARANTINE.as_secs_f64() / self.config.time_scale.max(f64::EPSILON));
        let quarantine = quarantine.unwrap_or(QUARANTINE);
        let over: Vec<String> = self
            .lost
            .iter()
            .filter(|(_, since)| since.elapsed() >= quarantine)
            .map(|(name, _)| name.clone())
            .collect();
        for name in over {
            self.lost.remove(&name);
            for pod in self.bound.get(&name).into_iter().flat_map(BTreeMap::values) {
                writes.push(Write::delete(pod.path(), &pod.metadata.uid, Some(0), None));
            }
        }
        writes
    }
}

/// Which kinds a watch has not listed yet, and the changes of all of them.
type Everything = (
    BTreeSet<(&'static str, &'static str)>,
    mpsc::Receiver<(&'static Kind, Change<Meta>)>,
);

/// Watches the metadata of every kind that can own or be owned.
fn watch_all(client: &Client) -> Everything {
    let (sender, receiver) = mpsc::channel(1024);
    let mut unsynced = BTreeSet::new();
    for kind in kinds::all().iter().filter(|kind| is_watched(kind)) {
        unsynced.insert((kind.group, kind.plural));
        let mut changes = watch::<Meta>(client.clone(), list_path(kind));
        let sender = sender.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(change) = changes.recv() => {
                        if sender.send((kind, change)).await.is_err() {
                            return;
                        }
                    }
                    () = sender.closed() => return,
                    else => return,
                }
            }
        });
    }
    (unsynced, receiver)
}

/// The URL of all objects of a kind, in all namespaces.
fn list_path(kind: &Kind) -> String {
    let cluster_wide = Kind {
        namespaced: false,
        ..*kind
    };
    path_of(&cluster_wide, "", "").trim_end_matches('/').to_owned()
}
