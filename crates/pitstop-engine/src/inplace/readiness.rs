//! Readiness gates: when a pod has to be out of service for an update, and how several hold it there at once.

use jiff::Timestamp;
use pitstop_api::reasons;
use pitstop_api::view::{PodCondition, Resources, revision_message};
use serde::{Deserialize, Serialize};

use super::hash::go_json;
use super::{Change, Features, Live, UpdateSpec};

/// Has the pod to be out of service before this update begins?
///
/// Source: inplace.md 5.1. Differs from upstream: an update of labels and annotations that no container reads does not
/// touch a container, and takes no pod out of service (13.7).
pub fn needs_unready(live: Live<'_>, spec: &UpdateSpec, features: Features) -> bool {
    if !live.view.has_gate(reasons::INPLACE_UPDATE_READY) || !spec.touches_containers() {
        return false;
    }
    let is_resources_only = spec.images.is_empty() && spec.ref_metadata.is_empty() && !spec.update_env;
    if !features.vertical_scaling || !is_resources_only {
        return true;
    }
    spec.resources.iter().any(|(name, changed)| {
        let container = live.view.container(name);
        container.is_some_and(|container| {
            (container.restarts_for_cpu && names(changed, "cpu"))
                || (container.restarts_for_memory && names(changed, "memory"))
        })
    })
}

fn names(resources: &Resources, resource: &str) -> bool {
    resources.limits.contains_key(resource) || resources.requests.contains_key(resource)
}

/// Condition `InPlaceUpdateReady` while an update to this revision is under way. Source: inplace.md 4.1, 13.3.
pub fn updating(revision: &str, now: Timestamp) -> PodCondition {
    PodCondition {
        status: false.into(),
        reason: reasons::START_INPLACE_UPDATE.into(),
        message: revision_message(revision).into(),
        since: Some(now),
    }
}

/// Condition `InPlaceUpdateReady` when none is.
pub fn updated(now: Timestamp) -> PodCondition {
    PodCondition {
        status: true.into(),
        reason: "".into(),
        message: "".into(),
        since: Some(now),
    }
}

/// Someone who holds a pod out of service by condition `KruisePodReady`, and why.
///
/// Source: inplace.md 8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Who.
    pub user_agent: String,
    /// Why, in a word.
    pub key: String,
}

impl Hold {
    /// A hold of this writer.
    pub fn new(user_agent: &str, key: &str) -> Self {
        Self {
            user_agent: user_agent.to_owned(),
            key: key.to_owned(),
        }
    }
}

/// Those who hold the pod out of service.
pub fn holds(live: Live<'_>) -> Vec<Hold> {
    let condition = live.view.kruise_ready.as_ref();
    let message = condition.map_or("", |condition| &*condition.message);
    serde_json::from_str(message).unwrap_or_default()
}

/// Says that nobody holds the pod out of service, where it has the gate for that and nobody has said anything yet.
///
/// Source: inplace.md 8.
pub fn say_first_word(live: Live<'_>, now: Timestamp, change: &mut Change) {
    if is_silent(live) && !change.conditions.contains_key(reasons::KRUISE_POD_READY) {
        change.condition(reasons::KRUISE_POD_READY, service(&[], now));
    }
}

/// Has nobody said yet whether the pod may serve, though its gate waits for that?
pub(crate) fn is_silent(live: Live<'_>) -> bool {
    live.view.kruise_ready.is_none() && live.view.has_gate(reasons::KRUISE_POD_READY)
}

/// Condition `KruisePodReady` of a pod with these holds.
fn service(holds: &[Hold], now: Timestamp) -> PodCondition {
    PodCondition {
        status: holds.is_empty().into(),
        reason: "".into(),
        message: go_json(&holds).into(),
        since: Some(now),
    }
}

/// Changes who holds the pod out of service; nothing is written when nothing changes.
///
/// Differs from upstream: the first hold of a pod without the condition writes status False, not an empty one (13.5).
pub fn hold(live: Live<'_>, added: &[Hold], removed: &[Hold], now: Timestamp, change: &mut Change) {
    if !live.view.has_gate(reasons::KRUISE_POD_READY) {
        return;
    }
    let before = holds(live);
    let mut after = before.clone();
    after.retain(|hold| !removed.contains(hold));
    let news = added.iter().filter(|hold| !before.contains(hold));
    after.extend(news.cloned());
    after.sort();
    let is_true = live.view.kruise_ready.as_ref().is_some_and(PodCondition::is_true);
    if after == before && (is_true == after.is_empty() || live.view.kruise_ready.is_none()) {
        return;
    }
    change.condition(reasons::KRUISE_POD_READY, service(&after, now));
}
