//! The DaemonSet controller: creates and removes pods, keeps history and status, and rolls out under `RollingUpdate`.
//! DaemonSets of `apps.kruise.io` are decided about here as well; what they have beyond native ones is in `kruise`.
//!
//! Rely: others may delete pods, change labels and add finalizers at any time. Guarantee: nothing that another
//! controller owns is touched (S7), one pod a node runs, surge aside (S8), and the budget holds on what is really there
//! and what we just did (S1).
//!
//! Source: daemonset.md A5-A12.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use jiff::Timestamp;
use pitstop_api::reasons;
use pitstop_api::selector::Selector;
use pitstop_api::view::{DaemonSetView, NodeSlot, NodeView, PodView, StrategyType, Uid};

use super::board::{Board, Row};
use super::eligibility::{Eligibility, Eligible};
use super::{count, earlier, own_keys, until};
use crate::budget::{self, RollingBudget};
use crate::plan::{Action, DeleteReason, Event, OwnedObject, Plan, Progress, Reason};
use crate::revision::history::{self, History};
use crate::shared_labels::Selected;
use crate::snapshot::{FailedPods, Snapshot};

mod explain;
mod kruise;
mod manage;
mod pre_download;
mod rolling;
mod status;

pub use pre_download::pre_download;

/// Decides about a DaemonSet as its own controller.
pub fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let daemonset = snapshot.daemonset;
    if daemonset.deleted_at.is_some() {
        return Plan {
            waiting: super::all_pods(snapshot, &Reason::WorkloadTerminating),
            ..Plan::default()
        };
    }
    let selector = match daemonset.selector.selector() {
        Some(selector) if !selector.is_empty() => selector,
        unusable => return without_selector(snapshot, unusable.is_some()),
    };
    let mut plan = Plan::default();
    let history = history::build(daemonset, &snapshot.revisions, snapshot.may_adopt);
    let mut claim = Claim::new(snapshot, &selector, &history);
    let is_new = |pod: &PodView| is_at_target(daemonset, &history, pod);
    let pods = snapshot.pods.iter().copied().filter(|pod| claim.takes(pod));
    let board = Board::new(snapshot, pods, is_new);
    plan.actions.clone_from(&history.actions);
    plan.actions.append(&mut claim.actions);
    plan.actions.extend_from_slice(&history.duplicates);
    let mut turn = Turn::new(snapshot, &history, board);
    turn.manage();
    turn.update();
    if daemonset.advanced.is_some() {
        plan.events.extend(own_keys::beside_fields(daemonset));
        plan.events.extend(own_keys::ignores_not_ready_nodes(daemonset).1);
    }
    let surplus = history::surplus(daemonset, &snapshot.revisions, &snapshot.pods);
    plan.actions.extend(surplus.into_iter().map(history::delete));
    turn.finish(plan)
}

/// A selector that is empty, or that cannot be read, names no pods of ours: nothing is done until it is mended.
fn without_selector(snapshot: &Snapshot<'_>, is_empty: bool) -> Plan {
    let selecting_all = is_empty.then(|| Event {
        is_warning: true,
        reason: reasons::SELECTING_ALL,
        message: Cow::Borrowed("This daemon set is selecting all pods. A non-empty selector is required."),
        once_per: Some(snapshot.daemonset.generation.to_string()),
    });
    let field = Cow::Borrowed("spec.selector");
    Plan {
        events: selecting_all.into_iter().collect(),
        waiting: super::all_pods(snapshot, &Reason::Invalid { field }),
        ..Plan::default()
    }
}

/// Is the pod at the target revision? Its hash label says so; only a pod without one is judged by its generation.
///
/// Source: daemonset.md A9.3, C3.6. Differs from upstream, which takes either: generations start again when a DaemonSet
/// is recreated over its pods, and outdated ones would pass as new.
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
struct Claim<'s, 'a> {
    snapshot: &'s Snapshot<'a>,
    selected: Selected<'s, 'a>,
    history: &'s History,
    actions: Vec<Action>,
}

impl<'s, 'a> Claim<'s, 'a> {
    fn new(snapshot: &'s Snapshot<'a>, selector: &'s Selector, history: &'s History) -> Self {
        Self {
            snapshot,
            selected: Selected::by(Some(selector)),
            history,
            actions: Vec::new(),
        }
    }

    /// Is the pod ours, or ours from now on? Notes what has to be written about it.
    fn takes(&mut self, pod: &'a PodView) -> bool {
        let matches = self.selected.has(&pod.labels);
        let (name, uid, object) = (|| Arc::clone(&pod.name), pod.uid, OwnedObject::Pod);
        match pod.controller {
            Some(controller) if controller.uid != self.snapshot.daemonset.uid => return false,
            Some(_) if matches => {}
            Some(_) => {
                let name = name();
                self.actions.push(Action::Release { object, name, uid });
                return false;
            }
            None if matches && self.snapshot.may_adopt && !pod.is_terminating() => {
                let name = name();
                self.actions.push(Action::Adopt { object, name, uid });
            }
            None => return false,
        }
        let is_merged = |hash: &str| self.history.merged.iter().any(|merged| **merged == *hash);
        if !self.history.merged.is_empty() && pod.revision_hash().is_some_and(is_merged) {
            let (name, hash) = (name(), Arc::clone(&self.history.target));
            self.actions.push(Action::RelabelPod { name, uid, hash });
        }
        true
    }
}

/// One decision under way.
struct Turn<'s, 'a> {
    snapshot: &'s Snapshot<'a>,
    history: &'s History,
    board: Board<'s>,
    spots: Rc<Vec<Spot<'a>>>,
    desired: u32,
    budget: Result<RollingBudget, &'static str>,
    creates: Vec<NodeSlot>,
    deletes: Vec<(Row<'s>, DeleteReason)>,
    /// Pods created, and pods deleted, in one pass at most. Units: pods.
    burst: usize,
    /// Pods that a hook holds from their deletion.
    held: BTreeSet<Uid>,
    /// Writes of pods that stay, beside those of the rollout.
    patches: Vec<Action>,
    /// What keeps the outdated pods of nodes that take no part in the rollout.
    kept: BTreeMap<NodeSlot, Reason>,
    /// Nodes that miss a pod and get none, as the partition says. Units: nodes.
    n_withheld: u32,
    /// Was there more to do than one pass does?
    is_cut_short: bool,
    events: Vec<Event>,
    /// What was known of failed pods, by node, as far as it still counts.
    failed_before: Vec<FailedPods>,
    failed_pods: Vec<FailedPods>,
    wake_at: Option<Timestamp>,
    /// Unavailable pods, those that this plan takes down included. Units: pods.
    unavailable: u32,
    /// Surge pods, those that this plan creates included. Units: pods.
    surged: u32,
}

/// A node that exists, and what it may run.
#[derive(Clone, Copy)]
struct Spot<'a> {
    node: &'a NodeView,
    slot: NodeSlot,
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
                slot: node.slot,
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
        let advanced = snapshot.daemonset.advanced.as_deref();
        Self {
            snapshot,
            history,
            board,
            spots: Rc::new(spots),
            desired,
            budget: kruise::checked(advanced, budget, desired),
            burst: kruise::burst(advanced, desired),
            held: BTreeSet::new(),
            patches: Vec::new(),
            kept: BTreeMap::new(),
            n_withheld: 0,
            creates: Vec::new(),
            deletes: Vec::new(),
            is_cut_short: false,
            events: Vec::new(),
            failed_before: manage::failed_before(snapshot),
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
        self.wake_at = earlier(self.wake_at, Some(at));
    }

    /// No more than the burst in one pass; the rest comes with the next, which follows at once.
    fn cut_short(&mut self) {
        if self.creates.len() > self.burst || self.deletes.len() > self.burst {
            self.is_cut_short = true;
            self.creates.truncate(self.burst);
            self.deletes.truncate(self.burst);
        }
    }

    fn finish(mut self, mut plan: Plan) -> Plan {
        let status = self.status();
        plan.progress = Progress {
            target: Some(Arc::clone(&self.history.target)),
            pods: self.desired,
            updated: status.updated_number_scheduled,
            frozen: 0,
            unavailable: self.unavailable,
            limit: self.budget.map_or(0, |budget| budget.max_unavailable),
        };
        let ways = self.ways();
        let stalled = self.carry_on();
        plan.waiting = self.explain(&ways, &stalled);
        plan.status = (status != self.snapshot.daemonset.status).then_some(status);
        let creates = self.creates.iter().map(|node| Action::CreatePod {
            node: *node,
            hash: Arc::clone(&self.history.target),
        });
        plan.actions.extend(creates);
        plan.events.extend(ways.not_as_asked(self.deletes.iter()));
        plan.actions.extend(self.touch(&ways));
        plan.events.append(&mut self.events);
        plan.failed_pods = self.remembered();
        let now = self.snapshot.now;
        let wake_at = earlier(self.wake_at, self.is_cut_short.then_some(now));
        plan.requeue_after = wake_at.map(|at| until(now, at));
        plan
    }
}
