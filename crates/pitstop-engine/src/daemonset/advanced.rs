//! AdvancedRollingUpdate: replaces outdated pods on the nodes that can be reached, and catches up the others when they
//! return.
//!
//! It runs beside the DaemonSet's own controller, which creates the pods and writes the revisions, so it only deletes.
//! Rely: that controller recreates a deleted pod at the newest revision. Guarantee: S1, S2, S3, S7; every delete names
//! a uid.
//!
//! Source: daemonset.md C3-C7.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pitstop_api::view::{DaemonSetView, NodeSlot, NodeView, PodView, StrategyType};
use pitstop_api::{keys, reasons};

use super::board::{Board, Row};
use super::eligibility::Eligibility;
use super::strategy::{self, Model};
use super::{BURST, add, count, delete, earlier, ota, preheat, until};
use crate::availability::available_at;
use crate::budget::{self, Annotated};
use crate::plan::{DeleteReason, Event, Plan, Progress, Reason};
use crate::revision::{self, Current};
use crate::snapshot::Snapshot;

mod explain;
mod ledger;

pub use ledger::retire;

/// How long to wait for a revision that the DaemonSet's own controller has not written yet.
///
/// Units: seconds. Source: daemonset.md C3.4.
const REVISION_RETRY: Duration = Duration::from_secs(5);

/// Is this node passed over?
///
/// **A NotReady node costs no budget**, and its pod is not touched, whatever state the pod is in: old, new, terminating
/// or missing. When the node returns it is looked at like any other, and caught up. This is invariant S3.
///
/// A node whose condition is True already, but whose taint of a node that is away still keeps a successor from it, is not
/// back yet: its pod would go, nothing would come, and nothing would count. The taint goes within seconds.
///
/// Source: daemonset.md C5.3, A2.
fn is_passed_over(node: &NodeView, eligibility: &Eligibility) -> bool {
    !node.is_ready() || eligibility.is_returning(node)
}

/// Does this DaemonSet concern this controller at all?
pub fn is_activated(daemonset: &DaemonSetView) -> bool {
    let has = |key| daemonset.annotations.contains_key(key);
    has(keys::OPENYURT_UPDATE_STRATEGY)
        || (has(keys::OPENYURT_UPGRADE_STRATEGY_TYPO) && daemonset.strategy.kind == StrategyType::OnDelete)
}

/// Decides which pods of a DaemonSet under AdvancedRollingUpdate are replaced now.
///
/// A DaemonSet that asks for no model, or asks in a malformed way, gets the warnings and no action.
pub fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let daemonset = snapshot.daemonset;
    if daemonset.deleted_at.is_some() {
        return Plan {
            waiting: super::all_pods(snapshot, &Reason::WorkloadTerminating),
            ..Plan::default()
        };
    }
    let reading = strategy::read(daemonset);
    let mut plan = Plan {
        events: reading.events,
        ..Plan::default()
    };
    if reading.model == Model::Native {
        return plan;
    }
    let Some(current) = revision::current(daemonset, &snapshot.revisions) else {
        plan.waiting = super::all_pods(snapshot, &Reason::RevisionUnknown);
        plan.requeue_after = Some(REVISION_RETRY);
        return plan;
    };
    Turn::new(snapshot, &current, reading.model).decide(plan)
}

/// Is the pod at the target? Its hash label says so; only a pod without one is judged by its generation, since
/// generations start again when a DaemonSet is recreated over its pods. Source: daemonset.md C3.6.
fn is_at_target(snapshot: &Snapshot<'_>, current: &Current, pod: &PodView) -> bool {
    match pod.revision_hash() {
        Some(hash) => current.accepted.iter().any(|accepted| **accepted == *hash),
        None => pod
            .template_generation()
            .is_some_and(|g| Some(g) == snapshot.daemonset.template_generation()),
    }
}

/// Was the pod marked not ready while its node was away, and not refreshed by its kubelet since?
///
/// Such a pod really runs. Without this rule, nodes that return together would all lose theirs at once.
/// Source: daemonset.md C5.4.
fn is_stale(pod: &PodView, node: &NodeView) -> bool {
    let not_ready_since = pod
        .ready
        .filter(|ready| !ready.is_true)
        .and_then(|ready| ready.since);
    not_ready_since
        .zip(node.ready_changed_at())
        .is_some_and(|(pod, node)| pod <= node)
}

/// What the pods of a node mean for the rollout. Source: daemonset.md C5.4.
enum Class<'s> {
    /// Nothing to do and nothing that counts.
    Fine,
    /// The node is passed over.
    Frozen,
    /// Counts as unavailable, and until when, where only time has to pass.
    Unavailable(Option<Timestamp>),
    /// Serves nobody at an old revision: counts, and goes now.
    Broken(Row<'s>),
    /// Its DELETE was sent and not answered: counts, and is deleted again before any other, when the budget has room.
    InDoubt(Row<'s>),
    /// Runs at an old revision, but not for `minReadySeconds` yet: counts, and goes when the budget has room.
    Settling(Row<'s>),
    /// Serves at an old revision: goes when the budget has room.
    Candidate(Row<'s>),
}

/// A node that exists and has a pod, or should.
#[derive(Clone, Copy)]
struct Spot<'a> {
    node: &'a NodeView,
    slot: NodeSlot,
    should_run: bool,
    is_passed_over: bool,
}

/// All nodes, sorted by what they mean.
#[derive(Default)]
struct Tally<'s> {
    unavailable: u32,
    frozen: u32,
    updated: u32,
    in_doubt: Vec<Row<'s>>,
    broken: Vec<Row<'s>>,
    settling: Vec<Row<'s>>,
    candidates: Vec<Row<'s>>,
    wake_at: Option<Timestamp>,
}

impl Tally<'_> {
    /// How many may be taken down although they count as down already.
    fn n_settling(&self) -> u32 {
        count(self.in_doubt.iter().chain(&self.settling))
    }
}

/// One decision under way.
struct Turn<'s, 'a> {
    snapshot: &'s Snapshot<'a>,
    current: &'s Current,
    model: Model,
    board: Board<'s>,
    spots: Vec<Spot<'a>>,
}

/// What came of it, as far as it explains why pods wait.
struct Outcome<'s> {
    deletes: Vec<(Row<'s>, DeleteReason)>,
    /// What keeps every pod of the DaemonSet from being touched.
    blocked: Option<Reason>,
    is_cut_short: bool,
    used: u32,
    limit: u32,
}

impl<'s, 'a: 's> Turn<'s, 'a> {
    fn new(snapshot: &'s Snapshot<'a>, current: &'s Current, model: Model) -> Self {
        let is_new = |pod: &PodView| is_at_target(snapshot, current, pod);
        let board = Board::new(snapshot, super::owned_pods(snapshot), is_new);
        let eligibility = Eligibility::of(snapshot.daemonset);
        let spots = snapshot.nodes.iter().map(|node| Spot {
            node,
            slot: node.slot,
            should_run: eligibility.of_node(node).should_run,
            is_passed_over: is_passed_over(node, &eligibility),
        });
        let spots = spots
            .filter(|spot| spot.should_run || board.on(spot.slot).next().is_some())
            .collect();
        Self {
            snapshot,
            current,
            model,
            board,
            spots,
        }
    }

    fn classify(&self, spot: Spot<'a>) -> Class<'s> {
        if spot.is_passed_over {
            return Class::Frozen;
        }
        let slot = spot.slot;
        let mut live = self.board.on(slot).filter(|row| !row.is_terminating).copied();
        let is_created = self.board.created_on(slot).next().is_some();
        let row = match (live.next(), live.next(), is_created) {
            (Some(row), None, false) => row,
            (None, _, _) if !spot.should_run && !is_created && self.board.on(slot).next().is_none() => {
                return Class::Fine;
            }
            _ => return Class::Unavailable(None),
        };
        if row.is_in_doubt {
            return if row.is_new {
                Class::Unavailable(None)
            } else {
                Class::InDoubt(row)
            };
        }
        match (row.is_new, row.is_available) {
            (true, true) => Class::Fine,
            (true, false) => {
                Class::Unavailable(available_at(row.pod, self.snapshot.daemonset.min_ready_seconds))
            }
            (false, true) => Class::Candidate(row),
            (false, false) if row.pod.is_ready() => Class::Settling(row),
            (false, false) if is_stale(row.pod, spot.node) => Class::Candidate(row),
            (false, false) => Class::Broken(row),
        }
    }

    fn tally(&self) -> Tally<'s> {
        let mut tally = Tally::default();
        for spot in &self.spots {
            let mut rows = self.board.on(spot.slot);
            add(
                &mut tally.updated,
                rows.any(|row| row.is_new && !row.is_terminating),
            );
            match self.classify(*spot) {
                Class::Fine => {}
                Class::Frozen => add(&mut tally.frozen, true),
                Class::Unavailable(until) => {
                    add(&mut tally.unavailable, true);
                    tally.wake_at = earlier(tally.wake_at, until);
                }
                Class::Broken(row) => {
                    add(&mut tally.unavailable, true);
                    tally.broken.push(row);
                }
                Class::InDoubt(row) => tally.in_doubt.push(row),
                Class::Settling(row) => {
                    let until = available_at(row.pod, self.snapshot.daemonset.min_ready_seconds);
                    tally.wake_at = earlier(tally.wake_at, until);
                    tally.settling.push(row);
                }
                Class::Candidate(row) => tally.candidates.push(row),
            }
        }
        tally
    }

    fn decide(self, mut plan: Plan) -> Plan {
        let n = count(self.spots.iter());
        let budget = self.budget(n, &mut plan.events);
        let tally = self.tally();
        let (unavailable, frozen, updated) = (
            tally.unavailable.saturating_add(tally.n_settling()),
            tally.frozen,
            tally.updated,
        );
        let wake_at = tally.wake_at;
        let outcome = self.choose(tally, budget);
        plan.progress = Progress {
            target: Some(Arc::clone(&self.current.target)),
            pods: n,
            updated,
            frozen,
            unavailable,
            limit: outcome.limit,
        };
        plan.events.extend(self.progress_event(&plan.progress, &outcome));
        plan.waiting = self.explain(&outcome);
        if self.model != Model::Invalid {
            let is_at_target = |pod: &PodView| is_at_target(self.snapshot, self.current, pod);
            plan.actions = ota::conditions(self.snapshot, self.current, self.model, is_at_target);
            let (actions, events) = preheat::steps(self.snapshot, self.current);
            plan.actions.extend(actions);
            plan.events.extend(events);
        }
        let deletes = outcome.deletes.iter();
        plan.actions
            .extend(deletes.map(|(row, why)| delete(row.pod, *why)));
        let now = self.snapshot.now;
        let wake_at = earlier(wake_at, outcome.is_cut_short.then_some(now));
        plan.requeue_after = wake_at.map(|at| until(now, at));
        plan
    }

    /// How many pods may be unavailable; `None` when it cannot be read. Source: daemonset.md C2.
    fn budget(&self, n: u32, events: &mut Vec<Event>) -> Option<Annotated> {
        let daemonset = self.snapshot.daemonset;
        let raw = daemonset.annotations.get(keys::OPENYURT_MAX_UNAVAILABLE);
        let raw = raw.map(String::as_str);
        let budget = budget::annotated(raw, n);
        if self.model != Model::AdvancedRollingUpdate {
            return budget.ok();
        }
        match (raw, &budget) {
            (Some(raw), Ok(budget)) if budget.zero_ignored => {
                let used = budget.max_unavailable;
                events.push(strategy::zero_max_unavailable(daemonset, raw, used));
            }
            (Some(raw), Err(_)) => events.push(strategy::invalid_max_unavailable(daemonset, raw)),
            _ => {}
        }
        budget.ok()
    }

    /// What keeps every pod of the DaemonSet from being touched.
    fn what_blocks(&self, is_budget_known: bool) -> Option<Reason> {
        let invalid = |field| Reason::Invalid {
            field: Cow::Borrowed(field),
        };
        match self.model {
            Model::Ota => Some(Reason::WaitingForOwner),
            Model::Invalid => Some(invalid(keys::OPENYURT_UPDATE_STRATEGY)),
            Model::AdvancedRollingUpdate | Model::Native if !is_budget_known => {
                Some(invalid(keys::OPENYURT_MAX_UNAVAILABLE))
            }
            Model::AdvancedRollingUpdate | Model::Native => {
                (!self.is_observed()).then_some(Reason::NotObserved)
            }
        }
    }

    /// Has the DaemonSet's own controller seen the current spec? Before that it might recreate the old template.
    /// Source: daemonset.md C3.5.
    fn is_observed(&self) -> bool {
        let daemonset = self.snapshot.daemonset;
        daemonset.status.observed_generation >= daemonset.generation
    }

    /// The pods whose owners asked for the target. Source: hub.md B4.
    fn requested(&self) -> Vec<(Row<'s>, DeleteReason)> {
        let rows = self.spots.iter().flat_map(|spot| self.board.on(spot.slot));
        rows.filter(|row| !row.is_terminating && !row.is_new)
            .filter(|row| ota::is_requested(row.pod, &self.current.target))
            .map(|row| (*row, DeleteReason::Requested))
            .collect()
    }

    /// The pods that go now. Source: daemonset.md C5.5.
    fn choose(&self, mut tally: Tally<'s>, budget: Option<Annotated>) -> Outcome<'s> {
        let limit = budget.map_or(0, |budget| budget.max_unavailable);
        let n_settling = tally.n_settling();
        let mut used = tally.unavailable.saturating_add(n_settling);
        let blocked = self.what_blocks(budget.is_some());
        let mut deletes = Vec::new();
        if self.model == Model::Ota && self.is_observed() {
            deletes = self.requested();
        }
        if blocked.is_none() {
            let room = budget::room(limit, tally.unavailable, n_settling);
            tally.candidates.truncate(room.available);
            used = used.saturating_add(count(tally.candidates.iter()));
            let broken = tally.broken.into_iter();
            deletes.extend(broken.map(|row| (row, DeleteReason::OutdatedAndUnavailable)));
            let settling = tally.in_doubt.into_iter().chain(tally.settling);
            let running = settling.take(room.settling).chain(tally.candidates);
            deletes.extend(running.map(|row| (row, DeleteReason::Outdated)));
        }
        let is_cut_short = deletes.len() > BURST;
        deletes.truncate(BURST);
        Outcome {
            deletes,
            blocked,
            is_cut_short,
            used,
            limit,
        }
    }

    /// A rollout is said to begin and to end, once for each revision. Source: daemonset.md, Better than upstream 3.
    fn progress_event(&self, progress: &Progress, outcome: &Outcome<'_>) -> Option<Event> {
        let is_first = self.snapshot.revisions.len() < 2;
        if self.model != Model::AdvancedRollingUpdate || outcome.blocked.is_some() || is_first {
            return None;
        }
        let target = &self.current.target;
        let Progress {
            pods: nodes, frozen, ..
        } = *progress;
        let n_left = nodes.saturating_sub(progress.updated);
        let (stage, message) = match (n_left, frozen) {
            (0, _) if progress.unavailable > 0 => return None,
            (0, _) => ("end", format!("revision {target}: all {nodes} nodes updated")),
            (_, 0) => (
                "begin",
                format!("revision {target}: updating {n_left} of {nodes} nodes"),
            ),
            _ => (
                "begin",
                format!(
                    "revision {target}: updating {n_left} of {nodes} nodes, {frozen} not ready, passed over and caught \
                     up when they return"
                ),
            ),
        };
        Some(Event {
            is_warning: false,
            reason: reasons::UPGRADE_PROGRESS,
            message: Cow::Owned(message),
            once_per: Some(format!("{}/{target}/{stage}", self.snapshot.daemonset.generation)),
        })
    }
}
