//! Why a pod waits, as far as both models see it alike.

use std::sync::Arc;

use pitstop_api::view::NodeView;

use super::board::{Board, Row};
use crate::availability::available_at;
use crate::plan::{Reason, Waiting};
use crate::snapshot::Snapshot;

/// A pod of the plan that waits.
pub(super) fn waiting(row: &Row<'_>, reason: Reason) -> Waiting {
    Waiting {
        pod: Some((Arc::clone(&row.pod.name), row.pod.uid)),
        node: row.pod.node,
        reason,
    }
}

/// A node that should have a pod and has none; `away` is said where the node cannot get one now.
pub(super) fn without_pod(node: &NodeView, away: Option<Reason>) -> Waiting {
    Waiting {
        pod: None,
        node: Some(node.slot),
        reason: away.unwrap_or(Reason::WaitingForPod),
    }
}

/// Why nothing is done on a node that is away; `costs_budget`: do its pods count as unavailable?
pub(super) fn node_not_ready(node: &NodeView, costs_budget: bool) -> Reason {
    if let Some(maintenance) = node.maintenance.filter(|one| one.is_true && node.is_ready()) {
        return Reason::NodeInMaintenance {
            since: maintenance.since,
        };
    }
    Reason::NodeNotReady {
        since: node.ready_changed_at(),
        costs_budget,
    }
}

/// Why a pod that is on its way out is still there.
pub(super) fn terminating(row: &Row<'_>, away: Option<Reason>) -> Reason {
    let since = row.pod.deleted_at;
    away.unwrap_or(Reason::Terminating { since })
}

/// Why a pod at the target does not serve yet; `None` when it does.
pub(super) fn not_available(row: &Row<'_>, away: Option<Reason>, min_ready_seconds: u32) -> Option<Reason> {
    if row.is_available {
        return None;
    }
    if away.is_some() {
        return away;
    }
    Some(match available_at(row.pod, min_ready_seconds) {
        Some(until) => Reason::MinReadySeconds { until },
        None => Reason::NotReady {
            trouble: row.pod.trouble.clone(),
            since: row.pod.ready.and_then(|ready| ready.since),
        },
    })
}

/// Pods whose node does not exist: nothing is decided about them here, and nothing waits for them.
///
/// Source: daemonset.md C5.2, A7.
pub(super) fn on_vanished_nodes(board: &Board<'_>, snapshot: &Snapshot<'_>) -> Vec<Waiting> {
    board
        .off_nodes(&snapshot.nodes)
        .map(|row| waiting(row, Reason::NodeGone))
        .collect()
}
