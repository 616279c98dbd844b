//! `pitstop.io/pod-update-policy`: pods of a DaemonSet that stay when they are updated.
//!
//! Whose turn it is, the rest of this folder decides; how a pod becomes new, `daemonset/in_place.rs`. Here is what that means
//! for the budget: a pod whose containers are not touched costs nothing, and one that would have to stay and cannot is left
//! alone.
//!
//! Source: spec/README.md, `pod-update-policy`; inplace.md 3, 4, 13.

use std::collections::BTreeMap;
use std::mem;

use pitstop_api::reasons;
use pitstop_api::view::{PodUpdatePolicy, Uid};

use super::{Outcome, Tally, Turn};
use crate::daemonset::board::Row;
use crate::daemonset::in_place::{Carried, Target, Way, Ways};
use crate::plan::{Event, Reason};

impl<'s> Tally<'s> {
    /// Takes out the pods that would have to stay and cannot, each with its reason, and those that cost nothing.
    pub(super) fn part(&mut self, ways: &Ways<'s>, kept: &mut BTreeMap<Uid, Reason>) {
        if ways.policy == PodUpdatePolicy::ReCreate {
            return;
        }
        let mut stay = |row: &Row<'s>| match ways.way(row.pod) {
            Way::Refused(why) => {
                let why = why.to_string();
                kept.insert(row.pod.uid, Reason::NotInPlace { why });
                true
            }
            Way::InPlace(..) | Way::Recreate(_) => false,
        };
        let mut settled = Vec::new();
        for rows in [&mut self.in_doubt, &mut self.settling] {
            let (refused, rest): (Vec<_>, Vec<_>) = mem::take(rows).into_iter().partition(&mut stay);
            *rows = rest;
            settled.extend(refused);
        }
        let mut n_refused = settled.len();
        for rows in [&mut self.broken, &mut self.candidates] {
            let before = rows.len();
            rows.retain(|row| !stay(row));
            n_refused = n_refused.saturating_add(before.saturating_sub(rows.len()));
        }
        self.n_refused = u32::try_from(n_refused).unwrap_or(u32::MAX);
        let is_free = |row: &Row<'s>| ways.is_free(row.pod);
        for is_down in [true, false] {
            let rows = if is_down {
                &mut self.settling
            } else {
                &mut self.candidates
            };
            let (free, rest): (Vec<_>, Vec<_>) = mem::take(rows).into_iter().partition(is_free);
            *rows = rest;
            settled.extend(free.iter().filter(|_| is_down));
            self.free.extend(free);
        }
        for row in &settled {
            self.keep_settling(row);
        }
    }
}

impl<'s, 'a: 's> Turn<'s, 'a> {
    /// How pods of each old revision become new.
    pub(super) fn ways(&self) -> Ways<'s> {
        let target = Target {
            snapshot: self.snapshot,
            hash: &self.current.target,
        };
        let rows = self.spots.iter().flat_map(|spot| self.board.on(spot.slot));
        Ways::of(target, self.keys.pod_update_policy.clone(), rows)
    }

    /// Why pods that go, or cannot go, are not updated in place, or not restarted: told once for each revision.
    pub(super) fn told(ways: &Ways<'s>, outcome: &Outcome<'s>) -> Option<Event> {
        let refused = outcome.kept.values().find_map(|reason| match reason {
            Reason::NotInPlace { why } => Some(why),
            _ => None,
        });
        let Some(why) = refused else {
            return ways.not_as_asked(outcome.deletes.iter());
        };
        let target = ways.target();
        let message = format!(
            "revision {}: update strategy is InPlaceOnly but can not update in-place: {why}",
            target.hash
        );
        Some(target.warning(reasons::FAILED_UPDATE_IN_PLACE, message))
    }

    /// Carries every update in place on, whatever holds the rollout back.
    pub(super) fn carry_on(&self, outcome: &Outcome<'s>, ways: &Ways<'s>) -> Carried {
        let may_replace = outcome.blocked.is_none() && ways.policy != PodUpdatePolicy::InPlaceOnly;
        let goes = |row: &Row<'s>| {
            let mut gone = outcome.deletes.iter();
            gone.any(|(gone, _)| gone.pod.uid == row.pod.uid)
        };
        let ready = self.spots.iter().filter(|spot| spot.node.is_ready());
        let rows = ready.flat_map(|spot| {
            let rows = self.board.on(spot.slot);
            rows.map(|row| (row, spot.is_passed_over))
        });
        ways.target().carry_on(rows, goes, may_replace)
    }
}
