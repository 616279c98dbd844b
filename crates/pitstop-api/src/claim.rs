//! Claims of volumes as decisions see them.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::view::{MetaWire, OwnerWire, Uid, ViewError};
use crate::{fields, keys, quantity};

/// A `PersistentVolumeClaim`, lean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimView {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Identity.
    pub uid: Uid,
    /// Version of the object that this view was made from.
    pub resource_version: u64,
    /// Who owns it: a CloneSet, or the pod that it was left to.
    pub owner: Option<Uid>,
    /// The instance that it belongs to.
    pub instance: Option<Arc<str>>,
    /// Is it terminating?
    pub is_terminating: bool,
    /// All of its owners.
    pub owners: Vec<ClaimOwner>,
    /// What it asks for, and what it has.
    pub disk: ClaimDisk,
}

/// An owner of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimOwner {
    /// Its kind, such as `Pod`.
    pub kind: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its identity.
    pub uid: Uid,
}

/// What a claim asks for, and what it has. Source: statefulset.md 8.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimDisk {
    /// `spec.storageClassName`.
    pub class: Option<Arc<str>>,
    /// `spec.accessModes`.
    pub access_modes: Vec<Arc<str>>,
    /// `spec.resources.requests.storage`. Units: billionths of a byte.
    pub request: Option<i128>,
    /// `status.capacity.storage`. Units: billionths of a byte.
    pub capacity: Option<i128>,
    /// Is condition `FileSystemResizePending` True: does only its next start miss?
    pub is_resized_at_start: bool,
}

impl ClaimDisk {
    /// Reads it from a claim, or from a template of claims.
    pub fn of(claim: &Value) -> Self {
        let size = |pointer: &str| quantity::value(&quantity::text_of(claim.pointer(pointer)?)?);
        let modes = fields::list(claim, "/spec/accessModes").iter();
        let is_pending = |condition: &Value| {
            fields::text(condition, "/type") == "FileSystemResizePending"
                && fields::text(condition, "/status") == "True"
        };
        let class = claim.pointer("/spec/storageClassName").and_then(Value::as_str);
        Self {
            class: class.map(Arc::from),
            access_modes: modes.filter_map(Value::as_str).map(Arc::from).collect(),
            request: size("/spec/resources/requests/storage"),
            capacity: size("/status/capacity/storage"),
            is_resized_at_start: fields::list(claim, "/status/conditions").iter().any(is_pending),
        }
    }
}

impl ClaimView {
    /// Reads the object as the API serves it.
    ///
    /// # Errors
    /// The object is not a `PersistentVolumeClaim`, or its uid is none.
    pub fn from_json(json: &[u8]) -> Result<Self, ViewError> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Wire {
            metadata: MetaWire,
        }
        let wire: Wire = serde_json::from_slice(json).map_err(|error| ViewError {
            field: "PersistentVolumeClaim",
            problem: error.to_string(),
        })?;
        let disk: Value = serde_json::from_slice(json).unwrap_or_default();
        let metadata = wire.metadata;
        let owners = || metadata.owner_references.iter();
        let is_controller = |owner: &&OwnerWire| owner.controller == Some(true);
        let owner = owners().find(is_controller).or_else(|| owners().next());
        Ok(Self {
            uid: metadata.uid()?,
            resource_version: metadata.version(),
            owner: owner.and_then(|owner| Uid::parse(&owner.uid)),
            instance: metadata
                .labels
                .get(keys::INSTANCE_ID)
                .map(|id| id.as_str().into()),
            is_terminating: metadata.deletion_timestamp.is_some(),
            owners: owners()
                .filter_map(|owner| {
                    Some(ClaimOwner {
                        kind: owner.kind.as_str().into(),
                        name: owner.name.as_str().into(),
                        uid: Uid::parse(&owner.uid)?,
                    })
                })
                .collect(),
            disk: ClaimDisk::of(&disk),
            namespace: metadata.namespace.into(),
            name: metadata.name.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_belongs_to_an_instance_and_an_owner() {
        let json = r#"{"metadata":{"name":"data-web-x2b4c","namespace":"default","resourceVersion":"7",
            "uid":"00000000-0000-0000-0000-000000000003","labels":{"apps.kruise.io/cloneset-instance-id":"x2b4c"},
            "ownerReferences":[{"uid":"00000000-0000-0000-0000-000000000001","controller":true}]}}"#;
        let claim = ClaimView::from_json(json.as_bytes()).unwrap();
        assert_eq!((claim.owner, claim.uid), (Some(Uid(1)), Uid(3)));
        assert_eq!(claim.instance.as_deref(), Some("x2b4c"));
        assert!(!claim.is_terminating && claim.resource_version == 7);
        assert!(ClaimView::from_json(b"{}").is_err());
    }
}
