//! Counters and conditions of a CloneSet.
//!
//! Source: cloneset.md 11, with 18.4 (the deadline counts from the last progress) and 18.5 (failures are forgotten when they
//! are over, and always written).

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::reasons;
use pitstop_api::view::{CloneSetCondition, CloneSetStatus, CloneSetView, UpdateType};

use super::numbers::Numbers;
use super::plan::Action;
use super::{Touch, Turn};
use crate::availability::available_at;
use crate::instances::rounded_up::keeps_the_only_pod;
use crate::plan::{Event, Progress};

impl Turn<'_, '_> {
    /// The status of the pods as they are, before what this pass does.
    pub(super) fn write_status(&mut self, numbers: Option<&Numbers>) {
        let cloneset = self.snapshot.cloneset;
        let old = &cloneset.status;
        let mut status = self.counted(numbers);
        let overdue = self.overdue();
        let snapshot = self.snapshot;
        let refused = |is_delete: bool| {
            let mut refused = snapshot.in_flight.refused_writes.iter();
            let refused = refused.find(|refused| refused.is_delete == is_delete)?;
            Some(&*refused.message)
        };
        let scale_failure = snapshot.failures.scale.as_deref().or_else(|| refused(true));
        self.set_failure(
            &mut status,
            reasons::FAILED_SCALE,
            scale_failure.or(overdue.as_deref()),
        );
        let update_failure = self.update_failure.take();
        let failure = update_failure
            .as_deref()
            .or(self.snapshot.failures.update.as_deref())
            .or_else(|| refused(false));
        self.set_failure(&mut status, reasons::FAILED_UPDATE, failure);
        let kept = self.partition_that_keeps_all(numbers);
        self.set_progress(&mut status, kept);
        self.wake_for_min_ready();
        self.plan.progress = Progress {
            target: Some(Arc::clone(&self.history.update.name)),
            pods: status.replicas,
            updated: status.updated_replicas,
            frozen: 0,
            unavailable: status.replicas.saturating_sub(status.available_replicas),
            limit: numbers.map_or(0, |numbers| numbers.wanted.max_unavailable),
        };
        self.warn_of_raised_partition(&status);
        if status != *old {
            self.plan.status = Some(status);
        }
    }

    /// A pod whose claims nobody takes over, since it does not end.
    fn overdue(&mut self) -> Option<String> {
        let pod = super::claims::awaited(self.snapshot, self.rows).overdue?;
        let message =
            format!("pod {pod} does not end, and its claims are kept: a pod with new claims takes its place");
        self.plan.events.push(Event {
            is_warning: true,
            reason: reasons::FAILED_SCALE,
            message: message.clone().into(),
            once_per: Some(pod.to_string()),
        });
        Some(message)
    }

    fn counted(&self, numbers: Option<&Numbers>) -> CloneSetStatus {
        let cloneset = self.snapshot.cloneset;
        let mut counts = [0_u32; 6];
        for row in &self.rows.active {
            let (is_ready, is_available) = (row.is_ready, row.is_available);
            let facts = [
                true,
                is_ready,
                is_available,
                row.is_new,
                row.is_new && is_ready,
                row.is_new && is_available,
            ];
            for (count, fact) in counts.iter_mut().zip(facts) {
                *count = count.saturating_add(u32::from(fact));
            }
        }
        let [
            replicas,
            ready,
            available,
            updated,
            updated_ready,
            updated_available,
        ] = counts;
        let mut status = CloneSetStatus {
            observed_generation: cloneset.generation,
            replicas,
            ready_replicas: ready,
            available_replicas: available,
            updated_replicas: updated,
            updated_ready_replicas: updated_ready,
            updated_available_replicas: updated_available,
            expected_updated_replicas: expected(cloneset, numbers),
            update_revision: self.history.update.name.to_string(),
            current_revision: self.history.current.name.to_string(),
            collision_count: Some(cloneset.status.collision_count.unwrap_or(0)),
            conditions: cloneset.status.conditions.clone(),
            label_selector: cloneset
                .selector
                .selector()
                .map_or_else(String::new, |s| s.to_string()),
        };
        let is_through = status.updated_replicas == status.replicas && status.replicas == cloneset.replicas;
        if is_through {
            status.current_revision.clone_from(&status.update_revision);
        }
        status
    }

    fn set_failure(&self, status: &mut CloneSetStatus, kind: &str, failure: Option<&str>) {
        let is_known = status.condition(kind).is_some();
        match failure {
            Some(message) => set(status, kind, "True", kind, message, self.snapshot.now),
            None if is_known => set(status, kind, "False", "Succeeded", "", self.snapshot.now),
            None => {}
        }
    }

    /// Condition `Progressing`, where a deadline is set.
    ///
    /// Without one it is there only as long as a percentage keeps all pods at their revision, which few would expect.
    fn set_progress(&mut self, status: &mut CloneSetStatus, kept: Option<String>) {
        let (cloneset, now) = (self.snapshot.cloneset, self.snapshot.now);
        let Some(deadline) = cloneset.progress_deadline_seconds else {
            match kept {
                Some(message) => {
                    let reason = reasons::PARTITION_AVAILABLE;
                    set(status, reasons::PROGRESSING, "True", reason, &message, now);
                }
                None => status
                    .conditions
                    .retain(|condition| condition.kind != reasons::PROGRESSING),
            }
            return;
        };
        let old = cloneset.status.condition(reasons::PROGRESSING);
        let has_moved = has_progressed(&cloneset.status, status);
        // The deadline counts from when a rollout begins, not from when the one before came to rest.
        let is_moving = has_moved || is_resting(old);
        let progressed_at = old.filter(|_| !is_moving).and_then(|old| old.last_update_time);
        let until = progressed_at.and_then(|at| {
            at.checked_add(SignedDuration::from_secs(i64::from(deadline)))
                .ok()
        });
        let was_exceeded =
            !is_moving && old.is_some_and(|old| old.reason == reasons::PROGRESS_DEADLINE_EXCEEDED);
        let replicas = cloneset.replicas;
        let is_done = status.current_revision == status.update_revision
            && [
                status.replicas,
                status.updated_replicas,
                status.updated_available_replicas,
            ] == [replicas; 3];
        let expected = status.expected_updated_replicas;
        let (is_true, reason, message) = if is_done {
            (
                true,
                reasons::CLONESET_AVAILABLE,
                "CloneSet is available".to_owned(),
            )
        } else if cloneset.is_paused() {
            (true, reasons::CLONESET_PAUSED, "CloneSet is paused".to_owned())
        } else if self.waits_for_owners() {
            let message = "CloneSet waits for the owners of the nodes of its outdated pods".to_owned();
            (true, reasons::WAITING_FOR_OWNER, message)
        } else if expected < replicas && expected <= status.updated_available_replicas {
            let message =
                kept.unwrap_or_else(|| "CloneSet has been paused due to partition ready".to_owned());
            (true, reasons::PARTITION_AVAILABLE, message)
        } else if was_exceeded || until.is_some_and(|until| until < now) {
            let message = format!(
                "CloneSet revision {} has timed out progressing",
                status.update_revision
            );
            (false, reasons::PROGRESS_DEADLINE_EXCEEDED, message)
        } else {
            self.wake(until);
            (
                true,
                reasons::CLONESET_UPDATED,
                "CloneSet is progressing".to_owned(),
            )
        };
        if has_moved {
            touch(status, reasons::PROGRESSING);
        }
        if is_moving {
            let deadline = SignedDuration::from_secs(i64::from(deadline));
            let is_counting = reason == reasons::CLONESET_UPDATED;
            self.wake(now.checked_add(deadline).ok().filter(|_| is_counting));
        }
        let text = if is_true { "True" } else { "False" };
        set(status, reasons::PROGRESSING, text, reason, &message, now);
    }

    /// A percentage below 100 % that keeps the only pod at its revision, since it is rounded up; told once for each
    /// revision.
    ///
    /// Source: cloneset.md 1.4, 18.27.
    fn partition_that_keeps_all(&mut self, numbers: Option<&Numbers>) -> Option<String> {
        let cloneset = self.snapshot.cloneset;
        let rolling = cloneset.update.rolling.as_ref()?;
        let is_outdated = self.rows.active.iter().any(|row| !row.is_new);
        let is_rolling = cloneset.update.kind == UpdateType::RollingUpdate;
        let keeps = numbers.filter(|_| is_outdated && is_rolling)?.partition;
        let numbers = (cloneset.replicas, keeps);
        let event = keeps_the_only_pod(rolling.partition.as_ref(), numbers, &self.history.update.name)?;
        let message = event.message.to_string();
        self.plan.events.push(event);
        Some(message)
    }

    /// Under OTA: is every pod available, or outdated and asked for by nobody?
    fn waits_for_owners(&self) -> bool {
        super::is_ota(self.snapshot.cloneset)
            && self.rows.n_unrequested() > 0
            && self.rows.unseen.is_empty()
            && self
                .rows
                .active
                .iter()
                .all(|row| row.is_available && (row.is_new || !row.is_requested))
    }

    /// The moment at which the next pod becomes available. Source: cloneset.md 18.25.
    fn wake_for_min_ready(&mut self) {
        let seconds = self.snapshot.cloneset.min_ready_seconds;
        if seconds == 0 {
            return;
        }
        let settling = self
            .rows
            .active
            .iter()
            .filter(|row| row.is_ready && !row.is_settled);
        let next = settling.filter_map(|row| available_at(row.pod, seconds)).min();
        self.wake(next);
    }

    /// Raising `partition` does not take updated pods back, unless that is switched on. Source: cloneset.md 18.22.
    fn warn_of_raised_partition(&mut self, status: &CloneSetStatus) {
        let is_on = self.snapshot.features.partition_rollback;
        let old = &self.snapshot.cloneset.status;
        let is_raised = old.update_revision == status.update_revision
            && status.expected_updated_replicas < old.expected_updated_replicas
            && status.expected_updated_replicas < status.updated_replicas
            && status.current_revision != status.update_revision;
        if is_on || !is_raised {
            return;
        }
        let (updated, expected) = (status.updated_replicas, status.expected_updated_replicas);
        self.plan.events.push(Event {
            is_warning: true,
            reason: reasons::PARTITION_ROLLBACK_OFF,
            message: format!(
                "{updated} pods are updated and partition asks for {expected}: updated pods stay as they are; set \
                 partition to 0 and undo the rollout to take them back"
            )
            .into(),
            once_per: Some(format!("{}/{expected}", status.update_revision)),
        });
    }

    /// Names of pods that are gone leave `podsToDelete`, surplus revisions and claims go. Source: cloneset.md 6, steps 5, 13, 14.
    pub(super) fn tidy_up(&mut self) {
        let cloneset = self.snapshot.cloneset;
        self.plan
            .actions
            .extend(super::claims::clean_up(self.snapshot, self.rows));
        self.delete_ended();
        if cloneset.deleted_at.is_some() {
            return;
        }
        let is_going = |i: usize| self.touched.get(i) == Some(&Touch::Deleted);
        let missing = super::claims::missing(self.snapshot, self.rows, is_going);
        self.plan.actions.extend(missing);
        let named = &cloneset.scale.pods_to_delete;
        let is_there = |name: &&Arc<str>| self.snapshot.pods.iter().any(|pod| pod.name == **name);
        let kept: Vec<Arc<str>> = named.iter().filter(is_there).cloned().collect();
        if kept.len() < named.len() {
            self.plan.actions.push(Action::PrunePodsToDelete {
                kept,
                resource_version: cloneset.resource_version,
            });
        }
        let surplus = self
            .history
            .surplus(cloneset.revision_history_limit, self.snapshot.labels_in_use());
        self.plan.actions.extend(surplus);
    }

    /// Pods that have ended go when as many as are wanted are ready without them. Source: cloneset.md 18.13.
    fn delete_ended(&mut self) {
        let cloneset = self.snapshot.cloneset;
        let replicas = usize::try_from(cloneset.replicas).unwrap_or(usize::MAX);
        let n_ready = self.rows.active.iter().filter(|row| row.is_ready).count();
        if n_ready < replicas || cloneset.deleted_at.is_some() {
            return;
        }
        let is_gone = |uid| self.snapshot.in_flight.deleted.contains(&uid);
        let ended = self.rows.inactive.iter();
        let ended = ended.filter(|pod| pod.is_terminal() && !pod.is_terminating() && !is_gone(pod.uid));
        self.plan.actions.extend(ended.map(|pod| Action::DeletePod {
            name: Arc::clone(&pod.name),
            uid: pod.uid,
            resource_version: None,
            claims: Vec::new(),
            why: super::Removal::Ended,
        }));
    }
}

/// How many pods are to reach the update revision. Source: cloneset.md 11.
fn expected(cloneset: &CloneSetView, numbers: Option<&Numbers>) -> u32 {
    numbers.map_or(0, |numbers| cloneset.replicas.saturating_sub(numbers.partition))
}

/// Does no rollout go on that could be late?
fn is_resting(condition: Option<&CloneSetCondition>) -> bool {
    condition.is_none_or(|condition| {
        let at_rest = [
            reasons::CLONESET_AVAILABLE,
            reasons::CLONESET_PAUSED,
            reasons::PARTITION_AVAILABLE,
            reasons::WAITING_FOR_OWNER,
        ];
        at_rest.contains(&condition.reason.as_str())
    })
}

/// Has anything moved since the status was written? Then the deadline counts from now. Source: cloneset.md 18.4.
fn has_progressed(old: &CloneSetStatus, new: &CloneSetStatus) -> bool {
    let counters = |status: &CloneSetStatus| {
        [
            status.ready_replicas,
            status.available_replicas,
            status.updated_replicas,
            status.updated_ready_replicas,
            status.updated_available_replicas,
        ]
    };
    let has_grown = counters(old)
        .iter()
        .zip(counters(new))
        .any(|(old, new)| *old < new);
    has_grown
        || old.update_revision != new.update_revision
        || old.expected_updated_replicas != new.expected_updated_replicas
}

/// Forgets when a condition was written last, so that it is written again.
fn touch(status: &mut CloneSetStatus, kind: &str) {
    if let Some(condition) = status
        .conditions
        .iter_mut()
        .find(|condition| condition.kind == kind)
    {
        condition.last_update_time = None;
    }
}

/// Sets a condition. One that says the same is left alone, unless its time was forgotten.
fn set(status: &mut CloneSetStatus, kind: &str, is_true: &str, reason: &str, message: &str, now: Timestamp) {
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let old = status
        .conditions
        .iter()
        .position(|condition| condition.kind == kind);
    let old = old.map(|at| status.conditions.remove(at));
    let same_status = old.as_ref().filter(|old| old.status == is_true);
    let is_same = same_status
        .is_some_and(|old| old.reason == reason && old.message == message && old.last_update_time.is_some());
    let since = same_status.and_then(|old| old.last_transition_time).or(Some(now));
    let condition = match old {
        Some(old) if is_same => old,
        _ => CloneSetCondition {
            kind: kind.to_owned(),
            status: is_true.to_owned(),
            last_update_time: Some(now),
            last_transition_time: since,
            reason: reason.to_owned(),
            message: message.to_owned(),
        },
    };
    status.conditions.push(condition);
}
