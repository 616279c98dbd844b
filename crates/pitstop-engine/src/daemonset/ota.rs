//! OTA: each pod says whether a newer revision waits, and the owner of its node decides when it comes.
//!
//! The owner's hub deletes the pod itself where it may. Where its identity may not delete, it leaves the condition
//! `pitstop.io/UpgradeRequested` on the pod, and the delete is made here: of that pod, for the revision that the owner
//! saw and for no other. Upholds S4. `maxUnavailable` plays no part in either way, and NotReady nodes are like others.
//!
//! Source: daemonset.md C8; hub.md B4.

use std::sync::Arc;

use pitstop_api::reasons;
use pitstop_api::view::{PodView, revision_message};

use super::strategy::Model;
use crate::ota::need;
use crate::plan::Action;
use crate::revision::Current;
use crate::snapshot::Snapshot;

/// Did the owner of the pod's node ask for this very revision?
pub(super) fn is_requested(pod: &PodView, target: &str) -> bool {
    pod.requested_revision() == Some(target)
}

/// The conditions `PodNeedUpgrade` that are not as they should be, one write for each pod.
///
/// Under OTA every pod that is not on its way out gets one. When the model changes afterwards, those that are there are
/// kept true, since hubs and people read them. Source: daemonset.md C7.13, C8.
pub(super) fn conditions(
    snapshot: &Snapshot<'_>,
    current: &Current,
    model: Model,
    is_at_target: impl Fn(&PodView) -> bool,
) -> Vec<Action> {
    let message: Arc<str> = revision_message(&current.target).into();
    let is_gone = |pod: &PodView| {
        let mut deleted = snapshot.in_flight.deleted.iter();
        pod.is_terminating() || deleted.any(|deleted| deleted.uid == pod.uid)
    };
    super::owned_pods(snapshot)
        .filter(|pod| model == Model::Ota || pod.need_upgrade().is_some())
        .filter(|pod| !is_gone(pod))
        .filter_map(|pod| {
            let condition = need(pod, !is_at_target(pod), &message, snapshot.now)?;
            Some(Action::SetPodCondition {
                name: Arc::clone(&pod.name),
                uid: pod.uid,
                kind: reasons::POD_NEED_UPGRADE,
                condition,
            })
        })
        .collect()
}
