//! Lean views: the few fields of an object that decisions need, decoded from the wire without the rest.
//!
//! A view is what stores hold, so its size is a budget: below 1 KB a pod (design.md section 4). Views are made with a
//! [`NodeNames`] so that a pod names its node by a small number, which lets decisions index arrays instead of hashing.

use std::collections::HashMap;
use std::sync::Arc;

pub use advanced_daemonset::{AdvancedDaemonSet, RollingType};
pub use cloneset::{
    CloneSetCondition, CloneSetStatus, CloneSetUpdateStrategy, CloneSetView, RollingUpdate, ScaleStrategy,
};
pub use condition::{ConditionStatus, PodCondition, UpgradeConditions, message_revision, revision_message};
pub use daemonset::{DaemonSetStatus, DaemonSetView, StrategyType, UpdateStrategy};
pub use image_pull::{
    CompletionPolicy, ImagePullJobSpec, ImagePullJobStatus, ImagePullJobView, ImageSpec, ImageStatus,
    ImageTag, NodeImageSpec, NodeImageStatus, NodeImageView, NodeSelector, ObjectReference, PullPhase,
    PullPolicy, SandboxConfig, SecretReference, TagStatus,
};
pub use inplace::{
    ContainerSpec, ContainerState, ContainerStatus, EnvWire, InPlaceSpec, InPlaceView, MetadataEnv,
    MetadataKey, Quantities, Resources, RestartPolicy,
};
pub use job::{JobView, PULL_BACKOFF_LIMIT};
pub use labels::{KeyValues, PodLabels};
pub use lifecycle::{Lifecycle, LifecycleHook};
pub use node::{NodeView, NodeWire};
pub use pod::{Phase, PodView, PodWire, ReadyCondition};
pub use revision::RevisionView;
pub use statefulset::{
    Arbiter, ArbiterLabel, ArbiterProbe, ClaimRetention, ClaimStatus, FailurePolicy, HttpProbe, Protection,
    ProtectionRead, ProtectionStatus, Reserved, RollingStatefulSet, StatefulSetCondition, StatefulSetStatus,
    StatefulSetView,
};
pub use update_order::{MissingKey, PriorityStrategy, ScatterTerm, WeightTerm};
pub use update_policy::{InPlaceUpdateStrategy, PodUpdatePolicy, UpdateType};

mod advanced_daemonset;
mod cloneset;
mod condition;
mod daemonset;
mod image_pull;
mod inplace;
mod job;
mod labels;
mod lifecycle;
mod meta;
mod node;
mod pod;
mod read;
mod revision;
mod statefulset;
mod update_order;
mod update_policy;

pub use meta::{ControllerRef, MetaWire, OwnerKind, OwnerWire, Uid, ViewError};
pub(crate) use statefulset::{is_partition_percent, label_key_problem, range_of};

/// A node by number. The number belongs to a name, not to an object: a node that is deleted and made again keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeSlot(pub u32);

impl NodeSlot {
    /// The slot as an index into arrays by slot.
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Names of nodes and the numbers they got, in the order of first sight.
#[derive(Debug, Clone, Default)]
pub struct NodeNames {
    names: Vec<Arc<str>>,
    slots: HashMap<Arc<str>, NodeSlot>,
}

impl NodeNames {
    /// The slot of a name, given out on first sight.
    pub fn slot(&mut self, name: &str) -> NodeSlot {
        if let Some(slot) = self.slots.get(name) {
            return *slot;
        }
        let name: Arc<str> = name.into();
        let slot = NodeSlot(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        self.names.push(Arc::clone(&name));
        self.slots.insert(name, slot);
        slot
    }

    /// The slot of a name that was seen before.
    pub fn get(&self, name: &str) -> Option<NodeSlot> {
        self.slots.get(name).copied()
    }

    /// The name of a slot.
    pub fn name(&self, slot: NodeSlot) -> &str {
        self.names.get(slot.index()).map_or("", |name| name)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Was no name seen yet?
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}
