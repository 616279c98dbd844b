//! What a decision about a CloneSet is made from.

use std::sync::Arc;

use jiff::Timestamp;
use pitstop_api::ClaimView;
use pitstop_api::view::{CloneSetView, PodView, RevisionView, Uid};

use crate::inplace;
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

/// Our own writes that the stores may not show yet. Patched pods are not among them: the answer to a patch goes into the
/// store.
#[derive(Debug, Clone, Default)]
pub struct InFlight {
    /// Pods whose DELETE succeeded.
    pub deleted: Vec<Uid>,
    /// Pods whose DELETE was not answered: each is deleted again rather than another one.
    pub maybe_deleted: Vec<Uid>,
    /// Pods whose PATCH was not answered: each may have left service, and counts as unavailable until it is seen again.
    pub maybe_patched: Vec<Uid>,
    /// Pods whose POST succeeded, or was not answered.
    pub created: Vec<CreatedPod>,
    /// Claims whose DELETE succeeded.
    pub deleted_claims: Vec<Uid>,
    /// Resizes that the server would not carry out.
    pub refused_resizes: Vec<RefusedResize>,
}

/// A resize that the server refused, and would refuse again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedResize {
    /// The pod.
    pub pod: Uid,
    /// The name of the revision with the resources.
    pub revision: Arc<str>,
    /// What the server said.
    pub message: Arc<str>,
}

impl InFlight {
    /// What the server said of this pod's resize for a revision.
    pub(super) fn refused_resize(&self, pod: Uid, revision: &str) -> Option<&str> {
        let refused = self.refused_resizes.iter();
        let mut of_pod = refused.filter(|refused| refused.pod == pod);
        let refused = of_pod.find(|refused| inplace::is_same_revision(&refused.revision, revision))?;
        Some(&refused.message)
    }
}

/// A pod that was posted and that the store does not show yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedPod {
    /// Its name.
    pub name: Arc<str>,
    /// Its instance.
    pub instance: Arc<str>,
    /// The name of its revision.
    pub revision: Arc<str>,
}

/// What went wrong when the last plan was carried out; nothing after a pass without a failure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures {
    /// In creating or deleting pods.
    pub scale: Option<Arc<str>>,
    /// In updating pods.
    pub update: Option<Arc<str>>,
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
