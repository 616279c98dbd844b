//! The loop that plays all nodes of a fleet: changes and timers in, writes out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use pitstop_api::view::Uid;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::containers::PodName;
use super::fleet::FleetConfig;
use super::inside::{Ends, Question};
use super::machine::{self, Health};
use super::pod_life::{PodLife, Step};
use super::profile::{self, Rule};
use super::requests::{Outcome, Requests, Writer};
use super::status::Conditions;
use super::wire::{NodeObject, PodObject};
use crate::informer::{self, Change};

mod images;
mod pods;
mod pulls;
mod visits;

/// How often a kubelet renews its lease. Source: embedded-cluster.md 17.1.
const LEASE: Duration = Duration::from_secs(10);
/// How often a kubelet reports an unchanged status. Source: embedded-cluster.md 17.1.
const STATUS: Duration = Duration::from_secs(300);
/// Nodes that started together drift apart: a heartbeat is sooner by up to this part. Source: embedded-cluster.md 16.2.
const JITTER: f64 = 0.04;
/// Pods of a node that returns are reported within this time. Source: embedded-cluster.md 17.6.
const REPORT_SPREAD: Duration = Duration::from_secs(10);
/// A failed write is tried again after this long.
const RETRY: Duration = Duration::from_secs(1);
/// Images that a node lists in its status at most. Source: embedded-cluster.md 17.1.
const LISTED_IMAGES: usize = 50;

/// Something whose time comes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Pod(Uid, PlannedStep),
    Report(Uid),
    Lease(String, u32),
    Status(String, u32),
    Pull(u64),
}

/// A step and the epoch of its container, in an order of no meaning, so that timers can be kept in a heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PlannedStep {
    step: Step,
    epoch: Option<u32>,
}

impl PartialOrd for PlannedStep {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PlannedStep {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// A node.
struct Machine {
    object: Arc<NodeObject>,
    number: u32,
    health: Health,
    is_connected: bool,
    rules: Arc<[Rule]>,
    images: VecDeque<(String, u64)>,
    pull_free_at: Instant,
    pods: BTreeSet<Uid>,
    addresses: BTreeSet<u8>,
    next_address: u8,
    /// Has its network been written?
    has_network: bool,
    is_dirty: bool,
    is_writing: bool,
    lease_in_flight: bool,
    /// Raised when its timers are set anew.
    epoch: u32,
}

/// A pod.
struct Pod {
    /// As the API server shows it.
    object: Arc<PodObject>,
    life: Option<PodLife>,
    conditions: Conditions,
    ip: String,
    is_dirty: bool,
    is_writing: bool,
    is_gone: bool,
    /// It is not reported before this moment.
    hold_until: Option<Instant>,
    /// Tells those who follow its logs that something happened.
    followers: Option<watch::Sender<Ends>>,
}

/// The kubelets of a fleet.
pub(super) struct Kubelets {
    config: FleetConfig,
    requests: Requests,
    outcomes: mpsc::UnboundedReceiver<(Writer, Outcome)>,
    pod_changes: mpsc::Receiver<Change<PodObject>>,
    node_changes: mpsc::Receiver<Change<NodeObject>>,
    machines: BTreeMap<String, Machine>,
    pods: BTreeMap<Uid, Pod>,
    /// Pods by the name of their node, also where the node is not (yet) ours.
    bound: BTreeMap<String, BTreeSet<Uid>>,
    timers: BinaryHeap<Reverse<(Instant, u64, Timer)>>,
    sequence: u64,
    next_number: u32,
    shared_rules: Vec<Rule>,
    /// The port where they are served.
    port: Option<u16>,
    questions: mpsc::Receiver<Question>,
    /// Pulls that somebody beside the kubelets has asked for.
    pulls: BTreeMap<u64, pulls::Pull>,
    /// Where agents are told of pods whose containers show their metadata.
    agent: Option<mpsc::UnboundedSender<PodName>>,
}

impl Kubelets {
    pub(super) fn new(
        client: Client,
        config: FleetConfig,
        port: Option<u16>,
        questions: mpsc::Receiver<Question>,
    ) -> Self {
        let (requests, outcomes) = Requests::new(client.clone());
        let shared_rules = config
            .profiles
            .iter()
            .cloned()
            .chain(profile::shipped())
            .collect();
        Self {
            config,
            requests,
            outcomes,
            node_changes: informer::watch(client.clone(), "/api/v1/nodes"),
            pod_changes: informer::watch(client, "/api/v1/pods"),
            machines: BTreeMap::new(),
            pods: BTreeMap::new(),
            bound: BTreeMap::new(),
            timers: BinaryHeap::new(),
            sequence: 0,
            next_number: 0,
            shared_rules,
            port,
            questions,
            pulls: BTreeMap::new(),
            agent: None,
        }
    }

    /// Runs for ever.
    pub(super) async fn run(mut self) {
        loop {
            let next = self.timers.peek().map(|Reverse((at, ..))| *at);
            tokio::select! {
                // In a fixed order, so that a simulation can be repeated. What is due comes first: leases must not wait
                // for a flood of changes.
                biased;
                () = sleep_until(next) => self.on_timers(),
                Some((writer, outcome)) = self.outcomes.recv() => self.on_outcome(&writer, outcome),
                Some(change) = self.node_changes.recv() => self.on_node(change),
                Some(change) = self.pod_changes.recv() => self.on_pod(change),
                Some(question) = self.questions.recv() => self.on_question(question),
                else => return,
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    /// A simulated duration as a real one.
    fn scaled(&self, duration: Duration) -> Duration {
        let scale = if self.config.time_scale > 0.0 {
            self.config.time_scale
        } else {
            1.0
        };
        Duration::try_from_secs_f64(duration.as_secs_f64() / scale).unwrap_or(duration)
    }

    fn at(&mut self, at: Instant, timer: Timer) {
        self.sequence = self.sequence.wrapping_add(1);
        self.timers.push(Reverse((at, self.sequence, timer)));
    }

    fn after(&mut self, duration: Duration, timer: Timer) {
        let at = Instant::now() + self.scaled(duration);
        self.at(at, timer);
    }

    /// As [`Self::after`], for what a node does to be seen alive. `duration` is what it is where a lease takes [`LEASE`].
    fn heartbeat(&mut self, duration: Duration, timer: Timer) {
        match self.config.heartbeat {
            None => self.after(duration, timer),
            Some(lease) => {
                let factor = duration.as_secs_f64() / LEASE.as_secs_f64();
                self.at(Instant::now() + lease.mul_f64(factor), timer);
            }
        }
    }

    fn on_timers(&mut self) {
        let now = Instant::now();
        while self.timers.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, _, timer))) = self.timers.pop() else {
                return;
            };
            match timer {
                Timer::Pod(uid, planned) => self.on_step(uid, planned),
                Timer::Report(uid) => self.report(uid),
                Timer::Lease(node, epoch) => self.on_lease_due(&node, epoch),
                Timer::Status(node, epoch) => self.on_status_due(&node, epoch),
                Timer::Pull(run) => self.on_pulled(run),
            }
        }
    }

    // Nodes.

    fn on_node(&mut self, change: Change<NodeObject>) {
        match change {
            Change::Applied(node) if node.is_simulated() => self.on_simulated(node),
            Change::Applied(node) | Change::Deleted(node) => self.forget(&node.metadata.name),
            Change::Synced => {}
        }
    }

    /// The node is gone, or not ours any more: its containers are, too.
    fn forget(&mut self, name: &str) {
        if let Some(machine) = self.machines.remove(name) {
            for uid in machine.pods {
                if let Some(pod) = self.pods.get_mut(&uid) {
                    pod.life = None;
                }
            }
        }
    }

    fn on_simulated(&mut self, node: Arc<NodeObject>) {
        let name = node.metadata.name.clone();
        if self
            .machines
            .get(&name)
            .is_some_and(|m| m.object.metadata.uid != node.metadata.uid)
        {
            self.forget(&name);
        }
        if !self.machines.contains_key(&name) {
            self.begin_node(&name, node);
            return;
        }
        let now = self.now();
        let Some(machine) = self.machines.get_mut(&name) else {
            return;
        };
        let (was_connected, is_connected) = (machine.is_connected, !node.is_disconnected());
        if node.image_profile() != machine.object.image_profile() {
            machine.rules = images::rules(&node, &self.shared_rules);
        }
        let gets_agents = machine.object.has_no_agents() && !node.has_no_agents();
        machine.object = node;
        machine.is_connected = is_connected;
        let is_ready = !machine.object.reports_not_ready();
        if is_ready != machine.health.is_ready {
            (machine.health.is_ready, machine.health.since) = (is_ready, now);
            machine.is_dirty = true;
        }
        let is_short = machine.object.is_short_of_disk();
        if is_short != machine.health.short_of_disk_since.is_some() {
            machine.health.short_of_disk_since = is_short.then_some(now);
            machine.is_dirty = true;
        }
        if !is_connected {
            if was_connected {
                tracing::info!(node = name, "cut off");
            }
            return;
        }
        let told = if gets_agents {
            machine.pods.clone()
        } else {
            BTreeSet::new()
        };
        if was_connected {
            // The control plane called the node unready while it is not: it is told again.
            let shown = machine
                .object
                .status
                .conditions
                .iter()
                .find(|c| c.kind == "Ready")
                .map(|c| c.status == "True");
            if shown != Some(machine.health.is_ready) && !machine.is_writing {
                machine.health.since = now;
                machine.is_dirty = true;
            }
            self.report_node(&name);
        } else {
            self.reconnect(&name);
        }
        for uid in told {
            self.tell_agent(uid);
        }
    }

    fn begin_node(&mut self, name: &str, node: Arc<NodeObject>) {
        let taken = machine::number_of(&node.spec.pod_cidr);
        let number = taken.unwrap_or(self.next_number);
        self.next_number = self.next_number.max(number.saturating_add(1));
        let ready = node
            .status
            .conditions
            .iter()
            .find(|c| c.kind == "Ready" && c.status == "True");
        let health = Health {
            is_ready: !node.reports_not_ready(),
            since: ready
                .and_then(|c| c.last_transition_time)
                .unwrap_or_else(|| self.now()),
            short_of_disk_since: node.is_short_of_disk().then(|| self.now()),
        };
        let machine = Machine {
            number,
            health,
            is_connected: !node.is_disconnected(),
            rules: images::rules(&node, &self.shared_rules),
            images: VecDeque::new(),
            pull_free_at: Instant::now(),
            pods: BTreeSet::new(),
            addresses: BTreeSet::new(),
            next_address: 2,
            has_network: taken.is_some(),
            is_dirty: true,
            is_writing: false,
            lease_in_flight: false,
            epoch: 0,
            object: node,
        };
        self.machines.insert(name.to_owned(), machine);
        self.renew_lease(name);
        self.report_node(name);
        self.heartbeat(LEASE, Timer::Lease(name.to_owned(), 0));
        self.heartbeat(STATUS, Timer::Status(name.to_owned(), 0));
        for uid in self.bound.get(name).cloned().unwrap_or_default() {
            self.sync_pod(uid);
        }
    }

    /// First the node, then its pods: what the control plane did meanwhile is caught up, and everything is reported.
    ///
    /// Source: embedded-cluster.md 17.6.
    fn reconnect(&mut self, name: &str) {
        let now = self.now();
        tracing::info!(node = name, "connected again");
        let Some(machine) = self.machines.get_mut(name) else {
            return;
        };
        machine.health.since = now;
        machine.is_dirty = true;
        machine.epoch = machine.epoch.wrapping_add(1);
        let epoch = machine.epoch;
        self.renew_lease(name);
        self.report_node(name);
        self.heartbeat(LEASE, Timer::Lease(name.to_owned(), epoch));
        self.heartbeat(STATUS, Timer::Status(name.to_owned(), epoch));
        let spread = u64::try_from(REPORT_SPREAD.as_millis()).unwrap_or(u64::MAX);
        for uid in self.bound.get(name).cloned().unwrap_or_default() {
            let delay = Duration::from_millis(super::hash(&uid.0.to_le_bytes()) % spread);
            let hold = Instant::now() + self.scaled(delay);
            if let Some(pod) = self.pods.get_mut(&uid)
                && pod.life.is_some()
            {
                pod.hold_until = Some(hold);
                pod.is_dirty = true;
                self.at(hold, Timer::Report(uid));
            }
            self.sync_pod(uid);
        }
    }

    fn on_lease_due(&mut self, name: &str, epoch: u32) {
        if self
            .machines
            .get(name)
            .is_some_and(|m| m.epoch == epoch && m.is_connected)
        {
            self.renew_lease(name);
            let drawn = super::hash(format!("{name}{}", self.sequence).as_bytes()) % 1000;
            #[allow(clippy::cast_precision_loss, reason = "below 1000")]
            let part = drawn as f64 / 1000.0;
            self.heartbeat(
                LEASE.mul_f64(1.0 - JITTER * part),
                Timer::Lease(name.to_owned(), epoch),
            );
        }
    }

    fn on_status_due(&mut self, name: &str, epoch: u32) {
        if let Some(machine) = self.machines.get_mut(name)
            && machine.epoch == epoch
            && machine.is_connected
        {
            machine.is_dirty = true;
            self.report_node(name);
            self.heartbeat(STATUS, Timer::Status(name.to_owned(), epoch));
        }
    }

    fn renew_lease(&mut self, name: &str) {
        let now = self.now();
        let Some(machine) = self.machines.get_mut(name) else {
            return;
        };
        if machine.is_connected && !machine.lease_in_flight {
            machine.lease_in_flight = true;
            self.requests.renew_lease(name, &machine.object.metadata.uid, now);
        }
    }

    fn report_node(&mut self, name: &str) {
        let now = self.now();
        let Some(machine) = self.machines.get_mut(name) else {
            return;
        };
        if !machine.is_dirty || machine.is_writing || !machine.is_connected {
            return;
        }
        machine.is_dirty = false;
        machine.is_writing = true;
        let network = (!machine.has_network).then(|| machine::pod_cidr(machine.number));
        let listed: Vec<_> = machine.images.iter().rev().take(LISTED_IMAGES).cloned().collect();
        let status = machine::status(name, machine.number, machine.health, &listed, self.port, now);
        self.requests.node(name, network, &status);
    }

    fn on_outcome(&mut self, writer: &Writer, outcome: Outcome) {
        match writer {
            Writer::Pod(uid) => {
                let Some(pod) = self.pods.get_mut(uid) else { return };
                pod.is_writing = false;
                match outcome {
                    Outcome::Done => self.report_again(*uid),
                    // The watch tells what became of the pod.
                    Outcome::Gone => pod.is_dirty = false,
                    Outcome::Failed => {
                        pod.is_dirty = true;
                        let uid = *uid;
                        self.after(RETRY, Timer::Report(uid));
                    }
                }
            }
            Writer::Node(name) => {
                let Some(machine) = self.machines.get_mut(name) else {
                    return;
                };
                machine.is_writing = false;
                machine.has_network |= outcome == Outcome::Done;
                if outcome == Outcome::Failed {
                    machine.is_dirty = true;
                    let epoch = machine.epoch;
                    self.after(RETRY, Timer::Status(name.clone(), epoch));
                } else {
                    self.report_node(name);
                }
            }
            Writer::Lease(name) => {
                if let Some(machine) = self.machines.get_mut(name) {
                    machine.lease_in_flight = false;
                }
            }
        }
    }
}

impl Machine {
    /// The address of a new sandbox on this node.
    fn take_address(&mut self, host_network: bool) -> String {
        if host_network {
            return machine::host_ip(self.number);
        }
        for _ in 0..=u8::MAX {
            let address = self.next_address;
            self.next_address = if address >= 254 { 2 } else { address + 1 };
            if self.addresses.insert(address) {
                let network = machine::pod_cidr(self.number);
                return format!("{}.{address}", network.trim_end_matches(".0/24"));
            }
        }
        String::new()
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
