//! What a decision is made from, borrowed from the stores.

use jiff::Timestamp;
use pitstop_api::view::{DaemonSetView, Uid};
use pitstop_engine::Snapshot;
use pitstop_engine::snapshot::{FailedPods, InFlight, Pull};

use crate::store::{Key, State};

/// What goes into a snapshot beside the stores.
#[derive(Debug)]
pub struct Beside<'a> {
    /// The time of the decision.
    pub now: Timestamp,
    /// Our own writes that the stores may not show yet.
    pub in_flight: InFlight,
    /// When failed pods were replaced.
    pub failed_pods: &'a [FailedPods],
    /// Is it known which images are pulled ahead?
    pub knows_pulls: bool,
    /// Was a live read of the DaemonSet made that allows adoption?
    pub may_adopt: bool,
}

/// The snapshot of one DaemonSet.
///
/// The cost is one pointer a pod of the workload, plus the orphans of its namespace.
pub fn gather<'a>(
    state: &'a State,
    key: &'a Key,
    daemonset: &'a DaemonSetView,
    beside: Beside<'a>,
) -> Snapshot<'a> {
    let mut pods: Vec<_> = state.pods_of(daemonset.uid).iter().collect();
    let mut revisions: Vec<_> = state.revisions_of(daemonset.uid).collect();
    if let Some(selector) = state.daemonsets_of(daemonset.workload_kind()).selector(key) {
        pods.extend(
            state
                .orphan_pods(&key.namespace)
                .iter()
                .filter(|pod| selector.matches(&pod.labels)),
        );
        revisions.extend(
            state
                .orphan_revisions(&key.namespace)
                .filter(|revision| selector.matches(&revision.labels)),
        );
    }
    Snapshot {
        now: beside.now,
        daemonset,
        revisions,
        pods,
        nodes: state.nodes(),
        in_flight: beside.in_flight,
        failed_pods: beside.failed_pods,
        pulls: beside.knows_pulls.then(|| pulls(state, daemonset.uid)),
        may_adopt: beside.may_adopt,
    }
}

/// The Jobs that pull images for the pods of a DaemonSet.
fn pulls(state: &State, daemonset: Uid) -> Vec<Pull<'_>> {
    let jobs = state.pull_jobs_of(daemonset);
    jobs.map(|job| Pull::of(job, state.pods_of(job.uid))).collect()
}

/// Is there something in the snapshot that could be adopted? Then the DaemonSet has to be read live first.
///
/// Source: daemonset.md A5 (d).
pub fn has_adoptable(snapshot: &Snapshot<'_>) -> bool {
    snapshot.daemonset.deleted_at.is_none()
        && (snapshot
            .pods
            .iter()
            .any(|pod| pod.controller.is_none() && !pod.is_terminating())
            || snapshot
                .revisions
                .iter()
                .any(|revision| revision.controller.is_none() && !revision.is_terminating))
}
