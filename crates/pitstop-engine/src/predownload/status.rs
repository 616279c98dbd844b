//! Counting what a NodeImage says.

use std::collections::BTreeMap;

use pitstop_api::view::{ImageStatus, NodeImageSpec, NodeImageStatus, PullPhase, TagStatus};

/// The status of these versions: those of the spec, counted. What is not in the spec is left out, and so is what there is
/// nothing to say of yet.
pub fn counted(spec: &NodeImageSpec, status_of: impl Fn(&str, &str) -> Option<TagStatus>) -> NodeImageStatus {
    let mut counted = NodeImageStatus::default();
    let mut image_statuses = BTreeMap::new();
    for (repository, image) in &spec.images {
        let mut tags = Vec::new();
        for tag in &image.tags {
            counted.desired = counted.desired.saturating_add(1);
            let Some(status) = status_of(repository, &tag.tag) else {
                counted.waiting = counted.waiting.saturating_add(1);
                continue;
            };
            let count = match status.phase {
                PullPhase::Succeeded => &mut counted.succeeded,
                PullPhase::Failed => &mut counted.failed,
                PullPhase::Pulling => &mut counted.pulling,
                PullPhase::Waiting | PullPhase::Other => &mut counted.waiting,
            };
            *count = count.saturating_add(1);
            tags.push(status);
        }
        if !tags.is_empty() {
            image_statuses.insert(repository.clone(), ImageStatus { tags });
        }
    }
    counted.image_statuses = image_statuses;
    counted
}

/// The body of a merge patch that turns one status into another; `None` when they are equal.
pub fn status_patch(before: &NodeImageStatus, after: &NodeImageStatus) -> Option<serde_json::Value> {
    let json = |status: &NodeImageStatus| serde_json::to_value(status).unwrap_or_default();
    super::patch::merge_patch(&json(before), &json(after))
}
