//! DaemonSets: the native rolling update, OnDelete, AdvancedRollingUpdate and OTA, and those of `apps.kruise.io`.

use jiff::Timestamp;
use pitstop_api::view::PodView;
use std::sync::Arc;

use crate::availability::until;
use crate::plan::{Action, DeleteReason, Plan, Reason, Waiting};
use crate::snapshot::Snapshot;

pub mod advanced;
mod board;
pub mod eligibility;
mod explain;
mod in_place;
pub mod native;
mod ota;
pub mod own_keys;
mod pod;
pub mod preheat;
pub mod strategy;

pub use pod::pod_for_node;

use strategy::Model;

/// Pods created, and pods deleted, in one pass at most. Units: pods. Source: daemonset.md A8, C4.4.
pub const BURST: usize = 250;

/// What a person asks for: the decision of whichever model the DaemonSet is under, with a reason for every pod that is
/// not at the target.
pub fn plan(snapshot: &Snapshot<'_>) -> Plan {
    if snapshot.daemonset.advanced.is_some() {
        return native::plan(snapshot);
    }
    match strategy::read(snapshot.daemonset).model {
        Model::Native => {
            let mut plan = native::plan(snapshot);
            plan.events.extend(advanced::plan(snapshot).events);
            plan
        }
        Model::AdvancedRollingUpdate | Model::Ota | Model::Invalid => advanced::plan(snapshot),
    }
}

/// The same reason for every pod of the DaemonSet.
fn all_pods(snapshot: &Snapshot<'_>, reason: &Reason) -> Vec<Waiting> {
    owned_pods(snapshot)
        .map(|pod| Waiting {
            pod: Some((Arc::clone(&pod.name), pod.uid)),
            node: pod.node,
            reason: reason.clone(),
        })
        .collect()
}

/// The pods that the DaemonSet controls. Upholds S7.
fn owned_pods<'s, 'a: 's>(snapshot: &'s Snapshot<'a>) -> impl Iterator<Item = &'a PodView> + use<'s, 'a> {
    let owner = snapshot.daemonset.uid;
    let pods = snapshot.pods.iter().copied();
    pods.filter(move |pod| pod.controller.is_some_and(|c| c.uid == owner))
}

/// The action that deletes a pod.
///
/// Where the pod's own state is the reason, the version that was looked at is a precondition: a store may lag, and a pod
/// that came back meanwhile serves somebody. Upholds S1 and S7; source: daemonset.md C5.6.
fn delete(pod: &PodView, why: DeleteReason) -> Action {
    let must_be_unchanged = match why {
        DeleteReason::Outdated
        | DeleteReason::OutdatedAndUnavailable
        | DeleteReason::InPlaceStalled
        | DeleteReason::Requested
        | DeleteReason::Prepared
        | DeleteReason::Surged => true,
        DeleteReason::Duplicate
        | DeleteReason::NodeNotEligible
        | DeleteReason::NodeGone
        | DeleteReason::Failed
        | DeleteReason::Succeeded => false,
    };
    Action::DeletePod {
        name: Arc::clone(&pod.name),
        uid: pod.uid,
        resource_version: must_be_unchanged.then_some(pod.resource_version),
        node: pod.node,
        why,
    }
}

/// The earlier of two moments, where both are known.
fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    [a, b].into_iter().flatten().min()
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

/// One more, or as before.
fn add(count: &mut u32, is_one_more: bool) {
    *count = count.saturating_add(u32::from(is_one_more));
}
