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
use pitstop_api::view::{PodCondition, PodView, revision_message};
use pitstop_api::{keys, reasons};

use crate::inplace::{Change, Live};
use crate::lifecycle::State;
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
        message: revision_message(revision).into(),
        since: Some(now),
    })
}

/// A pod that stays when it is updated, as its owner is told of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told<'a> {
    pub(crate) live: Live<'a>,
    pub(crate) state: State,
    /// Is it at the revision of its workload?
    pub(crate) is_new: bool,
    /// Do owners decide?
    pub(crate) is_ota: bool,
    /// The revision of its workload, as labels name it.
    pub(crate) revision: &'a str,
    /// What an owner who agrees would agree to.
    pub(crate) offer: Option<&'a str>,
}

/// The owner of the node is told whether a newer revision waits, and that what was asked for is done.
///
/// Where pods once were under OTA, what is said is kept true. Source: hub.md B4; daemonset.md C7.13.
pub(crate) fn tell(told: Told<'_>, now: Timestamp, change: &mut Change) {
    let pod = told.live.pod;
    let is_told = told.is_ota || pod.need_upgrade().is_some();
    if !is_told && pod.requested_revision().is_none() {
        return;
    }
    let is_under_way = matches!(
        told.state,
        State::PreparingUpdate | State::Updating | State::Updated
    );
    let is_done = told.is_new && !is_under_way && told.live.view.grace().is_none();
    if is_told {
        let message = revision_message(told.revision).into();
        if let Some(condition) = need(pod, !is_done, &message, now) {
            change.condition(reasons::POD_NEED_UPGRADE, condition);
        }
    }
    let offer = told.offer.filter(|_| !is_done);
    match (offer, told.live.view.annotation(&[keys::UPGRADE_PLAN])) {
        (Some(offer), offered) if offered != Some(offer) => change.annotation(keys::UPGRADE_PLAN, offer),
        (None, Some(_)) => change.drop_annotation(keys::UPGRADE_PLAN),
        _ => {}
    }
    if let Some(condition) = answered(pod, now).filter(|_| is_done) {
        change.condition(reasons::UPGRADE_REQUESTED, condition);
    }
}
