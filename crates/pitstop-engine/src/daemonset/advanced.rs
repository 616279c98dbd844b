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

use jiff::{SignedDuration, Timestamp};
use pitstop_api::view::{NodeView, PodView, StrategyType};
use pitstop_api::{keys, reasons};

use super::BURST;
use super::board::{Board, Going, Row};
use super::eligibility::Eligibility;
use super::native::{delete, until};
use super::strategy::{self, Model};
use crate::availability::{available_at, is_available};
use crate::budget;
use crate::plan::{DeleteReason, Event, Plan, Progress, Reason, Waiting};
use crate::revision::{self, Current};
use crate::snapshot::{InFlight, Nodes, Snapshot};

/// How long to wait for a revision that the DaemonSet's own controller has not written yet.
///
/// Units: seconds. Source: daemonset.md C3.4.
const REVISION_RETRY: Duration = Duration::from_secs(5);

/// How long a delete of ours counts although nothing of it is seen.
///
/// Units: seconds. Source: daemonset.md C5.7.
const LEDGER_SECONDS: i64 = 300;

/// Is this node passed over?
///
/// **A NotReady node costs no budget**, and its pod is not touched, whatever state the pod is in: old, new, terminating
/// or missing. When the node returns it is looked at like any other, and caught up. This is invariant S3.
///
/// A node whose condition is True already, but whose taint of a node that is away still keeps a successor from it, is not
/// back yet: its pod would go, nothing would come, and nothing would count. The taint goes within seconds.
///
/// Source: daemonset.md C5.3, A2.
fn is_passed_over(spot: Spot<'_>) -> bool {
    !spot.node.is_ready() || spot.is_returning
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
    match reading.model {
        Model::Native => return plan,
        Model::Invalid => {
            let field = Cow::Borrowed(keys::OPENYURT_UPDATE_STRATEGY);
            plan.waiting = super::all_pods(snapshot, &Reason::Invalid { field });
            return plan;
        }
        Model::AdvancedRollingUpdate | Model::Ota => {}
    }
    let Some(current) = revision::current(daemonset, &snapshot.revisions) else {
        plan.waiting = super::all_pods(snapshot, &Reason::RevisionUnknown);
        plan.requeue_after = Some(REVISION_RETRY);
        return plan;
    };
    Turn::new(snapshot, &current).decide(reading.model, plan)
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

/// Does an unavailable pod serve all the same? It is ready and merely inside `minReadySeconds`, or its state is stale.
///
/// A second template soon after the first must not take down every pod that has just started: users.md W3, W4. Differs
/// from upstream, which replaces them at once.
fn serves(pod: &PodView, node: &NodeView) -> bool {
    pod.is_ready() || is_stale(pod, node)
}

/// What is on a node counts for, or against, the rollout.
enum Class<'s> {
    /// Nothing to do and nothing that counts.
    Fine,
    /// Not ready: passed over.
    Frozen,
    /// Counts as unavailable.
    Unavailable,
    /// Serves nobody at an old revision: goes now, and counts.
    Replace(Row<'s>),
    /// Goes when the budget has room.
    Candidate(Row<'s>),
}

/// The nodes of a DaemonSet, counted and sorted by what is on them.
#[derive(Default)]
struct Tally<'s> {
    now: Vec<Row<'s>>,
    candidates: Vec<Row<'s>>,
    unavailable: u32,
    frozen: u32,
    updated: u32,
}

struct Turn<'s, 'a> {
    snapshot: &'s Snapshot<'a>,
    current: &'s Current,
    board: Board<'s>,
    /// Nodes that exist and have a pod, or should.
    spots: Vec<Spot<'a>>,
    wake_at: Option<Timestamp>,
}

#[derive(Clone, Copy)]
struct Spot<'a> {
    node: &'a NodeView,
    should_run: bool,
    /// Does nothing but a taint of a node that is away keep a pod from it?
    is_returning: bool,
}

impl<'s, 'a: 's> Turn<'s, 'a> {
    fn new(snapshot: &'s Snapshot<'a>, current: &'s Current) -> Self {
        let owned = |pod: &&PodView| pod.controller.is_some_and(|c| c.uid == snapshot.daemonset.uid);
        let pods: Vec<&'s PodView> = snapshot.pods.iter().copied().filter(owned).collect();
        let is_new = |pod: &PodView| is_at_target(snapshot, current, pod);
        let min_ready = snapshot.daemonset.min_ready_seconds;
        let available = |pod: &PodView| is_available(pod, min_ready, snapshot.now);
        let n_slots = snapshot.nodes.names.len();
        let board = Board::new(&pods, n_slots, &snapshot.in_flight, is_new, available);
        let eligibility = Eligibility::of(snapshot.daemonset);
        let spots = snapshot.nodes.iter().map(|node| Spot {
            node,
            should_run: eligibility.of_node(node).should_run,
            is_returning: eligibility.is_returning(node),
        });
        let spots = spots
            .filter(|spot| spot.should_run || board.on(spot.node.slot).next().is_some())
            .collect();
        Self {
            snapshot,
            current,
            board,
            spots,
            wake_at: None,
        }
    }

    fn classify(&self, spot: Spot<'a>) -> Class<'s> {
        if is_passed_over(spot) {
            return Class::Frozen;
        }
        let rows = self.board.on(spot.node.slot);
        let mut live = rows.clone().filter(|row| !row.is_terminating).copied();
        match (live.next(), live.next()) {
            (None, _) => {
                let counts = spot.should_run || rows.clone().next().is_some();
                if counts { Class::Unavailable } else { Class::Fine }
            }
            (Some(_), Some(_)) => Class::Unavailable,
            (Some(row), None) => match (row.is_new, row.is_available) {
                (true, true) => Class::Fine,
                (true, false) => Class::Unavailable,
                (false, true) => Class::Candidate(row),
                (false, false) if serves(row.pod, spot.node) => Class::Candidate(row),
                (false, false) => Class::Replace(row),
            },
        }
    }

    fn tally(&mut self) -> Tally<'s> {
        let mut tally = Tally::default();
        let add = |number: &mut u32, n: u32| *number = number.saturating_add(n);
        for spot in self.spots.clone() {
            let is_updated = |row: &Row<'_>| row.is_new && !row.is_terminating;
            let updated = self.board.on(spot.node.slot).any(is_updated);
            add(&mut tally.updated, u32::from(updated));
            match self.classify(spot) {
                Class::Fine => {}
                Class::Frozen => add(&mut tally.frozen, 1),
                Class::Unavailable => {
                    add(&mut tally.unavailable, 1);
                    self.wake_when_available(spot);
                }
                Class::Replace(row) => {
                    add(&mut tally.unavailable, 1);
                    tally.now.push(row);
                }
                Class::Candidate(row) => tally.candidates.push(row),
            }
        }
        tally
    }

    fn decide(mut self, model: Model, mut plan: Plan) -> Plan {
        let daemonset = self.snapshot.daemonset;
        let n = super::native::count(self.spots.iter());
        let raw = daemonset
            .annotations
            .get(keys::OPENYURT_MAX_UNAVAILABLE)
            .map(String::as_str);
        let budget = budget::annotated(raw, n);
        if let Ok(budget) = budget
            && budget.zero_ignored
        {
            let given = raw.unwrap_or_default();
            plan.events.push(strategy::zero_max_unavailable(
                daemonset,
                given,
                budget.max_unavailable,
            ));
        }
        let Tally {
            now,
            candidates,
            unavailable,
            frozen,
            updated,
        } = self.tally();
        let limit = budget.as_ref().map_or(0, |budget| budget.max_unavailable);
        let blocked = self.what_blocks(model, budget.is_err());
        let mut deletes: Vec<(Row<'s>, DeleteReason)> = Vec::new();
        if blocked.is_none() {
            let free = usize::try_from(limit.saturating_sub(unavailable)).unwrap_or_default();
            deletes.extend(
                now.into_iter()
                    .map(|row| (row, DeleteReason::OutdatedAndUnavailable)),
            );
            deletes.extend(
                candidates
                    .into_iter()
                    .take(free)
                    .map(|row| (row, DeleteReason::Outdated)),
            );
        } else if budget.is_err() && model == Model::AdvancedRollingUpdate {
            plan.events.push(strategy::invalid_max_unavailable(
                daemonset,
                raw.unwrap_or_default(),
            ));
        }
        let n_wanted = deletes.len();
        deletes.truncate(BURST);
        if n_wanted > BURST {
            self.wake_at = Some(self.snapshot.now);
        }
        let used = unavailable
            .saturating_add(super::native::count(deletes.iter()))
            .min(limit.max(unavailable));
        plan.waiting = self.explain(&deletes, blocked.as_ref(), used, limit, n_wanted > BURST);
        plan.actions = deletes.iter().map(|(row, why)| delete(row.pod, *why)).collect();
        plan.progress = Progress {
            target: Some(Arc::clone(&self.current.target)),
            nodes: n,
            updated,
            frozen,
            unavailable,
            limit,
        };
        if blocked.is_none() {
            plan.events.extend(self.progress_event(&plan.progress));
        }
        plan.requeue_after = self.wake_at.map(|at| until(self.snapshot.now, at));
        plan
    }

    /// What keeps every pod of the DaemonSet from being touched.
    fn what_blocks(&self, model: Model, malformed: bool) -> Option<Reason> {
        let daemonset = self.snapshot.daemonset;
        if model == Model::Ota {
            return Some(Reason::WaitingForOwner);
        }
        if malformed {
            return Some(Reason::Invalid {
                field: Cow::Borrowed(keys::OPENYURT_MAX_UNAVAILABLE),
            });
        }
        // Before that the other controller might recreate the old template. Source: daemonset.md C3.5.
        (daemonset.status.observed_generation < daemonset.generation).then_some(Reason::NotObserved)
    }

    fn wake_when_available(&mut self, spot: Spot<'a>) {
        let min_ready = self.snapshot.daemonset.min_ready_seconds;
        let new = self
            .board
            .on(spot.node.slot)
            .find(|row| row.is_new && !row.is_terminating);
        let at = new.and_then(|row| available_at(row.pod, min_ready));
        if let Some(at) = at.filter(|at| *at >= self.snapshot.now) {
            self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
        }
    }

    fn explain(
        &self,
        deletes: &[(Row<'s>, DeleteReason)],
        blocked: Option<&Reason>,
        used: u32,
        limit: u32,
        burst: bool,
    ) -> Vec<Waiting> {
        let n_slots = self.snapshot.nodes.names.len();
        let going = Going::new(n_slots, deletes.iter().map(|(row, _)| row));
        let mut waiting = Vec::new();
        for spot in &self.spots {
            let rows = self.board.on(spot.node.slot);
            let n_live = rows.clone().filter(|row| !row.is_terminating).count();
            if rows.clone().next().is_none() {
                waiting.push(Waiting {
                    pod: None,
                    node: Some(spot.node.slot),
                    reason: Reason::WaitingForPod,
                });
            }
            for row in rows {
                let reason = if going.has(spot.node.slot, row.pod) {
                    Some(Reason::Updating)
                } else if n_live > 1 && !row.is_terminating && !is_passed_over(*spot) {
                    Some(Reason::DuplicatePods)
                } else {
                    self.reason_of(*spot, row, blocked, used, limit, burst)
                };
                if let Some(reason) = reason {
                    let pod = Some((Arc::clone(&row.pod.name), row.pod.uid));
                    waiting.push(Waiting {
                        pod,
                        node: Some(spot.node.slot),
                        reason,
                    });
                }
            }
        }
        waiting
    }

    fn reason_of(
        &self,
        spot: Spot<'a>,
        row: &Row<'_>,
        blocked: Option<&Reason>,
        used: u32,
        limit: u32,
        burst: bool,
    ) -> Option<Reason> {
        let min_ready = self.snapshot.daemonset.min_ready_seconds;
        let done = row.is_new && !row.is_terminating && row.is_available;
        if done {
            return None;
        }
        if is_passed_over(spot) {
            return Some(Reason::NodeNotReady {
                since: spot.node.ready_changed_at(),
            });
        }
        if row.is_terminating {
            return Some(Reason::Terminating {
                since: row.pod.deleted_at,
            });
        }
        if !row.is_new {
            let in_budget = if burst {
                Reason::Burst
            } else {
                Reason::MaxUnavailable { used, limit }
            };
            return Some(blocked.cloned().unwrap_or(in_budget));
        }
        Some(match available_at(row.pod, min_ready) {
            Some(until) => Reason::MinReadySeconds { until },
            None => Reason::NotReady {
                trouble: row.pod.trouble.clone(),
                since: row.pod.ready.and_then(|ready| ready.since),
            },
        })
    }

    /// A rollout is said to begin and to end, once for each revision. Source: daemonset.md, Better than upstream 3.
    fn progress_event(&self, progress: &Progress) -> Option<Event> {
        let is_first = self.snapshot.revisions.len() < 2;
        if is_first {
            return None;
        }
        let target = &self.current.target;
        let Progress {
            nodes,
            updated,
            frozen,
            ..
        } = *progress;
        let n_left = nodes.saturating_sub(updated);
        let (stage, message) = if updated == nodes {
            ("end", format!("revision {target}: all {nodes} nodes updated"))
        } else if frozen > 0 {
            let rest = format!("{frozen} not ready, passed over and caught up when they return");
            (
                "begin",
                format!("revision {target}: updating {n_left} of {nodes} nodes, {rest}"),
            )
        } else {
            (
                "begin",
                format!("revision {target}: updating {n_left} of {nodes} nodes"),
            )
        };
        Some(Event {
            is_warning: false,
            reason: reasons::UPGRADE_PROGRESS,
            message: Cow::Owned(message),
            once_per: Some(format!("{}/{target}/{stage}", self.snapshot.daemonset.generation)),
        })
    }
}

/// Forgets writes of ours that need no remembering any more.
///
/// A delete is kept until its pod is seen terminating or gone; it also ends when its node is gone, and after five minutes.
/// It is kept while its node is not ready: it holds nobody up then, since the node is passed over, and a node that flaps
/// must not make the delete forgotten (S1). A creation is kept until its pod is seen, and for five minutes at most.
/// Source: daemonset.md C5.7.
pub fn retire(in_flight: &mut InFlight, pods: &[&PodView], nodes: &Nodes<'_>, now: Timestamp) {
    if in_flight.deleted.is_empty() && in_flight.created.is_empty() {
        return;
    }
    let fresh = |at: Timestamp| now.duration_since(at) < SignedDuration::from_secs(LEDGER_SECONDS);
    let mut seen: Vec<_> = pods.iter().map(|pod| (pod.uid, pod.is_terminating())).collect();
    seen.sort_unstable();
    let state = |uid| {
        seen.binary_search_by_key(&uid, |(u, _)| *u)
            .ok()
            .and_then(|i| seen.get(i))
            .map(|(_, t)| *t)
    };
    in_flight.deleted.retain(|deleted| {
        let unseen = state(deleted.uid) == Some(false);
        let has_node = deleted.node.and_then(|slot| nodes.get(slot)).is_some();
        unseen && has_node && fresh(deleted.at)
    });
    in_flight
        .created
        .retain(|created| state(created.uid).is_none() && fresh(created.at));
}

/// Does this DaemonSet concern this controller at all?
pub fn is_activated(daemonset: &pitstop_api::view::DaemonSetView) -> bool {
    daemonset.annotations.contains_key(keys::OPENYURT_UPDATE_STRATEGY)
        || (daemonset
            .annotations
            .contains_key(keys::OPENYURT_UPGRADE_STRATEGY_TYPO)
            && daemonset.strategy.kind == StrategyType::OnDelete)
}
