//! Nodes as decisions see them.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::meta::{MetaWire, Uid, ViewError};
use super::pod::{ConditionWire, ReadyCondition, condition, ready_condition};
use super::{NodeNames, NodeSlot};
use crate::placement::Taint;
use crate::reasons;
use crate::selector::Labels;

/// A node, lean.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeView {
    /// Name.
    pub name: Arc<str>,
    /// Number of the name.
    pub slot: NodeSlot,
    /// Identity.
    pub uid: Uid,
    /// Version of the object that this view was made from.
    pub resource_version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// Labels.
    pub labels: Labels,
    /// Taints.
    pub taints: Vec<Taint>,
    /// Is it cordoned?
    pub unschedulable: bool,
    /// Condition `Ready`; absent before a kubelet reported.
    pub ready: Option<ReadyCondition>,
    /// Condition `MaintenanceInProgress`, which administrators set.
    pub maintenance: Option<ReadyCondition>,
}

impl NodeView {
    /// Is condition `Ready` True? A node without the condition is not.
    pub fn is_ready(&self) -> bool {
        self.ready.is_some_and(|ready| ready.is_true)
    }

    /// Does somebody work on it?
    pub fn is_in_maintenance(&self) -> bool {
        self.maintenance.is_some_and(|maintenance| maintenance.is_true)
    }

    /// Since when condition `Ready` has its status.
    pub fn ready_changed_at(&self) -> Option<Timestamp> {
        self.ready.and_then(|ready| ready.since)
    }
}

/// A node on the wire, as far as it is read.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct NodeWire {
    /// Metadata.
    pub metadata: MetaWire,
    /// Spec.
    pub spec: NodeSpecWire,
    /// Status.
    pub status: NodeStatusWire,
}

/// `spec` of a node, as far as it is read.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct NodeSpecWire {
    /// Taints.
    pub taints: Vec<Taint>,
    /// Cordoned?
    pub unschedulable: bool,
}

/// `status` of a node, as far as it is read.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct NodeStatusWire {
    /// Conditions.
    pub conditions: Vec<ConditionWire>,
}

impl NodeWire {
    /// The view of this node.
    ///
    /// # Errors
    /// The uid is none.
    pub fn view(self, nodes: &mut NodeNames) -> Result<NodeView, ViewError> {
        Ok(NodeView {
            uid: self.metadata.uid()?,
            resource_version: self.metadata.version(),
            slot: nodes.slot(&self.metadata.name),
            created_at: self.metadata.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH),
            name: self.metadata.name.into(),
            labels: self.metadata.labels,
            taints: self.spec.taints,
            unschedulable: self.spec.unschedulable,
            ready: ready_condition(&self.status.conditions),
            maintenance: condition(&self.status.conditions, reasons::MAINTENANCE_IN_PROGRESS),
        })
    }
}
