//! Claims, volumes and classes, as far as their controllers read them.

use std::collections::BTreeMap;

use pitstop_api::placement::{NodeSelector, NodeSelectorTerm};
use pitstop_api::quantity;
use pitstop_api::selector::LabelSelector;
use pitstop_api::storage::DEFAULT_CLASS;
use pitstop_api::view::MetaWire;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::writes::Write;
use super::Key;
use crate::informer::Object;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Claim {
    pub(super) metadata: MetaWire,
    pub(super) spec: ClaimSpec,
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ClaimSpec {
    pub(super) access_modes: Vec<String>,
    pub(super) resources: Resources,
    pub(super) selector: Option<LabelSelector>,
    /// `None`: whatever is the default.
    pub(super) storage_class_name: Option<String>,
    pub(super) volume_mode: String,
    pub(super) volume_name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Resources {
    pub(super) requests: Storage,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Storage {
    pub(super) storage: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) phase: String,
    pub(super) capacity: Storage,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Volume {
    pub(super) metadata: MetaWire,
    pub(super) spec: VolumeSpec,
    pub(super) status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct VolumeSpec {
    pub(super) access_modes: Vec<String>,
    pub(super) capacity: BTreeMap<String, String>,
    pub(super) claim_ref: Option<Reference>,
    node_affinity: NodeAffinity,
    pub(super) persistent_volume_reclaim_policy: String,
    storage_class_name: String,
    volume_mode: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct NodeAffinity {
    required: NodeSelector,
}

/// The claim of a volume. Without a uid it is only reserved for it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reference {
    namespace: String,
    name: String,
    pub(super) uid: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in super::super) struct Class {
    pub(super) metadata: MetaWire,
    pub(super) provisioner: String,
    pub(super) reclaim_policy: String,
    volume_binding_mode: String,
    allow_volume_expansion: bool,
}

impl Object for Claim {
    fn meta(&self) -> &MetaWire {
        &self.metadata
    }
}

impl Object for Volume {
    fn meta(&self) -> &MetaWire {
        &self.metadata
    }
}

impl Object for Class {
    fn meta(&self) -> &MetaWire {
        &self.metadata
    }
}

impl Claim {
    pub(super) fn key(&self) -> Key {
        (self.metadata.namespace.clone(), self.metadata.name.clone())
    }

    pub(super) fn is_bound(&self) -> bool {
        self.status.phase == "Bound"
    }

    /// Has it less than it asks for? Nothing of it is known before it is bound.
    pub(super) fn is_too_small(&self) -> bool {
        let asked = quantity::value(&self.spec.resources.requests.storage);
        let has = quantity::value(&self.status.capacity.storage);
        has.is_some() && has < asked
    }

    /// How a volume names it.
    pub(super) fn reference(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": self.metadata.namespace,
            "name": self.metadata.name, "uid": self.metadata.uid,
        })
    }

    /// Changes this claim, and no other of its name.
    pub(super) fn patch(&self, subresource: &str, patch: Value) -> Write {
        let path = format!(
            "/api/v1/namespaces/{}/persistentvolumeclaims/{}{subresource}",
            self.metadata.namespace, self.metadata.name
        );
        Write::merge(path, of(&self.metadata, patch))
    }
}

impl Volume {
    pub(super) fn path(&self) -> String {
        format!("/api/v1/persistentvolumes/{}", self.metadata.name)
    }

    /// Changes this volume, and no other of its name.
    pub(super) fn patch(&self, subresource: &str, patch: Value) -> Write {
        Write::merge(format!("{}{subresource}", self.path()), of(&self.metadata, patch))
    }

    pub(super) fn claimed_by(&self) -> Option<Key> {
        let claim = self.spec.claim_ref.as_ref()?;
        Some((claim.namespace.clone(), claim.name.clone()))
    }

    /// Does it name this claim, or nobody?
    pub(super) fn is_free_for(&self, claim: &Claim) -> bool {
        self.metadata.deletion_timestamp.is_none()
            && (self.spec.claim_ref.is_none() || self.is_reserved_for(claim))
    }

    pub(super) fn is_reserved_for(&self, claim: &Claim) -> bool {
        self.spec.claim_ref.as_ref().is_some_and(|reference| {
            (&reference.namespace, &reference.name) == (&claim.metadata.namespace, &claim.metadata.name)
                && (reference.uid.is_empty() || reference.uid == claim.metadata.uid)
        })
    }

    /// Has it what a claim asks for, and is it nobody's?
    pub(super) fn suits(&self, claim: &Claim) -> bool {
        let spec = &claim.spec;
        let selected = spec.selector.as_ref().is_none_or(|selector| {
            selector
                .selector()
                .is_some_and(|selector| selector.matches(&self.metadata.labels))
        });
        let asked = quantity::value(&spec.resources.requests.storage);
        self.spec.claim_ref.is_none()
            && self.metadata.deletion_timestamp.is_none()
            && selected
            && self.spec.storage_class_name == spec.storage_class_name.as_deref().unwrap_or_default()
            && self.spec.volume_mode == spec.volume_mode
            && spec
                .access_modes
                .iter()
                .all(|mode| self.spec.access_modes.contains(mode))
            && self.size() >= asked
    }

    /// In billionths of a byte.
    pub(super) fn size(&self) -> Option<i128> {
        quantity::value(self.spec.capacity.get("storage")?)
    }

    /// The terms that a node has to match one of; empty for every node.
    pub(super) fn reachable_from(&self) -> Vec<NodeSelectorTerm> {
        self.spec.node_affinity.required.node_selector_terms.clone()
    }
}

impl Class {
    pub(super) fn is_default(&self) -> bool {
        self.metadata.annotations.get(DEFAULT_CLASS).map(String::as_str) == Some("true")
    }

    /// May its claims ask for more than they have?
    pub(super) fn expands(&self) -> bool {
        self.allow_volume_expansion
    }

    /// Do its claims get their volumes only when a pod uses them?
    pub(super) fn waits_for_pod(&self) -> bool {
        self.volume_binding_mode == "WaitForFirstConsumer"
    }
}

/// A patch of the object with this uid and no other.
fn of(meta: &MetaWire, mut patch: Value) -> Value {
    if let Some(patch) = patch.as_object_mut() {
        let metadata = patch.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("uid".to_owned(), meta.uid.as_str().into());
        }
    }
    patch
}
