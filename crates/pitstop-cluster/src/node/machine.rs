//! The Node object of a simulated node, and its Lease.
//!
//! Source: embedded-cluster.md 17.1.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pitstop_api::keys;
use pitstop_api::placement::{NO_SCHEDULE, Taint};
use serde_json::{Value, json};

use super::resources::CAPACITY;
use super::status::time;

/// Version that the kubelets report: the one of the embedded API server. Source: embedded-cluster.md 2.
pub const KUBELET_VERSION: &str = "v1.34.2";
/// How long a lease is good for. Units: seconds. Source: embedded-cluster.md 17.1.
const LEASE_SECONDS: i64 = 40;

/// Port of a kubelet. Source: embedded-cluster.md 17.1.
const KUBELET_PORT: u16 = 10250;

/// A simulated node to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    /// Name.
    pub name: String,
    /// Labels beside those of every node.
    pub labels: BTreeMap<String, String>,
    /// Taints.
    pub taints: Vec<Taint>,
}

impl NodeSpec {
    /// A worker.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
        }
    }

    /// A node of the control plane, which ordinary pods do not tolerate.
    pub fn control_plane(name: &str) -> Self {
        Self {
            labels: BTreeMap::from([(keys::NODE_ROLE_CONTROL_PLANE.to_owned(), String::new())]),
            taints: vec![Taint {
                key: keys::NODE_ROLE_CONTROL_PLANE.to_owned(),
                value: String::new(),
                effect: NO_SCHEDULE.to_owned(),
            }],
            ..Self::new(name)
        }
    }

    /// The object that makes a fleet play the node.
    pub fn object(&self) -> Value {
        let mut labels = self.labels.clone();
        labels.insert(keys::HOSTNAME.to_owned(), self.name.clone());
        labels.insert(keys::OS.to_owned(), "linux".to_owned());
        labels.insert(keys::ARCH.to_owned(), "amd64".to_owned());
        let mut spec = json!({});
        if !self.taints.is_empty() {
            spec = json!({ "taints": self.taints });
        }
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": self.name, "labels": labels, "annotations": { keys::SIM_SIMULATED: "true" } },
            "spec": spec,
        })
    }
}

/// The network of the node with this number: `10.244.x.0/24` and on.
pub(super) fn pod_cidr(number: u32) -> String {
    format!(
        "10.{}.{}.0/24",
        244_u32.saturating_add(number / 256) % 256,
        number % 256
    )
}

/// The number of a node by its network.
pub(super) fn number_of(pod_cidr: &str) -> Option<u32> {
    let mut parts = pod_cidr.split('.').skip(1);
    let (high, low): (u32, u32) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(high.checked_sub(244)?.checked_mul(256)?.saturating_add(low))
}

/// The address of the node with this number, in the network that kind clusters use.
pub(super) fn host_ip(number: u32) -> String {
    let n = number.saturating_add(2);
    format!(
        "172.{}.{}.{}",
        18_u32.saturating_add(n / 65_536) % 256,
        n / 256 % 256,
        n % 256
    )
}

/// What the kubelet reports of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) is_ready: bool,
    /// Since when it is, or is not.
    pub(super) since: Timestamp,
    /// Since when it is short of disk; `None`: it is not.
    pub(super) short_of_disk_since: Option<Timestamp>,
}

/// `status` as the kubelet writes it, images that it has in its cache included. `kubelet`: the port of loopback where it
/// is served.
pub(super) fn status(
    name: &str,
    number: u32,
    health: Health,
    images: &[(String, u64)],
    kubelet: Option<u16>,
    now: Timestamp,
) -> Value {
    let condition = |kind: &str, is_so: bool, since: Timestamp, reason: &str, message: &str| {
        json!({
            "type": kind, "status": if is_so { "True" } else { "False" }, "reason": reason, "message": message,
            "lastHeartbeatTime": time(now), "lastTransitionTime": time(since),
        })
    };
    let (reason, message) = match health.short_of_disk_since {
        None => ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        Some(_) => ("KubeletHasDiskPressure", "kubelet has disk pressure"),
    };
    let disk_since = health.short_of_disk_since.unwrap_or(health.since);
    let disk = condition(
        "DiskPressure",
        health.short_of_disk_since.is_some(),
        disk_since,
        reason,
        message,
    );
    let enough = |kind, reason, message| condition(kind, false, health.since, reason, message);
    let (reason, message) = if health.is_ready {
        ("KubeletReady", "kubelet is posting ready status")
    } else {
        (
            "KubeletNotReady",
            "the simulated kubelet was told to be not ready",
        )
    };
    // API servers call kubelets by their host name first: that leads to where they are served.
    let hostname = if kubelet.is_some() { "127.0.0.1" } else { name };
    let mut resources = json!({ "pods": "110", "ephemeral-storage": "100Gi" });
    for (resource, capacity) in CAPACITY {
        resources[resource] = capacity.into();
    }
    let id = format!(
        "{:016x}{:016x}",
        super::hash(name.as_bytes()),
        super::hash(format!("{name}#").as_bytes())
    );
    json!({
        "addresses": [
            { "type": "InternalIP", "address": host_ip(number) },
            { "type": "Hostname", "address": hostname },
        ],
        "capacity": resources,
        "allocatable": resources,
        "conditions": [
            enough("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            disk,
            enough("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", health.is_ready, health.since, reason, message),
        ],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": kubelet.unwrap_or(KUBELET_PORT) } },
        "images": images.iter().map(|(image, size)| json!({ "names": [image], "sizeBytes": size })).collect::<Vec<_>>(),
        "nodeInfo": {
            "architecture": "amd64", "operatingSystem": "linux",
            "bootID": id, "machineID": id, "systemUUID": id,
            "containerRuntimeVersion": "containerd://1.7.27-sim",
            "kernelVersion": "6.1.0-sim", "osImage": "Simulated node (pitstop)",
            "kubeProxyVersion": "", "kubeletVersion": KUBELET_VERSION,
        },
    })
}

/// The Lease of a node.
pub(super) fn lease(name: &str, uid: &str, renewed_at: Timestamp) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": name, "namespace": LEASE_NAMESPACE,
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": name, "uid": uid }],
        },
        "spec": { "holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": micro_time(renewed_at) },
    })
}

/// Where the leases of nodes are.
pub(super) const LEASE_NAMESPACE: &str = "kube-node-lease";

/// A JSON time of microseconds, as Leases have it.
pub(super) fn micro_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_numbers_agree() {
        for (number, cidr) in [
            (0, "10.244.0.0/24"),
            (1, "10.244.1.0/24"),
            (256, "10.245.0.0/24"),
            (999, "10.247.231.0/24"),
        ] {
            assert_eq!(pod_cidr(number), cidr);
            assert_eq!(number_of(cidr), Some(number));
        }
        assert_eq!(host_ip(0), "172.18.0.2");
        assert_eq!(host_ip(300), "172.18.1.46");
    }

    #[test]
    fn leases_have_six_digits_of_a_second() {
        assert_eq!(
            micro_time("2026-01-01T00:00:01.5Z".parse().unwrap()),
            "2026-01-01T00:00:01.500000Z"
        );
    }
}
