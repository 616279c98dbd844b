//! A snapshot as a file: what `pitstop snapshot` writes and `pitstop plan --snapshot` reads.
//!
//! The file holds objects as the API serves them, so that it can be read and written by hand, and decides with the same
//! `plan()`.

use std::sync::Arc;

use jiff::Timestamp;
use pitstop_api::view::{
    CloneSetView, DaemonSetView, JobView, NodeNames, NodeSlot, NodeView, NodeWire, PodView, PodWire,
    RevisionView, StatefulSetView, ViewError,
};
use pitstop_api::{ClaimView, StorageClasses, WorkloadKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{FailedPods, InFlight, Nodes, Pull, Snapshot};
use crate::feature_gates::{Allowed, FeatureGates};
use crate::{cloneset, statefulset};

/// The format that this version writes.
pub const VERSION: u32 = 1;

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotFile {
    /// Format. Range: 1..=[`VERSION`].
    pub version: u32,
    /// When the objects were read.
    pub now: Timestamp,
    /// The workload, under a key that names its kind.
    #[serde(flatten)]
    pub workload: Workload,
    /// ControllerRevisions of its namespace that it controls or that match its selector.
    pub revisions: Vec<Value>,
    /// Pods of its namespace that it controls or that match its selector.
    pub pods: Vec<Value>,
    /// Its claims of volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Value>,
    /// Every class of storage, where a claim is to grow.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "storageClasses")]
    pub classes: Vec<Value>,
    /// Every node.
    pub nodes: Vec<Value>,
    /// When pods of phase Failed were replaced, as far as it is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "failedPods")]
    pub failed_pods: Vec<FailedPodsOf>,
    /// Jobs that pull images for its pods, where images are pulled ahead; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulls: Option<Vec<PullOf>>,
    /// Does the server change the resources of containers that run?
    #[serde(default, rename = "resizesInPlace")]
    pub resizes_in_place: bool,
    /// The feature gates of whoever carries decisions out.
    #[serde(
        default,
        rename = "featureGates",
        skip_serializing_if = "FeatureGates::is_empty"
    )]
    pub gates: FeatureGates,
}

/// The object that a decision is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// An `apps/v1` DaemonSet.
    DaemonSet(Value),
    /// A DaemonSet of `apps.kruise.io`, in the version that is stored.
    AdvancedDaemonSet(Value),
    /// A CloneSet, in the version that is stored.
    CloneSet(Value),
    /// A StatefulSet of `apps.kruise.io`, in the version that is stored.
    StatefulSet(Value),
}

impl Workload {
    /// An object of this kind.
    pub fn of(kind: WorkloadKind, object: Value) -> Self {
        match kind {
            WorkloadKind::DaemonSet => Self::DaemonSet(object),
            WorkloadKind::AdvancedDaemonSet => Self::AdvancedDaemonSet(object),
            WorkloadKind::CloneSet => Self::CloneSet(object),
            WorkloadKind::StatefulSet => Self::StatefulSet(object),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> WorkloadKind {
        match self {
            Self::DaemonSet(_) => WorkloadKind::DaemonSet,
            Self::AdvancedDaemonSet(_) => WorkloadKind::AdvancedDaemonSet,
            Self::CloneSet(_) => WorkloadKind::CloneSet,
            Self::StatefulSet(_) => WorkloadKind::StatefulSet,
        }
    }

    /// The object.
    pub fn object(&self) -> &Value {
        match self {
            Self::DaemonSet(object)
            | Self::AdvancedDaemonSet(object)
            | Self::CloneSet(object)
            | Self::StatefulSet(object) => object,
        }
    }

    /// The object, to be changed.
    pub fn object_mut(&mut self) -> &mut Value {
        match self {
            Self::DaemonSet(object)
            | Self::AdvancedDaemonSet(object)
            | Self::CloneSet(object)
            | Self::StatefulSet(object) => object,
        }
    }
}

/// How often a pod of phase Failed was replaced on a node; see [`FailedPods`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedPodsOf {
    /// Name of the node.
    pub node: String,
    /// `status.observedGeneration` when it was recorded.
    pub generation: i64,
    /// The current delay. Units: seconds. Range: 1..=900.
    pub delay_seconds: u32,
    /// When the last replacement was made.
    pub at: Timestamp,
}

/// A Job that pulls images for a pod; see [`Pull`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PullOf {
    /// The Job.
    pub job: Value,
    /// Its own pods.
    pub pods: Vec<Value>,
}

/// The views of a file, which a [`Snapshot`] borrows.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// When the objects were read.
    pub now: Timestamp,
    /// The workload.
    pub workload: WorkloadView,
    /// Its revisions.
    pub revisions: Vec<RevisionView>,
    /// Its pods.
    pub pods: Vec<PodView>,
    /// Its claims.
    pub claims: Vec<ClaimView>,
    /// The classes of storage.
    pub classes: StorageClasses,
    /// Names and numbers of nodes.
    pub names: NodeNames,
    /// When pods of phase Failed were replaced.
    pub failed_pods: Vec<FailedPods>,
    /// Jobs that pull images, each with its own pods.
    pub pulls: Option<Vec<(JobView, Vec<PodView>)>>,
    nodes: Vec<Option<Arc<NodeView>>>,
    by_name: Vec<NodeSlot>,
    allowed: Allowed,
}

/// The view of a workload.
#[derive(Debug, Clone)]
pub enum WorkloadView {
    /// Of a DaemonSet of either group.
    DaemonSet(Box<DaemonSetView>),
    /// Of a CloneSet.
    CloneSet(Box<CloneSetView>),
    /// Of a StatefulSet.
    StatefulSet(Box<StatefulSetView>),
}

/// What a decision is made from, whatever it is about.
#[derive(Debug, Clone)]
pub enum AnySnapshot<'a> {
    /// For [`crate::daemonset::plan()`].
    DaemonSet(Box<Snapshot<'a>>),
    /// For [`cloneset::plan()`].
    CloneSet(Box<cloneset::Snapshot<'a>>),
    /// For [`statefulset::plan()`].
    StatefulSet(Box<StatefulSnapshot<'a>>),
}

/// What a decision about a StatefulSet is made from, and the nodes, which it does not look at.
#[derive(Debug, Clone)]
pub struct StatefulSnapshot<'a> {
    /// The nodes of the cluster.
    pub nodes: Nodes<'a>,
    /// All else.
    pub decided_on: statefulset::Snapshot<'a>,
}

impl SnapshotFile {
    /// Reads the objects of the file.
    ///
    /// # Errors
    /// The format is newer than [`VERSION`], or an object is malformed.
    pub fn load(&self) -> Result<Loaded, ViewError> {
        if self.version == 0 || self.version > VERSION {
            let problem = format!(
                "{} is not a format that this version reads (1 to {VERSION})",
                self.version
            );
            return Err(ViewError {
                field: "version",
                problem,
            });
        }
        let bytes = |value: &Value| value.to_string().into_bytes();
        let mut names = NodeNames::default();
        let nodes = self
            .nodes
            .iter()
            .map(|node| wire::<NodeWire>("nodes", node)?.view(&mut names));
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        let pods = self
            .pods
            .iter()
            .map(|pod| wire::<PodWire>("pods", pod)?.view(&mut names));
        let pods = pods.collect::<Result<Vec<_>, _>>()?;
        let pulls = self.pulls.as_ref().map(|pulls| {
            let read = |pull: &PullOf| {
                let pods = pull.pods.iter();
                let pods = pods.map(|pod| wire::<PodWire>("pulls", pod)?.view(&mut names));
                let pods = pods.collect::<Result<Vec<_>, _>>()?;
                Ok((JobView::from_json(&bytes(&pull.job))?, pods))
            };
            pulls.iter().map(read).collect::<Result<Vec<_>, ViewError>>()
        });
        let pulls = pulls.transpose()?;
        let failed_pods = self.failed_pods.iter().map(|failed| FailedPods {
            node: names.slot(&failed.node),
            generation: failed.generation,
            delay_seconds: failed.delay_seconds,
            at: failed.at,
        });
        let failed_pods = failed_pods.collect();
        let mut by_slot = vec![None; names.len()];
        for node in nodes {
            let slot = node.slot.index();
            if let Some(place) = by_slot.get_mut(slot) {
                *place = Some(Arc::new(node));
            }
        }
        let mut present: Vec<&Arc<NodeView>> = by_slot.iter().flatten().collect();
        present.sort_by(|a, b| a.name.cmp(&b.name));
        let by_name = present.into_iter().map(|node| node.slot).collect();
        Ok(Loaded {
            now: self.now,
            workload: match &self.workload {
                Workload::DaemonSet(object) => {
                    WorkloadView::DaemonSet(Box::new(DaemonSetView::from_json(&bytes(object))?))
                }
                Workload::AdvancedDaemonSet(object) => {
                    let view = DaemonSetView::advanced_from_json(&bytes(object))?;
                    WorkloadView::DaemonSet(Box::new(view))
                }
                Workload::CloneSet(object) => {
                    WorkloadView::CloneSet(Box::new(CloneSetView::from_json(&bytes(object))?))
                }
                Workload::StatefulSet(object) => {
                    WorkloadView::StatefulSet(Box::new(StatefulSetView::from_json(&bytes(object))?))
                }
            },
            revisions: self
                .revisions
                .iter()
                .map(|r| RevisionView::from_json(&bytes(r)))
                .collect::<Result<_, _>>()?,
            pods,
            claims: self
                .claims
                .iter()
                .map(|claim| ClaimView::from_json(&bytes(claim)))
                .collect::<Result<_, _>>()?,
            classes: StorageClasses::of(&self.classes),
            names,
            failed_pods,
            pulls,
            nodes: by_slot,
            by_name,
            allowed: self.allowed(),
        })
    }

    fn allowed(&self) -> Allowed {
        let mut allowed = Allowed::default();
        self.gates.apply(&mut allowed);
        allowed.clonesets.in_place.vertical_scaling = self.resizes_in_place;
        allowed.statefulsets.in_place.vertical_scaling = self.resizes_in_place;
        allowed
    }
}

fn wire<T: serde::de::DeserializeOwned>(field: &'static str, value: &Value) -> Result<T, ViewError> {
    T::deserialize(value).map_err(|e| ViewError {
        field,
        problem: e.to_string(),
    })
}

impl Loaded {
    /// The snapshot of these objects.
    pub fn snapshot(&self) -> AnySnapshot<'_> {
        let nodes = Nodes {
            names: &self.names,
            by_slot: &self.nodes,
            by_name: &self.by_name,
        };
        let revisions = self.revisions.iter().collect();
        let pods: Vec<&PodView> = self.pods.iter().collect();
        match &self.workload {
            WorkloadView::DaemonSet(daemonset) => AnySnapshot::DaemonSet(Box::new(Snapshot {
                now: self.now,
                daemonset,
                revisions,
                pods,
                nodes,
                in_flight: InFlight::default(),
                failed_pods: &self.failed_pods,
                pulls: self.pulls.as_ref().map(|pulls| {
                    let pulls = pulls.iter();
                    pulls.map(|(job, pods)| Pull::of(job, pods)).collect()
                }),
                may_adopt: true,
            })),
            WorkloadView::CloneSet(cloneset) => AnySnapshot::CloneSet(Box::new(cloneset::Snapshot {
                now: self.now,
                cloneset,
                revisions,
                pods: pods
                    .into_iter()
                    .filter(|pod| {
                        pod.controller
                            .as_ref()
                            .is_some_and(|owner| owner.uid == cloneset.uid)
                    })
                    .collect(),
                claims: self.claims.iter().collect(),
                nodes,
                in_flight: cloneset::InFlight::default(),
                features: self.allowed.clonesets,
                // Instance ids of pods that would be created are made up anyway.
                seed: 0,
                failures: cloneset::Failures::default(),
            })),
            WorkloadView::StatefulSet(set) => AnySnapshot::StatefulSet(Box::new(StatefulSnapshot {
                nodes,
                decided_on: statefulset::Snapshot {
                    now: self.now,
                    set,
                    revisions,
                    arbiter: statefulset::ArbiterAnswers::reported(set, &pods, self.now),
                    pods,
                    claims: self.claims.iter().collect(),
                    classes: self.classes.clone(),
                    in_flight: statefulset::InFlight::default(),
                    features: self.allowed.statefulsets,
                    failures: statefulset::Failures::default(),
                    may_adopt: true,
                },
            })),
        }
    }
}
