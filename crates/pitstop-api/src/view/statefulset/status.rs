//! What a StatefulSet's controller writes about it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `status` of a StatefulSet. Source: statefulset.md 2.3, 9.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatefulSetStatus {
    /// The generation that was acted on last.
    #[serde(skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// Pods that are there. Units: pods, as in all counters.
    pub replicas: u32,
    /// Of those: ready.
    pub ready_replicas: u32,
    /// Of those: ready for at least `minReadySeconds`, and held by no hook.
    pub available_replicas: u32,
    /// Pods at the current revision that do not terminate.
    pub current_replicas: u32,
    /// Pods at the update revision that do not terminate.
    pub updated_replicas: u32,
    /// At the update revision, and ready.
    #[serde(skip_serializing_if = "is_none_left")]
    pub updated_ready_replicas: u32,
    /// At the update revision, and available.
    #[serde(skip_serializing_if = "is_none_left")]
    pub updated_available_replicas: u32,
    /// The revision that all pods had last.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub current_revision: String,
    /// The revision that pods are brought to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub update_revision: String,
    /// How often a revision name was taken by other data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i32>,
    /// What went wrong, and what blocks an update.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<StatefulSetCondition>,
    /// The selector as text, for autoscalers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label_selector: String,
    /// How far claims have grown to their templates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volume_claims: Vec<ClaimStatus>,
    /// What update protection does now. Source: statefulset.md 16.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protection: Option<ProtectionStatus>,
}

/// One condition of a StatefulSet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatefulSetCondition {
    /// `FailedCreatePod`, `FailedUpdatePod`, `UpdateBlocked` or `InvalidSpec`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When its status changed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Timestamp>,
    /// Why, in one word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// One element of `volumeClaims`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClaimStatus {
    /// Name of the template.
    pub volume_claim_name: String,
    /// Claims that ask for what the template says.
    pub compatible_replicas: u32,
    /// Of those: that have it.
    pub compatible_ready_replicas: u32,
}

/// `protection`. Source: statefulset.md 16.5.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProtectionStatus {
    /// Pods that are protected, at any revision.
    pub protected: u32,
    /// Of those: not at the update revision.
    pub protected_old: u32,
    /// How many pods stay at old revisions, for protection and partition together.
    pub effective_partition: u32,
    /// Pods that would be updated if they were not protected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
    /// Pods that would be deleted if they were not protected, since they are too many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub condemned: Vec<String>,
    /// Of the pods that wait or are too many: those that the arbiter did not let go when it was asked for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    /// Of the pods that wait or are too many: those of which nobody knows whether they work.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
    /// Of the pods that wait or are too many: those of which the arbiter has said nothing for too long.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
    /// When the arbiter was last heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_probe_time: Option<Timestamp>,
    /// Does the arbiter answer? Absent without an arbiter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arbiter_healthy: Option<bool>,
}

impl StatefulSetStatus {
    /// The condition of a type.
    pub fn condition(&self, kind: &str) -> Option<&StatefulSetCondition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_none_left(value: &u32) -> bool {
    *value == 0
}
