//! Rules of DaemonSets of `apps.kruise.io` that admission and decisions share. Pure: what is stored elsewhere is handed in.

pub mod conversion;
pub mod defaults;
pub mod definition;
pub mod validation;

pub use crate::kruise::{GROUP, Version};

/// The kind.
pub const KIND: &str = "DaemonSet";
