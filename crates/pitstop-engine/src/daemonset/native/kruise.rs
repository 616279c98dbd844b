//! What DaemonSets of `apps.kruise.io` have beyond native ones: a partition, a selector of nodes, a pause, a burst of their
//! own, updates in place, and a hook before deletions.
//!
//! Differs from upstream where S1 asks for it: outdated pods that serve nobody are replaced at once and count, and a pod that
//! is prepared for its deletion counts once. Percentages are of the nodes that should run a pod now, not of the number that
//! the status had before; a percentage of `burstReplicas` is at least one pod, or nothing would ever begin.
//!
//! Source: daemonset.md D1, D2, Better than upstream 16-18.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use pitstop_api::IntOrPercent;
use pitstop_api::selector::LabelSelector;
use pitstop_api::view::{
    AdvancedDaemonSet, DaemonSetView, NodeSlot, PodUpdatePolicy, RollingType, StrategyType, Uid,
};
use serde_json::Value;

use super::{Spot, Turn};
use crate::budget::{RollingBudget, rolling};
use crate::daemonset::board::Row;
use crate::daemonset::eligibility::Eligibility;
use crate::daemonset::explain::node_not_ready;
use crate::daemonset::in_place::{Target, Ways};
use crate::daemonset::{BURST, count, own_keys};
use crate::inplace::{Change, Live};
use crate::instances::PatchWhy;
use crate::lifecycle::{State, enter, is_hooked};
use crate::plan::{Action, Reason};

/// Paths of fields, for people.
const PARTITION: &str = "spec.updateStrategy.rollingUpdate.partition";
const SELECTOR: &str = "spec.updateStrategy.rollingUpdate.selector";
const ROLLING_TYPE: &str = "spec.updateStrategy.rollingUpdate.rollingUpdateType";

/// Which nodes take part in a rolling update, and what keeps the others out of it.
pub(super) struct Listed<'a> {
    /// Those that do, in the order in which they are updated.
    pub(super) spots: Rc<Vec<Spot<'a>>>,
    /// What keeps the outdated pods of the others, by node.
    pub(super) kept: BTreeMap<NodeSlot, Reason>,
}

/// How many pods the partition keeps at their revision, at most all.
fn partition(advanced: &AdvancedDaemonSet, desired: u32) -> Result<u32, &'static str> {
    match &advanced.partition {
        None | Some(Value::Null) => Ok(0),
        Some(value) => {
            let amount: IntOrPercent = serde_json::from_value(value.clone()).map_err(|_| PARTITION)?;
            Ok(amount.scaled_down(desired))
        }
    }
}

/// Does one step of a rolling update take all pods: none is kept, and all may be unavailable? What is malformed takes none.
pub(super) fn takes_all_at_once(
    daemonset: &DaemonSetView,
    advanced: &AdvancedDaemonSet,
    desired: u32,
) -> bool {
    let strategy = &daemonset.strategy;
    let budget = rolling(
        strategy.max_unavailable.as_ref(),
        strategy.max_surge.as_ref(),
        desired,
    );
    partition(advanced, desired) == Ok(0) && budget.is_ok_and(|budget| budget.max_unavailable >= desired)
}

/// The budget, where nothing else of the strategy is malformed.
pub(super) fn checked(
    advanced: Option<&AdvancedDaemonSet>,
    budget: Result<RollingBudget, &'static str>,
    desired: u32,
) -> Result<RollingBudget, &'static str> {
    let Some(advanced) = advanced else { return budget };
    if matches!(advanced.rolling_type, RollingType::Other(_)) {
        return Err(ROLLING_TYPE);
    }
    let selector = advanced.node_selector.as_ref();
    if selector.is_some_and(|selector| selector.selector().is_none()) {
        return Err(SELECTOR);
    }
    partition(advanced, desired)?;
    budget
}

/// Pods created, and pods deleted, in one pass at most. Units: pods. Source: daemonset.md D1, D2.
pub(super) fn burst(advanced: Option<&AdvancedDaemonSet>, desired: u32) -> usize {
    let written = advanced.and_then(|advanced| advanced.burst_replicas.as_ref());
    let amount = written.and_then(|value| serde_json::from_value::<IntOrPercent>(value.clone()).ok());
    match amount {
        None => BURST,
        Some(amount) => {
            let least = u32::from(matches!(amount, IntOrPercent::Percent(_)) && !amount.is_zero());
            usize::try_from(amount.scaled_down(desired).max(least)).unwrap_or(usize::MAX)
        }
    }
}

impl<'s, 'a: 's> Turn<'s, 'a> {
    pub(super) fn advanced(&self) -> Option<&'a AdvancedDaemonSet> {
        self.snapshot.daemonset.advanced.as_deref()
    }

    /// Is the rollout held, as somebody asked for?
    pub(super) fn is_paused(&self) -> bool {
        self.advanced().is_some_and(|advanced| advanced.is_paused)
    }

    /// Do nodes that are not ready, or not quite back, take no part in a rolling update? They cost no budget then, and their
    /// pods are not touched. Without it a new version that takes its nodes down stops by itself.
    fn ignores_not_ready_nodes(&self) -> bool {
        own_keys::ignores_not_ready_nodes(self.snapshot.daemonset).0
    }

    /// The nodes that a rolling update looks at. Others do not count, and keep what they have.
    ///
    /// Updated ones are first in line, so that a partition that grows takes nothing back; then those that are being updated;
    /// then the others. Among equals the greater name goes first. Source: daemonset.md D2.
    pub(super) fn listed(&self) -> Listed<'a> {
        let Some(advanced) = self.advanced() else {
            return Listed {
                spots: Rc::clone(&self.spots),
                kept: BTreeMap::new(),
            };
        };
        let selector = advanced.node_selector.as_ref();
        let selector = selector.and_then(LabelSelector::selector);
        let keeps = partition(advanced, self.desired).unwrap_or_default();
        let (mut updated, mut updating, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        let mut kept = BTreeMap::new();
        let mut n_nodes: usize = 0;
        // Nodes that take no part and have a new pod already.
        let mut n_done: usize = 0;
        let ignoring = self.ignores_not_ready_nodes();
        let ignoring = ignoring.then(|| Eligibility::of(self.snapshot.daemonset));
        let is_ignored = |spot: &Spot<'_>| {
            let is_away = |rules: &Eligibility| !spot.node.is_ready() || rules.is_returning(spot.node);
            ignoring.as_ref().is_some_and(is_away)
        };
        for spot in self.spots.iter().rev() {
            let found = self.on_node(spot.slot);
            if !found.anything && !spot.eligible.should_run {
                continue;
            }
            n_nodes = n_nodes.saturating_add(1);
            if is_ignored(spot) {
                n_done = n_done.saturating_add(usize::from(found.n_new > 0));
                kept.insert(spot.slot, node_not_ready(spot.node, false));
                continue;
            }
            if found.n_new > 0 || found.n_old > 1 {
                updated.push(*spot);
            } else if found.n_old == 0 {
                updating.push(*spot);
            } else if selector
                .as_ref()
                .is_some_and(|selector| !selector.matches(&spot.node.labels))
            {
                kept.insert(spot.slot, Reason::NotSelected);
            } else {
                rest.push(*spot);
            }
        }
        let keeps_most = usize::try_from(keeps).unwrap_or(usize::MAX);
        let n_go = n_nodes.saturating_sub(keeps_most).saturating_sub(n_done);
        let mut spots = updated;
        spots.append(&mut updating);
        spots.append(&mut rest);
        let beyond = spots.split_off(n_go.min(spots.len()));
        kept.extend(
            beyond
                .into_iter()
                .map(|spot| (spot.slot, Reason::Partition { keeps })),
        );
        Listed {
            spots: Rc::new(spots),
            kept,
        }
    }

    /// Of the nodes that miss their pod, those that get one now, where the partition holds creations back too.
    ///
    /// Source: daemonset.md D2.
    pub(super) fn limit_creations(&mut self) {
        let Some(advanced) = self.advanced().filter(|advanced| advanced.scales_by_partition) else {
            return;
        };
        if self.snapshot.daemonset.strategy.kind != StrategyType::RollingUpdate {
            return;
        }
        let Ok(keeps) = partition(advanced, self.desired) else {
            // Malformed: as if it kept all.
            self.n_withheld = count(self.creates.drain(..));
            return;
        };
        if keeps == 0 {
            return;
        }
        let n_new = count(self.spots.iter().filter(|spot| self.on_node(spot.slot).n_new > 0));
        let most = self
            .desired
            .saturating_sub(n_new)
            .saturating_sub(keeps.min(self.desired));
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let withheld = self.creates.split_off(most.min(self.creates.len()));
        self.n_withheld = count(withheld.iter());
    }

    /// Does a hook hold the pod from its deletion?
    pub(super) fn is_hooked(&self, row: &Row<'s>) -> bool {
        let hook = self
            .advanced()
            .and_then(|advanced| advanced.lifecycle.pre_delete.as_ref());
        hook.is_some() && Live::of(row.pod).is_some_and(|live| is_hooked(hook, live))
    }

    /// Takes the pods that a hook holds out of those that are deleted now: they are prepared for it, and wait.
    ///
    /// Source: daemonset.md D2; inplace.md 7.
    pub(super) fn hold(&mut self) {
        let Some(advanced) = self.advanced().filter(|a| a.lifecycle.pre_delete.is_some()) else {
            return;
        };
        let ways = self.ways();
        let (held, gone) = std::mem::take(&mut self.deletes)
            .into_iter()
            .partition(|(row, why)| self.is_hooked(row) && (row.is_leaving || !ways.stays(row.pod, *why)));
        self.deletes = gone;
        for (row, _) in held {
            self.held.insert(row.pod.uid);
            if row.is_leaving {
                continue;
            }
            let Some(live) = Live::of(row.pod) else { continue };
            let mut change = Change::default();
            enter(
                live,
                State::PreparingDelete,
                &advanced.lifecycle,
                self.snapshot.now,
                &mut change,
            );
            let prepare = self.target().patch(live, change, PatchWhy::Prepare);
            self.patches.extend(prepare);
        }
    }

    pub(super) fn target(&self) -> Target<'s> {
        Target {
            snapshot: self.snapshot,
            hash: &self.history.target,
        }
    }

    /// How pods of each old revision become new.
    pub(super) fn ways(&self) -> Ways<'s> {
        let policy = match self.advanced().map(|advanced| &advanced.rolling_type) {
            Some(RollingType::InPlaceIfPossible) => PodUpdatePolicy::InPlaceIfPossible,
            None | Some(RollingType::Standard | RollingType::Other(_)) => PodUpdatePolicy::ReCreate,
        };
        let rows = self.spots.iter().flat_map(|spot| self.board.on(spot.slot));
        Ways::of(self.target(), policy, rows)
    }

    /// Looks after the notes and gates of pods that are, or can be, updated in place, whatever holds the rollout back.
    ///
    /// Returns what becomes of pods whose update never ends.
    pub(super) fn carry_on(&mut self) -> BTreeMap<Uid, Reason> {
        let Some(advanced) = self.advanced() else {
            return BTreeMap::new();
        };
        let ready = self.spots.iter().filter(|spot| spot.node.is_ready());
        let rows = ready.flat_map(|spot| {
            let rows = self.board.on(spot.slot);
            rows.map(|row| (row, !spot.eligible.should_run))
        });
        let goes = |row: &Row<'s>| {
            let uid = row.pod.uid;
            row.is_leaving
                || self.held.contains(&uid)
                || self.deletes.iter().any(|(gone, _)| gone.pod.uid == uid)
        };
        let is_rolling = self.snapshot.daemonset.strategy.kind == StrategyType::RollingUpdate;
        let may_replace = is_rolling && !advanced.is_paused;
        let carried = self.target().carry_on(rows, goes, may_replace);
        self.patches.extend(carried.actions);
        self.events.extend(carried.events);
        if let Some(at) = carried.wake_at {
            self.wake(at);
        }
        carried.stalled
    }

    /// What keeps an outdated pod that nothing else does.
    pub(super) fn kept_by_user(&self, slot: NodeSlot) -> Option<Reason> {
        if self.is_paused() {
            return Some(Reason::Paused);
        }
        self.kept.get(&slot).cloned()
    }

    /// Why a node has no pod although it should.
    pub(super) fn why_without_pod(&self, slot: NodeSlot) -> Option<Reason> {
        let advanced = self.advanced()?;
        if self.n_withheld == 0 || self.creates.contains(&slot) {
            return None;
        }
        Some(match partition(advanced, self.desired) {
            Ok(keeps) => Reason::Partition { keeps },
            Err(field) => Reason::Invalid {
                field: Cow::Borrowed(field),
            },
        })
    }

    /// Writes of pods that stay: those that are updated in place, and those that were decided before.
    pub(super) fn touch(&mut self, ways: &Ways<'s>) -> Vec<Action> {
        let deletes = self.deletes.iter();
        let mut actions: Vec<Action> = deletes.filter_map(|touched| ways.touch(*touched)).collect();
        actions.append(&mut self.patches);
        actions
    }
}
