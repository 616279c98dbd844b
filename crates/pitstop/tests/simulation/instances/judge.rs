//! The invariants as they apply to CloneSets and StatefulSets, checked on the true history after every write.
//!
//! What we decide may rest on a view that is a little old; what others did meanwhile is excused, our own deeds never are.
//!
//! Source: design.md section 5, S1, S2, S5 to S8.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use pitstop_controller::api::Resource;

use super::wish::instance_of;
use super::{Kind, NAME};
use crate::arbiter::Turn;
use crate::faulty::Deeds;
use crate::history::Entry;
use crate::objects::{owner, text};

mod ordinals;
mod past;
mod spec;

use past::Past;
use spec::{Pod, Spec};

/// What a decision is based on may be this old: the longest lag of a watch, and a write that came late.
const OLDEST_VIEW: SignedDuration = SignedDuration::from_secs(25);
/// How late a write comes whose sender has given up. Source: faulty.rs.
const LATE_WRITE: SignedDuration = SignedDuration::from_secs(3);
/// How far apart clocks may be.
const SKEW: SignedDuration = SignedDuration::from_secs(6);

/// Everything that must not have happened.
pub(super) fn judge(kind: Kind, entries: &[Entry], deeds: &Deeds, turns: Vec<Turn>) -> Vec<String> {
    let mut court = Court {
        kind,
        written: deeds.versions(),
        deleted: deeds.deleted(),
        pods: BTreeMap::new(),
        owners: BTreeSet::new(),
        specs: Past::default(),
        uid: String::new(),
        newest: 0,
        targets: Past::default(),
        losses: Vec::new(),
        surplus: BTreeSet::new(),
        ended: BTreeSet::new(),
        turns,
        n_working: Past::default(),
        sizes: BTreeMap::new(),
        violations: Vec::new(),
    };
    for entry in entries {
        court.hear(entry);
    }
    court.violations
}

/// A pod that others took away from us.
struct Loss {
    at: Timestamp,
    uid: String,
    hash: String,
    ordinal: Option<i64>,
}

struct Court {
    kind: Kind,
    /// Versions that our creations and changes left.
    written: BTreeSet<u64>,
    /// Uids of the pods and claims that we deleted.
    deleted: BTreeSet<String>,
    /// By uid.
    pods: BTreeMap<String, Pod>,
    /// Uids of all workloads.
    owners: BTreeSet<String>,
    /// What was asked for.
    specs: Past<Spec>,
    uid: String,
    /// The highest number of a revision.
    newest: i64,
    /// The revision with the highest number.
    targets: Past<String>,
    losses: Vec<Loss>,
    /// Uids of the pods that were one too many when they ended.
    surplus: BTreeSet<String>,
    /// Uids of claims that have begun to end.
    ended: BTreeSet<String>,
    /// What the arbiter knew.
    turns: Vec<Turn>,
    /// How many pods say of themselves that they work.
    n_working: Past<i64>,
    /// What claims ask for, by instance. Units: billionths of a byte.
    sizes: BTreeMap<String, i128>,
    violations: Vec<String>,
}

impl Court {
    fn hear(&mut self, entry: &Entry) {
        let object = &entry.object;
        match entry.kind {
            Resource::Pods => self.hear_pod(entry),
            Resource::CloneSets | Resource::StatefulSets => {
                let uid = text(&object["metadata"]["uid"]);
                self.owners.insert(uid.clone());
                if object["metadata"]["name"] == NAME {
                    self.uid = uid;
                    self.specs.now(entry.at, Spec::read(object, self.kind));
                }
            }
            Resource::ControllerRevisions if owner(object) == self.uid => {
                let number = object["revision"].as_i64().unwrap_or_default();
                if number >= self.newest {
                    self.newest = number;
                    self.targets.now(entry.at, text(&object["metadata"]["name"]));
                }
            }
            Resource::Claims => self.judge_claim(entry),
            _ => {}
        }
    }

    /// What may be known of what is asked for.
    fn known(&self, at: Timestamp) -> impl Iterator<Item = &Spec> + Clone {
        self.specs.known(at)
    }

    /// The newest of the revisions.
    fn target(&self, at: Timestamp) -> &str {
        self.targets.known(at).last().map_or("", |name| name)
    }

    fn min(&self, at: Timestamp, of: impl Fn(&Spec) -> i64) -> i64 {
        self.known(at).map(of).min().unwrap_or_default()
    }

    fn max(&self, at: Timestamp, of: impl Fn(&Spec) -> i64) -> i64 {
        self.known(at).map(of).max().unwrap_or_default()
    }

    fn active(&self) -> impl Iterator<Item = (&String, &Pod)> {
        let pods = self.pods.iter();
        pods.filter(|(_, pod)| pod.owner == self.uid && pod.is_ours && pod.is_active)
    }

    fn count(&self, is_counted: impl Fn(&Pod) -> bool) -> i64 {
        let counted = self.active().filter(|(_, pod)| is_counted(pod)).count();
        i64::try_from(counted).unwrap_or_default()
    }

    fn hear_pod(&mut self, entry: &Entry) {
        let uid = text(&entry.object["metadata"]["uid"]);
        let before = self.pods.get(&uid).cloned();
        let mut pod = Pod::read(entry, before.as_ref());
        let ends = before.as_ref().is_some_and(|before| before.is_active) && !pod.is_active;
        let is_deletion = ends && self.deleted.contains(&uid);
        let is_ours = is_deletion || self.written.contains(&entry.version);
        if is_ours && pod.is_marked && before.as_ref().is_some_and(|before| !before.is_marked) {
            pod.marked_by_us = true;
        }
        if entry.event == "DELETED" {
            self.pods.remove(&uid);
        } else {
            self.pods.insert(uid.clone(), pod.clone());
        }
        self.n_working.now(entry.at, self.count(|pod| pod.works));
        self.judge_identity(entry, &pod);
        self.note_surplus(entry.at, &uid, &pod);
        let Some(before) = before else {
            if is_ours && pod.owner == self.uid {
                self.judge_creation(entry, &pod);
            }
            return;
        };
        if before.owner == self.uid {
            self.judge_place(entry, &before, &pod);
        }
        if !is_ours {
            self.excuse(entry, &uid, &before, &pod);
            return;
        }
        if !self.owners.contains(&before.owner) {
            self.violation("S7", entry, &format!("{} belongs to somebody else", pod.name));
        }
        if before.owner != self.uid || !before.is_ours {
            return;
        }
        if self.kind == Kind::StatefulSet {
            self.judge_protection(entry, &before, &pod);
        }
        self.judge_budget(entry, &before, &pod);
        if is_deletion {
            self.judge_deletion(entry, &before);
        } else {
            self.judge_change(entry, &before, &pod);
        }
    }

    /// Others did this; we may not know yet.
    fn excuse(&mut self, entry: &Entry, uid: &str, before: &Pod, pod: &Pod) {
        let at = entry.at;
        let is_lost = before.owner == self.uid
            && ((before.may_be_available(at, 0) && !pod.may_be_available(at, 0))
                || (before.is_active && (!pod.is_active || !pod.is_ours)));
        if is_lost {
            self.losses.push(Loss {
                at,
                uid: uid.to_owned(),
                hash: before.hash.clone(),
                ordinal: before.ordinal,
            });
        }
        self.losses
            .retain(|loss| at.duration_since(loss.at) <= OLDEST_VIEW);
    }

    fn lost(&self, at: Timestamp, is_counted: impl Fn(&Loss) -> bool) -> i64 {
        let recent = self.losses.iter();
        let recent = recent.filter(|loss| at.duration_since(loss.at) <= OLDEST_VIEW && is_counted(loss));
        let uids: BTreeSet<&String> = recent.map(|loss| &loss.uid).collect();
        i64::try_from(uids.len()).unwrap_or_default()
    }

    /// S1: what was available, and by our hand is not any more, leaves enough behind.
    fn judge_budget(&mut self, entry: &Entry, before: &Pod, pod: &Pod) {
        let at = entry.at;
        let was_available = before.is_available(at, self.max(at, |spec| spec.min_ready));
        let is_touched = !pod.is_active
            || !pod.in_service
            || pod.made_of != before.made_of
            || matches!(pod.state.as_str(), "PreparingDelete" | "PreparingUpdate");
        if !was_available || !is_touched {
            return;
        }
        let min_ready = self.min(at, |spec| spec.min_ready);
        let n_excused = self.lost(at, |_| true);
        // The pod itself aside, where it goes on in service for a moment.
        let n_left = |spec: &Spec| {
            let is_left = |one: &Pod| one.may_be_available(at, min_ready) && spec.wants(one);
            self.count(is_left) - i64::from(is_left(pod))
        };
        let breaks = |spec: &Spec| {
            spec.wants(before) && n_left(spec) + n_excused < spec.replicas - spec.max_unavailable
        };
        if self.known(at).all(breaks) {
            let left: Vec<i64> = self.known(at).map(n_left).collect();
            let what = format!(
                "without {}, {left:?} are available, {n_excused} excused",
                pod.name
            );
            self.violation("S1", entry, &what);
        }
    }

    /// S8: there are never more pods than are asked for; S1: nor more on their way than may be.
    fn judge_creation(&mut self, entry: &Entry, new: &Pod) {
        let at = entry.at;
        if self.kind == Kind::StatefulSet {
            self.judge_ordinal(entry, new);
            return;
        }
        let n = self.count(|_| true);
        let most = self.max(at, |spec| spec.replicas + spec.max_surge);
        if n > most {
            self.violation("S8", entry, &format!("there are {n} pods, of {most} at most"));
        }
        let limits: Vec<Option<i64>> = self.known(at).map(|spec| spec.scale_max_unavailable).collect();
        let limit = limits.iter().copied().flatten().max();
        if let Some(limit) = limit.filter(|_| limits.iter().all(Option::is_some)) {
            let is_named = |pod: &Pod| self.known(at).any(|spec| spec.named.contains(&pod.name));
            let n_new = self.count(|pod| pod.ready_since.is_none() && !pod.is_marked && !is_named(pod));
            let n_excused = self.lost(at, |_| true);
            if n_new > limit + n_excused {
                self.violation("S1", entry, &format!("{n_new} pods are not Ready, of {limit}"));
            }
        }
    }

    /// Is it finished: at what everybody may know to be the target, and available?
    fn is_finished(&self, at: Timestamp, pod: &Pod) -> bool {
        let is_target = self.known(at).all(|spec| spec.template == pod.looks);
        is_target && pod.is_available(at, self.max(at, |spec| spec.min_ready))
    }

    /// S2, S5 and S6 of a deletion by us.
    fn judge_deletion(&mut self, entry: &Entry, before: &Pod) {
        let (at, name) = (entry.at, &before.name);
        if before.is_held && self.known(at).all(|spec| spec.holds_deletions) {
            self.violation("S5", entry, &format!("{name} was held by a hook"));
        }
        let by_people = before.is_marked && !before.marked_by_us;
        let is_named = by_people || self.known(at).any(|spec| spec.named.contains(name));
        let is_scaled_down = match self.kind {
            // This one is gone already.
            Kind::CloneSet => self.count(|_| true) + 1 > self.min(at, |spec| spec.replicas),
            Kind::StatefulSet => self.known(at).any(|spec| !spec.wants(before)),
        };
        let is_wanted = !is_named && !is_scaled_down && before.state != "PreparingDelete";
        if is_wanted && !before.is_marked && self.is_finished(at, before) {
            self.violation("S2", entry, &format!("{name} was up to date and available"));
        }
        if is_wanted && self.known(at).all(|spec| spec.policy == "InPlaceOnly") {
            self.violation("S6", entry, &format!("{name} was to stay"));
        }
        // A CloneSet marks the pods that it replaces first.
        if is_wanted && self.kind == Kind::StatefulSet {
            self.judge_replacement(entry, before);
        }
    }

    /// S2 and S5 of a change by us.
    fn judge_change(&mut self, entry: &Entry, before: &Pod, pod: &Pod) {
        let (at, name) = (entry.at, &pod.name);
        let is_restarted = pod.made_of != before.made_of;
        let is_marked = pod.is_marked && !before.is_marked;
        if (is_restarted || is_marked) && self.is_finished(at, before) {
            self.violation("S2", entry, &format!("{name} was up to date and available"));
        }
        if is_restarted
            && before.serves
            && matches!(before.state.as_str(), "" | "Normal" | "PreparingUpdate")
            && self.known(at).all(|spec| spec.holds_updates)
        {
            self.violation("S5", entry, &format!("{name} was held by a hook"));
        }
        let is_moved = pod.hash != before.hash && !before.hash.is_empty();
        if !is_moved && !is_marked {
            return;
        }
        if self.known(at).all(Spec::rests) {
            self.violation(
                "S5",
                entry,
                &format!("{name} was moved although the rollout rests"),
            );
        }
        if self.kind == Kind::StatefulSet {
            self.judge_order(entry, before, is_restarted);
        }
        let newest = self.target(at).to_owned();
        let n_old = self.count(|pod| pod.hash != newest && !pod.marked_by_us);
        let n_excused = self.lost(at, |loss| loss.hash != newest);
        let n_kept = self.min(at, |spec| spec.partition);
        let n_missing = self.missing(at);
        // Where the highest ordinals come first, the partition is a matter of order.
        let counts = self.kind == Kind::CloneSet || self.is_by_number(at);
        if counts && before.hash != newest && n_old + n_excused + n_missing < n_kept {
            let what = format!("after {name} moved, {n_old} are old, {n_excused} excused, of {n_kept}");
            self.violation("S5", entry, &what);
        }
    }

    /// S6: a pod stays where it is.
    fn judge_place(&mut self, entry: &Entry, before: &Pod, pod: &Pod) {
        let moved = |from: &str, to: &str| !from.is_empty() && from != to;
        let (from, to) = (&before.place, &pod.place);
        if moved(&from.0, &to.0) || moved(&from.1, &to.1) {
            self.violation("S6", entry, &format!("{} went from {from:?} to {to:?}", pod.name));
        }
    }

    /// S8: an instance has one pod.
    fn judge_identity(&mut self, entry: &Entry, pod: &Pod) {
        let twins = self.active().filter(|(_, other)| other.instance == pod.instance);
        let names: Vec<String> = twins.map(|(_, twin)| twin.name.clone()).collect();
        if pod.is_active && names.len() > 1 {
            self.violation("S8", entry, &format!("{names:?} are the same instance"));
        }
    }

    /// S8: the claim of a pod that is there stays, and that of an ordinal goes only with a pod that was one too many.
    fn judge_claim(&mut self, entry: &Entry) {
        self.judge_size(entry);
        let metadata = &entry.object["metadata"];
        let is_ending = entry.event == "DELETED" || !metadata["deletionTimestamp"].is_null();
        let uid = text(&metadata["uid"]);
        // It ends once, and is held while a pod uses it.
        if !is_ending || !self.ended.insert(uid.clone()) {
            return;
        }
        let name = text(&metadata["name"]);
        if self.kind == Kind::StatefulSet && !self.is_left_behind(entry) {
            self.violation("S8", entry, &format!("{name} goes, and its pod was to stay"));
        }
        let instance = instance_of(&entry.object);
        let user = self.active().find(|(_, pod)| pod.instance == instance);
        let user = user.map(|(_, pod)| pod.name.clone());
        if let Some(user) = user.filter(|_| self.deleted.contains(&uid)) {
            self.violation("S8", entry, &format!("{user} lost its claim"));
        }
    }

    fn violation(&mut self, invariant: &str, entry: &Entry, what: &str) {
        self.violations.push(format!("{invariant} at {entry}: {what}"));
    }
}
