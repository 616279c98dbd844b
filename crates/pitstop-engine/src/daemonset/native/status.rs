//! What the status says. Source: daemonset.md A12.

use std::sync::Arc;

use pitstop_api::view::DaemonSetStatus;

use super::Turn;
use crate::availability::available_at;
use crate::daemonset::{add, earlier};

impl Turn<'_, '_> {
    /// The status as it is now, before anything of this plan is done. The first pod of a node speaks for it.
    pub(super) fn status(&mut self) -> DaemonSetStatus {
        let daemonset = self.snapshot.daemonset;
        let mut status = DaemonSetStatus {
            observed_generation: daemonset.generation,
            collision_count: daemonset.status.collision_count,
            desired_number_scheduled: self.desired,
            update_revision: daemonset
                .advanced
                .is_some()
                .then(|| Arc::clone(&self.history.target)),
            ..DaemonSetStatus::default()
        };
        let mut wake_at = self.wake_at;
        for spot in self.spots.iter() {
            let rows = self.board.on(spot.slot);
            let Some(first) = rows.clone().next() else {
                continue;
            };
            // A surge pod speaks for nobody yet, but the rollout waits for it.
            for row in rows.filter(|row| !row.is_available && !row.is_terminating) {
                wake_at = earlier(wake_at, available_at(row.pod, daemonset.min_ready_seconds));
            }
            if !spot.eligible.should_run {
                add(&mut status.number_misscheduled, true);
                continue;
            }
            add(&mut status.current_number_scheduled, true);
            add(&mut status.updated_number_scheduled, first.is_new);
            add(
                &mut status.number_ready,
                first.is_available || first.pod.is_ready(),
            );
            add(&mut status.number_available, first.is_available);
        }
        self.wake_at = wake_at;
        status.number_unavailable = self.desired.saturating_sub(status.number_available);
        status
    }
}
