//! Every schedule of a small world of DaemonSets: three nodes, two revisions, nodes that go and come back, a pod that breaks,
//! a store that shows each pod late, a controller that begins anew, and a DELETE without an answer.
//!
//! Checked at every request, on the true state: no more pods are down by our doing than may be (S1), no pod that is new and
//! serves goes (S2), under AdvancedRollingUpdate none goes on a node that is away (S3), and no node gets a second pod (S8).
//! From every state, with faults ended, every node comes to serve the new version, and then nothing is done any more (L1, L2).

use std::collections::{HashMap, HashSet, VecDeque};

use pitstop_engine::daemonset::advanced;
use pitstop_engine::plan::{Action, Plan};
use pitstop_engine::snapshot::{CreatedPod, DeletedPod};

use crate::cluster::{Cluster, hash, ready};
use crate::walk::{self, Planner};

const NODES: usize = 3;
const NAMES: [&str; NODES] = ["a", "b", "c"];
const MAX_UNAVAILABLE: usize = 1;
/// More rounds than any rollout here takes without faults.
const PATIENCE: usize = 40;

/// The pod of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Pod {
    None,
    Serving {
        is_new: bool,
    },
    /// It does not serve: a new one will, an old one is broken.
    Down {
        is_new: bool,
    },
    /// It serves, and was marked not ready while its node was away.
    Marked {
        is_new: bool,
    },
    /// On its way out.
    Going,
}

impl Pod {
    fn is_live(self) -> bool {
        !matches!(self, Self::None | Self::Going)
    }

    /// Does it run, whatever was written down?
    fn serves(self) -> bool {
        matches!(self, Self::Serving { .. } | Self::Marked { .. })
    }
}

/// One node, as it is and as the controller knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Node {
    is_ready: bool,
    server: Pod,
    store: Pod,
    /// Does the store show the pod that the server has, in whatever version, and not one that was there before?
    is_same: bool,
    /// What was heard of our own requests, and the store does not show yet.
    is_deleted: bool,
    is_created: bool,
    is_in_doubt: bool,
    /// Did we take a pod down that served, and none has served since?
    is_caused: bool,
}

/// How often things may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Chances {
    flips: u8,
    breaks: u8,
    crashes: u8,
    losses: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    nodes: [Node; NODES],
    chances: Chances,
}

/// What the controller sees of a node.
type View = (bool, Pod, bool, bool, bool);

/// A request that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Delete { node: usize, names_version: bool },
    Create { node: usize },
}

/// Whose decisions.
#[derive(Clone, Copy)]
struct Rule {
    name: &'static str,
    plan: Planner,
    cluster: fn(&str) -> Cluster,
    /// Does it make pods, too? Else their own controller does.
    creates: bool,
    /// Are nodes that are away passed over?
    passes_over: bool,
}

const ADVANCED_ROLLING_UPDATE: Rule = Rule {
    name: "AdvancedRollingUpdate",
    plan: walk::ADVANCED,
    cluster: Cluster::advanced,
    creates: false,
    passes_over: true,
};
const NATIVE: Rule = Rule {
    name: "native RollingUpdate",
    plan: walk::NATIVE,
    cluster: Cluster::native,
    creates: true,
    passes_over: false,
};
const KRUISE: Rule = Rule {
    name: "Advanced DaemonSet",
    plan: walk::NATIVE,
    cluster: crate::kruise_daemonset::standard,
    creates: true,
    passes_over: false,
};

/// A fault that is built in.
#[derive(Clone, Copy)]
struct Fault {
    /// What it sees wrong.
    sees: fn(&mut [View; NODES]),
    /// What it does wrong.
    does: fn(&[View; NODES], &mut Vec<Request>),
    has_preconditions: bool,
}

const NO_FAULT: Fault = Fault {
    sees: |_| {},
    does: |_, _| {},
    has_preconditions: true,
};

struct Checker {
    rule: Rule,
    fault: Fault,
    /// A decision depends on what is seen alone.
    decided: HashMap<[View; NODES], Vec<Request>>,
}

impl State {
    fn start(chances: Chances) -> Self {
        let pod = Pod::Serving { is_new: false };
        let node = Node {
            is_ready: true,
            server: pod,
            store: pod,
            is_same: true,
            is_deleted: false,
            is_created: false,
            is_in_doubt: false,
            is_caused: false,
        };
        Self {
            nodes: [node; NODES],
            chances,
        }
    }

    fn views(&self) -> [View; NODES] {
        self.nodes.map(|node| {
            (
                node.is_ready,
                node.store,
                node.is_deleted,
                node.is_created,
                node.is_in_doubt,
            )
        })
    }
}

impl Node {
    /// The store shows what is there. A DELETE without an answer is over when its pod is seen to go or to have gone.
    fn sync(&mut self) {
        let is_over = !(self.is_same && self.server.is_live());
        self.is_in_doubt = self.is_in_doubt && !is_over;
        self.store = self.server;
        self.is_same = true;
        self.is_deleted = false;
        self.is_created = false;
    }

    fn kubelet(&mut self) {
        if !self.is_ready {
            return;
        }
        self.server = match self.server {
            Pod::Going => {
                self.is_same = false;
                Pod::None
            }
            Pod::Marked { is_new } => Pod::Serving { is_new },
            Pod::Down { is_new: true } => Pod::Serving { is_new: true },
            other => other,
        };
        self.is_caused = self.is_caused && !self.server.serves();
    }

    /// The controller that makes pods makes one.
    fn create(&mut self) {
        self.server = Pod::Down { is_new: true };
        self.is_same = false;
    }

    fn flip(&mut self) {
        self.is_ready = !self.is_ready;
        if !self.is_ready
            && let Pod::Serving { is_new } = self.server
        {
            self.server = Pod::Marked { is_new };
        }
    }
}

impl Checker {
    fn new(rule: Rule, fault: Fault) -> Self {
        Self {
            rule,
            fault,
            decided: HashMap::new(),
        }
    }

    fn requests(&mut self, state: &State) -> Vec<Request> {
        let mut views = state.views();
        (self.fault.sees)(&mut views);
        if let Some(known) = self.decided.get(&views) {
            return known.clone();
        }
        let mut requests = self.decide(&views);
        (self.fault.does)(&views, &mut requests);
        self.decided.insert(views, requests.clone());
        requests
    }

    fn decide(&self, views: &[View; NODES]) -> Vec<Request> {
        let word = |pod: Pod| match pod {
            Pod::None => ".",
            Pod::Going => "T",
            Pod::Serving { is_new: true } => "new+",
            Pod::Serving { is_new: false } => "old+",
            Pod::Down { is_new: true } | Pod::Marked { is_new: true } => "new-",
            Pod::Down { is_new: false } | Pod::Marked { is_new: false } => "old-",
        };
        let entry = |(i, view): (usize, &View)| {
            let state = if view.0 { "R" } else { "N" };
            format!("{}{state} {}", NAMES[i], word(view.1))
        };
        let picture: Vec<String> = views.iter().enumerate().map(entry).collect();
        let mut cluster = (self.rule.cluster)(&picture.join(", "));
        for (i, (is_ready, pod, is_deleted, is_created, is_in_doubt)) in views.iter().enumerate() {
            let name = NAMES[i];
            // Longer ago than a kubelet takes to start its pods again.
            cluster.node_mut(name).ready = ready(*is_ready, -500);
            let (at, slot) = (cluster.now, cluster.names.slot(name));
            if pod.is_live() {
                let shown = cluster.pod_on(name);
                match pod {
                    // Marked before its node came back, and not refreshed since.
                    Pod::Marked { .. } => shown.ready = ready(false, -600),
                    Pod::Down { .. } => {
                        shown.ready = ready(false, -10);
                        shown.are_containers_ready = false;
                    }
                    _ => {}
                }
                let uid = shown.uid;
                if *is_deleted {
                    let node = Some(slot);
                    cluster.in_flight.deleted.push(DeletedPod { uid, node, at });
                }
                if *is_in_doubt {
                    cluster.in_flight.maybe_deleted.push(uid);
                }
            }
            if *is_created {
                let uid = cluster.new_uid();
                cluster.in_flight.created.push(CreatedPod {
                    uid,
                    name: "agent-x".into(),
                    node: slot,
                    hash: hash("v2"),
                    at,
                });
            }
        }
        if self.rule.passes_over {
            let mut ledger = cluster.in_flight.clone();
            let pods: Vec<_> = cluster.pods.iter().collect();
            advanced::retire(&mut ledger, &pods, &cluster.snapshot().nodes, cluster.now);
            cluster.in_flight = ledger;
        }
        let plan: Plan = (self.rule.plan)(&cluster.snapshot());
        let node_of = |name: &str| NAMES.iter().position(|known| *known == name).unwrap();
        let request = |action: &Action| match action {
            Action::DeletePod {
                node,
                resource_version,
                ..
            } => Some(Request::Delete {
                node: node_of(cluster.names.name((*node)?)),
                names_version: resource_version.is_some(),
            }),
            Action::CreatePod { node, .. } => Some(Request::Create {
                node: node_of(cluster.names.name(*node)),
            }),
            _ => None,
        };
        plan.actions.iter().filter_map(request).collect()
    }

    /// Carries a request out. `is_heard`: does its answer come?
    fn carry_out(&self, state: &mut State, request: Request, is_heard: bool) -> Result<(), String> {
        let before = *state;
        match request {
            Request::Create { node } => {
                let at = &mut state.nodes[node];
                if at.server.is_live() {
                    return Err(format!("S8: a second pod on {}: {before:?}", NAMES[node]));
                }
                at.create();
                at.is_created = true;
            }
            Request::Delete { node, names_version } => {
                let names_version = names_version && self.fault.has_preconditions;
                let at = &mut state.nodes[node];
                let is_there = at.is_same && at.server.is_live();
                if !is_there || (names_version && at.store != at.server) {
                    // Not found, or a conflict: news, and the end of a doubt.
                    if at.is_in_doubt {
                        at.sync();
                        at.is_in_doubt = false;
                    }
                    return Ok(());
                }
                let was = at.server;
                at.server = Pod::Going;
                (at.is_deleted, at.is_in_doubt) = (is_heard, !is_heard);
                if was == (Pod::Serving { is_new: true }) {
                    return Err(format!(
                        "S2: a new pod that serves goes on {}: {before:?}",
                        NAMES[node]
                    ));
                }
                if self.rule.passes_over && !at.is_ready {
                    return Err(format!(
                        "S3: a pod goes on {}, which is away: {before:?}",
                        NAMES[node]
                    ));
                }
                // What was marked not ready counts as down natively, though it may run: as upstream (daemonset.md Y7).
                if was.serves() && (self.rule.passes_over || !matches!(was, Pod::Marked { .. })) {
                    at.is_caused = true;
                    // A node that is away is not to have a pod, natively as well: its taints say so.
                    let counts = |node: &&Node| node.is_caused && node.is_ready;
                    let n_down = state.nodes.iter().filter(counts).count();
                    if n_down > MAX_UNAVAILABLE {
                        return Err(format!("S1: {n_down} are down by our doing: {before:?}"));
                    }
                }
            }
        }
        Ok(())
    }

    fn successors(&mut self, state: &State) -> Result<Vec<State>, String> {
        let mut next = Vec::new();
        let mut push = |change: &dyn Fn(&mut State)| {
            let mut changed = *state;
            change(&mut changed);
            next.push(changed);
        };
        for i in 0..NODES {
            push(&|state| state.nodes[i].sync());
            push(&|state| state.nodes[i].kubelet());
            let node = state.nodes[i];
            if !self.rule.creates && node.is_ready && node.server == Pod::None {
                push(&|state| state.nodes[i].create());
            }
            if state.chances.flips > 0 {
                push(&|state| {
                    state.chances.flips -= 1;
                    state.nodes[i].flip();
                });
            }
            let broken = Pod::Down { is_new: false };
            let change = match node.server {
                Pod::Serving { is_new: false } => Some(broken),
                // It recovers.
                server if server == broken && node.is_ready => Some(Pod::Serving { is_new: false }),
                _ => None,
            };
            if let Some(pod) = change.filter(|_| state.chances.breaks > 0) {
                push(&|state| {
                    state.chances.breaks -= 1;
                    state.nodes[i].server = pod;
                });
            }
        }
        if state.chances.crashes > 0 {
            push(&|state| {
                state.chances.crashes -= 1;
                for node in &mut state.nodes {
                    node.sync();
                    node.is_in_doubt = false;
                }
            });
        }
        let requests = self.requests(state);
        let mut acted = *state;
        for request in &requests {
            let is_delete = matches!(request, Request::Delete { .. });
            if is_delete && state.chances.losses > 0 {
                // Carried out or not: nobody hears of it.
                let mut done = acted;
                done.chances.losses -= 1;
                let mut undone = done;
                self.carry_out(&mut done, *request, false)?;
                if let Request::Delete { node, .. } = request {
                    undone.nodes[*node].is_in_doubt = true;
                }
                next.extend([done, undone]);
            }
            self.carry_out(&mut acted, *request, true)?;
            // It may stop here, and go on later from what it knows.
            next.push(acted);
        }
        Ok(next)
    }

    /// With faults ended: does every node come to serve the new version, and is nothing done then?
    fn settles(&mut self, state: &State, known: &mut HashSet<State>) -> Result<(), String> {
        let mut now = *state;
        now.chances = Chances {
            flips: 0,
            breaks: 0,
            crashes: 0,
            losses: 0,
        };
        for node in &mut now.nodes {
            node.is_ready = true;
        }
        let mut way = Vec::new();
        for _ in 0..PATIENCE {
            if known.contains(&now) {
                known.extend(way);
                return Ok(());
            }
            way.push(now);
            for node in &mut now.nodes {
                node.sync();
            }
            let requests = self.requests(&now);
            let is_new = |node: &Node| node.server == (Pod::Serving { is_new: true });
            if requests.is_empty() && now.nodes.iter().all(is_new) {
                known.extend(way);
                return Ok(());
            }
            for request in requests {
                self.carry_out(&mut now, request, true)?;
            }
            for node in &mut now.nodes {
                node.kubelet();
                if !self.rule.creates && node.server == Pod::None {
                    node.create();
                }
            }
        }
        Err(format!(
            "L1: it does not come to rest from {state:?}; now {now:?}"
        ))
    }

    /// The number of states.
    fn explore(&mut self, chances: Chances) -> Result<usize, String> {
        let start = State::start(chances);
        let mut seen = HashSet::from([start]);
        let mut settled = HashSet::new();
        let mut queue = VecDeque::from([start]);
        while let Some(state) = queue.pop_front() {
            self.settles(&state, &mut settled)?;
            for next in self.successors(&state)? {
                if seen.insert(next) {
                    queue.push_back(next);
                }
            }
        }
        Ok(seen.len())
    }
}

const fn chances(flips: u8, breaks: u8, crashes: u8, losses: u8) -> Chances {
    Chances {
        flips,
        breaks,
        crashes,
        losses,
    }
}

/// Each fault alone, and all of them together.
const WORLDS: [Chances; 5] = [
    chances(0, 0, 0, 0),
    chances(3, 0, 0, 0),
    chances(0, 2, 1, 0),
    chances(0, 0, 1, 2),
    chances(2, 1, 1, 1),
];

/// S1, S2, S3, S8, L1, L2; issue 9.
#[test]
fn no_schedule_takes_more_down_than_may_be_or_leaves_a_node_behind() {
    let of_makers = [31, 5_880, 4_910, 220, 79_235];
    for (rule, least) in [
        (ADVANCED_ROLLING_UPDATE, [43, 28_690, 10_750, 316, 266_427]),
        (NATIVE, of_makers),
        (KRUISE, of_makers),
    ] {
        let mut checker = Checker::new(rule, NO_FAULT);
        for (world, least) in WORLDS.into_iter().zip(least) {
            let found = checker.explore(world);
            let n_states = found.unwrap_or_else(|problem| panic!("{}: {problem}", rule.name));
            eprintln!("{}, {world:?}: {n_states} states", rule.name);
            assert!(n_states >= least, "{}: {n_states} of {least} states", rule.name);
        }
    }
}

/// Each fault is found in some world.
#[test]
fn the_model_of_daemonsets_finds_each_fault() {
    let faults: [(&str, Fault, &[Rule]); 6] = [
        (
            "sends no resourceVersion",
            Fault {
                has_preconditions: false,
                ..NO_FAULT
            },
            &[ADVANCED_ROLLING_UPDATE, NATIVE, KRUISE],
        ),
        (
            "forgets what it deleted",
            Fault {
                sees: |views| views.iter_mut().for_each(|view| view.2 = false),
                ..NO_FAULT
            },
            &[ADVANCED_ROLLING_UPDATE, NATIVE, KRUISE],
        ),
        (
            "forgets what it created",
            Fault {
                sees: |views| views.iter_mut().for_each(|view| view.3 = false),
                ..NO_FAULT
            },
            &[NATIVE, KRUISE],
        ),
        (
            "takes a pod whose DELETE was not answered for one that was replaced long ago",
            Fault {
                sees: |views| {
                    for view in views.iter_mut().filter(|view| view.4) {
                        (view.1, view.4) = (Pod::Serving { is_new: true }, false);
                    }
                },
                ..NO_FAULT
            },
            &[ADVANCED_ROLLING_UPDATE, NATIVE, KRUISE],
        ),
        (
            "takes every node for ready",
            Fault {
                sees: |views| views.iter_mut().for_each(|view| view.0 = true),
                ..NO_FAULT
            },
            &[ADVANCED_ROLLING_UPDATE],
        ),
        (
            "never touches the last node",
            Fault {
                does: |_, requests| {
                    requests.retain(|request| !matches!(request, Request::Delete { node: 2, .. }));
                },
                ..NO_FAULT
            },
            &[ADVANCED_ROLLING_UPDATE, NATIVE, KRUISE],
        ),
    ];
    for (what, fault, rules) in faults {
        for rule in rules {
            let mut checker = Checker::new(*rule, fault);
            let found = WORLDS.into_iter().find_map(|world| checker.explore(world).err());
            assert!(found.is_some(), "{}: the fault goes unnoticed: {what}", rule.name);
        }
    }
}
