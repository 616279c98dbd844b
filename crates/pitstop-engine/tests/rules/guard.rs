//! The node-loss guard: spec/README.md, `node-loss-guard`; users.md W2. Whole rollouts under virtual time, from seeds.
//!
//! `PITSTOP_SEEDS=4000 cargo test -p pitstop-engine --test rules guard -- --nocapture` plays so many of each kind, and
//! prints the figures.

#![allow(clippy::print_stdout, reason = "the figures are for people")]
#![allow(
    clippy::disallowed_methods,
    reason = "how many seeds are played is not a flag"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use pitstop_api::view::{PodCondition, ReadyCondition, Uid};
use pitstop_api::{keys, reasons};
use pitstop_engine::plan::{Action, Plan, Reason};

use crate::cluster::{Cluster, at, events, hash, ready};

/// Numbers from a seed (`SplitMix64`).
struct Dice(u64);

impl Dice {
    /// Evenly from 0 to 1, never 0.
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        #[allow(clippy::cast_precision_loss, reason = "53 bits are what a f64 holds")]
        let even = ((z ^ (z >> 31)) >> 11) as f64;
        (even + 1.0) / 9_007_199_254_740_993.0
    }

    /// Seconds until something happens that does so once in `mean` seconds.
    fn wait(&mut self, mean: f64) -> i64 {
        #[allow(clippy::cast_possible_truncation, reason = "whole seconds are enough")]
        let seconds = (-self.roll().ln() * mean) as i64;
        seconds
    }
}

/// What happens to the nodes of a fleet.
#[derive(Clone, Copy)]
struct World {
    n: usize,
    max_unavailable: &'static str,
    /// Seconds of every outage; a node has one a day. 0: none.
    outage: i64,
    /// A node turns NotReady so many seconds after the start of its new pod, with this probability.
    deadly: Option<(i64, f64)>,
    /// How long a node that died stays away; `None`: for good.
    away: Option<i64>,
    /// By how many seconds that differs from node to node, on average.
    spread: f64,
    min_ready_seconds: u32,
}

const CALM: World = World {
    n: 500,
    max_unavailable: "10%",
    outage: 0,
    deadly: None,
    away: None,
    spread: 0.0,
    min_ready_seconds: 0,
};
/// One outage of 10 min a node and day: issue 9.
const FLAPPING: World = World { outage: 600, ..CALM };
/// The grace of the node controller and the time to die: 40 s and 5 s; minReadySeconds is at least that.
const DEADLY: World = World {
    deadly: Some((45, 1.0)),
    spread: 4.0,
    min_ready_seconds: 60,
    ..CALM
};

/// A rollout that is played.
struct Fleet {
    world: World,
    cluster: Cluster,
    dice: Dice,
    /// By node: when its next outage begins, or the present one ends.
    turns: Vec<i64>,
    /// Pods that become ready, and nodes that die, by second.
    due: BTreeMap<(i64, usize), Due>,
    second: i64,
    next_uid: u128,
    /// Deletes after the guard was in the way for the first time.
    n_after: usize,
    was_blocked: bool,
    was_held: bool,
    stopped_at: Option<i64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Due {
    Starts,
    Ready,
    Dies,
    Returns,
}

const DAY: f64 = 86_400.0;

impl Fleet {
    fn new(world: World, seed: u64) -> Self {
        let cluster = Cluster::advanced_on(world.n, "old+")
            .max_unavailable(world.max_unavailable)
            .min_ready_seconds(world.min_ready_seconds);
        let mut dice = Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let turns = (0..world.n).map(|_| dice.wait(DAY)).collect();
        Self {
            world,
            cluster,
            dice,
            turns,
            due: BTreeMap::new(),
            second: 0,
            next_uid: 1_000_000,
            n_after: 0,
            was_blocked: false,
            was_held: false,
            stopped_at: None,
        }
    }

    fn set_node(&mut self, n: usize, is_ready: bool) {
        let since = Some(self.cluster.now);
        let node = Arc::make_mut(self.cluster.nodes[n].as_mut().unwrap());
        node.ready = Some(ReadyCondition {
            is_true: is_ready,
            since,
        });
        let pod = &mut self.cluster.pods[n];
        if pod.ready.is_some_and(|ready| ready.is_true != is_ready) {
            pod.ready = Some(ReadyCondition {
                is_true: is_ready,
                since,
            });
            pod.resource_version += 1;
        }
    }

    fn is_ready(&self, n: usize) -> bool {
        self.cluster.nodes[n].as_ref().unwrap().is_ready()
    }

    /// What nodes and kubelets do in this second.
    fn live(&mut self) {
        if self.world.outage > 0 {
            for n in 0..self.world.n {
                if self.turns[n] != self.second {
                    continue;
                }
                let is_ready = self.is_ready(n);
                self.set_node(n, !is_ready);
                let next = if is_ready {
                    self.world.outage
                } else {
                    self.dice.wait(DAY)
                };
                self.turns[n] = self.second + next.max(1);
            }
        }
        let later = self.due.split_off(&(self.second + 1, 0));
        for ((_, n), due) in std::mem::replace(&mut self.due, later) {
            match due {
                // A pod of a node that is cut off starts when it is back.
                Due::Starts | Due::Ready if !self.is_ready(n) => {
                    self.due.insert((self.second + 5, n), due);
                }
                Due::Starts => self.start(n),
                Due::Ready => {
                    let since = Some(self.cluster.now);
                    self.cluster.pods[n].ready = Some(ReadyCondition { is_true: true, since });
                    self.cluster.pods[n].resource_version += 1;
                    let deadly = self.world.deadly;
                    if let Some((after, _)) = deadly.filter(|(_, p)| self.dice.roll() <= *p) {
                        let after = after + self.dice.wait(self.world.spread).min(10);
                        self.due.insert((self.second + after, n), Due::Dies);
                    }
                }
                Due::Dies => {
                    self.set_node(n, false);
                    if let Some(away) = self.world.away {
                        self.due.insert((self.second + away, n), Due::Returns);
                    }
                }
                Due::Returns => self.set_node(n, true),
            }
        }
    }

    /// The successor of a pod.
    fn start(&mut self, n: usize) {
        self.next_uid += 1;
        let pod = &mut self.cluster.pods[n];
        pod.uid = Uid(self.next_uid);
        pod.name = format!("agent-{}", self.next_uid).into();
        pod.deleted_at = None;
        pod.created_at = self.cluster.now;
        pod.ready = None;
        pod.upgrade = None;
        pod.resource_version += 1;
        let labels = &mut pod.labels;
        let target = if *self.cluster.daemonset.template == crate::cluster::template("v2") {
            "v2"
        } else {
            "v1"
        };
        labels.insert(keys::REVISION_HASH.into(), hash(target).to_string());
        self.due.insert((self.second + 5, n), Due::Ready);
    }

    fn pass(&mut self) -> Plan {
        let plan = self.cluster.plan_advanced();
        for action in &plan.actions {
            if let Action::DeletePod { node: Some(slot), .. } = action {
                self.due.insert((self.second + 3, slot.index()), Due::Starts);
                self.n_after += usize::from(self.was_blocked);
            }
        }
        let lost = plan.waiting.iter().find_map(|waiting| match waiting.reason {
            Reason::NodesLost { until, .. } => Some(until),
            _ => None,
        });
        self.was_blocked |= lost.is_some();
        self.was_held |= matches!(lost, Some(Some(_)));
        if lost == Some(None) {
            self.stopped_at.get_or_insert(self.second);
        }
        self.cluster.apply(&plan);
        self.cluster.stores_catch_up();
        plan
    }

    /// Plays until all are updated, or it was stopped, or nothing comes of it any more.
    fn play(&mut self, seconds: i64) {
        let end = self.second + seconds;
        while self.second < end {
            self.live();
            self.pass();
            if self.stopped_at.is_some() || self.n_old() == 0 {
                return;
            }
            // Nothing of what happens here needs a decision within 5 s.
            for _ in 0..4 {
                self.second += 1;
                self.cluster.pass(1);
                self.live();
            }
            self.second += 1;
            self.cluster.pass(1);
        }
    }

    /// Lets nodes and pods come to rest without touching them.
    fn rest(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.second += 1;
            self.cluster.pass(1);
            self.live();
        }
    }

    fn n_old(&self) -> usize {
        let old = hash("v1");
        let pods = self.cluster.pods.iter();
        pods.filter(|pod| pod.revision_hash() == Some(&old)).count()
    }

    fn n_away(&self) -> usize {
        (0..self.world.n).filter(|n| !self.is_ready(*n)).count()
    }

    fn has_condition(&self) -> bool {
        let conditions = &self.cluster.daemonset.conditions;
        conditions
            .get(reasons::NODES_LOST)
            .is_some_and(PodCondition::is_true)
    }
}

/// How many rollouts are played, and from which seed.
fn seeds(usual: u64) -> u64 {
    let asked = std::env::var("PITSTOP_SEEDS").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// threshold - 1 + maxUnavailable: issue 9.
fn bound(n_updated: usize, max_unavailable: usize) -> usize {
    2.max(n_updated.div_ceil(20)) - 1 + max_unavailable
}

/// 500 nodes, an image whose start takes its node down: at most threshold - 1 + maxUnavailable are lost, nothing is touched
/// after the threshold is reached, and it is said.
#[test]
fn a_version_that_kills_its_nodes_is_stopped() {
    for (text, max_unavailable) in [
        ("1", 1),
        ("2", 2),
        ("5", 5),
        ("20", 20),
        ("10%", 50),
        ("50%", 250),
    ] {
        for away in [None, Some(120)] {
            let world = World {
                max_unavailable: text,
                away,
                ..DEADLY
            };
            let mut fleet = Fleet::new(world, 1);
            fleet.play(7200);
            assert!(fleet.stopped_at.is_some() && fleet.has_condition(), "{text}");
            assert_eq!(
                fleet.n_after, 0,
                "{text}: nothing is touched from the threshold on"
            );
            let n_touched = world.n - fleet.n_old();
            fleet.rest(50);
            let updated = world.n - fleet.n_old();
            let allowed = bound(updated, max_unavailable);
            println!(
                "maxUnavailable {text}, nodes return: {}: {updated} of 500 nodes updated, allowed {allowed}, stopped after \
                 {} s",
                away.is_some(),
                fleet.stopped_at.unwrap()
            );
            assert!(updated <= allowed, "{text}: {updated} > {allowed}");
            // It stays stopped, also when nodes return, and whoever decides: all is in the objects.
            for _ in 0..100 {
                fleet.rest(60);
                let plan = fleet.pass();
                assert_eq!(fleet.cluster.words(&plan), "nothing", "{text}");
            }
            assert!(fleet.n_away() <= allowed && n_touched <= allowed, "{text}");
        }
    }
}

/// The same where a node does not die of the version alone: on an ordinary edge.
#[test]
fn a_version_that_kills_its_nodes_is_stopped_where_nodes_flap() {
    let (mut most, n) = (0, seeds(100));
    for seed in 0..n {
        let world = World {
            outage: 600,
            max_unavailable: "1",
            ..DEADLY
        };
        let mut fleet = Fleet::new(world, seed);
        fleet.play(7200);
        assert!(fleet.stopped_at.is_some(), "seed {seed}");
        most = most.max(world.n - fleet.n_old());
    }
    println!(
        "{n} rollouts of a deadly version among flapping nodes, maxUnavailable 1: at most {most} updated"
    );
    assert!(most <= 4, "{most}");
}

/// W2: 20 nodes, maxUnavailable 2, each updated node is lost 30 s after its update.
#[test]
fn w2_eighteen_of_twenty_nodes_stay_untouched() {
    let world = World {
        n: 20,
        max_unavailable: "2",
        deadly: Some((30, 1.0)),
        spread: 0.0,
        ..DEADLY
    };
    let mut fleet = Fleet::new(world, 1);
    fleet.play(7200);
    assert_eq!(fleet.n_old(), 18);
    let plan = fleet.pass();
    assert_eq!(
        fleet.cluster.reason(&plan, "n20").unwrap().word(),
        "NodesLostAfterUpdate"
    );
}

/// Ordinary edge flapping: one outage of 10 min a node and day on 500 nodes. At most 1 of 1,000 rollouts is stopped by
/// mistake.
#[test]
fn ordinary_flapping_stops_no_rollout() {
    let (n, mut all_held) = (seeds(200), 0);
    for (text, n) in [("10%", n), ("20", n / 2), ("5", n / 10)] {
        let (mut n_stopped, mut n_held, mut seconds) = (0, 0, 0);
        for seed in 0..n {
            let world = World {
                max_unavailable: text,
                min_ready_seconds: 120,
                ..FLAPPING
            };
            let mut fleet = Fleet::new(world, seed);
            fleet.play(40_000);
            n_stopped += u64::from(fleet.stopped_at.is_some());
            n_held += u64::from(fleet.was_held);
            seconds += fleet.second;
        }
        println!(
            "{n} rollouts to 500 flapping nodes, maxUnavailable {text}: {n_stopped} stopped by mistake, {n_held} waited 5 min \
             or more; {} s on average",
            seconds / i64::try_from(n.max(1)).unwrap()
        );
        assert!(n_stopped <= n / 1000, "{n_stopped} of {n}");
        all_held += n_held;
    }
    let by_threshold = n < 1000 || all_held > n.div_ceil(1000);
    assert!(
        by_threshold,
        "the threshold alone would stop more than 1 in 1,000: {all_held} of {n}"
    );
}

/// A storm takes updated nodes and others alike: that is no reason to stop.
#[test]
fn a_storm_stops_no_rollout() {
    let mut n_stopped = 0;
    for seed in 0..seeds(50) {
        let mut fleet = Fleet::new(CALM, seed);
        fleet.play(30);
        // A fifth of all nodes go within 10 s, for 8 min, updated or not.
        for n in 0..500 {
            if fleet.dice.roll() < 0.2 {
                let after = fleet.dice.wait(3.0).min(10);
                fleet.due.insert((fleet.second + 1 + after, n), Due::Dies);
                fleet.due.insert((fleet.second + 480 + after, n), Due::Returns);
            }
        }
        fleet.play(20_000);
        n_stopped += u64::from(fleet.stopped_at.is_some());
        assert!(
            fleet.stopped_at.is_some() || fleet.n_old() == 0,
            "seed {seed}: it ends"
        );
    }
    println!("storms: {n_stopped} rollouts stopped");
    assert_eq!(n_stopped, 0);
}

/// What the guard says, and what lets the rollout go on.
#[test]
fn a_stopped_rollout_goes_on_when_somebody_says_so_or_goes_back() {
    let stopped = || {
        let mut fleet = Fleet::new(
            World {
                n: 20,
                max_unavailable: "2",
                spread: 0.0,
                ..DEADLY
            },
            1,
        );
        let mut told = Vec::new();
        while fleet.stopped_at.is_none() {
            fleet.live();
            let plan = fleet.pass();
            told.extend(plan.events.into_iter().filter(|event| event.is_warning));
            fleet.rest(1);
        }
        (fleet, told)
    };
    let (mut fleet, told) = stopped();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].reason, reasons::NODES_LOST_AFTER_UPDATE);
    for part in ["2 of 2", "pitstop resume ds/agent", "pitstop undo ds/agent"] {
        assert!(told[0].message.contains(part), "{}", told[0].message);
    }
    let condition = &fleet.cluster.daemonset.conditions[reasons::NODES_LOST];
    assert_eq!(&*condition.reason, reasons::NODES_LOST_AFTER_UPDATE);
    assert_eq!(condition.revision(), &*hash("v2"));

    // Resumed: what was lost before does not count, what is lost then does.
    fleet.rest(60);
    let resumed_at = fleet.cluster.now.to_string();
    fleet.cluster = fleet.cluster.annotation(keys::RESUMED_AT, &resumed_at);
    fleet.rest(1);
    let plan = fleet.pass();
    assert_eq!(fleet.cluster.words(&plan), "del n03 n04");
    assert!(!fleet.has_condition());
    fleet.stopped_at = None;
    fleet.play(7200);
    assert!(fleet.stopped_at.is_some() && fleet.has_condition());
    assert_eq!(fleet.n_old(), 16);

    // Back at the old image: two nodes are ready with it, and those that were lost are caught up when they return.
    let (mut fleet, _) = stopped();
    fleet.cluster = fleet.cluster.now_at_version("v1");
    fleet.rest(1);
    let plan = fleet.pass();
    assert!(!events(&plan).contains(&reasons::NODES_LOST_AFTER_UPDATE));
    assert!(!fleet.has_condition());
    fleet.set_node(0, true);
    fleet.rest(1);
    let plan = fleet.pass();
    assert_eq!(fleet.cluster.words(&plan), "del n01");
}

/// The threshold, by what is written.
#[test]
fn the_guard_acts_from_its_threshold_on() {
    let world = |away| World {
        n: 40,
        max_unavailable: "1",
        away,
        ..DEADLY
    };
    for (value, want) in [
        (None, Some(2)),
        (Some("1"), Some(2)),
        (Some("3"), Some(3)),
        (Some("5%"), Some(2)),
        (Some("off"), None),
    ] {
        let mut fleet = Fleet::new(world(None), 1);
        if let Some(value) = value {
            fleet.cluster = fleet.cluster.annotation(keys::NODE_LOSS_GUARD, value);
        }
        fleet.play(7200);
        let n_updated = want.map(|_| 40 - fleet.n_old());
        assert_eq!(n_updated, want, "{value:?}");
        assert_eq!(fleet.n_old() == 0, want.is_none(), "{value:?}");
    }
    for value in ["", "0", "0%", "101%", "150%", "none", "-1", "Off"] {
        let cluster = Cluster::advanced("n1R old+").annotation(keys::NODE_LOSS_GUARD, value);
        let plan = cluster.plan_advanced();
        assert_eq!(cluster.words(&plan), "nothing", "{value:?}");
        assert_eq!(events(&plan), [reasons::INVALID_ANNOTATION]);
        assert!(
            plan.events[0]
                .message
                .contains("a percentage from 1% to 100%, or off")
        );
    }
}

/// A rollout that waits because of the guard is written down once, and its deadline stands still.
#[test]
fn a_rollout_that_waits_writes_nothing_more() {
    let mut cluster =
        Cluster::advanced("n1N new-, n2N new-, n3R old+").annotation(keys::PROGRESS_DEADLINE_SECONDS, "60");
    for node in ["n1", "n2"] {
        cluster.pod_on(node).created_at = at(-100);
        cluster.node_mut(node).ready = ready(false, -40);
    }
    let plan = cluster.plan_advanced();
    assert!(!plan.actions.is_empty());
    cluster.apply(&plan);
    for _ in 0..20 {
        cluster.pass(10);
        let plan = cluster.plan_advanced();
        assert_eq!(plan.actions, [], "nothing is new");
        assert_eq!(
            cluster.reason(&plan, "n3").unwrap().word(),
            "NodesLostAfterUpdate"
        );
    }
    let condition = &cluster.daemonset.conditions[reasons::PROGRESSING];
    assert_eq!(&*condition.reason, reasons::NODES_LOST_AFTER_UPDATE);
}

/// What is a loss: NotReady within 5 min of an update in this rollout, and Ready at the update.
#[test]
fn only_nodes_that_were_lost_after_their_update_count() {
    for (id, created, since, want) in [
        ("lost after a minute", 0, 60, true),
        ("at the boundary", 0, 300, true),
        ("later", 0, 301, false),
        ("away before it was updated", 0, -5, false),
        ("updated before this rollout began", -4000, -3950, false),
    ] {
        let mut cluster = Cluster::advanced("n1R old+, n2R new+, n3R new+, n4R old+");
        cluster.now = at(330);
        let mut lose = |name: &str| {
            cluster.pod_on(name).created_at = at(created);
            cluster.node_mut(name).ready = Some(ReadyCondition {
                is_true: false,
                since: Some(at(since)),
            });
        };
        lose("n2");
        lose("n3");
        let plan = cluster.plan_advanced();
        let lost = matches!(
            cluster.reason(&plan, "n4"),
            Some(Reason::NodesLost { lost: 2, .. })
        );
        assert_eq!(lost, want, "{id}");
        let n_recorded = plan.actions.iter().filter(
            |action| matches!(action, Action::SetPodCondition { kind, .. } if *kind == reasons::NODE_LOST),
        );
        assert_eq!(n_recorded.count(), if want { 2 } else { 0 }, "{id}");
    }
}

/// Two lost nodes of two are clearly more than others, also in a cluster that is minutes old: that its nodes have just turned
/// Ready says nothing of how often they go.
#[test]
fn nodes_of_a_young_cluster_are_not_nodes_that_came_back() {
    let mut cluster =
        Cluster::advanced("n1N new-, n2N new-, n3R old+, n4R old+, n5R old+, n6R old+, n7R old+, n8R old+");
    for n in 1..=8 {
        let node = cluster.node_mut(&format!("n{n}"));
        node.created_at = at(-60);
        node.ready = ready(n > 2, if n > 2 { -55 } else { -20 });
    }
    for revision in &mut cluster.revisions {
        revision.created_at = at(-50);
    }
    for node in ["n1", "n2"] {
        cluster.pod_on(node).created_at = at(-40);
        cluster.pod_on(node).ready = ready(false, -20);
    }
    let plan = cluster.plan_advanced();
    let Some(Reason::NodesLost { lost, until, .. }) = cluster.reason(&plan, "n3") else {
        panic!("{:?}", plan.waiting)
    };
    assert_eq!((lost, until), (2, None), "it is stopped at once");
}

/// An API server that was away for a while finds nodes that could not report, and marks them one after another. The two that
/// were updated may be the first: nothing is touched, and nothing stopped, until it is seen whether they come back, and who else
/// is marked.
#[test]
fn nodes_that_are_marked_one_after_another_were_lost_together() {
    let reason = |cluster: &Cluster, plan: &Plan| match cluster.reason(plan, "n6") {
        Some(Reason::NodesLost { lost, until, .. }) => Some((lost, until.is_none())),
        _ => None,
    };
    for (id, others_stay, updated_return, want) in [
        ("nobody else", [true, true, true], false, Some((2, true))),
        ("three of four", [false, false, false], false, Some((2, false))),
        ("the updated are back", [true, true, true], true, None),
    ] {
        let mut cluster = Cluster::advanced("n1N new+, n2N new+, n3R old+, n4R old+, n5R old+, n6R old+");
        for node in ["n1", "n2"] {
            cluster.pod_on(node).created_at = at(-20);
            cluster.node_mut(node).ready = ready(false, 0);
        }
        let plan = cluster.plan_advanced();
        assert_eq!(reason(&cluster, &plan), Some((2, false)), "{id}: not at once");
        assert!(!cluster.words(&plan).contains("del"), "{id}");
        assert_eq!(plan.requeue_after.map(|after| after.as_secs()), Some(20), "{id}");
        cluster.apply(&plan);
        for (node, stays) in ["n3", "n4", "n5"].into_iter().zip(others_stay) {
            cluster.pass(1);
            if !stays {
                let now = cluster.now;
                cluster.node_mut(node).ready = Some(ReadyCondition {
                    is_true: false,
                    since: Some(now),
                });
            }
            let plan = cluster.plan_advanced();
            assert_eq!(reason(&cluster, &plan), Some((2, false)), "{id}");
            cluster.apply(&plan);
        }
        if updated_return {
            for node in ["n1", "n2"] {
                cluster.node_mut(node).ready = ready(true, 15);
            }
        }
        cluster.pass(17);
        let plan = cluster.plan_advanced();
        assert_eq!(reason(&cluster, &plan), want, "{id}");
    }
}

/// Gives a node a pod of the new version, and takes the node away 20 s later.
fn update_and_lose(cluster: &mut Cluster, name: &str) {
    let now = cluster.now;
    let pod = cluster.pod_on(name);
    pod.labels
        .insert(keys::REVISION_HASH.into(), hash("v2").to_string());
    pod.created_at = now;
    cluster.pass(20);
    cluster.set_ready(name, false);
}

/// Decides, and writes down what is to be remembered.
fn take_note(cluster: &mut Cluster) -> Plan {
    let mut plan = cluster.plan_advanced();
    plan.actions
        .retain(|action| !matches!(action, Action::DeletePod { .. }));
    cluster.apply(&plan);
    plan
}

/// Nodes that die may be taken out of the cluster, and their pods with them: how many there were is in the condition from the
/// first one on, and never fewer.
#[test]
fn nodes_that_are_taken_away_are_not_forgotten() {
    let taken_away = |n: usize| {
        let mut cluster = Cluster::advanced("n1R old+, n2R old+, n3R old+, n4R old+");
        for name in ["n1", "n2"].into_iter().take(n) {
            update_and_lose(&mut cluster, name);
            cluster.pass(20);
            take_note(&mut cluster);
            cluster.remove_node(name);
            cluster.kubelets();
        }
        cluster
    };
    let condition = |cluster: &Cluster| cluster.daemonset.conditions[reasons::NODES_LOST].clone();
    let mut cluster = taken_away(1);
    let first = condition(&cluster);
    assert!(
        !first.is_true() && first.message.contains("1 of 1 updated nodes"),
        "{first:?}"
    );
    assert_eq!(
        cluster.words(&cluster.plan_advanced()),
        "del n2",
        "one is none too many"
    );
    take_note(&mut cluster);
    assert!(condition(&cluster).message.contains("lost: 1; gone: 1"));

    let mut cluster = taken_away(2);
    take_note(&mut cluster);
    let stop = condition(&cluster);
    assert!(
        stop.is_true() && stop.message.contains("2 of 2 updated nodes"),
        "{stop:?}"
    );
    assert!(stop.message.contains("lost: 2; gone: 2"), "{stop:?}");
    cluster.pass(1000);
    let plan = cluster.plan_advanced();
    assert_eq!(plan.actions, [], "said once");
    let lost = Reason::NodesLost {
        lost: 2,
        updated: 2,
        until: None,
    };
    assert_eq!(cluster.reason(&plan, "n3"), Some(lost));

    let resumed_at = cluster.now.to_string();
    let mut resumed = cluster.clone().annotation(keys::RESUMED_AT, &resumed_at);
    assert_eq!(resumed.words(&resumed.plan_advanced()), "del n3");
    take_note(&mut resumed);
    update_and_lose(&mut resumed, "n3");
    resumed.pass(20);
    take_note(&mut resumed);
    let again = condition(&resumed);
    assert!(!again.is_true() && again.message.contains("1 of 1"), "{again:?}");

    let mut other = cluster.now_at_version("v3");
    assert_eq!(other.words(&other.plan_advanced()), "del n3");
    take_note(&mut other);
    assert!(!condition(&other).is_true());
}
