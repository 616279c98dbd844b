//! DaemonSets: the native rolling update, OnDelete, and AdvancedRollingUpdate.

use std::sync::Arc;

use crate::plan::{Plan, Reason, Waiting};
use crate::snapshot::Snapshot;

pub mod advanced;
mod board;
pub mod eligibility;
pub mod native;
mod pod;
pub mod strategy;

pub use pod::pod_for_node;

use strategy::Model;

/// Pods created, and pods deleted, in one pass at most. Units: pods. Source: daemonset.md A8, C4.4.
pub const BURST: usize = 250;

/// What a person asks for: the decision of whichever model the DaemonSet is under, with a reason for every pod that is
/// not at the target.
pub fn plan(snapshot: &Snapshot<'_>) -> Plan {
    match strategy::read(snapshot.daemonset).model {
        Model::Native => native::plan(snapshot),
        Model::AdvancedRollingUpdate | Model::Ota | Model::Invalid => advanced::plan(snapshot),
    }
}

/// The same reason for every pod of the DaemonSet.
fn all_pods(snapshot: &Snapshot<'_>, reason: &Reason) -> Vec<Waiting> {
    let owned = snapshot
        .pods
        .iter()
        .filter(|pod| pod.controller.is_some_and(|c| c.uid == snapshot.daemonset.uid));
    owned
        .map(|pod| Waiting {
            pod: Some((Arc::clone(&pod.name), pod.uid)),
            node: pod.node,
            reason: reason.clone(),
        })
        .collect()
}
