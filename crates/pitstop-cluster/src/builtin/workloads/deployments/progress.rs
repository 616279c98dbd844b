//! How a rollout stands: the numbers and conditions of a Deployment.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::keys;
use serde_json::json;

use super::super::super::writes::Write;
use super::super::objects::{Condition, DeploymentStatus, set_condition};
use super::super::queue::{Sort, Step};
use super::Rollout;

/// A deadline that stands for none.
const NO_DEADLINE: i64 = i32::MAX as i64;

const COMPLETE: &str = "NewReplicaSetAvailable";
const EXCEEDED: &str = "ProgressDeadlineExceeded";

impl Rollout<'_> {
    /// How long a rollout may stand still.
    pub(super) fn progress_deadline(&self) -> Option<SignedDuration> {
        let seconds = self.deployment.spec.progress_deadline_seconds;
        seconds
            .filter(|seconds| *seconds != NO_DEADLINE)
            .map(SignedDuration::from_secs)
    }

    pub(super) fn progressing(&self) -> Option<&Condition> {
        let mut conditions = self.deployment.status.conditions.iter();
        conditions.find(|condition| condition.kind == "Progressing")
    }

    /// When a rollout that stands still is looked at again.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let (deadline, condition) = (self.progress_deadline()?, self.progressing()?);
        if [COMPLETE, EXCEEDED].contains(&condition.reason.as_str()) {
            return None;
        }
        let since = condition.last_update_time?;
        since
            .checked_add(deadline)
            .ok()?
            .checked_add(SignedDuration::from_secs(1))
            .ok()
    }

    /// The numbers, and whether enough pods serve.
    pub(super) fn status(&self) -> DeploymentStatus {
        let sum = |number: &dyn Fn(&super::ReplicaSet) -> i64| self.all().map(number).sum::<i64>();
        let available = sum(&|set| set.status.available_replicas);
        let (_, unavailable) = self.bounds();
        let mut status = DeploymentStatus {
            observed_generation: self.deployment.metadata.generation.unwrap_or_default(),
            replicas: sum(&|set| set.status.replicas),
            updated_replicas: self.new.map_or(0, |set| set.status.replicas),
            ready_replicas: sum(&|set| set.status.ready_replicas),
            available_replicas: available,
            unavailable_replicas: sum(&|set| set.spec.replicas).saturating_sub(available).max(0),
            collision_count: self.deployment.status.collision_count,
            conditions: self.deployment.status.conditions.clone(),
        };
        let condition = if available >= self.wanted().saturating_sub(unavailable) {
            let message = "Deployment has minimum availability.".to_owned();
            self.condition("Available", "True", "MinimumReplicasAvailable", message)
        } else {
            let message = "Deployment does not have minimum availability.".to_owned();
            self.condition("Available", "False", "MinimumReplicasUnavailable", message)
        };
        set_condition(&mut status.conditions, condition);
        status
    }

    /// Writes the numbers as they are.
    pub(super) fn plain_status(&self) -> Option<Step> {
        self.write_status(&self.status(), None)
    }

    /// Writes the numbers, and how the rollout proceeds.
    pub(super) fn rollout_status(&self) -> Option<Step> {
        let mut status = self.status();
        let Some(deadline) = self.progress_deadline() else {
            status
                .conditions
                .retain(|condition| condition.kind != "Progressing");
            return self.write_status(&status, None);
        };
        let known = self.progressing();
        let was_complete = known.is_some_and(|condition| condition.reason == COMPLETE);
        if !(was_complete && status.replicas == status.updated_replicas) {
            self.judge(&mut status, deadline);
        }
        let failed = self.all().find_map(|set| {
            let mut conditions = set.status.conditions.iter();
            conditions.find(|condition| condition.kind == "ReplicaFailure")
        });
        match failed {
            Some(failed) => {
                let message = failed.message.clone();
                let condition = self.condition("ReplicaFailure", &failed.status, &failed.reason, message);
                set_condition(&mut status.conditions, condition);
            }
            None => status
                .conditions
                .retain(|condition| condition.kind != "ReplicaFailure"),
        }
        self.write_status(&status, None)
    }

    fn judge(&self, status: &mut DeploymentStatus, deadline: SignedDuration) {
        let subject = match self.new {
            Some(set) => format!("ReplicaSet \"{}\"", set.metadata.name),
            None => format!("Deployment \"{}\"", self.deployment.metadata.name),
        };
        let known = self.progressing();
        if self.is_complete(status) {
            let message = format!("{subject} has successfully progressed.");
            let condition = self.condition("Progressing", "True", COMPLETE, message);
            set_condition(&mut status.conditions, condition);
        } else if has_progressed(&self.deployment.status, status) {
            let message = format!("{subject} is progressing.");
            let mut condition = self.condition("Progressing", "True", "ReplicaSetUpdated", message);
            if let Some(known) = known.filter(|known| known.status == condition.status) {
                condition.last_transition_time = known.last_transition_time;
            }
            // Every progress begins the deadline afresh.
            status
                .conditions
                .retain(|condition| condition.kind != "Progressing");
            status.conditions.push(condition);
        } else if self.is_overdue(deadline) {
            let message = format!("{subject} has timed out progressing.");
            let condition = self.condition("Progressing", "False", EXCEEDED, message);
            set_condition(&mut status.conditions, condition);
        }
    }

    fn is_overdue(&self, deadline: SignedDuration) -> bool {
        let Some(condition) = self.progressing() else {
            return false;
        };
        match condition.reason.as_str() {
            COMPLETE => false,
            EXCEEDED => true,
            _ => condition
                .last_update_time
                .is_some_and(|since| self.now.duration_since(since) > deadline),
        }
    }

    /// Is every pod there, and of the current template?
    pub(super) fn is_complete(&self, status: &DeploymentStatus) -> bool {
        let generation = self.deployment.metadata.generation.unwrap_or_default();
        let numbers = [
            status.updated_replicas,
            status.replicas,
            status.available_replicas,
        ];
        numbers.iter().all(|n| *n == self.wanted()) && status.observed_generation >= generation
    }

    /// Writes a status that differs from what is known, and the revision with it.
    pub(super) fn write_status(&self, status: &DeploymentStatus, revision: Option<&str>) -> Option<Step> {
        let meta = &self.deployment.metadata;
        let mut annotations = BTreeMap::new();
        let known = meta.annotations.get(keys::DEPLOYMENT_REVISION);
        if let Some(revision) = revision.filter(|revision| known.map(String::as_str) != Some(*revision)) {
            annotations.insert(keys::DEPLOYMENT_REVISION, revision);
        }
        if annotations.is_empty() && *status == self.deployment.status {
            return None;
        }
        let body = json!({
            "metadata": {"resourceVersion": meta.resource_version, "annotations": annotations},
            "status": status,
        });
        let path = format!("{}/status", self.deployment.path());
        Some(Step::new(Sort::Deployment, Write::merge(path, body)))
    }
}

/// Has anything moved towards the new template?
fn has_progressed(before: &DeploymentStatus, now: &DeploymentStatus) -> bool {
    let old = |status: &DeploymentStatus| status.replicas.saturating_sub(status.updated_replicas);
    now.updated_replicas > before.updated_replicas
        || old(now) < old(before)
        || now.ready_replicas > before.ready_replicas
        || now.available_replicas > before.available_replicas
}
