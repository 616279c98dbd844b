//! StatefulSets of `apps.kruise.io`: identities, scale, update in place or by replacement, protection, status.
//!
//! Rely: nobody else creates pods that this StatefulSet controls; every write of the plan carries the preconditions in it.
//! Guarantee: S1, S2, S5, S6, S7, S8.
//!
//! | module | the rules in it |
//! |---|---|
//! | [`identity`] | names, labels and claims of ordinals |
//! | `rows` | what is true of each ordinal and of each pod |
//! | `protection` | which pods work, and what that keeps |
//! | `numbers` | budgets, partition, the revision of a pod that is missing |
//! | `scale` | which pods are created and deleted |
//! | `update` | which pods are updated, and how |
//! | `settle` | pods that hooks hold: on with what was begun, or back |
//! | `claims` | which claims are missing, with whom each goes, when each grows |
//! | `history` | which revision is meant |
//! | `status` | counters and conditions |
//! | `pre_download` | when images are pulled ahead |
//!
//! Source: statefulset.md.

use jiff::Timestamp;
use pitstop_api::view::{StatefulSetView, UpdateType};

mod arbiter;
mod claims;
mod explain;
mod history;
pub mod identity;
mod numbers;
pub mod plan;
mod pre_download;
pub(crate) mod protection;
mod rows;
mod scale;
mod settle;
mod snapshot;
mod status;
mod update;

pub use crate::instances::{
    Action, ClaimWhy, CreatedPod, Failures, InFlight, NewPod, PatchWhy, RefusedResize, Removal,
};
pub use claims::needs_classes;
pub use plan::Plan;
pub use pre_download::pre_download;
pub use protection::{asked_container, can_be_asked, eviction_refusal};
pub use snapshot::{ArbiterAnswers, Claimed, Features, Observation, Observed, Snapshot};

use crate::availability::until;
use crate::instances::history::History;
use crate::instances::stalls::Stall;
use crate::ota;
use crate::plan::OwnedObject;

/// Do the owners of nodes decide when pods are updated? Under OnDelete whoever deletes them does. Source: hub.md B4.
pub(crate) fn is_ota(set: &StatefulSetView) -> bool {
    set.update == UpdateType::RollingUpdate && ota::is_asked_for(&set.annotations)
}

/// Decides what is written for a StatefulSet now.
///
/// Every pod is refreshed in every pass, paused or not. Then pods are created and deleted; where pods come one after the
/// other, nothing else happens until all are available; otherwise pods are updated in the same pass, unless a state has
/// just changed. Source: statefulset.md 5; inplace.md 13.19.
pub fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = Plan::default();
    let history = history::build(snapshot);
    plan.actions.extend(history.actions.iter().cloned());
    let mut rows = rows::Rows::of(snapshot, &history);
    let numbers = numbers::Numbers::of(snapshot, &history, &rows);
    if let Ok(numbers) = &numbers {
        numbers::decide_births(snapshot, &mut rows, numbers.shield.keeps);
    }
    let mut turn = Turn {
        snapshot,
        history: &history,
        claims: claims::Claims::new(snapshot),
        touched: vec![Touch::None; rows.all.len()],
        rows: &rows,
        plan,
        wake_at: None,
        stalled: Vec::new(),
        impossible: Vec::new(),
        refreshes: Vec::new(),
        asked: Vec::new(),
        create_failure: None,
        n_created: 0,
        update_failure: None,
    };
    turn.claim_and_let_go();
    let mut list = Vec::new();
    match &numbers {
        _ if snapshot.set.deleted_at.is_some() => {}
        Ok(numbers) => {
            list = turn.candidates(numbers);
            turn.act(numbers, &list);
        }
        Err(invalid) => {
            turn.refresh();
            turn.write_refreshes();
            turn.plan.events.push(invalid.event());
        }
    }
    let set = snapshot.set;
    let warning = ota::warning(&set.annotations, "StatefulSet", set.generation);
    turn.plan.events.extend(warning);
    turn.tidy_up();
    turn.explain(numbers.as_ref(), &list);
    turn.write_status(numbers.as_ref(), &list);
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
    /// Its update begins.
    Updated,
    /// It is deleted, or prepared for that.
    Deleted,
    /// It comes back from where a hook or a grace period held it.
    Returned,
}

/// One decision under way.
struct Turn<'s, 'a> {
    snapshot: &'s Snapshot<'a>,
    history: &'s History<'a>,
    claims: claims::Claims<'s, 'a>,
    rows: &'s rows::Rows<'a>,
    plan: Plan,
    wake_at: Option<Timestamp>,
    /// Pods whose update in place will never be complete, and why.
    stalled: Vec<(usize, Stall)>,
    /// Pods that cannot be updated, and why in words.
    impossible: Vec<(usize, String)>,
    refreshes: Vec<update::Refresh<'a>>,
    /// Pods for which the arbiter has to be asked first.
    asked: Vec<usize>,
    create_failure: Option<String>,
    /// Pods that this pass makes.
    n_created: usize,
    update_failure: Option<String>,
    touched: Vec<Touch>,
}

impl Turn<'_, '_> {
    /// Refresh, settle, scale, and then update.
    fn act(&mut self, numbers: &numbers::Numbers, list: &[usize]) {
        let is_state_changed = self.refresh();
        self.settle(numbers, list);
        self.give_up(numbers);
        let goes_on = self.scale(numbers);
        if goes_on && !is_state_changed {
            self.update(numbers, list);
        }
        self.ask_again(numbers);
        self.talk_to_arbiter();
        self.write_refreshes();
    }

    /// Pods and revisions that are ours become so, and pods that are not are let go. Source: statefulset.md 4, 5.
    fn claim_and_let_go(&mut self) {
        let (rows, history) = (self.rows, self.history);
        let may_adopt = self.snapshot.may_adopt && self.snapshot.set.deleted_at.is_none();
        if may_adopt {
            let revisions = history.orphans().map(|revision| Action::Adopt {
                object: OwnedObject::Revision,
                name: std::sync::Arc::clone(&revision.name),
                uid: revision.uid,
            });
            self.plan.actions.extend(revisions);
            let pods = rows.orphans.iter().filter(|pod| !pod.is_terminating());
            self.plan.actions.extend(pods.map(|pod| Action::Adopt {
                object: OwnedObject::Pod,
                name: std::sync::Arc::clone(&pod.name),
                uid: pod.uid,
            }));
        }
        if self.snapshot.set.deleted_at.is_none() {
            let released = rows.released.iter();
            self.plan.actions.extend(released.map(|pod| Action::ReleasePod {
                name: std::sync::Arc::clone(&pod.name),
                uid: pod.uid,
            }));
        }
    }

    fn touch(&mut self, i: usize, touch: Touch) {
        if let Some(place) = self.touched.get_mut(i) {
            *place = touch;
        }
    }

    /// Is something done to a pod that takes it out of service, or keeps it there?
    fn is_taken(&self, i: usize) -> bool {
        matches!(self.touched.get(i), Some(Touch::Updated | Touch::Deleted))
    }

    /// Does this pass do anything to a pod but refresh it?
    fn is_touched(&self, i: usize) -> bool {
        !matches!(self.touched.get(i), None | Some(Touch::None | Touch::Refreshed))
    }

    fn wake(&mut self, at: Option<Timestamp>) {
        self.wake_at = [self.wake_at, at].into_iter().flatten().min();
    }
}
