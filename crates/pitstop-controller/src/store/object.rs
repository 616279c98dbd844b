//! From the wire to lean objects.

use std::borrow::Cow;
use std::sync::Arc;

use pitstop_api::ClaimView;
use pitstop_api::view::{
    CloneSetView, DaemonSetView, ImagePullJobView, JobView, MetaWire, NodeImageView, NodeView, NodeWire,
    PodView, PodWire, RevisionView, StatefulSetView, Uid, ViewError,
};
use serde::Deserialize;
use serde_json::Value;

use super::change::Key;
use crate::api::Resource;

/// An object as decoded, before the names of nodes are numbered and strings are shared. Decoding needs no lock.
#[derive(Debug)]
pub enum Wire {
    /// A DaemonSet.
    DaemonSet(Box<DaemonSetView>),
    /// A pod.
    Pod(Box<PodWire>),
    /// A node.
    Node(Box<NodeWire>),
    /// A ControllerRevision and its namespace.
    Revision(String, Box<RevisionView>),
    /// A Job.
    Job(Box<JobView>),
    /// A CloneSet.
    CloneSet(Box<CloneSetView>),
    /// A StatefulSet of `apps.kruise.io`.
    StatefulSet(Box<StatefulSetView>),
    /// A claim of a volume.
    Claim(Box<ClaimView>),
    /// An ImagePullJob.
    ImagePullJob(Box<ImagePullJobView>),
    /// A NodeImage.
    NodeImage(Box<NodeImageView>),
    /// It cannot be read.
    Unreadable(Identity),
}

/// An object as stored.
#[derive(Debug)]
pub enum Object {
    /// A DaemonSet.
    DaemonSet(Arc<DaemonSetView>),
    /// A pod.
    Pod(Box<PodView>),
    /// A node.
    Node(Arc<NodeView>),
    /// A ControllerRevision and its namespace.
    Revision(Key, Arc<RevisionView>),
    /// A Job.
    Job(Arc<JobView>),
    /// A CloneSet.
    CloneSet(Arc<CloneSetView>),
    /// A StatefulSet of `apps.kruise.io`.
    StatefulSet(Arc<StatefulSetView>),
    /// A claim of a volume.
    Claim(Arc<ClaimView>),
    /// An ImagePullJob.
    ImagePullJob(Arc<ImagePullJobView>),
    /// A NodeImage.
    NodeImage(Arc<NodeImageView>),
    /// It cannot be read.
    Unreadable(Identity),
}

/// What can be told about an object that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its kind.
    pub resource: Resource,
    /// Namespace, empty where there is none.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: Option<Uid>,
    /// The owner with `controller: true`.
    pub controller: Option<Uid>,
    /// Its version.
    pub version: u64,
    /// What is wrong with it.
    pub problem: String,
}

impl Wire {
    /// Reads an object as the API serves it. One that cannot be read still says whose it is, as far as can be told.
    pub fn decode(resource: Resource, json: &[u8]) -> Self {
        let read = || -> Result<Self, ViewError> {
            Ok(match resource {
                Resource::DaemonSets => Self::DaemonSet(Box::new(DaemonSetView::from_json(json)?)),
                Resource::AdvancedDaemonSets => {
                    Self::DaemonSet(Box::new(DaemonSetView::advanced_from_json(json)?))
                }
                Resource::Pods => Self::Pod(parse(json, "Pod")?),
                Resource::Nodes => Self::Node(parse(json, "Node")?),
                Resource::ControllerRevisions => {
                    let Namespaced { metadata } = *parse(json, "ControllerRevision")?;
                    Self::Revision(metadata.namespace, Box::new(RevisionView::from_json(json)?))
                }
                Resource::Jobs => Self::Job(Box::new(JobView::from_json(json)?)),
                Resource::CloneSets => Self::CloneSet(Box::new(CloneSetView::from_json(json)?)),
                Resource::StatefulSets => Self::StatefulSet(Box::new(StatefulSetView::from_json(json)?)),
                Resource::Claims => Self::Claim(Box::new(ClaimView::from_json(json)?)),
                Resource::ImagePullJobs => Self::ImagePullJob(Box::new(ImagePullJobView::from_json(json)?)),
                Resource::NodeImages => Self::NodeImage(Box::new(NodeImageView::from_json(json)?)),
                Resource::Events
                | Resource::Leases
                | Resource::Secrets
                | Resource::Services
                | Resource::StorageClasses => {
                    return Err(ViewError {
                        field: "kind",
                        problem: format!("{} are not stored", resource.plural()),
                    });
                }
            })
        };
        read().unwrap_or_else(|e| Self::Unreadable(Identity::of(resource, json, e.to_string())))
    }
}

/// A watch event about an object that can be read.
#[derive(Debug)]
pub(super) struct WatchEvent {
    /// The object.
    pub(super) wire: Wire,
    /// Is it gone?
    pub(super) is_deleted: bool,
    /// Its version, as the server wrote it.
    pub(super) version: String,
}

impl WatchEvent {
    /// Reads a line of a watch in one pass, for the kinds that change often.
    ///
    /// `None`: it is another kind, no event about an object, or cannot be read so. Whoever asks looks closer then.
    pub(super) fn read(resource: Resource, line: &[u8]) -> Option<Self> {
        let (kind, wire, version) = match resource {
            Resource::Pods => {
                let Typed::<PodWire> { kind, object } = serde_json::from_slice(line).ok()?;
                let version = object.metadata.resource_version.clone();
                (kind, Wire::Pod(object), version)
            }
            Resource::Nodes => {
                let Typed::<NodeWire> { kind, object } = serde_json::from_slice(line).ok()?;
                let version = object.metadata.resource_version.clone();
                (kind, Wire::Node(object), version)
            }
            Resource::DaemonSets
            | Resource::AdvancedDaemonSets
            | Resource::ControllerRevisions
            | Resource::Events
            | Resource::Leases
            | Resource::Jobs
            | Resource::CloneSets
            | Resource::StatefulSets
            | Resource::Claims
            | Resource::ImagePullJobs
            | Resource::NodeImages
            | Resource::Secrets
            | Resource::Services
            | Resource::StorageClasses => return None,
        };
        let is_deleted = match kind.as_ref() {
            "ADDED" | "MODIFIED" => false,
            "DELETED" => true,
            _ => return None,
        };
        (!version.is_empty()).then_some(Self {
            wire,
            is_deleted,
            version,
        })
    }
}

#[derive(Deserialize)]
struct Typed<'a, T> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    object: Box<T>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Namespaced {
    metadata: MetaWire,
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8], field: &'static str) -> Result<Box<T>, ViewError> {
    serde_json::from_slice(json).map(Box::new).map_err(|e| ViewError {
        field,
        problem: e.to_string(),
    })
}

impl Object {
    /// The object's version; 0 when it cannot be told.
    pub fn version(&self) -> u64 {
        match self {
            Self::DaemonSet(view) => view.resource_version,
            Self::Pod(view) => view.resource_version,
            Self::Node(view) => view.resource_version,
            Self::Revision(_, view) => view.resource_version,
            Self::Job(view) => view.resource_version,
            Self::CloneSet(view) => view.resource_version,
            Self::StatefulSet(view) => view.resource_version,
            Self::Claim(view) => view.resource_version,
            Self::ImagePullJob(view) => view.resource_version,
            Self::NodeImage(view) => view.resource_version,
            Self::Unreadable(identity) => identity.version,
        }
    }
}

impl Identity {
    /// What can be told about an object that is JSON, but not what it should be.
    pub(super) fn of(resource: Resource, json: &[u8], problem: String) -> Self {
        let value: Value = serde_json::from_slice(json).unwrap_or_default();
        let text = |pointer: &str| {
            value
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let controller = value
            .pointer("/metadata/ownerReferences")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .find(|owner| owner.get("controller") == Some(&Value::Bool(true)))
            .and_then(|owner| owner.get("uid")?.as_str());
        Self {
            resource,
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
            uid: Uid::parse(&text("/metadata/uid")),
            controller: controller.and_then(Uid::parse),
            version: text("/metadata/resourceVersion").parse().unwrap_or_default(),
            problem,
        }
    }
}
