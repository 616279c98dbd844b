//! The rolling update: which old pods go now, which surge pods come now.
//!
//! Source: daemonset.md A9, A10.

use pitstop_api::view::{NodeSlot, StrategyType};

use super::{Spot, Turn};
use crate::budget;
use crate::daemonset::board::Row;
use crate::daemonset::{add, count};
use crate::plan::DeleteReason;

/// What is on a node, terminating pods aside.
pub(super) struct OnNode<'s> {
    old: Option<Row<'s>>,
    new: Option<Row<'s>>,
    /// Old pods, those that only we know included.
    pub(super) n_old: u32,
    /// New pods, those that only we know included.
    pub(super) n_new: u32,
    /// An old pod that a hook holds before its deletion: it runs, and is counted nowhere else.
    has_old_leaving: bool,
    pub(super) anything: bool,
}

/// What the next step of a rollout takes and brings.
#[derive(Default)]
struct Step<'s> {
    deletes: Vec<(Row<'s>, DeleteReason)>,
    creates: Vec<NodeSlot>,
}

impl<'s, 'a: 's> Turn<'s, 'a> {
    /// Takes the next step of the rollout, if the strategy makes any.
    ///
    /// It is counted in any case, for people, but taken only when every node has what it should have: nothing was
    /// created or deleted before in this pass. Source: daemonset.md A6.5.
    pub(super) fn update(&mut self) {
        let Ok(budget) = self.budget else { return };
        if self.snapshot.daemonset.strategy.kind != StrategyType::RollingUpdate {
            return;
        }
        let has_done_nothing = self.creates.is_empty() && self.deletes.is_empty() && self.patches.is_empty();
        let may_act = has_done_nothing && !self.is_paused();
        let listed = self.listed();
        let step = if budget.max_surge == 0 {
            self.replace_in_budget(&listed.spots, budget.max_unavailable, may_act)
        } else {
            self.surge_in_budget(&listed.spots, budget.max_surge, may_act)
        };
        self.kept = listed.kept;
        if may_act {
            self.creates = step.creates;
            self.deletes = step.deletes;
            self.hold();
            self.cut_short();
        }
    }

    pub(super) fn on_node(&self, slot: NodeSlot) -> OnNode<'s> {
        let mut found = OnNode {
            old: None,
            new: None,
            n_old: 0,
            n_new: 0,
            has_old_leaving: false,
            anything: false,
        };
        for created in self.board.created_on(slot) {
            found.anything = true;
            let is_new = created.hash == self.history.target;
            add(&mut found.n_new, is_new);
            add(&mut found.n_old, !is_new);
        }
        for row in self.board.on(slot) {
            found.anything = true;
            // One that a hook holds counts as absent, but none comes beside it that would be the same.
            if row.is_terminating || row.is_leaving {
                let is_same = row.is_new && !row.is_terminating;
                add(&mut found.n_new, is_same);
                found.has_old_leaving |= !row.is_new && !row.is_terminating;
                continue;
            }
            if row.is_new {
                add(&mut found.n_new, true);
                found.new = found.new.or(Some(*row));
            } else {
                add(&mut found.n_old, true);
                found.old = found.old.or(Some(*row));
            }
        }
        found
    }

    /// Without surge: old pods that serve nobody go at once and count; of the others as many as the budget still has.
    /// One whose DELETE was not answered counts as gone, and is deleted again before any other. Upholds S1.
    /// Source: daemonset.md A9.
    fn replace_in_budget(&mut self, spots: &[Spot<'_>], max_unavailable: u32, may_act: bool) -> Step<'s> {
        let (mut broken, mut settling, mut candidates) = (Vec::new(), Vec::new(), Vec::new());
        let mut in_doubt = Vec::new();
        let mut unavailable = 0;
        for spot in spots {
            let found = self.on_node(spot.slot);
            if !found.anything && !spot.eligible.should_run {
                continue;
            }
            match (found.n_old, found.old, found.n_new, found.new) {
                (1, Some(old), 0, None) if old.is_in_doubt => in_doubt.push(old),
                (1, Some(old), 0, None) if old.is_available => candidates.push(old),
                (1, Some(old), 0, None) if old.pod.is_ready() => settling.push(old),
                (1, Some(old), 0, None) => {
                    add(&mut unavailable, true);
                    broken.push(old);
                }
                (0, None, 1, Some(new)) => add(&mut unavailable, !new.serves()),
                _ => add(&mut unavailable, true),
            }
        }
        let settling = in_doubt.into_iter().chain(settling);
        let n_settling = count(settling.clone());
        let room = budget::room(max_unavailable, unavailable, n_settling);
        candidates.truncate(room.available);
        self.unavailable = unavailable.saturating_add(n_settling);
        if may_act {
            self.unavailable = self.unavailable.saturating_add(count(candidates.iter()));
        }
        let broken = broken
            .into_iter()
            .map(|row| (row, DeleteReason::OutdatedAndUnavailable));
        let running = settling.take(room.settling).chain(candidates);
        let running = running.map(|row| (row, DeleteReason::Outdated));
        Step {
            deletes: broken.chain(running).collect(),
            creates: Vec::new(),
        }
    }

    /// With surge: a new pod comes beside the old one, and the old one goes when the new one is available.
    ///
    /// A surge pod whose creation was not answered counts as there, and is posted again under its name.
    /// Source: daemonset.md A10.
    fn surge_in_budget(&mut self, spots: &[Spot<'_>], max_surge: u32, may_act: bool) -> Step<'s> {
        let mut step = Step::default();
        let (mut candidates, mut set_aside) = (Vec::new(), Vec::new());
        let mut surged = 0;
        for spot in spots {
            let slot = spot.slot;
            let found = self.on_node(slot);
            if found.n_old > 1 || found.n_new > 1 {
                add(&mut surged, true);
                continue;
            }
            let Some(old) = found.old else {
                // Two pods run there until the hook lets the old one go.
                add(&mut surged, found.n_new == 1 && found.has_old_leaving);
                continue;
            };
            let should_run = spot.eligible.should_run;
            let may_have_new = found.n_new == 0 && self.board.may_have_created_on(slot);
            add(&mut surged, may_have_new);
            if found.n_new == 1 {
                if found.new.is_some_and(|new| new.serves()) {
                    add(&mut surged, self.is_hooked(&old));
                    step.deletes.push((old, DeleteReason::Surged));
                } else {
                    add(&mut surged, true);
                }
            } else if may_have_new && should_run {
                step.creates.push(slot);
            } else if old.is_in_doubt && !should_run {
                step.deletes.push((old, DeleteReason::Outdated));
            } else if old.is_available && should_run {
                candidates.push(slot);
            } else if old.is_available {
                set_aside.push(old);
            } else if should_run {
                step.creates.push(slot);
            } else {
                step.deletes.push((old, DeleteReason::OutdatedAndUnavailable));
            }
        }
        let free = usize::try_from(max_surge.saturating_sub(surged)).unwrap_or(usize::MAX);
        candidates.truncate(free);
        self.surged = surged;
        if may_act {
            self.surged = surged.saturating_add(count(candidates.iter()));
        }
        step.creates.extend(candidates);
        step.deletes.extend(
            set_aside
                .into_iter()
                .take(self.n_available_beyond_desired())
                .map(|row| (row, DeleteReason::Outdated)),
        );
        step
    }

    /// How many nodes have an available pod beyond the number that should: so many pods may move away from nodes that
    /// should no longer run one.
    fn n_available_beyond_desired(&self) -> usize {
        let serves = |slot: NodeSlot| {
            let mut live = self.board.on(slot).filter(|row| !row.is_terminating);
            live.any(Row::serves)
        };
        let available = count(self.spots.iter().filter(|spot| serves(spot.slot)));
        usize::try_from(available.saturating_sub(self.desired)).unwrap_or(usize::MAX)
    }
}
