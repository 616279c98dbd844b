//! A history as data.

use std::fmt;

use pitstop_api::keys;
use serde_json::Value;

/// What a history is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    DaemonSet,
    Deployment,
    Job,
    Garbage,
}

impl Topic {
    /// The topics take turns; the workloads that roll come twice as often.
    pub(crate) fn of(seed: u64) -> Self {
        match seed % 6 {
            0 | 3 => Self::DaemonSet,
            1 | 4 => Self::Deployment,
            2 => Self::Job,
            _ => Self::Garbage,
        }
    }
}

/// Edits in order. Both sides come to rest after each step.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) seed: u64,
    pub(crate) topic: Topic,
    pub(crate) n_nodes: usize,
    pub(crate) steps: Vec<Vec<Edit>>,
}

/// What becomes of the dependents of an object that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cascade {
    Background,
    Foreground,
    Orphan,
}

/// Which pod or node is meant. Both servers may have it under another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// The one of this number.
    Number(usize),
    /// In the order of what is true of them.
    Place(usize),
}

/// One edit. In its values, `$(uid:NAME)` is the uid of the object that this history has made under that name last.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Edit {
    Create {
        plural: &'static str,
        object: Value,
    },
    Patch {
        plural: &'static str,
        name: String,
        patch: Value,
    },
    Delete {
        plural: &'static str,
        name: String,
        cascade: Cascade,
    },
    DeletePod(usize),
    PatchPod(usize, Value),
    /// All pods lose the finalizer that holds them.
    ReleasePods,
    PatchNode(Which, Value),
    /// Taken out of the cluster, with the pods that were on it.
    RemoveNode(Which),
    /// The nodes that were removed come back.
    RestoreNodes,
    /// All nodes are as they were made.
    ResetNodes,
}

impl Edit {
    /// Is it about the workload itself? Of two such edits at once, a controller may see the first one or not.
    pub(crate) fn is_of_workload(&self) -> bool {
        matches!(
            self,
            Self::Create { .. } | Self::Patch { .. } | Self::Delete { .. }
        )
    }

    /// Does it take the network of a node?
    pub(crate) fn cuts_off(&self) -> bool {
        match self {
            Self::PatchNode(_, patch) => patch["metadata"]["annotations"].get(keys::SIM_NETWORK).is_some(),
            _ => false,
        }
    }

    /// Is it something else than a wish for a workload, which its controller fulfils at its own pace?
    pub(crate) fn disturbs(&self) -> bool {
        match self {
            Self::Patch { patch, .. } => {
                let placement = ["nodeSelector", "tolerations"];
                let spec = &patch["spec"]["template"]["spec"];
                placement.iter().any(|field| spec.get(field).is_some())
            }
            _ => true,
        }
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { plural, object } => write!(f, "create {plural} {object}"),
            Self::Patch { plural, name, patch } => write!(f, "patch {plural}/{name} {patch}"),
            Self::Delete {
                plural,
                name,
                cascade,
            } => write!(f, "delete {plural}/{name} {cascade:?}"),
            Self::DeletePod(place) => write!(f, "delete pod {place}"),
            Self::PatchPod(place, patch) => write!(f, "patch pod {place} {patch}"),
            Self::ReleasePods => f.write_str("release pods"),
            Self::PatchNode(which, patch) => write!(f, "patch node {which:?} {patch}"),
            Self::RemoveNode(which) => write!(f, "remove node {which:?}"),
            Self::RestoreNodes => f.write_str("restore nodes"),
            Self::ResetNodes => f.write_str("reset nodes"),
        }
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {:?}, {} nodes", self.seed, self.topic, self.n_nodes)?;
        for (number, step) in self.steps.iter().enumerate() {
            for edit in step {
                writeln!(f, "  {number}: {edit}")?;
            }
        }
        Ok(())
    }
}
