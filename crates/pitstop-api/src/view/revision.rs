//! ControllerRevisions as decisions see them.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::meta::{ControllerRef, MetaWire, Uid, ViewError};
use crate::keys;
use crate::selector::Labels;

/// A ControllerRevision. There are few of them, so the data stays whole.
#[derive(Debug, Clone, PartialEq)]
pub struct RevisionView {
    /// Name.
    pub name: Arc<str>,
    /// Identity.
    pub uid: Uid,
    /// Version of the object that this view was made from.
    pub resource_version: u64,
    /// Labels.
    pub labels: Arc<Labels>,
    /// Annotations, copied from the workload when it was made.
    pub annotations: Arc<Labels>,
    /// Who controls it.
    pub controller: Option<ControllerRef>,
    /// Is it terminating?
    pub is_terminating: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// `revision`: higher is newer.
    pub revision: i64,
    /// `data`: a strategic merge patch.
    pub data: Arc<Value>,
}

impl RevisionView {
    /// Its hash: the label, or the object's name where the label is missing.
    pub fn hash(&self) -> &str {
        self.labels
            .get(keys::REVISION_HASH)
            .map_or(&self.name, String::as_str)
    }

    /// Reads the object as the API serves it.
    ///
    /// # Errors
    /// The object is not a ControllerRevision, or its uid is none.
    pub fn from_json(json: &[u8]) -> Result<Self, ViewError> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Wire {
            metadata: MetaWire,
            revision: i64,
            data: Value,
        }
        let wire: Wire = serde_json::from_slice(json).map_err(|e| ViewError {
            field: "ControllerRevision",
            problem: e.to_string(),
        })?;
        Ok(Self {
            uid: wire.metadata.uid()?,
            resource_version: wire.metadata.version(),
            controller: wire.metadata.controller(),
            is_terminating: wire.metadata.deletion_timestamp.is_some(),
            created_at: wire.metadata.creation_timestamp.unwrap_or(Timestamp::UNIX_EPOCH),
            revision: wire.revision,
            data: Arc::new(wire.data),
            name: wire.metadata.name.into(),
            labels: Arc::new(wire.metadata.labels),
            annotations: Arc::new(wire.metadata.annotations),
        })
    }
}
