//! Why each pod that is not at the target waits.

use super::{Outcome, Spot, Turn};
use crate::daemonset::board::{Going, Row};
use crate::daemonset::explain::{
    node_not_ready, not_available, on_vanished_nodes, terminating, waiting, without_pod,
};
use crate::daemonset::in_place::{self, Carried, Ways};
use crate::daemonset::ota;
use crate::daemonset::strategy::Model;
use crate::plan::{Reason, Waiting};

impl<'s, 'a: 's> Turn<'s, 'a> {
    /// A reason for every pod, and every node without its pod, that is not at the target.
    pub(super) fn explain(&self, outcome: &Outcome<'s>, ways: &Ways<'s>, carried: &Carried) -> Vec<Waiting> {
        let n_slots = self.snapshot.nodes.names.len();
        let going = Going::new(n_slots, outcome.deletes.iter().map(|(row, _)| row));
        let mut list = on_vanished_nodes(&self.board, self.snapshot);
        let unfinished = |spot: &&Spot<'_>| !self.board.is_finished(spot.slot);
        list.reserve(self.spots.iter().filter(unfinished).count());
        for spot in self.spots.iter().filter(unfinished) {
            let rows = self.board.on(spot.slot);
            if rows.clone().next().is_none() {
                list.push(without_pod(spot.node, away(spot)));
            }
            let n_live = rows.clone().filter(|row| !row.is_terminating).count();
            for row in rows {
                let reason = if going.has(spot.slot, row.pod) {
                    Some(ways.reason(row.pod))
                } else {
                    let stalled = carried.stalled.get(&row.pod.uid).cloned();
                    stalled.or_else(|| self.reason_of(*spot, row, outcome, n_live))
                };
                list.extend(reason.map(|reason| waiting(row, reason)));
            }
        }
        list
    }

    fn reason_of(
        &self,
        spot: Spot<'a>,
        row: &Row<'_>,
        outcome: &Outcome<'_>,
        n_live: usize,
    ) -> Option<Reason> {
        let away = away(&spot);
        if row.is_terminating {
            return Some(terminating(row, away));
        }
        if row.is_new {
            if away.is_none()
                && let Some(reason) = in_place::waits_for(row, self.snapshot.now)
            {
                return Some(reason);
            }
            let min_ready = self.snapshot.daemonset.min_ready_seconds;
            return not_available(row, away, min_ready);
        }
        if self.model == Model::Ota && ota::is_requested(row.pod, &self.current.target) {
            return Some(if self.is_observed() {
                Reason::Burst
            } else {
                Reason::NotObserved
            });
        }
        if let Some(blocked) = &outcome.blocked {
            return Some(blocked.clone());
        }
        if away.is_some() {
            return away;
        }
        if let Some(held) = self.held(spot, row) {
            return Some(held.reason());
        }
        let (used, limit) = (outcome.used, outcome.limit);
        let kept = outcome.kept.get(&row.pod.uid);
        // Who waits for images that nobody pulls yet waits for the budget, too, where it is used up.
        if let Some(kept) = kept.filter(|kept| **kept != Reason::QueuedForImages || used < limit) {
            return Some(kept.clone());
        }
        if n_live > 1 {
            return Some(Reason::DuplicatePods);
        }
        if outcome.is_cut_short {
            return Some(Reason::Burst);
        }
        Some(if outcome.is_paced {
            Reason::Pace { used, limit }
        } else {
            Reason::MaxUnavailable { used, limit }
        })
    }
}

/// Nodes that are passed over cost no budget.
fn away(spot: &Spot<'_>) -> Option<Reason> {
    spot.is_passed_over.then(|| node_not_ready(spot.node, false))
}
