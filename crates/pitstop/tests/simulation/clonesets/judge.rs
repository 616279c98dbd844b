//! The invariants as they apply to CloneSets, checked on the true history after every write.
//!
//! What we decide may rest on a view that is a little old; what others did meanwhile is excused, our own deeds never are.
//!
//! Source: design.md section 5, S1, S2, S5 to S8.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use pitstop_api::{keys, reasons};
use pitstop_controller::api::Resource;
use serde_json::{Value, json};

use super::NAME;
use super::wish::{DRAIN, SERVES};
use crate::faulty::Deeds;
use crate::history::Entry;
use crate::objects::{is_ready, owner, text};

/// What a decision is based on may be this old: the longest lag of a watch, and a write that came late.
const OLDEST_VIEW: SignedDuration = SignedDuration::from_secs(25);
/// How far apart clocks may be.
const SKEW: SignedDuration = SignedDuration::from_secs(6);

/// Everything that must not have happened.
pub(super) fn judge(entries: &[Entry], deeds: &Deeds) -> Vec<String> {
    let mut court = Court {
        written: deeds.versions(),
        deleted: deeds.deleted(),
        pods: BTreeMap::new(),
        owners: BTreeSet::new(),
        specs: VecDeque::new(),
        uid: String::new(),
        newest: (0, String::new()),
        losses: Vec::new(),
        violations: Vec::new(),
    };
    for entry in entries {
        court.hear(entry);
    }
    court.violations
}

/// What a CloneSet asks for.
#[derive(Debug, Clone, PartialEq)]
struct Spec {
    replicas: i64,
    partition: i64,
    max_unavailable: i64,
    max_surge: i64,
    scale_max_unavailable: Option<i64>,
    min_ready: i64,
    is_paused: bool,
    /// `podUpdatePolicy`, or the type where it is not a rolling update.
    policy: String,
    named: BTreeSet<String>,
    holds_deletions: bool,
    holds_updates: bool,
    template: Value,
}

impl Spec {
    fn read(object: &Value) -> Self {
        let spec = &object["spec"];
        let rolling = &spec["updateStrategy"]["rollingUpdate"];
        let replicas = spec["replicas"].as_i64().unwrap_or(1);
        // Rounded up: what is rounded down is less.
        let scaled = |amount: &Value| match amount.as_str() {
            Some(percent) => {
                let percent: i64 = percent.trim_end_matches('%').parse().unwrap_or_default();
                (replicas * percent + 99) / 100
            }
            None => amount.as_i64().unwrap_or_default(),
        };
        let kind = &spec["updateStrategy"]["type"];
        let policy = if kind == "RollingUpdate" {
            &rolling["podUpdatePolicy"]
        } else {
            kind
        };
        let scale = &spec["scaleStrategy"];
        let named = scale["podsToDelete"].as_array().into_iter().flatten();
        Self {
            replicas,
            partition: rolling["partition"].as_i64().unwrap_or_default().min(replicas),
            max_unavailable: scaled(&rolling["maxUnavailable"]),
            max_surge: scaled(&rolling["maxSurge"]),
            scale_max_unavailable: scale["maxUnavailable"].as_i64(),
            min_ready: spec["minReadySeconds"].as_i64().unwrap_or_default(),
            is_paused: rolling["paused"] == true,
            policy: text(policy),
            named: named.map(text).collect(),
            holds_deletions: !spec["lifecycle"]["preDelete"].is_null(),
            holds_updates: !spec["lifecycle"]["inPlaceUpdate"].is_null(),
            template: looks(&spec["template"]),
        }
    }
}

/// What of a template, or of a pod, the story changes and a container cannot get without being touched.
fn made_of(object: &Value) -> Value {
    let container = &object["spec"]["containers"][0];
    json!([container["image"], container["env"]])
}

/// All that the story changes of a template, or of a pod.
fn looks(object: &Value) -> Value {
    json!([made_of(object), object["metadata"]["labels"]["example.com/label"]])
}

#[derive(Debug, Clone)]
struct Pod {
    name: String,
    owner: String,
    instance: String,
    hash: String,
    state: String,
    made_of: Value,
    looks: Value,
    place: (String, String),
    /// Since when it is Ready.
    ready_since: Option<Timestamp>,
    in_service: bool,
    is_active: bool,
    is_ours: bool,
    is_marked: bool,
    marked_by_us: bool,
    is_held: bool,
    serves: bool,
}

impl Pod {
    fn read(entry: &Entry, before: Option<&Self>) -> Self {
        let object = &entry.object;
        let (metadata, status) = (&object["metadata"], &object["status"]);
        let labels = &metadata["labels"];
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let mut gates = conditions.filter(|one| one["type"] == reasons::INPLACE_UPDATE_READY);
        let is_gone = entry.event == "DELETED" || !metadata["deletionTimestamp"].is_null();
        let finalizers = metadata["finalizers"].as_array().into_iter().flatten();
        let phase = text(&status["phase"]);
        let since = before.and_then(|before| before.ready_since).unwrap_or(entry.at);
        Self {
            name: text(&metadata["name"]),
            owner: owner(object),
            instance: text(&labels[keys::INSTANCE_ID]),
            hash: text(&labels[keys::REVISION_HASH]),
            state: text(&labels[keys::LIFECYCLE_STATE]),
            made_of: made_of(object),
            looks: looks(object),
            place: (text(&object["spec"]["nodeName"]), text(&status["podIP"])),
            ready_since: (is_ready(object) && !is_gone).then_some(since),
            in_service: phase == "Running" && gates.all(|gate| gate["status"] == "True"),
            is_active: !is_gone && !matches!(phase.as_str(), "Failed" | "Succeeded"),
            is_ours: labels["app"] == NAME,
            is_marked: !labels[keys::SPECIFIED_DELETE].is_null(),
            marked_by_us: before.is_some_and(|before| before.marked_by_us),
            is_held: finalizers.clone().any(|finalizer| finalizer == DRAIN),
            serves: labels[SERVES] == "true",
        }
    }

    /// Counts as available, beyond doubt.
    fn is_available(&self, at: Timestamp, min_ready: i64) -> bool {
        let is_settled = |since| at.duration_since(since) > SignedDuration::from_secs(min_ready) + SKEW;
        let counts = matches!(self.state.as_str(), "" | "Normal");
        counts && self.in_service && self.is_active && self.ready_since.is_some_and(is_settled)
    }

    /// May count as available.
    fn may_be_available(&self, at: Timestamp, min_ready: i64) -> bool {
        let wanted = SignedDuration::from_secs(min_ready) - SKEW - SKEW;
        let is_settled = |since| at.duration_since(since) >= wanted;
        let is_down = matches!(self.state.as_str(), "PreparingDelete" | "PreparingUpdate");
        !is_down && self.in_service && self.is_active && self.ready_since.is_some_and(is_settled)
    }
}

/// A pod that others took away from us.
struct Loss {
    at: Timestamp,
    uid: String,
    hash: String,
}

struct Court {
    /// Versions that our creations and changes left.
    written: BTreeSet<u64>,
    /// Uids of the pods and claims that we deleted.
    deleted: BTreeSet<String>,
    /// By uid.
    pods: BTreeMap<String, Pod>,
    /// Uids of all CloneSets.
    owners: BTreeSet<String>,
    /// What was asked for, and since when; the newest last.
    specs: VecDeque<(Timestamp, Spec)>,
    uid: String,
    /// The revision with the highest number.
    newest: (i64, String),
    losses: Vec<Loss>,
    violations: Vec<String>,
}

impl Court {
    fn hear(&mut self, entry: &Entry) {
        let object = &entry.object;
        match entry.kind {
            Resource::Pods => self.hear_pod(entry),
            Resource::CloneSets => {
                let uid = text(&object["metadata"]["uid"]);
                self.owners.insert(uid.clone());
                if object["metadata"]["name"] == NAME {
                    self.uid = uid;
                    self.hear_spec(entry.at, Spec::read(object));
                }
            }
            Resource::ControllerRevisions if owner(object) == self.uid => {
                let number = object["revision"].as_i64().unwrap_or_default();
                if number >= self.newest.0 {
                    self.newest = (number, text(&object["metadata"]["name"]));
                }
            }
            Resource::Claims => self.judge_claim(entry),
            _ => {}
        }
    }

    fn hear_spec(&mut self, at: Timestamp, spec: Spec) {
        if self.specs.back().is_some_and(|(_, last)| *last == spec) {
            return;
        }
        self.specs.push_back((at, spec));
        // What was replaced too long ago is nobody's view any more.
        while self
            .specs
            .get(1)
            .is_some_and(|(since, _)| at.duration_since(*since) > OLDEST_VIEW)
        {
            self.specs.pop_front();
        }
    }

    /// What may be known of what is asked for.
    fn known(&self, at: Timestamp) -> impl Iterator<Item = &Spec> + Clone {
        let ends = self
            .specs
            .iter()
            .skip(1)
            .map(|(since, _)| Some(*since))
            .chain([None]);
        let is_recent =
            move |end: Option<Timestamp>| end.is_none_or(|end| at.duration_since(end) <= OLDEST_VIEW);
        let specs = self.specs.iter().zip(ends.collect::<Vec<_>>());
        specs
            .filter(move |(_, end)| is_recent(*end))
            .map(|((_, spec), _)| spec)
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
        self.judge_identity(entry, &pod);
        let Some(before) = before else {
            if is_ours && pod.owner == self.uid {
                self.judge_creation(entry);
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
            let (uid, hash) = (uid.to_owned(), before.hash.clone());
            self.losses.push(Loss { at, uid, hash });
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
        let n_left = self.count(|pod| pod.may_be_available(at, min_ready));
        // The pod itself, where it goes on in service for a moment.
        let n_left = n_left - i64::from(pod.may_be_available(at, min_ready));
        let n_excused = self.lost(at, |_| true);
        let n_needed = self.min(at, |spec| spec.replicas - spec.max_unavailable);
        if n_left + n_excused < n_needed {
            let what = format!(
                "without {}, {n_left} are available, {n_excused} excused, of {n_needed}",
                pod.name
            );
            self.violation("S1", entry, &what);
        }
    }

    /// S8: there are never more pods than are asked for; S1: nor more on their way than may be.
    fn judge_creation(&mut self, entry: &Entry) {
        let at = entry.at;
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
        // This one is gone already.
        let is_scaled_down = self.count(|_| true) + 1 > self.min(at, |spec| spec.replicas);
        let is_wanted = !is_named && !is_scaled_down && before.state != "PreparingDelete";
        if is_wanted && !before.is_marked && self.is_finished(at, before) {
            self.violation("S2", entry, &format!("{name} was up to date and available"));
        }
        if is_wanted && self.known(at).all(|spec| spec.policy == "InPlaceOnly") {
            self.violation("S6", entry, &format!("{name} was to stay"));
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
        if self
            .known(at)
            .all(|spec| spec.is_paused || spec.policy == "OnDelete")
        {
            self.violation(
                "S5",
                entry,
                &format!("{name} was moved although the rollout rests"),
            );
        }
        let newest = &self.newest.1;
        let n_old = self.count(|pod| pod.hash != *newest && !pod.marked_by_us);
        let n_excused = self.lost(at, |loss| loss.hash != *newest);
        let n_kept = self.min(at, |spec| spec.partition);
        if before.hash != *newest && n_old + n_excused < n_kept {
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

    /// S8: the claim of a pod that is there stays.
    fn judge_claim(&mut self, entry: &Entry) {
        let metadata = &entry.object["metadata"];
        let is_ending = entry.event == "DELETED" || !metadata["deletionTimestamp"].is_null();
        // It ends once, and is held while a pod uses it.
        if !is_ending || !self.deleted.remove(&text(&metadata["uid"])) {
            return;
        }
        let instance = text(&metadata["labels"][keys::INSTANCE_ID]);
        let user = self.active().find(|(_, pod)| pod.instance == instance);
        if let Some(name) = user.map(|(_, pod)| pod.name.clone()) {
            self.violation("S8", entry, &format!("{name} lost its claim"));
        }
    }

    fn violation(&mut self, invariant: &str, entry: &Entry, what: &str) {
        self.violations.push(format!("{invariant} at {entry}: {what}"));
    }
}
