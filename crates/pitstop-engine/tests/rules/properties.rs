//! What holds for every cluster and every schedule: the invariants of design.md section 5, by number.
//!
//! Each property is shown to be able to fail: a decision with a fault built in is caught by it.

use std::fmt::Debug;
use std::sync::Arc;

use jiff::Timestamp;
use pitstop_api::keys;
use pitstop_api::view::{NodeSlot, PodView, ReadyCondition};
use pitstop_engine::Snapshot;
use pitstop_engine::daemonset::{self, advanced, native};
use pitstop_engine::plan::{Action, DeleteReason, Plan, Reason, Waiting, render};
use pitstop_engine::snapshot::{CreatedPod, DeletedPod, FailedPods, InFlight};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use serde_json::json;

use crate::cluster::{Cluster, OURS};
use crate::walk::{
    ADVANCED, Effect, NATIVE, Planner, Start, Step, Walk, arb_start, arb_steps, is_finished, is_upgrade,
    serves,
};

/// The shortest input for which the property fails; the same in every run.
fn counterexample<T: Debug>(
    strategy: &impl Strategy<Value = T>,
    property: impl Fn(&T) -> Result<(), String>,
) -> Option<String> {
    let config = Config {
        cases: 600,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    match runner.run(strategy, |input| property(&input).map_err(TestCaseError::fail)) {
        Ok(()) => None,
        Err(TestError::Fail(reason, input)) => Some(format!("{reason}\nfor {input:?}")),
        Err(TestError::Abort(reason)) => Some(format!("aborted: {reason}")),
    }
}

/// The property holds for the real decision, and catches the one with the fault.
fn holds_and_catches<T: Debug>(
    strategy: &impl Strategy<Value = T>,
    property: impl Fn(&T, Planner) -> Result<(), String>,
    real: Planner,
    faulty: Planner,
) {
    if let Some(found) = counterexample(strategy, |input| property(input, real)) {
        panic!("{found}");
    }
    assert!(
        counterexample(strategy, |input| property(input, faulty)).is_some(),
        "the fault goes unnoticed"
    );
}

fn fail_if(fault: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if fault { Err(text()) } else { Ok(()) }
}

type Course = (Start, Vec<Step>);

fn courses() -> impl Strategy<Value = Course> {
    (arb_start(2), arb_steps())
}

fn orderly_courses() -> impl Strategy<Value = Course> {
    (arb_start(1), arb_steps())
}

/// Plans on a snapshot that was changed first.
fn on_changed_pods(snapshot: &Snapshot<'_>, planner: Planner, change: impl Fn(&mut PodView)) -> Plan {
    let mut pods: Vec<PodView> = snapshot.pods.iter().map(|pod| (*pod).clone()).collect();
    pods.iter_mut().for_each(change);
    planner(&Snapshot {
        pods: pods.iter().collect(),
        ..snapshot.clone()
    })
}

/// The budget on the true state: nodes that can be reached and that an upgrade of ours left without a serving pod.
fn within_budget(effect: &Effect<'_>) -> Result<(), String> {
    let acted = effect
        .deleted()
        .iter()
        .any(|(_, why)| *why == DeleteReason::Outdated);
    let reachable = |slot: &&NodeSlot| {
        let node = effect.after.nodes.get(slot.index()).and_then(Option::as_ref);
        node.is_some_and(|node| node.is_ready())
    };
    let n_down = effect.caused.iter().filter(reachable).count();
    let limit = effect.plan.progress.limit;
    let n_down = u32::try_from(n_down).unwrap_or(u32::MAX);
    fail_if(acted && n_down > limit, || {
        format!("S1: {n_down} nodes are down by our doing, {limit} may be")
    })
}

/// S1 where deletes go without an answer; the fault is to forget them and to begin at the other end (C5.7).
#[test]
fn a_delete_without_an_answer_counts_until_its_pod_is_seen() {
    fn forgetful(snapshot: &Snapshot<'_>, planner: Planner) -> Plan {
        let mut changed = snapshot.clone();
        let mut by_name = snapshot.nodes.by_name.to_vec();
        if !snapshot.in_flight.maybe_deleted.is_empty() {
            by_name.reverse();
        }
        changed.nodes.by_name = &by_name;
        changed.in_flight.maybe_deleted.clear();
        planner(&changed)
    }
    let property =
        |(start, steps): &Course, planner| Walk::advanced(start.advanced(), planner).go(steps, within_budget);
    holds_and_catches(&courses(), property, ADVANCED, |snapshot| {
        forgetful(snapshot, ADVANCED)
    });
    let property = |(start, steps): &Course, planner| {
        Walk::native(start.native_without_surge(), planner).go(steps, within_budget)
    };
    holds_and_catches(&courses(), property, NATIVE, |snapshot| {
        forgetful(snapshot, NATIVE)
    });
}

/// S1 under AdvancedRollingUpdate; the fault is upstream's: nodes without a pod do not count (C7.6).
#[test]
fn no_more_pods_are_down_than_allowed() {
    fn blind_to_missing_pods(snapshot: &Snapshot<'_>) -> Plan {
        let has_pod = |slot: &NodeSlot| snapshot.pods.iter().any(|pod| pod.node == Some(*slot));
        let by_name: Vec<NodeSlot> = snapshot.nodes.by_name.iter().copied().filter(has_pod).collect();
        let mut changed = snapshot.clone();
        changed.nodes.by_name = &by_name;
        advanced::plan(&changed)
    }
    let property =
        |(start, steps): &Course, planner| Walk::advanced(start.advanced(), planner).go(steps, within_budget);
    holds_and_catches(&courses(), property, ADVANCED, blind_to_missing_pods);
}

/// S1 once more; the fault: an outdated pod that is ready counts as available, however short it has been ready.
#[test]
fn no_more_pods_are_down_than_allowed_inside_min_ready_seconds() {
    fn trusting(snapshot: &Snapshot<'_>) -> Plan {
        let target = pitstop_engine::revision::hash_of(&snapshot.daemonset.template, None);
        on_changed_pods(snapshot, advanced::plan, |pod| {
            let is_old = pod.revision_hash() != Some(&target);
            if let Some(ready) = pod.ready.as_mut().filter(|ready| ready.is_true && is_old) {
                ready.since = Some(Timestamp::MIN);
            }
        })
    }
    // Two nodes are through, the second one only just, when the template changes again.
    let kubelets = || (0..6).map(Step::Kubelet);
    let replace = || {
        let delete = [Step::Act, Step::Sync].into_iter().chain(kubelets());
        let create = [Step::Native].into_iter().chain(kubelets());
        delete.chain(create).chain([Step::Sync, Step::Native])
    };
    let beginning: Vec<Step> = replace()
        .chain([Step::Pass(11)])
        .chain(replace())
        .chain([Step::Edit(5), Step::Native])
        .collect();
    let property = |(start, steps): &Course, planner| {
        let cluster = start.advanced().min_ready_seconds(10);
        Walk::advanced(cluster, planner).go(&[&beginning[..], steps].concat(), within_budget)
    };
    holds_and_catches(&courses(), property, ADVANCED, trusting);
}

/// S1 under a native rolling update; the fault: every pod is taken to serve.
#[test]
fn no_more_pods_are_down_than_allowed_natively() {
    fn blind_to_availability(snapshot: &Snapshot<'_>) -> Plan {
        on_changed_pods(snapshot, native::plan, |pod| {
            pod.ready = Some(ReadyCondition {
                is_true: true,
                since: Some(Timestamp::MIN),
            });
        })
    }
    let property = |(start, steps): &Course, planner| {
        Walk::native(start.native_without_surge(), planner).go(steps, within_budget)
    };
    holds_and_catches(&courses(), property, NATIVE, blind_to_availability);
}

/// S2: no pod that serves at the target is touched by an upgrade.
fn spares_what_is_finished(effect: &Effect<'_>) -> Result<(), String> {
    let target = pitstop_engine::revision::hash_of(&effect.before.daemonset.template, None);
    for (pod, why) in effect.deleted() {
        let is_finished = pod.revision_hash() == Some(&target) && serves(effect.before, pod);
        fail_if(is_upgrade(why) && is_finished, || {
            format!("S2: {} deleted: {why:?}", pod.name)
        })?;
    }
    Ok(())
}

/// S2; the fault: labels are not looked at.
#[test]
fn what_is_finished_is_left_alone() {
    fn without_labels(snapshot: &Snapshot<'_>, planner: Planner) -> Plan {
        on_changed_pods(snapshot, planner, |pod| {
            let labels = pod.labels.iter().filter(|(key, _)| *key == "app");
            pod.labels = labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
        })
    }
    let property = |(start, steps): &Course, planner| {
        Walk::advanced(start.advanced(), planner).go(steps, spares_what_is_finished)
    };
    holds_and_catches(&courses(), property, ADVANCED, |s| without_labels(s, ADVANCED));
    let property = |(start, steps): &Course, planner| {
        Walk::native(start.native(), planner).go(steps, spares_what_is_finished)
    };
    holds_and_catches(&courses(), property, NATIVE, |s| without_labels(s, NATIVE));
}

/// The same decision, as if all nodes could be reached.
fn blind_to_readiness(snapshot: &Snapshot<'_>) -> Plan {
    let mut nodes = snapshot.nodes.by_slot.to_vec();
    for node in nodes.iter_mut().flatten() {
        let node = Arc::make_mut(node);
        node.taints.clear();
        node.ready = Some(ReadyCondition {
            is_true: true,
            since: None,
        });
    }
    let mut changed = snapshot.clone();
    changed.nodes.by_slot = &nodes;
    advanced::plan(&changed)
}

/// S3: no pod on a node that is not ready is touched.
#[test]
fn pods_on_nodes_that_are_not_ready_are_not_touched() {
    let property = |(start, steps): &Course, planner| {
        Walk::advanced(start.advanced(), planner).go(steps, |effect| {
            for (pod, _) in effect.deleted() {
                let node = pod
                    .node
                    .and_then(|slot| effect.before.nodes[slot.index()].as_ref());
                fail_if(!node.is_some_and(|node| node.is_ready()), || {
                    format!("S3: {}", pod.name)
                })?;
            }
            Ok(())
        })
    };
    holds_and_catches(&courses(), property, ADVANCED, blind_to_readiness);
}

/// S3: what is on them makes no difference to the others.
#[test]
fn nodes_that_are_not_ready_cost_no_budget() {
    let property = |start: &Start, planner: Planner| {
        let with = start.advanced().max_unavailable(2);
        let mut without = with.clone();
        let nodes = without.nodes.clone();
        let is_away = |pod: &PodView| {
            let node = pod.node.and_then(|slot| nodes[slot.index()].as_ref());
            node.is_some_and(|node| !node.is_ready())
        };
        without.pods.retain(|pod| !is_away(pod));
        // A cap at the number of nodes is no matter of budget.
        if with.pods.len() < 4 {
            return Ok(());
        }
        let words = |cluster: &Cluster| cluster.words(&planner(&cluster.snapshot()));
        let (with, without) = (words(&with), words(&without));
        fail_if(with != without, || {
            format!("S3: {with}, but without their pods {without}")
        })
    };
    holds_and_catches(&arb_start(2), property, ADVANCED, blind_to_readiness);
}

/// S7: nothing of others is touched, however old the view is; the fault: the version seen is no precondition.
#[test]
fn what_belongs_to_others_is_not_touched() {
    fn without_version(snapshot: &Snapshot<'_>, planner: Planner) -> Plan {
        let mut plan = planner(snapshot);
        for action in &mut plan.actions {
            if let Action::DeletePod { resource_version, .. } = action {
                *resource_version = None;
            }
        }
        plan
    }
    fn only_ours(effect: &Effect<'_>) -> Result<(), String> {
        for (pod, why) in effect.deleted() {
            let is_ours = pod.controller.is_some_and(|c| c.uid == OURS);
            fail_if(is_upgrade(why) && !is_ours, || {
                format!("S7: {} deleted: {why:?}", pod.name)
            })?;
        }
        Ok(())
    }
    let property =
        |(start, steps): &Course, planner| Walk::advanced(start.advanced(), planner).go(steps, only_ours);
    holds_and_catches(&courses(), property, ADVANCED, |s| without_version(s, ADVANCED));
    let property =
        |(start, steps): &Course, planner| Walk::native(start.native(), planner).go(steps, only_ours);
    holds_and_catches(&courses(), property, NATIVE, |s| without_version(s, NATIVE));
}

/// S8: one live pod a node; the fault: what we created and do not see yet is forgotten.
#[test]
fn a_node_never_gets_a_second_pod() {
    fn forgetful(snapshot: &Snapshot<'_>) -> Plan {
        let mut changed = snapshot.clone();
        changed.in_flight = InFlight::default();
        native::plan(&changed)
    }
    let property = |(start, steps): &Course, planner| {
        // A pod that somebody else took over is not ours to count.
        let steps: Vec<Step> = steps
            .iter()
            .copied()
            .filter(|s| !matches!(s, Step::Steal(_)))
            .collect();
        Walk::native(start.native_without_surge(), planner).go(&steps, |effect| {
            for slot in &effect.after.by_name {
                let live = |pod: &&PodView| pod.node == Some(*slot) && !pod.is_terminating();
                let n = effect.after.pods.iter().filter(live).count();
                fail_if(n > 1, || {
                    format!("S8: {n} pods on {}", effect.after.names.name(*slot))
                })?;
            }
            Ok(())
        })
    };
    holds_and_catches(&orderly_courses(), property, NATIVE, forgetful);
}

/// Steps under AdvancedRollingUpdate until nothing happens any more; then every node must be finished. Somebody looks after
/// it: where the guard stops a rollout because nodes went right after their update, he lets it go on.
fn settles(cluster: &mut Cluster, planner: Planner) -> Result<(), String> {
    for _ in 0..200 {
        let mut acted = false;
        for plan in [native::plan as Planner, planner] {
            let plan = plan(&cluster.snapshot());
            acted |= !plan.actions.is_empty() || plan.status.is_some();
            acted |= plan.requeue_after.is_some();
            let is_guarded = |waiting: &Waiting| matches!(waiting.reason, Reason::NodesLost { .. });
            if plan.waiting.iter().any(is_guarded) {
                let annotations = &mut cluster.daemonset.annotations;
                annotations.insert(keys::RESUMED_AT.into(), cluster.now.to_string());
                acted = true;
            }
            cluster.apply(&plan);
            cluster.stores_catch_up();
        }
        acted |= cluster.kubelets();
        cluster.pass(1);
        if !acted {
            return is_finished(cluster).map_err(|e| format!("L1: {e}"));
        }
    }
    Err("L1: it never settles".into())
}

/// Old pods that serve nobody are not replaced.
fn patient(snapshot: &Snapshot<'_>, planner: Planner) -> Plan {
    let mut plan = planner(snapshot);
    plan.actions.retain(|action| {
        !matches!(
            action,
            Action::DeletePod {
                why: DeleteReason::OutdatedAndUnavailable,
                ..
            }
        )
    });
    plan
}

/// L1: when faults have ended, it settles at the newest version, and stays there.
#[test]
fn a_rollout_settles_when_faults_end() {
    let property = |(start, steps): &Course, planner| {
        let mut walk = Walk::advanced(start.advanced(), planner);
        walk.go(steps, |_| Ok(()))?;
        walk.end_faults();
        settles(&mut walk.truth, planner)
    };
    holds_and_catches(&courses(), property, ADVANCED, |s| patient(s, ADVANCED));
}

/// L1 under a native rolling update, with and without surge.
#[test]
fn a_native_rollout_settles_when_faults_end() {
    let property = |(start, steps): &Course, planner: Planner| {
        let mut walk = Walk::native(start.native(), planner);
        walk.go(steps, |_| Ok(()))?;
        walk.end_faults();
        let cluster = &mut walk.truth;
        for _ in 0..200 {
            let plan = planner(&cluster.snapshot());
            let mut acted = !plan.actions.is_empty() || plan.status.is_some() || plan.requeue_after.is_some();
            cluster.apply(&plan);
            cluster.stores_catch_up();
            acted |= cluster.kubelets();
            cluster.pass(1);
            if !acted {
                return is_finished(cluster).map_err(|e| format!("L1: {e}"));
            }
        }
        Err("L1: it never settles".into())
    };
    holds_and_catches(&courses(), property, NATIVE, |s| patient(s, NATIVE));
}

/// L2: a node that returns is caught up; the fault: nodes are looked at as they were at the start.
#[test]
fn a_node_that_returns_is_caught_up() {
    fn blind_to_return(snapshot: &Snapshot<'_>) -> Plan {
        let start = crate::cluster::at(0);
        let was_here = |slot: &NodeSlot| {
            let node = snapshot.nodes.get(*slot);
            node.is_some_and(|node| node.ready_changed_at() < Some(start))
        };
        let by_name: Vec<NodeSlot> = snapshot.nodes.by_name.iter().copied().filter(was_here).collect();
        let mut changed = snapshot.clone();
        changed.nodes.by_name = &by_name;
        advanced::plan(&changed)
    }
    let property = |start: &Start, planner: Planner| {
        let mut walk = Walk::advanced(start.advanced(), planner);
        let while_away = settles(&mut walk.truth, planner);
        fail_if(while_away == Err("L1: it never settles".into()), || {
            "L2: not even before".into()
        })?;
        walk.end_faults();
        settles(&mut walk.truth, planner)
    };
    holds_and_catches(&arb_start(1), property, ADVANCED, blind_to_return);
}

/// What was done is not done again, whether the store shows it or not.
#[test]
fn a_decision_is_not_repeated() {
    fn forgetful(snapshot: &Snapshot<'_>) -> Plan {
        let mut changed = snapshot.clone();
        changed.in_flight = InFlight::default();
        advanced::plan(&changed)
    }
    let property = |start: &Start, planner: Planner| {
        let mut cluster = start.advanced();
        let before = cluster.pods.clone();
        let plan = planner(&cluster.snapshot());
        cluster.apply(&plan);
        for pods in [&before, &cluster.pods] {
            let again = planner(&cluster.snapshot_of(pods));
            fail_if(!again.actions.is_empty(), || cluster.words(&again))?;
        }
        Ok(())
    };
    holds_and_catches(&arb_start(2), property, ADVANCED, forgetful);
}

/// The native controller comes to rest on its own effects too, in a few passes.
#[test]
fn native_decisions_come_to_rest() {
    let property = |start: &Start| {
        let mut cluster = start.native();
        for _ in 0..6 {
            let plan = cluster.plan_native();
            if plan.actions.is_empty() {
                return Ok(());
            }
            cluster.apply(&plan);
        }
        Err("it goes on without anything happening".to_owned())
    };
    assert_eq!(counterexample(&arb_start(2), property), None);
}

/// The order in which a store hands out objects is no matter; the fault: nodes are taken in that order.
#[test]
fn the_order_of_the_input_does_not_matter() {
    fn in_order_of_pods(snapshot: &Snapshot<'_>) -> Plan {
        let mut by_name: Vec<NodeSlot> = snapshot.pods.iter().filter_map(|pod| pod.node).collect();
        by_name.dedup();
        let mut changed = snapshot.clone();
        changed.nodes.by_name = &by_name;
        advanced::plan(&changed)
    }
    let property = |start: &Start, planner: Planner| {
        for cluster in [start.advanced(), start.native()] {
            let snapshot = cluster.snapshot();
            let mut turned = snapshot.clone();
            turned.pods.reverse();
            turned.revisions.reverse();
            let (a, b) = (planner(&snapshot), planner(&turned));
            let text = |plan: &Plan| render(plan, &cluster.names);
            let same = text(&a) == text(&b)
                && (a.status, a.requeue_after, a.progress) == (b.status, b.requeue_after, b.progress);
            fail_if(!same, || "the order matters".to_owned())?;
        }
        Ok(())
    };
    holds_and_catches(&arb_start(2), property, ADVANCED, in_order_of_pods);
    assert_eq!(
        counterexample(&arb_start(2), |start| property(start, NATIVE)),
        None
    );
    assert_eq!(
        counterexample(&arb_start(2), |start| property(start, daemonset::plan)),
        None
    );
}

/// A reason for everything that is not finished (L3), and none for what is.
#[test]
fn whatever_waits_has_a_reason() {
    let property = |start: &Start| {
        for (cluster, planner) in [(start.advanced(), ADVANCED), (start.native(), NATIVE)] {
            let plan = planner(&cluster.snapshot());
            for pod in &cluster.pods {
                let is_new = pod.revision_hash() == Some(&*crate::cluster::hash("v2"));
                let explained = plan
                    .waiting
                    .iter()
                    .any(|w| w.pod.as_ref().is_some_and(|(_, uid)| *uid == pod.uid));
                let finished = is_new && serves(&cluster, pod);
                fail_if(!finished && !explained, || {
                    format!("L3: no reason for {}", pod.name)
                })?;
            }
        }
        Ok(())
    };
    assert_eq!(counterexample(&arb_start(2), property), None);
}

/// Values that no healthy cluster has.
#[derive(Debug, Clone)]
struct Oddities {
    seed: Vec<u8>,
}

impl Oddities {
    fn spread(&self, cluster: &mut Cluster, ledger: &mut InFlight) {
        let times = [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH];
        for (i, byte) in self.seed.iter().enumerate() {
            let time = times[i % 3];
            let slot = NodeSlot(if byte & 1 == 0 { u32::MAX } else { 3 });
            let pod = cluster.pods.get_mut(i % 7);
            match byte % 20 {
                0 => cluster.now = time,
                1 => cluster.daemonset.min_ready_seconds = u32::MAX,
                2 => cluster.daemonset.generation = i64::MIN,
                3 => cluster.daemonset.template = Arc::new(json!([1])),
                4 => cluster.daemonset.strategy.max_unavailable = Some(json!({ "a": -1 })),
                5 => cluster.daemonset.strategy.max_surge = Some(json!("2147483647%")),
                6 => cluster.daemonset.revision_history_limit = u32::MAX * u32::from(byte & 1),
                7 => cluster
                    .daemonset
                    .annotations
                    .values_mut()
                    .for_each(|v| *v = "٣%".into()),
                8 => cluster.daemonset.status.collision_count = Some(i32::MIN),
                9 => cluster.revisions.iter_mut().for_each(|r| r.revision = i64::MAX),
                10 => cluster
                    .revisions
                    .iter_mut()
                    .for_each(|r| r.data = Arc::new(json!(null))),
                11 => cluster.by_name.push(slot),
                12 => ledger.deleted.push(DeletedPod {
                    uid: OURS,
                    node: Some(slot),
                    at: time,
                }),
                13 => ledger.created.push(CreatedPod {
                    uid: OURS,
                    name: "x".into(),
                    node: slot,
                    hash: "x".into(),
                    at: time,
                }),
                14 => cluster.failed_pods.push(FailedPods {
                    node: NodeSlot(0),
                    generation: 2,
                    delay_seconds: u32::MAX,
                    at: time,
                }),
                18 => ledger.maybe_deleted.extend(pod.map(|pod| pod.uid).or(Some(OURS))),
                19 => ledger.maybe_created.push(slot),
                15 => pod.into_iter().for_each(|pod| pod.node = Some(slot)),
                16 => pod
                    .into_iter()
                    .for_each(|pod| pod.phase = pitstop_api::view::Phase::Failed),
                _ => pod.into_iter().for_each(|pod| {
                    pod.ready = Some(ReadyCondition {
                        is_true: byte & 1 == 0,
                        since: Some(time),
                    });
                    (pod.created_at, pod.deleted_at) = (time, (i % 2 == 0).then_some(time));
                }),
            }
        }
    }
}

/// No snapshot makes a decision panic, nor the words about it.
#[test]
fn no_snapshot_is_too_odd() {
    let oddities = prop::collection::vec(any::<u8>(), 0..12).prop_map(|seed| Oddities { seed });
    let property = |(start, oddities): &(Start, Oddities)| {
        for mut cluster in [start.advanced(), start.native()] {
            let mut ledger = InFlight::default();
            oddities.spread(&mut cluster, &mut ledger);
            cluster.in_flight = ledger.clone();
            let snapshot = cluster.snapshot();
            for planner in [native::plan, advanced::plan, daemonset::plan] {
                let plan = planner(&snapshot);
                let _ = render(&plan, &cluster.names);
                for waiting in &plan.waiting {
                    let _ = waiting.reason.explain(cluster.now);
                }
                let n_pods = plan
                    .actions
                    .iter()
                    .filter(|a| matches!(a, Action::DeletePod { .. }))
                    .count();
                fail_if(n_pods > daemonset::BURST, || "more than a burst".to_owned())?;
            }
            advanced::retire(&mut ledger, &snapshot.pods, &snapshot.nodes, cluster.now);
        }
        Ok(())
    };
    assert_eq!(counterexample(&(arb_start(2), oddities), property), None);
}
