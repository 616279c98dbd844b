//! The controller of ReplicaSets: as many pods as are asked for.
//!
//! Source: embedded-cluster.md 16; the order in which pods go is that of Kubernetes 1.34.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::keys;
use serde_json::{Value, json};

use super::super::wire::Pod;
use super::super::writes::Write;
use super::objects::{Condition, ReplicaSet, ReplicaSetStatus};
use super::ownership::Controller;
use super::queue::{Failure, Note, Plan, Sort, Step};

/// Event source.
const SOURCE: &str = "replicaset-controller";
/// Pods made or deleted at once.
const BURST: usize = 500;
/// Longest prefix of a generated name.
const MAX_PREFIX: usize = 58;

/// What a ReplicaSet does next. `candidates` are pods of its namespace that are its own or nobody's, `neighbours` the
/// number of pods on each node that belong to the same workload as it.
pub(super) fn decide(
    set: &ReplicaSet,
    candidates: &[&Pod],
    neighbours: &BTreeMap<&str, usize>,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Plan {
    let Some(selector) = set.spec.selector.selector() else {
        return Plan::default();
    };
    let controller = Controller {
        api_version: "apps/v1",
        kind: "ReplicaSet",
        meta: &set.metadata,
    };
    let alive = candidates.iter().copied().filter(|pod| is_active(pod));
    let claim = controller.claim(&selector, Sort::Pod, alive, |pod| &pod.metadata, Pod::path);
    if !claim.steps.is_empty() {
        return Plan::of(claim.steps);
    }
    let pods = claim.owned;
    let mut steps = Vec::new();
    if set.metadata.deletion_timestamp.is_none() {
        steps = resize(set, &controller, &pods, neighbours, failure, now);
    }
    let status = status_of(set, &pods, failure, now);
    let again = next_available(&pods, set.spec.min_ready_seconds, now);
    if status != set.status {
        steps.push(write_status(set, &status));
    }
    Plan { steps, again }
}

/// Does a pod count as a replica?
pub(super) fn is_active(pod: &Pod) -> bool {
    !pod.is_terminal() && pod.metadata.deletion_timestamp.is_none()
}

/// Has a pod been ready for so long?
pub(super) fn is_available(pod: &Pod, min_ready_seconds: i64, now: Timestamp) -> bool {
    pod.ready_since().is_some_and(|since| {
        min_ready_seconds == 0 || now.duration_since(since) >= SignedDuration::from_secs(min_ready_seconds)
    })
}

/// When the next pod that is ready becomes available.
fn next_available(pods: &[&Pod], min_ready_seconds: i64, now: Timestamp) -> Option<Timestamp> {
    let waiting = pods
        .iter()
        .filter(|pod| !is_available(pod, min_ready_seconds, now));
    let times = waiting.filter_map(|pod| {
        let since = pod.ready_since()?;
        since
            .checked_add(SignedDuration::from_secs(min_ready_seconds))
            .ok()
    });
    times.min()
}

/// Makes or deletes pods. After a failure one pod is tried before the others.
fn resize(
    set: &ReplicaSet,
    controller: &Controller<'_>,
    pods: &[&Pod],
    neighbours: &BTreeMap<&str, usize>,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Vec<Step> {
    let wanted = usize::try_from(set.spec.replicas).unwrap_or_default();
    let burst = if failure.is_some() { 1 } else { BURST };
    let about = Arc::new(set.metadata.clone());
    if pods.len() < wanted {
        let n_new = wanted.saturating_sub(pods.len()).min(burst);
        let note = Note {
            source: SOURCE,
            kind: "ReplicaSet",
            about,
            warns: false,
            done: ("SuccessfulCreate", "Created pod: {}".to_owned()),
            failed: Some(("FailedCreate", "Error creating: {}".to_owned())),
        };
        let path = format!("/api/v1/namespaces/{}/pods", set.metadata.namespace);
        let body = pod_of(&set.spec.template, &set.metadata.name, controller);
        let step = Step::new(Sort::Pod, Write::post(path, body)).noted(note);
        return vec![step; n_new];
    }
    let n_over = pods.len().saturating_sub(wanted).min(burst);
    let going = first_to_go(pods, n_over, neighbours, now);
    let steps = going.into_iter().map(|pod| {
        let note = Note {
            source: SOURCE,
            kind: "ReplicaSet",
            about: Arc::clone(&about),
            warns: false,
            done: ("SuccessfulDelete", format!("Deleted pod: {}", pod.metadata.name)),
            failed: Some(("FailedDelete", "Error deleting: {}".to_owned())),
        };
        Step::new(
            Sort::Pod,
            Write::delete(pod.path(), &pod.metadata.uid, None, None),
        )
        .noted(note)
    });
    steps.collect()
}

/// A pod made from a template.
pub(super) fn pod_of(template: &Value, owner: &str, controller: &Controller<'_>) -> Value {
    let prefix: String = format!("{owner}-").chars().take(MAX_PREFIX).collect();
    let mut metadata = json!({"generateName": prefix, "ownerReferences": [controller.reference()]});
    if let Some(map) = metadata.as_object_mut() {
        for field in ["labels", "annotations", "finalizers"] {
            if let Some(value) = template.pointer(&format!("/metadata/{field}")) {
                map.insert(field.to_owned(), value.clone());
            }
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.get("spec")})
}

/// The pods that go first when there are too many: those that do the least.
fn first_to_go<'a>(
    pods: &[&'a Pod],
    n_over: usize,
    neighbours: &BTreeMap<&str, usize>,
    now: Timestamp,
) -> Vec<&'a Pod> {
    let mut ranked = pods.to_vec();
    if n_over < pods.len() {
        ranked.sort_by(|a, b| who_goes(a, b, neighbours, now));
    }
    ranked.truncate(n_over);
    ranked
}

/// `Less`: the first one goes before the second.
fn who_goes(a: &Pod, b: &Pod, neighbours: &BTreeMap<&str, usize>, now: Timestamp) -> Ordering {
    let phase = |pod: &Pod| match pod.status.phase.as_str() {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let cost = |pod: &Pod| {
        let cost = pod.metadata.annotations.get(keys::POD_DELETION_COST);
        cost.and_then(|cost| cost.parse::<i32>().ok()).unwrap_or_default()
    };
    let crowd = |pod: &Pod| {
        neighbours
            .get(pod.spec.node_name.as_str())
            .copied()
            .unwrap_or_default()
    };
    let restarts = |pod: &Pod| {
        let counts = pod
            .status
            .container_statuses
            .iter()
            .map(|status| status.restart_count);
        counts.max().unwrap_or_default()
    };
    let is_placed = |pod: &Pod| !pod.spec.node_name.is_empty();
    let is_ready = |pod: &Pod| pod.ready_since().is_some();
    is_placed(a)
        .cmp(&is_placed(b))
        .then_with(|| phase(a).cmp(&phase(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| crowd(b).cmp(&crowd(a)))
        .then_with(|| younger(a.ready_since(), b.ready_since(), a, b, now))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| {
            let (a_made, b_made) = (a.metadata.creation_timestamp, b.metadata.creation_timestamp);
            younger(a_made, b_made, a, b, now)
        })
}

/// The younger goes first; times of the same order of magnitude say nothing, and the uid decides.
fn younger(
    a_time: Option<Timestamp>,
    b_time: Option<Timestamp>,
    a: &Pod,
    b: &Pod,
    now: Timestamp,
) -> Ordering {
    let (Some(a_time), Some(b_time)) = (a_time, b_time) else {
        return Ordering::Equal;
    };
    if a_time == b_time {
        return Ordering::Equal;
    }
    let magnitude = |at: Timestamp| now.duration_since(at).as_nanos().checked_ilog2();
    magnitude(a_time)
        .cmp(&magnitude(b_time))
        .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

fn status_of(set: &ReplicaSet, pods: &[&Pod], failure: Option<&Failure>, now: Timestamp) -> ReplicaSetStatus {
    let count = |holds: &dyn Fn(&Pod) -> bool| {
        let n = pods.iter().filter(|pod| holds(pod)).count();
        i64::try_from(n).unwrap_or(i64::MAX)
    };
    let labels = set
        .spec
        .template
        .pointer("/metadata/labels")
        .and_then(Value::as_object);
    let has_labels = |pod: &Pod| {
        let mut wanted = labels.into_iter().flatten();
        wanted.all(|(key, value)| pod.metadata.labels.get(key).map(String::as_str) == value.as_str())
    };
    ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: count(&has_labels),
        ready_replicas: count(&|pod| pod.ready_since().is_some()),
        available_replicas: count(&|pod| is_available(pod, set.spec.min_ready_seconds, now)),
        observed_generation: set.metadata.generation.unwrap_or_default(),
        conditions: failure_conditions(set, failure, now),
    }
}

fn failure_conditions(set: &ReplicaSet, failure: Option<&Failure>, now: Timestamp) -> Vec<Condition> {
    let mut conditions = set.status.conditions.clone();
    let told = failure.filter(|failure| !failure.reason.is_empty());
    let known = conditions
        .iter()
        .any(|condition| condition.kind == "ReplicaFailure");
    match told {
        Some(failure) if !known => conditions.push(Condition {
            kind: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            last_update_time: None,
            last_transition_time: Timestamp::from_second(now.as_second()).ok(),
            reason: failure.reason.to_owned(),
            message: failure.message.clone(),
        }),
        Some(_) => {}
        None => conditions.retain(|condition| condition.kind != "ReplicaFailure"),
    }
    conditions
}

fn write_status(set: &ReplicaSet, status: &ReplicaSetStatus) -> Step {
    let body = json!({
        "metadata": {"resourceVersion": set.metadata.resource_version}, "status": status,
    });
    Step::new(
        Sort::ReplicaSet,
        Write::merge(format!("{}/status", set.path()), body),
    )
}

#[cfg(test)]
mod tests;
