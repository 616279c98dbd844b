//! Why each pod that is not at the target waits.

use std::borrow::Cow;
use std::collections::BTreeMap;

use pitstop_api::view::{NodeSlot, Phase, StrategyType, Uid};

use super::{Spot, Turn};
use crate::availability::later;
use crate::daemonset::board::{Going, Row};
use crate::daemonset::explain::{
    node_not_ready, not_available, on_vanished_nodes, terminating, waiting, without_pod,
};
use crate::daemonset::in_place::{self, Ways};
use crate::lifecycle::State;
use crate::plan::{Reason, Waiting};

impl<'s, 'a: 's> Turn<'s, 'a> {
    /// A reason for every pod, and every node without its pod, that is not at the target.
    pub(super) fn explain(&self, ways: &Ways<'s>, stalled: &BTreeMap<Uid, Reason>) -> Vec<Waiting> {
        let n_slots = self.snapshot.nodes.names.len();
        let going = Going::new(n_slots, self.deletes.iter().map(|(row, _)| row));
        let mut creates = self.creates.clone();
        creates.sort_unstable();
        let mut list = on_vanished_nodes(&self.board, self.snapshot);
        let unfinished = |spot: &&Spot<'_>| !self.board.is_finished(spot.slot);
        list.reserve(self.spots.iter().filter(unfinished).count());
        for spot in self.spots.iter().filter(unfinished) {
            let rows = self.board.on(spot.slot);
            if rows.clone().next().is_none() && spot.eligible.should_run {
                let mut waiting = without_pod(spot.node, self.away(spot));
                if let Some(reason) = self.why_without_pod(spot.slot) {
                    waiting.reason = reason;
                }
                list.push(waiting);
            }
            let n_live = rows.clone().filter(|row| !row.is_terminating).count();
            for row in rows {
                let reason = if going.has(spot.slot, row.pod) {
                    Some(ways.reason(row.pod))
                } else {
                    let stalled = stalled.get(&row.pod.uid).cloned();
                    stalled.or_else(|| self.reason_of(spot, row, &creates, n_live))
                };
                list.extend(reason.map(|reason| waiting(row, reason)));
            }
        }
        list
    }

    /// A pod on a node that is away is unavailable like any other, unless its node is left out.
    fn away(&self, spot: &Spot<'_>) -> Option<Reason> {
        let costs_budget = !self.kept.contains_key(&spot.slot);
        (!spot.node.is_ready()).then(|| node_not_ready(spot.node, costs_budget))
    }

    fn reason_of(
        &self,
        spot: &Spot<'_>,
        row: &Row<'_>,
        creates: &[NodeSlot],
        n_live: usize,
    ) -> Option<Reason> {
        let away = self.away(spot);
        if row.is_terminating {
            return Some(terminating(row, away));
        }
        if row.is_leaving || self.held.contains(&row.pod.uid) {
            return Some(Reason::Hook {
                state: State::PreparingDelete.as_str(),
            });
        }
        if row.pod.phase == Phase::Failed {
            return Some(self.reason_of_failed(spot));
        }
        if !row.is_new {
            return Some(self.reason_of_old(spot.slot, creates, n_live));
        }
        if away.is_none()
            && let Some(reason) = in_place::waits_for(row, self.snapshot.now)
        {
            return Some(reason);
        }
        let min_ready = self.snapshot.daemonset.min_ready_seconds;
        not_available(row, away, min_ready)
    }

    fn reason_of_failed(&self, spot: &Spot<'_>) -> Reason {
        match self.failed_on(spot.slot) {
            Some(before) if !self.is_cut_short => Reason::BackOff {
                until: later(before.at, before.delay_seconds.into()),
            },
            _ => Reason::Burst,
        }
    }

    fn reason_of_old(&self, slot: NodeSlot, creates: &[NodeSlot], n_live: usize) -> Reason {
        let budget = match (&self.snapshot.daemonset.strategy.kind, self.budget) {
            (StrategyType::OnDelete, _) => return Reason::OnDelete,
            (StrategyType::Other(_), _) => {
                let field = Cow::Borrowed("spec.updateStrategy.type");
                return Reason::Invalid { field };
            }
            (StrategyType::RollingUpdate, Err(field)) => return Reason::Invalid { field: field.into() },
            (StrategyType::RollingUpdate, Ok(budget)) => budget,
        };
        if let Some(reason) = self.kept_by_user(slot) {
            return reason;
        }
        let is_surging = budget.max_surge > 0;
        if is_surging && (n_live > 1 || creates.binary_search(&slot).is_ok()) {
            return Reason::WaitingForSurge;
        }
        if n_live > 1 {
            return Reason::DuplicatePods;
        }
        if self.is_cut_short {
            return Reason::Burst;
        }
        if is_surging {
            let (used, limit) = (self.surged, budget.max_surge);
            return Reason::MaxSurge { used, limit };
        }
        let (used, limit) = (self.unavailable, budget.max_unavailable);
        Reason::MaxUnavailable { used, limit }
    }
}
