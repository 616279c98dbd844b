//! Which pods are created and deleted.
//!
//! Source: statefulset.md 5, steps 8 to 10.

use std::sync::Arc;

use jiff::Timestamp;
use pitstop_api::view::{Phase, UpdateType};
use pitstop_api::{keys, reasons};
use serde_json::json;

use super::identity::{has_identity, pod_name, pod_of};
use super::numbers::Numbers;
use super::rows::{Place, Row};
use super::{Action, NewPod, PatchWhy, Removal, Touch, Turn};
use crate::availability::{available_at, later};
use crate::inplace::{Change, Endpoint, PodWrite, is_same_revision};
use crate::instances::MOST_CREATED;
use crate::lifecycle::{State, enter, is_hooked};
use crate::plan::Event;

/// How soon to look again at a claim that goes. Units: seconds. Source: statefulset.md 15.1 row 19.
const CLAIM_RECHECK: i64 = 5;

/// What there is of an ordinal, after this pass has done what it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visit {
    /// Its pod is available.
    Available,
    /// It has none, or one that is not available.
    Down,
    /// It waits for something that costs no budget.
    Waits,
}

impl<'a> Turn<'_, 'a> {
    /// Creates and deletes pods; says whether updates may follow.
    pub(super) fn scale(&mut self, numbers: &Numbers) -> bool {
        let is_parallel = self.snapshot.set.is_parallel;
        self.leave_claims_to_ending();
        let mut budget = numbers.scale_budget;
        for rank in 0..self.rows.slots.len() {
            let visit = self.visit(rank, numbers);
            match visit {
                Visit::Down | Visit::Waits if !is_parallel => return false,
                Visit::Available | Visit::Waits => {}
                // Each pod costs the budget once (15.1 row 3).
                Visit::Down => {
                    if let Some(left) = &mut budget {
                        *left = left.saturating_sub(1);
                        if *left == 0 {
                            break;
                        }
                    }
                }
            }
        }
        if is_parallel {
            self.scale_down_together(numbers);
            true
        } else {
            self.scale_down_in_order(numbers)
        }
    }

    /// Claims of pods that are too many and end already go with them, whoever deleted them. Source: statefulset.md 5, step 9.
    fn leave_claims_to_ending(&mut self) {
        let rows = self.rows;
        let condemned = rows.condemned.iter().filter_map(|i| rows.all.get(*i));
        for row in condemned.filter(|row| row.is_terminating) {
            let owners = self.claims.bequeath(row, true);
            self.plan.actions.extend(owners);
        }
    }

    fn visit(&mut self, rank: usize, numbers: &Numbers) -> Visit {
        let Some(slot) = self.rows.slots.get(rank) else {
            return Visit::Waits;
        };
        match slot.place {
            Place::Missing { is_new } => self.create(slot.ordinal, is_new),
            Place::Unseen { .. } => Visit::Down,
            Place::Orphan => Visit::Waits,
            Place::Pod(i) => match self.rows.all.get(i) {
                Some(row) => self.visit_pod(rank, i, &row.clone(), numbers),
                None => Visit::Waits,
            },
        }
    }

    fn visit_pod(&mut self, rank: usize, i: usize, row: &Row<'a>, numbers: &Numbers) -> Visit {
        if row.pod.is_terminal() {
            // The pod goes first, and then costs the budget (15.1 row 2).
            if !row.is_terminating {
                self.delete(i, row, Removal::Ended);
            }
            return Visit::Down;
        }
        if row.is_terminating {
            return Visit::Down;
        }
        self.keep_identity(i, row);
        if self.is_taken(i) || row.is_in_doubt {
            return Visit::Down;
        }
        if row.is_available() {
            return Visit::Available;
        }
        self.wake_for_min_ready(row);
        if !self.snapshot.set.is_parallel {
            self.clear_the_way(rank, i, row, numbers);
        }
        Visit::Down
    }

    fn create(&mut self, ordinal: u32, is_new: bool) -> Visit {
        let (snapshot, history) = (self.snapshot, self.history);
        let set = snapshot.set;
        let name = pod_name(&set.name, ordinal);
        if let Some(obstacle) = self.claims.obstacle(ordinal) {
            let text = obstacle.text();
            if matches!(obstacle, super::claims::NotYet::Terminating(_)) {
                let message = format!(
                    "create Pod {name} in StatefulSet {} failed error: {text}",
                    set.name
                );
                self.warn(reasons::FAILED_CREATE, message, Some(name));
                self.create_failure.get_or_insert(text);
            }
            self.wake(Some(later(snapshot.now, CLAIM_RECHECK)));
            return Visit::Waits;
        }
        if self.n_created >= MOST_CREATED {
            return Visit::Down;
        }
        self.n_created = self.n_created.saturating_add(1);
        let revision = if is_new { &history.update } else { &history.current };
        let index = snapshot.features.labels_index;
        self.plan.actions.push(Action::CreatePod(NewPod {
            name: name.into(),
            instance: ordinal.to_string().into(),
            revision: Arc::clone(&revision.name),
            manifest: pod_of(
                set,
                revision.template(),
                &revision.name,
                ordinal,
                index,
                snapshot.now,
            ),
            claims: self.claims.missing(ordinal),
        }));
        Visit::Down
    }

    /// Claims and labels of a pod become what they are to be. Source: statefulset.md 5, steps 8c and 8g.
    ///
    /// Differs from upstream: the volumes of a pod that is there are left as they are, since no server changes them.
    fn keep_identity(&mut self, i: usize, row: &Row<'a>) {
        if row.pod.phase == Phase::Pending {
            let missing = self.claims.missing(row.ordinal).into_iter();
            let pod = &row.pod.name;
            self.plan
                .actions
                .extend(missing.map(|manifest| Action::CreateClaim {
                    pod: Arc::clone(pod),
                    manifest,
                }));
        }
        let owners = self.claims.bequeath(row, false);
        self.plan.actions.extend(owners);
        if !has_identity(row.pod) && !self.is_touched(i) {
            let name = &row.pod.name;
            self.touch(i, Touch::Returned);
            self.plan.actions.push(Action::PatchPod {
                name: Arc::clone(name),
                uid: row.pod.uid,
                resource_version: row.pod.resource_version,
                writes: vec![PodWrite {
                    endpoint: Endpoint::Pod,
                    patch: json!({ "metadata": { "labels": { keys::STATEFUL_POD_NAME: name } } }),
                }],
                why: PatchWhy::Identity,
            });
        }
    }

    /// A pod in the way of all that come after it: one that is to go anyway, or one of a revision that does not work.
    ///
    /// Source: statefulset.md 15.1 row 8.
    fn clear_the_way(&mut self, rank: usize, i: usize, row: &Row<'a>, numbers: &Numbers) {
        let snapshot = self.snapshot;
        if row.is_specified {
            self.delete_specified(i, row, numbers);
            return;
        }
        if row.state == State::PreparingDelete {
            return;
        }
        let Some((wanted, due)) = self.replacement(rank, row, numbers) else {
            return;
        };
        if due > snapshot.now {
            self.wake(Some(due));
            return;
        }
        // Whatever brings a pod to the update revision, its claims grow first (8).
        if is_for_update(rank, numbers) && !self.have_claims_grown(i, row) {
            return;
        }
        let message = format!(
            "pod {} of revision {} is not ready and in the way: it goes to revision {wanted}",
            row.pod.name,
            row.revision(),
        );
        let once_per = format!("{}/{wanted}", row.pod.uid);
        self.warn(reasons::BROKEN_POD_REPLACED, message, Some(once_per));
        if is_for_update(rank, numbers) {
            self.update_one(i, row, Removal::Broken);
        } else {
            self.delete(i, row, Removal::Broken);
        }
    }

    /// The revision that a pod in the way goes to, since it is not ready and its own is not that of its ordinal, and from when
    /// on. Source: statefulset.md 6.1, 15.1 row 8.
    pub(super) fn replacement(
        &self,
        rank: usize,
        row: &Row<'_>,
        numbers: &Numbers,
    ) -> Option<(Arc<str>, Timestamp)> {
        let snapshot = self.snapshot;
        let set = snapshot.set;
        let is_wanted = set
            .annotations
            .get(keys::REPLACE_BROKEN)
            .is_none_or(|text| text != "false");
        let is_rolling = set.update == UpdateType::RollingUpdate && !set.is_paused();
        if set.is_parallel || !is_wanted || !is_rolling || row.is_ready {
            return None;
        }
        let wanted = if is_for_update(rank, numbers) {
            &self.history.update
        } else if super::update::must_stay(set) {
            return None;
        } else {
            &self.history.current
        };
        let is_left = numbers.shield.covers(row.guard) || !self.may_update(row);
        if is_same_revision(row.revision(), &wanted.name) || is_left {
            return None;
        }
        let ready_since = row.pod.ready.and_then(|ready| ready.since);
        let since = ready_since.map_or(row.pod.created_at, |since| since.max(row.pod.created_at));
        let due = later(since, i64::from(snapshot.features.broken_after_seconds));
        Some((Arc::clone(&wanted.name), due))
    }

    /// Is a pod that prepares to go on its way since it was in the way? Source: statefulset.md 15.1 rows 8 and 10.
    pub(super) fn is_being_replaced(&self, rank: usize, row: &Row<'_>, numbers: &Numbers) -> bool {
        row.state == State::PreparingDelete
            && self
                .replacement(rank, row, numbers)
                .is_some_and(|(_, due)| due <= self.snapshot.now)
    }

    /// All at once. Source: statefulset.md 5, step 10; 16.3.
    fn scale_down_together(&mut self, numbers: &Numbers) {
        for i in self.rows.condemned.clone() {
            let Some(row) = self.rows.all.get(i).copied() else {
                continue;
            };
            if row.is_terminating {
                continue;
            }
            if self.keeps_condemned(&row, numbers) {
                self.defer(&row, numbers, "is one too many");
            } else {
                self.condemn(i, &row, numbers);
            }
        }
    }

    /// One after the other, the highest first; says whether none is left. Source: statefulset.md 5, step 10.
    fn scale_down_in_order(&mut self, numbers: &Numbers) -> bool {
        let condemned = self.rows.condemned.clone();
        // All others are available by now.
        let healthy = |i: &usize| self.rows.all.get(*i).is_none_or(Row::is_healthy);
        let first_unhealthy = condemned.iter().rev().find(|i| !healthy(i)).copied();
        if let Some(i) = condemned.first().copied()
            && let Some(row) = self.rows.all.get(i).copied()
        {
            let may_go = (row.is_ready && row.is_available()) || first_unhealthy == Some(i);
            let is_prepared = row.state == State::PreparingDelete;
            // A pod that its hook holds is waited for (15.1 row 9).
            if !row.is_terminating && self.keeps_condemned(&row, numbers) {
                self.defer(&row, numbers, "is one too many");
                self.wake_for_min_ready(&row);
            } else if !row.is_terminating && (may_go || is_prepared) {
                self.condemn(i, &row, numbers);
            } else if !row.is_terminating {
                self.wake_for_min_ready(&row);
            }
        }
        condemned.is_empty()
    }

    /// Does a pod that is one too many stay, since it works? Source: statefulset.md 16.1, `onScaleDown`.
    pub(super) fn keeps_condemned(&self, row: &Row<'_>, numbers: &Numbers) -> bool {
        self.blocks_scale_down() && numbers.shield.covers(row.guard)
    }

    fn blocks_scale_down(&self) -> bool {
        match &self.snapshot.set.protection {
            None => false,
            Some(Ok(protection)) => protection.blocks_scale_down,
            Some(Err(_)) => true,
        }
    }

    /// Its claims are left to it first where they go with it, and then it goes. Source: statefulset.md 5, steps 9, 10.
    fn condemn(&mut self, i: usize, row: &Row<'a>, numbers: &Numbers) {
        let owners = self.claims.bequeath(row, true);
        if !owners.is_empty() {
            // Only a claim that is seen to be left to it goes with it.
            self.plan.actions.extend(owners);
            self.touch(i, Touch::Deleted);
            return;
        }
        // Where pods that work go as well, nobody is asked whether they do.
        if !self.blocks_scale_down() || self.may_disrupt(i, row, numbers) {
            self.delete(i, row, Removal::ScaledDown);
        }
    }

    /// Deletes a pod, or asks its hook first. Source: statefulset.md 5.1, 15.1 row 18.
    pub(super) fn delete(&mut self, i: usize, row: &Row<'a>, why: Removal) {
        if self.is_touched(i) {
            return;
        }
        let hook = self.snapshot.set.lifecycle.pre_delete.as_ref();
        self.touch(i, Touch::Deleted);
        if row.live.is_some_and(|live| is_hooked(hook, live)) {
            self.enter(row, State::PreparingDelete);
            return;
        }
        self.plan.actions.push(Action::DeletePod {
            name: Arc::clone(&row.pod.name),
            uid: row.pod.uid,
            resource_version: Some(row.pod.resource_version),
            claims: Vec::new(),
            why,
        });
    }

    /// Changes the state of a pod.
    pub(super) fn enter(&mut self, row: &Row<'a>, state: State) {
        let Some(live) = row.live else { return };
        let (lifecycle, now) = (&self.snapshot.set.lifecycle, self.snapshot.now);
        let mut change = Change::default();
        enter(live, state, lifecycle, now, &mut change);
        self.patch(live, change, PatchWhy::Prepare);
    }

    pub(super) fn warn(&mut self, reason: &'static str, message: String, once_per: Option<String>) {
        self.plan.events.push(Event {
            is_warning: true,
            reason,
            message: message.into(),
            once_per,
        });
    }

    pub(super) fn wake_for_min_ready(&mut self, row: &Row<'_>) {
        if row.is_ready && !row.is_settled {
            self.wake(available_at(row.pod, self.snapshot.set.min_ready_seconds()));
        }
    }
}

/// Does 6.1 give this slot the update revision?
fn is_for_update(rank: usize, numbers: &Numbers) -> bool {
    rank >= usize::try_from(numbers.shield.keeps).unwrap_or(usize::MAX)
}
