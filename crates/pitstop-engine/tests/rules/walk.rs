//! Random walks: a cluster that changes under a controller whose view of the pods lags behind.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;

use pitstop_api::view::{NodeSlot, PodView, ReadyCondition, Uid};
use pitstop_engine::Snapshot;
use pitstop_engine::availability::is_available;
use pitstop_engine::daemonset::{advanced, native};
use pitstop_engine::plan::{Action, DeleteReason, Plan};
use pitstop_engine::snapshot::DeletedPod;
use proptest::prelude::*;

use crate::cluster::{Cluster, THEIRS, ready};

/// A decision: the real one, or one with a fault built in.
pub(crate) type Planner = fn(&Snapshot<'_>) -> Plan;

/// Where a walk starts.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) picture: String,
    max_unavailable: &'static str,
    /// Under surge a native rolling update has no `max_unavailable`.
    max_surge: Option<u32>,
    min_ready_seconds: u32,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// The controller under test decides on what its store shows, and acts.
    Act,
    /// It does, and hears nothing of what it deletes: the first bits say of each delete whether it is carried out, the
    /// next whether it is still on its way otherwise.
    ActUnheard(u8),
    /// What is still on its way arrives.
    Arrive,
    /// The DaemonSet's own controller does, without a lag; only where it is not the one under test.
    Native,
    /// The store of the controller under test catches up.
    Sync,
    /// A kubelet does its work.
    Kubelet(usize),
    /// A node goes, or comes back.
    Flap(usize),
    /// The pod of a node stops serving, for good.
    Break(usize),
    /// Somebody deletes the pod of a node.
    DeleteByHand(usize),
    /// Somebody else takes the pod of a node over.
    Steal(usize),
    /// The template changes.
    Edit(u8),
    /// Time passes. Units: seconds.
    Pass(u8),
}

fn arb_word() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "old+", "old+", "old+", "old-", "new+", "new+", "new-", "T", "v3+", "v3-",
    ])
}

/// Up to six nodes with up to `most` pods each.
pub(crate) fn arb_start(most: usize) -> impl Strategy<Value = Start> {
    let node = (
        prop::bool::weighted(0.8),
        prop::collection::vec(arb_word(), 0..=most),
    );
    let picture = prop::collection::vec(node, 1..=6).prop_map(|nodes| {
        let entry = |(i, (is_ready, pods)): (usize, (bool, Vec<&str>))| {
            format!("n{i}{} {}", if is_ready { "R" } else { "N" }, pods.join(" "))
        };
        nodes
            .into_iter()
            .enumerate()
            .map(entry)
            .collect::<Vec<_>>()
            .join(", ")
    });
    let max_unavailable = prop::sample::select(vec!["1", "2", "30%", "50%", "100%"]);
    let max_surge = prop_oneof![2 => Just(None), 1 => (1_u32..3).prop_map(Some)];
    let min_ready = prop_oneof![3 => Just(0_u32), 1 => Just(10)];
    (picture, max_unavailable, max_surge, min_ready).prop_map(
        |(picture, max_unavailable, max_surge, min_ready_seconds)| Start {
            picture,
            max_unavailable,
            max_surge,
            min_ready_seconds,
        },
    )
}

pub(crate) fn arb_steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Act),
        4 => Just(Step::Native),
        4 => Just(Step::Sync),
        5 => (0_usize..6).prop_map(Step::Kubelet),
        2 => (0_usize..6).prop_map(Step::Flap),
        2 => any::<u8>().prop_map(Step::ActUnheard),
        1 => Just(Step::Arrive),
        1 => (0_usize..6).prop_map(Step::Break),
        1 => (0_usize..6).prop_map(Step::DeleteByHand),
        1 => (0_usize..6).prop_map(Step::Steal),
        1 => (1_u8..5).prop_map(Step::Edit),
        2 => (1_u8..6).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..50)
}

impl Start {
    pub(crate) fn advanced(&self) -> Cluster {
        Cluster::advanced(&self.picture)
            .max_unavailable(self.max_unavailable)
            .min_ready_seconds(self.min_ready_seconds)
    }

    pub(crate) fn native(&self) -> Cluster {
        let cluster = Cluster::native(&self.picture).min_ready_seconds(self.min_ready_seconds);
        match self.max_surge {
            Some(max_surge) => cluster.max_surge(max_surge),
            None => cluster.max_unavailable(self.max_unavailable),
        }
    }

    pub(crate) fn native_without_surge(&self) -> Cluster {
        Cluster::native(&self.picture).max_unavailable(self.max_unavailable)
    }
}

/// What an action of the controller under test did to the true state.
pub(crate) struct Effect<'a> {
    pub(crate) plan: &'a Plan,
    /// The truth before.
    pub(crate) before: &'a Cluster,
    /// The truth after.
    pub(crate) after: &'a Cluster,
    /// Nodes whose available pod an upgrade of ours took down, and that have had no available one since.
    pub(crate) caused: &'a BTreeSet<NodeSlot>,
}

impl Effect<'_> {
    /// Pods that were not terminating before and are now, with the reason.
    pub(crate) fn deleted(&self) -> Vec<(&PodView, DeleteReason)> {
        let mut deleted = Vec::new();
        for action in &self.plan.actions {
            let Action::DeletePod { uid, why, .. } = action else {
                continue;
            };
            let live = |pods: &[PodView]| pods.iter().any(|p| p.uid == *uid && !p.is_terminating());
            let before = self.before.pods.iter().find(|p| p.uid == *uid);
            if let Some(pod) = before.filter(|_| live(&self.before.pods) && !live(&self.after.pods)) {
                deleted.push((pod, *why));
            }
        }
        deleted
    }
}

/// Is the deletion a step of an upgrade?
pub(crate) fn is_upgrade(why: DeleteReason) -> bool {
    matches!(
        why,
        DeleteReason::Outdated | DeleteReason::OutdatedAndUnavailable | DeleteReason::Surged
    )
}

/// Is the pod available, by the truth?
pub(crate) fn serves(cluster: &Cluster, pod: &PodView) -> bool {
    !pod.is_terminating() && is_available(pod, cluster.daemonset.min_ready_seconds, cluster.now)
}

/// A cluster, and the controller under test beside it.
pub(crate) struct Walk {
    pub(crate) truth: Cluster,
    seen: Vec<PodView>,
    planner: Planner,
    is_native: bool,
    caused: BTreeSet<NodeSlot>,
    /// Deletes without an answer, with the version that they name.
    unheard: BTreeMap<Uid, Option<u64>>,
    /// Those of them that may be carried out yet.
    on_their_way: Vec<Action>,
}

impl Walk {
    pub(crate) fn advanced(truth: Cluster, planner: Planner) -> Self {
        Self::new(truth, planner, false)
    }

    pub(crate) fn native(truth: Cluster, planner: Planner) -> Self {
        Self::new(truth, planner, true)
    }

    fn new(truth: Cluster, planner: Planner, is_native: bool) -> Self {
        Self {
            seen: truth.pods.clone(),
            truth,
            planner,
            is_native,
            caused: BTreeSet::new(),
            unheard: BTreeMap::new(),
            on_their_way: Vec::new(),
        }
    }

    /// Takes the steps, and checks every action of the controller under test.
    pub(crate) fn go(
        &mut self,
        steps: &[Step],
        check: impl Fn(&Effect<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        for step in steps {
            self.step(*step, &check)?;
            self.notice_available();
        }
        Ok(())
    }

    fn step(&mut self, step: Step, check: &impl Fn(&Effect<'_>) -> Result<(), String>) -> Result<(), String> {
        let truth = &mut self.truth;
        match step {
            Step::Act => self.act(None, check)?,
            Step::ActUnheard(fates) => self.act(Some(fates), check)?,
            Step::Arrive => {
                for action in take(&mut self.on_their_way) {
                    let before = self.truth.clone();
                    self.truth.carry_out(&action);
                    self.note_caused(&before, &action);
                }
            }
            Step::Native if self.is_native => {}
            Step::Native => {
                let ours = take(&mut truth.in_flight);
                let plan = truth.plan_native();
                truth.apply(&plan);
                truth.in_flight = ours;
            }
            Step::Sync => self.seen.clone_from(&truth.pods),
            Step::Kubelet(i) => {
                if let Some(slot) = truth.by_name.get(i).copied() {
                    truth.kubelet(slot);
                }
            }
            Step::Flap(i) => {
                if let Some(slot) = truth.by_name.get(i).copied() {
                    let name = truth.names.name(slot).to_owned();
                    let is_ready = truth.node_mut(&name).is_ready();
                    truth.set_ready(&name, !is_ready);
                    if is_ready {
                        let down = ReadyCondition {
                            is_true: false,
                            since: Some(truth.now),
                        };
                        change(truth, i, |pod| pod.ready = Some(down));
                    }
                }
            }
            Step::Break(i) => change(truth, i, |pod| {
                pod.ready = ready(false, 3600);
                pod.trouble = Some("CrashLoopBackOff".into());
            }),
            Step::DeleteByHand(i) => {
                let now = truth.now;
                change(truth, i, |pod| pod.deleted_at = Some(now));
            }
            Step::Steal(i) => change(truth, i, |pod| {
                if let Some(controller) = &mut pod.controller {
                    controller.uid = THEIRS;
                }
            }),
            Step::Edit(version) => truth.edit_template(&format!("v{version}")),
            Step::Pass(seconds) => truth.pass(i64::from(seconds)),
        }
        Ok(())
    }

    /// Decides and acts. With `unheard` nothing is heard of the deletes, whose fates it says.
    fn act(
        &mut self,
        unheard: Option<u8>,
        check: &impl Fn(&Effect<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        self.forget_what_is_seen();
        let mut ledger = take(&mut self.truth.in_flight);
        let pods: Vec<&PodView> = self.seen.iter().collect();
        advanced::retire(
            &mut ledger,
            &pods,
            &self.truth.snapshot_of(&self.seen).nodes,
            self.truth.now,
        );
        ledger.maybe_deleted = self.unheard.keys().copied().collect();
        self.truth.in_flight = ledger;
        let plan = (self.planner)(&self.truth.snapshot_of(&self.seen));
        let before = self.truth.clone();
        match unheard {
            None => self.truth.apply(&plan),
            Some(fates) => self.apply_unheard(&plan, fates),
        }
        self.settle(&plan, unheard.is_none());
        let mut effect = Effect {
            plan: &plan,
            before: &before,
            after: &self.truth,
            caused: &self.caused,
        };
        let mut caused = self.caused.clone();
        caused.extend(
            self.on_their_way
                .iter()
                .filter_map(|action| would_take_down(&self.truth, action)),
        );
        for (pod, why) in effect.deleted() {
            if is_upgrade(why) && serves(&before, pod) {
                caused.extend(pod.node);
            }
        }
        effect.caused = &caused;
        let checked = check(&effect);
        self.caused = caused;
        checked
    }

    /// A delete without an answer is known to be over when its pod is seen terminating, gone or changed.
    fn forget_what_is_seen(&mut self) {
        let seen = &self.seen;
        self.unheard.retain(|uid, version| {
            let pod = seen.iter().find(|pod| pod.uid == *uid && !pod.is_terminating());
            pod.is_some_and(|pod| version.is_none_or(|version| version == pod.resource_version))
        });
    }

    /// Carries a plan out, but hears nothing of its deletes.
    fn apply_unheard(&mut self, plan: &Plan, fates: u8) {
        let (deletes, others): (Vec<Action>, Vec<Action>) = plan
            .actions
            .iter()
            .cloned()
            .partition(|action| matches!(action, Action::DeletePod { .. }));
        self.truth.apply(&Plan {
            actions: others,
            ..plan.clone()
        });
        for (i, action) in deletes.into_iter().enumerate() {
            let Action::DeletePod {
                uid,
                resource_version,
                ..
            } = &action
            else {
                continue;
            };
            self.unheard.insert(*uid, *resource_version);
            if fates >> (i % 4) & 1 == 1 {
                self.truth.carry_out(&action);
            } else if fates >> (4 + i % 4) & 1 == 1 {
                self.on_their_way.push(action);
            }
        }
    }

    /// What an answer to a repeated delete tells about the one without: it is done, or the pod is looked at.
    fn settle(&mut self, plan: &Plan, is_heard: bool) {
        for action in plan.actions.iter().filter(|_| is_heard) {
            let Action::DeletePod { uid, node, .. } = action else {
                continue;
            };
            if self.unheard.remove(uid).is_none() {
                continue;
            }
            let pod = self.truth.pods.iter().find(|pod| pod.uid == *uid);
            if let Some(alive) = pod.filter(|pod| !pod.is_terminating()) {
                self.seen.retain(|pod| pod.uid != *uid);
                self.seen.push(alive.clone());
            } else {
                let (uid, node, at) = (*uid, *node, self.truth.now);
                self.truth.in_flight.deleted.push(DeletedPod { uid, node, at });
            }
        }
    }

    fn note_caused(&mut self, before: &Cluster, action: &Action) {
        self.caused.extend(would_take_down(before, action));
    }

    fn notice_available(&mut self) {
        let truth = &self.truth;
        self.caused.retain(|slot| {
            let on_node = |pod: &&PodView| pod.node == Some(*slot);
            !truth.pods.iter().filter(on_node).any(|pod| serves(truth, pod))
        });
    }

    /// Faults end: every node is Ready, what broke at the newest version is mended, and nothing lags.
    pub(crate) fn end_faults(&mut self) {
        let truth = &mut self.truth;
        for slot in truth.by_name.clone() {
            let name = truth.names.name(slot).to_owned();
            if !truth.node_mut(&name).is_ready() {
                truth.set_ready(&name, true);
            }
        }
        self.unheard.clear();
        self.on_their_way.clear();
        truth
            .pods
            .retain(|pod| pod.controller.is_some_and(|c| c.uid != THEIRS));
        let target = pitstop_engine::revision::hash_of(&truth.daemonset.template, None);
        for pod in &mut truth.pods {
            if pod.revision_hash() == Some(&target) {
                pod.trouble = None;
            }
        }
        truth.stores_catch_up();
    }
}

/// The node that an upgrade leaves without a serving pod when this delete is carried out.
fn would_take_down(cluster: &Cluster, action: &Action) -> Option<NodeSlot> {
    let Action::DeletePod {
        uid,
        resource_version,
        node,
        why,
        ..
    } = action
    else {
        return None;
    };
    let pod = cluster.pods.iter().find(|pod| pod.uid == *uid)?;
    let holds = resource_version.is_none_or(|version| version == pod.resource_version);
    (holds && is_upgrade(*why) && serves(cluster, pod)).then_some(*node)?
}

fn change(truth: &mut Cluster, node: usize, change: impl FnOnce(&mut PodView)) {
    let Some(slot) = truth.by_name.get(node).copied() else {
        return;
    };
    if let Some(pod) = truth
        .pods
        .iter_mut()
        .find(|pod| pod.node == Some(slot) && !pod.is_terminating())
    {
        change(pod);
        pod.resource_version += 1;
    }
}

/// Does every node have one available pod at the newest version, and nothing else?
pub(crate) fn is_finished(cluster: &Cluster) -> Result<(), String> {
    let target = pitstop_engine::revision::hash_of(&cluster.daemonset.template, None);
    for slot in &cluster.by_name {
        let pods: Vec<_> = cluster
            .pods
            .iter()
            .filter(|pod| pod.node == Some(*slot))
            .collect();
        let [pod] = pods.as_slice() else {
            return Err(format!("{} pods on {}", pods.len(), cluster.names.name(*slot)));
        };
        if pod.revision_hash() != Some(&target) || !serves(cluster, pod) {
            return Err(format!("{} is not finished: {pod:?}", cluster.names.name(*slot)));
        }
    }
    Ok(())
}

/// The real decisions, by the model they belong to.
pub(crate) const NATIVE: Planner = native::plan;
pub(crate) const ADVANCED: Planner = advanced::plan;
