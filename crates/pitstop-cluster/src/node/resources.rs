//! Cpu and memory of containers: what runs, what is asked for, and what a node cannot give.
//!
//! Source: inplace.md 1.3; embedded-cluster.md 18, `/resize`.

use std::collections::BTreeMap;
use std::time::Duration;

use pitstop_api::quantity;
use serde::{Deserialize, Serialize};

/// From a change of the object until the runtime has carried it out.
pub(super) const DELAY: Duration = Duration::from_millis(200);
/// What a node has.
pub(super) const CAPACITY: [(&str, &str); 2] = [("cpu", "4"), ("memory", "16Gi")];

/// `resources` of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Resources {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    limits: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    requests: BTreeMap<String, String>,
}

impl Resources {
    pub(super) fn is_empty(&self) -> bool {
        self.limits.is_empty() && self.requests.is_empty()
    }

    /// What the kubelet has set aside: the requests.
    pub(super) fn allocated(&self) -> &BTreeMap<String, String> {
        &self.requests
    }

    fn differs(&self, other: &Self, resource: &str) -> bool {
        self.limits.get(resource) != other.limits.get(resource)
            || self.requests.get(resource) != other.requests.get(resource)
    }
}

/// One entry of `resizePolicy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ResizePolicy {
    resource_name: String,
    restart_policy: String,
}

/// Must the container be started again to come from one to the other?
pub(super) fn restarts(policies: &[ResizePolicy], from: &Resources, to: &Resources) -> bool {
    let restarting = policies
        .iter()
        .filter(|policy| policy.restart_policy == "RestartContainer");
    restarting
        .into_iter()
        .any(|policy| from.differs(to, &policy.resource_name))
}

/// What containers ask for beyond what a node has, in the words of a kubelet; nothing if it fits.
pub(super) fn beyond_capacity(containers: &[&Resources]) -> Option<String> {
    CAPACITY.into_iter().find_map(|(resource, capacity)| {
        let wanted = containers
            .iter()
            .filter_map(|container| container.requests.get(resource));
        let wanted: i128 = wanted.filter_map(|text| quantity::value(text)).sum();
        let capacity = quantity::value(capacity)?;
        // Billionths to thousandths of a core, or to bytes.
        let unit = if resource == "cpu" {
            1_000_000
        } else {
            1_000_000_000
        };
        (wanted > capacity).then(|| {
            let (wanted, capacity) = (wanted / unit, capacity / unit);
            format!("Node didn't have enough capacity: {resource}, requested: {wanted}, capacity: {capacity}")
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resources(cpu: &str, memory: &str) -> Resources {
        serde_json::from_value(json!({"requests": {"cpu": cpu, "memory": memory}})).unwrap()
    }

    /// inplace.md 1.3.
    #[test]
    fn a_policy_may_ask_for_a_restart() {
        let policies: Vec<ResizePolicy> = serde_json::from_value(json!([
            {"resourceName": "cpu", "restartPolicy": "NotRequired"},
            {"resourceName": "memory", "restartPolicy": "RestartContainer"},
        ]))
        .unwrap();
        let before = resources("1", "1Gi");
        assert!(!restarts(&policies, &before, &resources("2", "1Gi")));
        assert!(restarts(&policies, &before, &resources("1", "2Gi")));
        assert!(!restarts(&[], &before, &resources("2", "2Gi")));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let all = [resources("3500m", "1Gi"), resources("501m", "1Gi")];
        assert_eq!(
            beyond_capacity(&[&all[0], &all[1]]).as_deref(),
            Some("Node didn't have enough capacity: cpu, requested: 4001, capacity: 4000")
        );
        assert_eq!(beyond_capacity(&[&all[0]]), None);
    }
}
