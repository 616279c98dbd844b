//! What holds beyond that where each pod has an ordinal: the order, which revision each ordinal gets, pods that work, and
//! claims that outlive their pods.
//!
//! Source: statefulset.md 3, 5, 6, 16.3.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::claim::ClaimDisk;

use super::spec::{Ordinals, Pod, Source, Spec};
use super::{Court, Loss, OLDEST_VIEW};
use crate::arbiter::Turn;
use crate::history::Entry;
use crate::instances::wish::{instance_of, ordinal_of};
use crate::objects::text;

impl Court {
    /// Was this pod one too many when it ended?
    pub(super) fn note_surplus(&mut self, at: Timestamp, uid: &str, pod: &Pod) {
        if !pod.is_active && self.known(at).any(|spec| !spec.wants(pod)) {
            self.surplus.insert(uid.to_owned());
        }
    }

    /// Does a claim go with pods that were all too many, or that went for an update right before they were?
    pub(super) fn is_left_behind(&self, entry: &Entry) -> bool {
        let claim = &entry.object;
        let mut owners = claim["metadata"]["ownerReferences"]
            .as_array()
            .into_iter()
            .flatten();
        let of_pods = owners.clone().any(|owner| owner["kind"] == "Pod");
        let is_surplus = ordinal_of(&instance_of(claim)).is_some_and(|ordinal| {
            let mut specs = self.known(entry.at);
            specs.any(|spec| !spec.live().contains(&ordinal))
        });
        of_pods && (is_surplus || owners.all(|owner| self.surplus.contains(&text(&owner["uid"]))))
    }

    /// Are all that may be asked for so?
    fn all(&self, at: Timestamp, is_so: impl Fn(&Spec, &Ordinals) -> bool) -> bool {
        self.known(at).all(|spec| {
            spec.ordinals
                .as_ref()
                .is_some_and(|ordinals| is_so(spec, ordinals))
        })
    }

    /// Ordinals without a pod, at most: those of a CloneSet are no ordinals.
    pub(super) fn missing(&self, at: Timestamp) -> i64 {
        let there: BTreeSet<i64> = self.active().filter_map(|(_, pod)| pod.ordinal).collect();
        let is_missing = |ordinal: &&i64| !there.contains(ordinal);
        let missing = |spec: &Spec| spec.live().iter().filter(is_missing).count();
        i64::try_from(self.known(at).map(missing).max().unwrap_or_default()).unwrap_or_default()
    }

    /// Does the partition say how many pods stay, whichever these are?
    pub(super) fn is_by_number(&self, at: Timestamp) -> bool {
        self.all(at, |_, ordinals| !ordinals.is_descending)
    }

    /// S8, S1 and S5 of a pod that comes.
    pub(super) fn judge_ordinal(&mut self, entry: &Entry, new: &Pod) {
        let (at, name) = (entry.at, &new.name);
        if self.known(at).all(|spec| !spec.wants(new)) {
            self.violation("S8", entry, &format!("nobody asked for {name}"));
        }
        self.judge_scale_budget(entry, new);
        let min_ready = self.min(at, |spec| spec.min_ready);
        let is_there = |ordinal: i64| {
            let is_it = |pod: &Pod| pod.ordinal == Some(ordinal) && pod.may_be_available(at, min_ready);
            self.active().any(|(_, pod)| is_it(pod))
                || self.lost(at, |loss: &Loss| loss.ordinal == Some(ordinal)) > 0
        };
        let comes_early = |spec: &Spec, ordinals: &Ordinals| {
            let lower = spec.live().iter().filter(|live| Some(**live) < new.ordinal);
            ordinals.come_in_order && lower.copied().any(|ordinal| !is_there(ordinal))
        };
        if self.all(at, comes_early) {
            self.violation("S5", entry, &format!("{name} came before its turn"));
        }
        let is_target = self.targets.known(at).any(|target| *target == new.hash);
        let n_missing = self.missing(at);
        let n_old = self.count(|pod| pod.hash != new.hash) + self.lost(at, |loss| loss.hash != new.hash);
        let is_kept = |spec: &Spec, ordinals: &Ordinals| {
            let rank = spec.rank(new).and_then(|rank| i64::try_from(rank).ok());
            let is_kept = match rank {
                _ if spec.policy == "OnDelete" => false,
                Some(rank) if ordinals.is_descending => rank < spec.partition,
                _ => n_old + n_missing < spec.partition,
            };
            is_kept && ordinals.current != new.hash && !ordinals.current.is_empty()
        };
        if is_target && self.all(at, is_kept) {
            self.violation(
                "S5",
                entry,
                &format!("the partition keeps {name} at its revision"),
            );
        }
    }

    /// S1: no more pods are on their way up to this one than may be.
    fn judge_scale_budget(&mut self, entry: &Entry, new: &Pod) {
        let at = entry.at;
        // Pods that an update deletes come back as fast as it may delete them (15.1 row 4).
        let limits: Option<Vec<i64>> = self
            .known(at)
            .map(|spec| Some(spec.scale_max_unavailable?.max(spec.max_unavailable)))
            .collect();
        let Some(limit) = limits.and_then(|limits| limits.into_iter().max()) else {
            return;
        };
        let is_on_its_way = |pod: &Pod| {
            let is_wanted = self.known(at).all(|spec| spec.wants(pod));
            pod.ready_since.is_none() && pod.ordinal <= new.ordinal && is_wanted
        };
        let n_new = self.count(is_on_its_way);
        let n_excused = self.lost(at, |_| true);
        if n_new > limit + n_excused {
            self.violation("S1", entry, &format!("{n_new} pods are not Ready, of {limit}"));
        }
    }

    /// S5: a pod that works is not touched, nor any while too few work.
    pub(super) fn judge_protection(&mut self, entry: &Entry, before: &Pod, pod: &Pod) {
        let (at, name) = (entry.at, &pod.name);
        if !before.is_active || !pod.is_touched_since(before) {
            return;
        }
        let works = |spec: &Spec| match spec.source() {
            Source::Labels => before.works,
            Source::Arbiter { known_for } => self.has_worked(before, at, known_for),
        };
        if self
            .known(at)
            .all(|spec| spec.protects(before, at) && works(spec))
        {
            self.violation("S5", entry, &format!("{name} works"));
        }
        let most = self.n_working.known(at).max().copied().unwrap_or_default();
        let are_too_few = |spec: &Spec| spec.protects(before, at) && most < spec.min_protected();
        if self.known(at).all(are_too_few) {
            self.violation("S5", entry, &format!("{name} is disrupted, and only {most} work"));
        }
    }

    /// Does the arbiter know for so long that a pod works? What it knew of an earlier one with its name does not count.
    fn has_worked(&self, pod: &Pod, at: Timestamp, known_for: SignedDuration) -> bool {
        let is_of = |turn: &&Turn| turn.pod == pod.name && (pod.came_at..=at).contains(&turn.at);
        let last = self.turns.iter().rfind(is_of);
        last.is_some_and(|last| last.works && at.duration_since(last.at) >= known_for)
    }

    /// S8: a claim never shrinks, whoever writes it.
    pub(super) fn judge_size(&mut self, entry: &Entry) {
        let instance = instance_of(&entry.object);
        if entry.event == "DELETED" {
            self.sizes.remove(&instance);
            return;
        }
        let size = ClaimDisk::of(&entry.object).request.unwrap_or_default();
        let before = self.sizes.insert(instance, size).unwrap_or_default();
        if size < before {
            self.violation("S8", entry, &format!("it shrinks from {before} to {size}"));
        }
    }

    /// S5: a pod is updated after its claims have grown. Source: statefulset.md 8.
    fn judge_growth(&mut self, entry: &Entry, before: &Pod) {
        let Some(size) = self.sizes.get(&before.instance) else {
            return;
        };
        if self.known(entry.at).all(|spec| spec.asks_for_more_than(*size)) {
            let what = format!("{} was updated, and its claim is small", before.name);
            self.violation("S5", entry, &what);
        }
    }

    /// S5: a pod that is deleted for its successor, by us.
    pub(super) fn judge_replacement(&mut self, entry: &Entry, before: &Pod) {
        let (at, name) = (entry.at, &before.name);
        if self.targets.known(at).any(|target| *target == before.hash) {
            return;
        }
        if self.known(at).all(Spec::rests) {
            let what = format!("{name} was replaced although the rollout rests");
            self.violation("S5", entry, &what);
        }
        // One that does not work may go back to the current revision (15.1 row 8).
        if !before.is_available(at, self.max(at, |spec| spec.min_ready)) {
            return;
        }
        let target = self.target(at).to_owned();
        let n_old = self.count(|pod| pod.hash != target) + self.lost(at, |loss| loss.hash != target);
        // This one is missing already.
        let n_old = n_old + self.missing(at) - 1;
        if self.all(at, |spec, ordinals| {
            !ordinals.is_descending && n_old < spec.partition
        }) {
            let what = format!("after {name} went, {n_old} are old at most");
            self.violation("S5", entry, &what);
        }
        self.judge_order(entry, before, true);
    }

    /// S5: in its turn, as far as the partition lets. `is_taken`: does it leave service? Pods that do not come to a revision
    /// all at once.
    pub(super) fn judge_order(&mut self, entry: &Entry, before: &Pod, is_taken: bool) {
        let (at, name) = (entry.at, &before.name);
        self.judge_growth(entry, before);
        let is_below = |spec: &Spec, ordinals: &Ordinals| {
            let rank = spec.rank(before).and_then(|rank| i64::try_from(rank).ok());
            ordinals.is_descending && rank.is_some_and(|rank| rank < spec.partition)
        };
        if self.all(at, is_below) {
            self.violation("S5", entry, &format!("the partition keeps {name}"));
        }
        let min_ready = self.max(at, |spec| spec.min_ready);
        let overtakes = |is_first: &dyn Fn(&Pod) -> bool| {
            let waits = |pod: &Pod| {
                let is_old = self.targets.known(at).all(|target| *target != pod.hash);
                let is_wanted = self.known(at).all(|spec| spec.wants(pod));
                is_old && is_wanted && pod.is_available(at, min_ready) && !pod.is_marked && is_first(pod)
            };
            self.count(waits) > 0
        };
        let has_long =
            |pod: &Pod, works: bool| pod.works == works && at.duration_since(pod.turned_at) > OLDEST_VIEW;
        let is_early = |spec: &Spec, ordinals: &Ordinals| {
            let passes_over_higher = || overtakes(&|pod| pod.ordinal > before.ordinal);
            let passes_over_idle = || has_long(before, true) && overtakes(&|pod| has_long(pod, false));
            spec.max_unavailable == 1
                && (ordinals.is_descending && passes_over_higher()
                    || ordinals.prefers_idle && passes_over_idle())
        };
        if is_taken && before.is_available(at, min_ready) && self.all(at, is_early) {
            self.violation("S5", entry, &format!("{name} went before its turn"));
        }
    }
}
