//! OTA, whatever the kind: a pod says whether a newer revision waits, and its owner asks for it through the hub of its node.
//!
//! Where a hub may not delete pods, or where they may be updated in place, it leaves the condition
//! `pitstop.io/UpgradeRequested` on the pod. Whatever the model, such a pod comes first, within the budgets of its workload;
//! under OTA no other pod is touched for an update (S4).
//!
//! Source: hub.md B4; daemonset.md C8.

use std::borrow::Cow;

use jiff::Timestamp;
use pitstop_api::selector::Labels;
use pitstop_api::view::{PodCondition, PodView};
use pitstop_api::{keys, reasons};

use crate::plan::Event;

/// Does the update strategy in the annotations name OTA? Case and blanks around it do not matter.
pub fn is_asked_for(annotations: &Labels) -> bool {
    annotations
        .get(keys::OPENYURT_UPDATE_STRATEGY)
        .is_some_and(|value| is_ota(value))
}

pub(crate) fn is_ota(value: &str) -> bool {
    value.trim().eq_ignore_ascii_case("OTA")
}

/// The warning for an update strategy in the annotations of a kind that has fields of its own for every other one.
pub fn warning(annotations: &Labels, kind: &str, generation: i64) -> Option<Event> {
    let value = annotations
        .get(keys::OPENYURT_UPDATE_STRATEGY)
        .filter(|value| !is_ota(value))?;
    let message = format!(
        "annotation {}: {value:?} has no effect on a {kind}; accepted is OTA, everything else is said in spec.updateStrategy",
        keys::OPENYURT_UPDATE_STRATEGY
    );
    Some(Event {
        is_warning: true,
        reason: reasons::INVALID_UPDATE_STRATEGY,
        message: Cow::Owned(message),
        once_per: Some(format!("{generation}/{value}")),
    })
}

/// Condition `PodNeedUpgrade` where it is not as it should be. `message` names the revision of the workload.
pub fn need(
    pod: &PodView,
    needs: bool,
    message: &std::sync::Arc<str>,
    now: Timestamp,
) -> Option<PodCondition> {
    let status = needs.into();
    let has_status = pod.need_upgrade().filter(|is| is.status == status);
    if has_status.is_some_and(|is| is.message == *message && is.reason.is_empty()) {
        return None;
    }
    Some(PodCondition {
        status,
        reason: "".into(),
        message: std::sync::Arc::clone(message),
        since: Some(has_status.and_then(|is| is.since).unwrap_or(now)),
    })
}

/// Condition `pitstop.io/UpgradeRequested` of a pod that stays when it is updated: what was asked for is done.
pub fn answered(pod: &PodView, now: Timestamp) -> Option<PodCondition> {
    let revision = pod.requested_revision()?;
    Some(PodCondition {
        status: false.into(),
        reason: reasons::UPGRADED.into(),
        message: pitstop_api::view::revision_message(revision).into(),
        since: Some(now),
    })
}
