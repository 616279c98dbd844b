//! Which pods are updated, and how.
//!
//! Source: statefulset.md 6, 7.

use std::sync::Arc;

use pitstop_api::view::{PodUpdatePolicy, PodView, PriorityStrategy, StatefulSetView, UpdateType};
use pitstop_api::{keys, reasons};

use super::numbers::{Numbers, counts_as_new};
use super::rows::{Place, Row};
use super::{Action, ClaimWhy, PatchWhy, Removal, Touch, Turn};
use crate::availability::later;
use crate::inplace::diff::DiffOptions;
use crate::inplace::readiness::say_first_word;
use crate::inplace::{Change, Live, UpdateSpec, Verdict, WhyRecreate, begin};
use crate::instances::carry_on::{UnderWay, carry_on, needs_refresh};
use crate::instances::consent::{Offers, Policy, stays};
use crate::instances::history::label_of;
use crate::instances::stalls::{Stall, init_containers_stay};
use crate::lifecycle::{BeforeUpdate, State, before_update, enter, hook_again};
use crate::order::priority;
use crate::ota;
use crate::plan::Event;
use crate::shared_labels::revisions_of;

/// How soon to look again at a claim that cannot grow: nobody tells when its class of storage changes. Units: seconds. The
/// longest wait for a right that is missing, too.
const CLASS_RECHECK: i64 = 30;

fn policy(set: &StatefulSetView) -> Option<&PodUpdatePolicy> {
    set.rolling.as_ref().map(|rolling| &rolling.pod_update_policy)
}

/// May pods stay when they are updated?
pub(super) fn may_stay(set: &StatefulSetView) -> bool {
    matches!(
        policy(set),
        Some(PodUpdatePolicy::InPlaceIfPossible | PodUpdatePolicy::InPlaceOnly)
    )
}

pub(super) fn must_stay(set: &StatefulSetView) -> bool {
    policy(set) == Some(&PodUpdatePolicy::InPlaceOnly)
}

/// What a comparison of revisions depends on. Claim templates are no part of revisions.
pub(super) fn diff_options(set: &StatefulSetView, features: crate::inplace::Features) -> DiffOptions {
    DiffOptions {
        features,
        grace_seconds: set
            .rolling
            .as_ref()
            .map_or(0, |rolling| rolling.in_place.grace_period_seconds),
        ignores_claims: true,
    }
}

/// A refresh that is to be written, unless something else is done to its pod.
pub(super) struct Refresh<'a> {
    i: usize,
    live: Live<'a>,
    change: Change,
    pub(super) why: PatchWhy,
}

/// Ordinals that are down, by rank.
struct Down {
    flags: Vec<bool>,
    n: usize,
}

impl Down {
    fn has(&self, rank: usize) -> bool {
        self.flags.get(rank).copied().unwrap_or_default()
    }

    fn add(&mut self, rank: usize) {
        if let Some(flag) = self.flags.get_mut(rank).filter(|flag| !**flag) {
            *flag = true;
            self.n = self.n.saturating_add(1);
        }
    }
}

impl<'a> Turn<'_, 'a> {
    pub(super) fn is_rolling(&self) -> bool {
        self.snapshot.set.update == UpdateType::RollingUpdate
    }

    /// Carries every pod's update on, and its state; says whether a state changes. Source: statefulset.md 6.2, step 2.
    pub(super) fn refresh(&mut self) -> bool {
        let mut is_state_changed = false;
        let (rows, snapshot) = (self.rows, self.snapshot);
        let labels = self.arbiter_labels();
        let is_ota = super::is_ota(snapshot.set);
        let revision = label_of(&self.history.update.name, false);
        let policy = Policy {
            may_stay: may_stay(snapshot.set),
            must_stay: must_stay(snapshot.set),
            options: diff_options(snapshot.set, snapshot.features.in_place),
        };
        let mut offers =
            is_ota.then(|| Offers::new(self.history, revision, policy, &snapshot.in_flight, snapshot.now));
        for (i, row) in rows.all.iter().enumerate() {
            let Some(live) = row.live.filter(|_| !row.is_terminating) else {
                continue;
            };
            let mut change = Change::default();
            let mut state_now = row.state;
            if needs_refresh(live, row.state) {
                let in_flight = &snapshot.in_flight;
                let carried = carry_on(&UnderWay {
                    live,
                    state: row.state,
                    is_at_target: row.is_new,
                    waits_for_node: false,
                    template: self.history.template_of(row.revision()),
                    refused_resize: in_flight.refused_resize(row.pod.uid, row.revision()),
                    lifecycle: &snapshot.set.lifecycle,
                    features: snapshot.features.in_place,
                    now: snapshot.now,
                });
                self.wake(carried.wake_at);
                self.stalled.extend(carried.stalled.map(|why| (i, why)));
                is_state_changed |= carried.new_state.is_some();
                state_now = carried.new_state.unwrap_or(row.state);
                change = carried.change;
            }
            say_first_word(live, snapshot.now, &mut change);
            let told = ota::Told {
                live,
                state: state_now,
                is_new: row.is_new,
                is_ota,
                revision,
                offer: offers.as_mut().and_then(|offers| offers.of(live, row.revision())),
            };
            ota::tell(told, snapshot.now, &mut change);
            let mut why = PatchWhy::Refresh;
            // A write of its own, by another manager: it comes when nothing else is to be written.
            if let Some((key, value)) = labels.get(&row.pod.uid).filter(|_| change.is_empty()) {
                change.label(key, value);
                why = PatchWhy::ArbiterLabel;
            }
            if !change.is_empty() {
                self.touch(i, Touch::Refreshed);
                self.refreshes.push(Refresh { i, live, change, why });
            }
        }
        is_state_changed
    }

    /// An update in place that will never be complete ends in a replacement, where that is allowed.
    ///
    /// Source: inplace.md 13.8, 13.9.
    pub(super) fn give_up(&mut self, numbers: &Numbers) {
        for (i, stall) in std::mem::take(&mut self.stalled) {
            let Some(row) = self.rows.all.get(i).copied() else {
                continue;
            };
            let event = stall.event(row.pod, row.revision());
            let set = self.snapshot.set;
            let may_replace = may_stay(set) && !must_stay(set);
            if stall.is_failure(may_replace) {
                self.update_failure
                    .get_or_insert_with(|| event.message.to_string());
            }
            self.plan.events.push(event);
            let Stall::Never(why) = stall else { continue };
            if may_replace && !numbers.shield.covers(row.guard) && self.may_update(&row) {
                self.delete(i, &row, Removal::Outdated);
            }
            self.impossible.push((i, why.to_string()));
        }
    }

    /// Writes the refreshes of pods that nothing else is done to.
    pub(super) fn write_refreshes(&mut self) {
        for refresh in std::mem::take(&mut self.refreshes) {
            let is_only_refreshed = self.touched.get(refresh.i) == Some(&Touch::Refreshed);
            if is_only_refreshed {
                self.patch(refresh.live, refresh.change, refresh.why);
            }
        }
    }

    /// The ordinals whose turn it is, or was, in order, by rank. Source: statefulset.md 6.2, step 7; 16.3.
    pub(super) fn candidates(&self, numbers: &Numbers) -> Vec<usize> {
        let (rows, set) = (self.rows, self.snapshot.set);
        let keeps = usize::try_from(numbers.shield.keeps).unwrap_or(usize::MAX);
        let quota = rows.slots.len().saturating_sub(keeps);
        if quota == 0 || !self.is_rolling() || set.is_paused() {
            return Vec::new();
        }
        let descending = (0..rows.slots.len()).rev();
        if !set.is_unordered() {
            let mut list: Vec<usize> = descending.take(quota).collect();
            self.asked_first(&mut list);
            list.retain(|rank| rows.pod_of(*rank).is_none_or(|(_, row)| self.may_update(&row)));
            return list;
        }
        let (mut done, mut waiting) = (Vec::new(), Vec::new());
        for rank in descending {
            match rows.slots.get(rank).map(|slot| slot.place) {
                Some(Place::Missing { is_new } | Place::Unseen { is_new }) if is_new => done.push(rank),
                Some(Place::Pod(_)) => {
                    let Some((_, row)) = rows.pod_of(rank) else {
                        continue;
                    };
                    let is_done = row.is_terminating || counts_as_new(self.snapshot, row.is_new, row.state);
                    if is_done {
                        done.push(rank);
                    } else if !numbers.shield.covers(row.guard) {
                        waiting.push(rank);
                    }
                }
                _ => {}
            }
        }
        let none = PriorityStrategy::None;
        let strategy = set.rolling.as_ref().map_or(&none, |rolling| &rolling.priority);
        if *strategy != PriorityStrategy::None {
            let pods: Vec<(usize, &PodView)> = waiting
                .iter()
                .filter_map(|rank| Some((*rank, rows.pod_of(*rank)?.1.pod)))
                .collect();
            let views: Vec<&PodView> = pods.iter().map(|(_, pod)| *pod).collect();
            let mut order: Vec<usize> = (0..views.len()).collect();
            priority::sort(&mut order, &views, strategy);
            waiting = order.iter().filter_map(|i| Some(pods.get(*i)?.0)).collect();
        }
        // Whoever may go by the arbiter goes before the arbiter is asked for others.
        waiting.sort_by_key(|rank| !rows.pod_of(*rank).is_some_and(|(_, row)| self.is_granted(&row)));
        self.asked_first(&mut waiting);
        waiting.retain(|rank| rows.pod_of(*rank).is_none_or(|(_, row)| self.may_update(&row)));
        done.into_iter().chain(waiting).take(quota).collect()
    }

    /// Whoever was asked for comes first, whatever the order is otherwise. Source: hub.md B4.
    fn asked_first(&self, ranks: &mut [usize]) {
        ranks.sort_by_key(|rank| {
            let pod = self.rows.pod_of(*rank);
            !pod.is_some_and(|(_, row)| row.is_requested && !row.is_new)
        });
    }

    /// Under OTA a pod is left alone until the owner of its node asks for the very revision (S4).
    pub(super) fn may_update(&self, row: &Row<'_>) -> bool {
        row.is_new || row.is_requested || !super::is_ota(self.snapshot.set)
    }

    /// Source: statefulset.md 6.2, steps 4 to 8.
    pub(super) fn update(&mut self, numbers: &Numbers, list: &[usize]) {
        let rows = self.rows;
        let mut down = self.down();
        let max = usize::try_from(numbers.max_unavailable).unwrap_or(usize::MAX);
        for rank in (0..rows.slots.len()).rev() {
            let Some((i, row)) = rows.pod_of(rank) else {
                continue;
            };
            // One that is on its way out is not deleted again (15.1 row 14).
            let is_due = row.is_specified && !row.is_terminating && !self.is_touched(i);
            if is_due && (down.n < max || down.has(rank)) {
                self.delete_specified(i, &row, numbers);
                if self.is_taken(i) || self.is_asked(i) {
                    down.add(rank);
                }
            }
        }
        let free = self.free_revisions(list);
        for rank in list {
            let Some((i, row)) = rows.pod_of(*rank) else {
                continue;
            };
            let is_done = row.is_new && !self.claims.is_small(row.ordinal);
            let is_gone = row.is_terminating || row.is_specified || row.pod.is_terminal();
            if is_done || is_gone || self.is_touched(i) || numbers.shield.covers(row.guard) {
                continue;
            }
            if !row.is_new && free.contains(&row.revision()) {
                self.update_one(i, &row, Removal::Outdated);
                continue;
            }
            // One that is down already costs nothing, also after the budget is used up (15.1 row 7).
            if down.n >= max && !down.has(*rank) {
                continue;
            }
            if !self.have_claims_grown(i, &row) {
                down.add(*rank);
                continue;
            }
            if row.is_new {
                continue;
            }
            // For one that cannot be updated nobody is asked.
            if !self.can_update(&row) || self.may_disrupt(i, &row, numbers) {
                self.update_one(i, &row, Removal::Outdated);
            }
            if self.is_taken(i) || self.is_asked(i) {
                down.add(*rank);
            }
        }
    }

    /// The ordinals that are down. Source: statefulset.md 6.2, step 5.
    fn down(&mut self) -> Down {
        let rows = self.rows;
        let mut down = Down {
            flags: vec![false; rows.slots.len()],
            n: 0,
        };
        for rank in 0..rows.slots.len() {
            match rows.pod_of(rank) {
                Some((i, row))
                    if row.is_up() && !self.is_taken(i) && !self.claims.is_growing(row.ordinal) => {}
                Some((_, row)) => {
                    self.wake_for_min_ready(&row);
                    down.add(rank);
                }
                None => down.add(rank),
            }
        }
        down
    }

    /// A pod that somebody marked to be deleted goes, unless it works. Source: statefulset.md 6.2, step 6; 16.3.
    pub(super) fn delete_specified(&mut self, i: usize, row: &Row<'a>, numbers: &Numbers) {
        if numbers.shield.covers(row.guard) {
            self.defer(row, numbers, "is to be deleted");
        } else if self.may_disrupt(i, row, numbers) {
            self.delete(i, row, Removal::Specified);
        }
    }

    /// Tells that a pod that was to go stays while it is protected. `what`: what is to become of it. Source: statefulset.md
    /// 16.5.
    pub(super) fn defer(&mut self, row: &Row<'_>, numbers: &Numbers, what: &str) {
        let Some(by) = numbers.shield.cause(row.guard) else {
            return;
        };
        if self.snapshot.awaits_arbiter() {
            return;
        }
        let name = &row.pod.name;
        self.plan.events.push(Event {
            is_warning: false,
            reason: reasons::PROTECTED_POD_DEFERRED,
            message: format!("pod {name} {what}, and stays: {}", by.sentence()).into(),
            once_per: Some(format!("{}/{by:?}", row.pod.uid)),
        });
    }

    /// The revisions from which pods come to the target without a container being touched: they cost no budget.
    ///
    /// Where a hook is asked before an update, or claims grow, every one costs. Source: inplace.md 13.7.
    fn free_revisions(&self, list: &[usize]) -> Vec<&'a str> {
        let set = self.snapshot.set;
        if !may_stay(set) || set.lifecycle.in_place_update.is_some() || self.claims.grow() {
            return Vec::new();
        }
        let pods = list.iter().filter_map(|rank| self.rows.pod_of(*rank));
        let old = pods.filter(|(_, row)| !row.is_new);
        let mut revisions = revisions_of(old.map(|(_, row)| row.pod));
        let options = diff_options(set, self.snapshot.features.in_place);
        revisions.retain(|revision| {
            let verdict = self.history.diff(revision, &self.history.update, options);
            matches!(verdict, Verdict::InPlace(spec) if !spec.touches_containers())
        });
        revisions
    }

    /// Have the claims of a pod grown to their templates? If not, they do now. Source: statefulset.md 8.
    pub(super) fn have_claims_grown(&mut self, i: usize, row: &Row<'a>) -> bool {
        if !self.claims.grow() {
            return true;
        }
        let growths = self.claims.growth(row.ordinal);
        let (mut is_settled, mut failure) = (true, None);
        for (claim, template, growth) in growths {
            is_settled &= growth.is_completed;
            if growth.is_compatible {
                continue;
            }
            if growth.differs_otherwise {
                let name = &claim.name;
                failure = Some(format!(
                    "failed to update pvc {name}: contains diff other than spec resource, wait pvc to be deleted"
                ));
                continue;
            }
            let is_asked = |action: &Action| matches!(action, Action::PatchClaim { uid, why: ClaimWhy::Resize, .. } if *uid == claim.uid);
            if self.plan.actions.iter().any(is_asked) {
                continue;
            }
            match self.claims.resize(claim, template, &row.pod.name) {
                Ok(action) => self.plan.actions.push(action),
                Err(why) => failure = Some(why),
            }
        }
        if let Some(why) = failure {
            self.warn(
                reasons::FAILED_UPDATE_CLAIM,
                why.clone(),
                Some(row.pod.name.to_string()),
            );
            self.impossible.push((i, why.clone()));
            self.update_failure.get_or_insert(why);
            self.wake(Some(later(self.snapshot.now, CLASS_RECHECK)));
            is_settled = false;
        }
        is_settled
    }

    /// Moves a pod to the update revision. Source: statefulset.md 6.2, step 8; 7.
    pub(super) fn update_one(&mut self, i: usize, row: &Row<'a>, why: Removal) {
        if self.is_touched(i) {
            return;
        }
        let (snapshot, history) = (self.snapshot, self.history);
        let set = snapshot.set;
        if !may_stay(set) {
            if !matches!(policy(set), Some(PodUpdatePolicy::Other(_))) {
                self.delete(i, row, why);
            }
            return;
        }
        let (live, spec) = match self.in_place(row) {
            Ok(possible) => possible,
            Err(why_not) if must_stay(set) => {
                self.refuse(i, row, &why_not);
                return;
            }
            Err(_) => {
                self.delete(i, row, why);
                return;
            }
        };
        let (lifecycle, now) = (&set.lifecycle, snapshot.now);
        match before_update(live, lifecycle) {
            BeforeUpdate::Update => {
                self.plan.events.extend(init_containers_stay(&spec));
                let revision = Arc::clone(&history.update.name);
                let mut change = begin(live, &spec, snapshot.features.in_place, now);
                change.label(keys::REVISION_HASH, label_of(&revision, false));
                if row.state != State::Unset {
                    enter(live, State::Updating, lifecycle, now, &mut change);
                }
                self.touch(i, Touch::Updated);
                self.patch(live, change, PatchWhy::UpdateInPlace { revision });
            }
            step @ (BeforeUpdate::Prepare | BeforeUpdate::PrepareAgain) => {
                let mut change = Change::default();
                if step == BeforeUpdate::PrepareAgain {
                    hook_again(live, lifecycle.in_place_update.as_ref(), &mut change);
                }
                enter(live, State::PreparingUpdate, lifecycle, now, &mut change);
                self.touch(i, Touch::Updated);
                self.patch(live, change, PatchWhy::Prepare);
            }
            BeforeUpdate::Wait | BeforeUpdate::Refuse => {}
        }
    }

    /// Can a pod become new, with what its policy allows?
    pub(super) fn can_update(&self, row: &Row<'a>) -> bool {
        !must_stay(self.snapshot.set) || self.in_place(row).is_ok()
    }

    fn in_place(&self, row: &Row<'a>) -> Result<(Live<'a>, UpdateSpec), WhyRecreate> {
        let live = row.live.ok_or(WhyRecreate::NoGate)?;
        let options = diff_options(self.snapshot.set, self.snapshot.features.in_place);
        let target = &self.history.update;
        let verdict = self.history.diff(row.revision(), target, options);
        let (in_flight, now) = (&self.snapshot.in_flight, self.snapshot.now);
        stays(&verdict, live, target, in_flight, now).map(|spec| (live, spec.clone()))
    }

    fn refuse(&mut self, i: usize, row: &Row<'_>, why: &WhyRecreate) {
        let name = &row.pod.name;
        let message =
            format!("find Pod {name} update strategy is InPlaceOnly but can not update in-place: {why}");
        let once_per = format!("{}/{}", row.pod.uid, self.history.update.name);
        self.warn(reasons::FAILED_UPDATE_IN_PLACE, message.clone(), Some(once_per));
        self.impossible.push((i, why.to_string()));
        self.update_failure.get_or_insert(message);
    }

    /// Changes a pod.
    pub(super) fn patch(&mut self, live: Live<'a>, change: Change, why: PatchWhy) {
        let writes = change.writes(live, self.snapshot.now);
        if writes.is_empty() {
            return;
        }
        self.plan.actions.push(Action::PatchPod {
            name: Arc::clone(&live.pod.name),
            uid: live.pod.uid,
            resource_version: live.pod.resource_version,
            writes,
            why,
        });
    }
}
