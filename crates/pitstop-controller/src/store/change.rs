//! What changed in the views.

use std::sync::Arc;

use pitstop_api::WorkloadKind;
use pitstop_api::view::{
    CloneSetView, DaemonSetView, NodeImageView, NodeView, PodLabels, StatefulSetView, Uid,
};

/// Namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl Key {
    /// A key of these two.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What changed, for those who decide which workloads it touches.
#[derive(Debug)]
pub enum Change {
    /// A DaemonSet came, changed or went.
    DaemonSet {
        /// Of which group it is.
        kind: WorkloadKind,
        /// Its name.
        key: Key,
        /// As it was.
        before: Option<Arc<DaemonSetView>>,
        /// As it is.
        after: Option<Arc<DaemonSetView>>,
    },
    /// A CloneSet came, changed or went.
    CloneSet {
        /// Its name.
        key: Key,
        /// As it was.
        before: Option<Arc<CloneSetView>>,
        /// As it is.
        after: Option<Arc<CloneSetView>>,
    },
    /// A StatefulSet came, changed or went.
    StatefulSet {
        /// Its name.
        key: Key,
        /// As it was.
        before: Option<Arc<StatefulSetView>>,
        /// As it is.
        after: Option<Arc<StatefulSetView>>,
    },
    /// A claim of a volume came, changed or went.
    Claim {
        /// Its name.
        key: Key,
        /// Who owned it, and who does now.
        owners: [Option<Uid>; 2],
    },
    /// A pod came, went, or changed in more than its version.
    Pod {
        /// Whose it was and is.
        owned: Owned,
        /// Does it serve, and did not before?
        turned_ready: bool,
    },
    /// A ControllerRevision came, changed or went.
    Revision(Owned),
    /// A Job that pulls images came, changed or went.
    Job {
        /// The pod that it pulls for.
        pod: Option<Uid>,
    },
    /// An ImagePullJob came, changed or went.
    ImagePullJob {
        /// Its name.
        key: Key,
        /// Its identity.
        uid: Uid,
        /// Is it there no more?
        is_gone: bool,
    },
    /// A NodeImage came, changed or went.
    NodeImage {
        /// As it was.
        before: Option<Arc<NodeImageView>>,
        /// As it is.
        after: Option<Arc<NodeImageView>>,
    },
    /// A node came, went, or changed in what decisions look at. A heartbeat is no change.
    Node {
        /// As it was.
        before: Option<Arc<NodeView>>,
        /// As it is.
        after: Option<Arc<NodeView>>,
    },
    /// An object came that cannot be read.
    Unreadable {
        /// The owner with `controller: true`.
        controller: Option<Uid>,
    },
}

/// Whose an object was and is.
#[derive(Debug)]
pub struct Owned {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Who controlled it before.
    pub controller_before: Option<Uid>,
    /// Who controls it now; `None` also when it is gone.
    pub controller: Option<Uid>,
    /// Its labels, when it exists and nobody controls it.
    pub orphan_labels: Option<PodLabels>,
}
