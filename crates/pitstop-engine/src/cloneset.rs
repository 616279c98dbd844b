//! CloneSets: scale, update in place or by replacement, status.
//!
//! Rely: nobody else creates pods that this CloneSet controls; every write of the plan carries the preconditions in it.
//! Guarantee: S1, S2, S5, S6, S7.
//!
//! | module | the rules in it |
//! |---|---|
//! | [`numbers`] | how many pods to add, remove and update: the arithmetic alone |
//! | `rows` | what is true of each pod |
//! | `scale` | which pods are created and deleted |
//! | `update` | which pods are updated, and how |
//! | `history` | which revision is meant, which is current, which are surplus |
//! | `claims` | claims of volumes, and instance ids |
//! | `status` | counters and conditions |
//! | `pre_download` | when images are pulled ahead |
//!
//! Source: cloneset.md.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pitstop_api::view::{CloneSetView, Uid, UpdateType};

mod claims;
mod explain;
mod history;
pub mod instance;
pub mod numbers;
pub mod plan;
mod pre_download;
mod rows;
mod scale;
mod snapshot;
mod status;
mod update;

pub use instance::{claims_of, pod_of};
pub use plan::{Action, NewPod, PatchWhy, Plan, Removal};
pub use pre_download::pre_download;
pub use snapshot::{CreatedPod, Failures, Features, InFlight, RefusedResize, RefusedWrite, Snapshot};
pub use update::{Counted, limit};

use crate::availability::until;
use crate::instances::history::History;
use crate::instances::stalls::Stall;
use crate::ota;

/// Do the owners of nodes decide when pods are updated? Under OnDelete whoever deletes them does. Source: hub.md B4.
pub(crate) fn is_ota(cloneset: &CloneSetView) -> bool {
    cloneset.update.kind == UpdateType::RollingUpdate && ota::is_asked_for(&cloneset.annotations)
}

/// Decides what is written for a CloneSet now.
///
/// Every pod is refreshed in every pass, paused or not: a new pod becomes ready by that. Then pods are created or deleted;
/// only in a pass that does neither are pods updated. Source: cloneset.md 6; inplace.md 13.19.
pub fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = Plan::default();
    let history = history::build(snapshot);
    plan.actions.extend(history.actions.iter().cloned());
    let rows = rows::Rows::of(snapshot, &history);
    plan.actions.extend(rows.releases(snapshot));
    let numbers = numbers::Numbers::of(snapshot, &rows, &history);
    let mut turn = Turn {
        snapshot,
        history: &history,
        rows: &rows,
        plan,
        wake_at: None,
        stalled: Vec::new(),
        impossible: Vec::new(),
        refreshes: Vec::new(),
        update_failure: None,
        touched: vec![Touch::None; rows.active.len()],
        put_off: BTreeMap::new(),
    };
    turn.put_off();
    let invalid = numbers.as_ref().err().map(|invalid| invalid.field.clone());
    match &numbers {
        _ if snapshot.cloneset.deleted_at.is_some() => {}
        Ok(numbers) => turn.act(numbers),
        Err(invalid) => {
            turn.refresh();
            turn.write_refreshes();
            turn.plan.events.push(invalid.event());
        }
    }
    let cloneset = snapshot.cloneset;
    let warning = ota::warning(&cloneset.annotations, "CloneSet", cloneset.generation);
    turn.plan.events.extend(warning);
    turn.tidy_up();
    turn.explain(numbers.as_ref().ok(), invalid.as_ref());
    turn.write_status(numbers.as_ref().ok());
    let now = snapshot.now;
    turn.plan.requeue_after = turn.wake_at.map(|at| until(now, at));
    turn.plan
}

/// What this pass does to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Touch {
    /// Nothing.
    None,
    /// Its update goes on, or its state changes.
    Refreshed,
    /// It returns to service without the update that it left it for.
    Returned,
    /// Its update begins.
    Updated,
    /// It is deleted, or prepared for that.
    Deleted,
}

/// One decision under way.
struct Turn<'s, 'a> {
    snapshot: &'s Snapshot<'a>,
    history: &'s History<'a>,
    rows: &'s rows::Rows<'a>,
    plan: Plan,
    wake_at: Option<Timestamp>,
    /// Pods whose update in place will never be complete, and why.
    stalled: Vec<(usize, Stall)>,
    /// Pods that cannot be updated in place, and why in words.
    impossible: Vec<(usize, String)>,
    refreshes: Vec<update::Refresh<'a>>,
    update_failure: Option<String>,
    touched: Vec<Touch>,
    /// Pods that nothing is written about for a while, since the server refused it. Source: cloneset.md 18.24.
    put_off: BTreeMap<usize, &'s RefusedWrite>,
}

impl Turn<'_, '_> {
    /// Refresh, and then scale or update.
    fn act(&mut self, numbers: &numbers::Numbers) {
        let is_state_changed = self.refresh();
        let has_scaled = self.scale(numbers);
        if !has_scaled && !is_state_changed {
            self.update(numbers);
        }
        self.write_refreshes();
    }

    /// What was refused is tried again later, and holds nobody else up.
    fn put_off(&mut self) {
        let (snapshot, rows) = (self.snapshot, self.rows);
        let refused = snapshot.in_flight.refused_writes.iter();
        let refused = refused.filter(|refused| snapshot.now < refused.until);
        let by_pod: BTreeMap<Uid, &RefusedWrite> = refused.map(|refused| (refused.pod, refused)).collect();
        if by_pod.is_empty() {
            return;
        }
        for (i, row) in rows.active.iter().enumerate() {
            if let Some(refused) = by_pod.get(&row.pod.uid) {
                self.put_off.insert(i, refused);
                self.wake(Some(refused.until));
            }
        }
    }

    /// Is nothing written about this pod for a while?
    fn is_put_off(&self, i: usize) -> bool {
        self.put_off.contains_key(&i)
    }

    fn touch(&mut self, i: usize, touch: Touch) {
        if let Some(place) = self.touched.get_mut(i) {
            *place = touch;
        }
    }

    fn wake(&mut self, at: Option<Timestamp>) {
        self.wake_at = [self.wake_at, at].into_iter().flatten().min();
    }
}
