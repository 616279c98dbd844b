//! What a decision consists of.

mod text;

pub use text::{render, span};

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pitstop_api::view::{DaemonSetStatus, NodeSlot, PodCondition, Uid};
use serde::Serialize;
use serde_json::Value;

use crate::inplace::PodWrite;
use crate::instances::PatchWhy;
use crate::snapshot::FailedPods;

/// The outcome of a decision. An empty plan with the same status means that nothing is written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Writes, in the order in which they have to succeed: revisions first. Pod actions are independent of each other.
    pub actions: Vec<Action>,
    /// The status to write, when it differs from the object's.
    pub status: Option<DaemonSetStatus>,
    /// Events about the DaemonSet itself. Events about single pods come from the outcome of actions.
    pub events: Vec<Event>,
    /// Decide again after this long even if nothing happens.
    pub requeue_after: Option<Duration>,
    /// For every pod (and every node that lacks its pod) that is not at the target: why.
    pub waiting: Vec<Waiting>,
    /// Back-off of failed pods to remember in place of what was given: everything of it that still counts, and what this
    /// decision adds.
    pub failed_pods: Vec<FailedPods>,
    /// What the decision counted, for people and metrics.
    pub progress: Progress,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Create a ControllerRevision. If the name is taken by other data, the collision count is raised in the status
    /// and nothing else of the plan is carried out.
    CreateRevision(NewRevision),
    /// Change `revision` of a ControllerRevision, and its change cause along with it.
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
    /// Set the missing hash label of a ControllerRevision.
    LabelRevision {
        /// Name.
        name: Arc<str>,
        /// Uid, as precondition.
        uid: Uid,
        /// The label's value.
        hash: Arc<str>,
    },
    /// Delete a ControllerRevision.
    DeleteRevision {
        /// Name.
        name: Arc<str>,
        /// Uid, as precondition.
        uid: Uid,
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
    /// Take our owner reference off an object whose labels do not match any more.
    Release {
        /// What it is.
        object: OwnedObject,
        /// Name.
        name: Arc<str>,
        /// Uid, as precondition.
        uid: Uid,
    },
    /// Set the revision label of a pod.
    RelabelPod {
        /// Name.
        name: Arc<str>,
        /// Uid, as precondition.
        uid: Uid,
        /// The label's value.
        hash: Arc<str>,
    },
    /// Set one condition in the status of a pod, and leave the others alone.
    SetPodCondition {
        /// Name.
        name: Arc<str>,
        /// Uid, as precondition.
        uid: Uid,
        /// `type` of the condition.
        kind: &'static str,
        /// What it says.
        condition: PodCondition,
    },
    /// Set one condition in the status of the DaemonSet itself, and leave the others alone.
    SetCondition {
        /// `type` of the condition.
        kind: &'static str,
        /// What it says.
        condition: PodCondition,
    },
    /// Put the template of an earlier revision back, if nobody changed the DaemonSet since.
    RollBack {
        /// Uid of the DaemonSet, as precondition.
        uid: Uid,
        /// The version of the DaemonSet that was decided on, as precondition.
        resource_version: u64,
        /// Hash of the revision, for people.
        hash: Arc<str>,
        /// Its `data`: a strategic merge patch.
        data: Arc<Value>,
    },
    /// Create a Job that pulls images for a pod.
    CreateJob(JobFor),
    /// Delete a Job, and its pods with it.
    DeleteJob {
        /// Name.
        name: Arc<str>,
        /// Uid, as precondition.
        uid: Uid,
    },
    /// Create the pod of a node.
    CreatePod {
        /// The node.
        node: NodeSlot,
        /// The revision that it is made from.
        hash: Arc<str>,
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
    /// Delete a pod.
    DeletePod {
        /// Name.
        name: Arc<str>,
        /// Uid, as precondition.
        uid: Uid,
        /// The version that was decided on, as precondition where a changed pod must not be deleted.
        resource_version: Option<u64>,
        /// Its node.
        node: Option<NodeSlot>,
        /// Why, for logs and metrics.
        why: DeleteReason,
    },
}

/// Which kind of object is adopted or released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnedObject {
    /// A pod.
    Pod,
    /// A ControllerRevision.
    Revision,
}

/// A ControllerRevision to create.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRevision {
    /// Name: `<workload>-<hash>`.
    pub name: String,
    /// Hash, also its label.
    pub hash: Arc<str>,
    /// Number.
    pub revision: i64,
    /// `data`.
    pub data: Value,
}

/// A Job to create.
#[derive(Debug, Clone, PartialEq)]
pub struct JobFor {
    /// Its name.
    pub name: Arc<str>,
    /// The pod that it is for.
    pub pod: Arc<str>,
    /// The node that it runs on.
    pub node: NodeSlot,
    /// The object.
    pub manifest: Value,
}

/// Why a pod is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum DeleteReason {
    /// It is at an old revision and its turn has come.
    Outdated,
    /// It is at an old revision and unavailable anyway.
    OutdatedAndUnavailable,
    /// Its update in place will never be complete.
    InPlaceStalled,
    /// The owner of its node asked for the target revision.
    Requested,
    /// Its hook before the deletion has let it go.
    Prepared,
    /// A surged pod has taken over.
    Surged,
    /// Another pod of the workload is on its node already.
    Duplicate,
    /// The node must not run the workload's pods.
    NodeNotEligible,
    /// The node that it was meant for does not exist.
    NodeGone,
    /// Its phase is Failed.
    Failed,
    /// Its phase is Succeeded.
    Succeeded,
}

impl DeleteReason {
    /// The word for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outdated => "Outdated",
            Self::OutdatedAndUnavailable => "OutdatedAndUnavailable",
            Self::InPlaceStalled => "InPlaceStalled",
            Self::Requested => "Requested",
            Self::Prepared => "Prepared",
            Self::Surged => "Surged",
            Self::Duplicate => "Duplicate",
            Self::NodeNotEligible => "NodeNotEligible",
            Self::NodeGone => "NodeGone",
            Self::Failed => "Failed",
            Self::Succeeded => "Succeeded",
        }
    }
}

/// An event about the workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Is it a `Warning` rather than `Normal`?
    pub is_warning: bool,
    /// Reason, from `pitstop_api::reasons`.
    pub reason: &'static str,
    /// Text for people.
    pub message: Cow<'static, str>,
    /// Published once for each value of this; `None`: whenever it is decided.
    pub once_per: Option<String>,
}

/// A pod, or a node without its pod, that is not at the target.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// The pod, if there is one.
    pub pod: Option<(Arc<str>, Uid)>,
    /// Its node.
    pub node: Option<NodeSlot>,
    /// Why.
    pub reason: Reason,
}

/// Why a pod is not at the target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Reason {
    /// The condition Ready of its node is not True. The pod is caught up when the node returns.
    NodeNotReady {
        /// Since when.
        since: Option<Timestamp>,
        /// Does it count as unavailable meanwhile? Not under AdvancedRollingUpdate and OTA (S3).
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        costs_budget: bool,
    },
    /// Somebody works on its node. It costs no budget, and the pod is caught up when that is over.
    NodeInMaintenance {
        /// Since when.
        since: Option<Timestamp>,
    },
    /// As many pods as allowed are unavailable.
    MaxUnavailable {
        /// How many are.
        used: u32,
        /// How many may be.
        limit: u32,
    },
    /// As many surge pods as allowed are there.
    MaxSurge {
        /// How many are.
        used: u32,
        /// How many may be.
        limit: u32,
    },
    /// It is deleted by this plan.
    Updating,
    /// It is replaced, where it might have been updated in place.
    Replacing {
        /// Why it is not.
        why: String,
    },
    /// It is on its way out.
    Terminating {
        /// Since when its deletion was due.
        since: Option<Timestamp>,
    },
    /// Its successor is not there yet.
    WaitingForPod,
    /// It is at the target revision but not ready.
    NotReady {
        /// What a container reports, e.g. `ImagePullBackOff`.
        trouble: Option<Arc<str>>,
        /// Since when.
        since: Option<Timestamp>,
    },
    /// It is ready, but not for `minReadySeconds` yet.
    MinReadySeconds {
        /// When it becomes available.
        until: Timestamp,
    },
    /// A surged pod must become available first.
    WaitingForSurge,
    /// The strategy is OnDelete without an upgrade model: it is replaced when somebody deletes it.
    OnDelete,
    /// The ControllerRevision of the current template is not there yet.
    RevisionUnknown,
    /// The DaemonSet's own controller has not seen the current spec yet.
    NotObserved,
    /// A field or annotation is malformed; nothing is done until it is mended.
    Invalid {
        /// Which.
        field: Cow<'static, str>,
    },
    /// More than one pod of the workload is on the node.
    DuplicatePods,
    /// At most so many pods are touched in one pass; the next pass follows at once.
    Burst,
    /// Its phase is Failed, and it was replaced too recently.
    BackOff {
        /// When it is replaced.
        until: Timestamp,
    },
    /// The OTA model: the owner of the node decides.
    WaitingForOwner,
    /// Its node does not exist any more. Nothing waits for it, and whoever cleans up pods removes it.
    NodeGone,
    /// The workload is being deleted.
    WorkloadTerminating,
    /// `partition` keeps it where it is.
    Partition {
        /// How many pods it keeps.
        keeps: u32,
    },
    /// The rollout is paused.
    Paused,
    /// Its node is not one that `pitstop.io/canary-nodes` selects.
    Canary,
    /// Its node is not one that `updateStrategy.rollingUpdate.selector` selects.
    NotSelected,
    /// Its node is ready, but not for `pitstop.io/min-node-ready-seconds` yet.
    NodeUnsettled {
        /// When it is.
        until: Timestamp,
    },
    /// As many pods as allowed are unavailable in the pool of its node.
    PoolMaxUnavailable {
        /// The pool.
        pool: Arc<str>,
        /// How many are.
        used: u32,
        /// How many may be.
        limit: u32,
    },
    /// So few pods serve at the new revision yet that no more may be unavailable (`pitstop.io/pace`).
    Pace {
        /// How many are.
        used: u32,
        /// How many may be by now.
        limit: u32,
    },
    /// The images of the target are pulled on its node before it goes.
    PullingImages {
        /// They could not be had; when they are tried again.
        failed_until: Option<Timestamp>,
    },
    /// The images of the target are pulled on the nodes before it first.
    QueuedForImages,
    /// Nodes turned NotReady after their update: the rollout waits whether there are more, or was stopped.
    NodesLost {
        /// How many were lost.
        lost: u32,
        /// Of how many that were updated.
        updated: u32,
        /// Until when it waits; `None` when it was stopped.
        until: Option<Timestamp>,
    },
    /// The rollout made no progress within its deadline, and was stopped.
    DeadlineExceeded {
        /// The deadline.
        seconds: u32,
    },
    /// A lifecycle hook holds it.
    Hook {
        /// The state that it waits in.
        state: &'static str,
    },
    /// It is out of service, and its containers change when its grace period ends.
    GracePeriod {
        /// When that is.
        until: Option<Timestamp>,
    },
    /// It is being updated in place.
    InPlace {
        /// What that waits for.
        pending: String,
    },
    /// It would have to be updated in place, and cannot be.
    NotInPlace {
        /// Why.
        why: String,
    },
    /// It is to be deleted, and as many pods as allowed are unavailable.
    DeleteLimit,
    /// The server refused the last write about it, and it alone waits for the next attempt.
    Refused {
        /// What the server said.
        message: Arc<str>,
        /// When it is tried again.
        until: Timestamp,
    },
    /// It is protected, and left alone while it is.
    Protected {
        /// Why.
        by: ProtectedBy,
    },
    /// Pods come and go one after the other, and this one comes first.
    Ordinal {
        /// Its name.
        pod: Arc<str>,
    },
    /// It does not become ready, and all others wait for it.
    InTheWay {
        /// When it is replaced, unless it is ready by then.
        until: Timestamp,
        /// By a pod of which revision.
        revision: Arc<str>,
    },
    /// A claim of it has to be settled first.
    VolumeClaim {
        /// Which, and what it waits for.
        pending: String,
    },
}

/// Why protection leaves a pod alone. Source: statefulset.md 16.2, 16.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum ProtectedBy {
    /// It works.
    Work,
    /// A person says so, whatever the arbiter says.
    Person,
    /// Nobody knows whether it works.
    Unknown,
    /// The arbiter does not answer.
    Silence,
    /// The arbiter is asked for it, and has not said yet whether it may go.
    Question,
    /// The arbiter was asked for it, and did not let it go.
    Refusal,
    /// Fewer pods than `minProtected` are protected.
    TooFew,
    /// The protection cannot be read.
    Unreadable,
}

/// What a decision counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Progress {
    /// The hash of the current revision, when it is known.
    pub target: Option<Arc<str>>,
    /// Pods that are there and do not end; of a DaemonSet: nodes that should have a pod or have one.
    pub pods: u32,
    /// Of those: at the target.
    pub updated: u32,
    /// Of those: on nodes that are not ready, passed over.
    pub frozen: u32,
    /// Unavailable pods that count.
    pub unavailable: u32,
    /// Unavailable pods that are allowed.
    pub limit: u32,
}
