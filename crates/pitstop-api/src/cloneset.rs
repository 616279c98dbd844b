//! Rules of CloneSets that admission and decisions share. Pure: what is stored elsewhere is handed in.

pub mod conversion;
pub mod defaults;
pub mod definition;
pub mod scaling;
pub mod validation;

pub use crate::kruise::{GROUP, Version, protection};

/// The kind.
pub const KIND: &str = "CloneSet";

/// Where fields are in each version: in `v1alpha1` those of rolling updates stand directly under `updateStrategy`.
impl Version {
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
