//! What a decision is made from, and nothing else.

pub mod file;

use std::sync::Arc;

use jiff::Timestamp;
use pitstop_api::view::{DaemonSetView, JobView, NodeNames, NodeSlot, NodeView, PodView, RevisionView, Uid};

/// Everything that a decision about one DaemonSet looks at.
///
/// The shell puts it together from its stores. `in_flight` holds our own writes that the stores may not show yet, so a
/// decision always reads its own writes.
#[derive(Debug, Clone)]
pub struct Snapshot<'a> {
    /// The time of the decision.
    pub now: Timestamp,
    /// The workload.
    pub daemonset: &'a DaemonSetView,
    /// ControllerRevisions of the namespace that it controls, or that nobody controls and its selector matches.
    pub revisions: Vec<&'a RevisionView>,
    /// Pods of the namespace that it controls, or that nobody controls and its selector matches.
    pub pods: Vec<&'a PodView>,
    /// The nodes of the cluster.
    pub nodes: Nodes<'a>,
    /// What we did that the stores may not show yet.
    pub in_flight: InFlight,
    /// When pods of phase Failed were replaced, by node.
    pub failed_pods: &'a [FailedPods],
    /// Images that are pulled ahead for its pods; `None` when that is not known.
    pub pulls: Option<Vec<Pull<'a>>>,
    /// Was a live read of the DaemonSet made that allows adoption (same uid, not terminating)?
    pub may_adopt: bool,
}

/// A Job that pulls images for a pod, and what its own pods tell.
#[derive(Debug, Clone, Copy)]
pub struct Pull<'a> {
    /// The Job.
    pub job: &'a JobView,
    /// Are all its images on the node?
    pub has_images: bool,
    /// Why a container of it waits or ended.
    pub trouble: Option<&'a str>,
}

impl<'a> Pull<'a> {
    /// What the pods of a Job tell of it.
    pub fn of(job: &'a JobView, pods: &'a [PodView]) -> Self {
        Self {
            job,
            has_images: pods.iter().any(|pod| pod.has_images),
            trouble: pods.iter().find_map(|pod| pod.trouble.as_deref()),
        }
    }
}

/// Nodes, by slot and in the order of their names.
#[derive(Debug, Clone, Copy)]
pub struct Nodes<'a> {
    /// Names of all slots.
    pub names: &'a NodeNames,
    /// The node of a slot, if there is one now.
    pub by_slot: &'a [Option<Arc<NodeView>>],
    /// Slots of the nodes that exist, ascending by name.
    pub by_name: &'a [NodeSlot],
}

impl<'a> Nodes<'a> {
    /// The node of a slot, if it exists.
    pub fn get(&self, slot: NodeSlot) -> Option<&'a NodeView> {
        self.by_slot.get(slot.index())?.as_deref()
    }

    /// The node of this name, if it exists.
    pub fn named(&self, name: &str) -> Option<&'a NodeView> {
        self.get(self.names.get(name)?)
    }

    /// The nodes that exist, ascending by name.
    pub fn iter(&self) -> impl Iterator<Item = &'a NodeView> + use<'a> {
        let nodes = *self;
        self.by_name.iter().filter_map(move |slot| nodes.get(*slot))
    }
}

/// Our own writes that the stores may not show yet.
#[derive(Debug, Clone, Default)]
pub struct InFlight {
    /// Pods that we deleted.
    pub deleted: Vec<DeletedPod>,
    /// Pods that we created.
    pub created: Vec<CreatedPod>,
    /// Pods whose DELETE was not answered: each may be gone, or may go yet. It counts as down, and where a rollout still
    /// wants it gone, it is deleted again rather than another one.
    pub maybe_deleted: Vec<Uid>,
    /// Pods whose PATCH was not answered: each may have left service, and counts as down. Where a rollout still wants it
    /// changed, it is changed again rather than another one.
    pub maybe_patched: Vec<Uid>,
    /// Nodes for which a pod was posted without an answer: it may be there, or may come yet.
    pub maybe_created: Vec<NodeSlot>,
}

/// A pod whose DELETE succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletedPod {
    /// Its uid.
    pub uid: Uid,
    /// Its node.
    pub node: Option<NodeSlot>,
    /// When we deleted it.
    pub at: Timestamp,
}

/// A pod whose POST succeeded and that the store does not show yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedPod {
    /// Its uid, from the answer.
    pub uid: Uid,
    /// Its name.
    pub name: Arc<str>,
    /// The node that it is for.
    pub node: NodeSlot,
    /// Its revision.
    pub hash: Arc<str>,
    /// When we created it.
    pub at: Timestamp,
}

/// How often a pod of phase Failed was replaced on a node, for the back-off.
///
/// Source: daemonset.md A8. The key includes the observed generation: a new one starts afresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedPods {
    /// The node.
    pub node: NodeSlot,
    /// `status.observedGeneration` when it was recorded.
    pub generation: i64,
    /// The current delay. Units: seconds. Range: 1..=900.
    pub delay_seconds: u32,
    /// When the last replacement was made.
    pub at: Timestamp,
}
