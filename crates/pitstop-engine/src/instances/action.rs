//! What is written for workloads whose pods have identities of their own.

use std::sync::Arc;

use pitstop_api::reasons;
use pitstop_api::view::Uid;
use serde_json::Value;

use crate::inplace::PodWrite;
use crate::plan::{Event, OwnedObject};

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Create a ControllerRevision. If the name is taken by other data, the collision count is raised in the status and
    /// nothing else of the plan is carried out.
    CreateRevision {
        /// Its name.
        name: Arc<str>,
        /// The object.
        manifest: Value,
    },
    /// Change `revision` of a ControllerRevision, and annotations along with it.
    RenumberRevision {
        /// Name.
        name: Arc<str>,
        /// Uid, as precondition.
        uid: Uid,
        /// The new number.
        revision: i64,
        /// Annotations to set.
        annotations: Vec<(String, String)>,
    },
    /// Delete a ControllerRevision.
    DeleteRevision {
        /// Name.
        name: Arc<str>,
        /// Uid, as precondition.
        uid: Uid,
    },
    /// Take our owner reference off a pod whose labels do not match any more.
    ReleasePod {
        /// Name.
        name: Arc<str>,
        /// Uid, as precondition.
        uid: Uid,
    },
    /// Change a pod, by one request after the other: each with the uid, and with the resourceVersion that the one before
    /// left, as preconditions. When one fails, those after it are not sent.
    PatchPod {
        /// Name.
        name: Arc<str>,
        /// Uid, as precondition.
        uid: Uid,
        /// The version that was decided on, as precondition of the first request.
        resource_version: u64,
        /// The requests.
        writes: Vec<PodWrite>,
        /// Why, for events, logs and metrics.
        why: PatchWhy,
    },
    /// Create a pod, after the claims that it lacks. In batches of 1, 2, 4, ...; a failure leaves the rest to the next
    /// pass.
    CreatePod(NewPod),
    /// Delete a pod, and then claims of it.
    DeletePod {
        /// Name.
        name: Arc<str>,
        /// Uid, as precondition.
        uid: Uid,
        /// The version that was decided on, as precondition where a changed pod must not be deleted.
        resource_version: Option<u64>,
        /// Claims that go with it: name and uid.
        claims: Vec<(Arc<str>, Uid)>,
        /// Why, for logs and metrics.
        why: Removal,
    },
    /// Add our controller reference to an object without one.
    Adopt {
        /// What it is.
        object: OwnedObject,
        /// Name.
        name: Arc<str>,
        /// Uid, as precondition.
        uid: Uid,
    },
    /// Create a claim that a pod misses which is there already.
    CreateClaim {
        /// The pod.
        pod: Arc<str>,
        /// The claim.
        manifest: Value,
    },
    /// Change a claim.
    PatchClaim {
        /// Name.
        name: Arc<str>,
        /// Uid, as precondition.
        uid: Uid,
        /// The version that was decided on, as precondition.
        resource_version: u64,
        /// Its pod.
        pod: Arc<str>,
        /// Strategic merge patch.
        patch: Value,
        /// Why, for events, logs and metrics.
        why: ClaimWhy,
    },
    /// Ask the arbiter whether pods may be disrupted now, or go on being so. Source: statefulset.md 16.4.
    ClaimPods {
        /// Their names.
        pods: Vec<Arc<str>>,
        /// For what: the workload and its revision.
        token: Arc<str>,
        /// For how long. Units: seconds.
        ttl_seconds: u32,
    },
    /// Tell the arbiter that pods are back.
    ReleasePods {
        /// Their names.
        pods: Vec<Arc<str>>,
        /// For what they were claimed.
        token: Arc<str>,
    },
    /// Delete a claim that no pod uses.
    DeleteClaim {
        /// Name.
        name: Arc<str>,
        /// Uid, as precondition.
        uid: Uid,
    },
    /// Leave a claim to a pod that is on its way out, so that it goes with it.
    LeaveClaim {
        /// Name.
        name: Arc<str>,
        /// Uid, as precondition.
        uid: Uid,
        /// Name of the pod.
        pod: Arc<str>,
        /// Uid of the pod.
        pod_uid: Uid,
    },
    /// Take names out of `scaleStrategy.podsToDelete` that are those of no pod.
    PrunePodsToDelete {
        /// The names that stay.
        kept: Vec<Arc<str>>,
        /// The version that was decided on, as precondition.
        resource_version: u64,
    },
}

/// A pod to create.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPod {
    /// Its name: `<workload>-<instance>`.
    pub name: Arc<str>,
    /// Its instance id, or its ordinal.
    pub instance: Arc<str>,
    /// The name of its revision.
    pub revision: Arc<str>,
    /// The pod.
    pub manifest: Value,
    /// Claims that have to be there first and are not.
    pub claims: Vec<Value>,
}

/// Why a claim is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimWhy {
    /// With whom it goes changes.
    Owners,
    /// It grows.
    Resize,
}

impl ClaimWhy {
    /// The word for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owners => "Owners",
            Self::Resize => "Resize",
        }
    }
}

/// Why a pod is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatchWhy {
    /// It gets the label of its identity back.
    Identity,
    /// Its update in place goes on or is complete, or its state changes.
    Refresh,
    /// A hook is asked first.
    Prepare,
    /// Its label says what the arbiter says of it. Source: statefulset.md 16.4.
    ArbiterLabel,
    /// It is updated in place.
    UpdateInPlace {
        /// The revision that it gets.
        revision: Arc<str>,
    },
    /// It is marked to be replaced.
    Recreate {
        /// The revision that its successor gets.
        revision: Arc<str>,
        /// Why it is not updated in place, where it might have been.
        why: Option<Arc<str>>,
    },
}

impl PatchWhy {
    /// The word for metrics and logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Identity => "Identity",
            Self::Refresh => "Refresh",
            Self::Prepare => "Prepare",
            Self::ArbiterLabel => "ArbiterLabel",
            Self::UpdateInPlace { .. } => "UpdateInPlace",
            Self::Recreate { .. } => "Recreate",
        }
    }

    /// The event when it succeeded. Source: cloneset.md 13.
    pub fn succeeded(&self, pod: &str) -> Option<Event> {
        let (reason, message) = match self {
            Self::Identity | Self::Refresh | Self::Prepare | Self::ArbiterLabel => return None,
            Self::UpdateInPlace { revision } => (
                reasons::SUCCESSFUL_UPDATE_IN_PLACE,
                format!("successfully update pod {pod} in-place(revision {revision})"),
            ),
            Self::Recreate { revision, why } => {
                let why = why
                    .as_ref()
                    .map_or(String::new(), |why| format!(": not in-place, since {why}"));
                (
                    reasons::SUCCESSFUL_UPDATE_RECREATE,
                    format!(
                        "successfully patch pod {pod} specified-delete for update(revision {revision}){why}"
                    ),
                )
            }
        };
        Some(Event {
            is_warning: false,
            reason,
            message: message.into(),
            once_per: None,
        })
    }

    /// The event when it failed. Source: cloneset.md 13.
    pub fn failed(&self, pod: &str, error: &str) -> Option<Event> {
        let (reason, message) = match self {
            Self::Identity | Self::ArbiterLabel => return None,
            // Upstream only logs it, and the pod stands still with nobody to say why.
            Self::Refresh | Self::Prepare => (
                reasons::FAILED_UPDATE_IN_PLACE,
                format!("failed to carry on the update or the lifecycle of pod {pod}: {error}"),
            ),
            Self::UpdateInPlace { revision } => (
                reasons::FAILED_UPDATE_IN_PLACE,
                format!("failed to update pod {pod} in-place(revision {revision}): {error}"),
            ),
            Self::Recreate { revision, .. } => (
                reasons::FAILED_UPDATE_RECREATE,
                format!(
                    "failed to patch pod specified-delete {pod} for update(revision {revision}): {error}"
                ),
            ),
        };
        Some(Event {
            is_warning: true,
            reason,
            message: message.into(),
            once_per: None,
        })
    }
}

/// Why a pod is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// There are more pods than replicas.
    ScaledDown,
    /// It was named, or marked to be replaced.
    Specified,
    /// Its hook before the deletion has let it go.
    Prepared,
    /// It has ended, and a successor is ready or takes its place.
    Ended,
    /// It is at an old revision, and its turn has come.
    Outdated,
    /// It is at a revision that does not work, and in the way of those that come after it.
    Broken,
}

impl Removal {
    /// The word for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ScaledDown => "ScaledDown",
            Self::Specified => "Specified",
            Self::Prepared => "Prepared",
            Self::Ended => "Ended",
            Self::Outdated => "Outdated",
            Self::Broken => "Broken",
        }
    }
}
