//! Which pods work right now, and what an update leaves alone for that.
//!
//! What is not known counts as work: labels, answers of an arbiter that are too old, and a field that cannot be read.
//!
//! Source: statefulset.md 16.2, 16.3.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::view::{ArbiterProbe, FailurePolicy, Phase, PodView, Protection, StatefulSetView, Uid};
use pitstop_api::{fields, keys, reasons};

use super::identity::ordinal_of;
use super::rows::{Place, Row, Rows};
use super::snapshot::{ArbiterAnswers, Observation, Observed, Snapshot};
use crate::inplace::Live;
use crate::inplace::completion::is_unstarted;
use crate::plan::ProtectedBy;

/// Does a pod work?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// It has ended or is on its way out: it cannot be protected any more.
    Gone,
    /// It works, or that has to be assumed.
    Protected(ProtectedBy),
    /// It does not.
    Idle,
}

impl Guard {
    pub(super) fn is_protected(self) -> bool {
        matches!(self, Self::Protected(_))
    }
}

/// Tells which pods work.
pub(super) struct Judge<'s> {
    protection: Option<Result<&'s Protection, ()>>,
    answers: &'s ArbiterAnswers,
    /// The container in which its command runs; `None` where it is none.
    asked: Option<&'s str>,
    /// Is its first answer still on its way?
    is_awaited: bool,
    by_pod: BTreeMap<Uid, &'s Observation>,
}

impl<'s> Judge<'s> {
    pub(super) fn new(snapshot: &'s Snapshot<'_>) -> Self {
        let protection = snapshot.set.protection.as_ref();
        let observations = snapshot.arbiter.observations.iter();
        Self {
            protection: protection.map(|read| read.as_ref().map(|read| &**read).map_err(|_| ())),
            answers: &snapshot.arbiter,
            asked: asked_container(snapshot.set),
            is_awaited: snapshot.awaits_arbiter(),
            by_pod: observations.map(|seen| (seen.pod, seen)).collect(),
        }
    }

    /// Source: statefulset.md 16.2.
    pub(super) fn guard(&self, pod: &PodView, now: Timestamp) -> Guard {
        let Some(protection) = self.protection else {
            return Guard::Idle;
        };
        if pod.is_terminating() || pod.is_terminal() {
            return Guard::Gone;
        }
        let Ok(protection) = protection else {
            return Guard::Protected(ProtectedBy::Unreadable);
        };
        let by = match self.fresh(protection, pod.uid, now) {
            _ if overridden(pod).is_some() => unanswered(protection, pod),
            _ if self.runs_nothing(pod) => None,
            Some(Observed::Working) => Some(ProtectedBy::Work),
            Some(Observed::Idle) => None,
            Some(Observed::Unknown) => protection.protects_unknown.then_some(ProtectedBy::Unknown),
            None if self.is_awaited => Some(ProtectedBy::Silence),
            None => unanswered(protection, pod),
        };
        let refused = || {
            let until = self.refusal(protection, &pod.name)?;
            (until > now).then_some(ProtectedBy::Refusal)
        };
        by.or_else(refused).map_or(Guard::Idle, Guard::Protected)
    }

    /// Until when a refusal of the arbiter to let a pod go counts: it is asked again before, so that what is blocked stays
    /// blocked while it refuses.
    fn refusal(&self, protection: &Protection, pod: &str) -> Option<Timestamp> {
        let arbiter = protection.arbiter.as_ref().filter(|arbiter| arbiter.claims)?;
        let mut answers = self.answers.claimed.iter();
        let refused = answers.find(|claim| !claim.is_granted && *claim.pod == *pod)?;
        let period = SignedDuration::from_secs(i64::from(arbiter.period_seconds));
        refused.until.checked_add(period).ok()
    }

    /// What the arbiter says of a pod; `None` when that is too old, or was never said.
    pub(super) fn fresh(&self, protection: &Protection, pod: Uid, now: Timestamp) -> Option<Observed> {
        let arbiter = protection.arbiter.as_ref()?;
        if self.answers.failures >= arbiter.failure_threshold {
            return None;
        }
        let seen = self.by_pod.get(&pod)?;
        let seconds = seen.ttl_seconds.map_or(arbiter.stale_after_seconds, |ttl| {
            ttl.min(arbiter.stale_after_seconds)
        });
        let age = now.duration_since(seen.at);
        (age <= SignedDuration::from_secs(i64::from(seconds))).then_some(seen.state)
    }

    /// Is the arbiter a command, and has nothing run where it would, since the pod was last taken for idle, or ever?
    fn runs_nothing(&self, pod: &PodView) -> bool {
        self.asked.is_some_and(|container| has_not_run(pod, container))
    }

    /// Is the arbiter not heard of any pod?
    fn is_silent(&self, protection: &Protection, rows: &Rows<'_>, now: Timestamp) -> bool {
        let Some(arbiter) = &protection.arbiter else {
            return false;
        };
        let is_asked = |row: &&Row<'_>| row.guard != Guard::Gone && !self.runs_nothing(row.pod);
        let mut pods = rows.all.iter().filter(is_asked).peekable();
        self.answers.failures >= arbiter.failure_threshold
            || pods.peek().is_some() && pods.all(|row| self.fresh(protection, row.pod.uid, now).is_none())
    }
}

/// Why a pod is protected without an answer of its arbiter that counts; `None`: it is not.
///
/// Source: statefulset.md 16.2, steps 2 to 4.
pub(crate) fn unanswered(protection: &Protection, pod: &PodView) -> Option<ProtectedBy> {
    let by_label = || match protection.labels_say(&pod.labels) {
        Some(works) => works.then_some(ProtectedBy::Work),
        None => protection.protects_unknown.then_some(ProtectedBy::Unknown),
    };
    let Some(arbiter) = &protection.arbiter else {
        return by_label();
    };
    match (overridden(pod), arbiter.failure_policy) {
        (Some(is_protected), _) => is_protected.then_some(ProtectedBy::Person),
        (None, FailurePolicy::Protect) => Some(ProtectedBy::Silence),
        (None, FailurePolicy::KeepLabel) => by_label(),
        (None, FailurePolicy::Ignore) => None,
    }
}

/// Can a command that is the arbiter run in this pod? Not where its container has yet to be started, for the first time or
/// since an update in place, which only an idle pod gets: nothing there can work, and no command can ever say so.
///
/// Source: statefulset.md 16.4, exec.
pub fn can_be_asked(set: &StatefulSetView, pod: &PodView) -> bool {
    pod.phase == Phase::Running
        && !pod.is_terminating()
        && !asked_container(set).is_some_and(|container| has_not_run(pod, container))
}

/// The container in which the command of the arbiter runs: the one that it names, else the first. `None`: the arbiter is no
/// command. Source: statefulset.md 16.1, `arbiter.exec`.
pub fn asked_container(set: &StatefulSetView) -> Option<&str> {
    let protection = set.protection.as_ref()?.as_ref().ok()?;
    match &protection.arbiter.as_ref()?.probe {
        ArbiterProbe::Exec { container, .. } => Some(
            container
                .as_deref()
                .unwrap_or_else(|| fields::text(&set.template, "/spec/containers/0/name")),
        ),
        ArbiterProbe::Http(_) => None,
    }
}

fn has_not_run(pod: &PodView, container: &str) -> bool {
    Live::of(pod).is_some_and(|live| is_unstarted(live, container))
}

/// What a person says of a pod, which outranks the arbiter.
fn overridden(pod: &PodView) -> Option<bool> {
    let annotations = &pod.in_place.as_ref()?.annotations;
    match annotations.get(keys::ARBITER_OVERRIDE)?.as_str() {
        "protected" => Some(true),
        "idle" => Some(false),
        _ => None,
    }
}

/// Why a pod must not be evicted now, for people; `None`: it may be. No revision has to be known for that.
///
/// Whether a pod works is judged as for an update. `minProtected` holds, too: an eviction is as voluntary. A deadline does
/// not: it is about updates.
///
/// Source: statefulset.md 16.1, `evictionGuard`.
pub fn eviction_refusal(snapshot: &Snapshot<'_>, pod: Uid) -> Option<String> {
    let (set, now) = (snapshot.set, snapshot.now);
    let read = set.protection.as_ref().filter(|_| set.deleted_at.is_none())?;
    if read.as_ref().is_ok_and(|protection| !protection.guards_evictions) {
        return None;
    }
    let pod = snapshot.pods.iter().find(|known| known.uid == pod)?;
    let judge = Judge::new(snapshot);
    let guard = judge.guard(pod, now);
    let protection = match (guard, read) {
        (Guard::Gone, _) => return None,
        (_, Err(why)) => return Some(format!("update protection cannot be read: {why}")),
        (Guard::Protected(by), Ok(_)) => return Some(by.sentence().to_owned()),
        (Guard::Idle, Ok(protection)) => protection,
    };
    let start = if snapshot.features.start_ordinal {
        set.start
    } else {
        0
    };
    let live = set.reserved.live(start, set.replicas);
    let is_counted = |pod: &&&PodView| {
        ordinal_of(&set.name, &pod.name).is_some_and(|ordinal| live.binary_search(&ordinal).is_ok())
            && judge.guard(pod, now).is_protected()
    };
    let protected = snapshot.pods.iter().filter(is_counted).count();
    let least = usize::try_from(protection.min_protected).unwrap_or(usize::MAX);
    (protected < least).then(|| {
        format!("{protected} pods are protected, and minProtected is {least}: none is disrupted until then")
    })
}

/// What protection means for one decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shield {
    /// Pods that stay at old revisions, for partition and protection together.
    pub(super) keeps: u32,
    /// Pods that are protected.
    pub(super) protected: u32,
    /// Of those: not at the update revision.
    pub(super) protected_old: u32,
    /// Why nothing at all may be disrupted.
    pub(super) stops: Option<ProtectedBy>,
    /// Has an update been blocked for so long that pods are taken for idle?
    pub(super) is_forced: bool,
    /// When it will have been blocked for so long.
    pub(super) deadline: Option<Timestamp>,
    /// Does the arbiter answer?
    pub(super) arbiter_answers: Option<bool>,
}

impl Shield {
    /// Source: statefulset.md 16.3. `partition`: what the user keeps at old revisions.
    pub(super) fn of(snapshot: &Snapshot<'_>, rows: &Rows<'_>, partition: u32) -> Self {
        let mut shield = Self {
            keeps: partition,
            ..Self::default()
        };
        let set = snapshot.set;
        let Some(read) = &set.protection else {
            return shield;
        };
        let slots = rows.slots.iter().filter_map(|slot| match slot.place {
            Place::Pod(i) => rows.all.get(i),
            Place::Missing { .. } | Place::Unseen { .. } | Place::Orphan => None,
        });
        for row in slots.filter(|row| row.guard.is_protected()) {
            shield.protected = shield.protected.saturating_add(1);
            shield.protected_old = shield.protected_old.saturating_add(u32::from(!row.is_new));
        }
        let Ok(protection) = read else {
            shield.keeps = set.replicas;
            shield.stops = Some(ProtectedBy::Unreadable);
            return shield;
        };
        let judge = Judge::new(snapshot);
        let is_silent = judge.is_silent(protection, rows, snapshot.now);
        let arbiter = protection.arbiter.as_ref();
        shield.arbiter_answers = arbiter.map(|_| !is_silent);
        let protects_when_silent =
            arbiter.is_some_and(|arbiter| arbiter.failure_policy == FailurePolicy::Protect);
        if is_silent && (protects_when_silent || judge.is_awaited) {
            shield.stops = Some(ProtectedBy::Silence);
        } else if shield.protected < protection.min_protected {
            shield.stops = Some(ProtectedBy::TooFew);
        }
        shield.keeps = if shield.stops.is_some() {
            set.replicas
        } else if protection.follows {
            partition.max(shield.protected_old)
        } else {
            partition
        };
        let blocked = set.status.condition(reasons::UPDATE_BLOCKED);
        let since = blocked
            .filter(|condition| condition.status == "True")
            .and_then(|condition| condition.last_transition_time);
        let seconds = protection.deadline_seconds.map(i64::from);
        shield.deadline = since
            .zip(seconds)
            .and_then(|(since, seconds)| since.checked_add(SignedDuration::from_secs(seconds)).ok());
        let is_over = shield.deadline.is_some_and(|deadline| deadline <= snapshot.now);
        if is_over && protection.forces_at_deadline {
            shield.is_forced = true;
            shield.keeps = partition;
        }
        shield
    }

    /// May this pod not be disrupted?
    pub(super) fn covers(&self, guard: Guard) -> bool {
        self.cause(guard).is_some()
    }

    /// Why this pod must not be disrupted; `None`: it may be.
    pub(super) fn cause(&self, guard: Guard) -> Option<ProtectedBy> {
        match guard {
            _ if self.is_forced => None,
            Guard::Gone => None,
            Guard::Protected(by) => Some(by),
            Guard::Idle => self.stops,
        }
    }
}
