//! Rules of CloneSets that admission and decisions share. Pure: what is stored elsewhere is handed in.

use serde_json::Value;

use crate::fields::text;

pub mod conversion;
pub mod defaults;
pub mod definition;
pub mod protection;
pub mod scaling;
mod template;
pub mod validation;

/// The API group.
pub const GROUP: &str = "apps.kruise.io";
/// The kind.
pub const KIND: &str = "CloneSet";

/// A version of the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `v1alpha1`: the fields of rolling updates stand directly under `updateStrategy`.
    V1alpha1,
    /// `v1beta1`, which is stored.
    V1beta1,
}

impl Version {
    /// Both, the older first.
    pub const ALL: [Self; 2] = [Self::V1alpha1, Self::V1beta1];

    /// The version that an `apiVersion` names.
    pub fn of(api_version: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|version| version.api_version() == api_version)
    }

    /// The version of a CloneSet; `None` when it is none, or of a version that is not known.
    pub fn of_object(object: &Value) -> Option<Self> {
        Self::of(text(object, "/apiVersion")).filter(|_| text(object, "/kind") == KIND)
    }

    /// `apiVersion` of its objects.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1alpha1 => "apps.kruise.io/v1alpha1",
            Self::V1beta1 => "apps.kruise.io/v1beta1",
        }
    }

    /// Without the group.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1alpha1 => "v1alpha1",
            Self::V1beta1 => "v1beta1",
        }
    }

    /// Where the fields of rolling updates are, as JSON pointer.
    fn rolling(self) -> &'static str {
        match self {
            Self::V1alpha1 => "/spec/updateStrategy",
            Self::V1beta1 => "/spec/updateStrategy/rollingUpdate",
        }
    }

    /// The same as messages name it.
    fn rolling_path(self) -> &'static str {
        match self {
            Self::V1alpha1 => "spec.updateStrategy",
            Self::V1beta1 => "spec.updateStrategy.rollingUpdate",
        }
    }

    /// The field that says how pods are updated, under [`Version::rolling`].
    fn policy(self) -> &'static str {
        match self {
            Self::V1alpha1 => "type",
            Self::V1beta1 => "podUpdatePolicy",
        }
    }
}
