//! `pitstop.io/update-protection`: outdated pods that work right now are left alone.
//!
//! The rule is that of StatefulSets: what is not known counts as work, and a pod that is on its way out, or has ended, cannot
//! be protected any more. A protected pod that is not available counts as down all the same. Whether it works is looked at
//! when its turn comes, and the write that takes it down names the version that was looked at: a pod that begins to work
//! meanwhile keeps running.
//!
//! Source: spec/README.md, `update-protection`; statefulset.md 16.2, 16.3.

use super::Turn;
use crate::daemonset::board::Row;
use crate::daemonset::count;
use crate::plan::{ProtectedBy, Reason};
use crate::statefulset::protection::unanswered;

impl<'s, 'a: 's> Turn<'s, 'a> {
    /// Does the pod work, or does nobody know?
    pub(super) fn protects(&self, row: &Row<'_>) -> bool {
        self.keys.protection.as_ref().is_some_and(|protection| {
            let is_over = row.is_terminating || row.is_terminal;
            !is_over && unanswered(protection, row.pod).is_some()
        })
    }

    /// With fewer pods that work than have to, none is disrupted.
    pub(super) fn too_few_work(&self) -> Option<Reason> {
        let least = self.keys.protection.as_ref()?.min_protected;
        let rows = self.spots.iter().flat_map(|spot| self.board.on(spot.slot));
        let too_few = least > 0 && count(rows.filter(|row| self.protects(row))) < least;
        too_few.then_some(Reason::Protected {
            by: ProtectedBy::TooFew,
        })
    }
}
