//! The row of a pod in `kubectl get pods`. Source: embedded-cluster.md 12, "Pod cells".

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::age::{self, human_duration};
use crate::kinds::fields::{flag, integer, list, or, text};

/// The cells of one pod.
pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let row = Row::of(pod);
    let restarts = match row.restarts.last {
        Some(at) if row.restarts.count != 0 => {
            format!(
                "{} ({} ago)",
                row.restarts.count,
                human_duration(now.duration_since(at))
            )
        }
        _ => row.restarts.count.to_string(),
    };
    let node = or(text(pod, "/spec/nodeName"), "<none>");
    let nominated = or(text(pod, "/status/nominatedNodeName"), "<none>");
    vec![
        age::name(pod),
        Value::from(format!("{}/{}", row.ready, row.total)),
        Value::from(row.reason),
        Value::from(restarts),
        age::age(pod, now),
        Value::from(or(
            or(text(pod, "/status/podIPs/0/ip"), text(pod, "/status/podIP")),
            "<none>",
        )),
        Value::from(node),
        Value::from(nominated),
        Value::from(readiness_gates(pod)),
    ]
}

/// Tells clients that a pod has ended.
pub(super) fn row_conditions(pod: &Value) -> Vec<Value> {
    let phase = text(pod, "/status/phase");
    let message = match phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return Vec::new(),
    };
    vec![json!({"type": "Completed", "status": "True", "reason": phase, "message": message})]
}

/// How often containers were restarted, and when last.
#[derive(Debug, Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += integer(status, "/restartCount").unwrap_or_default();
        let at = text(status, "/lastState/terminated/finishedAt").parse().ok();
        self.last = self.last.max(at);
    }
}

/// What containers say about their pod, gathered one by one.
struct Row {
    ready: usize,
    total: usize,
    reason: String,
    restarts: Restarts,
    /// Restarts of init containers that run beside the others.
    sidecar_restarts: Restarts,
}

impl Row {
    fn of(pod: &Value) -> Self {
        let init = list(pod, "/spec/initContainers");
        let sidecars = init.iter().filter(|container| is_sidecar(container)).count();
        let mut row = Self {
            ready: 0,
            total: list(pod, "/spec/containers").len() + sidecars,
            reason: or(text(pod, "/status/reason"), text(pod, "/status/phase")).to_owned(),
            restarts: Restarts::default(),
            sidecar_restarts: Restarts::default(),
        };
        if condition(pod, "PodScheduled")
            .is_some_and(|condition| text(condition, "/reason") == "SchedulingGated")
        {
            "SchedulingGated".clone_into(&mut row.reason);
        }
        let initializing = row.init_containers(pod, init);
        if !initializing || is_true(pod, "Initialized") {
            row.containers(pod);
        }
        row.deletion(pod);
        row
    }

    /// Returns whether an init container holds the pod up.
    fn init_containers(&mut self, pod: &Value, init: &[Value]) -> bool {
        for (index, status) in list(pod, "/status/initContainerStatuses").iter().enumerate() {
            let name = text(status, "/name");
            let sidecar = init
                .iter()
                .any(|container| text(container, "/name") == name && is_sidecar(container));
            self.restarts.add(status);
            if sidecar {
                self.sidecar_restarts.add(status);
            }
            let terminated = status.pointer("/state/terminated");
            let waiting = text(status, "/state/waiting/reason");
            self.reason = match terminated {
                Some(state) if integer(state, "/exitCode").unwrap_or_default() == 0 => continue,
                None if sidecar && flag(status, "/started") => {
                    self.ready += usize::from(flag(status, "/ready"));
                    continue;
                }
                Some(state) => format!("Init:{}", end(state)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
                None => format!("Init:{index}/{}", init.len()),
            };
            return true;
        }
        false
    }

    fn containers(&mut self, pod: &Value) {
        self.restarts = self.sidecar_restarts;
        let mut running = false;
        for status in list(pod, "/status/containerStatuses").iter().rev() {
            self.restarts.add(status);
            let waiting = text(status, "/state/waiting/reason");
            if !waiting.is_empty() {
                waiting.clone_into(&mut self.reason);
            } else if let Some(state) = status.pointer("/state/terminated") {
                self.reason = end(state);
            } else if flag(status, "/ready") && status.pointer("/state/running").is_some() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            let shown = if is_true(pod, "Ready") {
                "Running"
            } else {
                "NotReady"
            };
            shown.clone_into(&mut self.reason);
        }
    }

    fn deletion(&mut self, pod: &Value) {
        if text(pod, "/metadata/deletionTimestamp").is_empty() {
            return;
        }
        if text(pod, "/status/reason") == "NodeLost" {
            "Unknown".clone_into(&mut self.reason);
        } else if !["Succeeded", "Failed"].contains(&text(pod, "/status/phase")) {
            "Terminating".clone_into(&mut self.reason);
        }
    }
}

/// Why a container ended.
fn end(terminated: &Value) -> String {
    let reason = text(terminated, "/reason");
    match integer(terminated, "/signal") {
        _ if !reason.is_empty() => reason.to_owned(),
        Some(signal) if signal != 0 => format!("Signal:{signal}"),
        _ => format!(
            "ExitCode:{}",
            integer(terminated, "/exitCode").unwrap_or_default()
        ),
    }
}

/// Does this init container keep running beside the others?
fn is_sidecar(container: &Value) -> bool {
    text(container, "/restartPolicy") == "Always"
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    list(pod, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == kind)
}

fn is_true(pod: &Value, kind: &str) -> bool {
    condition(pod, kind).is_some_and(|condition| text(condition, "/status") == "True")
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = gates
        .iter()
        .filter(|gate| is_true(pod, text(gate, "/conditionType")))
        .count();
    format!("{open}/{}", gates.len())
}
