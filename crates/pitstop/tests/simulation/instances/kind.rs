//! The workloads that have instances, and what of a story differs with them.

use pitstop_controller::Controller;
use pitstop_controller::api::Resource;

/// A workload whose pods are instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Pods are interchangeable.
    CloneSet,
    /// Each pod has an ordinal.
    StatefulSet,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::CloneSet => "CloneSet",
            Self::StatefulSet => "StatefulSet",
        }
    }

    /// Where its objects are.
    pub(super) fn collection(self) -> String {
        let plural = self.resource().plural();
        format!("/apis/apps.kruise.io/v1beta1/namespaces/default/{plural}")
    }

    pub(super) fn resource(self) -> Resource {
        match self {
            Self::CloneSet => Resource::CloneSets,
            Self::StatefulSet => Resource::StatefulSets,
        }
    }

    pub(super) fn controller(self) -> Controller {
        match self {
            Self::CloneSet => Controller::CloneSet,
            Self::StatefulSet => Controller::StatefulSet,
        }
    }

    /// What the history consists of.
    pub(super) fn history(self) -> [Resource; 4] {
        [
            Resource::Pods,
            self.resource(),
            Resource::ControllerRevisions,
            Resource::Claims,
        ]
    }
}
