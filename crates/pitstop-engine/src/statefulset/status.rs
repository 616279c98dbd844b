//! Counters and conditions of a StatefulSet.
//!
//! Source: statefulset.md 9, 10.2, 16.5; 15.1 rows 1, 15 and 17.

use jiff::Timestamp;
use pitstop_api::reasons;
use pitstop_api::view::{ProtectionStatus, StatefulSetCondition, StatefulSetStatus, UpdateType};

use super::Turn;
use super::identity::seconds;
use super::numbers::Numbers;
use super::protection::Guard;
use super::rows::{Place, Row};
use crate::instances::invalid::Invalid;
use crate::instances::rounded_up::keeps_the_only_pod;
use crate::plan::{Event, Progress, ProtectedBy};

/// A condition that a decision sets.
struct Said<'a> {
    kind: &'a str,
    is_true: bool,
    reason: &'a str,
    message: &'a str,
}

impl Turn<'_, '_> {
    /// The status of the pods as they are, before what this pass does.
    pub(super) fn write_status(&mut self, numbers: Result<&Numbers, &Invalid>, list: &[usize]) {
        let set = self.snapshot.set;
        let mut status = self.counted();
        let (create, update) = (self.create_failure.take(), self.update_failure.take());
        let failures = &self.snapshot.failures;
        let create = create.as_deref().or(failures.scale.as_deref());
        let create = create.map(|error| format!("StatefulPodControl failed to create Pod error: {error}"));
        let update = update.as_deref().or(failures.update.as_deref());
        let update = update.map(|error| format!("StatefulPodControl failed to update Pod error: {error}"));
        self.set_failure(&mut status, reasons::FAILED_CREATE_POD, create.as_deref());
        self.set_failure(&mut status, reasons::FAILED_UPDATE_POD, update.as_deref());
        self.set_malformed(&mut status, numbers.err());
        let numbers = numbers.ok();
        self.set_protection(&mut status, numbers, list);
        let partition = set
            .rolling
            .as_ref()
            .and_then(|rolling| rolling.partition.as_ref());
        let is_outdated = self.is_rolling() && self.rows.all.iter().any(|row| !row.is_new);
        if let Some(numbers) = numbers.filter(|_| is_outdated) {
            let target = &self.history.update.name;
            let kept = keeps_the_only_pod(partition, (set.replicas, numbers.partition), target);
            self.plan.events.extend(kept);
        }
        self.plan.progress = Progress {
            target: Some(std::sync::Arc::clone(&self.history.update.name)),
            pods: status.replicas,
            updated: status.updated_replicas,
            frozen: 0,
            unavailable: status.replicas.saturating_sub(status.available_replicas),
            limit: numbers.map_or(0, |numbers| numbers.max_unavailable),
        };
        keep_probe_time(&mut status, &set.status, self.snapshot.now);
        if status != set.status {
            self.plan.status = Some(status);
        }
    }

    fn counted(&mut self) -> StatefulSetStatus {
        let (set, rows) = (self.snapshot.set, self.rows);
        let mut status = StatefulSetStatus {
            observed_generation: set.generation,
            current_revision: self.history.current.name.to_string(),
            update_revision: self.history.update.name.to_string(),
            collision_count: Some(set.status.collision_count.unwrap_or(0)),
            conditions: set.status.conditions.clone(),
            label_selector: set
                .selector
                .selector()
                .map_or_else(String::new, |s| s.to_string()),
            volume_claims: self.claims.status(rows.slots.iter().map(|slot| slot.ordinal)),
            ..StatefulSetStatus::default()
        };
        for row in &rows.all {
            self.wake_for_min_ready(row);
            let is_available = row.is_ready && row.is_available();
            let facts = [
                (&mut status.replicas, true),
                (&mut status.ready_replicas, row.is_ready),
                (&mut status.available_replicas, is_available),
                (
                    &mut status.current_replicas,
                    row.is_current && !row.is_terminating,
                ),
                (&mut status.updated_replicas, row.is_new && !row.is_terminating),
                (&mut status.updated_ready_replicas, row.is_new && row.is_ready),
                (&mut status.updated_available_replicas, row.is_new && is_available),
            ];
            for (count, fact) in facts {
                *count = count.saturating_add(u32::from(fact));
            }
        }
        // Against what is wanted, not only against what is there (15.1 row 1).
        let is_through = set.update == UpdateType::RollingUpdate
            && [status.updated_replicas, status.ready_replicas, status.replicas] == [set.replicas; 3];
        if is_through {
            status.current_revision.clone_from(&status.update_revision);
            status.current_replicas = status.updated_replicas;
        }
        status
    }

    fn set_failure(&self, status: &mut StatefulSetStatus, kind: &str, failure: Option<&str>) {
        let is_known = status.condition(kind).is_some();
        let said = match failure {
            Some(message) => Said {
                kind,
                is_true: true,
                reason: "",
                message,
            },
            None if is_known => Said {
                kind,
                is_true: false,
                reason: "Succeeded",
                message: "",
            },
            None => return,
        };
        set(status, &said, self.snapshot.now);
    }

    /// Fields and annotations that cannot be read, and entries of `reserveOrdinals` that are left out. Source: statefulset.md
    /// 15.1 row 17, 15.2, 16.1.
    fn set_malformed(&mut self, status: &mut StatefulSetStatus, invalid: Option<&Invalid>) {
        let kind = reasons::INVALID_SPEC;
        let set_view = self.snapshot.set;
        let malformed: Vec<&str> = set_view.reserved.malformed().iter().map(|text| &**text).collect();
        let message = match &set_view.protection {
            _ if invalid.is_some() => invalid.map(Invalid::message).unwrap_or_default(),
            _ if !malformed.is_empty() => format!(
                "spec.reserveOrdinals: {} is neither a number nor a range such as \"2-5\", and left out",
                malformed.join(", ")
            ),
            Some(Err(problem)) => format!("{problem}; no pod is disrupted until it is mended"),
            _ if status.condition(kind).is_none() => return,
            _ => String::new(),
        };
        let is_true = !message.is_empty();
        // The event of what cannot be read at all is there already.
        if is_true && invalid.is_none() {
            self.plan.events.push(Event {
                is_warning: true,
                reason: kind,
                message: message.clone().into(),
                once_per: Some(message.clone()),
            });
        }
        let said = Said {
            kind,
            is_true,
            reason: if is_true { kind } else { "Succeeded" },
            message: &message,
        };
        set(status, &said, self.snapshot.now);
    }

    /// Source: statefulset.md 16.5.
    fn set_protection(&mut self, status: &mut StatefulSetStatus, numbers: Option<&Numbers>, list: &[usize]) {
        let set_view = self.snapshot.set;
        let (Some(_), Some(numbers)) = (&set_view.protection, numbers) else {
            status
                .conditions
                .retain(|condition| condition.kind != reasons::UPDATE_BLOCKED);
            return;
        };
        // Until an arbiter has answered for the first time, what was told before stays.
        if self.snapshot.awaits_arbiter() {
            status.protection.clone_from(&set_view.status.protection);
            return;
        }
        let shield = numbers.shield;
        let waiting = self.held_back(numbers);
        let kept = self.rows.condemned.iter().filter_map(|i| self.rows.all.get(*i));
        let kept = kept.filter(|row| !row.is_terminating && self.keeps_condemned(row, numbers));
        let kept: Vec<Row<'_>> = kept.copied().collect();
        let name = |row: &Row<'_>| row.pod.name.to_string();
        let by = |by: ProtectedBy| {
            let rows = waiting.iter().chain(&kept);
            let rows = rows.filter(|row| row.guard == Guard::Protected(by));
            rows.map(name).collect()
        };
        // Where nothing at all is heard, that is told of the arbiter.
        let silent: Vec<String> = match shield.stops {
            Some(ProtectedBy::Silence) => Vec::new(),
            _ => by(ProtectedBy::Silence),
        };
        status.protection = Some(ProtectionStatus {
            protected: shield.protected,
            protected_old: shield.protected_old,
            effective_partition: shield.keeps,
            waiting: waiting.iter().map(name).collect(),
            condemned: kept.iter().map(name).collect(),
            refused: by(ProtectedBy::Refusal),
            unknown: by(ProtectedBy::Unknown),
            silent: silent.clone(),
            last_probe_time: self.snapshot.arbiter.heard_at.map(seconds),
            arbiter_healthy: shield.arbiter_answers,
        });
        let goes_on = self.goes_on(numbers, list);
        let is_held = !waiting.is_empty() && (shield.stops.is_some() || !goes_on);
        // What a deadline has taken comes back at the revision that it was taken for.
        let is_blocked = is_held || (shield.is_forced && self.is_on_the_way());
        let reason = match shield.stops {
            _ if !is_blocked => reasons::PROGRESSING,
            Some(ProtectedBy::Silence) => reasons::ARBITER_UNAVAILABLE,
            Some(ProtectedBy::TooFew) => reasons::TOO_FEW_PROTECTED,
            Some(ProtectedBy::Unreadable) => reasons::INVALID_SPEC,
            _ => reasons::ALL_REMAINING_PROTECTED,
        };
        let message = match () {
            () if is_held => format!("{} pods wait: {}", waiting.len(), names(&waiting)),
            () if is_blocked => "the deadline is over: the last pods that were taken come back".to_owned(),
            () => String::new(),
        };
        let said = Said {
            kind: reasons::UPDATE_BLOCKED,
            is_true: is_blocked,
            reason,
            message: &message,
        };
        set(status, &said, self.snapshot.now);
        self.tell_silence(&silent);
        self.watch_deadline(status, numbers, is_blocked);
    }

    /// Pods of which the arbiter does not say anything any more while it speaks of others. Source: statefulset.md 16.5.
    fn tell_silence(&mut self, silent: &[String]) {
        let before = &self.snapshot.set.status.protection;
        let is_known = |pod: &String| before.iter().any(|before| before.silent.contains(pod));
        for pod in silent.iter().filter(|pod| !is_known(pod)) {
            let message = format!(
                "the arbiter says nothing of pod {pod}: {}",
                ProtectedBy::Silence.sentence()
            );
            self.warn(reasons::ARBITER_PROBE_FAILED, message, None);
        }
    }

    /// Is there a pod that protection leaves to the update? One that is up goes only where protected pods that are down do
    /// not use the budget up. Source: statefulset.md 16.6 P12.
    fn goes_on(&self, numbers: &Numbers, list: &[usize]) -> bool {
        let rows = self.rows;
        let pods = || (0..rows.slots.len()).filter_map(|rank| rows.pod_of(rank));
        let is_held_down = |row: &Row<'_>| row.guard.is_protected() && !row.is_new && !row.is_up();
        let n_held_down = pods().filter(|(_, row)| is_held_down(row)).count();
        let max = usize::try_from(numbers.max_unavailable).unwrap_or(usize::MAX);
        list.iter().any(|rank| {
            let pod = rows.pod_of(*rank);
            pod.is_some_and(|(_, row)| {
                !row.is_new && row.guard == Guard::Idle && (n_held_down < max || !row.is_up())
            })
        })
    }

    /// Is an ordinal without its pod, or is one on its way out or being updated in place?
    fn is_on_the_way(&self) -> bool {
        self.rows.slots.iter().any(|slot| match slot.place {
            Place::Missing { .. } | Place::Unseen { .. } => true,
            Place::Orphan => false,
            Place::Pod(i) => {
                let row = self.rows.all.get(i);
                row.is_some_and(|row| row.is_terminating || !row.is_complete)
            }
        })
    }

    /// Old pods that the user lets be updated, and that work.
    fn held_back(&self, numbers: &Numbers) -> Vec<Row<'_>> {
        let is_rolling = self.is_rolling() && !self.snapshot.set.is_paused();
        if !is_rolling || self.n_left(numbers) == 0 {
            return Vec::new();
        }
        let rows = self.rows;
        let pods = (0..rows.slots.len()).rev().filter_map(|rank| rows.pod_of(rank));
        let is_held = |row: &Row<'_>| row.guard.is_protected() || numbers.shield.stops.is_some();
        pods.map(|(_, row)| row)
            .filter(|row| !row.is_new && !row.is_terminating && is_held(row))
            .collect()
    }

    /// How many more pods the user lets be updated. Units: pods.
    pub(super) fn n_left(&self, numbers: &Numbers) -> u32 {
        let (rows, replicas) = (self.rows, self.snapshot.set.replicas);
        let mut left = replicas.saturating_sub(numbers.partition);
        for slot in &rows.slots {
            let is_new = match slot.place {
                Place::Pod(i) => {
                    let row = rows.all.get(i);
                    row.is_some_and(|row| row.is_new || row.is_terminating)
                }
                Place::Missing { is_new } | Place::Unseen { is_new } => is_new,
                Place::Orphan => false,
            };
            left = left.saturating_sub(u32::from(is_new));
        }
        left
    }

    /// Source: statefulset.md 16.1, `deadlineSeconds`.
    fn watch_deadline(&mut self, status: &StatefulSetStatus, numbers: &Numbers, is_blocked: bool) {
        let Some(Ok(protection)) = &self.snapshot.set.protection else {
            return;
        };
        let Some(seconds) = protection.deadline_seconds.filter(|_| is_blocked) else {
            return;
        };
        let now = self.snapshot.now;
        match numbers.shield.deadline {
            Some(deadline) if deadline <= now => {
                let what = if protection.forces_at_deadline {
                    "protected pods are updated now"
                } else {
                    "protected pods still wait"
                };
                self.plan.events.push(Event {
                    is_warning: true,
                    reason: reasons::PROTECTION_DEADLINE_EXCEEDED,
                    message: format!("the update has been blocked for {seconds} s: {what}").into(),
                    once_per: Some(format!("{}/{deadline}", status.update_revision)),
                });
            }
            Some(deadline) => self.wake(Some(deadline)),
            None => {
                let until = now.checked_add(jiff::SignedDuration::from_secs(i64::from(seconds)));
                self.wake(until.ok());
            }
        }
    }

    /// Surplus revisions go. Source: statefulset.md 4.5.
    pub(super) fn tidy_up(&mut self) {
        if self.snapshot.set.deleted_at.is_some() {
            return;
        }
        let surplus = self.history.surplus(
            self.snapshot.set.revision_history_limit,
            self.snapshot.labels_in_use(),
        );
        self.plan.actions.extend(surplus);
    }
}

/// How long the time of the last probe may be behind when nothing else changes: it is no reason to write every few seconds.
/// Units: seconds.
const PROBE_TIME_BEHIND: i64 = 60;

fn keep_probe_time(status: &mut StatefulSetStatus, before: &StatefulSetStatus, now: Timestamp) {
    let known = before
        .protection
        .as_ref()
        .and_then(|protection| protection.last_probe_time);
    let is_recent = known.is_some_and(|at| now.duration_since(at).as_secs() < PROBE_TIME_BEHIND);
    let mut same = status.clone();
    if let Some(protection) = same.protection.as_mut().filter(|_| is_recent) {
        protection.last_probe_time = known;
        if same == *before {
            *status = same;
        }
    }
}

fn names(rows: &[Row<'_>]) -> String {
    const SHOWN: usize = 5;
    let mut text: Vec<&str> = rows.iter().take(SHOWN).map(|row| &*row.pod.name).collect();
    if rows.len() > SHOWN {
        text.push("...");
    }
    text.join(", ")
}

/// Sets a condition. One that says the same is left alone.
fn set(status: &mut StatefulSetStatus, said: &Said<'_>, now: Timestamp) {
    let text = if said.is_true { "True" } else { "False" };
    let old = status
        .conditions
        .iter()
        .position(|condition| condition.kind == said.kind);
    let same = old
        .and_then(|at| status.conditions.get(at))
        .filter(|old| old.status == text);
    let since = same.and_then(|old| old.last_transition_time);
    let condition = StatefulSetCondition {
        kind: said.kind.to_owned(),
        status: text.to_owned(),
        last_transition_time: since.or(Some(seconds(now))),
        reason: said.reason.to_owned(),
        message: said.message.to_owned(),
    };
    match old.and_then(|at| status.conditions.get_mut(at)) {
        Some(old) => *old = condition,
        None => status.conditions.push(condition),
    }
}
