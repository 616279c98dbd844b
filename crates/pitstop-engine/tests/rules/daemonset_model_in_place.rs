//! Every schedule of a small rollout in place: three nodes whose pods stay, a store that shows each pod late, a node that goes
//! and comes back, a controller that stops between two writes.
//!
//! Checked at every write, on the true state: no pod goes, no more leave service by our doing than may be unavailable (S1), none
//! that serves at the new revision is touched (S2), and no container starts again twice. From every state, with faults ended,
//! every pod serves at the new revision after one restart, and then nothing is done any more (L1).

use std::collections::HashSet;

use pitstop_api::keys;
use pitstop_api::view::{NodeSlot, PodCondition, PodView, ReadyCondition, RollingType};
use pitstop_engine::Snapshot;
use pitstop_engine::plan::{Action, Plan};

use crate::cluster::{Cluster, hash};
use crate::gated::restarts;
use crate::kruise_daemonset;
use crate::walk::{self, Planner, is_finished, serves};

const PICTURE: &str = "aR *old+, bR *old+, cR *old+";
const MAX_UNAVAILABLE: usize = 1;
/// More rounds than a rollout to three nodes takes without faults. Units: rounds of a second each.
const PATIENCE: usize = 60;

#[derive(Clone)]
struct World {
    truth: Cluster,
    seen: Vec<PodView>,
    /// Pods that we took out of service, and that have not served since.
    caused: [bool; 3],
    flips: u8,
}

fn is_new(pod: &PodView) -> bool {
    pod.revision_hash() == Some(&*hash("v2"))
}

/// Is it out of service, or on its way out of it?
fn is_down(cluster: &Cluster, pod: &PodView) -> bool {
    !serves(cluster, pod) || !is_gate_open(pod)
}

fn is_gate_open(pod: &PodView) -> bool {
    let gate = pod.in_place.as_ref().and_then(|view| view.update_ready.as_ref());
    gate.is_some_and(PodCondition::is_true)
}

impl World {
    fn new(truth: Cluster, flips: u8) -> Self {
        let seen = truth.pods.clone();
        Self {
            truth,
            seen,
            caused: [false; 3],
            flips,
        }
    }

    fn key(&self) -> String {
        let nodes: Vec<bool> = self
            .truth
            .nodes
            .iter()
            .flatten()
            .map(|node| node.is_ready())
            .collect();
        format!(
            "{:?} {:?} {nodes:?} {:?} {}",
            self.truth.pods, self.seen, self.caused, self.flips
        )
    }

    fn plan(&self, planner: Planner) -> Plan {
        planner(&self.truth.snapshot_of(&self.seen))
    }

    fn carry_out(&mut self, action: &Action) -> Result<(), String> {
        let Action::PatchPod { uid, .. } = action else {
            let goes = matches!(action, Action::DeletePod { .. });
            return if goes {
                Err(format!("a pod goes: {action:?}"))
            } else {
                Ok(())
            };
        };
        let at = self.truth.pods.iter().position(|pod| pod.uid == *uid).unwrap();
        let before = self.truth.pods[at].clone();
        self.truth.carry_out(action);
        let after = &self.truth.pods[at];
        if *after == before {
            return Ok(());
        }
        if is_gate_open(&before) && !is_gate_open(after) {
            if is_new(&before) && serves(&self.truth, &before) {
                return Err(format!("S2: a new pod that serves leaves service: {before:?}"));
            }
            // What was marked not ready while its node was away counts as down under DaemonSets of apps.kruise.io, as natively:
            // as upstream (daemonset.md Y7).
            let is_native = self.truth.daemonset.advanced.is_some();
            self.caused[at] = !is_native || serves(&self.truth, &before);
            let counts = |(pod, is_caused): (&PodView, bool)| {
                let node = pod
                    .node
                    .and_then(|slot| self.truth.nodes.get(slot.index())?.as_ref());
                is_caused && node.is_some_and(|node| node.is_ready())
            };
            let pods = self.truth.pods.iter().zip(self.caused);
            let n_down = pods.filter(|(pod, is_caused)| counts((pod, *is_caused))).count();
            if n_down > MAX_UNAVAILABLE {
                return Err(format!("S1: {n_down} are out of service: {:?}", self.truth.pods));
            }
        }
        // The answer is the pod.
        self.seen[at] = after.clone();
        Ok(())
    }

    fn kubelet(&mut self, slot: NodeSlot) -> Result<(), String> {
        self.truth.kubelet(slot);
        for (pod, is_caused) in self.truth.pods.iter().zip(&mut self.caused) {
            *is_caused = *is_caused && is_down(&self.truth, pod);
        }
        match self.truth.pods.iter().find(|pod| restarts(pod) > 1) {
            Some(pod) => Err(format!("a container starts again twice: {pod:?}")),
            None => Ok(()),
        }
    }

    fn flip(&mut self, i: usize) {
        let name = self.truth.names.name(self.truth.by_name[i]).to_owned();
        let is_ready = self.truth.node_mut(&name).is_ready();
        self.truth.set_ready(&name, !is_ready);
        if is_ready {
            let since = Some(self.truth.now);
            let pod = self.truth.pod_on(&name);
            pod.ready = Some(ReadyCondition {
                is_true: false,
                since,
            });
            pod.resource_version += 1;
        }
    }

    fn successors(&self, planner: Planner) -> Result<Vec<Self>, String> {
        let mut next = Vec::new();
        let mut acted = self.clone();
        for action in &self.plan(planner).actions {
            acted.carry_out(action)?;
            // It may stop here, and begin anew from what is there.
            next.push(acted.clone());
            next.push(Self {
                seen: acted.truth.pods.clone(),
                ..acted.clone()
            });
        }
        for (i, slot) in self.truth.by_name.iter().enumerate() {
            let mut synced = self.clone();
            synced.seen[i] = synced.truth.pods[i].clone();
            let mut worked = self.clone();
            worked.kubelet(*slot)?;
            next.extend([synced, worked]);
            if self.flips > 0 {
                let mut flipped = self.clone();
                flipped.flips -= 1;
                flipped.flip(i);
                next.push(flipped);
            }
        }
        Ok(next)
    }

    /// With faults ended.
    fn settles(&self, planner: Planner) -> Result<(), String> {
        let mut now = self.clone();
        for i in 0..now.truth.by_name.len() {
            let name = now.truth.names.name(now.truth.by_name[i]).to_owned();
            if !now.truth.node_mut(&name).is_ready() {
                now.flip(i);
            }
        }
        for _ in 0..PATIENCE {
            now.seen.clone_from(&now.truth.pods);
            let plan = now.plan(planner);
            let writes =
                |action: &&Action| matches!(action, Action::PatchPod { .. } | Action::DeletePod { .. });
            let is_at_rest = plan.actions.iter().find(writes).is_none();
            if is_at_rest && is_finished(&now.truth).is_ok() {
                let is_once = |pod: &PodView| restarts(pod) == 1 && !is_down(&now.truth, pod);
                return if now.truth.pods.iter().all(is_once) {
                    Ok(())
                } else {
                    Err(format!(
                        "not every container started again once: {:?}",
                        now.truth.pods
                    ))
                };
            }
            for action in &plan.actions {
                now.carry_out(action)?;
            }
            for slot in now.truth.by_name.clone() {
                now.kubelet(slot)?;
            }
            now.truth.pass(1);
        }
        Err(format!("L1: it does not come to rest: {:?}", now.truth.pods))
    }
}

/// The number of states.
fn explore(start: World, planner: Planner) -> Result<usize, String> {
    let mut known = HashSet::new();
    let mut open = vec![start];
    while let Some(world) = open.pop() {
        if !known.insert(world.key()) {
            continue;
        }
        world.settles(planner)?;
        open.extend(world.successors(planner)?);
    }
    Ok(known.len())
}

fn native() -> Cluster {
    Cluster::advanced(PICTURE).annotation(keys::POD_UPDATE_POLICY, "InPlaceOnly")
}

fn kruise() -> Cluster {
    kruise_daemonset::change(kruise_daemonset::standard(PICTURE), |advanced| {
        advanced.rolling_type = RollingType::InPlaceIfPossible;
    })
}

/// S1, S2, L1; issue 9.
#[test]
fn no_schedule_of_an_update_in_place_takes_a_pod_or_leaves_one_behind() {
    for (name, cluster, planner, worlds) in [
        (
            "pod-update-policy",
            native as fn() -> Cluster,
            walk::ADVANCED,
            [(0, 19), (2, 2_368)],
        ),
        ("Advanced DaemonSet", kruise, walk::NATIVE, [(0, 19), (2, 838)]),
    ] {
        for (flips, least) in worlds {
            let found = explore(World::new(cluster(), flips), planner);
            let n_states = found.unwrap_or_else(|problem| panic!("{name}, {flips} flips: {problem}"));
            eprintln!("{name}, {flips} flips: {n_states} states");
            assert!(n_states >= least, "{name}: {n_states} of {least} states");
        }
    }
}

/// The decision for a DaemonSet that was changed first.
fn misread(snapshot: &Snapshot<'_>, key: &str, value: &str) -> Plan {
    let mut daemonset = snapshot.daemonset.clone();
    daemonset.annotations.insert(key.into(), value.into());
    walk::ADVANCED(&Snapshot {
        daemonset: &daemonset,
        ..snapshot.clone()
    })
}

#[test]
fn the_model_of_updates_in_place_finds_each_fault() {
    let faults: [(&str, Planner); 3] = [
        ("takes one pod too many", |snapshot| {
            misread(snapshot, keys::OPENYURT_MAX_UNAVAILABLE, "2")
        }),
        ("replaces pods", |snapshot| {
            misread(snapshot, keys::POD_UPDATE_POLICY, "ReCreate")
        }),
        ("never opens a gate", |snapshot| {
            let mut plan = walk::ADVANCED(snapshot);
            let is_refresh = |action: &Action| matches!(action, Action::PatchPod { why, .. } if *why == pitstop_engine::instances::PatchWhy::Refresh);
            plan.actions.retain(|action| !is_refresh(action));
            plan
        }),
    ];
    for (fault, planner) in faults {
        let found = explore(World::new(native(), 0), planner);
        assert!(found.is_err(), "the fault goes unnoticed: {fault}");
    }
}
