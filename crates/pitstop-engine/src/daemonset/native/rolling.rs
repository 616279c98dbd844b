//! The rolling update: which old pods go now, which surge pods come now.
//!
//! Source: daemonset.md A9, A10.

use pitstop_api::view::StrategyType;

use super::{Turn, count};
use crate::daemonset::BURST;
use crate::daemonset::board::Row;
use crate::plan::DeleteReason;

/// What is on a node, terminating pods aside.
struct OnNode<'s> {
    old: Option<Row<'s>>,
    new: Option<Row<'s>>,
    /// Old pods, those that only we know included.
    n_old: usize,
    /// New pods, those that only we know included.
    n_new: usize,
    anything: bool,
}

impl<'s> Turn<'s, '_> {
    /// Takes the next step of the rollout, if the strategy makes any.
    pub(super) fn update(&mut self) {
        let Ok(budget) = self.budget else { return };
        if self.snapshot.daemonset.strategy.kind != StrategyType::RollingUpdate {
            return;
        }
        if budget.max_surge == 0 {
            self.replace_in_budget(budget.max_unavailable);
        } else {
            self.surge_in_budget(budget.max_surge);
        }
        self.creates.truncate(BURST);
        self.deletes.truncate(BURST);
    }

    fn on_node(&self, slot: pitstop_api::view::NodeSlot) -> OnNode<'s> {
        let mut found = OnNode {
            old: None,
            new: None,
            n_old: 0,
            n_new: 0,
            anything: false,
        };
        for created in self.board.created_on(slot) {
            found.anything = true;
            if created.hash == self.history.target {
                found.n_new = found.n_new.saturating_add(1);
            } else {
                found.n_old = found.n_old.saturating_add(1);
            }
        }
        for row in self.board.on(slot) {
            found.anything = true;
            if row.is_terminating {
                continue;
            }
            if row.is_new {
                found.n_new = found.n_new.saturating_add(1);
                found.new = found.new.or(Some(*row));
            } else {
                found.n_old = found.n_old.saturating_add(1);
                found.old = found.old.or(Some(*row));
            }
        }
        found
    }

    /// Without surge: old pods that serve nobody go at once and count; of the others as many as the budget still has.
    /// Source: daemonset.md A9.
    fn replace_in_budget(&mut self, max_unavailable: u32) {
        let (mut now, mut candidates) = (Vec::new(), Vec::new());
        let mut unavailable = 0_u32;
        for spot in &self.spots {
            let found = self.on_node(spot.node.slot);
            if !found.anything && !spot.eligible.should_run {
                continue;
            }
            let counts = match (found.n_old, found.n_new) {
                (1, 0) => match found.old {
                    Some(old) if old.is_available => {
                        candidates.push(old);
                        false
                    }
                    Some(old) => {
                        now.push(old);
                        true
                    }
                    None => true,
                },
                (0, 1) => !found.new.is_some_and(|new| new.is_available),
                _ => true,
            };
            unavailable = unavailable.saturating_add(u32::from(counts));
        }
        self.unavailable = unavailable;
        let free = usize::try_from(max_unavailable.saturating_sub(unavailable)).unwrap_or_default();
        self.deletes.extend(
            now.into_iter()
                .map(|row| (row, DeleteReason::OutdatedAndUnavailable)),
        );
        self.deletes.extend(
            candidates
                .into_iter()
                .take(free)
                .map(|row| (row, DeleteReason::Outdated)),
        );
    }

    /// With surge: a new pod comes beside the old one, and the old one goes when the new one is available.
    /// Source: daemonset.md A10.
    fn surge_in_budget(&mut self, max_surge: u32) {
        let (mut now, mut candidates, mut set_aside) = (Vec::new(), Vec::new(), Vec::new());
        let mut surged = 0_u32;
        for spot in &self.spots {
            let found = self.on_node(spot.node.slot);
            if found.n_old > 1 || found.n_new > 1 {
                surged = surged.saturating_add(1);
                continue;
            }
            let Some(old) = found.old else { continue };
            if found.n_new == 1 {
                if found.new.is_some_and(|new| new.is_available) {
                    self.deletes.push((old, DeleteReason::Surged));
                } else {
                    surged = surged.saturating_add(1);
                }
            } else if !old.is_available {
                if spot.eligible.should_run {
                    now.push(spot.node.slot);
                } else {
                    self.deletes.push((old, DeleteReason::OutdatedAndUnavailable));
                }
            } else if spot.eligible.should_run {
                candidates.push(spot.node.slot);
            } else {
                set_aside.push(old);
            }
        }
        self.surged = surged;
        let free = usize::try_from(max_surge.saturating_sub(surged)).unwrap_or_default();
        self.creates.extend(now);
        self.creates.extend(candidates.into_iter().take(free));
        let available = count(self.spots.iter().filter(|spot| {
            let mut live = self.board.on(spot.node.slot).filter(|row| !row.is_terminating);
            live.any(|row| row.is_available)
        }));
        let beyond = usize::try_from(available.saturating_sub(self.desired)).unwrap_or_default();
        self.deletes.extend(
            set_aside
                .into_iter()
                .take(beyond)
                .map(|row| (row, DeleteReason::Outdated)),
        );
    }
}
