//! Workloads as far as their controllers read them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pitstop_api::selector::{LabelSelector, Labels};
use pitstop_api::view::MetaWire;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::informer::Object;

/// A Deployment.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Deployment {
    pub(super) metadata: MetaWire,
    pub(super) spec: DeploymentSpec,
    pub(super) status: DeploymentStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct DeploymentSpec {
    pub(super) replicas: i64,
    pub(super) selector: LabelSelector,
    pub(super) template: Value,
    pub(super) strategy: Strategy,
    pub(super) min_ready_seconds: i64,
    pub(super) revision_history_limit: Option<i64>,
    pub(super) progress_deadline_seconds: Option<i64>,
    pub(super) paused: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Strategy {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) rolling_update: RollingUpdate,
}

/// Numbers or percentages.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RollingUpdate {
    pub(super) max_unavailable: Value,
    pub(super) max_surge: Value,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct DeploymentStatus {
    pub(super) observed_generation: i64,
    pub(super) replicas: i64,
    pub(super) updated_replicas: i64,
    pub(super) ready_replicas: i64,
    pub(super) available_replicas: i64,
    pub(super) unavailable_replicas: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) collision_count: Option<i64>,
    pub(super) conditions: Vec<Condition>,
}

/// A condition of a workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_update_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_transition_time: Option<Timestamp>,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Object for Deployment {
    fn meta(&self) -> &MetaWire {
        &self.metadata
    }
}

/// A ReplicaSet.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct ReplicaSet {
    pub(super) metadata: MetaWire,
    pub(super) spec: ReplicaSetSpec,
    pub(super) status: ReplicaSetStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ReplicaSetSpec {
    pub(super) replicas: i64,
    pub(super) min_ready_seconds: i64,
    pub(super) selector: LabelSelector,
    pub(super) template: Value,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ReplicaSetStatus {
    pub(super) replicas: i64,
    pub(super) fully_labeled_replicas: i64,
    pub(super) ready_replicas: i64,
    pub(super) available_replicas: i64,
    pub(super) observed_generation: i64,
    pub(super) conditions: Vec<Condition>,
}

impl Object for ReplicaSet {
    fn meta(&self) -> &MetaWire {
        &self.metadata
    }
}

impl ReplicaSet {
    /// An annotation that holds a number.
    pub(super) fn number(&self, annotation: &str) -> Option<i64> {
        self.metadata.annotations.get(annotation)?.parse().ok()
    }

    /// Its URL.
    pub(super) fn path(&self) -> String {
        path(&self.metadata, "replicasets")
    }
}

impl Deployment {
    /// Its URL.
    pub(super) fn path(&self) -> String {
        path(&self.metadata, "deployments")
    }
}

/// The URL of an object of the group `apps`.
fn path(meta: &MetaWire, plural: &str) -> String {
    format!(
        "/apis/apps/v1/namespaces/{}/{plural}/{}",
        meta.namespace, meta.name
    )
}

/// A list of conditions after one of them was set: what has not changed keeps its times, and what has goes to the end.
pub(super) fn set_condition(conditions: &mut Vec<Condition>, mut wanted: Condition) {
    if let Some(at) = conditions.iter().position(|c| c.kind == wanted.kind) {
        let Some(before) = conditions.get(at) else { return };
        if before.status == wanted.status && before.reason == wanted.reason {
            return;
        }
        if before.status == wanted.status {
            wanted.last_transition_time = before.last_transition_time;
        }
        conditions.remove(at);
    }
    conditions.push(wanted);
}

/// A disruption budget.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Budget {
    pub(super) metadata: MetaWire,
    pub(super) spec: BudgetSpec,
    pub(super) status: BudgetStatus,
}

/// Numbers or percentages; one of them is given, or neither.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct BudgetSpec {
    pub(super) min_available: Option<Value>,
    pub(super) max_unavailable: Option<Value>,
    /// Without one it takes in no pod.
    pub(super) selector: Option<LabelSelector>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct BudgetStatus {
    pub(super) observed_generation: i64,
    /// Pods that were allowed to go, and when.
    pub(super) disrupted_pods: BTreeMap<String, Timestamp>,
    pub(super) disruptions_allowed: i64,
    pub(super) current_healthy: i64,
    pub(super) desired_healthy: i64,
    pub(super) expected_pods: i64,
    pub(super) conditions: Vec<BudgetCondition>,
}

/// A condition that says which generation it is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct BudgetCondition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) observed_generation: i64,
    pub(super) last_transition_time: Option<Timestamp>,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Object for Budget {
    fn meta(&self) -> &MetaWire {
        &self.metadata
    }
}

/// A Job.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Job {
    pub(super) metadata: MetaWire,
    pub(super) spec: JobSpec,
    pub(super) status: JobStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct JobSpec {
    pub(super) parallelism: i64,
    /// None: a queue of work, which ends with its first success.
    pub(super) completions: Option<i64>,
    pub(super) backoff_limit: i64,
    pub(super) active_deadline_seconds: Option<i64>,
    pub(super) ttl_seconds_after_finished: Option<i64>,
    pub(super) suspend: bool,
    pub(super) completion_mode: String,
    pub(super) pod_replacement_policy: String,
    pub(super) selector: LabelSelector,
    pub(super) template: Value,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct JobStatus {
    pub(super) conditions: Vec<JobCondition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) completion_time: Option<Timestamp>,
    pub(super) active: i64,
    pub(super) ready: i64,
    pub(super) terminating: i64,
    pub(super) succeeded: i64,
    pub(super) failed: i64,
    /// Completions that are done, such as `0-2,5`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) completed_indexes: String,
    pub(super) uncounted_terminated_pods: Uncounted,
}

/// Pods that have ended and are still held, by uid: they are counted when they are let go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Uncounted {
    pub(super) succeeded: Vec<String>,
    pub(super) failed: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct JobCondition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) last_probe_time: Option<Timestamp>,
    pub(super) last_transition_time: Option<Timestamp>,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Object for Job {
    fn meta(&self) -> &MetaWire {
        &self.metadata
    }
}

impl Job {
    /// Its URL.
    pub(super) fn path(&self) -> String {
        let meta = &self.metadata;
        format!("/apis/batch/v1/namespaces/{}/jobs/{}", meta.namespace, meta.name)
    }
}

/// A service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Service {
    pub(super) metadata: MetaWire,
    pub(super) spec: ServiceSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ServiceSpec {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(rename = "clusterIP")]
    pub(super) cluster_ip: String,
    pub(super) selector: Labels,
    pub(super) ports: Vec<ServicePort>,
    pub(super) publish_not_ready_addresses: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ServicePort {
    pub(super) name: String,
    pub(super) port: i64,
    /// A number, or the name of a port of the pods.
    pub(super) target_port: Value,
    pub(super) protocol: String,
    pub(super) app_protocol: Option<String>,
}

impl Object for Service {
    fn meta(&self) -> &MetaWire {
        &self.metadata
    }
}

/// Endpoints of a service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Endpoints {
    pub(super) metadata: MetaWire,
    pub(super) subsets: Vec<Value>,
}

impl Object for Endpoints {
    fn meta(&self) -> &MetaWire {
        &self.metadata
    }
}

/// A slice of the endpoints of a service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Slice {
    pub(super) metadata: MetaWire,
    pub(super) ports: Option<Vec<Value>>,
    pub(super) endpoints: Option<Vec<Value>>,
}

impl Object for Slice {
    fn meta(&self) -> &MetaWire {
        &self.metadata
    }
}
