//! The DaemonSet controller: creates and removes pods, keeps history and status, and rolls out under `RollingUpdate`.
//!
//! Rely: others may delete pods, change labels and add finalizers at any time. Guarantee: nothing that another
//! controller owns is touched (S7), one pod a node runs, surge aside (S8), and the budget holds on what is really there
//! and what we just did (S1).
//!
//! Source: daemonset.md A5-A12.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::reasons;
use pitstop_api::selector::Labels;
use pitstop_api::view::{DaemonSetStatus, DaemonSetView, NodeSlot, NodeView, Phase, PodView, StrategyType};

use super::BURST;
use super::board::{Board, Row};
use super::eligibility::{Eligibility, Eligible};
use crate::availability::{available_at, is_available};
use crate::budget::{self, RollingBudget};
use crate::plan::{Action, DeleteReason, Event, OwnedObject, Plan, Progress, Reason, Waiting};
use crate::revision::history::{self, History};
use crate::snapshot::{FailedPods, Snapshot};

mod explain;
mod rolling;

/// First delay before a failed pod is replaced again. Units: seconds. Source: daemonset.md A8.
const FIRST_BACK_OFF: u32 = 1;
/// Longest delay before a failed pod is replaced again. Units: seconds. Source: daemonset.md A8.
const LONGEST_BACK_OFF: u32 = 900;
/// A back-off that was idle for this long is forgotten. Units: seconds. Source: daemonset.md A8.
const BACK_OFF_KEPT: i64 = 1800;

/// Decides about a DaemonSet as its own controller.
pub fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let daemonset = snapshot.daemonset;
    let mut plan = Plan::default();
    if daemonset.deleted_at.is_some() {
        plan.waiting = super::all_pods(snapshot, &Reason::WorkloadTerminating);
        return plan;
    }
    if daemonset.selector.is_empty() {
        plan.events.push(Event {
            is_warning: true,
            reason: reasons::SELECTING_ALL,
            message: Cow::Borrowed(
                "This daemon set is selecting all pods. A non-empty selector is required.",
            ),
            once_per: Some(daemonset.generation.to_string()),
        });
        return plan;
    }
    let history = history::build(daemonset, &snapshot.revisions, snapshot.may_adopt);
    plan.actions.clone_from(&history.actions);
    let pods = claim(snapshot, &history, &mut plan.actions);
    let is_new = |pod: &PodView| is_at_target(daemonset, &history, pod);
    let available = |pod: &PodView| is_available(pod, daemonset.min_ready_seconds, snapshot.now);
    let n_slots = snapshot.nodes.names.len();
    let board = Board::new(&pods, n_slots, &snapshot.in_flight, is_new, available);
    let mut turn = Turn::new(snapshot, &history, board);
    turn.manage(&pods);
    if turn.creates.is_empty() && turn.deletes.is_empty() {
        turn.update();
    }
    let surplus = history::surplus(daemonset, &snapshot.revisions, &pods);
    let prune = surplus.iter().map(|r| Action::DeleteRevision {
        name: Arc::clone(&r.name),
        uid: r.uid,
    });
    plan.actions.extend(prune);
    turn.finish(plan)
}

/// Is the pod at the target revision? Its hash label says so; only a pod without one is judged by its generation.
fn is_at_target(daemonset: &DaemonSetView, history: &History, pod: &PodView) -> bool {
    match pod.revision_hash() {
        Some(hash) => *hash == *history.target || history.merged.iter().any(|merged| **merged == *hash),
        None => pod
            .template_generation()
            .is_some_and(|g| Some(g) == daemonset.template_generation()),
    }
}

/// The pods of the DaemonSet: those that it controls and, once adopted, orphans that its selector matches.
///
/// Source: daemonset.md A5. Upholds S7.
fn claim<'a>(snapshot: &Snapshot<'a>, history: &History, actions: &mut Vec<Action>) -> Vec<&'a PodView> {
    let selector = snapshot.daemonset.selector.selector();
    let mut last: Option<(&Arc<Labels>, bool)> = None;
    let mut pods = Vec::with_capacity(snapshot.pods.len());
    for pod in &snapshot.pods {
        let matches = match last {
            Some((labels, matches)) if Arc::ptr_eq(labels, &pod.labels) => matches,
            _ => selector.as_ref().is_some_and(|s| s.matches(&pod.labels)),
        };
        last = Some((&pod.labels, matches));
        let (name, uid) = (|| Arc::clone(&pod.name), pod.uid);
        match pod.controller {
            Some(controller) if controller.uid != snapshot.daemonset.uid => continue,
            Some(_) if matches => {}
            Some(_) => {
                actions.push(Action::Release {
                    object: OwnedObject::Pod,
                    name: name(),
                    uid,
                });
                continue;
            }
            None if matches && snapshot.may_adopt && !pod.is_terminating() => {
                actions.push(Action::Adopt {
                    object: OwnedObject::Pod,
                    name: name(),
                    uid,
                });
            }
            None => continue,
        }
        let is_merged = |hash: &str| history.merged.iter().any(|merged| **merged == *hash);
        if !history.merged.is_empty() && pod.revision_hash().is_some_and(is_merged) {
            actions.push(Action::RelabelPod {
                name: name(),
                uid,
                hash: Arc::clone(&history.target),
            });
        }
        pods.push(*pod);
    }
    pods
}

/// One decision under way.
struct Turn<'s, 'a> {
    snapshot: &'s Snapshot<'a>,
    history: &'s History,
    board: Board<'s>,
    spots: Vec<Spot<'a>>,
    desired: u32,
    budget: Result<RollingBudget, &'static str>,
    creates: Vec<NodeSlot>,
    deletes: Vec<(Row<'s>, DeleteReason)>,
    events: Vec<Event>,
    failed_pods: Vec<FailedPods>,
    wake_at: Option<Timestamp>,
    unavailable: u32,
    surged: u32,
}

/// A node that exists, and what it may run.
#[derive(Clone, Copy)]
struct Spot<'a> {
    node: &'a NodeView,
    eligible: Eligible,
}

impl<'s, 'a: 's> Turn<'s, 'a> {
    fn new(snapshot: &'s Snapshot<'a>, history: &'s History, board: Board<'s>) -> Self {
        let eligibility = Eligibility::of(snapshot.daemonset);
        let spots: Vec<Spot<'a>> = snapshot
            .nodes
            .iter()
            .map(|node| Spot {
                node,
                eligible: eligibility.of_node(node),
            })
            .collect();
        let desired = count(spots.iter().filter(|spot| spot.eligible.should_run));
        let strategy = &snapshot.daemonset.strategy;
        let budget = match strategy.kind {
            StrategyType::RollingUpdate => budget::rolling(
                strategy.max_unavailable.as_ref(),
                strategy.max_surge.as_ref(),
                desired,
            ),
            StrategyType::OnDelete | StrategyType::Other(_) => Ok(RollingBudget {
                max_unavailable: 0,
                max_surge: 0,
            }),
        };
        Self {
            snapshot,
            history,
            board,
            spots,
            desired,
            budget,
            creates: Vec::new(),
            deletes: Vec::new(),
            events: Vec::new(),
            failed_pods: Vec::new(),
            wake_at: None,
            unavailable: 0,
            surged: 0,
        }
    }

    fn surge(&self) -> u32 {
        self.budget.map_or(0, |budget| budget.max_surge)
    }

    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Every node that should run a pod gets one, and none that should not keeps one.
    ///
    /// Source: daemonset.md A7.
    fn manage(&mut self, pods: &[&'s PodView]) {
        for i in 0..self.spots.len() {
            if let Some(spot) = self.spots.get(i).copied() {
                self.manage_node(spot);
            }
        }
        for pod in pods {
            let has_no_node = pod
                .node
                .is_some_and(|slot| self.snapshot.nodes.get(slot).is_none());
            if has_no_node && !pod.bound && !pod.is_terminating() {
                let row = Row {
                    pod,
                    is_terminating: false,
                    is_new: false,
                    is_available: false,
                    is_terminal: pod.is_terminal(),
                };
                self.deletes.push((row, DeleteReason::NodeGone));
            }
        }
        self.creates.truncate(BURST);
        self.deletes.truncate(BURST);
    }

    fn manage_node(&mut self, spot: Spot<'a>) {
        let slot = spot.node.slot;
        let n_created = self.board.created_on(slot).count();
        let eligible = spot.eligible;
        if eligible.should_continue && self.is_in_order(slot) {
            return;
        }
        let rows: Vec<Row<'s>> = self.board.on(slot).copied().collect();
        if rows.is_empty() && n_created == 0 {
            if eligible.should_run {
                self.creates.push(slot);
            }
            return;
        }
        let live = rows.into_iter().filter(|row| !row.is_terminating);
        if !eligible.should_continue {
            self.deletes
                .extend(live.map(|row| (row, DeleteReason::NodeNotEligible)));
            return;
        }
        let mut running = Vec::new();
        let mut ended = false;
        for row in live {
            match row.pod.phase {
                Phase::Failed => {
                    ended = true;
                    self.replace_failed(spot.node, row);
                }
                Phase::Succeeded => {
                    ended = true;
                    let text = format!(
                        "Found succeeded daemon pod {}/{} on node {}, will try to delete it",
                        row.pod.namespace, row.pod.name, spot.node.name
                    );
                    self.tell(false, reasons::SUCCEEDED_DAEMON_POD, text);
                    self.deletes.push((row, DeleteReason::Succeeded));
                }
                Phase::Pending | Phase::Running | Phase::Unknown => running.push(row),
            }
        }
        if self.surge() == 0 {
            let surplus = running.into_iter().skip(1);
            self.deletes
                .extend(surplus.map(|row| (row, DeleteReason::Duplicate)));
        } else if running.is_empty() && n_created == 0 {
            // A pod that ended is deleted first, at the pace of its back-off: else they would pile up.
            if eligible.should_run && !ended {
                self.creates.push(slot);
            }
        } else {
            self.settle_surge(&running);
        }
    }

    /// Is there exactly one pod on the node, and it lives? This is so almost everywhere, and costs no allocation.
    fn is_in_order(&self, slot: NodeSlot) -> bool {
        let mut rows = self.board.on(slot);
        let first = rows.next();
        first.is_some_and(|row| !row.is_terminating && !row.is_terminal) && rows.next().is_none()
    }

    /// Of the pods on a node under surge, the oldest new and the oldest old one stay; the old one goes when it does not
    /// serve, or when the new one does.
    fn settle_surge(&mut self, running: &[Row<'s>]) {
        let new = running.iter().find(|row| row.is_new).copied();
        let old = running.iter().find(|row| !row.is_new).copied();
        for row in running {
            let stays = [new, old]
                .iter()
                .flatten()
                .any(|kept| kept.pod.uid == row.pod.uid);
            if !stays {
                self.deletes.push((*row, DeleteReason::Duplicate));
            }
        }
        if let (Some(new), Some(old)) = (new, old)
            && (!old.pod.is_ready() || new.is_available)
        {
            self.deletes.push((old, DeleteReason::Surged));
        }
    }

    /// A failed pod is deleted unless one was deleted on this node too recently. Source: daemonset.md A8.
    fn replace_failed(&mut self, node: &NodeView, row: Row<'s>) {
        let generation = self.snapshot.daemonset.status.observed_generation;
        let before = self.back_off(node.slot);
        let now = self.snapshot.now;
        if let Some(before) = before {
            let until = after(before.at, before.delay_seconds);
            if now < until {
                self.wake(until);
                return;
            }
        }
        let delay = before.map_or(FIRST_BACK_OFF, |b| {
            b.delay_seconds.saturating_mul(2).min(LONGEST_BACK_OFF)
        });
        self.failed_pods.push(FailedPods {
            node: node.slot,
            generation,
            delay_seconds: delay,
            at: now,
        });
        let text = format!(
            "Found failed daemon pod {}/{} on node {}, will try to kill it",
            row.pod.namespace, row.pod.name, node.name
        );
        self.tell(true, reasons::FAILED_DAEMON_POD, text);
        self.deletes.push((row, DeleteReason::Failed));
    }

    /// The back-off of a node, unless it is of another generation or was idle for long.
    fn back_off(&self, slot: NodeSlot) -> Option<&'a FailedPods> {
        let known = self.snapshot.failed_pods.iter();
        known
            .rev()
            .find(|failed| failed.node == slot && self.is_remembered(failed))
    }

    fn is_remembered(&self, failed: &FailedPods) -> bool {
        let idle = self.snapshot.now.duration_since(failed.at);
        failed.generation == self.snapshot.daemonset.status.observed_generation
            && idle < SignedDuration::from_secs(BACK_OFF_KEPT)
    }

    /// What to remember of failed pods: what this decision noted, and of what was given the rest.
    fn remembered(&self) -> Vec<FailedPods> {
        let mut noted: Vec<NodeSlot> = self.failed_pods.iter().map(|failed| failed.node).collect();
        noted.sort_unstable();
        let is_rest =
            |failed: &&FailedPods| noted.binary_search(&failed.node).is_err() && self.is_remembered(failed);
        let rest = self.snapshot.failed_pods.iter().filter(is_rest);
        rest.chain(&self.failed_pods).copied().collect()
    }

    fn tell(&mut self, is_warning: bool, reason: &'static str, message: String) {
        self.events.push(Event {
            is_warning,
            reason,
            message: Cow::Owned(message),
            once_per: None,
        });
    }

    /// The status as it is now, before anything of this plan is done. Source: daemonset.md A12.
    fn status(&mut self) -> DaemonSetStatus {
        let mut status = DaemonSetStatus {
            observed_generation: self.snapshot.daemonset.generation,
            collision_count: self.snapshot.daemonset.status.collision_count,
            desired_number_scheduled: self.desired,
            ..DaemonSetStatus::default()
        };
        let mut wake = None;
        for spot in &self.spots {
            let mut rows = self.board.on(spot.node.slot);
            let Some(first) = rows.next() else {
                continue;
            };
            // A surge pod speaks for nobody yet, but the rollout waits for it.
            let is_awaited = |row: &&Row<'_>| !row.is_available && !row.is_terminating;
            for row in std::iter::once(first).chain(rows).filter(is_awaited) {
                let at = available_at(row.pod, self.snapshot.daemonset.min_ready_seconds);
                wake = [wake, at].into_iter().flatten().min();
            }
            if !spot.eligible.should_run {
                status.number_misscheduled = status.number_misscheduled.saturating_add(1);
                continue;
            }
            let add = |number: &mut u32, is_so: bool| *number = number.saturating_add(u32::from(is_so));
            add(&mut status.current_number_scheduled, true);
            add(&mut status.updated_number_scheduled, first.is_new);
            add(
                &mut status.number_ready,
                first.is_available || first.pod.is_ready(),
            );
            add(&mut status.number_available, first.is_available);
        }
        status.number_unavailable = self.desired.saturating_sub(status.number_available);
        if let Some(at) = wake {
            self.wake(at);
        }
        status
    }

    fn finish(mut self, mut plan: Plan) -> Plan {
        let status = self.status();
        plan.progress = Progress {
            target: Some(Arc::clone(&self.history.target)),
            nodes: self.desired,
            updated: status.updated_number_scheduled,
            frozen: 0,
            unavailable: self.unavailable,
            limit: self.budget.map_or(0, |budget| budget.max_unavailable),
        };
        plan.waiting = self.explain();
        plan.status = (status != self.snapshot.daemonset.status).then_some(status);
        let creates = self.creates.iter().map(|node| Action::CreatePod {
            node: *node,
            hash: Arc::clone(&self.history.target),
        });
        plan.actions.extend(creates);
        plan.actions
            .extend(self.deletes.iter().map(|(row, why)| delete(row.pod, *why)));
        plan.events.append(&mut self.events);
        plan.failed_pods = self.remembered();
        plan.requeue_after = self.wake_at.map(|at| until(self.snapshot.now, at));
        plan
    }
}

/// The action that deletes a pod.
///
/// Where the pod's own state is the reason, the version that was looked at is a precondition: a store may lag, and a pod
/// that came back meanwhile serves somebody. Upholds S1 and S7; source: daemonset.md C5.6.
pub(super) fn delete(pod: &PodView, why: DeleteReason) -> Action {
    Action::DeletePod {
        name: Arc::clone(&pod.name),
        uid: pod.uid,
        resource_version: match why {
            DeleteReason::Outdated | DeleteReason::OutdatedAndUnavailable | DeleteReason::Surged => {
                Some(pod.resource_version)
            }
            DeleteReason::Duplicate
            | DeleteReason::NodeNotEligible
            | DeleteReason::NodeGone
            | DeleteReason::Failed
            | DeleteReason::Succeeded => None,
        },
        node: pod.node,
        why,
    }
}

fn after(at: Timestamp, seconds: u32) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(i64::from(seconds)))
        .unwrap_or(Timestamp::MAX)
}

/// How long to wait for a moment to have passed: a millisecond beyond it, since availability is strict.
pub(super) fn until(now: Timestamp, at: Timestamp) -> Duration {
    let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
    wait.saturating_add(Duration::from_millis(1))
}

pub(super) fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

impl Turn<'_, '_> {
    fn explain(&self) -> Vec<Waiting> {
        explain::waiting(self)
    }
}
