//! AdvancedRollingUpdate: replaces outdated pods on the nodes that can be reached, and catches up the others when they
//! return.
//!
//! It runs beside the DaemonSet's own controller, which creates the pods and writes the revisions, so it only deletes.
//! Rely: that controller recreates a deleted pod at the newest revision. Guarantee: S1, S2, S3, S7; every delete names
//! a uid.
//!
//! Source: daemonset.md C3-C7.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pitstop_api::view::{DaemonSetView, NodeSlot, NodeView, PodCondition, PodView, StrategyType, Uid};
use pitstop_api::{keys, reasons};

use super::board::{Board, Row};
use super::eligibility::Eligibility;
use super::in_place::updated_at;
use super::own_keys::{self, OwnKeys};
use super::strategy::{self, Model};
use super::{BURST, add, count, earlier, ota, preheat, until};
use crate::availability::{available_at, later};
use crate::budget::{self, Annotated};
use crate::plan::{Action, DeleteReason, Event, Plan, Progress, ProtectedBy, Reason};
use crate::revision::{self, Current};
use crate::snapshot::{Nodes, Snapshot};
use deadline::Standing;
use limits::{Picked, Pools};

mod deadline;
mod explain;
pub mod guard;
mod in_place;
mod ledger;
mod limits;
mod protection;

pub use ledger::retire;

/// How long to wait for a revision that the DaemonSet's own controller has not written yet.
///
/// Units: seconds. Source: daemonset.md C3.4.
const REVISION_RETRY: Duration = Duration::from_secs(5);
/// For how long a node that came back may still be starting its pods: a kubelet tries again what failed at most so long later.
///
/// Units: seconds. Source: the kubelet's `MaxContainerBackOff`.
const STARTING: i64 = 300;

/// Is this node passed over?
///
/// **A NotReady node costs no budget**, and its pod is not touched, whatever state the pod is in: old, new, terminating
/// or missing. When the node returns it is looked at like any other, and caught up. This is invariant S3.
///
/// A node whose condition is True already, but whose taint of a node that is away still keeps a successor from it, is not
/// back yet: its pod would go, nothing would come, and nothing would count. The taint goes within seconds.
///
/// A node on which somebody works is passed over in the same way, ready or not.
///
/// Source: daemonset.md C5.3, A2; users.md W15.
fn is_passed_over(node: &NodeView, eligibility: &Eligibility) -> bool {
    !node.is_ready() || eligibility.is_returning(node) || node.is_in_maintenance()
}

/// Does this DaemonSet concern this controller at all?
pub fn is_activated(daemonset: &DaemonSetView) -> bool {
    let has = |key| daemonset.annotations.contains_key(key);
    has(keys::OPENYURT_UPDATE_STRATEGY)
        || own_keys::has_any(daemonset)
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
    let (keys, told) = own_keys::read(daemonset, reading.model, snapshot.now);
    let mut plan = Plan {
        events: reading.events,
        ..Plan::default()
    };
    plan.events.extend(told);
    if reading.model == Model::Native {
        return plan;
    }
    let Some(current) = revision::current(daemonset, &snapshot.revisions) else {
        plan.waiting = super::all_pods(snapshot, &Reason::RevisionUnknown);
        plan.requeue_after = Some(REVISION_RETRY);
        return plan;
    };
    Turn::new(snapshot, &current, reading.model, keys).decide(plan)
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
/// Such a pod really runs. Without this rule, nodes that return together would all lose theirs at once. Whoever marks it
/// leaves its containers ready; a pod whose containers were not so when its node went away serves nobody, and counts.
/// Source: daemonset.md C5.4, which does not look at the containers.
fn is_stale(pod: &PodView, node: &NodeView) -> bool {
    let not_ready_since = pod
        .ready
        .filter(|ready| !ready.is_true)
        .and_then(|ready| ready.since);
    let was_marked = not_ready_since
        .zip(node.ready_changed_at())
        .is_some_and(|(pod, node)| pod <= node);
    was_marked && pod.are_containers_ready
}

/// Until when a pod that is not ready may only be starting again, since its node came back. Power that fails restarts all nodes
/// of a site at once: without this rule each would come back with a revision that serves nowhere yet.
fn starts_until(node: &NodeView, now: Timestamp) -> Option<Timestamp> {
    let until = later(node.ready_changed_at()?, STARTING);
    (now < until).then_some(until)
}

/// What keeps an outdated pod on a node that can be reached. Source: spec/README.md, `canary-nodes` and
/// `min-node-ready-seconds`.
fn held(node: &NodeView, keys: &OwnKeys, now: Timestamp) -> Option<Held> {
    if keys
        .canary_nodes
        .as_ref()
        .is_some_and(|nodes| !nodes.matches(&node.labels))
    {
        return Some(Held::Outside);
    }
    let settled_at = later(node.ready_changed_at()?, keys.min_node_ready_seconds.into());
    (keys.min_node_ready_seconds > 0 && now <= settled_at).then_some(Held::Unsettled(settled_at))
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
    /// At an old revision, and not for `minReadySeconds` yet, or being started by a node that came back: counts, and goes when
    /// the budget has room. Until when, where only time has to pass.
    Settling(Row<'s>, Option<Timestamp>),
    /// Serves at an old revision: goes when the budget has room.
    Candidate(Row<'s>),
    /// At an old revision, and one of our own keys keeps it there.
    Held {
        by: Held,
        /// Does it count as down?
        counts: bool,
        /// Until when, where only time has to pass.
        until: Option<Timestamp>,
    },
}

/// What keeps an outdated pod where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// `pitstop.io/canary-nodes` does not select its node.
    Outside,
    /// Its node is not ready for long enough yet.
    Unsettled(Timestamp),
    /// `pitstop.io/update-protection`: it works.
    Working,
}

impl Held {
    fn reason(self) -> Reason {
        match self {
            Self::Outside => Reason::Canary,
            Self::Unsettled(until) => Reason::NodeUnsettled { until },
            Self::Working => Reason::Protected {
                by: ProtectedBy::Work,
            },
        }
    }
}

/// A node that exists and has a pod, or should.
#[derive(Clone, Copy)]
struct Spot<'a> {
    node: &'a NodeView,
    slot: NodeSlot,
    should_run: bool,
    is_passed_over: bool,
    /// What keeps an outdated pod there.
    held: Option<Held>,
}

/// All nodes, sorted by what they mean.
#[derive(Default)]
struct Tally<'s> {
    unavailable: u32,
    frozen: u32,
    updated: u32,
    /// Nodes whose pod serves at the target, among those that can be reached.
    serving: u32,
    /// Nodes whose pods are all outdated, passed over or not.
    old: u32,
    /// Of those: outside the canary.
    outside: u32,
    nodes: Option<Nodes<'s>>,
    pools: Pools<'s>,
    standing: Standing,
    /// Outdated pods that only wait for their images.
    n_pulling: u32,
    /// Outdated pods that would have to stay, and cannot be updated so.
    n_refused: u32,
    /// Outdated pods that become new without a container being touched.
    free: Vec<Row<'s>>,
    in_doubt: Vec<Row<'s>>,
    broken: Vec<Row<'s>>,
    settling: Vec<Row<'s>>,
    candidates: Vec<Row<'s>>,
    wake_at: Option<Timestamp>,
}

/// One decision under way.
struct Turn<'s, 'a> {
    snapshot: &'s Snapshot<'a>,
    current: &'s Current,
    model: Model,
    keys: OwnKeys,
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
    /// Is that less than `max-unavailable` allows?
    is_paced: bool,
    /// What keeps single pods, where it is not the budget.
    kept: BTreeMap<Uid, Reason>,
}

impl<'s, 'a: 's> Turn<'s, 'a> {
    fn new(snapshot: &'s Snapshot<'a>, current: &'s Current, model: Model, keys: OwnKeys) -> Self {
        let is_new = |pod: &PodView| is_at_target(snapshot, current, pod);
        let board = Board::new(snapshot, super::owned_pods(snapshot), is_new);
        let eligibility = Eligibility::of(snapshot.daemonset);
        let spots = snapshot.nodes.iter().map(|node| Spot {
            node,
            slot: node.slot,
            should_run: eligibility.of_node(node).should_run,
            is_passed_over: is_passed_over(node, &eligibility),
            held: held(node, &keys, snapshot.now),
        });
        let spots = spots
            .filter(|spot| spot.should_run || board.on(spot.slot).next().is_some())
            .collect();
        Self {
            snapshot,
            current,
            model,
            keys,
            board,
            spots,
        }
    }

    /// What keeps an outdated pod where it is, if it is not the budget.
    fn held(&self, spot: Spot<'a>, row: &Row<'_>) -> Option<Held> {
        spot.held.or_else(|| self.protects(row).then_some(Held::Working))
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
        let held = || self.held(spot, &row);
        if row.is_in_doubt {
            return if row.is_new || held().is_some() {
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
            (false, is_available) if let Some(held) = held() => {
                let counts = !is_available && !is_stale(row.pod, spot.node);
                let min_ready = self.snapshot.daemonset.min_ready_seconds;
                let until = available_at(row.pod, min_ready).filter(|_| counts);
                Class::Held {
                    by: held,
                    counts,
                    until,
                }
            }
            (false, true) => Class::Candidate(row),
            (false, false) if row.pod.is_ready() => {
                let min_ready = self.snapshot.daemonset.min_ready_seconds;
                Class::Settling(row, available_at(row.pod, min_ready))
            }
            (false, false) if is_stale(row.pod, spot.node) => Class::Candidate(row),
            (false, false) => match starts_until(spot.node, self.snapshot.now) {
                Some(until) => Class::Settling(row, Some(until)),
                None => Class::Broken(row),
            },
        }
    }

    fn tally(&self) -> Tally<'s> {
        let mut tally = Tally {
            nodes: Some(self.snapshot.nodes),
            pools: Pools::new(self.keys.max_unavailable_per_pool),
            ..Tally::default()
        };
        for spot in &self.spots {
            let mut live = self.board.on(spot.slot).filter(|row| !row.is_terminating);
            let (is_there, has_new) = (live.clone().next().is_some(), live.any(|row| row.is_new));
            add(&mut tally.updated, has_new);
            let is_old = is_there && !has_new;
            add(&mut tally.old, is_old);
            add(&mut tally.outside, is_old && spot.held == Some(Held::Outside));
            tally.pools.add_node(spot.node);
            let standing = &mut tally.standing;
            standing.moved_at = standing.moved_at.max(self.moved_at(*spot));
            match self.classify(*spot) {
                Class::Fine => add(&mut tally.serving, has_new),
                Class::Frozen => {
                    add(&mut tally.frozen, true);
                    add(&mut standing.n_excluded, !has_new);
                }
                Class::Held { by, counts, until } => {
                    tally.wake_at = earlier(tally.wake_at, until);
                    if let Held::Unsettled(until) = by {
                        tally.wake_at = earlier(tally.wake_at, Some(until));
                    }
                    add(&mut standing.n_outside, by == Held::Outside);
                    add(&mut standing.n_protected, by == Held::Working);
                    add(&mut standing.n_excluded, matches!(by, Held::Unsettled(_)));
                    if counts {
                        add(&mut tally.unavailable, true);
                        tally.pools.add_unavailable(spot.node);
                    }
                }
                Class::Unavailable(until) => {
                    add(&mut tally.unavailable, true);
                    tally.pools.add_unavailable(spot.node);
                    tally.wake_at = earlier(tally.wake_at, until);
                }
                Class::Broken(row) => {
                    add(&mut tally.unavailable, true);
                    tally.pools.add_unavailable(spot.node);
                    tally.broken.push(row);
                }
                Class::InDoubt(row) => {
                    tally.pools.add_settling(spot.node);
                    tally.in_doubt.push(row);
                }
                Class::Settling(row, until) => {
                    tally.pools.add_settling(spot.node);
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
        let mut tally = self.tally();
        let (unavailable, frozen, updated) = (
            tally.unavailable.saturating_add(tally.n_settling()),
            tally.frozen,
            tally.updated,
        );
        let partition = self.keys.partition.map(|partition| partition.scaled_down(n));
        let mut kept = partition.map_or_else(BTreeMap::new, |partition| tally.keep(partition));
        let n_kept = count(kept.iter());
        let n_serving = tally.old.saturating_sub(count(tally.broken.iter()));
        let staying = Staying {
            outside: tally.outside,
            kept: partition
                .map_or(0, |partition| partition.min(n_serving))
                .saturating_sub(tally.outside),
        };
        let ways = self.ways();
        tally.part(&ways, &mut kept);
        let limit = budget.map_or(0, |budget| budget.max_unavailable);
        let asked = self.wait_for_images(&mut tally, limit, &mut kept);
        let (blocked, mut wake_at) = self.judge(&mut tally, budget.is_some(), n_kept, &mut plan);
        plan.actions
            .extend(asked.into_iter().filter(|_| blocked.is_none()));
        let outcome = self.choose(tally, budget, blocked, kept);
        plan.progress = Progress {
            target: Some(Arc::clone(&self.current.target)),
            pods: n,
            updated,
            frozen,
            unavailable,
            limit: outcome.limit,
        };
        plan.events
            .extend(self.progress_event(&plan.progress, &outcome, staying));
        let carried = self.carry_on(&outcome, &ways);
        wake_at = earlier(wake_at, carried.wake_at);
        plan.waiting = self.explain(&outcome, &ways, &carried);
        if self.model != Model::Invalid {
            let is_at_target = |pod: &PodView| is_at_target(self.snapshot, self.current, pod);
            let conditions = ota::conditions(self.snapshot, self.current, self.model, is_at_target);
            plan.actions.extend(conditions);
            let (actions, events) = preheat::steps(self.snapshot, self.current, self.keys.preheat);
            plan.actions.extend(actions);
            plan.events.extend(events);
        }
        plan.events.extend(Self::told(&ways, &outcome));
        plan.actions
            .extend(outcome.deletes.iter().filter_map(|touched| ways.touch(*touched)));
        plan.events.extend(carried.events);
        plan.actions.extend(carried.actions);
        let now = self.snapshot.now;
        let wake_at = earlier(wake_at, outcome.is_cut_short.then_some(now));
        plan.requeue_after = wake_at.map(|at| until(now, at));
        plan
    }

    /// What keeps every pod from being touched, and when to look again though nothing happens.
    fn judge(
        &self,
        tally: &mut Tally<'s>,
        is_budget_known: bool,
        n_kept: u32,
        plan: &mut Plan,
    ) -> (Option<Reason>, Option<Timestamp>) {
        let blocked = self.what_blocks(is_budget_known);
        if self.model != Model::AdvancedRollingUpdate {
            return (blocked, tally.wake_at);
        }
        let guard = self.guard(tally.old);
        plan.actions.extend(guard.actions);
        plan.events.extend(guard.event);
        // A guard that acts comes before what passes by itself.
        let passes = |reason: &Reason| *reason == Reason::NotObserved;
        let blocked = match blocked {
            Some(reason) if !passes(&reason) => Some(reason),
            other => guard.blocked.or(other),
        };
        let wake_at = earlier(tally.wake_at, guard.wake_at);
        let left = [
            &tally.in_doubt,
            &tally.broken,
            &tally.settling,
            &tally.candidates,
            &tally.free,
        ];
        let n_waiting = tally.n_pulling.saturating_add(tally.n_refused);
        let standing = Standing {
            hold: blocked.clone(),
            n_left: count(left.into_iter().flatten()).saturating_add(n_waiting),
            n_unavailable: tally.unavailable,
            n_kept,
            ..mem::take(&mut tally.standing)
        };
        let verdict = deadline::judge(self.snapshot, self.current, &self.keys, &standing, plan);
        (blocked.or(verdict.blocked), earlier(wake_at, verdict.wake_at))
    }

    /// Leaves only those to go whose images are on their nodes, where that is asked for. Returns what asks for the images of
    /// those whose turn comes next: twice as many as may be down at once, so that some are there when others are done.
    ///
    /// A node whose images cannot be had keeps its pod, and others go in its place. A pod that serves nobody waits for nothing.
    fn wait_for_images(
        &self,
        tally: &mut Tally<'s>,
        limit: u32,
        kept: &mut BTreeMap<Uid, Reason>,
    ) -> Vec<Action> {
        let (snapshot, current) = (self.snapshot, self.current);
        let is_wanted = self.keys.preheat && snapshot.pulls.is_some();
        if !is_wanted || self.model != Model::AdvancedRollingUpdate {
            return Vec::new();
        }
        let mut n_ahead = limit.saturating_mul(2);
        let mut asked = Vec::new();
        tally.wait_for(kept, |pod| {
            let images = preheat::images(snapshot, current, pod);
            if let preheat::Images::Failed(until) = images {
                let failed_until = Some(until);
                return Some((Some(Reason::PullingImages { failed_until }), Some(until)));
            }
            let is_next = n_ahead > 0;
            n_ahead = n_ahead.saturating_sub(1);
            let waits = Reason::PullingImages { failed_until: None };
            match images {
                preheat::Images::There => None,
                preheat::Images::NotAskedFor if is_next => {
                    asked.push(preheat::ask(pod, current, snapshot.now));
                    Some((Some(waits), None))
                }
                preheat::Images::NotAskedFor => Some((Some(Reason::QueuedForImages), None)),
                preheat::Images::Pulling | preheat::Images::Failed(_) => Some((Some(waits), None)),
            }
        });
        asked
    }

    /// Does the rollout cost nodes?
    fn guard(&self, n_old: u32) -> guard::Verdict {
        let snapshot = self.snapshot;
        let written = snapshot.daemonset.conditions.get(reasons::NODES_LOST);
        if n_old == 0 && !written.is_some_and(PodCondition::is_true) {
            return guard::Verdict::default();
        }
        let mut sight = guard::Sight::new(snapshot, self.current, &self.keys);
        // Whoever works on a node takes it down when he likes.
        for spot in self.spots.iter().filter(|spot| !spot.node.is_in_maintenance()) {
            let mut new = self
                .board
                .on(spot.slot)
                .filter(|row| row.is_new && !row.is_terminating);
            sight.add(spot.node, new.next().map(|row| row.pod));
        }
        sight.judge(snapshot, &self.keys, n_old)
    }

    /// When a pod of the target was made on a node, or became available there, last.
    fn moved_at(&self, spot: Spot<'a>) -> Option<Timestamp> {
        self.keys.progress_deadline_seconds?;
        let min_ready = self.snapshot.daemonset.min_ready_seconds;
        self.board
            .on(spot.slot)
            .filter_map(|row| {
                if !row.is_new {
                    // Its images came: that is a move too.
                    let pulled = row.pod.image_ready().filter(|told| told.is_true());
                    return pulled
                        .filter(|told| told.revision() == &*self.current.target)?
                        .since;
                }
                let available_at = available_at(row.pod, min_ready).filter(|_| row.is_available);
                let updated_at = updated_at(row.pod);
                Some(available_at.map_or(updated_at, |at| at.max(updated_at)))
            })
            .max()
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

    /// How many of these may be unavailable when so many serve at the target. Each that does lets one more go, so that rounds of
    /// pods that take equally long are of 1, 2, 4, 8, ... pods; whatever is down comes back at the target, and counts.
    ///
    /// Units: pods. Source: users.md section 5, 19, and W14.
    fn paced(&self, most: u32, serving: u32) -> u32 {
        if self.keys.is_adaptive {
            most.min(serving.saturating_add(1))
        } else {
            most
        }
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
                if let Some(key) = self.keys.malformed {
                    return Some(invalid(key));
                }
                let paused = self.keys.paused.then_some(Reason::Paused);
                let blocked = paused.or_else(|| self.too_few_work());
                blocked.or_else(|| (!self.is_observed()).then_some(Reason::NotObserved))
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
    fn choose(
        &self,
        tally: Tally<'s>,
        budget: Option<Annotated>,
        blocked: Option<Reason>,
        mut kept: BTreeMap<Uid, Reason>,
    ) -> Outcome<'s> {
        let most = budget.map_or(0, |budget| budget.max_unavailable);
        let limit = self.paced(most, tally.serving);
        let used = tally.unavailable.saturating_add(tally.n_settling());
        let mut picked = Picked::default();
        if blocked.is_none() {
            picked = tally.pick(limit);
        } else if self.model == Model::Ota && self.is_observed() {
            picked.deletes = self.requested();
        }
        let mut deletes = picked.deletes;
        let is_cut_short = deletes.len() > BURST;
        deletes.truncate(BURST);
        kept.append(&mut picked.kept);
        Outcome {
            deletes,
            blocked,
            is_cut_short,
            used: used.saturating_add(picked.n_taken_down),
            limit,
            is_paced: limit < most,
            kept,
        }
    }

    /// A rollout is said to begin and to end, once for each revision, and for each part of it that a canary or a partition lets
    /// go. Source: daemonset.md, Better than upstream 3.
    fn progress_event(&self, progress: &Progress, outcome: &Outcome<'_>, staying: Staying) -> Option<Event> {
        let is_first = self.snapshot.revisions.len() < 2;
        if self.model != Model::AdvancedRollingUpdate || outcome.blocked.is_some() || is_first {
            return None;
        }
        let target = &self.current.target;
        let Progress {
            pods: nodes, frozen, ..
        } = *progress;
        let n_left = nodes.saturating_sub(progress.updated);
        let n_due = n_left
            .saturating_sub(staying.outside)
            .saturating_sub(staying.kept);
        let rest = staying.words();
        let (stage, text) = match (n_due, frozen) {
            (0, _) if progress.unavailable > 0 || progress.updated == 0 => return None,
            (0, _) if n_left == 0 => ("end", format!("all {nodes} nodes updated")),
            (0, _) => (
                "end",
                format!("{} of {nodes} nodes updated{rest}", progress.updated),
            ),
            (_, 0) => ("begin", format!("updating {n_due} of {nodes} nodes{rest}")),
            _ => (
                "begin",
                format!(
                    "updating {n_due} of {nodes} nodes{rest}, {frozen} not ready, passed over and caught up when they return"
                ),
            ),
        };
        let message = format!("revision {target}: {text}");
        let part = |key| {
            self.snapshot
                .daemonset
                .annotations
                .get(key)
                .filter(|_| n_left > 0)
        };
        let part = (part(keys::CANARY_NODES), part(keys::PARTITION));
        Some(Event {
            is_warning: false,
            reason: reasons::UPGRADE_PROGRESS,
            message: Cow::Owned(message),
            once_per: Some(format!(
                "{}/{target}/{stage}/{part:?}",
                self.snapshot.daemonset.generation
            )),
        })
    }
}

/// Nodes whose outdated pods stay as long as the canary and the partition are as they are, passed over or not.
#[derive(Clone, Copy)]
struct Staying {
    outside: u32,
    /// By the partition, beyond those outside the canary.
    kept: u32,
}

impl Staying {
    fn words(self) -> String {
        let outside = (self.outside > 0).then(|| format!(", {} outside the canary", self.outside));
        let kept = (self.kept > 0).then(|| format!(", {} kept by partition", self.kept));
        [outside, kept].into_iter().flatten().collect()
    }
}
