//! The controller of Jobs: pods that run to their end, as many as have to succeed.
//!
//! A finalizer holds each pod until it is counted, so that none is counted twice or not at all. Source:
//! embedded-cluster.md 16; the rules are those of Kubernetes 1.34.

mod indexes;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::keys;
use serde_json::{Value, json};

use super::super::wire::Pod;
use super::super::writes::Write;
use super::objects::{Job, JobCondition, JobStatus};
use super::ownership::Controller;
use super::queue::{Note, Plan, Sort, Step};
use super::replicas::{is_active, pod_of};
use indexes::Indexes;

/// Event source.
const SOURCE: &str = "job-controller";
/// Pods made or deleted at once.
const BURST: usize = 500;
/// First and longest wait after a pod has failed.
const BACK_OFF: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(10), SignedDuration::from_mins(10));

/// How a Job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdict {
    /// What is said while pods still run, and at the end.
    conditions: [&'static str; 2],
    reason: &'static str,
    message: &'static str,
}

const REACHED: Verdict = Verdict {
    conditions: ["SuccessCriteriaMet", "Complete"],
    reason: "CompletionsReached",
    message: "Reached expected number of succeeded pods",
};
const TOO_MANY_FAILURES: Verdict = Verdict {
    conditions: ["FailureTarget", "Failed"],
    reason: "BackoffLimitExceeded",
    message: "Job has reached the specified backoff limit",
};
const TOO_LONG: Verdict = Verdict {
    conditions: ["FailureTarget", "Failed"],
    reason: "DeadlineExceeded",
    message: "Job was active longer than specified deadline",
};

/// A Job with its pods.
struct Work<'a> {
    job: &'a Job,
    pods: Vec<&'a Pod>,
    now: Timestamp,
}

/// What a Job does next. `candidates` are pods of its namespace that are its own or nobody's.
pub(super) fn decide(job: &Job, candidates: &[&Pod], now: Timestamp) -> Plan {
    let Some(selector) = job.spec.selector.selector() else {
        return Plan::default();
    };
    let controller = Controller {
        api_version: "batch/v1",
        kind: "Job",
        meta: &job.metadata,
    };
    let pods = candidates.iter().copied();
    let claim = controller.claim(&selector, Sort::Pod, pods, |pod| &pod.metadata, Pod::path);
    if !claim.steps.is_empty() {
        return Plan::of(claim.steps);
    }
    let work = Work {
        job,
        pods: claim.owned,
        now,
    };
    if work.has(REACHED.conditions[1]) || work.has(TOO_LONG.conditions[1]) {
        return work.rest();
    }
    work.go_on(&controller)
}

/// Lets go of a pod whose Job is not there.
pub(super) fn release(pod: &Pod) -> Option<Step> {
    if !is_held(pod) {
        return None;
    }
    let finalizers = pod.metadata.finalizers.iter();
    let left: Vec<&String> = finalizers
        .filter(|name| *name != keys::FINALIZER_JOB_TRACKING)
        .collect();
    let body = json!({"metadata": {
        "uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version, "finalizers": left,
    }});
    Some(Step::new(Sort::Pod, Write::merge(pod.path(), body)))
}

/// Is a pod held until it is counted?
pub(super) fn is_held(pod: &Pod) -> bool {
    let mut finalizers = pod.metadata.finalizers.iter();
    finalizers.any(|name| name == keys::FINALIZER_JOB_TRACKING)
}

impl Work<'_> {
    fn has(&self, condition: &str) -> bool {
        let mut conditions = self.job.status.conditions.iter();
        conditions.any(|found| found.kind == condition && found.status == "True")
    }

    /// A Job that has ended: its pods are let go, and it goes itself when its time is over.
    fn rest(&self) -> Plan {
        let steps: Vec<Step> = self.pods.iter().filter_map(|pod| release(pod)).collect();
        let meta = &self.job.metadata;
        let Some(ttl) = self
            .job
            .spec
            .ttl_seconds_after_finished
            .filter(|_| meta.deletion_timestamp.is_none())
        else {
            return Plan::of(steps);
        };
        let ends = ["Complete", "Failed"];
        let mut conditions = self.job.status.conditions.iter();
        let ended = conditions.find(|found| ends.contains(&found.kind.as_str()) && found.status == "True");
        let until = ended
            .and_then(|ended| ended.last_transition_time)
            .and_then(|at| at.checked_add(SignedDuration::from_secs(ttl)).ok());
        if !steps.is_empty() || until.is_none_or(|until| until > self.now) {
            return Plan { steps, again: until };
        }
        let write = Write::delete(self.job.path(), &meta.uid, None, Some("Foreground"));
        Plan::of(vec![Step::new(Sort::Job, write)])
    }

    /// Counts pods, makes or deletes some, and tells how it stands.
    fn go_on(&self, controller: &Controller<'_>) -> Plan {
        let mut status = self.counted();
        let mut steps = self.let_go();
        let active: Vec<&Pod> = self.pods.iter().copied().filter(|pod| is_active(pod)).collect();
        status.active = count(active.len());
        status.ready = count(active.iter().filter(|pod| pod.ready_since().is_some()).count());
        let ending = self
            .pods
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_some() && !pod.is_terminal());
        status.terminating = count(ending.count());
        let mut again = self.deadline();
        let verdict = self.verdict(&status);
        let mut notes = Vec::new();
        if let Some(verdict) = verdict {
            steps.extend(active.iter().map(|pod| self.delete(pod)));
            notes.extend(self.end(&mut status, verdict));
        } else if self.job.metadata.deletion_timestamp.is_none() {
            notes.extend(self.note_suspension(&mut status));
            if self.job.spec.suspend {
                steps.extend(active.iter().map(|pod| self.send_home(pod)));
            } else {
                let (changes, wait) = self.resize(&status, &active, controller);
                steps.extend(changes);
                again = again.into_iter().chain(wait).min();
            }
        }
        if status != self.job.status {
            let mut step = self.write_status(&status);
            step.note = notes.pop();
            steps.push(step);
        }
        Plan { steps, again }
    }

    /// The counters, with what was let go since, and the pods that have ended since.
    fn counted(&self) -> JobStatus {
        let mut status = self.job.status.clone();
        let held: BTreeSet<&str> = self
            .pods
            .iter()
            .filter(|pod| is_held(pod))
            .map(|pod| pod.metadata.uid.as_str())
            .collect();
        let uncounted = &mut status.uncounted_terminated_pods;
        let before = (uncounted.succeeded.len(), uncounted.failed.len());
        uncounted.succeeded.retain(|uid| held.contains(uid.as_str()));
        uncounted.failed.retain(|uid| held.contains(uid.as_str()));
        let counted = |before: usize, left: usize| count(before.saturating_sub(left));
        status.succeeded = status
            .succeeded
            .saturating_add(counted(before.0, uncounted.succeeded.len()));
        status.failed = status
            .failed
            .saturating_add(counted(before.1, uncounted.failed.len()));
        let mut indexes = self.indexes();
        for pod in self.pods.iter().filter(|pod| is_held(pod)) {
            let uid = &pod.metadata.uid;
            if uncounted.succeeded.contains(uid) || uncounted.failed.contains(uid) {
                continue;
            }
            match pod.status.phase.as_str() {
                // A completion counts once, however often it was run.
                "Succeeded" if index_of(pod).is_none_or(|index| indexes.insert(index)) => {
                    uncounted.succeeded.push(uid.clone());
                }
                "Succeeded" => {}
                "Failed" => uncounted.failed.push(uid.clone()),
                _ if self.is_lost(pod) => uncounted.failed.push(uid.clone()),
                _ => {}
            }
        }
        status.completed_indexes = indexes.to_string();
        status
    }

    /// Does a pod that has not ended count as one that failed? So do all when the Job has failed, and those that are being
    /// deleted and are to be replaced before they have ended.
    fn is_lost(&self, pod: &Pod) -> bool {
        if self.has(TOO_LONG.conditions[0]) {
            return true;
        }
        pod.metadata.deletion_timestamp.is_some()
            && self.job.spec.pod_replacement_policy != "Failed"
            && !self.job.spec.suspend
            && !self.has(REACHED.conditions[0])
    }

    /// Lets go of pods that are on record. Those of which nothing is recorded when they are deleted neither ended nor
    /// failed: they are let go as well.
    fn let_go(&self) -> Vec<Step> {
        let known = &self.job.status.uncounted_terminated_pods;
        let is_known = |pod: &&&Pod| {
            let uid = &pod.metadata.uid;
            let is_unwanted =
                pod.metadata.deletion_timestamp.is_some() && !pod.is_terminal() && !self.is_lost(pod);
            known.succeeded.contains(uid)
                || known.failed.contains(uid)
                || is_unwanted
                || self.is_repeated(pod)
        };
        self.pods
            .iter()
            .filter(is_known)
            .filter_map(|pod| release(pod))
            .collect()
    }

    /// Did a pod succeed with a completion that others had done before?
    fn is_repeated(&self, pod: &Pod) -> bool {
        pod.status.phase == "Succeeded" && index_of(pod).is_some_and(|index| self.indexes().contains(index))
    }

    fn indexes(&self) -> Indexes {
        Indexes::parse(&self.job.status.completed_indexes)
    }

    /// Is it decided how the Job ends?
    fn verdict(&self, status: &JobStatus) -> Option<Verdict> {
        let known = [TOO_MANY_FAILURES, TOO_LONG];
        if self.has(REACHED.conditions[0]) {
            return Some(REACHED);
        }
        if self.has(TOO_LONG.conditions[0]) {
            let mut conditions = self.job.status.conditions.iter();
            let found = conditions.find(|found| found.kind == TOO_LONG.conditions[0])?;
            return known.into_iter().find(|verdict| verdict.reason == found.reason);
        }
        let uncounted = &status.uncounted_terminated_pods;
        let failed = status.failed.saturating_add(count(uncounted.failed.len()));
        let succeeded = status.succeeded.saturating_add(count(uncounted.succeeded.len()));
        let limit = self.job.spec.backoff_limit;
        if failed > limit || self.has_restarted_too_often(limit) {
            return Some(TOO_MANY_FAILURES);
        }
        if self.deadline().is_some_and(|deadline| deadline <= self.now) {
            return Some(TOO_LONG);
        }
        let is_done = match self.job.spec.completions {
            Some(completions) => succeeded >= completions,
            None => succeeded > 0 && status.active == 0,
        };
        is_done.then_some(REACHED)
    }

    fn has_restarted_too_often(&self, limit: i64) -> bool {
        let policy = self
            .job
            .spec
            .template
            .pointer("/spec/restartPolicy")
            .and_then(Value::as_str);
        if policy != Some("OnFailure") {
            return false;
        }
        let running = self.pods.iter().filter(|pod| is_active(pod));
        let restarts: i64 = running
            .flat_map(|pod| &pod.status.container_statuses)
            .map(|container| container.restart_count)
            .sum();
        if limit == 0 {
            restarts > 0
        } else {
            restarts >= limit
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        let seconds = self
            .job
            .spec
            .active_deadline_seconds
            .filter(|_| !self.job.spec.suspend)?;
        let started = self.job.status.start_time?;
        started.checked_add(SignedDuration::from_secs(seconds)).ok()
    }

    /// Says how the Job ends: first that it will, and when no pod is left that it has.
    fn end(&self, status: &mut JobStatus, verdict: Verdict) -> Option<Note> {
        let [announced, final_one] = verdict.conditions;
        self.set(status, announced, "True", verdict.reason, verdict.message);
        let uncounted = &status.uncounted_terminated_pods;
        let is_counted = uncounted.succeeded.is_empty() && uncounted.failed.is_empty();
        if !is_counted || status.active > 0 || status.terminating > 0 || !self.has(announced) {
            return None;
        }
        self.set(status, final_one, "True", verdict.reason, verdict.message);
        if verdict == REACHED {
            status.completion_time = whole(self.now);
            return Some(self.note(("Completed", "Job completed".to_owned()), false));
        }
        Some(self.note((verdict.reason, verdict.message.to_owned()), true))
    }

    /// Says when a Job begins, is suspended, and goes on.
    fn note_suspension(&self, status: &mut JobStatus) -> Option<Note> {
        let was_suspended = self.has("Suspended");
        if self.job.spec.suspend {
            if was_suspended {
                return None;
            }
            self.set(status, "Suspended", "True", "JobSuspended", "Job suspended");
            return Some(self.note(("Suspended", "Job suspended".to_owned()), false));
        }
        if was_suspended {
            self.set(status, "Suspended", "False", "JobResumed", "Job resumed");
            status.start_time = whole(self.now);
            return Some(self.note(("Resumed", "Job resumed".to_owned()), false));
        }
        if status.start_time.is_none() {
            status.start_time = whole(self.now);
        }
        None
    }

    /// Makes or deletes pods; after failures only when some time has passed.
    fn resize(
        &self,
        status: &JobStatus,
        active: &[&Pod],
        controller: &Controller<'_>,
    ) -> (Vec<Step>, Option<Timestamp>) {
        let spec = &self.job.spec;
        let uncounted = &status.uncounted_terminated_pods;
        let succeeded = status.succeeded.saturating_add(count(uncounted.succeeded.len()));
        let wanted = match spec.completions {
            Some(completions) => completions.saturating_sub(succeeded).min(spec.parallelism),
            None if succeeded > 0 => status.active,
            None => spec.parallelism,
        };
        let wanted = usize::try_from(wanted).unwrap_or_default();
        // A replacement may have to wait until the one before has ended.
        let ending = if spec.pod_replacement_policy == "Failed" {
            status.terminating
        } else {
            0
        };
        let there = active
            .len()
            .saturating_add(usize::try_from(ending).unwrap_or_default());
        if active.len() > wanted {
            let mut over = active.to_vec();
            over.sort_by_key(|pod| (pod.ready_since().is_some(), pod.metadata.creation_timestamp));
            let n_over = active.len().saturating_sub(wanted).min(BURST);
            return (
                over.into_iter()
                    .take(n_over)
                    .map(|pod| self.send_home(pod))
                    .collect(),
                None,
            );
        }
        let n_new = wanted.saturating_sub(there).min(BURST);
        if n_new == 0 {
            return (Vec::new(), None);
        }
        if let Some(until) = self.back_off().filter(|until| *until > self.now) {
            return (Vec::new(), Some(until));
        }
        let steps = match spec.completion_mode.as_str() {
            "Indexed" => {
                let done = Indexes::parse(&status.completed_indexes);
                let taken: BTreeSet<i64> = active.iter().filter_map(|pod| index_of(pod)).collect();
                let free = (0..spec.completions.unwrap_or_default())
                    .filter(|index| !done.contains(*index) && !taken.contains(index));
                free.take(n_new)
                    .map(|index| self.create(controller, Some(index)))
                    .collect()
            }
            _ => vec![self.create(controller, None); n_new],
        };
        (steps, None)
    }

    /// Until when no pod is made, since the last ones have failed.
    fn back_off(&self) -> Option<Timestamp> {
        let ended = |phase: &'static str| {
            let pods = self.pods.iter().filter(move |pod| pod.status.phase == phase);
            pods.filter_map(|pod| {
                let ends = pod.status.container_statuses.iter();
                ends.filter_map(|container| container.state.terminated.as_ref()?.finished_at)
                    .max()
            })
        };
        let last_success = ended("Succeeded").max();
        let failures = ended("Failed").filter(|at| last_success.is_none_or(|success| *at > success));
        let (n_failed, last) = failures.fold((0_u32, None), |(n, last), at| {
            (n.saturating_add(1), last.max(Some(at)))
        });
        let factor = 1_i32
            .checked_shl(n_failed.saturating_sub(1).min(20))
            .unwrap_or(i32::MAX);
        let wait = BACK_OFF.0.saturating_mul(factor).min(BACK_OFF.1);
        last?.checked_add(wait).ok()
    }

    fn create(&self, controller: &Controller<'_>, index: Option<i64>) -> Step {
        let meta = &self.job.metadata;
        let owner = index.map_or_else(|| meta.name.clone(), |index| format!("{}-{index}", meta.name));
        let mut pod = pod_of(&self.job.spec.template, &owner, controller);
        if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("finalizers".to_owned(), json!([keys::FINALIZER_JOB_TRACKING]));
        }
        if let Some(index) = index {
            indexes::mark(&mut pod, &owner, index);
        }
        let path = format!("/api/v1/namespaces/{}/pods", meta.namespace);
        let note = Note {
            failed: Some(("FailedCreate", "Error creating: {}".to_owned())),
            ..self.note(("SuccessfulCreate", "Created pod: {}".to_owned()), false)
        };
        Step::new(Sort::Pod, Write::post(path, pod)).noted(note)
    }

    /// Deletes a pod that is one too many: it is let go first, since it counts neither as done nor as failed.
    fn send_home(&self, pod: &Pod) -> Step {
        match release(pod) {
            Some(step) => step.then(self.delete(pod)),
            None => self.delete(pod),
        }
    }

    fn delete(&self, pod: &Pod) -> Step {
        let text = format!("Deleted pod: {}", pod.metadata.name);
        Step::new(
            Sort::Pod,
            Write::delete(pod.path(), &pod.metadata.uid, None, None),
        )
        .noted(self.note(("SuccessfulDelete", text), false))
    }

    fn note(&self, done: (&'static str, String), warns: bool) -> Note {
        Note {
            source: SOURCE,
            kind: "Job",
            about: Arc::new(self.job.metadata.clone()),
            done,
            warns,
            failed: None,
        }
    }

    fn set(&self, status: &mut JobStatus, kind: &str, value: &str, reason: &str, message: &str) {
        let known = status
            .conditions
            .iter()
            .position(|condition| condition.kind == kind);
        let known = known.and_then(|at| status.conditions.get_mut(at));
        let wanted = JobCondition {
            kind: kind.to_owned(),
            status: value.to_owned(),
            last_probe_time: whole(self.now),
            last_transition_time: whole(self.now),
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        match known {
            Some(known) if known.status == value => {}
            Some(known) => *known = wanted,
            None => status.conditions.push(wanted),
        }
    }

    fn write_status(&self, status: &JobStatus) -> Step {
        let body = json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": self.job.metadata.resource_version},
            {"op": "add", "path": "/status", "value": status},
        ]);
        Step::new(
            Sort::Job,
            Write::json(format!("{}/status", self.job.path()), body),
        )
    }
}

/// Which completion of an Indexed Job a pod is.
fn index_of(pod: &Pod) -> Option<i64> {
    pod.metadata
        .annotations
        .get(keys::JOB_COMPLETION_INDEX)?
        .parse()
        .ok()
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn whole(at: Timestamp) -> Option<Timestamp> {
    Timestamp::from_second(at.as_second()).ok()
}

#[cfg(test)]
mod tests;
