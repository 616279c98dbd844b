//! Jobs that pull images ahead of an upgrade, as decisions see them.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;

use super::meta::{MetaWire, Uid, ViewError};

/// How often a Job's pods may fail before it has failed. Source: daemonset.md C9.3, `backoffLimit`.
pub const PULL_BACKOFF_LIMIT: u32 = 1;

/// A Job, lean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobView {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Identity.
    pub uid: Uid,
    /// Version of the object that this view was made from.
    pub resource_version: u64,
    /// The pod that it pulls for: its first owner of kind Pod.
    pub pod: Option<Uid>,
    /// Set while it terminates.
    pub deleted_at: Option<Timestamp>,
    /// Has one of its pods succeeded?
    pub has_succeeded: bool,
    /// Has it failed for good?
    pub has_failed: bool,
}

impl JobView {
    /// Does it do nothing any more?
    pub fn is_finished(&self) -> bool {
        self.has_succeeded || self.has_failed
    }

    /// Reads the object as the API serves it.
    ///
    /// # Errors
    /// The object is not a Job, or its uid is none.
    pub fn from_json(json: &[u8]) -> Result<Self, ViewError> {
        let wire: JobWire = serde_json::from_slice(json).map_err(|e| ViewError {
            field: "Job",
            problem: e.to_string(),
        })?;
        let JobWire { metadata, status } = wire;
        let owners = metadata.owner_references.iter();
        let mut pods = owners.filter(|owner| owner.kind == "Pod" && owner.api_version == "v1");
        let is = |kind: &str| {
            let mut conditions = status.conditions.iter();
            conditions.any(|condition| condition.kind == kind && condition.status == "True")
        };
        Ok(Self {
            uid: metadata.uid()?,
            resource_version: metadata.version(),
            pod: pods.next().and_then(|owner| Uid::parse(&owner.uid)),
            deleted_at: metadata.deletion_timestamp,
            has_succeeded: status.succeeded > 0 || is("Complete"),
            has_failed: status.failed >= PULL_BACKOFF_LIMIT || is("Failed"),
            namespace: metadata.namespace.into(),
            name: metadata.name.into(),
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct JobWire {
    metadata: MetaWire,
    status: JobStatusWire,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct JobStatusWire {
    succeeded: u32,
    failed: u32,
    conditions: Vec<super::pod::ConditionWire>,
}
