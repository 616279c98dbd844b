//! What a decision about a CloneSet is made from.

use jiff::Timestamp;
use pitstop_api::ClaimView;
use pitstop_api::view::{CloneSetView, PodView, RevisionView};

use crate::inplace;
pub use crate::instances::{CreatedPod, Failures, InFlight, RefusedResize, RefusedWrite};
use crate::shared_labels::revisions_of;
use crate::snapshot::Nodes;

/// Everything that a decision about one CloneSet looks at.
#[derive(Debug, Clone)]
pub struct Snapshot<'a> {
    /// The time of the decision.
    pub now: Timestamp,
    /// The workload.
    pub cloneset: &'a CloneSetView,
    /// ControllerRevisions of the namespace that it controls, or that nobody controls and its selector matches.
    pub revisions: Vec<&'a RevisionView>,
    /// Pods that it controls, those that have ended or terminate included.
    pub pods: Vec<&'a PodView>,
    /// Claims that it owns.
    pub claims: Vec<&'a ClaimView>,
    /// The nodes of the cluster.
    pub nodes: Nodes<'a>,
    /// What we did that the stores may not show yet.
    pub in_flight: InFlight,
    /// What the cluster and its administrator allow.
    pub features: Features,
    /// Where new instance ids begin: the same seed gives the same ids.
    pub seed: u64,
    /// What went wrong when the last plan was carried out.
    pub failures: Failures,
}

impl Snapshot<'_> {
    /// The revisions that pods have, by label.
    pub(super) fn labels_in_use(&self) -> impl Iterator<Item = &str> {
        let created = self.in_flight.created.iter().map(|pod| &*pod.revision);
        let labels = revisions_of(self.pods.iter().copied()).into_iter();
        labels.filter(|label| !label.is_empty()).chain(created)
    }
}

/// What the cluster and its administrator allow. Source: cloneset.md 16; the defaults are upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// For updates in place.
    pub in_place: inplace::Features,
    /// `CloneSetPartitionRollback`: when `partition` is raised, pods go back to the current revision.
    pub partition_rollback: bool,
    /// `PreparingUpdateAsUpdate`: pods that prepare for their update count as updated when the CloneSet is scaled.
    pub preparing_update_as_update: bool,
    /// `--cloneset-scaling-exclude-preparing-delete`: pods that prepare for their deletion are no replicas, for every
    /// CloneSet.
    pub excludes_preparing_delete: bool,
    /// `CloneSetShortHash`: pods carry the hash of their revision, and not its name.
    pub short_hash: bool,
    /// While a rollout is paused, missing pods are created at the update revision, as upstream does. Otherwise they
    /// are created at the revision that the pods have. Source: cloneset.md 18.8.
    pub scales_while_paused_as_upstream: bool,
}
