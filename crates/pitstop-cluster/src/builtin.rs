//! Controllers inside the process: scheduler, node lifecycle, garbage collection, namespaces, service accounts, pod GC,
//! and those of the workloads.
//!
//! They are ordinary clients, so what others see is what they would see of a real cluster. Each of them is a state that
//! changes go into and writes come out of; this loop feeds them, and carries the writes out.
//!
//! Source: embedded-cluster.md 11, 16.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use pitstop_api::SharedClock;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::informer::{self, Change};
use crate::kinds::{self, Kind};

mod aggregation;
mod customs;
mod garbage;
mod lifecycle;
mod namespaces;
mod pod_gc;
mod scheduler;
mod selection;
mod volumes;
mod wire;
mod workloads;
mod writes;

use customs::News;
use garbage::{Garbage, collection_path};
use lifecycle::Lifecycle;
use namespaces::Namespaces;
use pod_gc::PodGc;
use scheduler::Scheduler;
pub use selection::{Controller, Selection, UnknownController};
use volumes::Volumes;
use wire::{Lease, Meta, Namespace, Node, Pod};
use workloads::{Seen, Workloads};
use writes::{Answer, Asked, Write, Writer};

/// Pods that wait for a node are looked at again after this long. Source: embedded-cluster.md 16.1.
const RETRY: Duration = Duration::from_secs(60);
/// Namespaces that end are looked at again after this long, besides when their last object goes.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How the controllers run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which of them run.
    pub controllers: Selection,
    /// Where "now" comes from; waiting uses the runtime's timers.
    pub clock: SharedClock,
    /// How long a node may be silent before it is NotReady. Source: embedded-cluster.md 16.2, 40 s.
    pub node_grace: Duration,
    /// Simulated durations run this many times faster; the node grace does not. Range: above 0.
    pub time_scale: f64,
    /// Certificate that every namespace carries in its `kube-root-ca.crt`, as PEM, when it is known already.
    pub ca_certificate: Option<String>,
}

/// Running controllers. Dropped, they stop.
#[derive(Debug)]
pub struct Handle {
    tasks: [Option<JoinHandle<()>>; 2],
    ca_certificate: watch::Sender<Option<String>>,
}

impl Handle {
    /// Names the certificate that every namespace carries in its `kube-root-ca.crt`, as PEM.
    pub fn set_ca_certificate(&self, pem: String) {
        self.ca_certificate.send_replace(Some(pem));
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        for task in self.tasks.iter().flatten() {
            task.abort();
        }
    }
}

/// Starts the controllers. Must be called within a tokio runtime.
pub fn spawn(client: Client, config: Config) -> Handle {
    let aggregation = config
        .controllers
        .has(Controller::RoleAggregation)
        .then(|| aggregation::spawn(client.clone()));
    let ca_certificate = watch::Sender::new(config.ca_certificate.clone());
    let keeper = Keeper::new(client, config, ca_certificate.subscribe());
    Handle {
        tasks: [Some(tokio::spawn(keeper.run())), aggregation],
        ca_certificate,
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
    definitions: mpsc::Receiver<News>,
    scheduler: Scheduler,
    lifecycle: Lifecycle,
    garbage: Garbage,
    namespace_lifecycle: Namespaces,
    pod_gc: PodGc,
    workload_objects: mpsc::Receiver<Seen>,
    workloads: Workloads,
    volume_objects: mpsc::Receiver<volumes::Seen>,
    volumes: Volumes,
    ca_certificate: watch::Receiver<Option<String>>,
}

impl Keeper {
    fn new(client: Client, config: Config, ca_certificate: watch::Receiver<Option<String>>) -> Self {
        let config = Config {
            time_scale: if config.time_scale > 0.0 {
                config.time_scale
            } else {
                1.0
            },
            ..config
        };
        let (writer, answers) = Writer::new(client.clone());
        let (unsynced, objects, definitions) = watch_all(&client);
        Self {
            writer,
            answers,
            pods: informer::watch(client.clone(), "/api/v1/pods"),
            nodes: informer::watch(client.clone(), "/api/v1/nodes"),
            leases: informer::watch(
                client.clone(),
                "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
            ),
            workload_objects: workloads::watch_all(&client),
            volume_objects: volumes::watch_all(&client),
            namespaces: informer::watch(client, "/api/v1/namespaces"),
            workloads: Workloads::new(&config.controllers),
            volumes: Volumes::new(&config.controllers),
            objects,
            unsynced,
            definitions,
            scheduler: Scheduler::default(),
            lifecycle: Lifecycle::new(config.node_grace, config.time_scale),
            garbage: Garbage::default(),
            namespace_lifecycle: Namespaces::new(config.ca_certificate.clone(), &config.controllers),
            pod_gc: PodGc::new(config.time_scale),
            ca_certificate,
            config,
        }
    }

    async fn run(mut self) {
        let mut tick = interval(self.lifecycle.period());
        let mut retry = interval(RETRY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look_again = interval(LOOK_AGAIN);
        look_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wake = self.workloads.next_wake(self.now());
            let mut writes = tokio::select! {
                // In a fixed order, so that a simulation can be repeated. Signs of life come first: else a node would be
                // taken for dead whose lease waits behind a flood of pods. Then comes what is due.
                biased;
                Some(change) = self.leases.recv() => self.on_lease(change),
                _ = tick.tick() => self.on_tick(),
                _ = retry.tick() => self.on_retry(),
                _ = look_again.tick() => self.namespace_lifecycle.retry_all(),
                Some(change) = self.nodes.recv() => self.on_node(change),
                Some(change) = self.pods.recv() => self.on_pod(change),
                Some(change) = self.namespaces.recv() => self.on_namespace(change),
                Some(news) = self.definitions.recv() => self.on_definition(news),
                Some((kind, change)) = self.objects.recv() => self.on_object(kind, change),
                Some(seen) = self.workload_objects.recv() => self.on_workload(seen),
                Some(seen) = self.volume_objects.recv() => self.on_volume(seen),
                Some(answer) = self.answers.recv() => self.on_answer(answer),
                Ok(()) = self.ca_certificate.changed() => self.on_certificate(),
                // Last: workloads are not looked at before everything that has come in is known.
                () = pause(wake), if wake.is_some() => Vec::new(),
                else => return,
            };
            // Decisions wait until what has come in is known: one decision answers many changes.
            if self.pods.is_empty() && self.workload_objects.is_empty() {
                writes.extend(self.workloads.work(self.now()));
            }
            for write in writes {
                self.writer.begin(write);
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    fn has(&self, controller: Controller) -> bool {
        self.config.controllers.has(controller)
    }

    fn on_retry(&mut self) -> Vec<Write> {
        let now = self.now();
        let mut writes = self.volumes.look_at_all(now);
        if self.has(Controller::Scheduler) {
            writes.extend(self.scheduler.retry_all(now));
        }
        writes
    }

    fn on_node(&mut self, change: Change<Node>) -> Vec<Write> {
        let now = self.now();
        let (node, is_gone) = match change {
            Change::Applied(node) => (node, false),
            Change::Deleted(node) => (node, true),
            Change::Synced => {
                self.pod_gc.on_nodes_synced(now);
                return Vec::new();
            }
        };
        self.pod_gc.on_node(&node.metadata.name, is_gone, now);
        let mut writes = Vec::new();
        if self.has(Controller::NodeLifecycle) {
            writes.extend(self.lifecycle.on_node(&node, is_gone, now));
        }
        if self.has(Controller::Scheduler) {
            writes.extend(self.scheduler.on_node(&node, is_gone, now));
        }
        writes
    }

    fn on_pod(&mut self, change: Change<Pod>) -> Vec<Write> {
        let now = self.now();
        let (pod, is_gone) = match change {
            Change::Applied(pod) => (pod, false),
            Change::Deleted(pod) => (pod, true),
            Change::Synced => {
                self.workloads.on_pods_synced();
                let claims = self.volumes.on_pods_synced();
                return self.volumes.look_at(&claims, now);
            }
        };
        let Ok(uid) = pod.metadata.uid() else {
            return Vec::new();
        };
        self.pod_gc.on_pod(&pod, uid, is_gone, now);
        self.workloads.on_pod(&pod, uid, is_gone);
        let claims = self.volumes.on_pod(&pod, uid, is_gone);
        let mut writes = Vec::new();
        if !claims.is_empty() {
            writes.extend(self.volumes.look_at(&claims, now));
        }
        if self.has(Controller::Scheduler) {
            writes.extend(self.scheduler.on_pod(&pod, uid, is_gone, now));
        }
        if self.has(Controller::NodeLifecycle) {
            writes.extend(self.lifecycle.on_pod(&pod, uid, is_gone, now));
        }
        writes
    }

    fn on_lease(&mut self, change: Change<Lease>) -> Vec<Write> {
        let now = self.now();
        match change {
            Change::Applied(lease) => {
                self.lifecycle
                    .on_lease(&lease.metadata.name, Some(&lease.spec.renew_time), now);
            }
            Change::Deleted(lease) => self.lifecycle.on_lease(&lease.metadata.name, None, now),
            Change::Synced => {}
        }
        Vec::new()
    }

    fn on_namespace(&mut self, change: Change<Namespace>) -> Vec<Write> {
        match change {
            Change::Applied(namespace) => self.namespace_lifecycle.on_namespace(&namespace, false),
            Change::Deleted(namespace) => self.namespace_lifecycle.on_namespace(&namespace, true),
            Change::Synced => Vec::new(),
        }
    }

    fn on_definition(&mut self, news: News) -> Vec<Write> {
        self.garbage.on_kind(news);
        self.namespace_lifecycle.on_kind(news);
        Vec::new()
    }

    fn on_object(&mut self, kind: &'static Kind, change: Change<Meta>) -> Vec<Write> {
        let now = self.now();
        match change {
            Change::Applied(meta) => match meta.metadata.uid() {
                Ok(uid) => {
                    let writes = self.garbage.on_applied(kind, meta, uid, now);
                    self.collected(writes)
                }
                Err(_) => Vec::new(),
            },
            Change::Deleted(meta) => {
                let common = &meta.metadata;
                let Ok(uid) = common.uid() else {
                    return Vec::new();
                };
                let writes = self.garbage.on_deleted(uid);
                let mut writes = self.collected(writes);
                let is_empty = self.garbage.is_empty(&common.namespace);
                writes.extend(self.namespace_lifecycle.on_object_gone(
                    &common.namespace,
                    kind.kind,
                    &common.name,
                    is_empty,
                ));
                writes
            }
            Change::Synced => {
                let was_unsynced = self.unsynced.remove(&(kind.group, kind.plural));
                if (was_unsynced || kind.is_custom()) && self.unsynced.is_empty() {
                    let writes = self.garbage.on_synced();
                    self.collected(writes)
                } else {
                    Vec::new()
                }
            }
        }
    }

    /// The writes of the garbage collector, if it runs: its graph is needed in any case, to know which namespaces are
    /// empty.
    fn collected(&self, writes: Vec<Write>) -> Vec<Write> {
        if self.has(Controller::GarbageCollector) {
            writes
        } else {
            Vec::new()
        }
    }

    fn on_workload(&mut self, seen: Seen) -> Vec<Write> {
        self.workloads.on_seen(seen);
        Vec::new()
    }

    fn on_volume(&mut self, seen: volumes::Seen) -> Vec<Write> {
        let now = self.now();
        let claims = self.volumes.on_seen(seen);
        let mut writes = self.volumes.look_at(&claims, now);
        if self.volumes.is_synced() && self.has(Controller::Scheduler) {
            for claim in claims {
                let readiness = self.volumes.readiness(&claim);
                writes.extend(self.scheduler.on_claim(&claim, readiness, now));
            }
            writes.extend(self.scheduler.on_claims_known(now));
        }
        writes
    }

    fn on_answer(&mut self, answer: Answer) -> Vec<Write> {
        let now = self.now();
        let Answer {
            asked,
            result,
            message,
        } = answer;
        match asked {
            Asked::Bind(uid) => self.scheduler.on_bound(uid, result.is_ok(), now),
            Asked::Owner { owner, path } => self.garbage.on_owner(owner, path, &result),
            Asked::Cleared { namespace } => {
                self.namespace_lifecycle.on_cleared(&namespace, result.is_err());
                Vec::new()
            }
            Asked::Remains { namespace, kind } => self
                .namespace_lifecycle
                .on_remains(&namespace, kind, &result, now),
            Asked::Workload(taken) => self.workloads.on_taken(*taken, result, message, now),
            Asked::Finalized(namespace) => {
                self.namespace_lifecycle.on_finalized(&namespace, result.is_err());
                Vec::new()
            }
        }
    }

    fn on_certificate(&mut self) -> Vec<Write> {
        let certificate = self.ca_certificate.borrow_and_update().clone();
        self.namespace_lifecycle.on_certificate(certificate)
    }

    fn on_tick(&mut self) -> Vec<Write> {
        let now = self.now();
        let mut writes = Vec::new();
        if self.has(Controller::NodeLifecycle) {
            writes.extend(self.lifecycle.tick(now));
        }
        if self.has(Controller::PodGc) {
            writes.extend(self.pod_gc.tick(now));
        }
        writes
    }
}

/// Waits for the next time that a workload is to be looked at.
async fn pause(wake: Option<Duration>) {
    tokio::time::sleep(wake.unwrap_or(Duration::MAX)).await;
}

/// Which kinds a watch has not listed yet, and the changes of all of them.
type Everything = (
    BTreeSet<(&'static str, &'static str)>,
    mpsc::Receiver<(&'static Kind, Change<Meta>)>,
    mpsc::Receiver<News>,
);

/// Watches the metadata of every kind that can own or be owned.
fn watch_all(client: &Client) -> Everything {
    let (sender, receiver) = mpsc::channel(1024);
    let mut unsynced = BTreeSet::new();
    for kind in kinds::all().iter().filter(|kind| is_watched(kind)) {
        unsynced.insert((kind.group, kind.plural));
        let changes = informer::watch::<Meta>(client.clone(), collection_path(kind, ""));
        tokio::spawn(informer::forward(changes, sender.clone(), move |change| {
            (kind, change)
        }));
    }
    let definitions = customs::watch(client.clone(), sender);
    (unsynced, receiver, definitions)
}

/// Does the graph hold objects of this kind? Events own nothing, are owned by nothing, and come too fast to be worth it.
fn is_watched(kind: &Kind) -> bool {
    kind.is_stored() && kind.conversion.is_none() && kind.plural != "events"
}
