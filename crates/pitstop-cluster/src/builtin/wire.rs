//! Objects as far as the built-in controllers read them.

use jiff::Timestamp;
use pitstop_api::placement::{Affinity, NodeConstraints, Taint, Toleration};
use pitstop_api::selector::Labels;
use pitstop_api::view::MetaWire;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::alike::{Alike, Common, Pool, Word};
use crate::informer::{Form, Object};

/// What every object has, but for its labels and annotations.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    pub(super) metadata: MetaWire,
}

impl Object for Meta {
    const FORM: Form = Form::Metadata;

    fn meta(&self) -> &MetaWire {
        &self.metadata
    }

    fn trim(&mut self) {
        self.metadata.labels = Labels::new();
        self.metadata.annotations = Labels::new();
    }
}

/// A pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pod {
    pub(super) metadata: MetaWire,
    pub(super) spec: PodSpec,
    pub(super) status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodSpec {
    pub(super) node_name: String,
    pub(super) scheduler_name: String,
    pub(super) scheduling_gates: Vec<Value>,
    pub(super) node_selector: Labels,
    pub(super) affinity: Option<Affinity>,
    pub(super) tolerations: Alike<Vec<Toleration>>,
    pub(super) containers: Alike<Vec<Container>>,
    pub(super) init_containers: Alike<Vec<Container>>,
    /// Names of the claims that it uses.
    #[serde(rename = "volumes", deserialize_with = "claims")]
    pub(super) claims: Vec<String>,
}

/// The claims among a pod's volumes.
fn claims<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Volume {
        persistent_volume_claim: Option<Source>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Source {
        claim_name: String,
    }
    let volumes = Option::<Vec<Volume>>::deserialize(deserializer)?.unwrap_or_default();
    let claims = volumes
        .into_iter()
        .filter_map(|volume| volume.persistent_volume_claim);
    Ok(claims.map(|claim| claim.claim_name).collect())
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Container {
    pub(super) resources: Resources,
    pub(super) ports: Vec<Port>,
    pub(super) restart_policy: String,
}

impl Common for Vec<Container> {
    fn pool() -> &'static Pool<Self> {
        static POOL: Pool<Vec<Container>> = Pool::new();
        &POOL
    }
}

/// A port of a container; it matters when it is a port of the node as well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Port {
    pub(super) name: String,
    /// The port that the container listens on.
    #[serde(rename = "containerPort")]
    pub(super) inside: i64,
    /// The port of the node, zero for none.
    #[serde(rename = "hostPort")]
    pub(super) number: i64,
    #[serde(rename = "hostIP")]
    pub(super) host_ip: String,
    pub(super) protocol: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
pub(super) struct Resources {
    pub(super) requests: Quantities,
}

/// Amounts by name, as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
pub(super) struct Quantities {
    pub(super) cpu: String,
    pub(super) memory: String,
    pub(super) pods: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) phase: String,
    pub(super) conditions: Vec<Condition>,
    pub(super) allocatable: Quantities,
    #[serde(rename = "podIPs")]
    pub(super) pod_ips: Vec<PodIp>,
    #[serde(rename = "containerStatuses")]
    pub(super) container_statuses: Vec<ContainerStatus>,
}

/// One address of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct PodIp {
    pub(super) ip: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerStatus {
    pub(super) restart_count: i64,
    pub(super) state: ContainerState,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct ContainerState {
    pub(super) terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Terminated {
    pub(super) finished_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: Word,
    pub(super) status: Word,
    pub(super) last_heartbeat_time: Option<Timestamp>,
    pub(super) last_transition_time: Option<Timestamp>,
}

impl Status {
    /// The status of a condition, if it is there.
    pub(super) fn condition(&self, kind: &str) -> Option<&str> {
        self.conditions
            .iter()
            .find(|c| c.kind == kind)
            .map(|c| c.status.as_str())
    }
}

impl Pod {
    /// Where it may run.
    pub(super) fn placement(&self) -> NodeConstraints {
        NodeConstraints {
            node_name: None,
            node_selector: self.spec.node_selector.clone(),
            affinity: self.spec.affinity.clone(),
            tolerations: self.spec.tolerations.to_vec(),
            host_network: false,
        }
    }

    /// Since when it is ready; `None` if it is not.
    pub(super) fn ready_since(&self) -> Option<Timestamp> {
        let ready = self.status.conditions.iter().find(|c| c.kind == "Ready")?;
        (ready.status == "True").then_some(ready.last_transition_time.unwrap_or_default())
    }

    /// Has it come to its end?
    pub(super) fn is_terminal(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// `namespace/name`.
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }

    /// Its URL.
    pub(super) fn path(&self) -> String {
        format!(
            "/api/v1/namespaces/{}/pods/{}",
            self.metadata.namespace, self.metadata.name
        )
    }
}

impl Object for Pod {
    fn meta(&self) -> &MetaWire {
        &self.metadata
    }

    /// Where a pod may run is of no interest once it is somewhere.
    fn trim(&mut self) {
        if !self.spec.node_name.is_empty() {
            self.spec.affinity = None;
            self.spec.node_selector = Labels::new();
        }
    }
}

/// A node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    pub(super) metadata: MetaWire,
    pub(super) spec: NodeSpec,
    pub(super) status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeSpec {
    pub(super) taints: Vec<TaintAt>,
    pub(super) unschedulable: bool,
}

/// A taint that is written back as it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct TaintAt {
    #[serde(flatten)]
    pub(super) taint: Taint,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) time_added: Option<Timestamp>,
}

impl Object for Node {
    fn meta(&self) -> &MetaWire {
        &self.metadata
    }
}

/// A Lease of a node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Lease {
    pub(super) metadata: MetaWire,
    pub(super) spec: LeaseSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct LeaseSpec {
    pub(super) renew_time: String,
}

impl Object for Lease {
    fn meta(&self) -> &MetaWire {
        &self.metadata
    }
}

/// A namespace.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Namespace {
    pub(super) metadata: MetaWire,
    pub(super) spec: NamespaceSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NamespaceSpec {
    pub(super) finalizers: Vec<String>,
}

impl Object for Namespace {
    fn meta(&self) -> &MetaWire {
        &self.metadata
    }
}
