//! Which pods are updated, and how.
//!
//! Source: cloneset.md 9, 10.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pitstop_api::view::{CloneSetView, PodUpdatePolicy, PodView, PriorityStrategy, UpdateType};
use pitstop_api::{keys, reasons};

use super::numbers::Numbers;
use super::plan::{Action, PatchWhy};
use super::rows::Row;
use super::{Touch, Turn};
use crate::inplace::diff::DiffOptions;
use crate::inplace::readiness::say_first_word;
use crate::inplace::{Change, Live, UpdateSpec, Verdict, WhyRecreate, begin, short_revision};
use crate::instances::carry_on::{UnderWay, carry_on, needs_refresh};
use crate::instances::consent::{Offers, Policy, stays};
use crate::instances::history::{Target, label_of};
use crate::instances::stalls::{Stall, init_containers_stay};
use crate::lifecycle::{BeforeUpdate, State, before_update, enter, hook_again};
use crate::order::update_order;
use crate::ota;
use crate::plan::Event;

/// May pods stay when they are updated?
pub(super) fn may_stay(cloneset: &CloneSetView) -> bool {
    let policy = cloneset
        .update
        .rolling
        .as_ref()
        .map(|rolling| &rolling.pod_update_policy);
    matches!(
        policy,
        Some(PodUpdatePolicy::InPlaceIfPossible | PodUpdatePolicy::InPlaceOnly)
    )
}

pub(super) fn must_stay(cloneset: &CloneSetView) -> bool {
    let policy = cloneset
        .update
        .rolling
        .as_ref()
        .map(|rolling| &rolling.pod_update_policy);
    policy == Some(&PodUpdatePolicy::InPlaceOnly)
}

/// A refresh that is to be written, unless something else is done to its pod.
pub(super) struct Refresh<'a> {
    i: usize,
    live: Live<'a>,
    change: Change,
}

/// What becomes of a pod whose turn it is.
enum Way<'a> {
    /// Its containers change.
    InPlace(Live<'a>, UpdateSpec),
    /// Its hook is asked first.
    Prepare(Live<'a>, bool),
    /// It is marked to be replaced: by policy, or since it cannot stay.
    Recreate(Option<WhyRecreate>),
    /// It is marked already.
    Marked,
    /// Nothing can be done, or its hook holds it.
    Nothing,
}

impl<'a> Turn<'_, 'a> {
    /// Carries every pod's update on, and its state; says whether a state or a hash label changes.
    ///
    /// Source: cloneset.md 9, step 1; 10.1.
    pub(super) fn refresh(&mut self) -> bool {
        let mut is_state_changed = false;
        let (snapshot, history) = (self.snapshot, self.history);
        let is_ota = super::is_ota(snapshot.cloneset);
        let revision = label_of(&history.update.name, snapshot.features.short_hash);
        let policy = Policy {
            may_stay: may_stay(snapshot.cloneset),
            must_stay: must_stay(snapshot.cloneset),
            options: self.diff_options(),
        };
        let mut offers =
            is_ota.then(|| Offers::new(history, revision, policy, &snapshot.in_flight, snapshot.now));
        let rows = self.rows.active.iter().copied().enumerate();
        for (i, row) in rows {
            let Some(live) = row.live.filter(|_| !self.is_put_off(i)) else {
                continue;
            };
            let is_told = is_ota || row.pod.upgrade.is_some();
            if row.is_quiet && row.has_template_hash && !is_told {
                continue;
            }
            let mut change = Change::default();
            let mut state_now = row.state;
            if needs_refresh(live, row.state) {
                let in_flight = &self.snapshot.in_flight;
                let carried = carry_on(&UnderWay {
                    live,
                    state: row.state,
                    is_at_target: row.is_new,
                    waits_for_node: true,
                    template: self.history.template_of(row.revision),
                    refused_resize: in_flight.refused_resize(row.pod.uid, row.revision),
                    lifecycle: &self.snapshot.cloneset.lifecycle,
                    features: self.snapshot.features.in_place,
                    now: self.snapshot.now,
                });
                self.wake(carried.wake_at);
                self.stalled.extend(carried.stalled.map(|why| (i, why)));
                is_state_changed |= carried.new_state.is_some();
                state_now = carried.new_state.unwrap_or(row.state);
                change = carried.change;
            }
            say_first_word(live, self.snapshot.now, &mut change);
            let told = ota::Told {
                live,
                state: state_now,
                is_new: row.is_new,
                is_ota,
                revision,
                offer: offers.as_mut().and_then(|offers| offers.of(live, row.revision)),
            };
            ota::tell(told, snapshot.now, &mut change);
            if !row.has_template_hash && !row.revision.is_empty() {
                change.label(keys::POD_TEMPLATE_HASH, short_revision(row.revision));
                is_state_changed = true;
            }
            if !change.is_empty() {
                self.touch(i, Touch::Refreshed);
                self.refreshes.push(Refresh { i, live, change });
            }
        }
        self.give_up();
        is_state_changed
    }

    /// An update in place that will never be complete ends in a replacement, where that is allowed.
    ///
    /// Source: inplace.md 13.8, 13.9.
    fn give_up(&mut self) {
        for (i, stall) in std::mem::take(&mut self.stalled) {
            let Some(row) = self.rows.active.get(i).copied() else {
                continue;
            };
            let may_replace = may_stay(self.snapshot.cloneset) && !must_stay(self.snapshot.cloneset);
            let event = stall.event(row.pod, row.revision);
            if stall.is_failure(may_replace) {
                self.update_failure
                    .get_or_insert_with(|| event.message.to_string());
            }
            self.plan.events.push(event);
            let Stall::Never(why) = stall else { continue };
            if may_replace && !row.is_specified {
                self.mark(i, &row, Some(&why));
            }
            self.impossible.push((i, why.to_string()));
        }
    }

    /// Writes the refreshes of pods that nothing else is done to.
    pub(super) fn write_refreshes(&mut self) {
        for refresh in std::mem::take(&mut self.refreshes) {
            let is_only_refreshed = self.touched.get(refresh.i) == Some(&Touch::Refreshed);
            if is_only_refreshed {
                self.patch(refresh.live, refresh.change, PatchWhy::Refresh);
            }
        }
    }

    /// Updates the pods whose turn it is. Source: cloneset.md 9.
    pub(super) fn update(&mut self, numbers: &Numbers) {
        let cloneset = self.snapshot.cloneset;
        if cloneset.is_paused() {
            return;
        }
        let is_rolling = cloneset.update.kind == UpdateType::RollingUpdate;
        let wanted = if is_rolling { numbers.update.update } else { 0 };
        self.bring_back(usize::try_from(wanted).unwrap_or(0));
        if wanted == 0 {
            return;
        }
        let (history, goes_back) = (self.history, wanted < 0);
        let target = if goes_back {
            &history.current
        } else {
            &history.update
        };
        let n = usize::try_from(wanted.unsigned_abs()).unwrap_or(usize::MAX);
        let cannot = self.cannot_stay(goes_back, target);
        let chosen = self.choose(
            goes_back,
            n,
            numbers.update.update_max_unavailable,
            target,
            &cannot,
        );
        for i in chosen {
            if let Some(row) = self.rows.active.get(i).copied() {
                self.update_one(i, &row, target);
            }
        }
    }

    /// Pods that left service for an update that they do not get any more return to it: all but the first `n`, and under
    /// OTA those whose owner has not asked. Whoever prepared them sees it end in the usual way (inplace.md 13.4).
    ///
    /// Differs from upstream, where they stay in `PreparingUpdate` when a partition is raised, out of service (L1).
    fn bring_back(&mut self, n: usize) {
        let rows = &self.rows.active;
        let is_ota = super::is_ota(self.snapshot.cloneset);
        let is_prepared =
            |row: &Row<'_>| row.state == State::PreparingUpdate && !row.is_new && !row.is_specified;
        let prepared = (0..rows.len()).filter(|i| rows.get(*i).is_some_and(is_prepared));
        let (may_go_on, mut back): (Vec<usize>, Vec<usize>) =
            prepared.partition(|i| !is_ota || rows.get(*i).is_some_and(|row| row.is_requested));
        if may_go_on.len() > n {
            let pods = self.pods();
            back.extend(self.in_order(&pods, may_go_on, usize::MAX).into_iter().skip(n));
        }
        let lifecycle = &self.snapshot.cloneset.lifecycle;
        let to = if lifecycle.in_place_update.is_some() {
            State::Updated
        } else {
            State::Normal
        };
        for i in back {
            let live = rows.get(i).and_then(|row| row.live);
            let Some(live) = live.filter(|_| !self.is_put_off(i)) else {
                continue;
            };
            let mut change = Change::default();
            enter(live, to, lifecycle, self.snapshot.now, &mut change);
            self.touch(i, Touch::Returned);
            self.patch(live, change, PatchWhy::Refresh);
        }
    }

    /// Candidates in the order in which they are updated, at least the first `most`.
    fn in_order(&self, pods: &[&PodView], candidates: Vec<usize>, most: usize) -> Vec<usize> {
        let rolling = self.snapshot.cloneset.update.rolling.as_ref();
        let (none, no_terms) = (PriorityStrategy::None, Vec::new());
        let priority = rolling.map_or(&none, |rolling| &rolling.priority);
        let scatter = rolling.map_or(&no_terms, |rolling| &rolling.scatter);
        update_order(pods, candidates, most, priority, scatter)
    }

    fn pods(&self) -> Vec<&'a PodView> {
        self.rows.active.iter().map(|row| row.pod).collect()
    }

    /// Pods that have to stay and cannot come to the target: they are told, and no other waits for them.
    ///
    /// Differs from upstream, where they take the place of one that could be updated (cloneset.md 18.24, L1).
    fn cannot_stay(&mut self, goes_back: bool, target: &Target) -> BTreeSet<usize> {
        if !must_stay(self.snapshot.cloneset) {
            return BTreeSet::new();
        }
        let mut by_revision: BTreeMap<&str, Option<WhyRecreate>> = BTreeMap::new();
        let mut cannot = BTreeSet::new();
        let rows = self.rows.active.iter().copied().enumerate();
        let mut told = None;
        for (i, row) in rows.filter(|(_, row)| row.is_new == goes_back && !row.is_specified) {
            let of_revision = by_revision.entry(row.revision).or_insert_with(|| {
                match self.history.diff(row.revision, target, self.diff_options()) {
                    Verdict::Recreate(why) => Some(why),
                    Verdict::InPlace(_) => None,
                }
            });
            if let Some(why) = of_revision.clone() {
                self.impossible.push((i, why.to_string()));
                cannot.insert(i);
                told.get_or_insert((row, why));
            }
        }
        if let Some((row, why)) = told {
            self.refuse(&row, target, &why);
        }
        cannot
    }

    /// The pods whose turn it is, in order, but for those that cannot be updated. Source: cloneset.md 9, steps 4 to 6.
    fn choose(
        &self,
        goes_back: bool,
        n: usize,
        max_unavailable: i64,
        target: &Target,
        cannot: &BTreeSet<usize>,
    ) -> Vec<usize> {
        let rows = &self.rows.active;
        // A pod in its grace period is one of them: it is turned towards the newer revision (inplace.md 13.11).
        let is_waiting = |row: &Row<'_>| row.is_new == goes_back && !row.is_preparing_delete();
        let is_held = |i: &usize| cannot.contains(i) || self.is_put_off(*i);
        let waiting = (0..rows.len()).filter(|i| rows.get(*i).is_some_and(is_waiting) && !is_held(i));
        // Whoever was asked for comes first, beside those that are out of service already; under OTA nobody else comes.
        let is_ota = super::is_ota(self.snapshot.cloneset);
        let is_first = |row: &Row<'_>| {
            (row.is_requested && !goes_back) || (row.state == State::PreparingUpdate && !is_ota)
        };
        let (first, mut others): (Vec<usize>, Vec<usize>) =
            waiting.partition(|i| rows.get(*i).is_some_and(is_first));
        if is_ota {
            others.clear();
        }
        let free = self.free_revisions(goes_back, target);
        // Without free ones, no more are looked at than may become unavailable, or one that is so already.
        let looked_at = usize::try_from(max_unavailable.max(1)).unwrap_or(usize::MAX);
        let most = if free.is_empty() { n.min(looked_at) } else { n };
        let pods = self.pods();
        let mut order = self.in_order(&pods, first, most);
        let left = most.saturating_sub(order.len());
        order.extend(self.in_order(&pods, others, left));
        let is_free = |i: usize| rows.get(i).is_some_and(|row| free.contains(&row.revision));
        let seen = rows.iter().map(|row| Counted {
            is_available: row.is_available,
            is_at_target: row.is_new != goes_back,
        });
        let unseen = self.rows.unseen.iter().map(|is_new| Counted {
            is_available: false,
            is_at_target: *is_new != goes_back,
        });
        let counts: Vec<Counted> = seen.chain(unseen).collect();
        limit(order.into_iter().take(n), &counts, max_unavailable, is_free)
    }

    /// The revisions from which pods come to the target without a container being touched: they cost no budget.
    ///
    /// Where a hook is asked before an update, every one costs: whoever is asked takes the pod out of service.
    ///
    /// Source: inplace.md 13.7.
    fn free_revisions(&self, goes_back: bool, target: &Target) -> Vec<&'a str> {
        let cloneset = self.snapshot.cloneset;
        if !may_stay(cloneset) || cloneset.lifecycle.in_place_update.is_some() {
            return Vec::new();
        }
        let mut revisions = self.rows.revisions(|row| row.is_new == goes_back);
        revisions.retain(|revision| {
            let options = self.diff_options();
            let verdict = self.history.diff(revision, target, options);
            matches!(verdict, Verdict::InPlace(spec) if !spec.touches_containers())
        });
        revisions
    }

    fn diff_options(&self) -> DiffOptions {
        let cloneset = self.snapshot.cloneset;
        let in_place = cloneset.update.rolling.as_ref().map(|rolling| &rolling.in_place);
        DiffOptions {
            features: self.snapshot.features.in_place,
            grace_seconds: in_place.map_or(0, |in_place| in_place.grace_period_seconds),
            ignores_claims: must_stay(cloneset),
        }
    }

    /// Source: cloneset.md 10.2.
    fn update_one(&mut self, i: usize, row: &Row<'a>, target: &Target) {
        let snapshot = self.snapshot;
        let lifecycle = &snapshot.cloneset.lifecycle;
        let revision = Arc::clone(&target.name);
        match self.way(i, row, target) {
            Way::InPlace(live, spec) => {
                self.plan.events.extend(init_containers_stay(&spec));
                let mut change = begin(live, &spec, snapshot.features.in_place, snapshot.now);
                let label = label_of(&revision, snapshot.features.short_hash);
                change.label(keys::REVISION_HASH, label);
                change.label(keys::POD_TEMPLATE_HASH, short_revision(&revision));
                enter(live, State::Updating, lifecycle, snapshot.now, &mut change);
                self.touch(i, Touch::Updated);
                self.patch(live, change, PatchWhy::UpdateInPlace { revision });
            }
            Way::Prepare(live, again) => {
                let mut change = Change::default();
                if again {
                    hook_again(live, lifecycle.in_place_update.as_ref(), &mut change);
                }
                enter(live, State::PreparingUpdate, lifecycle, snapshot.now, &mut change);
                self.touch(i, Touch::Updated);
                self.patch(live, change, PatchWhy::Prepare);
            }
            Way::Recreate(why) => self.mark(i, row, why.as_ref()),
            Way::Marked | Way::Nothing => {}
        }
    }

    fn way(&mut self, i: usize, row: &Row<'a>, target: &Target) -> Way<'a> {
        let cloneset = self.snapshot.cloneset;
        if row.is_specified {
            return Way::Marked;
        }
        if !may_stay(cloneset) {
            return match cloneset
                .update
                .rolling
                .as_ref()
                .map(|rolling| &rolling.pod_update_policy)
            {
                Some(PodUpdatePolicy::Other(_)) => Way::Nothing,
                _ => Way::Recreate(None),
            };
        }
        let possible = self.in_place(row, target);
        let (live, spec) = match possible {
            Ok(possible) => possible,
            Err(why) if must_stay(cloneset) => {
                self.impossible.push((i, why.to_string()));
                self.refuse(row, target, &why);
                return Way::Nothing;
            }
            Err(why) => return Way::Recreate(Some(why)),
        };
        match before_update(live, &cloneset.lifecycle) {
            BeforeUpdate::Update => Way::InPlace(live, spec),
            BeforeUpdate::Prepare => Way::Prepare(live, false),
            BeforeUpdate::PrepareAgain => Way::Prepare(live, true),
            BeforeUpdate::Wait | BeforeUpdate::Refuse => Way::Nothing,
        }
    }

    /// Why a pod that is to be replaced is not updated in place; `None` where nobody wants that.
    pub(super) fn why_replaced(&self, row: &Row<'a>) -> Option<WhyRecreate> {
        let cloneset = self.snapshot.cloneset;
        if row.is_new || !may_stay(cloneset) || must_stay(cloneset) {
            return None;
        }
        self.in_place(row, &self.history.update).err()
    }

    fn in_place(&self, row: &Row<'a>, target: &Target) -> Result<(Live<'a>, UpdateSpec), WhyRecreate> {
        let live = row.live.ok_or(WhyRecreate::NoGate)?;
        let verdict = self.history.diff(row.revision, target, self.diff_options());
        let (in_flight, now) = (&self.snapshot.in_flight, self.snapshot.now);
        stays(&verdict, live, target, in_flight, now).map(|spec| (live, spec.clone()))
    }

    /// Source: cloneset.md 10.2; the text is upstream's, and says why on top.
    fn refuse(&mut self, row: &Row<'_>, target: &Target, why: &WhyRecreate) {
        let name = &row.pod.name;
        let message =
            format!("find Pod {name} update strategy is InPlaceOnly but can not update in-place: {why}");
        self.plan.events.push(Event {
            is_warning: true,
            reason: reasons::FAILED_UPDATE_IN_PLACE,
            message: message.clone().into(),
            once_per: Some(format!("{}/{}", row.pod.uid, target.name)),
        });
        self.update_failure.get_or_insert(message);
    }

    /// Marks a pod to be replaced: the next pass deletes it, as far as the budget allows.
    fn mark(&mut self, i: usize, row: &Row<'a>, why: Option<&WhyRecreate>) {
        self.touch(i, Touch::Updated);
        let revision = Arc::clone(&self.history.update.name);
        let patch = serde_json::json!({ "metadata": { "labels": { keys::SPECIFIED_DELETE: "true" } } });
        self.plan.actions.push(Action::PatchPod {
            name: Arc::clone(&row.pod.name),
            uid: row.pod.uid,
            resource_version: row.pod.resource_version,
            writes: vec![crate::inplace::PodWrite {
                endpoint: crate::inplace::Endpoint::Pod,
                patch,
            }],
            why: PatchWhy::Recreate {
                revision,
                why: why.map(|why| why.to_string().into()),
            },
        });
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

/// What the limit of an update looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Is the pod available?
    pub is_available: bool,
    /// Is it at the revision that pods are moved to?
    pub is_at_target: bool,
}

/// The first of the ordered pods that may be updated now.
///
/// A pod that is not available costs nothing of what may become unavailable; but pods that were moved and are not available
/// yet hold the others back. Pods whose update touches no container cost nothing at all.
///
/// Differs from upstream: where so many pods are missing that none may become unavailable, one that is not available is
/// still updated while none that was moved is on its way. A broken version that holds back the missing pods, by
/// `scaleStrategy.maxUnavailable`, would otherwise stay for ever.
///
/// Source: cloneset.md 9.2; inplace.md 13.7.
pub fn limit(
    order: impl IntoIterator<Item = usize>,
    pods: &[Counted],
    max_unavailable: i64,
    is_free: impl Fn(usize) -> bool,
) -> Vec<usize> {
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let is_down = |pod: &&Counted| !pod.is_available;
    let mut unavailable = count(pods.iter().filter(is_down).count());
    let moved = count(pods.iter().filter(is_down).filter(|pod| pod.is_at_target).count());
    let (mut chosen, mut taken) = (Vec::new(), 0_i64);
    let mut is_full = false;
    for i in order {
        if is_free(i) {
            chosen.push(i);
            continue;
        }
        if is_full || moved.saturating_add(taken) >= max_unavailable.max(1) {
            is_full = true;
            continue;
        }
        if pods.get(i).is_some_and(|pod| pod.is_available) {
            if unavailable >= max_unavailable {
                is_full = true;
                continue;
            }
            unavailable = unavailable.saturating_add(1);
        }
        taken = taken.saturating_add(1);
        chosen.push(i);
    }
    chosen
}
