//! Claims of volumes as decisions see them.

use std::sync::Arc;

use serde::Deserialize;

use crate::keys;
use crate::view::{MetaWire, OwnerWire, Uid, ViewError};

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
