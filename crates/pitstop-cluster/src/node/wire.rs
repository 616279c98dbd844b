//! Pods and nodes as far as simulated nodes read them.

use std::time::Duration;

use jiff::Timestamp;
use pitstop_api::keys;
use pitstop_api::placement::Taint;
use pitstop_api::selector::Labels;
use pitstop_api::view::MetaWire;
use serde::Deserialize;

use super::resources::{ResizePolicy, Resources};
use crate::alike::{Alike, Common, Pool, Word};
use crate::informer::Object;

/// A pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodObject {
    pub(super) metadata: MetaWire,
    pub(super) spec: PodSpec,
    pub(super) status: PodStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodSpec {
    pub(super) node_name: String,
    service_account_name: String,
    pub(super) restart_policy: String,
    pub(super) host_network: bool,
    pub(super) hostname: String,
    pub(super) containers: Vec<Alike<ContainerSpec>>,
    pub(super) init_containers: Vec<Alike<ContainerSpec>>,
    pub(super) ephemeral_containers: Vec<Alike<ContainerSpec>>,
    pub(super) readiness_gates: Vec<Gate>,
    pub(super) termination_grace_period_seconds: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerSpec {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) image_pull_policy: String,
    pub(super) restart_policy: String,
    pub(super) command: Vec<String>,
    pub(super) env: Vec<Variable>,
    pub(super) readiness_probe: Option<Probe>,
    pub(super) resources: Resources,
    pub(super) resize_policy: Vec<ResizePolicy>,
}

impl Common for ContainerSpec {
    fn pool() -> &'static Pool<Self> {
        static POOL: Pool<ContainerSpec> = Pool::new();
        &POOL
    }
}

/// A variable; one whose value comes from other objects has none here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
    value_from: Option<Source>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Source {
    field_ref: Option<FieldRef>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FieldRef {
    field_path: String,
}

impl Variable {
    /// The field of the pod that it shows.
    pub(super) fn field(&self) -> Option<&str> {
        let source = self.value_from.as_ref()?.field_ref.as_ref()?;
        Some(&source.field_path)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Probe {
    initial_delay_seconds: u32,
    period_seconds: u32,
    success_threshold: u32,
    failure_threshold: u32,
}

impl Probe {
    /// How long it takes at most until a kubelet acts on what became of the probe: so many runs in a row must agree.
    pub(super) fn delay(&self, succeeds: bool) -> Duration {
        let runs = if succeeds {
            self.success_threshold
        } else {
            self.failure_threshold
        };
        Duration::from_secs(u64::from(self.period_seconds)) * runs
    }
}

impl ContainerSpec {
    /// Units: seconds.
    pub(super) fn initial_delay(&self) -> u64 {
        self.readiness_probe
            .as_ref()
            .map_or(0, |probe| u64::from(probe.initial_delay_seconds))
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Gate {
    pub(super) condition_type: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodStatus {
    pub(super) phase: String,
    #[serde(rename = "podIP")]
    pub(super) pod_ip: String,
    pub(super) start_time: Option<Timestamp>,
    pub(super) conditions: Vec<Condition>,
    pub(super) container_statuses: Vec<ContainerStatus>,
    pub(super) init_container_statuses: Vec<ContainerStatus>,
    pub(super) ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: Word,
    pub(super) status: Word,
    pub(super) reason: Word,
    pub(super) last_transition_time: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerStatus {
    pub(super) name: Word,
    pub(super) image: Word,
    #[serde(rename = "containerID")]
    pub(super) container_id: String,
    pub(super) restart_count: u32,
    pub(super) ready: bool,
    pub(super) resources: Resources,
    state: ContainerState,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    running: Option<RunningState>,
    terminated: Option<TerminatedState>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RunningState {
    started_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct TerminatedState {
    exit_code: i32,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

impl ContainerStatus {
    pub(super) fn running_since(&self) -> Option<Timestamp> {
        self.state.running.as_ref()?.started_at
    }

    pub(super) fn terminated(&self) -> Option<(i32, Timestamp, Timestamp)> {
        let state = self.state.terminated.as_ref()?;
        Some((state.exit_code, state.started_at?, state.finished_at?))
    }
}

impl PodObject {
    /// Which version of its spec this is; 0 where the server does not count them.
    pub(super) fn generation(&self) -> i64 {
        self.metadata.generation.unwrap_or(0)
    }

    /// Does an annotation make its readiness probes fail?
    pub(super) fn fails_readiness(&self) -> bool {
        self.metadata
            .annotations
            .get(keys::SIM_FAIL_READY)
            .is_some_and(|value| value == "true")
    }

    /// How long its containers run before they end well.
    pub(super) fn run_for(&self) -> Option<Duration> {
        let seconds = self.metadata.annotations.get(keys::SIM_RUN_FOR)?;
        Duration::try_from_secs_f64(seconds.parse().ok()?).ok()
    }

    /// How long it may take to stop.
    pub(super) fn grace(&self) -> Duration {
        let seconds = self.spec.termination_grace_period_seconds.unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    /// The fields that its containers have as variables.
    pub(super) fn shown_fields(&self) -> impl Iterator<Item = &str> {
        let spec = &self.spec;
        let containers = spec.containers.iter().chain(&spec.init_containers);
        let variables = containers
            .chain(&spec.ephemeral_containers)
            .flat_map(|container| &container.env);
        variables.filter_map(Variable::field)
    }

    /// Does a container show a label or an annotation?
    pub(super) fn shows_metadata(&self) -> bool {
        let is_metadata =
            |path: &str| path.starts_with("metadata.labels[") || path.starts_with("metadata.annotations[");
        self.shown_fields().any(is_metadata)
    }

    /// What a variable says that shows a field. Addresses are the node's to know; a label that is not there is empty.
    pub(super) fn field(&self, path: &str) -> String {
        let (metadata, spec) = (&self.metadata, &self.spec);
        let known = match path {
            "metadata.name" => Some(&metadata.name),
            "metadata.namespace" => Some(&metadata.namespace),
            "metadata.uid" => Some(&metadata.uid),
            "spec.nodeName" => Some(&spec.node_name),
            "spec.serviceAccountName" => Some(&spec.service_account_name),
            _ => {
                let of = |map, prefix| {
                    let key = path.strip_prefix(prefix)?.strip_suffix("']")?;
                    Labels::get(map, key)
                };
                of(&metadata.labels, "metadata.labels['")
                    .or_else(|| of(&metadata.annotations, "metadata.annotations['"))
            }
        };
        known.cloned().unwrap_or_default()
    }

    /// Is this condition True?
    pub(super) fn is_true(&self, kind: &str) -> Option<bool> {
        self.status
            .conditions
            .iter()
            .find(|c| c.kind == kind)
            .map(|c| c.status == "True")
    }
}

impl Object for PodObject {
    fn meta(&self) -> &MetaWire {
        &self.metadata
    }

    fn trim(&mut self) {
        if self.shown_fields().next().is_none() {
            self.metadata.labels = Labels::new();
            self.spec.service_account_name = String::new();
        }
        self.metadata.finalizers = Vec::new();
        self.metadata.owner_references = Vec::new();
    }
}

/// A node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeObject {
    pub(super) metadata: MetaWire,
    pub(super) spec: NodeSpecObject,
    pub(super) status: NodeStatusObject,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NodeSpecObject {
    #[serde(rename = "podCIDR")]
    pub(super) pod_cidr: String,
    pub(super) taints: Vec<Taint>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeStatusObject {
    pub(super) conditions: Vec<Condition>,
    pub(super) addresses: Vec<Address>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Address {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) address: String,
}

impl NodeObject {
    fn annotation(&self, key: &str) -> &str {
        self.metadata.annotations.get(key).map_or("", String::as_str)
    }

    /// Is it ours to play?
    pub(super) fn is_simulated(&self) -> bool {
        self.annotation(keys::SIM_SIMULATED) == "true"
    }

    /// Is it cut off?
    pub(super) fn is_disconnected(&self) -> bool {
        self.annotation(keys::SIM_NETWORK) == "disconnected"
    }

    /// Does an annotation make its kubelet report that it is not ready?
    pub(super) fn reports_not_ready(&self) -> bool {
        self.annotation(keys::SIM_NOT_READY) == "true"
    }

    /// Does an annotation make its kubelet report that it is short of disk?
    pub(super) fn is_short_of_disk(&self) -> bool {
        self.annotation(keys::SIM_DISK_PRESSURE) == "true"
    }

    /// Does an annotation leave it without the agents that run beside its kubelet?
    pub(super) fn has_no_agents(&self) -> bool {
        self.annotation(keys::SIM_NO_AGENTS) == "true"
    }

    /// Image profiles of this node, as written.
    pub(super) fn image_profile(&self) -> &str {
        self.annotation(keys::SIM_IMAGE_PROFILE)
    }
}

impl Object for NodeObject {
    fn meta(&self) -> &MetaWire {
        &self.metadata
    }
}
