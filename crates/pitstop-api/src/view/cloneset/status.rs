//! What a CloneSet's controller writes about it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `status` of a CloneSet, the same in both versions. Source: cloneset.md 1.3.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CloneSetStatus {
    /// The generation that was acted on last.
    #[serde(skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    /// Pods that are there. Units: pods, as in all counters.
    pub replicas: u32,
    /// Of those: ready.
    pub ready_replicas: u32,
    /// Of those: ready for at least `minReadySeconds`.
    pub available_replicas: u32,
    /// Of those: at the update revision.
    pub updated_replicas: u32,
    /// At the update revision, and ready.
    pub updated_ready_replicas: u32,
    /// At the update revision, and ready for at least `minReadySeconds`.
    #[serde(skip_serializing_if = "is_none_left")]
    pub updated_available_replicas: u32,
    /// How many pods are to reach the update revision: all but those that the partition keeps.
    #[serde(skip_serializing_if = "is_none_left")]
    pub expected_updated_replicas: u32,
    /// The revision that pods are brought to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub update_revision: String,
    /// The revision that all pods had last.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub current_revision: String,
    /// How often a revision name was taken by other data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i32>,
    /// What went wrong, and how far the rollout is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<CloneSetCondition>,
    /// The selector as text, for autoscalers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label_selector: String,
}

/// One condition of a CloneSet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CloneSetCondition {
    /// `FailedScale`, `FailedUpdate` or `Progressing`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When it was written last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<Timestamp>,
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

impl CloneSetStatus {
    /// The condition of a type.
    pub fn condition(&self, kind: &str) -> Option<&CloneSetCondition> {
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
