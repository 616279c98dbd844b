//! The status of a pod as its node writes it.
//!
//! Only conditions that a kubelet owns are written: those of others survive every write. Source: embedded-cluster.md
//! 17.2.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::pod_life::{Container, PodLife, Role, State, Terminated};
use super::wire::PodObject;

/// Conditions that a kubelet owns, with the time of their last transition.
#[derive(Debug, Clone, Default)]
pub(super) struct Conditions {
    /// In the order of [`OWNED`].
    known: [Option<(bool, Timestamp)>; OWNED.len()],
}

/// Says that a resize waits, or cannot be carried out.
pub(super) const RESIZE_PENDING: &str = "PodResizePending";
const OWNED: [&str; 5] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

impl Conditions {
    /// Takes over what an earlier process wrote.
    pub(super) fn resume(pod: &PodObject) -> Self {
        let known = OWNED.map(|kind| {
            let written = pod.status.conditions.iter().find(|c| c.kind == kind);
            let at = written.and_then(|c| c.last_transition_time)?;
            Some((pod.is_true(kind) == Some(true), at))
        });
        Self { known }
    }

    fn render(
        &mut self,
        kind: &'static str,
        status: Result<(), (&'static str, String)>,
        now: Timestamp,
    ) -> Value {
        let is_true = status.is_ok();
        let place = OWNED.iter().position(|owned| *owned == kind);
        let known = place.and_then(|place| self.known.get_mut(place));
        let mut since = now;
        if let Some(known) = known {
            since = match *known {
                Some((was_true, since)) if was_true == is_true => since,
                _ => now,
            };
            *known = Some((is_true, since));
        }
        let mut condition = json!({
            "type": kind,
            "status": if is_true { "True" } else { "False" },
            "lastProbeTime": null,
            "lastTransitionTime": time(since),
            "reason": null,
            "message": null,
        });
        if let (Err((reason, message)), Some(map)) = (status, condition.as_object_mut()) {
            map.insert("reason".into(), Value::from(reason));
            if !message.is_empty() {
                map.insert("message".into(), Value::from(message));
            }
        }
        condition
    }
}

/// Addresses of a pod.
#[derive(Debug, Clone, Default)]
pub(super) struct Addresses<'a> {
    /// Of its node.
    pub(super) host: &'a str,
    /// Its own, once it has a sandbox.
    pub(super) pod: &'a str,
}

/// The patch of `status` that brings the object to what the node knows.
pub(super) fn render(
    life: &PodLife,
    pod: &PodObject,
    conditions: &mut Conditions,
    addresses: &Addresses<'_>,
    now: Timestamp,
) -> Value {
    let phase = life.phase();
    let containers_ready = containers_ready(life, phase);
    let ready = containers_ready.clone().and_then(|()| gates(pod));
    let initialized = if life.is_initialized() {
        Ok(())
    } else {
        let names = life
            .containers
            .iter()
            .filter(|c| c.role == Role::Init)
            .filter(|c| !c.is_ready)
            .map(|c| c.spec.name.as_str());
        Err((
            "ContainersNotInitialized",
            format!("containers with incomplete status: [{}]", join(names)),
        ))
    };
    let sandbox = if life.has_sandbox && !matches!(phase, "Succeeded" | "Failed") {
        Ok(())
    } else {
        Err(("", String::new()))
    };
    let status = |role: Role| -> Vec<Value> {
        life.containers
            .iter()
            .filter(|c| c.role == role)
            .map(|c| container(c, life))
            .collect()
    };
    let mut patch = Map::new();
    patch.insert("phase".into(), Value::from(phase));
    patch.insert("observedGeneration".into(), Value::from(life.observed));
    patch.insert("startTime".into(), time(life.started_at));
    patch.insert("hostIP".into(), Value::from(addresses.host));
    patch.insert("hostIPs".into(), json!([{ "ip": addresses.host }]));
    if life.has_sandbox && !addresses.pod.is_empty() {
        patch.insert("podIP".into(), Value::from(addresses.pod));
        patch.insert("podIPs".into(), json!([{ "ip": addresses.pod }]));
    }
    let mut rendered = vec![
        conditions.render("PodReadyToStartContainers", sandbox, now),
        conditions.render("Initialized", initialized, now),
        conditions.render("Ready", ready, now),
        conditions.render("ContainersReady", containers_ready, now),
        conditions.render("PodScheduled", Ok(()), now),
    ];
    rendered.extend(resize_pending(life, pod, now));
    patch.insert("conditions".into(), Value::from(rendered));
    patch.insert("containerStatuses".into(), Value::from(status(Role::Main)));
    for (role, field) in [
        (Role::Init, "initContainerStatuses"),
        (Role::Ephemeral, "ephemeralContainerStatuses"),
    ] {
        let statuses = status(role);
        if !statuses.is_empty() {
            patch.insert(field.into(), Value::from(statuses));
        }
    }
    Value::Object(patch)
}

fn containers_ready(life: &PodLife, phase: &str) -> Result<(), (&'static str, String)> {
    match phase {
        "Succeeded" => return Err(("PodCompleted", String::new())),
        "Failed" => return Err(("PodFailed", String::new())),
        _ => {}
    }
    let unready = || {
        life.containers
            .iter()
            .filter(|c| c.role == Role::Main && !c.is_ready)
            .map(|c| c.spec.name.as_str())
    };
    if unready().next().is_none() {
        return Ok(());
    }
    Err((
        "ContainersNotReady",
        format!("containers with unready status: [{}]", join(unready())),
    ))
}

/// Readiness gates belong to their controllers; the node only reads them.
fn gates(pod: &PodObject) -> Result<(), (&'static str, String)> {
    let problems: Vec<String> = pod
        .spec
        .readiness_gates
        .iter()
        .filter_map(|gate| {
            let kind = &gate.condition_type;
            match pod.is_true(kind) {
                Some(true) => None,
                Some(false) => Some(format!(
                    "the status of pod readiness gate \"{kind}\" is not \"True\", but False"
                )),
                None => Some(format!(
                    "corresponding condition of pod readiness gate \"{kind}\" does not exist."
                )),
            }
        })
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(("ReadinessGatesNotReady", problems.join(", ")))
    }
}

/// The condition of a resize that the node cannot carry out; it goes when the object asks for less. Source: inplace.md 1.3.
fn resize_pending(life: &PodLife, pod: &PodObject, now: Timestamp) -> Option<Value> {
    let was_pending = pod.is_true(RESIZE_PENDING).is_some();
    match &life.infeasible {
        None => was_pending.then(|| json!({ "type": RESIZE_PENDING, "$patch": "delete" })),
        Some(_) if was_pending => None,
        Some(message) => Some(json!({
            "type": RESIZE_PENDING,
            "status": "True",
            "reason": "Infeasible",
            "message": message,
            "lastProbeTime": null,
            "lastTransitionTime": time(now),
        })),
    }
}

fn join<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(" ")
}

fn container(container: &Container, life: &PodLife) -> Value {
    let is_running = container.is_running();
    let (image, image_id) = container.image();
    let mut status = json!({
        "name": container.spec.name,
        "image": image,
        "imageID": image_id,
        "ready": container.is_ready,
        "started": is_running,
        "restartCount": container.restarts,
        "state": state(&container.state),
        "lastState": container.last.as_ref().map_or(json!({}), |end| json!({ "terminated": terminated(end) })),
    });
    if container.was_started
        && let Some(map) = status.as_object_mut()
    {
        map.insert("containerID".into(), Value::from(container.id(life.uid)));
        if !container.resources.is_empty() {
            map.insert("resources".into(), json!(container.resources));
            map.insert(
                "allocatedResources".into(),
                json!(container.resources.allocated()),
            );
        }
    }
    status
}

fn state(state: &State) -> Value {
    match state {
        State::Waiting { reason, message } if message.is_empty() => {
            json!({ "waiting": { "reason": reason } })
        }
        State::Waiting { reason, message } => json!({ "waiting": { "reason": reason, "message": message } }),
        State::Running { since } => json!({ "running": { "startedAt": time(*since) } }),
        State::Terminated(end) => json!({ "terminated": terminated(end) }),
    }
}

fn terminated(end: &Terminated) -> Value {
    json!({
        "exitCode": end.code,
        "reason": end.reason(),
        "startedAt": time(end.started_at),
        "finishedAt": time(end.finished_at),
        "containerID": end.container_id,
    })
}

/// A JSON time.
pub(super) fn time(at: Timestamp) -> Value {
    Value::from(Timestamp::from_second(at.as_second()).unwrap_or(at).to_string())
}
