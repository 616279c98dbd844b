//! Hooks that a workload lets users hold its pods with.

use std::sync::Arc;

use serde::Deserialize;

use crate::selector::Labels;

/// `spec.lifecycle`: what has to be on a pod, or off it, before it goes on. Source: inplace.md 7.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Lifecycle {
    /// Before a pod is deleted.
    pub pre_delete: Option<LifecycleHook>,
    /// Before a pod is updated in place, and after.
    pub in_place_update: Option<LifecycleHook>,
    /// Before a new pod counts.
    pub pre_normal: Option<LifecycleHook>,
}

/// One hook: it holds a pod that carries one of these labels, with this value, or one of these finalizers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LifecycleHook {
    /// `labelsHandler`.
    #[serde(rename = "labelsHandler")]
    pub labels: Labels,
    /// `finalizersHandler`.
    #[serde(rename = "finalizersHandler")]
    pub finalizers: Vec<Arc<str>>,
    /// `markPodNotReady`: is a pod that it holds taken out of service? Without effect on `preNormal`.
    #[serde(rename = "markPodNotReady")]
    pub marks_not_ready: bool,
}
