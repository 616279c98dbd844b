//! Rules of StatefulSets of `apps.kruise.io` that admission and decisions share. Pure: what is stored elsewhere is handed in.

/// The API group.
pub const GROUP: &str = "apps.kruise.io";
/// The kind.
pub const KIND: &str = "StatefulSet";
