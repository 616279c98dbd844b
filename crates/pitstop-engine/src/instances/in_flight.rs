//! What we did that the stores may not show yet, for workloads whose pods have identities of their own.

use std::sync::Arc;

use jiff::Timestamp;
use pitstop_api::view::Uid;

use crate::inplace;

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
    /// Pods about which the server refused the last write. Source: cloneset.md 18.24.
    pub refused_writes: Vec<RefusedWrite>,
}

/// A write about one pod that the server refused: a webhook or a policy is in the way of just this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedWrite {
    /// The pod.
    pub pod: Uid,
    /// Was it to be deleted? Otherwise it was to be changed.
    pub is_delete: bool,
    /// What the server said.
    pub message: Arc<str>,
    /// Before that nothing is tried again; other pods go on meanwhile.
    pub until: Timestamp,
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
    pub(crate) fn refused_resize(&self, pod: Uid, revision: &str) -> Option<&str> {
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
