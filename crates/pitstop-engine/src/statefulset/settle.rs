//! Pods that are held on their way out or before an update: on with what was begun, or back into service.
//!
//! Source: statefulset.md 15.1 rows 8, 10 and 11; 16.3.

use super::numbers::Numbers;
use super::rows::Row;
use super::{PatchWhy, Removal, Touch, Turn};
use crate::inplace::cancel;
use crate::lifecycle::{State, enter};

impl<'a> Turn<'_, 'a> {
    pub(super) fn settle(&mut self, numbers: &Numbers, list: &[usize]) {
        let mut chosen = vec![false; self.rows.all.len()];
        for rank in list {
            if let Some((i, row)) = self.rows.pod_of(*rank)
                && let Some(place) = chosen.get_mut(i)
            {
                *place = !row.is_new;
            }
        }
        // Where pods come one after the other, one that was in the way goes on, whatever its revision.
        for rank in 0..self.rows.slots.len() {
            if let Some((i, row)) = self.rows.pod_of(rank)
                && self.is_being_replaced(rank, &row, numbers)
                && let Some(place) = chosen.get_mut(i)
            {
                *place = true;
            }
        }
        let mut is_condemned = vec![false; self.rows.all.len()];
        for i in &self.rows.condemned {
            if let Some(place) = is_condemned.get_mut(*i) {
                *place = true;
            }
        }
        let is_set = |flags: &[bool], i: usize| flags.get(i).copied().unwrap_or_default();
        for i in 0..self.rows.all.len() {
            let Some(row) = self.rows.all.get(i).copied() else {
                continue;
            };
            if row.is_terminating || row.pod.is_terminal() {
                continue;
            }
            let (is_chosen, is_condemned) = (is_set(&chosen, i), is_set(&is_condemned, i));
            self.settle_one(i, &row, is_chosen, is_condemned, numbers);
        }
    }

    fn settle_one(
        &mut self,
        i: usize,
        row: &Row<'a>,
        is_chosen: bool,
        is_condemned: bool,
        numbers: &Numbers,
    ) {
        let is_covered = numbers.shield.covers(row.guard);
        match row.state {
            State::PreparingDelete if is_condemned && !self.keeps_condemned(row, numbers) => {}
            // Its hook has let it go, or holds it on.
            State::PreparingDelete if !is_condemned && (row.is_specified || is_chosen) && !is_covered => {
                self.delete(i, row, Removal::Prepared);
            }
            State::PreparingDelete => self.bring_back(i, row),
            // Whoever is chosen goes on even where others would have to be available first.
            State::PreparingUpdate if is_chosen && !is_covered => self.update_grown(i, row),
            State::PreparingUpdate
                if !row.is_new && (is_covered || (self.is_rolling() && !self.snapshot.set.is_paused())) =>
            {
                self.bring_back(i, row);
            }
            State::Updating | State::Unset | State::Normal if is_covered => self.cancel(i, row),
            _ => {}
        }
    }

    /// Back into service, without the mark that holds it out of it.
    fn bring_back(&mut self, i: usize, row: &Row<'a>) {
        self.touch(i, Touch::Returned);
        self.enter(row, State::Normal);
    }

    /// The update of a pod whose hook has let it go. Its templates may have grown since it was chosen.
    fn update_grown(&mut self, i: usize, row: &Row<'a>) {
        if self.have_claims_grown(i, row) {
            self.update_one(i, row, Removal::Outdated);
        }
    }

    /// A pod that works and is in its grace period keeps what it runs. Source: statefulset.md 16.3.
    fn cancel(&mut self, i: usize, row: &Row<'a>) {
        let now = self.snapshot.now;
        let Some(live) = row.live.filter(|live| live.view.grace().is_some()) else {
            return;
        };
        if let Some(mut change) = cancel(live, now) {
            if row.state == State::Updating {
                enter(
                    live,
                    State::Normal,
                    &self.snapshot.set.lifecycle,
                    now,
                    &mut change,
                );
            }
            self.touch(i, Touch::Returned);
            self.patch(live, change, PatchWhy::Prepare);
        }
    }
}
